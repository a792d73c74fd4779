/* schedule - see schedule.h */
#include "lib/schedule.h"

#include <math.h>

double schedule_rate(const struct schedule_config *c, int64_t u, int64_t total)
{
	if (u < c->warmup)
		return c->lr * (double)u / (double)c->warmup;
	if (c->kind == SCHEDULE_CONSTANT || total <= c->warmup)
		return c->lr;
	double done = (double)(u - c->warmup) / (double)(total - c->warmup);
	if (done > 1)
		done = 1;
	return c->kind == SCHEDULE_LINEAR ? c->lr * (1 - done) : c->lr * 0.5 * (1 + cos(M_PI * done));
}
