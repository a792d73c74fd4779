# Notes on the segments of long texts, end to end with few questions: everything but the quality of what is learned.
load ../../tools/common

setup_file() {
	data=${RLPIPE_SHARED:-$root/../shared}/data
	export data OUT="$BATS_FILE_TMPDIR/out"
	[ -e "$data/longqa/babi" ] && [ -e "$data/text/wikitext-2" ] && [ -e "$data/models/stories260K" ] || return 0
	run_make >"$BATS_FILE_TMPDIR/report" 2>"$BATS_FILE_TMPDIR/err" || { cat "$BATS_FILE_TMPDIR/err" >&2; return 1; }
}
setup() { [ -e "$OUT/margins.jsonl" ] || skip "no ../shared/data/longqa/babi, text/wikitext-2 or models/stories260K"; }
root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)

run_make() {
	make --no-print-directory -s -C "$root/pipelines/margins" SMOKE=1 OUT="$OUT" SHARED="${RLPIPE_SHARED:-$root/../shared}" \
		BIN="$(dirname "$(command -v rl-generate)")" "$@"
}

@test "margins: the report has a row for each length, from what was answered" {
	for n in 0 64; do
		for way in whole margins; do
			mean=$(jq -c "select(.length == $n)" "$OUT/$way.jsonl" | rl-eval -q --json -m @babilong | jq .mean)
			printf -v "$way" %.3f "$mean"
		done
		grep -E "^$n +10 +$whole .* $margins \[" "$BATS_FILE_TMPDIR/report"
	done
	[ "$(grep -c 'p = ' "$BATS_FILE_TMPDIR/report")" -eq 1 ]
	# rl-eval's rule is that of BABILong; an answer of one word that is the target is right by any
	jq -c '.completion = .target' "$OUT/margins.jsonl" | rl-eval -q --json -m @babilong -m @accuracy | jq .mean | paste -sd, | cmp - <(echo 1,1)
}

@test "margins: samples and questions of the test are in no demonstration" {
	jq -r '.id | split("/")[0]' "$OUT/test.jsonl" | sort -u | cmp - <(echo qa1_single-supporting-fact_test)
	jq -r '.id | split("/")[0]' "$OUT/train.jsonl" | sort -u | cmp - <(echo qa1_single-supporting-fact_train)
	[ "$(jq -r .text "$OUT/test.background" | sort -u | comm -12 - <(jq -r .text "$OUT/train.background" | sort -u) | grep -c '[a-z]\{3\}.*[a-z]\{3\}.*[a-z]\{3\}.*[a-z]\{3\}.*[a-z]\{3\}.*[a-z]\{3\}')" -le 5 ]
}

@test "margins: segments are the samples, cut, and demonstrations say what is in them" {
	jq -sc 'group_by(.doc)[] | [.[0].doc, (sort_by(.index) | map(.text) | add)]' "$OUT/test.segments" | sort |
		cmp - <(jq -c '[.id, .context]' "$OUT/test.jsonl" | sort)
	# a note's statements are in the segment it is on, and name who is asked for, as sed finds them
	jq -r 'select(.prompt | endswith(" note:")) | [(.prompt | split("\n")[-2:] | .[0]), (.prompt | split("\n")[-1] | ltrimstr("Where is ") | rtrimstr("? note:")), (.completion | ltrimstr(" "))] | @tsv' \
		"$OUT/demonstrations.jsonl" >"$BATS_TEST_TMPDIR/notes"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/notes")" -eq "$(wc -l <"$OUT/train.segments")" ]
	awk -F'\t' '{
		want = ""; rest = $1
		while (match(rest, $2 " (went|moved|travelled|journeyed)( back)? to the [a-z]+[.]")) { want = want (want == "" ? "" : " ") substr(rest, RSTART, RLENGTH); rest = substr(rest, RSTART + RLENGTH) }
		if (want == "") want = "none"
		if (want != $3) { print; exit 1 } }' "$BATS_TEST_TMPDIR/notes"
	grep -cP '\tnone$' "$BATS_TEST_TMPDIR/notes"
	# one of each sample from its whole text, one from notes alone
	[ "$(grep -c ' answer:"' "$OUT/demonstrations.jsonl")" -eq $((2 * $(wc -l <"$OUT/train.jsonl"))) ]
}

@test "margins: each question is answered from the notes on its own segments, those that say none left out" {
	[ "$(wc -l <"$OUT/margins.jsonl")" -eq 20 ]
	jq -c '[.id, .margins]' "$OUT/margins.jsonl" >"$BATS_TEST_TMPDIR/got"
	jq -sc 'group_by(.doc)[] | [.[0].doc, (map(" " + (.completion | sub("^ +"; "") | sub("\\s+$"; ""))) - [" none"] | if . == [] then [" none"] else . end)]' "$OUT/notes.jsonl" | sort |
		cmp - <(sort "$BATS_TEST_TMPDIR/got")
	jq -c '.prompt == ((.margins | add) as $m | "\n\($m)\n\(.question) answer:")' "$OUT/margins.jsonl" | sort -u | cmp - <(echo true)
	jq -c '.prompt == "\(.context)\n\n\(.question) answer:"' "$OUT/whole.jsonl" | sort -u | cmp - <(echo true)
	# where the first note of each says none, and where all do
	for none in 0 99; do
		jq -c --argjson none $none 'select(.of > 1) | .completion = (if .index <= $none then "  none" else "  \(.index)" end)' "$OUT/notes.jsonl" |
			rl-group -q --adjacent --across --by .doc | tee "$BATS_TEST_TMPDIR/groups" | jq -c -L "$root/pipelines/margins" -L "$root/pipelines/lib" -f "$root/pipelines/margins/margins.jq" | jq -c .margins >"$BATS_TEST_TMPDIR/kept"
		jq -c --argjson none $none 'if $none == 99 then [" none"] else [range(1; .items[0].of) | " \(.)"] end' "$BATS_TEST_TMPDIR/groups" | cmp - "$BATS_TEST_TMPDIR/kept"
		[ "$(wc -l <"$BATS_TEST_TMPDIR/kept")" -gt 5 ]
	done
}

@test "margins: notes that are as they should be are counted so, whatever spaces a tokenizer puts in front" {
	mkdir "$BATS_TEST_TMPDIR/perfect"
	cp "$OUT"/{whole,margins}.jsonl "$BATS_TEST_TMPDIR/perfect"
	# by hand: the statements that lie in the segment and name who is asked for
	jq -c '(.question | sub("Where is "; "") | rtrimstr("?")) as $who | . as $n
		| .completion = ([range(.sentences | length) as $i | select($n.places[$i][0] >= $n.start and $n.places[$i][1] <= $n.end)
			| $n.sentences[$i] | select(startswith($who + " "))] | if . == [] then "  none" else "  " + join(" ") end)' \
		"$OUT/notes.jsonl" >"$BATS_TEST_TMPDIR/perfect/notes.jsonl"
	"$root/pipelines/margins/report" "$BATS_TEST_TMPDIR/perfect" >"$BATS_TEST_TMPDIR/said"
	grep -E '^[1-9][0-9]* segments .* 1\.000 of the notes are' "$BATS_TEST_TMPDIR/said"
	grep -E '^[1-9][0-9]* without: 1\.000 of the notes say none' "$BATS_TEST_TMPDIR/said"
	sed -i '1s/"completion":"[^"]*"/"completion":"John is out."/' "$BATS_TEST_TMPDIR/perfect/notes.jsonl"
	"$root/pipelines/margins/report" "$BATS_TEST_TMPDIR/perfect" | grep -cE ' 0\.9[0-9]* of the notes (are|say)' | cmp - <(echo 1)
}

@test "margins: the loop: notes drawn together answer their sample's question, and each has what the answer is worth" {
	run_make train >"$BATS_FILE_TMPDIR/trained" 2>"$BATS_TEST_TMPDIR/err" || { cat "$BATS_TEST_TMPDIR/err" >&2; return 1; }
	cd "$BATS_TEST_TMPDIR"
	zstdcat "$OUT"/rollouts/* >rollouts
	# whole samples in each batch, four notes on each segment
	jq -sc 'map(select(.eval | not)) | group_by([.batch, .doc])[] | [length, (map(.index) | unique), (map(.sample // 0) | unique)]' rollouts | sort -u | cmp - <(echo '[8,[0,1],[0,1,2,3]]')
	[ "$(jq -s 'map(select(.eval | not) | .batch) | unique | length' rollouts)" -eq "$(wc -l <"$OUT/trained.metrics.jsonl")" ]
	# of the first batch and the evaluation before it, both by the model as it was: the same answers, put together by hand
	jq -sc 'map(select(.batch == 0)) | group_by([.eval, .doc, .sample])[] | sort_by(.index) | {id: .[0].doc, target: .[0].target, question: .[0].question,
		worth: (map([.reward_answer, .reward_logprob]) | unique), notes: (map(" " + (.completion | sub("^\\s+"; "") | sub("\\s+$"; ""))) - [" none"])}
		| .prompt = "\n\(if .notes == [] then " none" else .notes | add end)\n\(.question) answer:"' rollouts >sets
	[ "$(jq '.worth | length' sets | sort -u)" = 1 ]
	[ "$(wc -l <sets)" -eq $((64 / 2 + 6)) ]
	rl-generate -q -s "$OUT/run.lmdb" --temperature 0 --max-tokens 8 sets |
		jq -c 'if (.completion | gsub("[^a-zA-Z ]"; "") | ascii_downcase | [splits(" +")] - ["", "the", "a", "an"] | join(" ")) == .target then 1 else 0 end' >right
	jq '.worth[0][0]' sets | cmp - right
	[ "$(sort -u right | paste -sd' ')" = "0 1" ]
	# how much likelier: per token of the target, against no notes
	lp() { jq -c "{prompt: $1, completion: (\" \" + .target)}" sets | rl-logprob -q -s "$OUT/run.lmdb" --as lp | jq '.lp | add / length'; }
	paste <(lp .prompt) <(lp '"\n none\n\(.question) answer:"') <(jq '.worth[0][1]' sets) | awk '{d = $1 - $2 - $3; if (d > 1e-5 || d < -1e-5) {print; exit 1}}'
	# made again, nothing is trained
	grep -q '^after - before: ' "$BATS_FILE_TMPDIR/trained"
	before=$(cksum "$OUT"/trained.*)
	run_make train >again
	[ "$before" = "$(cksum "$OUT"/trained.*)" ]
}

@test "margins: made again, nothing is trained and no file changes" {
	sums() { find "$OUT" -type f ! -name '*-loop' ! -name '*-lock' -exec cksum {} + | sort -k3; }
	before=$(sums)
	run_make >"$BATS_TEST_TMPDIR/again"
	[ "$before" = "$(sums)" ]
	cmp "$BATS_TEST_TMPDIR/again" <(sed -n '/^$/,$p' "$BATS_FILE_TMPDIR/report")
}

@test "margins: without bAbI it says what is missing" {
	run run_make BABI=/nonexistent/qa1
	[ "$status" -ne 0 ]
	[[ $output == *"no /nonexistent/qa1_test.txt: give BABI=PATH"* ]]
}
