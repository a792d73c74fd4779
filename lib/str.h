/*
 * str - a byte string that grows.
 *
 * buf is never NULL after str_init and always holds a NUL behind len bytes, so
 * it can be printed; the bytes before may hold NULs of their own.
 */
#ifndef LIB_STR_H
#define LIB_STR_H

#include <stddef.h>

struct str {
	char *buf;
	size_t len, cap;
};

void str_init(struct str *s);
void str_release(struct str *s);
void str_clear(struct str *s);                 /* len = 0, memory kept */
void str_reserve(struct str *s, size_t extra); /* room for that many more bytes */
void str_add(struct str *s, const void *data, size_t len);
void str_adds(struct str *s, const char *text);
void str_addc(struct str *s, char c);
void str_addf(struct str *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Gives the buffer away (free() it); s is empty again. */
char *str_detach(struct str *s);

#endif
