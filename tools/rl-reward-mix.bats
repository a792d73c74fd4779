#!/usr/bin/env bats
# lib/reward_mix_test.c has paths of weights, running statistics and percentiles; loop.bats has it in a run that is killed.
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	in=$testdata/contract/components.jsonl
	jq -nc '[0.5, 1.5, 2, -1, 0.25, 0.75] | to_entries[] | {id: "q\(.key / 2 | floor)", sample: (.key % 2), tokens: [5, 6], reward_a: .value, reward_b: (10 * .key)}' >rows
}
mix() { rl-reward-mix -q "$@"; }
totals() { mix "$@" | jq -c .reward | paste -sd' '; }

@test "rl-reward-mix: a weighted sum, with each term" {
	mix -w a=2 -w b=-0.5 rows >got
	is_prefix rows got
	[ "$(jq -c '[.mix.a, .mix.b, .reward]' got | paste -sd' ')" = '[1,0,1] [3,-5,-2] [4,-10,-6] [-2,-15,-17] [0.5,-20,-19.5] [1.5,-25,-23.5]' ]
	mix -w a=2 --as parts rows | jq -se 'all(has("parts") and (has("mix") | not))'
}

@test "rl-reward-mix: numbers, tokens and spans fall where the trainer lets them fall" {
	# the trainer's own sum of the components, token by token, against the mix; with weights, one that is made of weighted components
	for weights in "1 1 1" "0.5 -2 4"; do
		read -r a b c <<<"$weights"
		jq -c --argjson a "$a" --argjson b "$b" --argjson c "$c" '.values = (.tokens | map(0)) | .reward_a *= $a
			| if .reward_b then .reward_b |= map(. * $b) else . end | .reward_c |= map(.[2] *= $c)' "$in" | rl-gae -q --kl-coef 0 --no-whiten >want
		jq -c '.values = (.tokens | map(0))' "$in" | mix -w a=$a -w b=$b -w c=$c | rl-gae -q --kl-coef 0 --no-whiten >got
		cmp <(jq -c .rewards want) <(jq -c .rewards got)
	done
	# with a mask too, a number falls on the last token that the policy chose
	echo '{"tokens":[1,2,3],"mask":[1,1,0],"reward_a":1,"reward_b":[1,1,1]}' | mix -w a=3 -w b=1 | jq -c .reward | grep -qxF '[1,4,1]'
	# without tokens a number will do, an array will not
	[ "$(echo '{"reward_a":2}' | mix -w a=3 | jq -c .reward)" = 6 ]
	fails_with 1 ":1: 'reward_a' is an array, but there is no 'tokens' that it could fall on" mix -w a=1 <(echo '{"reward_a":[2]}')
}

@test "rl-reward-mix: null adds nothing; all null is null; what is not there at all is named" {
	printf '%s\n' '{"tokens":[1],"reward_a":null,"reward_b":2}' '{"tokens":[1],"reward_a":null,"reward_b":null}' >nulls
	[ "$(mix -w a=1 -w b=3 nulls | jq -c '[.reward, .mix]' | paste -sd' ')" = '[6,{"a":null,"b":6}] [null,{"a":null,"b":null}]' ]
	rl-reward-mix -w a=1 -w b=3 nulls 2>&1 >out | grep -q '2 out, 1 without reward'
	fails_with 1 "nulls:1: there is no 'reward_c', which has a weight" mix -w a=1 -w c=1 nulls
	fails_with 1 ":1: 'reward' is already there" mix -w a=1 <(echo '{"reward_a":1,"reward":1}')
	fails_with 1 ":1: 'mix' is already there" mix -w a=1 <(echo '{"reward_a":1,"mix":1}')
	fails_with 1 "'reward_a' is neither a number nor an array" mix -w a=1 <(echo '{"reward_a":"x"}')
	# what is not finite is a fault of its record, which waits or not
	for more in "" "--dynamic-sampling"; do
		fails_with 1 ":1: " mix -w a=1e308 $more <(echo '{"id":"x","reward_a":1e300}')
		run -3 --separate-stderr mix -k -w a=1e308 $more <(printf '%s\n' '{"id":"x","reward_a":1e300}' '{"id":"y","reward_a":1}')
		[ "$(jq -c 'has("error")' <<<"$output" | paste -sd' ')" = "true false" ]
	done
}

@test "rl-reward-mix: weights go by batch, that of the record or by count" {
	[ "$(totals -w a=0 -w b=0..1:4 --batch-size 2 rows)" = "0 0 5 7.5 20 25" ]
	[ "$(totals -w a=0 -w b=0..1:4 rows)" = "0 0 0 0 0 0" ]
	[ "$(jq -c '.batch = 3 - (.reward_b / 10 | if . > 3 then 3 else . end)' rows | totals -w b=0..1:4)" = "0 5 5 0 0 0" ]
	# whole batches too, where rows wait
	[ "$(totals -w b=0..1:4 --dynamic-sampling --batch-size 2 rows)" = "0 0 5 7.5 20 25" ]
	fails_with 2 "--weight b=0..1: '1' is reached at no batch: VALUE:BATCH" mix -w b=0..1 rows
}

@test "rl-reward-mix: options that do not fit together are misuse" {
	fails_with 2 "no component: give -w NAME=WEIGHT" mix rows
	fails_with 2 "--weight is 'a', but must be NAME=WEIGHT" mix -w a rows
	fails_with 2 "--weight: 'a' is there twice" mix -w a=1 -w a=2 rows
	fails_with 2 "--normalize: 'c' has no --weight" mix -w a=1 --normalize c rows
	fails_with 2 "--clip: 'c' has no --weight" mix -w a=1 --clip c=0..1 rows
	fails_with 2 "--clip is 'a=1..0', but must be [NAME=]LO..HI with LO <= HI" mix -w a=1 --clip a=1..0 rows
	fails_with 2 "--clip of the total is there twice" mix -w a=1 --clip 0..1 --clip 0..2 rows
	fails_with 2 "--as is 'reward', a field that other tools read" mix -w a=1 --as reward rows
}

@test "rl-reward-mix: clipping of a component, before its weight, and of the total; token by token" {
	[ "$(totals -w a=2 --clip a=0..1 rows)" = "1 2 2 0 0.5 1.5" ]
	[ "$(totals -w a=2 -w b=0 --clip -1..1 rows)" = "1 1 1 -1 0.5 1" ]
	echo '{"tokens":[1,2,3],"reward_a":[-5,0.5,5],"reward_b":1}' >one
	[ "$(totals -w a=2 -w b=1 --clip a=-1..1 one)" = '[-2,1,3]' ]
	[ "$(totals -w a=2 -w b=1 --clip -1..1.5 one)" = '[-1,1,1.5]' ]
}

# The mean and the deviation of what came so far, by jq.
normal='[limit($n; .[])] | (add / length) as $m | (map(. - $m | . * .) | add / length | sqrt) as $s'
@test "rl-reward-mix: normalised by the running mean and deviation, this batch included" {
	mix -w a=1 --normalize a --batch-size 2 rows | jq -s 'map(.reward)' >got
	for n in 2 4 6; do
		jq -e --argjson n $n --slurpfile x <(jq .reward_a rows) '. as $got | $x | '"$normal"' |
			all(range($n - 2; $n); ($got[.] - ($x[.] - $m) / ($s + 1e-8)) | fabs < 1e-12)' got
	done
	# clipping is of what is normal by then
	[ "$(totals -w a=1 --normalize a --clip a=-0.5..0.5 rows | tr ' ' '\n' | sort -n | sed -n '1p;$p' | paste -sd' ')" = "-0.5 0.5" ]
	# an array counts number by number, without tokens that were not chosen
	printf '%s\n' '{"tokens":[1,2,3],"mask":[1,0,1],"reward_a":[1,50,3]}' '{"tokens":[1],"reward_a":[5]}' >arrays
	mix -w a=1 --normalize a arrays | jq -sc 'map(.reward)' | jq -ce '.[0][1] == 0 and .[1][0] > 1.22 and .[1][0] < 1.23 and (.[0][2] | fabs) < 1e-9'
	mix -w a=1 --normalize a arrays | head -n 1 | jq -ce '.state_mix.seen.a | .n == 3 and .mean == 3 and .m2 == 8'
}

@test "rl-reward-mix: the state is of its batch, in one of its rows" {
	mix -w a=1 -w b=1 --normalize a --percentile 10 --percentile-window 3 --batch-size 2 rows >got
	[ "$(jq -c 'has("state_mix")' got | paste -sd' ')" = "true false true false true false" ]
	[ "$(jq -c '.state_mix // empty | [.batches, .seen.a.n, .totals, (.recent | length)]' got | paste -sd' ')" = '[1,2,2,2] [2,4,4,3] [3,6,6,3]' ]
	[ "$(mix -w a=1 --dynamic-sampling rows | jq -c 'has("state_mix")' | sort -u)" = false ]
}

@test "rl-reward-mix: a stream from a later batch needs the store, and one that stands there" {
	jq -c '.batch = 4' rows >later
	fails_with 1 "the stream begins with batch 4: what rl-reward-mix held before is in the store of the run (-s STORE)" mix -w a=1 --normalize a later
	rl-store init --config "$testdata/tiny/config.json" run.lmdb
	fails_with 1 "the stream begins with batch 4, but run '' of 'run.lmdb' has trained 0" mix -s run.lmdb -w a=1 --normalize a later
	# nothing is held, nothing is needed
	[ "$(totals -w a=2 later)" = "1 3 4 -2 0.5 1.5" ]
	# batches in order
	jq -c '.batch = (.reward_b / 20 | floor | [1, 0, 2][.]) | .row = .sample | .batch_size = 2' rows >order
	run -1 --separate-stderr mix -w a=1 --normalize a <(jq -c 'select(.batch != 1)' order; jq -c 'select(.batch == 1)' order)
	[[ $stderr == *"batch 1 is whole after batch 2, but statistics go on in order" ]]
}

@test "rl-reward-mix: percentile: records below it are skipped, with a warm-up and a window" {
	jq -nc 'range(20) | {id: "q\(.)", reward_a: .}' >twenty
	[ "$(mix -w a=1 --percentile 90 twenty | jq -c 'select(.skip == null) | .reward_a' | paste -sd' ')" = "18 19" ]
	[ "$(mix -w a=1 --percentile 90 twenty | jq -r 'select(.skip) | .skip' | sort | uniq -c | sed 's/^ *//')" = "18 below percentile" ]
	rl-reward-mix -w a=1 --percentile 90 twenty 2>&1 >out | grep -q '20 out, 18 below the percentile'
	# batches of five: two for the warm-up, then of all so far (0 to 14, then 0 to 19)
	[ "$(mix -w a=1 --percentile 80 --percentile-warmup 11 --batch-size 5 twenty | jq -c 'select(.skip == null) | .reward_a' | paste -sd' ')" = "0 1 2 3 4 5 6 7 8 9 12 13 14 16 17 18 19" ]
	# a window of the newest, or the batch where that is larger
	[ "$(mix -w a=1 --percentile 50 --percentile-window 1 --batch-size 10 twenty | jq -c 'select(.skip == null) | .reward_a' | paste -sd' ')" = "5 6 7 8 9 15 16 17 18 19" ]
	# what is at the percentile is kept
	[ "$(head -n 11 twenty | mix -w a=1 --percentile 50 | jq -c 'select(.skip == null) | .reward_a' | paste -sd' ')" = "5 6 7 8 9 10" ]
	# null is neither counted nor skipped
	{ cat twenty; echo '{"id":"n","reward_a":null}'; } | mix -w a=1 --percentile 90 | tail -n 1 | jq -e '.reward == null and .skip == null'
}

@test "rl-reward-mix: dynamic sampling: groups without spread are skipped and counted" {
	jq -nc '[1, 1, 1, 2, 3, 3, 5] | to_entries[] | {id: "q\(.key / 2 | floor)", sample: (.key % 2), tokens: [1], temperature: 1, reward_a: .value}' >groups
	mix -w a=1 --dynamic-sampling groups >got
	[ "$(jq -c '.skip // 0' got | paste -sd' ')" = '"no spread in group" "no spread in group" 0 0 "no spread in group" "no spread in group" 0' ]
	rl-reward-mix -w a=1 --dynamic-sampling groups 2>&1 >out | grep -q '7 out, 4 in groups without spread'
	# what goes on can be compared
	sed '$d' got | rl-grpo -q | jq -c '.advantages // 0' | paste -sd' ' | grep -qE '^0 0 \[-0.7[0-9]*\] \[0.7[0-9]*\] 0 0$'
	# a record that came with skip has no part
	[ "$(sed '1s/}$/,"skip":"x"}/' groups | mix -w a=1 --dynamic-sampling | jq -c '.skip // 0' | sed 2q | paste -sd' ')" = '"x" 0' ]
}

@test "rl-reward-mix: an evaluation is measured by one scale: last weights, nothing normalised, no part in statistics" {
	jq -c '.batch = 0' rows >batch
	{ jq -c '.batch = 0 | .eval = true | .reward_a += 100' rows; cat batch; } >mixed
	mix -w a=0..2:9 -w b=1 --normalize b --clip b=0..1 --clip a=0..101 --percentile 50 --percentile-warmup 1 mixed >got
	is_prefix mixed got
	[ "$(jq -c 'select(.eval) | .reward' got | paste -sd' ')" = "201 212 222 228 240.5 251.5" ]
	[ "$(jq -c 'select(.eval) | has("skip") or has("state_mix")' got | sort -u)" = false ]
	mix -w a=0..2:9 -w b=1 --normalize b --clip b=0..1 --clip a=0..101 --percentile 50 --percentile-warmup 1 batch | cmp - <(jq -c 'select(.eval | not)' got)
	# where nothing waits too
	[ "$(mix -w a=0..2:9 mixed | jq -c .reward | paste -sd' ')" = "201 203 204 198 200.5 201.5 0 0 0 0 0 0" ]
}

@test "rl-reward-mix: the examples of the man page" {
	jq -c '.reward_bm25 = .reward_a | .reward_length = .reward_b' rows >scored.jsonl
	# the last is a loop: loop.bats has one
	sed -n '/^\.Bd -literal/,/^\.Ed/p' "$root/man/rl-reward-mix.1" | grep -E '^rl-reward-mix .*scored' >examples
	[ "$(wc -l <examples)" -eq 3 ]
	while read -r example; do
		[ "$(bash -o pipefail -c "$example" 2>/dev/null | wc -l)" -eq 6 ]
	done <examples
}
