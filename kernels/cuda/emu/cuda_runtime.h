/*
 * cuda_runtime - what kernels/cuda uses of CUDA C++ and its runtime, for an ordinary C++ compiler.
 *
 * Found first by -I, so that the .cu files run on the CPU: each thread of a block is a fibre (block.cc), the runtime
 * calls are in runtime.cc and memory.cc.  kernels/README.md says what such a run shows and what it cannot.  The names
 * and the meaning of what stands here are those of the CUDA C++ Programming Guide and the runtime API reference, 13.0.
 */
#ifndef KERNELS_CUDA_EMU_CUDA_RUNTIME_H
#define KERNELS_CUDA_EMU_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>

#define CU_EMULATED 1
#define CUDART_VERSION 13000

/* ---- the language ---- */

#define __global__
#define __device__
#define __host__
#define __shared__ static /* one block runs at a time; filled with NaN before each */
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct uint3 {
	unsigned x, y, z;
};
struct float2 {
	float x, y;
} __align__(8);
struct uint4 {
	unsigned x, y, z, w;
} __align__(16);
static inline float2 make_float2(float x, float y)
{
	return {x, y};
}
struct dim3 {
	unsigned x, y, z;
	dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
	{
	}
};

extern uint3 threadIdx, blockIdx; /* of the fibre that runs */
extern dim3 blockDim, gridDim;

/* line, where it is the last parameter of a primitive, is that of the caller: all must wait at the same one */
void __syncthreads(int line = __builtin_LINE());

/*
 * A meeting of the lanes of `mask`.  When the last of them is here, act is called once with what each gave (its
 * `mine`), by lane; then all go on.
 */
typedef void emu_act(void **lanes, unsigned mask);
void emu_meet(unsigned mask, const char *what, int line, emu_act *act, void *mine);
/* One line that names kernel, block and thread; ends the process. */
void emu_abort(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* mma.cuh's copies that do not wait: copy.cc */
void emu_copy_async(void *shared, const void *global, int bytes);
void emu_copy_commit(void);
void emu_copy_wait(int pending);
/* This block's dynamic shared memory. */
char *emu_dynamic_shared(void);

static inline int emu_lane(void)
{
	return (int)((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32);
}

static inline void emu_act_nothing(void **, unsigned)
{
}

static inline void __syncwarp(unsigned mask = 0xffffffffu, int line = __builtin_LINE())
{
	emu_meet(mask, "__syncwarp", line, emu_act_nothing, NULL);
}

struct emu_exchange {
	uint64_t in, out;
	int source;
};
void emu_act_exchange(void **lanes, unsigned mask);

template <typename T> static inline T emu_shuffle(unsigned mask, const char *what, int line, T value, int source)
{
	static_assert(sizeof value <= 8, "values of at most 64 bits");
	struct emu_exchange mine = {0, 0, source};
	memcpy(&mine.in, &value, sizeof value);
	emu_meet(mask, what, line, emu_act_exchange, &mine);
	memcpy(&value, &mine.out, sizeof value);
	return value;
}

/* The lane that is read: outside the segment of `width` lanes a lane reads itself. */
template <typename T>
static inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, int line = __builtin_LINE())
{
	int first = emu_lane() & ~(width - 1);
	return emu_shuffle(mask, "__shfl_sync", line, value, first | (source & (width - 1)));
}

template <typename T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, int line = __builtin_LINE())
{
	int lane = emu_lane(), last = lane | (width - 1), source = lane + (int)by;
	return emu_shuffle(mask, "__shfl_down_sync", line, value, source > last ? lane : source);
}

template <typename T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, int line = __builtin_LINE())
{
	int lane = emu_lane(), first = lane & ~(width - 1), source = lane - (int)by;
	return emu_shuffle(mask, "__shfl_up_sync", line, value, source < first ? lane : source);
}

template <typename T>
static inline T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32, int line = __builtin_LINE())
{
	int lane = emu_lane(), last = lane | (width - 1), source = lane ^ with;
	return emu_shuffle(mask, "__shfl_xor_sync", line, value, source > last ? lane : source);
}

unsigned __ballot_sync(unsigned mask, int predicate, int line = __builtin_LINE());

static inline int __any_sync(unsigned mask, int predicate, int line = __builtin_LINE())
{
	return __ballot_sync(mask, predicate, line) != 0;
}

static inline int __all_sync(unsigned mask, int predicate, int line = __builtin_LINE())
{
	return __ballot_sync(mask, predicate, line) == mask;
}

/* Fibres change only where they wait, so that a plain sum is atomic. */
template <typename T> static inline T atomicAdd(T *to, T value)
{
	T before = *to;
	*to += value;
	return before;
}

/* ---- numbers ---- */

template <typename To, typename From> static inline To emu_bits(From from)
{
	To to;
	static_assert(sizeof to == sizeof from, "the same bits");
	memcpy(&to, &from, sizeof to);
	return to;
}

static inline float __int_as_float(int x)
{
	return emu_bits<float>(x);
}

static inline float __uint_as_float(unsigned x)
{
	return emu_bits<float>(x);
}

static inline int __float_as_int(float x)
{
	return emu_bits<int>(x);
}

static inline unsigned __float_as_uint(float x)
{
	return emu_bits<unsigned>(x);
}

static inline long long __double_as_longlong(double x)
{
	return emu_bits<long long>(x);
}

static inline double __dadd_rn(double a, double b)
{
	return a + b;
}

static inline double __dmul_rn(double a, double b)
{
	return a * b;
}

/* ---- the runtime ---- */

enum cudaError_t {
	cudaSuccess = 0,
	cudaErrorInvalidValue = 1,
	cudaErrorMemoryAllocation = 2,
	cudaErrorInvalidConfiguration = 9,
	cudaErrorInsufficientDriver = 35,
	cudaErrorNoDevice = 100,
	cudaErrorInvalidDevice = 101,
	cudaErrorInvalidResourceHandle = 400,
	cudaErrorStreamCaptureUnsupported = 900,
	cudaErrorUnknown = 999,
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum cudaDeviceAttr {
	cudaDevAttrMaxSharedMemoryPerBlock = 8,
	cudaDevAttrMultiProcessorCount = 16,
	cudaDevAttrComputeCapabilityMajor = 75,
	cudaDevAttrComputeCapabilityMinor = 76,
	cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

typedef struct emu_stream *cudaStream_t;
typedef struct emu_event *cudaEvent_t;

#define cudaStreamNonBlocking 1
#define cudaEventDisableTiming 2
#define cudaHostAllocDefault 0

const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError(void);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr what, int device);

cudaError_t cudaMalloc(void **p, size_t bytes);
cudaError_t cudaMemGetInfo(size_t *free, size_t *total);
cudaError_t cudaFree(void *p);
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream);

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);

enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
typedef struct emu_graph *cudaGraph_t;
typedef struct emu_graph_exec *cudaGraphExec_t;
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);

cudaError_t emu_dynamic_limit(const void *kernel, int bytes);
template <typename F> static inline cudaError_t cudaFuncSetAttribute(F *kernel, cudaFuncAttribute, int value)
{
	return emu_dynamic_limit((const void *)kernel, value);
}

/* ---- launching ---- */

struct emu_kernel {
	const char *name;
	const void *address;
	dim3 grid, block;
	size_t shared; /* bytes, dynamic */
	std::function<void()> body;
};

void emu_launch_queue(const struct emu_kernel &kernel, cudaStream_t stream);
/* An argument that holds the address of host memory, which a device cannot read, ends the process. */
void emu_scan_argument(const char *kernel, const void *argument, size_t bytes);

/* Internal to each file, since types of one name differ between files. */
namespace
{
template <typename T> struct emu_same {
	typedef T type;
};

/* Padding may hold anything, so it is cleared first; a compiler that cannot do that scans nothing. */
template <typename T> void emu_scan(const char *kernel, T *argument)
{
#if __has_builtin(__builtin_clear_padding)
	__builtin_clear_padding(argument);
	emu_scan_argument(kernel, argument, sizeof *argument);
#else
	(void)kernel;
	(void)argument;
#endif
}

template <typename... P>
void emu_launch(const char *name, dim3 grid, dim3 block, size_t shared, cudaStream_t stream, void (*kernel)(P...),
                typename emu_same<P>::type... args)
{
	(emu_scan(name, &args), ...);
	emu_launch_queue({name, (const void *)kernel, grid, block, shared, [=]() { kernel(args...); }}, stream);
}
} // namespace

#endif
