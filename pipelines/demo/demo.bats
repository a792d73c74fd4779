# The demo end to end with two updates: everything but the quality of what is learned.
set -o pipefail

setup_file() {
	root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	export root OUT="$BATS_FILE_TMPDIR/demo"
	make_demo >"$BATS_FILE_TMPDIR/report" 2>"$BATS_FILE_TMPDIR/err" || { cat "$BATS_FILE_TMPDIR/err" >&2; return 1; }
}

make_demo() { make --no-print-directory -s -C "$root/pipelines/demo" SMOKE=1 OUT="$OUT" BIN="$(dirname "$(command -v rl-generate)")" "$@"; }

sums() { find "$OUT" -type f ! -name '*-loop' ! -name '*-lock' -exec cksum {} + | sort -k3; }

@test "the report has a row for each way to search, from what was measured" {
	for row in 'raw question' SFT PPO 'PPO - SFT'; do
		grep -qE "^$row +[+ -]?[0-9.-]+ \[" "$BATS_FILE_TMPDIR/report" || { cat "$BATS_FILE_TMPDIR/report"; false; }
	done
	mean=$(jq -s 'map(.["recall@5"]) | add / length * 1000 | round / 1000' "$OUT/raw.jsonl")
	grep -E '^raw question' "$BATS_FILE_TMPDIR/report" | grep -qF "$(printf %.3f "$mean")"
	grep -q 'p = [0-9.]\|p < ' "$BATS_FILE_TMPDIR/report"
}

@test "no held-out question, and no held-out pair of words, is in training or demonstrations" {
	jq -r .relevant_doc_ids[0] "$OUT/heldout.jsonl" | sort -u >"$BATS_TEST_TMPDIR/held"
	jq -r .relevant_doc_ids[0] "$OUT/train.jsonl" | sort -u >"$BATS_TEST_TMPDIR/trained"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/held")" -ge 40 ]
	[ -z "$(comm -12 "$BATS_TEST_TMPDIR/held" "$BATS_TEST_TMPDIR/trained")" ]
	jq -r .query "$OUT/heldout.jsonl" | sort -u >"$BATS_TEST_TMPDIR/asked"
	[ -z "$(jq -r '.prompt | rtrimstr("\nquery:")' "$OUT/demonstrations.jsonl" | sort -u | comm -12 "$BATS_TEST_TMPDIR/asked" -)" ]
}

@test "two updates; made again, nothing is trained and no file changes" {
	[ "$(jq -s 'length' "$OUT/ppo.metrics.jsonl")" -eq 2 ]
	before=$(sums)
	make_demo >"$BATS_TEST_TMPDIR/again"
	[ "$before" = "$(sums)" ]
	cmp "$BATS_TEST_TMPDIR/again" <(sed -n '/^$/,$p' "$BATS_FILE_TMPDIR/report")
}

@test "another setting makes the model anew" {
	make_demo STEPS=1 KL=0.1 >/dev/null
	grep -q KL=0.1 "$OUT/settings"
	[ "$(jq -s 'length' "$OUT/ppo.metrics.jsonl")" -eq 1 ]
}
