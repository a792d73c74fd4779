/* model_show - see model_show.h */
#include "lib/model_show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/arch.h"
#include "lib/record.h"
#include "lib/tensors.h"

struct show {
	struct store_view *v;
	bool json;
	struct str *out;
	struct err *e;
	int n;
};

static int add_file(void *arg, const char *key, const void *data, size_t len)
{
	struct show *x = arg;
	const char *name = key + strlen("file/");
	(void)data, (void)len;
	str_adds(x->out, x->n++ ? (x->json ? "," : " ") : "");
	if (x->json)
		json_put_str(x->out, name, strlen(name));
	else
		str_adds(x->out, name);
	return 0;
}

struct sums {
	int64_t tensors, weights, bytes;
	int64_t moments[2]; /* bytes of those in float32, in 8 bits */
};

static int add_tensor(void *arg, const char *name, const struct store_tensor *t)
{
	struct sums *sum = arg;
	int64_t n = 1;
	for (int i = 0; i < t->n_dims; i++)
		n *= t->shape[i];
	/* Moments are not the model's. */
	if (!strncmp(name, "adam.", 5)) {
		sum->moments[t->dtype == KN_U8] += (int64_t)t->bytes;
	} else {
		sum->tensors++;
		sum->weights += n;
	}
	sum->bytes += (int64_t)t->bytes;
	return 0;
}

/* Whose moments they are, and how many bytes of each form; nothing where there are none. */
static int show_moments(struct show *x, const char *slot, const struct sums *sum)
{
	const void *name;
	size_t len;
	if (!sum->moments[0] && !sum->moments[1])
		return 0;
	int got = store_get_blob(x->v, slot, "trainer/optim", &name, &len, x->e);
	if (got < 0)
		return -1;
	str_addf(x->out,
	         x->json ? ",\"moments\":{\"optim\":\"%.*s\",\"F32\":%" PRId64 ",\"U8\":%" PRId64 "}"
	                 : ", moments of %.*s in %" PRId64 " bytes of F32 and %" PRId64 " of U8",
	         got ? (int)len : 5, got ? (const char *)name : "adamw", sum->moments[0], sum->moments[1]);
	return 0;
}

static int model_type(struct show *x, const char *slot, char type[16])
{
	const void *data;
	size_t len;
	struct arch a;
	struct err ignored;
	int got = store_get_blob(x->v, slot, "file/adapter_config.json", &data, &len, x->e);
	if (got > 0)
		snprintf(type, 16, "adapter");
	if (got)
		return got > 0 ? 0 : -1;
	got = store_get_blob(x->v, slot, "file/config.json", &data, &len, x->e);
	if (got < 0)
		return -1;
	snprintf(type, 16, "%s", got && !arch_from_config(&a, data, len, &ignored) ? a.model_type : "?");
	return 0;
}

static int dtype(struct show *x, const char *slot, char text[8])
{
	const void *data;
	size_t len;
	int got = store_get_blob(x->v, slot, "meta/dtype", &data, &len, x->e);
	if (got < 0)
		return -1;
	const char *end = got ? memchr(data, '\n', len) : NULL;
	size_t n = end ? (size_t)(end - (const char *)data) : 0;
	snprintf(text, 8, "%.*s", n && n < 8 ? (int)n : 3, n && n < 8 ? (const char *)data : "F32");
	return 0;
}

static int show_slot(struct show *x, const char *name, const struct store_ref *ref)
{
	char type[16], file_dtype[8];
	struct sums sum = {0};
	if (model_type(x, ref->slot, type) || dtype(x, ref->slot, file_dtype) ||
	    store_each(x->v, ref, add_tensor, &sum, x->e))
		return -1;
	if (x->json) {
		str_adds(x->out, x->n ? ",{\"name\":" : "{\"name\":");
		json_put_str(x->out, name, strlen(name));
		str_addf(x->out,
		         ",\"version\":%" PRId64 ",\"model_type\":\"%s\",\"parameters\":%" PRId64
		         ",\"tensors\":%" PRId64 ",\"bytes\":%" PRId64 ",\"dtype\":\"%s\"",
		         ref->version, type, sum.weights, sum.tensors, sum.bytes, file_dtype);
	} else {
		str_addf(x->out,
		         "slot %s: version %" PRId64 ", %s, %" PRId64 " weights in %" PRId64 " tensors, exported as %s",
		         name, ref->version, type, sum.weights, sum.tensors, file_dtype);
	}
	if (show_moments(x, ref->slot, &sum))
		return -1;
	str_adds(x->out, x->json ? ",\"files\":[" : "; files: ");
	struct show files = *x;
	files.n = 0;
	if (store_each_blob(x->v, ref->slot, "file/", add_file, &files, x->e))
		return -1;
	str_adds(x->out, x->json ? "]}" : "\n");
	return 0;
}

static int on_slot(void *arg, const char *name, const struct store_ref *ref, bool snapshot)
{
	struct show *x = arg;
	if (snapshot)
		return 0;
	int failed = show_slot(x, name, ref);
	x->n++;
	return failed;
}

static int count_version(void *arg, const struct store_ref *ref)
{
	(void)arg, (void)ref;
	return 0;
}

static int on_snapshot(void *arg, const char *name, const struct store_ref *ref, bool snapshot)
{
	struct show *x = arg;
	if (!snapshot)
		return 0;
	int checkpoint = store_each_checkpoint_ref(x->v, name, count_version, NULL, x->e);
	if (checkpoint < 0)
		return -1;
	if (x->json) {
		str_adds(x->out, x->n++ ? ",{\"name\":" : "{\"name\":");
		json_put_str(x->out, name, strlen(name));
		str_addf(x->out, ",\"slot\":\"%s\",\"version\":%" PRId64 "%s}", ref->slot, ref->version,
		         checkpoint ? ",\"checkpoint\":true" : "");
	} else {
		str_addf(x->out, "snapshot %s: %s@%" PRId64 "%s\n", name, ref->slot, ref->version,
		         checkpoint ? ", with moments and the state of its run" : "");
	}
	return 0;
}

static int count_entry(void *arg, int64_t index, const char *json, size_t len)
{
	(void)json, (void)len;
	*(int64_t *)arg = index + 1;
	return 0;
}

int model_show(struct store_view *v, const char *path, bool json, struct str *out, struct err *e)
{
	struct show x = {v, json, out, e, 0};
	struct stat st;
	int64_t entries = 0;
	if (stat(path, &st))
		return err_errno(e, "%s", path);
	if (store_each_log(v, count_entry, &entries, e))
		return -1;
	if (json) {
		str_adds(out, "{\"path\":");
		json_put_str(out, path, strlen(path));
		str_addf(out, ",\"bytes\":%lld,\"layout\":%d,\"log\":%" PRId64 ",\"slots\":[", (long long)st.st_size,
		         STORE_LAYOUT, entries);
	} else {
		str_addf(out, "%s: %lld bytes, %" PRId64 " log entries\n", path, (long long)st.st_size, entries);
	}
	if (store_each_name(v, on_slot, &x, e))
		return -1;
	str_adds(out, json ? "],\"snapshots\":[" : "");
	x.n = 0;
	if (store_each_name(v, on_snapshot, &x, e))
		return -1;
	str_adds(out, json ? "]}\n" : "");
	return 0;
}

/* ---- verify ---- */

struct verify {
	struct store_view *v;
	struct model_verified *out;
	const struct store_ref *ref;
	struct err e;
};

static void fault(struct verify *x)
{
	x->out->faults++;
	str_addf(&x->out->lines, "%s\n", x->e.msg);
}

static int on_tensor(void *arg, const char *name, const struct store_tensor *t)
{
	struct verify *x = arg;
	(void)t;
	x->out->tensors++;
	if (store_check(x->v, x->ref, name, &x->e))
		fault(x);
	return 0;
}

static int on_version(void *arg, const struct store_ref *ref)
{
	struct verify *x = arg;
	x->ref = ref;
	x->out->versions++;
	if (store_each(x->v, ref, on_tensor, x, &x->e))
		fault(x);
	return 0;
}

static int on_blob(void *arg, const char *key, const void *data, size_t len)
{
	(void)key, (void)data, (void)len;
	++*(int64_t *)arg;
	return 0;
}

/* A slot's current version must be there; its blobs are read with their checksums. */
static int on_name(void *arg, const char *name, const struct store_ref *ref, bool snapshot)
{
	struct verify *x = arg;
	struct sums sum = {0};
	if (!store_each(x->v, ref, add_tensor, &sum, &x->e) && !sum.tensors) {
		err_set(&x->e, "'%s' is %s@%" PRId64 ", which has no tensors", name, ref->slot, ref->version);
		fault(x);
	}
	if (!snapshot && store_each_blob(x->v, name, "", on_blob, &x->out->blobs, &x->e))
		fault(x);
	return 0;
}

void model_verify(struct store_view *v, struct model_verified *out)
{
	struct verify x = {.v = v, .out = out};
	*out = (struct model_verified){0};
	str_init(&out->lines);
	if (store_each_version(v, on_version, &x, &x.e))
		fault(&x);
	if (store_each_name(v, on_name, &x, &x.e))
		fault(&x);
	if (store_each_blob(v, "", "", on_blob, &out->blobs, &x.e))
		fault(&x);
	if (store_each_log(v, count_entry, &out->entries, &x.e))
		fault(&x);
}

void model_show_verified(struct store_view *v, bool json, struct str *out, struct str *faults)
{
	struct model_verified m;
	model_verify(v, &m);
	str_addf(out,
	         json ? "{\"versions\":%" PRId64 ",\"tensors\":%" PRId64 ",\"blobs\":%" PRId64 ",\"log\":%" PRId64
	                ",\"faults\":%" PRId64 "}\n"
	              : "%" PRId64 " versions, %" PRId64 " tensors, %" PRId64 " blobs, %" PRId64
	                " log entries: %" PRId64 " faults\n",
	         m.versions, m.tensors, m.blobs, m.entries, m.faults);
	if (m.lines.len)
		str_add(faults, m.lines.buf, m.lines.len);
	str_release(&m.lines);
}
