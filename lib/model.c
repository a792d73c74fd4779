/* model - see model.h */
#include "lib/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/memory.h"
#include "lib/util.h"

const struct opt engine_options[] = {
        {"threads", 'j', OPT_INT, offsetof(struct engine_config, threads), "0", "N",
         "threads; 0: as many as this process may run on", .min = 0, .max = KN_MAX_THREADS},
        {"device", 0, OPT_STR, offsetof(struct engine_config, device), "cpu", "DEVICE",
         "where tensors are computed: cpu, cuda, cuda:N, or ref (plain and slow)", .min = 0},
        {"dtype", 0, OPT_CHOICE, offsetof(struct engine_config, dtype), "float32", "float32|bfloat16",
         "of weights and activations; bfloat16 is for cuda, and sums stay float32", .min = 0},
        {"batch-invariant", 0, OPT_FLAG, offsetof(struct engine_config, batch_invariant), NULL, NULL,
         "of bfloat16: a row has the same bits in any batch, slower", .min = 0},
        {"isa", 0, OPT_STR, offsetof(struct engine_config, isa), "", "NAME",
         "instruction set of the cpu: avx512, avx2, neon, plain; empty: the best there is", .min = 0},
        {NULL, .min = 0},
};

const struct opt engine_memory_options[] = {
        {"plan", 0, OPT_FLAG, offsetof(struct engine_config, plan), NULL, NULL,
         "print what memory is needed, and how much there is, and do nothing else", .min = 0},
        {"memory", 0, OPT_FLAG, offsetof(struct engine_config, memory), NULL, NULL,
         "say at the end what memory was needed", .min = 0},
        {NULL, .min = 0},
};

/* ---- engine ---- */

static struct kernels *open_cuda(const char *device, const struct engine_config *c, struct err *e)
{
	int64_t index = 0;
	char why[512];
	if (device[4] && (device[4] != ':' || !parse_i64(device + 5, &index) || index < 0 || index > 1023)) {
		err_set(e, "--device '%s' is none of cpu, cuda, cuda:N, ref", device);
		return NULL;
	}
	struct kn_cuda config = {(int)index, c->dtype == ENGINE_BFLOAT16 ? KN_BF16 : KN_F32, c->batch_invariant};
	struct kernels *k = kernels_cuda(&config, why, sizeof why);
	if (!k)
		err_set(e, "--device %s: %s", device, why);
	return k;
}

static struct kernels *open_backend(const struct engine *g, const struct engine_config *c, struct err *e)
{
	const char *device = c->device && *c->device ? c->device : "cpu", *isa = c->isa ? c->isa : "";
	if (c->batch_invariant && c->dtype != ENGINE_BFLOAT16) {
		err_set(e, "--batch-invariant is for --dtype bfloat16: float32 is always so");
		return NULL;
	}
	if (!strncmp(device, "cuda", 4))
		return open_cuda(device, c, e);
	if (c->dtype == ENGINE_BFLOAT16) {
		err_set(e, "--dtype bfloat16 is for --device cuda, but the device is '%s'", device);
		return NULL;
	}
	if (!strcmp(device, "ref"))
		return kernels_ref(&g->lent);
	if (strcmp(device, "cpu")) {
		err_set(e, "--device '%s' is none of cpu, cuda, cuda:N, ref", device);
		return NULL;
	}
	struct kernels *k = kernels_cpu(&g->lent, isa);
	if (!k && !*isa)
		err_set(e, "no memory for the scratch of %d threads", g->lent.threads);
	else if (!k)
		err_set(e, "--isa '%s' is not an instruction set of this machine and build (avx512, avx2, neon, plain)",
		        isa);
	return k;
}

int engine_open(struct engine *g, const struct engine_config *c, struct err *e)
{
	*g = (struct engine){.par = par_new((int)c->threads)};
	g->lent = (struct kn_par){g->par, par_threads(g->par), par_run};
	g->k = open_backend(g, c, e);
	if (g->k) {
		memory_watch(g->k);
		g->report = c->memory;
		return 0;
	}
	engine_close(g);
	return -1;
}

/* "0,2,3" as numbers: how many, or -1. */
static int parse_list(const char *text, int64_t gpu[COMM_MAX_RANKS])
{
	char *copy = xstrdup(text), *word, *rest = copy;
	int n = 0;
	while (n >= 0 && (word = strsep(&rest, ",")))
		n = n < COMM_MAX_RANKS && parse_i64(word, &gpu[n]) && gpu[n] >= 0 && gpu[n] < 1024 ? n + 1 : -1;
	free(copy);
	return n;
}

/* The rank's own out of "cuda" or a list; what is neither stays, for engine_open to judge.  *shared: ranks have one GPU
 * together. */
static int device_of_rank(const char **device, const struct comm *comm, char own[32], bool *shared, struct err *e)
{
	int64_t gpu[COMM_MAX_RANKS];
	int ranks = comm_ranks(comm), n = ranks;
	*shared = false;
	if (!*device || strncmp(*device, "cuda", 4) || (ranks == 1 && !strchr(*device, ',')))
		return 0;
	for (int i = 0; i < ranks; i++)
		gpu[i] = i;
	if ((*device)[4] && ((*device)[4] != ':' || (n = parse_list(*device + 5, gpu)) < 0))
		return 0;
	if (n != ranks)
		return err_set(e, "--device %s names %d GPUs, but --ranks is %d", *device, n, ranks);
	for (int i = 0; i < n; i++)
		for (int j = 0; j < i; j++)
			*shared |= gpu[i] == gpu[j];
	snprintf(own, 32, "cuda:%d", (int)gpu[comm_rank(comm)]);
	*device = own;
	return 0;
}

int engine_open_rank(struct engine *g, const struct engine_config *config, struct comm *comm, struct err *note,
                     struct err *e)
{
	struct engine_config c = *config;
	char own[32];
	bool shared;
	if (device_of_rank(&c.device, comm, own, &shared, e))
		return -1;
	if (comm_ranks(comm) > 1) {
		int64_t all = c.threads ? c.threads : par_usable(), ranks = comm_ranks(comm);
		c.threads = all / ranks + (comm_rank(comm) < all % ranks);
		c.threads += c.threads == 0;
	}
	return engine_open(g, &c, e) || comm_device(comm, g->k, shared, note, e) < 0 ? -1 : 0;
}

static void report(const struct engine *g)
{
	struct str s;
	str_init(&s);
	memory_use_json(memory_use(g->k), g->k, &s);
	cli_warn("memory %s", s.buf);
	str_release(&s);
}

void engine_close(struct engine *g)
{
	if (g->k) {
		if (g->report)
			report(g);
		memory_unwatch(g->k);
		kernels_free(g->k);
	}
	if (g->par)
		par_free(g->par);
	*g = (struct engine){0};
}

void model_info_release(struct model_info *m)
{
	tensors_release(&m->table);
	if (m->lora)
		lora_config_release(m->lora);
	free(m->lora);
	tokenizer_free(m->tokenizer);
	free(m->eos);
	*m = (struct model_info){.bos = -1};
}

bool model_is_eos(const struct model_info *m, int32_t token)
{
	for (int i = 0; i < m->n_eos; i++)
		if (m->eos[i] == token)
			return true;
	return false;
}
