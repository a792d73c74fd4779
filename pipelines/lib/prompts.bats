#!/usr/bin/env bats
# The prompts, against the templates and descriptions of the projects that they are of.
load ../../tools/common
root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)

setup() { cd "$BATS_TEST_TMPDIR"; }
prompt() { jq -nj -L "$root/pipelines/lib" "include \"prompts\"; $1" "${@:2}"; }
# quoted TEXT: the page that describes the projects has it, its lines being joined
quoted() { tr -s '\n ' '  ' <"$page" | grep -cF -- "$1" >/dev/null || { echo "the page has no '$1'"; return 1; }; }

@test "prompts: slots are filled once" {
	[ "$(prompt '"a {x} {y}{x} {z {x" | fill({x: "{y}", y: ""})')" = 'a {y} {y} {z {x' ]
	[ "$(prompt '"}{{x}}{}{" | fill({x: "1", "": "-"})')" = '}{1}-{' ]
	[ "$(prompt '"" | fill({})' | wc -c)" -eq 0 ]
}

@test "prompts: the templates of Writing in the Margins, filled and put together" {
	shared templates data/longqa/babilong/templates
	local t
	# what sed makes of the files
	for t in system_message extractive_summary classification final_answer; do
		sed 's/{user_header}/<U>/g; s/{generation_header}/<G>/g; s/{query}/Where is Sandra?/g; s/{answer}/A note./g; s/{margins}/One.Two./g' \
			"$templates/$t.txt" >"$t"
	done
	files="--rawfile s $templates/system_message.txt --rawfile e $templates/extractive_summary.txt
		--rawfile c $templates/classification.txt --rawfile f $templates/final_answer.txt"
	of='{system_message: $s, extractive_summary: $e, classification: $c, final_answer: $f} as $t | {user_header: "<U>", generation_header: "<G>"} as $h | '
	# shellcheck disable=SC2086
	{
		prompt "$of {question: \"Where is Sandra?\", text: \"A text.\\n\"} | margin_prompt(\$t; \$h)" $files | cmp - <(cat system_message; echo 'A text.'; cat extractive_summary)
		prompt "$of {query: \"Where is Sandra?\", completion: \"A note.\"} | margin_check_prompt(\$t; \$h)" $files | cmp - classification
		prompt "$of {query: \"Where is Sandra?\", context: \"A text.\", margins: [\"One.\", \"Two.\"]} | margin_answer_prompt(\$t; \$h)" $files |
			cmp - <(cat system_message; printf 'A text.'; cat final_answer)
	}
	# without notes, from the text alone
	[ "$(prompt '{query: "Q?", context: "C"} | margin_answer_prompt({system_message: "", final_answer: "[{margins}]{query}"}; {})')" = 'C[]Q?' ]
	# ours have the same slots, and what stands around them where a parser or the fence depends on it
	for t in system_message extractive_summary classification final_answer; do
		prompt "margin_templates.$t" >ours
		diff <(grep -o '{[a-z_]*}' ours) <(grep -o '{[a-z_]*}' "$templates/$t.txt")
		cmp <(head -c 3 ours) <(head -c 3 "$templates/$t.txt")
	done
	[ "$(prompt 'margin_templates.system_message')" = "$(cat "$templates/system_message.txt")" ]
	[ "$(prompt 'margin_templates.final_answer')" = "$(cat "$templates/final_answer.txt")" ]
}

@test "prompts: the answers that the templates show are read by margins.jq" {
	[ "$(prompt 'include "margins"; margin_templates.classification | split("\n")[] | select(test("^(YES|NO)#")) | is_relevant')" = truefalse ]
	[ "$(prompt 'include "margins"; "8", "Rating: 8" | quality_score')" = 0.80.8 ]
	[[ $(prompt '{question: "Q?", completion: "N."} | margin_judge_prompt') == $'Query: Q?\nMargin: N.\n\nFrom 0 to 10'* ]]
}

@test "prompts: chat headers are those of the models, and special tokens of their tokenizers" {
	shared page reference/source-projects.md
	local name header
	for name in llama3 phi3 chatml; do
		for header in user_header generation_header; do
			quoted "\`$(prompt "chat_headers.$name.$header | tojson | .[1:-1]")\`"
		done
	done
	shared tokenizer data/tokenizers/phi3-llama2-hf/tokenizer.json
	prompt 'chat_headers.phi3 | {text: .user_header}, {text: .generation_header} | tojson + "\n"' | rl-tokenize -q --tokenizer "$tokenizer" |
		jq -c .tokens >ids
	for name in user end assistant; do
		id=$(jq --arg t "<|$name|>" '.added_tokens[] | select(.content == $t).id' "$tokenizer")
		grep -qE "[[,]$id[],]" ids
	done
}

@test "prompts: what the sources quote" {
	shared page reference/source-projects.md
	# four parts of a question: the strings that the page quotes, line by line
	prompt '{pico: {P: "P", I: "I", C: "C", O: "O"}} | pico_prompt' >pico
	diff <(tr -s '\n ' '  ' <"$page" | grep -o 'Prompt: "Create[^(]*' | grep -o '"[^"]*"' | tr -d '"') <(grep . pico)
	[ "$(awk '!/./ {printf "%s ", NR}' pico)" = "2 7 " ]
	# rounds
	quoted '" Query: ", " Key: ", " Value: " (leading and trailing space'
	[ "$(prompt '{rounds: [{query: "q", key: "k", value: "v"}, {query: "r", key: "l", value: "w"}]} | attention_rounds')" = \
		' Query: q Key: k Value: v Query: r Key: l Value: w' ]
	prompt '{rounds: [], query: "r", key: "l"} | attention_query_prompt, "|", attention_value_prompt' >rounds
	[[ $(cat rounds) == *'all rounds.  Query: |'*'all rounds.  Query: r Key: l Value: ' ]]
	# films
	quoted "\"$(prompt '{movie_name: "X", entities: ["a", "b"], relations: [["e...", "r"]], first_sentence: "..."} | film_prompt("<eos>")')\""
	[ "$(prompt '{movie_name: "Jaws", entities: null, first_sentence: "It bites."} | film_prompt("|")')" = 'Movie Name: Jaws|First Sentence: It bites.' ]
	quoted "\"$(prompt '{context: ["{c}"], completion: "{r}"} | critic_prompt')\""
	[ "$(prompt '{context: ["Hi", "Hello"]} | turns_prompt("<|endoftext|>")')" = 'Hi<|endoftext|>Hello<|endoftext|>' ]
	# BABILong
	quoted "$(prompt '{context: "{context}", question: "{question}"} | babilong_prompt("" ; ""; "") | tojson | .[1:-1]')"
	for t in qa1 qa2 qa3; do
		prompt "{task: \"$t\", context: \"C\", question: \"Q?\"} | babilong_prompt" >"$t"
		[[ $(cat "$t") == *$'\n\n<context>\nC\n</context>\n\nQuestion: Q?' ]]
		quoted "$(sed -n 's/^Always answer in this form: //p' "$t")"
	done
	run prompt '{task: "qa9"} | babilong_prompt'
	[ "$status" -eq 5 ]
	[[ $output == *"no prompt for task 'qa9'"* ]]
}

@test "prompts: the form of BABILong's answers is right by BABILong's rule" {
	prompt '{task: "qa1", context: "", question: ""} | babilong_prompt' | sed -n 's/^Answer: //p' | sed -n 1p |
		sed "s/Julie/Sandra/; s/attic/office/" >answer
	jq -c -R '{id: "1", task: "qa1", question: "Where is Sandra?", target: "office", completion: .}' answer | rl-eval -q --json -m @babilong | holds '.mean == 1'
}

@test "prompts: what a rewriting is asked for is what queries.jq reads" {
	[[ $(prompt '{query: "Q?"} | rewrite_prompt') == *$'\n\nQuestion: Q?\nAssistant:' ]]
	prompt '{query: "Q?"} | rewrite_prompt | split("\n")[0] | [scan("<[a-z/]+>")] | join(" ")' >marks
	[ "$(cat marks)" = '<think> </think> <answer> </answer>' ]
	prompt 'include "queries"; {query: "Q?"} | rewrite_prompt | ([scan("<[a-z/]+>")] | join("")) as $marks | scan("[{].*[}]") as $json
		| ($marks | sub("<answer>"; "<answer>" + $json)) | answer_format, " ", answer_query' >read
	[ "$(cat read)" = 'true ...' ]
}

@test "prompts: beginnings of texts have 2 to 7 tokens, the same each time" {
	shared reviews data/sentiment/rt-polarity/rt-polarity.pos
	shared tokenizer data/tokenizers/phi2-codegen/tokenizer.json
	head -n 600 "$reviews" | jq -nRc -L "$root/pipelines/lib" 'include "shapes"; texts' | rl-tokenize -q --tokenizer "$tokenizer" |
		tee texts | jq -c -L "$root/pipelines/lib" 'include "prompts"; .tokens = beginning(1; 2; 7)' >begun
	[ "$(jq '.tokens | length' begun | sort -u | paste -sd,)" = 2,3,4,5,6,7 ]
	jq '.tokens | length' begun | sort | uniq -c | awk '$1 < 70 || $1 > 130 {exit 1}' # 100 of each are expected
	jq -c '.text = null' begun | jq -c 'del(.text)' | rl-tokenize -q --decode --tokenizer "$tokenizer" | jq -c .text | paste -d' ' - <(jq -c .text texts) |
		holds -s '[range(0; length; 2) as $i | .[$i] as $a | .[$i + 1] | startswith($a)] | all'
	jq -c -L "$root/pipelines/lib" 'include "prompts"; .tokens = beginning(1; 2; 7)' texts | cmp - begun
	jq -c -L "$root/pipelines/lib" 'include "prompts"; .tokens = beginning(2; 2; 7)' texts | cmp -s - begun && return 1
	true
}

@test "prompts: draws are spread evenly, and differ by seed and by key" {
	# over 20 parts, chi-squared of 19 degrees of freedom: above 43.8 in 1 of 1,000
	for what in 'draw(1; .; 20)' 'draw(.; "x"; 20)' 'draw(1; "s/\(.)/3"; 20)'; do
		jq -n -L "$root/pipelines/lib" "include \"draw\"; range(20000) | $what" | sort -n | uniq -c |
			awk '{n++; x += ($1 - 1000)^2 / 1000} END {print n, x; exit n != 20 || x > 43.8}'
	done
	holds -n -L "$root/pipelines/lib" 'include "draw"; [range(10000) | draw(1; .), draw(2; .)] | (unique | length) > 19980 and min >= 0 and max < 1' # 6 collisions among 2^26 are expected
	[ "$(jq -n -L "$root/pipelines/lib" 'include "draw"; [draw(1; 12), draw(11; 2)] | unique | length')" -eq 2 ]
}

@test "prompts: the examples of the modules" {
	example() { sed -n '/^#   /p' "$root/pipelines/lib/$1.jq" | sed "s/^#   //; s|pipelines/lib|$root/pipelines/lib|"; }
	echo '{"id":"a","context":"C","question":"Q?"}' >samples.jsonl
	eval "$(example prompts | sed 's/| rl-generate.*//')" | holds '.prompt | endswith("Question: Q?")'
	jq -nc 'range(1000) | {id: "\(.)"}' | { eval "$(example draw)" || true; } | jq -r .split | sort | uniq -c | awk '{print $2, $1}' >split
	awk '$1 == "train" && $2 > 850 && $2 < 950 {good = 1} END {exit !good}' split
}
