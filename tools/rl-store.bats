#!/usr/bin/env bats
# rl-store: models in and out, and what a bad input or a fault leaves behind.
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	config=$testdata/tiny/config.json
}
untouched() { # STATUS TEXT COMMAND...: fails so, and run.lmdb has the same bytes
	local before
	before=$(sha256sum <run.lmdb)
	fails_with "$@"
	[ "$before" = "$(sha256sum <run.lmdb)" ]
}
# The safetensors file of a model directory, taken apart and put together again by a jq program on its header.
header() { # FILE
	local n
	n=$(od -An -tu8 -N8 "$1" | tr -d ' ')
	head -c $((8 + n)) "$1" | tail -c +9
}
with_header() { # FILE JQ: rewrites the header; the data stays
	local n json
	n=$(od -An -tu8 -N8 "$1" | tr -d ' ')
	json=$(header "$1" | jq -c "$2")
	{
		printf "$(printf '\\x%02x' $((${#json} % 256)) $((${#json} / 256 % 256)) $((${#json} / 65536)) 0 0 0 0 0)"
		printf '%s' "$json"
		tail -c +$((9 + n)) "$1"
	} >"$1.new"
	mv "$1.new" "$1"
}

@test "init: the same seed gives the same weights on any number of threads, another seed others" {
	rl-store init --config "$config" --seed 1 a.lmdb
	rl-store init --config "$config" --seed 1 -j 1 b.lmdb
	rl-store init --config "$config" --seed 2 c.lmdb
	for s in a b c; do rl-store export $s.lmdb $s; done
	cmp a/model.safetensors b/model.safetensors
	run ! cmp -s a/model.safetensors c/model.safetensors
	cmp "$config" a/config.json
	[ "$(rl-store show --json a.lmdb | jq -c '.slots[0] | [.name, .version, .model_type]')" = '["policy",0,"llama"]' ]
}

@test "man page: its examples run" {
	cp "$config" config.json
	cp "$testdata/tiny/prompts.jsonl" .
	export RL_MAX_TOKENS=6
	sed -n '/^\.Bd -literal/,/^\.Ed/p' "$root/man/rl-store.1" | grep -v '^\.' | while read -r line; do eval "$line" </dev/null; done
	[ "$(rl-store show --json run.lmdb | jq -r '.snapshots[0].name')" = start ]
	[ "$(rl-store log --json other.lmdb | jq -r .tool)" = "rl-store import" ]
}

@test "import and export of real models: equal tensors, equal files" {
	shared golden golden/models
	shared data data/models
	for d in "$golden"/*/model "$data"/{stories260K/hf-derived,gpt-nano-sort/hf-derived,tinystories-char-gpt2,verl-arith-seq}; do
		rm -rf run.lmdb* dir
		rl-store import "$d" run.lmdb
		rl-store export run.lmdb dir
		cmp "$d/config.json" dir/config.json
		python3 - "$d" dir <<-'END'
			import glob, json, struct, sys
			def load(d):
			    out = {}
			    for f in glob.glob(d + '/*.safetensors'):
			        b = open(f, 'rb').read()
			        n = struct.unpack('<Q', b[:8])[0]
			        for k, v in json.loads(b[8:8 + n]).items():
			            if k != '__metadata__':
			                s, e = v['data_offsets']
			                out[k] = (v['dtype'], v['shape'], b[8 + n + s:8 + n + e])
			    return out
			sys.exit(load(sys.argv[1]) != load(sys.argv[2]))
		END
	done
}

@test "import: names without their first component, mask buffers, a duplicate head" {
	shared d golden/models/gpt2/model
	cp -r "$d" old && chmod -R u+w old
	rl-store import "$d" new.lmdb
	with_header old/model.safetensors 'with_entries(.key |= sub("^transformer\\."; ""))'
	header old/model.safetensors | grep -q '"h.0.attn.c_attn.weight"'
	size=$(header old/model.safetensors | jq '[.[] | .data_offsets? // [0, 0] | .[1]] | max')
	with_header old/model.safetensors ". + {\"h.0.attn.bias\": {dtype: \"U8\", shape: [1, 1, 2, 2], data_offsets: [$size, $size + 4]}}"
	printf '\1\0\1\1' >>old/model.safetensors
	rl-store import old old.lmdb
	rl-store export new.lmdb a
	rl-store export old.lmdb b
	cmp a/model.safetensors b/model.safetensors
}

@test "export --dtype says so in config.json and halves the file" {
	rl-store init --config "$config" run.lmdb
	rl-store export run.lmdb a
	rl-store export --dtype BF16 run.lmdb b
	[ "$(jq -r .dtype b/config.json)" = bfloat16 ]
	[ "$(header b/model.safetensors | jq -r '.["model.norm.weight"].dtype')" = BF16 ]
	[ "$(stat -c %s b/model.safetensors)" -lt "$(stat -c %s a/model.safetensors)" ]
	fails_with 1 "'b' is not empty" rl-store export run.lmdb b
	rl-store export --force run.lmdb b
	cmp a/model.safetensors b/model.safetensors
	rl-store export --dtype F16 run.lmdb c && rl-store import c half.lmdb && rl-store export half.lmdb d
	cmp c/model.safetensors d/model.safetensors
}

@test "a bad directory: one line, exit 1, store untouched" {
	rl-store init --config "$config" run.lmdb
	rl-store export run.lmdb good
	bad() { rm -rf bad && cp -r good bad; }
	bad && jq '.model_type = "mamba"' good/config.json >bad/config.json
	untouched 1 "unknown architecture 'mamba'; known are gpt2, llama, mistral, qwen2, qwen3" rl-store import bad run.lmdb:ref
	bad && with_header bad/model.safetensors 'with_entries(.key |= sub("norm.weight$"; "gone.weight"))'
	untouched 1 "tensor" rl-store import bad run.lmdb:ref
	bad && jq '.num_hidden_layers = 3' good/config.json >bad/config.json
	untouched 1 "tensor 'model.layers.2.input_layernorm.weight' [32] is missing" rl-store import bad run.lmdb:ref
	bad && jq '.vocab_size = 65' good/config.json >bad/config.json
	untouched 1 "is [64, 32], expected [65, 32]" rl-store import bad run.lmdb:ref
	bad && truncate -s -1 bad/model.safetensors
	untouched 1 "bytes, the file" rl-store import bad run.lmdb:ref
	bad && printf 'x' >>bad/model.safetensors
	untouched 1 "bytes, the file" rl-store import bad run.lmdb:ref
	bad && rm bad/model.safetensors && echo '{"weight_map":{"a":"../good/model.safetensors"}}' >bad/model.safetensors.index.json
	untouched 1 "cannot be the name of a shard" rl-store import bad run.lmdb:ref
	bad && rm bad/model.safetensors && touch bad/pytorch_model.bin
	untouched 1 "pickles can run code" rl-store import bad run.lmdb:ref
	untouched 1 "has a slot 'policy' already" rl-store import good run.lmdb
	untouched 1 "not a value model" rl-store import good run.lmdb:value
	fails_with 1 "has no config.json" rl-store import "$BATS_TEST_TMPDIR" fresh.lmdb
	[ ! -e fresh.lmdb ]
}

@test "a value model goes into slot value or one of another name and comes out again" {
	rl-store init --config "$config" run.lmdb
	rl-store export run.lmdb value
	jq '.architectures = ["LlamaForSequenceClassification"]' "$config" >value/config.json
	size=$(header value/model.safetensors | jq '[.[] | .data_offsets? // [0, 0] | .[1]] | max')
	with_header value/model.safetensors ". + {\"score.weight\": {dtype: \"F32\", shape: [1, 32], data_offsets: [$size, $size + 128]}}"
	head -c 128 /dev/zero >>value/model.safetensors
	rl-store import value run.lmdb:value
	fails_with 1 "has no head for tokens, so it cannot be slot policy" rl-store import value other.lmdb
	fails_with 1 "cannot be slot ref" rl-store import value run.lmdb:ref
	rl-store import value run.lmdb:judge
	rl-store export run.lmdb:judge judge
	[ "$(header judge/model.safetensors | jq -c '.["score.weight"].shape')" = '[1,32]' ]
	rl-store export run.lmdb:value critic
	[ "$(header critic/model.safetensors | jq -c '.["score.weight"].shape')" = '[1,32]' ]
}

@test "import --replace of another model is refused while a name holds a version, and of an adapter always" {
	rl-store init --config "$testdata/tiny/config.json" run.lmdb
	rl-store lora run.lmdb:a
	rl-store snapshot run.lmdb here
	rl-store export run.lmdb model
	before=$(sha256sum <run.lmdb)
	# the weights have the same names and shapes, and would mean something else
	sed -i 's/"rope_theta": 10000.0/"rope_theta": 500.0/' model/config.json
	fails_with 1 "not the model that slot 'policy' has by its config.json, by which 'a.base' holds a version" rl-store import --replace model run.lmdb
	fails_with 1 "slot 'a' is an adapter, and no model can be its next version" rl-store import --replace model run.lmdb:a
	[ "$before" = "$(sha256sum <run.lmdb)" ]
	rl-store init --config "$testdata/tiny/config.json" free.lmdb
	rl-store import --replace model free.lmdb
	sed -i 's/"rope_theta": 500.0/"rope_theta": 10000.0/; s/"initializer_range": 0.2/"initializer_range": 0.1/' model/config.json
	rl-store import --replace model run.lmdb
	rl-store show run.lmdb | grep -q '^slot policy: version 1,'
}

@test "import --replace is the next version; a snapshot keeps the one before" {
	rl-store init --config "$config" --seed 1 run.lmdb
	rl-store init --config "$config" --seed 2 other.lmdb
	rl-store snapshot run.lmdb first
	rl-store export other.lmdb model
	rl-store import --replace model run.lmdb
	[ "$(rl-store show --json run.lmdb | jq -c '[.slots[0].version, .snapshots[0].version]')" = '[1,0]' ]
	rl-store export run.lmdb now && cmp now/model.safetensors model/model.safetensors
	rl-store export run.lmdb:first then
	run ! cmp -s then/model.safetensors model/model.safetensors
	rl-store snapshot --delete run.lmdb first
	fails_with 1 "has no 'first'; it has policy (version 1)" rl-store export run.lmdb:first x
	rl-store copy run.lmdb copy.lmdb && rl-store verify copy.lmdb
}

@test "verify finds a damaged byte and names the tensor; what is damaged is not exported, merged or copied" {
	rl-store init --config "$config" run.lmdb
	rl-store lora run.lmdb:a
	rl-store verify --json run.lmdb | jq -e '.faults == 0 and .tensors == 28'
	rl-store export run.lmdb dir
	rl-store export run.lmdb:a adapter
	python3 - <<-'END'
		import json, struct
		def spoil(directory, tensor, out):
		    b = open(directory, 'rb').read()
		    n = struct.unpack('<Q', b[:8])[0]
		    s, e = json.loads(b[8:8 + n])[tensor]['data_offsets']
		    data = b[8 + n + s:8 + n + e]
		    store = bytearray(open('run.lmdb', 'rb').read())
		    at = store.find(data)
		    assert at > 0
		    store[at + 100] ^= 1
		    open(out, 'wb').write(store)
		spoil('adapter/adapter_model.safetensors', 'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight', 'a.lmdb')
		spoil('dir/model.safetensors', 'model.embed_tokens.weight', 'run.lmdb')
	END
	chmod go-w a.lmdb
	fails_with 1 "model.embed_tokens.weight' is damaged" rl-store verify run.lmdb
	fails_with 1 "model.embed_tokens.weight' is damaged" rl-store export run.lmdb model
	fails_with 1 "model.embed_tokens.weight' is damaged" rl-store merge run.lmdb:a m.lmdb
	fails_with 1 "model.embed_tokens.weight' is damaged" rl-store copy run.lmdb:policy m.lmdb
	fails_with 1 "lora_A.weight' is damaged" rl-store export a.lmdb:a other
	fails_with 1 "lora_A.weight' is damaged" rl-store merge a.lmdb:a m.lmdb
	rl-store export run.lmdb:a good
	[ ! -e model/model.safetensors ] && [ ! -e other/adapter_model.safetensors ] && [ ! -e m.lmdb ]
}

@test "refused: a store open to all, one that is none, a trainer at work" {
	rl-store init --config "$config" run.lmdb
	chmod o+w run.lmdb
	fails_with 1 "anybody may write" rl-store show run.lmdb
	chmod o-w run.lmdb
	cp "$BATS_TEST_DIRNAME/rl-store.bats" text
	fails_with 1 "is not a store" rl-store show text
	[ ! -e text-lock ]
	fails_with 1 "there is no store" rl-store show none.lmdb
	python3 - <<-'END' &
		import fcntl, struct, time
		f = open('run.lmdb-loop', 'r+')
		fcntl.fcntl(f, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 1, 0))
		open('held', 'w').close()
		time.sleep(30)
	END
	while [ ! -e held ]; do sleep .1; done
	untouched 1 "a trainer has 'run.lmdb'" rl-store snapshot run.lmdb x
	kill %1
}

@test "a full disk: one line says so, and the store is as it was" {
	unshare -Urm true 2>/dev/null || skip "no user namespaces"
	mkdir small
	jq '.vocab_size = 40000' "$config" >large.json
	unshare -Urm bash -e <<-END
		mount -t tmpfs -o size=4m tmpfs small
		rl-store init --config "$config" small/run.lmdb
		rl-store init --config large.json big.lmdb
		rl-store export big.lmdb big
		rc=0
		rl-store import big small/run.lmdb:ref 2>err || rc=\$?
		[ \$rc -eq 1 ]
		rl-store verify small/run.lmdb
		rl-store import big small/run.lmdb:ref 2>err || true
		rl-store show small/run.lmdb >shown
	END
	grep -q "disk full" err
	[ "$(wc -l <err)" -eq 1 ]
	[ "$(grep -c '^slot' shown)" -eq 1 ]
}

@test "rl-store: a file that was cut is one line and status 1, wherever the cut is" {
	cd "$BATS_TEST_TMPDIR"
	rl-store init --config "$testdata/tiny/config.json" --seed 1 whole.lmdb
	for bytes in 4096 8192 12288 40960 88064; do
		head -c $bytes whole.lmdb >cut.lmdb
		echo "$bytes"
		fails_with 1 cut.lmdb rl-store verify cut.lmdb
		rm -f cut.lmdb-lock
	done
}

@test "log: the command and the metrics of every version, of a slot, and of one that is gone" {
	cd "$BATS_TEST_TMPDIR"
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 run.lmdb
	rl-store lora -q run.lmdb:a
	head -n 16 "$testdata/tiny/prompts.jsonl" | rl-generate -q -s run.lmdb --max-tokens 5 --batch-size 8 | jq -c 'del(.cursor)' >rollouts.jsonl
	rl-ppo-step -q -s run.lmdb --reward ".id | if . == \"it's\" then 1 else 0 end" --lr 1e-3 --run one rollouts.jsonl >metrics.jsonl
	rl-ppo-step -q -s run.lmdb --reward 1 --lr 1e-3 --run two --advantage reinforce rollouts.jsonl >>metrics.jsonl
	rl-store snapshot run.lmdb best
	rl-store log run.lmdb >log
	# a line for each entry, its metrics, and the command once for both batches
	grep -cE '^[0-9]+: ' log | grep -qx 6
	[ "$(grep -c '^    rl-ppo-step --store run.lmdb' log)" -eq 2 ]
	[ "$(grep -c ' objective/kl=' log)" -eq 4 ]
	! grep -q time/ log || false
	grep -qE '^5: policy@4 rl-ppo-step run two parent 3 seed 0 records 0 batch=1 ' log
	# what it says is the command: the same weights
	rl-store log run.lmdb:policy@1 >one
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 again.lmdb
	eval "$(sed -n 's/^    \(rl-ppo-step .* rollouts.jsonl\)$/\1/p' one | sed 's/--store run.lmdb/--store again.lmdb/')" >again.jsonl
	[ "$(jq -c 'with_entries(select(.key | startswith("time/") | not))' again.jsonl)" = "$(head -n 2 metrics.jsonl | jq -c 'with_entries(select(.key | startswith("time/") | not))')" ]
	# in full, though the store has it no more, and as it was printed
	! rl-store export -q run.lmdb:policy@1 none 2>err || false
	grep -qx "    grad_norm $(head -n 1 metrics.jsonl | jq -r .grad_norm | xargs printf %.9g)" one
	grep -q '^    time/update ' one
	rl-store log --json run.lmdb:policy@1 | jq -c .metrics | cmp - <(head -n 1 metrics.jsonl | jq -c .)
	[ "$(rl-store log --json run.lmdb:policy | jq .version | paste -sd' ')" = "0 1 2 3 4" ]
	[ "$(rl-store log --json run.lmdb:a | jq -r .tool)" = "rl-store lora" ]
	[ "$(rl-store log --json run.lmdb:best | jq .version)" = 4 ]
	fails_with 1 "the log has nothing of 'policy@7'" rl-store log run.lmdb:policy@7
	fails_with 1 "has no 'none'" rl-store log run.lmdb:none
}

@test "log: operands of any name, as a shell takes them; of each trainer; none where the records were piped" {
	cd "$BATS_TEST_TMPDIR"
	pair='{"prompt_tokens":[1],"tokens":[2],"chosen":[2,3],"rejected":[4]}'
	for name in "it's a file" -v $'bad\xff' 'né'; do echo "$pair" >"./$name"; done
	for tool in rl-sft-step rl-dpo-step rl-rm-step; do
		rm -f run.lmdb* again.lmdb*
		rl-store init -q --config "$testdata/tiny/config.json" --seed 1 run.lmdb
		rl-store copy run.lmdb again.lmdb
		$tool -q -s run.lmdb --batch-size 1 -- "it's a file" -v né | jq -c 'del(."time/update")' >want
		[ "$(wc -l <want)" -eq 3 ]
		# the command that it prints is the command: the same metrics
		rl-store log run.lmdb | sed -n "s/^    \($tool .*\)/\1/p" >command
		[ "$(wc -l <command)" -eq 1 ]
		eval "$(sed 's/--store run.lmdb/--store again.lmdb/' command)" | jq -c 'del(."time/update")' | cmp want -
		# other operands are another command
		$tool -q -s run.lmdb --run bytes $'bad\xff' >/dev/null
		[ "$(rl-store log --json run.lmdb | tail -n 1 | jq -r '.operands[]')" = $'bad\xef\xbf\xbd' ]
		[ "$(rl-store log run.lmdb | grep -c "^    $tool ")" -eq 2 ]
		$tool -q -s run.lmdb --run piped <né >/dev/null
		[ "$(rl-store log --json run.lmdb | tail -n 1 | jq -c .operands)" = '[]' ]
	done
}
