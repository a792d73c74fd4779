/*
 * runtime - devices, streams and events, launches, and errors, of the runtime API.
 *
 * Work is done when it is queued; with EMU_DEFER=1 only when somebody waits
 * for it, so that a buffer that is used again too early holds other numbers.
 */
#include "kernels/cuda/emu/emu.h"

#include <stdlib.h>

#include <deque>
#include <map>
#include <set>
#include <vector>

struct emu_stream {
	std::deque<std::function<void()>> queue;
	uint64_t queued, done;
	struct emu_graph *capture; /* what is queued goes there; NULL: it is done */
};

struct emu_event {
	struct emu_stream *stream; /* NULL until recorded */
	uint64_t after;            /* works of the stream */
};

static std::set<struct emu_stream *> streams;
static cudaError_t last_error;
static int64_t calls;

int64_t emu_setting(const char *name, int64_t otherwise)
{
	const char *value = getenv(name);
	char *end;
	if (!value || !*value)
		return otherwise;
	long long n = strtoll(value, &end, 10);
	if (*end || n < 0)
		emu_abort("%s is '%s', but must be a whole number from 0", name, value);
	return n;
}

/* What the loader looks for: this object needs no driver. */
extern "C" __attribute__((visibility("default"))) const int rl_kernels_cuda_emulated = 1;

/* ---- errors ---- */

int64_t emu_calls(void)
{
	return calls;
}

cudaError_t emu_error(cudaError_t error)
{
	return last_error = error;
}

cudaError_t emu_enter(cudaError_t injected)
{
	if (emu_running())
		emu_abort("a kernel calls the runtime");
	return ++calls == emu_setting("EMU_FAIL", 0) ? emu_error(injected) : cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
	cudaError_t error = last_error;
	last_error = cudaSuccess;
	return error;
}

const char *cudaGetErrorString(cudaError_t error)
{
	switch (error) {
	case cudaSuccess:
		return "no error";
	case cudaErrorInvalidValue:
		return "invalid argument";
	case cudaErrorMemoryAllocation:
		return "out of memory";
	case cudaErrorInvalidConfiguration:
		return "invalid configuration argument";
	case cudaErrorInsufficientDriver:
		return "CUDA driver version is insufficient for CUDA runtime version";
	case cudaErrorNoDevice:
		return "no CUDA-capable device is detected";
	case cudaErrorInvalidDevice:
		return "invalid device ordinal";
	case cudaErrorInvalidResourceHandle:
		return "invalid resource handle";
	case cudaErrorStreamCaptureUnsupported:
		return "operation not permitted when stream is capturing";
	case cudaErrorUnknown:
		break;
	}
	return "unknown error";
}

/* ---- devices ---- */

static int device_count(void)
{
	return (int)emu_setting("EMU_DEVICES", 1);
}

/* The CUDA version that the driver is for, as 1000 major + 10 minor; 0: no driver answers. */
static int driver(void)
{
	return (int)emu_setting("EMU_DRIVER", CUDART_VERSION);
}

cudaError_t cudaGetDeviceCount(int *count)
{
	cudaError_t error = emu_enter(cudaErrorUnknown);
	*count = device_count();
	if (!error && driver() < CUDART_VERSION)
		error = emu_error(cudaErrorInsufficientDriver);
	return error ? error : *count == 0 ? emu_error(cudaErrorNoDevice) : cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
	*version = driver();
	return emu_enter(cudaErrorUnknown);
}

cudaError_t cudaSetDevice(int device)
{
	cudaError_t error = emu_enter(cudaErrorUnknown);
	if (error)
		return error;
	return device < 0 || device >= device_count() ? emu_error(cudaErrorInvalidDevice) : cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr what, int device)
{
	cudaError_t error = emu_enter(cudaErrorUnknown);
	if (error)
		return error;
	if (device < 0 || device >= device_count())
		return emu_error(cudaErrorInvalidDevice);
	switch (what) {
	case cudaDevAttrMaxSharedMemoryPerBlock:
		*value = (int)EMU_SHARED;
		return cudaSuccess;
	case cudaDevAttrMultiProcessorCount:
		*value = 4;
		return cudaSuccess;
	case cudaDevAttrComputeCapabilityMajor:
		*value = (int)emu_setting("EMU_CAPABILITY", 9);
		return cudaSuccess;
	case cudaDevAttrComputeCapabilityMinor:
		*value = 0;
		return cudaSuccess;
	case cudaDevAttrMaxSharedMemoryPerBlockOptin:
		*value = (int)EMU_SHARED_OPTIN;
		return cudaSuccess;
	}
	return emu_error(cudaErrorInvalidValue);
}

/* ---- streams ---- */

static void run_until(struct emu_stream *s, uint64_t done)
{
	while (s->done < done) {
		std::function<void()> work = std::move(s->queue.front());
		s->queue.pop_front();
		work();
		s->done++;
	}
}

void emu_queue(cudaStream_t s, std::function<void()> work)
{
	static const bool defer = emu_setting("EMU_DEFER", 0) != 0;
	if (s->capture) {
		s->capture->work.push_back(std::move(work));
		return;
	}
	s->queue.push_back(std::move(work));
	s->queued++;
	if (!defer)
		run_until(s, s->queued);
}

/* For libnccl.cc, which is another object. */
extern "C" __attribute__((visibility("default"))) void rl_kernels_cuda_emulated_queue(cudaStream_t s,
                                                                                      void (*work)(void *), void *arg)
{
	emu_queue(s, [work, arg] { work(arg); });
}

void emu_drain(void)
{
	for (struct emu_stream *s : streams)
		run_until(s, s->queued);
}

static cudaError_t enter_stream(cudaStream_t s)
{
	cudaError_t error = emu_enter(cudaErrorUnknown);
	if (error)
		return error;
	return streams.count(s) ? cudaSuccess : emu_error(cudaErrorInvalidResourceHandle);
}

/* Waiting for a stream whose work is being captured is refused, and ruins what was captured. */
static cudaError_t enter_wait(cudaStream_t s)
{
	cudaError_t error = enter_stream(s);
	if (error || !s->capture)
		return error;
	s->capture->broken = 1;
	return emu_error(cudaErrorStreamCaptureUnsupported);
}

cudaError_t emu_capture(cudaStream_t s, struct emu_graph ***capture)
{
	cudaError_t error = enter_stream(s);
	*capture = error ? NULL : &s->capture;
	return error;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
	cudaError_t error = emu_enter(cudaErrorUnknown);
	if (error)
		return error;
	*stream = new struct emu_stream();
	streams.insert(*stream);
	return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
	cudaError_t error = enter_stream(stream);
	if (error)
		return error;
	run_until(stream, stream->queued);
	streams.erase(stream);
	delete stream->capture;
	delete stream;
	return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
	cudaError_t error = enter_wait(stream);
	if (error)
		return error;
	run_until(stream, stream->queued);
	emu_check_canaries();
	return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
	cudaError_t error = emu_enter(cudaErrorUnknown);
	if (!error)
		*event = new struct emu_event();
	return error;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
	cudaError_t error = emu_enter(cudaErrorUnknown);
	if (!error)
		delete event;
	return error;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
	cudaError_t error = enter_stream(stream);
	if (!error && stream->capture)
		error = enter_wait(stream);
	if (!error)
		*event = {stream, stream->queued};
	return error;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
	cudaError_t error = emu_enter(cudaErrorUnknown);
	if (!error && event->stream)
		run_until(event->stream, event->after);
	return error;
}

/* ---- copies ---- */

/*
 * A copy that is captured reads and writes the host's memory when its graph is launched, whatever that memory is then.
 * Host memory that is not pinned is read before the call returns, and written before it returns, as the runtime does;
 * pinned memory when the work's turn has come.
 */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
	cudaError_t error = enter_stream(stream);
	if (error || bytes == 0)
		return error;
	int to_device = kind != cudaMemcpyDeviceToHost, from_device = kind != cudaMemcpyHostToDevice;
	if (emu_is_device(to, bytes) != to_device || emu_is_device(from, bytes) != from_device)
		return emu_error(cudaErrorInvalidValue);
	if (!stream->capture && !from_device && !emu_is_pinned(from)) {
		std::vector<char> copy((const char *)from, (const char *)from + bytes);
		emu_queue(stream, [to, copy]() { memcpy(to, copy.data(), copy.size()); });
		return cudaSuccess;
	}
	emu_queue(stream, [=]() { memcpy(to, from, bytes); });
	if (!stream->capture && !to_device && !emu_is_pinned(to))
		run_until(stream, stream->queued);
	return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
	cudaError_t error = enter_stream(stream);
	if (error || bytes == 0)
		return error;
	if (!emu_is_device(to, bytes))
		return emu_error(cudaErrorInvalidValue);
	emu_queue(stream, [=]() { memset(to, value, bytes); });
	return cudaSuccess;
}

/* ---- launches ---- */

static std::map<const void *, size_t> dynamic_limits;

cudaError_t emu_dynamic_limit(const void *kernel, int bytes)
{
	cudaError_t error = emu_enter(cudaErrorUnknown);
	if (error)
		return error;
	if (bytes < 0 || (size_t)bytes + emu_static_shared(kernel) > EMU_SHARED_OPTIN)
		return emu_error(cudaErrorInvalidValue);
	dynamic_limits[kernel] = (size_t)bytes;
	return cudaSuccess;
}

/* Static shared memory beyond 48 KiB is refused when a real kernel is compiled. */
static cudaError_t launch_check(const struct emu_kernel &k)
{
	size_t fixed = emu_static_shared(k.address), limit = EMU_SHARED - fixed;
	if (fixed > EMU_SHARED)
		emu_abort("kernel '%s' has %zu bytes of static shared memory, at most %zu", k.name, fixed, EMU_SHARED);
	if (dynamic_limits.count(k.address) && dynamic_limits[k.address] > limit)
		limit = dynamic_limits[k.address];
	uint64_t threads = (uint64_t)k.block.x * k.block.y * k.block.z;
	if (threads == 0 || threads > EMU_MAX_THREADS || k.block.z > 64 || k.shared > limit)
		return cudaErrorInvalidConfiguration;
	if (k.grid.x == 0 || k.grid.x > 0x7fffffff || k.grid.y == 0 || k.grid.y > 65535 || k.grid.z == 0 ||
	    k.grid.z > 65535)
		return cudaErrorInvalidConfiguration;
	return cudaSuccess;
}

void emu_launch_queue(const struct emu_kernel &kernel, cudaStream_t stream)
{
	if (enter_stream(stream))
		return;
	cudaError_t error = launch_check(kernel);
	if (error)
		emu_error(error);
	else
		emu_queue(stream, [kernel]() { emu_run(kernel); });
}
