/*
 * Gradients and bits of the whole model, on random weights: finite differences of a loss that has every term (log-probs
 * at temperatures, entropies, values), and memcmp between ways of computing the same thing.
 */
#include "lib/decoder_test.h"

enum { SEQS = 5 };
static const int64_t seq_len[SEQS] = {7, 1, 33, 2, 18}, seq_prompt[SEQS] = {3, 1, 12, 2, 1};

static const char qwen3_config[] =
        "{\"model_type\":\"qwen3\",\"architectures\":[\"Qwen3ForCausalLM\"],\"hidden_act\":\"silu\",\"hidden_size\":40,"
        "\"intermediate_size\":56,\"max_position_embeddings\":96,\"num_attention_heads\":4,\"num_hidden_layers\":2,"
        "\"num_key_value_heads\":2,\"head_dim\":14,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,"
        "\"tie_word_embeddings\":true,\"vocab_size\":137,\"attention_bias\":false}";
static const char mistral_config[] =
        "{\"model_type\":\"mistral\",\"architectures\":[\"MistralForCausalLM\"],\"hidden_act\":\"silu\",\"hidden_"
        "size\":40,"
        "\"intermediate_size\":56,\"max_position_embeddings\":96,\"num_attention_heads\":4,\"num_hidden_layers\":3,"
        "\"num_key_value_heads\":2,\"sliding_window\":6,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,"
        "\"tie_word_embeddings\":false,\"vocab_size\":137}";
static const struct {
	const char *name, *config, *lora; /* lora: an adapter on these matrices is trained */
	double dropout;
} model[] = {{"gpt2", test_gpt2_config, NULL, 0},
             {"llama", test_llama_config, NULL, 0},
             {"mistral", mistral_config, NULL, 0},
             {"qwen3", qwen3_config, NULL, 0},
             {"gpt2, adapter", test_gpt2_config, "all-linear", 0},
             {"llama, adapter", test_llama_config, "q_proj,down_proj", 0},
             {"qwen3, adapter with dropout", qwen3_config, "all-linear", .25}};

static bool open_model(struct test_model *m, const struct kernels *k, size_t which)
{
	struct lora_config c = {.r = 5, .alpha = 3, .dropout = model[which].dropout};
	if (!test_model_random(m, k, model[which].config, true))
		return false;
	if (!model[which].lora)
		return true;
	c.modules = model[which].lora;
	lora_config_targets(&c, &m->arch);
	bool ok = test_model_adapter(m, &c, true);
	test_weights_random(&m->w);
	m->d.dropout = 7;
	lora_config_release(&c);
	return ok;
}

/* Sequences [from, to) of the five as one batch, and the rows of their completions. */
struct part {
	struct batch b;
	int32_t token[64], pos[64], target[64];
	float inv_temp[64], weight[64], entropy_weight[64], value_weight[64];
	int64_t row[64], M;
	struct kn_seq seq[SEQS];
};

static void part_fill(struct part *p, int from, int to, int64_t V)
{
	memset(p, 0, sizeof *p);
	for (int s = from; s < to; s++) {
		int64_t at = p->b.N, n = seq_len[s];
		p->seq[s - from] = (struct kn_seq){at, n, 0, 0, 0, at};
		for (int64_t t = 0; t < n; t++) {
			p->token[at + t] = (int32_t)((13 * s + 7 * t * t + t) % V);
			p->pos[at + t] = (int32_t)t;
			p->value_weight[at + t] = (float)(.03 * (double)((t + s) % 5) - .05);
		}
		for (int64_t t = seq_prompt[s]; t < n; t++, p->M++) {
			p->row[p->M] = at + t - 1;
			p->target[p->M] = p->token[at + t];
			p->inv_temp[p->M] = s % 2 ? 1 : 1.0F / .7F;
			p->weight[p->M] = (float)(.02 * (double)((t * 3 + s) % 7) - .07);
			p->entropy_weight[p->M] = (float)(.01 * (double)((t + 2 * s) % 4));
		}
		p->b.N += n;
	}
	p->b.n_seq = to - from;
	for (int i = 0; i < from; i++)
		p->b.first += seq_len[i];
	p->b.token = p->token;
	p->b.pos = p->pos;
	p->b.seq = p->seq;
}

/* The loss of a part; with g its gradient is added. */
static double loss(struct test_model *m, const struct part *p, struct activations *acts, struct weights *g)
{
	const struct kernels *k = m->k;
	int64_t C = m->arch.C, N = p->b.N, M = p->M;
	struct err e = {""};
	double sum = 0;
	float logprob[64], lse[64], entropy[64], values[64];
	float *h = xaligned((size_t)(N * C) * 4), *dh = xaligned((size_t)(N * C) * 4);
	float *hm = xaligned((size_t)(M * C) * 4), *dhm = xaligned((size_t)(M * C) * 4);
	CHECK_INT(decoder_forward(&m->d, &m->w, &p->b, NULL, acts, h, &e), 0);
	k->gather_rows(k->ctx, hm, h, p->row, M, C);
	CHECK_INT(decoder_head(&m->d, &m->w, hm, M, p->target, p->inv_temp, logprob, lse, entropy, NULL, true, &e), 0);
	CHECK_INT(decoder_values(&m->d, &m->w, h, N, values, &e), 0);
	for (int64_t i = 0; i < M; i++)
		sum += (double)p->weight[i] * logprob[i] + (double)p->entropy_weight[i] * entropy[i];
	for (int64_t i = 0; i < N; i++)
		sum += (double)p->value_weight[i] * values[i];
	if (g) {
		CHECK_INT(decoder_head_backward(&m->d, &m->w, hm, M, p->target, p->inv_temp, lse, entropy, p->weight,
		                                p->entropy_weight, dhm, g, &e),
		          0);
		k->scatter_rows(k->ctx, dh, dhm, p->row, M, C);
		CHECK_INT(decoder_values_backward(&m->d, &m->w, h, N, p->value_weight, dh, g, &e), 0);
		CHECK_INT(decoder_backward(&m->d, &m->w, &p->b, acts, dh, g, &e), 0);
	}
	float *all[] = {h, dh, hm, dhm};
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		free(all[i]);
	return sum;
}

/* The gradient over all sequences, cut into micro-batches before those whose bit is set in `cuts`. */
static void gradient(struct test_model *m, unsigned cuts, struct weights *g)
{
	struct activations *acts = activations_new(&m->d);
	struct part p;
	struct err e;
	CHECK_INT(weights_zero(g, m->k, &m->table, &e), 0);
	for (int from = 0, to; from < SEQS; from = to) {
		for (to = from + 1; to < SEQS && !(cuts >> to & 1); to++)
			;
		part_fill(&p, from, to, m->arch.V);
		loss(m, &p, acts, g);
	}
	decoder_backward_finish(&m->d, g);
	activations_free(acts);
}

/* Along one direction per tensor: (f(w + s v) - f(w - s v)) / 2s against g . v. */
static void test_differences(size_t which)
{
	char label[128];
	struct test_backend b;
	struct test_model m;
	struct weights g;
	struct part p;
	snprintf(label, sizeof label, "%s: finite differences of every tensor", model[which].name);
	test_case(label);
	CHECK(test_backend_open(&b, "ref", 1) && open_model(&m, b.k, which));
	gradient(&m, 0, &g);
	part_fill(&p, 0, SEQS, m.arch.V);
	struct activations *acts = activations_new(&m.d);
	for (int i = 0; i < m.table.n; i++) {
		const struct tensor *t = m.table.tensor + i;
		if (t->frozen)
			continue;
		float *w = m.w.slab + t->offset, *old = xcalloc((size_t)t->count, sizeof *old);
		double dot = 0, size = 0, f[2], step = 2e-2 / sqrt((double)t->count);
		memcpy(old, w, (size_t)t->count * sizeof *w);
		for (int side = 0; side < 2; side++) {
			for (int64_t j = 0; j < t->count; j++) {
				double v = ((j * 2654435761U >> 7) & 1 ? 1 : -1) * (side ? step : -step);
				w[j] = (float)(old[j] + v);
				dot += (side ? 1 : -1) * (double)g.slab[t->offset + j] * ((double)w[j] - old[j]);
				size += fabs((double)g.slab[t->offset + j]) * step;
			}
			f[side] = loss(&m, &p, acts, NULL);
		}
		/* what a float32 forward pass (5e-7) and the third derivative leave */
		if (!(fabs(f[1] - f[0] - dot) <= 2e-6 + 3e-3 * fabs(dot) + 1e-4 * size))
			test_fail(__FILE__, __LINE__, "%s: %.6g by differences, %.6g by the gradient", t->name,
			          f[1] - f[0], dot);
		memcpy(w, old, (size_t)t->count * sizeof *w);
		free(old);
	}
	activations_free(acts);
	weights_release(&g);
	test_model_close(&m);
	test_backend_close(&b);
	test_close();
}

static void test_gradient_bits(size_t which)
{
	static const struct {
		const char *isa;
		int threads;
		unsigned cuts;
	} way[] = {{"", 1, 0},      {"", 1, 0x1f},  {"", 1, 4},       {"", 2, 0},       {"", 2, 10},
	           {"plain", 1, 0}, {"avx2", 2, 8}, {"avx512", 2, 2}, {"neon", 1, 0x1f}};
	char label[160];
	float *first = NULL;
	snprintf(label, sizeof label,
	         "%s: gradients have the same bits for any micro-batches, threads, instruction set", model[which].name);
	test_case(label);
	for (size_t i = 0; i < ARRAY_LEN(way); i++) {
		struct test_backend b;
		struct test_model m;
		struct weights g;
		if (!test_backend_open(&b, way[i].isa, way[i].threads))
			continue;
		CHECK(open_model(&m, b.k, which));
		gradient(&m, way[i].cuts, &g);
		size_t bytes = (size_t)m.table.size * sizeof *first;
		if (!first) {
			first = xmalloc(bytes);
			memcpy(first, g.slab, bytes);
		}
		for (int t = 0; t < m.table.n; t++) {
			const struct tensor *x = m.table.tensor + t;
			if (!x->frozen &&
			    memcmp(first + x->offset, g.slab + x->offset, (size_t)x->count * sizeof *first))
				test_fail(__FILE__, __LINE__, "%s differs on '%s', %d threads, cuts %x", x->name,
				          way[i].isa, way[i].threads, way[i].cuts);
		}
		weights_release(&g);
		test_model_close(&m);
		test_backend_close(&b);
	}
	free(first);
	test_close();
}

/* The last sequence but two in pieces through a cache, its first tokens as a shared prefix, beside others. */
static void cached(struct test_model *m, const struct part *p, int64_t piece, float *h)
{
	struct kvcache c;
	struct err e = {""};
	int64_t C = m->arch.C, prefix = 5;
	CHECK_INT(kvcache_init(&c, m->k, &m->arch, 128, &e), 0);
	for (int s = 0; s < SEQS; s++) {
		int64_t shared = seq_len[s] > prefix ? prefix : 0, own = 10 + s * 5;
		for (int64_t t = 0, n; t < seq_len[s]; t += n) {
			int64_t end = t < shared ? shared : seq_len[s], at = p->seq[s].q_row + t;
			n = end - t < piece ? end - t : piece;
			struct kn_seq seq = t < shared ? (struct kn_seq){0, n, t, 0, 0, 60}
			                               : (struct kn_seq){0, n, t, 60, shared, own + 60};
			struct batch b = {n, 1, p->token + at, p->pos + at, &seq};
			CHECK_INT(decoder_forward(&m->d, &m->w, &b, &c, NULL, h + at * C, &e), 0);
		}
	}
	kvcache_release(&c);
}

static void test_forward_bits(size_t which)
{
	char label[160];
	struct test_backend b;
	struct test_model m;
	struct part p, one;
	struct err e = {""};
	snprintf(label, sizeof label, "%s: rows have the same bits in a batch, alone, and from the cache in pieces",
	         model[which].name);
	test_case(label);
	CHECK(test_backend_open(&b, "", 2) && open_model(&m, b.k, which));
	part_fill(&p, 0, SEQS, m.arch.V);
	size_t bytes = (size_t)(p.b.N * m.arch.C) * 4;
	float *all = xaligned(bytes), *other = xaligned(bytes);
	struct activations *acts = activations_new(&m.d);
	CHECK_INT(decoder_forward(&m.d, &m.w, &p.b, NULL, NULL, all, &e), 0);
	m.d.dropout = 0;
	CHECK_INT(decoder_forward(&m.d, &m.w, &p.b, NULL, acts, other, &e), 0);
	CHECK(!memcmp(all, other, bytes));
	for (int s = 0; s < SEQS; s++) {
		part_fill(&one, s, s + 1, m.arch.V);
		CHECK_INT(decoder_forward(&m.d, &m.w, &one.b, NULL, NULL, other, &e), 0);
		CHECK(!memcmp(all + p.seq[s].q_row * m.arch.C, other, (size_t)(one.b.N * m.arch.C) * 4));
	}
	for (int64_t piece = 1; piece <= 33; piece += 4) {
		memset(other, 0, bytes);
		cached(&m, &p, piece, other);
		CHECK(!memcmp(all, other, bytes));
	}
	activations_free(acts);
	free(all);
	free(other);
	test_model_close(&m);
	test_backend_close(&b);
	test_close();
}

/* Through the head with a reference, rows from..to-1 of HEAD_ROWS, forward and backward. */
enum { HEAD_ROWS = 2100 }; /* more than one call of the kernels takes */
struct head_rows {
	float *h, *rh, *dh, *lse, *logprob, *kl, *gap, *dkl, *dlogprob;
	int32_t *target;
	const struct decoder_reference *reference;
};

static void head_rows(struct test_model *m, const struct head_rows *r, int64_t from, int64_t to, bool keep,
                      struct weights *g)
{
	struct err e = {""};
	int64_t n = to - from, C = m->arch.C;
	struct decoder_kl kl = {*r->reference, r->rh + from * r->reference->d->arch->C, r->kl + from, r->gap + from,
	                        r->dkl + from};
	CHECK_INT(decoder_head_kl(&m->d, &m->w, r->h + from * C, n, r->target + from, NULL, r->logprob + from,
	                          r->lse + from, NULL, NULL, &kl, keep, &e),
	          0);
	CHECK_INT(decoder_head_kl_backward(&m->d, &m->w, r->h + from * C, n, r->target + from, NULL, r->lse + from,
	                                   NULL, r->dlogprob + from, NULL, &kl, r->dh + from * C, g, &e),
	          0);
}

static struct head_rows head_rows_new(int64_t C, int64_t ref_C, const struct decoder_reference *reference)
{
	struct head_rows r = {.reference = reference, .target = xcalloc(HEAD_ROWS, sizeof(int32_t))};
	struct {
		float **to;
		int64_t cols;
	} const want[] = {{&r.h, C},  {&r.rh, ref_C}, {&r.dh, C},  {&r.lse, 1},     {&r.logprob, 1},
	                  {&r.kl, 1}, {&r.gap, 1},    {&r.dkl, 1}, {&r.dlogprob, 1}};
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		int64_t n = HEAD_ROWS * want[i].cols;
		float *x = *want[i].to = xaligned((size_t)n * sizeof *x);
		for (int64_t j = 0; j < n; j++)
			x[j] = (float)((j * 2654435761U >> 9) % 1000) * 2e-3F - 1;
	}
	for (int64_t m = 0; m < HEAD_ROWS; m++)
		r.target[m] = (int32_t)(m * 31 % 131);
	return r;
}

static void head_rows_free(struct head_rows *r)
{
	float *const all[] = {r->h, r->rh, r->dh, r->lse, r->logprob, r->kl, r->gap, r->dkl, r->dlogprob};
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		free(all[i]);
	free(r->target);
}

static void test_reference_rows(void)
{
	struct test_backend b;
	struct test_model m, other;
	struct weights g[2];
	struct err e = {""};
	test_case("exact KL: rows have the same bits in calls of any size, logits kept or not");
	CHECK(test_backend_open(&b, "", 2) && test_model_random(&m, b.k, qwen3_config, false) &&
	      test_model_random(&other, b.k, mistral_config, false));
	struct decoder_reference reference = {&other.d, &other.w};
	struct head_rows r[2];
	for (int i = 0; i < 2; i++) {
		CHECK_INT(weights_zero(&g[i], b.k, &m.table, &e), 0);
		r[i] = head_rows_new(m.arch.C, other.arch.C, &reference);
		head_rows(&m, &r[i], 0, i ? 900 : HEAD_ROWS, i == 0, &g[i]);
	}
	head_rows(&m, &r[1], 900, 901, true, &g[1]);
	head_rows(&m, &r[1], 901, HEAD_ROWS, false, &g[1]);
	CHECK(!memcmp(r[0].kl, r[1].kl, HEAD_ROWS * sizeof(float)) && r[0].kl[2099] > 0);
	CHECK(!memcmp(r[0].logprob, r[1].logprob, HEAD_ROWS * sizeof(float)));
	CHECK(!memcmp(r[0].dh, r[1].dh, (size_t)(HEAD_ROWS * m.arch.C) * sizeof(float)));
	CHECK(!memcmp(g[0].slab, g[1].slab, (size_t)m.table.size * sizeof(float)));

	test_case("exact KL: a reference of another vocabulary is refused");
	struct kn_mat *head = &other.w.mat[tensors_part(&other.table, -1, PART_HEAD)];
	int64_t rows = head->rows;
	head->rows = 140;
	struct decoder_kl kl = {reference, r[0].rh, r[0].kl, r[0].gap, NULL};
	CHECK_INT(decoder_head_kl(&m.d, &m.w, r[0].h, 1, NULL, NULL, NULL, r[0].lse, NULL, NULL, &kl, false, &e), -1);
	CHECK(strstr(e.msg, "the reference has 140 tokens, but the policy 137"));
	head->rows = rows;
	for (int i = 0; i < 2; i++) {
		weights_release(&g[i]);
		head_rows_free(&r[i]);
	}
	test_model_close(&other);
	test_model_close(&m);
	test_backend_close(&b);
	test_close();
}

static void test_limits(void)
{
	struct test_backend b;
	struct test_model m;
	struct err e = {""};
	test_case("tokens and positions outside the model are refused");
	CHECK(test_backend_open(&b, "", 1) && test_model_random(&m, b.k, test_gpt2_config, false));
	int32_t token = 131, pos = 0;
	struct kn_seq seq = {0, 1, 0, 0, 0, 0};
	struct batch one = {1, 1, &token, &pos, &seq};
	float h[64];
	CHECK_INT(decoder_forward(&m.d, &m.w, &one, NULL, NULL, h, &e), -1);
	CHECK(strstr(e.msg, "131"));
	token = 3;
	pos = 64;
	CHECK_INT(decoder_forward(&m.d, &m.w, &one, NULL, NULL, h, &e), -1);
	CHECK(strstr(e.msg, "context is 64"));
	CHECK_INT(decoder_values(&m.d, &m.w, h, 1, h, &e), -1);
	CHECK(strstr(e.msg, "score.weight"));
	test_case("an empty batch is nothing");
	one.N = one.n_seq = 0;
	CHECK_INT(decoder_forward(&m.d, &m.w, &one, NULL, NULL, h, &e), 0);
	test_model_close(&m);
	test_backend_close(&b);
}

int main(void)
{
	for (size_t i = 0; i < ARRAY_LEN(model); i++) {
		test_differences(i);
		test_gradient_bits(i);
		test_forward_bits(i);
	}
	test_reference_rows();
	test_limits();
	return test_done();
}
