# The experiment end to end on MED with two updates: everything but the quality of what is learned.
load ../../tools/common

setup_file() {
	data=${RLPIPE_SHARED:-$root/../shared}/data/retrieval/med
	export data OUT="$BATS_FILE_TMPDIR/out"
	[ -e "$data" ] || return 0
	run_make >"$BATS_FILE_TMPDIR/report" 2>"$BATS_FILE_TMPDIR/err" || { cat "$BATS_FILE_TMPDIR/err" >&2; return 1; }
}
setup() { [ -e "$data" ] || skip "no ../shared/data/retrieval/med"; }
root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)

run_make() {
	make --no-print-directory -s -C "$root/pipelines/query-rewrite" SMOKE=1 COLLECTION=med DATA="$data" OUT="$OUT" \
		BIN="$(dirname "$(command -v rl-generate)")" "$@"
}
sums() { find "$OUT" -type f ! -name '*-loop' ! -name '*-lock' -exec cksum {} + | sort -k3; }

@test "query-rewrite: the report has a row for each way to search, from what was measured" {
	for row in 'raw question' SFT PPO 'PPO - raw' 'PPO - SFT'; do
		grep -qE "^$row +[+ -]?[0-9.-]+ \[" "$BATS_FILE_TMPDIR/report" || { cat "$BATS_FILE_TMPDIR/report"; false; }
	done
	mean=$(jq -s 'map(.["recall@5"]) | add / length * 1000 | round / 1000' "$OUT/raw.jsonl")
	grep -E '^raw question' "$BATS_FILE_TMPDIR/report" | grep -qF "$(printf %.3f "$mean")"
}

@test "query-rewrite: the raw queries score as trec_eval says of the reference run" {
	jq -c '.id = .query_id | .completion = .query' "$data/queries.jsonl" |
		rl-reward-bm25 -q "$OUT/corpus.lmdb" --metric ndcg@10 | rl-eval -q --json -m reward_bm25 >"$BATS_TEST_TMPDIR/all"
	want=$(awk '$1 == "ndcg_cut_10" && $2 == "all" {print $3}' "$data/trec_eval.txt")
	[ -n "$want" ]
	jq -e --argjson want "$want" '(.mean - $want) | fabs < 0.0001' "$BATS_TEST_TMPDIR/all"
}

@test "query-rewrite: no held-out query is among those that were trained on" {
	jq -r .query_id "$OUT/heldout.jsonl" | sort >"$BATS_TEST_TMPDIR/held"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/held")" -eq 15 ]
	[ -z "$(jq -r .query_id "$OUT/queries.jsonl" | sort | comm -12 "$BATS_TEST_TMPDIR/held" -)" ]
	[ "$(jq -r .query_id "$OUT/queries.jsonl" | grep -vc '^pseudo-')" -eq 15 ]
}

@test "query-rewrite: the loop is the card's command, word for word" {
	grep -qx $'\trl-generate < queries.jsonl | rl-reward-bm25 corpus.lmdb | rl-ppo-step; } > .*' "$root/pipelines/query-rewrite/Makefile"
	[ "$(jq -s length "$OUT/ppo.metrics.jsonl")" -eq 2 ]
}

@test "query-rewrite: made again, nothing is trained and no file changes" {
	before=$(sums)
	run_make >"$BATS_TEST_TMPDIR/again"
	[ "$before" = "$(sums)" ]
	cmp "$BATS_TEST_TMPDIR/again" <(sed -n '/^$/,$p' "$BATS_FILE_TMPDIR/report")
}

@test "query-rewrite: without a collection it says what is missing" {
	run run_make DATA=/nonexistent
	[ "$status" -ne 0 ]
	[[ $output == *"/nonexistent has no corpus.jsonl and queries.jsonl"* ]]
}
