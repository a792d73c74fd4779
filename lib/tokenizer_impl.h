/*
 * tokenizer_impl - what the files of the tokenizer share; nobody else includes it.
 *
 * Encoding is a chain: added tokens are cut out of the text (tokenizer_added.c), what is between them is normalized
 * (tokenizer_normal.c), cut into words by the pre-tokenizer's steps, each feeding the next one word at a time
 * (tokenizer_split.c), and each word is merged (tokenizer_bpe.c).  Everything a call needs beyond the tokenizer is in
 * its scratch.
 */
#ifndef LIB_TOKENIZER_IMPL_H
#define LIB_TOKENIZER_IMPL_H

#include "lib/record.h"
#include "lib/tokenizer.h"

#define TOK_MAX_ID (1 << 24)           /* ids must be below: the tables are arrays */
#define TOK_MAX_STEPS 32               /* of a normalizer, pre-tokenizer, decoder */
#define TOK_MAX_CONTENT 4096           /* bytes of an added token, a replacement, a prefix */
#define TOK_MAX_TEXT ((size_t)1 << 30) /* bytes of a text */

/* ---- vocabulary: content <-> id ---- */
struct tok_name {
	uint32_t at; /* in text */
	int32_t len; /* -1: no token has this id */
};
struct tok_slot {
	uint32_t tag; /* of the content's hash: most others are told apart without a look at them */
	int32_t id;   /* -1: free */
};
struct tok_vocab {
	struct str text;
	struct tok_name *name; /* [size] */
	int32_t size, cap;     /* largest id + 1 */
	struct tok_slot *slot; /* hash table of ids */
	size_t n_slots, n;
};
void tok_vocab_init(struct tok_vocab *v);
void tok_vocab_release(struct tok_vocab *v);
void tok_vocab_reserve(struct tok_vocab *v, size_t n); /* room for n tokens in all */
/* -1 when the content or the id is there already, or the id is out of range. */
int tok_vocab_put(struct tok_vocab *v, const char *content, size_t len, int64_t id, struct err *e);
int32_t tok_vocab_id(const struct tok_vocab *v, const char *content, size_t len); /* -1: none */
/* Brings what tok_vocab_id will read nearer: step 0, then 1, then 2, each some time after the one before. */
void tok_vocab_warm(const struct tok_vocab *v, const char *content, size_t len, int step);
/* NULL where no token has the id. */
const char *tok_vocab_name(const struct tok_vocab *v, int32_t id, size_t *len);

/* ---- merges: pair of ids -> rank and new id ---- */
struct tok_merge {
	uint64_t pair; /* left << 32 | right; all ones: free */
	int32_t rank, id;
};
struct tok_merges {
	struct tok_merge *slot;
	size_t n_slots, n;
};
#define TOK_PAIR(left, right) ((uint64_t)(uint32_t)(left) << 32 | (uint32_t)(right))
size_t tok_pair_hash(uint64_t pair);
void tok_merges_init(struct tok_merges *m, size_t expected);
void tok_merges_release(struct tok_merges *m);
/* Of equal pairs the last one counts. */
void tok_merges_put(struct tok_merges *m, uint64_t pair, int32_t rank, int32_t id);
const struct tok_merge *tok_merges_find(const struct tok_merges *m, uint64_t pair); /* NULL: none */
void tok_merges_warm(const struct tok_merges *m, uint64_t pair);
/* The ids of a merge: `whole` is the content of its left part, then of its right one. */
int tok_merge_ids(const struct tokenizer *t, int32_t rank, const char *whole, size_t left_len, size_t right_len,
                  uint64_t *pair, int32_t *id, struct err *e);

/* ---- patterns ---- */
struct re_pattern_buffer;
enum tok_pattern_kind { TOK_NEVER, TOK_LITERAL, TOK_REGEX, TOK_NUMBER, TOK_PUNCT, TOK_SCAN };
struct tok_pattern {
	enum tok_pattern_kind kind;
	char *literal;
	size_t len;
	struct re_pattern_buffer *regex;
	size_t (*scan)(const char *s,
	               size_t len); /* TOK_SCAN: bytes of the match that begins at s; every character is in one */
};
int tok_pattern_literal(struct tok_pattern *p, const char *text, size_t len, struct err *e);
int tok_pattern_regex(struct tok_pattern *p, const char *text, size_t len, struct err *e);
/* The same, always through Oniguruma. */
int tok_pattern_onig(struct tok_pattern *p, const char *text, size_t len, struct err *e);
void tok_pattern_release(struct tok_pattern *p);
struct tokenizer_scratch;
/* The first match at or after `from` that is not empty: 1, 0 none, -1. */
int tok_pattern_find(const struct tok_pattern *p, struct tokenizer_scratch *x, const char *s, size_t len, size_t from,
                     size_t *start, size_t *end, struct err *e);
/* Appends s with every match replaced. */
int tok_pattern_replace(const struct tok_pattern *p, struct tokenizer_scratch *x, const char *s, size_t len,
                        const char *content, size_t content_len, struct str *out, struct err *e);
/* A scanner written by hand for this regex, or NULL (tokenizer_scan.c). */
size_t (*tok_scanner(const char *regex, size_t len))(const char *s, size_t len);
#define TOK_GPT2_REGEX "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define TOK_LLAMA_REGEX(number)                                                                                        \
	"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" number                                           \
	"| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define TOK_LLAMA3_REGEX TOK_LLAMA_REGEX("\\p{N}{1,3}")
#define TOK_QWEN2_REGEX TOK_LLAMA_REGEX("\\p{N}")

/* ---- the steps ---- */
enum tok_behavior { TOK_REMOVED, TOK_ISOLATED, TOK_PREVIOUS, TOK_NEXT, TOK_CONTIGUOUS };
enum tok_scheme { TOK_FIRST, TOK_NEVER_PREPEND, TOK_ALWAYS };

struct tok_normal {
	enum { TOK_FORM, TOK_PREPEND, TOK_REPLACE, TOK_LOWER, TOK_STRIP } kind;
	int form; /* enum utf8_form */
	bool left, right;
	struct tok_pattern pattern;
	char *content;
	size_t len;
};

struct tok_step {
	enum { TOK_BYTES, TOK_SPLIT, TOK_META } kind;
	struct tok_pattern pattern; /* TOK_NEVER: one piece */
	enum tok_behavior behavior;
	bool invert;
	bool prefix_space; /* TOK_BYTES */
	enum tok_scheme scheme;
	char bar[8]; /* TOK_META: what stands for a space */
	size_t bar_len;
};

struct tok_decode {
	enum { TOK_D_BYTES, TOK_D_REPLACE, TOK_D_FALLBACK, TOK_D_FUSE, TOK_D_STRIP, TOK_D_META } kind;
	struct tok_pattern pattern;
	char *content; /* what replaces; what is stripped; the bar */
	size_t len;
	int64_t start, stop;
	enum tok_scheme scheme;
};

/* ---- added tokens ---- */
struct tok_added {
	char *content;
	size_t len;
	int32_t id;
	bool single_word, lstrip, rstrip, normalized, special;
};
struct tok_trie_node {
	int32_t child, sibling; /* 0: none */
	int32_t added;          /* index, or -1 */
	unsigned char byte;
};
struct tok_trie {
	struct tok_trie_node *node; /* 0 is the root */
	int32_t n, cap;
	int32_t first[256]; /* children of the root */
};
void tok_trie_put(struct tok_trie *trie, const char *s, size_t len, int32_t added);
/* Calls fn for the parts of s in order: a segment (added NULL), or an added token. */
typedef int (*tok_part)(void *arg, const char *s, size_t len, const struct tok_added *added, struct err *e);
int tok_trie_cut(const struct tokenizer *t, const struct tok_trie *trie, const char *s, size_t len, bool plain,
                 tok_part fn, void *arg, struct err *e);

struct tokenizer {
	struct tok_vocab vocab;
	struct tok_merges merges;
	int32_t n_merges;        /* ranks given out */
	int32_t byte_id[256];    /* of the byte-level characters, or -1 */
	bool all_bytes;          /* none of them is -1 */
	int32_t byte_token[256]; /* of <0x00>.., or -1 */
	bool all_byte_tokens;
	int32_t unk; /* -1: none */
	bool byte_fallback, fuse_unk, ignore_merges;
	bool cut_bars; /* no merge crosses the border before a ▁ that follows another character: words end there */

	struct tok_normal normal[TOK_MAX_STEPS];
	int n_normal;
	struct tok_step step[TOK_MAX_STEPS];
	int n_steps;
	struct tok_decode decode[TOK_MAX_STEPS];
	int n_decode;
	bool no_decoder; /* tokens joined by spaces */

	struct tok_added *added;
	int32_t n_added, cap_added;
	struct tok_trie raw, normalized;
	uint8_t *special; /* [vocab.size] */

	int32_t *before, *after; /* the template */
	int32_t n_before, n_after;

	struct tokenizer_scratch *spare[8]; /* scratches that no call holds; taken and given back atomically */
};

/* ---- one call ---- */
struct tok_symbol {
	int32_t id; /* -1: merged into the one before */
	int32_t prev, next;
};
struct tok_candidate {
	uint64_t key;  /* rank << 32 | position */
	uint32_t slot; /* in merges */
};
struct tok_cached {
	uint8_t len, n; /* n 0: free */
	char text[30];
	int32_t id[8];
};
#define TOK_CACHE_SLOTS 16384

struct tokenizer_scratch {
	int32_t *id; /* what this call has made */
	int64_t n_ids, cap_ids;
	struct tok_symbol *symbol;
	size_t n_symbols, cap_symbols;
	struct tok_candidate *heap;
	size_t n_heap, cap_heap;
	struct tok_cached *cache; /* [TOK_CACHE_SLOTS] words and their ids; no result depends on it */
	struct str word;          /* a word in byte-level characters */
	struct str normal[2];
	struct str step[TOK_MAX_STEPS];   /* what step k makes of its text before it cuts */
	struct str mapped[TOK_MAX_STEPS]; /* a piece of step k in byte-level characters, for step k + 1 */
	void *region;
	/* set by training: takes the words instead of their being merged */
	int (*on_word)(void *arg, const char *s, size_t len, struct err *e);
	void *arg;
};
struct tokenizer_scratch *tok_scratch_take(const struct tokenizer *t);
void tok_scratch_give(const struct tokenizer *t, struct tokenizer_scratch *x);
void tok_scratch_free(struct tokenizer_scratch *x);
void tok_region_free(void *region);
void tok_push(struct tokenizer_scratch *x, int32_t id);

/* Appends the ids of one word: text, or bytes that stand for byte-level characters. */
int tok_bpe_text(const struct tokenizer *t, struct tokenizer_scratch *x, const char *s, size_t len, struct err *e);
int tok_bpe_bytes(const struct tokenizer *t, struct tokenizer_scratch *x, const char *s, size_t len, struct err *e);
/* The normalized form of s: *out borrowed from s or the scratch. */
int tok_normalize(const struct tokenizer *t, struct tokenizer_scratch *x, const char *s, size_t len, const char **out,
                  size_t *out_len, struct err *e);
/* Cuts s into words and encodes them; first: s begins the whole text. */
int tok_split(const struct tokenizer *t, struct tokenizer_scratch *x, const char *s, size_t len, bool first,
              struct err *e);

/* ---- the byte-level alphabet ---- */
uint32_t tok_byte_char(int byte);
/* The byte of a character of the alphabet, or -1. */
int tok_char_byte(uint32_t cp);
/* Appends the bytes as characters. */
void tok_map_bytes(const char *s, size_t len, struct str *out);

/* ---- loading ---- */
struct tokenizer *tok_new(void);
/* After vocabulary and merges are there: tables, tries, the special ids. */
int tok_finish(struct tokenizer *t, struct err *e);
int tok_add_added(struct tokenizer *t, const char *content, size_t len, int64_t id, const struct tok_added *flags,
                  struct err *e);
int tok_load_normalizer(struct tokenizer *t, const struct json *v, struct err *e);
int tok_load_pre_tokenizer(struct tokenizer *t, const struct json *v, struct err *e);
int tok_load_decoder(struct tokenizer *t, const struct json *v, struct err *e);
int tok_load_post_processor(struct tokenizer *t, const struct json *v, struct err *e);
/* GPT-2's own steps, for files that have none. */
int tok_gpt2_steps(struct tokenizer *t, struct err *e);

#endif
