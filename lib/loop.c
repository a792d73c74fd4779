/* loop - see loop.h */
#include "lib/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/lora.h"
#include "lib/record.h"
#include "lib/str.h"
#include "lib/util.h"

int loop_open(struct loop_locks *l, const char *store_path, struct err *e)
{
	struct str path;
	str_init(&path);
	str_addf(&path, "%s-loop", store_path);
	l->fd = open(path.buf, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int failed = l->fd < 0 ? err_errno(e, "cannot open '%s'", path.buf) : 0;
	str_release(&path);
	return failed;
}

void loop_close(struct loop_locks *l)
{
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

static struct flock at(enum loop_lock which, short type)
{
	return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = which, .l_len = 1};
}

int loop_try(struct loop_locks *l, enum loop_lock which, struct err *e)
{
	struct flock f = at(which, F_WRLCK);
	if (!fcntl(l->fd, F_OFD_SETLK, &f))
		return 1;
	if (errno == EAGAIN || errno == EACCES)
		return 0;
	return err_errno(e, "cannot lock the file beside the store");
}

void loop_share(struct loop_locks *l, enum loop_lock which)
{
	struct flock f = at(which, F_RDLCK);
	fcntl(l->fd, F_OFD_SETLK, &f);
}

void loop_free(struct loop_locks *l, enum loop_lock which)
{
	struct flock f = at(which, F_UNLCK);
	fcntl(l->fd, F_OFD_SETLK, &f);
}

bool loop_held(struct loop_locks *l, enum loop_lock which)
{
	struct flock f = at(which, F_WRLCK);
	return !fcntl(l->fd, F_OFD_GETLK, &f) && f.l_type != F_UNLCK;
}

int loop_trainer(struct loop_locks *l, const char *store_path, struct err *e)
{
	if (loop_open(l, store_path, e))
		return -1;
	int got = loop_try(l, LOOP_TRAINER, e);
	if (got == 0)
		err_set(e, "another trainer has '%s' (one process at a time changes its weights)", store_path);
	if (got > 0)
		return 0;
	loop_close(l);
	return -1;
}

int loop_piped(struct loop_locks *l, struct err *e)
{
	struct stat st;
	if (fstat(0, &st) || !(S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)))
		return 0;
	return loop_try(l, LOOP_PIPED, e) < 0 ? -1 : 0;
}

/* ---- runs ---- */

void loop_cursor_init(struct loop_cursor *c)
{
	*c = (struct loop_cursor){.options = xstrdup("")};
}

void loop_cursor_release(struct loop_cursor *c)
{
	free(c->options);
	c->options = NULL;
}

void loop_cursor_take(struct loop_cursor *c, const char *line, size_t len)
{
	c->records++;
	c->lines = hash_bytes(line, len, c->lines, (uint64_t)c->records);
}

void loop_run_release(struct loop_run *r)
{
	loop_cursor_release(&r->cursor);
	free(r->states);
	*r = (struct loop_run){0};
}

/* A store that was not there before, and what lies beside it. */
static void take_away(const char *path)
{
	static const char *const suffix[] = {"", "-lock", "-loop"};
	for (size_t i = 0; i < ARRAY_LEN(suffix); i++) {
		struct str name;
		str_init(&name);
		str_addf(&name, "%s%s", path, suffix[i]);
		unlink(name.buf);
		str_release(&name);
	}
}

static struct store *open_locked(struct loop_locks *l, const char *path, enum store_mode mode, struct err *e)
{
	int got = loop_open(l, path, e) ? -1 : loop_try(l, LOOP_TRAINER, e);
	if (got == 0)
		err_set(e, "a trainer has '%s' (one process at a time changes its weights)", path);
	return got > 0 ? store_open(path, mode, e) : NULL;
}

int loop_store_with(const char *spec, enum store_mode mode,
                    int (*fn)(void *arg, struct store *s, const char *name, struct err *e), void *arg, struct err *e)
{
	struct loop_locks l = {.fd = -1};
	char *path, *name;
	store_split(spec, &path, &name);
	bool absent = access(path, F_OK) != 0;
	/* one that is not there and is not to be made: say so, and leave no side file */
	struct store *s =
	        absent && mode != STORE_CREATE ? store_open(path, STORE_READ, e) : open_locked(&l, path, mode, e);
	int failed = s ? fn(arg, s, name, e) : -1;
	store_close(s);
	if (failed && absent && l.fd >= 0)
		take_away(path);
	loop_close(&l);
	free(path);
	free(name);
	return failed;
}

static void state_key(struct str *s, const char *run)
{
	str_addf(s, "run/%s", run);
}

static int parse_states(struct loop_run *r, struct record *rec, struct err *e)
{
	struct json v;
	struct str s;
	if (record_json(rec, "states", &v, e) < 0)
		return -1;
	if (v.kind == JSON_ABSENT)
		return 0;
	if (v.kind != JSON_OBJECT)
		return err_set(e, "the state of the run is damaged: 'states'");
	str_init(&s);
	json_text(&v, &s);
	r->states = str_detach(&s);
	return 0;
}

/* The blob is a JSON object, so that `rl-store show` and people can read it. */
static int parse_state(struct loop_run *r, struct record *rec, struct err *e)
{
	const char *text;
	size_t len;
	bool closed = false;
	if (record_bool(rec, "closed", &closed, e) < 1 || record_int(rec, "updates", &r->updates, e) < 1 ||
	    record_int(rec, "base", &r->base, e) < 1 || record_int(rec, "batches", &r->batches, e) < 1 ||
	    record_int(rec, "records", &r->cursor.records, e) < 1 || record_int(rec, "episodes", &r->episodes, e) < 1 ||
	    record_int(rec, "version", &r->version, e) < 1 || record_int(rec, "bad_batches", &r->bad, e) < 0)
		return err_set(e, "the state of the run is damaged");
	r->closed = closed;
	if (record_str(rec, "lines", &text, &len, e) < 1 || len != 16)
		return err_set(e, "the state of the run is damaged: 'lines'");
	r->cursor.lines = strtoull(text, NULL, 16);
	if (record_str(rec, "options", &text, &len, e) < 1)
		return err_set(e, "the state of the run is damaged: 'options'");
	free(r->cursor.options);
	r->cursor.options = xstrndup(text, len);
	int got = record_str(rec, "slot", &text, &len, e);
	snprintf(r->slot, sizeof r->slot, "%s", got > 0 ? text : "policy");
	r->begun = true;
	return got < 0 ? -1 : parse_states(r, rec, e);
}

int loop_run_load(struct loop_run *r, struct store_view *v, const char *run, struct err *e)
{
	struct str key;
	const void *data;
	size_t len;
	*r = (struct loop_run){0};
	loop_cursor_init(&r->cursor);
	str_init(&key);
	state_key(&key, run);
	int got = store_get_blob(v, "", key.buf, &data, &len, e);
	if (got > 0) {
		struct record *rec = record_new();
		got = record_parse(rec, data, len, e) ? -1 : parse_state(r, rec, e);
		record_free(rec);
		if (got < 0)
			err_where(e, "run '%s'", run);
	}
	str_release(&key);
	return got < 0 ? -1 : 0;
}

int loop_run_undisturbed(const struct loop_run *r, const char *run, int64_t version, struct err *e)
{
	if (r->version == version)
		return 0;
	return err_set(
	        e,
	        "run '%s' is not finished and left the policy at version %lld, but another run has brought it to "
	        "%lld since (another --run begins another run)",
	        run, (long long)r->version, (long long)version);
}

int loop_run_save(const struct loop_run *r, struct store_update *u, const char *run, struct err *e)
{
	struct str s, key;
	str_init(&s);
	str_init(&key);
	state_key(&key, run);
	str_addf(&s,
	         "{\"closed\":%s,\"updates\":%lld,\"base\":%lld,\"batches\":%lld,\"episodes\":%lld,\"version\":%lld,"
	         "\"records\":%lld,\"lines\":\"%016llx\"",
	         r->closed ? "true" : "false", (long long)r->updates, (long long)r->base, (long long)r->batches,
	         (long long)r->episodes, (long long)r->version, (long long)r->cursor.records,
	         (unsigned long long)r->cursor.lines);
	if (r->bad)
		str_addf(&s, ",\"bad_batches\":%lld", (long long)r->bad);
	str_adds(&s, ",\"options\":");
	json_put_str(&s, r->cursor.options, strlen(r->cursor.options));
	if (r->states)
		str_addf(&s, ",\"states\":%s", r->states);
	str_adds(&s, ",\"slot\":");
	json_put_str(&s, r->slot, strlen(r->slot));
	str_addc(&s, '}');
	int failed = store_put_blob(u, "", key.buf, s.buf, s.len, e);
	str_release(&s);
	str_release(&key);
	return failed;
}

static void reference_name(struct str *s, const char *run)
{
	str_addf(s, "reference/%s", run);
}

struct find_name {
	const char *name;
	struct store_ref ref;
	bool found;
};

static int match_name(void *arg, const char *name, const struct store_ref *ref, bool snapshot)
{
	(void)snapshot;
	struct find_name *f = arg;
	f->found = !strcmp(name, f->name);
	if (f->found)
		f->ref = *ref;
	return f->found;
}

static int find_name(struct store_view *v, const char *name, struct find_name *f, struct err *e)
{
	*f = (struct find_name){.name = name};
	return store_each_name(v, match_name, f, e) < 0 ? -1 : 0;
}

int loop_slot(struct store_view *v, const char *name, char slot[64], struct err *e)
{
	struct lora_config c;
	struct store_ref ref;
	snprintf(slot, 64, "%s", *name ? name : "policy");
	if (!*name || !strcmp(name, "policy"))
		return !*name;
	if (store_resolve(v, name, &ref, e))
		return -1;
	if (strcmp(ref.slot, name))
		return 0; /* a snapshot, or a version */
	int adapter = lora_of_slot(&c, v, slot, e);
	if (adapter > 0)
		lora_config_release(&c);
	return adapter;
}

int loop_same_slot(const struct loop_run *r, const char *run, const char *slot, struct err *e)
{
	if (!r->begun || !strcmp(r->slot, slot))
		return 0;
	return err_set(e,
	               "run '%s' trains '%s', not '%s': all stages want the same -s STORE:NAME, and another "
	               "slot another --run",
	               run, r->slot, slot);
}

/* The policy as it is now, which is the reference of a run that is not begun.  One that has gone on without holding its
 * reference (it has no KL) cannot give it any more. */
static int unheld_reference(struct store_view *v, const char *run, const char *slot, struct store_ref *out,
                            struct err *e)
{
	struct loop_run r = {0};
	if (run && loop_run_load(&r, v, run, e))
		return -1;
	bool gone = r.begun && r.batches > 0 && !strcmp(r.slot, slot);
	loop_run_release(&r);
	if (gone)
		return err_set(e,
		               "run '%s' has begun and keeps no reference, since it has no KL: name a model, such as a "
		               "snapshot of where it began (rl-store snapshot)",
		               run);
	return store_resolve(v, slot, out, e);
}

int loop_reference(struct store_view *v, const char *run, const char *slot, struct store_ref *out, struct err *e)
{
	struct find_name f;
	char base[LORA_BASE_NAME];
	if (find_name(v, "ref", &f, e) ||
	    (!f.found && strcmp(slot, "policy") && find_name(v, lora_base_name(base, slot), &f, e)))
		return -1;
	if (!f.found && run) {
		struct str s;
		str_init(&s);
		reference_name(&s, run);
		int failed = find_name(v, s.buf, &f, e);
		str_release(&s);
		if (failed)
			return -1;
	}
	if (!f.found)
		return unheld_reference(v, run, slot, out, e);
	*out = f.ref;
	return 0;
}

int loop_hold_reference(struct store_update *u, const char *run, const struct store_ref *ref, struct err *e)
{
	struct str s;
	str_init(&s);
	reference_name(&s, run);
	int failed = store_put_name(u, s.buf, ref, e);
	str_release(&s);
	return failed;
}

int loop_same_run(const char *options, const char *run, struct err *e)
{
	const char *theirs = strstr(options, " run=");
	size_t len = theirs ? strcspn(theirs += 5, " ") : 0;
	/* written with %20 for a blank: such names are not told apart further */
	if (!theirs || strchr(run, ' ') || (len == strlen(run) && !memcmp(theirs, run, len)))
		return 0;
	return err_set(e, "the sampler is in run '%.*s', but this is run '%s': --run is for both", (int)len, theirs,
	               run);
}

int loop_keeps_lag(const char *options, int64_t max_lag, struct err *e)
{
	const char *theirs = strstr(options, " lag=");
	long long lag = theirs ? strtoll(theirs + 5, NULL, 10) : 0; /* "none": 0 */
	if (lag <= max_lag)
		return 0;
	return err_set(e, "the sampler's --lag is %lld, but --max-lag is %lld: give the trainer --max-lag %lld", lag,
	               (long long)max_lag, lag);
}

/* Walks both lists of words side by side; they are written in the same order. */
static bool same_name(const char *a, const char *b)
{
	size_t n = strcspn(a, "= ");
	return n == strcspn(b, "= ") && !memcmp(a, b, n);
}

static bool has_name(const char *options, const char *word)
{
	while (*options && !same_name(options, word)) {
		options += strcspn(options, " ");
		options += *options == ' ';
	}
	return *options != '\0';
}

int loop_same_options(const char *then, const char *now, struct err *e)
{
	while (*then || *now) {
		size_t a = strcspn(then, " "), b = strcspn(now, " ");
		bool is_new = b && !has_name(then, now);
		if (is_new || !b || !same_name(then, now))
			return err_set(e, "this run was begun %s %.*s (another --run begins another run)",
			               is_new ? "without" : "with", (int)(is_new ? b : a), is_new ? now : then);
		if (a != b || memcmp(then, now, a))
			return err_set(e, "this run was begun with %.*s, not %.*s (another --run begins another run)",
			               (int)a, then, (int)b, now);
		then += a + (then[a] == ' ');
		now += b + (now[b] == ' ');
	}
	return 0;
}
