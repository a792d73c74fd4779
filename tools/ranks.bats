#!/usr/bin/env bats
# rl-ppo-step and rl-sft-step with --ranks: what is the same as with one process, and how several end together.
# The golden runs with two ranks are in their own files; lib/trainer_ranks_test.c derives how near gradients are.
load common
load golden

setup() {
	cd "$BATS_TEST_TMPDIR"
	export RL_STORE=run.lmdb
	records=$testdata/contract/rollouts.jsonl
	fresh
}
fresh() {
	rm -rf run.lmdb* rollouts
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 run.lmdb
}
# Rollouts of the fresh store, ten rows of them.
rollouts() {
	[ -e rollouts.jsonl ] || head -n 10 "$testdata/tiny/prompts.jsonl" | rl-generate -q --max-tokens 7 --batch-size 10 |
		jq -c 'del(.batch, .row, .batch_size, .last, .cursor) | .reward = (.tokens | map(. % 3) | add)' >rollouts.jsonl
}
weights() { # [STORE[:SLOT]]: a name for the bits
	rm -rf exported
	rl-store export -q "${1:-$RL_STORE}" exported && cat exported/*.safetensors | sha256sum
}
without_time() { jq -cS 'with_entries(select(.key | startswith("time/") | not))' "$@"; }
without_norms() { without_time "$@" | jq -c 'with_entries(select(.key | startswith("grad_norm") | not))'; }
children() { pgrep -P "$1" || true; }
# Waits until COMMAND succeeds; a test that waits longer than ten seconds hangs.
until_true() {
	local i
	for i in $(seq 200); do
		! "$@" || return 0
		sleep 0.05
	done
	echo "never: $*"
	return 1
}
has_children() { # PID N
	[ "$(children "$1" | wc -l)" -eq "$2" ]
}
has_lines() { # FILE N
	[ "$(wc -l <"$1")" -ge "$2" ]
}
all_gone() { # PID...
	! kill -0 "$@" 2>/dev/null || false
}

# Each way of rl-ppo-step that goes through rows, as options; the store gets what it needs by `prepare`.
ways=(
	"--ppo-epochs 1"
	"--ppo-epochs 1 --critic separate --max-grad-norm 0"
	"--ppo-epochs 1 --kl-estimator exact --kl-in loss --entropy-coef .01 --top-entropy .7"
	"--loss grpo --advantage reinforce --baseline batch --kl-coef .1 --proximal always"
	"--ppo-epochs 1 --compat trl --target-kl 1"
)

@test "ranks: the first update says what one process says, bit for bit, but for the norms of its gradient" {
	rollouts
	for way in "${ways[@]}"; do
		# shellcheck disable=SC2086
		rl-ppo-step -q --batch-size 10 --lr 1e-3 $way --rollouts rollouts rollouts.jsonl >one
		zstd -dc rollouts/000000.jsonl.zst >one.rows
		for n in 2 3; do
			fresh
			# shellcheck disable=SC2086
			rl-ppo-step -q --batch-size 10 --lr 1e-3 --ranks $n $way --rollouts rollouts rollouts.jsonl >several
			cmp <(without_norms one) <(without_norms several)
			zstd -dc rollouts/000000.jsonl.zst | cmp one.rows -
			near 0 1e-5 <(jq '.grad_norm' one) <(jq '.grad_norm' several)
		done
		fresh
	done
	rl-sft-step -q --batch-size 6 "$records" >one
	for n in 2 3; do
		fresh
		rl-sft-step -q --batch-size 6 --ranks $n "$records" >several
		cmp <(without_norms one) <(without_norms several)
		near 0 1e-5 <(jq '.grad_norm' one) <(jq '.grad_norm' several)
	done
}

@test "ranks: dropout of an adapter draws by the token's place in the batch, whoever has it" {
	# a first update, since a new adapter is nothing that could drop out
	rl-store lora -q --lora-target-modules all-linear --lora-dropout 0.3 run.lmdb:a
	rl-sft-step -q -s run.lmdb:a --batch-size 6 --lr 1e-2 "$records" >/dev/null
	cp run.lmdb begun
	export RL_RUN=second
	rl-sft-step -q -s run.lmdb:a --batch-size 6 --lr 1e-2 "$records" >one
	one=$(weights run.lmdb:a)
	for n in 2 3; do
		rm run.lmdb*
		cp begun run.lmdb
		rl-sft-step -q -s run.lmdb:a --batch-size 6 --lr 1e-2 --ranks $n "$records" >several
		cmp <(without_norms one) <(without_norms several)
		[ "$(weights run.lmdb:a)" != "$one" ]
	done
}

@test "ranks: an adapter in the loop, with versions between commits and an evaluation" {
	jq -c '.id = "e" + .id | .prompt_tokens |= reverse' "$testdata/tiny/prompts.jsonl" | sed 3q >held.jsonl
	loop() { # RANKS
		rl-generate -q --max-tokens 6 --batch-size 8 --lag 1 --epochs 2 --eval held.jsonl --eval-every 2 <"$testdata/tiny/prompts.jsonl" |
			rl-reward-jq -q low '[.tokens[] | if . < 32 then 1 else 0 end] | add / length' |
			rl-ppo-step -q --lr 1e-2 --ppo-epochs 1 --max-lag 1 --snapshot-every 2 --ranks "$1" "${@:2}"
	}
	begin() {
		fresh
		rl-store lora -q --lora-target-modules all-linear run.lmdb:a
	}
	export RL_STORE=run.lmdb:a
	for more in "--best eval/reward" "--checkpoint-every 3"; do
		begin
		# shellcheck disable=SC2086
		loop 1 $more | without_norms >one
		begin
		# shellcheck disable=SC2086
		loop 2 $more | without_time >two
		weights=$(weights)
		cmp <(head -n 1 one) <(head -n 1 two | without_norms)
		[ "$(wc -l <two)" -eq "$(wc -l <one)" ]
		begin
		# shellcheck disable=SC2086
		loop 2 $more -j 3 | without_time | cmp two -
		[ "$(weights)" = "$weights" ]
		rl-store verify -q run.lmdb
	done
}

@test "ranks: the weights after several updates are near those of one process" {
	rollouts
	rm -rf before one
	rl-store export -q run.lmdb before
	rl-ppo-step -q --batch-size 5 --mini-batches 2 --optim sgd --lr .1 rollouts.jsonl >/dev/null
	rl-store export -q run.lmdb one
	for n in 2 3 8; do
		fresh
		rl-ppo-step -q --batch-size 5 --mini-batches 2 --optim sgd --lr .1 --ranks $n rollouts.jsonl >/dev/null
		rm -rf several
		rl-store export -q run.lmdb several
		worst=$(worst_change before/model.safetensors one/model.safetensors several/model.safetensors)
		awk -v x="${worst%% *}" 'BEGIN { exit !(x <= 1e-9) }' || { echo "$n ranks: nmse of the change: $worst"; false; }
	done
}

@test "ranks: the same bits on any number of threads and any instruction set" {
	rollouts
	ppo="rl-ppo-step -q --batch-size 5 --lr 1e-3 --ppo-epochs 2 --mini-batches 2 --critic separate --ranks 2"
	$ppo rollouts.jsonl | without_time >want
	policy=$(weights) value=$(weights run.lmdb:value)
	for how in "-j 1" "-j 2" "-j 5" "--isa plain"; do
		fresh
		# shellcheck disable=SC2086
		$ppo $how rollouts.jsonl | without_time | cmp want -
		[ "$(weights)" = "$policy" ] && [ "$(weights run.lmdb:value)" = "$value" ]
	done
	fresh
	rl-sft-step -q --batch-size 4 --steps 5 --lr 1e-2 --ranks 3 "$records" | without_time >want
	policy=$(weights)
	fresh
	rl-sft-step -q --batch-size 4 --steps 5 --lr 1e-2 --ranks 3 -j 7 "$records" | without_time | cmp want -
	[ "$(weights)" = "$policy" ]
}

@test "ranks: a stage in or out of the pipe changes no bit; standard input, files and zstd are one" {
	rollouts
	# a first update, so that there is a critic and a policy that is not the reference
	rl-ppo-step -q --lr 1e-3 --ranks 2 rollouts.jsonl >first
	cp run.lmdb begun
	again() { rm -f run.lmdb* && cp begun run.lmdb; }
	export RL_RUN=second
	update="rl-ppo-step -q --batch-size 5 --lr 1e-3 --ppo-epochs 2 --ranks 2"
	$update rollouts.jsonl | without_time >want
	one=$(weights)
	# stages read the store as it is before the run, so that they can be for one batch only
	again
	rl-ppo-step -q --lr 1e-3 --ranks 2 rollouts.jsonl | without_time >whole
	whole=$(weights)
	again
	rl-logprob -q rollouts.jsonl | rl-logprob -q --values --as p | rl-gae -q | rl-ppo-step -q --lr 1e-3 --ranks 2 | without_time | cmp whole -
	[ "$(weights)" = "$whole" ]
	again
	head -n 3 rollouts.jsonl | zstd -q >a.zst
	{ echo; tail -n +4 rollouts.jsonl | sed 's/^/ /'; } >b
	$update a.zst b | without_time | cmp want -
	[ "$(weights)" = "$one" ]
}

@test "ranks: killed at any point, the same command ends with the same bits and the whole metrics" {
	rollouts
	ppo="rl-ppo-step -q --batch-size 2 --lr 1e-3 --ppo-epochs 2 --ranks 2 --checkpoint-every 2 rollouts.jsonl"
	sft="rl-sft-step -q --batch-size 4 --steps 40 --lr 1e-2 --checkpoint-every 7 --ranks 2 $records"
	for update in "$ppo" "$sft"; do
		fresh
		$update | without_time >want
		one=$(weights)
		fresh
		for i in 1 2 3 4 5 6; do
			$update >got 2>said &
			sleep 0.0$((i * 3 % 7 + 1))
			victim=$!
			[ $((i % 2)) -eq 0 ] || victim=$(children $! | head -n 1)
			kill -9 "$victim" 2>/dev/null || true
			wait $! || true
		done
		$update | without_time | cmp want -
		[ "$(weights)" = "$one" ]
	done
}

@test "ranks: one that is killed ends all of them, in one line that names it; the store is as it was" {
	rollouts
	mkfifo input
	before=$(weights)
	# waiting for input; then after batches of it were trained: what is committed stays
	for n in 2 3; do
		fresh
		rl-ppo-step -q --batch-size 3 --lr 1e-3 --ranks $n <input >out 2>err &
		pid=$!
		exec 9>input
		until_true has_children $pid $((n - 1))
		others=$(children $pid)
		[ $n -eq 2 ] || { cat rollouts.jsonl >&9 && until_true has_lines out 2; }
		kill -9 "$(tail -n 1 <<<"$others")"
		rc=0
		wait $pid || rc=$?
		exec 9>&-
		[ $rc -eq 1 ]
		# shellcheck disable=SC2086
		until_true all_gone $others
		[ "$(cat err)" = "rl-ppo-step: rank $((n - 1)) was killed by signal 9 (Killed)" ]
		[ $n -eq 3 ] || [ "$(weights)" = "$before" ]
		rl-store verify -q run.lmdb
	done
	# in the middle of its work
	fresh
	rl-sft-step -q --batch-size 6 --steps 100000 --lr 1e-3 --ranks 3 --checkpoint-every 100000 "$records" >out 2>err &
	pid=$!
	until_true test -s out
	others=$(children $pid)
	kill -9 "$(head -n 1 <<<"$others")"
	rc=0
	wait $pid || rc=$?
	[ $rc -eq 1 ] && [ "$(wc -l <err)" -eq 1 ] && grep -q 'rank 1 was killed by signal 9' err
	# shellcheck disable=SC2086
	until_true all_gone $others
	[ "$(weights)" = "$before" ]
}

@test "ranks: when rank 0 ends, by whatever signal, nobody is left" {
	mkfifo input
	for signal in KILL TERM INT; do
		fresh
		# in a session of its own, and with signals as a terminal has them: a shell's background ignores INT
		setsid env --default-signal=INT rl-ppo-step -q --ranks 3 <input >out 2>err &
		exec 9>input
		until_true pgrep -s $! -x rl-ppo-step >/dev/null || { cat err; false; }
		pid=$(pgrep -s $! -x rl-ppo-step | sort -n | head -n 1)
		until_true has_children "$pid" 2
		others=$(children "$pid")
		# a terminal sends INT to all of them
		[ $signal != INT ] || pid=-$pid
		kill -$signal -- "$pid"
		rc=0
		wait $! || rc=$?
		exec 9>&-
		[ $rc -ne 0 ] && [ ! -s err ]
		# shellcheck disable=SC2086
		until_true all_gone $others
	done
	# in the middle of its work, where the others wait for it and for no input
	fresh
	rl-sft-step -q --batch-size 6 --steps 100000 --lr 1e-3 --ranks 3 --checkpoint-every 100000 "$records" >out &
	pid=$!
	until_true test -s out
	others=$(children $pid)
	kill -9 $pid
	wait $pid || true
	# shellcheck disable=SC2086
	until_true all_gone $others
}

@test "ranks: an error that all of them meet is the line of one process" {
	rollouts
	sed '3s/"logprobs":\[[^,]*,/"logprobs":[1e39,/' rollouts.jsonl >bad
	for n in 1 3; do
		before=$(weights)
		fails_with 1 "bad:3: 'logprobs'" rl-ppo-step -q --batch-size 5 --ranks $n bad
		fails_with 1 'no records came in' rl-ppo-step -q --ranks $n /dev/null
		fails_with 1 "there is no store 'none.lmdb'" rl-ppo-step -q -s none.lmdb --ranks $n rollouts.jsonl
		fails_with 1 'the store is as it was' rl-ppo-step -q --ranks $n --lr 1000 --max-grad-norm 0 --ppo-epochs 9 <(jq -c '.reward = 1e300' rollouts.jsonl)
		[ "$(weights)" = "$before" ]
	done
	# -k: counted once, exit 3
	{ head -n 2 "$records"; echo '{"prompt": 3}'; } >some
	rc=0
	rl-sft-step -k --ranks 2 some >out 2>err || rc=$?
	[ $rc -eq 3 ]
	[ "$(grep -c 'some:3' err)" -eq 1 ]
	grep -q '3 records in, 1 out, 1 errors' err
}

@test "ranks: a batch that is passed over" {
	rollouts
	sed '3s/"logprobs":\[[^,]*,/"logprobs":[1e39,/' rollouts.jsonl >bad
	update="rl-ppo-step -q --batch-size 2 --lr 1e-3 --ranks 2 --skip-bad-batches 1 bad"
	$update >out
	[ "$(jq -c .bad_batches out | paste -sd' ')" = "0 1 1 1 1" ]
	one=$(weights)
	fresh
	rl-ppo-step -q --batch-size 2 --lr 1e-3 --ranks 2 <(sed -n '1,2p;5,$p' rollouts.jsonl) >/dev/null
	# the same rows in other versions: the weights are those, the versions are not
	[ "$(weights)" = "$one" ]
}

@test "ranks: another number of them is another run" {
	rollouts
	jq -nc '[inputs] | .[:9] | to_entries[] | .key as $i | .value + {batch: ($i / 3 | floor), row: ($i % 3), batch_size: 3} + (if $i == 8 then {last: true} else {} end)' rollouts.jsonl >placed
	cut() { # RANKS: a run that has trained two batches of three
		fresh
		fails_with 1 'the input ended after batch 1' rl-ppo-step -q --ranks "$1" <(head -n 6 placed)
		before=$(weights)
		cp "$BATS_TEST_TMPDIR/out" first
		[ "$(wc -l <first)" -eq 2 ]
	}
	cut 2
	for n in 1 3; do
		fails_with 1 "run '' was begun with --ranks 2, but now it is $n" rl-ppo-step -q --ranks $n placed
		[ "$(weights)" = "$before" ]
	done
	rl-ppo-step -q --ranks 2 placed >all
	cmp first <(head -n 2 all)
	[ "$(wc -l <all)" -eq 3 ]
	# complete, it only says what it said
	rl-ppo-step -q --ranks 3 placed | cmp all -
	# a run of one process, as stores of before have it, says nothing
	cut 1
	fails_with 1 "run '' was begun with --ranks 1, but now it is 2" rl-ppo-step -q --ranks 2 placed
	rl-store show --json run.lmdb >shown
	! grep -q ranks shown || false
	# supervised: killed in the middle
	for how in "2 1" "1 2"; do
		fresh
		rl-sft-step -q --steps 100000 --batch-size 4 --ranks "${how% *}" "$records" >out &
		until_true test -s out
		kill -9 $!
		wait $! || true
		fails_with 1 'this run was begun with' rl-sft-step -q --steps 100000 --batch-size 4 --ranks "${how#* }" "$records"
		grep -q 'ranks=2' "$BATS_TEST_TMPDIR/err"
	done
}

@test "ranks: options that do not fit are one line" {
	for device in cuda:0 cuda:0,1,2 cuda:3,3,3,3; do
		n=$(tr -cd , <<<"$device" | wc -c)
		fails_with 1 "--device $device names $((n + 1)) GPUs, but --ranks is 2" rl-sft-step -q --ranks 2 --device $device "$records"
	done
	fails_with 1 "--device cuda:0,1 names 2 GPUs, but --ranks is 1" rl-ppo-step -q --device cuda:0,1 "$records"
	fails_with 1 "--device 'cuda:0,x'" rl-ppo-step -q --ranks 2 --device cuda:0,x "$records"
	fails_with 2 "--ranks" rl-ppo-step -q --ranks 0 "$records"
	fails_with 2 "--ranks" rl-sft-step -q --ranks 65 "$records"
}

@test "ranks: in the loop, with a sampler that waits for each version" {
	loop() { # RANKS
		rl-generate -q --max-tokens 6 --batch-size 8 <"$testdata/tiny/prompts.jsonl" |
			rl-reward-jq -q low '[.tokens[] | if . < 32 then 1 else 0 end] | add / length' |
			rl-ppo-step -q --lr 1e-3 --ppo-epochs 2 --ranks "$1"
	}
	loop 2 | without_time >want
	one=$(weights)
	[ "$(wc -l <want)" -gt 1 ]
	fresh
	loop 2 | without_time | cmp want -
	[ "$(weights)" = "$one" ]
	# once more: it is complete, and all of them see it
	loop 2 | without_time | cmp want -
}

# On the emulated device (kernels/README.md), with the emulated NCCL, which moves bytes between processes in a stream's order.
emulated() {
	RL_LIBDIR=$(dirname "$(command -v rl-generate)")/../emu
	[ -e "$RL_LIBDIR/libnccl.so.2" ] || skip "the emulated kernels are not built"
	export RL_LIBDIR EMU_DEVICES=3 LD_LIBRARY_PATH=$RL_LIBDIR${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}

@test "ranks: gradients that go from device to device have the bits of those that go through the host" {
	emulated
	rollouts
	update() { # OPTION...
		rl-ppo-step --batch-size 5 --lr 1e-3 --critic separate "$@" rollouts.jsonl 2>said | without_time
		# nothing but the counts and the start
		! grep -v 'records in\|the reward is' said || false
		weights
		weights run.lmdb:value
	}
	for n in 2 3; do
		fresh
		update --ranks $n >want
		for how in "EMU_DEFER=0" "EMU_DEFER=1"; do
			fresh
			(export "${how?}" && update --ranks $n --device cuda) | cmp want -
		done
	done
	fresh
	update --ranks 2 --device cuda:2,0 >got
	fresh
	update --ranks 2 | cmp - got
}

@test "ranks: where NCCL is not, or refuses, gradients go through the host, and one line says so" {
	emulated
	records() { rl-sft-step -q --steps 3 --batch-size 4 --lr 1e-2 --ranks 2 "$@" "$records" 2>said | without_time && weights; }
	records >want
	fresh
	records --device cuda:1,1 | cmp want -
	[ "$(cat said)" = "rl-sft-step: ranks share a GPU, which NCCL does not do: gradients are summed through the host" ]
	mkdir none
	: >none/libnccl.so.2
	fresh
	LD_LIBRARY_PATH=$PWD/none records --device cuda | cmp want -
	[ "$(wc -l <said)" -eq 1 ]
	grep -q 'rl-sft-step: no NCCL: .*libnccl.so.2.*: gradients are summed through the host' said
	fresh
	export EMU_DEVICES=1
	fails_with 1 "rank 1: --device cuda:1: no GPU 1; this machine has 1, counted from 0" rl-sft-step -q --ranks 2 --device cuda "$records"
}
