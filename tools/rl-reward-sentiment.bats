#!/usr/bin/env bats
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	printf 'good\t1.9\nbad\t-2.5\t0.9\t[1]\nlove\t3.2\n' >vader_lexicon.txt
	printf '\xf0\x9f\x98\x80\tgood face\n' >emoji.txt
	export RL_LEXICON=vader_lexicon.txt
}
added() { rl-reward-sentiment -q "$@" | jq -c '[.sentiment, .reward_sentiment]'; }

@test "rl-reward-sentiment: the scores of the reference implementation, through the tool" {
	shared vader data/sentiment/vader
	jq -Rc 'split("\t") | {id: .[0], text: .[2]}' "$vader/groundtruth/tweets_GroundTruth.txt" >texts.jsonl
	rl-reward-sentiment -q --lexicon "$vader/vader_lexicon.txt" --emoji "$vader/emoji_utf8_lexicon.txt" --text .text texts.jsonl |
		jq -c '[.id, (.sentiment | .neg, .neu, .pos, .compound)]' >got
	jq -Rc 'split("\t") | [.[0], (.[2:][] | tonumber)]' "$vader/golden_tweets.tsv" | cmp - got
}

@test "rl-reward-sentiment: what is added" {
	[ "$(rl-reward-sentiment -q <<<'{"completion":"good"}')" = \
		'{"completion":"good","sentiment":{"neg":0,"neu":0,"pos":1,"compound":0.4404},"reward_sentiment":0.4404}' ]
	[ "$(added <<<'{"completion":""}')" = '[{"neg":0,"neu":0,"pos":0,"compound":0},0]' ]
	[ "$(added --emoji emoji.txt <<<'{"completion":"😀"}' | jq -c '.[1]')" = 0.4404 ]
	rl-reward-sentiment -q --as reward_mood <<<'{"completion":"bad"}' | jq -e '.reward_mood < 0' >/dev/null
}

@test "rl-reward-sentiment: --per-token puts a word on the token in which it ends" {
	r='{"completion":"A good, not bad day","ends":[1,4,6,7,11,15,19]}'
	[ "$(rl-reward-sentiment -q --per-token <<<"$r" | jq -c .reward_sentiment)" = '[0,0,1.9,0,0,1.85,0]' ]
	# a word that the text cuts off, two on one token, an emoji of two words, no token at all
	[ "$(rl-reward-sentiment -q --per-token <<<'{"completion":"good bad","ends":[2,8]}' | jq -c .reward_sentiment)" = '[0,-0.6]' ]
	[ "$(rl-reward-sentiment -q --per-token --emoji emoji.txt <<<'{"completion":"é😀é","ends":[1,2,3]}' | jq -c .reward_sentiment)" = '[0,1.9,0]' ]
	[ "$(rl-reward-sentiment -q --per-token <<<'{"completion":"","ends":[]}' | jq -c .reward_sentiment)" = '[]' ]
	fails_with 1 "needs 'ends'" rl-reward-sentiment -q --per-token <<<'{"completion":"good"}'
	fails_with 1 "'ends'" rl-reward-sentiment -q --per-token <<<'{"completion":"good","ends":["a"]}'
}

@test "rl-reward-sentiment: --mode, each way to put it on tokens" {
	# "A| goo|d|, not| bad| d|ay|", the last one EOS: compound of 1.9 and 1.85 is .6956
	r='{"completion":"A good, not bad day","ends":[1,5,6,11,15,17,19,19]}'
	by() { rl-reward-sentiment -q --mode "$1" "${@:2}" <<<"$r" | jq -c .reward_sentiment; }
	[ "$(by scalar)" = 0.6956 ]
	[ "$(by words)" = '[0,0,1.9,0,1.85,0,0,0]' ]
	[ "$(by words)" = "$(rl-reward-sentiment -q --per-token <<<"$r" | jq -c .reward_sentiment)" ]
	[ "$(by signed)" = '[0.6956,0.6956,0.6956,0.6956,0.6956,0.6956,0.6956,0.6956]' ]
	[ "$(by strength)" = '[0.8478,0.8478,0.8478,0.8478,0.8478,0.8478,0.8478,0.8478]' ]
	[ "$(by mask)" = '[0,0.8478,0.8478,0,0.8478,0,0,0]' ]
	# strength has no sign, tokens that the policy did not choose have nothing
	r='{"completion":"bad","ends":[1,3,3],"mask":[1,0,1]}'
	[ "$(by signed)" = '[-0.5423,0,-0.5423]' ]
	[ "$(by strength)" = '[0.77115,0,0.77115]' ]
	[ "$(by mask)" = '[0.77115,0.77115,0]' ]
	# nothing is said: half strength, no sign, no word
	r='{"completion":"day","ends":[3]}'
	[ "$(by strength)$(by signed)$(by mask)" = '[0.5][0][0]' ]
	# the text that is scored may be another one
	r='{"prompt":"good ","completion":"day","ends":[3]}'
	[ "$(by signed --text '.prompt + .completion')" = '[0.4404]' ]
}

@test "rl-reward-sentiment: --mode at its edges" {
	by() { rl-reward-sentiment -q --mode "$@" --emoji emoji.txt | jq -c .reward_sentiment; }
	# "good good facebad" for the rules; the emoji is character 4
	[ "$(by mask <<<'{"completion":"good😀bad","ends":[2,4,4,5,8]}')" = '[0.85015,0.85015,0,0.85015,0]' ]
	# an emoji of which three tokens are mere bytes
	[ "$(by mask <<<'{"completion":"x 😀","ends":[2,2,2,3]}')" = '[0,0,0,0.7202]' ]
	[ "$(by mask <<<'{"completion":"good bad","ends":[]}')" = '[]' ]
	[ "$(by signed <<<'{"completion":"good","ends":[]}')" = '[]' ]
	for mode in words mask strength signed; do
		[ "$(by $mode --text '.completion | fromjson.a' --otherwise -1 <<<'{"completion":"{","ends":[1,1]}')" = '[0,-1]' ]
		fails_with 1 "needs 'ends'" rl-reward-sentiment -q --mode $mode <<<'{"completion":"good"}'
	done
	fails_with 1 "'mask' has 1 numbers, expected 2 (as 'ends')" rl-reward-sentiment -q --mode signed <<<'{"completion":"ab","ends":[1,2],"mask":[1]}'
	fails_with 2 "--mode scalar" rl-reward-sentiment -q --per-token --mode scalar <<<'{}'
	fails_with 2 "--mode" rl-reward-sentiment -q --mode vector <<<'{}'
}

@test "rl-reward-sentiment: a model's own text never stops the run" {
	[ "$(added --text '.completion | fromjson.a' --otherwise -1 <<<'{"completion":"{"}' | jq '.[1]')" = -1 ]
	[ "$(added --text '.completion | fromjson.a' --otherwise -1 --per-token <<<'{"completion":"{","ends":[1,1]}' | jq -c '.[1]')" = '[0,-1]' ]
	jq -nc '{completion: ("good\u0000 \u0007" * 10000)}' | added >/dev/null
}

@test "rl-reward-sentiment: five thousand emoji, each between words" {
	jq -nc '{completion: ("good 😀 but " * 5000)}' >flood
	within 10 rl-reward-sentiment -q --emoji emoji.txt flood >/dev/null
}

@test "rl-reward-sentiment: faults by place" {
	fails_with 1 "standard input:1: --text: '.completion' gives nothing" rl-reward-sentiment -q <<<'{}'
	fails_with 1 "'sentiment'" rl-reward-sentiment -q <<<'{"completion":"x","sentiment":1}'
	printf 'a\t1\nbroken\n' >broken
	fails_with 1 "broken:2: no word, tab and value" rl-reward-sentiment -q --lexicon broken </dev/null
	fails_with 1 "No such file" rl-reward-sentiment -q --lexicon absent </dev/null
	unset RL_LEXICON
	fails_with 2 "--lexicon is required" rl-reward-sentiment -q </dev/null
}

@test "rl-reward-sentiment: the example of the page" {
	printf '%s\n' '{"text":"good"}' '{"text":"bad"}' >texts.jsonl
	[ "$(rl-reward-sentiment --lexicon vader_lexicon.txt --text .text texts.jsonl | jq -s 'min_by(.sentiment.compound).text')" = '"bad"' ]
}
