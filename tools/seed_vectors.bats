#!/usr/bin/env bats
# The formulas of the projects that this one began with (../shared/golden/score/seed_vectors.json), by name: each is
# tested here, or the table says where it is tested or why it is not offered.
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	shared vectors golden/score/seed_vectors.json
}
# cases NAME: one JSON per line
cases() { jq -ce --arg name "$1" '.vectors[] | select(.name == $name).cases[]' "$vectors"; }
# near EXPECTED GOT: numbers at all depths, within 1e-6 (arrays of records are float32)
near() {
	jq -ne --argjson a "$1" --argjson b "$2" '
		[$a, $b] | map([.. | numbers]) | transpose | length > 0 and all(.[0] != null and .[1] != null and (.[0] - .[1] | fabs) < 1e-6)' >/dev/null ||
		{ echo "expected $1, got $2"; return 1; }
}

# here: tested below.  C: tested on these numbers, or on what other implementations compute, in a unit test.  no: not offered.
table() {
	cat <<-'END'
		chunk V0|no|a defect of its source: it drops sentences
		chunk V1 and V2|here|V2
		chunk V1, long first sentence|no|a defect of its source: an empty segment
		chunk, more cases|here|
		nDCG@4 and MRR|here|
		one relevant item|here|
		GAE, gamma 1.0|here|
		GAE, gamma 0.99|here|
		whitening|here|
		token rewards|here|
		KL estimators|C|advantage_test, against other implementations
		adaptive KL controller|C|kl_control_test, on these numbers
		adaptive KL controller, 616 low steps|C|kl_control_test, on these numbers
		PPO, first minibatch|C|policy_loss_test, against other implementations
		PPO, later minibatch|C|policy_loss_test, against other implementations
		clipped value loss|C|policy_loss_test, against other implementations
		RLSF feedback vector|here|of a probability, as documented; of a signed logit it rewards what it should not
		top-p|C|generate_test
		margin reward A, 25 words|here|
		margin reward A, 200 words|here|
		margin reward A, 5 words|here|
		margin reward B|here|
		margin reward C|here|
		classifier parse|here|
		quality score parse of reward A|here|
		margin cleaning|here|
		format bonus|here|
		recall tiers|here|
		answer rank tiers|here|
		answer in passage|here|
		dialogue reward as documented|here|
		dialogue reward as trained|here|
		BABILong accuracy|here|
		running statistics|here|and in C, reward_mix_test, with a state that no values have
		percentile filter as coded|no|a defect of its source: it keeps nine of ten, not the best tenth
		percentile filter as intended|here|
		Boolean expansion|here|but for one whose source had the precedence of AND and OR wrong
		BLEU of single orders|here|
		BLEU-4, nltk method0 and method1|here|
		key-value pairs|here|
		GRPO advantages|here|
		RLOO advantages|here|
	END
}

@test "seed vectors: every entry has its line in the table" {
	diff <(jq -r '.vectors[].name' "$vectors" | sort) <(table | cut -d'|' -f1 | sort)
	table | awk -F'|' '$2 == "here" {print $1}' | while read -r name; do
		grep -qF "@test \"seed vectors: $name" "$BATS_TEST_FILENAME" || { echo "no test of '$name'"; return 1; }
	done
}

# Sentences of as many words as the case says; the segments as numbers of sentences.
chunk() {
	cases "$1" | jq -c 'select(.input.counts | all(. > 0))' >chosen
	[ -s chosen ]
	while read -r case; do
		limit=$(jq .input.limit <<<"$case")
		jq -c '{id: "d", text: ([.input.counts | to_entries[] | "S\(.key + 1)" + (" w" * (.value - 1)) + "."] | join(" "))}' <<<"$case" |
			rl-chunk -q --max-words "$limit" | jq -c '[.text | match("S([0-9]+)"; "g").captures[0].string | tonumber]' | jq -sc . >got
		[ "$(jq -c '.expected' <<<"$case")" = "$(cat got)" ] || { echo "$case: $(cat got)"; return 1; }
	done <chosen
}
@test "seed vectors: chunk V1 and V2: V2" {
	# the source cuts nowhere inside a sentence; here one over the budget is split by words, so that case is left out
	cases "chunk V1 and V2" | jq -c '(.input.limit) as $l | select(.input.counts | all(. <= $l))' >fitting
	cases() { cat fitting; }
	chunk "chunk V1 and V2"
}
@test "seed vectors: chunk, more cases: those without a sentence over the budget" {
	cases "chunk, more cases" | jq -c '(.input.limit) as $l | select(.input.counts | length > 0 and all(. <= $l))' >fitting
	cases() { cat fitting; }
	chunk "chunk, more cases"
}

# corpus ID...: documents that rank in this order for the query "w"
corpus() {
	local i=0 id
	for id; do
		i=$((i + 1))
		jq -nc --arg id "$id" --argjson n $i '{id: $id, text: ("w" + (" filler" * $n))}'
	done | rl-index -q - x.lmdb
}
@test "seed vectors: nDCG@4 and MRR" {
	case=$(cases "nDCG@4 and MRR")
	mapfile -t ranked < <(jq -r '.input.ranked[]' <<<"$case")
	corpus "${ranked[@]}"
	jq -c '{query: "w", relevant_doc_ids: .input.relevant}' <<<"$case" >q
	[ "$(rl-reward-bm25 -q --query .query --hits 9 x.lmdb q | jq -c '.hits | map(.id)')" = "$(jq -c .input.ranked <<<"$case")" ]
	near "$(jq -c .expected <<<"$case")" \
		"[$(rl-reward-bm25 -q --query .query --metric ndcg@4 x.lmdb q | jq .reward_bm25), $(rl-reward-bm25 -q --query .query --metric mrr x.lmdb q | jq .reward_bm25)]"
}
@test "seed vectors: one relevant item" {
	corpus r1 r2 r3 r4 r5 r6 r7 r8 r9 r10 r11 r12
	cases "one relevant item" >all
	while read -r case; do
		jq -c '{query: "w", relevant_doc_ids: ["r\(.input.rank)"]}' <<<"$case" >q
		k=$(jq .input.k <<<"$case")
		got=$(for m in recall mrr ndcg; do rl-reward-bm25 -q --query .query --metric "$m@$k" x.lmdb q | jq .reward_bm25; done | jq -sc .)
		near "$(jq -c .expected <<<"$case")" "$got"
	done <all
}

@test "seed vectors: answer in passage" {
	cases "answer in passage" >all
	jq -sc '[.[].input.passage] | unique[] | {text: .}' all | rl-index -q --texts - x.lmdb
	rl-reward-bm25 -q --query .input.passage --answers .input.answer -m hit@1 x.lmdb all | jq -sce 'length > 9 and all(.expected == .reward_bm25)'
}

# gae NAME JQ FIELD OPTION...: a record made of each case by JQ, through rl-gae
gae() {
	cases "$1" >all
	while read -r case; do
		jq -c "{tokens: [range(.input.$4 | length)]} + ($2)" <<<"$case" >in
		eval "options=($(jq -r "$3" <<<"$case"))"
		near "$(jq -c .expected <<<"$case")" "$(rl-gae -q "${options[@]}" in | jq -c ".$5")"
	done <all
}
both='"--no-whiten --kl-coef 0 --gamma \(.input.gamma) --lam \(.input.lambda)"'
@test "seed vectors: GAE, gamma 1.0" { gae "GAE, gamma 1.0" '{reward: .input.rewards, values: .input.values}' "$both" rewards advantages; }
@test "seed vectors: GAE, gamma 0.99" { gae "GAE, gamma 0.99" '{reward: .input.rewards, values: .input.values}' "$both" rewards advantages; }
@test "seed vectors: whitening" {
	# without discount and values an advantage is its reward
	gae whitening '{reward: .input.advantages, values: (.input.advantages | map(0))}' '"--whiten --kl-coef 0 --gamma 0"' advantages advantages
}
@test "seed vectors: token rewards" {
	gae "token rewards" '{reward: .input.score, logprobs: (.input.d | map(. - 1)), ref_logprobs: (.input.d | map(-1)), values: (.input.d | map(0))}' \
		'"--no-whiten --kl-coef \(.input.beta)"' d rewards
}

# grouped NAME COMMAND: each case is a group of completions of one token
grouped() {
	cases "$1" >all
	while read -r case; do
		jq -c '.input.rewards[] | {id: "q", tokens: [0], reward: .}' <<<"$case" >in
		near "$(jq -c .expected <<<"$case")" "$($2 in | jq -sc 'map(.advantages[0])')"
	done <all
}
# the source divides by the deviation + 1e-6, as verl does, and compares a completion that is alone with 0
@test "seed vectors: GRPO advantages" { grouped "GRPO advantages" "rl-grpo -q --compat verl"; }
@test "seed vectors: RLOO advantages" { grouped "RLOO advantages" "rl-rloo -q --kl-coef 0"; }

# overlap NAME MEASURE...: the measures of each case's hyp and ref
overlap() {
	local name=$1 options=() m
	shift
	for m; do options+=(-m "$m"); done
	cases "$name" >all
	while read -r case; do
		near "$(jq -c .expected <<<"$case")" "$(rl-reward-overlap -q --text .input.hyp --refs .input.ref "${options[@]}" <<<"$case" | jq -c '[.overlap[]]')"
	done <all
}
@test "seed vectors: BLEU of single orders" { overlap "BLEU of single orders" bleu@1 bleu@2 bleu@3 bleu@4; }
@test "seed vectors: BLEU-4, nltk method0 and method1" { overlap "BLEU-4, nltk method0 and method1" nltk_bleu nltk_bleu:method=1; }

# formula NAME MODULE PROGRAM [TERMS]: of each case's input, through rl-reward-jq; TERMS of the record are what is expected
formula() {
	cases "$1" >all
	while read -r case; do
		near "$(jq -c .expected <<<"$case")" "$(rl-reward-jq -q -L "$root/pipelines/lib" x "include \"$2\"; .input | $3" <<<"$case" | jq -c "${4:-.reward_x}")"
	done <all
}
margin_a='. as $i | "w " * .words | margin_a($i.score; $i.relevant)'
# the source had the facts as one string, and took its characters for them
margin_() { formula "margin reward $1" margins '. as $i | .margin | '"$2"'($i.query; $i.facts | if type == "string" then . / "" else . end)'; }
@test "seed vectors: margin reward A, 25 words" { formula "margin reward A, 25 words" margins "$margin_a"; }
@test "seed vectors: margin reward A, 200 words" { formula "margin reward A, 200 words" margins "$margin_a"; }
@test "seed vectors: margin reward A, 5 words" { formula "margin reward A, 5 words" margins "$margin_a"; }
@test "seed vectors: margin reward B" { margin_ B margin_b; }
@test "seed vectors: margin reward C" { margin_ C margin_c; }
@test "seed vectors: classifier parse" { formula "classifier parse" margins "is_relevant | if . then 1 else 0 end"; }
@test "seed vectors: quality score parse of reward A" { formula "quality score parse of reward A" margins quality_score; }
@test "seed vectors: margin cleaning" {
	cases "margin cleaning" >all
	rl-reward-jq -q -L "$root/pipelines/lib" x 'include "margins"; {reward: 0, text: (.input | clean_margin)}' all |
		jq -sce 'length > 3 and all(.expected == .x.text)'
}
@test "seed vectors: format bonus" { formula "format bonus" queries boolean_format; }
@test "seed vectors: recall tiers" { formula "recall tiers" queries recall_tier; }
@test "seed vectors: answer rank tiers" { formula "answer rank tiers" queries rank_tier; }
@test "seed vectors: Boolean expansion" {
	# (a AND b) OR c: the source has a AND b, a AND c; it is a AND b, c
	cases "Boolean expansion" | jq -c 'if .input == "(a AND b) OR c" then .expected = ["a AND b", "c"] else . end' >all
	rl-reward-jq -q -L "$root/pipelines/lib" x 'include "queries"; {reward: 0, queries: (.input | boolean_expand)}' all |
		jq -sce 'length > 5 and all(.expected == .x.queries)'
}
@test "seed vectors: dialogue reward as documented" {
	local m=()
	for i in 1 2 3 4; do m+=(-m "bleu@$i" -m "distinct_$i"); done
	cases() {
		jq -ce --arg name "$1" '.vectors[] | select(.name == $name).cases[]' "$vectors" |
			rl-reward-overlap -q --text .input.response --refs .input.target --as bleu "${m[@]}" | jq -c '.input.overlap = .overlap'
	}
	formula "dialogue reward as documented" dialogue '. as $i | .response | dialogue($i.overlap; $i.label)' \
		'[.x.reward, (.x | .bleu, .distinct, .empathy, .recommendation, .flaws)]'
}
@test "seed vectors: dialogue reward as trained" {
	formula "dialogue reward as trained" dialogue '. as $i | .response | dialogue_rule($i.context)'
}
@test "seed vectors: BABILong accuracy" {
	cases "BABILong accuracy" >all
	jq -c '.input' all | rl-eval -q --json -m @babilong --text .output --group-by '"\(.output) \(.target)"' >got
	[ "$(jq -c 'select(.group != "all") | [.group, .mean]' got | sort)" = "$(jq -c '["\(.input.output) \(.input.target)", .expected]' all | sort)" ]
	[ "$(wc -l <got)" -eq "$(($(wc -l <all) + 1))" ]
}
@test "seed vectors: RLSF feedback vector: of probabilities" {
	cases "RLSF feedback vector" | jq -c 'select(.input.s | . > 0 and . < 1)' >all
	[ "$(wc -l <all)" -ge 2 ]
	while read -r case; do
		# a classifier that gives every text this probability
		jq -c '{format: "rlpipe bag of words", version: 1, features: 0, bias: (.input.s | log - (1 - . | log))}, {end: 0}' <<<"$case" >model
		jq -c '{completion: ("w " * .input.n), ends: [range(.input.n) | 2 * . + 2]}' <<<"$case" >in
		near "$(jq -c .expected <<<"$case")" "$(rl-reward-sentiment -q --classifier model --mode strength in | jq -c .reward_sentiment)"
	done <all
}

@test "seed vectors: key-value pairs: their places; how many fit a context is the user's --pairs" {
	# one token a byte
	rl-tokenize -q --train --vocab-size 257 >bytes.json <<<'{"text":"abc"}'
	cases "key-value pairs" | while read -r case; do
		n=$(jq .expected.pairs <<<"$case")
		jq -nc --argjson n "$n" '{id: "d", text: ("abcdefgh" * 10 * $n)}' >doc
		rl-chunk -q --tokenizer bytes.json --keys "$(jq .input.key <<<"$case")" --values "$(jq .input.value <<<"$case")" --pairs "$n" doc >pairs
		[ "$(wc -l <pairs)" -eq "$n" ]
		[ "$(jq -sc '.[:3] | map([.start, .start + (.key_tokens | length), .end])' pairs)" = "$(jq -c .expected.first <<<"$case")" ]
	done
}
@test "seed vectors: running statistics: from states that values can have" {
	# the first state is none; the second, one value whose deviation is 1, is no state of values
	cases "running statistics" | jq -c 'select(.input.state[0] % 2 == 0)' >all
	[ "$(wc -l <all)" -eq 2 ]
	while read -r case; do
		# as many values as the state says, half of them mean - std, half mean + std, then the batch
		jq -c '.input as {state: [$n, $mean, $std], $batch} | (range($n) | $mean + $std * (. % 2 * 2 - 1) | {batch: 0, reward_x: .}), ($batch[] | {batch: 1, reward_x: .})' <<<"$case" >in
		got=$(rl-reward-mix -q -w x=1 --normalize x <(jq -c 'del(.batch)' in) | jq -c '.state_mix.seen.x // empty | [.n, .mean, if .n > 1 then .m2 / .n | sqrt else 1 end]')
		near "$(jq -c .expected <<<"$case")" "$got"
	done <all
}
@test "seed vectors: percentile filter as intended" {
	cases "percentile filter as intended" >all
	[ "$(wc -l <all)" -eq 3 ]
	while read -r case; do
		got=$(jq -c '.input.rewards | to_entries[] | {at: .key, reward_x: .value}' <<<"$case" |
			rl-reward-mix -q -w x=1 --percentile "$(jq .input.p <<<"$case")" | jq -c 'select(.skip == null) | .at' | jq -sc .)
		[ "$got" = "$(jq -c .expected <<<"$case")" ] || { echo "$case: $got"; return 1; }
	done <all
}
