#!/usr/bin/env bats
# rl-reward-logprob: log-probabilities of rl-logprob and of transformers, put together; its two terms; in a loop.
load common

setup_file() {
	cd "$BATS_FILE_TMPDIR"
	jq -nc 'range(40) | {text: "key \(.) has the value \(. * 7), key \(. % 5)"}' >texts.jsonl
	rl-tokenize -q --train --vocab-size 280 --special-token '<|end|>' <texts.jsonl >tokenizer.json
	jq '.vocab_size = 280 | .max_position_embeddings = 96' "$testdata/tiny/config.json" >config.json
	rl-store init -q --config config.json --tokenizer tokenizer.json --seed 1 run.lmdb
	rl-store init -q --config config.json --tokenizer tokenizer.json --seed 2 other.lmdb
	rl-store export other.lmdb other
	rl-store import -q other run.lmdb:base
	jq -c '{id: "q\(input_line_number)", prompt: .text[0:9], value: .text[9:]}' texts.jsonl | head -n 8 >prompts.jsonl
	rl-generate -q -s run.lmdb:policy -n 3 --batch-size 24 --max-tokens 9 prompts.jsonl >rollouts.jsonl
}
setup() {
	cd "$BATS_TEST_TMPDIR"
	cp "$BATS_FILE_TMPDIR"/{run.lmdb,prompts.jsonl,rollouts.jsonl} .
	export RL_STORE=run.lmdb
}
reward() { rl-reward-logprob -q "$@"; }
# logp NAME FIELD JQ: rollouts with FIELD, the log-probs of .value after what JQ gives, by rl-logprob of model NAME
logp() {
	jq -c '. as $r | {prompt_tokens: ('"$3"'), completion: .value}' with_ids | rl-logprob -q -s "run.lmdb:$1" --as lp | jq -c .lp |
		paste -d' ' with - | jq -sc --arg f "$2" '[range(0; length; 2) as $i | .[$i] + {($f): .[$i + 1]}][]' >with.new
	mv with.new with
}
# near A B FILE: two expressions of each record agree within the printing of floats
near() { jq -es "length > 20 and all(.[]; ($1) - ($2) | fabs < 2e-6)" "$3" >/dev/null; }

@test "rl-reward-logprob: mean log-prob after prompt and completion, less that after the prompt, by rl-logprob" {
	reward rollouts.jsonl >got
	is_prefix rollouts.jsonl got
	[ "$(jq -c '[keys_unsorted[-2:], (.logprob | keys_unsorted)]' got | sort -u)" = '[["logprob","reward_logprob"],["logp","base","tokens"]]' ]
	# the token that ended a completion is no part of the context
	cp got with
	cp got with_ids
	jq -c '.tokens | select(.[-1] == 256)' got >ended
	logp ref lp '$r.prompt_tokens + ($r.tokens | if $r.finish == "eos" then .[:-1] else . end)'
	logp ref base '$r.prompt_tokens'
	near '.lp | add / length' .logprob.logp with
	near '.base | add / length' .logprob.base with
	near '.reward_logprob' '.logprob.logp - .logprob.base' with
	jq -es 'all(.[]; (.lp | length) == .logprob.tokens)' with >/dev/null
	# the sum; none of them is 0
	reward --reduce sum rollouts.jsonl | jq -c '[.reward_logprob, .logprob.logp]' >sums
	paste -d' ' with sums | jq -sc '[range(0; length; 2) as $i | .[$i] + {sum: .[$i + 1]}][]' >both
	near '.sum[0]' '(.lp | add) - (.base | add)' both
	near '.sum[1]' '.lp | add' both
	[ "$(jq 'select((.reward_logprob | fabs) > 1e-3) | 1' got | wc -l)" -gt 18 ]
}

@test "rl-reward-logprob: contexts by filters of texts and ids; --raw; another model as the base" {
	cp rollouts.jsonl with
	cp rollouts.jsonl with_ids
	reward --context '[.prompt_tokens, 7, .tokens[0:2], [8, 9]]' --base '[.prompt_tokens, 7]' rollouts.jsonl | jq -c '[.logprob.logp, .logprob.base]' >two
	reward --raw --reduce sum --context '[.prompt_tokens, 7]' rollouts.jsonl >raw
	[ "$(jq -c '.logprob | keys_unsorted' raw | sort -u)" = '["logp","tokens"]' ]
	jq -es 'all(.[]; .reward_logprob == .logprob.logp)' raw >/dev/null
	reward --base-model base rollouts.jsonl | jq -c '[.reward_logprob, .logprob.base]' >model
	reward -s run.lmdb:base --raw rollouts.jsonl | jq -c .reward_logprob >other
	logp policy lp '$r.prompt_tokens + [7] + $r.tokens[0:2] + [8, 9]'
	logp policy base '$r.prompt_tokens + [7]'
	paste -d' ' with two raw model other | jq -sc '[range(0; length; 5) as $i | .[$i] + {two: .[$i + 1], raw: .[$i + 2], model: .[$i + 3], other: .[$i + 4]}][]' >all
	near '.two[0]' '.lp | add / length' all
	near '.two[1]' '.base | add / length' all
	near .raw.reward_logprob '.base | add' all
	jq -es 'all(.[]; .model[1] == .other)' all >/dev/null
	# texts are the ids of their tokens: the prompt's with its beginning, the completion's without
	reward --context '[.prompt, " Query: "]' rollouts.jsonl | jq -c .logprob.logp >text
	reward --context '[.prompt_tokens, " Query: "]' rollouts.jsonl | jq -c .logprob.logp | cmp - text
}

@test "rl-reward-logprob: --per-token is aligned to tokens, and sums to the sum" {
	reward --per-token --value .tokens --context '[.prompt, .value]' --base .prompt rollouts.jsonl >got
	jq -es 'all(.[]; (.reward_logprob | length) == (.tokens | length) and (.logprob.logp | length) == .logprob.tokens)' got >/dev/null
	reward --reduce sum --value .tokens --context '[.prompt, .value]' --base .prompt rollouts.jsonl | jq -c .reward_logprob >sum
	paste -d' ' got sum | jq -sc '[range(0; length; 2) as $i | .[$i] + {sum: .[$i + 1]}][]' >both
	jq -es 'length == 24 and all(.[]; (.reward_logprob | add) - .sum | fabs < 2e-5)' both >/dev/null
	near '[.logprob.logp, .logprob.base] | transpose | map(.[0] - .[1]) | add' '.reward_logprob | add' both
	fails_with 1 "'tokens' has" reward --per-token rollouts.jsonl
	fails_with 1 "--per-token needs 'tokens'" reward --per-token --context .prompt <(jq -c 'del(.tokens)' rollouts.jsonl)
	# the trainers take it
	rl-gae -q --kl-coef 0 --lam 1 --gamma 1 <(jq -c '.values = (.tokens | map(0))' got) | jq -es 'all(.[]; .rewards == .reward_logprob)' >/dev/null
}

@test "rl-reward-logprob: a policy against its reference is the difference that transformers gives" {
	shared golden golden/rl
	rl-store import -q "$golden/models/gpt2/policy" g.lmdb
	rl-store import -q "$golden/models/gpt2/ref" g.lmdb:ref
	reward -s g.lmdb:policy --base-model ref --per-token --value .tokens --context .prompt_tokens "$golden/ppo/k3-whiten-gpt2/records.jsonl" >got
	jq -es 'length == 8 and all(.[]; [.logprobs, .ref_logprobs, .reward_logprob, .logprob.logp] | transpose
		| all((.[0] - .[1] - .[2] | fabs) <= 1e-4 and (.[0] - .[3] | fabs) <= 5e-5))' got >/dev/null
	reward -s g.lmdb:policy --base-model ref --value .tokens --context .prompt_tokens "$golden/ppo/k3-whiten-gpt2/records.jsonl" >got
	jq -es 'all(.[]; ((.logprobs | add / length) - (.ref_logprobs | add / length) - .reward_logprob | fabs) <= 1e-4 and (.reward_logprob | fabs) > 1e-3)' got >/dev/null
}

@test "rl-reward-logprob: the same bytes for any batch, threads, instruction set, and one by one" {
	reward --base-model base rollouts.jsonl >want
	while read -r line; do printf '%s\n' "$line" | reward --base-model base; done <rollouts.jsonl | cmp - want
	while read -r line; do printf '%s\n' "$line"; sleep .01; done < <(head -n 5 rollouts.jsonl) | reward --base-model base | cmp - <(head -n 5 want)
	sort -r rollouts.jsonl | reward --base-model base | sort | cmp - <(sort want)
	for how in "-j 1" "-j 2" "--isa plain" "--isa avx2" "--isa avx512" "--isa neon"; do
		# shellcheck disable=SC2086
		reward --base-model base $how rollouts.jsonl >got 2>err || { grep -q "not an instruction set" err; continue; }
		cmp got want
	done
}

@test "rl-reward-logprob: a record leaves before the next one comes" {
	mkfifo in
	{ head -n 1 rollouts.jsonl; exec sleep 20; } >in 3>&- &
	feeder=$!
	[ "$(within 10 bash -c 'rl-reward-logprob -q <in | head -n 1 | jq .logprob.tokens')" -gt 0 ]
	kill $feeder
}

@test "rl-reward-logprob: the policy that sampled each record, in a loop, against the reference" {
	within 60 bash -o pipefail -c 'rl-generate -q -n 2 --batch-size 4 --max-tokens 6 prompts.jsonl |
		rl-reward-logprob -q -s run.lmdb --follow --base-model ref --context "[.prompt, .completion, \" Value: \"]" --base "[.prompt, \" Value: \"]" |
		tee seen.jsonl | rl-ppo-step -q --lr 1e-2 >metrics.jsonl'
	[ "$(wc -l <metrics.jsonl)" -eq 4 ]
	# the base is the model the run began with, and so was the policy in the first batch; then it moves
	reward -s run.lmdb:ref --as reward_ref --context '[.prompt, .completion, " Value: "]' --base '[.prompt, " Value: "]' seen.jsonl >again
	jq -es 'length == 16 and all(.[]; .logprob.base == .ref.base and (.policy_version == 0) == (.logprob.logp == .ref.logp)) and (map(.policy_version) | unique) == [0, 1, 2, 3]' again >/dev/null
	fails_with 1 "seen.jsonl:5: --follow: 'run.lmdb' has no 'policy@1'" reward --follow --as reward_b seen.jsonl
	fails_with 1 "'policy_version' is not there" reward --follow --context .prompt prompts.jsonl
}

@test "rl-reward-logprob: what a model wrote never stops a run" {
	head -n 3 rollouts.jsonl | jq -c '.completion = (["{\"q\": \"a\"}", "no json", ("[1]" * 200)][input_line_number - 1])' >odd
	reward --otherwise -2 --context '.prompt + (.completion | fromjson | .q)' odd >got 2>said
	[ "$(jq -c '[.reward_logprob == -2, .logprob.logp == null, .logprob.base == null]' got | paste -sd' ')" = "[false,false,false] [true,true,true] [true,true,true]" ]
	[ "$(wc -l <said)" -eq 1 ]
	grep -qE 'odd:2: --context: .*; its reward is -2, as that of all others' said
	# too long for the model: by the completion
	reward --context '[.prompt, .completion * 50]' odd 2>said | jq -c .reward_logprob | head -n 1 | grep -qx 0
	grep -q "do not fit the model's context of 96" said
	reward --per-token --value .tokens --otherwise -2 --context '.completion | fromjson | .q' odd 2>/dev/null >got
	jq -es '.[1].reward_logprob == [range(.[1].tokens | length) | 0] [:-1] + [-2] and .[1].logprob.logp == null' got >/dev/null
	rl-reward-logprob --context '.prompt + (.completion | fromjson | .q)' odd 2>&1 >/dev/null | tail -n 1 | grep -q "2 without a reward"
}

@test "rl-reward-logprob: what is wrong is said in one line" {
	fails_with 2 "no store" env -u RL_STORE rl-reward-logprob
	fails_with 2 "--raw has no base" reward --raw --base .prompt rollouts.jsonl
	fails_with 2 "--reduce" reward --per-token --reduce sum rollouts.jsonl
	fails_with 2 "no jq program" reward --value '(' rollouts.jsonl
	fails_with 1 "rollouts.jsonl:1: --value gives nothing" reward --value .nothing rollouts.jsonl
	fails_with 1 "--value has no token" reward --value '""' rollouts.jsonl
	fails_with 1 "neither a text nor an array" reward --value .logprobs[0] rollouts.jsonl
	fails_with 1 "is no text, no id" reward --value '[null]' rollouts.jsonl
	fails_with 1 "neither 'tokens' nor 'completion'" reward prompts.jsonl
	fails_with 1 "--context gives nothing" reward --context .nothing prompts.jsonl
	fails_with 1 "do not fit the model's context of 96" reward --context '.prompt * 60' prompts.jsonl
	fails_with 1 "the context has no token" reward --context '[]' prompts.jsonl
	fails_with 1 "'logprob' is already there" reward <(jq -c '.logprob = 1' rollouts.jsonl)
	fails_with 1 "'nowhere'" reward --base-model nowhere rollouts.jsonl
	rc=0
	{ head -n 1 rollouts.jsonl; echo '{"value":"a"}'; echo '{"skip":"x"}'; tail -n 1 rollouts.jsonl; } | reward -k >got || rc=$?
	[ $rc -eq 3 ]
	[ "$(jq -c '[.reward_logprob != null, .error != null]' got | paste -sd' ')" = "[true,false] [false,true] [false,false] [true,false]" ]
}

@test "rl-reward-logprob: the counterfactual of the page: the next completion of the group" {
	cat >command <<-'END'
		rl-group rollouts.jsonl |
		jq -c --unbuffered '(.items | map(.completion)) as $c |
		    .counterfactual = $c[1:] + $c[:1]' |
		rl-group -u --give-each counterfactual |
		rl-reward-logprob -s run.lmdb \
		    --context '[.prompt_tokens, .completion, " Value: "]' \
		    --base '[.prompt_tokens, .counterfactual, " Value: "]'
	END
	MANWIDTH=200 mandoc -T ascii "$root/man/rl-reward-logprob.1" | col -bx >page
	while IFS= read -r line; do grep -qF -- "$line" page || { echo "not in the page: $line"; return 1; }; done < <(sed 's/^ *//' command)
	eval "$(cat command)" 2>/dev/null >got
	[ "$(wc -l <got)" -eq 24 ]
	# in a group the bases are the others' terms: the rewards sum to nothing
	jq -es 'group_by(.id) | all(.[]; length == 3 and (map(.reward_logprob) | add | fabs) < 1e-9) and (map(map(.reward_logprob) | max) | max > 1e-3)' got >/dev/null
}
