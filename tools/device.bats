#!/usr/bin/env bats
# --device cuda against --device cpu, byte for byte: the sources of kernels/cuda, run by kernels/cuda/emu (kernels/README.md).
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	RL_LIBDIR=$(dirname "$(command -v rl-generate)")/../emu
	[ -e "$RL_LIBDIR/rl-kernels-cuda.so" ] || skip "the emulated kernels are not built"
	export RL_LIBDIR RL_STORE=run.lmdb
	head -n 6 "$testdata/tiny/prompts.jsonl" >prompts.jsonl
	jq -c 'map_values(map(. % 61))' "$testdata/preference/pairs.jsonl" | head -n 8 >pairs.jsonl
	cat >gpt2.json <<-'JSON'
		{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4,
		 "n_positions": 64, "n_inner": 80, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "initializer_range": 0.2, "eos_token_id": 0}
	JSON
	llama=$testdata/tiny/config.json
}
fresh() { # CONFIG
	rm -rf run.lmdb* exported
	rl-store init -q --config "$1" --seed 3 run.lmdb
}
weights() { # SLOT
	rm -rf exported
	rl-store export -q "run.lmdb:$1" exported
	cat exported/*.safetensors
}
without_time() { jq -cS 'with_entries(select(.key | startswith("time/") | not))'; }

# same FUNCTION CONFIG: what FUNCTION prints, which takes a device, is the same for both
same() {
	for device in cpu cuda; do
		fresh "$2"
		"$1" $device >"$device.out"
	done
	[ -s cpu.out ]
	cmp cpu.out cuda.out
}

sample() {
	rl-generate -q --device "$1" -n 2 --max-tokens 7 --temperature .8 prompts.jsonl | tee g |
		rl-logprob -q --device "$1" --entropy
	rl-logprob -q --device "$1" --as lp g | jq -c .lp | cmp - <(jq -c .logprobs g)
}
@test "--device cuda: samples, log-probs and entropies are those of the cpu" {
	same sample "$llama"
	same sample gpt2.json
}

# Batches shrink as completions end; two batches in one process.
decode() {
	rl-generate -q --device "$1" --batch-size 3 --max-tokens 6..18 --ignore-eos prompts.jsonl
}
@test "--device cuda: steps launched as graphs draw the tokens of steps launched call by call" {
	EMU_SEED=7 EMU_DEFER=1 same decode "$llama"
	RL_CUDA_GRAPHS=off decode cuda | cmp - cpu.out
	RL_CUDA_GRAPHS=maybe run decode cuda
	[ "$status" -eq 1 ]
	[[ $output == *"RL_CUDA_GRAPHS is 'maybe', but must be 'on' or 'off'"* ]]
}

rollouts() {
	rl-generate -q --max-tokens 5 --batch-size 6 prompts.jsonl |
		jq -c 'del(.batch, .row, .batch_size, .last, .cursor) | .reward = (.tokens | map(. % 3) | add)' >rollouts.jsonl
}
ppo() {
	rollouts
	rl-ppo-step -q --device "$1" --batch-size 6 --ppo-epochs 2 --lr 1e-3 rollouts.jsonl | without_time
	weights policy
}
@test "--device cuda: a version goes to the device once, for all batches and all groups of records" {
	fresh "$llama"
	rl-generate -q --max-tokens 6 --batch-size 2 prompts.jsonl >cpu
	EMU_LOG=$PWD/log rl-generate -q --device cuda --max-tokens 6 --batch-size 2 prompts.jsonl >cuda
	cmp cpu cuda
	[ "$(wc -l <cpu)" -eq 6 ] # three batches
	[ "$(awk '$2 == 32 * 48 * 4' log | wc -l)" -eq 6 ] # gate, up and down of two layers
}

@test "--device cuda: an update by PPO has the metrics and the weights of the cpu" {
	same ppo "$llama"
	same ppo gpt2.json
}

sft() {
	rl-sft-step -q --device "$1" --batch-size 4 --lr 1e-3 <(jq -c '{prompt_tokens, tokens: .chosen}' pairs.jsonl) | without_time
	weights policy
}
dpo() {
	rl-dpo-step -q --device "$1" --batch-size 4 --lr 1e-3 pairs.jsonl | without_time
	weights policy
}
reward() {
	rl-rm-step -q --device "$1" --batch-size 4 --lr 1e-2 pairs.jsonl | without_time
	jq -c '{prompt_tokens, tokens: .chosen}' pairs.jsonl | rl-reward-model -q --device "$1" -s run.lmdb:reward
}
adapter() {
	rl-store lora -q --lora-target-modules all-linear run.lmdb:a
	rl-dpo-step -q -s run.lmdb:a --device "$1" --batch-size 4 --lr 1e-3 pairs.jsonl | without_time
	weights a
}
@test "--device cuda: supervised steps, preferences, rewards and adapters as on the cpu" {
	for how in sft dpo reward adapter; do same $how "$llama"; done
}

choose() {
	rl-select -q --device "$1" --query .query --probabilities -n 2 pool.jsonl queries.jsonl
}
# each architecture of ../shared/golden: windows, norms of heads, biases, scaled positions, 16-bit weights, tensors in pieces
golden() {
	rl-logprob -q --device "$1" --entropy long.jsonl
	rl-sft-step -q --device "$1" --batch-size 4 --lr 1e-3 --steps 1 long.jsonl | without_time
	weights policy
}
@test "--device cuda: log-probs and a step of the golden models are those of the cpu" {
	shared models golden/models
	jq -c '{prompt_tokens: (.prompt_tokens + .chosen | map(. % 250)), tokens: (.rejected + .prompt_tokens | map(. % 250))}' \
		"$testdata/preference/pairs.jsonl" | head -n 4 >long.jsonl
	fresh() {
		rm -rf run.lmdb* exported
		rl-store import -q "$1" run.lmdb
	}
	for model in "$models"/*/model; do
		same golden "$model"
	done
}

@test "--device cuda: choices by attention are those of the cpu" {
	jq -nc 'range(40) | {text: "key \(.) has the value \(. * 7), key \(. % 5)"}' >texts.jsonl
	rl-tokenize -q --train --vocab-size 280 --special-token '<|end|>' <texts.jsonl >tokenizer.json
	jq '.vocab_size = 280 | .max_position_embeddings = 96' "$llama" >config.json
	jq -c '{id: "k\(input_line_number)", key: .text[0:9], value: .text[9:]}' texts.jsonl | head -n 5 >pool.jsonl
	jq -c '{id: "q\(input_line_number)", query: .text[4:20]}' texts.jsonl | head -n 6 >queries.jsonl
	fresh() {
		rm -f run.lmdb*
		rl-store init -q --config "$1" --tokenizer tokenizer.json --seed 1 run.lmdb
	}
	same choose config.json
}

@test "--device cuda: a device that is too small, or that fails, ends the tool with one line" {
	fresh "$llama"
	EMU_MEMORY=1000000 fails_with 1 'out of memory' rl-generate -q --device cuda --max-tokens 3 prompts.jsonl
	EMU_MEMORY=118000000 fails_with 1 'memory' rl-generate -q --device cuda --max-tokens 3 prompts.jsonl
	EMU_DEVICES=0 fails_with 1 'sees no GPU' rl-generate -q --device cuda --max-tokens 3 prompts.jsonl
	fails_with 1 'no GPU 1; this machine has 1' rl-generate -q --device cuda:1 --max-tokens 3 prompts.jsonl
	for call in 5 20 60 100 150 200 250 300; do
		EMU_FAIL=$call fails_with 1 'rl-generate: ' rl-generate -q --device cuda --max-tokens 3 prompts.jsonl
	done
	grep -q '^rl-generate: cuda: [^:]*: unknown error; look at nvidia-smi and dmesg, then start again$' err # the last: what failed, and whose word it is, once
}
