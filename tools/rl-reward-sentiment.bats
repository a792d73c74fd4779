#!/usr/bin/env bats
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	printf 'good\t1.9\nbad\t-2.5\t0.9\t[1]\nlove\t3.2\n' >vader_lexicon.txt
	printf '\xf0\x9f\x98\x80\tgood face\n' >emoji.txt
	export RL_LEXICON=vader_lexicon.txt
	printf '%s\n' '{"format":"rlpipe bag of words","version":1,"features":3,"bias":-0.5}' '{"feature":"good","weight":2}' \
		'{"feature":"not","weight":-1.5}' '{"feature":"not good","weight":-3}' '{"end":3}' >by_hand
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

# scorers COMMAND...: standard input by the lexicon, and by the classifier
scorers() {
	cat >scored
	"$@" --lexicon vader_lexicon.txt --emoji emoji.txt <scored
	"$@" --classifier by_hand <scored
}

@test "rl-reward-sentiment: a model's own text never stops the run" {
	unset RL_LEXICON
	without() { # OPTION...: reward where no text is found, and the count of it
		scorers rl-reward-sentiment --text '.completion | fromjson.a' --otherwise -1 "$@" --as x <<<'{"completion":"{","ends":[1,1]}' 2>err | jq -c .x
	}
	[ "$(without)" = $'-1\n-1' ]
	[ "$(without --per-token)" = $'[0,-1]\n[0,-1]' ]
	grep -q "1 without a text" err
	[ "$(scorers rl-reward-sentiment -q --otherwise 3 <<<'{"completion":null}' | jq -c '[.reward_sentiment, .sentiment.compound, .classifier.log_odds]')" = $'[3,0,null]\n[3,null,null]' ]
	[ "$(scorers rl-reward-sentiment -q <<<'{"completion":["good"]}' | jq -c .reward_sentiment)" = $'0\n0' ]
}

@test "rl-reward-sentiment: empty, endless, control characters, half a character" {
	unset RL_LEXICON
	jq -nc '"", " ", "\u0000", "good\u0000 \u0007\u001b[31m", ("good " * 10000), ("good" * 10000), ("!" * 10000), ("good\u0000 \u0007" * 10000),
		"good \ufffd", "\ufffd\ufffd", "\ud83d\ude00\u200d\u2642\ufe0f", ("\ud83d\ude00" * 10000), "\uffff", ("\u0301" * 10000)
		| {completion: ., ends: [length, length]}' >texts
	for mode in scalar words mask strength signed; do
		scorers within 20 rl-reward-sentiment -q --mode $mode <texts >got
		[ "$(wc -l <got)" -eq $((2 * $(wc -l <texts))) ]
		jq -se 'all(.reward_sentiment | [.. | numbers] | all(. > -1e5 and . < 1e5))' got >/dev/null
		jq -se 'all(.completion as $t | .ends[0] == ($t | length))' got >/dev/null
	done
	# a text of one word, ten thousand times, is no other word
	[ "$(scorers rl-reward-sentiment -q --mode words <<<'{"completion":"good good good","ends":[4,9,14]}' | jq -c .reward_sentiment)" = $'[1.9,1.9,1.9]\n[0.6666667,0.6666667,0.6666667]' ]
	# what is no Unicode is no record: a line of its own, and the next one is scored
	for half in '{"completion":"good \ud83d"}' $'{"completion":"good \xf0\x9f\x98"}' '{"completion":"good'; do
		for scorer in "--lexicon vader_lexicon.txt" "--classifier by_hand"; do
			fails_with 1 "standard input:1: " rl-reward-sentiment -q $scorer <<<"$half"
			rc=0
			printf '%s\n' "$half" '{"completion":"good"}' | rl-reward-sentiment -q -k $scorer >got 2>err || rc=$?
			[ $rc -eq 3 ] && [ "$(wc -l <err)" -eq 1 ]
			[ "$(jq -sc '[.[0] | has("error")] + [.[1].reward_sentiment > 0]' got)" = '[true,true]' ]
		done
	done
}

@test "rl-reward-sentiment: five thousand emoji, each between words" {
	jq -nc '{completion: ("good 😀 but " * 5000)}' >flood
	within 10 rl-reward-sentiment -q --emoji emoji.txt flood >/dev/null
}

@test "rl-reward-sentiment --classifier: probability, log-odds, and what each word adds to them" {
	unset RL_LEXICON
	export RL_CLASSIFIER=by_hand
	[ "$(rl-reward-sentiment -q <<<'{"completion":"So good"}')" = \
		'{"completion":"So good","classifier":{"probability":0.8175744761936437,"log_odds":1.5},"reward_sentiment":1.5}' ]
	[ "$(rl-reward-sentiment -q --as reward_bow <<<'{"completion":""}' | jq -c '[.reward_bow, .classifier.log_odds]')" = '[-0.5,-0.5]' ]
	# -.5, then -1.5 / sqrt(3) and (2 - 3) / sqrt(3)
	r='{"completion":"Not  good at all","ends":[2,3,5,9,16,16]}'
	by() { rl-reward-sentiment -q --mode "$1" <<<"$r" | jq -c .reward_sentiment; }
	[ "$(by words)" = '[0,-0.8660254,0,-0.57735026,0,0]' ]
	[ "$(by scalar)" = -1.9433756729740645 ]
	[ "$(by signed)" = '[-1.9433757,-1.9433757,-1.9433757,-1.9433757,-1.9433757,-1.9433757]' ]
	[ "$(by strength)" = '[0.87472254,0.87472254,0.87472254,0.87472254,0.87472254,0.87472254]' ]
	[ "$(by mask)" = '[0.87472254,0.87472254,0,0.87472254,0,0]' ]
}

@test "rl-reward-sentiment: both scorers one after the other" {
	[ "$(rl-reward-sentiment -q <<<'{"completion":"good"}' | env -u RL_LEXICON rl-reward-sentiment -q --classifier by_hand --as reward_bow |
		jq -c '[.reward_sentiment, .reward_bow]')" = '[0.4404,1.5]' ]
}

@test "rl-reward-sentiment --classifier: a broken file is one line" {
	unset RL_LEXICON
	broken() { fails_with 1 "$1" rl-reward-sentiment -q --classifier "$2" </dev/null; }
	head -n 3 by_hand >cut
	broken "cut: cut off after 2 features, expected 3 and an end" cut
	head -c -20 by_hand >cut
	broken "cut:4: " cut
	zstd -q by_hand -o whole.zst
	head -c -5 whole.zst >cut.zst
	broken "cut.zst" cut.zst
	sed '1s/"version":1/"version":2/' by_hand >newer
	broken "newer:1: a classifier of version 2, expected 1" newer
	sed '3s/-1.5/much/' by_hand >line
	broken "line:3: " line
	broken "vader_lexicon.txt:1: " vader_lexicon.txt
	broken "No such file" absent
	broken "empty" /dev/null
	rl-reward-sentiment -q --classifier whole.zst <<<'{"completion":"good"}' | jq -e '.reward_sentiment == 1.5' >/dev/null
}

# labelled N: texts, the even ones with a good word
labelled() { jq -nc --argjson n "$1" 'range($n) | {text: "film \(. % 7) was \(if . % 2 == 0 then "good" else "dull" end)", label: (1 - . % 2)}'; }

@test "rl-reward-sentiment --train: a classifier, the same on any number of threads, in any packing" {
	labelled 40 >texts
	rl-reward-sentiment --train -j 1 --folds 4 texts >model 2>err
	grep -q "40 records in" err
	jq -se '.[0] | .format == "rlpipe bag of words" and .version == 1 and .texts == 40 and .positive == 20 and .folds == 4 and .accuracy == 1
		and .train_accuracy == 1 and .l2 == 0.05 and .min_texts == 2 and .gradient <= 1e-6 and .loss > 0' model >/dev/null
	jq -se '.[0].features == length - 2 and .[-1].end == length - 2' model >/dev/null
	jq -se '(.[1:-1] | map(.feature)) as $f | ($f | sort) == $f and any($f[]; . == "was good") and all($f[]; . != "label")' model >/dev/null
	for j in 2 5; do rl-reward-sentiment -q --train -j $j --folds 4 texts | cmp model -; done
	rl-reward-sentiment -q --train -z --folds 4 texts | zstd -dcq | cmp model -
	unset RL_LEXICON
	printf '%s\n' '{"completion":"a Good day"}' '{"completion":"a DULL day"}' | rl-reward-sentiment -q --classifier model |
		jq -se '.[0].classifier.probability > 0.7 and .[1].classifier.probability < 0.3' >/dev/null
	# weights of words and the bias are the log-odds
	jq -c '{completion: .text, ends: [range(1; .text | length + 1)]}' texts | rl-reward-sentiment -q --classifier model --mode words |
		jq -se --slurpfile m model 'length == 40 and all($m[0].bias + (.reward_sentiment | add) - .classifier.log_odds | fabs < 1e-5)' >/dev/null
}

@test "rl-reward-sentiment --train: labels, --text, -k, records that carry errors" {
	labelled 20 >texts
	rl-reward-sentiment -q --train texts >want
	jq -c '.label |= (. == 1)' texts | rl-reward-sentiment -q --train | cmp want -
	jq -c '{review: {body: .text, stars: (4 * .label + 1)}}' texts | rl-reward-sentiment -q --train --text .review.body --label '.review.stars > 3' | cmp want -
	{ cat texts; echo '{"text":"x","label":1,"error":"e"}'; echo '{"text":"x","label":0,"skip":"s"}'; } | rl-reward-sentiment -q --train | cmp want -
	rc=0
	{ echo 'no record'; cat texts; echo '{"text":"x","label":2}'; echo '{"label":1}'; } | rl-reward-sentiment -q --train -k >got 2>err || rc=$?
	[ $rc -eq 3 ] && [ "$(wc -l <err)" -eq 3 ] && cmp want got
	fails_with 1 "standard input:1: --label: '.label' gives neither 0 nor 1" rl-reward-sentiment -q --train <<<'{"text":"x","label":"pos"}'
	fails_with 1 "standard input:1: --text: '.text' gives nothing" rl-reward-sentiment -q --train <<<'{"label":1}'
	fails_with 1 "all 1 texts have the label 1" rl-reward-sentiment -q --train <<<'{"text":"x","label":1}'
	fails_with 1 "10 texts have the label 0, too few for 11 folds" rl-reward-sentiment -q --train --folds 11 texts
	fails_with 1 "no records" rl-reward-sentiment -q --train </dev/null
	fails_with 2 "--folds 1" rl-reward-sentiment -q --train --folds 1 texts
	[ ! -s "$BATS_TEST_TMPDIR/out" ]
}

@test "rl-reward-sentiment --train: rt-polarity, no worse than is published for words alone" {
	shared rt data/sentiment/rt-polarity
	{ jq -Rc '{text: ., label: 0}' "$rt/rt-polarity.neg"; jq -Rc '{text: ., label: 1}' "$rt/rt-polarity.pos"; } |
		rl-reward-sentiment -q --train --folds 5 | jq -se '.[0] | .texts == 10662 and .accuracy > 0.76' >/dev/null
}

@test "rl-reward-sentiment: faults by place" {
	fails_with 1 "standard input:1: --text: '.completion' gives nothing" rl-reward-sentiment -q <<<'{}'
	fails_with 1 "'sentiment'" rl-reward-sentiment -q <<<'{"completion":"x","sentiment":1}'
	printf 'a\t1\nbroken\n' >broken
	fails_with 1 "broken:2: no word, tab and value" rl-reward-sentiment -q --lexicon broken </dev/null
	fails_with 1 "No such file" rl-reward-sentiment -q --lexicon absent </dev/null
	printf 'a\t1e9\n' >large
	fails_with 1 "large:1: the valence of 'a' is 1e+09, expected -100 to 100" rl-reward-sentiment -q --lexicon large </dev/null
	head -c 29 vader_lexicon.txt >cut
	fails_with 1 "cut:3: no word, tab and value" rl-reward-sentiment -q --lexicon cut </dev/null
	printf 'a\t1\n\xff\t1\n' >bytes
	fails_with 1 "bytes:2: not UTF-8" rl-reward-sentiment -q --lexicon bytes </dev/null
	printf '😀 good\n' >broken
	fails_with 1 "broken:1: no word, tab and value" rl-reward-sentiment -q --emoji broken </dev/null
	fails_with 2 "--lexicon and --classifier are two ways" rl-reward-sentiment -q --classifier by_hand </dev/null
	unset RL_LEXICON
	fails_with 2 "give --lexicon, --classifier or --train" rl-reward-sentiment -q </dev/null
}

@test "rl-reward-sentiment: the examples of the page" {
	printf '%s\n' '{"text":"good"}' '{"text":"bad"}' >texts.jsonl
	[ "$(rl-reward-sentiment --lexicon vader_lexicon.txt --text .text texts.jsonl | jq -s 'min_by(.sentiment.compound).text')" = '"bad"' ]
	printf '%s\n' "a dull film" "a dull day" "dull" >rt-polarity.neg
	printf '%s\n' "a fine film" "a fine day" "fine" >rt-polarity.pos
	unset RL_LEXICON
	{
		jq -Rc '{text: ., label: 0}' rt-polarity.neg
		jq -Rc '{text: ., label: 1}' rt-polarity.pos
	} | rl-reward-sentiment --train --folds 3 >rt.classifier
	[ "$(jq 'select(.format).accuracy' rt.classifier)" = 1 ]
	[ "$(jq -s '.[1:-1] | sort_by(.weight)[:10][0].feature' rt.classifier)" = '"dull"' ]
	echo '{"prompt":"a fine","completion":" day","ends":[2,4]}' >rollouts.jsonl
	rl-reward-sentiment --classifier rt.classifier --mode strength \
		--text '.prompt + .completion' rollouts.jsonl | jq -e '.reward_sentiment | length == 2 and .[0] > 0.6 and .[0] == .[1]' >/dev/null
}
