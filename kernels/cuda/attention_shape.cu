/* attention_shape - what the kernels of attention get of its sequences and their pages; see attention.cuh */
#include "kernels/cuda/attention.cuh"

#include <string.h>

/* Pages of n rows; a table that follows itself, as that of a prompt does in its samples, is sent once. */
static int64_t pages_of(const int32_t *page, int64_t n, const int32_t *before)
{
	return page && page != before && n > 0 ? cu_ceil_div(n, KN_PAGE) : 0;
}

static int64_t prefix_pages(const struct kn_attn *a, int64_t i)
{
	const struct kn_seq *s = a->seq + i;
	return pages_of(s->prefix_page, s->prefix_n, i ? s[-1].prefix_page : NULL);
}

static int64_t own_pages(const struct kn_seq *s)
{
	return pages_of(s->page, s->pos + s->n_q - s->prefix_n, NULL);
}

/* The sequences, then their pages: *seq is an array of `there`, where the device has it. */
static void place_pages(struct kn_seq *seq, const struct kn_seq *there, const struct kn_attn *a)
{
	int32_t *to = (int32_t *)(seq + a->n_seq);
	const int32_t *at = (const int32_t *)(there + a->n_seq), *prefix = NULL;
	for (int64_t i = 0; i < a->n_seq; i++) {
		const struct kn_seq *s = a->seq + i;
		int64_t shared = prefix_pages(a, i), own = own_pages(s);
		seq[i] = *s;
		if (shared) {
			memcpy(to, s->prefix_page, (size_t)shared * sizeof *to);
			prefix = at;
		}
		if (own)
			memcpy(to + shared, s->page, (size_t)own * sizeof *to);
		seq[i].prefix_page = s->prefix_page ? prefix : NULL;
		seq[i].page = s->page ? at + shared : NULL;
		to += shared + own;
		at += shared + own;
	}
}

int cu_shape_of(struct cuda *cu, struct shape *to, const struct kn_attn *a)
{
	size_t seqs = (size_t)a->n_seq * sizeof *a->seq, bytes = seqs;
	*to = {a->H, a->G, a->D, a->window, a->q_stride, a->kv_stride, a->n_seq, a->scale, 0, NULL};
	to->seq = (const struct kn_seq *)cu_step_find(cu, a->seq, seqs);
	if (to->seq)
		return 1;
	for (int64_t i = 0; i < a->n_seq; i++)
		bytes += (size_t)(prefix_pages(a, i) + own_pages(a->seq + i)) * sizeof *a->seq->page;
	struct kn_seq *taken = (struct kn_seq *)cu_ring_take(cu, bytes);
	if (!taken)
		return 0;
	place_pages(taken, (const struct kn_seq *)cu_ring_mirror(cu, taken), a);
	to->seq = (const struct kn_seq *)cu_ring_send(cu, taken, bytes);
	cu_step_keep(cu, a->seq, seqs, to->seq);
	return to->seq != NULL;
}
