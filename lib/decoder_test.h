/*
 * decoder_test - what the tests of the model share: safetensors files read plainly, and models loaded from directories.
 *
 * It reads only files beside the tree that tests trust; lib/safetensors.h is what reads files of others.
 */
#ifndef LIB_DECODER_TEST_H
#define LIB_DECODER_TEST_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/decoder.h"
#include "lib/lora.h"
#include "lib/par.h"
#include "lib/record.h"
#include "lib/test.h"
#include "lib/util.h"

static inline char *test_read(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	if (!f)
		return NULL;
	fseek(f, 0, SEEK_END);
	*len = (size_t)ftell(f);
	rewind(f);
	char *data = xmalloc(*len + 1);
	if (fread(data, 1, *len, f) != *len)
		*len = 0;
	data[*len] = 0;
	fclose(f);
	return data;
}

/* ---- safetensors ---- */

struct test_file {
	char *data;
	size_t header; /* length of the JSON */
	struct record *r;
};

static inline bool test_file_open(struct test_file *f, const char *path)
{
	size_t len;
	struct err e;
	memset(f, 0, sizeof *f);
	f->data = path ? test_read(path, &len) : NULL;
	if (!f->data || len < 8)
		return false;
	uint64_t n;
	memcpy(&n, f->data, 8);
	f->header = (size_t)n;
	f->r = record_new();
	return record_parse(f->r, f->data + 8, f->header, &e) == 0;
}

static inline void test_file_close(struct test_file *f)
{
	if (f->r)
		record_free(f->r);
	free(f->data);
	memset(f, 0, sizeof *f);
}

/* A tensor as doubles, owned by the caller; NULL when the file has none. */
static inline double *test_tensor(const struct test_file *f, const char *name, int64_t *count)
{
	struct json v, dtype, range;
	struct arena a;
	struct err e;
	int64_t n;
	double *at, *out = NULL;
	if (!f->r || record_json(f->r, name, &v, &e) < 0 || v.kind != JSON_OBJECT)
		return NULL;
	arena_init(&a);
	if (json_member(&v, "dtype", &dtype) && json_member(&v, "data_offsets", &range) &&
	    json_doubles(&range, name, &at, &n, &a, &e) == 0 && n == 2) {
		const char *p = f->data + 8 + f->header + (size_t)at[0];
		size_t bytes = (size_t)(at[1] - at[0]);
		bool wide = dtype.len == 3 && !memcmp(dtype.text, "I64", 3), brain = !memcmp(dtype.text, "BF16", 4);
		*count = (int64_t)(bytes / (wide ? 8 : brain ? 2 : 4));
		out = xcalloc((size_t)*count, sizeof *out);
		for (int64_t i = 0; i < *count; i++) {
			int64_t whole;
			uint32_t bits;
			uint16_t half;
			float x;
			if (wide) {
				memcpy(&whole, p + 8 * i, 8);
				out[i] = (double)whole;
				continue;
			}
			if (brain) {
				memcpy(&half, p + 2 * i, 2);
				bits = (uint32_t)half << 16;
			} else {
				memcpy(&bits, p + 4 * i, 4);
			}
			memcpy(&x, &bits, 4);
			out[i] = x;
		}
	}
	arena_release(&a);
	return out;
}

/* Whether the file has the tensor, and its values in the orientation of the table. */
static inline double *test_param(const struct test_file *f, const struct tensor *t, const char *prefix)
{
	char name[128];
	int64_t n;
	snprintf(name, sizeof name, "%s%s", prefix, t->name);
	double *x = test_tensor(f, name, &n);
	if (!x && !strncmp(t->name, "transformer.", 12)) {
		snprintf(name, sizeof name, "%s%s", prefix, t->name + 12);
		x = test_tensor(f, name, &n);
	}
	if (!x || n != t->count || !t->transposed)
		return x;
	double *y = xcalloc((size_t)n, sizeof *y);
	for (int64_t r = 0; r < t->rows; r++)
		for (int64_t c = 0; c < t->cols; c++)
			y[r * t->cols + c] = x[c * t->rows + r];
	free(x);
	return y;
}

/* ---- backends ---- */

struct test_backend {
	struct par *par;
	struct kn_par lent;
	struct kernels *k;
};

/* "cuda-bf16" or "cuda-bf16-invariant" by the emulated kernels beside this program, or those of RL_LIBDIR. */
static inline struct kernels *test_bf16(const char *name)
{
	struct kn_cuda config = {0, KN_BF16, !strcmp(name, "cuda-bf16-invariant")};
	char dir[1000], why[512];
	ssize_t n = readlink("/proc/self/exe", dir, sizeof dir - 32);
	dir[n > 0 ? n : 0] = 0;
	char *slash = strrchr(dir, '/');
	if (slash) {
		strcpy(slash, "/../emu");
		setenv("RL_LIBDIR", dir, 0);
	}
	struct kernels *k = kernels_cuda(&config, why, sizeof why);
	if (!k)
		printf("# %s\n", why);
	return k;
}

/* isa: "ref", a table of bf16, or an instruction set ("" the best).  false: the machine has it not. */
static inline bool test_backend_open(struct test_backend *b, const char *isa, int threads)
{
	b->par = par_new(threads);
	b->lent = (struct kn_par){b->par, par_threads(b->par), par_run};
	if (!strncmp(isa, "cuda", 4))
		b->k = test_bf16(isa);
	else
		b->k = strcmp(isa, "ref") ? kernels_cpu(&b->lent, isa) : kernels_ref(&b->lent);
	if (!b->k)
		par_free(b->par);
	return b->k != NULL;
}

static inline void test_backend_close(struct test_backend *b)
{
	kernels_free(b->k);
	par_free(b->par);
}

/* ---- models ---- */

struct test_model {
	const struct kernels *k;
	struct arch arch;
	struct tensors table;
	struct weights w;
	struct decoder d;
	struct tensors base_table; /* of an adapter */
	struct weights base;
};

static inline bool test_model_arch(struct test_model *m, const char *dir, bool with_value)
{
	char path[1100];
	size_t len;
	struct err e;
	snprintf(path, sizeof path, "%s/config.json", dir);
	char *config = test_read(path, &len);
	bool ok = config && arch_from_config(&m->arch, config, len, &e) == 0 &&
	          tensors_init(&m->table, &m->arch, with_value, &e) == 0;
	free(config);
	return ok;
}

/* From a Hugging Face directory; what no shard has (score.weight) stays zero.  false: a message on standard output. */
static inline bool test_model_open(struct test_model *m, const struct kernels *k, const char *dir, bool with_value)
{
	static const char *const shard[] = {"model.safetensors", "model-00001-of-00002.safetensors",
	                                    "model-00002-of-00002.safetensors"};
	struct err e = {""};
	memset(m, 0, sizeof *m);
	m->k = k;
	if (!test_model_arch(m, dir, with_value) || weights_zero(&m->w, k, &m->table, &e) ||
	    weights_shadow(&m->w, &e) || decoder_init(&m->d, &m->arch, &m->table, k, &e)) {
		printf("# %s: %s\n", dir, e.msg);
		return false;
	}
	int found = 0;
	for (size_t s = 0; s < ARRAY_LEN(shard); s++) {
		char path[1100];
		struct test_file f;
		snprintf(path, sizeof path, "%s/%s", dir, shard[s]);
		for (int i = 0; test_file_open(&f, path) && i < m->table.n; i++) {
			const struct tensor *t = m->table.tensor + i;
			double *x = test_param(&f, t, "");
			float *host = xcalloc((size_t)t->count, sizeof *host);
			for (int64_t j = 0; x && j < t->count; j++)
				host[j] = (float)x[j];
			if (x)
				k->put(k->ctx, m->w.slab + t->offset, host, (size_t)t->count * sizeof *host);
			found += x != NULL;
			free(host);
			free(x);
			test_file_close(&f);
		}
		test_file_close(&f);
	}
	weights_refresh(&m->w);
	if (found < m->table.n - with_value)
		printf("# %s: %d of %d tensors found\n", dir, found, m->table.n);
	return found >= m->table.n - with_value;
}

/* Random weights of the size that golden ones have: every tensor matters. */
static inline void test_weights_random(struct weights *w)
{
	uint32_t state = 12345;
	for (int i = 0; i < w->table->n; i++) {
		const struct tensor *t = &w->table->tensor[i];
		for (int64_t j = 0; j < t->count && !t->frozen; j++) {
			double sum = 0;
			for (int u = 0; u < 4; u++) {
				state = state * 1664525 + 1013904223;
				sum += (state >> 8) / 16777216.0 - .5;
			}
			w->slab[t->offset + j] = (float)(sum * .35 + (t->role == TENSOR_GAIN));
		}
	}
}

/* The model becomes the base of an adapter of this config, whose A and B are zero. */
static inline bool test_model_adapter(struct test_model *m, const struct lora_config *c, bool with_value)
{
	struct err e = {""};
	m->base = m->w;
	m->base_table = m->table;
	m->base.table = &m->base_table;
	decoder_release(&m->d);
	if (tensors_init(&m->table, &m->arch, with_value, &e) || lora_tensors(&m->table, c, true, &e) ||
	    weights_zero(&m->w, m->k, &m->table, &e) || decoder_init(&m->d, &m->arch, &m->table, m->k, &e)) {
		printf("# %s\n", e.msg);
		return false;
	}
	for (int i = 0; i < m->base_table.n; i++)
		if (m->table.tensor[i].frozen)
			m->w.mat[i] = m->base.mat[i];
		else
			memcpy(m->w.slab + m->table.tensor[i].offset, m->base.slab + m->base_table.tensor[i].offset,
			       (size_t)m->table.tensor[i].count * sizeof(float));
	return true;
}

/* From a config alone. */
static inline bool test_model_random(struct test_model *m, const struct kernels *k, const char *config, bool with_value)
{
	struct err e = {""};
	memset(m, 0, sizeof *m);
	m->k = k;
	if (arch_from_config(&m->arch, config, strlen(config), &e) ||
	    tensors_init(&m->table, &m->arch, with_value, &e) || weights_zero(&m->w, k, &m->table, &e) ||
	    decoder_init(&m->d, &m->arch, &m->table, k, &e)) {
		printf("# %s\n", e.msg);
		return false;
	}
	test_weights_random(&m->w);
	return true;
}

static inline void test_model_close(struct test_model *m)
{
	decoder_release(&m->d);
	weights_release(&m->w);
	weights_release(&m->base);
	tensors_release(&m->table);
	tensors_release(&m->base_table);
}

static const char test_gpt2_config[] =
        "{\"model_type\":\"gpt2\",\"architectures\":[\"GPT2LMHeadModel\"],\"activation_function\":\"gelu_new\","
        "\"n_embd\":48,\"n_head\":4,\"n_layer\":2,\"n_positions\":64,\"vocab_size\":131,\"layer_norm_epsilon\":1e-5}";
static const char test_llama_config[] =
        "{\"model_type\":\"llama\",\"architectures\":[\"LlamaForCausalLM\"],\"hidden_act\":\"silu\",\"hidden_size\":40,"
        "\"intermediate_size\":56,\"max_position_embeddings\":96,\"num_attention_heads\":4,\"num_hidden_layers\":2,"
        "\"num_key_value_heads\":2,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"tie_word_embeddings\":false,"
        "\"vocab_size\":1100}";

#endif
