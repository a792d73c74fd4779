/*
 * plot - metrics as columns, and their pictures: in a terminal, by gnuplot, for TensorBoard.
 *
 * A row is one line of metrics, or the metrics of an entry of a store's log; a column is a key that ever held a number.
 * Members of an object have keys of their own, "outer/inner".  What is no number is NaN in its row.
 */
#ifndef LIB_PLOT_H
#define LIB_PLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cli.h"
#include "lib/err.h"
#include "lib/record.h"
#include "lib/str.h"

struct plot_column {
	char *key;
	double *y; /* [rows] */
};

struct plot {
	const char *x_key; /* what runs to the right; NULL: step, else batch, else the number of the row; borrowed */
	bool by_row;       /* the number of the row, whatever is in it */
	struct plot_column *column;
	int n;
	double *x; /* [rows] */
	int64_t rows, cap;
	int64_t lines;   /* that were read since plot_clear, those without a number too */
	int64_t changed; /* rows from here on are not those that the last reader of this number saw; it sets it to rows
	                  */
	struct str title;
};

void plot_init(struct plot *p, const char *x_key);
void plot_release(struct plot *p);
void plot_clear(struct plot *p); /* no rows and no columns */

/*
 * Adds the fields of a record, or the members of an object in one.  A row whose x is not above the one before takes the
 * place of all from that x on: a trainer that is started again prints its metrics from the first.  (Not by the number
 * of the row.)  -1: x_key was given and is no number here.
 */
int plot_add(struct plot *p, const struct record *r, struct err *e);
int plot_add_object(struct plot *p, const struct json *object, struct err *e);

/* ---- where rows come from ---- */

/* Is the file an LMDB file, so a store? */
bool plot_is_store(const char *path);
/* All lines of a file, plain or zstd ("-": standard input).  growing: a last line or frame that is not whole is left
 * for the next time. */
int plot_read_file(struct plot *p, const char *path, bool growing, struct err *e);
/* The metrics of one run in a store's log, of the one that wrote last; run: its name, or NULL for any. */
int plot_read_store(struct plot *p, const char *path, const char *run, struct err *e);

/* ---- what is drawn ---- */

/*
 * Columns that are meant: patterns of the shell ("time/" "*"), in their order; with none the main ones, and where none
 * of these is there all but x.  pick: [p->n]; returns how many, or -1 naming a pattern that is no key; lenient: it may
 * come to be one.
 */
int plot_pick(const struct plot *p, const struct cli_list *patterns, bool lenient, int *pick, struct err *e);

struct plot_text {
	int width, height; /* columns of the terminal; lines of a picture */
	bool ascii;        /* stars in place of Braille dots */
};
/* Small pictures beside and below each other: name and last value, the highest and the lowest at the left. */
void plot_draw(struct str *out, const struct plot *p, const int *pick, int n, const struct plot_text *t);

/* The same by gnuplot, to a PNG or SVG file, which appears when it is whole. */
int plot_gnuplot(const struct plot *p, const int *pick, int n, bool svg, const char *path, struct err *e);

/*
 * An event file of TensorBoard: DIR/events.out.tfevents.0.rl-plot, begun anew.  TFRecord framing (length, masked
 * CRC-32C, data, masked CRC-32C; tensorflow/core/lib/io/record_writer) around Event messages (tensorflow/core/util/
 * event.proto): the version first, then a Summary with one simple_value per number of a row.  The metrics hold no time
 * of day: wall_time is that of writing.
 */
struct plot_events;
struct plot_events *plot_events_open(const char *dir, struct err *e); /* makes the directory */
/* Appends the rows that are new; where the last one that was written is no longer in its place, begins anew. */
int plot_events_write(struct plot_events *w, const struct plot *p, const int *pick, int n, struct err *e);
int plot_events_close(struct plot_events *w, struct err *e);

#endif
