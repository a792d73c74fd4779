/* decoder_kl - see decoder_kl.h */
#include "lib/decoder_kl.h"

#include <math.h>
#include <stdlib.h>

#include "lib/util.h"

enum { KL_ROWS = 32 }; /* of logits in memory at once */

/* exp(z[V] s - their log-sum), and the log-sum; p NULL: only that. */
static double softmax(double *p, const float *z, int64_t V, double s)
{
	double max = -INFINITY, sum = 0;
	for (int64_t v = 0; v < V; v++)
		max = z[v] * s > max ? z[v] * s : max;
	for (int64_t v = 0; v < V; v++) {
		double x = exp(z[v] * s - max);
		sum += x;
		if (p)
			p[v] = x;
	}
	sum = fmax(sum, 1); /* the largest term is 1 */
	for (int64_t v = 0; p && v < V; v++)
		p[v] /= sum;
	return max + log(sum);
}

/* One row; z becomes d kl / d z times dkl, where that is wanted.  p[V]: room. */
static double row_kl(float *z, const float *rz, int64_t V, double s, const float *dkl, double *p)
{
	double between = softmax(NULL, rz, V, s) - softmax(p, z, V, s), kl = 0;
	for (int64_t v = 0; v < V; v++)
		kl += p[v] * ((z[v] - (double)rz[v]) * s + between);
	for (int64_t v = 0; dkl && v < V; v++)
		z[v] = (float)(*dkl * s * p[v] * ((z[v] - (double)rz[v]) * s + between - kl));
	return kl;
}

struct room {
	float *z, *rz, *host, *rhost; /* [KL_ROWS,V]: backend, host */
	double *p;                    /* [V] */
};

static int room_alloc(struct room *r, const struct kernels *k, int64_t V, struct err *e)
{
	size_t bytes = (size_t)(KL_ROWS * V) * sizeof(float);
	*r = (struct room){.z = k->alloc(k->ctx, bytes),
	                   .rz = k->alloc(k->ctx, bytes),
	                   .host = xcalloc(1, bytes),
	                   .rhost = xcalloc(1, bytes),
	                   .p = xcalloc((size_t)V, sizeof(double))};
	return r->z && r->rz ? 0 : err_set(e, "no memory for the logits of %d rows", KL_ROWS);
}

static void room_free(struct room *r, const struct kernels *k)
{
	k->free(k->ctx, r->z);
	k->free(k->ctx, r->rz);
	free(r->host);
	free(r->rhost);
	free(r->p);
}

int decoder_kl_rows(const struct kernels *k, const struct kn_mat *w, const float *h, const struct kn_mat *rw,
                    const float *rh, int64_t M, const float *inv_temp, float *kl, const float *dkl, float *dh,
                    float *dw, struct err *e)
{
	struct room r;
	int64_t V = w->rows, C = w->cols;
	if (V != rw->rows)
		return err_set(e, "the reference has %lld tokens, but the policy %lld", (long long)rw->rows,
		               (long long)V);
	int failed = room_alloc(&r, k, V, e);
	for (int64_t m = 0, n; m < M && !failed; m += n) {
		n = M - m < KL_ROWS ? M - m : KL_ROWS;
		size_t bytes = (size_t)(n * V) * sizeof(float);
		k->head_logits(k->ctx, r.z, h + m * C, w, NULL, n);
		k->head_logits(k->ctx, r.rz, rh + m * rw->cols, rw, NULL, n);
		k->get(k->ctx, r.host, r.z, bytes);
		k->get(k->ctx, r.rhost, r.rz, bytes);
		for (int64_t i = 0; i < n; i++) {
			double x = row_kl(r.host + i * V, r.rhost + i * V, V, inv_temp ? inv_temp[m + i] : 1,
			                  dkl ? dkl + m + i : NULL, r.p);
			if (kl)
				kl[m + i] = (float)x;
		}
		if (!dkl)
			continue;
		k->put(k->ctx, r.z, r.host, bytes);
		k->matmul_dx(k->ctx, dh + m * C, r.z, w, n, 1);
		if (dw)
			k->matmul_dw(k->ctx, dw, NULL, r.z, h + m * C, n, V, C);
	}
	room_free(&r, k);
	return failed;
}

static int head_of(const struct decoder *d)
{
	return tensors_part(d->table, -1, d->arch->tied ? PART_TOKENS : PART_HEAD);
}

int decoder_kl(struct decoder *d, const struct weights *w, const float *h, const struct decoder_reference *ref,
               const float *rh, int64_t M, const float *inv_temp, float *kl, const float *dkl, float *dh,
               struct weights *g, struct err *e)
{
	const struct kernels *k = d->k;
	int head = head_of(d), theirs = head_of(ref->d);
	if (head < 0 || theirs < 0)
		return err_set(e, "the exact KL needs two models with a head for tokens");
	size_t bytes = (size_t)(M * ref->d->arch->C) * sizeof(float);
	float *device = k->alloc(k->ctx, bytes + sizeof(float));
	if (!device)
		return err_set(e, "no memory for %lld rows of the reference", (long long)M);
	k->put(k->ctx, device, rh, bytes);
	bool frozen = !g || d->table->tensor[head].frozen;
	float *dw = frozen ? NULL : g->slab + d->table->tensor[head].offset;
	int failed =
	        decoder_kl_rows(k, &w->mat[head], h, &ref->w->mat[theirs], device, M, inv_temp, kl, dkl, dh, dw, e);
	k->free(k->ctx, device);
	return failed ? -1 : 0;
}
