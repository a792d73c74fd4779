# A table of measures before and after, out of what rl-eval --json prints; $labels is an object, measure to name of the row.
# What is the same in every record before (the KL of a model to itself) has no interval and no test.
#
#   jq -nr --argjson labels '{...}' --slurpfile before B --slurpfile after A --slurpfile compare C -f table.jq

def left($width): tostring | . + " " * ($width - length);
def right($width): tostring | " " * ($width - length) + .;
def fixed($digits): . * pow(10; $digits) | round | fabs as $n
  | (if . < 0 then "-" else "" end) + ($n / pow(10; $digits) | floor | tostring) + "."
    + ($n % pow(10; $digits) | tostring | "0" * ($digits - length) + .);
def interval($mean): if $mean == null then "-" else "\($mean | fixed(3)) [\(.low | fixed(3)), \(.high | fixed(3))]" end;
def p: if . == null then "-" elif . >= 0.001 then fixed(3) elif . == 0 then "0" else (log10 | floor) as $e
  | (. / pow(10; $e) * 10 | round) as $m | if $m >= 100 then "1e\($e + 1)" else "\($m / 10)e\($e)" end end;
def row($name; $n; $before; $after; $difference; $p): "\($name | left(34))\($n | right(4))  \($before | left(24))\($after | left(24))"
  + "\($difference | left(25))\($p)";
def of($rows; $measure): first($rows[] | select(.measure == $measure));

row(""; "n"; "before [95 %]"; "after [95 %]"; "difference [95 %]"; "p"),
($labels | to_entries[] | .key as $m
  | of($before; $m) as $b | of($after; $m) as $a | of($compare; $m) as $c
  | ($b.sd == 0) as $same
  | row(.value; $c.n; if $same then $b.mean | fixed(3) else $b | interval(.mean) end; ($a | interval(.mean));
      if $same then "-" else $c | interval(.difference) end; if $same then "-" else $c.t_p | p end))
