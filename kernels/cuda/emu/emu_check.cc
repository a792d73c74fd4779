/*
 * emu_check - that the emulation sees what it is said to see: small kernels with one mistake each.  TAP on stdout.
 *
 * Each runs in a process of its own, with its own EMU_ variables, and ends
 * well or with a line that is looked for.
 */
#include "kernels/cuda/common.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/cuda/emu/emu.h"

extern "C" struct kernels *rl_kernels_cuda_open(size_t table_bytes, const struct kn_cuda *config, char *why,
                                                size_t why_len);

static const struct kn_cuda first_gpu = {0, KN_F32, 0};

static int results, failures;

static void result(int ok, const char *what, const char *said)
{
	printf("%sok %d - emulation: %s\n", ok ? "" : "not ", ++results, what);
	if (!ok && *said)
		printf("# it said: %s\n", said);
	fflush(stdout);
	failures += !ok;
}

/* Runs fn with `setting` (NAME=VALUE, or NULL) in the environment; what it returned, or -1 if it was ended by a signal.
 */
static int run(int (*fn)(void), const char *setting, char *said, size_t len)
{
	int ends[2], status;
	size_t n = 0;
	if (pipe(ends))
		abort();
	pid_t pid = fork();
	if (pid == 0) {
		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		close(ends[1]);
		if (setting)
			putenv((char *)setting);
		_exit(fn());
	}
	close(ends[1]);
	for (ssize_t got; n + 1 < len && (got = read(ends[0], said + n, len - 1 - n)) > 0; n += (size_t)got)
		continue;
	said[n] = 0;
	close(ends[0]);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- what kernels run on ---- */

static cudaStream_t stream;

static void *device_new(size_t bytes)
{
	void *p = NULL;
	if (!stream)
		cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
	cudaMalloc(&p, bytes);
	return p;
}

static float fetch(const float *p)
{
	float x = 0;
	cudaMemcpyAsync(&x, p, sizeof x, cudaMemcpyDeviceToHost, stream);
	cudaStreamSynchronize(stream);
	return x;
}

#define START(kernel, grid, block, ...) CU_QUEUE(kernel, grid, block, 0, stream, __VA_ARGS__)

/* ---- order ---- */

/* Each thread reads what another wrote; the sum is known. */
static __global__ void exchange_kernel(float *out, int barrier)
{
	__shared__ float x[256];
	x[threadIdx.x] = (float)threadIdx.x;
	if (barrier)
		__syncthreads();
	float other = x[255 - threadIdx.x];
	__syncthreads();
	x[threadIdx.x] = other;
	__syncthreads();
	float sum = 0;
	for (int i = 0; i < 256; i++)
		sum += x[i];
	if (threadIdx.x == 0)
		*out = sum;
}

static int exchange(int barrier)
{
	float *out = (float *)device_new(sizeof *out);
	START(exchange_kernel, 1, 256, out, barrier);
	return fetch(out) != 255 * 128;
}

static int with_barrier(void)
{
	return exchange(1);
}

static int without_barrier(void)
{
	return exchange(0);
}

/* The same within a warp. */
static __global__ void lanes_kernel(float *out, int barrier)
{
	__shared__ float x[32];
	x[threadIdx.x] = (float)threadIdx.x;
	if (barrier)
		__syncwarp();
	float sum = x[31 - threadIdx.x];
	for (int width = 16; width; width /= 2)
		sum += __shfl_xor_sync(0xffffffffu, sum, width);
	if (threadIdx.x == 0)
		*out = sum;
}

static int lanes(int barrier)
{
	float *out = (float *)device_new(sizeof *out);
	START(lanes_kernel, 1, 32, out, barrier);
	return fetch(out) != 31 * 16;
}

static int with_syncwarp(void)
{
	return lanes(1);
}

static int without_syncwarp(void)
{
	return lanes(0);
}

/* How many of 10 seeds give other numbers. */
static int wrong_of_seeds(int (*fn)(void))
{
	static const char *const seeds[] = {"EMU_SEED=1", "EMU_SEED=2", "EMU_SEED=3", "EMU_SEED=4", "EMU_SEED=5",
	                                    "EMU_SEED=6", "EMU_SEED=7", "EMU_SEED=8", "EMU_SEED=9", "EMU_SEED=10"};
	char said[512];
	int wrong = 0;
	for (const char *seed : seeds)
		wrong += run(fn, seed, said, sizeof said) != 0;
	return wrong;
}

/* ---- mistakes that end the process ---- */

static __global__ void broken_kernel(float *p, int mistake, int64_t at)
{
	__shared__ float x[64];
	int i = (int)threadIdx.x;
	if (mistake == 1 && i == 63)
		return;
	if (mistake == 2 && i < 32)
		__syncthreads();
	else
		__syncthreads();
	if (mistake == 3 && i == 5)
		return;
	if (mistake == 4)
		p[i] = x[i] = __shfl_sync(0x0000ffffu, 1.0f, 0);
	if (mistake == 5 && i < 16)
		x[i] = __shfl_sync(0x0000ffffu, 1.0f, 16);
	__syncwarp();
	if (mistake == 0 && i == 0)
		p[at] = x[i] = 1;
}

static int broken(int mistake, int64_t at, int launches)
{
	float *p = (float *)device_new(100 * sizeof *p);
	for (int i = 0; i < launches; i++)
		START(broken_kernel, 1, 64, p, mistake, at);
	cudaStreamSynchronize(stream);
	return 0;
}

static int right(void)
{
	return broken(0, 99, 3);
}

static int early_return(void)
{
	return broken(1, 0, 1);
}

static int two_barriers(void)
{
	return broken(2, 0, 1);
}

static int lane_ended(void)
{
	return broken(3, 0, 1);
}

static int not_in_mask(void)
{
	return broken(4, 0, 1);
}

static int reads_outside_mask(void)
{
	return broken(5, 0, 1);
}

static int writes_behind(void)
{
	return broken(0, 100, 1);
}

static int writes_far(void)
{
	return broken(0, 5000, 1);
}

static int uses_freed(void)
{
	float *p = (float *)device_new(400);
	cudaFree(p);
	START(broken_kernel, 1, 64, p, 0, 0);
	return 0;
}

static int gives_host(void)
{
	static float host[100];
	device_new(4);
	START(broken_kernel, 1, 64, host, 0, 0);
	return 0;
}

struct holder {
	int n;
	float *p;
};

static __global__ void holder_kernel(struct holder h)
{
	h.p[h.n] = 1;
}

static int gives_pinned(void)
{
	struct holder h = {0, NULL};
	device_new(4);
	cudaHostAlloc((void **)&h.p, 64, cudaHostAllocDefault);
	START(holder_kernel, 1, 1, h);
	return 0;
}

/* ---- memory and limits ---- */

/* The second block finds nothing of what the first wrote.  x is written somewhere, or it would be a constant. */
static __global__ void fresh_kernel(float *out)
{
	__shared__ float x[8];
	out[1] = x[threadIdx.x];
	x[threadIdx.x] = 1;
}

static int fresh(void)
{
	float *p = (float *)device_new(2 * sizeof *p);
	START(fresh_kernel, 2, 1, p);
	return !isnan(fetch(p)) || !isnan(fetch(p + 1));
}

static __global__ void dynamic_kernel(float *out, int n)
{
	CU_DYNAMIC_SHARED(shared);
	float *x = (float *)shared;
	x[n - 1] = 3;
	*out = x[n - 1];
}

static cudaError_t launch_dynamic(float *out, unsigned threads, size_t bytes)
{
	CU_QUEUE(dynamic_kernel, 1, threads, bytes, stream, out, (int)(bytes / sizeof(float)));
	return cudaGetLastError();
}

static int limits(void)
{
	float *out = (float *)device_new(sizeof *out);
	int ok = launch_dynamic(out, 1, 48 << 10) == cudaSuccess && fetch(out) == 3;
	ok &= launch_dynamic(out, 1, (48 << 10) + 4) == cudaErrorInvalidConfiguration;
	ok &= launch_dynamic(out, 1025, 4) == cudaErrorInvalidConfiguration;
	ok &= cudaFuncSetAttribute(dynamic_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (227 << 10) + 4) ==
	      cudaErrorInvalidValue;
	cudaGetLastError();
	ok &= cudaFuncSetAttribute(dynamic_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 << 10) ==
	      cudaSuccess;
	ok &= launch_dynamic(out, 1024, 227 << 10) == cudaSuccess && fetch(out) == 3;
	return !ok;
}

static __global__ void large_kernel(float *out)
{
	__shared__ float x[12 * 1024 + 1];
	x[threadIdx.x * 12 * 1024] = 1;
	*out = x[0];
}

static int too_much_static(void)
{
	float *out = (float *)device_new(sizeof *out);
	START(large_kernel, 1, 1, out);
	return 0;
}

/* 1 if a copy out of pinned memory brings what was written there after it was queued. */
static int late_copy(void)
{
	float *p = (float *)device_new(sizeof *p), *pinned = NULL;
	cudaHostAlloc((void **)&pinned, sizeof *pinned, cudaHostAllocDefault);
	*pinned = 1;
	cudaMemcpyAsync(p, pinned, sizeof *p, cudaMemcpyHostToDevice, stream);
	*pinned = 2;
	return fetch(p) == 2;
}

/* Many times what the ring of the backend holds, so that each of its segments is used again and again. */
static int through_the_ring(void)
{
	const size_t n = 6 << 20;
	char why[256];
	struct kernels *k = rl_kernels_cuda_open(sizeof *k, &first_gpu, why, sizeof why);
	float *x = (float *)malloc(n * sizeof *x), *y = (float *)malloc(n * sizeof *y);
	float *p = k ? (float *)k->alloc(k->ctx, n * sizeof *p) : NULL;
	if (!p || !x || !y)
		return 2;
	for (size_t i = 0; i < n; i++)
		x[i] = (float)i;
	for (int turn = 0; turn < 2; turn++)
		k->put(k->ctx, p, x, n * sizeof *p);
	k->get(k->ctx, y, p, n * sizeof *p);
	return memcmp(x, y, n * sizeof *x) != 0;
}

/* ---- the backend when there is too little, or something fails ---- */

/* What opening says, on stderr; 1 if it fails. */
static int opens(void)
{
	char why[256] = "";
	struct kernels *k = rl_kernels_cuda_open(sizeof *k, &first_gpu, why, sizeof why);
	fprintf(stderr, "%s\n", why);
	if (k)
		k->release(k);
	return !k;
}

/* Some ops and a clean end: 0 no error, 1 it was said, 2 memory was left, 3 a failure that was not said. */
static int some_ops(void)
{
	char why[256] = "";
	float x[64] = {1, 2, 3}, y[64] = {};
	const int32_t token[3] = {0, 1, 1};
	struct kernels *k = rl_kernels_cuda_open(sizeof *k, &first_gpu, why, sizeof why);
	if (!k)
		return *why && emu_device_bytes() == 0 ? 1 : 2;
	float *a = (float *)k->alloc(k->ctx, sizeof x), *b = (float *)k->alloc(k->ctx, sizeof x);
	int said = !a || !b;
	if (!said) {
		struct kn_block block = {a, 8};
		struct kn_mat w = {KN_F32, 8, 8, 1, &block};
		k->put(k->ctx, a, x, sizeof x);
		k->embed_fwd(k->ctx, b, &w, NULL, token, NULL, 3);
		k->matmul_fwd(k->ctx, b + 32, b, &w, NULL, 3);
		for (int i = 0; i < 3; i++) {
			k->step_begin(k->ctx, 3);
			k->embed_fwd(k->ctx, b, &w, NULL, token, NULL, 3);
			k->matmul_fwd(k->ctx, b + 32, b, &w, NULL, 3);
			k->step_end(k->ctx);
		}
		k->sum_squares(k->ctx, b, 24);
		k->get(k->ctx, y, b, sizeof y);
		said = k->sync(k->ctx, why, sizeof why) != 0;
	}
	int64_t calls = emu_calls(), fails = emu_setting("EMU_FAIL", 0);
	k->free(k->ctx, a);
	k->free(k->ctx, b);
	k->release(k);
	/* a call that frees may be the one that fails */
	if (emu_device_bytes() && !(fails > calls))
		return 2;
	return said ? 1 : fails > 0 && fails <= calls ? 3 : 0;
}

/* How many of ten steps were launched as graphs: all but the first, and the first with other weights. */
static int graphs(void)
{
	char why[256] = "";
	const int32_t token[3] = {0, 1, 1};
	struct kernels *k = rl_kernels_cuda_open(sizeof *k, &first_gpu, why, sizeof why);
	float *a = (float *)k->alloc(k->ctx, 512), *b = (float *)k->alloc(k->ctx, 512);
	for (int i = 0; i < 10; i++) {
		struct kn_block block = {i < 6 ? a : a + 64, 8};
		struct kn_mat w = {KN_F32, 8, 8, 1, &block};
		k->step_begin(k->ctx, 3);
		k->embed_fwd(k->ctx, b, &w, NULL, token, NULL, 3);
		k->matmul_fwd(k->ctx, b + 32, b, &w, NULL, 3);
		k->step_end(k->ctx);
	}
	int failed = k->sync(k->ctx, why, sizeof why);
	k->free(k->ctx, a);
	k->free(k->ctx, b);
	k->release(k);
	return failed || emu_device_bytes() ? 100 : (int)emu_graph_launches();
}

/* A copy in a graph reads the host's memory when it is launched; nothing is done before; waiting is refused. */
static int captures(void)
{
	cudaGraph_t graph;
	cudaGraphExec_t exec;
	int *host, *device = (int *)device_new(sizeof *device), got = 0;
	cudaHostAlloc((void **)&host, sizeof *host, cudaHostAllocDefault);
	*host = 1;
	cudaMemsetAsync(device, 0, sizeof *device, stream);
	cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
	cudaMemcpyAsync(device, host, sizeof *device, cudaMemcpyHostToDevice, stream);
	int bad = cudaStreamEndCapture(stream, &graph) || cudaGraphInstantiate(&exec, graph, 0);
	cudaMemcpyAsync(&got, device, sizeof got, cudaMemcpyDeviceToHost, stream);
	bad |= got != 0;
	*host = 2;
	cudaGraphLaunch(exec, stream);
	cudaMemcpyAsync(&got, device, sizeof got, cudaMemcpyDeviceToHost, stream);
	bad |= got != 2;
	cudaGraphExecDestroy(exec);
	cudaGraphDestroy(graph);
	cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
	bad |= cudaStreamSynchronize(stream) != cudaErrorStreamCaptureUnsupported;
	bad |= cudaStreamEndCapture(stream, &graph) != cudaErrorStreamCaptureUnsupported;
	return bad;
}

/* Each call of the runtime fails once. */
static void check_failures(const char *setting, const char *what)
{
	char said[512], fail[64], where[64] = "";
	int n = 1, ok = 1, code = 1;
	putenv((char *)setting);
	for (; n < 1000 && code != 0; n++) {
		snprintf(fail, sizeof fail, "EMU_FAIL=%d", n);
		code = run(some_ops, fail, said, sizeof said);
		if (code != 0 && code != 1) {
			ok = 0;
			snprintf(where, sizeof where, "call %d fails: %d", n, code);
		}
	}
	unsetenv("RL_CUDA_PRODUCTS");
	result(ok && n > 30 && n < 1000, what, where);
}

static void check_ends(int (*fn)(void), const char *words, const char *what)
{
	char said[4096];
	int code = run(fn, NULL, said, sizeof said);
	result(code == -1 && strstr(said, words), what, said);
}

static void check_code(int (*fn)(void), const char *setting, int want, const char *words, const char *what)
{
	char said[4096];
	int code = run(fn, setting, said, sizeof said);
	result(code == want && strstr(said, words), what, said);
}

int main(void)
{
	result(wrong_of_seeds(with_barrier) == 0, "a right exchange in a block has one result", "");
	result(wrong_of_seeds(without_barrier) >= 9, "without __syncthreads it has others", "");
	result(wrong_of_seeds(with_syncwarp) == 0, "a right exchange in a warp has one result", "");
	result(wrong_of_seeds(without_syncwarp) >= 9, "without __syncwarp it has others", "");
	check_code(right, NULL, 0, "", "a right kernel ends well");
	check_ends(early_return, "waits at __syncthreads", "a barrier that a thread that ended does not reach");
	check_ends(two_barriers, "waits at line", "two barriers for one");
	check_ends(lane_ended, "lane 5 of the mask 0xffffffff has ended", "a lane of the mask has ended");
	check_ends(not_in_mask, "is not in its own mask", "a lane that is not in its mask");
	check_ends(reads_outside_mask, "reads lane 16, which is not in the mask",
	           "a lane that is read and not in the mask");
#ifdef __SANITIZE_ADDRESS__
	/* AddressSanitizer ends the process with its own status */
	check_code(writes_behind, NULL, 1, "AddressSanitizer", "a write just behind an allocation");
	check_code(writes_far, NULL, 1, "AddressSanitizer", "a write far from every allocation");
	check_code(uses_freed, NULL, 1, "AddressSanitizer", "a write to what was freed");
#else
	check_ends(writes_behind, "something wrote 0 bytes behind an allocation of 400 bytes",
	           "a write just behind an allocation");
	check_ends(writes_far, "kernel 'broken_kernel', block 0,0,0, thread 0,0,0: access to",
	           "a write far from every allocation");
	check_ends(uses_freed, "or freed", "a write to what was freed");
#endif
	check_ends(gives_host, "kernel 'broken_kernel' is given the address", "a kernel that is given host memory");
	check_ends(gives_pinned, "of pinned memory (byte 8 of an argument)", "a kernel that is given pinned memory");
	check_code(fresh, NULL, 0, "", "new memory and new shared memory are NaN");
	check_code(limits, NULL, 0, "", "threads and shared memory beyond the limits");
	check_code(late_copy, "EMU_DEFER=0", 0, "", "a pinned buffer used again after its copy");
	check_code(late_copy, "EMU_DEFER=1", 1, "", "a pinned buffer used again before its copy");
	check_ends(too_much_static, "has 49156 bytes of static shared memory, at most 49152",
	           "static shared memory that a compiler would refuse");
	check_code(through_the_ring, "EMU_DEFER=1", 0, "", "the backend's ring waits before a segment is used again");
	check_code(opens, "EMU_MEMORY=1000000", 1, "out of memory", "the backend on a device with too little memory");
	check_code(opens, "EMU_DEVICES=0", 1, "sees no GPU", "the backend without a device");
	check_code(opens, "EMU_CAPABILITY=7", 1, "has compute capability 7.0", "the backend on an old device");
	check_code(captures, NULL, 0, "", "work that is captured is done by the graph, with what the host holds then");
	check_code(graphs, NULL, 8, "", "steps become graphs when they are the same twice, and again after a change");
	check_code(graphs, "RL_CUDA_GRAPHS=off", 0, "", "none with RL_CUDA_GRAPHS=off");
	check_code(opens, "RL_CUDA_GRAPHS=of", 1, "must be 'on' or 'off'", "RL_CUDA_GRAPHS that is neither");
	check_failures("EMU_DEFER=0", "whichever call fails, the backend says so and leaves nothing");
	check_failures("RL_CUDA_PRODUCTS=cublas", "the same with the products of cuBLASLt");
	printf("1..%d\n", results);
	return failures != 0;
}
