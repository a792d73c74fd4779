# Four methods with two seeds and a budget of two updates: everything but the quality of what is learned.
set -o pipefail

setup_file() {
	root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	export root OUT="$BATS_FILE_TMPDIR/methods"
	experiment >"$BATS_FILE_TMPDIR/report" 2>"$BATS_FILE_TMPDIR/err" || { cat "$BATS_FILE_TMPDIR/err" >&2; return 1; }
}

experiment() { make --no-print-directory -s -C "$root/pipelines/methods" SMOKE=1 OUT="$OUT" BIN="$(dirname "$(command -v rl-generate)")" "$@"; }

sums() { find "$OUT" -type f ! -name '*-loop' ! -name '*-lock' -exec cksum {} + | sort -k3; }
mean() { jq -s "map($1) | add / length * 1000 | round / 1000" "${@:2}"; }

@test "the report has a row for each method, from what was measured" {
	for method in ppo reinforce rloo grpo; do
		grep -qE "^\| $method \| [0-9e-]+ \| [0-9]+ \| [0-9.]+ \|.*\| [+-][0-9.]+ \[" "$BATS_FILE_TMPDIR/report" || { cat "$BATS_FILE_TMPDIR/report"; false; }
		after=$(mean '.["recall@5"]' "$OUT"/seed[12]/$method-*/answers.jsonl)
		before=$(mean '.["recall@5"]' "$OUT"/seed[12]/sft.jsonl)
		grep -F "| $method |" "$BATS_FILE_TMPDIR/report" | grep -qF "| $(printf '%.3f | %.3f' "$before" "$after") |"
	done
}

@test "all methods of a seed begin with the same model, and sample the budget" {
	for seed in 1 2; do
		# the first batch of ppo and reinforce, and that of rloo and grpo, are of the same model, prompts and draws
		for pair in 'ppo reinforce' 'rloo grpo'; do
			read -r a b <<<"$pair"
			cmp <(jq -c 'select(.batch == 0) | [.version, .tokens, .["objective/scores"], .["objective/entropy"]]' "$OUT"/seed$seed/$a-*/metrics.jsonl) \
				<(jq -c 'select(.batch == 0) | [.version, .tokens, .["objective/scores"], .["objective/entropy"]]' "$OUT"/seed$seed/$b-*/metrics.jsonl)
		done
	done
	for metrics in "$OUT"/seed*/*/metrics.jsonl; do
		# within half a batch, as far as sizes of batches are alike
		jq -se '(map(.tokens) | add) as $sum | (map(.tokens) | max) as $most | ($sum - 300 | fabs) <= $most' "$metrics" >/dev/null || { cat "$metrics"; false; }
	done
}

@test "made again, nothing is trained and no file changes" {
	before=$(sums)
	experiment >"$BATS_TEST_TMPDIR/again"
	[ "$before" = "$(sums)" ]
	cmp "$BATS_TEST_TMPDIR/again" <(sed -n '/^$/,$p' "$BATS_FILE_TMPDIR/report")
}

@test "the search for rates never makes or reads a held-out question" {
	experiment search OUT="$BATS_TEST_TMPDIR/search" >"$BATS_TEST_TMPDIR/rates"
	for method in ppo reinforce rloo grpo; do grep -qE "^\| $method \| [0-9.]+ \| [0-9.]+ \| (3e-4|1e-3) \|$" "$BATS_TEST_TMPDIR/rates"; done
	[ -s "$BATS_TEST_TMPDIR/search/seed100/train.jsonl" ]
	[ -z "$(find "$BATS_TEST_TMPDIR/search" -name 'heldout*' -o -name 'sft.jsonl' -o -name 'answers*')" ]
}

@test "the budget marks the batch that comes nearest, on each of its records" {
	records() { jq -nc 'range(5) as $b | range(2) | {batch: $b, tokens: [1, 2, 3, 4, 5]}'; }
	last() { records | jq -nc --argjson budget "$1" -f "$BATS_TEST_DIRNAME/budget.jq" | jq -c 'select(.last) | .batch' | tr '\n' ' '; }
	[ "$(last 30)" = "2 2 3 3 4 4 " ]
	[ "$(last 34)" = "2 2 3 3 4 4 " ]
	[ "$(last 36)" = "3 3 4 4 " ]
	cmp <(records) <(records | jq -nc --argjson budget 1000 -f "$BATS_TEST_DIRNAME/budget.jq")
}

@test "one seed has no interval, and its row all the same" {
	experiment SEEDS=1 >"$BATS_TEST_TMPDIR/one"
	grep -qE '^\| ppo \|.* [+-][0-9.]+ \| 1.0000 \|' "$BATS_TEST_TMPDIR/one" || { cat "$BATS_TEST_TMPDIR/one"; false; }
}
