#!/usr/bin/env bats
# What every tool does alike, over the tools of contract.table: a new tool is in it by being listed.
load common
load contract

setup_file() { contract_files; }

help_() {
	"$tool" --help >help 2>err
	[ ! -s err ]
	grep -q "^$tool - " help
	grep -oE '^  (-.,|   ) --[a-z0-9-]+' help | grep -oE -- '--[a-z0-9-]+' | sort -u >options
	sed -nE 's/^\.It (Fl . , )?Fl (-|Fl )([a-z0-9-]+).*/--\3/p' "$root/man/$tool.1" | sort -u >page
	diff options page
}
@test "contract: --help exits 0 and has the options of the man page, and no other" { over "filter maker sink other" help_; }

version() { "$tool" --version | grep -qE "^$tool \(rlpipe\) [0-9]+\.[0-9]+\.[0-9]+$"; }
@test "contract: --version" { over "filter maker sink other" version; }

unknown() { fails_with 2 "unknown option --no-such-option" "$tool" --no-such-option; }
@test "contract: an unknown option exits 2 with one line" { over "filter maker sink other" unknown; }

plain() {
	run_tool -q <"$input" >out 2>err
	[ ! -s err ]
	is_prefix "$input" out
	run_tool <"$input" 2>&1 >/dev/null | tail -n 1 | grep -qE "^$tool: [0-9]+ records in, [0-9]+ out"
}
@test "contract: the input is a byte-exact prefix of the output, and -q is silent" { over filter plain; }

odd_lines() { # BOM, CRLF, blank lines, no newline at the end
	{ printf '\xef\xbb\xbf'; sed 's/$/ \r/' "$input" | sed '1a\\'; } | head -c -1 | run_tool -q >out
	is_prefix "$input" out
}
@test "contract: BOM, CRLF, blank lines and a last line without newline" { over filter odd_lines; }

zstd_both() {
	run_tool -q <"$input" >want
	zstd -q <"$input" | run_tool -q >got
	cmp want got
	run_tool -q -z <"$input" | zstd -dcq | cmp want -
}
@test "contract: zstd in by content, out with -z" { over "filter maker" zstd_both; }

cut() {
	zstd -qc "$input" | head -c -3 >cut.zst
	fails_with 1 "ends inside a frame" run_tool -q <cut.zst
}
@test "contract: a frame cut in the middle exits 1" { over "filter maker sink" cut; }

third_line() {
	sed "2r $testdata/contract/broken" "$input" >bad.jsonl
	fails_with 1 "standard input:3: " run_tool -q <bad.jsonl
}
@test "contract: a bad third line says :3:" { over "filter maker sink" third_line; }

keep_going() {
	sed "2r $testdata/contract/broken" "$input" >bad.jsonl
	local rc=0
	run_tool -q -k <bad.jsonl >out 2>err || rc=$?
	[ $rc -eq 3 ]
	grep -c '"error":"standard input:3: ' out | grep -qx 1
	grep -v '"error":' out >good
	is_prefix "$input" good
}
@test "contract: with -k the bad line goes on as an error, the others as ever, and the exit status is 3" { over filter keep_going; }

full() { fails_with 1 "No space left on device" bash -c '"$@" >/dev/full' - "${command[0]}" -q "${command[@]:1}" <"$input"; }
@test "contract: /dev/full exits 1" { over "filter maker" full; }

closed() { fails_with 1 "standard output" bash -c '"$@" >&-' - "${command[0]}" -q "${command[@]:1}" <"$input"; }
@test "contract: closed standard output exits 1" { over "filter maker" closed; }

empty() {
	run_tool </dev/null >out 2>err
	[ ! -s out ]
}
@test "contract: no records in, none out, exit 0" { over filter empty; }

empty_sink() { ! run_tool </dev/null >out 2>err; }
@test "contract: a sink that received nothing fails" { over sink empty_sink; }

reader_gone() {
	rm -f in
	mkfifo in
	{ cat "$input"; exec sleep 30; } >in 3>&- &
	local feeder=$! rc
	within 10 "${command[0]}" -q "${command[@]:1}" <in | true
	rc=${PIPESTATUS[0]}
	kill $feeder
	[ "$rc" -eq 1 ]
}
@test "contract: a filter that waits for input notices that its reader has gone" { over filter reader_gone; }

@test "contract: all tools of the table are there" {
	missing=$(sed 's/|.*//; /^#/d' "$BATS_TEST_DIRNAME/contract.table" | while read -r t; do command -v "$t" >/dev/null || echo "$t"; done)
	[ -z "$missing" ] || skip "not built: ${missing//$'\n'/ }"
}

@test "switches in the environment take yes and no words, and nothing else" {
	cd "$BATS_TEST_TMPDIR"
	echo '{"text":"a b"}' >in
	RL_ZSTD=no rl-chunk -q --max-words 4 <in | grep -q text
	RL_ZSTD=on rl-chunk -q --max-words 4 <in | zstd -dqc | grep -q text
	fails_with 2 "is 'maybe', but must be 1 or 0" env RL_ZSTD=maybe rl-chunk -q --max-words 4 in
}

@test "an option by another framework's name is an error that helps, with dashes or underscores" {
	for o in --learning-rate --learning_rate; do
		fails_with 2 'here it is --lr' rl-ppo-step $o 1
	done
	fails_with 2 'no --max_tokens; here it is --max-tokens' rl-generate --max_tokens 1
}

@test "a message is one line without control characters, whatever a foreign file holds" {
	mkdir "$BATS_TEST_TMPDIR/m"
	cd "$BATS_TEST_TMPDIR"
	printf '{"model_type":"x\\ny\\u001b[31m"}' >m/config.json
	fails_with 1 "unknown architecture 'x\\x0ay\\x1b[31m'" rl-store import m run.lmdb
}
