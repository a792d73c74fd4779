# Shared by bats files: `load common`.
bats_require_minimum_version 1.5.0
set -o pipefail
root=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
export testdata=$root/testdata

# within SECONDS COMMAND...: fails when it takes longer, which in these tests means that it hangs.
within() {
	local rc=0
	timeout -k 1 "$@" || rc=$?
	[ $rc -ne 124 ] || echo "hangs: ${*:2}"
	return $rc
}

# fails_with STATUS TEXT COMMAND...: the status, exactly one line on stderr, TEXT in it.
fails_with() {
	local want=$1 text=$2 rc=0
	shift 2
	"$@" >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" || rc=$?
	if [ $rc -ne "$want" ] || [ "$(wc -l <"$BATS_TEST_TMPDIR/err")" -ne 1 ] || ! grep -qF -- "$text" "$BATS_TEST_TMPDIR/err"; then
		echo "$*: status $rc, expected $want and '$text' in one line:"
		cat "$BATS_TEST_TMPDIR/err"
		return 1
	fi
}

# holds [JQ OPTION]... PROGRAM [FILE]...: it gives true, once.  (jq -e of 1.6 is content with no input at all.)
holds() {
	local got
	got=$(jq "$@")
	[ "$got" = true ] || { echo "not true: $*: $got"; return 1; }
}

# is_prefix INPUT OUTPUT: each input line without its closing brace begins the output line of the same number.
is_prefix() {
	LC_ALL=C awk -v input="$1" '
		{ got = (getline line < input); sub(/[ \t\r]*$/, "", line) }
		got < 1 { print "line " FNR " has no input: " $0; bad = 1; exit }
		index($0, substr(line, 1, length(line) - 1)) != 1 || !/}$/ { print "line " FNR ": " line " became " $0; bad = 1; exit }
		END { if (!bad && (getline line < input) > 0) { print "lost: " line; bad = 1 }; exit bad }' "$2"
}

# shared VARIABLE NAME: its path beside the tree; where it is absent the test is skipped (so not in a subshell).
shared() {
	local p=${RLPIPE_SHARED:-$root/../shared}/$2
	[ -e "$p" ] || skip "no ../shared/$2"
	printf -v "$1" %s "$p"
}
