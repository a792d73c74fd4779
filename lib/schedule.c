/* schedule - see schedule.h */
#include "lib/schedule.h"

#include <math.h>

double schedule_rate(const struct schedule_config *c, int64_t u, int64_t total)
{
	if (u < c->warmup)
		return c->lr * (double)u / (double)c->warmup;
	if (c->kind == SCHEDULE_CONSTANT)
		return c->lr;
	double span = total > c->warmup ? (double)(total - c->warmup) : 1;
	if (c->kind == SCHEDULE_LINEAR)
		return c->lr * fmax(0, (double)(total - u) / span);
	return c->lr * 0.5 * (1 + cos(M_PI * fmin(1, (double)(u - c->warmup) / span)));
}
