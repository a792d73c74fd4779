# Rewards around a search query that a model wrote.
#
#   rl-reward-bm25 --query .completion --metric recall@50 corpus.lmdb rollouts.jsonl |
#   rl-reward-jq -L pipelines/lib query 'include "queries";
#       {recall: .reward_bm25, format: (.completion | boolean_format)} | .reward = 0.8 * .recall + .format' |
#   jq -c 'del(.reward_bm25)'
include "text";

# The form of a Boolean query, 0 to .2: an operator .06, two groups joined by one .10, more than 5 and fewer than 30
# words .04.
def boolean_format: (words | length) as $n | ascii_upcase
  | 0.06 * (test(" (AND|OR) ") | indicator) + 0.1 * (test("\\([^)]+\\)\\s+(AND|OR)\\s+\\([^)]+\\)") | indicator)
    + 0.04 * ($n > 5 and $n < 30 | indicator);

# Recall among the best 3000, and the rank of the first passage with the answer (null: none), as a reward in steps.
def recall_tier:
  if . >= 0.7 then 5 elif . >= 0.5 then 4 elif . >= 0.4 then 3 elif . >= 0.3 then 1 elif . >= 0.1 then 0.5
  elif . >= 0.05 then 0.1 else -3.5 end;
def rank_tier:
  if . == null then -3.5 elif . <= 5 then 5 elif . <= 20 then 4 elif . <= 50 then 2 elif . <= 100 then 1 elif . <= 1000 then 0.5
  elif . <= 3000 then 0.1 else -3.5 end;
