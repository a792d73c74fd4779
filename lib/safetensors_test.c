/* Unit tests of safetensors: every rule of the reference reader, broken once. */
#include "lib/safetensors.h"

#include "lib/test.h"
#include "lib/util.h"

static struct err e;

/* The header in a file with so many bytes of data: NULL text: it must be taken. */
static void header(const char *json, size_t data, const char *says)
{
	e.msg[0] = 0;
	struct safetensors *s = safetensors_parse("x", json, strlen(json), 8 + strlen(json) + data, &e);
	if (!says && !s)
		test_fail(__FILE__, __LINE__, "%s: refused: %s", json, e.msg);
	if (says && (s || !strstr(e.msg, says)))
		test_fail(__FILE__, __LINE__, "%s: '%s', expected '%s'", json, s ? "taken" : e.msg, says);
	safetensors_close(s);
}

#define A(dtype, shape, offsets) "\"a\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define B(dtype, shape, offsets) "\"b\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_headers(void)
{
	test_case("headers that are right");
	header("{}", 0, NULL);
	header("{\"__metadata__\":{\"format\":\"pt\"}}   ", 0, NULL);
	header("{" A("F32", "[2,3]", "[0,24]") "}", 24, NULL);
	header("{" A("F32", "[]", "[0,4]") "}", 4, NULL);
	header("{" A("F16", "[0,7]", "[0,0]") "," B("BF16", "[2]", "[0,4]") "}", 4, NULL);
	header("{" B("I64", "[1]", "[4,12]") "," A("F32", "[1]", "[0,4]") "}", 12, NULL);
	header("{" A("F8_E5M2", "[3]", "[0,3]") "}", 3, NULL);
	test_case("not a header");
	header("", 0, "does not begin with '{'");
	header(" {}", 0, "does not begin with '{'");
	header("[1]", 0, "does not begin with '{'");
	header("{\"a\":", 0, "header");
	header("{\"a\":1}", 0, "not an object");
	header("{} {}", 0, "header");
	header("{\"__metadata__\":{\"n\":1}}", 0, "more than strings");
	header("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice");
	header("{\"a\\u0000b\":{}}", 0, "NUL");
	test_case("entries that are wrong");
	header("{" A("F33", "[1]", "[0,4]") "}", 4, "unknown dtype 'F33'");
	header("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "is missing");
	header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "twice");
	header("{" A("F32", "[-1]", "[0,4]") "}", 4, "not a list of sizes");
	header("{" A("F32", "[1.5]", "[0,4]") "}", 4, "not a list of sizes");
	header("{" A("F32", "7", "[0,4]") "}", 4, "not a list of sizes");
	header("{" A("F32", "[1]", "[0]") "}", 4, "not two offsets");
	header("{" A("F32", "[1]", "[0,4,8]") "}", 4, "not two offsets");
	header("{" A("F32", "[1]", "[-4,0]") "}", 4, "not two offsets");
	header("{" A("F32", "[1]", "[8,4]") "}", 4, "ends before it begins");
	header("{" A("F32", "[2]", "[0,4]") "}", 4, "has 4 bytes, its shape needs 8");
	header("{" A("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "more than 8 dimensions");
	test_case("products that wrap");
	header("{" A("F32", "[4294967296,4294967296]", "[0,0]") "}", 0, "does not fit");
	header("{" A("F32", "[4611686018427387904]", "[0,0]") "}", 0, "does not fit");
	header("{" A("F32", "[0,9223372036854775807,9223372036854775807]", "[0,0]") "}", 0, NULL);
	header("{" A("F32", "[9223372036854775807,9223372036854775807,0]", "[0,0]") "}", 0, "does not fit");
	test_case("holes, overlaps, bytes behind the last tensor, names twice");
	header("{" A("F32", "[1]", "[4,8]") "}", 8, "begins at 4, the one before ends at 0");
	header("{" A("F32", "[2]", "[0,8]") "," B("F32", "[2]", "[4,12]") "}", 12, "begins at 4");
	header("{" A("F32", "[1]", "[0,4]") "," B("F32", "[1]", "[0,4]") "}", 4, "begins at 0");
	header("{" A("F32", "[1]", "[0,4]") "}", 5, "the tensors have 4 bytes, the file 5");
	header("{" A("F32", "[1]", "[0,4]") "}", 3, "the tensors have 4 bytes, the file 3");
	header("{" A("F32", "[0]", "[0,0]") "," A("F32", "[0]", "[0,0]") "}", 0, "twice");
}

static char dir[256];

static void put_file(const char *path, uint64_t n, const char *text)
{
	FILE *f = fopen(path, "w");
	fwrite(&n, 1, 8, f);
	fputs(text, f);
	fclose(f);
}

static void test_files(void)
{
	char path[300];
	struct safetensors *s;
	test_case("files that are cut, too long a header, no file");
	snprintf(path, sizeof path, "%s/a.safetensors", dir);
	CHECK(!safetensors_open(path, &e) && strstr(e.msg, "No such file"));
	fclose(fopen(path, "w"));
	CHECK(!safetensors_open(path, &e) && strstr(e.msg, "0 bytes"));
	put_file(path, 100, "{}");
	CHECK(!safetensors_open(path, &e) && strstr(e.msg, "a header of 100 bytes, but the file has 10"));
	put_file(path, UINT64_MAX, "{}");
	CHECK(!safetensors_open(path, &e) && strstr(e.msg, "at most 100000000"));
	CHECK(!safetensors_open(dir, &e));

	test_case("what is written is read: exactly in F32, rounded once in F16 and BF16");
	struct safetensor list[] = {{.name = "half", .dtype = ST_F16, .n_dims = 1, .shape = {4}},
	                            {.name = "brain", .dtype = ST_BF16, .n_dims = 2, .shape = {2, 2}},
	                            {.name = "full \"name\"", .dtype = ST_F32, .n_dims = 2, .shape = {1, 4}}};
	float x[4] = {1.0f, -0.1f, 65504.0f, 3e-8f}, y[4];
	struct safetensors_writer *w = safetensors_begin(path, list, 3, &e);
	CHECK(w != NULL);
	CHECK_STR(list[0].name, "full \"name\"");
	CHECK_STR(list[1].name, "brain");
	for (int i = 0; i < 3; i++)
		CHECK(!safetensors_put(w, x, 1, &e) && !safetensors_put(w, x + 1, 3, &e));
	CHECK(safetensors_put(w, x, 1, &e));
	CHECK(!safetensors_finish(w, &e));
	s = safetensors_open(path, &e);
	if (!s) {
		test_fail(__FILE__, __LINE__, "%s", e.msg);
		return;
	}
	CHECK_INT(safetensors_count(s), 3);
	CHECK(!safetensors_find(s, "none"));
	CHECK(!safetensors_floats(s, safetensors_find(s, "full \"name\""), 0, 4, y, &e) && !memcmp(x, y, sizeof x));
	CHECK(!safetensors_floats(s, safetensors_find(s, "half"), 0, 4, y, &e));
	CHECK(y[0] == 1 && y[1] == -0.0999755859375f && y[2] == 65504 && y[3] == 0x1p-24f);
	CHECK(!safetensors_floats(s, safetensors_find(s, "brain"), 1, 2, y, &e));
	CHECK(y[0] == -0.10009765625f && y[1] == 65536);
	CHECK(safetensors_floats(s, safetensors_find(s, "brain"), 3, 2, y, &e));
	safetensors_close(s);
	test_case("a file that loses its data while it is open");
	s = safetensors_open(path, &e);
	CHECK(!truncate(path, 260));
	CHECK(safetensors_floats(s, safetensors_find(s, "half"), 0, 4, y, &e) && strstr(e.msg, "cut short"));
	safetensors_close(s);
	test_case("an unfinished file leaves nothing");
	unlink(path);
	w = safetensors_begin(path, list, 3, &e);
	CHECK(safetensors_finish(w, &e) && strstr(e.msg, "is missing"));
	CHECK(access(path, F_OK));
}

static void test_half(void)
{
	test_case("every F16 goes to float32 and back; rounding is to even");
	for (unsigned h = 0; h < 65536; h++) {
		float x = half_to_float((uint16_t)h);
		if (!isnan(x))
			CHECK_INT(float_to_half(x), h);
	}
	CHECK_INT(float_to_half(1 + 0x1p-11f), 0x3c00);
	CHECK_INT(float_to_half(1 + 3 * 0x1p-11f), 0x3c02);
	CHECK_INT(float_to_half(0x1p-25f), 0);
	CHECK_INT(float_to_half(1023.5f * 0x1p-24f), 0x400);
	CHECK_INT(float_to_half(65519.996f), 0x7bff);
	CHECK_INT(float_to_half(65520), 0x7c00);
	CHECK_INT(float_to_bf16(1 + 0x1p-8f), 0x3f80);
	CHECK_INT(float_to_bf16(1 + 3 * 0x1p-8f), 0x3f82);
	CHECK(float_to_bf16(NAN) & 0x7f);
}

int main(void)
{
	snprintf(dir, sizeof dir, P_tmpdir "/safetensors-test.XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	test_headers();
	test_files();
	test_half();
	rmdir(dir);
	return test_done();
}
