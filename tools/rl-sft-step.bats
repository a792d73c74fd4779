#!/usr/bin/env bats
load common
load golden

setup() {
	cd "$BATS_TEST_TMPDIR"
	export RL_STORE=run.lmdb
	in=$testdata/contract/rollouts.jsonl
	fresh
}
fresh() { # [STORE]
	rm -f "${1:-run.lmdb}"*
	rl-store init --config "$testdata/tiny/config.json" --seed 1 "${1:-run.lmdb}" >/dev/null
}
weights() { # [STORE]: a name for the bits of the policy
	rm -rf exported
	rl-store export "${1:-run.lmdb}" exported >/dev/null
	sha256sum <exported/model.safetensors
}
without_time() { jq -cS 'with_entries(select(.key | startswith("time/") | not))' "$@"; }

# The batch of a golden file as records.
golden_records() { # FILE: its batch as records
	jq -nc --slurpfile t <(integers "$1" tokens) --slurpfile n <(integers "$1" lengths) --slurpfile p <(integers "$1" prompt_len) '
		reduce range($n | length) as $i ({at: 0, out: []};
			.out += [{id: "\($i)", prompt_tokens: $t[.at : .at + $p[$i]], tokens: $t[.at + $p[$i] : .at + $n[$i]]}]
			| .at += $n[$i]) | .out[]'
}
integers() {
	local head
	head=$(od -An -tu8 -N8 "$1" | tr -d ' ')
	# shellcheck disable=SC2046
	set -- "$1" "$head" $(tail -c +9 "$1" | head -c "$head" | jq -r --arg name "$2" '.[$name].data_offsets[]')
	od -An -v -w8 -td8 -j $((8 + $2 + $3)) -N $(($4 - $3)) "$1"
}

golden() { # CASE, further OPTIONs
	local dir more=${*:2}
	shared dir golden/models
	dir=$dir/$1
	golden_records "$dir/golden.safetensors" >records.jsonl
	rm -f g.lmdb*
	rl-store import "$dir/model" g.lmdb >/dev/null
	# shellcheck disable=SC2086
	rl-sft-step -q -s g.lmdb $more --batch-size 4 --steps 10 --no-shuffle --lr 1e-3 --weight-decay 0.01 --decay all <records.jsonl >metrics.jsonl
	near 1e-5 0 <(tensor "$dir/golden.safetensors" losses) <(jq .loss metrics.jsonl)
	near 0 1e-4 <(tensor "$dir/golden.safetensors" grad_norms) <(jq .grad_norm metrics.jsonl)
	rm -rf after
	rl-store export g.lmdb after >/dev/null
	worst=$(worst_change "$dir/model/model.safetensors" "$dir/step10.safetensors" after/model.safetensors)
	awk -v x="${worst%% *}" 'BEGIN { exit !(x <= 1e-6) }' || { echo "nmse of the change: $worst"; false; }
}

@test "rl-sft-step: ten steps of AdamW as PyTorch makes them, gpt2: losses, gradient norms and weights" { golden gpt2; }
@test "rl-sft-step: ten steps of AdamW as PyTorch makes them, llama: losses, gradient norms and weights" { golden llama; }
@test "rl-sft-step: the same with two ranks and with three" { golden gpt2 --ranks 2 && golden llama --ranks 3; }

@test "rl-sft-step: the loss is minus the mean log-probability of all completion tokens, the mask counted" {
	rl-logprob -q --as lp "$in" >scored
	rl-sft-step -q --batch-size 6 "$in" >metrics
	near 1e-6 0 <(jq -s 'map(.lp | add) as $s | map(.lp | length) as $n | -($s | add) / ($n | add)' scored) <(jq .loss metrics)
	fresh
	jq -c '.mask = [.tokens | keys[] | . % 2]' "$in" >masked
	rl-sft-step -q --batch-size 6 masked >metrics
	near 1e-6 0 <(jq -s 'map([.lp | to_entries[] | select(.key % 2 == 1).value]) | flatten | -add / length' scored) <(jq .loss metrics)
}

@test "rl-sft-step: rows of one pass do not see each other: beside one that is not learned, the same bits as alone" {
	tail -n 1 "$in" >alone
	{ head -n 5 "$in" | jq -c '.mask = (.tokens | map(0))'; cat alone; } >beside
	rl-sft-step -q --batch-size 6 --lr 1e-2 alone | jq -c '[.loss, .grad_norm, .tokens]' >want
	one=$(weights)
	for n in 6 3 2; do
		fresh
		tail -n $n beside | rl-sft-step -q --batch-size 6 --lr 1e-2 | jq -c '[.loss, .grad_norm, .tokens]' | cmp want -
		[ "$(weights)" = "$one" ]
	done
	# and what is beside it is really read: learned, it changes both
	fresh
	tail -n 2 "$in" | rl-sft-step -q --batch-size 6 --lr 1e-2 | jq -c '[.loss, .grad_norm, .tokens]' >other
	! cmp -s want other || false
	[ "$(weights)" != "$one" ]
}

@test "rl-sft-step: the same bits on any number of threads and any instruction set" {
	rl-sft-step -q --batch-size 3 --steps 6 --lr 1e-2 -j 1 "$in" | without_time >want
	[ "$(wc -l <want)" -eq 6 ]
	one=$(weights)
	for how in "-j 2" "-j 3" "--isa plain"; do
		fresh
		# shellcheck disable=SC2086
		rl-sft-step -q --batch-size 3 --steps 6 --lr 1e-2 $how "$in" | without_time | cmp want -
		[ "$(weights)" = "$one" ]
	done
}

@test "rl-sft-step: killed at any point, the same command ends with the same bits and the whole metrics" {
	update="rl-sft-step -q --batch-size 4 --steps 40 --lr 1e-2 --schedule cosine --warmup 3"
	for every in 1 7; do
		fresh
		$update --checkpoint-every $every "$in" | without_time >want
		[ "$(wc -l <want)" -eq 40 ]
		one=$(weights)
		fresh
		for i in 1 2 3 4 5 6; do
			$update --checkpoint-every $every "$in" >got &
			sleep 0.0$((i * 3 % 7 + 1))
			kill -9 $! 2>/dev/null || true
			wait $! || true
		done
		$update --checkpoint-every $every "$in" | without_time | cmp want -
		[ "$(weights)" = "$one" ]
	done
}

@test "rl-sft-step: a complete run trains nothing again; more steps go on; another input is another run" {
	rl-sft-step -q --steps 3 --batch-size 3 --lr 1e-2 "$in" >first
	before=$(sha256sum <run.lmdb)
	rl-sft-step -q --steps 3 --batch-size 3 --lr 1e-2 "$in" | cmp first -
	[ "$before" = "$(sha256sum <run.lmdb)" ]
	rl-sft-step -q --steps 5 --batch-size 3 --lr 1e-2 "$in" | without_time >longer
	[ "$(wc -l <longer)" -eq 5 ]
	straight=$(weights)
	fresh
	rl-sft-step -q --steps 5 --batch-size 3 --lr 1e-2 "$in" | without_time | cmp longer -
	[ "$(weights)" = "$straight" ]
	head -n 4 "$in" >fewer
	rl-sft-step -q --steps 2 --batch-size 2 --lr 1e-2 fewer >second
	[ "$(jq -s 'length' second)" -eq 2 ]
	rl-store log run.lmdb --json | grep -c '"tool":"rl-sft-step"' >updates
	[ "$(cat updates)" -eq 7 ]
}

@test "rl-sft-step: a complete run goes on with more steps where the rate falls too, and begins anew without EOS" {
	update="rl-sft-step -q --batch-size 3 --lr 1e-2 --schedule linear"
	$update --steps 3 "$in" >first
	$update --steps 3 "$in" | cmp first -
	$update --steps 6 "$in" | jq ".lr * 6000 | round" | paste -sd" " >rates
	[ "$(cat rates)" = "60 40 20 30 20 10" ]
	$update --steps 6 "$in" | jq ".lr * 6000 | round" | paste -sd" " | cmp rates -
	[ "$(rl-store log --json run.lmdb | grep -c rl-sft-step)" -eq 6 ]
	$update --steps 6 --no-append-eos "$in" >/dev/null
	[ "$(rl-store log --json run.lmdb | grep -c rl-sft-step)" -eq 12 ]
}

@test "rl-sft-step: a run of its own begins with moments of its own" {
	rl-sft-step -q --steps 3 --batch-size 3 --lr 1e-2 "$in" >/dev/null
	rl-store export -q run.lmdb first
	rl-sft-step -q --run second --steps 3 --batch-size 3 --lr 1e-2 "$in" | without_time >want
	one=$(weights)
	rm -f run.lmdb*
	rl-store import -q first run.lmdb
	rl-sft-step -q --run second --steps 3 --batch-size 3 --lr 1e-2 "$in" | without_time | cmp want -
	[ "$(weights)" = "$one" ]
}

@test "rl-sft-step: on an unfinished run another input or other options are refused, saying what changed" {
	rl-sft-step -q --steps 4000 --batch-size 3 "$in" >got &
	until [ -s got ]; do sleep 0.02; done
	kill -9 $!
	wait $! || true
	head -n 4 "$in" >fewer
	fails_with 1 "6 records then, 4 now" rl-sft-step -q --steps 4000 --batch-size 3 fewer
	fails_with 1 "seed" rl-sft-step -q --steps 4000 --batch-size 3 --seed 7 "$in"
	rl-sft-step -q --run other --steps 1 --batch-size 3 --seed 7 "$in" >/dev/null
	fails_with 1 "another run has brought it to" rl-sft-step -q --steps 4000 --batch-size 3 "$in"
}

@test "rl-sft-step: each option that decides the updates is part of a run that is not finished, of each trainer of records" {
	pairs=$testdata/preference/pairs.jsonl
	jq -c 'map_values(map(. % 61))' "$pairs" >pairs.jsonl
	for tool in rl-sft-step rl-dpo-step rl-rm-step; do
		fresh
		data=$in
		[ $tool = rl-sft-step ] || data=pairs.jsonl
		begun="$tool -q --steps 4000000 --batch-size 2 --lr 1e-3 --schedule linear --no-shuffle"
		rm -f part
		$begun "$data" >part &
		until [ -s part ]; do sleep 0.02; done
		kill -9 $!
		wait $! || true
		go_on() { fails_with 1 "$1" $begun "${@:2}" "$data"; }
		go_on "begun with batch-size=2, not batch-size=3" --batch-size 3
		go_on "begun with epochs=0, not epochs=2" --epochs 2
		go_on "begun with shuffle=0, not shuffle=1" --shuffle
		go_on "begun with seed=0, not seed=1" --seed 1
		go_on "begun with lr=0.001" --lr 2e-3
		go_on "begun with schedule=1, not schedule=2" --schedule cosine
		go_on "begun with warmup=0, not warmup=3" --warmup 3
		go_on "begun with weight-decay=0" --weight-decay .5
		go_on "begun with decay=" --decay all
		go_on "begun with betas=0.9,0.999, not betas=0.8,0.9" --betas 0.8,0.9
		go_on "begun with eps=" --eps 1e-3
		go_on "begun with max-grad-norm=1, not max-grad-norm=2" --max-grad-norm 2
		go_on "begun without optim=sgd" --optim sgd
		go_on "begun with steps=4000000, not steps=5" --steps 5
		go_on "append-eos=" --no-append-eos
		[ $tool != rl-dpo-step ] || go_on "begun with beta=" --beta 0.5
		[ $tool != rl-rm-step ] || go_on "begun with center-rewards=0" --center-rewards 1
	done
}

@test "rl-sft-step: epochs are shuffled by seed, and not with --no-shuffle; batches run on across epochs" {
	order() { rl-sft-step -q --batch-size 1 --lr 0 "$@" "$in" | jq -c .loss | paste -sd,; }
	plain=$(order)
	fresh
	[ "$(order --epochs 2 --no-shuffle)" = "$plain,$plain" ]
	fresh
	shuffled=$(order --epochs 2)
	[ "$shuffled" != "$plain,$plain" ]
	[ "$(tr , '\n' <<<"$shuffled" | sort)" = "$(tr , '\n' <<<"$plain,$plain" | sort)" ]
	fresh
	[ "$(order --epochs 2 --seed 5)" != "$shuffled" ]
	fresh
	rl-sft-step -q --batch-size 4 --epochs 2 "$in" >got
	[ "$(jq -c '[.rows, (.epoch * 6 + .5 | floor)]' got | paste -sd' ')" = '[4,4] [4,8] [4,12]' ]
	fresh
	rl-sft-step -q --batch-size 4 "$in" >got # the last batch is smaller, and no record comes twice
	[ "$(jq -c '[.rows, (.epoch * 6 + .5 | floor)]' got | paste -sd' ')" = '[4,4] [2,6]' ]
}

@test "rl-sft-step: metrics that cannot be written, and an update that cannot, say why and which" {
	rl-sft-step -q --batch-size 1 --epochs 100 "$in" >/dev/null
	fails_with 1 "No space left on device" bash -c 'rl-sft-step -q --batch-size 1 --epochs 100 "$1" >/dev/full' - "$in"
	fresh
	fails_with 1 "step 1: cannot write 'run.lmdb': a file may have" bash -c 'ulimit -f 200; exec rl-sft-step -q --batch-size 4 "$1"' - "$in"
}

@test "rl-sft-step: schedules over the whole run" {
	rates() { fresh; rl-sft-step -q --batch-size 3 --steps 4 --lr 0.004 "$@" "$in" | jq -c .lr | paste -sd,; }
	[ "$(rates --schedule linear)" = 0.004,0.003,0.002,0.001 ]
	[ "$(rates --warmup 2)" = 0,0.002,0.004,0.004 ]
	rates --schedule cosine | grep -q '^0.004,0.0034.*,0.002,0.00058'
}

@test "rl-sft-step: text and pairs are the ids of the tokenizer, a completion ended by EOS" {
	rl-tokenize -q --train --vocab-size 300 <"$testdata/contract/texts.jsonl" >tokenizer.json
	jq '.vocab_size = 300' "$testdata/tiny/config.json" >config.json
	made() { rm -f t.lmdb*; rl-store init --config config.json --tokenizer tokenizer.json --seed 1 t.lmdb >/dev/null; }
	ids() { jq -c "{text: $1}" pairs | rl-tokenize -q --tokenizer tokenizer.json | jq -c .tokens; }
	jq -c '{prompt: "say: ", completion: (.text[0:30])}' "$testdata/contract/texts.jsonl" >pairs
	made
	rl-sft-step -q -s t.lmdb --batch-size 2 --lr 1e-2 pairs | without_time >want
	one=$(weights t.lmdb)
	paste <(ids .prompt) <(ids .completion) | jq -nc '[inputs] | range(0; length; 2) as $i | {prompt_tokens: .[$i], tokens: (.[$i + 1] + [0])}' >as_ids
	made
	rl-sft-step -q -s t.lmdb --batch-size 2 --lr 1e-2 as_ids | without_time | cmp want -
	[ "$(weights t.lmdb)" = "$one" ]
	made
	jq -c '.tokens |= .[:-1]' as_ids | rl-sft-step -q -s t.lmdb --batch-size 2 --lr 1e-2 | without_time >without
	made
	rl-sft-step -q -s t.lmdb --no-append-eos --batch-size 2 --lr 1e-2 pairs | without_time | cmp without -
	made
	rl-sft-step -q -s t.lmdb --batch-size 2 --lr 1e-2 "$testdata/contract/texts.jsonl" | jq -s 'map(.tokens) | add' >all
	[ "$(cat all)" = "$(rl-tokenize -q --tokenizer tokenizer.json "$testdata/contract/texts.jsonl" | jq -s 'map(.tokens | length) | add')" ]
}

@test "rl-sft-step: records with skip or error are left out; with -k bad ones are too" {
	sed '2s/}$/,"skip":"x"}/; 4s/}$/,"error":"x"}/' "$in" >some
	rl-sft-step -q --batch-size 9 some | without_time >want
	fresh
	sed '2d; 4d' "$in" | rl-sft-step -q --batch-size 9 | without_time | cmp want -
	sed '2s/.*/{"id":"bad","prompt_tokens":[1],"tokens":[64]}/' "$in" >bad
	fails_with 1 ":2: 'tokens' has id 64 at place 1, but the vocabulary has 64" rl-sft-step -q --run a bad
	rc=0
	rl-sft-step -q --run b -k bad >got || rc=$?
	[ $rc -eq 3 ]
	jq -e '.rows == 5' got >/dev/null
}

@test "rl-sft-step: what cannot be trained on is refused by line and the store stays as it is" {
	before=$(sha256sum <run.lmdb)
	refused() { fails_with 1 "$1" rl-sft-step -q --steps 2 <(printf '%s\n' "$2"); }
	refused ":1: there is 'prompt_tokens', but no 'tokens'" '{"prompt_tokens":[65]}'
	refused "the prompt has no token" '{"prompt_tokens":[],"tokens":[1]}'
	refused "65 tokens do not fit the context of 64" "$(jq -nc '{prompt_tokens: [1], tokens: [range(64) | . % 60]}')"
	refused "neither 'prompt_tokens' nor 'prompt' nor 'text'" '{"id":"x"}'
	refused "'mask' has 1" '{"prompt_tokens":[1],"tokens":[2,3],"mask":[1]}'
	refused "no tokenizer" '{"text":"words"}'
	fails_with 1 "no record" rl-sft-step -q /dev/null
	[ "$before" = "$(sha256sum <run.lmdb)" ]
	fails_with 2 "betas" rl-sft-step -q --betas 0.9 "$in"
	fails_with 2 "two numbers in [0,1)" rl-sft-step -q --betas 0.9,1 "$in"
}

@test "rl-sft-step: weights that are not finite are never committed" {
	rl-sft-step -q --batch-size 6 --lr 1e-3 "$in" >/dev/null
	one=$(weights)
	rc=0
	rl-sft-step -q --run huge --batch-size 6 --steps 50 --lr 900 --max-grad-norm 0 --weight-decay 900 "$in" >got 2>err || rc=$?
	[ $rc -eq 1 ]
	[ "$(wc -l <err)" -eq 1 ]
	grep -qE "rollouts\.jsonl:[0-9]+: the policy.s log-probability would be (NaN|infinite) at index" err
	rl-store verify run.lmdb >/dev/null
	rl-store export -q run.lmdb committed
	python3 -c 'import struct, sys, math
data = open("committed/model.safetensors", "rb").read()
n = 8 + struct.unpack("<Q", data[:8])[0]
sys.exit(not all(map(math.isfinite, struct.unpack("<%df" % ((len(data) - n) // 4), data[n:]))))'
}

@test "rl-sft-step: a batch of empty completions changes nothing and the run goes on" {
	jq -nc '{prompt_tokens: [1, 2], tokens: []}, {prompt_tokens: [1], tokens: [3]}' >empty
	rl-sft-step -q --batch-size 1 --lr 1e-2 empty >got
	jq -se '.[0].loss == null and .[0].tokens == 0 and .[1].loss > 0' got >/dev/null
}

@test "rl-sft-step: a second trainer is refused" {
	rl-sft-step -q --steps 100000 --batch-size 3 "$in" >got &
	until [ -s got ]; do sleep 0.02; done
	fails_with 1 "another trainer" rl-sft-step -q --run two "$in"
	kill $!
	wait $! || true
}

@test "rl-sft-step: on a terminal a table of loss and time left" {
	command -v script >/dev/null || skip "script is not here"
	cd "$BATS_TEST_TMPDIR"
	rm -f run.lmdb*
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 run.lmdb
	jq -nc 'range(6) | {prompt_tokens: [1, .], tokens: [2, 3]}' >pairs.jsonl
	script -qec 'rl-sft-step -q -s run.lmdb --batch-size 2 pairs.jsonl' /dev/null </dev/null | tr -d '\r' >table
	[ "$(wc -l <table)" -eq 4 ]
	[ "$(head -n 1 table | tr -s ' ')" = " step loss grad norm lr tokens epoch s left" ]
	diff <(sed 1d table | awk '{print $1, $2, $5}') <(rl-sft-step -q -s run.lmdb --batch-size 2 pairs.jsonl | jq -r '[.step, .loss, .tokens] | @tsv' |
		awk '{printf "%d/3 %.4f %d\n", $1, $2, $3}')
	tail -n 1 table | grep -q ' 0:00$'
}

@test "rl-sft-step: --optim sgd goes on with the same bits, and refuses to go on as adamw" {
	cd "$BATS_TEST_TMPDIR"
	jq -nc 'range(6) | {prompt_tokens: [1, .], tokens: [2, 3]}' >pairs.jsonl
	for steps in "4" "2 4"; do
		rm -f run.lmdb*
		rl-store init -q --config "$testdata/tiny/config.json" --seed 1 run.lmdb
		for n in $steps; do rl-sft-step -q -s run.lmdb --optim sgd --lr 0.1 --batch-size 2 --steps $n pairs.jsonl >metrics.jsonl; done
		rm -rf exported
		rl-store export -q run.lmdb exported
		sha256sum <exported/model.safetensors >"sum$((${#steps} > 1))"
	done
	cmp sum0 sum1
	holds -s '.[0].loss - .[-1].loss > 0.01' metrics.jsonl
	# killed between two commits
	rm -f run.lmdb*
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 run.lmdb
	rl-sft-step -q -s run.lmdb --optim sgd --lr 0.1 --batch-size 2 --steps 100000 pairs.jsonl >metrics.jsonl 3>&- &
	pid=$!
	for _ in $(seq 100); do
		[ ! -s metrics.jsonl ] || break
		sleep 0.1
	done
	kill -9 $pid
	wait $pid || true
	fails_with 1 "optim=sgd" rl-sft-step -q -s run.lmdb --lr 0.1 --batch-size 2 --steps 100000 pairs.jsonl
}
