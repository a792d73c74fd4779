#!/usr/bin/env bats
# rl-chunk: segments of whole sentences, with nothing lost between them.
bats_require_minimum_version 1.5.0
set -o pipefail

shared=${RLPIPE_SHARED:-$BATS_TEST_DIRNAME/../../shared}

setup() {
	unset RL_STORE RL_TOKENIZER
	cd "$BATS_TEST_TMPDIR"
	cat >corpus.jsonl <<-'E'
		{"id":"a","title":"T","text":"Dr. Smith paid 3.5 dollars. He left. \"Why?\" she asked.\n\nNobody knew… It was the year 1990. Naïve 日本語。Ende "}
		{"_id":7,"title":"U","text":"One.","n":1.50}
		{"doc_id":"e","title":"V","text":""}
	E
}

@test "rl-chunk: the examples of the page" {
	rl-chunk -q --max-words 100 corpus.jsonl >out.jsonl
	[ "$(jq -c '[.id,.doc,.index,.of,.start,.end]' out.jsonl | tr '\n' ' ')" = '["a/0","a",0,1,0,106] ["7/0","7",0,1,0,4] ' ]
	rl-chunk -q --max-words 8 corpus.jsonl | jq -s 'group_by(.doc) | map(map(.text) | add)' >joined
	jq -s 'map(.text) | [.[1], .[0]]' corpus.jsonl | cmp - joined
	rl-chunk -q --keep '{title}' corpus.jsonl >out.jsonl
	[ "$(head -n 1 out.jsonl | jq -c 'keys_unsorted')" = '["id","doc","index","of","start","end","text","title"]' ]
}

@test "rl-chunk: sentences, with and without a budget" {
	rl-chunk -q corpus.jsonl >out.jsonl
	[ "$(head -n 3 out.jsonl | jq -c .text | tr '\n' ' ')" = '"Dr. Smith paid 3.5 dollars. " "He left. " "\"Why?\" she asked.\n\n" ' ]
	rl-chunk -q --sentences --max-words 90 corpus.jsonl | cmp - out.jsonl
	rl-chunk -q --sentences --max-words 2 corpus.jsonl | jq -e 'select((.text | split(" ") | length) > 3)' | grep -q . && false
	[ "$(jq -c 'select(.end - .start != (.text | length))' out.jsonl)" = "" ]
}

@test "rl-chunk: fields that are kept; those made here go before them" {
	[ "$(rl-chunk -q corpus.jsonl | tail -n 1 | jq -c 'keys_unsorted')" = '["id","doc","index","of","start","end","text","_id","title","n"]' ]
	echo '{"id":"x","start":9,"end":9,"body":"One. Two.","text":"other"}' >own.jsonl
	[ "$(rl-chunk -q --text .body own.jsonl | jq -c '[.start,.end,.text,has("body")]' | tr '\n' ' ')" = '[0,5,"One. ",false] [5,9,"Two.",false] ' ]
	run -1 rl-chunk -q --keep '{text}' corpus.jsonl
	[[ ${lines[-1]} == "rl-chunk: corpus.jsonl:1: "*"'text'"* ]]
	run -1 rl-chunk -q --keep '3' corpus.jsonl
}

@test "rl-chunk: overlap and cumulative text" {
	echo '{"id":"x","text":"One two. Three four. Five six seven eight nine ten. Eleven."}' >four.jsonl
	[ "$(rl-chunk -q --max-words 8 --overlap 2 four.jsonl | jq -c '[.start,.end]' | tr '\n' ' ')" = '[0,21] [9,52] [52,59] ' ]
	[ "$(rl-chunk -q --max-words 8 --cumulative four.jsonl | jq -c '[.start,.end,(.text|length)]' | tr '\n' ' ')" = '[0,21,21] [0,59,59] ' ]
}

@test "rl-chunk: a budget of tokens" {
	rl-tokenize -q --train --vocab-size 280 corpus.jsonl >tokenizer.json
	rl-chunk -q --max-tokens 12 --tokenizer tokenizer.json corpus.jsonl >out.jsonl
	[ "$(rl-tokenize -q --plain --tokenizer tokenizer.json out.jsonl | jq '.tokens | length' | sort -n | tail -n 1)" -le 12 ]
	[ "$(jq -rj 'select(.doc == "a") | .text' out.jsonl | sha256sum)" = "$(head -n 1 corpus.jsonl | jq -rj .text | sha256sum)" ]
}

@test "rl-chunk: misuse and bad input" {
	run -2 rl-chunk --max-words 3 --max-tokens 4
	run -2 rl-chunk --max-tokens 4
	[[ $output == *"--max-tokens needs a tokenizer"* ]]
	run -2 rl-chunk --overlap 4
	run -1 rl-chunk -q --text .nothing corpus.jsonl
	[[ $output == "rl-chunk: corpus.jsonl:1: --text: '.nothing' gives no text" ]]
	run -1 rl-chunk -q --max-tokens 4 --tokenizer missing.json corpus.jsonl
	printf '{"text":"One. Two."}\n{"text":3}\n{"text":"Three."}\n' >bad.jsonl
	run -3 --separate-stderr rl-chunk -q -k bad.jsonl
	[ "$(jq -c '.id // "error"' <<<"$output" | tr '\n' ' ')" = '"1/0" "1/1" "error" "3/0" ' ]
}

@test "rl-chunk: every document of the real corpora comes back whole" {
	[ -d "$shared/data/retrieval/cran" ] || skip "no data beside the tree"
	for c in cran med adi pubmedqa; do
		f=$shared/data/retrieval/$c/corpus.jsonl
		[ "$(rl-chunk -q --max-words 40 "$f" | jq -rj .text | sha256sum)" = "$(jq -rj .text "$f" | sha256sum)" ]
	done
}
