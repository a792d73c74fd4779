/*
 * optim - steps over a tensor table.
 *
 *   adamw  Loshchilov and Hutter 2019, as torch.optim.AdamW computes it; two moments
 *   sgd    m = momentum m + g;  w = (1 - lr weight_decay) w - lr m, as torch.optim.SGD but for the decay, which is
 *          decoupled here too; one moment, m, which begins at 0
 *   adam8  adamw with both moments in 8 bits (lib/optim_moment.h)
 */
#ifndef LIB_OPTIM_H
#define LIB_OPTIM_H

#include <stdint.h>

#include "lib/cli.h"
#include "lib/decoder.h"
#include "lib/err.h"
#include "lib/optim_moment.h"
#include "lib/schedule.h"
#include "lib/tensors.h"

enum optim_kind { OPTIM_ADAMW, OPTIM_SGD, OPTIM_ADAM8 };
/* "adamw", "sgd", "adam8" */
extern const char *const optim_kind_names[];

enum optim_decay { DECAY_MATRICES, DECAY_ALL };

/* Parts of a model, for metrics: what tells them apart is where a gradient explodes or dies. */
enum optim_group { GROUP_EMBED, GROUP_ATTN, GROUP_MLP, GROUP_NORM, GROUP_HEAD, GROUP_VALUE, GROUP_COUNT };
/* "embed", "attn", "mlp", "norm", "head", "value" */
extern const char *const optim_group_names[GROUP_COUNT];
/* Does the table have a tensor of the group that learns? */
bool optim_has_group(const struct tensors *t, enum optim_group group);

struct optim_config {
	struct schedule_config schedule;
	double critic_lr;                        /* of the value head, and of a critic of its own; < 0: as lr */
	double weight_decay, eps, max_grad_norm; /* max_grad_norm 0: off */
	const char *betas;                       /* "A,B" */
	int kind;                                /* enum optim_kind */
	double momentum;                         /* of sgd */
	int decay;                               /* enum optim_decay */
	double beta1, beta2;                     /* out of betas, by optim_check */
};
/* --optim, --momentum, --lr, --schedule, --warmup, --weight-decay, --decay, --betas, --eps, --max-grad-norm; the
 * default of --lr is that of PPO. */
extern const struct opt optim_options[];
/* The same with another default of --lr; static memory. */
const struct opt *optim_options_lr(const char *lr);
/* Ends the process (misuse) when betas are no two numbers in [0,1), or a schedule needs steps and there are none. */
void optim_check(struct optim_config *c, int64_t steps);

/* The option --critic-lr, for tools that have a critic. */
extern const struct opt optim_critic_options[];
/* The critic's rate of update u, by the same schedule. */
double optim_critic_rate(const struct optim_config *c, int64_t u, int64_t total);

/* Sum over all tensors, in the order of the table, of the sums of squares; double.  Each tensor's is added to that of
 * its group too, unless group is NULL; of an adapter the group of the matrix that it is for. */
double optim_sum_squares(const struct weights *g, double group[GROUP_COUNT]);
/* 0, or -1 naming the first tensor that holds a NaN or infinity (`what` is "gradient of", "weight"). */
int optim_check_finite(const struct weights *w, const char *what, struct err *e);

/* One step of all tensors: the gradient is multiplied by grad_scale first; step counts from 1.  The value head learns
 * at value_lr.  Norm gains and biases do not decay unless decay is DECAY_ALL.  v: not of sgd. */
void optim_step(const struct optim_config *c, double lr, double value_lr, double grad_scale, int64_t step,
                struct weights *w, struct optim_moment *m, struct optim_moment *v, const struct weights *g);

#endif
