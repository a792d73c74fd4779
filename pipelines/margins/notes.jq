# What a note on a segment should be: the sample's statements that name who is asked for, as they are, else " none".
include "text";

def person: .question | words[-1] | rtrimstr("?");
# Those that lie between two code points of the sample.
def statements($from; $to): person as $person
  | [range(.sentences | length) as $i | select(.places[$i][0] >= $from and .places[$i][1] <= $to) | .sentences[$i] | select(holds($person))];
def note($from; $to): statements($from; $to) | if . == [] then " none" else " " + join(" ") end;
# Of a segment (rl-chunk).
def wanted: note(.start; .end);

# The notes of a sample (rl-group) that say something.  (Tokenizers differ in the spaces in front of what they decode; a note has one.)
def said: .items | map(" " + (.completion | strip) | select(. != " none")) | if . == [] then [" none"] else . end;

# Of segments with a statement about who is asked for (full), and without (empty): how many, and the share whose note is what it should be.
def as_wanted(notes): reduce notes as $n ({full: {n: 0, right: 0}, empty: {n: 0, right: 0}};
    ($n | wanted) as $want | (if $want == " none" then "empty" else "full" end) as $kind
    | .[$kind].n += 1 | .[$kind].right += (if " " + ($n.completion | strip) == $want then 1 else 0 end))
  | map_values(.share = .right / ([1, .n] | max));
