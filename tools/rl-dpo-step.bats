#!/usr/bin/env bats
# rl-dpo-step: TRL's DPOTrainer, step by step; the reference; runs.  The formulas: lib/preference_test.
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
weights() { # [STORE[:NAME]]: a name for the bits of the policy
	rm -rf exported
	rl-store export -q "${1:-run.lmdb}" exported
	cat exported/*.safetensors | sha256sum
}
without_time() { jq -cS 'with_entries(select(.key | startswith("time/") | not))' "$@"; }
step() { rl-dpo-step -q --batch-size 4 --lr 1e-2 "$@"; }
# sums NAME: pairs.jsonl with the sums of ln p by that model, of rl-logprob
sums() {
	local side
	for side in chosen rejected; do
		jq -c "{prompt_tokens, tokens: .$side}" pairs.jsonl | rl-logprob -q -s "run.lmdb:$1" --as lp | jq -c "{ref_${side}_logps: .lp}" >"$side"
	done
	paste -d' ' pairs.jsonl chosen rejected | jq -sc '[range(0; length; 3) as $i | .[$i] + .[$i + 1] + .[$i + 2]][]'
}

trl() { # LOSS
	local dir
	shared dir golden/models/llama/model
	rm -f g.lmdb*
	rl-store import -q "$dir" g.lmdb
	rl-dpo-step -q -s g.lmdb --loss "$1" --batch-size 4 --lr 1e-3 "$all" >got
	want=$testdata/preference/trl-$1.jsonl
	near 1e-5 1e-6 <(jq .loss "$want") <(jq .loss got)
	near 0 1e-5 <(jq .grad_norm "$want") <(jq .grad_norm got)
	near 0 5e-6 <(jq '."logps/chosen", ."logps/rejected"' "$want") <(jq '."logps/chosen", ."logps/rejected"' got)
	for name in chosen rejected margins; do near 2e-5 0 <(jq ".\"rewards/$name\"" "$want") <(jq ".\"rewards/$name\"" got); done
	cmp <(jq '."rewards/accuracies" * 4' "$want") <(jq '."rewards/accuracies" * 4' got)
}

@test "rl-dpo-step: four steps as TRL makes them, dpo: losses, gradient norms, rewards, log-probabilities" { trl dpo; }
@test "rl-dpo-step: four steps as TRL makes them, ipo: losses, gradient norms, rewards, log-probabilities" { trl ipo; }

@test "rl-dpo-step: the first loss is ln 2 against the policy itself; then the reference stays what the run began with" {
	sums policy | jq -c '.ref_chosen_logps |= add | .ref_rejected_logps |= add' >known
	step --epochs 3 --no-shuffle pairs.jsonl | without_time >want
	holds -s '.[0].loss == (2 | log) and .[0]."rewards/margins" == 0 and .[-1].loss < 0.6 and .[-1]."rewards/accuracies" == 1' want
	fresh
	step --epochs 3 --no-shuffle known >got
	near 1e-5 1e-5 <(jq '.loss, ."logps/chosen"' want) <(jq '.loss, ."logps/chosen"' got)
	# it is held by name while the policy goes on, and only where it was needed
	[ "$(rl-store show --json run.lmdb | jq -c '[.snapshots[].name]')" = '[]' ]
	fresh
	step --epochs 3 --no-shuffle pairs.jsonl >/dev/null
	[ "$(rl-store show --json run.lmdb | jq -c '[.snapshots[] | [.name, .version]]')" = '[["reference/dpo/",0]]' ]
}

@test "rl-dpo-step: loss, rewards and log-probabilities out of those of rl-logprob; label smoothing" {
	step --batch-size 16 --lr 5e-3 pairs.jsonl >/dev/null
	rl-store export -q run.lmdb after
	fresh
	rl-store import -q --replace after run.lmdb
	fresh other.lmdb
	rl-store export -q other.lmdb before
	rl-store import -q before run.lmdb:ref
	sums ref | jq -c '{r: [(.ref_chosen_logps | add), (.ref_rejected_logps | add)]}' >of_ref
	sums policy | jq -c '{p: [(.ref_chosen_logps | add), (.ref_rejected_logps | add)]}' >of_policy
	paste -d' ' of_ref of_policy | jq -sc '[range(0; length; 2) as $i | .[$i] + .[$i + 1] | .d = [.p[0] - .r[0], .p[1] - .r[1]]]' >terms
	rl-dpo-step -q --batch-size 16 --beta 0.3 --label-smoothing 0.2 --lr 0 pairs.jsonl >got
	jq 'def ls: -((1 + (-. | exp)) | log); def mean: add / length;
		(map((.d[0] - .d[1]) * 0.3 | -0.8 * ls - 0.2 * (-. | ls)) | mean), (map(0.3 * .d[0]) | mean), (map(0.3 * .d[1]) | mean),
		(map(0.3 * (.d[0] - .d[1])) | mean), (map(if .d[0] > .d[1] then 1 else 0 end) | mean), (map(.p[0]) | mean), (map(.p[1]) | mean)' terms >want
	near 1e-5 1e-6 want <(jq '.loss, ."rewards/chosen", ."rewards/rejected", ."rewards/margins", ."rewards/accuracies", ."logps/chosen", ."logps/rejected"' got)
	holds '(."rewards/margins" | fabs) > 1e-2 and .loss != 0' got
}

@test "rl-dpo-step: log-probabilities of the record: sums, or one for each token; used instead of the reference" {
	sums policy >each
	jq -c '.ref_chosen_logps |= add | .ref_rejected_logps |= add' each >sum
	step each | without_time >want
	fresh
	step sum >got
	near 1e-6 0 <(jq .loss want) <(jq .loss got)
	fresh
	jq -c '.ref_chosen_logps -= 5' sum | step | jq -s '.[0]."rewards/chosen" - 0.5 | fabs < 1e-5' | grep -qx true
	# of some records only
	fresh
	jq -c 'if (.prompt_tokens | length) > 3 then . else del(.ref_chosen_logps, .ref_rejected_logps) end' each | step >got
	near 1e-5 0 <(jq .loss want) <(jq .loss got)
}

@test "rl-dpo-step: a batch of several passes is the mean of its pairs" {
	# some passes of 4096 tokens, which would be cut within a pair
	for i in $(seq 36); do head -n 13 pairs.jsonl; done >many
	[ "$(jq '(.prompt_tokens | length) * 2 + (.chosen | length) + (.rejected | length)' many | paste -sd+ | bc)" -gt 8200 ]
	rl-dpo-step -q --batch-size 1 --lr 0 many | jq -c '[.loss, ."logps/chosen", ."logps/rejected"]' >each
	# wherever the passes are cut
	for n in 468 467 466 465; do
		fresh
		tail -n $n many | rl-dpo-step -q --batch-size 480 --lr 0 | jq '.loss, ."logps/chosen", ."logps/rejected"' >got
		near 1e-9 0 <(tail -n $n each | jq -s 'transpose[] | add / length') got
	done
}

@test "rl-dpo-step: an adapter against its base; the base stays" {
	rl-store lora -q --lora-dropout 0.1 run.lmdb:a
	base=$(weights)
	step -s run.lmdb:a --epochs 4 pairs.jsonl >got
	holds -s '.[0].loss == (2 | log) and .[-1].loss < .[0].loss' got
	[ "$base" = "$(weights)" ]
	[ "$(rl-store show --json run.lmdb | jq -c '[.snapshots[].name]')" = '["a.base"]' ]
	# also for a run that begins on a trained adapter
	cp run.lmdb again.lmdb
	step -s again.lmdb:a --run b pairs.jsonl | jq -s '.[0].loss < 0.6' | grep -qx true
	# dropout is drawn by the step: threads and a restart change nothing
	one=$(weights run.lmdb:a)
	fresh
	rl-store lora -q --lora-dropout 0.1 run.lmdb:a
	step -s run.lmdb:a --epochs 4 -j 3 pairs.jsonl | without_time | cmp <(without_time got) -
	[ "$one" = "$(weights run.lmdb:a)" ]
	fails_with 1 "neither the policy nor an adapter" rl-dpo-step -q -s run.lmdb:a.base pairs.jsonl
}

@test "rl-dpo-step: killed at any point, the same command ends with the same bits and the whole metrics" {
	update="rl-dpo-step -q --batch-size 4 --steps 30 --lr 1e-2"
	for every in 1 7; do
		fresh
		$update --checkpoint-every $every pairs.jsonl | without_time >want
		[ "$(wc -l <want)" -eq 30 ]
		one=$(weights)
		fresh
		for i in 1 2 3 4 5 6; do
			$update --checkpoint-every $every pairs.jsonl >got &
			sleep 0.0$((i * 3 % 7 + 1))
			kill -9 $! 2>/dev/null || true
			wait $! || true
		done
		$update --checkpoint-every $every pairs.jsonl | without_time | cmp want -
		[ "$(weights)" = "$one" ]
	done
}

@test "rl-dpo-step: more steps go on against the same reference; another input begins anew against the policy as it is" {
	step --steps 3 pairs.jsonl >/dev/null
	step --steps 6 pairs.jsonl | without_time >longer
	straight=$(weights)
	fresh
	step --steps 6 pairs.jsonl | without_time | cmp longer -
	[ "$straight" = "$(weights)" ]
	head -n 8 pairs.jsonl | step | jq -s '.[0].loss == (2 | log) and .[1].loss != .[0].loss' | grep -qx true
	[ "$(rl-store show --json run.lmdb | jq -c '[.snapshots[] | [.name, .version]]')" = '[["reference/dpo/",6]]' ]
}

@test "rl-dpo-step: the same bits on any number of threads and any instruction set" {
	step --epochs 2 -j 1 pairs.jsonl | without_time >want
	one=$(weights)
	for how in "-j 3" "--isa plain"; do
		fresh
		# shellcheck disable=SC2086
		step --epochs 2 $how pairs.jsonl | without_time | cmp want -
		[ "$(weights)" = "$one" ]
	done
}

@test "rl-dpo-step: texts are the ids of the tokenizer, an answer ended by EOS" {
	rl-tokenize -q --train --vocab-size 300 <"$testdata/contract/texts.jsonl" >tokenizer.json
	jq '.vocab_size = 300' "$testdata/tiny/config.json" >config.json
	made() { rm -f t.lmdb*; rl-store init -q --config config.json --tokenizer tokenizer.json --seed 1 t.lmdb; }
	ids() { jq -c "{text: $1}" texts | rl-tokenize -q --tokenizer tokenizer.json | jq -c .tokens; }
	jq -c '{prompt: "say: ", chosen: .text[0:20], rejected: .text[20:31]}' "$testdata/contract/texts.jsonl" >texts
	paste -d' ' <(ids .prompt) <(ids .chosen) <(ids .rejected) | jq -sc 'range(0; length; 3) as $i | {prompt_tokens: .[$i], chosen: (.[$i + 1] + [0]), rejected: (.[$i + 2] + [0])}' >as_ids
	made
	step -s t.lmdb texts | without_time >want
	one=$(weights t.lmdb)
	made
	step -s t.lmdb as_ids | without_time | cmp want -
	[ "$(weights t.lmdb)" = "$one" ]
	made
	jq -c '.chosen |= .[:-1] | .rejected |= .[:-1]' as_ids | step -s t.lmdb | without_time >without
	made
	step -s t.lmdb --no-append-eos texts | without_time | cmp without -
	! cmp -s want without || false
}

@test "rl-dpo-step: what cannot be trained on is refused by line and the store stays as it is; -k leaves it out" {
	before=$(sha256sum <run.lmdb)
	refused() { fails_with 1 "$1" rl-dpo-step -q <(printf '%s\n' "$2"); }
	refused ":1: neither 'prompt_tokens' nor 'prompt' is there" '{"chosen":[1],"rejected":[2]}'
	refused ":1: 'rejected' is not there" '{"prompt_tokens":[1],"chosen":[1]}'
	refused "'chosen' has no token" '{"prompt_tokens":[1],"chosen":[],"rejected":[2]}'
	refused "the prompt has no token" '{"prompt_tokens":[],"chosen":[1],"rejected":[2]}'
	refused "'rejected' has id 64 at place 1, but the vocabulary has 64" '{"prompt_tokens":[1],"chosen":[1],"rejected":[64]}'
	refused "65 tokens do not fit the context of 64" "$(jq -nc '{prompt_tokens: [1], rejected: [1], chosen: [range(64) | . % 60]}')"
	refused "'ref_chosen_logps', but no 'ref_rejected_logps'" '{"prompt_tokens":[1],"chosen":[1],"rejected":[2],"ref_chosen_logps":-1}'
	refused "'ref_chosen_logps' has 2 numbers" '{"prompt_tokens":[1],"chosen":[1],"rejected":[2],"ref_chosen_logps":[-1,-2],"ref_rejected_logps":-1}'
	refused "no tokenizer" '{"prompt":"words","chosen":"a","rejected":"b"}'
	fails_with 1 "no record" rl-dpo-step -q /dev/null
	[ "$before" = "$(sha256sum <run.lmdb)" ]
	fails_with 2 "not of ipo" rl-dpo-step -q --loss ipo --label-smoothing 0.1 pairs.jsonl
	{ head -n 3 pairs.jsonl; echo '{"prompt_tokens":[1],"chosen":[1]}'; } >bad
	rc=0
	rl-dpo-step -q -k bad >got || rc=$?
	[ $rc -eq 3 ]
	holds '.rows == 3' got
}

@test "rl-dpo-step: a reference of another vocabulary is refused with both numbers" {
	jq '.vocab_size = 70' "$testdata/tiny/config.json" >config.json
	rl-store init -q --config config.json --seed 1 other.lmdb
	rl-store export -q other.lmdb other
	rl-store import -q other run.lmdb:ref
	fails_with 1 "the reference ref@0 has 70 tokens and a context of 64, but policy has 64 and 64" step pairs.jsonl
}

@test "rl-dpo-step: the example of the page: short answers are preferred, and win" {
	cp "$testdata/tiny/prompts.jsonl" .
	rl-store export -q run.lmdb before
	rl-store import -q before run.lmdb:ref
	sed -n '/^\.Bd -literal/,/^\.Ed/p' "$root/man/rl-dpo-step.1" | sed '/^\./d; s/\\e/\\/g' >example
	RL_QUIET=1 RL_GENERATE_MAX_TOKENS=50 bash -eo pipefail example
	[ "$(wc -l <pairs.jsonl)" -gt 8 ]
	holds -s '(.[0].loss - (2 | log) | fabs) < 1e-5 and .[-1]."rewards/accuracies" == 1' dpo.jsonl
}
