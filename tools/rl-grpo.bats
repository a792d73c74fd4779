#!/usr/bin/env bats
# What rl-grpo, rl-rloo and rl-reinforce have in common with rl-gae (batches, -k, rewards) is in rl-gae.bats.
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	in=$testdata/contract/grouped.jsonl
}

# The weighted sum of rewards of case number $1 as a jq program; a null counts as 0 in TRL 0.24.
reward_of() {
	jq -r ".cases[$1] | [.rewards, .config.reward_weights] | transpose | map(\"((.reward_\(.[0]) // 0) * \(.[1]))\") | join(\" + \")" "$golden/advantages.json"
}

@test "rl-grpo: the advantages of TRL's GRPOTrainer" {
	shared golden golden/rl/grpo
	n=$(jq '.cases | length' "$golden/advantages.json")
	[ "$n" -gt 3 ]
	for ((i = 0; i < n; i++)); do
		rl-grpo -q --compat trl --scale "$(jq -r ".cases[$i].config.scale_rewards" "$golden/advantages.json")" \
			--reward "$(reward_of $i)" "$golden/records.jsonl" >got.jsonl
		jq -ne --argjson i $i --slurpfile got got.jsonl --slurpfile want "$golden/advantages.json" '
			[$got, $want[0].cases[$i].advantages] | transpose | length == 12 and all(. as [$g, $w]
				| ($g.advantages | length) == ($g.tokens | length)
				and ($g.advantages | all((. - $w | fabs) <= 2e-6 + 1e-5 * ($w | fabs))))' >/dev/null
	done
}

@test "rl-grpo: one number for the tokens that were chosen, 0 for others; scale is of the group, the batch or nobody" {
	jq -nc '[1, 3, 2, 6] | to_entries[] | {id: "q\(.key / 2 | floor)", sample: (.key % 2), tokens: [5, 6, 7], mask: [1, 0, 1], reward: .value}' >rows
	advantages() { rl-grpo -q "$@" rows | jq -c .advantages | paste -sd' '; }
	[ "$(advantages --scale none)" = "[-1,0,-1] [1,0,1] [-2,0,-2] [2,0,2]" ]
	# each deviation is half the distance times the root of 2
	advantages | jq -se 'map(.[0]) | [., [-1, 1, -1, 1]] | transpose | all((.[0] - .[1] / (2 | sqrt) | fabs) < 1e-4)' >/dev/null
	# the deviation of 1, 3, 2, 6 is 2.160247
	advantages --scale batch | jq -se 'map(.[0]) | (.[3] - 2 / 2.1603469 | fabs) < 1e-6 and (.[1] * 2 - .[3] | fabs) < 1e-6' >/dev/null
	[ "$(advantages)" != "$(advantages --scale batch)" ]
	rl-grpo -q rows | jq -c '[.rewards, .returns]' | head -n 1 | grep -qxF '[[0,0,1],[1,0,1]]'
	# no time passes where nothing was chosen; OpenRLHF, where it does, has no discount here
	[ "$(rl-grpo -q --gamma .5 rows | jq -c .returns | head -n 1)" = "[0.5,0,1]" ]
	fails_with 2 "--gamma is 0.5, but --compat openrlhf has 1 where a group is compared" rl-grpo --gamma .5 --compat openrlhf rows
	fails_with 2 "--gamma is 0.5" rl-rloo --gamma .5 --compat openrlhf rows
	fails_with 2 "--gamma is 0.5" rl-reinforce --baseline group --gamma .5 --compat openrlhf rows
	[ "$(rl-reinforce -q --baseline none --gamma .5 --compat openrlhf --kl-coef 0 rows | jq -c .returns | head -n 1)" = "[0.25,0,1]" ]
}

@test "rl-grpo: no critic, no log-probabilities; with --kl-coef they are needed" {
	jq -c 'del(.values, .logprobs, .ref_logprobs)' "$in" >bare
	rl-grpo -q bare | jq -c .advantages >got
	rl-grpo -q "$in" | jq -c .advantages | cmp - got
	fails_with 1 ":1: there is no 'logprobs', which the KL penalty needs" rl-grpo -q --kl-coef .1 bare
	jq -c 'del(.ref_logprobs)' "$in" >bare
	fails_with 1 ":1: there is no 'ref_logprobs', which the KL penalty needs" rl-grpo -q --kl-coef .1 bare
	rl-grpo -q --kl-coef .1 "$in" | jq -c .advantages >with
	! cmp -s got with || false
}

@test "rl-grpo: rows in any order, the same bits" {
	jq -c '. + {batch: 0, row: (input_line_number - 1), batch_size: 6}' "$in" >batch.jsonl
	rl-grpo -q --scale batch batch.jsonl | jq -S '{id, advantages, returns, rewards}' >want
	shuf --random-source=<(yes) batch.jsonl | rl-grpo -q --scale batch | jq -sS 'sort_by(.id) | .[] | {id, advantages, returns, rewards}' | cmp - want
}

@test "rl-grpo: an incomplete group is one line, how many of how many" {
	fails_with 1 "group 'g1' is not whole: 2 of 3 completions are in the batch" rl-grpo -q <(sed 5d "$in")
	fails_with 1 ":4: group 'g1' has 1 of 3 completions to compare, and grpo needs 2" \
		rl-grpo -q <(sed '5,6s/}$/,"skip":"too long"}/' "$in")
	fails_with 1 "group 'g1' has 1 of 1 completions to compare" rl-grpo -q <(sed '5,6d' "$in")
	# groups are of one batch
	fails_with 1 "group 'g0' is not whole: 1 of 3 completions are in the batch" rl-grpo -q --batch-size 2 "$in"
	# with one left out the others are compared; a group that is out altogether is no fault
	sed '5s/}$/,"skip":"too long"}/' "$in" | rl-grpo -q | jq -c 'has("advantages")' | paste -sd' ' | grep -qx 'true true true true false true'
	sed '4,6s/}$/,"skip":"too long"}/' "$in" | rl-grpo -q | jq -c 'has("advantages")' | paste -sd' ' | grep -qx 'true true true false false false'
}

@test "rl-grpo: with -k what is wrong with a group is an error of its records, the others go on" {
	sed '5,6s/"reward":[-0-9.]*/"reward":null/' "$in" >bad
	rc=0
	rl-grpo -q -k bad >got 2>said || rc=$?
	[ $rc -eq 3 ]
	is_prefix bad got
	jq -c '[has("advantages"), .error // "none"]' got >seen
	[ "$(head -n 3 seen | sort -u)" = '[true,"none"]' ]
	sed -n 4p seen | grep -q "^.false,.*bad:4: group 'g1' has 1 of 3 completions to compare, and grpo needs 2"
	cmp <(head -n 3 got) <(head -n 3 "$in" | rl-grpo -q)
}

@test "rl-grpo: what is wrong in a row is named with its line" {
	fails_with 1 ":2: 'logprobs' has 2 numbers, expected" rl-grpo -q <(sed '2s/"logprobs":\[[^]]*\]/"logprobs":[1,2]/' "$in")
	fails_with 1 ":2: 'mask' has 2 numbers, expected" rl-grpo -q <(sed '2s/}$/,"mask":[1,0]}/' "$in")
	fails_with 1 ":2: there is no 'tokens'" rl-grpo -q <(sed '2s/"tokens"/"other"/' "$in")
	fails_with 1 ":2: not JSON" rl-grpo -q <(sed '2s/"reward":[-0-9.]*/"reward":NaN/' "$in")
	fails_with 1 ":2: 'reward' is neither" rl-grpo -q <(sed '2s/"reward":[-0-9.]*/"reward":"NaN"/' "$in")
	fails_with 1 "'rewards' would be 1e+39" rl-grpo -q <(sed '2s/"reward":[-0-9.]*/"reward":1e39/' "$in")
	fails_with 1 ":2: 'advantages' is already there" rl-grpo -q <(sed '2s/}$/,"advantages":[]}/' "$in")
	fails_with 2 "no --beta; here it is --kl-coef" rl-grpo --beta .1
	fails_with 2 "--scale is 'std', but must be one of group|batch|none" rl-grpo --scale std
	fails_with 2 "--compat trl-old: trl-old has no grpo" rl-grpo --compat trl-old "$in"
}

@test "rl-grpo: the example of the man page" {
	cp "$in" grouped.jsonl
	example=$(sed -n '/^\.Bd -literal/,/^\.Ed/p' "$root/man/rl-grpo.1" | sed '/^\./d')
	bash -o pipefail -c "$example" >got
	[ "$(wc -l <got)" -eq 6 ]
}
