# Shared by the suites that run every tool of contract.table: what its lines name, and the loop over them.

contract_files() { # in setup_file
	export dir=$BATS_FILE_TMPDIR
	cd "$dir"
	export store=$dir/store.lmdb own=$dir/own.lmdb tokenizer=$dir/tokenizer.json lexicon=$dir/lexicon.txt classifier=$dir/classifier index=$dir/index.lmdb
	printf 'cold\t-1.5\t0.5\t[-1, -2]\nsmall\t0.5\t0.5\t[0, 1]\n' >"$lexicon"
	printf '%s\n' '{"format":"rlpipe bag of words","version":1,"features":1,"bias":0.5}' '{"feature":"small","weight":1}' '{"end":1}' >"$classifier"
	make_with rl-store init --config "$testdata/tiny/config.json" --seed 1 "$store"
	make_with rl-rm-step -q -s "$store" --run scores "$testdata/contract/pairs.jsonl"
	make_with rl-index "$testdata/contract/texts.jsonl" "$index"
	! command -v rl-tokenize >/dev/null ||
		rl-tokenize -q --train --vocab-size 270 <"$testdata/contract/texts.jsonl" >"$tokenizer"
}
make_with() {
	! command -v "$1" >/dev/null || "$@" >/dev/null
}

# over CLASSES FUNCTION: runs FUNCTION for every tool that is built; $tool, $input and the array command are set.
over() {
	local class args failed=0
	while IFS='|' read -r tool class input args; do
		tool=${tool// /} class=${class// /} input=$testdata/${input// /}
		[[ $tool != '#'* && " $1 " == *" $class "* ]] || continue
		command -v "$tool" >/dev/null || continue
		[[ $args != *'$store'* && $args != *'$own'* ]] || command -v rl-store >/dev/null || continue
		eval "command=($tool $args)"
		if ! ( set -e; cd "$BATS_TEST_TMPDIR"; "$2" ) >"$BATS_TEST_TMPDIR/said" 2>&1; then
			echo "# $tool:"
			sed 's/^/#   /' "$BATS_TEST_TMPDIR/said" | tail -n 8
			failed=1
		fi
	done <"$BATS_TEST_DIRNAME/contract.table"
	return $failed
}
# The command of the table, on standard input.
run_tool() {
	[[ "${command[*]}" != *"$own"* ]] || { rm -f "$own"*; cp "$store" "$own"; }
	within 60 "${command[0]}" "$@" "${command[@]:1}" # in front: behind a command's name they would be its own
}
