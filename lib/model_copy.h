/*
 * model_copy - one version out of a store into a new one, with what is needed to go on from it.
 */
#ifndef LIB_MODEL_COPY_H
#define LIB_MODEL_COPY_H

#include "lib/err.h"
#include "lib/store.h"

/*
 * The version that `name` (a slot, a snapshot, SLOT@VERSION) stands for becomes the current one of its slot in the
 * empty store `to`, with its number and files, what it needs (the base of an adapter, the slot `ref`) and the log up to
 * it.  A checkpoint (store_put_checkpoint) and what is current now come with moments, the critic, the state of their
 * runs and the references of these, so that a run goes on in the copy as it would here; another version has its weights
 * alone.  Checksums are compared.
 */
int model_copy(struct store_view *v, const char *name, struct store *to, struct err *e);

#endif
