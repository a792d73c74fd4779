#!/usr/bin/env bats
# Long samples out of bAbI and WikiText: their length, where the statements stand, what depends on the seed.
load ../../tools/common
root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)

setup() { cd "$BATS_TEST_TMPDIR"; }
lib() { jq -c -L "$root/pipelines/lib" "$@"; }
samples() { lib -n --slurpfile q questions --argjson lengths "$1" --argjson seed "$2" --slurpfile costs "${3:-/dev/null}" \
	'include "hide"; hidden($q; $lengths; $seed; $costs[0])' background; }

real() { # questions and background of real data
	shared babi data/longqa/babi/qa1_single-supporting-fact_test.txt
	shared text data/text/wikitext-2/test.txt
	lib -nR 'include "shapes"; [limit(80; babi)][]' "$babi" >questions
	lib -nR 'include "shapes"; wikitext' "$text" | rl-chunk -q --sentences >background
}

@test "hide: samples have their length, the statements in order, and the text around them as it was" {
	real
	samples '[0, 96, 600]' 1 >out
	[ "$(wc -l <out)" -eq 240 ]
	# words, by awk
	jq -r '[.length, .units, .context] | @tsv' out | awk -F'\t' '{n = split($3, w, " ")} n != $2 || $1 > 0 && n != $1 {exit 1}'
	lib -n 'include "text"; inputs | select(.length == 0) | .context == (.sentences | join(" "))' out | sort -u | cmp - <(echo true)
	# what is at the places are the statements; in the rest, all samples of a length joined, is the background in its order
	holds -s 'all(.[]; . as $r | all(range(.sentences | length); . as $i | $r.places[$i] as [$a, $b] | $r.context[$a:$b] == $r.sentences[$i])
		and (.places | . == sort))' out
	jq -r 'select(.length == 600) | .context as $c | [0, (.places[] | .[])] + [$c | length] | . as $at
		| range(0; length; 2) | $c[$at[.]:$at[. + 1]] | split(" ")[] | select(. != "")' out >rest
	# sentences of 10 words and more; the last of each sample is cut, so its words may be missing there
	jq -r '.text | [splits("[ \n]+")] | map(select(. != "")) | select(length >= 10) | .[]' background >whole
	awk 'NR == FNR {word[NR] = $0; n = NR; next}
		{ for (k = 0; k < 200 && word[at + 1] != $0; k++) at = at % n + 1; if (word[at + 1] != $0) {print FNR ": " $0; exit 1}; at++; skipped += k }
		END { if (skipped > 80 * 100) exit 1 }' whole rest
}

@test "hide: the statements stand anywhere, and where depends on the seed alone" {
	real
	samples '[300]' 1 >out
	samples '[300]' 1 | cmp - out
	samples '[300]' 2 >other
	cmp -s out other && return 1
	# the same background, statements aside
	diff <(jq -c '[.id, .units]' out) <(jq -c '[.id, .units]' other)
	# a statement's share of the way through the text: evenly over five parts
	jq '.places[0][0] as $a | (.context | length) as $n | select(.sentences | length == 2) | $a / $n' out >first
	jq '(.context | length) as $n | .places[][0] / $n * 5 | floor' out | sort -n | uniq -c | awk '{n++; if ($1 < 64) low = 1} END {exit n != 5 || low}'
	[ "$(wc -l <first)" -gt 10 ]
	# another order of lengths, or fewer of them, changes no sample
	samples '[64, 300]' 1 | jq -c 'select(.length == 300)' | cmp - out
}

@test "hide: lengths in tokens are a real tokenizer's" {
	real
	shared tokenizer data/tokenizers/phi2-codegen/tokenizer.json
	{ jq -r .text background; jq -r '.sentences[]' questions; } | tr -s ' \n' '\n\n' | grep . | sort -u | jq -cR '{text: " \(.)"}' |
		rl-tokenize -q --tokenizer "$tokenizer" | jq -n 'reduce inputs as $w ({}; .[$w.text] = ($w.tokens | length))' >costs
	samples '[200]' 1 costs >out
	jq -c '{id, units, text: " \(.context)"}' out | rl-tokenize -q --tokenizer "$tokenizer" | jq -r '"\(.units) \(.tokens | length)"' >units
	# a word that does not fit is left out, so up to its length may be missing
	awk '$1 != $2 || $1 > 200 || $1 < 190 {exit 1} $1 == 200 {n++} END {exit n < 40}' units
}

@test "hide: what cannot be is said" {
	echo '{"id":"q","sentences":["A went home."],"question":"Where?"}' >questions
	echo '{"text":"too short"}' >background
	samples '[0]' 1 | cmp - <(echo '{"id":"q/0","sentences":["A went home."],"question":"Where?","length":0,"context":"A went home.","places":[[0,12]],"units":3}')
	run samples '[9]' 1
	[ "$status" -eq 5 ]
	[[ $output == *"the background has no sentence of 10 units"* ]]
	# a short background comes again; statements longer than the length stand alone
	echo '{"text":"a b c d e f g h i j."}' >background
	samples '[26]' 1 | holds '(.context | gsub(" ?A went home[.]"; "") | ltrimstr(" ")) == "a b c d e f g h i j. a b c d e f g h i j. a b c"'
	samples '[2]' 1 | holds '.context == "A went home." and .units == 3'
	echo '{" a":1}' >costs
	run samples '[26]' 1 costs
	[ "$status" -eq 5 ]
	[[ $output == *"no cost of the word 'b'"* ]]
}

@test "hide: the example of the module" {
	shared babi data/longqa/babi/qa1_single-supporting-fact_test.txt
	shared text data/text/wikitext-2/test.txt
	lib -nR 'include "shapes"; [limit(3; wikitext)][]' "$text" >background.jsonl
	cut -d' ' -f1- "$babi" | sed -n 1,15p >qa1_test.txt
	sed -n '/^#   [^ ].*[|\\>]/,/^#$/p' "$root/pipelines/lib/hide.jq" | sed -n '1,4s/^# *//p' | sed "s|pipelines/lib|$root/pipelines/lib|" >example
	bash ./example >out
	[ "$(jq -r '"\(.length) \(.units)"' out | sort | uniq -c | sort -n | awk '{print $1, $2, $3}' | paste -sd,)" = "5 1024 1024,5 256 256" ]
}
