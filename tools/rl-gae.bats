#!/usr/bin/env bats
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	in=$testdata/contract/rollouts.jsonl
}

# The options that a config.json of the golden PPO runs says.
options_of() {
	jq -r '"--compat trl --gamma \(.gamma) --lam \(.lam) --kl-coef \(.kl_coef) --kl-estimator \(.kl_estimator)"
		+ (if .whiten_rewards then " --whiten-rewards" else "" end)
		+ " --eos \(.eos_token_id) --missing-eos-penalty \(.missing_eos_penalty // 0)"' "$1"
}

@test "rl-gae: rewards, advantages and returns of TRL's PPOTrainer" {
	shared golden golden/rl/ppo
	for run in "$golden"/*/; do
		# shellcheck disable=SC2046
		rl-gae -q $(options_of "$run/config.json") "$run/records.jsonl" >got.jsonl
		jq -ne --slurpfile a got.jsonl --slurpfile b "$run/expected.jsonl" '
			def near(x; y): ([x, y] | map(length) | unique | length) == 1
				and ([x, y] | transpose | all((.[0] - .[1] | fabs) <= 2e-6 + 1e-4 * (.[1] | fabs)));
			($a | length) == ($b | length) and ([$a, $b] | transpose | all(. as [$x, $y]
				| $x.id == $y.id and near($x.advantages; $y.advantages)
				and near($x.rewards + [$x.bootstrap_reward // empty]; $y.rewards)
				and near($x.returns + [$x.bootstrap_return // empty]; $y.returns)))' >/dev/null
	done
}

@test "rl-gae: a batch is whole before it is written, rows come in any order, and bits do not change" {
	jq -c '. + {batch: ((input_line_number - 1) / 3 | floor), row: ((input_line_number - 1) % 3), batch_size: 3}' "$in" >batches.jsonl
	rl-gae -q batches.jsonl | jq -S '{id, advantages, returns, rewards}' >want
	for order in 3,2,1,6,5,4 4,1,5,2,6,3; do
		for n in ${order//,/ }; do sed -n "${n}p" batches.jsonl; done | rl-gae -q >got
		jq -r .id got | paste -sd, | grep -qE '^r' # all of them, whole batches one after another
		jq -s 'sort_by(.id) | .[]' got | jq -S '{id, advantages, returns, rewards}' | cmp - want
	done
	# the first batch is out while the second waits
	mkfifo pipe
	{ head -n 3 batches.jsonl; exec sleep 20; } >pipe 3>&- &
	feeder=$!
	[ "$(within 10 bash -c 'rl-gae -q <pipe | head -n 3 | wc -l')" -eq 3 ]
	kill $feeder
}

@test "rl-gae: batches without row and size end where another begins; --batch-size counts where nothing is said" {
	head -n 3 "$in" | rl-gae -q >first
	tail -n 3 "$in" | rl-gae -q >second
	rl-gae -q --batch-size 3 "$in" | cmp - <(cat first second)
	jq -c '. + {batch: (if input_line_number > 3 then 7 else 2 end)}' "$in" | rl-gae -q | jq -c .advantages |
		cmp - <(cat first second | jq -c .advantages)
}

@test "rl-gae: a batch with a row missing or twice is an error" {
	jq -c '. + {batch: 0, row: (input_line_number - 1), batch_size: 6}' "$in" >batch.jsonl
	fails_with 1 "batch 0 is whole: 5 of 6 rows" rl-gae -q <(sed 4d batch.jsonl)
	fails_with 1 "has row 1 twice, in lines 2 and 5" rl-gae -q <(sed '5s/"row":4/"row":1/' batch.jsonl)
	fails_with 1 ":6: row 6 of 6 in batch 0 does not exist" rl-gae -q <(sed '6s/"row":5/"row":6/' batch.jsonl)
}

@test "rl-gae: records with skip or error, and records without reward, leave as they came and count in nothing" {
	{
		sed -n 1p "$in"
		sed -n 2p "$in" | sed 's/}$/,"skip":"too long"}/'
		sed -n 3p "$in" | jq -c 'del(.reward)'
		sed -n 4p "$in"
	} >mixed
	rl-gae mixed >got 2>said
	cmp <(sed -n 2,3p mixed) <(sed -n 2,3p got)
	cmp <(sed -n '1p;4p' mixed | rl-gae -q) <(sed -n '1p;4p' got)
	grep -qx 'rl-gae: 4 records in, 4 out, 1 passed over, 1 without reward' said
}

@test "rl-gae: the reward may be a sum of components, per token, spans, or a program" {
	set_reward() { jq -c "$1" "$in" | rl-gae -q --no-whiten --kl-coef 0 "${@:2}" | jq -c .rewards >got && [ -s got ] && cat got; }
	set -o pipefail
	set_reward 'del(.reward) + {reward_a: 1, reward_b: 2.5, reward_c: null}' | jq -e 'last == 3.5 and add == 3.5' >/dev/null
	set_reward '.reward = [.tokens[] | 1]' | jq -e 'add == length' >/dev/null
	set_reward '.reward = [[0, 1, 2], [0, .ends[1], 4]]' | jq -e '.[0] == 2 and .[1] == 4 and add == 6' >/dev/null
	set_reward . --reward '.tokens | length' | jq -e 'last == length' >/dev/null
	set_reward '.mask = [.tokens[] | 1] | .mask[-1] = 0' --reward 3 | jq -e '.[-1] == 0 and .[-2] == 3' >/dev/null
}

@test "rl-gae: scalar, per-token and span rewards together, in one record and in one batch" {
	jq -c 'del(.reward) + ([{reward_a: 1, reward_b: [.tokens[] | 0.25], reward_c: [[0, 1, 2]]}, {reward_a: -1}, {reward_b: [.tokens[] | 0.5]}, {reward_c: [[0, .ends[1], 4]], reward_a: null}][(input_line_number - 1) % 4])' "$in" >mixed
	rl-gae -q --no-whiten --kl-coef 0 mixed | jq -c .rewards >got
	jq -sce '.[0][0] == 2.25 and .[0][1] == 0.25 and .[0][-1] == 1.25 and .[1][-1] == -1 and (.[1] | add) == -1
		and (.[2] | all(. == 0.5)) and .[3][1] == 4 and (.[3] | add) == 4' got >/dev/null
	# whitened together
	rl-gae -q --kl-coef 0 mixed | jq -sce '[.[].advantages[]] | (add / length | fabs) < 1e-6' >/dev/null
}

@test "rl-gae: --compat sets defaults and conventions, what is given is kept" {
	same() { cmp <(rl-gae -q $1 "$in") <(rl-gae -q $2 "$in"); }
	same "--compat verl" "--lam 1 --kl-coef 0"
	same "--compat verl --lam .5" "--lam .5 --kl-coef 0"
	same "--compat trl-old" "--kl-coef .2"
	same "--compat trl" ""
	same "--compat openrlhf --no-whiten" "--lam 1 --kl-coef .01 --no-whiten"
	run ! same "--compat openrlhf" "--lam 1 --kl-coef .01" # the population's variance
	cmp <(RL_KL_COEF=.3 rl-gae -q --compat verl "$in") <(rl-gae -q --lam 1 --kl-coef .3 "$in")
	jq -c '.mask = [.tokens[] | 1] | .mask[1] = 0' "$in" >holes
	run ! cmp -s <(rl-gae -q --compat openrlhf --gamma .9 --no-whiten holes) <(rl-gae -q --gamma .9 --lam 1 --kl-coef .01 --no-whiten holes)
	fails_with 1 "'mask' is 0 at index 1, but TRL knows no mask" rl-gae -q --compat trl holes
}

@test "rl-gae: what is missing or wrong is named with its line" {
	fails_with 1 ":2: 'values' has 2 numbers, expected" rl-gae -q <(sed '2s/"values":\[[^]]*\]/"values":[1,2]/' "$in")
	fails_with 1 ":2: there is no 'values'" rl-gae -q <(sed '2s/"values"/"valuez"/' "$in")
	fails_with 1 ":2: there is no 'ref_logprobs'" rl-gae -q <(sed '2s/"ref_logprobs"/"other"/' "$in")
	fails_with 1 ":2: there is no 'tokens'" rl-gae -q <(sed '2s/"tokens"/"other"/' "$in")
	fails_with 1 ":2: 'advantages' is already there" rl-gae -q <(sed '2s/}$/,"advantages":[]}/' "$in")
	fails_with 1 ":2: 'reward' is neither" rl-gae -q <(sed '2s/"reward":[0-9.]*/"reward":"x"/' "$in")
	fails_with 2 "--gamma is 2, but must be between 0 and 1" rl-gae --gamma 2
	fails_with 2 "no --beta; here it is --kl-coef" rl-gae --beta .1
	fails_with 2 "is no jq program" rl-gae --reward '.a |'
}

@test "rl-gae: with -k a record that fails keeps its place in the batch" {
	jq -c '. + {batch: 0, row: (input_line_number - 1), batch_size: 6}' "$in" | sed '2s/"values":\[[^]]*\]/"values":[1,2]/' >bad
	rc=0
	rl-gae -q -k <bad >got 2>said || rc=$?
	[ $rc -eq 3 ]
	[ "$(wc -l <got)" -eq 6 ]
	sed -n 2p got | jq -e '(.error | test("^standard input:2: .values. has 2 numbers")) and (has("advantages") | not)' >/dev/null
	cmp <(sed 2d got | jq -c .advantages) <(sed 2d "$in" | rl-gae -q | jq -c .advantages)
}

@test "rl-gae: variables of the environment set options, the tool's own first" {
	rl-gae -q --lam 0 "$in" >want
	RL_LAM=.5 RL_GAE_LAM=0 rl-gae -q "$in" | cmp - want
	RL_LAM=0 rl-gae -q "$in" | cmp - want
	RL_LAMM=0 rl-gae "$in" 2>&1 >/dev/null | grep -q 'RL_LAMM; did you mean RL_LAM?'
}

@test "rl-gae: the example of the man page" {
	cp "$in" rollouts.jsonl
	example=$(sed -n '/^\.Bd -literal/,/^\.Ed/p' "$root/man/rl-gae.1" | sed '/^\./d')
	bash -o pipefail -c "$example" >got
	[ "$(wc -l <got)" -eq 6 ]
}

@test "rl-gae: records of an evaluation go by at once, have no part in a batch, and get nothing" {
	jq -nc 'range(4) | {batch: (. / 2 | floor), row: (. % 2), batch_size: 2, tokens: [1, 2], reward: ., values: [0, 0]}' >rows
	{ echo '{"batch":0,"row":1,"batch_size":3,"eval":true,"tokens":[5]}'; sed -n 1p rows; echo '{"batch":0,"row":0,"batch_size":3,"eval":true}'; sed 1d rows; } >mixed
	rl-gae -q --kl-coef 0 mixed >got
	jq -c 'select(.eval)' got | diff - <(jq -c 'select(.eval)' mixed)
	rl-gae -q --kl-coef 0 rows | diff - <(jq -c 'select(.eval | not)' got)
	# only true is one of an evaluation
	sed 's/}$/,"eval":"x"}/' rows | rl-gae -q --kl-coef 0 | jq -se 'length == 4 and all(has("advantages"))'
}
