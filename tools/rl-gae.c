/*
 * rl-gae - scores, log-probs and values of a batch to rewards, advantages and returns.
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
	                                   {"Advantages", advantage_gae_options, &s.config.advantage},
	                                   {"All filters", tool_options, &s.config.tool}};
	const struct cli cli = {.tool = "rl-gae",
	                        .summary = "rewards, advantages and returns by generalised advantage estimation",
	                        .usage = "[OPTION]... [FILE]...",
	                        .details =
	                                "Adds rewards, advantages and returns to records that have tokens, logprobs,\n"
	                                "ref_logprobs, values and a reward.",
	                        .groups = groups,
	                        .n_groups = ARRAY_LEN(groups),
	                        .max_operands = -1};
	char **operands = cli_parse(&cli, argc, argv, &n);
	s.config.advantage.method = ADVANTAGE_GAE;
	return advantage_stage_run(&s, operands, n);
}
