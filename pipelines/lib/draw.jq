# Chance that depends on nothing but its arguments: the same seed draws the same on every machine.
#
#   jq -c -L pipelines/lib --arg seed 1 'include "draw"; .split = if draw($seed; .id) < 0.9 then "train" else "test" end'

# 0 <= x < 1 out of two texts or numbers.  Each code point is added and the sum squared, modulo the largest prime below 2^26, so
# that no product leaves the 53 bits of a double; a multiple of 2^-26, about.
def draw($seed; $key): reduce ("\($seed)/\($key)" | explode[], 1, 2) as $x
  (271828; (. + $x * 7919) % 67108859 | (. * . + 314159) % 67108859) | . / 67108859;
def draw($seed; $key; $n): draw($seed; $key) * $n | floor;
