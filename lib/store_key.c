/* store_key - keys and sizes of what a store holds; see store_internal.h */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/store_internal.h"
#include "lib/util.h"

static bool slot_ok(const char *slot)
{
	size_t n = strlen(slot);
	return n >= 1 && n <= STORE_MAX_SLOT && !strpbrk(slot, "/@:");
}

size_t store_tensor_key(char *key, const char *slot, int64_t version, const char *name, unsigned piece, struct err *e)
{
	if (!slot_ok(slot) || version < 0) {
		err_set(e,
		        "'%s@%" PRId64 "' cannot be a version: a slot has 1 to %d characters, without / @ and :", slot,
		        version, STORE_MAX_SLOT);
		return 0;
	}
	int n = snprintf(key, STORE_MAX_KEY + 1, "%s@%" PRId64 "/%s", slot, version, name);
	if (n > STORE_MAX_KEY - 3) {
		err_set(e, "the name of tensor '%s' is too long: the key has %d bytes, at most %d", name, n,
		        STORE_MAX_KEY - 3);
		return 0;
	}
	if (piece == 0)
		return (size_t)n;
	/* A NUL sorts the pieces right behind the first, before any longer name. */
	key[n] = 0;
	key[n + 1] = (char)(piece >> 8);
	key[n + 2] = (char)piece;
	return (size_t)n + 3;
}

static size_t checked(int n, const char *name, struct err *e)
{
	if (n <= STORE_MAX_KEY)
		return (size_t)n;
	err_set(e, "the name '%.100s' is too long: the key has %d bytes, at most %d", name, n, STORE_MAX_KEY);
	return 0;
}

size_t store_blob_key(char *key, const char *slot, const char *name, struct err *e)
{
	if (*slot && !slot_ok(slot)) {
		err_set(e, "'%s' cannot be a slot", slot);
		return 0;
	}
	return checked(snprintf(key, STORE_MAX_KEY + 1, "%s/%s", slot, name), name, e);
}

size_t store_name_key(char *key, char kind, const char *name, struct err *e)
{
	if (!*name || strpbrk(name, "@:") || (kind == 's' && !slot_ok(name))) {
		err_set(e, "'%s' cannot be a name: it must have a character, and none of @ and :", name);
		return 0;
	}
	return checked(snprintf(key, STORE_MAX_KEY + 1, "%c:%s", kind, name), name, e);
}

bool store_parse_ref(const char *text, size_t len, struct store_ref *ref)
{
	const char *at = memchr(text, '@', len);
	char digits[24];
	if (!at || at == text || (size_t)(at - text) > STORE_MAX_SLOT)
		return false;
	size_t n = len - (size_t)(at - text) - 1;
	if (n < 1 || n >= sizeof digits)
		return false;
	memcpy(digits, at + 1, n);
	digits[n] = 0;
	memcpy(ref->slot, text, (size_t)(at - text));
	ref->slot[at - text] = 0;
	return digits[0] >= '0' && digits[0] <= '9' && parse_i64(digits, &ref->version);
}

const char *store_parse_key(const void *key, size_t key_len, struct store_ref *ref, size_t *name_len)
{
	const char *text = key, *slash = memchr(text, '/', key_len);
	if (!slash || !store_parse_ref(text, (size_t)(slash - text), ref))
		return NULL;
	*name_len = key_len - (size_t)(slash - text) - 1;
	return slash + 1;
}

bool store_rows_of(enum kn_dtype dtype, int n_dims, const int64_t *shape, struct store_rows *out)
{
	if ((unsigned)dtype > KN_U8 || n_dims < 1 || n_dims > STORE_MAX_DIMS)
		return false;
	out->rows = n_dims == 1 ? 1 : shape[0];
	out->row_bytes = dtype == KN_F32 ? 4 : dtype == KN_U8 ? 1 : 2;
	for (int i = 0; i < n_dims; i++) {
		if (shape[i] < 1)
			return false;
		if ((i || n_dims == 1) && !size_mul(out->row_bytes, (size_t)shape[i], &out->row_bytes))
			return false;
	}
	return size_mul(out->row_bytes, (size_t)out->rows, &out->bytes) && out->rows <= UINT32_MAX &&
	       out->bytes <= (size_t)INT64_MAX;
}

size_t store_value_size(const struct store *s, size_t data)
{
	size_t size = sizeof(struct store_header) + data;
	return size < s->page / 2 ? s->page / 2 : size;
}

uint32_t store_header_crc(const struct store_header *h, const void *data, size_t len)
{
	struct store_header blank = *h;
	blank.crc = 0;
	return crc32c(crc32c(0, &blank, sizeof blank), data, len);
}
