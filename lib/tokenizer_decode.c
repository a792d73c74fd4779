/*
 * tokenizer_decode - ids to text.
 *
 * The decoder's steps work on a list with one piece per token, so that it is known where each token ends.  Byte-level
 * pieces are bytes already; byte-fallback tokens become their byte, and whether a run of them is text or as many U+FFFD
 * is settled at the end.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/tokenizer_impl.h"
#include "lib/utf8.h"
#include "lib/util.h"

struct piece {
	const char *s;
	size_t len;
	bool byte; /* a byte-fallback token */
};

struct pieces {
	const struct tokenizer *t;
	struct tokenizer_scratch *x;
	struct arena arena;
	struct piece *piece;
	int64_t n;
	bool middle; /* of a text: nothing is taken off its start */
	bool fused;  /* strips act on the whole */
};

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
		return (c | 0x20) - 'a' + 10;
	return -1;
}

/* The byte of "<0xAB>", or -1. */
static int fallback_byte(const char *s, size_t len)
{
	if (len != 6 || memcmp(s, "<0x", 3) || s[5] != '>' || hex(s[3]) < 0 || hex(s[4]) < 0)
		return -1;
	return hex(s[3]) << 4 | hex(s[4]);
}

/* The bytes of a token written in the byte-level alphabet; one with any other character stands for itself. */
static void to_bytes(struct pieces *p, struct piece *piece)
{
	char *bytes = arena_alloc(&p->arena, piece->len + 1);
	size_t n = 0;
	uint32_t cp;

	for (size_t i = 0; i < piece->len;) {
		i += utf8_next(piece->s + i, piece->len - i, &cp);
		int byte = tok_char_byte(cp);
		if (byte < 0)
			return;
		bytes[n++] = (char)byte;
	}
	piece->s = bytes;
	piece->len = n;
}

static int replace(struct pieces *p, const struct tok_decode *d, struct piece *piece, struct err *e)
{
	struct str *out = &p->x->normal[0];

	str_clear(out);
	if (tok_pattern_replace(&d->pattern, p->x, piece->s, piece->len, d->content, d->len, out, e))
		return -1;
	if (out->len == piece->len && !memcmp(out->buf, piece->s, out->len))
		return 0;
	piece->s = arena_strndup(&p->arena, out->buf, out->len);
	piece->len = out->len;
	return 0;
}

/* Takes up to `most` copies of the content off the start; returns how many. */
static int64_t strip_start(struct piece *piece, const struct tok_decode *d, int64_t most)
{
	int64_t n = 0;

	for (; n < most && piece->len >= d->len && !memcmp(piece->s, d->content, d->len); n++) {
		piece->s += d->len;
		piece->len -= d->len;
	}
	return n;
}

static int64_t strip_stop(struct piece *piece, const struct tok_decode *d, int64_t most)
{
	int64_t n = 0;

	for (; n < most && piece->len >= d->len && !memcmp(piece->s + piece->len - d->len, d->content, d->len); n++)
		piece->len -= d->len;
	return n;
}

static void strip(struct pieces *p, const struct tok_decode *d)
{
	int64_t start = d->start, stop = d->stop;

	for (int64_t i = 0; i < p->n && !p->fused; i++) {
		if (i > 0 || !p->middle)
			strip_start(&p->piece[i], d, start);
		strip_stop(&p->piece[i], d, stop);
	}
	if (!p->fused)
		return;
	/* over the borders of pieces: the next one is reached only when one is used up */
	for (int64_t i = 0; i < p->n && start > 0 && !p->middle; i++) {
		start -= strip_start(&p->piece[i], d, start);
		if (p->piece[i].len)
			break;
	}
	for (int64_t i = p->n - 1; i >= 0 && stop > 0; i--) {
		stop -= strip_stop(&p->piece[i], d, stop);
		if (p->piece[i].len)
			break;
	}
}

/* Bars become spaces; those of the first token go, unless the scheme is never. */
static void spaces(struct pieces *p, const struct tok_decode *d, int64_t index)
{
	struct piece *piece = &p->piece[index];
	bool drop = index == 0 && !p->middle && d->scheme != TOK_NEVER_PREPEND;
	char *out;
	size_t n = 0;

	if (!memmem(piece->s, piece->len, d->content, d->len))
		return;
	out = arena_alloc(&p->arena, piece->len + 1);
	for (size_t i = 0; i < piece->len;) {
		if (piece->len - i < d->len || memcmp(piece->s + i, d->content, d->len)) {
			out[n++] = piece->s[i++];
			continue;
		}
		i += d->len;
		if (!drop)
			out[n++] = ' ';
	}
	piece->s = out;
	piece->len = n;
}

static void byte_piece(struct pieces *p, struct piece *piece)
{
	int byte = fallback_byte(piece->s, piece->len);
	char *s;

	if (byte < 0)
		return;
	s = arena_alloc(&p->arena, 1);
	*s = (char)byte;
	*piece = (struct piece){s, 1, true};
}

static int decode_step(struct pieces *p, const struct tok_decode *d, struct err *e)
{
	if (d->kind == TOK_D_STRIP)
		strip(p, d);
	if (d->kind == TOK_D_FUSE)
		p->fused = true;
	for (int64_t i = 0; i < p->n; i++) {
		if (d->kind == TOK_D_BYTES)
			to_bytes(p, &p->piece[i]);
		else if (d->kind == TOK_D_FALLBACK)
			byte_piece(p, &p->piece[i]);
		else if (d->kind == TOK_D_META)
			spaces(p, d, i);
		else if (d->kind == TOK_D_REPLACE && replace(p, d, &p->piece[i], e))
			return -1;
	}
	return 0;
}

/* The pieces of the tokens that are not left out; owner[i]: the token of piece i. */
static int gather(struct pieces *p, const int32_t *ids, int64_t n, bool skip_special, int64_t *owner, struct err *e)
{
	for (int64_t i = 0; i < n; i++) {
		size_t len;
		const char *s = tok_vocab_name(&p->t->vocab, ids[i], &len);
		if (!s)
			return err_set(e, "token %lld is %d, which is not in the vocabulary", (long long)i, ids[i]);
		if (skip_special && p->t->special[ids[i]])
			continue;
		owner[p->n] = i;
		p->piece[p->n++] = (struct piece){s, len, false};
	}
	for (int i = 0; i < p->t->n_decode; i++)
		if (decode_step(p, &p->t->decode[i], e))
			return -1;
	return 0;
}

/* The bytes of all pieces, with the byte at which each ends; a run of byte-fallback tokens is text as a whole, or one
 * U+FFFD for each. */
static void concatenate(const struct pieces *p, struct str *out, size_t *end)
{
	for (int64_t i = 0; i < p->n;) {
		int64_t stop = i;
		size_t from = out->len;
		do {
			if (stop > 0 && p->t->no_decoder)
				str_addc(out, ' ');
			str_add(out, p->piece[stop].s, p->piece[stop].len);
			end[stop] = out->len;
			stop++;
		} while (stop < p->n && p->piece[i].byte && p->piece[stop].byte);
		if (p->piece[i].byte && !utf8_valid(out->buf + from, out->len - from)) {
			out->len = from;
			for (int64_t k = i; k < stop; k++) {
				str_adds(out, "\xEF\xBF\xBD");
				end[k] = out->len;
			}
		}
		i = stop;
	}
}

/* The bytes made valid; end[i], a byte before, becomes the code point at which piece i ends. */
static void to_points(const struct str *bytes, size_t *end, int64_t n, struct str *out)
{
	int64_t points = 0, k = 0;
	uint32_t cp;

	for (size_t i = 0; i < bytes->len;) {
		for (; k < n && end[k] <= i; k++)
			end[k] = (size_t)points;
		i += utf8_next(bytes->buf + i, bytes->len - i, &cp);
		points++;
	}
	for (; k < n; k++)
		end[k] = (size_t)points;
	utf8_lossy(bytes->buf, bytes->len, out);
}

/* ends may be NULL. */
static int decode(const struct tokenizer *t, const int32_t *ids, int64_t n, bool skip_special, bool middle,
                  struct str *out, int32_t *ends, struct err *e)
{
	struct pieces p = {.t = t, .middle = middle};
	struct str bytes;
	int64_t *owner;
	size_t *end, reached = 0;
	int failed;

	arena_init(&p.arena);
	str_init(&bytes);
	p.x = tok_scratch_take(t);
	p.piece = arena_array(&p.arena, (size_t)n, sizeof *p.piece);
	owner = arena_array(&p.arena, (size_t)n, sizeof *owner);
	end = arena_array(&p.arena, (size_t)n, sizeof *end);
	failed = gather(&p, ids, n, skip_special, owner, e);
	if (!failed) {
		concatenate(&p, &bytes, end);
		to_points(&bytes, end, p.n, out);
		for (int64_t i = 0, k = 0; ends && i < n; i++) {
			if (k < p.n && owner[k] == i)
				reached = end[k++];
			ends[i] = (int32_t)reached;
		}
	}
	tok_scratch_give(t, p.x);
	str_release(&bytes);
	arena_release(&p.arena);
	return failed;
}

int tokenizer_decode(const struct tokenizer *t, const int32_t *ids, int64_t n, bool skip_special, struct str *out,
                     struct err *e)
{
	return decode(t, ids, n, skip_special, false, out, NULL, e);
}

int tokenizer_decode_completion(const struct tokenizer *t, const int32_t *ids, int64_t n, struct str *out,
                                int32_t *ends, struct err *e)
{
	return decode(t, ids, n, true, true, out, ends, e);
}

/* ---- one token after another ---- */

void tokenizer_stream_init(struct tokenizer_stream *s, const struct tokenizer *t, bool middle)
{
	*s = (struct tokenizer_stream){.t = t, .begun = middle};
}

/* A surrogate, of which two bytes are there: three U+FFFD, but they come together with the third, as in Python's
 * decoder. */
static bool surrogate(const char *s, size_t len)
{
	return len == 2 && (unsigned char)s[0] == 0xED && (unsigned char)s[1] >= 0xA0 && (unsigned char)s[1] <= 0xBF;
}

/* What is complete of the held bytes and these. */
static void stream_bytes(struct tokenizer_stream *s, const char *bytes, size_t len, struct str *out)
{
	struct str all;
	uint32_t cp = 0;
	size_t i = 0, n = 0;

	str_init(&all);
	str_add(&all, s->held, s->n_held);
	str_add(&all, bytes, len);
	while (i < all.len) {
		n = utf8_next(all.buf + i, all.len - i, &cp);
		if (cp == UTF8_CUT || surrogate(all.buf + i, all.len - i))
			break;
		i += n;
	}
	utf8_lossy(all.buf, i, out);
	s->n_held = all.len - i;
	memcpy(s->held, all.buf + i, s->n_held);
	str_release(&all);
}

int tokenizer_stream_add(struct tokenizer_stream *s, int32_t id, bool skip_special, struct str *out, struct err *e)
{
	struct pieces p = {.t = s->t, .middle = s->begun};
	struct piece piece;
	int64_t owner;
	int failed;

	arena_init(&p.arena);
	p.x = tok_scratch_take(s->t);
	p.piece = &piece;
	failed = gather(&p, &id, 1, skip_special, &owner, e);
	if (!failed && p.n) {
		if (s->begun && s->t->no_decoder)
			stream_bytes(s, " ", 1, out);
		stream_bytes(s, piece.s, piece.len, out);
		s->begun = true;
	}
	tok_scratch_give(s->t, p.x);
	arena_release(&p.arena);
	return failed;
}

void tokenizer_stream_end(struct tokenizer_stream *s, struct str *out)
{
	bool fallback = false;

	for (int i = 0; i < s->t->n_decode; i++)
		fallback |= s->t->decode[i].kind == TOK_D_FALLBACK;
	for (size_t i = 0; fallback && i < s->n_held; i++)
		str_adds(out, "\xEF\xBF\xBD");
	if (!fallback)
		utf8_lossy(s->held, s->n_held, out);
	s->n_held = 0;
}
