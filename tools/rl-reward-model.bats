#!/usr/bin/env bats
# rl-reward-model: scores of transformers; texts and ids; in a loop.  Training: rl-rm-step.bats.
load common
load golden

setup_file() {
	cd "$BATS_FILE_TMPDIR"
	rl-tokenize -q --train --vocab-size 300 <"$testdata/contract/texts.jsonl" >tokenizer.json
	jq '.vocab_size = 300' "$testdata/tiny/config.json" >config.json
	rl-store init -q --config config.json --tokenizer tokenizer.json --seed 1 run.lmdb
	jq -c '{prompt: "say: ", chosen: .text[0:20], rejected: .text[20:31]}' "$testdata/contract/texts.jsonl" >pairs.jsonl
	rl-rm-step -q -s run.lmdb --batch-size 4 --lr 1e-2 --epochs 3 pairs.jsonl >/dev/null
	jq -c '{id: "q\(input_line_number)", prompt: .text[0:9]}' "$testdata/contract/texts.jsonl" >prompts.jsonl
	rl-generate -q -s run.lmdb:policy -n 4 --max-tokens 40 prompts.jsonl >rollouts.jsonl
}
setup() {
	cd "$BATS_TEST_TMPDIR"
	cp "$BATS_FILE_TMPDIR"/{run.lmdb,pairs.jsonl,prompts.jsonl,rollouts.jsonl,tokenizer.json} .
	export RL_STORE=run.lmdb
}
reward() { rl-reward-model -q "$@"; }

# The golden case as a model for sequence classification: its backbone with the critic's head.
classifier() { # CASE DIRECTORY
	mkdir "$2"
	jq '.architectures[0] |= sub("ForCausalLM|LMHeadModel"; "ForSequenceClassification")' "$1/model/config.json" >"$2/config.json"
	python3 - "$1/model/model.safetensors" "$1/golden.safetensors" "$2/model.safetensors" <<'PY'
import json, struct, sys
def load(path):
    data = open(path, 'rb').read()
    n = struct.unpack('<Q', data[:8])[0]
    head = json.loads(data[8:8 + n])
    head.pop('__metadata__', None)
    return {k: (v, data[8 + n + v['data_offsets'][0]:8 + n + v['data_offsets'][1]]) for k, v in head.items()}
model, golden = load(sys.argv[1]), load(sys.argv[2])
model.pop('lm_head.weight', None)
model['score.weight'] = golden['critic.score.weight']
head, body = {}, b''
for name, (about, data) in model.items():
    head[name] = dict(about, data_offsets=[len(body), len(body) + len(data)])
    body += data
head = json.dumps(head).encode()
head += b' ' * (-len(head) % 8)
open(sys.argv[3], 'wb').write(struct.pack('<Q', len(head)) + head + body)
PY
}
integers() { # FILE NAME
	local head
	head=$(od -An -tu8 -N8 "$1" | tr -d ' ')
	# shellcheck disable=SC2046
	set -- "$1" "$head" $(tail -c +9 "$1" | head -c "$head" | jq -r --arg name "$2" '.[$name].data_offsets[]')
	od -An -v -w8 -td8 -j $((8 + $2 + $3)) -N $(($4 - $3)) "$1"
}
scored() { # CASE
	local dir
	shared dir golden/models
	dir=$dir/$1
	classifier "$dir" hf
	rl-store import -q "$dir/model" g.lmdb
	rl-store import -q hf g.lmdb:reward
	# every beginning of every sequence, cut in two somewhere
	jq -nc --slurpfile t <(integers "$dir/golden.safetensors" tokens) --slurpfile n <(integers "$dir/golden.safetensors" lengths) '
		[foreach $n[] as $n (0; . + $n; [. - $n, $n])][] as [$at, $n] | range(1; $n + 1) as $len |
		{prompt_tokens: $t[$at : $at + ($len + 1) / 2 | floor], tokens: $t[$at + (($len + 1) / 2 | floor) : $at + $len]}' >records
	reward -s g.lmdb records >got
	near 1e-5 0 <(tensor "$dir/golden.safetensors" critic.values) <(jq .reward_model got)
}

@test "rl-reward-model: the scores of transformers, gpt2" { scored gpt2; }
@test "rl-reward-model: the scores of transformers, llama" { scored llama; }

@test "rl-reward-model: texts are the ids of the tokenizer, ended by EOS; --text; ids as they are" {
	reward rollouts.jsonl >got
	is_prefix rollouts.jsonl got
	[ "$(jq -c '[keys_unsorted[-1], (.reward_model | type)]' got | sort -u)" = '["reward_model","number"]' ]
	[ "$(jq .reward_model got | sort -u | wc -l)" -gt 10 ]
	jq -c '{prompt, completion: .chosen}' pairs.jsonl >answers
	reward answers | jq .reward_model >want
	ids() { jq -c "{text: $1}" answers | rl-tokenize -q --tokenizer tokenizer.json | jq -c .tokens; }
	paste -d' ' <(ids .prompt) <(ids .completion) | jq -sc 'range(0; length; 2) as $i | {prompt_tokens: .[$i], tokens: (.[$i + 1] + [0])}' >as_ids
	reward as_ids | jq .reward_model | cmp want -
	reward --text '[.prompt, .completion]' answers | jq .reward_model | cmp want -
	reward --text '[.prompt_tokens, .tokens]' as_ids | jq .reward_model | cmp want -
	! reward --no-append-eos answers | jq .reward_model | cmp -s want - || false
	reward --no-append-eos answers | jq .reward_model >without
	jq -c '.tokens |= .[:-1]' as_ids | reward | jq .reward_model | cmp without -
	jq -c '.tokens |= .[:-1]' as_ids | reward --text '[.prompt_tokens, .tokens]' --as other | jq .other | cmp want -
}

@test "rl-reward-model: the same bytes for any batch, threads, instruction set, and one by one" {
	reward rollouts.jsonl >want
	reward -j 3 --isa plain rollouts.jsonl | cmp want -
	while IFS= read -r line; do reward <<<"$line"; done <rollouts.jsonl | cmp want -
	tac rollouts.jsonl | reward | tac | cmp want -
}

@test "rl-reward-model: in a loop, the policy learns what the model rewards" {
	rl-generate -q -s run.lmdb --max-tokens 16 -n 8 --batch-size 40 --seed 3 --steps 12 prompts.jsonl | reward |
		rl-ppo-step -q -s run.lmdb --lr 5e-3 >metrics
	holds -s '(.[-3:] | map(."objective/scores") | add) > (.[:3] | map(."objective/scores") | add)' metrics
}

@test "rl-reward-model: what is too long has another reward, is counted, and the first is told of" {
	{ head -n 1 rollouts.jsonl; jq -nc '{prompt_tokens: [1], tokens: [range(64)]}'; tail -n 1 rollouts.jsonl; jq -nc '{prompt_tokens: [1], tokens: [range(70)]}'; } >some
	rl-reward-model --otherwise -2.5 some >got 2>err
	[ "$(jq -c '.reward_model == -2.5' got | paste -sd,)" = false,true,false,true ]
	grep -q "some:2: 65 tokens do not fit the context of 64; its reward is -2.5" err
	grep -q "2 without a score" err
	[ "$(wc -l <err)" -eq 2 ]
	reward some 2>/dev/null | jq -c .reward_model | sed -n '2p;4p' | paste -sd, | grep -qx 0,0
}

@test "rl-reward-model: what is wrong is said in one line" {
	fails_with 2 "no store" env -u RL_STORE rl-reward-model
	fails_with 1 "policy@0 has no head for scores, 'score.weight': rl-rm-step makes one" reward -s run.lmdb:policy rollouts.jsonl
	fails_with 1 "no 'nothing'" reward -s run.lmdb:nothing rollouts.jsonl
	fails_with 1 "rollouts.jsonl:1: 'id'" reward --as id rollouts.jsonl
	fails_with 1 ":1: 'tokens' has id 300 at place 0, but the vocabulary has 300" reward <<<'{"prompt_tokens":[1],"tokens":[300]}'
	fails_with 1 ":1: neither 'prompt_tokens' nor 'prompt' is there" reward <<<'{"completion":"a"}'
	fails_with 1 "no token to score" reward --no-append-eos --text '""' <<<'{"completion":"a"}'
	fails_with 2 "text" reward --text '.a |' rollouts.jsonl
	rc=0
	{ head -n 1 rollouts.jsonl; echo '{"prompt":"a"}'; echo '{"skip":"x"}'; tail -n 1 rollouts.jsonl; } | reward -k >got || rc=$?
	[ $rc -eq 3 ]
	[ "$(jq -c '[.reward_model != null, .error != null]' got | paste -sd' ')" = "[true,false] [false,true] [false,false] [true,false]" ]
}

@test "rl-reward-model: the example of the page" {
	sed -n '/^\.Bd -literal/,/^\.Ed/p' "$root/man/rl-reward-model.1" | sed '/^\./d' >example
	RL_QUIET=1 RL_GENERATE_MAX_TOKENS=6 within 100 bash -eo pipefail example
	[ "$(wc -l <best.jsonl)" -eq 5 ]
	rl-generate -q -n 8 --max-tokens 6 prompts.jsonl | reward | jq -c '[.id, .reward_model]' | jq -sc 'group_by(.[0])[] | [.[0][0], (map(.[1]) | max)]' | sort >want
	jq -c '[.id, .reward_model]' best.jsonl | sort | cmp want -
}
