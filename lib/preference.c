/* preference - see preference.h */
#include "lib/preference.h"

#include <math.h>

#include "lib/prompt.h"

#define AT(field) offsetof(struct preference_config, field)
const struct opt preference_options[] = {
        {"loss", 0, OPT_CHOICE, AT(kind), "dpo", "dpo|ipo", "what is minimised", 0, 0},
        {"beta", 0, OPT_NUM, AT(beta), "0.1", "X", "how strongly the policy is held to the reference", 1e-9, 1e9},
        {"label-smoothing", 0, OPT_NUM, AT(label_smoothing), "0", "X", "share of pairs that are the wrong way round", 0,
         0.5},
        {NULL},
};

void preference_check(const struct preference_config *c)
{
	if (c->kind == PREFERENCE_IPO && c->label_smoothing > 0)
		cli_misuse("--label-smoothing is of --loss dpo, not of ipo");
}

/* ---- losses ---- */

/* -ln s(x) and its derivative, -s(-x). */
static double minus_log_sigmoid(double x, double *slope)
{
	double small = exp(-fabs(x));
	*slope = -(x > 0 ? small : 1) / (1 + small);
	return log1p(small) + (x < 0 ? -x : 0);
}

static double dpo(const struct preference_config *c, const double ratio[2], double gradient[2])
{
	double right, wrong, e = c->label_smoothing, x = c->beta * (ratio[CHOSEN] - ratio[REJECTED]);
	double loss = (1 - e) * minus_log_sigmoid(x, &right);
	loss += e * minus_log_sigmoid(-x, &wrong);
	gradient[CHOSEN] = c->beta * ((1 - e) * right - e * wrong);
	gradient[REJECTED] = -gradient[CHOSEN];
	return loss;
}

static double ipo(const struct preference_config *c, const double ratio[2], const int64_t n[2], double gradient[2])
{
	double by = ratio[CHOSEN] / (double)n[CHOSEN] - ratio[REJECTED] / (double)n[REJECTED] - 1 / (2 * c->beta);
	gradient[CHOSEN] = 2 * by / (double)n[CHOSEN];
	gradient[REJECTED] = -2 * by / (double)n[REJECTED];
	return by * by;
}

double preference_loss(const struct preference_config *c, const double ratio[2], const int64_t n[2], double gradient[2])
{
	return c->kind == PREFERENCE_IPO ? ipo(c, ratio, n, gradient) : dpo(c, ratio, gradient);
}

double preference_bradley_terry(const double score[2], double margin, double center, double gradient[2])
{
	double slope, both = score[CHOSEN] + score[REJECTED];
	double loss = minus_log_sigmoid(score[CHOSEN] - score[REJECTED] - margin, &slope);
	gradient[CHOSEN] = slope + 2 * center * both;
	gradient[REJECTED] = -slope + 2 * center * both;
	return loss + center * both * both;
}

/* ---- pairs ---- */

static const char *const side_name[] = {"chosen", "rejected"};

/* The ids of one answer, without its prompt. */
static int read_answer(struct records_run *r, const struct record *record, const char *name, bool append_eos,
                       bool begins, int32_t **ids, int64_t *n, struct err *e)
{
	const char *text;
	size_t len;
	enum json_kind kind = record_kind(record, name);
	if (kind == JSON_ABSENT || kind == JSON_NULL)
		return err_set(e, "'%s' is not there", name);
	if (kind != JSON_STRING)
		return record_ints(record, name, ids, n, -1, NULL, &r->arena, e) < 0 ? -1 : 0;
	if (record_str(record, name, &text, &len, e) < 0 ||
	    (begins ? prompt_encode : completion_encode)(&r->info, text, len, ids, n, &r->arena, e))
		return -1;
	if (append_eos && r->info.n_eos > 0) {
		*ids = records_run_join(r, *ids, *n, NULL, 0, true);
		++*n;
	}
	return 0;
}

int preference_pair_read(struct preference_pair *p, struct records_run *r, const struct record *record, bool append_eos,
                         bool bare, struct err *e)
{
	int32_t *prompt = NULL, *answer;
	int64_t n_prompt = 0;
	bare = bare && !record_has(record, "prompt") && !record_has(record, "prompt_tokens");
	if (!bare && prompt_read(&r->info, record, &prompt, &n_prompt, &r->arena, e))
		return -1;
	for (int side = CHOSEN; side <= REJECTED; side++) {
		int64_t n;
		if (read_answer(r, record, side_name[side], append_eos, bare, &answer, &n, e))
			return -1;
		if (n < 1)
			return err_set(e, "'%s' has no token", side_name[side]);
		p->n_prompt = bare ? 1 : n_prompt;
		p->n[side] = n - bare;
		p->token[side] = records_run_join(r, prompt, n_prompt, answer, n, false);
		if (records_run_check(r, side_name[side], p->token[side], p->n_prompt, p->n[side], e))
			return -1;
	}
	return 0;
}
