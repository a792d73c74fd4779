#!/usr/bin/env bats
# Each preset is taken by the tools of a loop, and by the shell; what goes before what.
load ../../tools/common

setup() {
	root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	testdata=$root/testdata presets=$BATS_TEST_DIRNAME
	cd "$BATS_TEST_TMPDIR"
	export RL_STORE=run.lmdb
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 run.lmdb
	head -n 8 "$testdata/tiny/prompts.jsonl" >prompts.jsonl
}
loop() { # more options of rl-ppo-step
	within 60 bash -c 'set -o pipefail
		rl-generate -q --max-tokens 5 --batch-size 8 prompts.jsonl | rl-reward-jq -q x ".tokens | length" | rl-ppo-step -q "$@"' loop "$@" >/dev/null
	rl-store log --json run.lmdb | tail -n 1 | jq -c .options >said
}
said() { jq -r --arg k "$1" '.[$k] | tostring' said; }

@test "presets: each is what rl-ppo-step trained with, word for word" {
	for file in "$presets"/*.preset; do
		rm -f run.lmdb*
		rl-store init -q --config "$testdata/tiny/config.json" --seed 1 run.lmdb
		RL_PRESET=$file loop --batch-size 8 --steps 1
		n=0
		while IFS='=' read -r name value; do
			key=$(tr 'A-Z_' 'a-z-' <<<"${name#RL_}")
			case $name in RL_GENERATE_* | RL_BATCH_SIZE) continue ;; esac
			jq -e --arg k "$key" --arg v "$value" '.[$k] as $x | ($v | if . == "no" then false else (tonumber? // .) end) as $y
				| if $x == $y then true else error("\($k): \($x) instead of \($y)") end' said >/dev/null
			n=$((n + 1))
		done < <(grep '^RL_' "$file")
		[ $n -ge 5 ]
	done
}

@test "presets: the command line goes before the environment, that before the preset, --preset before RL_PRESET" {
	printf '%s\n' '# one' '' '  RL_LR=1e-4  ' "RL_GAMMA='.5'" 'RL_LAM=".25"' >one
	echo RL_GAMMA=.75 >two
	RL_GAMMA=.9 loop --preset one
	[ "$(said lr) $(said gamma) $(said lam)" = "0.0001 0.9 0.25" ]
	RL_RUN=2 loop --preset=one --gamma .8 --lr 1e-3
	[ "$(said lr) $(said gamma) $(said lam)" = "0.001 0.8 0.25" ]
	RL_PRESET=two RL_RUN=3 loop
	[ "$(said gamma) $(said lam)" = "0.75 0.95" ]
	RL_PRESET=two RL_RUN=4 loop --preset one
	[ "$(said gamma)" = "0.5" ]
	(set -a && . "$presets/dialogue.preset" && [ "$RL_VF_COEF" = .5 ])
}

@test "presets: every tool of the pipe reads RL_PRESET" {
	echo RL_GAMMA=nothing >bad
	RL_PRESET=bad fails_with 2 "RL_GAMMA" rl-gae </dev/null
	echo RL_GENERATE_MAX_TOKENS=3 >short
	[ "$(RL_PRESET=short rl-generate -q prompts.jsonl | jq '.tokens | length' | sort -un | tail -n 1)" = 3 ]
	[ "$(rl-generate -q --preset short prompts.jsonl | jq '.tokens | length' | sort -un | tail -n 1)" = 3 ]
}

@test "presets: a fault is named with its line" {
	printf 'RL_LR=1\nlr=1\n' >a
	fails_with 2 "a:2: no tool reads the variable lr" rl-ppo-step --preset a
	printf '\nRL_LRR=1\n' >b
	fails_with 2 "b:2: no tool reads the variable RL_LRR" rl-ppo-step --preset b
	echo 'RL_LR 1' >c
	fails_with 2 "c:1: 'RL_LR 1' is no RL_NAME=value" rl-ppo-step --preset c
	fails_with 2 "--preset none: No such file" rl-ppo-step --preset none
	fails_with 2 "--preset .: Is a directory" rl-ppo-step --preset .
}
