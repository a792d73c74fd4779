/* rollout_record - see rollout_record.h */
#include "lib/rollout_record.h"

#include <stdlib.h>
#include <string.h>

#include "lib/str.h"
#include "lib/util.h"

static int add_source(struct record *r, const struct rollout_place *p, struct arena *a, struct err *e)
{
	if (!record_has(r, "id") && record_add_str(r, "id", p->id, p->id_len, e))
		return -1;
	if (p->epoch > 0 && record_add_int(r, "epoch", p->epoch, e))
		return -1;
	if (p->sample > 0 && record_add_int(r, "sample", p->sample, e))
		return -1;
	if (p->n_samples > 1) {
		const char *group = p->epoch ? arena_printf(a, "%s@%lld", p->id, (long long)p->epoch) : p->id;
		if (record_add_str(r, "group", group, strlen(group), e))
			return -1;
	}
	return 0;
}

static int add_prompt(struct record *r, const struct rollout_place *p, struct err *e)
{
	const char *there;
	size_t len;
	if (p->prompt) {
		int got = record_kind(r, "prompt") == JSON_STRING ? record_str(r, "prompt", &there, &len, e) : 0;
		bool same = got > 0 && len == p->prompt_len && !memcmp(there, p->prompt, len);
		if (got < 0 || (!same && record_add_str(r, "prompt", p->prompt, p->prompt_len, e)))
			return -1;
	}
	if (record_has(r, "prompt_tokens"))
		return 0;
	return record_add_ints(r, "prompt_tokens", p->prompt_ids, p->n_prompt, e);
}

static int add_text(struct record *r, const struct generate_result *g, const struct tokenizer *t, struct arena *a,
                    struct err *e)
{
	struct str text;
	int32_t *ends = arena_array(a, (size_t)g->n, sizeof *ends);
	str_init(&text);
	int failed = tokenizer_decode_completion(t, g->token, g->n, &text, ends, e) ||
	             record_add_str(r, "completion", text.buf, text.len, e);
	str_release(&text);
	if (failed || record_add_ints(r, "tokens", g->token, g->n, e))
		return -1;
	return record_add_ints(r, "ends", ends, g->n, e);
}

static int add_completion(struct record *r, const struct rollout_place *p, const struct generate_result *g,
                          const struct tokenizer *t, struct arena *a, struct err *e)
{
	if (t ? add_text(r, g, t, a, e) : record_add_ints(r, "tokens", g->token, g->n, e))
		return -1;
	if (record_add_floats(r, "logprobs", g->logprob, g->n, e))
		return -1;
	if (g->sampling_logprob && record_add_floats(r, "sampling_logprobs", g->sampling_logprob, g->n, e))
		return -1;
	const char *finish = generate_finish_name[g->finish];
	if (record_add_num(r, "temperature", p->temperature, e) ||
	    record_add_str(r, "finish", finish, strlen(finish), e))
		return -1;
	return record_add_int(r, "policy_version", p->version, e);
}

static int add_cursor(struct record *r, const struct loop_cursor *c, struct err *e)
{
	struct str s;
	str_init(&s);
	str_addf(&s, "{\"records\":%lld,\"lines\":\"%016llx\",\"options\":", (long long)c->records,
	         (unsigned long long)c->lines);
	json_put_str(&s, c->options, strlen(c->options));
	str_addc(&s, '}');
	int failed = record_add_raw(r, "cursor", s.buf, s.len, e);
	str_release(&s);
	return failed;
}

int rollout_record_place(struct record *r, const struct rollout_place *p, struct err *e)
{
	if (p->evaluation && record_add_bool(r, "eval", true, e))
		return -1;
	if (record_add_int(r, "batch", p->batch, e) || record_add_int(r, "row", p->row, e) ||
	    record_add_int(r, "batch_size", p->batch_size, e))
		return -1;
	if (p->last && record_add_bool(r, "last", true, e))
		return -1;
	return p->cursor ? add_cursor(r, p->cursor, e) : 0;
}

int rollout_record_sample(struct record *r, const struct rollout_place *p, const struct generate_result *g,
                          const struct tokenizer *t, struct arena *a, struct err *e)
{
	return add_prompt(r, p, e) || add_completion(r, p, g, t, a, e) ? -1 : 0;
}

int rollout_record_completion(struct record *r, const struct rollout_place *p, const struct generate_result *g,
                              const struct tokenizer *t, struct arena *a, struct err *e)
{
	if (add_source(r, p, a, e) || rollout_record_sample(r, p, g, t, a, e))
		return -1;
	return rollout_record_place(r, p, e);
}

bool rollout_is_evaluation(const struct record *r)
{
	bool evaluation = false;
	struct err e;
	return record_kind(r, "eval") == JSON_BOOL && record_bool(r, "eval", &evaluation, &e) > 0 && evaluation;
}

int rollout_read_cursor(struct record *r, struct loop_cursor *c, struct err *e)
{
	struct json v, records, lines, options;
	if (record_json(r, "cursor", &v, e) < 0)
		return -1;
	if (v.kind == JSON_ABSENT)
		return 0;
	if (v.kind != JSON_OBJECT || !json_member(&v, "records", &records) || !records.is_int ||
	    !json_member(&v, "lines", &lines) || lines.kind != JSON_STRING || lines.len != 16 ||
	    !json_member(&v, "options", &options) || options.kind != JSON_STRING)
		return err_set(e, "'cursor' is not what rl-generate wrote");
	char hex[17] = {0};
	memcpy(hex, lines.text, 16);
	*c = (struct loop_cursor){records.integer, strtoull(hex, NULL, 16), xstrndup(options.text, options.len)};
	return 1;
}
