/* rollout_eval - see rollout_eval.h */
#include "lib/rollout_eval.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/rollout_options.h"
#include "lib/util.h"

#define FIELD(name) offsetof(struct rollout_eval_config, name)

const struct opt rollout_eval_options[] = {
        {"eval", 0, OPT_STR, FIELD(file), NULL, "FILE", "held-out prompts, greedy, in the same stream", 0, 0},
        {"eval-every", 0, OPT_INT, FIELD(every), "10", "K", "before batch 0, K, 2K, ...", 1, 1e12},
        {NULL},
};

/* Another file, or another K, is another run's. */
static int add_options(struct rollout_eval *v, struct str *options, struct err *e)
{
	struct loop_cursor seen = {0};
	struct prompt p;
	char text[64];
	int got;
	prompts_rewind(v->prompts);
	while ((got = prompts_next(v->prompts, &p, e)) > 0) {
		loop_cursor_take(&seen, p.line, p.len);
		free(p.line);
	}
	snprintf(text, sizeof text, "%016llx", (unsigned long long)seen.lines);
	rollout_option_add(options, "eval", text);
	snprintf(text, sizeof text, "%lld", (long long)v->config->every);
	rollout_option_add(options, "eval-every", text);
	return got;
}

int rollout_eval_open(struct rollout_eval *v, const struct rollout_eval_config *c,
                      const struct rollout_batch_config *batch, const struct model_info *m, struct filter *prompt,
                      struct tool *t, struct str *options, struct err *e)
{
	static char *operand[1];
	*v = (struct rollout_eval){.config = c};
	if (!c->file)
		return 0;
	operand[0] = (char *)c->file;
	tool_init(&v->tool, &t->config);
	v->tool.config.quiet = true;
	v->tool.out = t->out;
	v->prompts = prompts_new(&v->tool, &(struct prompts_config){.epochs = 1});
	if (tool_open(&v->tool, operand, 1, e) || (v->n = prompts_count(v->prompts, e)) < 0)
		return -1;
	if (!v->n)
		return err_set(e, "--eval: '%s' has no record", c->file);
	struct rollout_batch_config bc = rollout_batch_held_out(batch);
	bc.max_prompts = v->n;
	v->batch = rollout_batch_new(&bc, m, prompt, &v->tool);
	return add_options(v, options, e);
}

int rollout_eval_before(struct rollout_eval *v, const struct kernels *k, struct store_view *view,
                        const struct store_ref *ref, int64_t batch, struct err *e)
{
	struct loop_cursor ignored = {0};
	if (!v->batch || batch % v->config->every)
		return 0;
	prompts_rewind(v->prompts);
	if (rollout_batch_read(v->batch, v->prompts, &ignored, e) < 0 ||
	    rollout_batch_generate(v->batch, k, view, ref, e))
		return -1;
	rollout_batch_rest(v->batch); /* the batch that comes next has its own */
	return rollout_batch_write(v->batch, ref, batch, false, NULL, e);
}

void rollout_eval_close(struct rollout_eval *v, struct tool *t)
{
	t->n_out += v->tool.n_out;
	t->n_errors += v->tool.n_errors;
	rollout_batch_free(v->batch);
	prompts_free(v->prompts);
}
