# A curve in the terminal: a row for each of at most $rows stretches of a metrics file, with the mean of $y over its batches, a
# bar from 0 for it, and the mean of the metric $z.
#
#   jq -sr --arg y objective/scores --arg z objective/kl --argjson rows 20 -f curve.jq metrics.jsonl

def mean: add / length;
def left($width): tostring | . + " " * ($width - length);
def right($width): tostring | " " * ($width - length) + .;
def fixed($digits): . * pow(10; $digits) | round | fabs as $n
  | (if . < 0 then "-" else "" end) + ($n / pow(10; $digits) | floor | tostring) + "."
    + ($n % pow(10; $digits) | tostring | "0" * ($digits - length) + .);
def bar($width; $top): . / $top * $width * 8 | round | if . <= 0 then "" else
  "█" * (. / 8 | floor) + ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][. % 8] end;

(length / $rows | ceil) as $step
| [range(0; length; $step) as $i | .[$i:$i + $step]
    | {first: .[0].batch, last: .[-1].batch, y: (map(.[$y]) | mean), z: (map(.[$z]) | mean)}]
| ([.[].y, 1e-9] | max) as $top
| .[]
| "\("\(.first)-\(.last)" | right(9))  \(.y | fixed(3) | right(7))  \(.y | bar(40; $top) | left(41))\(.z | fixed(2) | right(7))"
