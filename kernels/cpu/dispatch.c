/* dispatch - kernels_cpu(): memory, and the choice of an instruction set at run time */
#define KN_ISA plain
#include "kernels/cpu/cpu.h"

#include <stdlib.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define LINE 64 /* alignment of everything */

/*
 * calloc leaves fresh pages untouched, so a large buffer costs memory only where it is used.
 * The pointer it gave lies just before the aligned one.
 */
static void *cpu_alloc(void *ctx, size_t bytes)
{
	(void)ctx;
	if (bytes > SIZE_MAX - 2 * LINE)
		return NULL;
	char *given = calloc(1, bytes + 2 * LINE);
	if (!given)
		return NULL;
	char *p = given + 2 * LINE - (uintptr_t)given % LINE;
	memcpy(p - sizeof given, &given, sizeof given);
	return p;
}

static void cpu_free(void *ctx, void *p)
{
	(void)ctx;
	void *given = NULL;
	if (p)
		memcpy(&given, (char *)p - sizeof given, sizeof given);
	free(given);
}

static void cpu_copy(void *ctx, void *dst, const void *src, size_t bytes)
{
	(void)ctx;
	if (bytes)
		memcpy(dst, src, bytes);
}

static void cpu_zero(void *ctx, void *dst, size_t bytes)
{
	(void)ctx;
	if (bytes)
		memset(dst, 0, bytes);
}

static int cpu_sync(void *ctx, char *why, size_t why_len)
{
	(void)ctx;
	(void)why;
	(void)why_len;
	return 0;
}

static void cpu_memory(void *ctx, size_t *free_bytes, size_t *total, size_t *own)
{
	(void)ctx;
	*free_bytes = *total = *own = 0;
}

static void cpu_release(struct kernels *k)
{
	struct cpu *cpu = k->ctx;
	cpu_free(NULL, cpu->scratch);
	cpu_free(NULL, cpu);
	free(k);
}

#if defined(__x86_64__)
void kn_fill_table_avx512(struct kernels *k);
void kn_fill_table_avx2(struct kernels *k);

/* clang's __builtin_cpu_supports does not know this name */
static int has_f16c(void)
{
	unsigned a, b, c, d;
	return __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}

static int has_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

static int has_avx512(void)
{
	return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#elif defined(__aarch64__)
void kn_fill_table_neon(struct kernels *k);
#endif

static int always(void)
{
	return 1;
}

/* Best first. */
static void cpu_step_begin(void *ctx, int64_t key)
{
	(void)ctx;
	(void)key;
}

static void cpu_step_end(void *ctx)
{
	(void)ctx;
}

static const struct isa {
	const char *isa, *name;
	int (*usable)(void);
	void (*fill)(struct kernels *k);
} isas[] = {
#if defined(__x86_64__)
        {"avx512", "cpu-avx512", has_avx512, kn_fill_table_avx512},
        {"avx2", "cpu-avx2", has_avx2, kn_fill_table_avx2},
#elif defined(__aarch64__)
        {"neon", "cpu-neon", always, kn_fill_table_neon},
#endif
        {"plain", "cpu-plain", always, kn_fill_table_plain},
};

static const struct isa *isa_named(const char *name)
{
	for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
		if ((!name || !*name || !strcmp(name, isas[i].isa)) && isas[i].usable())
			return &isas[i];
	return NULL;
}

static struct cpu *cpu_new(const struct kn_par *par)
{
	struct cpu *cpu = cpu_alloc(NULL, sizeof *cpu);
	if (!cpu)
		return NULL;
	if (par)
		cpu->par = *par;
	if (!par || par->threads < 1)
		cpu->par.threads = 1;
	cpu->scratch = cpu_alloc(NULL, (size_t)cpu->par.threads * KN_SCRATCH);
	if (!cpu->scratch) {
		cpu_free(NULL, cpu);
		return NULL;
	}
	return cpu;
}

struct kernels *kernels_cpu(const struct kn_par *par, const char *isa)
{
	const struct isa *found = isa_named(isa);
	if (!found || (par && par->threads > KN_MAX_THREADS))
		return NULL;
	struct kernels *k = calloc(1, sizeof *k);
	struct cpu *cpu = k ? cpu_new(par) : NULL;
	if (!cpu) {
		free(k);
		return NULL;
	}
	*k = (struct kernels){.name = found->name, .ctx = cpu, .alloc = cpu_alloc, .free = cpu_free, .put = cpu_copy};
	k->get = cpu_copy;
	k->zero = cpu_zero;
	k->sync = cpu_sync;
	k->step_begin = cpu_step_begin;
	k->step_end = cpu_step_end;
	k->memory = cpu_memory;
	k->release = cpu_release;
	found->fill(k);
	return k;
}
