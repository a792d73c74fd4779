/* rollout_states - see rollout_states.h */
#include "lib/rollout_states.h"

#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

void rollout_states_init(struct rollout_states *s)
{
	*s = (struct rollout_states){0};
	str_init(&s->object);
}

void rollout_states_release(struct rollout_states *s)
{
	for (int64_t i = 0; i < s->n; i++) {
		free(s->item[i].name);
		str_release(&s->item[i].text);
	}
	free(s->item);
	str_release(&s->object);
}

void rollout_states_begin(struct rollout_states *s)
{
	for (int64_t i = 0; i < s->n; i++)
		s->item[i].row = -1;
}

/* Names are kept sorted, so that the object is the same whichever row came first. */
static struct rollout_state *find(struct rollout_states *s, const char *name, size_t len)
{
	int64_t at = 0;
	char *copy = xstrndup(name, len);
	while (at < s->n && strcmp(s->item[at].name, copy) < 0)
		at++;
	if (at < s->n && !strcmp(s->item[at].name, copy)) {
		free(copy);
		return &s->item[at];
	}
	s->item = xrealloc_array(s->item, (size_t)s->n + 1, sizeof *s->item);
	memmove(s->item + at + 1, s->item + at, (size_t)(s->n - at) * sizeof *s->item);
	s->n++;
	s->item[at] = (struct rollout_state){.name = copy, .row = -1};
	str_init(&s->item[at].text);
	return &s->item[at];
}

void rollout_states_take(struct rollout_states *s, const struct record *r, int64_t row)
{
	const char *name;
	size_t len;
	struct json v;
	for (int64_t i = 0; record_field(r, i, &name, &len, &v); i++) {
		if (len <= 6 || memcmp(name, "state_", 6))
			continue;
		struct rollout_state *one = find(s, name + 6, len - 6);
		if (one->row >= 0 && one->row < row)
			continue;
		one->row = row;
		str_clear(&one->text);
		json_text(&v, &one->text);
	}
}

const char *rollout_states_object(struct rollout_states *s)
{
	str_clear(&s->object);
	for (int64_t i = 0; i < s->n; i++) {
		const struct rollout_state *one = &s->item[i];
		if (one->row < 0)
			continue;
		str_addc(&s->object, s->object.len ? ',' : '{');
		json_put_str(&s->object, one->name, strlen(one->name));
		str_addc(&s->object, ':');
		str_add(&s->object, one->text.buf, one->text.len);
	}
	if (!s->object.len)
		return NULL;
	str_addc(&s->object, '}');
	return s->object.buf;
}
