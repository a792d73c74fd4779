#!/usr/bin/env bats
load ../../tools/common

setup() {
	cd "$BATS_TEST_TMPDIR"
	root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	here=$BATS_TEST_DIRNAME
	out=$BATS_TEST_TMPDIR/run
	[ -e "${RLPIPE_SHARED:-$root/../shared}/data/models/stories260K" ] || skip "no ../shared/data/models/stories260K"
	shared llama2c data/models/stories260K
	bin=$(dirname "$(command -v rl-generate)")
}
experiment() { make -s -C "$here" BIN="$bin" OUT="$out" SMOKE=1 "$@"; }
without_time() { jq -cS 'with_entries(select(.key | startswith("time/") | not))' "$1"; }
state() { find "$out" -type f -print0 | sort -z | xargs -0 stat -c '%n %Y' && find "$out" -type f -print0 | sort -z | xargs -0 sha256sum; }

@test "stories-sentiment: from nothing to the report, and once more nothing changes" {
	within 120 make -s -C "$here" BIN="$bin" OUT="$out" SMOKE=1 >first
	[ "$(jq -s 'length' "$out/metrics.jsonl")" = 2 ]
	jq -se 'all(.[]; .["objective/kl"] | type == "number" and (isinfinite or isnan | not))' "$out/metrics.jsonl"
	grep -qE '^compound, beginnings by the model +16  -?0\.' "$out/report.txt"
	grep -qE '^KL to the reference, a token +112  0\.000 ' "$out/report.txt"
	before=$(state)
	experiment >second
	[ "$before" = "$(state)" ]
	cmp second "$out/report.txt"
}

@test "stories-sentiment: no held-out beginning is in training, none is there twice" {
	experiment "$out/train.jsonl" "$out/heldout.jsonl"
	[ "$(jq -r .prompt "$out/train.jsonl" "$out/heldout.jsonl" | sort | uniq -d | wc -l)" = 0 ]
	[ "$(wc -l <"$out/heldout.jsonl")" = 112 ]
}

@test "stories-sentiment: killed in training, the same command ends with the same bits" {
	within 120 make -s -C "$here" BIN="$bin" OUT="$BATS_TEST_TMPDIR/whole" SMOKE=1 STEPS=6
	setsid make -s -C "$here" BIN="$bin" OUT="$out" SMOKE=1 STEPS=6 3>&- &
	group=$!
	for _ in $(seq 600); do
		[ ! -s "$out/metrics.jsonl.tmp" ] || break
		sleep 0.05
	done
	kill -9 -- -$group
	wait $group || true
	[ ! -e "$out/metrics.jsonl" ]
	experiment STEPS=6
	cmp <(without_time "$BATS_TEST_TMPDIR/whole/metrics.jsonl") <(without_time "$out/metrics.jsonl")
	cmp "$BATS_TEST_TMPDIR/whole/after.jsonl" "$out/after.jsonl"
}

@test "stories-sentiment: a model of llama2.c has the weights of an independent conversion and tells the published story" {
	"$here/model-dir" "$llama2c/stories260K.bin" "$llama2c/tok512.bin" converted
	rl-store import -q converted a.lmdb
	rl-store import -q "$llama2c/hf-derived" b.lmdb
	rl-store export -q a.lmdb a && rl-store export -q b.lmdb b
	cmp a/model.safetensors b/model.safetensors
	rl-generate -q -s a.lmdb --temperature 0 --max-tokens 256 --ignore-eos <<<'{"prompt":""}' | jq -r '.completion[1:]' |
		cmp - "$llama2c/expected_greedy_t0.txt"
}

@test "stories-sentiment: what is missing is said in one line" {
	run -2 --separate-stderr make -s -C "$here" BIN="$bin" OUT="$out" SHARED=absent
	[ "$(grep -c 'no model: MODEL=DIR.*karpathy/tinyllamas' <<<"$stderr")" = 1 ]
	head -c 5000 "$llama2c/stories260K.bin" >"$BATS_TEST_TMPDIR/cut.bin"
	fails_with 1 "has 5000 bytes, but its first line of numbers asks for" "$here/model-dir" "$BATS_TEST_TMPDIR/cut.bin" '' "$out"
	fails_with 1 "has no tokenizer" "$here/model-dir" "$llama2c/hf-derived" '' "$out"
}
