#!/usr/bin/env bats
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	printf '%s\n' '{"id":"a","text":"red apple"}' '{"id":"b","text":"green apple pie"}' '{"id":"c","text":""}' >corpus.jsonl
}
found() { # INDEX QUERY: ids
	jq -nc --arg q "$2" '{query: $q, relevant_doc_ids: ["a"]}' | rl-reward-bm25 -q --query .query --hits 9 "$1" | jq -r '.hits | map(.id) | join(" ")'
}

@test "rl-index: JSON Lines, an array, an array over lines, zstd: the same index" {
	rl-index -q corpus.jsonl want.lmdb
	[ "$(found want.lmdb 'apple red')" = "a b" ]
	jq -sc . corpus.jsonl | rl-index -q - one.lmdb
	jq -s . corpus.jsonl | rl-index -q - lines.lmdb
	zstd -q <corpus.jsonl | rl-index -q - zstd.lmdb
	for x in one lines zstd; do cmp want.lmdb $x.lmdb; done
	[ "$(ls)" = "$(printf '%s\n' corpus.jsonl lines.lmdb one.lmdb want.lmdb zstd.lmdb)" ]
}

@test "rl-index: BEIR, doc_id, contents; --id and --text" {
	echo '{"_id":"7","title":"plum","text":"a fruit"}' | rl-index -q - x.lmdb
	[ "$(found x.lmdb plum)" = 7 ] && [ "$(found x.lmdb fruit)" = 7 ]
	echo '{"doc_id":8,"contents":"a fruit"}' | rl-index -q - x.lmdb
	[ "$(found x.lmdb fruit)" = 8 ]
	echo '{"name":9,"body":["a","fruit"]}' | rl-index -q --id .name --text '.body | join(" ")' - x.lmdb
	[ "$(found x.lmdb fruit)" = 9 ]
}

@test "rl-index: an array may be cut into lines anywhere between its parts; what is wrong in it is named" {
	printf '\n [ {"id" :\n"a","text":"x ] } \\" y"}\n\n,{"id":"b",\n"text":"[{"\n}\n]\n\n' | rl-index -q - x.lmdb
	[ "$(found x.lmdb 'y')" = a ]
	rl-reward-bm25 -q --query .q x.lmdb <<<'{"q":"","relevant_doc_ids":["b"]}' >/dev/null
	fails_with 1 "standard input: element 1: not JSON: the array does not end" rl-index -q - x.lmdb <<<'['
	fails_with 1 "no documents came in" rl-index -q - x.lmdb <<<'[]'
	fails_with 1 "element 2: not JSON: no comma between elements" rl-index -q - x.lmdb <<<'[{"text":"a"} {"text":"b"}]'
	fails_with 1 "element 2: not JSON: an element that is no object" rl-index -q - x.lmdb <<<'[{"text":"a"},]'
	fails_with 1 "element 2: not JSON: something stands behind the array" rl-index -q - x.lmdb <<<'[{"text":"a"}] 5'
	fails_with 1 "element 1: not JSON: the array does not end" rl-index -q - x.lmdb <<<'[{"text":"a"'
	fails_with 1 "element 1: not JSON: a line ends inside a string" rl-index -q - x.lmdb < <(printf '[{"text":"a\n"}]')
	fails_with 1 "element 1: " rl-index -q - x.lmdb < <(printf '[{"text":"a\xff"}]')
}

@test "rl-index: an array takes no more memory than its longest element" {
	jq -nc '[range(60000) | {id: "d\(.)", text: ("word " * 200)}]' | sed 's/},{/},\n{/g' >array.json
	[ "$(stat -c %s array.json)" -gt 60000000 ]
	peak=$(bash -c 'rl-index -q --memory 32 array.json x.lmdb & p=$!; m=0; while kill -0 $p 2>/dev/null; do r=$(sed -n "s/RssAnon:[[:space:]]*\([0-9]*\).*/\1/p" /proc/$p/status 2>/dev/null); [ "${r:-0}" -gt $m ] && m=$r; sleep 0.01; done; echo $m')
	[ "$peak" -gt 0 ] && [ "$peak" -lt 32768 ]
}

@test "rl-index: TREC text" {
	cat >trec.txt <<-'END'

		<DOC>
		<DOCNO> FT911-3 </DOCNO>
		<PROFILE>_AN-BEOA7AAIFT</PROFILE>
		<HEADLINE>
		FT  14 MAY 91 / Plums &amp; pears
		</HEADLINE>
		<TEXT>
		A price of 3 < 4 pounds.
		</TEXT>
		</DOC>
		<doc><docno>w-2</docno><DOCHDR>
		http header
		</DOCHDR> <a href="x">cherries</a> <!-- note --> R&D</doc>
	END
	rl-index -q --positions trec.txt x.lmdb
	[ "$(found x.lmdb 'plums')" = FT911-3 ] && [ "$(found x.lmdb 'pounds 4')" = FT911-3 ]
	[ "$(found x.lmdb 'cherries')" = w-2 ] && [ "$(found x.lmdb 'd')" = w-2 ]
	[ -z "$(found x.lmdb 'headline amp href docno http note')" ]
	zstd -q <trec.txt | rl-index -q - y.lmdb && [ "$(found y.lmdb 'cherries')" = w-2 ]
	fails_with 1 ":2: the file ends before </DOC>" rl-index -q <(head -n 6 trec.txt) x.lmdb
	fails_with 1 ":1: a document without <DOCNO>" rl-index -q - x.lmdb <<<'<DOC>x</DOC>'
	fails_with 1 ":3: expected <DOC>" rl-index -q - x.lmdb < <(printf '<DOC><DOCNO>1</DOCNO>x\n</DOC>\nx\n')
	fails_with 1 ":1: not valid UTF-8" rl-index -q - x.lmdb < <(printf '<DOC><DOCNO>1</DOCNO>caf\xe9</DOC>\n')
	fails_with 1 ":12: document 'FT911-3' is there twice" rl-index -q <(sed 's/w-2/FT911-3/' trec.txt) x.lmdb
	fails_with 1 "TREC text has no fields" rl-index -q --id .x trec.txt x.lmdb
}

@test "rl-index: several files, and replacing an index" {
	head -n 1 corpus.jsonl >1 && tail -n 2 corpus.jsonl >2
	rl-index -q 1 x.lmdb && rl-index -q 1 2 x.lmdb && rl-index -q corpus.jsonl want.lmdb
	cmp x.lmdb want.lmdb
}

@test "rl-index: analyzers" {
	rl-index -q --analyzer porter corpus.jsonl x.lmdb
	[ "$(found x.lmdb 'the APPLES')" = "a b" ]
	rl-index -q corpus.jsonl x.lmdb
	[ -z "$(found x.lmdb 'the APPLES')" ]
}

@test "rl-index: words of any script, upper case and composed or not" {
	rl-index -q --analyzer unicode <(echo '{"id":"ru","text":"Война и мир"}{"id":"de","text":"Große Straße"}{"id":"ja","text":"日本語"}' | jq -c .) x.lmdb
	[ "$(found x.lmdb 'МИР')" = ru ] && [ "$(found x.lmdb 'GROSSE')" = de ] && [ "$(found x.lmdb '本')" = ja ]
	[ "$(found x.lmdb "$(printf 'stra\u00dfe')")" = de ]
}

@test "rl-index: faults are named by place, and leave no index" {
	fails_with 1 ":2: document 'a' is there twice" rl-index -q <(sed 's/"b"/"a"/' corpus.jsonl) x.lmdb
	fails_with 1 ":2: no 'text' or 'contents'" rl-index -q <(sed 's/"text":"green/"t":"green/' corpus.jsonl) x.lmdb
	fails_with 1 "element 2: no 'text' or 'contents'" rl-index -q <(echo '[{"text":"a"},{"x":1}]') x.lmdb
	fails_with 1 "not JSON" rl-index -q <(echo '[{"text":"a"},5') x.lmdb
	fails_with 1 "no documents came in" rl-index -q /dev/null x.lmdb
	fails_with 1 "No such file" rl-index -q corpus.jsonl nowhere/x.lmdb
	fails_with 2 "analyzer" rl-index --analyzer french corpus.jsonl x.lmdb
	[ ! -e x.lmdb ]
	rl-index -q corpus.jsonl x.lmdb && sum=$(sha256sum <x.lmdb)
	fails_with 1 "twice" rl-index -q corpus.jsonl corpus.jsonl x.lmdb
	[ "$sum" = "$(sha256sum <x.lmdb)" ]
	[ "$(ls --ignore=out --ignore=err)" = "$(printf '%s\n' corpus.jsonl x.lmdb)" ]
}

@test "rl-index: a full disk leaves what was there" {
	rl-index -q corpus.jsonl x.lmdb && sum=$(sha256sum <x.lmdb)
	run bash -c 'ulimit -f 8; trap "" XFSZ; exec rl-index -q corpus.jsonl x.lmdb'
	[ "$status" -eq 1 ]
	[ "$sum" = "$(sha256sum <x.lmdb)" ] && [ "$(ls --ignore=out --ignore=err)" = "$(printf '%s\n' corpus.jsonl x.lmdb)" ]
}

@test "rl-index: a build that is killed leaves the old index or the new one, and the next one cleans up" {
	rl-index -q corpus.jsonl x.lmdb && old=$(sha256sum <x.lmdb)
	jq -nc 'range(20000) | {id: "d\(.)", text: ([range(20)] | map("w\(. * 7919 % 997)") | join(" "))}' >big.jsonl
	rl-index -q big.jsonl want.lmdb && new=$(sha256sum <want.lmdb)
	for delay in 0.001 0.005 0.01 0.03 0.05 0.08 0.1 0.12 0.15 0.2; do
		timeout --foreground -s KILL $delay rl-index -q big.jsonl x.lmdb || true
		sum=$(sha256sum <x.lmdb)
		[ "$sum" = "$old" ] || [ "$sum" = "$new" ]
	done
	# one that is at work keeps its file
	mkfifo slow && { rl-index -q slow other.lmdb & }
	exec 9>slow
	within 10 bash -c 'until ls other.lmdb.tmp-* >/dev/null 2>&1; do sleep 0.01; done'
	fails_with 1 "no documents came in" rl-index -q /dev/null other.lmdb
	cat big.jsonl >&9 && exec 9>&- && wait $!
	rl-index -q big.jsonl x.lmdb
	cmp x.lmdb want.lmdb && cmp other.lmdb want.lmdb
	[ "$(ls ./*.lmdb*)" = "$(printf './%s\n' other.lmdb want.lmdb x.lmdb)" ]
}

@test "rl-index: an index is the same with little memory; too little for the ids is refused" {
	rl-index -q --memory 32 --positions corpus.jsonl a.lmdb && rl-index -q --memory 4096 --positions corpus.jsonl b.lmdb
	cmp a.lmdb b.lmdb
	rl-index -q --memory 32 --texts corpus.jsonl a.lmdb && rl-index -q --memory 4096 --texts corpus.jsonl b.lmdb
	cmp a.lmdb b.lmdb
	rl-index -q corpus.jsonl c.lmdb
	[ "$(sha256sum <a.lmdb)" != "$(sha256sum <c.lmdb)" ]
	fails_with 2 "memory" rl-index --memory 31 corpus.jsonl a.lmdb
}

@test "rl-index: the examples of the page" {
	cp corpus.jsonl copy && rl-index --analyzer porter corpus.jsonl corpus.lmdb
	jq -c '{name: .id, body: .text}' copy >pages.jsonl
	jq -c '{id: .name, text: .body}' pages.jsonl | rl-index - pages.lmdb
	[ -s corpus.lmdb ] && [ -s pages.lmdb ]
}

@test "rl-index: an index is replaced, anything else is not" {
	cd "$BATS_TEST_TMPDIR"
	echo '{"doc_id":"a","text":"one two"}' >corpus.jsonl
	rl-index -q corpus.jsonl i.lmdb
	rl-index -q corpus.jsonl i.lmdb
	rl-store init --config "$BATS_TEST_DIRNAME/../testdata/tiny/config.json" --seed 1 run.lmdb
	cp corpus.jsonl notes.txt
	mkdir folder
	for file in run.lmdb notes.txt folder; do
		run rl-index -q corpus.jsonl $file
		[ "$status" -eq 1 ]
		[[ $output == *"'$file' is there and no index of rl-index: it is not replaced"* ]]
	done
	rl-store verify run.lmdb
	cmp corpus.jsonl notes.txt
}
