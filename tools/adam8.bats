#!/usr/bin/env bats
# --optim adam8, moments in 8 bits, in all that trains: what the store has, going on, refusals, the curve beside AdamW's.
# The arithmetic: lib/optim_moment_test, kernels/check.
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	export RL_STORE=run.lmdb
	# matrices of 4096 elements and more; those of k and v, norms and the embedding have fewer, or stay in float32
	jq '.hidden_size = 64 | .intermediate_size = 96' "$testdata/tiny/config.json" >config.json
	jq -c '{prompt_tokens, tokens: .prompt_tokens}' "$testdata/tiny/prompts.jsonl" >sft.jsonl
	jq -c 'map_values(map(. % 61))' "$testdata/preference/pairs.jsonl" >pairs.jsonl
	fresh
}
fresh() { # [STORE]
	rm -f "${1:-run.lmdb}"*
	rl-store init -q --config config.json --seed 1 "${1:-run.lmdb}"
}
weights() { # [STORE[:NAME]]
	rm -rf exported
	rl-store export -q "${1:-run.lmdb}" exported
	cat exported/*.safetensors | sha256sum
}
without_time() { jq -cS 'with_entries(select(.key | startswith("time/") | not))' "$@"; }
moments() { rl-store show --json "${2:-run.lmdb}" | jq -c --arg slot "$1" '.slots[] | select(.name == $slot) | .moments'; } # SLOT [STORE]
sft() { rl-sft-step -q --batch-size 4 --lr 1e-2 --optim adam8 "$@"; }

@test "adam8: the store has a byte an element and a float32 per 256 of the matrices, and says so" {
	[ "$(moments policy)" = null ]
	sft --steps 3 sft.jsonl >metrics
	# of two layers q, o [64,64] and gate, up, down [96,64]; 64 x 64 of the embedding, two k and v [32,64], five norms
	packed=$((2 * (2 * 64 * 64 + 3 * 96 * 64))) rest=$((64 * 64 + 4 * 32 * 64 + 5 * 64))
	[ "$(moments policy)" = "{\"optim\":\"adam8\",\"F32\":$((8 * (packed / 256 + rest))),\"U8\":$((2 * packed))}" ]
	rl-store show run.lmdb | grep -q ", exported as F32, moments of adam8 in $((8 * (packed / 256 + rest))) bytes of F32 and $((2 * packed)) of U8; files: "
	[ "$(rl-store show --json run.lmdb | jq '.slots[0].parameters')" = $((packed + rest)) ]
	rl-store verify run.lmdb
	fresh
	sft --optim adamw --steps 3 sft.jsonl >metrics
	[ "$(moments policy)" = "{\"optim\":\"adamw\",\"F32\":$((8 * (packed + rest))),\"U8\":0}" ]
}

@test "adam8: goes on after stops and kills, in a copy, on any threads and instruction set, with the same bits" {
	sft --steps 40 --checkpoint-every 3 sft.jsonl >whole.jsonl
	whole=$(weights) of_store=$(moments policy)
	fresh
	for ms in 20 40 60 80 100 120; do
		timeout --foreground -s KILL "0.$(printf %03d $ms)" rl-sft-step -q --batch-size 4 --lr 1e-2 --optim adam8 --steps 40 --checkpoint-every 3 sft.jsonl >/dev/null || true
	done
	sft --steps 40 --checkpoint-every 3 -j 1 --isa plain sft.jsonl >part.jsonl
	[ "$(weights)" = "$whole" ]
	[ "$(moments policy)" = "$of_store" ]
	diff <(without_time whole.jsonl) <(without_time part.jsonl)
	rl-store verify run.lmdb
	# it is the moments that go on: 20 and 40 updates from a copy are the 40
	fresh
	sft --steps 20 sft.jsonl >/dev/null
	rl-store copy -q run.lmdb copy.lmdb
	[ "$(moments policy copy.lmdb)" = "$of_store" ]
	sft -s copy.lmdb --steps 40 sft.jsonl >/dev/null
	[ "$(weights copy.lmdb)" = "$whole" ]
	sft --optim adamw --run other --steps 20 sft.jsonl >/dev/null
	[ "$(weights)" != "$whole" ]
}

@test "adam8: a run that was begun with it, or without it, goes on with nothing else" {
	sft --steps 3 --epochs 1 sft.jsonl >/dev/null
	jq -c '{batch: ((input_line_number - 1) / 2 | floor), row: ((input_line_number - 1) % 2), batch_size: 2, last: (input_line_number > 6)} + .' <(
		head -n 8 "$testdata/tiny/prompts.jsonl" | rl-generate -q --lag none --max-tokens 5 --batch-size 8 |
			jq -c 'del(.batch, .row, .batch_size, .last, .cursor) | .reward = (.tokens | map(. % 3) | add)') >batches.jsonl
	for pair in "adam8 adamw" "adamw adam8" "sgd adam8"; do
		set -- $pair
		fresh
		run -1 rl-ppo-step -q --optim "$1" <(head -n 4 batches.jsonl)
		before=$(sha256sum <run.lmdb)
		fails_with 1 "run '' was begun with --optim $1, but now it is $2" rl-ppo-step -q --optim "$2" batches.jsonl
		[ "$before" = "$(sha256sum <run.lmdb)" ]
		rl-ppo-step -q --optim "$1" batches.jsonl >/dev/null
		rl-ppo-step -q --optim "$2" --run second batches.jsonl >/dev/null
	done
	fresh
	rl-sft-step -q --batch-size 4 --lr 1e-2 --optim adam8 --steps 100000 sft.jsonl >metrics.jsonl 3>&- &
	pid=$!
	for _ in $(seq 100); do
		[ ! -s metrics.jsonl ] || break
		sleep 0.1
	done
	kill -9 $pid
	wait $pid || true
	fails_with 1 "optim=adam8" rl-sft-step -q --batch-size 4 --lr 1e-2 --steps 100000 sft.jsonl
}

@test "adam8: PPO with a critic of its own, from a checkpoint too" {
	export RL_OPTIM=adam8 RL_LR=1e-3 RL_CRITIC=separate RL_BATCH_SIZE=8 RL_MAX_TOKENS=6
	head -n 24 "$testdata/tiny/prompts.jsonl" >prompts.jsonl
	loop="rl-generate -q prompts.jsonl | rl-ppo-step -q --reward '.tokens | map(. % 3) | add' --snapshot-every 1"
	within 60 bash -o pipefail -c "$loop" >whole.jsonl
	whole=$(weights) critic=$(weights run.lmdb:value)
	for slot in policy value; do
		holds -n "$(moments $slot) | .optim == \"adam8\" and .U8 == 106496"
	done
	rl-store verify run.lmdb
	rl-store copy -q run.lmdb:000001 two.lmdb
	RL_STORE=two.lmdb within 60 bash -o pipefail -c "$loop" >part.jsonl
	[ "$(weights two.lmdb)" = "$whole" ]
	[ "$(weights two.lmdb:value)" = "$critic" ]
	diff <(without_time whole.jsonl) <(without_time part.jsonl)
}

@test "adam8: rl-dpo-step, rl-rm-step and an adapter learn with it" {
	rl-dpo-step -q --optim adam8 --lr 1e-2 --batch-size 4 --epochs 5 pairs.jsonl >metrics
	holds -s '.[-1].loss < .[0].loss / 2' metrics
	fresh
	rl-rm-step -q --optim adam8 --lr 1e-2 --batch-size 4 --epochs 5 pairs.jsonl >metrics
	holds -s '.[-1].loss < .[0].loss / 2' metrics
	holds -n "$(moments reward) | .U8 == 106496"
	fresh
	# A and B of rank 64 of q and v, in two layers; of v [32,64] B has 2048 elements
	rl-store lora -q --lora-r 64 run.lmdb:a
	sft -s run.lmdb:a --epochs 10 sft.jsonl >metrics
	holds -s '.[-1].loss < .[0].loss' metrics
	holds -n "$(moments a) | .optim == \"adam8\" and .U8 == $((2 * 2 * 3 * 64 * 64))"
}

@test "adam8: the curve is close to AdamW's" {
	for optim in adamw adam8 sgd; do
		fresh
		sft --optim $optim --lr 3e-3 --epochs 15 sft.jsonl | jq .loss >$optim
	done
	# what is left between the two, of what was learned
	paste -d' ' adamw adam8 sgd >both
	awk 'NR == 1 { first = $1 } { d = ($1 - $2) / first; s += d * d; last = d } END {
		print sqrt(s / NR), last; exit !(sqrt(s / NR) < 0.002 && last < 0.001 && last > -0.001) }' both
	awk 'NR == 1 { first = $1 } END { print; exit !($1 < first / 2) }' both
	# it is not AdamW itself
	! cmp -s adamw adam8 || false
}

# Another python3 is named by PYTHON.
@test "adam8: testdata/adam8 is what bitsandbytes makes" {
	python=${PYTHON:-python3}
	"$python" -c 'import torch, bitsandbytes' 2>/dev/null || skip "python's bitsandbytes is not here"
	"$python" "$testdata/adam8/by_bitsandbytes.py" 2>/dev/null >made
	[ "$(cut -d' ' -f1 made)" = "$(cut -d' ' -f1 "$testdata/adam8/steps.txt")" ]
	paste -d'\n' made "$testdata/adam8/steps.txt" | awk '
		NR % 2 { n = split($0, x); next }
		{ if (split($0, y) != n) exit 1
		  for (i = 2; i <= n; i++) { d = x[i] - y[i]; if (d < 0) d = -d; s = y[i] < 0 ? -y[i] : y[i]; if (d > 1e-6 * s) { print $1, i, x[i], y[i]; bad = 1 } } }
		END { exit bad || NR != 44 }'
}
