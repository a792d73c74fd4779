#!/usr/bin/env bats
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	jq -nc 'range(8) | {id: "q\(.)", batch: 3, reward_bm25: (. / 8), good: (. > 3), tokens: [range(. + 1)]}' >before.jsonl
	jq -c '.reward_bm25 += (.reward_bm25 * 0.25 + 0.01)' before.jsonl >after.jsonl
}

@test "rl-eval: n, mean and interval of every number that is a measure" {
	rl-eval -q --json before.jsonl >out
	[ "$(jq -c '[.measure, .n, .mean]' out | tr -d '\n')" = '["reward_bm25",8,0.4375]["good",8,0.5]' ]
	# sd of 0, 1/8, ..., 7/8 is sqrt(6)/8; t of 7 degrees of freedom is 2.364624
	jq -se '.[0] | (.sd - (6 | sqrt) / 8 | fabs) < 1e-12 and (.high - 0.4375 - 2.364624251592784 * .sd / (8 | sqrt) | fabs) < 1e-9' out
}

@test "rl-eval: missing and null are left out, text is an error that names the place" {
	{ cat before.jsonl; echo '{"id":"x","reward_bm25":null}'; echo '{"id":"y"}'; } | rl-eval -q --json -m reward_bm25 |
		jq -e '.n == 8'
	fails_with 1 ":9: measure 'reward_bm25' is no number here" rl-eval -q -m reward_bm25 <(cat before.jsonl; echo '{"id":"x","reward_bm25":"a"}')
	fails_with 1 ":1: measure '.tokens' is no number here" rl-eval -q -m .tokens before.jsonl
}

@test "rl-eval --compare: joined by id in any order, a gain is positive" {
	rl-eval -q --json --compare before.jsonl <(tac after.jsonl) -m reward_bm25 >out
	jq -e '.n == 8 and (.difference - 0.119375 | fabs) < 1e-9 and .low < .difference and .random_p == 0.0078125 and .holm_p == .t_p' out
	rl-eval -q --json --compare before.jsonl <(head -n 5 after.jsonl) -m reward_bm25 | jq -e '.n == 5'
}

@test "rl-eval --compare: several systems are adjusted together" {
	rl-eval -q --json --compare before.jsonl after.jsonl before.jsonl -m reward_bm25 >out
	jq -se 'length == 2 and .[0].holm_p == ([.[0].t_p * 2, 1] | min) and .[1].t_p == 1' out
}

@test "rl-eval --compare: what cannot be joined is said" {
	fails_with 1 "records 1 and 2 have the same id 'q0'" rl-eval -q --compare before.jsonl <(head -n 1 after.jsonl; head -n 1 after.jsonl)
	fails_with 1 "no id and measure in common" rl-eval -q --compare before.jsonl <(sed 's/"q/"z/' after.jsonl)
	fails_with 2 "--compare wants a base and at least one system" rl-eval --compare before.jsonl
}

@test "rl-eval: the examples of the page" {
	rl-eval -m reward_bm25 -m '.tokens | length' after.jsonl
	[ "$(rl-eval --compare before.jsonl after.jsonl -m reward_bm25 | wc -l)" -eq 2 ]
}
