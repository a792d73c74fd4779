/* AdamW over a table: what decays, what is multiplied, what is refused. */
#include "lib/optim.h"

#include "lib/decoder_test.h"

struct slabs {
	struct test_backend backend;
	struct test_model model;
	struct weights g;
	struct optim_moment m, v;
};

static bool slabs_open(struct slabs *s)
{
	struct err e;
	return test_backend_open(&s->backend, "", 1) &&
	       test_model_random(&s->model, s->backend.k, test_gpt2_config, true) &&
	       !optim_moment_init(&s->m, s->backend.k, &s->model.table, false, false, &e) &&
	       !optim_moment_init(&s->v, s->backend.k, &s->model.table, true, false, &e) &&
	       !weights_zero(&s->g, s->backend.k, &s->model.table, &e);
}

static void slabs_close(struct slabs *s)
{
	optim_moment_release(&s->m);
	optim_moment_release(&s->v);
	weights_release(&s->g);
	test_model_close(&s->model);
	test_backend_close(&s->backend);
}

static double gradient(int64_t j, int64_t step)
{
	return (float)sin((double)(j * 7 + step * 3)) * .5;
}

/* Loshchilov and Hutter's update in double, with torch's order of operations. */
static double expected(double w, int64_t j, int64_t steps, double lr, double decay, double scale)
{
	const double b1 = .8, b2 = .95, eps = 1e-6;
	double m = 0, v = 0;
	for (int64_t t = 1; t <= steps; t++) {
		double g = gradient(j, t) * scale;
		w *= 1 - lr * decay;
		m = b1 * m + (1 - b1) * g;
		v = b2 * v + (1 - b2) * g * g;
		w -= lr * (m / (1 - pow(b1, (double)t))) / (sqrt(v / (1 - pow(b2, (double)t))) + eps);
	}
	return w;
}

static void test_groups(enum optim_decay decay)
{
	struct slabs s = {0};
	if (!slabs_open(&s)) {
		test_fail(__FILE__, __LINE__, "no model");
		return;
	}
	const struct tensors *table = &s.model.table;
	struct optim_config c = {.weight_decay = .5, .eps = 1e-6, .beta1 = .8, .beta2 = .95, .decay = (int)decay};
	float *before = xmalloc((size_t)table->size * sizeof *before);
	memcpy(before, s.model.w.slab, (size_t)table->size * sizeof *before);
	for (int64_t step = 1; step <= 3; step++) {
		for (int64_t j = 0; j < table->size; j++)
			s.g.slab[j] = (float)gradient(j, step);
		optim_step(&c, .01, .03, .25, step, &s.model.w, &s.m, &s.v, &s.g);
	}
	for (int i = 0; i < table->n; i++) {
		const struct tensor *t = &table->tensor[i];
		bool plain = t->role == TENSOR_BIAS || t->role == TENSOR_GAIN;
		double wd = decay == DECAY_MATRICES && plain ? 0 : .5;
		for (int64_t j = t->offset; j < t->offset + t->count; j++)
			CHECK_NEAR(s.model.w.slab[j],
			           expected(before[j], j, 3, t->role == TENSOR_VALUE ? .03 : .01, wd, .25), 1e-6);
	}
	free(before);
	slabs_close(&s);
}

/* torch.optim.SGD(momentum) in double, and the decay of AdamW. */
static void test_sgd(double momentum)
{
	struct slabs s = {0};
	if (!slabs_open(&s)) {
		test_fail(__FILE__, __LINE__, "no model");
		return;
	}
	const struct tensors *table = &s.model.table;
	struct optim_config c = {.kind = OPTIM_SGD, .momentum = momentum, .weight_decay = .5};
	float *before = xmalloc((size_t)table->size * sizeof *before);
	memcpy(before, s.model.w.slab, (size_t)table->size * sizeof *before);
	for (int64_t step = 1; step <= 4; step++) {
		for (int64_t j = 0; j < table->size; j++)
			s.g.slab[j] = (float)gradient(j, step);
		optim_step(&c, .01, .03, .25, step, &s.model.w, &s.m, NULL, &s.g);
	}
	for (int i = 0; i < table->n; i++) {
		const struct tensor *t = &table->tensor[i];
		double lr = t->role == TENSOR_VALUE ? .03 : .01;
		double decay = t->role == TENSOR_BIAS || t->role == TENSOR_GAIN ? 0 : .5;
		for (int64_t j = t->offset; j < t->offset + t->count; j++) {
			double w = before[j], buffer = 0;
			for (int64_t step = 1; step <= 4; step++) {
				buffer = step == 1 ? gradient(j, 1) * .25 : momentum * buffer + gradient(j, step) * .25;
				w = w * (1 - lr * decay) - lr * buffer;
			}
			CHECK_NEAR(s.model.w.slab[j], w, 2e-7 * fmax(1, fabs(w)));
			CHECK_NEAR(s.m.slab[j], buffer, 1e-6);
		}
	}
	free(before);
	slabs_close(&s);
}

/* By the names that transformers gives. */
static enum optim_group group_by_name(const char *name)
{
	if (strstr(name, "ln_") || strstr(name, "norm"))
		return GROUP_NORM;
	if (strstr(name, "wte") || strstr(name, "wpe") || strstr(name, "embed"))
		return GROUP_EMBED;
	return strstr(name, "attn")      ? GROUP_ATTN
	       : strstr(name, "mlp")     ? GROUP_MLP
	       : strstr(name, "lm_head") ? GROUP_HEAD
	                                 : GROUP_VALUE;
}

static void check_groups(const struct weights *g, const double group[GROUP_COUNT], double all)
{
	const struct tensors *table = g->table;
	double want[GROUP_COUNT] = {0}, sum = 0;
	for (int i = 0; i < table->n; i++)
		for (int64_t j = 0; j < table->tensor[i].count; j++) {
			double x = g->slab[table->tensor[i].offset + j];
			want[group_by_name(table->tensor[i].name)] += x * x;
		}
	for (int i = 0; i < GROUP_COUNT; i++) {
		CHECK_NEAR(group[i], want[i], 1e-9 * all);
		CHECK(optim_has_group(table, i) == (want[i] > 0));
		sum += group[i];
	}
	CHECK_NEAR(sum, all, 1e-9 * all);
	CHECK(want[GROUP_VALUE] > 0 && want[GROUP_EMBED] > 0 && want[GROUP_NORM] > 0);
}

static void test_sums(void)
{
	struct slabs s = {0};
	if (!slabs_open(&s)) {
		test_fail(__FILE__, __LINE__, "no model");
		return;
	}
	const struct tensors *table = &s.model.table;
	double want = 0;
	for (int i = 0; i < table->n; i++)
		for (int64_t j = 0; j < table->tensor[i].count; j++) {
			int64_t at = table->tensor[i].offset + j;
			s.g.slab[at] = (float)gradient(at, 1);
			want += (double)s.g.slab[at] * s.g.slab[at];
		}
	double group[GROUP_COUNT] = {0};
	CHECK_NEAR(optim_sum_squares(&s.g, group), want, 1e-9 * want);
	test_case("optim: the groups of a model are all of it");
	check_groups(&s.g, group, want);

	test_case("optim: a tensor that is not finite is named, with both numbers");
	struct err e = {""};
	CHECK_INT(optim_check_finite(&s.g, "gradient of", &e), 0);
	const struct tensor *t = &table->tensor[table->n - 2];
	s.g.slab[t->offset + 3] = NAN;
	s.g.slab[t->offset + 1] = -INFINITY;
	CHECK_INT(optim_check_finite(&s.g, "gradient of", &e), -1);
	char text[160];
	snprintf(text, sizeof text, "gradient of '%s' has 2 of %lld elements that are NaN or infinite", t->name,
	         (long long)t->count);
	CHECK_STR(e.msg, text);
	slabs_close(&s);
}

static void test_critic_rate(void)
{
	struct optim_config c = {.critic_lr = -1, .schedule = {.lr = 2, .kind = SCHEDULE_LINEAR}};
	CHECK(optim_critic_rate(&c, 1, 4) == 1.5);
	c.critic_lr = 8;
	CHECK(optim_critic_rate(&c, 1, 4) == 6);
	c.schedule.lr = c.critic_lr = 0;
	CHECK(optim_critic_rate(&c, 1, 4) == 0);
}

static void test_options(void)
{
	struct optim_config c = {.betas = "0.9,0.95"};
	optim_check(&c, 0);
	CHECK(c.beta1 == .9 && c.beta2 == .95);
	c = (struct optim_config){.betas = "0,0", .schedule = {.kind = SCHEDULE_LINEAR}};
	optim_check(&c, 3);
	CHECK(c.beta1 == 0 && c.beta2 == 0);
}

int main(void)
{
	test_case("optim: AdamW of every tensor, biases and gains do not decay, the value head has a rate of its own");
	test_groups(DECAY_MATRICES);
	test_case("optim: with decay all, everything decays");
	test_groups(DECAY_ALL);
	test_case("optim: SGD with momentum of every tensor");
	test_sgd(.9);
	test_case("optim: SGD without momentum, and with all of it");
	test_sgd(0);
	test_sgd(1);
	test_case("optim: the squares of all tensors are summed");
	test_sums();
	test_case("optim: the critic's rate follows the same schedule");
	test_critic_rate();
	test_case("optim: betas are read");
	test_options();
	return test_done();
}
