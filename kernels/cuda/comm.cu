/*
 * comm - sums over several devices, one process each, over NCCL.
 *
 * NCCL adds in an order that its rings and trees decide.  Here it only moves: each rank gets its share of a slab from
 * all others, adds them in the order of ranks, and sends the sum to all.  That is 2 (ranks - 1) / ranks of the slab in
 * and out of each device, as much as NCCL's own ring moves.
 *
 * libnccl.so.2 is opened when it is asked for, so that this object links and loads where there is none.  What is called
 * of it is declared here as its documentation has it (NCCL 2.7 and later, which has send and receive).
 */
#include "kernels/cuda/common.cuh"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_include) && !defined(CU_EMULATED)
#if __has_include(<nccl.h>)
#include <nccl.h>
static_assert(sizeof(ncclUniqueId) == KN_COMM_ID && ncclFloat32 == 7 && ncclSuccess == 0, "NCCL's ABI");
#endif
#endif

#define NC_FLOAT32 7
#define NC_CHUNK ((int64_t)16 << 20) /* floats of a slab that go at a time: 64 MiB */

struct nc_id {
	char internal[KN_COMM_ID];
};

/* ncclResult_t is an enum, ncclComm_t a pointer. */
struct nc_functions {
	int (*unique_id)(struct nc_id *id);
	int (*init)(void **comm, int ranks, struct nc_id id, int rank);
	int (*send)(const void *x, size_t count, int type, int peer, void *comm, cudaStream_t stream);
	int (*receive)(void *x, size_t count, int type, int peer, void *comm, cudaStream_t stream);
	int (*group_start)(void);
	int (*group_end)(void);
	const char *(*error_text)(int result);
};

struct nc_comm {
	struct nc_functions nc;
	struct cuda *cu;
	int rank, ranks;
	void *comm;
	float *others; /* [ranks - 1] shares of a chunk, in the order of ranks */
};

/* The library and all that is called of it; 0 with why not. */
static int nc_load(struct nc_functions *nc, char *why, size_t why_len)
{
	struct {
		const char *name;
		void *at;
	} const wanted[] = {{"ncclGetUniqueId", &nc->unique_id},
	                    {"ncclCommInitRank", &nc->init},
	                    {"ncclSend", &nc->send},
	                    {"ncclRecv", &nc->receive},
	                    {"ncclGroupStart", &nc->group_start},
	                    {"ncclGroupEnd", &nc->group_end},
	                    {"ncclGetErrorString", &nc->error_text}};
	setenv("NCCL_DEBUG_FILE", "/dev/stderr", 0); /* where it is told to talk: standard output is data */
	void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		snprintf(why, why_len, "no NCCL: %s", dlerror());
		return 0;
	}
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		void *symbol = dlsym(library, wanted[i].name);
		if (!symbol) {
			snprintf(why, why_len, "libnccl.so.2 has no %s; 2.7 or later is needed", wanted[i].name);
			return 0;
		}
		memcpy(wanted[i].at, &symbol, sizeof symbol);
	}
	return 1;
}

static int nc_failed(const struct nc_functions *nc, int result, const char *what, char *why, size_t why_len)
{
	if (result != 0)
		snprintf(why, why_len, "nccl: %s: %s", what, nc->error_text(result));
	return result != 0;
}

/* ---- one chunk ---- */

/* x[i] = the pieces of all ranks in their order, this rank's being x itself. */
static __global__ void nc_add(float *x, const float *others, int64_t n, int64_t share, int rank, int ranks)
{
	for (CU_EACH(i, n)) {
		float sum = rank == 0 ? x[i] : others[i];
		for (int q = 1; q < ranks; q++)
			sum += q == rank ? x[i] : others[(q < rank ? q : q - 1) * share + i];
		x[i] = sum;
	}
}

/* Elements of a chunk of n that a rank adds. */
struct nc_share {
	int64_t first, n;
};

static struct nc_share share_of(int64_t n, int64_t share, int rank)
{
	int64_t first = cu_min(rank * share, n);
	return (struct nc_share){first, cu_min(first + share, n) - first};
}

/* Every other rank gets its own share of what is here, and gives this rank's; or, once shares are summed, gets this one
 * and gives its own. */
static int exchange(struct nc_comm *c, float *x, int64_t n, int64_t share, int summed, char *why, size_t why_len)
{
	struct nc_share mine = share_of(n, share, c->rank);
	if (nc_failed(&c->nc, c->nc.group_start(), "ncclGroupStart", why, why_len))
		return -1;
	int result = 0;
	for (int q = 0; q < c->ranks && !result; q++) {
		if (q == c->rank)
			continue;
		struct nc_share theirs = share_of(n, share, q), out = summed ? mine : theirs,
		                in = summed ? theirs : mine;
		float *to = summed ? x + theirs.first : c->others + (q < c->rank ? q : q - 1) * share;
		if (out.n)
			result = c->nc.send(x + out.first, (size_t)out.n, NC_FLOAT32, q, c->comm, c->cu->stream);
		if (in.n && !result)
			result = c->nc.receive(to, (size_t)in.n, NC_FLOAT32, q, c->comm, c->cu->stream);
	}
	int ended = c->nc.group_end();
	return nc_failed(&c->nc, result ? result : ended, "an exchange between ranks", why, why_len) ? -1 : 0;
}

static int sum_chunk(struct nc_comm *c, float *x, int64_t n, char *why, size_t why_len)
{
	int64_t share = (cu_ceil_div(n, c->ranks) + 15) / 16 * 16;
	struct nc_share mine = share_of(n, share, c->rank);
	if (exchange(c, x, n, share, 0, why, why_len))
		return -1;
	if (mine.n)
		CU_LAUNCH(c->cu, nc_add, cu_grid(c->cu, mine.n), CU_THREADS, x + mine.first, c->others, mine.n, share,
		          c->rank, c->ranks);
	return exchange(c, x, n, share, 1, why, why_len);
}

static int nc_sum(void *ctx, float *x, int64_t n, char *why, size_t why_len)
{
	struct nc_comm *c = (struct nc_comm *)ctx;
	if (!cu_enter(c->cu)) {
		snprintf(why, why_len, "%s", c->cu->why);
		return -1;
	}
	for (int64_t at = 0; at < n; at += NC_CHUNK)
		if (sum_chunk(c, x + at, n - at < NC_CHUNK ? n - at : NC_CHUNK, why, why_len))
			return -1;
	if (cu_failed(c->cu, cudaStreamSynchronize(c->cu->stream), "a sum over ranks")) {
		snprintf(why, why_len, "%s", c->cu->why);
		return -1;
	}
	return 0;
}

/* ---- opening and closing ---- */

/* The communicator goes with the process: ncclCommDestroy and ncclCommAbort wait for ranks that may be gone by then. */
static void nc_release(struct kn_comm *comm)
{
	struct nc_comm *c = (struct nc_comm *)comm->ctx;
	cudaFree(c->others);
	free(c);
	free(comm);
}

extern "C" __attribute__((visibility("default"))) int rl_kernels_cuda_comm_id(char *id, char *why, size_t why_len)
{
	struct nc_functions nc;
	struct nc_id made;
	if (!nc_load(&nc, why, why_len) || nc_failed(&nc, nc.unique_id(&made), "ncclGetUniqueId", why, why_len))
		return -1;
	memcpy(id, &made, sizeof made);
	return 0;
}

extern "C" __attribute__((visibility("default"))) struct kn_comm *rl_kernels_cuda_comm_open(void *ctx, const char *id,
                                                                                            int rank, int ranks,
                                                                                            char *why, size_t why_len)
{
	struct kn_comm *comm = (struct kn_comm *)calloc(1, sizeof *comm);
	struct nc_comm *c = (struct nc_comm *)calloc(1, sizeof *c);
	if (!comm || !c) {
		snprintf(why, why_len, "no memory");
		free(comm);
		free(c);
		return NULL;
	}
	*comm = (struct kn_comm){c, nc_sum, nc_release};
	c->cu = (struct cuda *)ctx;
	c->rank = rank;
	c->ranks = ranks;
	struct nc_id made;
	memcpy(&made, id, sizeof made);
	size_t share = ((size_t)NC_CHUNK / (size_t)ranks + 16) * sizeof(float);
	int there = nc_load(&c->nc, why, why_len) && cu_enter(c->cu);
	if (there && cudaMalloc((void **)&c->others, share * (size_t)(ranks - 1)) != cudaSuccess) {
		cudaGetLastError();
		snprintf(why, why_len, "no device memory for sums over ranks: %zu MB",
		         share * (size_t)(ranks - 1) >> 20);
		there = 0;
	}
	if (there && !nc_failed(&c->nc, c->nc.init(&c->comm, ranks, made, rank), "ncclCommInitRank", why, why_len))
		return comm;
	nc_release(comm);
	return NULL;
}
