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
# The rank that a reciprocal rank (the measure mrr@k) stands for, null for 0.
def reciprocal_rank: if . > 0 then 1 / . | round else null end;

# What a model answers as <think>...</think> <answer>{"query": "..."}</answer>.  Where a prompt ends in <think>, put it
# in front: "<think>" + .completion | answer_format.
#
# Whether each of the four tags is there once, in this order.
def answer_format:
  def behind($tag): split($tag) as $part | if ($part | length) == 2 then $part[1] else null end;
  . as $text | all("<think>", "</think>", "<answer>", "</answer>"; . as $tag | $text | behind($tag) != null)
    and (reduce ("<think>", "</think>", "<answer>", "</answer>") as $tag ($text; if . == null then . else behind($tag) end) != null);
# The query of the last answer, null where that is not such a JSON object.
def answer_query:
  ([split("<answer>")[1:][] | split("</answer>") | select(length > 1) | .[0]] | last) as $body
  | if $body == null then null else
      (first($body | try fromjson catch null) // null)
      | if type == "object" and (.query | type) == "string" then .query else null end
    end;

# DeepRetrieval's rewards of such a text, with their terms; null where the measure is.  As there, format counts for its
# own, and an answer that is no query costs more than one that finds nothing.
# Of literature: $recall among the best 3000.
def literature_reward($recall): answer_format as $ok | answer_query as $query
  | {format: (if $ok then 1 else -4 end), answer: (if $ok | not then 0 elif $query == null then -4 else $recall | recall_tier end)}
  | .reward = if $recall == null then null else .format + .answer end;
# Of passages that hold an answer: $mrr among the best 3000; $miss where none does (SQuAD: -2.5), $error where there is
# no query (SQuAD: -3).
def passage_reward($mrr; $miss; $error): answer_format as $ok | answer_query as $query
  | {format: (if $ok then 1 else -4 end),
     answer: (if $ok | not then 0 elif $query == null then $error elif $mrr > 0 then $mrr | reciprocal_rank | rank_tier else $miss end)}
  | .reward = if $mrr == null then null else .format + .answer end;
def passage_reward($mrr): passage_reward($mrr; -3.5; -4);
# Of rankings: $ndcg.  .1 for the format beside it, nothing for the format alone, -2 for neither.
def ranking_reward($ndcg): answer_format as $ok
  | {format: (if $ok then 0.1 else -2 end), ndcg: $ndcg}
  | .reward = if $ndcg == null then null elif $ndcg > 0 then .format + $ndcg elif $ok then 0 else -2 end;

# The queries that a Boolean query with AND, OR and (parentheses) stands for, for searches that know no OR: each choice of
# one alternative, joined by AND, then each term of several words alone; each once.  AND binds tighter than OR, neighbours
# without an operator are one term.  NOT stays with the words around it; in front of a parenthesis it leaves the text
# whole, as do more than 512 words.  At most 64 choices and 128 queries.
def boolean_expand:
  def product: reduce .[] as $group ([[]]; [limit(64; .[] as $some | $group[] as $more | $some + $more)]);
  def term: if .words == [] then . else (.words | join(" ")) as $term | .groups += [[[$term]]] | .terms += [$term] | .words = [] end;
  def alternative: term | if .groups == [] then . else .or = (.or + (.groups | product))[:64] | .groups = [] end;
  def leave: alternative | .or as $inner | .up[-1] as $outer
    | .or = $outer.or | .groups = $outer.groups + (if $inner == [] then [] else [$inner] end) | .up = .up[:-1];
  . as $text | (split("(") | join(" ( ") | split(")") | join(" ) ") | words) as $tokens | ($tokens | map(ascii_upcase)) as $upper
  | if ($tokens | length) > 512 or ($upper | (index("AND") // index("OR")) == null or index(["NOT", "("]) != null) then [$text] else
      reduce $tokens[] as $token ({up: [], or: [], groups: [], words: [], terms: []}; ($token | ascii_upcase) as $name
        | if $token == "(" then term | .up += [{or: .or, groups: .groups}] | .or = [] | .groups = []
          elif $token == ")" then if .up == [] then term else leave end
          elif $name == "AND" then term elif $name == "OR" then alternative else .words += [$token] end)
      | until(.up == []; leave) | alternative
      | (.or | map(if length == 1 then .[0] else map(if holds(" ") then "(\(.))" else . end) | join(" AND ") end))
        + (.terms | map(select(holds(" ") and (ascii_upcase | startswith("NOT ") | not))))
      | reduce .[] as $query ({seen: {}, list: []}; if .seen[$query] then . else .seen[$query] = true | .list += [$query] end)
      | if .list == [] then [$text] else .list[:128] end
    end;
