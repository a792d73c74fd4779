/*
 * memory - device and pinned memory, between pages that cannot be touched.
 *
 * Device memory lies in one range of addresses that is used once, upwards: an
 * access beyond an allocation, or to one that was freed, is a fault that names
 * the kernel.  An allocation begins at a multiple of 256, as the runtime's do,
 * and ends at the end of a page; what the rounding leaves behind it is a canary,
 * and AddressSanitizer is told of it.  New memory is full of NaN.
 */
#include "kernels/cuda/emu/emu.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#endif

#define PAGE ((size_t)4096)
#define ALIGN ((size_t)256) /* of what cudaMalloc gives */
#define RANGE ((size_t)8 << 40)

struct allocation {
	size_t bytes;
	char *pages;
	size_t page_bytes;
};

static std::map<char *, struct allocation> device, pinned;
static char *range, *unused; /* the range of addresses, and its part not used yet */
static size_t device_bytes;

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

#ifndef __SANITIZE_ADDRESS__
static void on_fault(int number, siginfo_t *info, void *)
{
	signal(number, SIG_DFL);
	char *at = (char *)info->si_addr;
	if (emu_running())
		emu_abort("access to %p, which is %s", info->si_addr,
		          at >= range && at < unused ? "outside every allocation of the device, or freed"
		                                     : "no address");
	if (at >= range && at < unused)
		emu_abort("the host touches device memory at %p that is freed or was never allocated", info->si_addr);
}
#endif

static void range_open(void)
{
	range = (char *)mmap(NULL, RANGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (range == MAP_FAILED)
		emu_abort("no room for %zu bytes of addresses", RANGE);
	unused = range;
#ifndef __SANITIZE_ADDRESS__
	struct sigaction action = {};
	action.sa_sigaction = on_fault;
	action.sa_flags = SA_SIGINFO;
	sigaction(SIGSEGV, &action, NULL);
#endif
}

/* Memory at the end of pages, with an untouchable page behind; NULL when the range or the machine is full. */
static char *range_take(size_t bytes, struct allocation *a)
{
	size_t whole = round_up(bytes, ALIGN);
	if (!range)
		range_open();
	*a = {bytes, unused, round_up(whole, PAGE)};
	if (a->page_bytes + PAGE > RANGE - (size_t)(unused - range) ||
	    mprotect(a->pages, a->page_bytes, PROT_READ | PROT_WRITE))
		return NULL;
	unused += a->page_bytes + PAGE;
	char *p = a->pages + a->page_bytes - whole;
	memset(a->pages, EMU_FRESH, a->page_bytes);
	ASAN_POISON_MEMORY_REGION(a->pages, a->page_bytes);
	ASAN_UNPOISON_MEMORY_REGION(p, bytes);
	return p;
}

__attribute__((no_sanitize("address"))) static void canary_check(const char *p, const struct allocation &a)
{
	for (const volatile char *at = p + a.bytes; at < a.pages + a.page_bytes; at++)
		if (*at != (char)EMU_FRESH)
			emu_abort("something wrote %td bytes behind an allocation of %zu bytes",
			          at - p - (ptrdiff_t)a.bytes, a.bytes);
}

static void range_give_back(const char *p, const struct allocation &a)
{
	canary_check(p, a);
	ASAN_UNPOISON_MEMORY_REGION(a.pages, a.page_bytes);
	if (mmap(a.pages, a.page_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) ==
	    MAP_FAILED)
		emu_abort("cannot give memory back");
}

void emu_check_canaries(void)
{
	for (const auto &entry : device)
		canary_check(entry.first, entry.second);
	for (const auto &entry : pinned)
		canary_check(entry.first, entry.second);
}

static int inside(const std::map<char *, struct allocation> &all, const void *p, size_t bytes)
{
	auto after = all.upper_bound((char *)p);
	if (after == all.begin())
		return 0;
	auto at = std::prev(after);
	size_t offset = (size_t)((const char *)p - at->first);
	return offset <= at->second.bytes && bytes <= at->second.bytes - offset;
}

int emu_is_device(const void *p, size_t bytes)
{
	return inside(device, p, bytes);
}

int emu_is_pinned(const void *p)
{
	return inside(pinned, p, 1);
}

size_t emu_device_bytes(void)
{
	return device_bytes;
}

static cudaError_t take(std::map<char *, struct allocation> *all, void **p, size_t bytes)
{
	struct allocation a;
	if (!p)
		return emu_error(cudaErrorInvalidValue);
	*p = NULL;
	if (bytes == 0)
		return cudaSuccess;
	char *taken = range_take(bytes, &a);
	if (!taken)
		return emu_error(cudaErrorMemoryAllocation);
	(*all)[taken] = a;
	*p = taken;
	return cudaSuccess;
}

static cudaError_t give_back(std::map<char *, struct allocation> *all, void *p)
{
	auto at = all->find((char *)p);
	if (at == all->end())
		return emu_error(cudaErrorInvalidValue);
	range_give_back(at->first, at->second);
	all->erase(at);
	return cudaSuccess;
}

/*
 * With EMU_LOG=FILE each change goes there as one line, so that the processes of one GPU can be added up: process,
 * bytes taken (or given back, negative), bytes that it has now.
 */
static void count(int64_t change)
{
	static const char *const path = getenv("EMU_LOG");
	device_bytes += (size_t)change;
	if (!path || !*path)
		return;
	char line[96];
	int n = snprintf(line, sizeof line, "%ld %lld %zu\n", (long)getpid(), (long long)change, device_bytes);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (fd < 0 || write(fd, line, (size_t)n) != n)
		emu_abort("cannot write to EMU_LOG '%s'", path);
	close(fd);
}

cudaError_t cudaMalloc(void **p, size_t bytes)
{
	cudaError_t error = emu_enter(cudaErrorMemoryAllocation);
	if (error)
		return error;
	if (bytes > (size_t)emu_setting("EMU_MEMORY", (int64_t)8 << 30) - device_bytes)
		return emu_error(cudaErrorMemoryAllocation);
	error = take(&device, p, bytes);
	if (!error)
		count((int64_t)bytes);
	return error;
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total)
{
	cudaError_t error = emu_enter(cudaErrorUnknown);
	*total = (size_t)emu_setting("EMU_MEMORY", (int64_t)8 << 30);
	*free = *total > device_bytes ? *total - device_bytes : 0;
	return error;
}

/* Waits for all work first, as the runtime does. */
cudaError_t cudaFree(void *p)
{
	cudaError_t error = emu_enter(cudaErrorUnknown);
	if (error || !p)
		return error;
	emu_drain();
	if (!device.count((char *)p))
		return emu_error(cudaErrorInvalidValue);
	count(-(int64_t)device[(char *)p].bytes);
	return give_back(&device, p);
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned)
{
	cudaError_t error = emu_enter(cudaErrorMemoryAllocation);
	return error ? error : take(&pinned, p, bytes);
}

/* Does not wait: who frees what a copy still reads is at fault. */
cudaError_t cudaFreeHost(void *p)
{
	cudaError_t error = emu_enter(cudaErrorUnknown);
	return error || !p ? error : give_back(&pinned, p);
}

char *emu_shared_block(size_t bytes)
{
	static char *last;
	static struct allocation a;
	if (last && a.bytes != bytes) {
		range_give_back(last, a);
		last = NULL;
	}
	if (!bytes)
		return NULL;
	if (!last && !(last = range_take(bytes, &a)))
		emu_abort("no memory for %zu bytes of shared memory", bytes);
	memset(last, EMU_FRESH, bytes);
	return last;
}

/*
 * Words of eight bytes that are addresses of mapped memory, but not of the device.  Whole numbers, or two of them in a
 * word, are too small to be one, two floats too large.
 */
void emu_scan_argument(const char *kernel, const void *argument, size_t bytes)
{
	for (size_t i = 0; i + 8 <= bytes; i += 8) {
		uint64_t word;
		unsigned char resident;
		memcpy(&word, (const char *)argument + i, 8);
		if (word >> 45 == 0 || word >> 48 || (range && (char *)word >= range && (char *)word < range + RANGE))
			continue;
		if (mincore((void *)(word / PAGE * PAGE), 1, &resident) == 0)
			emu_abort("kernel '%s' is given the address %#llx of host memory (byte %zu of an argument)",
			          kernel, (unsigned long long)word, i);
	}
	for (size_t i = 0; i + 8 <= bytes; i += 8) {
		char *word;
		memcpy(&word, (const char *)argument + i, 8);
		if (inside(pinned, word, 1))
			emu_abort("kernel '%s' is given the address of pinned memory (byte %zu of an argument)", kernel,
			          i);
	}
}
