#!/usr/bin/env bats
# rl-tokenize: text to ids and back, training, and what it refuses.
bats_require_minimum_version 1.5.0
set -o pipefail

shared=${RLPIPE_SHARED:-$BATS_TEST_DIRNAME/../../shared}

setup() {
	unset RL_STORE RL_TOKENIZER
	cd "$BATS_TEST_TMPDIR"
	printf '%s\n' '{"id":"a","text":"the cat sat on the mat"}' '{"id":"b","text":"the bat ate the hat, naïve 日本"}' \
		'{"id":"c","text":""}' >corpus.jsonl
	rl-tokenize -q --train --vocab-size 270 <corpus.jsonl >tokenizer.json
}

@test "rl-tokenize: the examples of the page: train, count, there and back" {
	rl-tokenize -q --train --vocab-size 270 <corpus.jsonl >again.json
	cmp tokenizer.json again.json
	[ "$(rl-tokenize -q --tokenizer tokenizer.json corpus.jsonl | jq -s 'map(.tokens | length) | .[0] < 22 and .[2] == 0')" = true ]
	rl-tokenize -q --tokenizer tokenizer.json <corpus.jsonl | rl-tokenize -q --tokenizer tokenizer.json --decode >back.jsonl
	cmp corpus.jsonl back.jsonl
}

@test "rl-tokenize: the input is a prefix of the output" {
	rl-tokenize -q --tokenizer tokenizer.json corpus.jsonl >out.jsonl
	while read -r in && read -r out <&3; do
		[ "${out:0:$((${#in} - 1))}" = "${in%\}}" ]
	done <corpus.jsonl 3<out.jsonl
}

@test "rl-tokenize: special tokens in the text, --plain, and --decode --special" {
	echo '{"text":"the<|endoftext|>"}' >special.jsonl
	rl-tokenize -q --tokenizer tokenizer.json special.jsonl >ids.jsonl
	[ "$(jq '.tokens[-1]' ids.jsonl)" -eq 0 ]
	[ "$(rl-tokenize -q --tokenizer tokenizer.json --plain special.jsonl | jq '.tokens | index(0)')" = null ]
	[ "$(rl-tokenize -q --tokenizer tokenizer.json --decode ids.jsonl | jq -r .text)" = the ]
	[ "$(rl-tokenize -q --tokenizer tokenizer.json --decode --special ids.jsonl | jq -r .text)" = 'the<|endoftext|>' ]
}

@test "rl-tokenize: --decode keeps the other fields and puts text in place of tokens" {
	echo '{"id":"x","n":1.50,"tokens":[1,2],"text":"old","m":{"a":[1e3]}}' |
		rl-tokenize -q --tokenizer tokenizer.json --decode >out.jsonl
	[ "$(jq -c 'del(.text)' out.jsonl)" = '{"id":"x","n":1.5,"m":{"a":[1000]}}' ]
	[ "$(jq -r .text out.jsonl)" = '!"' ]
}

@test "rl-tokenize: training options" {
	rl-tokenize -q --train --vocab-size 260 --special-token '<s>' --special-token '</s>' <corpus.jsonl >two.json
	[ "$(jq -c '[.added_tokens[].content]' two.json)" = '["<s>","</s>"]' ]
	[ "$(jq '.model.vocab | length' two.json)" -eq 260 ]
	rl-tokenize -q --train --vocab-size 260 --special-token '' <corpus.jsonl >none.json
	[ "$(jq -c '[(.added_tokens | length), (.model.merges | length)]' none.json)" = '[0,4]' ]
	rl-tokenize -q --train --vocab-size 9999 --min-frequency 3 --split llama3 <corpus.jsonl >few.json 2>warning
	[ "$(jq '.model.merges | length' few.json)" -lt 20 ]
	grep -q 'tokens only; 9999 were asked for' warning
	rl-tokenize -q --train --vocab-size 300 --text '.a + .b' <<<'{"a":"xyxy","b":"xy"}' 2>/dev/null | jq -e '.model.vocab.xyxyxy'
	RL_STORE=none.lmdb rl-tokenize -q --tokenizer few.json corpus.jsonl >/dev/null
}

@test "rl-tokenize: the tokenizer of a store, by -s and by RL_STORE" {
	tiny=$BATS_TEST_DIRNAME/../testdata/tiny
	jq '.vocab_size = 270' "$tiny/config.json" >config.json
	rl-store init --config config.json --tokenizer tokenizer.json run.lmdb 2>/dev/null
	rl-tokenize -q --tokenizer tokenizer.json corpus.jsonl >by-file
	rl-tokenize -q -s run.lmdb corpus.jsonl | cmp - by-file
	RL_STORE=run.lmdb rl-tokenize -q corpus.jsonl | cmp - by-file
	rl-store init --config "$tiny/config.json" ids.lmdb 2>/dev/null
	run -1 rl-tokenize -q -s ids.lmdb corpus.jsonl
	[[ $output == *"ids.lmdb: slot 'policy' has no tokenizer: it works on ids alone" ]]
}

@test "rl-tokenize: misuse is status 2" {
	run -2 rl-tokenize
	[[ $output == *"no tokenizer"* ]]
	run -2 rl-tokenize --train
	[[ $output == *"--train needs --vocab-size"* ]]
	run -2 rl-tokenize --train --vocab-size 300 --decode
	run -2 rl-tokenize --tokenizer tokenizer.json --decode --plain
	run -2 rl-tokenize --train --vocab-size 10
}

@test "rl-tokenize: what is wrong is said in one line, with its place" {
	run -1 rl-tokenize --tokenizer missing.json corpus.jsonl
	[[ $output == "rl-tokenize: missing.json: No such file or directory" ]]
	run -1 rl-tokenize --tokenizer . <<<'{}'
	[[ $output == *"'.text' gives no text"* ]]
	printf '{"text":"a"}\n{"text":7}\n' >bad.jsonl
	run -1 rl-tokenize -q --tokenizer tokenizer.json bad.jsonl
	[[ ${lines[-1]} == "rl-tokenize: bad.jsonl:2: "* ]]
	run -3 --separate-stderr rl-tokenize -q -k --tokenizer tokenizer.json bad.jsonl
	[ "$(jq -c 'has("error")' <<<"$output" | tr '\n' ' ')" = "false true " ]
	run -1 rl-tokenize -q --tokenizer tokenizer.json --decode <<<'{"tokens":[1,99999]}'
	[[ $output == *"token 1 is 99999, which is not in the vocabulary" ]]
	run -1 rl-tokenize -q --train --vocab-size 300 </dev/null
	echo '{"model":{"type":"WordPiece"}}' >wordpiece.json
	run -1 rl-tokenize --tokenizer wordpiece.json corpus.jsonl
	[[ $output == "rl-tokenize: wordpiece.json: model: type 'WordPiece' is not supported; only BPE is" ]]
}

@test "rl-tokenize: GPT-2's files" {
	[ -d "$shared/data/tokenizers/gpt2" ] || skip "no data beside the tree"
	echo '{"text":"Hello world"}' >hello.jsonl
	[ "$(rl-tokenize -q --tokenizer "$shared/data/tokenizers/gpt2" hello.jsonl | jq -c .tokens)" = '[15496,995]' ]
	[ "$(rl-tokenize -q --tokenizer "$shared/data/tokenizers/dialogpt-small" hello.jsonl | jq -c .tokens)" = '[15496,995]' ]
	[ "$(rl-tokenize -q --special --tokenizer "$shared/data/tokenizers/phi3-llama2-hf" hello.jsonl | jq -c .tokens)" = '[1,15043,3186]' ]
}
