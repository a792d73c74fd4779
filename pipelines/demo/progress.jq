# Metrics in, a line for every tenth update out.
include "plot";
select((.batch + 1) % 10 == 0)
| "\(.batch + 1 | fixed(0; 6)) of \($steps)   recall@5 \(.["objective/scores"] | fixed(3; 0))   KL \(.["objective/kl"] | fixed(2; 0))"
