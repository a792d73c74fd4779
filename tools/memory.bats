#!/usr/bin/env bats
# --plan and --memory against each other, and against what the emulated device (kernels/README.md) has; devices that fail.
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	export RL_STORE=run.lmdb
	rl-store init -q --config "$testdata/tiny/config.json" --seed 3 run.lmdb
	# rows that fill the model's context of 64, all but their first token learned: what is planned for
	jq -nc 'range(4) as $i | {prompt_tokens: [3], tokens: [range(63) | (. * 7 + $i) % 61 + 2], reward: ($i % 3)}' >full.jsonl
	jq -c '.logprobs = [.tokens[] | -4.1]' full.jsonl >sampled.jsonl
	jq -nc 'range(2) as $i | {prompt_tokens: [range(57) | (. * 5 + $i) % 61 + 2]}' >prompts.jsonl
	generate="rl-generate --batch-size 4 -n 2 --max-tokens 7"
	sft="rl-sft-step --batch-size 4"
	ppo="rl-ppo-step --batch-size 4 --ppo-epochs 1"
}
emulated() {
	RL_LIBDIR=$(dirname "$(command -v rl-generate)")/../emu
	[ -e "$RL_LIBDIR/rl-kernels-cuda.so" ] || skip "the emulated kernels are not built"
	export RL_LIBDIR
}
without_time() { jq -cS 'with_entries(select(.key | startswith("time/") | not))'; }
needed() { sed -n 's/^rl-[a-z-]*: memory //p'; }

# close_to PERCENT COMMAND FILE: the plan of COMMAND is what it needs for the records of FILE, to so many percent
close_to() {
	local name=${2%% *}
	$2 --plan >plan
	cp run.lmdb kept.lmdb
	$2 -q --memory "$3" 2>&1 >/dev/null | needed >use
	mv kept.lmdb run.lmdb
	holds -s --argjson percent "$1" '.[0].total as $planned | .[1].high_water as $needed
		| $needed > 1e5 and ($planned - $needed | fabs) <= $percent / 100 * $needed' plan use || { echo "$name"; cat plan use; false; }
	holds '.total == .weights + .gradients + .moments + .activations + .cache + .logits + .scratch and .free > .total and .fits' plan
}
@test "--plan says what --memory finds" {
	close_to 5 "$generate" prompts.jsonl
	close_to 5 "$sft" full.jsonl
	close_to 5 "$sft --optim adam8" full.jsonl
	close_to 5 "$ppo" sampled.jsonl
	close_to 5 "$ppo --critic separate" sampled.jsonl
	close_to 5 "$ppo --critic none --advantage reinforce --kl-coef 0 --optim sgd" sampled.jsonl
	close_to 5 "$ppo --kl-estimator exact" sampled.jsonl
}

@test "--plan changes nothing, wants no records and no lock" {
	sum=$(cksum <run.lmdb)
	for tool in "$generate" "rl-logprob" "$sft" "$ppo"; do
		$tool --plan </dev/null >plan 2>err
		[ "$(wc -l <plan)" -eq 1 ]
		[ ! -s err ]
	done
	[ "$(cksum <run.lmdb)" = "$sum" ]
	fails_with 1 "--plan does not know" rl-logprob --choices a,b --plan
}

# The device that has what is planned is large enough, and one with a byte less is not.
enough() { # COMMAND FILE
	$1 --device cuda --plan >plan
	local bytes
	bytes=$(jq '.staging + .total' plan)
	EMU_MEMORY=$bytes $1 --device cuda --plan | holds '.fits and .missing == 0 and .free == .total'
	cp run.lmdb kept.lmdb
	EMU_MEMORY=$bytes $1 -q --device cuda "$2" >/dev/null
	mv kept.lmdb run.lmdb
	local sum
	sum=$(cksum <run.lmdb)
	EMU_MEMORY=$((bytes - 1)) fails_with 1 "$(jq .total plan) bytes are needed, $(($(jq .total plan) - 1)) of $((bytes - 1)) are free, 1 are missing" \
		$1 -q --device cuda "$2"
	EMU_MEMORY=$((bytes - 1000)) fails_with 1 "1000 are missing" $1 --device cuda --plan
	holds '.missing == 1000 and (.fits | not)' out
	[ "$(cksum <run.lmdb)" = "$sum" ]
}
@test "--device cuda: a run begins where its plan fits, and not with a byte less" {
	emulated
	enough "$generate" prompts.jsonl
	enough "$sft" full.jsonl
	enough "$ppo" sampled.jsonl
	rl-logprob --device cuda --plan >plan
	EMU_MEMORY=$(jq '.staging + .total - 1' plan) fails_with 1 "1 are missing" rl-logprob -q --as lp --device cuda full.jsonl
}

@test "--dtype bfloat16: matrices, shadows of those that are trained, caches and activations are planned as they are" {
	emulated
	for tool in "$generate" "$sft" "$ppo"; do
		$tool --device cuda --plan >wide
		$tool --device cuda --dtype bfloat16 --plan >plan
		holds -s '.[0].activations > 1.5 * .[1].activations and .[0].gradients >= .[1].gradients' wide plan
		trained=$(jq '.gradients > 0' plan)
		holds -s --argjson trained "$trained" 'if $trained then .[1].weights > 1.2 * .[0].weights and .[1].weights < 1.51 * .[0].weights
			else .[1].weights < 0.6 * .[0].weights and .[1].cache * 2 == .[0].cache end' wide plan
	done
	close_to 5 "$generate --device cuda --dtype bfloat16" prompts.jsonl
	close_to 5 "$sft --device cuda --dtype bfloat16" full.jsonl
	close_to 5 "$ppo --device cuda --dtype bfloat16" sampled.jsonl
	enough "$sft --dtype bfloat16" full.jsonl
}

@test "--ranks: --plan is that of one rank, and each looks at its device before it begins" {
	emulated
	[ -e "$RL_LIBDIR/libnccl.so.2" ] || skip "the emulated NCCL is not built"
	export LD_LIBRARY_PATH=$RL_LIBDIR${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
	for tool in "$sft" "$ppo"; do
		$tool --device cuda --plan >one
		$tool --device cuda --ranks 2 --plan >plan
		cmp one plan
	done
	sum=$(cksum <run.lmdb)
	# two ranks have room for a share of sums, too: 32 MiB and 64 bytes
	EMU_DEVICES=2 EMU_MEMORY=$(jq '.staging + .total + 33554496 - 1000' plan) fails_with 1 "1000 are missing" $ppo -q --ranks 2 --device cuda sampled.jsonl
	[ "$(cksum <run.lmdb)" = "$sum" ]
}

@test "--device cuda: no driver, an old one, no GPU and an old GPU are one line each" {
	emulated
	for tool in "$generate" rl-logprob "$sft" "$ppo"; do
		EMU_DRIVER=0 fails_with 1 'no NVIDIA driver answers; look at nvidia-smi' $tool -q --device cuda --plan
		EMU_DRIVER=11080 fails_with 1 'the NVIDIA driver is for CUDA 11.8 and this build needs' $tool -q --device cuda --plan
		EMU_DEVICES=0 fails_with 1 'sees no GPU' $tool -q --device cuda --plan
		fails_with 1 'no GPU 3; this machine has 1' $tool -q --device cuda:3 --plan
		EMU_CAPABILITY=7 fails_with 1 'compute capability 7.0; this build needs 8.0' $tool -q --device cuda --plan
	done
}

# each_call STRIDE COMMAND: whichever call of the runtime fails, COMMAND ends with one line, and the store is as it was
each_call() {
	local n sum rc
	sum=$(cksum <run.lmdb)
	for ((n = 1; ; n += $1 + n / 4)); do
		rc=0
		EMU_FAIL=$n within 60 ${*:2} >out 2>err || rc=$?
		[ $rc -ne 0 ] || break
		[ $rc -eq 1 ] && [ "$(wc -l <err)" -eq 1 ] || { echo "call $n: $rc" && cat err && false; }
		# what failed and what to do; memory is said to be missing only where an allocation was refused
		grep -qE ': [^:]+: [^:;]+; (look at nvidia-smi and dmesg, then start again|nvidia-smi says who)|CUDA does not start|does not answer|; the device has [0-9]+ of' err ||
			{ echo "call $n:" && cat err && false; }
		[ "$(cksum <run.lmdb)" = "$sum" ] || { echo "call $n: the store has changed" && false; }
		[ "$n" -lt 200000 ]
	done
	[ "$n" -gt 60 ]
}
@test "--device cuda: whichever call fails, a tool ends with one line and commits nothing" {
	emulated
	head -n 1 full.jsonl | jq -c '.tokens |= .[:5]' >short.jsonl
	jq -c '.logprobs = [.tokens[] | -4.1]' short.jsonl >one.jsonl
	each_call 13 rl-generate -q --device cuda --max-tokens 2 --batch-size 1 prompts.jsonl
	each_call 13 rl-logprob -q --as lp --device cuda short.jsonl
	each_call 17 rl-sft-step -q --device cuda short.jsonl
	rm -f run.lmdb* && rl-store init -q --config "$testdata/tiny/config.json" --seed 3 run.lmdb
	each_call 29 rl-ppo-step -q --device cuda --ppo-epochs 1 --batch-size 1 one.jsonl
}

loop() { # DEVICE
	rm -f run.lmdb* log
	rl-store init -q --config "$testdata/tiny/config.json" --seed 3 run.lmdb
	rl-generate -q --device "$1" --batch-size 2 --max-tokens 5 --epochs 2 prompts.jsonl |
		jq -c --unbuffered '.reward = (.tokens | add % 7)' |
		rl-ppo-step -q --device "$1" --ppo-epochs 1 | without_time
}
@test "--device cuda: sampler and trainer take their memory in turn" {
	emulated
	loop cpu >cpu.out
	EMU_LOG=$PWD/log within 120 bash -c "$(declare -f loop without_time); testdata=$testdata loop cuda" >cuda.out
	cmp cpu.out cuda.out
	# each has what it keeps while it waits (staging; weights, gradients and two moments), and only one of them more
	rl-ppo-step --device cuda --plan >plan
	awk -v staging="$(jq .staging plan)" -v kept="$(jq '.staging + 2 * .moments' plan)" '
		NR == FNR { if ($3 > most[$1]) most[$1] = $3; if (most[$1] > most[trainer]) trainer = $1; next }
		{ now[$1] = $3
		  for (p in now) if (p != trainer) sampler = p
		  both += now[sampler] > staging && now[trainer] > kept
		  alone["sampler"] += now[sampler] > staging
		  alone["trainer"] += now[trainer] > kept }
		END { if (both || alone["sampler"] < 20 || alone["trainer"] < 20) {
			print both, "of", FNR, "together;", alone["sampler"], alone["trainer"]; exit 1 } }' log log
}
