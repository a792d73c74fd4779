#!/usr/bin/env bats
load common

setup_file() {
	export store=$BATS_FILE_TMPDIR/m.lmdb
	if command -v rl-store >/dev/null && command -v rl-generate >/dev/null; then
		rl-store init --config "$testdata/tiny/config.json" --seed 3 "$store"
		rl-generate -q -s "$store" -n 4 --max-tokens 12 --temperature .8 "$testdata/tiny/prompts.jsonl" >"$BATS_FILE_TMPDIR/g.jsonl"
	fi
}
setup() {
	[ -s "$BATS_FILE_TMPDIR/g.jsonl" ] || skip "rl-store and rl-generate are not built"
	cd "$BATS_TEST_TMPDIR"
	rollouts=$BATS_FILE_TMPDIR/g.jsonl
}

@test "rl-logprob: difference 0 to what rl-generate said, any batch, threads, instruction set" {
	for t in 0 .7 1; do
		rl-generate -q -s "$store" --max-tokens 9 --temperature $t "$testdata/tiny/prompts.jsonl" >g
		for how in "-j 1" "-j 2" "--isa plain" "--isa avx2" "--isa avx512" "--isa neon"; do
			# shellcheck disable=SC2086
			rl-logprob -q -s "$store" --as lp $how g >got 2>err || { grep -q "not an instruction set" err; continue; }
			[ "$(jq -c 'select(.lp == .logprobs)' got | wc -l)" -eq "$(wc -l <g)" ]
		done
		rl-logprob -q -s "$store" --as lp g >got
		while read -r line; do printf '%s\n' "$line"; sleep .01; done < <(head -n 5 g) | rl-logprob -q -s "$store" --as lp >one
		head -n 5 got | cmp - one
	done
}

@test "rl-logprob: log-probs are finite and at most 0, entropies within ln 64; lengths agree" {
	rl-logprob -q -s "$store" --entropy "$rollouts" >got
	jq -es 'all(.[]; (.ref_logprobs | length) == (.tokens | length) and (.entropy | length) == (.tokens | length)
		and all(.ref_logprobs[]; . <= 0) and all(.entropy[]; . >= 0 and . <= 4.1589))' got >/dev/null
}

@test "rl-logprob: --temperature is used instead of the record's, which 0 leaves" {
	rl-logprob -q -s "$store" --as a "$rollouts" | jq -c .a >record
	[ "$(wc -l <record)" -eq "$(wc -l <"$rollouts")" ]
	rl-logprob -q -s "$store" --as a --temperature .8 "$rollouts" | jq -c .a | cmp - record
	rl-logprob -q -s "$store" --as a --temperature 1 "$rollouts" | jq -c .a >one
	[ -s one ]
	! cmp -s one record
	jq -c 'del(.temperature)' "$rollouts" | rl-logprob -q -s "$store" --as a | jq -c .a | cmp - one
	jq -c '.temperature = 0' "$rollouts" | rl-logprob -q -s "$store" --as a | jq -c .a | cmp - one
}

@test "rl-logprob: an empty completion has empty arrays" {
	echo '{"prompt_tokens":[3,4],"tokens":[]}' | rl-logprob -q -s "$store" --entropy >got
	[ "$(jq -c '[.ref_logprobs, .entropy]' got)" = "[[],[]]" ]
}

@test "rl-logprob: records with skip or error pass as they are, and order is kept with -k" {
	{
		echo '{"prompt_tokens":[1],"tokens":[2],"skip":"no"}'
		echo '{"prompt_tokens":[1],"tokens":[2]}'
		echo 'no json'
		echo '{"prompt_tokens":[1],"tokens":[64]}'
		echo '{"prompt_tokens":[1],"tokens":[3],"error":"x"}'
		echo '{"prompt_tokens":[1],"tokens":[3]}'
	} >in
	rc=0
	rl-logprob -q -k -s "$store" in >got 2>err || rc=$?
	[ $rc -eq 3 ]
	[ "$(jq -c '[.skip != null, .error != null, .ref_logprobs != null]' got | tr -d '\n')" = \
		"[true,false,false][false,false,true][false,true,false][false,true,false][false,true,false][false,false,true]" ]
	grep -q "'tokens' has id 64" got
}

@test "rl-logprob: what is wrong is said in one line" {
	fails_with 2 "no store" rl-logprob
	fails_with 1 "'ref_logprobs' is already there" rl-logprob -q -s "$store" <(rl-logprob -q -s "$store" "$rollouts")
	fails_with 1 "score.weight" rl-logprob -q -s "$store" --values "$rollouts"
	fails_with 1 "neither 'tokens' nor 'completion'" rl-logprob -q -s "$store" <(echo '{"prompt_tokens":[1]}')
	fails_with 1 "no tokenizer" rl-logprob -q -s "$store" <(echo '{"prompt":"a","completion":"b"}')
	fails_with 1 "no token, so" rl-logprob -q -s "$store" <(echo '{"prompt_tokens":[],"tokens":[1]}')
	fails_with 1 "do not fit the context of 64" rl-logprob -q -s "$store" \
		<(jq -nc '{prompt_tokens: [range(60)], tokens: [1, 2, 3, 4, 5]}')
	fails_with 1 "'nowhere'" rl-logprob -q -s "$store:nowhere" "$rollouts"
	fails_with 1 "--isa 'z80'" rl-logprob -q -s "$store" --isa z80 "$rollouts"
}

# near FIELD FIELD FILE: all numbers of the first within 5e-5 of the second's
near() {
	jq -es --arg a "$1" --arg b "$2" 'all(.[]; [.[$a], .[$b]] | (.[0] | length) == (.[1] | length)
		and (transpose | all((.[0] - .[1] | fabs) <= 5e-5)))' "$3" >/dev/null
}

@test "rl-logprob: log-probs and values of golden models, against transformers" {
	shared golden golden/rl
	rl-store import "$golden/models/llama/ref" ref.lmdb
	rl-logprob -q -s ref.lmdb --as lp "$golden/grpo/records.jsonl" >got
	near lp ref_logprobs got
	rl-store import "$golden/models/gpt2/policy" policy.lmdb
	rl-logprob -q -s policy.lmdb --as lp "$golden/ppo/k3-whiten-gpt2/records.jsonl" >got
	near lp logprobs got
	rl-store import "$golden/models/llama/value" policy.lmdb:value
	jq -c '.were = .values | del(.values, .bootstrap_value)' "$golden/ppo/k1-llama/records.jsonl" |
		rl-logprob -q -s policy.lmdb:value --values >got
	near values were got
}
