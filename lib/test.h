/*
 * test - TAP lines for the unit tests (lib/x_test.c).
 *
 *     int main(void)
 *     {
 *             test_case("a cut frame is an error");
 *             CHECK(stream_next(...) == -1);
 *             ...
 *             return test_done();
 *     }
 *
 * A failed CHECK names file, line and both values; the case is then "not ok",
 * and main returns 1.  Data beside the tree is found by test_shared().
 */
#ifndef LIB_TEST_H
#define LIB_TEST_H

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int test_number, test_bad, test_open, test_all_bad;
static const char *test_name, *test_why_skipped;

static inline void test_close(void)
{
	if (!test_open)
		return;
	test_number++;
	if (test_bad)
		printf("not ok %d - %s\n", test_number, test_name);
	else if (test_why_skipped)
		printf("ok %d - %s # SKIP %s\n", test_number, test_name, test_why_skipped);
	else
		printf("ok %d - %s\n", test_number, test_name);
	test_all_bad += test_bad;
	test_bad = test_open = 0;
	test_why_skipped = NULL;
	fflush(stdout);
}

/* Begins a case; the one before ends.  The name is borrowed for the whole case. */
static inline void test_case(const char *name)
{
	test_close();
	test_name = name;
	test_open = 1;
}

/* Marks the current case as skipped, with the reason. */
static inline void test_skip(const char *why)
{
	test_why_skipped = why;
}

static inline int test_done(void)
{
	test_close();
	printf("1..%d\n", test_number);
	return test_all_bad != 0;
}

static inline void test_fail(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static inline void test_fail(const char *file, int line, const char *fmt, ...)
{
	va_list ap;
	test_bad = 1;
	printf("# %s:%d: ", file, line);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

#define CHECK(cond)                                                                                                    \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			test_fail(__FILE__, __LINE__, "%s", #cond);                                                    \
	} while (0)
#define CHECK_INT(a, b)                                                                                                \
	do {                                                                                                           \
		long long a_ = (a), b_ = (b);                                                                          \
		if (a_ != b_)                                                                                          \
			test_fail(__FILE__, __LINE__, "%s is %lld, expected %lld", #a, a_, b_);                        \
	} while (0)
#define CHECK_STR(a, b)                                                                                                \
	do {                                                                                                           \
		const char *a_ = (a), *b_ = (b);                                                                       \
		if (strcmp(a_, b_))                                                                                    \
			test_fail(__FILE__, __LINE__, "%s is '%s', expected '%s'", #a, a_, b_);                        \
	} while (0)
/* |a-b| <= tol; NaN never passes */
#define CHECK_NEAR(a, b, tol)                                                                                          \
	do {                                                                                                           \
		double a_ = (a), b_ = (b);                                                                             \
		if (!(fabs(a_ - b_) <= (tol)))                                                                         \
			test_fail(__FILE__, __LINE__, "%s is %.9g, expected %.9g within %g", #a, a_, b_,               \
			          (double)(tol));                                                                      \
	} while (0)

/* The path of NAME in the data beside the tree ("data/...", "golden/..."), or NULL where it is absent; static. */
static inline const char *test_shared(const char *name)
{
	static char path[4][1024];
	static int turn;
	char *p = path[turn++ & 3];
	const char *root = getenv("RLPIPE_SHARED");
	snprintf(p, sizeof path[0], "%s/%s", root ? root : "../shared", name);
	return access(p, R_OK) == 0 ? p : NULL;
}

#endif
