#!/usr/bin/env bats
# Memory: every tool of contract.table over a long stream, and over a line that is long.
# `make soak` runs it with 2 GiB and a line of 100 MB and prints what each tool took; as one of the tests, with less.
load common
load contract

setup_file() {
	contract_files
	export stream_mb=48 line_mb=8
	[ "${RLPIPE_SOAK:-}" != 1 ] || stream_mb=2048 line_mb=100
}

# peak COMMAND...: runs it, its output into the file $output; $peak_kb is the most memory it had, mapped pages included,
# $rc its exit status.  Without GNU time what it has is looked at every 20 ms, so that a short peak may be missed.
peak() {
	local kb pid
	peak_kb=0 rc=0
	if [ -x /usr/bin/time ]; then
		/usr/bin/time -o peak -f %M "$@" >"$output" 2>err || rc=$?
		peak_kb=$(tail -n 1 peak)
		return 0
	fi
	"$@" <&0 >"$output" 2>err &
	pid=$!
	while kb=$(awk '/^VmHWM/ {print $2}' "/proc/$pid/status" 2>/dev/null) && [ -n "$kb" ]; do
		peak_kb=$kb
		sleep .02
	done
	wait $pid || rc=$?
}
# The command of the table as it is run here.
options_here() {
	case "$tool ${command[*]}" in
	*' -u '*) ;;
	rl-chunk*) command+=(--max-words 500) ;;
	rl-gae* | rl-rloo* | rl-grpo* | rl-reinforce*) command+=(--batch-size 60) ;; # else all is one batch
	rl-reward-mix*--percentile*) command+=(--batch-size 60) ;;
	rl-group*) command+=(--adjacent) ;;     # else a group may go on to the end of the input
	rl-index*) command+=(--memory 32) ;;    # the least
	rl-ppo-step*) command+=(--ppo-epochs 1) ;;
	rl-reward-exec*) command=(rl-reward-exec half -- jq --unbuffered 0.5) ;; # a shell's read takes byte after byte
	esac
	[[ "${command[*]}" != *"$own"* ]] || { rm -f "$own"*; cp "$store" "$own"; }
	rm -f "$dir/new.lmdb"*
}
say() {
	[ -z "${RLPIPE_SOAK:-}" ] || echo "# $*" >&3
}

# stream MB: the tool's records over and over, each with an id of its own and about 8 KB long.
stream() {
	jq -c 'with_entries(if IN(.key; "text", "completion", "reference") then .value = (.value + " ") * 40 else . end) |
		. + {note: ("x" * ([1, 8000 - (tojson | length)] | max))} | del(.id)' "$input" |
		awk -v bytes="$(($1 * 1048576))" '{l[NR] = substr($0, 2); n += length($0)}
			END {n = int(bytes / (n / NR)); for (i = 0; i < n; i++) print "{\"id\":\"" i "\"," l[i % NR + 1]}'
}
# What a tool may have more at the end than at an eighth, in KiB, that is no leak; its page says so.
kept() {
	case $tool in
	rl-eval) echo $((stream_mb * 40)) ;;     # of 130 records a MB: id, epoch and sample, and a number for each measure
	rl-sft-step | rl-dpo-step | rl-rm-step) echo $((stream_mb * 40)) ;; # their tokens
	rl-ppo-step) echo $((stream_mb * 8)) ;;  # pages of the store, mapped: its log has an entry for each update
	rl-plot) echo $((stream_mb * 40)) ;;     # their numbers
	rl-index) echo 40960 ;;                  # --memory 32
	# records of a batch, fewer while input pauses
	rl-logprob | rl-select | rl-reward-logprob) echo 16384 ;;
	*) echo 0 ;;
	esac
}
over_a_stream() {
	local short saved=("${command[@]}") output=/dev/null
	options_here
	peak "${command[@]}" < <(stream $((stream_mb / 8)))
	[ $rc -eq 0 ] || { cat err; return 1; }
	grep -E "^$tool: [0-9]{3,} records in" err
	short=$peak_kb
	command=("${saved[@]}")
	options_here
	local start=$SECONDS
	peak "${command[@]}" < <(stream "$stream_mb")
	[ $rc -eq 0 ] || { cat err; return 1; }
	say "$tool: $peak_kb KiB for $stream_mb MiB ($((SECONDS - start)) s), $short KiB for an eighth"
	[ $((peak_kb - short)) -le $((4096 + $(kept))) ] || { echo "$short KiB became $peak_kb"; return 1; }
}
@test "soak: memory is the same over a long stream as over an eighth of it" { over "filter maker sink" over_a_stream; }

# A record with a field of line_mb MB, and one as it was.
long_line() {
	head -n 1 "$input" | jq -c "del(.$1)" | sed 's/}$//' | tr -d '\n'
	printf ',"%s":"' "$1"
	head -c $((line_mb * 1000000)) <(yes 'the cold river carries, under small leaves, a sea of water. ' | tr -d '\n')
	printf '"}\n'
	sed -n 2p "$input"
}
# Memory for a byte of a line, at most; a classifier keeps what each word adds.
times() { [[ "${command[*]}" == *--classifier* ]] && echo 24 || echo 12; }
over_a_line() {
	local field saved=("${command[@]}") output=out
	for field in note $(jq -r '. as $r | "text", "completion", "query", "reference", "prompt" | select($r[.] != null)' "$input" | sort -u); do
		command=("${saved[@]}")
		options_here
		local start=$SECONDS
		peak "${command[@]}" < <(long_line "$field")
		say "$tool: .$field of $line_mb MB: status $rc, $((peak_kb / 1024)) MiB of memory ($((SECONDS - start)) s) $([ $rc = 0 ] || tail -n 1 err | cut -c 1-200)"
		case $rc in
		0) grep -q "^$tool: 2 records in" err ;;
		1) [ "$(wc -lc <err | awk '$2 < 1000 {print $1}')" = 1 ] && grep -q "^$tool: standard input:1: " err ;;
		*) cut -c 1-300 err && return 1 ;;
		esac
		[ "$peak_kb" -le $((line_mb * 1000 * $(times) + 40960)) ] || { echo "$field: $peak_kb KiB"; return 1; }
		rm -f out
	done
}
@test "soak: a long line is worked on or refused" { over "filter maker sink" over_a_line; }

over_no_json() {
	options_here
	peak "${command[@]}" < <(yes 'a b' | tr '\n' ' ' | head -c $((line_mb * 1000000)))
	[ $rc -eq 1 ]
	[ "$(wc -lc <err | awk '$2 < 1000 {print $1}')" = 1 ]
	grep -q "^$tool: standard input:1: " err
}
@test "soak: a long line that is no record is an error of one short line" { output=/dev/null; over "filter maker sink" over_no_json; }

@test "soak: a line over 1 GiB is refused by this limit" {
	[ "$stream_mb" -ge 2048 ] || skip "make soak"
	tool=rl-gae output=/dev/null
	cd "$BATS_TEST_TMPDIR"
	peak rl-gae < <({ printf '{"id":"'; yes | tr -d '\n' | head -c 1100000000; } 2>/dev/null)
	say "rl-gae: a line of 1,100 MB: status $rc, $((peak_kb / 1024)) MiB of memory: $(cat err)"
	[ $rc -eq 1 ]
	[ "$(cat err)" = "rl-gae: standard input:1: the line is longer than 1 GiB" ]
}
