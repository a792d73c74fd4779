#!/usr/bin/env bats
# rl-group: whole groups, every byte of their items, and back again.
load common

setup() { cd "$BATS_TEST_TMPDIR"; }
# rollouts BATCHES PROMPTS SAMPLES: as rl-generate -n would write them; numbers that jq would print otherwise
rollouts() {
	jq -nrc --argjson b "$1" --argjson p "$2" --argjson n "$3" 'range($b) as $batch | range($p) as $i | range($n) as $s |
		"{\"id\":\"q\($batch * $p + $i)\", \"sample\":\($s),\"x\":1.50e0,\"é\":\"\\u00e9\",\"batch\":\($batch),\"row\":\($i * $n + $s),\"batch_size\":\($n * '"$2"')}"'
}
ids() { jq -c '[.id, (.items | map(.id))]' | paste -sd' '; }

@test "rl-group: records become items byte for byte, and come back" {
	rollouts 3 4 2 >in
	rl-group -q in >groups
	[ "$(jq -c '[.id, (.items | length)]' groups | sort -u | wc -l)" -eq "$(wc -l <groups)" ]
	[ "$(head -n 1 groups)" = "{\"id\":\"q0\",\"items\":[$(head -n 2 in | paste -sd,)]}" ]
	rl-group -q -u groups | cmp - in
	# whatever it is that items hold
	printf '%s\n' '{"id":1,"a":"]}\"\\","b":[{"c":[]}, {}] , "d":-0.0}' '{ "id" : "1" }' '{"id":"","items":[{"id":2}]}' >odd
	rl-group -q odd | jq -c '[.id, (.items | length)]' | paste -sd' ' | grep -Fx '["1",2] ["",1]'
	rl-group -q odd | rl-group -q -u | cmp - odd
}

@test "rl-group: a group leaves when it is whole, by what its records say" {
	for i in 0 1 2; do printf '%s\n' "{\"id\":\"a/$i\",\"doc\":\"a\",\"of\":3}" "{\"id\":\"b/$i\",\"doc\":\"b\",\"of\":2}" "{\"id\":\"c/$i\",\"doc\":\"c\"}"; done | sed 8d >in
	[ "$(rl-group -q --by .doc in | ids)" = '["b",["b/0","b/1"]] ["a",["a/0","a/1","a/2"]] ["c",["c/0","c/1","c/2"]]' ]
	rl-group -q --by .doc in | head -n 1 | jq -e '.of == 2'
	# before the end of the input
	mkfifo pipe
	{ head -n 5 in; exec sleep 20; } >pipe 3>&- &
	feeder=$!
	[ "$(within 10 bash -c "rl-group -q --by .doc <pipe | head -n 1 | jq -r .id")" = b ]
	kill $feeder
	[ "$(rl-group -q --by .doc --of 1 in | wc -l)" -eq "$(wc -l <in)" ]
	rl-group --by .doc <(head -n 2 in) 2>&1 >/dev/null | grep -F '2 groups not whole'
}

@test "rl-group: the end of a batch is the end of its groups" {
	rollouts 2 2 2 >in
	mkfifo pipe
	{ head -n 4 in; exec sleep 20; } >pipe 3>&- &
	feeder=$!
	[ "$(within 10 bash -c "rl-group -q <pipe | head -n 2 | jq -r .id | paste -sd,")" = q0,q1 ]
	kill $feeder
	# rows in any order; the same id in two batches, in two epochs
	jq -c '.id = "q"' in | sort -R >mixed
	jq -sc 'sort_by(.batch)[]' mixed >in
	[ "$(rl-group -q in | jq -c '[.items[].batch]' | paste -sd' ')" = '[0,0,0,0] [1,1,1,1]' ]
	[ "$(rl-group -q --across in | jq -c '.items | length')" = 8 ]
	[ "$(jq -c '. + {epoch: (.row % 2)}' in | rl-group -q | wc -l)" -eq 4 ]
	# a batch that is cut by its successor is no reason to wait
	[ "$(sed 1d in | rl-group -q | jq -c '.items | length' | paste -sd,)" = 3,4 ]
}

@test "rl-group: --adjacent" {
	printf '{"id":"%s"}\n' a a b a >in
	[ "$(rl-group -q --adjacent in | ids)" = '["a",["a","a"]] ["b",["b"]] ["a",["a"]]' ]
	[ "$(rl-group -q in | ids)" = '["a",["a","a","a"]] ["b",["b"]]' ]
}

@test "rl-group: records that a stage took out go by themselves, and count" {
	printf '%s\n' '{"id":"a","of":2,"skip":"x"}' '{"id":"b","of":1,"error":"y"}' '{"error":"standard input:3: not JSON"}' '{"id":"a","of":2}' '{"id":"c"}' >in
	rl-group -q in >groups
	[ "$(sed -n 1,4p groups)" = "$(head -n 3 in; echo '{"id":"a","of":2,"items":[{"id":"a","of":2}]}')" ]
	rl-group -q -u groups | cmp - in
	# the batch is whole with them
	jq -c '. + {batch: 0, row: 0, batch_size: 4} | select(has("id"))' in >rows
	mkfifo pipe
	{ cat rows; exec sleep 20; } >pipe 3>&- &
	feeder=$!
	[ "$(within 10 bash -c "rl-group -q <pipe | head -n 4 | jq -r .id | paste -sd,")" = a,b,a,c ]
	kill $feeder
}

@test "rl-group: a record that a stage took out makes its group whole before the end of the batch" {
	for skipped in 1 2; do
		printf '{"id":"a","of":2,"batch":0,"row":%d,"batch_size":9}\n' 0 1 | sed "$skipped s/}/,\"skip\":\"x\"}/" >in
		rm -f pipe
		mkfifo pipe
		{ cat in; exec sleep 20; } >pipe 3>&- &
		feeder=$!
		[ "$(within 10 bash -c "rl-group -q <pipe | head -n 2 | jq -c '.skip // (.items | length)' | sort | paste -sd,")" = '"x",1' ]
		kill $feeder
	done
}

@test "rl-group: --give and --give-each" {
	echo '{"id":"g","total":1.50,"each":["\u00e9", [2.0 ],{"a":1}],"items":[{"id":1},{"id":2},{"id":3}]}' >groups
	[ "$(rl-group -q -u --give total groups | paste -sd' ')" = '{"id":1,"total":1.50} {"id":2,"total":1.50} {"id":3,"total":1.50}' ]
	[ "$(rl-group -q -u --give-each each --give id2 --give-each each2 <(sed 's/"id":"g"/"id2":null,"each2":[1,2,3]/' groups) | paste -sd' ')" = '{"id":1,"id2":null,"each":"\u00e9","each2":1} {"id":2,"id2":null,"each":[2.0 ],"each2":2} {"id":3,"id2":null,"each":{"a":1},"each2":3}' ]
	fails_with 1 "groups:1: item 0: --give: there is no 'none'" rl-group -q -u --give none groups
	fails_with 1 "groups:1: item 0: --give-each: there is no 'none'" rl-group -q -u --give-each none groups
	fails_with 1 "groups:1: item 0: --give-each: 'total' is no array" rl-group -q -u --give-each total groups
	sed -i 's/,{"id":3}//' groups
	fails_with 1 "groups:1: item 0: --give-each: 'each' has 3 elements, but 'items' has 2" rl-group -q -u --give-each each groups
	fails_with 1 "item 0: 'id' is already there" rl-group -q -u --give id groups
	fails_with 2 "need -u" rl-group --give id groups
}

@test "rl-group: no item is lost with a group that fails" {
	printf '%s\n' '{"error":"e","items":[{"id":1},{"id":2,"skip":"own"}]}' '{"skip":"s","x":1,"items":[{"id":3}]}' '{"items":[{"id":4},{"id":5,"error":"own"}]}' '{"x":1,"items":[{"id":6},{"x":2}]}' >groups
	run -3 --separate-stderr rl-group -q -u -k --give x groups
	[ "$(jq -c '[.id, .skip, .error, .x]' <<<"$output" | paste -sd' ')" = '[1,null,"e",null] [2,"own",null,null] [3,"s",null,null] [4,null,"groups:3: item 0: --give: there is no '"'x'"'",null] [5,null,"own",null] [6,null,null,1] [null,null,"groups:4: item 1: '"'x'"' is already there; give another name with --as where there is one, or remove it: jq '"'del(.x)'"'",2]' ]
}

@test "rl-group: bad input" {
	fails_with 1 "standard input:2: --by: '.id' gives neither a string nor an integer" rl-group -q <<<$'{"id":1}\n{"x":1}'
	fails_with 1 "standard input:1: --by: '.id' gives neither" rl-group -q <<<'{"id":1.5}'
	fails_with 1 "standard input:1: --of: '.of' gives no number of records" rl-group -q <<<'{"id":"a","of":0}'
	fails_with 1 "standard input:2: the group 'a' has 3 records here, but 2 in those before" rl-group -q <<<$'{"id":"a","of":2}\n{"id":"a","of":3}'
	fails_with 1 "standard input:1: 'epoch'" rl-group -q <<<'{"id":"a","epoch":"1"}'
	fails_with 1 "standard input:1: there is no 'items'" rl-group -q -u <<<'{"id":"a"}'
	fails_with 1 "standard input:1: 'items' is no array" rl-group -q -u <<<'{"items":{}}'
	fails_with 1 "standard input:1: 'items' holds no record at index 1" rl-group -q -u <<<'{"items":[{},3]}'
	fails_with 2 "is no jq program" rl-group --by '.a |' </dev/null
	run -3 --separate-stderr rl-group -q -k <<<$'{"id":"a","of":2}\n{"x":1}\n{"id":"a","of":3}\n{"id":"a"}'
	[ "$(jq -c 'has("error")' <<<"$output" | paste -sd' ')" = 'true true false' ]
	[ "$(jq -c 'select(.items) | .items | length' <<<"$output")" = 2 ]
}

@test "rl-group: memory is that of what is not whole" {
	peak() { /usr/bin/time -f %M "$@" 2>&1 >/dev/null | tail -n 1; }
	[ -x /usr/bin/time ] || skip "no /usr/bin/time"
	jq -nc 'range(1500) as $g | range(4) as $i | {id: "\($g)", of: 4, text: ("x" * 20000)}' >big # 120 MB
	[ "$(peak rl-group -q big)" -lt 40000 ]
	[ "$(rl-group -q big | wc -l)" -eq 1500 ]
	rl-group -q <(head -n 1200 big) >some
	[ "$(peak rl-group -q -u some)" -lt 40000 ]
}

@test "rl-group: the examples of the page" {
	printf '%s\n' '{"id":"a","text":"One. Two."}' '{"id":"b","text":"Three. Four. Five."}' >corpus.jsonl
	rollouts 1 2 4 | jq -c '. + {reward_bm25: (.row / 7)}' >rollouts.jsonl
	eval "$(sed -n 's/^\.Dl //p' "$root/man/rl-group.1" | sed -n 1p)" >out1
	[ "$(jq -c '[.id, .of, (.items | length)]' out1 | paste -sd' ')" = '["a",2,2] ["b",3,3]' ]
	eval "$(sed -n '/^\.Bd/,/^\.Ed/p' "$root/man/rl-group.1" | sed '1d;$d; s/\\e/\\/g')" >out2
	[ "$(jq -c '.reward_rank' out2 | paste -sd' ')" = "0 1 2 3 0 1 2 3" ]
	jq -c 'del(.reward_rank)' out2 | cmp - <(jq -c . rollouts.jsonl)
}
