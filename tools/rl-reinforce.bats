#!/usr/bin/env bats
# rl-grpo.bats has what is wrong with groups and rows; lib/advantage_golden_test.c holds this against verl and OpenRLHF.
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	in=$testdata/contract/grouped.jsonl
	jq -nc '[1, 3, 2, 6] | to_entries[] | {id: "q\(.key / 2 | floor)", sample: (.key % 2), tokens: [5, 6], temperature: 1, reward: .value}' >rows
}
advantages() { rl-reinforce -q --kl-coef 0 "$@" | jq -c .advantages | paste -sd' '; }

@test "rl-reinforce: the baseline is nothing, the batch's, the group's" {
	[ "$(advantages --baseline none rows)" = "[1,1] [3,3] [2,2] [6,6]" ]
	[ "$(advantages --baseline batch --no-whiten rows)" = "[-2,-2] [0,0] [-1,-1] [3,3]" ]
	[ "$(advantages --baseline group --no-whiten rows)" = "[-1,-1] [1,1] [-2,-2] [2,2]" ]
	[ "$(advantages --baseline none --gamma .5 rows)" = "[0.5,1] [1.5,3] [1,2] [3,6]" ]
	rl-reinforce -q --kl-coef 0 --gamma .5 rows | head -n 1 | jq -c .returns | grep -qxF '[0.5,1]'
}

@test "rl-reinforce: by default REINFORCE++, of which the mean is 0 and the variance 1" {
	rl-reinforce -q "$in" | jq -c .advantages >got
	rl-reinforce -q --baseline batch --kl-coef .05 --whiten "$in" | jq -c .advantages | cmp - got
	jq -se 'add | (add / length | fabs) < 1e-6 and ((map(. * .) | add / (length - 1)) - 1 | fabs) < 1e-5' got >/dev/null
	[ "$(advantages --baseline none --whiten rows)" = "$(advantages rows)" ]
}

@test "rl-reinforce: a moving baseline is of the batches before" {
	{ cat rows; jq -c '.reward += 10' rows; } >two
	[ "$(advantages --baseline moving --batch-size 4 --baseline-decay .75 two)" = "[-2,-2] [0,0] [-1,-1] [3,3] [8,8] [10,10] [9,9] [13,13]" ]
	{ cat two; cat rows; } >three # 3, then 3 + .25 * 10
	advantages --baseline moving --batch-size 4 --baseline-decay .75 three | grep -q ' \[-4.5,-4.5\] \[-2.5,-2.5\] \[-3.5,-3.5\] \[0.5,0.5\]$'
}

@test "rl-reinforce: the greedy baseline is the row at temperature 0, which is left out of the update" {
	sed '1s/"temperature":1/"temperature":0/; 4s/"temperature":1/"temperature":0/' rows >greedy
	rl-reinforce -q --kl-coef 0 --baseline greedy greedy >got
	is_prefix greedy got
	[ "$(jq -c '[.skip, .advantages]' got | paste -sd' ')" = '["greedy baseline",null] [null,[2,2]] [null,[-4,-4]] ["greedy baseline",null]' ]
	fails_with 1 ":1: group 'q0' has 0 completions at temperature 0, and --baseline greedy wants 1" rl-reinforce -q --kl-coef 0 --baseline greedy rows
	fails_with 1 "group 'q0' has 0 completions at temperature 0" rl-reinforce -q --kl-coef 0 --baseline greedy <(sed '1s/}$/,"skip":"x"}/' greedy)
}

@test "rl-reinforce: the KL is in the reward; what is missing is named" {
	fails_with 1 ":1: there is no 'logprobs', which the KL penalty needs" rl-reinforce -q rows
	fails_with 2 "--compat trl: trl has no reinforce" rl-reinforce --compat trl rows
	fails_with 1 "group 'q1' is not whole: 1 of 2 completions are in the batch" rl-reinforce -q --kl-coef 0 --baseline group <(sed 3d rows)
	[ "$(advantages --baseline batch --no-whiten <(sed 3d rows) | wc -w)" -eq 3 ]
}

@test "rl-reinforce: the example of the man page" {
	cp "$in" grouped.jsonl
	example=$(sed -n '/^\.Bd -literal/,/^\.Ed/p' "$root/man/rl-reinforce.1" | sed '/^\./d')
	bash -o pipefail -c "$example" >got
	[ "$(wc -l <got)" -eq 6 ]
}
