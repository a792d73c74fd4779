/*
 * kl_control - the KL coefficient: fixed, or moved after every batch so that the KL goes to a target.
 *
 * Ziegler et al. 2019 (arXiv:1909.08593), as TRL up to 0.11, OpenRLHF and verl have it: after a batch of n rows
 *
 *     coef = coef (1 + clip(KL / target - 1, -.2, .2) n / horizon)
 *
 * The coefficient is part of the run's committed state, so that a stopped run goes on with the same bits.
 */
#ifndef LIB_KL_CONTROL_H
#define LIB_KL_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/loop.h"

struct kl_control {
	bool adaptive;
	double target, horizon;
	/* state */
	int64_t batches; /* that have moved it */
	double coef;
};

/* text: "TARGET,HORIZON", two numbers above 0, or "" for a fixed coefficient.  0; -1: it is neither. */
int kl_control_init(struct kl_control *k, const char *text, double coef);
/* After a batch of n rows; kl in nats, of what is in the compat table.  -1 when n rows could turn the sign of the
 * coefficient (n > 5 horizon) or kl is not finite. */
int kl_control_update(struct kl_control *k, double kl, int64_t n, struct err *e);

/* The state out of a run, where there is one, and into it; nothing when fixed. */
int kl_control_load(struct kl_control *k, const struct loop_run *r, struct err *e);
int kl_control_keep(const struct kl_control *k, struct loop_run *r, struct err *e);

#endif
