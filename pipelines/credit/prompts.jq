# Prompts to be copied: symbols 0, 1, ... and a mark that ends them, as ids.
#
#   jq -nc -L ../lib --arg seed 1 --argjson n 64 --argjson length 8 --argjson symbols 8 -f prompts.jq
include "draw";
range($n) as $i | [range($length) as $j | draw($seed; "\($i) \($j)"; $symbols)] | {id: "c\($i)", prompt_tokens: (. + [$symbols]), want: .}
