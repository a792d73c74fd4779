#!/usr/bin/env bats
# The modules on what models write, and the examples at their heads; their formulas are in tools/seed_vectors.bats.
load ../../tools/common
root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)

setup() { cd "$BATS_TEST_TMPDIR"; }
reward() { rl-reward-jq -q -L "$root/pipelines/lib" x "$@"; }
text() { jq -nr -L "$root/pipelines/lib" "include \"text\"; $1"; }

@test "pipelines/lib: no text stops or fails a reward" {
	jq -nc '("", ("good 5\u0000 \u0007\n" * 10000), ("w " * 10000), (" " * 10000), ("." * 10000), "\u0000", ("😀" * 5000)) |
		{completion: ., query: "Where is w?", facts: ["w", "5"], overlap: ([range(1; 5) | {"bleu@\(.)": 0, "distinct_\(.)": 0}] | add)}' >flood
	local program
	for program in 'include "margins"; . as $r | .completion | clean_margin | margin_a(0.5; true)' \
		'include "margins"; . as $r | .completion | margin_b($r.query; $r.facts)' \
		'include "margins"; . as $r | .completion | margin_c($r.query; $r.facts)' \
		'include "margins"; .completion | quality_score + (is_relevant | if . then 1 else 0 end)' \
		'include "dialogue"; . as $r | .completion | dialogue($r.overlap; "sad") | .reward += 1e-9' \
		'include "dialogue"; . as $r | .completion | dialogue_rule($r.query)' \
		'include "dialogue"; .completion | items' \
		'include "queries"; .completion | boolean_format' \
		'include "queries"; .completion | literature_reward(0.5)' \
		'include "queries"; .completion | passage_reward(0.5)' \
		'include "queries"; .completion | ranking_reward(0)' \
		'include "queries"; .completion | answer_query | length' \
		'include "queries"; .completion | boolean_expand | length' \
		'include "queries"; "(a OR b) AND " * 200 + .completion | boolean_expand | length'; do
		within 60 rl-reward-jq -L "$root/pipelines/lib" x "$program" flood >out 2>said
		grep -qx 'rl-reward-jq: 7 records in, 7 out' said || { echo "$program: $(cat said)"; return 1; }
	done
}

@test "pipelines/lib: words, and what holds what" {
	[ "$(text '" a\tb\r\nc  " | words | join("|")')" = "a|b|c" ]
	[ "$(text '"\u00a0a\u2003b\u001fc\u200bd\n" | words | map(length) | join("|")')" = "1|1|3" ] # a zero-width space is none
	[ "$(text '"b\u001fc" | words | length')" = 2 ]
	[ "$(text '"", "  " | words | length' | paste -sd,)" = 0,0 ]
	[ "$(text '"a\u0000bc" | holds("bc"), holds("\u0000"), holds("ab"), holds("")' | paste -sd,)" = true,true,false,true ]
	[ "$(text '"" | holds("a"), holds("")' | paste -sd,)" = false,true ]
}

@test "pipelines/lib: parts that the vectors do not reach" {
	# 200 words and more, a margin without a word, a query and facts without one
	jq -nc '("w" * 4 + " ") * 300, "", "YES # why", "8.5" | {completion: ., query: "", facts: []}' >in
	[ "$(reward 'include "margins"; .completion | margin_a(1; false)' in | jq .x.conciseness | head -n 2 | paste -sd,)" = 0.3333333333333333,1 ]
	[ "$(reward 'include "margins"; . as $r | .completion | margin_c($r.query; $r.facts)' in | jq -c '.x | [.relevance, .coverage, .length]' | head -n 2 | paste -sd' ')" = '[0,0,0.1] [0,0,0]' ]
	[ "$(reward 'include "margins"; . as $r | .completion | margin_b($r.query; $r.facts)' in | jq -c '.x | [.relevance, .length, .fact]' | head -n 1)" = '[0,0.2,-0.5]' ]
	[ "$(reward 'include "margins"; .completion | is_relevant | if . then 1 else 0 end' in | sed -n 3p | jq .reward_x)" = 0 ]
	# weights, items, emotions without a table
	echo '{"completion":"See <movie> or <movie> .","overlap":{"bleu@1":1,"bleu@2":1,"bleu@3":0,"bleu@4":0,"distinct_1":0.8,"distinct_2":1,"distinct_3":1,"distinct_4":1}}' >one
	[ "$(reward 'include "dialogue"; .completion | items' one | jq .reward_x)" = 2 ]
	[ "$(reward 'include "dialogue"; . as $r | .completion | dialogue($r.overlap; "curious"; dialogue_weights + {empathy: 4, flaws: 0})' one | jq -c '.x | [.bleu, .distinct, .empathy, .recommendation, .reward]')" = '[0.5,1,0.5,1,4.5]' ]
	[ "$(jq -nc -L "$root/pipelines/lib" 'include "dialogue"; ("q q q q MOVIE", "q q q q q movie") as $said | "A Movie" | dialogue_rule($said).context' | paste -sd,)" = 0.2,0 ]
	[ "$(jq -n -L "$root/pipelines/lib" 'include "queries"; null | rank_tier')" = -3.5 ]
}

# queries PROGRAM: what it gives for each line of `texts`
queries() { jq -c -L "$root/pipelines/lib" "include \"queries\"; $1" texts; }
@test "pipelines/lib: the answer of a model, and whether it has the form" {
	jq -c . >texts <<-'END'
		"<think>hm</think> <answer>{\"query\": \"a b\"}</answer>"
		"<think>hm</think><answer>{\"query\": \"a\"}</answer><answer>{\"query\": \"b\"}</answer>"
		"<answer>{\"query\": \"a\"}</answer><think>hm</think>"
		"<think><think>hm</think><answer>{\"query\": \"a\"}</answer>"
		"{\"query\": \"a\"}"
		"<think></think><answer>{\"query\": \"a\"}"
		"<think></think><answer>a</answer>"
		"<think></think><answer>{\"query\": [\"a\"]}</answer>"
		"<think></think><answer>{\"query\": \"\\ud83d\"}</answer>"
		"<think></think><answer></answer>"
		"<think></think><answer>{\"query\": \"a\\u0000\\u0007\"}</answer>"
		""
	END
	[ "$(queries answer_format | paste -sd' ')" = "true false false false false false true true true true true false" ]
	[ "$(queries answer_query | paste -sd' ')" = '"a b" "b" "a" "a" null null null null null null "a\u0000\u0007" null' ]
	[ "$(jq -r '"<think>" + .' <<<'"hm</think><answer>{}</answer>"' | jq -R -L "$root/pipelines/lib" 'include "queries"; answer_format')" = true ]
}

@test "pipelines/lib: DeepRetrieval's rewards, term by term" {
	# a query in the form, one out of it, the form without a query, neither
	jq -c . >texts <<-'END'
		"<think></think><answer>{\"query\": \"a\"}</answer>"
		"<answer>{\"query\": \"a\"}</answer>"
		"<think></think><answer>a</answer>"
		"a"
	END
	[ "$(queries 'literature_reward(0.45) | [.format, .answer, .reward]' | paste -sd' ')" = '[1,3,4] [-4,0,-4] [1,-4,-3] [-4,0,-4]' ]
	[ "$(queries 'literature_reward(0) | .reward' | paste -sd' ')" = '-2.5 -4 -3 -4' ]
	[ "$(queries 'passage_reward(0.05) | [.format, .answer, .reward]' | paste -sd' ')" = '[1,4,5] [-4,0,-4] [1,-4,-3] [-4,0,-4]' ]
	[ "$(queries 'passage_reward(0) | .reward' | paste -sd' ')" = '-2.5 -4 -3 -4' ]
	[ "$(queries 'passage_reward(0; -2.5; -3) | .reward' | paste -sd' ')" = '-1.5 -4 -2 -4' ]
	[ "$(queries 'ranking_reward(0.5) | .reward' | paste -sd' ')" = '0.6 -1.5 0.6 -1.5' ]
	[ "$(queries 'ranking_reward(0) | .reward' | paste -sd' ')" = '0 -2 0 -2' ]
	[ "$(queries '(literature_reward(null), passage_reward(null), ranking_reward(null)) | .reward' | sort -u)" = null ]
	# 1 / (1 / rank) is the rank again
	[ "$(jq -n -L "$root/pipelines/lib" 'include "queries"; [range(1; 3001) | . as $rank | select((1 / . | reciprocal_rank) != $rank)] | length')" = 0 ]
}

@test "pipelines/lib: Boolean queries as the queries that they stand for" {
	expand() { jq -nc -L "$root/pipelines/lib" --arg q "$1" 'include "queries"; $q | boolean_expand'; }
	[ "$(expand '(a AND b) OR c')" = '["a AND b","c"]' ]
	[ "$(expand 'a or b and c')" = '["a","b AND c"]' ]
	[ "$(expand 'a AND (b OR (c AND (d OR e f)))')" = '["a AND b","a AND c AND d","a AND c AND (e f)","e f"]' ]
	[ "$(expand 'a b (c OR d)')" = '["(a b) AND c","(a b) AND d","a b"]' ]
	[ "$(expand 'a AND NOT b')" = '["a AND (NOT b)"]' ]
	[ "$(expand 'a AND NOT (b OR c)')" = '["a AND NOT (b OR c)"]' ]
	[ "$(expand 'a OR a OR "b c"')" = '["a","\"b c\""]' ]
	[ "$(expand '')" = '[""]' ]
	for broken in '((((' 'a (b' 'OR' ') AND ('; do [ "$(expand "$broken")" = "$(jq -nc --arg q "$broken" '[$q]')" ]; done
	[ "$(expand '(a OR (b')" = '["a","b"]' ]
	[ "$(expand 'a) OR b')" = '["a","b"]' ]
	# limits: 64 choices, in the order of the alternatives; 512 words
	[ "$(expand "(a OR b) AND (c OR d) AND (e OR f) AND (g OR h) AND (i OR j) AND (k OR l) AND (m OR n)" | jq -c '[length, .[0], .[1], .[63]]')" = \
		'[64,"a AND c AND e AND g AND i AND k AND m","a AND c AND e AND g AND i AND k AND n","a AND d AND f AND h AND j AND l AND n"]' ]
	[ "$(expand "$(printf 'a%d OR ' {1..255})b" | jq length)" = 64 ]
	[ "$(expand "$(printf 'a%d OR ' {1..256})b" | jq length)" = 1 ]
}

@test "pipelines/lib: every tool that takes a program finds the modules, where it is built and where it is installed" {
	echo '{"id":"a","text":"one two. three.","completion":"b c","references":["b c"],"items":[]}' >in
	mkdir -p prefix/bin prefix/share/rlpipe
	cp -L "$(command -v rl-chunk)" prefix/bin/
	cp -rL "$root/pipelines/lib" prefix/share/rlpipe/lib
	local run
	for run in 'rl-chunk' 'prefix/bin/rl-chunk' './prefix/share/../bin/rl-chunk'; do
		$run -q --text 'include "text"; .text | words | join("_")' in | holds '.text == "one_two._three."'
		$run -q --text 'include "prompts"; {query: .id, text} | margin_prompt({system_message: "", extractive_summary: "{query}"}; {})' in |
			holds -s 'map(.text) | add == "one two. three.a"' # a module finds those beside it
	done
	rl-group -q --by 'include "text"; .text | words[0]' in | holds '.id == "one"'
	rl-eval -q --json -m 'n=include "text"; .text | words | length' in | holds '.mean == 3'
	rl-reward-overlap -q -m squad_em --text 'include "text"; .completion | strip' in | holds '.reward_overlap == 1'
	rl-reward-jq -q x 'import "text" as t; .text | t::words | length' in | holds '.reward_x == 3'
	rl-index -q --text 'include "text"; .text | words[0]' in index.lmdb
	# one of the user's own comes first, and there is none by a name that nobody has
	mkdir mine
	echo 'def words: ["mine"];' >mine/text.jq
	rl-reward-jq -q -L mine x 'include "text"; words | length' in | holds '.reward_x == 1'
	fails_with 1 "module not found: none_such" rl-chunk -q --text 'include "none_such"; .text' in
	fails_with 1 "module not found" prefix/bin/rl-chunk -q --text 'include "none_such"; .text' in
	rm -r prefix/share
	fails_with 1 "module not found" prefix/bin/rl-chunk -q --text 'include "text"; .text' in
}

@test "pipelines/lib: make install puts the modules where the tools look" {
	make -n -C "$root" install PREFIX=/p DESTDIR=/d NVCC= >said
	grep -E '^install -m 644 .*pipelines/lib/shapes.jq .* /d/p/share/rlpipe/lib$' said
	grep -E '^install -d .* /d/p/share/rlpipe/lib$' said
	grep -E '^install -m 755 .*/rl-chunk .* /d/p/bin$' said
}

# example MODULE: the command in its head
example() { sed -n '/^#   /p' "$root/pipelines/lib/$1.jq" | sed "s/^#   //; s|pipelines/lib|$root/pipelines/lib|" >example; bash ./example; }
@test "pipelines/lib: the examples of the modules" {
	echo '{"id":"m","query":"Where is Sandra?","completion":"Answer: nothing","facts":["Sandra"]}' >margins.jsonl
	[ "$(example margins 2>/dev/null | jq -c '[(.reward_margin * 1000 | round), (.margin | keys | length)]')" = '[-85,5]' ]
	echo '{"completion":"You should watch <movie>","references":"You should watch <movie>","emotion":"happy"}' >dialogues.jsonl
	[ "$(example dialogue 2>/dev/null | jq -c '[(.reward_dialogue * 100 | round), has("bleu"), .dialogue.flaws]')" = '[298,false,0.2]' ]
	printf '%s\n' '{"id":"d1","text":"asthma steroid"}' '{"id":"d2","text":"knee"}' | rl-index -q - corpus.lmdb
	echo '{"completion":"(asthma) AND (steroid)","relevant_doc_ids":["d1"]}' >rollouts.jsonl
	[ "$(example queries 2>/dev/null | jq -c '[(.reward_query * 100 | round), .query.recall, has("reward_bm25")]')" = '[96,1,false]' ]
}
