/*
 * mma - the instructions that CUDA C++ has no words for: products of tensor cores, loads of their operands, and copies
 * that do not wait.
 *
 * One function each, the PTX and beside it the same for kernels/cuda/emu.  The
 * layouts are those of the PTX ISA, sections "Matrix Fragments for mma.m16n8k16
 * with floating point type" and "Warp-level matrix load instruction: ldmatrix".
 * All lanes of a warp call together.  mma_check.cu holds both to this text.
 *
 * With lane l, g = l / 4 and t = l % 4, register i of a fragment holds (lower
 * half first, where two 16-bit numbers share it):
 *   a[16 rows][16 k]   a0: row g,     k 2t, 2t+1       a1: row g + 8, k 2t, 2t+1
 *                      a2: row g,     k 2t+8, 2t+9     a3: row g + 8, k 2t+8, 2t+9
 *   b[16 k][8 cols]    b0: k 2t, 2t+1, col g           b1: k 2t+8, 2t+9, col g
 *   c[16 rows][8 cols] c0: row g, col 2t   c1: row g, col 2t+1   c2, c3: the same of row g + 8
 */
#ifndef KERNELS_CUDA_MMA_CUH
#define KERNELS_CUDA_MMA_CUH

#include <cuda_runtime.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

#ifdef CU_EMULATED

/* What a lane brings to a product.  Sums are float32, in rising k; a tensor core's order and rounding are its own. */
struct emu_mma {
	const uint32_t *a, *b;
	float *c;
	int bf16;
};

static inline float emu_half_of(const uint32_t *registers, int i, int bf16)
{
	uint16_t bits = (uint16_t)(registers[i / 2] >> i % 2 * 16);
	return bf16 ? __uint_as_float((uint32_t)bits << 16) : __half2float(__ushort_as_half(bits));
}

static inline void emu_act_mma(void **lanes, unsigned)
{
	struct emu_mma *const *l = (struct emu_mma *const *)lanes;
	float a[16][16], b[16][8];
	for (int lane = 0; lane < 32; lane++) {
		int g = lane / 4, t = lane % 4;
		for (int i = 0; i < 8; i++)
			a[g + (i / 2 % 2) * 8][2 * t + i % 2 + i / 4 * 8] = emu_half_of(l[lane]->a, i, l[lane]->bf16);
		for (int i = 0; i < 4; i++)
			b[2 * t + i % 2 + i / 2 * 8][g] = emu_half_of(l[lane]->b, i, l[lane]->bf16);
	}
	for (int lane = 0; lane < 32; lane++)
		for (int i = 0; i < 4; i++)
			for (int k = 0; k < 16; k++)
				l[lane]->c[i] =
				        fmaf(a[lane / 4 + i / 2 * 8][k], b[k][lane % 4 * 2 + i % 2], l[lane]->c[i]);
}

struct emu_ldmatrix {
	const uint16_t *row;
	uint32_t *to;
	int n, transposed;
};

static inline void emu_act_ldmatrix(void **lanes, unsigned)
{
	struct emu_ldmatrix *const *l = (struct emu_ldmatrix *const *)lanes;
	for (int i = 0; i < l[0]->n; i++)
		for (int lane = 0; lane < 32; lane++) {
			int g = lane / 4, t = lane % 4;
			uint32_t half[2];
			for (int h = 0; h < 2; h++) {
				int row = l[lane]->transposed ? 2 * t + h : g,
				    col = l[lane]->transposed ? g : 2 * t + h;
				const uint16_t *from = l[i * 8 + row]->row;
				if ((uintptr_t)from % 16)
					emu_abort("ldmatrix: the row of lane %d is not aligned to 16 bytes",
					          i * 8 + row);
				half[h] = from[col];
			}
			l[lane]->to[i] = half[0] | half[1] << 16;
		}
}

#endif

/* c += a b, 16-bit floats with 8 (bf16) or 5 (f16) bits of exponent */
static __device__ inline void cu_mma_bf16(float *c, const uint32_t *a, const uint32_t *b)
{
#ifdef CU_EMULATED
	struct emu_mma mine = {a, b, c, 1};
	emu_meet(0xffffffffu, "mma.sync", __LINE__, emu_act_mma, &mine);
#else
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
	             "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
	             : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

static __device__ inline void cu_mma_f16(float *c, const uint32_t *a, const uint32_t *b)
{
#ifdef CU_EMULATED
	struct emu_mma mine = {a, b, c, 0};
	emu_meet(0xffffffffu, "mma.sync", __LINE__, emu_act_mma, &mine);
#else
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
	             "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
	             : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

/*
 * N (1, 2, 4) matrices of 8 rows of 8 16-bit numbers, from shared memory: lane 8 i + j gives where row j of matrix i
 * begins, a multiple of 16 bytes.  to[i] gets of matrix i row g, columns 2t and 2t+1; with TRANSPOSED column g, rows 2t
 * and 2t+1.
 */
template <int N, int TRANSPOSED> static __device__ inline void cu_ldmatrix(uint32_t *to, const void *row)
{
	static_assert(N == 1 || N == 2 || N == 4, "x1, x2 or x4");
#ifdef CU_EMULATED
	struct emu_ldmatrix mine = {(const uint16_t *)row, to, N, TRANSPOSED};
	emu_meet(0xffffffffu, "ldmatrix", __LINE__, emu_act_ldmatrix, &mine);
#else
	unsigned at = (unsigned)__cvta_generic_to_shared(row);
	if (N == 1 && TRANSPOSED)
		asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
		             : "=r"(to[0])
		             : "r"(at)
		             : "memory");
	else if (N == 1)
		asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(to[0]) : "r"(at) : "memory");
	else if (N == 2 && TRANSPOSED)
		asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
		             : "=r"(to[0]), "=r"(to[N / 2])
		             : "r"(at)
		             : "memory");
	else if (N == 2)
		asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
		             : "=r"(to[0]), "=r"(to[N / 2])
		             : "r"(at)
		             : "memory");
	else if (TRANSPOSED)
		asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
		             : "=r"(to[0]), "=r"(to[N / 4]), "=r"(to[N / 2]), "=r"(to[N - 1])
		             : "r"(at)
		             : "memory");
	else
		asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
		             : "=r"(to[0]), "=r"(to[N / 4]), "=r"(to[N / 2]), "=r"(to[N - 1])
		             : "r"(at)
		             : "memory");
#endif
}

/*
 * Begins to copy 16 bytes from global to shared memory, both multiples of 16: the first `bytes` (0..16) of them, and
 * zeros for the rest.  They are there for this thread after cu_copy_wait, for others after a barrier behind that.
 */
static __device__ inline void cu_copy_async(void *shared, const void *global, int bytes)
{
#ifdef CU_EMULATED
	emu_copy_async(shared, global, bytes);
#else
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
	             :
	             : "r"((unsigned)__cvta_generic_to_shared(shared)), "l"(__cvta_generic_to_global(global)),
	               "r"(bytes)
	             : "memory");
#endif
}

/* Ends a group of copies. */
static __device__ inline void cu_copy_commit(void)
{
#ifdef CU_EMULATED
	emu_copy_commit();
#else
	asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* Waits for all groups of this thread but the last PENDING. */
template <int PENDING> static __device__ inline void cu_copy_wait(void)
{
#ifdef CU_EMULATED
	emu_copy_wait(PENDING);
#else
	asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#endif
}

/* Two floats rounded to nearest even, `low` in the lower half. */
static __device__ inline uint32_t cu_pack_bf16(float low, float high)
{
#ifdef CU_EMULATED
	return (uint32_t)__float2bfloat16_rn(high).bits << 16 | __float2bfloat16_rn(low).bits;
#else
	uint32_t both;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
	return both;
#endif
}

/* 2^x, a single instruction: within 2^-22 of the truth, 0 for -infinity and where it would be subnormal. */
static __device__ inline float cu_exp2(float x)
{
#ifdef CU_EMULATED
	return x < -126 ? 0 : exp2f(x);
#else
	float y;
	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
#endif
}

#endif
