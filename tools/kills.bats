#!/usr/bin/env bats
# Runs that are killed at random points, one stage or all of them, and started again end with the bits of a run that was not.
# `make test` has 100 kills in all, `make soak` 1,000: RLPIPE_KILLS says how many, and each test has its share of them.
load common
set -o pipefail

setup() {
	cd "$BATS_TEST_TMPDIR"
	export RL_STORE=run.lmdb
	export RL_REWARD='[.tokens[] | if . < 32 then 1 else 0 end] | add / length'
	cp "$testdata/tiny/prompts.jsonl" prompts.jsonl
	jq -c '.id = "e" + .id | .prompt_tokens |= reverse' prompts.jsonl | sed 3q >held.jsonl
	generate="rl-generate -q --max-tokens 6 --batch-size 8" update="rl-ppo-step -q --lr 1e-3 --ppo-epochs 2"
}
fresh() {
	rm -rf run.lmdb* rollouts
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 run.lmdb
}
without_time() { jq -cS 'with_entries(select(.key | startswith("time/") | not))' "$1"; }
# All that a run leaves: weights, what it recorded, and that the store is whole.
result() {
	rm -rf exported
	rl-store export -q "$RL_STORE" exported
	cat exported/*.safetensors | sha256sum
	[ ! -d rollouts ] || (cd rollouts && sha256sum -- *)
	rl-store verify --json run.lmdb | jq -c '[.versions, .tensors, .log, .faults]'
	rl-store show --json run.lmdb | jq -c '[.slots[] | [.name, .version]], .snapshots'
}
now_ms() { date +%s%3N; }

# begin LOOP: in the background, in a session of its own; $pid.
begin() {
	setsid bash -o pipefail -c "$1 > part.jsonl" 2>said 3>&- &
	pid=$!
}
# kill_one: any one process of the session, which may be the shell around it: then all of them.  1 when there is none left.
kill_one() {
	local all victim
	mapfile -t all < <(pgrep -s "$pid")
	[ ${#all[@]} -gt 0 ] || return 1
	victim=${all[RANDOM % ${#all[@]}]}
	[ "$victim" != "$pid" ] || victim=-$pid
	kill -9 -- "$victim" 2>/dev/null
}
# killed SHARE LOOP: of 100 kills SHARE; a run is killed up to three times, then it ends.
killed() {
	local loop=$2 kills=0 runs=0 tries=0 started ms try killed
	local wanted=$(((${RLPIPE_KILLS:-100} * $1 + 99) / 100))
	fresh_run
	started=$(now_ms)
	timeout 60 bash -o pipefail -c "$loop > whole.jsonl"
	ms=$(($(now_ms) - started))
	result >whole
	while [ $kills -lt "$wanted" ]; do
		fresh_run
		runs=$((runs + 1))
		for try in $(seq 40); do
			begin "$loop"
			tries=$((tries + 1)) killed=0
			if [ "$try" -le 3 ] && [ $kills -lt "$wanted" ]; then
				sleep "$(awk -v ms=$((RANDOM % ms + 5)) 'BEGIN { print ms / 1000 }')"
				! kill_one || killed=1
			fi
			# one that had ended already was not killed
			! wait $pid || break
			kills=$((kills + killed))
		done
		diff <(without_time whole.jsonl) <(without_time part.jsonl) || { cat said; return 1; }
		result | diff whole - || { cat said; return 1; }
	done
	echo "# $BATS_TEST_DESCRIPTION: $kills kills in $runs runs ($tries starts) of $ms ms" >&3
}
fresh_run() { fresh; }

@test "kills: PPO, with the record of the run and a version to go on from every second batch" {
	killed 15 "$generate < prompts.jsonl | $update --rollouts rollouts --snapshot-every 2"
}

@test "kills: GRPO, four completions of each prompt" {
	killed 15 "$generate -n 4 < prompts.jsonl | $update --advantage grpo --ppo-epochs 1"
}

@test "kills: a sampler one update behind" {
	killed 10 "$generate --lag 1 < prompts.jsonl | $update --max-lag 1"
}

@test "kills: a commit every third update, with a critic of its own; and with a sampler one update behind" {
	killed 5 "$generate < prompts.jsonl | $update --checkpoint-every 3 --critic separate --rollouts rollouts"
	killed 5 "$generate --lag 1 --epochs 3 < prompts.jsonl | $update --checkpoint-every 5 --max-lag 1"
}

@test "kills: a second stage in the pipe" {
	export RL_REWARD='[.again.tokens[] | if . < 32 then 1 else 0 end] | add / length'
	killed 10 "$generate < prompts.jsonl | rl-generate -q --as again --prompt '.prompt_tokens + .tokens' --max-tokens 5 | $update"
}

@test "kills: an adapter, with a batch that is passed over" {
	fresh_run() {
		fresh
		rl-store lora -q --lora-target-modules all-linear run.lmdb:a
	}
	export RL_STORE=run.lmdb:a
	killed 10 "$generate < prompts.jsonl | sed -u '/\"batch\":1,\"row\":2,/s/}\$/,\"values\":[1e39]}/' | $update --skip-bad-batches 1"
	[ "$(jq -c .bad_batches whole.jsonl | paste -sd' ')" = "0 1 1 1" ]
}

@test "kills: a mix of rewards, which has a memory" {
	components="rl-reward-jq -q low '$RL_REWARD' | rl-reward-jq -q each '[.tokens[] | . / 10]'"
	mix="rl-reward-mix -q -w low=1 -w each=0..0.5:3 --normalize low --normalize each --clip each=-2..2 --percentile 30 --percentile-warmup 12 --percentile-window 20"
	unset RL_REWARD
	killed 10 "$generate < prompts.jsonl | $components | $mix | $update"
}

@test "kills: evaluations, the best version kept, until there is no progress" {
	score="rl-reward-jq -q low '$RL_REWARD'"
	unset RL_REWARD
	killed 5 "$generate --eval held.jsonl --eval-every 1 --epochs 2 < prompts.jsonl | $score | rl-ppo-step -q --lr 3e-3 --ppo-epochs 2 --best eval/reward --patience 3"
}

@test "kills: supervised, with and without commits in between" {
	unset RL_REWARD
	jq -c '{prompt_tokens, tokens: .prompt_tokens}' prompts.jsonl >sft.jsonl
	killed 5 "rl-sft-step -q --batch-size 4 --steps 40 --lr 1e-2 --schedule cosine --warmup 3 sft.jsonl"
	killed 5 "rl-sft-step -q --batch-size 4 --steps 40 --lr 1e-2 --schedule cosine --checkpoint-every 7 sft.jsonl"
}

@test "kills: two ranks" {
	killed 5 "$generate < prompts.jsonl | $update --ranks 2 --rollouts rollouts"
}

@test "kills: preferences" {
	unset RL_REWARD
	jq -c '{prompt_tokens, chosen: [.prompt_tokens[] | (. * 7 + 3) % 60], rejected: [.prompt_tokens[] | (. * 5 + 1) % 60]}' prompts.jsonl >pairs.jsonl
	killed 5 "rl-dpo-step -q --batch-size 4 --steps 40 --lr 1e-2 --beta 1 pairs.jsonl"
}
