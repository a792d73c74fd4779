# Rewards for what a recommender says to somebody who looks for a film; "<movie>" stands for the name of one.
#
#   rl-reward-overlap -m bleu@1 -m bleu@2 -m bleu@3 -m bleu@4 -m distinct_1 -m distinct_2 -m distinct_3 -m distinct_4 \
#       --as bleu dialogues.jsonl |
#   rl-reward-jq -L pipelines/lib dialogue 'include "dialogue";
#       . as $r | .completion | dialogue($r.overlap; $r.emotion)' | jq -c 'del(.bleu)'
#
# Each takes the response.  Lower case is that of ASCII letters.
include "text";

# ---- terms ----

# The mean of the BLEUs of orders 1 to 4 alone, from what rl-reward-overlap added.
def bleu($overlap): [$overlap["bleu@1", "bleu@2", "bleu@3", "bleu@4"]] | add / 4;

# Different n-grams, orders 1 to 4, over words; at most 1.
def distinct($overlap): (words | length) as $n
  | if $n == 0 then 0 else [1, ([range(1; 5) | $overlap["distinct_\(.)"] * ([0, $n - . + 1] | max)] | add) / $n] | min end;

# The share of the words for the other's emotion that it holds; .5 where that is unknown.
def empathy($emotion):
  {happy: "happy joy excited great wonderful", sad: "sorry sad unfortunate understand feel",
   angry: "understand frustrated upset annoying", surprised: "wow amazing incredible surprising",
   fearful: "scary frightening worried concerned", disgusted: "disgusting awful terrible bad"}[$emotion // ""] as $table
  | if $table == null then 0.5
    else ascii_downcase as $text | $table | words | map(. as $word | $text | holds($word) | indicator) | add / length end;

def recommendation: holds("<movie>") | indicator;
# How many films it names.  Their mean is the item ratio: rl-reward-jq items '.completion | items' | rl-eval.
def items: [0, (split("<movie>") | length) - 1] | max;

# What is wrong with its form: fewer than three words, words that come again, no mark at the end; at most 1.
def flaws: words as $w
  | [1, 0.5 * ($w | length < 3 | indicator) + (if $w == [] then 0 else 1 - ($w | unique | length) / ($w | length) end)
        + 0.2 * ($w[-1] // "" | test("[.!?]$") | not | indicator)] | min;

# ---- rewards ----

# The weights as documented; `dialogue_weights + {empathy: 3}` changes one.
def dialogue_weights: {bleu: 1, distinct: 0.5, empathy: 2, recommendation: 1.5, flaws: -0.1};
def dialogue($overlap; $emotion; $weights):
  {bleu: bleu($overlap), distinct: distinct($overlap), empathy: empathy($emotion), recommendation: recommendation, flaws: flaws}
  | .reward = ([to_entries[] | .value * $weights[.key]] | add);
def dialogue($overlap; $emotion): dialogue($overlap; $emotion; dialogue_weights);

# The rule of thumb that the source trained with, 0 to 1: its length, whether it takes up one of the first five words of
# what was said, and whether it is kind.
def dialogue_rule($context):
  ascii_downcase as $text | (words | length) as $n
  | {length: (if $n >= 10 and $n <= 50 then 0.2 else 0 end), substance: (if $n > 5 then 0.3 else 0 end),
     context: (if any($context | ascii_downcase | words[:5][]; . as $word | $text | holds($word)) then 0.2 else 0 end),
     support: (if any("understand", "feel", "sorry", "hope", "help", "support"; . as $word | $text | holds($word)) then 0.3 else 0 end)}
  | .reward = .length + .substance + .context + .support;
