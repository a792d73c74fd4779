# Records of rl-generate in, the same out; the batch with which the tokens sampled come nearest to $budget, as far as
# the size of the batch before tells, is marked as the last, which closes the run.
#
#   rl-generate ... --steps 1000 | jq -nc --unbuffered --argjson budget 32000 -f budget.jq | ... | rl-ppo-step ...
foreach inputs as $r ({tokens: 0, before: 0, batch: null, last: false};
  (if $r.batch != .batch then .last = (.tokens + 1.5 * (.tokens - .before) >= $budget) | .before = .tokens | .batch = $r.batch else . end)
    | .tokens += ($r.tokens | length);
  if .last then $r + {last: true} else $r end)
