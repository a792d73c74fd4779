#!/usr/bin/env bats
# The recipes of rl-recipes(7), each taken out of the page and run as it stands there, on a model that has seen right and
# wrong answers.  What comes out is computed a second time, another way.
load common

setup_file() {
	cd "$BATS_FILE_TMPDIR"
	jq -nc 'range(24) | {id: "q\(.)", query: "is \(. % 8) more than \(. * 5 % 9)?", target: (if . % 8 > . * 5 % 9 then "yes" else "no" end)}' >questions.jsonl
	jq -c '. as $q | range(6) | {prompt: $q.query, completion: (if . < 4 then $q.target else {yes: "no", no: "yes"}[$q.target] end)}' questions.jsonl >demonstrations.jsonl
	jq -c '{text: (.prompt + "\n" + .completion + " This right good bad")}' demonstrations.jsonl |
		rl-tokenize -q --train --vocab-size 280 --special-token '<|end|>' >tokenizer.json
	jq '.vocab_size = 280 | .max_position_embeddings = 384' "$testdata/tiny/config.json" >config.json
	rl-store init -q --config config.json --tokenizer tokenizer.json --seed 1 start.lmdb
	rl-sft-step -q -s start.lmdb --epochs 4 --batch-size 16 --lr 1e-2 --checkpoint-every 100 demonstrations.jsonl >/dev/null
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	cp "$BATS_FILE_TMPDIR"/questions.jsonl .
	cp "$BATS_FILE_TMPDIR"/start.lmdb run.lmdb
	export RL_QUIET=1 RL_GENERATE_MAX_TOKENS=8 RL_LR=3e-3 # a model of 24,480 weights; answers are two tokens long
}

# recipe TITLE: what stands under it, in a shell in which what a trainer reads is kept as rollouts.jsonl, and what leaves a
# group as groups.jsonl.
recipe() {
	awk -v title=".Ss $1" '/^\.S[sh]/ {on = $0 == title} on' "$root/man/rl-recipes.7" |
		sed -n '/^\.Bd/,/^\.Ed/p' | sed '/^\.[BE]d/d; s/\\e/\\/g' >recipe
	[ -s recipe ]
	{
		echo 'rl-ppo-step() { tee rollouts.jsonl | command rl-ppo-step "$@"; }'
		echo 'rl-group() { if [ "$1" = -u ]; then tee groups.jsonl | command rl-group "$@"; else command rl-group "$@"; fi; }'
		cat recipe
	} >script
	within 100 bash -eo pipefail script
}
# The mean reward of each batch, by FILTER over what the trainer read, is the one that it tells.
scores() {
	jq -s "group_by(.batch)[] | map(select(.skip == null and .error == null) | $1) | add / length" rollouts.jsonl >want
	jq '.["objective/scores"]' metrics.jsonl | paste -d' ' - want |
		awk '{d = $1 - $2; if (d > 1e-9 || d < -1e-9) {print; bad = 1}} END {exit bad || NR != '"$2"'}'
}
# Exact match as SQuAD has it: without case, punctuation and articles.
right='(if (.completion | ascii_downcase | gsub("[!-/:-@\\[-`{-~]"; "") | [splits("\\s+")] - ["", "a", "an", "the"] | join(" ")) == .target then 1 else 0 end)'

@test "rl-recipes: held-out questions in the same pipe" {
	tail -n 8 questions.jsonl >heldout.jsonl
	sed -i 17,24d questions.jsonl
	export RL_BATCH_SIZE=32
	recipe "Held-out questions in the same pipe"
	mv evaluations.jsonl evaluations
	# the second block: a line for each, before batch 0, 2, 4, ...
	n=$(wc -l <evaluations)
	[ "$n" -ge 4 ]
	[ "$(jq -c '.[0]' evaluations | paste -sd' ')" = "$(seq -s' ' 1 2 $((2 * n - 1)))" ]
	# the trainer read all of them each time, and ended three after the best
	[ "$(jq -c 'select(.eval) | .batch' rollouts.jsonl | sort -n | uniq -c | awk '$1 != 8' | wc -l)" -eq 0 ]
	[ "$(tail -n 1 evaluations | jq '.[3]')" -eq 3 ]
	[ "$(wc -l <metrics.jsonl)" -eq $((2 * n - 1)) ]
	best=$(tail -n 1 evaluations | jq '.[2]')
	[ "$best" -gt 1 ] # it has learned something
	jq -sc 'max_by(.[1])[1] as $m | map(select(.[1] == $m))[0][0]' evaluations | grep -qx "$best"
	# what it scored is what the snapshot scores, and the directory is that model
	jq "$right" best.jsonl | jq -s 'add / length' | cmp - <(jq -s 'max_by(.[1])[1]' evaluations)
	[ "$(rl-store show --json run.lmdb | jq '.snapshots[] | select(.name == "best").version')" -eq "$best" ]
	rl-store import best copy.lmdb
	rl-generate -s copy.lmdb --temperature 0 heldout.jsonl | jq -c .tokens | cmp - <(jq -c .tokens best.jsonl)
}

@test "rl-recipes: every recipe of the page is run here" {
	grep '^\.Ss' "$root/man/rl-recipes.7" | sed 's/^\.Ss //' | sort >of_page
	sed -n 's/^	.*recipe "\(.*\)"$/\1/p' "$BATS_TEST_FILENAME" | sort | diff of_page -
}

@test "rl-recipes: best of n" {
	recipe "Best of n"
	rl-generate -n 8 -s run.lmdb questions.jsonl | jq -c "[.id, $right]" | jq -sc 'group_by(.[0])[] | [.[0][0], (map(.[1]) | max)]' >want
	jq -c "[.id, $right]" best.jsonl | sort | cmp - <(sort want)
	# there was something to choose
	[ "$(jq -s 'map(.reward_overlap) | add' best.jsonl)" -gt "$(rl-generate -s run.lmdb questions.jsonl | jq -s "map($right) | add")" ]
}

@test "rl-recipes: majority vote" {
	recipe "Majority vote"
	rl-generate -n 8 -s run.lmdb questions.jsonl | jq -r '[.id, .target, .completion] | @tsv' | sort | uniq -c | sort -k2,2 -k1,1nr >counts
	# ties may go either way
	awk '$2 != id {id = $2; n++; top = $1; right = 0} $1 == top {got = $4 == $3; if (!got) wrong[id] = 1; else good[id] = 1}
		END {for (i in good) {most++; if (!wrong[i]) least++}; print least / n, most / n}' counts >bounds
	jq -r '"\(.mean) \(.n)"' accuracy.json | paste -d' ' - bounds | awk '{exit !($1 >= $3 - 1e-9 && $1 <= $4 + 1e-9 && $2 == 24)}'
	rl-generate -s run.lmdb questions.jsonl | rl-eval -m @accuracy --json | jq --slurpfile vote accuracy.json -e '$vote[0].mean > .mean'
}

@test "rl-recipes: preference pairs" {
	recipe "Preference pairs"
	jq -c '{key: .query, value: .target}' questions.jsonl | jq -s from_entries >targets
	jq -se --slurpfile t targets 'length > 5 and all(keys == ["chosen", "prompt", "rejected"] and .chosen == $t[0][.prompt] and .rejected != .chosen)' pairs.jsonl
	# each question that has answers of both kinds, and no other
	rl-generate -n 8 -s run.lmdb questions.jsonl | jq -c "[.query, $right]" | jq -sr 'group_by(.[0])[] | select(map(.[1]) | unique == [0, 1]) | .[0][0]' | sort -u >both
	jq -r .prompt pairs.jsonl | sort -u | cmp - both
}

@test "rl-recipes: direct preference optimization" {
	recipe "Direct preference optimization"
	# chosen are right, rejected are not, and the policy has learned which
	rl-generate -n 8 -s run.lmdb:reference/dpo/ questions.jsonl | jq -c "{key: ([.prompt_tokens, .tokens] | tojson), value: $right}" | jq -s from_entries >known
	holds -s --slurpfile k known 'length > 5 and all(. as $p | [.chosen, .rejected] | map($k[0][[$p.prompt_tokens, .] | tojson]) == [1, 0])' pairs.jsonl
	# over the last epoch the policy prefers the chosen by more than its reference does
	holds -s '.[0].loss == (2 | log) and .[0]."rewards/margins" == 0
		and (map(select(.epoch > 9)) | length > 0 and (map(."rewards/margins" * .rows) | add) > 0 and (map(.loss * .rows) | add) / (map(.rows) | add) < 0.65)' dpo.jsonl
}

@test "rl-recipes: supervised learning from the best of n" {
	echo '{"id":"never","query":"is 1 more than 2?","target":"maybe"}' >>questions.jsonl # what no sample says
	recipe "Supervised learning from the best of n"
	[ "$(jq -s "length > 10 and all($right == 1)" right.jsonl)" = true ]
	cp "$BATS_FILE_TMPDIR/start.lmdb" .
	for s in start run; do
		rl-generate -s $s.lmdb -n 8 --seed 9 questions.jsonl | jq -s "map($right) | add / length" >$s
	done
	awk 'NR == FNR {before = $1; next} {exit !($1 > before + .05)}' start run
	# the last round's answers have become likelier
	for s in start run; do
		rl-logprob -s $s.lmdb --as now right.jsonl | jq -s 'map(.now | add) | add'
	done | paste -sd' ' | awk '{exit !($2 > $1)}'
}

# A store whose tokenizer, of FILE, has the marks of ChatML, and conversations; then the recipe.
conversations() { # TOKENIZER
	rm -f run.lmdb*
	jq '.vocab_size = ($t[0] | [(.model.vocab[]), .added_tokens[].id] | max + 1) | .max_position_embeddings = 256' --slurpfile t "$1" "$testdata/tiny/config.json" >config.json
	rl-store init --config config.json --tokenizer "$1" --seed 1 run.lmdb
	jq -c '{id, messages: [{role: "system", content: "Be brief: <|im_end|> is no mark here."}, {role: "user", content: .query}, {role: "assistant", content: .target},
		{role: "user", content: "Sure?  It\u2019s\n\n odd."}, {role: "assistant", content: "\(.target), sure <|im_start|>"}]}' questions.jsonl >conversations.jsonl
	recipe "Supervised learning from conversations"
	[ "$(wc -l <tokens.jsonl)" -eq 24 ]
	jq -r .id tokens.jsonl | cmp - <(jq -r .id questions.jsonl)
	# put together by hand, the whole is the text of ChatML
	jq -c '.tokens = .prompt_tokens + .tokens' tokens.jsonl | rl-tokenize -s run.lmdb --decode --special | jq -c .text |
		cmp - <(jq -c '[.messages[] | "<|im_start|>\(.role)\n\(.content)<|im_end|>\n"] | add' conversations.jsonl)
	# its marks are ten ids, those in contents none; what is learned is what the assistant says, and its ends
	mark=$(echo '{"text":"<|im_start|><|im_end|>"}' | rl-tokenize -s run.lmdb | jq -c .tokens)
	jq -c --argjson mark "$mark" '[.prompt_tokens[], .tokens[] | select([.] | inside($mark))] | length' tokens.jsonl | sort -u | cmp - <(echo 10)
	jq -c --argjson mark "$mark" '[range(.tokens | length) as $i | select(.mask[$i] == 1 and .tokens[$i] == $mark[1])] | length' tokens.jsonl | sort -u | cmp - <(echo 2)
	jq -c '.mask as $m | .tokens |= [range(length) as $i | select($m[$i] == 1) | .[$i]]' tokens.jsonl | rl-tokenize -s run.lmdb --decode --special | jq -c .text |
		cmp - <(jq -c '[.messages[] | select(.role == "assistant") | "\(.content)<|im_end|>"] | add' conversations.jsonl)
	# and without such words in it, the ids are those of the whole text at once
	jq -c '.messages |= map(.content |= gsub("<[|]im_[a-z]*[|]>"; "it"))' conversations.jsonl >plain
	jq -c -f chatml.jq plain | rl-tokenize -s run.lmdb | rl-group --by .doc | jq -c '[.items[].tokens[]]' |
		cmp - <(jq -c '{text: ([.messages[] | "<|im_start|>\(.role)\n\(.content)<|im_end|>\n"] | add)}' plain | rl-tokenize -s run.lmdb | jq -c .tokens)
	# the first loss is of these tokens alone
	rl-store init --config config.json --tokenizer "$1" --seed 1 fresh.lmdb
	jq -sc 'length' sft.jsonl | cmp - <(echo 5)
	rl-sft-step -s fresh.lmdb --batch-size 24 --lr 0 tokens.jsonl | jq .loss >got
	rl-logprob -s fresh.lmdb --as lp tokens.jsonl | jq -s '[.[] | .mask as $m | .lp | to_entries[] | select($m[.key] == 1).value] | -add / length' |
		paste - got | awk '{d = $1 - $2; exit !(d < 1e-5 && d > -1e-5)}'
}

@test "rl-recipes: supervised learning from conversations" {
	jq -c '{text: (.query + "\nuser assistant system Sure? " + .target)}' questions.jsonl |
		rl-tokenize --train --vocab-size 280 --special-token '<|end|>' --special-token '<|im_start|>' --special-token '<|im_end|>' >chat.json
	conversations chat.json
}

@test "rl-recipes: supervised learning from conversations, with GPT-2's tokenizer" {
	shared gpt2 data/tokenizers/gpt2
	jq -nc --slurpfile vocab "$gpt2/encoder.json" --rawfile merges "$gpt2/vocab.bpe" '{version: "1.0", truncation: null, padding: null, normalizer: null, post_processor: null,
		added_tokens: [(["<|endoftext|>", 50256], ["<|im_start|>", 50257], ["<|im_end|>", 50258]) |
			{id: .[1], content: .[0], single_word: false, lstrip: false, rstrip: false, normalized: false, special: true}],
		pre_tokenizer: {type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true}, decoder: {type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true},
		model: {type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: "", end_of_word_suffix: "", fuse_unk: false, vocab: $vocab[0],
			merges: [$merges | split("\n")[1:][] | select(. != "")]}}' >chat.json
	conversations chat.json
}

@test "rl-recipes: a formula as the reward" {
	recipe "A formula as the reward"
	scores '(if .completion == .target then 1 else 0 end) - (.tokens | length) / 100' 1
}

@test "rl-recipes: rank among the answers to one question as the reward" {
	recipe "Rank among the answers to one question as the reward"
	scores .reward 3
	[ "$(wc -l <groups.jsonl)" -eq 24 ]
	# sorted another way: the place of the first of its equals
	jq -s 'group_by(.id) | all(map(.score) as $s | ($s | sort) as $o | length == 8 and all(.score as $x | (.reward * 7 + 0.5 | floor) == ($o | index($x))))' rollouts.jsonl | grep -qx true
	[ "$(jq .reward rollouts.jsonl | sort -u | wc -l)" -gt 2 ]
}

@test "rl-recipes: leaving out questions that teach nothing" {
	recipe "Leaving out questions that teach nothing"
	scores "$right" 3
	[ "$(wc -l <rollouts.jsonl)" -eq 192 ]
	jq -s "group_by(.id) | map([(map($right) | unique | length), (map(.skip // \"\") | unique)]) | unique" -c rollouts.jsonl >kinds
	[ "$(cat kinds)" = '[[1,["all alike"]],[2,[""]]]' ]
	[ "$(jq -s 'map(.skipped) | add' metrics.jsonl)" -eq "$(grep -c '"skip"' rollouts.jsonl)" ]
}

@test "rl-recipes: another model as the judge" {
	# one that has learned to say yes where the answer is yes
	jq -c '.query as $q | ("yes", "no") as $a | {prompt: "\($q)\n\($a)\nis this right?", completion: $a}' questions.jsonl >judgements
	cp run.lmdb judge.lmdb
	rl-sft-step -s judge.lmdb --run judge --epochs 6 --batch-size 8 --lr 1e-2 --checkpoint-every 100 judgements >/dev/null
	recipe "Another model as the judge"
	scores '(if .verdict.completion[:3] == "yes" then 1 else 0 end)' 1
	jq -s 'map(select(.completion == ("yes", "no"))) | length > 20 and all((.verdict.completion == "yes") == (.completion == "yes"))' rollouts.jsonl | grep -qx true
	jq -se 'all(.verdict.policy_version == 2 and .policy_version == 1 and .verdict.prompt == "\(.query)\n\(.completion)\nis this right?")' rollouts.jsonl
}

@test "rl-recipes: a judge behind a web address" {
	mkdir bin
	# the service: 8 for yes, something that is no grade for all else; it writes down what it was asked
	cat >bin/curl <<-'END'
		#!/bin/sh
		request=$(cat)
		for url; do :; done
		printf '%s %s\n' "$url" "$request" >>"$ASKED"
		case $request in
		*'\nyes\nA grade'*) echo '{"choices":[{"message":{"content":"8"}}]}' ;;
		*'\nno\nA grade'*) echo '{"choices":[{"message":{"content":"a five, I think"}}]}' ;;
		esac
	END
	chmod +x bin/curl
	PATH=$PWD/bin:$PATH ASKED=$PWD/asked JUDGE_URL=http://judge.test/v1 recipe "A judge behind a web address"
	jq -se 'all(.reward_judge == (if .completion == "yes" then 0.8 else null end)) and (map(.reward_judge) | unique | length == 2)' rollouts.jsonl
	[ "$(wc -l <asked)" -eq 24 ]
	[ "$(grep -c '^http://judge.test/v1 {"model":"judge"' asked)" -eq 24 ]
	[ "$(jq .rows metrics.jsonl)" -eq "$(jq -s 'map(select(.reward_judge)) | length' rollouts.jsonl)" ]
}

@test "rl-recipes: margins" {
	# 4 documents of 3 segments, and one of 6: no document lies in two batches
	jq -nc 'def text: [range(.) | "\(.) is less than \(. + 2), and not more than it is."] | join(" "); range(5) | {id: "d\(.)", text: ((if . == 4 then 6 else 3 end) | text), query: "is \(.) more than 2?", target: (if . > 2 then "yes" else "no" end)}' >documents.jsonl
	recipe "Margins"
	scores .reward_answer 2
	[ "$(jq -c '[.id, .of, (.items | length)]' groups.jsonl | sort | paste -sd' ')" = '["d0",3,3] ["d1",3,3] ["d2",3,3] ["d3",3,3] ["d4",6,6]' ]
	# margins are of the segment, the answer is of the margins, the reward of the answer
	jq -se 'all(.items[] |= (.prompt == .text + "\n" + .query) | .items | all)' groups.jsonl
	jq -se 'all(.answer.prompt == ([.items[].completion, .items[0].query] | join("\n")))' groups.jsonl
	jq -c '. as $g | {completion: .answer.completion, references: .items[0].target, reward_answer}' groups.jsonl |
		rl-reward-overlap -m squad_f1 | jq -se 'all(.reward_overlap == .reward_answer)'
	jq -c '.doc, .reward_answer' rollouts.jsonl | paste - - | sort -u | cmp - <(jq -c '.id, .reward_answer' groups.jsonl | paste - - | sort)
	[ "$(jq -s 'map(.rows) | add' metrics.jsonl)" -eq 18 ]
	jq -se 'all(.answer.policy_version == .items[0].policy_version)' groups.jsonl
	[ "$(jq .answer.policy_version groups.jsonl | sort -u | paste -sd' ')" = "1 2" ]
}

@test "rl-recipes: advice from a model that is not trained" {
	cp run.lmdb base.lmdb
	recipe "Advice from a model that is not trained"
	scores "$right" 1
	jq -se 'length == 24 and all(.prompt == "\(.query)\n\(.advice.completion)\n" and .advice.prompt == .query)' rollouts.jsonl
	jq -c .advice rollouts.jsonl | cmp - <(rl-generate -s base.lmdb --as advice --max-tokens 4 questions.jsonl | jq -c .advice)
}

@test "rl-recipes: held-out questions before and after" {
	head -n 10 questions.jsonl >heldout.jsonl
	recipe "Held-out questions before and after"
	rl-generate -s "$BATS_FILE_TMPDIR/start.lmdb" --temperature 0 heldout.jsonl | cmp - before.jsonl
	jq -se 'length == 10 and all(.policy_version == 9)' after.jsonl
	for f in before after; do
		jq -s "map(if (.completion | gsub(\"^\\\\s+|\\\\s+$\"; \"\")) == .target then 1 else 0 end) | add / length" $f.jsonl
	done | paste -sd' ' >want
	jq -r '"\(.base) \(.system)"' compared.jsonl | cmp - want
	awk '{exit !($2 > $1)}' want
}
