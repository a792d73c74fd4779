#!/usr/bin/env bats
# --dtype bfloat16, on the emulated kernels: near what float32 gives, and with --batch-invariant sampler and trainer to the bit.
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	RL_LIBDIR=$(dirname "$(command -v rl-generate)")/../emu
	[ -e "$RL_LIBDIR/rl-kernels-cuda.so" ] || skip "the emulated kernels are not built"
	export RL_LIBDIR RL_STORE=run.lmdb
	head -n 6 "$testdata/tiny/prompts.jsonl" >prompts.jsonl
	jq -c 'map_values(map(. % 61))' "$testdata/preference/pairs.jsonl" | head -n 8 >pairs.jsonl
	jq -c '{prompt_tokens, tokens: .chosen}' pairs.jsonl >sft.jsonl
	bf16=(--device cuda --dtype bfloat16) invariant=(--device cuda --dtype bfloat16 --batch-invariant)
	fresh
}
fresh() {
	rm -rf run.lmdb*
	rl-store init -q --config "$testdata/tiny/config.json" --seed 3 run.lmdb
}
without_time() { jq -cS 'with_entries(select(.key | startswith("time/") | not))'; }
rollouts() { jq -c 'del(.batch, .row, .batch_size, .last, .cursor) | .reward = (.tokens | map(. % 3) | add)'; }

# near A B FIELD SHARE: each number of FIELD in A is within SHARE of that in B
near() {
	paste -d' ' <(jq -c "$3" "$1") <(jq -c "$3" "$2") | jq -se --argjson share "$4" \
		'[., length] | .[1] as $n | [.[0] | _nwise(2)] | $n > 0 and all((.[0] - .[1] | fabs) <= $share * (.[1] | fabs))'
}

@test "--dtype bfloat16 is for cuda, and --batch-invariant for bfloat16" {
	fails_with 1 "--dtype bfloat16 is for --device cuda, but the device is 'cpu'" rl-generate -q --dtype bfloat16 prompts.jsonl
	fails_with 1 "but the device is 'ref'" rl-generate -q --device ref --dtype bfloat16 prompts.jsonl
	fails_with 1 '--batch-invariant is for --dtype bfloat16' rl-generate -q --device cuda --batch-invariant prompts.jsonl
}

@test "--dtype bfloat16: log-probs are near those of float32" {
	rl-generate -q -n 2 --max-tokens 7 prompts.jsonl >g
	for how in bf16 invariant; do
		local -n options=$how
		rl-logprob -q "${options[@]}" --as lp g >lp
		near <(jq -c '{x: .lp[]}' lp) <(jq -c '{x: .logprobs[]}' lp) .x .03
		! cmp -s <(jq -c .lp lp) <(jq -c .logprobs lp) || false
	done
}

@test "--batch-invariant: what the sampler says of its tokens the trainer says to the bit, in any batch" {
	rl-generate -q "${invariant[@]}" -n 2 --max-tokens 9 prompts.jsonl >g
	for some in 1 5 12; do
		head -n $some g | rl-logprob -q "${invariant[@]}" --as lp >lp
		jq -se 'length > 0 and all(.lp == .logprobs)' lp
	done
	tail -n 2 g | rl-logprob -q "${invariant[@]}" --as lp | jq -se 'length == 2 and all(.lp == .logprobs)'
	rl-generate -q "${invariant[@]}" --max-tokens 5 --batch-size 6 prompts.jsonl | rollouts >rollouts.jsonl
	rl-ppo-step -q "${invariant[@]}" --batch-size 6 --ppo-epochs 1 rollouts.jsonl >metrics
	jq -se 'length == 1 and all(."val/ratio" == 1 and ."val/ratio_var" == 0 and ."policy/approxkl_avg" == 0)' metrics
}

# steps FIELD COMMAND...: the metrics of float32 and of bf16 are near, those of bf16 are the same when it runs again
steps() {
	local field=$1
	shift
	fresh; "$@" >float32
	for how in bf16 invariant; do
		local -n options=$how
		fresh; "$@" "${options[@]}" | without_time >once
		fresh; "$@" "${options[@]}" | without_time >again
		cmp once again
		near once float32 "$field" .02
	done
}
@test "--dtype bfloat16: updates have the losses and gradients of float32, and repeat" {
	rl-generate -q --max-tokens 5 --batch-size 6 prompts.jsonl | rollouts >rollouts.jsonl
	steps '.grad_norm, ."loss/value_avg"' rl-ppo-step -q --batch-size 6 --ppo-epochs 2 --lr 1e-3 rollouts.jsonl
	steps '.grad_norm' rl-ppo-step -q --batch-size 6 --ppo-epochs 2 --lr 1e-3 --kl-estimator exact --kl-in loss --kl-coef .2 rollouts.jsonl
	steps '.loss, .grad_norm' rl-sft-step -q --batch-size 4 --lr 1e-3 sft.jsonl
	steps '.loss' rl-dpo-step -q --batch-size 4 --lr 1e-3 pairs.jsonl
	steps '.loss' rl-rm-step -q --batch-size 4 --lr 1e-2 pairs.jsonl
	fresh() {
		rm -rf run.lmdb*
		rl-store init -q --config "$testdata/tiny/config.json" --seed 3 run.lmdb
		rl-store lora -q --lora-target-modules all-linear run.lmdb:a
	}
	steps '.loss' rl-dpo-step -q -s run.lmdb:a --batch-size 4 --lr 1e-3 pairs.jsonl
}

@test "--dtype bfloat16: versions between checkpoints are bf16 and read by all, checkpoints float32" {
	update=(rl-ppo-step -q "${invariant[@]}" --batch-size 6 --ppo-epochs 1 --lr 1e-3)
	rl-generate -q "${invariant[@]}" --epochs 3 --max-tokens 5 --batch-size 6 prompts.jsonl |
		jq -c '.reward = (.tokens | map(. % 3) | add)' >rollouts.jsonl
	head -n 6 rollouts.jsonl | jq -c '.last = true' | "${update[@]}" >metrics
	checkpoint=$(rl-generate -q "${invariant[@]}" -s run.lmdb --max-tokens 9 prompts.jsonl | jq -c .logprobs)
	rl-store export -q run.lmdb:policy@1 exported
	# stopped after the first update of three: version 1 is there for samplers alone
	fresh
	fails_with 1 "before the batch marked 'last'" "${update[@]}" --checkpoint-every 3 <(head -n 6 rollouts.jsonl)
	fails_with 1 "of policy@1 is not the float32 that config.json describes" rl-store export -q run.lmdb:policy@1 exported2
	[ "$(rl-generate -q "${invariant[@]}" -s run.lmdb:policy@1 --max-tokens 9 prompts.jsonl | jq -c .logprobs)" = "$checkpoint" ]
	rl-generate -q -s run.lmdb:policy@1 --max-tokens 9 prompts.jsonl | jq -se 'length == 6 and all(.policy_version == 1)'
}
