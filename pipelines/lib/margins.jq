# Rewards for margins: what a model noted about a query while it read a long text a segment at a time.
#
#   rl-reward-jq -L pipelines/lib margin 'include "margins";
#       . as $r | .completion | clean_margin | margin_b($r.query; $r.facts)' margins.jsonl
#
# Each takes the margin and gives {reward, and the terms that it is made of}.  Lower case is that of ASCII letters.
include "text";

# A margin with the verdict of a judge (quality_score, 0 to 1) and of a classifier (is_relevant, true or false):
# .6 score + .2 conciseness, 1 up to 100 words and then 100/words, + .2 agreement, 1 or .2.
def margin_a($score; $relevant):
  {score: $score, conciseness: ([1, 100 / ([10, (words | length)] | max)] | min), agreement: (if $relevant then 1 else 0.2 end)}
  | .reward = 0.6 * .score + 0.2 * .conciseness + 0.2 * .agreement;

# .1, and: coherence, .3 of the share of words of more than two letters; relevance, up to .4 for words that hold a word
# of the query, two for each being enough; length, up to .2 for 200 letters; fact, 1 where one of the facts (an array of
# texts) is in it, else -.5.
def margin_b($query; $facts):
  ascii_downcase as $text | ($text | words) as $w | ($query | ascii_downcase | words | unique) as $q
  | ([$q[] as $term | $w[] | select(holds($term))] | length) as $count
  | {coherence: (if $w == [] then 0 else 0.3 * ($w | map(select(length > 2)) | length) / ($w | length) end),
     relevance: (if $count > 0 then [0.4, 0.4 * $count / (2 * ($q | length))] | min else 0 end),
     length: ([0.2, 0.2 * length / 200] | min),
     fact: (if any($facts[]; ascii_downcase as $fact | $text | holds($fact)) then 1 else -0.5 end)}
  | .reward = 0.1 + .coherence + .relevance + .length + .fact;

# .05, and: coherence as above; relevance and coverage, .3 of the share of the query's words and of the facts' words that
# are among the margin's; length, up to .1 for 200 words.  Words are runs of letters, digits and _.
def margin_c($query; $facts):
  def tokens: ascii_downcase | [words[] | scan("[\\p{L}\\p{N}_]+")];
  def share($of): ($of | unique) as $set | if $set == [] then 0 else 0.3 * ($set - ($set - .) | length) / ($set | length) end;
  tokens as $w
  | {coherence: (if $w == [] then 0 else 0.3 * ($w | map(select(length > 2)) | length) / ($w | length) end),
     relevance: ($w | share($query | tokens)), coverage: ($w | share([$facts[] | tokens[]])),
     length: ([0.1, 0.1 * ($w | length) / 200] | min)}
  | .reward = 0.05 + .coherence + .relevance + .coverage + .length;

# A classifier's answer "YES#why": what stands before # ends with YES.
def is_relevant: without("```") | strip | (split("#")[0] // "") | endswith("YES");

# A judge's answer from 0 to 10 as 0 to 1: all its digits and points as one number ("8/10" is 810, so 1), .5 without one.
def quality_score: explode | map(select(. == 46 or (. >= 48 and . <= 57))) | implode
  | if test("^([0-9]+[.]?[0-9]*|[.][0-9]+)$") then [1, (if holds(".") then "0\(.)0" else . end | tonumber) / 10] | min else 0.5 end;

# A margin without marks that are noise; of a long one whose first sentence is long enough that sentence alone.
def clean_margin:
  reduce ("\ufffd", "'", "`", "@", "#", "$", "%", "^", "*") as $mark (.; without($mark))
  | (split(".")[0] // "") as $first
  | if length > 200 and ($first | length) < length and ($first | length) + 1 > 50 then $first + "." else . end
  | if strip | length < 10 then "The text does not contain sufficient information related to the query." else . end;
