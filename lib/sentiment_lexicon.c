/* sentiment_lexicon - see sentiment_lexicon.h */
#include "lib/sentiment_lexicon.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/stream.h"
#include "lib/utf8.h"
#include "lib/util.h"

static const char *const names[W_NAMES] = {
        [W_NO] = "no",           [W_OR] = "or",         [W_NOR] = "nor",     [W_NEVER] = "never",
        [W_SO] = "so",           [W_THIS] = "this",     [W_DOUBT] = "doubt", [W_WITHOUT] = "without",
        [W_LEAST] = "least",     [W_AT] = "at",         [W_VERY] = "very",   [W_KIND] = "kind",
        [W_OF] = "of",           [W_BUT] = "but",       [W_THE] = "the",     [W_SHIT] = "shit",
        [W_BOMB] = "bomb",       [W_BAD] = "bad",       [W_ASS] = "ass",     [W_BUS] = "bus",
        [W_STOP] = "stop",       [W_YEAH] = "yeah",     [W_RIGHT] = "right", [W_KISS] = "kiss",
        [W_DEATH] = "death",     [W_TO] = "to",         [W_DIE] = "die",     [W_FOR] = "for",
        [W_BEATING] = "beating", [W_BROKEN] = "broken", [W_HEART] = "heart", [W_JUST] = "just",
        [W_ENOUGH] = "enough",   [W_SORT] = "sort"};

static const char *const negations[] = {"aint",   "arent",   "cannot",  "cant",  "couldnt",  "darent",  "didnt",
                                        "doesnt", "dont",    "hadnt",   "hasnt", "havent",   "isnt",    "mightnt",
                                        "mustnt", "neednt",  "oughtnt", "shant", "shouldnt", "wasnt",   "werent",
                                        "wont",   "wouldnt", "neither", "never", "none",     "nope",    "nor",
                                        "not",    "nothing", "nowhere", "uhuh",  "uh-uh",    "without", "rarely",
                                        "seldom", "despite"}; /* the forms with n't negate as any word with n't does */

static const char *const up[] = {
        "absolutely",    "amazingly",  "awfully",   "completely", "considerable", "considerably", "decidedly",
        "deeply",        "effing",     "enormous",  "enormously", "entirely",     "especially",   "exceptional",
        "exceptionally", "extreme",    "extremely", "fabulously", "flipping",     "flippin",      "frackin",
        "fracking",      "fricking",   "frickin",   "frigging",   "friggin",      "fully",        "fuckin",
        "fucking",       "fuggin",     "fugging",   "greatly",    "hella",        "highly",       "hugely",
        "incredible",    "incredibly", "intensely", "major",      "majorly",      "more",         "most",
        "particularly",  "purely",     "quite",     "really",     "remarkably",   "so",           "substantially",
        "thoroughly",    "total",      "totally",   "tremendous", "tremendously", "uber",         "unbelievably",
        "unusually",     "utter",      "utterly",   "very"};

static const char *const down[] = {"almost", "barely", "hardly",   "kinda",      "kindof",     "kind-of",
                                   "less",   "little", "marginal", "marginally", "occasional", "occasionally",
                                   "partly", "scarce", "scarcely", "slight",     "slightly",   "somewhat",
                                   "sorta",  "sortof", "sort-of"};

static uint64_t hash_of(const char *word, size_t len)
{
	uint64_t hash = SENTIMENT_HASH_START;
	for (size_t i = 0; i < len; i++)
		hash = sentiment_hash_step(hash, (unsigned char)word[i]);
	return hash;
}

/* The slot of the word, or the free one where it belongs.  FNV's low bits are its weakest. */
static struct sentiment_slot *slot(const struct sentiment_lexicon *x, const char *word, size_t len, uint64_t hash)
{
	size_t i = (hash ^ hash >> 32) & (x->n_slots - 1);
	for (;; i = (i + 1) & (x->n_slots - 1)) {
		struct sentiment_slot *s = &x->slots[i];
		if (!s->entry)
			return s;
		const struct sentiment_entry *entry = &x->entries[s->entry - 1];
		if (s->hash == hash >> 32 && entry->hash == hash && entry->len == len &&
		    !memcmp(entry->text, word, len))
			return s;
	}
}

const struct sentiment_entry *sentiment_find(const struct sentiment_lexicon *x, const char *word, size_t len,
                                             uint64_t hash)
{
	const struct sentiment_slot *s = slot(x, word, len, hash);
	return s->entry ? &x->entries[s->entry - 1] : NULL;
}

static void grow(struct sentiment_lexicon *x)
{
	x->n_slots = x->n_slots ? 2 * x->n_slots : 1024;
	x->cap = x->n_slots / 2;
	x->entries = xrealloc_array(x->entries, x->cap, sizeof *x->entries);
	free(x->slots);
	x->slots = xcalloc(x->n_slots, sizeof *x->slots);
	for (size_t i = 0; i < x->n; i++) {
		const struct sentiment_entry *entry = &x->entries[i];
		*slot(x, entry->text, entry->len, entry->hash) =
		        (struct sentiment_slot){(uint32_t)(entry->hash >> 32), (uint32_t)i + 1};
	}
}

/* Borrowed until the next call. */
static struct sentiment_entry *add(struct sentiment_lexicon *x, const char *word, size_t len)
{
	if (x->n == x->cap)
		grow(x);
	uint64_t hash = hash_of(word, len);
	struct sentiment_slot *s = slot(x, word, len, hash);
	if (!s->entry) {
		x->entries[x->n] =
		        (struct sentiment_entry){.text = arena_strndup(&x->arena, word, len), .len = len, .hash = hash};
		*s = (struct sentiment_slot){(uint32_t)(hash >> 32), (uint32_t)++x->n};
	}
	return &x->entries[s->entry - 1];
}

static void add_boosters(struct sentiment_lexicon *x, const char *const *words, size_t n, double boost)
{
	for (size_t i = 0; i < n; i++) {
		struct sentiment_entry *s = add(x, words[i], strlen(words[i]));
		s->is_booster = true;
		s->boost = boost;
	}
}

void sentiment_lexicon_init(struct sentiment_lexicon *x)
{
	memset(x, 0, sizeof *x);
	arena_init(&x->arena);
	for (size_t i = W_OTHER + 1; i < W_NAMES; i++)
		add(x, names[i], strlen(names[i]))->name = (enum sentiment_name)i;
	for (size_t i = 0; i < ARRAY_LEN(negations); i++)
		add(x, negations[i], strlen(negations[i]))->negates = true;
	add_boosters(x, up, ARRAY_LEN(up), .293);
	add_boosters(x, down, ARRAY_LEN(down), -.293);
}

void sentiment_lexicon_release(struct sentiment_lexicon *x)
{
	arena_release(&x->arena);
	free(x->entries);
	free(x->slots);
	free(x->emoji);
}

/* ---- files ---- */

/* Calls fn with the two first columns of each line. */
static int read_columns(struct sentiment_lexicon *x, const char *path,
                        int (*fn)(struct sentiment_lexicon *x, const char *first, size_t len, const char *second,
                                  struct err *e),
                        struct err *e)
{
	struct stream *in = stream_open(path, e);
	char *line;
	size_t len;
	int rc;
	if (!in)
		return -1;
	while ((rc = stream_next(in, &line, &len, e)) > 0) {
		line += strspn(line, " ");
		if (!*line)
			continue;
		char *tab = strchr(line, '\t');
		if (!tab || tab == line) {
			rc = err_set(e, "no word, tab and value");
		} else {
			*tab = 0;
			char *second = tab + 1, *end = second + strcspn(second, "\t");
			while (end > second && end[-1] == ' ')
				end--;
			*end = 0;
			rc = utf8_valid(line, (size_t)(tab - line)) && utf8_valid(second, (size_t)(end - second))
			             ? fn(x, line, (size_t)(tab - line), second, e)
			             : err_set(e, "not UTF-8");
		}
		if (rc) {
			err_where(e, "%s:%lld", path, (long long)stream_line(in));
			break;
		}
	}
	stream_close(in);
	return rc;
}

static int add_valence(struct sentiment_lexicon *x, const char *word, size_t len, const char *value, struct err *e)
{
	double valence;
	if (!parse_double(value, &valence))
		return err_set(e, "the valence of '%s' is '%s', which is no number", word, value);
	if (!(fabs(valence) <= 100))
		return err_set(e, "the valence of '%s' is %g, expected -100 to 100", word, valence);
	struct sentiment_entry *s = add(x, word, len);
	s->valence = valence;
	s->in_lexicon = true;
	return 0;
}

int sentiment_lexicon_read(struct sentiment_lexicon *x, const char *path, struct err *e)
{
	size_t before = x->n;
	if (read_columns(x, path, add_valence, e))
		return -1;
	return x->n > before ? 0 : err_set(e, "%s: no words", path);
}

static struct sentiment_emoji *emoji_slot(const struct sentiment_lexicon *x, uint32_t code)
{
	size_t i = (code * 0x9e3779b1u >> 8) & (x->n_emoji_slots - 1);
	while (x->emoji[i].code && x->emoji[i].code != code)
		i = (i + 1) & (x->n_emoji_slots - 1);
	return &x->emoji[i];
}

static int add_emoji(struct sentiment_lexicon *x, const char *word, size_t len, const char *description, struct err *e)
{
	uint32_t code;
	(void)e;
	if (utf8_next(word, len, &code) != len || !code)
		return 0;
	if (2 * (x->n_emoji + 1) > x->n_emoji_slots) {
		struct sentiment_emoji *old = x->emoji;
		size_t n_old = x->n_emoji_slots;
		x->n_emoji_slots = n_old ? 2 * n_old : 1024;
		x->emoji = xcalloc(x->n_emoji_slots, sizeof *x->emoji);
		for (size_t i = 0; i < n_old; i++)
			if (old[i].code)
				*emoji_slot(x, old[i].code) = old[i];
		free(old);
	}
	struct sentiment_emoji *s = emoji_slot(x, code);
	x->n_emoji += !s->code;
	*s = (struct sentiment_emoji){code, arena_strndup(&x->arena, description, strlen(description)),
	                              strlen(description)};
	return 0;
}

int sentiment_lexicon_read_emoji(struct sentiment_lexicon *x, const char *path, struct err *e)
{
	return read_columns(x, path, add_emoji, e);
}

const struct sentiment_emoji *sentiment_find_emoji(const struct sentiment_lexicon *x, uint32_t code)
{
	if (!x->n_emoji)
		return NULL;
	const struct sentiment_emoji *s = emoji_slot(x, code);
	return s->code ? s : NULL;
}
