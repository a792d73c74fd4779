/*
 * generate - many prompts to completions, batched, with a key/value cache.
 *
 * Sequences join and leave the running batch one by one; samples of one prompt share its rows of the cache.  What is
 * sampled depends on key, id, sample and token only, never on the batch: tokens and log-probs are the same bits for any
 * --batch-size, thread count and order of requests.
 */
#ifndef LIB_GENERATE_H
#define LIB_GENERATE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/decoder.h"
#include "lib/model.h"

struct generate_config {
	double temperature; /* 0: greedy, log-probs at temperature 1 */
	int64_t top_k;      /* 0: off */
	double top_p;       /* 1: off */
	double min_p;       /* 0: off */
	bool ignore_eos;
	const char *const *stop; /* completion text that ends it, the token that completes it included */
	int64_t n_stop;
	uint64_t key;        /* rng_key("sample", seed, run, epoch) */
	int64_t max_rows;    /* cache rows at most (tokens of running sequences); 0: chosen from the requests */
	int64_t max_running; /* sequences decoded together at most; 0: 256 */
};

/* One prompt, n samples of it. */
struct generate_request {
	const int32_t *prompt;
	int64_t n_prompt;
	uint64_t id;  /* rng_id of the record's id */
	uint64_t key; /* 0: config's */
	int64_t first_sample, n_samples;
	int64_t max_tokens; /* completion tokens at most, per sample; prompt + max_tokens must fit the context (checked)
	                     */
};

enum generate_finish { FINISH_LENGTH, FINISH_EOS, FINISH_STOP };
extern const char *const generate_finish_name[]; /* "length", "eos", "stop" */

/* One completion; arrays owned by the result. */
struct generate_result {
	int32_t *token;
	float *logprob;          /* under the policy at the temperature (greedy: 1), full vocabulary */
	float *sampling_logprob; /* after top-k, top-p, min-p; NULL when none was used */
	int64_t n;
	enum generate_finish finish;
};

/* results: sum of n_samples, requests in order, samples within.  0 or -1 (non-finite logits name the record's index).
 */
int generate_run(struct decoder *d, const struct weights *w, const struct model_info *m,
                 const struct generate_config *c, const struct generate_request *request, int64_t n_requests,
                 struct generate_result *results, struct err *e);
void generate_result_release(struct generate_result *r);

#endif
