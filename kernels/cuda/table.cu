/* table - the context of a device: opening it, memory, copies, staging, errors, and the table itself */
#include "kernels/cuda/common.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CU_LEAST_MAJOR 8 /* compute capability 8.0, the oldest that is compiled for */

int cu_failed(struct cuda *cu, cudaError_t error, const char *what)
{
	if (error != cudaSuccess && !cu->failed) {
		cu->failed = 1;
		snprintf(cu->why, sizeof cu->why, "%s: %s; %s", what, cudaGetErrorString(error),
		         error == cudaErrorMemoryAllocation ? "nvidia-smi says who has the GPU's memory"
		                                            : "look at nvidia-smi and dmesg, then start again");
	}
	return cu->failed;
}

int cu_lt_failed(struct cuda *cu, cublasStatus_t status, const char *what)
{
	if (status != CUBLAS_STATUS_SUCCESS && !cu->failed) {
		cu->failed = 1;
		snprintf(cu->why, sizeof cu->why, "%s: %s; look at nvidia-smi and dmesg, then start again", what,
		         cublasLtGetStatusString(status));
	}
	return cu->failed;
}

int cu_enter(struct cuda *cu)
{
	return !cu->failed && !cu_failed(cu, cudaSetDevice(cu->device), "cudaSetDevice");
}

int cu_take(struct cuda *cu, void **p, size_t bytes, const char *what)
{
	if (cu_failed(cu, cudaMalloc(p, bytes), what))
		return 0;
	cu->own += bytes;
	return 1;
}

/* ---- the staging ring ---- */

static int ring_init(struct cuda *cu, size_t segment)
{
	struct cu_ring *r = &cu->ring;
	void *host = NULL, *device = NULL;
	if (cu_failed(cu, cudaHostAlloc(&host, CU_SEGMENTS * segment, cudaHostAllocDefault), "pinned memory"))
		return 0;
	if (!cu_take(cu, &device, CU_SEGMENTS * segment, "device memory for staging")) {
		cudaFreeHost(host);
		return 0;
	}
	r->host = (char *)host;
	r->device = (char *)device;
	r->segment = segment;
	r->used = 0;
	r->current = 0;
	return 1;
}

static void ring_release(struct cu_ring *r)
{
	cudaFreeHost(r->host);
	cudaFree(r->device);
	r->host = r->device = NULL;
}

/* Larger segments; everything that was sent has been used when this returns. */
static int ring_grow(struct cuda *cu, size_t bytes)
{
	size_t segment = cu->ring.segment;
	while (segment < bytes)
		segment *= 2;
	if (cu_failed(cu, cudaStreamSynchronize(cu->stream), "cudaStreamSynchronize"))
		return 0;
	cu->own -= CU_SEGMENTS * cu->ring.segment;
	ring_release(&cu->ring);
	return ring_init(cu, segment);
}

/*
 * An event marks the end of the copies out of a segment.  Kernels that read the mirror need no mark: the next copy into
 * it is queued behind them.
 */
static int ring_turn(struct cuda *cu)
{
	struct cu_ring *r = &cu->ring;
	if (cu_failed(cu, cudaEventRecord(r->done[r->current], cu->stream), "cudaEventRecord"))
		return 0;
	r->current = (r->current + 1) % CU_SEGMENTS;
	r->used = 0;
	return !cu_failed(cu, cudaEventSynchronize(r->done[r->current]), "cudaEventSynchronize");
}

void *cu_ring_take(struct cuda *cu, size_t bytes)
{
	struct cu_ring *r = &cu->ring;
	size_t whole = (bytes + 255) / 256 * 256;
	void *of_step = cu_step_now(cu) ? cu_step_take(cu, bytes) : NULL;
	if (of_step)
		return of_step;
	cu_step_flush(cu);
	if (cu->failed || (whole > r->segment && !ring_grow(cu, whole)))
		return NULL;
	if (r->used + whole > r->segment && !ring_turn(cu))
		return NULL;
	void *taken = r->host + (size_t)r->current * r->segment + r->used;
	r->used += whole;
	return taken;
}

const void *cu_ring_mirror(const struct cuda *cu, const void *taken)
{
	if (cu_step_holds(cu, taken))
		return cu_step_mirror(cu, taken);
	return cu->ring.device + ((const char *)taken - cu->ring.host);
}

const void *cu_ring_send(struct cuda *cu, const void *taken, size_t bytes)
{
	void *mirror = (void *)cu_ring_mirror(cu, taken);
	if (cu_step_now(cu))
		return mirror;
	cudaError_t error = cudaMemcpyAsync(mirror, taken, bytes, cudaMemcpyHostToDevice, cu->stream);
	return cu_failed(cu, error, "copy to the device") ? NULL : mirror;
}

const void *cu_stage(struct cuda *cu, const void *host, size_t bytes, int *ok)
{
	if (!host || !bytes)
		return NULL;
	const void *met = cu_step_find(cu, host, bytes);
	if (met)
		return met;
	void *taken = cu_ring_take(cu, bytes);
	if (taken)
		memcpy(taken, host, bytes);
	const void *there = taken ? cu_ring_send(cu, taken, bytes) : NULL;
	cu_step_keep(cu, host, bytes, there);
	*ok = *ok && there;
	return there;
}

/* ---- memory ---- */

/* Too little memory is the caller's to handle, and no error of the backend. */
static void *cuda_alloc(void *ctx, size_t bytes)
{
	struct cuda *cu = (struct cuda *)ctx;
	void *p = NULL;
	if (!cu_enter(cu))
		return NULL;
	cu_step_flush(cu);
	cudaError_t error = cudaMalloc(&p, bytes ? bytes : 1);
	if (error == cudaErrorMemoryAllocation)
		cudaGetLastError();
	if (error == cudaErrorMemoryAllocation || cu_failed(cu, error, "cudaMalloc"))
		return NULL;
	cu_failed(cu, cudaMemsetAsync(p, 0, bytes, cu->stream), "cudaMemsetAsync");
	return p;
}

static void cuda_free(void *ctx, void *p)
{
	struct cuda *cu = (struct cuda *)ctx;
	cudaSetDevice(cu->device);
	cu_step_flush(cu);
	cu_failed(cu, cudaFree(p), "cudaFree");
}

/* Through the ring, so that `host` may be pageable (a mapped file) and one segment is filled while another is sent. */
static void cuda_put(void *ctx, void *dst, const void *host, size_t bytes)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (!cu_enter(cu))
		return;
	cu_step_flush(cu);
	for (size_t at = 0, n; at < bytes; at += n) {
		n = bytes - at < CU_SEGMENT ? bytes - at : CU_SEGMENT;
		void *taken = cu_ring_take(cu, n);
		if (!taken)
			return;
		memcpy(taken, (const char *)host + at, n);
		cudaError_t error = cudaMemcpyAsync((char *)dst + at, taken, n, cudaMemcpyHostToDevice, cu->stream);
		if (cu_failed(cu, error, "put"))
			return;
	}
}

static void cuda_get(void *ctx, void *host, const void *src, size_t bytes)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (!bytes || !cu_enter(cu))
		return;
	cu_step_flush(cu);
	if (!cu_failed(cu, cudaMemcpyAsync(host, src, bytes, cudaMemcpyDeviceToHost, cu->stream), "get"))
		cu_failed(cu, cudaStreamSynchronize(cu->stream), "get");
}

static void cuda_zero(void *ctx, void *dst, size_t bytes)
{
	struct cuda *cu = (struct cuda *)ctx;
	if (!bytes || !cu_enter(cu))
		return;
	cu_step_flush(cu);
	cu_failed(cu, cudaMemsetAsync(dst, 0, bytes, cu->stream), "zero");
}

static int cuda_sync(void *ctx, char *why, size_t why_len)
{
	struct cuda *cu = (struct cuda *)ctx;
	cu_step_flush(cu);
	if (cu_enter(cu))
		cu_failed(cu, cudaStreamSynchronize(cu->stream), "a kernel");
	if (cu->failed && why_len)
		snprintf(why, why_len, "%s", cu->why);
	return cu->failed ? -1 : 0;
}

static void cuda_memory(void *ctx, size_t *free_bytes, size_t *total, size_t *own)
{
	struct cuda *cu = (struct cuda *)ctx;
	*free_bytes = *total = 0;
	*own = cu->own;
	cu_step_flush(cu);
	if (cu_enter(cu) && cu_failed(cu, cudaMemGetInfo(free_bytes, total), "cudaMemGetInfo"))
		*free_bytes = *total = 0;
}

/* ---- opening and closing ---- */

static void cuda_close(struct cuda *cu)
{
	cudaSetDevice(cu->device);
	if (cu->stream)
		cudaStreamSynchronize(cu->stream);
	cu_lt_release(cu);
	cu_steps_release(cu);
	ring_release(&cu->ring);
	for (int i = 0; i < CU_SEGMENTS; i++)
		if (cu->ring.done[i])
			cudaEventDestroy(cu->ring.done[i]);
	cudaFree(cu->sums);
	cudaFreeHost(cu->sums_host);
	if (cu->stream)
		cudaStreamDestroy(cu->stream);
	free(cu);
}

static void cuda_release(struct kernels *k)
{
	cuda_close((struct cuda *)k->ctx);
	free(k);
}

/* Everything that ops need, so that they allocate nothing. */
static int cuda_init(struct cuda *cu, int graphs_off)
{
	if (cu_failed(cu, cudaSetDevice(cu->device), "cudaSetDevice") ||
	    cu_failed(cu, cudaStreamCreateWithFlags(&cu->stream, cudaStreamNonBlocking), "cudaStreamCreate"))
		return 0;
	for (int i = 0; i < CU_SEGMENTS; i++)
		if (cu_failed(cu, cudaEventCreateWithFlags(&cu->ring.done[i], cudaEventDisableTiming),
		              "cudaEventCreate"))
			return 0;
	size_t bytes = CU_SUM_SLOTS * sizeof(double);
	return ring_init(cu, CU_SEGMENT) && cu_take(cu, &cu->sums, bytes, "device memory for sums") &&
	       !cu_failed(cu, cudaHostAlloc(&cu->sums_host, bytes, cudaHostAllocDefault), "pinned memory") &&
	       cu_steps_init(cu, graphs_off) && cu_lt_init(cu);
}

/* 1 if this device can be used, else why not and what to do. */
static int device_usable(int device, int *processors, char *why, size_t why_len)
{
	int count = 0, driver = 0, major = 0, minor = 0;
	cudaError_t error = cudaGetDeviceCount(&count);
	if (error == cudaErrorInsufficientDriver)
		cudaDriverGetVersion(&driver);
	if (error == cudaErrorInsufficientDriver && driver == 0)
		snprintf(why, why_len, "libcuda.so.1 is there but no NVIDIA driver answers; look at nvidia-smi");
	else if (error == cudaErrorInsufficientDriver)
		snprintf(why, why_len,
		         "the NVIDIA driver is for CUDA %d.%d and this build needs %d.%d; update the driver",
		         driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
	else if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0))
		snprintf(why, why_len, "the NVIDIA driver sees no GPU; look at nvidia-smi and CUDA_VISIBLE_DEVICES");
	else if (error != cudaSuccess)
		snprintf(why, why_len, "CUDA does not start: %s; look at nvidia-smi", cudaGetErrorString(error));
	else if (device < 0 || device >= count)
		snprintf(why, why_len, "no GPU %d; this machine has %d, counted from 0", device, count);
	else if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
	         cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess ||
	         cudaDeviceGetAttribute(processors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess)
		snprintf(why, why_len, "GPU %d does not answer: %s; look at nvidia-smi", device,
		         cudaGetErrorString(cudaGetLastError()));
	else if (major < CU_LEAST_MAJOR)
		snprintf(why, why_len, "GPU %d has compute capability %d.%d; this build needs %d.0 or later", device,
		         major, minor, CU_LEAST_MAJOR);
	else
		return 1;
	cudaGetLastError();
	return 0;
}

static void fill_table(struct kernels *k)
{
	const struct cuda *cu = (struct cuda *)k->ctx;
	if (cu->bf16)
		k->name = cu->any_order ? "cuda-bf16" : "cuda-bf16-invariant";
	else
		k->name = cu->any_order ? "cuda-cublas" : "cuda";
	k->real = cu->bf16 ? KN_BF16 : KN_F32;
	k->alloc = cuda_alloc;
	k->free = cuda_free;
	k->put = cuda_put;
	k->get = cuda_get;
	k->zero = cuda_zero;
	k->sync = cuda_sync;
	k->memory = cuda_memory;
	k->step_begin = cu_step_begin;
	k->step_end = cu_step_end;
	if (cu->bf16)
		cu_fill_bf16(k);
	else
		cu_fill(k);
	k->axpy = cu_axpy;
	k->draw = cu_draw;
	k->sum_squares = cu_sum_squares;
	k->count_nonfinite = cu_count_nonfinite;
	k->adamw = cu_adamw;
	k->adamw8 = cu_adamw8;
	k->to_bf16 = cu_to_bf16;
	k->from_bf16 = cu_from_bf16;
	k->release = cuda_release;
}

/*
 * Who makes the products.  Of float32 RL_CUDA_PRODUCTS: "fixed" (the default), in the orders of kernels.h, or "cublas",
 * in any order; of bf16 cuBLASLt, unless rows are to have the same bits in any batch.  0 if it is none of these.
 */
static int choose_products(struct cuda *cu, const struct kn_cuda *c, char *why, size_t why_len)
{
	const char *name = getenv("RL_CUDA_PRODUCTS");
	cu->any_order = cu->bf16 ? !c->batch_invariant : name && !strcmp(name, "cublas");
	if (cu->bf16 || !name || !*name || !strcmp(name, "fixed") || cu->any_order)
		return 1;
	snprintf(why, why_len, "RL_CUDA_PRODUCTS is '%s', but must be 'fixed' or 'cublas'", name);
	return 0;
}

/*
 * The one name that the loader looks up.  table_bytes is sizeof(struct kernels) of the caller, which must be ours.
 */
extern "C" __attribute__((visibility("default"))) struct kernels *rl_kernels_cuda_open(size_t table_bytes,
                                                                                       const struct kn_cuda *config,
                                                                                       char *why, size_t why_len)
{
	if (table_bytes != sizeof(struct kernels)) {
		snprintf(why, why_len, "rl-kernels-cuda.so is of another version of rlpipe; build both with one make");
		return NULL;
	}
	int processors = 0, graphs_off = 0;
	if (!device_usable(config->device, &processors, why, why_len))
		return NULL;
	struct kernels *k = (struct kernels *)calloc(1, sizeof *k);
	struct cuda *cu = (struct cuda *)calloc(1, sizeof *cu);
	if (!k || !cu)
		snprintf(why, why_len, "no memory");
	if (cu)
		cu->bf16 = config->real == KN_BF16;
	if (!k || !cu || !choose_products(cu, config, why, why_len) || !cu_graphs_off(&graphs_off, why, why_len)) {
		free(k);
		free(cu);
		return NULL;
	}
	cu->device = config->device;
	cu->processors = processors;
	if (!cuda_init(cu, graphs_off)) {
		snprintf(why, why_len, "%s", cu->why);
		cuda_close(cu);
		free(k);
		return NULL;
	}
	k->ctx = cu;
	fill_table(k);
	return k;
}
