#!/usr/bin/env bats
# Adapters through the tools: PEFT directories in and out, training, the loop.  The arithmetic: lib/lora_test.
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	unset RL_STORE
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 run.lmdb
	cp "$testdata/tiny/prompts.jsonl" prompts.jsonl
	export RL_REWARD='[.tokens[] | if . < 32 then 1 else 0 end] | add / length'
}
sum() { # STORE:NAME
	rm -rf exported
	rl-store export -q "$1" exported && cat exported/*.safetensors | sha256sum
}
generate="rl-generate -q --max-tokens 6 --batch-size 8"
update="rl-ppo-step -q --lr 1e-2 --ppo-epochs 2"

# Prints the largest difference of tensors KEY of two safetensors files; the second's may have a prefix.
differ() { # OURS THEIRS PREFIX
	python3 - "$@" <<'PY'
import json, struct, sys
def load(path):
    data = open(path, 'rb').read()
    n = struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:8 + n])
    header.pop('__metadata__', None)
    return {k: struct.unpack('<%df' % ((v['data_offsets'][1] - v['data_offsets'][0]) // 4),
                             data[8 + n + v['data_offsets'][0]:8 + n + v['data_offsets'][1]])
            for k, v in header.items() if v['dtype'] == 'F32'}
ours, theirs, prefix = load(sys.argv[1]), load(sys.argv[2]), sys.argv[3]
keys = [k for k in theirs if k.startswith(prefix)]
assert keys and (prefix or set(ours) == set(theirs)), (set(ours), set(theirs))
print(max(abs(a - b) for k in keys for a, b in zip(ours[k[len(prefix):]], theirs[k], strict=True)))
PY
}

@test "adapters: PEFT directories come in and go out; log-probs and merged weights are PEFT's" {
	shared golden golden/models
	for case in gpt2/lora-attn llama/lora-qv llama/rslora-qv llama/lora-all; do
		dir=$golden/$case model=$golden/${case%/*}
		rm -rf s.lmdb* m.lmdb* out merged
		rl-store import -q "$model/model" s.lmdb
		rl-store import -q "$dir" s.lmdb:a
		rl-store export -q s.lmdb:a out
		cmp "$dir/adapter_config.json" out/adapter_config.json
		[ "$(differ out/adapter_model.safetensors "$dir/adapter_model.safetensors" "")" = 0.0 ]
		python3 - "$model/golden.safetensors" "$dir.safetensors" >rows <<'PY'
import json, struct, sys
def load(path, dtype, kind, size):
    data = open(path, 'rb').read()
    n = struct.unpack('<Q', data[:8])[0]
    return {k: struct.unpack('<%d%s' % ((v['data_offsets'][1] - v['data_offsets'][0]) // size, kind),
                             data[8 + n + v['data_offsets'][0]:8 + n + v['data_offsets'][1]])
            for k, v in json.loads(data[8:8 + n]).items() if k != '__metadata__' and v['dtype'] == dtype}
g, lp, at, m = load(sys.argv[1], 'I64', 'q', 8), load(sys.argv[2], 'F32', 'f', 4)['logprobs'], 0, 0
for n, p in zip(g['lengths'], g['prompt_len']):
    print(json.dumps({'prompt_tokens': g['tokens'][at:at + p], 'tokens': g['tokens'][at + p:at + n],
                      'want': lp[m:m + n - p]}))
    at, m = at + n, m + n - p
PY
		rl-logprob -q -s s.lmdb:a --as got rows |
			jq -se 'map([.got, .want] | transpose | map(.[0] - .[1] | fabs)) | add | length == 36 and max < 5e-5' >/dev/null
		rl-store merge -q s.lmdb:a m.lmdb
		rl-store export -q m.lmdb merged
		[ "$(awk -v x="$(differ merged/model.safetensors "$dir.safetensors" merged.)" 'BEGIN { print (x < 1e-6) }')" = 1 ]
		cmp merged/config.json "$model/model/config.json"
	done
}

@test "adapters: peft gives the log-probs of what is trained and exported here" {
	python3 -c 'import peft' 2>/dev/null || skip "no peft"
	shared golden golden/models
	for case in llama gpt2; do
		rm -rf s.lmdb* dir
		rl-store import -q "$golden/$case/model" s.lmdb
		rl-store lora -q --lora-r 3 --lora-target-modules all-linear --lora-init gaussian --rslora s.lmdb:a
		jq -nc 'range(6) as $i | {prompt_tokens: [range(4) | . * 31 + $i], tokens: [range(5 + $i) | (. * . * 7 + $i * 11) % 290]}' >rows
		rl-sft-step -q -s s.lmdb:a --batch-size 3 --epochs 4 --lr 2e-2 rows | jq -se '.[-1].loss < .[0].loss - 0.3' >/dev/null
		rl-store export -q s.lmdb:a dir
		rl-logprob -q -s s.lmdb:a --as lp rows >ours
		python3 - "$golden/$case/model" <<'PY'
import json, sys, torch
from transformers import AutoModelForCausalLM
from peft import PeftModel
base = AutoModelForCausalLM.from_pretrained(sys.argv[1], torch_dtype=torch.float32)
model = PeftModel.from_pretrained(base, "dir").eval()
worst = 0
for line in open("ours"):
    r = json.loads(line)
    ids = torch.tensor([r["prompt_tokens"] + r["tokens"]])
    with torch.no_grad():
        lp = torch.log_softmax(model(ids).logits[0].double(), -1)
    for t, token in enumerate(r["tokens"]):
        worst = max(worst, abs(lp[len(r["prompt_tokens"]) + t - 1, token].item() - r["lp"][t]))
assert worst < 5e-5, worst
PY
	done
}

@test "adapters: a new one changes nothing; training it leaves the base alone, and its reference is the base" {
	rl-store lora -q --lora-r 4 --seed 3 run.lmdb:a
	before=$(sum run.lmdb)
	diff <(rl-generate -q -s run.lmdb --max-tokens 6 prompts.jsonl | jq -c .tokens) <(rl-generate -q -s run.lmdb:a --max-tokens 6 prompts.jsonl | jq -c .tokens)
	export RL_STORE=run.lmdb:a
	within 60 bash -c "$generate prompts.jsonl | $update --no-quiet" >metrics
	[ "$(wc -l <metrics)" -gt 1 ]
	jq -se '.[0]["objective/kl"] == 0 and .[-1]["objective/kl"] != 0' metrics >/dev/null
	[ "$before" = "$(sum run.lmdb)" ]
	[ "$(rl-store show --json run.lmdb | jq -c '[.slots[] | [.name, .version]] + [.snapshots[] | [.name, .slot, .version]]')" = \
		"[[\"a\",$(wc -l <metrics)],[\"policy\",0],[\"a.base\",\"policy\",0]]" ]
	rl-store log --json run.lmdb | jq -se 'map(select(.tool == "rl-ppo-step")) | length > 1 and all(.slot == "a")' >/dev/null
	# the same command trains nothing and prints the same
	within 60 bash -c "$generate prompts.jsonl | $update" >again
	cmp metrics again
}

@test "adapters: a stage in or out of the pipe, threads, and a kill change no bit" {
	make() { rm -f run.lmdb*; rl-store init -q --config "$testdata/tiny/config.json" --seed 1 run.lmdb; rl-store lora -q --lora-target-modules all-linear run.lmdb:a; }
	export RL_STORE=run.lmdb:a
	make
	within 60 bash -c "$generate prompts.jsonl | $update" >/dev/null
	want=$(sum run.lmdb:a)
	make
	within 60 bash -c "$generate -j 2 prompts.jsonl | rl-logprob -q | $update --isa plain" >/dev/null
	[ "$want" = "$(sum run.lmdb:a)" ]
	make
	for ms in 40 80 120 160 200; do
		timeout --foreground -s KILL 0.$(printf %03d $ms) bash -c "exec rl-generate -q --max-tokens 6 --batch-size 8 prompts.jsonl" 2>/dev/null | timeout --foreground -s KILL 0.$(printf %03d $ms) $update >/dev/null 2>&1 || true
	done
	within 60 bash -c "$generate prompts.jsonl | $update" >/dev/null
	[ "$want" = "$(sum run.lmdb:a)" ]
}

@test "adapters: an update writes A and B alone; the base is held where the policy goes on" {
	rl-store lora -q run.lmdb:a
	jq -c '{prompt_tokens, tokens: .prompt_tokens}' prompts.jsonl >sft.jsonl
	rl-logprob -q -s run.lmdb:a --as lp sft.jsonl | jq -c .lp >before
	rl-sft-step -q -s run.lmdb --batch-size 8 --lr 1e-2 sft.jsonl >/dev/null
	[ "$(rl-store show --json run.lmdb | jq -c '[.snapshots[], .slots[]] | map(select(.name == "a.base" or .name == "policy") | .version > 0)')" = '[false,true]' ]
	rl-logprob -q -s run.lmdb:a --as lp sft.jsonl | jq -c .lp | cmp - before
	rl-sft-step -q -s run.lmdb:a --run b --batch-size 8 --lr 1e-2 --epochs 4 sft.jsonl >metrics
	jq -se '.[-1].loss < .[0].loss' metrics >/dev/null
	! rl-logprob -q -s run.lmdb:a --as lp sft.jsonl | jq -c .lp | cmp -s - before || false
	rl-store verify run.lmdb >/dev/null
	# of two layers, q_proj [32,32] and v_proj [16,32]: A and B of rank 8, and no moments of any other tensor
	rl-store show --json run.lmdb | jq -e --slurpfile c "$testdata/tiny/config.json" '$c[0] as $c
		| ($c.hidden_size / $c.num_attention_heads * $c.num_key_value_heads) as $kv
		| .slots[] | select(.name == "a") | .parameters == $c.num_hidden_layers * 8 * (3 * $c.hidden_size + $kv)' >/dev/null
}

@test "adapters: dropout is the same for any threads, and is not in what the model says" {
	jq -c '{prompt_tokens, tokens: .prompt_tokens}' prompts.jsonl >sft.jsonl
	for threads in 1 2; do
		rm -f run.lmdb*
		rl-store init -q --config "$testdata/tiny/config.json" --seed 1 run.lmdb
		rl-store lora -q --lora-dropout .3 run.lmdb:a
		rl-store lora -q run.lmdb:b
		rl-sft-step -q -s run.lmdb:a -j $threads --batch-size 8 --lr 1e-2 sft.jsonl >with
		rl-sft-step -q -s run.lmdb:b --run b -j $threads --batch-size 8 --lr 1e-2 sft.jsonl >without
		! cmp -s <(jq .loss with) <(jq .loss without) || false
		sum run.lmdb:a >sum.$threads
	done
	cmp sum.1 sum.2
	rl-logprob -q -s run.lmdb:a --as lp sft.jsonl | cmp - <(rl-logprob -q -s run.lmdb:a --as lp sft.jsonl)
}

@test "adapters: dropout draws anew in every step" {
	jq -c '{prompt_tokens, tokens: .prompt_tokens}' prompts.jsonl | head -n 1 >sft.jsonl # in an order of its own the draw would change by place
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 new.lmdb
	rl-store lora -q --lora-dropout .3 new.lmdb:a
	rl-store lora -q new.lmdb:b
	for slot in a b; do
		rl-sft-step -q -s new.lmdb:$slot --batch-size 1 --lr 1e-1 --epochs 3 sft.jsonl >/dev/null # B is not zero any more
		rl-sft-step -q -s new.lmdb:$slot --run still --batch-size 1 --lr 1e-30 --epochs 4 sft.jsonl >losses.$slot
	done
	holds -s 'map(.loss) | length == 4 and (unique | length == 4)' losses.a
	holds -s 'map(.loss) | length == 4 and (unique | length == 1)' losses.b
}

# The numbers of a tensor of a safetensors file in float32, one on a line.
floats_of() { # FILE NAME
	local header range
	header=$(od -An -t u8 -N 8 "$1")
	range=$(tail -c +9 "$1" | head -c "$header" | jq -r --arg name "$2" '.[$name].data_offsets | "\(.[0]) \(.[1] - .[0])"')
	tail -c +$((9 + header + ${range% *})) "$1" | head -c "${range#* }" | od -An -v -t f4 -w4
}

@test "adapters: what A begins with is what PEFT draws, uniform to 1 over the root of its width or normal by 1/r, and B is zero" {
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 new.lmdb
	for init in uniform gaussian; do
		rl-store lora -q --lora-r 8 --lora-target-modules down_proj --lora-init $init new.lmdb:$init
		rl-store export -q new.lmdb:$init $init
		tail -c +9 $init/adapter_model.safetensors | head -c "$(od -An -t u8 -N 8 $init/adapter_model.safetensors)" | jq -r 'keys[] | select(startswith("base"))' >names
		[ -s names ]
		rm -f a b
		while read -r name; do
			case $name in
			*lora_A*) floats_of $init/adapter_model.safetensors "$name" >>a ;;
			*) floats_of $init/adapter_model.safetensors "$name" >>b ;;
			esac
		done <names
		holds -s 'length > 0 and all(. == 0)' b
		width=$(jq .intermediate_size "$testdata/tiny/config.json")
		holds -s --arg init $init --argjson width "$width" 'length as $n | (map(. * .) | add / $n | sqrt) as $rms | (map(fabs) | max) as $max
			| (1 / ($width | sqrt)) as $bound | $n >= 8 * $width and
			if $init == "uniform" then $max <= $bound and $max > .98 * $bound and ($rms / $bound * (3 | sqrt) - 1 | fabs) < .08
			else ($rms * 8 - 1 | fabs) < .12 and $max > 2 / 8 end' a
	done
}

@test "adapters: the example of rl-store(1)" {
	unset RL_REWARD
	sed -n '/An adapter, trained in a loop/,/^\.Ed/p' "$root/man/rl-store.1" | grep '^[a-z]' >commands
	[ "$(wc -l <commands)" -eq 5 ]
	RL_MAX_TOKENS=6 within 60 bash -e -o pipefail commands >metrics
	jq -se 'length == 1 and .[0].rows == 32' metrics >/dev/null
	rl-store show --json merged.lmdb | jq -e '.slots[0].name == "policy"' >/dev/null
	[ -s adapter/adapter_model.safetensors ]
}

@test "adapters: several in one store, and the policy, are trained by the same commands, each as if it were alone" {
	jq -c '{prompt_tokens, tokens: .prompt_tokens, chosen: (.prompt_tokens + [5]), rejected: [7]}' prompts.jsonl >rows
	sft="rl-sft-step -q --batch-size 8 --lr 1e-2 rows" dpo="rl-dpo-step -q --batch-size 8 --lr 1e-2 --checkpoint-every 2 rows"
	time_off() { jq -cS 'with_entries(select(.key | startswith("time/") | not))' "$1"; }
	for slot in a b policy; do
		rl-store init -q --config "$testdata/tiny/config.json" --seed 1 $slot.lmdb
		[ $slot = policy ] || rl-store lora -q $slot.lmdb:$slot
		[ $slot = policy ] || rl-store lora -q run.lmdb:$slot
		$sft -s $slot.lmdb:$slot >$slot.sft
		$dpo -s $slot.lmdb:$slot >$slot.dpo
	done
	for tool in sft dpo; do
		for slot in a b policy; do
			${!tool} -s run.lmdb:$slot >got
			cmp <(time_off got) <(time_off $slot.$tool)
		done
	done
	for slot in a b policy; do
		[ "$(sum run.lmdb:$slot)" = "$(sum $slot.lmdb:$slot)" ]
		# complete: nothing is trained, the metrics are printed again
		$dpo -s run.lmdb:$slot >got
		cmp <(time_off got) <(time_off $slot.dpo)
		[ "$(sum run.lmdb:$slot)" = "$(sum $slot.lmdb:$slot)" ]
	done
	# one that is not finished is found again by its slot
	$sft --epochs 3 -s run.lmdb:b 2>/dev/null | head -n 1 >/dev/null || true
	$sft --epochs 3 -s b.lmdb:b >b.sft
	$sft --epochs 3 -s run.lmdb:b >got
	cmp <(time_off got) <(time_off b.sft)
	[ "$(sum run.lmdb:b)" = "$(sum b.lmdb:b)" ]
}

@test "adapters: NaN in a weight, of the policy, an adapter or its base, is named by every trainer before it trains" {
	spoil() { # DIRECTORY/FILE TENSOR: its third element is infinite
		python3 - "$@" <<'PY'
import json, struct, sys
data = bytearray(open(sys.argv[1], 'rb').read())
n = struct.unpack('<Q', data[:8])[0]
at = 8 + n + json.loads(data[8:8 + n])[sys.argv[2]]['data_offsets'][0] + 8
data[at:at + 4] = struct.pack('<f', float('inf'))
open(sys.argv[1], 'wb').write(data)
PY
	}
	rl-store lora -q run.lmdb:a
	rl-store export -q run.lmdb:a dir
	spoil dir/adapter_model.safetensors base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight
	rl-store import -q dir run.lmdb:b
	rl-store export -q run.lmdb model
	spoil model/model.safetensors model.layers.1.input_layernorm.weight
	rl-store import -q model bad.lmdb
	rl-store lora -q bad.lmdb:a
	rl-generate -q -s run.lmdb --max-tokens 3 prompts.jsonl | jq -c '.reward = 1 | del(.cursor) | .chosen = .tokens | .rejected = [1]' >rows
	for tool in rl-sft-step rl-dpo-step "rl-ppo-step --critic none"; do
		fails_with 1 "b@0: tensor 'base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight' has 1 elements that are NaN" $tool -q -s run.lmdb:b rows
		for slot in policy a; do
			fails_with 1 "policy@0: tensor 'model.layers.1.input_layernorm.weight' has 1 elements that are NaN" $tool -q -s bad.lmdb:$slot rows
		done
	done
	fails_with 1 "policy@0: tensor 'model.layers.1.input_layernorm.weight' has 1 elements" rl-rm-step -q -s bad.lmdb rows
}

@test "adapters: bad input in one line, the store as it was" {
	untouched() { # STATUS TEXT COMMAND...
		local before
		before=$(sha256sum <run.lmdb)
		fails_with "$@"
		[ "$before" = "$(sha256sum <run.lmdb)" ]
	}
	untouched 1 "an adapter needs a name" rl-store lora run.lmdb
	untouched 1 "slot 'policy' is for a whole model" rl-store lora run.lmdb:policy
	untouched 1 "target 'q' is no matrix of the model's blocks; they are q_proj, k_proj" rl-store lora --lora-target-modules q run.lmdb:a
	untouched 1 "no 'none'" rl-store lora --base none run.lmdb:a
	fails_with 1 "absent.lmdb" rl-store lora absent.lmdb:a
	[ ! -e absent.lmdb ]
	rl-store lora -q run.lmdb:a
	untouched 1 "there is a slot 'a' already, at version 0" rl-store lora run.lmdb:a
	untouched 1 "'a' is an adapter itself" rl-store lora --base a run.lmdb:b
	untouched 1 "names that end in .base hold the bases of adapters" rl-store snapshot --delete run.lmdb a.base
	untouched 1 "'policy' is no adapter" rl-store merge run.lmdb m.lmdb
	[ ! -e m.lmdb ]
	# one name, one thing: what STORE:NAME means does not change
	untouched 1 "slot 'b.base': names that end in .base hold the bases of adapters" rl-store lora run.lmdb:b.base
	untouched 1 "slot 'best': this name is for the best version of a run" rl-store lora run.lmdb:best
	untouched 1 "'a' is the name of a slot, and cannot be that of a snapshot" rl-store snapshot run.lmdb a
	untouched 1 "'policy' is the name of a slot" rl-store snapshot run.lmdb policy
	rl-store snapshot run.lmdb here
	untouched 1 "'here' is the name of a snapshot" rl-store lora run.lmdb:here
	rl-store export -q run.lmdb:policy model
	untouched 1 "'here' is the name of a snapshot" rl-store import model run.lmdb:here
	untouched 1 "slot 'b.base': names that end" rl-store import model run.lmdb:b.base
	jq -c '{prompt_tokens, chosen: [1], rejected: [2]}' prompts.jsonl >pairs.jsonl
	fails_with 1 "'here' is the name of a snapshot" rl-rm-step -q -s run.lmdb:here pairs.jsonl
	rl-store export -q run.lmdb:a dir
	jq '.num_hidden_layers += 1' "$testdata/tiny/config.json" >deeper.json
	rl-store init -q --config deeper.json deeper.lmdb
	fails_with 1 "is missing" rl-store import dir deeper.lmdb:a
	untouched 1 "there is a slot 'a' already" rl-store import dir run.lmdb:a
	sed -i 's/"r": 8/"r": 4/' dir/adapter_config.json
	untouched 1 "is an adapter of another rank" rl-store import --replace dir run.lmdb:a
	untouched 1 "is [8, 32], expected [4, 32]" rl-store import dir run.lmdb:b
	for init in pissa pissa_niter_16 olora corda loftq unheard; do
		sed -i "s/\"init_lora_weights\": .*,/\"init_lora_weights\": \"$init\",/" dir/adapter_config.json
		untouched 1 "'init_lora_weights' is none of true, false," rl-store import dir run.lmdb:b
	done
	sed -i 's/"bias": "none"/"bias": "all"/; s/"init_lora_weights": .*,/"init_lora_weights": true,/' dir/adapter_config.json
	untouched 1 "'bias' is not \"none\"" rl-store import dir run.lmdb:b
	fails_with 1 "neither the policy nor an adapter" rl-sft-step -q -s run.lmdb:a.base prompts.jsonl
	fails_with 1 "no 'c'" rl-sft-step -q -s run.lmdb:c prompts.jsonl
	# a loop's run is of one slot
	jq -c '{prompt_tokens, tokens: .prompt_tokens, logprobs: [.prompt_tokens[] | -1]}' prompts.jsonl >rows.jsonl
	jq -c '.reward = 1' rows.jsonl | rl-ppo-step -q -s run.lmdb:a --batch-size 64 >/dev/null
	fails_with 1 "run '' trains 'a', not 'policy': all stages want the same -s STORE:NAME, and another slot another --run" rl-ppo-step -q -s run.lmdb rows.jsonl
}
