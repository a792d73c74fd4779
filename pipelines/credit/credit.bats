# The copy task with two seeds and two updates: everything but how fast is learned.
set -o pipefail

setup_file() {
	root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	export root OUT="$BATS_FILE_TMPDIR/credit"
	experiment >"$BATS_FILE_TMPDIR/report" 2>"$BATS_FILE_TMPDIR/err" || { cat "$BATS_FILE_TMPDIR/err" >&2; return 1; }
}

experiment() { make --no-print-directory -s -C "$root/pipelines/credit" SMOKE=1 OUT="$OUT" BIN="$(dirname "$(command -v rl-generate)")" "$@"; }

sums() { find "$OUT" -type f ! -name '*-loop' ! -name '*-lock' -exec cksum {} + | sort -k3; }
weights() { rl-store export -q "$1" "$BATS_TEST_TMPDIR/$2" && cksum <"$BATS_TEST_TMPDIR/$2/model.safetensors"; }

@test "the report has a row for each estimator, from what was measured" {
	for estimator in gae-1 gae-.95 gae-.8 reinforce grpo; do
		right=$(for pay in total token; do
			jq -s 'map(.["objective/scores"] / 8 + 0.5) | add / length * 1000 | round / 1000' "$OUT"/seed[12]/$estimator@*@$pay/metrics.jsonl
		done | xargs printf '%.3f | %.3f')
		grep -qF "| $estimator | $right |" "$BATS_FILE_TMPDIR/report" || { echo "$right"; cat "$BATS_FILE_TMPDIR/report"; false; }
	done
}

@test "both ways to pay begin alike; grpo, which compares totals, ends with the same bits, the others do not" {
	for seed in 1 2; do
		for dir in "$OUT"/seed$seed/*@token; do
			cmp <(jq '.["objective/scores"]' "$dir/metrics.jsonl" | head -n 1) <(jq '.["objective/scores"]' "${dir%token}total/metrics.jsonl" | head -n 1)
			token=$(weights "$dir/run.lmdb" "$seed-${dir##*/}") total=$(weights "${dir%token}total/run.lmdb" "$seed-${dir##*/}-total")
			case ${dir##*/} in
				grpo*) [ "$token" = "$total" ] ;;
				*) [ "$token" != "$total" ] ;;
			esac
		done
	done
}

@test "no prompt is repeated but by chance, within a part or between what is shown and what is practised" {
	[ "$(jq -c .prompt_tokens "$OUT"/seed*/{sft,prompts}.jsonl | sort | uniq -d | wc -l)" -eq 0 ]
	[ "$(jq -s length "$OUT/seed1/prompts.jsonl")" -eq 32 ]
	jq -se 'all(.[]; .prompt_tokens == .want + [8] and (.want | length == 8 and all(. >= 0 and . < 8)))' "$OUT/seed1/prompts.jsonl" >/dev/null
}

@test "made again, nothing is trained and no file changes" {
	before=$(sums)
	experiment >"$BATS_TEST_TMPDIR/again"
	[ "$before" = "$(sums)" ]
	cmp "$BATS_TEST_TMPDIR/again" <(sed -n '/^$/,$p' "$BATS_FILE_TMPDIR/report")
}

@test "one seed has no interval, and its row all the same" {
	experiment SEEDS=1 >"$BATS_TEST_TMPDIR/one"
	grep -qE '^\| reinforce \|.* [+-][0-9.]+ \| 1.0000 \|' "$BATS_TEST_TMPDIR/one" || { cat "$BATS_TEST_TMPDIR/one"; false; }
}
