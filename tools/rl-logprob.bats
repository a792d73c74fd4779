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
	! cmp -s one record || false
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

@test "rl-logprob: a run that has begun and has no KL has no reference, and says so instead of taking what it has become" {
	cp "$store" run.lmdb
	cp "$rollouts" rows
	rl-logprob -q -s run.lmdb rows >before
	rl-ppo-step -q -s run.lmdb --critic none --advantage reinforce --kl-coef 0 --reward '.tokens | length' rows >/dev/null
	run --separate-stderr rl-logprob -q -s run.lmdb rows
	[ "$status" -eq 1 ] && [ -z "$output" ]
	[[ $stderr == "rl-logprob: run '' has begun and keeps no reference, since it has no KL: name a model"* ]]
	rl-logprob -q -s run.lmdb:policy rows >after
	! cmp -s before after || false
	rl-logprob -q -s run.lmdb --run another rows | cmp - after # which would begin with this policy
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

# same_sum EXPRESSION FILE: the sum of .lp, whose digits are each within half a unit of their float's last place
same_sum() {
	jq -es "length > 3 and all(.[]; (.lp | add) as \$sum | $1 - \$sum | fabs <= 6e-8 * -\$sum)" "$2" >/dev/null
}
# text_store: a store with a tokenizer of its own in text.lmdb, prompts in prompts.jsonl
text_store() {
	jq -nc 'range(40) | {text: "is \(.) more than \(. * 7)? YES or NO, \(. % 5)"}' >texts.jsonl
	rl-tokenize -q --train --vocab-size 280 <texts.jsonl >tokenizer.json
	jq '.vocab_size = 280 | .max_position_embeddings = 128' "$testdata/tiny/config.json" >config.json
	rl-store init -q --config config.json --tokenizer tokenizer.json --seed 1 text.lmdb
	jq -c '{id: "q\(input_line_number)", prompt: .text, few: [" YES", "NO, not at all", " YES or NO"][0:1 + input_line_number % 3]}' texts.jsonl >prompts.jsonl
}

@test "rl-logprob --choices: the numbers of rl-logprob on prompt and choice, but for the printing of floats" {
	text_store
	rl-logprob -q -s text.lmdb --choices ' YES, NO,maybe not so' prompts.jsonl >got
	is_prefix prompts.jsonl got
	jq -c '.prompt as $p | .id as $id | .choices | to_entries[] | {id: "\($id) \(.key)", prompt: $p, completion: .value.text, was: .value}' got |
		rl-logprob -q -s text.lmdb --as lp >each
	[ "$(wc -l <each)" -eq $((3 * $(wc -l <prompts.jsonl))) ]
	same_sum .was.logprob each
	jq -es 'all(.[]; (.lp | length) == .was.tokens)' each >/dev/null
	[ "$(jq -c '.choices | map(.text)' got | sort -u)" = '[" YES"," NO","maybe not so"]' ]
}

@test "rl-logprob --choices: the same bytes for any batch, threads, instruction set; lists of other lengths side by side" {
	text_store
	rl-logprob -q -s text.lmdb --choices .few prompts.jsonl >want
	[ "$(jq -c '.choices | length' want | sort -u | tr -d '\n')" = 123 ]
	while read -r line; do printf '%s\n' "$line" | rl-logprob -q -s text.lmdb --choices .few; done <prompts.jsonl | cmp - want
	while read -r line; do printf '%s\n' "$line"; sleep .01; done < <(head -n 5 prompts.jsonl) |
		rl-logprob -q -s text.lmdb --choices .few | cmp - <(head -n 5 want)
	for how in "-j 1" "-j 2" "--isa plain" "--isa avx2" "--isa avx512" "--isa neon"; do
		# shellcheck disable=SC2086
		rl-logprob -q -s text.lmdb --choices .few $how prompts.jsonl >got 2>err || { grep -q "not an instruction set" err; continue; }
		cmp got want
	done
}

@test "rl-logprob --choices: p, best and expected out of the log-probabilities, for each length" {
	text_store
	local list='[0, " 1.5", "33", 4]'
	for by in none token character byte; do
		rl-logprob -q -s text.lmdb --choices "$list" --normalize $by prompts.jsonl >got
		jq -es --arg by $by 'all(.[]; . as $r
			| (.choices | map(.logprob / {none: 1, token: .tokens, character: (.text | ltrimstr(" ") | length), byte: (.text | ltrimstr(" ") | utf8bytelength)}[$by])) as $score
			| ($score | max) as $max | ($score | map(. - $max | exp) | add) as $sum
			| ([.choices, $score] | transpose | all((.[0].p - ((.[1] - $max | exp) / $sum) | fabs) < 1e-12))
			and $score[.choices_best] == $max
			and (.choices_expected - ([.choices[] | .p * (.text | ltrimstr(" ") | tonumber)] | add) | fabs) < 1e-12)' got >/dev/null
	done
	rl-logprob -q -s text.lmdb --choices '["é", " éé"]' --normalize character prompts.jsonl | jq -c .choices >c
	rl-logprob -q -s text.lmdb --choices '["é", " éé"]' --normalize byte prompts.jsonl | jq -c .choices >b
	[ "$(wc -l <c)" -eq 40 ]
	! cmp -s b c || false
	# one that is no number: no expected value
	[ "$(rl-logprob -q -s text.lmdb --choices '1,2,many' prompts.jsonl | jq -c 'has("choices_expected")' | sort -u)" = false ]
	[ "$(rl-logprob -q -s text.lmdb --choices '1,2' --as score prompts.jsonl | jq -c 'keys_unsorted[-3:]' | sort -u)" = '["score","score_best","score_expected"]' ]
}

@test "rl-logprob --choices: ids without a tokenizer, --prompt, temperature" {
	rl-logprob -q -s "$store" --choices '[[3], [4, 5]]' --temperature 1 "$rollouts" >got
	[ "$(jq -c '.choices[0] | keys_unsorted' got | sort -u)" = '["tokens","logprob","p"]' ]
	jq -c '.tokens = [4, 5]' got | rl-logprob -q -s "$store" --as lp --temperature 1 >plain
	same_sum '.choices[1].logprob' plain
	# the record's own temperature, and the prompt by a filter of parts
	rl-logprob -q -s "$store" --prompt '[.prompt_tokens, .tokens[0:3], 7]' --choices '[[3], [4, 5]]' "$rollouts" >got
	jq -c '.prompt_tokens += .tokens[0:3] + [7] | .tokens = [4, 5]' got | rl-logprob -q -s "$store" --as lp >plain
	same_sum '.choices[1].logprob' plain
	jq -c '.tokens = [4, 5]' got | rl-logprob -q -s "$store" --as lp --prompt '[.prompt_tokens, 1, 2]' >byfilter
	jq -c '.prompt_tokens += [1, 2] | .tokens = [4, 5]' got | rl-logprob -q -s "$store" --as lp | jq -c .lp | cmp - <(jq -c .lp byfilter)
}

@test "rl-logprob --choices: what is wrong is said in one line" {
	text_store
	run_c() { rl-logprob -q -s text.lmdb "$@"; }
	fails_with 2 "choice 1 of 'a,,b' is empty" run_c --choices a,,b prompts.jsonl
	fails_with 2 "no jq program" run_c --choices '[' prompts.jsonl
	fails_with 2 "neither --entropy nor" run_c --choices a,b --entropy prompts.jsonl
	fails_with 2 "--normalize is of --choices" run_c --normalize token prompts.jsonl
	fails_with 1 "prompts.jsonl:1: --choices: '.prompt' gives no array" run_c --choices .prompt prompts.jsonl
	fails_with 1 "gives no choice" run_c --choices '[]' prompts.jsonl
	fails_with 1 "choice 1 has no token" run_c --choices '["a", ""]' prompts.jsonl
	fails_with 1 "choice 1 is no text" run_c --choices '["a", null]' prompts.jsonl
	fails_with 1 "choice 0 has id 280 at place 0, but the vocabulary has 280" run_c --choices '[[280]]' prompts.jsonl
	fails_with 1 "choice 1 is blank" run_c --choices 'a, ' --normalize byte prompts.jsonl
	fails_with 1 "has ids and no text" rl-logprob -q -s "$store" --choices '[[3]]' --normalize byte "$rollouts"
	fails_with 1 "the store has no tokenizer" rl-logprob -q -s "$store" --choices 'a,b' "$rollouts"
	fails_with 1 "60 prompt tokens and 5 of choice 1 do not fit the context of 64" rl-logprob -q -s "$store" --choices '[[1], [1,2,3,4,5]]' \
		<(jq -nc '{prompt_tokens: [range(60)]}')
	fails_with 1 "'choices_best' is already there" run_c --choices a,b <(jq -c '.choices_best = 1' prompts.jsonl)
	rc=0
	{ head -n 1 prompts.jsonl; echo '{"few":["a"]}'; tail -n 1 prompts.jsonl; } | run_c -k --choices .few >got || rc=$?
	[ $rc -eq 3 ]
	[ "$(jq -c '[.choices != null, .error != null]' got | tr -d '\n')" = "[true,false][false,true][true,false]" ]
}

@test "rl-logprob --choices: the examples of the page" {
	text_store
	mv text.lmdb judge.lmdb
	cp judge.lmdb run.lmdb
	jq -c '{text: .prompt, query: "seven", question: .prompt, options: ["YES", "NO"], gold: 1}' prompts.jsonl | tee docs.jsonl >questions.jsonl
	MANWIDTH=200 mandoc -T ascii "$root/man/rl-logprob.1" | col -bx | sed -n '/^EXAMPLES/,/^SEE ALSO/p' | grep -v '^[A-Z]' |
		awk '/^ *rl-logprob -s judge/ {on = 1} /^     [A-Z]/ {on = 0} on' >judge
	eval "$(cat judge)" >got
	[ "$(wc -l <got)" -eq 41 ]
	jq -es 'all(. >= 0 and . <= 5)' got >/dev/null
	MANWIDTH=200 mandoc -T ascii "$root/man/rl-logprob.1" | col -bx | sed -n '/^ *rl-logprob -s run.lmdb --choices/,/^SEE/p' | grep -v '^[A-Z]' >multiple
	eval "$(cat multiple)" | jq -e '. >= 0 and . <= 1' >/dev/null
}
