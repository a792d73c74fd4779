#!/usr/bin/env bats
# rl-select: choices by attention; what they depend on, and what not.  The numbers are in select_test and decoder_real_test.
load common

setup_file() {
	cd "$BATS_FILE_TMPDIR"
	jq -nc 'range(40) | {text: "key \(.) has the value \(. * 7), key \(. % 5)"}' >texts.jsonl
	rl-tokenize -q --train --vocab-size 280 --special-token '<|end|>' <texts.jsonl >tokenizer.json
	jq '.vocab_size = 280 | .max_position_embeddings = 96' "$testdata/tiny/config.json" >config.json
	rl-store init -q --config config.json --tokenizer tokenizer.json --seed 1 run.lmdb
	jq -c '{id: "k\(input_line_number)", key: .text[0:9], value: .text[9:]}' texts.jsonl | head -n 7 >pool.jsonl
	jq -c '{id: "q\(input_line_number)", query: .text[4:20]}' texts.jsonl >queries.jsonl
}
setup() {
	cd "$BATS_TEST_TMPDIR"
	cp "$BATS_FILE_TMPDIR"/{run.lmdb,pool.jsonl,queries.jsonl} .
	export RL_STORE=run.lmdb
}
choose() { rl-select -q --query .query "$@"; }

@test "rl-select: ids and their probabilities, and with them those of all keys and the records chosen" {
	choose --probabilities --items -n 2 pool.jsonl queries.jsonl >got
	is_prefix queries.jsonl got
	[ "$(jq -c 'keys_unsorted' got | sort -u)" = '["id","query","selected","selected_p","selected_items","selected_probabilities"]' ]
	jq -es --slurpfile pool pool.jsonl 'length == 40 and all(.[]; (.selected | length) == 2 and (.selected | unique | length) == 2
		and .selected_items == [.selected[] as $id | $pool[] | select(.id == $id)]
		and .selected_probabilities[.selected[0]] == .selected_p[0]
		and ((.selected_probabilities | add) - 1 | fabs) < 1e-12
		and (.selected_probabilities | keys) == ($pool | map(.id) | sort))' got >/dev/null
	# the second is drawn as if the first were not there
	jq -es 'all(.[]; .selected_p[1] > 0 and .selected_p[1] <= 1)' got >/dev/null
	choose --as pair -n 2 pool.jsonl queries.jsonl | jq -c 'keys_unsorted[-2:]' | sort -u | grep -Fx '["pair","pair_p"]'
	# the items are the bytes of the pool
	[ "$(choose --items pool.jsonl <(head -n 1 queries.jsonl) | grep -cFf pool.jsonl)" -eq 1 ]
}

@test "rl-select: the same bytes for any batch, threads, instruction set, order; a choice is the id's" {
	choose --probabilities pool.jsonl queries.jsonl >want
	while read -r line; do printf '%s\n' "$line" | choose --probabilities pool.jsonl; done <queries.jsonl | cmp - want
	while read -r line; do printf '%s\n' "$line"; sleep .01; done < <(head -n 5 queries.jsonl) | choose --probabilities pool.jsonl | cmp - <(head -n 5 want)
	# started again in the middle, in another order
	tail -n 25 queries.jsonl | choose --probabilities pool.jsonl | cmp - <(tail -n 25 want)
	sort -R queries.jsonl | choose --probabilities pool.jsonl | sort | cmp - <(sort want)
	for how in "-j 1" "-j 2" "--isa plain" "--isa avx2" "--isa avx512" "--isa neon"; do
		# shellcheck disable=SC2086
		choose --probabilities $how pool.jsonl queries.jsonl >got 2>err || { grep -q "not an instruction set" err; continue; }
		cmp got want
	done
	# seed, run, epoch and sample are other draws from the same probabilities
	for other in "--seed 1" "--run other"; do
		# shellcheck disable=SC2086
		choose --probabilities $other pool.jsonl queries.jsonl >got
		jq -c .selected_probabilities got | cmp - <(jq -c .selected_probabilities want)
		! cmp -s <(jq -c .selected got) <(jq -c .selected want) || false
	done
	jq -c '.sample = 1' queries.jsonl | choose pool.jsonl | jq -c .selected >sample
	jq -c '.epoch = 1' queries.jsonl | choose pool.jsonl | jq -c .selected >epoch
	! cmp -s sample <(jq -c .selected want) || false
	! cmp -s epoch <(jq -c .selected want) || false
	! cmp -s epoch sample || false
}

@test "rl-select: draws have the shares that the probabilities say" {
	jq -nc 'range(3000) | {id: "d\(.)", query: "4 has the value"}' | choose --probabilities --temperature .05 pool.jsonl >got
	[ "$(jq -c .selected_probabilities got | sort -u | wc -l)" -eq 1 ]
	jq -es '(.[0].selected_probabilities) as $p | length as $n | (map(.selected[0]) | group_by(.) | map({(.[0]): length}) | add) as $had
		| ($p | to_entries | all(.value as $v | (($had[.key] // 0) / $n - $v | fabs) <= 4 * ($v * (1 - $v) / $n | sqrt)))
		and ($p | map(select(. > .05)) | length) > 2' got >/dev/null
}

@test "rl-select: temperature 0 is the likeliest, as is top-k 1; heat levels; layers, heads and positions are others" {
	choose --probabilities pool.jsonl queries.jsonl >want
	choose --temperature 0 pool.jsonl queries.jsonl >cold
	jq -c '.selected_probabilities | to_entries | max_by(.value) | [.key]' want | cmp - <(jq -c .selected cold)
	jq -c '[.selected_probabilities | [.[]] | max]' want | cmp - <(jq -c .selected_p cold)
	choose --top-k 1 pool.jsonl queries.jsonl >top
	cmp <(jq -c .selected top) <(jq -c .selected cold)
	[ "$(jq -c .selected_p top | sort -u)" = '[1]' ]
	choose --top-k 3 --probabilities pool.jsonl queries.jsonl | jq -es 'all(.[]; (.selected_probabilities | length) == 3 and ((.selected_probabilities | add) - 1 | fabs) < 1e-12)' >/dev/null
	choose --temperature 100000 --probabilities pool.jsonl queries.jsonl | jq -es 'all(.[].selected_probabilities[]; (. - 1 / 7 | fabs) < 1e-4)' >/dev/null
	for other in "--layer 0" "--heads 0" "--position last" "--layer -2"; do
		# shellcheck disable=SC2086
		choose --probabilities $other pool.jsonl queries.jsonl | jq -c .selected_probabilities >"in${other// /}"
		! cmp -s "in${other// /}" <(jq -c .selected_probabilities want) || false
	done
	choose --probabilities --layer 1 pool.jsonl queries.jsonl | cmp - want
	cmp in--layer0 in--layer-2
	# all heads are the mean of each
	heads=$(jq .num_attention_heads "$BATS_FILE_TMPDIR/config.json")
	for ((h = 0; h < heads; h++)); do choose --probabilities --heads $h pool.jsonl <(head -n 1 queries.jsonl) | jq -c '[.selected_probabilities[]]'; done >each
	jq -es --argjson want "$(head -n 1 want | jq -c '[.selected_probabilities[]]')" --argjson n "$heads" 'length == $n and $n > 1
		and ([transpose | map(add / $n), $want] | transpose | map(.[0] - .[1] | fabs) | max < 1e-12)' each >/dev/null
}

@test "rl-select: without replacement, in the stream and per name; used keys have no probability" {
	head -n 7 queries.jsonl | choose --without-replacement --probabilities pool.jsonl >got
	[ "$(jq -r '.selected[]' got | sort -u | wc -l)" -eq 7 ]
	[ "$(jq -c '.selected_probabilities | length' got | paste -sd,)" = 7,6,5,4,3,2,1 ]
	[ "$(tail -n 1 got | jq -c .selected_p)" = '[1]' ]
	fails_with 1 "standard input:8: 1 are to be chosen, but of the pool's 7 only 0 are left" choose --without-replacement pool.jsonl < <(head -n 8 queries.jsonl)
	# trajectories side by side, and one of them alone
	jq -c '.t = (input_line_number % 3 | tostring)' queries.jsonl | head -n 21 >mixed
	choose --without-replacement --per .t pool.jsonl mixed >got
	jq -es 'group_by(.t) | map(map(.selected[0]) | unique | length) == [7, 7, 7]' got >/dev/null
	jq -c 'select(.t == "1")' mixed | choose --without-replacement pool.jsonl | cmp - <(jq -c 'select(.t == "1")' got)
	# one that fails takes nothing
	{ head -n 3 queries.jsonl; echo '{"id":"x"}'; sed -n 4,7p queries.jsonl; } | choose -k --without-replacement pool.jsonl 2>/dev/null >k || true
	[ "$(jq -r '.selected[]?' k | sort -u | wc -l)" -eq 7 ]
	jq -c 'select(.selected)' k | cmp - <(head -n 7 queries.jsonl | choose --without-replacement pool.jsonl)
}

@test "rl-select: rounds that exclude what they had are the draws of -n, after any restart" {
	head -n 9 queries.jsonl | choose -n 4 pool.jsonl >want
	head -n 9 queries.jsonl | jq -c '.had = []' >round
	for i in 0 1 2 3; do
		choose --exclude .had pool.jsonl round | jq -c '.had += .selected | del(.selected, .selected_p)' >next
		mv next round
	done
	jq -c .had round | cmp - <(jq -c .selected want)
	fails_with 1 "the pool has no 'nobody'" choose --exclude '["nobody"]' pool.jsonl queries.jsonl
	# absent: none; a single id
	choose --exclude .none pool.jsonl queries.jsonl | cmp - <(choose pool.jsonl queries.jsonl)
	[ "$(choose --exclude '"k3"' --temperature .01 pool.jsonl queries.jsonl | jq -c 'select(.selected[0] == "k3")' | wc -l)" -eq 0 ]
}

@test "rl-select: what a model wrote never stops a run: without a query all keys are alike" {
	head -n 3 queries.jsonl | jq -c '.tokens = [[], [17, 18], [19]][input_line_number - 1] | .completion = ""' >odd
	rl-select -q --probabilities pool.jsonl odd >got 2>said
	[ "$(wc -l <said)" -eq 1 ]
	grep -q 'odd:1: the query has no token; to it, as to all others' said
	jq -es 'map(.selected_probabilities | all(.[]; (. - 1 / 7 | fabs) < 1e-12)) == [true, false, false]' got >/dev/null
	# the token that ends it is no part of a query, unless a filter says so
	eos=$(jq .eos_token_id "$BATS_FILE_TMPDIR/config.json")
	sed -n 2p odd | jq -c ".tokens += [$eos]" >ended
	rl-select -q --probabilities pool.jsonl ended | jq -c .selected_probabilities | cmp - <(sed -n 2p got | jq -c .selected_probabilities)
	! rl-select -q --query .tokens --probabilities pool.jsonl ended | jq -c .selected_probabilities | cmp -s - <(sed -n 2p got | jq -c .selected_probabilities) || false
	rl-select --query '.completion | fromjson' pool.jsonl odd 2>&1 >/dev/null | tail -n 1 | grep -q "3 without a query"
}

@test "rl-select: the policy that sampled each query, in a loop" {
	within 60 bash -o pipefail -c 'jq -c ".query_id = .id | del(.id)" queries.jsonl | head -n 8 | rl-generate -q -n 2 --batch-size 8 --max-tokens 6 |
		rl-select -q -s run.lmdb --follow --probabilities pool.jsonl | tee seen.jsonl |
		jq -c --unbuffered ".reward = .selected_p[0] + (.tokens[0] % 3)" | rl-ppo-step -q --lr 1e-2 >metrics.jsonl'
	[ "$(wc -l <metrics.jsonl)" -eq 2 ]
	rl-select -q -s run.lmdb:ref --probabilities --as again pool.jsonl seen.jsonl >both
	jq -es 'length == 16 and all(.[]; (.selected_probabilities == .again_probabilities) == (.policy_version == 0)) and (map(.policy_version) | unique) == [0, 1]' both >/dev/null
	# versions in turn: the keys are those of each
	jq -c 'del(.selected, .selected_p, .selected_probabilities) | .policy_version = [0, 2][.row % 2]' seen.jsonl >turns
	rl-select -q --follow --probabilities pool.jsonl turns >got
	for v in 0:ref 2:policy; do
		jq -c "select(.policy_version == ${v%:*})" turns | rl-select -q -s "run.lmdb:${v#*:}" --probabilities pool.jsonl | cmp - <(jq -c "select(.policy_version == ${v%:*})" got)
	done
	fails_with 1 "--follow: 'policy_version' is not there" choose --follow pool.jsonl queries.jsonl
}

@test "rl-select: what is wrong is said in one line" {
	: >empty
	cat pool.jsonl pool.jsonl >twice
	sed 1q pool.jsonl >bad
	echo no json >>bad
	fails_with 2 "no store" env -u RL_STORE rl-select pool.jsonl
	fails_with 2 "POOL" rl-select
	fails_with 2 "--per is of --without-replacement" choose --per .t pool.jsonl
	fails_with 1 "no-such-file" choose no-such-file queries.jsonl
	fails_with 1 "--layer is 2, but the model has 2" choose --layer 2 pool.jsonl queries.jsonl
	fails_with 1 "'9' is no head" choose --heads 0,9 pool.jsonl queries.jsonl
	fails_with 1 "queries.jsonl:1: --query gives nothing" choose --query .none pool.jsonl queries.jsonl
	fails_with 1 "the query's 160 tokens do not fit the context of 96" choose --query '[range(160)]' pool.jsonl queries.jsonl
	fails_with 1 "pool.jsonl:1: --key gives nothing" choose --key .none pool.jsonl queries.jsonl
	fails_with 1 "empty: there is no record" choose empty queries.jsonl
	fails_with 1 "twice: the id 'k1' is there twice" choose twice queries.jsonl
	fails_with 1 "bad:2: " choose bad queries.jsonl
	fails_with 1 "8 are to be chosen, but of the pool's 7 only 7 are left" choose -n 8 pool.jsonl queries.jsonl
	fails_with 1 "'selected_p' is already there" choose pool.jsonl <(jq -c '.selected_p = 1' queries.jsonl)
	fails_with 1 "--per: '.t' gives no name" choose --without-replacement --per .t pool.jsonl queries.jsonl
}

@test "rl-select: the example of the page: rounds of query, key and value" {
	jq -c '{id, prompt: (.query[0:6] + " Query: "), had: []}' queries.jsonl | head -n 4 >start.jsonl
	MANWIDTH=200 mandoc -T ascii "$root/man/rl-select.1" | col -bx | sed -n '/^ *cp start.jsonl/,/^ *done/p' >example
	[ "$(wc -l <example)" -gt 5 ]
	sed -i 's/rl-generate /rl-generate -q --max-tokens 4 /; s/rl-select /rl-select -q /' example
	. ./example
	jq -es 'length == 4 and all(.[]; (.had | length) == 3 and (.had | unique | length) == 3 and (.prompt | test(" Query: .* Key: .* Value: .* Query: .* Query: "; "m")))' round.jsonl >/dev/null
}
