/* emu - what the files of the emulation share */
#ifndef KERNELS_CUDA_EMU_EMU_H
#define KERNELS_CUDA_EMU_EMU_H

#include <cuda_runtime.h>

#include <vector>

#define EMU_MAX_THREADS 1024
#define EMU_WARP 32
#define EMU_SHARED ((size_t)48 << 10)        /* bytes of a block, static and dynamic, unless a kernel asks for more */
#define EMU_SHARED_OPTIN ((size_t)227 << 10) /* what it can ask for; compute capability 9.0 */
#define EMU_FRESH 0xff                       /* every byte of new memory: numbers are NaN */

/* A number from the environment, or `otherwise`. */
int64_t emu_setting(const char *name, int64_t otherwise);

/* block.cc: runs all blocks of a launch, now */
void emu_run(const struct emu_kernel &kernel);
/* Names of what runs, for messages; NULL outside kernels. */
const char *emu_running(void);

int emu_thread(void);           /* the thread that runs, by its number in the block */
unsigned emu_below(unsigned n); /* 0 .. n-1, from EMU_SEED */

/* copy.cc: before each block */
void emu_copies_forget(void);

/* shared.cc: bytes of the __shared__ variables of a kernel, and NaN into them */
size_t emu_static_shared(const void *kernel);
void emu_static_shared_fill(const void *kernel);

/* memory.cc */
int emu_is_device(const void *p, size_t bytes); /* all of it in one allocation */
int emu_is_pinned(const void *p);
/* A block of dynamic shared memory of exactly this size, filled with NaN. */
char *emu_shared_block(size_t bytes);
size_t emu_device_bytes(void); /* allocated now */
void emu_check_canaries(void);

/* runtime.cc: how many calls of the runtime were made, of which EMU_FAIL counts the one that fails */
int64_t emu_calls(void);
/* At the beginning of each call: cudaSuccess, or `injected` if this is the one to fail. */
cudaError_t emu_enter(cudaError_t injected);
cudaError_t emu_error(cudaError_t error); /* remembers it for cudaGetLastError */
/* Queues work on a stream, or does it. */
void emu_queue(cudaStream_t stream, std::function<void()> work);
void emu_drain(void); /* all streams */
/* Where the graph is kept that a stream's work goes to; that is NULL while it is done. */
cudaError_t emu_capture(cudaStream_t stream, struct emu_graph ***capture);
/* graph.cc */
struct emu_graph {
	std::vector<std::function<void()>> work;
	int broken; /* something in between cannot be captured */
};
int64_t emu_graph_launches(void); /* so far */

#endif
