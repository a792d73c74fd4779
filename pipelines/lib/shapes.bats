#!/usr/bin/env bats
# The readers, on every file of ../shared/data: how many records, and what is in them, by other tools on the raw files.
load ../../tools/common
root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)

setup() { cd "$BATS_TEST_TMPDIR"; }
json() { jq -nc -L "$root/pipelines/lib" "include \"shapes\"; $1" "${@:2}"; }
lines() { jq -nRc -L "$root/pipelines/lib" "include \"shapes\"; $1" "${@:2}"; }

# shape FILE: sets reader, which is a command line, and count, another that counts the records in the raw file; both empty
# for what is no corpus.  A file that nothing here names has no reader: 1.
shape() {
	local f=$1
	reader= count=
	case ${f#"$data/"} in
	longqa/babi/*.txt) reader='lines babi "$f"' count='grep -c "[?]" "$f"' ;;
	longqa/babilong/*.json) reader='json babilong "$f"' count='grep -c "^    \"target\": " "$f"' ;;
	longqa/lost-in-the-middle/kv-*.gz) reader='zcat "$f" | json kv_retrieval' count='zcat "$f" | wc -l' ;;
	longqa/lost-in-the-middle/nq-*.gz) reader='zcat "$f" | json nq_open' count='zcat "$f" | wc -l' ;;
	retrieval/*/corpus.jsonl) reader='json corpus "$f"' count='wc -l <"$f"' ;;
	retrieval/*/queries.jsonl) reader='json queries "$f"' count='wc -l <"$f"' ;;
	retrieval/*/qrels.trec | metrics/trec_eval/qrels*) reader='lines qrels "$f"' count='grep -vc "^#" "$f"' ;;
	retrieval/*/*.run | metrics/trec_eval/results*) reader='lines trec_run "$f"' count='grep -vc "^#" "$f"' ;;
	metrics/trec_eval/prefs.test) reader='lines trec_prefs "$f"' count='grep -vc "^#" "$f"' ;;
	metrics/trec_eval/prefs.results.test) reader='lines trec_run "$f"' count='wc -l <"$f"' ;;
	metrics/nltk-wmt15/*.sgm) reader='lines wmt "$f"' count='grep -c "<seg " "$f"' ;;
	metrics/nltk-wmt15/*.en | metrics/nltk-wmt15/*.ru) reader='lines texts "$f"' count='grep -c "" "$f"' ;;
	metrics/nlg-eval/*.txt | metrics/rouge-pltrdy/*.txt | retrieval/stopwords/*) reader='lines texts "$f"' count='grep -c "" "$f"' ;;
	retrieval/porter/porter_test/*.txt) reader='lines texts "$f"' count='grep -c "" "$f"' ;;
	metrics/rouge-pltrdy/data.json) reader='json hypotheses "$f"' count='grep -c "\"hyp\": " "$f"' ;;
	dialogue/redial-subset/*.json) reader='json redial "$f"' count='grep -c "\"conversation_id\"" "$f"' ;;
	dialogue/inspired-unicrs/*.jsonl) reader='json inspired "$f"' count='wc -l <"$f"' ;;
	dialogue/twentyq/*.json) reader='json twenty_questions "$f"' count='grep -c "\"object\": " "$f"' ;;
	sentiment/rt-polarity/*) reader='lines labelled "$f"' count='wc -l <"$f"' ;;
	sentiment/vader/groundtruth/*GroundTruth.txt) reader='lines rated "$f"' count='grep -c "" "$f"' ;;
	sentiment/movie_reviews.zip) reader='unzip -c "$f" | lines movie_reviews' count='zipinfo -1 "$f" | grep -c "cv.*[.]txt$"' ;;
	text/wikitext-2/*.txt) reader='lines wikitext "$f"' count='awk "/^ *\$/ {blank = 1; next} blank && /^ = [^=].* = \$/ && !/^ = =/ {n++} {blank = 0} END {print n}" "$f"' ;;
	text/tinyshakespeare/*.txt) reader='lines speeches "$f"' count='awk "BEGIN {blank = 1} blank && /./ {n++} {blank = !/./} END {print n}" "$f"' ;;
	# papers beside the data; prompts (prompts.bats); lexicons and vectors of tools; what other programs measured; a run
	# without its column of queries; models
	README.md | */LICENSE* | */LICENCE* | */README.txt | */_README_.txt | */movie_reviews.xml | */porter_test.xml) ;;
	longqa/babilong/templates/*) ;;
	sentiment/vader/*lexicon.txt | sentiment/vader/golden_*.tsv | tokenizers/* | models/*) ;;
	retrieval/*/trec_eval.txt | metrics/trec_eval/out.* | metrics/trec_eval/zscores_file) ;;
	metrics/sacrebleu_vectors.json | metrics/nlg-eval/expected.json | metrics/nltk-wmt15/*.output) ;;
	metrics/trec_eval/prefs.rank20) ;;
	*) echo "no reader for $f" && return 1 ;;
	esac
}

@test "shapes: every file of the data has a reader, which finds as many records as are there" {
	shared data data
	local f n=0
	while IFS= read -r f; do
		shape "$f"
		[ "$reader" ] || continue
		n=$((n + 1))
		eval "$reader" >"$BATS_TEST_TMPDIR/out" || { echo "$f: fails"; return 1; }
		want=$(eval "$count")
		[ "$(wc -l <out)" -eq "$want" ] && [ "$want" -gt 0 ] || { echo "$f: $(wc -l <out) records, expected $want"; return 1; }
		# each has a key of its own, but the lines of judgements
		[[ $reader == *qrels* || $reader == *trec* ]] || [ "$(jq -r .id out | sort -u | wc -l)" -eq "$want" ] || { echo "$f: an id twice"; return 1; }
		# and the tools read them
		holds -n 'first(inputs) | type == "object"' out >/dev/null
	done < <(find -L "$data" -type f | LC_ALL=C sort)
	[ "$n" -gt 60 ]
}

@test "shapes: a file that is new is found to have no reader" {
	data=$BATS_TEST_TMPDIR
	run shape "$data/longqa/new/corpus.txt"
	[ "$status" -eq 1 ]
	[[ $output == "no reader for "* ]]
}

@test "shapes: bAbI, each question with its story, as awk reads it" {
	shared data data/longqa/babi
	local f
	for f in "$data"/*.txt; do
		awk -F'\t' '
			{ n = $1; sub(/ .*/, "", n); sub(/^[0-9]+ /, "", $1) }
			n == 1 { story = ""; split("", said) }
			NF == 1 { said[n] = $1; story = story (story == "" ? "" : " ") $1; next }
			{ facts = ""; k = split($3, of, " "); for (i = 1; i <= k; i++) facts = facts "|" said[of[i]]
			  sub(/ *$/, "", $1); print story "\t" $1 "\t" $2 "\t" facts }' "$f" >want
		lines babi "$f" | jq -r '. as $r | [.context, .question, .target, (.facts | map("|" + .) | add // "")] | join("\t")' >got
		cmp want got
		[ "$(lines 'babi | select((.sentences | join(" ")) != .context or .answers != [.target]
			or .facts != (.sentences as $s | .support | map($s[.])))' "$f" | wc -l)" -eq 0 ]
	done
	# what BABILong's rule needs
	lines babi "$data"/qa8*.txt | jq -c '.completion = .target' | rl-eval -q --json -m @babilong | holds '.mean == 1 and .n == 1000'
}

@test "shapes: bAbI, what is wrong is said" {
	for line in 'no number here' '3 Mary went home.' $'1 Where is Mary?\thome' $'1 Where is Mary?\thome\t7'; do
		run lines babi <<<"$line"
		[ "$status" -eq 5 ]
		[ "$(wc -l <<<"$output")" -eq 1 ]
		case $line in
		no*) [[ $output == *"the number in front is 'no', which is no number"* ]] ;;
		3*) [[ $output == *"the first line has number 3, expected 1"* ]] ;;
		*7) [[ $output == *"supporting line 7 is none of the story's statements"* ]] ;;
		*) [[ $output == *"a question has 2 parts between tabs, expected 3"* ]] ;;
		esac
	done
	[ "$(printf '1 Mary went home.\r\n2 Where is Mary? \thome\t1\r\n' | lines 'babi | .context, .question, .facts[0]' | paste -sd' ')" = '"Mary went home." "Where is Mary?" "Mary went home."' ]
}

@test "shapes: BABILong, its samples and its published form" {
	shared data data/longqa/babilong
	[ "$(json 'babilong | [.id, .length, .question, .target, (.context | length)] | join(" ")' "$data"/babilong_{8k,16k}.json | paste -sd' ')" = \
		'"babilong_8k/1 8k Where is Sandra? bathroom 31716" "babilong_16k/1 16k Where is John? bedroom 57245"' ] # lengths: of the source
	mkdir qa2
	echo '[{"input":"a b","question":"Where is it? ","target":"office"}]' >qa2/4k.json
	[ "$(json babilong qa2/4k.json)" = '{"id":"4k/1","task":"qa2","length":"4k","context":"a b","question":"Where is it?","target":"office","answers":["office"]}' ]
}

@test "shapes: lost in the middle" {
	shared data data/longqa/lost-in-the-middle
	zcat "$data"/kv-*.gz | json kv_retrieval >kv
	# the context is an object, the key's value the answer, and gold its place: as the raw text has them
	holds -s 'all(.[]; (.context | fromjson)[.question] == .answers[0] and (.context | split("\n") | length == 75)
		and (.question as $q | .context | split("\n")[0] | length) > 70)' kv
	for n in 1 250 500; do
		key=$(sed -n ${n}p kv | jq -r .question)
		zcat "$data"/kv-*.gz | sed -n ${n}p | grep -oF "\"key\": \"$key\""
		at=$(zcat "$data"/kv-*.gz | sed -n ${n}p | grep -oE '\["[0-9a-f-]{36}", ' | grep -nF "$key" | cut -d: -f1)
		[ "$(sed -n ${n}p kv | jq .gold)" -eq $((at - 1)) ]
	done
	zcat "$data"/nq-*.gz | json nq_open >nq
	for n in 1 1000 2655; do
		question=$(zcat "$data"/nq-*.gz | sed -n ${n}p | sed 's/{"question": "\([^"]*\)".*/\1/')
		[ "$(sed -n ${n}p nq | jq -r .question)" = "$question" ]
	done
	holds -s 'all(.[]; .gold == 0 and (.documents | length == 1) and (.answers | length > 0))' nq
	[[ $(sed -n 1p nq | jq -r .context) == 'Document [1](Title: List of Nobel laureates in Physics) The first Nobel Prize in Physics was awarded in 1901 '* ]]
	echo '{"question":"q","answers":["x"],"ctxs":[{"title":"A","text":"a","isgold":false},{"title":"B","text":"x","isgold":true}]}' |
		json 'nq_open | [.gold, .context]' | holds '. == [1, "Document [1](Title: A) a\nDocument [2](Title: B) x"]'
}

@test "shapes: HotpotQA and SQuAD, as published and as on Hugging Face" {
	cat >hotpot.json <<'END'
[{"_id":"5a","question":"Which is older?","answer":"Moor Castle","type":"comparison",
  "supporting_facts":[["Moor Castle",0],["Fen House",1],["Moor Castle",1]],
  "context":[["Fen House",["It is a house."," It was built in 1720."]],["Moor Castle",["A castle of 1540."," It stands."]],["Rest",["No."]]]}]
END
	json hotpotqa hotpot.json >one
	holds '.id == "5a" and .answers == ["Moor Castle"] and .facts == ["Moor Castle", "Fen House"] and .support == [1, 2, 3]
		and .context == "It is a house. It was built in 1720. A castle of 1540. It stands. No."
		and .sentences[.support[0]] == " It was built in 1720." and .titles[.support[0]] == "Fen House"' one
	jq -c '.[0] | {id: ._id, question, answer, supporting_facts: {title: [.supporting_facts[][0]], sent_id: [.supporting_facts[][1]]},
		context: {title: [.context[][0]], sentences: [.context[][1]]}}' hotpot.json | json hotpotqa | cmp - one
	cat >squad.json <<'END'
{"version":"v2.0","data":[{"title":"Fens","paragraphs":[{"context":"É wet land.","qas":[
 {"id":"q1","question":"What?","answers":[{"text":"wet","answer_start":2},{"text":"wet land","answer_start":2}],"is_impossible":false},
 {"id":"q2","question":"Who?","answers":[],"is_impossible":true}]}]}]}
END
	json squad squad.json >two
	[ "$(wc -l <two)" -eq 2 ]
	holds -s '.[0] == {id: "q1", title: "Fens", context: "É wet land.", question: "What?", answers: ["wet", "wet land"], starts: [2, 2]}
		and (.[0] | .context[.starts[0]:][:3] == .answers[0]) and .[1].impossible and .[1].answers == []' two
	echo '{"id":"q1","title":"Fens","context":"É wet land.","question":"What?","answers":{"text":["wet","wet land"],"answer_start":[2,2]}}' |
		json squad | cmp - <(head -n 1 two)
}

@test "shapes: collections are searched as they were" {
	shared data data/retrieval
	local c
	for c in adi cran med pubmedqa; do
		# the search over what the readers give scores what trec_eval says of the reference run
		json corpus "$data/$c/corpus.jsonl" | rl-index -q - "$c.lmdb"
		json 'queries($q | [split("\n")[] | select(. != "") | split(" ") | {query_id: .[0], doc_id: .[2], grade: (.[3] | tonumber)}] | judgements)' \
			--rawfile q "$data/$c/qrels.trec" "$data/$c/queries.jsonl" | jq -c '.completion = .query' >queries
		want=$(awk '$1 == "ndcg_cut_10" && $2 == "all" {print $3}' "$data/$c/trec_eval.txt")
		rl-reward-bm25 -q "$c.lmdb" --metric ndcg@10 queries | rl-eval -q --json -m reward_bm25 |
			holds --argjson want "$want" '(.mean - $want) | fabs < 0.0001'
	done
	# the queries name the same documents as the judgements, in another order
	diff <(json 'queries | .id as $q | .relevant_doc_ids[] | "\($q) 0 \(.) 1"' "$data/med/queries.jsonl" | tr -d '"' | LC_ALL=C sort) <(LC_ALL=C sort "$data/med/qrels.trec")
	lines trec_run "$data"/med/*.run | jq -r '"\(.query_id) Q0 \(.doc_id) \(.rank) \(.tag)"' | cmp - <(awk '{print $1, $2, $3, $4, $6}' "$data"/med/*.run)
}

@test "shapes: BEIR, judgements with comments and preferences" {
	printf '%s\n' '{"_id":"d1","title":"Fens","text":"wet land","metadata":{}}' '{"_id":"d2","title":"","text":"moor"}' |
		json corpus | cmp - <(printf '%s\n' '{"id":"d1","text":"wet land","title":"Fens"}' '{"id":"d2","text":"moor"}')
	echo '{"_id":"q1","text":"wet"}' | json 'queries({q1: [{id: "d1", grade: 2}]})' | cmp - <(echo '{"id":"q1","query":"wet","relevant_doc_ids":[{"id":"d1","grade":2}]}')
	printf 'query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n' | lines '[qrels] | judgements' | cmp - <(echo '{"q1":[{"id":"d1","grade":2},{"id":"d2","grade":0}]}')
	for line in '1 0 d1' '1 0 d1 x' '1 0 d1 1 1'; do
		run lines qrels <<<"$line"
		[ "$status" -eq 5 ]
		[[ $output == *"the grade is "*"no number"* || $output == *"this line 5"* ]]
	done
	run lines trec_run <<<'1 Q0 d1 1 2.5'
	[ "$status" -eq 5 ]
	[[ $output == *"a run has 6 columns, this line 5"* ]]
	shared data data/metrics/trec_eval
	lines qrels "$data/qrels.test.with-comments" | jq -r .doc_id | cmp - <(grep -v '^#' "$data/qrels.test.with-comments" | awk '{print $3}')
	lines trec_prefs "$data/prefs.test" | jq -r '"\(.query_id) \(.judge) \(.part) \(.doc_id) \(.grade)"' | cmp - <(awk '{print $1, $2, $3, $4, $5}' "$data/prefs.test")
}

@test "shapes: SGML, topics of TREC and sets of WMT" {
	cat >topics <<'END'
<top>
<num> Number: 401
<title> Topic: drainage &amp; fens

<desc> Description:
What was done
to drain them?
<narr> Narrative:
Pumps count.
</top>
<top>
<num> Number: 402
<title>moor grass
</top>
END
	lines trec_topics topics | cmp - <(printf '%s\n' \
		'{"id":"401","query":"drainage & fens","description":"What was done to drain them?","narrative":"Pumps count."}' '{"id":"402","query":"moor grass"}')
	shared data data/metrics/nltk-wmt15
	local at=$data/wmt15_eval
	lines 'wmt | .text' "$at"/*-ref.ru.sgm | jq -r . | cmp - <(cat "$at"/newstest-2015-100sents.en-ru.ref.ru; echo)
	[ "$(lines 'wmt | .id' "$at"/*-src.en.sgm | head -n 1)" = '"1012-bbc/1"' ]
}

@test "shapes: dialogues" {
	shared data data/dialogue
	json redial "$data"/redial-subset/*.json >redial
	[ "$(jq -s 'map(.messages | length) | add' redial)" -eq "$(cat "$data"/redial-subset/*.json | grep -c '"utterance"')" ]
	[ "$(jq -s '[.[].messages[] | select(.role == "assistant")] | length' redial)" -eq "$(cat "$data"/redial-subset/*.json | grep -c '"participant": "AGENT"')" ]
	[ "$(jq -s '[.[].messages[].acts[]] | length' redial)" -eq "$(cat "$data"/redial-subset/*.json | grep -c '"intent"')" ]
	head -n 1 redial | holds '.id == "474" and .messages[1] == {role: "assistant", content: "Yes, how about It (2017) ?", acts: ["REC-E"]}'
	json inspired "$data/inspired-unicrs/test.jsonl" >inspired
	[ "$(jq -s 'map(.messages | length) | add' inspired)" -eq "$(grep -o '"role": ' "$data/inspired-unicrs/test.jsonl" | wc -l)" ]
	[ "$(jq -s '[.[].messages[] | select(.role == "user")] | length' inspired)" -eq "$(grep -o '"role": "SEEKER"' "$data/inspired-unicrs/test.jsonl" | wc -l)" ]
	head -n 1 inspired | holds '.messages[3].movies == ["Hustlers (2019)"] and .messages[1].content == "Terrific"'
	# an answer of the assistant with all that was said before; none where it begins
	json 'inspired | responses' "$data/inspired-unicrs/test.jsonl" >responses
	begins=$(grep -c '^\[{"text": "[^"]*", "role": "RECOMMENDER"' "$data/inspired-unicrs/test.jsonl")
	[ "$(wc -l <responses)" -eq "$(($(grep -o '"role": "RECOMMENDER"' "$data/inspired-unicrs/test.jsonl" | wc -l) - begins))" ]
	head -n 1 responses | holds '.id == "test/1/2" and .context == ["Hi! I'"'"'m here to help you chose a movie!", "Terrific"]
		and .references == ["What are some genres you like? What was the last movie you saw?"]'
	echo '{"conversationId":"7","initiatorWorkerId":1,"respondentWorkerId":2,"movieMentions":{"5":"Jaws"},"messages":[{"senderWorkerId":1,"text":"Hi"},{"senderWorkerId":2,"text":"@5"}]}' |
		json 'redial | .movies["5"], (responses | .context[0], .references[0])' | paste -sd' ' | cmp - <(echo '"Jaws" "Hi" "@5"')
	json twenty_questions "$data/twentyq/20q_dataset.json" >games
	[ "$(jq -s '[.[].pairs[] | select(.value == "YES")] | length' games)" -eq "$(grep -c '"YES"' "$data/twentyq/20q_dataset.json")" ]
	head -n 1 games | holds '.object == "elephant" and (.pairs | length == 20) and .pairs[0] == {key: "Is it larger than a breadbox?", value: "YES"}'
}

@test "shapes: texts come whole" {
	shared data data
	lines 'texts | .text' "$data/metrics/nltk-wmt15/wmt15_eval/ref.ru" | jq -r . | cmp - "$data/metrics/nltk-wmt15/wmt15_eval/ref.ru"
	lines labelled "$data"/sentiment/rt-polarity/rt-polarity.{neg,pos} >rt
	jq -r .text rt | cmp - <(cat "$data"/sentiment/rt-polarity/rt-polarity.{neg,pos})
	[ "$(jq -r .label rt | sort | uniq -c | awk '{print $2 $1}' | paste -sd,)" = neg5331,pos5331 ]
	lines rated "$data/sentiment/vader/groundtruth/tweets_GroundTruth.txt" >tweets
	jq -r '"\(.id)\t\(.text)"' tweets | cmp - <(cut -f1,3- "$data/sentiment/vader/groundtruth/tweets_GroundTruth.txt" | tr -d '\r')
	jq .rating tweets | paste - <(cut -f2 "$data/sentiment/vader/groundtruth/tweets_GroundTruth.txt") | awk '$1 != $2 + 0 {exit 1}'
	local f
	for f in valid test; do
		lines 'wikitext | " = \(.title) = \n\(.text)"' "$data/text/wikitext-2/$f.txt" | jq -j . | cmp - <(tail -n +2 "$data/text/wikitext-2/$f.txt")
	done
	lines 'speeches | "\(.speaker):\n\(.text)\n"' "$data/text/tinyshakespeare/input.txt" | jq -r . | grep . | cmp - <(grep . "$data/text/tinyshakespeare/input.txt")
	unzip -c "$data/sentiment/movie_reviews.zip" | lines movie_reviews >reviews
	jq -j .text reviews | cmp - <(unzip -p "$data/sentiment/movie_reviews.zip" '*/*/*')
	[ "$(jq -r .label reviews | sort | uniq -c | awk '{print $2 $1}' | paste -sd,)" = neg1000,pos1000 ]
	jq -j 'select(.id == "neg/cv123_12165").text' reviews | cmp - <(unzip -p "$data/sentiment/movie_reviews.zip" '*/neg/cv123_12165.txt')
	json hypotheses "$data/metrics/rouge-pltrdy/data.json" >two
	[ "$(jq -r '.completion' two | head -n 1)" = "$(head -n 1 "$data/metrics/rouge-pltrdy/hyp.txt")" ]
	[ "$(jq -r '.references[]' two | head -n 1)" = "$(head -n 1 "$data/metrics/rouge-pltrdy/ref.txt")" ]
}

@test "shapes: a character that jq -R breaks is noticed, and JSON strings are the way around" {
	{ head -c 4094 /dev/zero | tr '\0' a; printf 'é "end" \\ of\ta line\r\n'; } >long
	run lines texts long
	[ "$status" -eq 5 ]
	[[ $output == *"a character at byte 4095 of a line may have been lost"* ]]
	# the command of README.md
	as_strings=$(sed -n 's/^    \(sed .*\) FILE |.*/\1/p' "$root/pipelines/lib/README.md")
	[ "$as_strings" ]
	eval "$as_strings long" | json 'texts | .text' | jq -r . | cmp - <(tr -d '\r' <long)
	{ head -c 3000 /dev/zero | tr '\0' a; printf '\xef\xbf\xbd end\n'; } | lines 'texts | .text | length' | holds '. == 3005' # one that was there
}

@test "shapes: what each reader's page says, it does" {
	shared data data
	# the table's readers are those of the module, and no reader is without a row
	diff <(sed -n '/^## Readers/,$s/^| `\([a-z_]*\)[(`].*/\1/p' "$root/pipelines/lib/README.md" | sort -u) \
		<(sed -n '/^# ---- questions/,$s/^def \([a-z_]*\)[:(].*/\1/p' "$root/pipelines/lib/shapes.jq" | grep -vx unescaped | sort -u)
}
