#!/usr/bin/env bats
# rl-chunk: segments of whole sentences, with nothing lost between them.
load common

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

# pairs IDS K V STRIDE: what --keys has to give for a document of these ids, without the texts
pairs() {
	jq -c --argjson k "$2" --argjson v "$3" --argjson stride "$4" '.tokens as $t | range(0; ($t | length) - $k - $v + 1; $stride) |
		[., . + $k + $v, $t[.:. + $k], $t[. + $k:. + $k + $v]]' "$1"
}

@test "rl-chunk --keys: pairs of tokens at a stride" {
	unset RL_STORE RL_TOKENIZER
	rl-tokenize -q --train --vocab-size 270 corpus.jsonl >tokenizer.json
	rl-tokenize -q --plain --tokenizer tokenizer.json <(head -n 1 corpus.jsonl) >ids
	n=$(jq '.tokens | length' ids)
	for kvs in '3 2 20' '1 1 2' '4 4 32' '7 1 11' "1 1 $((n - 2))" "1 1 $((n - 1))"; do
		read -r k v stride <<<"$kvs"
		rl-chunk -q --keys "$k" --values "$v" --stride "$stride" --tokenizer tokenizer.json <(head -n 1 corpus.jsonl) >out
		diff <(pairs ids "$k" "$v" "$stride") <(jq -c '[.start, .end, .key_tokens, .value_tokens]' out)
		[ "$(jq -sc 'map([.index, .of]) == (length as $n | [range($n)] | map([., $n]))' out)" = true ]
	done
	# a token each: joined they are the text, but for the one left over, and characters of several tokens stay whole
	rl-chunk -q --keys 1 --stride 2 --tokenizer tokenizer.json corpus.jsonl >out
	[ "$(jq -c 'keys_unsorted' out | sort -u | head -n 1)" = '["id","doc","index","of","start","end","key","value","key_tokens","value_tokens","_id","title","n"]' ]
	rl-chunk -q --keys 4 --stride 8 --tokenizer tokenizer.json <(head -n 1 corpus.jsonl) | jq -rj '.key + .value' >joined
	jq -rj .text <(head -n 1 corpus.jsonl) | head -c "$(wc -c <joined)" | tr -d '\200-\377' | cmp - <(tr -d '\200-\377' <joined)
	# defaults: as many for the value, and four times both
	diff <(rl-chunk -q --keys 3 --tokenizer tokenizer.json corpus.jsonl) <(rl-chunk -q --keys 3 --values 3 --stride 24 --tokenizer tokenizer.json corpus.jsonl)
	rl-chunk --keys 2 --stride 8 --pairs $((n / 8)) --tokenizer tokenizer.json corpus.jsonl 2>said | jq -se "length == $((n / 8)) and all(.doc == \"a\")"
	grep -qF "3 records in, $((n / 8)) out, 2 too short" said
	[ "$(rl-chunk -q --keys 2 --stride 8 --pairs $((n / 8 + 1)) --tokenizer tokenizer.json corpus.jsonl)" = "" ]
	fails_with 2 "--stride is 5, but key and value have 6 tokens" rl-chunk --keys 3 --stride 5 --tokenizer tokenizer.json corpus.jsonl
	fails_with 2 "--keys needs a tokenizer" rl-chunk --keys 3 corpus.jsonl
	fails_with 2 "--keys makes pairs" rl-chunk --keys 3 --max-words 3 --tokenizer tokenizer.json corpus.jsonl
	fails_with 2 "need --keys" rl-chunk --pairs 3 corpus.jsonl
}

@test "rl-chunk --keys: real articles and tokenizers, ids and text" {
	shared articles data/retrieval/pubmedqa/corpus.jsonl
	head -n 60 "$articles" >in
	for tokenizer in data/tokenizers/phi2-codegen golden/tokenizers/llama2 data/tokenizers/phi3-llama2-hf; do
		shared t "$tokenizer"
		rl-chunk -q --keys 10 --tokenizer "$t" in >out
		diff <(rl-tokenize -q --plain --tokenizer "$t" in | pairs - 10 10 80) <(jq -c '[.start, .end, .key_tokens, .value_tokens]' out)
		# each key and value stands in its document, one behind the other
		jq -se --slurpfile doc in '($doc | map({key: (.doc_id | tostring), value: .text}) | from_entries) as $text | length > 200 and
			all($text[.doc] as $t | ((.key + .value) | contains("\ufffd")) or ((.key + .value) as $p | $t | contains($p)))' out
		# the example of the page
		rl-chunk -q --keys 10 --pairs 6 --tokenizer "$t" in >six
		[ "$(jq -c 'select(.of != 6)' six)" = "" ]
		[ "$(jq -r .doc six | sort -u | wc -l)" -eq "$(rl-tokenize -q --plain --tokenizer "$t" in | jq 'select((.tokens | length) >= 480) | 1' | wc -l)" ]
	done
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

# Every text of ../shared/data as a record each.
all_texts() { # DATA
	local c f
	for c in cran med adi pubmedqa; do
		jq -c --arg c $c '{id: "\($c)/\(.doc_id)", text}' "$1/retrieval/$c/corpus.jsonl"
		jq -c --arg c $c '{id: "\($c)/query/\(.query_id)", text: .query}' "$1/retrieval/$c/queries.jsonl"
	done
	for f in "$1"/longqa/babilong/*.json; do jq -c --arg f "$f" '{id: $f, text: .context}' "$f"; done
	for f in "$1"/longqa/babi/*.txt "$1"/longqa/babilong/templates/*.txt "$1"/text/*/*.txt; do jq -Rsc --arg f "$f" '{id: $f, text: .}' "$f"; done
	zcat "$1/longqa/lost-in-the-middle/nq-open-oracle.jsonl.gz" | jq -c '{id: "nq/\(input_line_number)", text: (.ctxs | map(.title + "\n" + .text) | join("\n\n"))}'
	head -n 50 < <(zcat "$1/longqa/lost-in-the-middle/kv-retrieval-75_keys.jsonl.gz") | jq -c '{id: "kv/\(input_line_number)", text: (.ordered_kv_records | tojson)}'
	for f in "$1"/sentiment/rt-polarity/*; do iconv -f latin1 -t utf8 "$f" | jq -Rsc --arg f "$f" '{id: $f, text: .}'; done
	for f in "$1"/sentiment/vader/groundtruth/*.txt "$1"/sentiment/vader/*.tsv; do iconv -f utf8 -t utf8 -c "$f" | jq -Rsc --arg f "$f" '{id: $f, text: .}'; done
	jq -c '{id: "dialogue/\(input_line_number)", text: ([.. | strings] | join("\n"))}' "$1"/dialogue/inspired-unicrs/*.jsonl
	for f in "$1"/dialogue/*/*.json; do jq -c --arg f "$f" '{id: $f, text: ([.. | strings] | join(" "))}' "$f"; done
	python3 -c 'import sys, zipfile
for n in (z := zipfile.ZipFile(sys.argv[1])).namelist(): sys.stdout.write(z.read(n).decode("latin1"))' "$1/sentiment/movie_reviews.zip" |
		jq -Rsc '{id: "reviews", text: .}'
}
# Each document by its name and its text, from documents or from segments.
documents() { jq -j '"\u0000\(.id)\u0000\(.text)"' "$@" | sha256sum; }
segments() { jq -j 'if .index == 0 then "\u0000\(.doc)\u0000\(.text)" else .text end' "$@" | sha256sum; }

@test "rl-chunk: every document of the real data comes back whole, no segment empty, none over the budget" {
	shared data data
	all_texts "$data" >all.jsonl
	[ "$(wc -l <all.jsonl)" -gt 5000 ]
	[ "$(wc -c <all.jsonl)" -gt 15000000 ]
	want=$(documents <(jq -c 'select(.text != "")' all.jsonl))
	whole() { # OPTION...
		rl-chunk -q "$@" all.jsonl >out
		[ "$(segments out)" = "$want" ] || { echo "$*: not the text"; return 1; }
		! grep -qF '"text":""' out || false
	}
	whole
	[ "$(jq 'select(.end - .start != (.text | length))' out)" = "" ]
	whole --max-words 40
	[ "$(jq 'select(.end - .start != (.text | length))' out)" = "" ]
	[ "$(jq '.text' out | sed 's/^"//; s/"$//; s/\\[nrt]/ /g' | awk 'NF > most {most = NF} END {print most}')" = 40 ]
	for tokenizer in data/tokenizers/dialogpt-small data/tokenizers/phi3-llama2-hf; do
		shared t "$tokenizer"
		whole --max-tokens 64 --tokenizer "$t"
		rl-tokenize -q --plain --tokenizer "$t" out | grep -oE '"tokens":\[[^]]*\]' | awk -F, 'NF > most {most = NF} END {exit most != 64}'
	done
}
