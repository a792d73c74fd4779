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

@test "rl-eval: a measure by a name and a program" {
	printf '%s\n' '{"completion":"a","target":"a"}' '{"completion":"b","target":"a"}' |
		rl-eval -q --json -m 'accuracy=.completion == .target' | jq -e '.measure == "accuracy" and .mean == 0.5 and .n == 2'
	fails_with 1 "--measure" rl-eval -q -m 'x=.a |' before.jsonl
}

@test "rl-eval --group-by: rows by value, sorted, then all" {
	printf '%s\n' '{"id":1,"x":1,"task":"16k"}' '{"id":2,"x":2,"task":10}' '{"id":3,"x":3,"task":"2k"}' '{"id":4,"x":4,"task":true}' \
		'{"id":5,"x":5,"task":2.0}' '{"id":6,"x":6,"task":"2k"}' '{"id":7,"x":9,"task":null}' '{"id":8,"x":10}' '{"id":9,"x":7,"task":2}' \
		'{"id":10,"task":-0.5}' '{"id":11,"x":8,"task":false}' >in
	[ "$(rl-eval --json -m x --group-by .task in 2>said | jq -c '[.group, .n, .mean]' | tr -d '\n')" = \
		'[false,1,8][true,1,4][-0.5,0,null][2,2,6][10,1,2]["2k",2,4.5]["16k",1,1]["all",10,5.5]' ]
	grep -qF "11 records in, 8 out, 2 without a group" said
	# each group as if it were alone, and each measure in turn
	rl-eval -q --json -m reward_bm25 -m good --group-by '.id > "q5"' before.jsonl >out
	for id in false true; do
		jq -c "select((.id > \"q5\") == $id)" before.jsonl | rl-eval -q --json -m reward_bm25 -m good >alone
		diff alone <(jq -c "select(.group == $id) | del(.group)" out)
	done
	diff <(rl-eval -q --json -m reward_bm25 -m good before.jsonl) <(jq -c 'select(.group == "all") | del(.group)' out)
	[ "$(jq -r .measure out | uniq -c | tr -s ' \n' ' ')" = " 3 reward_bm25 3 good " ]
	[ "$(rl-eval -q -m x --group-by .task in | awk '{print $2}' | tr '\n' ' ')" = 'group false true -0.5 2 10 2k 16k all ' ]
	rl-eval -q -m x --group-by '"é\t"' in >out
	grep -qF 'x                            é\t                    10 ' out
	grep -qF 'x                            all                    10 ' out
}

@test "rl-eval --group-by: with --compare the base's groups, limits on all, what is refused" {
	rl-eval -q --json --compare before.jsonl <(jq -c '.good |= not' after.jsonl) -m reward_bm25 --group-by .good >out
	[ "$(jq -c '[.group, .n]' out | tr -d '\n')" = '[false,4][true,4]["all",8]' ]
	rl-eval -q --json --compare <(jq -c 'select(.good)' before.jsonl) after.jsonl -m reward_bm25 >alone
	diff <(jq -c 'del(.holm_p, .file)' alone) <(jq -c 'select(.group == true) | del(.group, .holm_p, .file)' out)
	jq -se '(map(.t_p) | sort) as $p | (map(.holm_p) | sort) == [3 * $p[0], ([3 * $p[0], 2 * $p[1]] | max), $p[2]]' out
	rl-eval -q --fail-under reward_bm25=0.4 --group-by .good before.jsonl
	fails_with 1 "'reward_bm25' is 0.4375, under 0.5" rl-eval -m reward_bm25 --fail-under reward_bm25=0.5 --group-by .good before.jsonl
	rl-eval -q --fail-under reward_bm25=0.4 -m reward_bm25 --group-by .good --compare after.jsonl before.jsonl
	fails_with 1 "before.jsonl:1: --group-by '.tokens' is an array here, expected a string, a number or a boolean" rl-eval --group-by .tokens before.jsonl
	fails_with 1 "--group-by" rl-eval --group-by '.a |' before.jsonl
	fails_with 2 "--group-by does not go with --trec" rl-eval --trec --group-by .a before.jsonl after.jsonl
}

@test "rl-eval --markdown: means, groups, comparisons, corpus measures" {
	[ "$(rl-eval -q --markdown -m 'ab=.tokens | length' -m '.reward_bm25 | . * 2' --group-by .good before.jsonl | cut -d'|' -f1-5)" = "$(
		printf '%s\n' '| measure | group | n | mean ' '| :-- | :-- | --: | --: ' '| ab | false | 4 | 2.5 ' '| ab | true | 4 | 6.5 ' '| ab | all | 8 | 4.5 ' |
			cut -d'|' -f1-5
		printf '%s\n' '| .reward_bm25 \| . \* 2 | false | 4 ' '| .reward_bm25 \| . \* 2 | true | 4 ' '| .reward_bm25 \| . \* 2 | all | 8 '
	)" ]
	# the same cells as in the table
	for options in '' '--group-by .good' '--compare after.jsonl' '--compare after.jsonl --group-by .good' '--compare after.jsonl before.jsonl'; do
		rl-eval -q -m reward_bm25 -m good $options before.jsonl | tr -s ' ' | sed 's/ $//' >want
		rl-eval -q --markdown -m reward_bm25 -m good $options before.jsonl >got
		[ "$(sed -n 2p got | tr -d ' :|-')" = "" ]
		[ "$(tr -dc '|\n' <got | sort -u | wc -l)" -eq 1 ]
		sed '2d; s/^| //; s/ |$//; s/ | / /g' got | diff want -
	done
	[ "$(rl-eval -q --markdown -m '_x_y="a
b" | length' before.jsonl | cut -d'|' -f2 | tail -n 1)" = ' \_x_y ' ]
	[ "$(rl-eval -q --markdown --corpus --text .id -m distinct_1 before.jsonl)" = "$(printf '| measure | n | value |\n| :-- | --: | --: |\n| distinct_1 | 8 | 1 |')" ]
	fails_with 2 "--markdown goes with neither --json nor --trec" rl-eval --json --markdown before.jsonl
}

@test "rl-eval -k: records that cannot be read or measured are counted and left out" {
	{
		cat before.jsonl
		printf '%s\n' 'no record' '{"id":"a","good":1,"reward_bm25":"x"}' '{"id":[1],"reward_bm25":9}' '{"id":"b","good":1,"task":[]}' '{"id":"c"}'
	} >broken
	rl-eval -q --json -m good -m reward_bm25 before.jsonl >want
	# the last of them lacks both: what the one before it had must not be left in its row
	rc=0 && rl-eval -k --json -m good -m reward_bm25 --group-by '.task // 1' broken >out 2>said || rc=$?
	[ $rc -eq 3 ]
	jq -c 'select(.group == "all") | del(.group)' out | diff want -
	[ "$(grep -c "broken:" said)" -eq 4 ]
	grep -qF "broken:10: measure 'reward_bm25' is no number here" said
	grep -qF "13 records in, 4 out, 4 errors" said
	fails_with 1 "broken:9: " rl-eval -m good broken
	# comparing
	rl-eval -q --json --compare before.jsonl after.jsonl -m reward_bm25 >want
	rc=0 && rl-eval -k --json --compare <(head -n 10 broken) <(cat after.jsonl; sed -n 9p broken) -m reward_bm25 >out 2>said || rc=$?
	[ $rc -eq 3 ]
	diff <(jq -c 'del(.file)' want) <(jq -c 'del(.file)' out)
	grep -qF "19 records in, 1 out, 3 errors" said
	# a corpus
	rc=0 && { echo '{"completion":"a a"}'; echo '{"completion":1}'; echo; echo '{'; } | rl-eval -k --json --corpus -m distinct_1 >out 2>said || rc=$?
	[ $rc -eq 3 ]
	[ "$(cat out)" = '{"measure":"distinct_1","n":1,"value":0.5}' ]
	grep -qF "3 records in, 1 out, 2 errors" said
}

@test "rl-eval: what an earlier stage took out is left out" {
	{ echo '{"error":"x"}'; echo '{"id":"q1","reward_bm25":9,"skip":"too long"}'; jq -c '. + {error: null}' before.jsonl; } >in
	rl-eval --json -m reward_bm25 in 2>said | jq -e '.n == 8 and .mean == 0.4375'
	grep -qF "10 records in, 1 out, 2 passed over" said
	rl-eval -q --json --compare in after.jsonl -m reward_bm25 | jq -e '.n == 8'
}

@test "rl-eval: @accuracy and @babilong" {
	printf '%s\n' '{"completion":" a b\n","target":"a b"}' '{"completion":"a  b","target":"a b"}' '{"completion":"A","target":["b","A"]}' \
		'{"completion":"12","target":12}' '{"completion":"a","target":null}' '{"target":"a"}' >in
	rl-eval -q --json -m @accuracy in | jq -e '.measure == "accuracy" and .n == 4 and .mean == 0.75'
	rl-eval -q --json -m right=@accuracy --text .target --target .completion <(head -n 2 in) | jq -e '.measure == "right" and .mean == 0.5'
	# qa8: all parts of a target and no other; qa19: a pair is one label; qa5: lower case
	while IFS='|' read -r task completion target want; do
		got=$(jq -nc --arg task "$task" --arg completion "$completion" --arg target "$target" '$ARGS.named' | rl-eval -q --json -m @babilong | jq .mean)
		[ "$got" = "$want" ] || { echo "$task: '$completion' for '$target': $got"; return 1; }
	done <<-'END'
		qa8|the milk and an Apple|apple,milk|1
		qa8|the milk|apple,milk|0
		qa8|milk, apple, football|apple,milk|0
		qa8|nothing|nothing|1
		qa19|n,e|n,e|1
		qa19|go e,n|n,e|0
		qa5|FRED gave it|Fred|1
		qa1|The office<context>the kitchen|office|1
		qa1|The office <example> the kitchen|office|1
		qa1|bathrooms|bathroom|1
		qa1|the park|park|0
		qa14|the park|park|1
	END
	fails_with 1 "task 'qa21' is none of qa1 to qa20" rl-eval -q -m @babilong <(echo '{"completion":"a","target":"a","task":"qa21"}')
	fails_with 1 "measure '@nosuch' is not known; there are @accuracy, @babilong and @perplexity" rl-eval -q -m @nosuch in
}

@test "rl-eval: @perplexity is of all tokens together" {
	printf '%s\n' '{"id":1,"logprobs":[-1,-2,-3],"t":1}' '{"id":2,"logprobs":[-0.5],"t":2}' '{"id":3,"logprobs":[],"t":2}' '{"id":4,"t":2}' >in
	rl-eval -q --json -m @perplexity --group-by .t in >out
	jq -se 'map([.measure, .group, .n] | tostring) == ["[\"perplexity\",1,1]", "[\"perplexity\",2,1]", "[\"perplexity\",\"all\",2]"]' out
	jq -se '([.[].mean] | [., [2, 0.5, 1.625 | exp]] | transpose | all(.[0] - .[1] | fabs < 1e-12)) and
		(.[2] | .sd == null and (.min - (0.5 | exp) | fabs) < 1e-12 and (.max - (2 | exp) | fabs) < 1e-12 and .low < .mean and .high > .mean)' out
	fails_with 1 "measure 'perplexity' is of all tokens together" rl-eval --compare in in -m @perplexity
	fails_with 1 "logprobs" rl-eval -m p=@perplexity <(echo '{"logprobs":"a"}')
}

@test "rl-eval: bootstrap intervals hold the mean, and the seed settles them" {
	for how in percentile bca; do
		rl-eval -q --json --interval $how --bootstrap 2000 --seed 3 -m reward_bm25 before.jsonl >out
		jq -e '.mean == 0.4375 and .min == 0 and .median == 0.4375 and .max == 0.875 and .low > 0.2 and .low < 0.35 and .high > 0.52 and .high < 0.68' out
		rl-eval -q --json --interval $how --bootstrap 2000 --seed 3 -m reward_bm25 before.jsonl | cmp - out
		# of a difference: narrower than the t interval of so few
		rl-eval -q --json --compare before.jsonl after.jsonl --interval $how -m reward_bm25 >out
		rl-eval -q --json --compare before.jsonl after.jsonl -m reward_bm25 | jq -e --slurpfile b out '$b[0] as $b | .t_p == $b.t_p and
			.low < $b.low and $b.low < .difference and .difference < $b.high and $b.high < .high'
	done
}

@test "rl-eval --compare: sign test, rank-biserial, exact Wilcoxon, per cent, other adjustments" {
	rl-eval -q --json --compare before.jsonl after.jsonl before.jsonl -m reward_bm25 >out
	jq -se '.[0] | .wins == 8 and .losses == 0 and .rank_biserial == 1 and (.sign_p - 0.0078125 | fabs) < 1e-12 and (.wilcoxon_exact_p - 0.0078125 | fabs) < 1e-12
		and (.percent - 100 * .difference / .base | fabs) < 1e-9' out
	rl-eval -q --json --adjust bh --compare before.jsonl after.jsonl before.jsonl -m reward_bm25 >out
	jq -se '.[0].bh_p == ([.[0].t_p * 2, 1] | min) and .[1].bh_p == 1 and .[0].holm_p == null' out
	rl-eval -q --json --adjust bonferroni --compare before.jsonl after.jsonl before.jsonl -m reward_bm25 | jq -se '.[0].bonferroni_p < 1'
}

@test "rl-eval --fail-under: exit 1 with both numbers, after the rows" {
	rl-eval -q --fail-under reward_bm25=0.4 before.jsonl
	fails_with 1 "'reward_bm25' is 0.4375, under 0.5" rl-eval --fail-under reward_bm25=0.5 before.jsonl
	[ "$(wc -l <"$BATS_TEST_TMPDIR/out")" -eq 3 ]
	fails_with 1 "before.jsonl: 'reward_bm25' is 0.4375, under 0.5" rl-eval -m reward_bm25 --fail-under reward_bm25=0.5 --compare after.jsonl before.jsonl
	# nothing is printed before what must fail
	for options in '--fail-under nosuch=1' '--fail-under reward_bm25=0 --fail-under nosuch=1' '--compare after.jsonl --fail-under nosuch=1'; do
		fails_with 1 "--fail-under nosuch=1: there is no such measure" rl-eval $options before.jsonl
		[ ! -s "$BATS_TEST_TMPDIR/out" ]
	done
	fails_with 1 "--fail-under good=1: there is no value of it" rl-eval -q --fail-under good=1 --compare before.jsonl -m good -m reward_bm25 <(jq -c 'del(.good)' after.jsonl)
	fails_with 2 "'reward_bm25' is not MEASURE=NUMBER" rl-eval --fail-under reward_bm25 before.jsonl
	fails_with 1 "measure 'nosuch' is in none of 8 records" rl-eval -m reward_bm25 -m nosuch before.jsonl
	[ ! -s "$BATS_TEST_TMPDIR/out" ]
}

@test "rl-eval --trec: the outputs of trec_eval's own test, byte for byte" {
	shared data data/metrics/trec_eval
	is() { # FILE OPTION...
		rl-eval --trec "${@:2}" | cmp - "$data/$1"
	}
	is out.test "$data/qrels.test" "$data/results.test"
	is out.test "$data/qrels.test.with-comments" "$data/results.test"
	is out.test.a -m all_trec "$data/qrels.test" "$data/results.test"
	is out.test.aq -m all_trec -q "$data/qrels.test" "$data/results.test"
	is out.test.aqc -m all_trec -q -c "$data/qrels.test" "$data/results.trunc"
	is out.test.aqcM -m all_trec -q -c -M100 "$data/qrels.test" "$data/results.trunc"
	is out.test - "$data/results.test" <"$data/qrels.test"
	is out.test.prefs -m all_prefs -q -R prefs "$data/prefs.test" "$data/prefs.results.test"
	is out.test.qrels_prefs -m all_prefs -q -R qrels_prefs "$data/qrels.test" "$data/results.test"
	is out.test.qrels_jg -m qrels_jg -q -R qrels_jg "$data/qrels.123" "$data/results.test"
	[ "$(rl-eval --trec -n -q -m all_trec "$data/qrels.test" "$data/results.test")" = "$(grep -vw all "$data/out.test.aq")" ]
	# a distance from the mean, by hand from the file's mean and deviation of query 301
	rl-eval --trec -q -m map -Z "$data/zscores_file" "$data/qrels.test" "$data/results.test" >z
	value=$(awk '$1 == "map" && $2 == 301 {print $3}' "$data/out.test.aq")
	awk -v v="$value" -v line="$(head -n 1 z)" '$1 == 301 && $2 == "map" {
		split(line, got); d = (v - $3) / $4 - got[3]; exit !(got[1] == "Zmap" && d < .001 && d > -.001)}' "$data/zscores_file"
}

@test "rl-eval --trec: runs on real collections" {
	for name in cran med adi; do
		shared data "data/retrieval/$name"
		rl-eval --trec -m map -m recip_rank -m P.5,10 -m recall.5,10,100 -m ndcg_cut.5,10 "$data/qrels.trec" "$data/bm25_lucene_k1.2_b0.75.run" |
			sort | cmp - <(sort "$data/trec_eval.txt")
	done
}

@test "rl-eval --trec: names of measures" {
	printf '%s\n' '1 0 a 1' '1 0 b 0' '1 0 c 2' >qrels
	printf '%s\n' '1 Q0 b 1 3 x' '1 Q0 a 2 2.5 x' '1 Q0 d 3 2e0 x' >run
	[ "$(rl-eval --trec -m P_2 qrels run)" = "$(printf 'P_2                   \tall\t0.5000')" ]
	[ "$(rl-eval --trec -m P.2 qrels run)" = "$(rl-eval --trec -m P_2 qrels run)" ]
	[ "$(rl-eval --trec -m iprec_at_recall.5 qrels run)" = "$(printf 'iprec_at_recall_5.00  \tall\t0.0000')" ]
	[ "$(rl-eval --trec -m set_F.0.5 qrels run | cut -f3)" = 0.3750 ]
	[ "$(rl-eval --trec -q -m relstring.2 qrels run | cut -f3)" = "'01'" ]
	[ "$(rl-eval --trec -q -m relstring -J qrels run | cut -f3)" = "'01'" ]
	[ "$(rl-eval --trec -m num_rel -l 2 qrels run | cut -f3)" = 1 ]
	fails_with 1 "measure 'nonsense' is not known" rl-eval --trec -m nonsense qrels run
	fails_with 1 "measure 'P': '0' is no positive integer" rl-eval --trec -m P.0 qrels run
	fails_with 1 "measure 'map' has no parameters" rl-eval --trec -m map.5 qrels run
}

@test "rl-eval --trec: broken files by line" {
	printf '%s\n' '1 0 a 1' '2 0 b 0' >qrels
	printf '%s\n' '1 Q0 b 1 3 x' '2 Q0 a 2 2.5 x' >run
	fails_with 2 "--trec wants judgements and a run, but 1 file is given" rl-eval --trec qrels
	sed 's/ x//' run >r
	fails_with 1 "r:1: 5 columns, expected 6" rl-eval --trec qrels r
	sed 's/$/ more/' qrels >q
	fails_with 1 "q:1: at least 5 columns, expected 4: query 0 document grade" rl-eval --trec q run
	printf '1 0 a 1\n1 0 \303( 1\n' >q
	fails_with 1 "q:2: the line is no valid UTF-8" rl-eval --trec q run
	sed 's/ 2.5 / nan /' run >r
	fails_with 1 "r:2: score 'nan' is no number" rl-eval --trec qrels r
	sed 's/ 2.5 / high /' run >r
	fails_with 1 "r:2: score 'high' is no number" rl-eval --trec qrels r
	sed 's/ 1$/ 1.5/' qrels >q
	fails_with 1 "q:1: grade '1.5' is no integer" rl-eval --trec q run
	cat run run >r
	fails_with 1 "r: query '1' has document 'b' twice" rl-eval --trec qrels r
	head -n 1 run >r
	fails_with 1 "r: query '2' of 'qrels' is not there; -c" rl-eval --trec qrels r
	fails_with 1 "No such file" rl-eval --trec qrels absent
	true >r
	fails_with 1 "r: no lines" rl-eval --trec qrels r
	printf '1 map 0.5\n' >z
	fails_with 1 "z:1: 3 columns, expected 4: query measure mean deviation" rl-eval --trec -Z z qrels run
	fails_with 1 "measure 'map' is not one of judgements in the format prefs" rl-eval --trec -R prefs -m map qrels run
	printf '%s\n' '1 j p a 1' '1 j p b 2' '1 j s b 1' '1 j s a 2' >q
	fails_with 1 "q: query '1': judge 'j': documents 'a' and 'b' are preferred to each other" rl-eval --trec -R prefs q run
	printf '%s\n' '1 j a 1' '1 j a 2' >q
	fails_with 1 "q: query '1': judge 'j': document 'a' has levels 2 and 1" rl-eval --trec -R qrels_prefs q run
	printf '%s\n' '1 j a -1' >q
	fails_with 1 "q:1: level '-1' is below 0" rl-eval --trec -R qrels_prefs q run
}

@test "rl-eval: the examples of the page" {
	rl-eval -m reward_bm25 -m '.tokens | length' after.jsonl
	printf '%s\n' '{"completion":"The kitchen.","target":"kitchen","task":"qa1","length":"16k"}' \
		'{"completion":"office","target":"kitchen","task":"qa1","length":"2k"}' >answers.jsonl
	[ "$(rl-eval -m @babilong --group-by '"\(.task) \(.length)"' answers.jsonl | awk '{print $NF}' | tr '\n' ' ')" = "max 0 1 1 " ]
	[ "$(rl-eval --compare before.jsonl after.jsonl -m reward_bm25 | wc -l)" -eq 2 ]
	rl-eval --markdown --compare before.jsonl after.jsonl -m reward_bm25 >>README.md
	jq -c '. + {completion: "a <movie>", references: ["a"]}' before.jsonl >b
	[ "$(rl-eval --corpus --compare -m @dialogue b b | awk '{print $1, $3, $NF}' | sed -n '2p; 10p' | tr '\n' ' ')" = "bleu@1:ecr 0.5 0 item_ratio 1 0 " ]
	jq -c '. + {query: "q", context: "A text. More.", references: [.target]}' answers.jsonl >a
	[ "$(rl-eval --corpus -m squad_f1 -m rougeL --baseline all a | awk '{print $NF}' | tr '\n' ' ')" = "baseline query query lead lead copy copy " ]
	rl-eval --interval bca --fail-under reward_bm25=0.4 after.jsonl
	echo '1 0 a 1' >qrels.trec && echo '1 Q0 a 1 3 x' >bm25.run
	[ "$(rl-eval --trec -q -m map -m P.10 qrels.trec bm25.run | wc -l)" -eq 4 ]
}

@test "rl-eval: --corpus, every golden corpus" {
	shared pairs golden/score/overlap/pairs.jsonl
	shared golden golden/score/overlap/corpus.json
	for set in all redial wiki-long; do
		jq -c --arg set "$set" '.sets[$set] | {ids, references}' "$golden" >set
		jq -c --slurpfile set set '. as $p | select($set[0].ids | index($p.id)) | {hyp, refs: .refs[:$set[0].references]}' "$pairs" >in
		rl-eval -q --corpus --json --text .hyp --refs .refs -m bleu -m chrf++ -m distinct_2 -m distinct_2:ecr in >got
		jq -e -n --arg set "$set" --slurpfile all "$golden" '$all[0].sets[$set] as $want | [inputs] as $got |
			($got | all(.n == ($want.ids | length))) and
			([$got[].value, $want.bleu_exp, $want["chrf++"], $want.distinct_corpus[1], $want.distinct_per_sentence_ecr[1]] |
			[.[:4], .[4:]] | transpose | all(.[0] - .[1] | fabs < 1e-9))' got
	done
}

# golden_set SET N: its records, with the first N references
golden_set() {
	jq -c --arg set "$1" '.sets[$set].ids' "$golden" >ids
	jq -c --slurpfile ids ids --argjson n "$2" '. as $p | select($ids[0] | index($p.id)) | {hyp, refs: .refs[:$n]}' "$pairs"
}
# want_values SET: the golden values of bleu, chrf++, distinct_2 and distinct_2:ecr
want_values() {
	jq -c --arg set "$1" '.sets[$set] | [.bleu_exp, .["chrf++"], .distinct_corpus[1], .distinct_per_sentence_ecr[1]]' "$golden"
}
# alike FILE FILE: arrays of numbers
alike() {
	jq -en --slurpfile a "$1" --slurpfile b "$2" '[$a, $b] | map(flatten) | (.[0] | length) == (.[1] | length) and
		(transpose | length > 0 and all(.[0] - .[1] | fabs < 1e-9))'
}

@test "rl-eval --corpus --group-by: each golden corpus a group" {
	shared pairs golden/score/overlap/pairs.jsonl
	shared golden golden/score/overlap/corpus.json
	for set in wmt-ru redial wiki-long; do
		golden_set $set "$(jq --arg set $set '.sets[$set].references' "$golden")" | jq -c --arg set $set '. + {set: $set}'
	done | sort -R --random-source="$pairs" >in
	echo '{"hyp":"without a group","refs":["a"]}' >>in
	rl-eval --corpus --json --text .hyp --refs .refs --group-by .set -m bleu -m chrf++ -m distinct_2 -m distinct_2:ecr in >got 2>said
	grep -qF "$(wc -l <in) records in, 16 out, 1 without a group" said
	[ "$(jq -sc 'map([.measure, .group]) | .[:4] + .[12:13] | map(join(" "))' got)" = '["bleu redial","bleu wiki-long","bleu wmt-ru","bleu all","distinct_2:ecr redial"]' ]
	for set in wmt-ru redial wiki-long; do
		alike <(jq --arg set $set 'select(.group == $set) | .value' got) <(want_values $set)
	done
	diff <(jq -c 'select(.group == "all") | del(.group)' got) <(rl-eval -q --corpus --json --text .hyp --refs .refs -m bleu -m chrf++ -m distinct_2 -m distinct_2:ecr in)
	[ "$(rl-eval -q --corpus --markdown --text .hyp --refs .refs --group-by .set -m sent_cnt in | tail -n 1)" = "| sent_cnt | all | $(wc -l <in) | $(jq -c 'select(.hyp | test("\\S"))' in | wc -l) |" ]
}

@test "rl-eval --corpus --compare: values of both, per cent of the base" {
	shared pairs golden/score/overlap/pairs.jsonl
	shared golden golden/score/overlap/corpus.json
	for set in redial redial-edited inspired; do
		golden_set $set "$(jq --arg set $set '.sets[$set].references' "$golden")" >$set
	done
	rl-eval -q --corpus --compare --json --text .hyp --refs .refs -m bleu -m chrf++ -m distinct_2 -m distinct_2:ecr redial redial-edited inspired >got
	[ "$(jq -r .file got | uniq -c | tr -s ' \n' ' ')" = " 4 redial-edited 4 inspired " ]
	for set in redial-edited inspired; do
		alike <(jq --arg set $set 'select(.file == $set) | .system' got) <(want_values $set)
		alike <(jq --arg set $set 'select(.file == $set) | .base' got) <(want_values redial)
	done
	jq -se 'all((.difference - (.system - .base) | fabs) < 1e-9 and (.percent - 100 * (.system / .base - 1) | fabs) < 1e-9)' got
	[ "$(rl-eval -q --corpus --compare --text .hyp --refs .refs -m bleu redial redial-edited | head -n 1 | tr -s ' ')" = "measure n base system difference percent" ]
	[ "$(rl-eval -q --corpus --compare --text .hyp --refs .refs -m bleu redial redial-edited inspired | awk '{print $NF}' | tr '\n' ' ')" = "file redial-edited inspired " ]
	fails_with 1 "redial-edited: 'bleu' is " rl-eval -q --corpus --compare --text .hyp --refs .refs -m bleu --fail-under bleu=101 redial redial-edited
	fails_with 1 "'bleu' is " rl-eval -q --corpus --text .hyp --refs .refs -m bleu --fail-under bleu=101 redial
	fails_with 1 "there is no such measure" rl-eval -q --corpus --text .hyp --refs .refs -m bleu --fail-under chrf=1 redial
	# a base of nothing has no per cent
	rl-eval -q --corpus --json --compare -m sent_cnt <(echo '{"completion":" "}') <(echo '{"completion":"a"}') | jq -e '.base == 0 and .system == 1 and .percent == null'
}

@test "rl-eval --corpus -m @dialogue: the evaluator of dialogues" {
	printf '%s\n' '{"completion":"Try <movie> or <movie> .","references":["Try <movie> ."]}' '{"completion":"  ","references":["Yes"]}' \
		'{"completion":"Try it","references":["Try <movie> ."]}' >in
	rl-eval -q --corpus --json -m @dialogue in >got
	[ "$(jq -r .measure got | tr '\n' ' ')" = "bleu@1:ecr bleu@2:ecr bleu@3:ecr bleu@4:ecr distinct_1:ecr distinct_2:ecr distinct_3:ecr distinct_4:ecr item_ratio sent_cnt " ]
	# by hand: 3 of 5 words, and 1 of 2 with the penalty e^-.5; 2 of 4 pairs; Try <movie> or . it; 4 + 1 pairs; 3 triples, 2 of four; two items in two texts
	alike <(jq .value got) <(jq -n '[(0.6 + 0.5 * (-0.5 | exp)) / 2, 0.5 / 2, 0, 0, 2.5, 2.5, 1.5, 1, 1, 2]')
	[ "$(rl-eval -q --corpus --json -m item_ratio:item=Try in | jq .value)" = 1 ]
	fails_with 1 "option 'item=' is not known" rl-eval -q --corpus -m item_ratio:item= in
	shared pairs golden/score/overlap/pairs.jsonl
	shared golden golden/score/overlap/corpus.json
	for set in redial inspired all; do
		golden_set $set 1 >in
		rl-eval -q --corpus --json --text .hyp --refs .refs -m @dialogue in >got
		alike <(jq 'select(.measure != "item_ratio") | .value' got) \
			<(jq -c --arg set $set '.sets[$set] | [.bleu_single_order_per_sentence_ecr[], .distinct_per_sentence_ecr[], .sentences]' "$golden")
	done
}

@test "rl-eval --baseline: the question, the first sentence, the context in the place of the text" {
	printf '%s\n' '{"id":"a","completion":"Paris","target":"Paris","references":["Paris"],"query":"What is it?","context":"Dr. No saw Paris. It is big."}' \
		'{"id":"b","completion":"Rome","target":"Bonn","references":["Bonn"],"query":"Bonn","context":"Bonn"}' \
		'{"id":"c","completion":"Oslo","target":"Oslo","references":["Oslo"],"question":"Where?","context":"Oslo\n\nfar"}' >in
	rl-eval -q --corpus --json -m squad_f1 -m squad_em --baseline all in >got
	[ "$(jq -r '[.baseline, .measure] | join(" ")' got | tr '\n' ',')" = "query squad_f1,query squad_em,lead squad_f1,lead squad_em,copy squad_f1,copy squad_em," ]
	# each as if it were the text; the first sentences are those of rl-chunk
	jq -c '.context' in | jq -c '{text: ., references: input.references}' - in >texts
	for b in query lead copy; do
		case $b in
		query) jq -c '{completion: (.query // .question), references}' in ;;
		copy) jq -c '{completion: .context, references}' in ;;
		lead) jq -c '{id, text: .context, references}' in | rl-chunk -q | jq -c 'select(.index == 0) | {completion: .text, references}' ;;
		esac | rl-eval -q --corpus --json -m squad_f1 -m squad_em | jq .value >alone
		diff alone <(jq --arg b $b 'select(.baseline == $b) | .base' got)
	done
	diff <(rl-eval -q --corpus --json -m squad_f1 in | jq .value) <(jq 'select(.measure == "squad_f1") | .system' got | sort -u)
	[ "$(rl-eval -q --corpus -m squad_em --baseline copy in | tr -s ' ')" = "$(printf 'measure n base system difference percent baseline\nsquad_em 3 0.3333 0.6667 0.3333 100 copy')" ]
	# a measure of each record, with the tests of --compare
	rl-eval -q --json -m @accuracy --baseline lead --baseline 'none=""' --group-by '.id == "a"' in >got
	[ "$(jq -c '[.baseline, .group, .n, .base, .system]' got | tr -d '\n')" = '["lead",false,2,1,0.5]["lead",true,1,0,1]["lead","all",3,0.6666666666666666,0.6666666666666666]["none",false,2,0,0.5]["none",true,1,0,1]["none","all",3,0,0.6666666666666666]' ]
	jq -se 'all(has("t_p") and has("holm_p") and has("percent"))' got
	[ "$(rl-eval -q -m @accuracy --baseline copy in | awk '{print $1, $NF}' | tr '\n' ' ')" = "measure baseline accuracy copy " ]
	fails_with 1 "'accuracy' is 0.666667, under 0.9" rl-eval -q -m @accuracy --baseline copy --fail-under accuracy=0.9 in
	rl-eval -q -m @accuracy --baseline copy --fail-under accuracy=0.6 in
	# what is refused
	fails_with 1 "in:1: baseline 'lead': '.nothing' gives no text" rl-eval -q -m @accuracy --baseline lead --context .nothing in
	fails_with 1 "in:1: baseline 'lead': '.nothing' gives no text" rl-eval -q --corpus -m squad_em --baseline lead --context .nothing in
	fails_with 1 "--baseline 'first' is none of query, lead, copy, all, and no NAME=FILTER" rl-eval -q -m @accuracy --baseline first in
	fails_with 1 "--baseline 'lead' is given twice" rl-eval -q -m @accuracy --baseline all --baseline lead in
	fails_with 1 "measure 'reward_bm25' is not one of a text: --baseline wants @accuracy or @babilong" rl-eval -q -m reward_bm25 --baseline copy before.jsonl
	fails_with 1 "measure '@perplexity' is not one of a text" rl-eval -q -m @perplexity --baseline copy before.jsonl
	fails_with 2 "--baseline wants a --measure" rl-eval --baseline copy in
	fails_with 2 "--baseline wants a --measure, and neither --compare nor --trec" rl-eval -m @accuracy --compare --baseline copy in in
	[ "$(rl-eval -q --json -m @accuracy --baseline copy </dev/null)" = "" ]
}

@test "rl-eval: --corpus, what is printed, left out, refused" {
	printf '%s\n' '{"completion":"a b c d e","references":["a b c d x"]}' '{"completion":"a b"}' '{"completion":null}' >answers.jsonl
	rl-eval --corpus -m wer -m distinct_1 -m distinct_2 -m self_bleu answers.jsonl >out 2>said
	[ "$(tr -s ' ' <out)" = "$(printf 'measure n value\nwer 1 0.2\ndistinct_1 2 0.7143\ndistinct_2 2 0.8\nself_bleu 2 0.09209')" ]
	grep -qF "3 records in, 4 out, 1 without a text, 1 without references" said
	[ "$(rl-eval -q --json --corpus -m rougeL </dev/null)" = '{"measure":"rougeL","n":0,"value":null}' ]
	rl-eval -q --corpus -m bleu -m distinct_2 -m self_bleu answers.jsonl | grep -q '^bleu .* 66.87'
	fails_with 2 "--corpus wants a --measure" rl-eval --corpus answers.jsonl
	fails_with 1 "no measure 'blue'" rl-eval -q --corpus -m blue answers.jsonl
	fails_with 1 "answers.jsonl:1: " rl-eval -q --corpus -m wer --refs '.completion | {a: .}' answers.jsonl
}

@test "rl-eval --compare: records without a partner are counted; differences that are all the same" {
	printf '%s\n' '{"id":1,"x":1}' '{"id":2,"x":2}' '{"id":3,"x":3}' >base
	printf '%s\n' '{"id":1,"x":2}' '{"id":9,"x":2}' '{"id":2,"x":3}' >system
	rl-eval --compare base system -m x --json 2>said | jq -se 'length == 1 and .[0].n == 2 and .[0].difference == 1 and .[0].dz == null' >/dev/null
	grep -q ', 2 without a partner$' said
}
