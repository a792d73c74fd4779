/*
 * rl-reinforce - scores of a batch to advantages: the reward to go less a baseline.
 *
 * The filter is lib/advantage_stage.h, the estimate lib/advantage.h.
 */
#include "lib/advantage_stage.h"
#include "lib/util.h"

int main(int argc, char **argv)
{
	static struct advantage_stage s;
	int n;
	const struct opt_group groups[] = {{NULL, advantage_stage_options, &s.config},
	                                   {"Rewards", advantage_options, &s.config.advantage},
	                                   {"Advantages", advantage_reinforce_options, &s.config.advantage},
	                                   {"Memory", batch_stage_memory_options, &s.config.memory},
	                                   {"All filters", tool_options, &s.config.tool}};
	const struct cli cli = {
	        .tool = "rl-reinforce",
	        .summary = "advantages as the reward to go less a baseline",
	        .usage = "[OPTION]... [FILE]...",
	        .details = "Adds rewards, advantages and returns to records that have tokens and a reward,\n"
	                   "and logprobs and ref_logprobs for the KL penalty; no critic.",
	        .groups = groups,
	        .n_groups = ARRAY_LEN(groups),
	        .max_operands = -1};
	char **operands = cli_parse(&cli, argc, argv, &n);
	s.config.advantage.method = ADVANTAGE_REINFORCE;
	return advantage_stage_run(&s, operands, n);
}
