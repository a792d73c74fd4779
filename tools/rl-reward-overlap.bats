#!/usr/bin/env bats
load common

setup() { cd "$BATS_TEST_TMPDIR"; }
one() { printf '{"completion":"the cat sat","references":["the cat sat on the mat","a cat"]}\n'; }

@test "rl-reward-overlap: values of sacrebleu, rouge_score, SQuAD and jiwer, through the tool" {
	shared pairs golden/score/overlap/pairs.jsonl
	rl-reward-overlap -q --text .hyp --refs '.refs' -m bleu -m chrf -m squad_f1 "$pairs" >all
	jq -e -n '[inputs | [.overlap.bleu - .bleu.exp, .overlap.chrf - .chrf, .overlap.squad_f1 - .squad.f1, .reward_overlap - .bleu.exp][]]
		| length == 800 and all(fabs < 1e-9)' all
	rl-reward-overlap -q --text .hyp --refs '.refs[0]' -m rougeLsum:stem -m wer "$pairs" >first
	jq -e -n '[inputs | (.overlap["rougeLsum:stem"] - .rouge.stem.rougeLsum[2]), ((.overlap.wer // 0) - (.wer.wer // 0))]
		| length == 400 and all(fabs < 1e-9)' first
}

@test "rl-reward-overlap: what is added" {
	[ "$(one | rl-reward-overlap -q -m rougeL -m wer -m distinct_1)" = \
		"$(one | sed 's/}$//'),\"overlap\":{\"rougeL\":0.6666666666666666,\"wer\":0.5,\"distinct_1\":1},\"reward_overlap\":0.6666666666666666}" ]
	one | rl-reward-overlap -q -m rougeL:p --as reward_rouge | jq -e '.reward_rouge == 1 and .overlap["rougeL:p"] == 1'
	# a string is one reference
	printf '{"a":"x y","b":"x y"}\n' | rl-reward-overlap -q -m squad_em --text .a --refs .b | jq -e '.reward_overlap == 1'
	export RL_METRIC=$'wer\nchrf'
	one | rl-reward-overlap -q | jq -e '.overlap | keys == ["chrf", "wer"]'
}

@test "rl-reward-overlap: what cannot be scored is --otherwise, and counted" {
	cat >some.jsonl <<-'END'
		{"completion":"a b","references":["a b"]}
		{"completion":"a b","references":null}
		{"completion":"a b"}
		{"completion":"a b","references":[]}
		{"completion":null,"references":["a"]}
		{"completion":"a b","references":[" "]}
		{"completion":"","references":["a"]}
	END
	rl-reward-overlap -m wer -m distinct_1 --otherwise 9 some.jsonl >out 2>said
	[ "$(jq -c '[.reward_overlap, .overlap.wer, .overlap.distinct_1]' out | tr '\n' ' ')" = \
		'[0,0,1] [9,null,1] [9,null,1] [9,null,1] [9,null,null] [9,null,1] [1,1,0] ' ]
	grep -qF '7 records in, 7 out, 1 without a text, 2 without references, 5 unscored' said
	# SQuAD v2: an empty list says that there is no answer
	[ "$(rl-reward-overlap -q -m squad2_f1 <<<'{"completion":"The","references":[]}' | jq .reward_overlap)" = 1 ]
}

@test "rl-reward-overlap: a model's own text never stops the run" {
	[ "$(rl-reward-overlap -q -m bleu --otherwise -1 --text '.completion | fromjson.a' <<<'{"completion":"{","references":"a"}' | jq .reward_overlap)" = -1 ]
	jq -nc '{completion: ("good\u0000 \u0007\n" * 20000), references: ["good"]}, {completion: ("w " * 10000), references: [("w v " * 5000)]}' >flood
	metrics=()
	for m in bleu bleu:tok=intl bleu:tok=char nltk_bleu:method=7 chrf++ rouge2 rougeL rougeLsum:stem squad_f1 distinct_4 wer; do
		metrics+=(-m $m)
	done
	within 60 rl-reward-overlap -q "${metrics[@]}" flood >out
	[ "$(wc -l <out)" -eq 2 ]
}

@test "rl-reward-overlap: faults by place" {
	fails_with 2 "--metric is required" rl-reward-overlap -q </dev/null
	fails_with 2 "--metric: no measure 'blue'" rl-reward-overlap -q -m blue </dev/null
	fails_with 2 "option 'smooth=x'" rl-reward-overlap -q -m bleu:smooth=x </dev/null
	fails_with 2 "is given twice" rl-reward-overlap -q -m wer -m wer </dev/null
	fails_with 2 "rl-eval --corpus" rl-reward-overlap -q -m self_bleu </dev/null
	fails_with 1 "standard input:1: --text: '.completion' gives nothing" rl-reward-overlap -q -m wer <<<'{}'
	fails_with 1 "standard input:1: " rl-reward-overlap -q -m wer <<<'{"completion":"a","references":{"a":1}}'
	fails_with 1 "'overlap'" rl-reward-overlap -q -m wer <<<'{"completion":"a","references":"a","overlap":1}'
}

@test "rl-reward-overlap: the examples of the page" {
	printf '%s\n' '{"id":1,"completion":"a cat","answers":["the cat"]}' '{"id":2,"completion":"a dog","answers":["the cat"]}' >answers.jsonl
	[ "$(rl-reward-overlap -q --metric squad_f1 --metric squad_em --refs .answers answers.jsonl | jq -c '[.id, .reward_overlap]' | tr '\n' ' ')" = '[1,1] [2,0] ' ]
	one >answers.jsonl
	eval "$(sed -n '/^A reward out of several/,/^\.Ed/p' "$root/man/rl-reward-overlap.1" | sed '1,2d;$d')" >got
	[ "$(jq -s 'length' got)" -eq "$(wc -l <answers.jsonl)" ]
	[ "$(jq -s 'map(.reward) | min > 1' got)" = true ]
}
