/* plot_text - small pictures in a terminal; see plot.h */
#include "lib/plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/progress.h"
#include "lib/util.h"

enum {
	LABEL = 9,   /* columns of the numbers at the left, and one for the axis behind them */
	GAP = 2,     /* columns between two pictures */
	NARROW = 38, /* a picture is at least so wide, where there are several */
	LABEL_TEXT = 32
};

/* One picture: a grid of dots, dx by dy of them in a character. */
struct panel {
	int cells, height, dx, dy;
	unsigned char *dot; /* [height * cells]: bits in Braille's order */
	double low, high;
};

static void mark(struct panel *g, int col, int row)
{
	static const unsigned char braille[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
	g->dot[row / g->dy * g->cells + col / g->dx] |= g->dy == 1 ? 1 : braille[row % g->dy][col % g->dx];
}

static int row_of(const struct panel *g, double y)
{
	int last = g->height * g->dy - 1;
	double share = g->high > g->low ? (y - g->low) / (g->high - g->low) : .5;
	return last - (int)(share * last + .5);
}

/* From one column to the next one that has a value, without holes. */
static void join(struct panel *g, int col0, int row0, int col1, int row1)
{
	int before = row0;
	for (int col = col0 + 1; col <= col1; col++) {
		int row = row0 + (int)lrint((double)(row1 - row0) * (col - col0) / (col1 - col0));
		for (int r = before; r != row; r += row > r ? 1 : -1)
			if (r != before)
				mark(g, col, r);
		mark(g, col, row);
		before = row;
	}
}

/* The mean of the values that fall into one column of dots. */
static void column_means(const struct panel *g, const struct plot *p, const double *y, double *mean)
{
	int cols = g->cells * g->dx;
	double *n = xcalloc((size_t)cols, sizeof *n);
	double first = p->x[0], span = p->x[p->rows - 1] - first;
	for (int64_t i = 0; i < p->rows; i++) {
		int col = span > 0 ? (int)((p->x[i] - first) / span * (cols - 1) + .5) : 0;
		if (!isfinite(y[i]))
			continue;
		mean[col] += y[i];
		n[col]++;
	}
	for (int c = 0; c < cols; c++)
		mean[c] = n[c] > 0 ? mean[c] / n[c] : NAN;
	free(n);
}

static void fill(struct panel *g, const struct plot *p, const double *y)
{
	int cols = g->cells * g->dx, before = -1;
	double *mean = xcalloc((size_t)cols, sizeof *mean);
	column_means(g, p, y, mean);
	g->low = INFINITY;
	g->high = -INFINITY;
	for (int c = 0; c < cols; c++) {
		g->low = mean[c] < g->low ? mean[c] : g->low;
		g->high = mean[c] > g->high ? mean[c] : g->high;
	}
	for (int c = 0; c < cols; c++) {
		if (!isfinite(mean[c]))
			continue;
		if (before >= 0)
			join(g, before, row_of(g, mean[before]), c, row_of(g, mean[c]));
		else
			mark(g, c, row_of(g, mean[c]));
		before = c;
	}
	free(mean);
}

static void number(char out[LABEL_TEXT], double x)
{
	snprintf(out, LABEL_TEXT, fabs(x) >= 1000 && fabs(x) < 1e6 ? "%.0f" : "%.4g", x);
	if (strlen(out) >= LABEL)
		snprintf(out, LABEL_TEXT, "%.1e", x);
}

static void put_label(struct str *out, const struct panel *g, int line)
{
	char text[LABEL_TEXT] = "";
	bool flat = !(g->high > g->low);
	if (isfinite(g->high)) {
		if (flat ? line == row_of(g, g->high) / g->dy : line == 0)
			number(text, g->high);
		else if (!flat && line == g->height - 1)
			number(text, g->low);
	}
	str_addf(out, "%*s", LABEL - 1, text);
}

static void put_cells(struct str *out, const struct panel *g, int line)
{
	for (int c = 0; c < g->cells; c++) {
		unsigned char bits = g->dot[line * g->cells + c];
		if (g->dy == 1 || !bits) {
			str_addc(out, bits ? '*' : ' ');
			continue;
		}
		const unsigned code = 0x2800u + bits;
		str_addc(out, (char)(0xe0 | code >> 12));
		str_addc(out, (char)(0x80 | (code >> 6 & 0x3f)));
		str_addc(out, (char)(0x80 | (code & 0x3f)));
	}
}

/* Bytes of the first `columns` characters. */
static size_t prefix(const char *text, int columns, int *used)
{
	size_t i = 0;
	for (*used = 0; text[i]; i++)
		if (((unsigned char)text[i] & 0xc0) != 0x80 && ++*used > columns) {
			--*used;
			break;
		}
	return i;
}

static double last_of(const struct plot *p, const double *y)
{
	for (int64_t i = p->rows - 1; i >= 0; i--)
		if (isfinite(y[i]))
			return y[i];
	return NAN;
}

static void put_name(struct str *out, const struct plot *p, const struct plot_column *c, int width)
{
	char value[LABEL_TEXT] = "-", name[256];
	int used, room;
	double last = last_of(p, c->y);
	if (isfinite(last))
		number(value, last);
	room = width - (int)strlen(value) - 1;
	progress_escape(name, sizeof name, c->key, strlen(c->key));
	str_add(out, name, prefix(name, room, &used));
	str_addf(out, "%*s", width - used, value);
}

static void trim(struct str *out)
{
	while (out->len && out->buf[out->len - 1] == ' ')
		out->buf[--out->len] = 0;
	str_addc(out, '\n');
}

/* Pictures beside each other: n of them, each `width` wide. */
static void put_row(struct str *out, const struct plot *p, const int *pick, int n, int width, const struct plot_text *t)
{
	struct panel *g = xcalloc((size_t)n, sizeof *g);
	for (int i = 0; i < n; i++) {
		g[i] = (struct panel){.cells = width - LABEL, .height = t->height, .dx = 2, .dy = 4};
		if (t->ascii)
			g[i].dx = g[i].dy = 1;
		g[i].dot = xcalloc((size_t)(g[i].cells * g[i].height), 1);
		fill(&g[i], p, p->column[pick[i]].y);
		str_addf(out, "%*s", i ? GAP : 0, "");
		put_name(out, p, &p->column[pick[i]], width);
	}
	trim(out);
	for (int line = 0; line < t->height; line++) {
		for (int i = 0; i < n; i++) {
			str_addf(out, "%*s", i ? GAP : 0, "");
			put_label(out, &g[i], line);
			str_addc(out, '|');
			put_cells(out, &g[i], line);
		}
		trim(out);
	}
	for (int i = 0; i < n; i++)
		free(g[i].dot);
	free(g);
}

static void put_title(struct str *out, const struct plot *p)
{
	char title[512];
	progress_escape(title, sizeof title, p->title.buf, p->title.len);
	str_addf(out, "%s: %lld rows", title, (long long)p->rows);
	if (p->rows)
		str_addf(out, ", %s %.10g to %.10g", p->by_row || !p->x_key ? "row" : p->x_key, p->x[0],
		         p->x[p->rows - 1]);
	str_addc(out, '\n');
}

void plot_draw(struct str *out, const struct plot *p, const int *pick, int n, const struct plot_text *t)
{
	int beside = (t->width + GAP) / (NARROW + GAP);
	if (beside > n)
		beside = n;
	if (beside < 1)
		beside = 1;
	int width = (t->width + GAP) / beside - GAP;
	if (width < LABEL + 4)
		width = LABEL + 4;
	put_title(out, p);
	for (int i = 0; i < n && p->rows; i += beside) {
		str_addc(out, '\n');
		put_row(out, p, pick + i, n - i < beside ? n - i : beside, width, t);
	}
}
