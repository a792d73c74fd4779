# Pictures of numbers in a terminal, for the reports of the experiments.
#
#   jq -rs -L pipelines/lib 'include "plot"; map(.["objective/scores"]) | chart(60; 8)' metrics.jsonl

# The array in at most n parts of nearly equal length, each by its mean.
def bins($n): length as $l | ([$n, $l] | min) as $m
  | [range($m) as $i | .[($i * $l / $m | floor):(($i + 1) * $l / $m | floor)] | add / length];

def digits($n): pow(10; $n) as $p | (. * $p | round) / $p;
# A number with exactly n digits behind the point, in at least w columns.
def fixed($n; $w): pow(10; $n) as $p | (if . < 0 then "-" else "" end) as $sign | (fabs * $p | round) as $x
  | ($sign + "\($x / $p | floor)" + if $n > 0 then "." + ("\($x % $p)" | ("0" * ($n - length)) + .) else "" end)
  | (" " * ([$w - length, 0] | max)) + .;
def pad($w): . + (" " * ([$w - length, 0] | max));

# Bars of height rows by eighths of a row; the axis runs from 0, or the lowest value when it is below.  Input: an array of numbers.
def chart($width; $height): bins($width) as $y
  | ([$y[], 0] | min) as $low | ([$y[], 0] | max) as $top
  | (if $top > $low then $top - $low else 1 end) as $span
  | range($height - 1; -1; -1) as $row
  | (if $row == $height - 1 then $low + $span | fixed(2; 8) elif $row == 0 then $low | fixed(2; 8) else " " * 8 end) + " |"
    + ($y | map((. - $low) / $span * $height - $row
        | if . >= 1 then "█" elif . <= 0 then " " else (. * 8 | floor) as $eighths | " ▁▂▃▄▅▆▇"[$eighths:$eighths + 1] end) | add);
