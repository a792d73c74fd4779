#!/usr/bin/env bats
# loop.bats has the loop; here is what the tool does by itself.
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	export RL_STORE=run.lmdb
	jq -nc 'range(40) | {text: "what is known of number \(.), and of \(. * 7)?"}' >texts.jsonl
	rl-tokenize -q --train --vocab-size 300 --special-token '<|end|>' <texts.jsonl >tokenizer.json
	jq '.vocab_size = 300 | .max_position_embeddings = 128' "$testdata/tiny/config.json" >config.json
	rl-store init -q --config config.json --tokenizer tokenizer.json --seed 1 run.lmdb
	jq -c '{query_id: "q\(input_line_number)", query: .text}' texts.jsonl | head -n 6 >queries.jsonl
	cp "$testdata/contract/texts.jsonl" corpus.jsonl
}

@test "rl-generate: the fields it adds, and the input in front of them" {
	rl-generate -q --max-tokens 5 --batch-size 4 queries.jsonl >out.jsonl
	is_prefix queries.jsonl out.jsonl
	[ "$(head -n 1 out.jsonl | jq -c 'keys_unsorted')" = '["query_id","query","id","prompt","prompt_tokens","completion","tokens","ends","logprobs","temperature","finish","policy_version","batch","row","batch_size"]' ]
	[ "$(jq -c '[.batch, .row, .batch_size, .last // false, (.cursor.records // 0)]' out.jsonl | tr -d '\n')" = \
		'[0,0,4,false,0][0,1,4,false,0][0,2,4,false,0][0,3,4,false,4][1,0,2,true,0][1,1,2,true,6]' ]
	[ "$(jq -s 'all(.id == .query_id and .prompt == .query and (.tokens | length) == (.logprobs | length) and (.ends[-1] == (.completion | length)))' out.jsonl)" = true ]
}

@test "rl-generate: ends cut the completion into the text of its tokens" {
	rl-generate -q --max-tokens 8 queries.jsonl >out.jsonl
	jq -c '.completion as $c | [[0] + .ends, .ends] | transpose | map(select(.[1] != null) | $c[.[0]:.[1]]) | add // "" | {completion: ., same: (. == $c)}' out.jsonl >pieces
	[ "$(jq -s 'all(.same)' pieces)" = true ]
}

@test "rl-generate: -n gives groups whose members differ, the first the same as with -n 1" {
	rl-generate -q -n 3 --batch-size 6 --max-tokens 6 queries.jsonl >three
	rl-generate -q --max-tokens 6 queries.jsonl >one
	[ "$(jq -s 'group_by(.group) | map(length) | unique' three | jq -c .)" = '[3]' ]
	[ "$(jq -c '[.sample // 0, .tokens]' three | sort -u | wc -l)" -gt 12 ]
	jq -c 'select(.sample == null) | [.id, .tokens, .logprobs]' three | cmp - <(jq -c '[.id, .tokens, .logprobs]' one)
}

@test "rl-generate: greedy does not depend on the seed, samples do" {
	for seed in 1 2; do
		rl-generate -q --temperature 0 --seed $seed --max-tokens 6 queries.jsonl | jq -c .tokens >greedy.$seed
		rl-generate -q --seed $seed --max-tokens 6 queries.jsonl | jq -c .tokens >sampled.$seed
	done
	cmp greedy.1 greedy.2
	! cmp -s sampled.1 sampled.2 || false
}

@test "rl-generate: --greedy adds one more of each prompt at temperature 0, and changes nothing else" {
	rl-generate -q -n 2 --greedy --batch-size 6 --max-tokens 6 queries.jsonl >with
	[ "$(jq -c '[.sample // 0, .temperature, .batch, .row, .batch_size]' with | head -n 4 | paste -sd' ')" = "[0,1,0,0,6] [1,1,0,1,6] [2,0,0,2,6] [0,1,0,3,6]" ]
	[ "$(jq -s 'group_by(.group) | map(length) | unique' with | jq -c .)" = '[3]' ]
	rl-generate -q -n 2 --batch-size 4 --max-tokens 6 queries.jsonl | jq -c '[.group, .sample, .tokens, .logprobs]' >without
	jq -c 'select(.temperature == 1) | [.group, .sample, .tokens, .logprobs]' with | cmp - without
	rl-generate -q --temperature 0 --max-tokens 6 queries.jsonl | jq -c '[.id, .tokens, .logprobs]' >greedy
	jq -c 'select(.temperature == 0) | [.id, .tokens, .logprobs]' with | cmp - greedy
	rl-generate -q --greedy --batch-size 4 --max-tokens 2 queries.jsonl | jq -c '[.group, .temperature]' | head -n 2 | paste -sd' ' | grep -qx '."q1",1. ."q1",0.'
	fails_with 2 "must be a multiple of -n, which is 3 with --greedy" rl-generate -n 2 --greedy --batch-size 4
	fails_with 2 "--greedy does not go with --as" rl-generate --as x --greedy
}

@test "rl-generate: top-k 1 is greedy, and sampling_logprobs are those of what was left" {
	rl-generate -q --temperature 0 --max-tokens 6 queries.jsonl | jq -c .tokens >greedy
	rl-generate -q --top-k 1 --max-tokens 6 queries.jsonl >one
	jq -c .tokens one | cmp - greedy
	[ "$(jq -s 'map(.sampling_logprobs | map(. == 0) | all) | all' one)" = true ]
	rl-generate -q --top-p 0.5 --max-tokens 6 queries.jsonl |
		jq -e '[.sampling_logprobs, .logprobs] | transpose | all(.[0] >= .[1])' >/dev/null
}

@test "rl-generate: finish says eos, stop or length" {
	[ "$(rl-generate -q --max-tokens 3 --ignore-eos queries.jsonl | jq -r .finish | sort -u)" = length ]
	rl-generate -q --max-tokens 12 --stop a --stop e queries.jsonl >out.jsonl
	[ "$(jq -s 'all((.finish == "stop") == (.completion | test("[ae]")))' out.jsonl)" = true ]
	# a token of the policy's own liking for an end
	first=$(rl-generate -q --temperature 0 --max-tokens 1 queries.jsonl | jq '.tokens[0]' | head -n 1)
	jq ".eos_token_id = $first" config.json >eos.json
	rl-store init -q --config eos.json --tokenizer tokenizer.json --seed 1 eos.lmdb
	[ "$(rl-generate -q -s eos.lmdb --temperature 0 --max-tokens 9 queries.jsonl | head -n 1 | jq -c '[.finish, .tokens]')" = "[\"eos\",[$first]]" ]
}

@test "rl-generate: a range of lengths is drawn per prompt and stays inside" {
	rl-generate -q --max-tokens 2..5 --ignore-eos queries.jsonl | jq '.tokens | length' >lengths
	[ "$(sort -n lengths | head -n 1)" -ge 2 ] && [ "$(sort -n lengths | tail -n 1)" -le 5 ]
	[ "$(sort -u lengths | wc -l)" -gt 1 ]
}

@test "rl-generate: epochs are shuffled by seed, and every epoch has every prompt" {
	rl-generate -q --epochs 2 --max-tokens 2 --batch-size 5 queries.jsonl >out.jsonl
	for e in 0 1; do
		jq -r "select((.epoch // 0) == $e).id" out.jsonl >epoch.$e
		sort epoch.$e | cmp - <(jq -r .query_id queries.jsonl | sort)
	done
	! cmp -s epoch.0 epoch.1 || false
	[ "$(jq -c '[.batch, .batch_size]' out.jsonl | sort -u | tr -d '\n')" = '[0,5][1,5][2,2]' ]
	rl-generate -q --epochs 2 --no-shuffle --max-tokens 1 queries.jsonl | jq -r .query_id | cmp - <(jq -r .query_id queries.jsonl queries.jsonl)
}

@test "rl-generate: ids alone work without a tokenizer" {
	rl-store init -q --config "$testdata/tiny/config.json" ids.lmdb
	rl-generate -q -s ids.lmdb --max-tokens 2 "$testdata/tiny/prompts.jsonl" | jq -e '.tokens and (has("completion") | not)' >/dev/null
	fails_with 1 "the store has no tokenizer" rl-generate -q -s ids.lmdb queries.jsonl
}

@test "rl-generate: --prompt may give texts and ids, one after another, each text tokenised by itself" {
	rl-generate -q --max-tokens 5 queries.jsonl >once
	rl-generate -q --max-tokens 2 --as second --prompt '[.prompt_tokens, .tokens, " and ", 7]' once >out.jsonl
	jq -c '{text: " and "}' <<<'{}' | rl-tokenize -q --tokenizer tokenizer.json | jq -c .tokens >and
	jq -es --slurpfile joint and 'length == 6 and all(.[]; .second.prompt_tokens == .prompt_tokens + .tokens + $joint[0] + [7])' out.jsonl
	# a text in front begins as a prompt does
	rl-generate -q --max-tokens 2 --prompt '[.query, 7]' queries.jsonl >out.jsonl
	paste <(jq -c .prompt_tokens out.jsonl) <(jq -c '.prompt_tokens + [7]' once) | awk '$1 != $2 {bad = 1} END {exit bad || NR != 6}'
}

@test "rl-generate: --prompt may give ids, which are not made of a text again" {
	jq -c '{id, ids: .prompt_tokens}' "$testdata/tiny/prompts.jsonl" >ids.jsonl
	rl-store init -q --config "$testdata/tiny/config.json" ids.lmdb
	rl-generate -q -s ids.lmdb --max-tokens 2 --prompt .ids ids.jsonl >out.jsonl
	jq -c '[.id, .tokens, .logprobs]' out.jsonl | cmp - <(rl-generate -q -s ids.lmdb --max-tokens 2 "$testdata/tiny/prompts.jsonl" | jq -c '[.id, .tokens, .logprobs]')
	jq -se 'all(.prompt_tokens == .ids and (has("prompt") | not))' out.jsonl
	fails_with 1 ":1: '--prompt' has id 300 at place 1, but the vocabulary has 300" rl-generate -q --prompt .ids <(echo '{"ids":[1,300]}')
	fails_with 1 ":1: '--prompt': part 1 is no text, no id and no array of ids" rl-generate -q --prompt .ids <(echo '{"ids":[1,null]}')
	fails_with 1 ":1: '--prompt': the store has no tokenizer" rl-generate -q -s ids.lmdb --prompt .ids <(echo '{"ids":[1,"a"]}')
	fails_with 1 ":1: --prompt '.ids' gives neither a text nor an array here" rl-generate -q --prompt .ids <(echo '{"ids":7}')
}

@test "rl-generate: bad input in one line" {
	fails_with 2 "no --max-new-tokens; here it is --max-tokens" rl-generate --max-new-tokens 3
	fails_with 2 "did you mean --temperature" rl-generate --temprature 3
	fails_with 2 "must be N or LO..HI" rl-generate --max-tokens 5..2
	fails_with 2 "must be a multiple of -n, which is 3" rl-generate -n 3 --batch-size 4
	fails_with 1 "missing.lmdb" rl-generate -s missing.lmdb queries.jsonl
	fails_with 1 "11 prompt tokens and 120 new ones do not fit the context of 128" rl-generate -q --max-tokens 120 queries.jsonl
	fails_with 1 ":1: 'prompt_tokens' has id 300 at place 1, but the vocabulary has 300" rl-generate -q <(echo '{"prompt_tokens":[1,300]}')
	fails_with 1 "--prompt '.prompt // .query' gives nothing here" rl-generate -q <(echo '{"a":1}')
}

@test "rl-generate: -k lets a bad prompt pass with an error, the others are sampled" {
	echo '{"prompt_tokens":[1,300]}' | cat queries.jsonl - >some.jsonl
	run -3 --separate-stderr rl-generate -k -q --max-tokens 2 some.jsonl
	[ "${#lines[@]}" -eq 7 ]
	[[ ${lines[6]} == *'"error":'*'"row":6,"batch_size":7'* ]]
}

@test "rl-generate: a record with skip or error takes its place in the batch, and no sample" {
	jq -c 'if .query_id == "q2" then .skip = "too short" elif .query_id == "q4" then .error = "lost" else . + {skip: null} end' queries.jsonl >some.jsonl
	rl-generate -n 2 --batch-size 6 --max-tokens 3 some.jsonl >out.jsonl 2>said
	[ "$(jq -c 'select(.query_id == ("q2", "q4")) | del(.query)' out.jsonl | tr -d '\n')" = \
		'{"query_id":"q2","skip":"too short","batch":0,"row":2,"batch_size":5}{"query_id":"q4","error":"lost","batch":1,"row":0,"batch_size":5,"last":true}' ]
	[ "$(cat said)" = "rl-generate: 6 records in, 10 out, 2 passed over" ]
	# the others as without them, the first batch's cursor with all three records
	jq -c 'select(.tokens) | [.id, .sample, .tokens, .logprobs]' out.jsonl |
		cmp - <(rl-generate -q -n 2 --max-tokens 3 <(jq -c 'select(.skip == null and .error == null)' some.jsonl) | jq -c '[.id, .sample, .tokens, .logprobs]')
	[ "$(jq -c 'select(.cursor) | [.row, .cursor.records]' out.jsonl | tr -d '\n')" = '[4,3][4,6]' ]
	rl-generate -q <(echo '{"skip":"x"}') | jq -e '.last and .cursor.records == 1' >/dev/null
}

@test "rl-generate: an id of null is refused, or with -k an error" {
	printf '%s\n' '{"id":"a","query":"what"}' '{"id":null,"_id":"b","query":"what"}' >some.jsonl
	fails_with 1 ":2: 'id' is null" rl-generate -q some.jsonl
	run -3 --separate-stderr rl-generate -k -q --max-tokens 1 some.jsonl
	[[ ${lines[1]} == *'"error":"'"'id' is null"* ]]
}

# ---- --as ----

again="rl-generate -q --as again --max-tokens 6"

@test "rl-generate --as: all that is added is one object, a record of its own; the rest stays as it came" {
	rl-generate -q --max-tokens 5 --batch-size 4 queries.jsonl >first
	$again --prompt '.query + .completion' --temperature 0 first >out
	is_prefix first out
	jq -c 'del(.again)' out | cmp - <(jq -c . first)
	[ "$(head -n 1 out | jq -c '.again | keys_unsorted')" = '["prompt","prompt_tokens","completion","tokens","ends","logprobs","temperature","finish","policy_version"]' ]
	# what a first stage makes of these prompts
	jq -c '{id, prompt: (.query + .completion)}' first | rl-generate -q --temperature 0 --max-tokens 6 >want
	for f in .prompt .prompt_tokens .completion .tokens .logprobs .ends .finish; do
		jq -c ".again$f" out | cmp - <(jq -c "$f" want)
	done
	jq -c .again out | rl-logprob -q --as seen | jq -se 'length == 6 and all(.seen == .logprobs)'
	# without an id of its own the record is known by its line, and the object says so
	[ "$(echo '{"query":"what"}' | $again | jq -c '[has("id"), .again.id]')" = '[false,"1"]' ]
	[ "$(echo '{"id":null,"_id":"x","query":"what"}' | $again | jq -c '[.id, .again.id]')" = '[null,"x"]' ]
}

@test "rl-generate --as: the record's own prompt_tokens are not its prompt" {
	jq -c '. + {prompt_tokens: [1, 2, 3]}' queries.jsonl | $again | jq -c .again.prompt_tokens |
		cmp - <(rl-generate -q --max-tokens 1 queries.jsonl | jq -c .prompt_tokens)
}

@test "rl-generate --as: stages, samples and epochs draw different numbers, the same one the same" {
	for id in a b; do for sample in 0 1 2; do for epoch in 0 1; do
		echo "{\"id\":\"$id\",\"sample\":$sample,\"epoch\":$epoch,\"query\":\"what\"}"
	done; done; done >same.jsonl
	rl-generate -q --as one --max-tokens 8 --ignore-eos same.jsonl | rl-generate -q --as two --max-tokens 8 --ignore-eos --prompt .query >out
	# 24 draws of one prompt; a first stage draws yet others
	[ "$(jq -c '.one.tokens, .two.tokens' out | sort -u | wc -l)" -eq 24 ]
	rl-generate -q --max-tokens 8 --ignore-eos <(echo '{"id":"a","query":"what"}') | jq -c .tokens >first
	[ "$(jq -c '.one.tokens, .two.tokens' out | grep -cxFf first)" -eq 0 ]
	# the name, not the place in the pipe, and neither the order
	rl-generate -q --as two --max-tokens 8 --ignore-eos <(tac same.jsonl) | jq -c .two | tac | cmp - <(jq -c .two out)
	[ "$(rl-generate -q --as one --seed 1 --max-tokens 8 --ignore-eos same.jsonl | jq -c .one.tokens | grep -cxFf <(jq -c .one.tokens out))" -eq 0 ]
	fails_with 1 "'sample' is -1, but must be from 0" $again <(echo '{"query":"what","sample":-1}')
	# lengths too are drawn under the name and the sample
	[ "$(rl-generate -q --as one --max-tokens 1..60 --ignore-eos same.jsonl | jq '.one.tokens | length' | sort -u | wc -l)" -gt 5 ]
}

@test "rl-generate --as: a group draws by its key and its items' epoch" {
	# epochs are cut by the end of a batch, and a group has none itself
	rl-generate -q --max-tokens 2 -n 2 --epochs 2 --no-shuffle --batch-size 12 queries.jsonl | rl-group -q >groups
	[ "$(wc -l <groups)" -eq 12 ]
	$again --prompt '.items[0].query' --ignore-eos groups >out
	[ "$(jq -c .again.tokens out | sort -u | wc -l)" -eq 12 ]
	$again --prompt .query --ignore-eos <(jq -c '{id, query: .items[0].query, epoch: (.items[0].epoch // 0)}' groups) | jq -c .again.tokens | cmp - <(jq -c .again.tokens out)
}

@test "rl-generate --as: the same bits for any batch size, thread count and pace of the input" {
	rl-generate -q -n 2 --max-tokens 5 queries.jsonl >first
	$again --prompt .completion first >want
	for b in 1 5; do
		$again --prompt .completion --batch-size $b -j 1 first | cmp - want
	done
	$again --prompt .completion --max-running 3 -z first | zstd -dqc | cmp - want
	while read -r line; do
		echo "$line"
		sleep 0.03
	done <first | $again --prompt .completion | cmp - want
}

@test "rl-generate --as: what an evaluation measures is greedy, of a group too, and has no part in the others" {
	stage="$again --max-tokens 1..6 --top-k 3 --min-p 0.1 --top-p 0.9 --temperature 2 --ignore-eos"
	greedy="$again --max-tokens 6 --temperature 0 --ignore-eos"
	jq -c 'if .query_id == "q2" or .query_id == "q5" then .eval = true else . end' queries.jsonl >some.jsonl
	for b in 1 64; do
		$stage --batch-size $b some.jsonl >out
		jq -c 'del(.again)' out | cmp - <(jq -c . some.jsonl)
		cmp <(jq -c 'select(.eval) | .again' out) <($greedy queries.jsonl | jq -c 'select(.query_id == "q2" or .query_id == "q5") | .again')
		[ "$(jq -c 'select(.eval) | .again | [.temperature, (.tokens | length), has("sampling_logprobs")]' out | sort -u)" = '[0,6,false]' ]
		cmp <(jq -c 'select(.eval | not) | .again' out) <($stage queries.jsonl | jq -c 'select(.query_id != "q2" and .query_id != "q5") | .again')
	done
	# a false one, and what is no truth value, is none
	jq -c '.eval = (if .query_id == "q2" then false else "x" end)' queries.jsonl | $stage | jq -c .again | cmp - <($stage queries.jsonl | jq -c .again)
	rl-generate -q --max-tokens 2 -n 2 --batch-size 4 --eval queries.jsonl --eval-every 1 queries.jsonl | rl-group -q >groups
	$stage --prompt '.items[0].query' groups >out
	jq -c 'select(.items[0].eval) | .again.tokens' out >evaluated
	[ "$(wc -l <evaluated)" -eq 18 ]
	cmp evaluated <($greedy --prompt '.items[0].query' groups | jq -c 'select(.items[0].eval) | .again.tokens')
	! cmp -s <(jq -c .again.tokens out) <($greedy --prompt '.items[0].query' groups | jq -c .again.tokens) || false
	fails_with 1 "'eval' is true in one item and not in another" $stage <(echo '{"query":"a","items":[{"policy_version":0,"eval":true},{"policy_version":0}]}')
}

@test "rl-generate --as: a record goes on before the next one has come" {
	mkfifo in out
	$again <in >out 3>&- &
	pid=$!
	exec 8>in 9<out
	for i in 1 2 3; do
		sed -n ${i}p queries.jsonl >&8
		IFS= read -r -t 20 line <&9
		[ "$(jq -r .query_id <<<"$line")" = "q$i" ]
	done
	# with the next line half there
	{ sed -n 4p queries.jsonl; sed -n 5p queries.jsonl | head -c 9; } >&8
	IFS= read -r -t 20 line <&9
	[ "$(jq -r .query_id <<<"$line")" = q4 ]
	sed -n 5p queries.jsonl | tail -c +10 >&8
	exec 8>&-
	[ "$(jq -r .query_id <&9)" = q5 ]
	exec 9<&-
	wait $pid
}

@test "rl-generate --as: records with skip or error pass as they are, in their place" {
	jq -c 'if .query_id == "q2" then .skip = "no" elif .query_id == "q3" then .error = "no" elif .query_id == "q5" then .error = null else . end' queries.jsonl >some.jsonl
	rl-generate --as again --max-tokens 3 some.jsonl >out 2>said
	is_prefix some.jsonl out
	[ "$(jq -c 'select(has("again") | not)' out)" = "$(sed -n 2,3p some.jsonl)" ]
	[ "$(cat said)" = "rl-generate: 6 records in, 6 out, 2 passed over" ]
	# nothing to sample at all
	[ "$(echo '{"skip":"no"}' | $again)" = '{"skip":"no"}' ]
}

@test "rl-generate --as: a record that cannot be used ends it behind those before, or with -k goes on in its place" {
	{ head -n 2 queries.jsonl; echo '{"a":1}'; echo '{'; sed -n 3p queries.jsonl; } >some.jsonl
	fails_with 1 "some.jsonl:3: --prompt '.prompt // .query' gives nothing here" $again some.jsonl
	[ "$(jq -r .query_id out | paste -sd' ')" = "q1 q2" ]
	run -3 --separate-stderr $again -k some.jsonl
	[ "$(jq -c '[has("again"), .error[:14]]' <<<"$output" | paste -sd' ')" = '[true,null] [true,null] [false,"some.jsonl:3: "] [false,"some.jsonl:4: "] [true,null]' ]
	fails_with 1 ":1: 'again' is already there" $again <(echo '{"query":"what","again":1}')
	fails_with 1 "11 prompt tokens and 120 new ones do not fit the context of 128" $again --max-tokens 120 queries.jsonl
}

@test "rl-generate --as: what does not go with it" {
	fails_with 2 "-n is 4, but with --as a record has one completion" rl-generate --as b -n 4
	for o in "--steps 3" "--epochs 2" "--lag 1" "--lag none" --shuffle --no-shuffle; do
		fails_with 2 "does not go with --as" rl-generate --as b $o
	done
	for name in '' 'a b' a.b; do
		fails_with 2 "--as is '$name', but must be letters, digits and _" rl-generate --as "$name"
	done
	for name in completion tokens cursor skip reward reward_x state_x; do
		fails_with 2 "--as is '$name', a field that other tools read" rl-generate --as $name
	done
	# the environment is for the first stage
	RL_N=4 RL_STEPS=3 RL_EPOCHS=2 RL_LAG=1 RL_BATCH_SIZE=7 $again queries.jsonl | cmp - <($again -n 1 queries.jsonl)
}

@test "rl-generate: the examples of the page" {
	rl-index -q corpus.jsonl corpus.lmdb
	[ "$(rl-generate -s run.lmdb --temperature 0 queries.jsonl | jq -r .completion | wc -l)" -ge 6 ]
	jq -c '. + {relevant_doc_ids: ["1"]}' queries.jsonl >labelled && mv labelled queries.jsonl
	rl-generate -s run.lmdb -n 4 queries.jsonl | rl-reward-bm25 corpus.lmdb | jq -sc 'group_by(.group)[] | max_by(.reward_bm25)' >best
	[ "$(wc -l <best)" -eq 6 ]
	bash -o pipefail -c "$(sed -n 's/^\.Dl //p' "$root/man/rl-generate.1" | grep revised)" >revised
	jq -c '{id, prompt: (.prompt + .completion)}' <(rl-generate -q --max-tokens 32 queries.jsonl) | rl-generate -q --as revised --max-tokens 32 | jq -r .revised.completion | cmp - revised
}
