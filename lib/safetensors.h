/*
 * safetensors - the exchange format of weights: a JSON header, then bytes.
 *
 *     u64 N, little endian | N bytes of JSON | data
 *     "name": {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}      offsets count from the data's start
 *
 * A file is hostile: every rule of the reference reader is checked before anything is allocated by its numbers (header
 * at most 100 MB and inside the file, tensors lie one after another without a gap or an overlap up to the file's last
 * byte, bytes = product of the shape times the size of the dtype, no name and no key twice).  Data is read with pread,
 * never mapped: a file that is cut meanwhile is an error, not a signal.
 */
#ifndef LIB_SAFETENSORS_H
#define LIB_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

#define SAFETENSORS_MAX_DIMS 8
#define SAFETENSORS_MAX_HEADER 100000000

enum safetensors_dtype {
	ST_BOOL,
	ST_U8,
	ST_I8,
	ST_F8,
	ST_I16,
	ST_U16,
	ST_F16,
	ST_BF16,
	ST_I32,
	ST_U32,
	ST_F32,
	ST_C64,
	ST_F64,
	ST_I64,
	ST_U64
};

struct safetensor {
	const char *name; /* owned by the file's struct */
	enum safetensors_dtype dtype;
	int n_dims;
	int64_t shape[SAFETENSORS_MAX_DIMS]; /* a 0 makes an empty tensor */
	int64_t count;
	uint64_t begin, bytes; /* in the data */
};

struct safetensors;
/* Reads and checks the header.  NULL with *e ("FILE: ..."). */
struct safetensors *safetensors_open(const char *path, struct err *e);
void safetensors_close(struct safetensors *s);
/* Checks a header against the size of the file it came from, without a file: for tests and fuzzing. */
struct safetensors *safetensors_parse(const char *name, const void *header, size_t len, uint64_t file_size,
                                      struct err *e);

const char *safetensors_path(const struct safetensors *s);
int64_t safetensors_count(const struct safetensors *s);
const struct safetensor *safetensors_at(const struct safetensors *s, int64_t i);          /* in the order of the data */
const struct safetensor *safetensors_find(const struct safetensors *s, const char *name); /* NULL: absent */

/* Elements first .. first+n-1 as float32; the conversion is exact.  -1 when the dtype is none of F32, F16, BF16. */
int safetensors_floats(const struct safetensors *s, const struct safetensor *t, int64_t first, int64_t n, float *out,
                       struct err *e);
/* The bytes as they are. */
int safetensors_bytes(const struct safetensors *s, const struct safetensor *t, void *out, struct err *e);

const char *safetensors_dtype_name(enum safetensors_dtype d);
size_t safetensors_dtype_size(enum safetensors_dtype d);
/* 0 or -1 (no such name). */
int safetensors_dtype_of(const char *name, size_t len, enum safetensors_dtype *out);

/* float32 to F16 and BF16, to the nearest, ties to even; beyond the range of F16 it is infinite. */
uint16_t float_to_half(float x);
uint16_t float_to_bf16(float x);
float half_to_float(uint16_t h);
float bf16_to_float(uint16_t h);

/* ---- writing: the header first, then the data of each tensor in the order of the list ---- */

struct safetensors_writer;
/*
 * Sorts list as other writers do (largest elements first, then by name) and fills in count, begin and bytes; name,
 * dtype, n_dims, shape are the caller's.  The file is built beside path and renamed into place by _finish, after fsync.
 */
struct safetensors_writer *safetensors_begin(const char *path, struct safetensor *list, int64_t n, struct err *e);
/* The next n elements of the tensor whose turn it is, converted to its dtype (F32, F16, BF16). */
int safetensors_put(struct safetensors_writer *w, const float *data, int64_t n, struct err *e);
int safetensors_finish(struct safetensors_writer *w, struct err *e); /* -1 too when data is missing; w is gone */
void safetensors_abandon(struct safetensors_writer *w);

#endif
