/* record_names - see record_names.h */
#include "lib/record_names.h"

#include <stddef.h>
#include <string.h>

#include "lib/util.h"

static const char *const taken[] = {"id",
                                    "epoch",
                                    "sample",
                                    "group",
                                    "prompt",
                                    "prompt_tokens",
                                    "completion",
                                    "tokens",
                                    "ends",
                                    "logprobs",
                                    "sampling_logprobs",
                                    "mask",
                                    "temperature",
                                    "finish",
                                    "policy_version",
                                    "batch",
                                    "row",
                                    "batch_size",
                                    "last",
                                    "cursor",
                                    "eval",
                                    "ref_logprobs",
                                    "values",
                                    "bootstrap_value",
                                    "bootstrap_reward",
                                    "bootstrap_return",
                                    "reward",
                                    "rewards",
                                    "advantages",
                                    "returns",
                                    "last_logprobs",
                                    "kl_coef",
                                    "skip",
                                    "error"};

bool record_name_plain(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
	return *name && strspn(name, letters) == strlen(name);
}

bool record_name_taken(const char *name)
{
	bool is_taken = !strncmp(name, "reward_", 7) || !strncmp(name, "state_", 6);
	for (size_t i = 0; i < ARRAY_LEN(taken); i++)
		is_taken = is_taken || !strcmp(name, taken[i]);
	return is_taken;
}
