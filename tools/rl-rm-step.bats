#!/usr/bin/env bats
# rl-rm-step: TRL's RewardTrainer, step by step; scores; runs; the model that comes out.  The formula: lib/preference_test.
load common
load golden

setup() {
	cd "$BATS_TEST_TMPDIR"
	export RL_STORE=run.lmdb
	all=$testdata/preference/pairs.jsonl
	# of a model of 64 tokens
	jq -c 'map_values(map(. % 61))' "$all" >pairs.jsonl
	fresh
}
fresh() { # [STORE]
	rm -f "${1:-run.lmdb}"*
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 "${1:-run.lmdb}"
}
weights() { # STORE:NAME
	rm -rf exported
	rl-store export -q "$1" exported
	cat exported/*.safetensors | sha256sum
}
without_time() { jq -cS 'with_entries(select(.key | startswith("time/") | not))' "$@"; }
step() { rl-rm-step -q --batch-size 4 --lr 1e-2 "$@"; }
# scores NAME [JQ]: [chosen, rejected] of each pair, by rl-reward-model
scores() {
	for side in chosen rejected; do
		jq -c "{prompt_tokens, tokens: .$side}" pairs.jsonl | rl-reward-model -q -s "run.lmdb:$1" | jq .reward_model >"$side"
	done
	paste -d' ' chosen rejected | jq -sc '[range(0; length; 2) as $i | [.[$i], .[$i + 1]]]'
}

@test "rl-rm-step: four steps as TRL makes them: losses, gradient norms, accuracies, margins, scores" {
	shared dir golden/models/llama/model
	rm -f g.lmdb*
	rl-store import -q "$dir" g.lmdb
	rl-rm-step -q -s g.lmdb --batch-size 4 --lr 1e-3 "$all" >got
	want=$testdata/preference/trl-reward.jsonl
	near 1e-6 0 <(jq .loss "$want") <(jq .loss got)
	near 0 1e-5 <(jq .grad_norm "$want") <(jq .grad_norm got)
	for name in margin min_reward mean_reward max_reward; do near 1e-6 0 <(jq ".$name" "$want") <(jq ".$name" got); done
	cmp <(jq .accuracy "$want") <(jq .accuracy got)
}

@test "rl-rm-step: it learns which answer is chosen; loss and metrics are those of rl-reward-model's scores" {
	step --epochs 6 pairs.jsonl >got
	holds -s '.[0].loss == (2 | log) and .[-1].accuracy == 1 and .[-1].loss < 0.1' got
	scores reward >each
	holds 'all(.[]; .[0] > .[1])' each
	rl-rm-step -q --run again --batch-size 16 --lr 0 --center-rewards 0.05 <(jq -c '.margin = (.chosen | length) / 8' pairs.jsonl) >got
	jq --slurpfile p pairs.jsonl 'def mean: add / length; . as $s
		| ([range(16) as $i | $s[$i][0] - $s[$i][1] - ($p[$i].chosen | length) / 8 | (1 + (-. | exp)) | log] | mean) + (map(0.05 * (add * add)) | mean),
		(map(.[0] - .[1]) | mean), (flatten | min, mean, max)' each >want
	near 1e-5 0 want <(jq '.loss, .margin, .min_reward, .mean_reward, .max_reward' got)
	# the policy is not touched
	[ "$(rl-store show --json run.lmdb | jq -c '[.slots[] | [.name, .version]]')" = '[["policy",0],["reward",24]]' ]
}

@test "rl-rm-step: a batch of several passes is the mean of its pairs" {
	step pairs.jsonl >/dev/null
	for i in $(seq 36); do head -n 13 pairs.jsonl; done >many
	for n in 468 467 466 465; do
		tail -n $n many | rl-rm-step -q --run "a$n" --batch-size 480 --lr 0 | jq '.loss, .margin, .mean_reward' >got
		tail -n $n many | rl-rm-step -q --run "b$n" --batch-size 1 --lr 0 | jq -s 'map([.loss, .margin, .mean_reward]) | transpose[] | add / length' >want
		near 1e-9 0 want got
	done
}

@test "rl-rm-step: killed at any point, the same command ends with the same bits and the whole metrics" {
	update="rl-rm-step -q --batch-size 4 --steps 30 --lr 1e-2"
	for every in 1 7; do
		fresh
		$update --checkpoint-every $every pairs.jsonl | without_time >want
		[ "$(wc -l <want)" -eq 30 ]
		one=$(weights run.lmdb:reward)
		fresh
		for i in 1 2 3 4 5 6; do
			$update --checkpoint-every $every pairs.jsonl >got &
			sleep 0.0$((i * 3 % 7 + 1))
			kill -9 $! 2>/dev/null || true
			wait $! || true
		done
		$update --checkpoint-every $every pairs.jsonl | without_time | cmp want -
		[ "$(weights run.lmdb:reward)" = "$one" ]
		$update --checkpoint-every $every -j 3 pairs.jsonl | without_time | cmp want -
	done
}

@test "rl-rm-step: what comes out is a model of its own, with the tokenizer, for sequence classification with one label" {
	rl-tokenize -q --train --vocab-size 300 <"$testdata/contract/texts.jsonl" >tokenizer.json
	jq '.vocab_size = 300' "$testdata/tiny/config.json" >config.json
	rl-store init -q --config config.json --tokenizer tokenizer.json --seed 1 t.lmdb
	jq -c '{prompt: "say: ", chosen: .text[0:20], rejected: .text[20:31]}' "$testdata/contract/texts.jsonl" >texts
	step -s t.lmdb:judge --epochs 3 --no-shuffle texts | without_time >want
	rl-store export -q t.lmdb:judge judge
	holds '.architectures == ["LlamaForSequenceClassification"] and (.id2label | length) == 1' judge/config.json
	cmp judge/tokenizer.json tokenizer.json
	rl-store init -q --config config.json --tokenizer tokenizer.json --seed 2 other.lmdb
	rl-store import -q judge other.lmdb:reward
	jq -c '{prompt, completion: .chosen}' texts >answers
	rl-reward-model -q -s t.lmdb:judge answers >got
	rl-reward-model -q -s other.lmdb answers | cmp got -
	# the same by ids, ended by EOS; without a prompt both are whole texts
	ids() { jq -c "{text: $1}" texts | rl-tokenize -q --tokenizer tokenizer.json | jq -c .tokens; }
	paste -d' ' <(ids .prompt) <(ids .chosen) <(ids .rejected) | jq -sc 'range(0; length; 3) as $i | {prompt_tokens: .[$i], chosen: (.[$i + 1] + [0]), rejected: (.[$i + 2] + [0])}' >as_ids
	step -s t.lmdb:ids --run ids --epochs 3 --no-shuffle as_ids | without_time | cmp want -
	[ "$(weights t.lmdb:ids)" = "$(weights t.lmdb:judge)" ]
	jq -c '{chosen: (.prompt_tokens + .chosen), rejected: (.prompt_tokens + .rejected)}' as_ids | step -s t.lmdb:whole --run whole --epochs 3 --no-shuffle | without_time | cmp want -
	[ "$(weights t.lmdb:whole)" = "$(weights t.lmdb:judge)" ]
	# as texts
	jq -c '.chosen, .rejected | {text: .}' texts | rl-tokenize -q --tokenizer tokenizer.json | jq -c '.tokens + [0]' |
		jq -sc 'range(0; length; 2) as $i | {chosen: .[$i], rejected: .[$i + 1]}' | step -s t.lmdb:c --run c --no-shuffle --epochs 3 | without_time >want
	jq -c '{chosen, rejected}' texts | step -s t.lmdb:d --run d --no-shuffle --epochs 3 | without_time | cmp want -
}

@test "rl-rm-step: an adapter has its head beside it, and its base stays" {
	rl-store lora -q run.lmdb:reward
	base=$(weights run.lmdb:policy)
	step --epochs 8 pairs.jsonl >got
	holds -s '.[-1].accuracy == 1 and .[-1].loss < 0.3' got
	[ "$base" = "$(weights run.lmdb:policy)" ]
	scores reward >each
	holds 'map(select(.[0] > .[1])) | length > 14' each
}

@test "rl-rm-step: what it trains can be the critic that rl-ppo-step goes on with" {
	step -s run.lmdb:value --epochs 2 pairs.jsonl >/dev/null
	before=$(weights run.lmdb:value)
	rl-ppo-step -q --critic separate --batch-size 6 --lr 1e-4 "$testdata/contract/rollouts.jsonl" >got
	[ "$(rl-store show --json run.lmdb | jq '.slots[] | select(.name == "value") | .version')" -eq 8 ]
	[ "$before" != "$(weights run.lmdb:value)" ]
}

@test "rl-rm-step: what cannot be trained on is refused and the store stays as it is; -k leaves it out" {
	before=$(sha256sum <run.lmdb)
	refused() { fails_with 1 "$1" rl-rm-step -q <(printf '%s\n' "$2"); }
	refused ":1: 'rejected' is not there" '{"prompt_tokens":[1],"chosen":[1]}'
	refused "'chosen' has no token" '{"chosen":[],"rejected":[2]}'
	refused "65 tokens do not fit the context of 64" "$(jq -nc '{rejected: [1], chosen: [range(65) | . % 60]}')"
	refused "'margin'" '{"chosen":[1],"rejected":[2],"margin":"wide"}'
	fails_with 1 "'policy' has a head for tokens: a reward model is trained in a slot of its own" step -s run.lmdb:policy pairs.jsonl
	fails_with 1 "'ref' is no name for the slot of a reward model" step -s run.lmdb:ref pairs.jsonl
	fails_with 1 "'policy@0' is no name" step -s run.lmdb:policy@0 pairs.jsonl
	fails_with 1 "no 'nothing'" step --from nothing pairs.jsonl
	cp run.lmdb with.lmdb
	rl-store lora -q with.lmdb:a
	fails_with 1 "'a' is an adapter: what a new slot begins as is a model" step -s with.lmdb --from a pairs.jsonl
	fails_with 1 "no record" rl-rm-step -q /dev/null
	[ "$before" = "$(sha256sum <run.lmdb)" ]
	{ head -n 3 pairs.jsonl; echo '{"prompt_tokens":[1],"chosen":[1]}'; } >bad
	rc=0
	rl-rm-step -q -k bad >got || rc=$?
	[ $rc -eq 3 ]
	holds '.rows == 3' got
	# a second model by the same command
	rl-rm-step -q -s run.lmdb:other pairs.jsonl | jq -e '.step == 1 and .loss == (2 | log)' >/dev/null
}

@test "rl-rm-step: the example of the page" {
	cp "$testdata/tiny/prompts.jsonl" .
	sed -n '/^\.Bd -literal/,/^\.Ed/p' "$root/man/rl-rm-step.1" | sed '/^\./d' >example
	RL_QUIET=1 RL_GENERATE_MAX_TOKENS=6 RL_GENERATE_BATCH_SIZE=64 within 100 bash -eo pipefail example
	[ "$(jq -r .loss rm.jsonl | wc -l)" -eq 3 ]
	[ "$(wc -l <metrics.jsonl)" -eq 2 ]
	holds -s 'all(.[]; ."objective/scores" != 0)' metrics.jsonl
}
