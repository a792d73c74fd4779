/*
 * mma_check - mma.cuh against the PTX ISA's description of each instruction.  TAP on stdout.
 *
 * The same program runs on a GPU, where it checks that the PTX is what was
 * meant, and on kernels/cuda/emu, where it checks that the emulated bodies do
 * the same.  Numbers are whole and small, so that every sum is exact.
 */
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/common.cuh"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static int results, failures;

static void result(int ok, const char *what)
{
	printf("%sok %d - mma: %s\n", ok ? "" : "not ", ++results, what);
	failures += !ok;
}

static void must(cudaError_t error, const char *what)
{
	if (error == cudaSuccess)
		return;
	printf("Bail out! %s: %s\n", what, cudaGetErrorString(error));
	exit(1);
}

static cudaStream_t stream;

template <typename T> static T *to_device(const T *host, int n)
{
	void *p = NULL;
	must(cudaMalloc(&p, (size_t)n * sizeof(T)), "cudaMalloc");
	if (host)
		must(cudaMemcpyAsync(p, host, (size_t)n * sizeof(T), cudaMemcpyHostToDevice, stream), "copy");
	return (T *)p;
}

template <typename T> static void to_host(T *host, T *device, int n)
{
	must(cudaGetLastError(), "launch");
	must(cudaMemcpyAsync(host, device, (size_t)n * sizeof(T), cudaMemcpyDeviceToHost, stream), "copy");
	must(cudaStreamSynchronize(stream), "kernel");
	must(cudaFree(device), "cudaFree");
}

/* A whole number of -16..16 as bits of a 16-bit float; exact in both formats. */
static uint16_t half_of(int x, int bf16)
{
	uint32_t sign = x < 0 ? 0x8000 : 0, a = (uint32_t)abs(x), e = 0;
	if (!a)
		return 0;
	while (a >> (e + 1))
		e++;
	return (uint16_t)(bf16 ? sign | (e + 127) << 7 | (a << (7 - e) & 0x7f)
	                       : sign | (e + 15) << 10 | (a << (10 - e) & 0x3ff));
}

/* ---- the product: fragments are filled and read by the formulas of the ISA, one element at a time ---- */

static __device__ inline int group_id(void)
{
	return threadIdx.x / 4;
}

static __device__ inline int in_group(void)
{
	return threadIdx.x % 4;
}

/* a: row = groupID for 0 <= i < 2 or 4 <= i < 6, else groupID + 8; col = threadID_in_group * 2 + (i & 1), + 8 for i >= 4
 * b: row = threadID_in_group * 2 + (i & 1), + 8 for i >= 2; col = groupID
 * c: row = groupID for i < 2, else groupID + 8; col = threadID_in_group * 2 + (i & 1) */
static __global__ void product_kernel(float *c, const uint16_t *a, const uint16_t *b, int bf16)
{
	uint32_t fa[4] = {0, 0, 0, 0}, fb[2] = {0, 0};
	float fc[4];
	for (int i = 0; i < 8; i++) {
		int row = i < 2 || (i >= 4 && i < 6) ? group_id() : group_id() + 8;
		int col = in_group() * 2 + (i & 1) + (i >= 4 ? 8 : 0);
		fa[i / 2] |= (uint32_t)a[row * 16 + col] << i % 2 * 16;
	}
	for (int i = 0; i < 4; i++) {
		int row = in_group() * 2 + (i & 1) + (i >= 2 ? 8 : 0);
		fb[i / 2] |= (uint32_t)b[row * 8 + group_id()] << i % 2 * 16;
	}
	for (int i = 0; i < 4; i++)
		fc[i] = c[(group_id() + (i < 2 ? 0 : 8)) * 8 + in_group() * 2 + (i & 1)];
	if (bf16)
		cu_mma_bf16(fc, fa, fb);
	else
		cu_mma_f16(fc, fa, fb);
	for (int i = 0; i < 4; i++)
		c[(group_id() + (i < 2 ? 0 : 8)) * 8 + in_group() * 2 + (i & 1)] = fc[i];
}

struct matrices {
	uint16_t a[16 * 16], b[16 * 8];
	float c[16 * 8], want[16 * 8];
};

/* c begins at 2^20, so that float32 sums are exact and 16-bit ones would not be. */
static void matrices_make(struct matrices *m, int bf16)
{
	int a[16][16], b[16][8];
	for (int i = 0; i < 16 * 16; i++)
		a[i / 16][i % 16] = i * 7 % 33 - 16;
	for (int i = 0; i < 16 * 8; i++)
		b[i / 8][i % 8] = i * i % 31 - 15;
	for (int i = 0; i < 16 * 16; i++)
		m->a[i] = half_of(a[i / 16][i % 16], bf16);
	for (int i = 0; i < 16 * 8; i++)
		m->b[i] = half_of(b[i / 8][i % 8], bf16);
	for (int i = 0; i < 16 * 8; i++) {
		int sum = (1 << 20) + i;
		m->c[i] = (float)sum;
		for (int k = 0; k < 16; k++)
			sum += a[i / 8][k] * b[k][i % 8];
		m->want[i] = (float)sum;
	}
}

static void check_product(int bf16)
{
	struct matrices m;
	matrices_make(&m, bf16);
	uint16_t *a = to_device(m.a, 16 * 16), *b = to_device(m.b, 16 * 8);
	float *c = to_device(m.c, 16 * 8);
	CU_QUEUE(product_kernel, 1, 32, 0, stream, c, a, b, bf16);
	to_host(m.c, c, 16 * 8);
	cudaFree(a);
	cudaFree(b);
	result(!memcmp(m.c, m.want, sizeof m.c), bf16 ? "m16n8k16, bf16" : "m16n8k16, f16");
}

/* ---- loads ---- */

#define PITCH 24 /* 16-bit numbers from one row in shared memory to the next: rows need not follow each other */
#define ROWS 32

static __global__ void load_kernel(uint32_t *out, int n, int transposed)
{
	__shared__ __align__(16) uint16_t x[ROWS * PITCH];
	for (int i = threadIdx.x; i < ROWS * PITCH; i += 32)
		x[i] = (uint16_t)(i / PITCH * 100 + i % PITCH);
	__syncthreads();
	/* lanes beyond 8 n give addresses that are not used */
	const uint16_t *row = x + threadIdx.x * PITCH + 8;
	uint32_t r[4] = {0, 0, 0, 0};
	if (n == 1 && transposed)
		cu_ldmatrix<1, 1>(r, row);
	else if (n == 1)
		cu_ldmatrix<1, 0>(r, row);
	else if (n == 2 && transposed)
		cu_ldmatrix<2, 1>(r, row);
	else if (n == 2)
		cu_ldmatrix<2, 0>(r, row);
	else if (transposed)
		cu_ldmatrix<4, 1>(r, row);
	else
		cu_ldmatrix<4, 0>(r, row);
	for (int i = 0; i < 4; i++)
		out[threadIdx.x * 4 + i] = r[i];
}

static void check_load(int n, int transposed)
{
	uint32_t got[32 * 4];
	char what[64];
	int ok = 1;
	uint32_t *out = to_device((const uint32_t *)NULL, 32 * 4);
	CU_QUEUE(load_kernel, 1, 32, 0, stream, out, n, transposed);
	to_host(got, out, 32 * 4);
	for (int lane = 0; lane < 32; lane++)
		for (int i = 0; i < 4; i++)
			for (int h = 0; h < 2; h++) {
				int major = lane / 4, minor = lane % 4 * 2 + h;
				int row = transposed ? minor : major, col = transposed ? major : minor;
				int want = i < n ? (i * 8 + row) * 100 + 8 + col : 0;
				ok &= (int)(got[lane * 4 + i] >> h * 16 & 0xffff) == want;
			}
	snprintf(what, sizeof what, "ldmatrix.x%d%s", n, transposed ? ".trans" : "");
	result(ok, what);
}

/* Row-major matrices in shared memory become a product: what a kernel does with these instructions. */
static __global__ void tile_kernel(float *c, const uint16_t *a, const uint16_t *b)
{
	__shared__ __align__(16) uint16_t as[16 * 16], bs[16 * 8];
	int lane = threadIdx.x;
	cu_copy_async(as + lane * 8, a + lane * 8, 16);
	if (lane < 16)
		cu_copy_async(bs + lane * 8, b + lane * 8, 16);
	cu_copy_commit();
	cu_copy_wait<0>();
	__syncthreads();
	uint32_t fa[4], fb[2];
	float fc[4];
	/* matrices of a in the order a0..a3: rows 0-7, rows 8-15, then the same of columns 8-15 */
	cu_ldmatrix<4, 0>(fa, as + (lane % 16) * 16 + lane / 16 * 8);
	cu_ldmatrix<2, 1>(fb, bs + (lane % 16) * 8);
	for (int i = 0; i < 4; i++)
		fc[i] = c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2];
	cu_mma_bf16(fc, fa, fb);
	for (int i = 0; i < 4; i++)
		c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = fc[i];
}

static void check_tile(void)
{
	struct matrices m;
	matrices_make(&m, 1);
	uint16_t *a = to_device(m.a, 16 * 16), *b = to_device(m.b, 16 * 8);
	float *c = to_device(m.c, 16 * 8);
	CU_QUEUE(tile_kernel, 1, 32, 0, stream, c, a, b);
	to_host(m.c, c, 16 * 8);
	cudaFree(a);
	cudaFree(b);
	result(!memcmp(m.c, m.want, sizeof m.c), "a product of row-major tiles by cp.async, ldmatrix and mma");
}

/* ---- copies ---- */

/* Three groups in flight over four stages; lane i of step s copies `bytes` of 16 and the rest is zero. */
static __global__ void copy_kernel(uint32_t *out, const uint32_t *in, int steps, int bytes)
{
	__shared__ __align__(16) uint32_t stage[4][32 * 4];
	int lane = threadIdx.x;
	for (int s = 0; s < 3; s++) {
		if (s < steps)
			cu_copy_async(stage[s] + lane * 4, in + (s * 32 + lane) * 4, bytes);
		cu_copy_commit();
	}
	for (int s = 0; s < steps; s++) {
		cu_copy_wait<2>();
		__syncthreads();
		/* of another lane's copy */
		for (int i = 0; i < 4; i++)
			out[(s * 32 + lane) * 4 + i] = stage[s % 4][(31 - lane) * 4 + i];
		if (s + 3 < steps)
			cu_copy_async(stage[(s + 3) % 4] + lane * 4, in + ((s + 3) * 32 + lane) * 4, bytes);
		cu_copy_commit();
	}
}

#define STEPS 9

static void check_copies(int bytes)
{
	static uint32_t in[STEPS * 128], got[STEPS * 128];
	char what[64];
	int ok = 1;
	for (int i = 0; i < STEPS * 128; i++)
		in[i] = (uint32_t)i * 2654435761u;
	uint32_t *from = to_device(in, STEPS * 128), *to = to_device((const uint32_t *)NULL, STEPS * 128);
	CU_QUEUE(copy_kernel, 1, 32, 0, stream, to, from, STEPS, bytes);
	to_host(got, to, STEPS * 128);
	cudaFree(from);
	for (int i = 0; i < STEPS * 128; i++) {
		int other = i / 128 * 128 + (31 - i % 128 / 4) * 4 + i % 4;
		ok &= got[i] == (i % 4 * 4 < bytes ? in[other] : 0);
	}
	snprintf(what, sizeof what, "cp.async of %d of 16 bytes, three groups in flight", bytes);
	result(ok, what);
}

/* ---- numbers ---- */

static __global__ void pack_kernel(uint32_t *out, const float *in)
{
	out[threadIdx.x] = cu_pack_bf16(in[2 * threadIdx.x], in[2 * threadIdx.x + 1]);
}

/* Halfway to nearest even, infinity, overflow by rounding, the smallest, signs; each in both halves. */
static void check_pack(void)
{
	static const uint32_t in[] = {0x3f808000, 0x3f818000, 0x3f808001, 0x3f817fff, 0x7f800000, 0xff800000,
	                              0x7f7fffff, 0x80000000, 0x00008001, 0xbf80ffff, 0x3f800000, 0x00000000,
	                              0xc1200000, 0x42f6e979, 0x3f818000, 0x3f808000};
	static const uint16_t want[] = {0x3f80, 0x3f82, 0x3f81, 0x3f81, 0x7f80, 0xff80, 0x7f80, 0x8000,
	                                0x0001, 0xbf81, 0x3f80, 0x0000, 0xc120, 0x42f7, 0x3f82, 0x3f80};
	uint32_t got[8];
	float *from = (float *)to_device(in, 16);
	uint32_t *to = to_device((const uint32_t *)NULL, 8);
	int ok = 1;
	CU_QUEUE(pack_kernel, 1, 8, 0, stream, to, from);
	to_host(got, to, 8);
	cudaFree(from);
	for (int i = 0; i < 16; i++)
		ok &= (uint16_t)(got[i / 2] >> i % 2 * 16) == want[i];
	result(ok, "two floats to bf16, to nearest even");
}

#define POWERS 4096

static __global__ void power_kernel(float *out, const float *in)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;
	out[i] = cu_exp2(in[i]);
}

static void check_power(void)
{
	static float in[POWERS], got[POWERS];
	double worst = 0;
	for (int i = 0; i < POWERS; i++)
		in[i] = -126 + (float)i * (128.f / POWERS);
	in[0] = -INFINITY;
	in[1] = -127;
	in[2] = 0;
	float *from = to_device(in, POWERS), *to = to_device((const float *)NULL, POWERS);
	CU_QUEUE(power_kernel, POWERS / 256, 256, 0, stream, to, from);
	to_host(got, to, POWERS);
	cudaFree(from);
	for (int i = 2; i < POWERS; i++)
		worst = fmax(worst, fabs(got[i] / exp2((double)in[i]) - 1));
	result(got[0] == 0 && got[1] == 0 && got[2] == 1 && worst <= 0x1p-22, "2^x, and 0 below 2^-126");
}

int main(void)
{
	int count = 0;
	if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
		printf("ok 1 # SKIP mma: no GPU\n1..1\n");
		return 0;
	}
	must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
	check_product(1);
	check_product(0);
	for (int n = 1; n <= 4; n *= 2)
		for (int transposed = 0; transposed < 2; transposed++)
			check_load(n, transposed);
	check_tile();
	for (int bytes = 0; bytes <= 16; bytes += 8)
		check_copies(bytes);
	check_pack();
	check_power();
	must(cudaStreamDestroy(stream), "cudaStreamDestroy");
	printf("1..%d\n", results);
	return failures != 0;
}
