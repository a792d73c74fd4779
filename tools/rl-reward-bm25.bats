#!/usr/bin/env bats
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	printf '%s\n' '{"id":"a","text":"red apple"}' '{"id":"b","text":"green apple pie"}' '{"id":"7","text":"blue sky"}' >corpus.jsonl
	rl-index -q corpus.jsonl x.lmdb
}
reward() { # RECORD OPTION...: what is added
	local record=$1
	shift
	rl-reward-bm25 -q x.lmdb "$@" <<<"$record" | jq -c .reward_bm25
}

@test "rl-reward-bm25: on real collections the measures are trec_eval's" {
	for name in cran med adi; do
		shared data "data/retrieval/$name"
		rl-index -q "$data/corpus.jsonl" c.lmdb
		while read -r metric measure; do
			want=$(awk -v m="$measure" '$1 == m {print $3}' "$data/trec_eval.txt")
			got=$(rl-reward-bm25 -q --query .query --metric "$metric" c.lmdb "$data/queries.jsonl" | jq -s 'map(.reward_bm25) | add / length' | xargs printf %.4f)
			[ "$got" = "$want" ] || { echo "$name $metric: $got, expected $want"; return 1; }
		done <<-'END'
			map map
			mrr recip_rank
			precision@5 P_5
			precision@10 P_10
			recall@5 recall_5
			recall@100 recall_100
			ndcg@5 ndcg_cut_5
			ndcg@10 ndcg_cut_10
		END
	done
}

@test "rl-reward-bm25: six measures of five forms, three analyzers and three settings are those of other implementations" {
	local golden data name analyzer variant k1 b want got
	shared golden golden/score/bm25/measures.tsv
	shared data data/retrieval/cran
	data=$(dirname "$data")
	# equal scores keep the order of the corpus, and go by falling id in trec_eval
	for name in cran med; do
		jq -sc 'sort_by(.doc_id) | reverse[]' "$data/$name/corpus.jsonl" >corpus
		for analyzer in none stop porter; do rl-index -q --analyzer $analyzer corpus $name.$analyzer; done
	done
	sed 1d "$golden" >rows
	[ "$(wc -l <rows)" -ge 45 ]
	while IFS=$'\t' read -r name analyzer variant k1 b want; do
		got=$(rl-reward-bm25 -q --query .query --variant "$variant" --k1 "$k1" --b "$b" -m map -m ndcg@10 -m recall@5 -m recall@100 -m mrr -m precision@10 \
			"$name.$analyzer" "$data/$name/queries.jsonl" |
			jq -sc 'map(.bm25 | [.map, ."ndcg@10", ."recall@5", ."recall@100", .mrr, ."precision@10"]) | transpose | map(add / length)')
		jq -ne --arg want "$want" --argjson got "$got" '[($want / "\t" | map(tonumber)), $got] | transpose | length == 6 and all(.[0] - .[1] | fabs < 6e-7)' >/dev/null ||
			{ echo "$name $analyzer $variant $k1 $b: $got, expected $want"; return 1; }
	done <rows
}

@test "rl-reward-bm25: graded judgements: every measure is trec_eval's, query by query" {
	local golden name of=()
	shared golden golden/score/rank/graded.run
	golden=${golden%.run}
	# the ranking of each query as a corpus: its word, and the longer the lower
	awk '{print $1, $3, $5}' "$golden.run" | jq -Rnc '[inputs / " " | {q: .[0], id: .[1], score: (.[2] | tonumber)}] | group_by(.q)[] |
		sort_by(.score, .id) | reverse | to_entries[] | {id: "\(.value.q) \(.value.id)", text: ("q\(.value.q)" + " filler" * .key)}' |
		rl-index -q - ranked
	jq -Rnc '[inputs / " " | {q: .[0], id: "\(.[0]) \(.[2])", grade: (.[3] | tonumber)}] | group_by(.q)[] |
		{id: .[0].q, query: "q\(.[0].q)", relevant_doc_ids: map({id, grade})}' "$golden.qrels" >queries
	while read -r name trec; do
		of+=(-m "$name")
		awk -F'\t' -v OFS='\t' -v name="$name" -v trec="$trec" '$1 == trec && $2 != "all" {print name, $2, $3}' "$golden.tsv"
	done >want <<-'END'
		ndcg@5 ndcg_cut_5
		ndcg@10 ndcg_cut_10
		ndcg@20 ndcg_cut_20
		ndcg@1000 ndcg_cut_1000
		recall@5 recall_5
		recall@10 recall_10
		recall@30 recall_30
		precision@5 P_5
		precision@15 P_15
		precision@100 P_100
		hit@1 success_1
		hit@10 success_10
		mrr recip_rank
		map map
		map@5 map_cut_5
		map@20 map_cut_20
	END
	rl-reward-bm25 -q --query .query "${of[@]}" ranked queries | jq -r '.id as $q | .bm25 | to_entries[] | "\(.key)\t\($q)\t\(.value)"' >got
	[ "$(wc -l <want)" -ge 128 ]
	awk -F'\t' 'NR == FNR {value[$1, $2] = $3; next}
		!(($1, $2) in value) || value[$1, $2] - $3 > 6e-9 || $3 - value[$1, $2] > 6e-9 {print "expected", $0 ", got", value[$1, $2]; bad = 1} END {exit bad}' got want
}

@test "rl-reward-bm25: pruned and exhaustive searches agree byte for byte, in all forms" {
	shared data data/retrieval/cran
	rl-index -q --analyzer porter "$data/corpus.jsonl" c.lmdb
	for v in robertson atire lucene bm25l bm25+; do
		rl-reward-bm25 -q --query .query --hits 20 --variant $v c.lmdb "$data/queries.jsonl" >fast
		rl-reward-bm25 -q --query .query --hits 20 --variant $v --exhaustive c.lmdb "$data/queries.jsonl" | cmp - fast
	done
}

@test "rl-reward-bm25: what is added, hits, the name" {
	rl-reward-bm25 -q --hits 2 x.lmdb <<<'{"completion":"apple pie","relevant_doc_ids":["a"]}' | jq -e '(.hits | map(.id)) == ["b", "a"] and .reward_bm25 == 1'
	[ "$(rl-reward-bm25 -q --as reward_x x.lmdb <<<'{"completion":"sky","relevant_doc_ids":7}' | jq -c .reward_x)" = 1 ]
	[ "$(rl-reward-bm25 -q x.lmdb <<<'{"completion":"sky","relevant_doc_ids":[7]}' | jq -c 'has("hits")')" = false ]
}

@test "rl-reward-bm25: metrics, grades, relevant documents that are not in the corpus or twice" {
	r='{"completion":"apple pie","relevant_doc_ids":["a"]}'
	[ "$(reward "$r" --metric mrr)" = 0.5 ]
	[ "$(reward "$r" --metric hit@1)" = 0 ]
	[ "$(reward "$r" --metric precision@4)" = 0.25 ]
	[ "$(reward "$r" --metric recall@1)" = 0 ]
	[ "$(reward '{"completion":"apple pie","relevant_doc_ids":["a","zz"]}')" = 0.5 ]
	[ "$(reward '{"completion":"apple pie","relevant_doc_ids":["a","a"]}')" = 1 ]
	# several at once: the reward is the first
	[ "$(rl-reward-bm25 -q -m mrr -m hit@1 -m precision@4 x.lmdb <<<"$r" | jq -c '[.bm25, .reward_bm25]')" = '[{"mrr":0.5,"hit@1":0,"precision@4":0.25},0.5]' ]
	[ "$(rl-reward-bm25 -q -m mrr -m hit@1 --otherwise -1 x.lmdb <<<'{"completion":null,"relevant_doc_ids":["a"]}' | jq -c '[.bm25, .reward_bm25]')" = '[{"mrr":null,"hit@1":null},-1]' ]
	[ "$(rl-reward-bm25 -q -m mrr x.lmdb <<<"$r" | jq -c 'has("bm25")')" = false ]
	fails_with 1 "'bm25' is already there" rl-reward-bm25 -q -m mrr -m map x.lmdb <<<'{"completion":"","relevant_doc_ids":["a"],"bm25":1}'
	# b has grade 1, a has 3: (1 + 3/log2(3)) / (3 + 1/log2(3))
	jq -ne --argjson got "$(reward '{"completion":"apple pie","relevant_doc_ids":{"a":3,"b":1,"7":0}}' --metric ndcg@10)" \
		'((1 + 3 / (3 | log2)) / (3 + 1 / (3 | log2)) - $got | fabs) < 1e-12' >/dev/null
	want=$(reward '{"completion":"apple pie","relevant_doc_ids":{"a":3,"b":1,"7":0}}' --metric ndcg@10)
	for graded in '[{"id":"a","grade":3},{"id":"b","grade":1},{"id":7,"grade":0}]' '[{"grade":1,"id":"a"},{"id":"a","grade":3},{"id":"a","grade":2},"b"]'; do
		[ "$(reward "{\"completion\":\"apple pie\",\"relevant_doc_ids\":$graded}" --metric ndcg@10)" = "$want" ]
	done
}

@test "rl-reward-bm25: a model's own text never stops the run" {
	[ "$(reward '{"completion":"","relevant_doc_ids":["a"]}')" = 0 ]
	[ "$(reward '{"completion":"zzz ...","relevant_doc_ids":["a"]}')" = 0 ]
	[ "$(reward '{"completion":"{broken","relevant_doc_ids":["a"]}' --query '.completion | fromjson.query' --otherwise -1)" = -1 ]
	[ "$(reward '{"completion":"{}","relevant_doc_ids":["a"]}' --query '.completion | fromjson.query' --otherwise -1)" = -1 ]
	[ "$(reward '{"completion":"{\"query\":5}","relevant_doc_ids":["a"]}' --query '.completion | fromjson.query' --otherwise -1)" = -1 ]
	jq -nc '{completion: ([range(10000) | "apple\u0000"] | join(" ")), relevant_doc_ids: ["a"]}' >long
	[ "$(reward "$(cat long)")" = 1 ]
	rl-reward-bm25 x.lmdb --query '.completion | fromjson.query' <<<'{"completion":"","relevant_doc_ids":["a"]}' 2>&1 >/dev/null | grep -q '1 without a query'
}

@test "rl-reward-bm25: nothing relevant is null; a record with skip passes" {
	[ "$(reward '{"completion":"apple","relevant_doc_ids":[]}')" = null ]
	[ "$(rl-reward-bm25 -q x.lmdb <<<'{"skip":"cut"}')" = '{"skip":"cut"}' ]
}

@test "rl-reward-bm25: the user's faults stop it, by place, or carry an error with -k" {
	fails_with 1 "standard input:1: --relevant: '.relevant_doc_ids' gives nothing" rl-reward-bm25 -q x.lmdb <<<'{"completion":"x"}'
	fails_with 1 "standard input:1: --query: '.completion' gives nothing" rl-reward-bm25 -q x.lmdb <<<'{"relevant_doc_ids":[]}'
	fails_with 1 "standard input:1: " rl-reward-bm25 -q x.lmdb <<<'{"completion":"x","relevant_doc_ids":[1.5]}'
	for wrong in '{"id":"a"}' '{"grade":1}' '{"id":"a","grade":"1"}'; do
		fails_with 1 "standard input:1: --relevant: element 2 has no 'id', or no number as 'grade'" rl-reward-bm25 -q x.lmdb <<<"{\"completion\":\"x\",\"relevant_doc_ids\":[\"b\",$wrong]}"
	done
	fails_with 1 "reward_bm25" rl-reward-bm25 -q x.lmdb <<<'{"completion":"x","relevant_doc_ids":[1],"reward_bm25":1}'
	fails_with 1 "No such file" rl-reward-bm25 -q absent.lmdb
	fails_with 1 "not an index of rl-index" rl-reward-bm25 -q corpus.jsonl
	head -c 5000 x.lmdb >cut.lmdb
	fails_with 1 "cut.lmdb: cut short" rl-reward-bm25 -q cut.lmdb
	LC_ALL=C sed 's/rl-bm25\x00\x02/rl-bm25\x00\x09/' x.lmdb >other.lmdb
	fails_with 1 "other.lmdb: an index of layout 9, this program reads 2; build it again" rl-reward-bm25 -q other.lmdb
	rl-store init --config "$testdata/tiny/config.json" --seed 1 run.lmdb
	fails_with 1 "run.lmdb: not an index of rl-index" rl-reward-bm25 -q run.lmdb
	: >empty.lmdb
	fails_with 1 "empty.lmdb: not an index of rl-index" rl-reward-bm25 -q empty.lmdb
	fails_with 1 "corpus.jsonl" rl-reward-bm25 -q corpus.jsonl/x
	fails_with 1 "." rl-reward-bm25 -q .
	fails_with 2 "metric 'recall' needs a number" rl-reward-bm25 --metric recall x.lmdb
	fails_with 2 "metric 'bleu' is not known" rl-reward-bm25 --metric bleu x.lmdb
	fails_with 2 "--query" rl-reward-bm25 --query '.x |' x.lmdb
	run rl-reward-bm25 -q -k x.lmdb <<<'{"completion":"x"}'
	[ "$status" -eq 3 ]
}

@test "rl-reward-bm25: Boolean queries; what is none scores --otherwise and is counted" {
	rl-index -q --positions corpus.jsonl x.lmdb
	r() { reward "$(jq -nc --arg q "$1" '{completion: $q, relevant_doc_ids: ["a"]}')" --boolean --otherwise -1 --metric precision@1; }
	[ "$(r 'apple NOT pie')" = 1 ]
	[ "$(r '(sky OR "red apple") AND NOT green')" = 1 ]
	[ "$(r '"apple red"')" = 0 ]
	[ "$(r 'apple AND sky')" = 0 ]
	[ "$(r '')" = 0 ]
	for broken in '(apple' 'apple)' 'apple OR' 'AND' '"apple' '()'; do [ "$(r "$broken")" = -1 ]; done
	{
		jq -nc '{completion: ("(" * 10000), relevant_doc_ids: ["a"]}, {completion: ("apple OR " * 10000), relevant_doc_ids: ["a"]}'
		echo '{"completion":"apple \u0000\u0007 AND red","relevant_doc_ids":["a"]}'
	} >texts
	rl-reward-bm25 --boolean --hits 1 x.lmdb texts 2>err | jq -s -e 'map(.reward_bm25) == [0, 0, 1] and map(.hits | length) == [0, 0, 1]'
	grep -q '2 with a broken query' err
}

@test "rl-reward-bm25: --boolean needs positions at the start, phrase or not" {
	fails_with 1 "x.lmdb: --boolean needs positions; build the index with rl-index --positions" rl-reward-bm25 --boolean x.lmdb /dev/null
}

@test "rl-reward-bm25: a Boolean OR of words ranks as the plain query does" {
	shared data data/retrieval/cran
	rl-index -q --analyzer porter --positions "$data/corpus.jsonl" c.lmdb
	rl-reward-bm25 -q --query .query --hits 20 c.lmdb "$data/queries.jsonl" >plain
	rl-reward-bm25 -q --query '[.query | ascii_downcase | scan("[a-z0-9]+")] | join(" OR ")' --boolean --hits 20 c.lmdb "$data/queries.jsonl" | cmp - plain
}

@test "rl-reward-bm25: several queries of a record are fused; what is none of them" {
	[ "$(reward '{"completion":"","q":["zzz","sky"],"relevant_doc_ids":[7]}' --query .q)" = 1 ]
	rl-reward-bm25 -q --query .q --hits 3 x.lmdb <<<'{"q":["green","apple","red"],"relevant_doc_ids":["a"]}' | jq -ce '.hits == [{id: "b", score: 2}, {id: "a", score: 2}]'
	for none in '[]' '["a",5]' '[["a"]]' '{"a":"b"}' 5 "$(jq -nc '[range(257) | "a"]')"; do
		[ "$(reward "{\"completion\":\"\",\"q\":$none,\"relevant_doc_ids\":[7]}" --query .q --otherwise -1)" = -1 ]
	done
	[ "$(reward "$(jq -nc '{q: [range(256) | "sky"], relevant_doc_ids: [7]}')" --query .q)" = 1 ]
	fails_with 1 "--query: '.q' gives neither a string nor up to 256 of them" rl-reward-bm25 -q --query .q x.lmdb <<<'{"q":["a",5],"relevant_doc_ids":[7]}'
}

@test "rl-reward-bm25: what a model put between tags, whatever it is" {
	jq -c '{completion: ., relevant_doc_ids: ["a"]}' >texts <<-'END'
		"<think>hm</think><answer>{\"query\": \"red\"}</answer>"
		"<think>hm</think><answer>{\"query\": \"green\"}</answer><answer>{\"query\": \"red\\u0000\\u0007\"}</answer>"
		"red"
		"<answer>red</answer>"
		"<answer>{\"query\": red}</answer>"
		"<answer>{\"query\": 1}</answer>"
		"<answer>{\"query\": \"red\"}"
		"<answer>{\"query\": \"\\ud83d\"}</answer>"
		""
	END
	jq -nc '("<answer>" * 10000), ("<answer>{\"query\":\"red\"}</answer>" * 10000), ("{" * 10000), ("<answer>" + "[" * 10000 + "</answer>") | {completion: ., relevant_doc_ids: ["a"]}' >>texts
	rl-reward-bm25 -L "$root/pipelines/lib" --query 'include "queries"; .completion | answer_query' --otherwise -1 x.lmdb texts 2>said |
		jq -c .reward_bm25 | paste -sd' ' >got
	[ "$(cat got)" = "1 1 -1 -1 -1 -1 -1 -1 -1 -1 1 -1 -1" ]
	grep -qx 'rl-reward-bm25: 13 records in, 13 out, 10 without a query' said
	# half a code point in the record itself is no JSON
	fails_with 1 "standard input:1: " rl-reward-bm25 -q x.lmdb <<<'{"completion":"\ud83d","relevant_doc_ids":["a"]}'
	fails_with 1 "standard input:1: " rl-reward-bm25 -q x.lmdb < <(printf '{"completion":"caf\xc3","relevant_doc_ids":["a"]}\n')
}

@test "rl-reward-bm25: --answers: documents whose text holds one of them are relevant" {
	printf '%s\n' '{"id":"a","text":"red apple"}' '{"id":"b","title":"Green","text":"apple pie. U.S., 1984"}' '{"id":"c","text":"a sour and green apple: the us"}' '{"id":"d","text":"sky"}' |
		rl-index -q --texts - t.lmdb
	answered() { # ANSWERS OPTION...
		local answers=$1
		shift
		rl-reward-bm25 -q t.lmdb --answers .answers "$@" <<<"{\"completion\":\"apple\",\"answers\":$answers}" | jq -c .reward_bm25
	}
	# a, b, c is the ranking: by length
	[ "$(answered '["u.s."]' -m mrr)" = 0.5 ]
	[ "$(answered '["US"]' -m mrr)" = 0.3333333333333333 ]
	[ "$(answered '["green"]' -m precision@3)" = 0.6666666666666666 ]
	[ "$(answered '["green"]' -m precision@2)" = 0.5 ]
	[ "$(answered '["GREEN apple"]' -m precision@4)" = 0.5 ]
	[ "$(answered '["sour and red", "the us"]' -m hit@3)" = 1 ]
	[ "$(answered '["the us"]' -m hit@2)" = 0 ]
	[ "$(answered '["the us"]' -m hit@2 --hits 3)" = 0 ]
	[ "$(answered '"RED"')" = 1 ]
	[ "$(answered 1984)" = 1 ]
	[ "$(answered '["sky"]' -m mrr)" = 0 ]
	# the first one is enough, but not for all measures
	[ "$(rl-reward-bm25 -q t.lmdb --answers .answers -m hit@1 -m mrr -m precision@3 <<<'{"completion":"apple","answers":["green"]}' | jq -c .bm25)" = '{"hit@1":0,"mrr":0.5,"precision@3":0.6666666666666666}' ]
	# nothing to look for is null
	for none in '[]' '[""]' '[" ", "\u0007"]'; do [ "$(answered "$none")" = null ]; done
	fails_with 1 "standard input:1: --answers: '.answers' gives nothing" rl-reward-bm25 -q t.lmdb --answers .answers <<<'{"completion":"apple"}'
	fails_with 1 "standard input:1: --answers: '.answers' holds an object at index 1" rl-reward-bm25 -q t.lmdb --answers .answers <<<'{"completion":"apple","answers":["a",{}]}'
	fails_with 1 "x.lmdb: --answers needs texts; build the index with rl-index --texts" rl-reward-bm25 --answers .answers x.lmdb /dev/null
	fails_with 2 "--relevant or --answers, not both" rl-reward-bm25 --answers .answers --relevant .r t.lmdb
	for m in recall@5 ndcg@5 map; do fails_with 2 "metric '$m' needs the number of relevant documents" rl-reward-bm25 --answers .answers -m mrr -m $m t.lmdb; done
}

@test "rl-reward-bm25: --answers on real passages: on several threads, and as a jq program finds them" {
	shared data data/retrieval/pubmedqa
	head -n 200 "$data/queries.jsonl" | jq -c '{query, answers: (.query | split(" ")[:2] | map([., "of " + .])[])}' >q.jsonl
	rl-index -q --texts "$data/corpus.jsonl" t.lmdb
	rl-reward-bm25 -q --query .query --answers .answers -m mrr -m precision@20 --hits 20 t.lmdb q.jsonl >want
	rl-reward-bm25 -q -j 3 --query .query --answers .answers -m mrr -m precision@20 --hits 20 t.lmdb q.jsonl | cmp want -
	jq -c --slurpfile docs "$data/corpus.jsonl" -n '
		def tokens: ascii_downcase | [scan("[\\p{L}\\p{N}\\p{M}]+|[^\\p{Z}\\p{C}]")] | "\n" + join("\n") + "\n";
		($docs | map({key: .doc_id, value: .text}) | from_entries) as $text
		| [inputs | (.answers | map(tokens)) as $a | [.bm25."precision@20", ([.hits[].id | $text[.] | tokens | select(contains($a[]))] | unique | length) / 20]]
		| [length, ([.[] | select(.[0] - .[1] | fabs > 1e-9)] | length), (map(.[0]) | add > 10)]' want >got
	[ "$(cat got)" = "[400,0,true]" ]
}

@test "rl-reward-bm25: --feedback finds more on real collections, the same on any number of threads, pruned or not" {
	shared data data/retrieval/cran
	data=$(dirname "$data")
	map() { rl-reward-bm25 -q --query .query -m map "$@" f.lmdb "$data/$name/queries.jsonl" | tee out | jq -s 'map(.reward_bm25) | add / length * 1000 | floor'; }
	for name in cran med; do
		rl-index -q --analyzer porter --texts "$data/$name/corpus.jsonl" f.lmdb
		plain=$(map)
		grown=$(map --feedback)
		[ "$grown" -gt $((plain + 20)) ] || { echo "$name: $plain, with feedback $grown"; return 1; }
		mv out want
		[ "$(map --feedback -j 3)" = "$grown" ] && cmp want out
		[ "$(map --feedback --exhaustive)" = "$grown" ] && cmp want out
		[ "$(map --feedback --feedback-docs 5 --feedback-terms 20 --original-weight 0.7)" -gt "$plain" ]
		! cmp -s want out || return 1
		[ "$(map --feedback --original-weight 1)" = "$plain" ]
	done
}

@test "rl-reward-bm25: --feedback needs texts, and words; a model's text never stops it" {
	fails_with 1 "x.lmdb: --feedback needs texts; build the index with rl-index --texts" rl-reward-bm25 --feedback x.lmdb /dev/null
	fails_with 2 "--feedback makes words of a query, which --boolean does not take" rl-reward-bm25 --feedback --boolean x.lmdb
	rl-index -q --texts corpus.jsonl x.lmdb
	jq -nc '"", "zzz", "\u0000\u0007", ([range(10000) | "apple\u0000"] | join(" ")), ("pie " * 10000) | {completion: ., relevant_doc_ids: ["a"]}' |
		rl-reward-bm25 -q --feedback --otherwise -1 x.lmdb | jq -c .reward_bm25 | paste -sd' ' >got
	[ "$(cat got)" = "0 0 0 1 0" ]
}

@test "rl-reward-bm25: -j changes neither bytes nor counts, faults included" {
	shared data data/retrieval/cran
	rl-index -q --analyzer porter --positions "$data/corpus.jsonl" c.lmdb
	sed '3s/.*/{"skip":"cut"}/; 40s/.*/{"query":"x"}/; 41s/.*/broken/; 100s/"query":"/"query":"( /' "$data/queries.jsonl" >q.jsonl
	for o in '' --boolean; do
		rl-reward-bm25 -k --query .query --hits 5 $o c.lmdb q.jsonl - <q.jsonl >want 2>said || [ $? -eq 3 ]
		[ "$(wc -l <want)" -eq 450 ] && [ "$(grep -c '"error"' want)" -eq 4 ]
		for j in 2 3 0; do
			rl-reward-bm25 -k -j $j --query .query --hits 5 $o c.lmdb q.jsonl - <q.jsonl >got 2>said.$j || [ $? -eq 3 ]
			cmp want got
			diff said said.$j
		done
	done
	# without -k the run ends at the same record; a stream that breaks loses nothing that came before
	rl-reward-bm25 --query .query c.lmdb q.jsonl >want 2>said || [ $? -eq 1 ]
	[ "$(wc -l <want)" -eq 39 ]
	rl-reward-bm25 -j 2 --query .query c.lmdb q.jsonl >got 2>said.2 || [ $? -eq 1 ]
	cmp want got && diff said said.2
	fails_with 1 "absent.jsonl: No such file" rl-reward-bm25 -q -j 2 --query .query c.lmdb "$data/queries.jsonl" absent.jsonl
	[ "$(wc -l <out)" -eq 225 ]
}

@test "rl-reward-bm25: with -j a record is not held while input pauses" {
	mkfifo in out
	rl-reward-bm25 -q -j 4 x.lmdb <in >out &
	exec 8>in 9<out
	for n in 1 2; do
		echo "{\"n\":$n,\"completion\":\"sky\",\"relevant_doc_ids\":[7]}" >&8
		IFS= read -r -t 20 line <&9
		[ "$line" = "{\"n\":$n,\"completion\":\"sky\",\"relevant_doc_ids\":[7],\"reward_bm25\":1}" ]
	done
	exec 8>&-
	wait $!
	exec 9<&-
}

@test "rl-reward-bm25: the examples of the page" {
	cp x.lmdb corpus.lmdb
	echo '{"id":"q","query":"apple","relevant_doc_ids":["a"]}' >questions.jsonl
	echo '{"completion":"let me think {\"query\":\"apple\"}","relevant_doc_ids":["a"]}' >rollouts.jsonl
	[ "$(rl-reward-bm25 --query .query --hits 3 corpus.lmdb questions.jsonl | jq -c '[.id, .reward_bm25, (.hits | map(.id))]')" = '["q",1,["a","b"]]' ]
	rl-index -q --positions corpus.jsonl corpus.lmdb
	echo '{"completion":"(pie OR plum) AND \"green apple\" NOT sky","relevant_doc_ids":["b"]}' >boolean.jsonl
	rl-reward-bm25 --boolean --otherwise -0.1 corpus.lmdb boolean.jsonl | jq -e '.reward_bm25 == 1' >/dev/null
	ln -s "$root/pipelines" .
	echo '{"completion":"<think>a</think><answer>{\"query\": \"apple\"}</answer>","relevant_doc_ids":["a"],"answers":["pie"]}' >tagged.jsonl
	rl-index --texts corpus.jsonl texts.lmdb
	rl-reward-bm25 --query .query --metric map --feedback texts.lmdb questions.jsonl | rl-eval -m .reward_bm25 | grep -q reward_bm25
	rl-reward-bm25 -L pipelines/lib --as mrr --metric mrr@3000 --answers .answers \
		--query 'include "queries"; .completion | answer_query' texts.lmdb tagged.jsonl |
		rl-reward-jq -L pipelines/lib passage 'include "queries";
    .mrr as $mrr | .completion | passage_reward($mrr)' | jq -e '.mrr == 0.5 and .passage == {format: 1, answer: 5, reward: 6}' >/dev/null
	rl-reward-bm25 -L pipelines/lib --as recall --metric recall@3000 \
		--query 'include "queries"; .completion | answer_query' corpus.lmdb tagged.jsonl |
		rl-reward-jq -L pipelines/lib literature 'include "queries";
    .recall as $recall | .completion | literature_reward($recall)' | jq -e '.literature == {format: 1, answer: 5, reward: 6} and .reward_literature == 6' >/dev/null
	rl-reward-bm25 -L pipelines/lib --boolean \
		--query 'include "queries"; .completion | boolean_expand' corpus.lmdb boolean.jsonl | jq -e '.reward_bm25 == 1' >/dev/null
	rl-reward-bm25 --query '.completion | capture("(?<a>{[^{}]*})").a | fromjson.query' corpus.lmdb rollouts.jsonl | jq -e '.reward_bm25 == 1' >/dev/null
}
