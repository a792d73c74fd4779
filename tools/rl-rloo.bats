#!/usr/bin/env bats
# rl-grpo.bats has what is wrong with groups and rows.
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	in=$testdata/contract/grouped.jsonl
}

# The clipped weighted sum of rewards of case number $1 as a jq program; a null counts as 0 in TRL 0.24.
reward_of() {
	jq -r ".cases[$1] | .config.reward_clip_range as \$clip
		| ([.rewards, .config.reward_weights] | transpose | map(\"((.reward_\(.[0]) // 0) * \(.[1]))\") | join(\" + \"))
		| if \$clip then \"[[\(.), \(\$clip[0])] | max, \(\$clip[1])] | min\" else . end" "$golden/advantages.json"
}

@test "rl-rloo: the advantages of TRL's RLOOTrainer" {
	shared golden golden/rl/rloo
	n=$(jq '.cases | length' "$golden/advantages.json")
	[ "$n" -gt 3 ]
	for ((i = 0; i < n; i++)); do
		# shellcheck disable=SC2046
		rl-rloo -q --compat trl $(jq -r ".cases[$i].config | \"--kl-coef \(.beta)\" + if .normalize_advantages then \" --whiten\" else \"\" end" "$golden/advantages.json") \
			--reward "$(reward_of $i)" "$golden/records.jsonl" >got.jsonl
		jq -ne --argjson i $i --slurpfile got got.jsonl --slurpfile want "$golden/advantages.json" '
			[$got, $want[0].cases[$i].advantages] | transpose | length == 12 and all(. as [$g, $w]
				| ($g.advantages | all((. - $w | fabs) <= 2e-6 + 1e-5 * ($w | fabs))))' >/dev/null
	done
}

@test "rl-rloo: each completion against the mean of the others" {
	jq -nc '[1, 3, 5] | to_entries[] | {id: "q", sample: .key, tokens: [5, 6], reward: .value}' >rows
	[ "$(rl-rloo -q --kl-coef 0 rows | jq -c .advantages | paste -sd' ')" = "[-3,-3] [0,0] [3,3]" ]
	# epochs are apart
	jq -c '.epoch = (.sample / 2 | floor)' rows >apart
	fails_with 1 "group 'q@1' is not whole: 1 of 3 completions" rl-rloo -q --kl-coef 0 apart
}

@test "rl-rloo: the KL is in what is compared, by default with .05" {
	rl-rloo -q "$in" | jq -c .advantages >got
	rl-rloo -q --kl-coef .05 "$in" | jq -c .advantages | cmp - got
	jq -sc 'map(.reward - .05 * ([.logprobs, .ref_logprobs] | transpose | map(.[0] - .[1]) | add)) as $r
		| [range(6) | . as $i | (if . < 3 then [0, 1, 2] else [3, 4, 5] end - [$i]) as $o | $r[$i] - ($r[$o[0]] + $r[$o[1]]) / 2]' "$in" >want
	jq -sce --slurpfile want want '[map(.[0]), $want[0]] | transpose | all((.[0] - .[1] | fabs) < 1e-5)' got >/dev/null
	fails_with 1 ":1: there is no 'ref_logprobs', which the KL penalty needs" rl-rloo -q <(jq -c 'del(.ref_logprobs)' "$in")
	fails_with 1 "group 'g1' has 1 of 3 completions to compare, and rloo needs 2" rl-rloo -q <(sed '5,6s/}$/,"skip":"no"}/' "$in")
}

@test "rl-rloo: the example of the man page" {
	cp "$in" grouped.jsonl
	example=$(sed -n '/^\.Bd -literal/,/^\.Ed/p' "$root/man/rl-rloo.1" | sed '/^\./d')
	bash -o pipefail -c "$example" >got
	[ "$(wc -l <got)" -eq 6 ]
}
