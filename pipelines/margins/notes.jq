# What a note on a segment should be: the sample's statements that name who is asked for, as they are, else " none".
include "text";

def person: .question | words[-1] | rtrimstr("?");
# Those that lie between two code points of the sample.
def statements($from; $to): person as $person
  | [range(.sentences | length) as $i | select(.places[$i][0] >= $from and .places[$i][1] <= $to) | .sentences[$i] | select(holds($person))];
def note($from; $to): statements($from; $to) | if . == [] then " none" else " " + join(" ") end;
# Of a segment (rl-chunk).
def wanted: note(.start; .end);
