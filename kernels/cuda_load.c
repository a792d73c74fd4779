/*
 * cuda_load - kernels_cuda() and its comm: finds and opens rl-kernels-cuda.so.
 *
 * Nothing of CUDA is linked into the tools.  The object is looked for in
 * $RL_LIBDIR (and only there if that is set), then beside the executable, in
 * ../lib and ../lib/rlpipe, then where `make install` puts it by default.  It
 * stays loaded until the process ends: the CUDA runtime cannot be unloaded.
 */
#include "kernels/kernels.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OBJECT "rl-kernels-cuda.so"

typedef struct kernels *open_fn(size_t table_bytes, const struct kn_cuda *config, char *why, size_t why_len);
typedef int comm_id_fn(char *id, char *why, size_t why_len);
typedef struct kn_comm *comm_open_fn(void *ctx, const char *id, int rank, int ranks, char *why, size_t why_len);

static const char *const beside[] = {"../lib", "../lib/rlpipe"};
static const char *const installed[] = {"/usr/local/lib/rlpipe", "/usr/lib/rlpipe"};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static int is_there(char *path, size_t len, const char *dir, const char *sub)
{
	int n = snprintf(path, len, "%s%s%s/%s", dir, *sub ? "/" : "", sub, OBJECT);
	return n > 0 && (size_t)n < len && access(path, R_OK) == 0;
}

/* The directory of the running executable; empty if it cannot be told. */
static void own_directory(char *dir, size_t len)
{
	ssize_t n = readlink("/proc/self/exe", dir, len - 1);
	dir[n > 0 ? n : 0] = 0;
	char *slash = strrchr(dir, '/');
	if (slash)
		*slash = 0;
}

static int find_object(char *path, size_t path_len, char *why, size_t why_len)
{
	const char *libdir = getenv("RL_LIBDIR");
	char own[PATH_MAX];
	if (libdir && *libdir) {
		if (is_there(path, path_len, libdir, ""))
			return 1;
		snprintf(why, why_len,
		         "no '%s' in RL_LIBDIR '%s'; build it with make where nvcc is, or unset RL_LIBDIR", OBJECT,
		         libdir);
		return 0;
	}
	own_directory(own, sizeof own);
	for (size_t i = 0; *own && i < COUNT(beside); i++)
		if (is_there(path, path_len, own, beside[i]))
			return 1;
	for (size_t i = 0; i < COUNT(installed); i++)
		if (is_there(path, path_len, installed[i], ""))
			return 1;
	snprintf(why, why_len,
	         "no '%s' in %s/../lib, %s/../lib/rlpipe or %s; build it with make where nvcc is, or set RL_LIBDIR",
	         OBJECT, own, own, installed[0]);
	return 0;
}

/* Said rather than what the runtime would say, which without it has words about something else. */
static int driver_is_there(char *why, size_t why_len)
{
	void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!driver) {
		snprintf(why, why_len,
		         "no NVIDIA driver (libcuda.so.1) on this machine; install it, or use --device cpu");
		return 0;
	}
	dlclose(driver);
	return 1;
}

static void *object; /* of kernels_cuda */

static void *look_up(const char *name, char *why, size_t why_len)
{
	void *symbol = object ? dlsym(object, name) : NULL;
	if (!symbol)
		snprintf(why, why_len, "'%s' is of another version of rlpipe; build both with one make", OBJECT);
	return symbol;
}

struct kernels *kernels_cuda(const struct kn_cuda *config, char *why, size_t why_len)
{
	char path[PATH_MAX];
	if (!find_object(path, sizeof path, why, why_len))
		return NULL;
	char error[256] = "";
	object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!object)
		snprintf(error, sizeof error, "%s", dlerror());
	/* the object of kernels/cuda/emu says so, and needs no driver */
	if ((!object || !dlsym(object, "rl_kernels_cuda_emulated")) && !driver_is_there(why, why_len))
		return NULL;
	if (!object) {
		snprintf(why, why_len,
		         "cannot load '%s': %s; the CUDA runtime and cuBLAS must be where ldconfig finds them", path,
		         error);
		return NULL;
	}
	open_fn *open_backend;
	void *symbol = look_up("rl_kernels_cuda_open", why, why_len);
	memcpy(&open_backend, &symbol, sizeof open_backend);
	return symbol ? open_backend(sizeof(struct kernels), config, why, why_len) : NULL;
}

int kernels_cuda_comm_id(char id[KN_COMM_ID], char *why, size_t why_len)
{
	comm_id_fn *make;
	void *symbol = look_up("rl_kernels_cuda_comm_id", why, why_len);
	memcpy(&make, &symbol, sizeof make);
	return symbol ? make(id, why, why_len) : -1;
}

struct kn_comm *kernels_cuda_comm(const struct kernels *k, const char id[KN_COMM_ID], int rank, int ranks, char *why,
                                  size_t why_len)
{
	comm_open_fn *open_comm;
	void *symbol = look_up("rl_kernels_cuda_comm_open", why, why_len);
	memcpy(&open_comm, &symbol, sizeof open_comm);
	return symbol ? open_comm(k->ctx, id, rank, ranks, why, why_len) : NULL;
}
