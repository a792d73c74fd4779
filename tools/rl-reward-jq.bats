#!/usr/bin/env bats
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	printf '%s\n' '{"completion":"a","tokens":[1,2]}' '{"completion":"bb","tokens":[3]}' '{"skip":"x"}' '{"completion":"ccc","tokens":[4,5,6]}' '{"error":"y"}' >in.jsonl
}
rewards() { rl-reward-jq -q "$@" <in.jsonl 2>said | jq -c .reward_x | paste -sd' '; }

@test "rl-reward-jq: every kind of reward" {
	[ "$(rewards x '.completion | length / 10')" = "0.1 0.2 null 0.3 null" ]
	[ "$(rewards x '.tokens | map(. / 10)')" = "[0.1,0.2] [0.3] null [0.4,0.5,0.6] null" ]
	[ "$(rewards x '[[0, (.completion | length), 0.5], [0, 0, 1]]')" = "[[0,1,0.5],[0,0,1]] [[0,2,0.5],[0,0,1]] null [[0,3,0.5],[0,0,1]] null" ]
	[ "$(rewards x .tokens)" = "[1,2] [3] null [4,5,6] null" ] # a plain path does without jq
	[ "$(rewards x "[]")" = "[] [] null [] null" ] # no span at all
	rl-reward-jq -q x null in.jsonl | head -n 1 | jq -e 'has("reward_x") and .reward_x == null' >/dev/null
	[ ! -s said ]
	# without tokens any number of them will do
	[ "$(rl-reward-jq -q x '[1, 2, 3]' <<<'{"a":1}')" = '{"a":1,"reward_x":[1,2,3]}' ]
}

@test "rl-reward-jq: an object is added with every term" {
	[ "$(head -n 1 in.jsonl | rl-reward-jq -q x '{reward: (.completion | length), terms: {a: [1, 0.25]}, "é": "\n"}')" = \
		'{"completion":"a","tokens":[1,2],"reward_x":1,"x":{"reward":1,"terms":{"a":[1,0.25]},"é":"\n"}}' ]
	[ "$(rewards x '{reward: .tokens}')" = "[1,2] [3] null [4,5,6] null" ]
	[ "$(rl-reward-jq -q x .part <<<'{"part":{"reward":null,"t":1.5}}')" = '{"part":{"reward":null,"t":1.5},"reward_x":null,"x":{"reward":null,"t":1.5}}' ]
	# records that pass have neither
	[ "$(rl-reward-jq -q x '{reward: 1}' in.jsonl | sed -n '3p;5p')" = "$(sed -n '3p;5p' in.jsonl)" ]
}

@test "rl-reward-jq: text on which the program fails, or that gives no reward, is --otherwise, counted, and told of once" {
	local program
	for program in '.completion | tonumber' '"1"' true empty '1, 2' '{}' '{reward: "1"}' '["1"]' '[1, null]' '[[2, 1, 0]]' '[range(9)]' \
		nan infinite '{reward: nan}' '{reward: 1, term: infinite}' halt 'error(null)' '{a: 1} | error' .none; do
		[ "$(rewards --otherwise -2.5 x "$program")" = "-2.5 -2.5 null -2.5 null" ] || { echo "$program: $(cat said)"; return 1; }
		[ "$(wc -l <said)" -eq 1 ]
		grep -qE "^rl-reward-jq: standard input:1: PROGRAM: .*; its reward is -2.5, as that of all others without one$" said
	done
	[ "$(rewards x '.completion | tonumber')" = "0 0 null 0 null" ]
	rl-reward-jq x 'if .tokens[0] > 1 then error("too much") else 1 end' in.jsonl >out 2>said
	[ "$(sed 's/^rl-reward-jq: //' said)" = $'in.jsonl:2: PROGRAM: too much; its reward is 0, as that of all others without one\n5 records in, 5 out, 2 passed over, 2 without a reward' ]
	# no object, no terms
	rl-reward-jq -q x '{reward: "1", a: 1}' in.jsonl 2>/dev/null | jq -se 'all(has("x") | not)'
}

@test "rl-reward-jq: a model's own text never stops the run" {
	jq -nc '{completion: ("good\u0000 \u0007\n" * 20000)}, {completion: ""}, {completion: "{\"query\":"}, {completion: ("[" * 10000)}' >flood
	within 60 rl-reward-jq -q --otherwise -1 x '.completion | fromjson | .reward' flood >out 2>said
	[ "$(jq .reward_x out | paste -sd' ')" = "-1 -1 -1 -1" ]
	[ "$(wc -l <said)" -eq 1 ]
	# a record that jq does not read: its nesting
	printf '{"completion":"a","deep":%s%s}\n' "$(printf '[%.0s' {1..400})" "$(printf ']%.0s' {1..400})" >deep
	[ "$(rl-reward-jq -q --otherwise -1 x '.completion | length' deep 2>/dev/null | jq -R 'test("\"reward_x\":-1}$")')" = true ]
}

@test "rl-reward-jq: modules" {
	mkdir one two
	echo 'def half: . / 2;' >one/a.jq
	echo 'include "a"; def quarter: half | half;' >two/b.jq
	[ "$(rewards -L one x 'include "a"; .completion | length | half')" = "0.5 1 null 1.5 null" ]
	[ "$(rewards -L two -L "$PWD/one" x 'import "b" as b; .completion | length | b::quarter')" = "0.25 0.5 null 0.75 null" ]
	# relative directories are those of the command, whoever includes
	[ "$(rewards -L one -L ./two x 'include "b"; .completion | length | quarter')" = "0.25 0.5 null 0.75 null" ]
	fails_with 2 "PROGRAM: 'include \"a\"; .' is no jq program" rl-reward-jq -q x 'include "a"; .' in.jsonl
}

@test "rl-reward-jq: the name, the program and the record" {
	fails_with 2 "is no name of a reward" rl-reward-jq 'a b' 1 in.jsonl
	fails_with 2 "is no name of a reward" rl-reward-jq '' 1 in.jsonl
	for name in values reward rewards reward_x state_x skip id; do
		fails_with 2 "'$name' is a field that other tools read" rl-reward-jq $name 1 in.jsonl
	done
	fails_with 2 "PROGRAM: '. +' is no jq program: syntax error" rl-reward-jq x '. +' in.jsonl
	fails_with 2 "" rl-reward-jq x
	[ "$(rl-reward-jq -q -- x '-(.a)' <<<'{"a":1}')" = '{"a":1,"reward_x":-1}' ]
	fails_with 1 "standard input:1: 'reward_x' is already there" rl-reward-jq -q x 1 <<<'{"reward_x":1}'
	fails_with 1 "standard input:1: 'x' is already there" rl-reward-jq -q x '{reward: 1}' <<<'{"x":1}'
	[ "$(rl-reward-jq -q x 1 <<<'{"x":1}')" = '{"x":1,"reward_x":1}' ]
	run -3 --separate-stderr rl-reward-jq -q -k x '{reward: 1}' <<<$'{"x":1}\n{"y":1}'
	[ "$(jq -c '[has("error"), .reward_x]' <<<"$output" | paste -sd' ')" = '[true,null] [false,1]' ]
}

# example N: the N-th example of the page, as it stands there
example() {
	sed -n '/^\.Bd/,/^\.Ed/p' "$root/man/rl-reward-jq.1" | awk -v n="$1" '/^\.Bd/ {i++; next} !/^\.Ed/ && i == n' | sed 's/\\e/\\/g' >example
	bash ./example 2>/dev/null
}
@test "rl-reward-jq: the examples of the page" {
	printf '%s\n' '{"completion":"a b c","ends":[1,3,5],"tokens":[7,8,9]}' '{"completion":"{\"answer\":4,\"confidence\":0.5}","answer":4,"ends":[29],"tokens":[3]}' '{"completion":"no","ends":[1,2],"tokens":[3,4],"answer":4}' >rollouts.jsonl
	[ "$(example 1 | jq .reward_brevity | paste -sd' ')" = "-0.05 -0.29 -0.02" ]
	[ "$(example 2 | jq -c .reward_spaces | paste -sd' ')" = "[0,0.1,0.1] [0] [0,0]" ]
	[ "$(example 3 | jq -c '[.reward_correct, .correct.confident]' | paste -sd' ')" = '[-1,null] [1.5,0.5] [-1,null]' ]
}
