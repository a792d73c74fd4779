# Long samples: the statements that a question needs, hidden in a text about something else, by BABILong's method.
#
#   jq -nRc -L pipelines/lib 'include "shapes"; babi' qa1_*.txt >questions.jsonl
#   rl-chunk -q --sentences background.jsonl | jq -nc -L pipelines/lib --slurpfile questions questions.jsonl \
#       'include "hide"; hidden($questions; [256, 1024]; 1; null)'
#
# Input, by `inputs`: the background, a sentence each, in .text.  Gives for each length and question the record of the
# question (shapes.jq: babi) with
#   id        the question's, a slash and the length
#   length    what was asked for, 0 being the statements alone
#   units     what it has, at most length: words, or tokens where $costs says what each word costs
#   context   the text
#   places    [start, end] in code points of each of .sentences, so .context[a:b] is the sentence
include "text";
include "draw";

# Background of exactly n units from its sentence number .at on, as {at, sentences}: whole sentences, of the last one the words
# that fit.  It goes on where it ended, and at the end begins again.
def stretch($background; $n): {at, left: $n, sentences: []}
  | until(.left <= 0;
      $background[.at % ($background | length)] as $s
      | .at += 1
      | if $s.cost <= .left then .left -= $s.cost | .sentences += [$s.text]
        else .left as $left
          | [foreach range($s.words | length) as $i (0; . + $s.costs[$i]; if . <= $left then $s.words[$i] else empty end)] as $fit
          | .left = 0 | if $fit == [] then . else .sentences += [$fit | join(" ")] end end);

# A sentence with its words and what each costs.
def sentence($costs): words as $words
  | ($words | map(if $costs == null then 1 else $costs[" " + .] // error("no cost of the word '\(.)'") end)) as $c
  | {text: ($words | join(" ")), words: $words, costs: $c, cost: ($c | add // 0)};

# Where each of $k statements goes: before one of $n sentences or behind the last, drawn evenly, in order.
def slots($k; $n; $seed; $id): [range($k) | draw($seed; "\($id)/\(.)"; $n + 1)] | sort;

# Statements into sentences: {context, places}.
def woven($statements; $sentences; $slots): reduce
    (range($sentences | length + 1) as $i
     | ($slots | to_entries[] | select(.value == $i) | {text: $statements[.key], hidden: true}),
       ($sentences[$i] | values | {text: ., hidden: false})) as $piece
    ({parts: [], at: 0, places: []};
     (if .at == 0 then 0 else .at + 1 end) as $start | ($start + ($piece.text | length)) as $stop
     | .parts += [$piece.text] | .at = $stop | if $piece.hidden then .places += [[$start, $stop]] else . end)
  | {context: (.parts | join(" ")), places};

# $costs: an object, " word" to tokens (BABILong counts each with its space); null: a word is a unit.
def hidden($questions; $lengths; $seed; $costs):
  [inputs.text | sentence($costs) | select(.cost >= 10)] as $background
  | if $background == [] and any($lengths[]; . > 0) then error("the background has no sentence of 10 units") else . end
  | $lengths[] as $length
  | foreach $questions[] as $q ({at: 0};
      ([$q.sentences[] | sentence($costs).cost] | add // 0) as $own
      | stretch($background; $length - $own) as $stretch
      | "\($q.id)/\($length)" as $id
      | {at: $stretch.at,
         record: ($q + {id: $id, length: $length}
           + woven($q.sentences; $stretch.sentences; slots($q.sentences | length; $stretch.sentences | length; $seed; $id)))}
      | .record.units = (.record.context | sentence($costs).cost);
      .record);
