# The words that gained most: occurrences per thousand words of all completions, before and after.
#
#   jq -nr --argjson rows 8 --slurpfile before B --slurpfile after A -f words.jq

def words: ascii_downcase | match("[a-z]+"; "g").string;
def rates: reduce (.[] | .completion | words) as $w ({n: 0, of: {}}; .n += 1 | .of[$w] += 1) | .n as $n | .of | map_values(. * 1000 / $n);
def rounded: . * 10 | round / 10 | tostring;

($before | rates) as $b | ($after | rates) as $a
| "different words in all continuations: \($b | length) before, \($a | length) after",
  "gained most, per thousand words: " + ([$a | to_entries[] | {word: .key, b: ($b[.key] // 0), a: .value}]
    | sort_by(.b - .a)[:$rows] | map("\(.word) \(.b | rounded) -> \(.a | rounded)") | join(", "))
