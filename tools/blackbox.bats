#!/usr/bin/env bats
# A run is recorded, and the record alone ends with the bits of the run.
load common
set -o pipefail

setup() {
	cd "$BATS_TEST_TMPDIR"
	tiny=$testdata/tiny
	export RL_STORE=run.lmdb
	export RL_REWARD='[.tokens[] | if . < 32 then 1 else 0 end] | add / length'
	cp "$tiny/prompts.jsonl" prompts.jsonl
	fresh
	generate="rl-generate -q --max-tokens 6 --batch-size 8" update="rl-ppo-step -q --lr 1e-3 --ppo-epochs 2"
}
fresh() {
	rm -f run.lmdb*
	rl-store init -q --config "$tiny/config.json" --seed 1 run.lmdb
}
pipe() { timeout -k 1 60 bash -o pipefail -c "$1"; }
without_time() { jq -cS 'with_entries(select(.key | startswith("time/") | not))' "$1"; }
weights() { # STORE[:NAME]: with a value head, where there is one
	rm -rf exported
	rl-store export -q "$1" exported && cat exported/*.safetensors | sha256sum
}

# replays SAMPLER TRAINER: the run, and its record on a copy of the store, end with the same bits and metrics.
replays() {
	local name=${RL_STORE#run.lmdb}
	rm -rf rollouts start.lmdb*
	rl-store copy run.lmdb start.lmdb
	pipe "cat prompts.jsonl | $1 | $2 --rollouts rollouts > metrics.jsonl"
	ls rollouts >files
	[ "$(wc -l <files)" -eq "$(wc -l <metrics.jsonl)" ]
	[ "$(tail -n 1 files)" = "$(printf '%06d' $(($(wc -l <metrics.jsonl) - 1))).jsonl.zst" ]
	rl-store verify -q run.lmdb >/dev/null
	RL_STORE=start.lmdb$name pipe "$2 rollouts/*.jsonl.zst > replayed.jsonl"
	cmp <(without_time metrics.jsonl) <(without_time replayed.jsonl)
	[ "$(weights "run.lmdb$name")" = "$(weights "start.lmdb$name")" ]
	# what it commits is the same too: the run goes on with what a filter would have left it
	[ -n "$(states run.lmdb)" ]
	cmp <(states run.lmdb) <(states start.lmdb)
}
# The state of run '', a blob of the store.
states() { grep -aoE '\{"closed":[^}]*\}' "$1" | grep -a '"updates":'"$(wc -l <metrics.jsonl)" | sort -u; }

@test "rollouts: what a trainer that was killed had not renamed yet is taken away, and nothing else" {
	mkdir rollouts
	touch rollouts/{.000001.jsonl.zst.aB3xYz,.000001.jsonl.zst.kept,.note,notes.jsonl.zst}
	pipe "$generate < prompts.jsonl | $update --rollouts rollouts > metrics.jsonl"
	[ "$(LC_ALL=C ls -A rollouts | paste -sd' ')" = '.000001.jsonl.zst.kept .note 000000.jsonl.zst 000001.jsonl.zst 000002.jsonl.zst 000003.jsonl.zst notes.jsonl.zst' ]
}

@test "rollouts: evaluations are in the record, which ends with the same metrics and the same best" {
	jq -c '.id = "e" + .id | .prompt_tokens |= reverse' prompts.jsonl | sed 3q >held.jsonl
	replays "$generate --eval held.jsonl --eval-every 2" "$update --best eval/reward"
	[ "$(zstdcat rollouts/000000.jsonl.zst rollouts/000002.jsonl.zst | jq -c 'select(.eval) | .batch' | paste -sd' ')" = "0 0 0 2 2 2" ]
	[ "$(weights run.lmdb:best)" = "$(weights start.lmdb:best)" ]
	grep -q 'eval/best' metrics.jsonl
}

@test "rollouts: a batch of which every row is skipped is in the record too" {
	replays "$generate | jq -c --unbuffered 'if .batch == 1 then .skip = \"x\" else . end'" "$update"
}

@test "rollouts: the record of a run, on a copy of the store, ends with the same bits and metrics" {
	replays "$generate" "$update"
	# every row with all that was computed
	zstdcat rollouts/000001.jsonl.zst >one
	jq -se 'length == 8 and all(.batch == 1 and (.tokens | length) as $n | has("bootstrap_value") and
		([.ref_logprobs, .values, .rewards, .advantages, .returns, .last_logprobs] | all(length == $n)))' one >/dev/null
	# the last pass is after one step of two
	jq -se 'all(.last_logprobs != .logprobs)' one >/dev/null
	# what came in is as it came
	fresh
	pipe "$generate < prompts.jsonl | tee in.jsonl | $update > metrics.jsonl"
	jq -cS 'del(.ref_logprobs, .values, .bootstrap_value, .rewards, .advantages, .returns, .last_logprobs)' <(zstdcat rollouts/*) |
		cmp - <(jq -cS . in.jsonl)
}

@test "rollouts: a KL coefficient that moves, in the reward, is recorded and must be the one of the batch" {
	for more in "" "--critic none --advantage reinforce" "--compat trl --kl-estimator k3"; do
		fresh
		kl="$update --adaptive-kl .01,20 --kl-coef .2 $more"
		replays "$generate" "$kl"
		# it has moved, and the files have what the lines say
		zstdcat rollouts/* | jq -s 'map([.batch, .kl_coef]) | unique | map(.[1])' >recorded
		cmp recorded <(jq -s 'map(."objective/kl_coef")' metrics.jsonl)
		holds 'length == 4 and (unique | length) == 4' recorded
		fresh
		fails_with 1 "batch 1: row 0 ('p8') has 'rewards' with a KL coefficient of" ${kl/.01,20/.01,30} rollouts/*
		fresh
		fails_with 1 "but that of --adaptive-kl is" ${kl/.2/.3} rollouts/*
	done
	# repeated from a snapshot on, and with the record written anew
	fresh
	pipe "$generate < prompts.jsonl | $kl --snapshot-every 2 --rollouts whole > metrics.jsonl"
	rl-store copy run.lmdb:000002 part.lmdb
	$kl -s part.lmdb --rollouts again whole/00000[23]* >rest.jsonl
	cmp <(without_time metrics.jsonl) <(without_time rest.jsonl)
	[ "$(weights run.lmdb)" = "$(weights part.lmdb)" ]
	cmp <(zstdcat whole/00000[23]*) <(zstdcat again/*)
	# without the controller the rewards are as they are
	fresh
	$update --kl-coef .2 $more whole/* >fixed.jsonl
	holds -s 'length == 4' fixed.jsonl
}

@test "rollouts: what is recorded is what is used; the example of rl-ppo-step(1)" {
	unset RL_REWARD RL_STORE
	sed -n '/^A run with its record/,/^\.Ed/p' "$root/man/rl-ppo-step.1" | grep '^rl-' >commands
	[ "$(wc -l <commands)" -eq 3 ]
	cp run.lmdb other.lmdb
	RL_MAX_TOKENS=6 RL_BATCH_SIZE=8 timeout 60 bash -e -o pipefail commands >replayed.jsonl
	cmp <(without_time metrics.jsonl) <(without_time replayed.jsonl)
	[ "$(weights run.lmdb)" = "$(weights start.lmdb)" ]
	zstdcat rollouts/* | jq -c '.advantages[0] += .1' | rl-ppo-step -q -s other.lmdb --reward '.tokens[0]' >other.jsonl
	[ "$(weights run.lmdb)" != "$(weights other.lmdb)" ]
}

@test "rollouts: with a critic of its own, mini-batches, other methods, a lag, and an adapter" {
	replays "$generate" "$update --critic separate --mini-batches 3 --seed 5"
	fresh
	replays "$generate" "$update --compat trl --missing-eos-penalty 1 --mini-batches 2"
	fresh
	replays "$generate -n 4" "$update --advantage grpo --kl-coef .1"
	fresh
	replays "$generate -n 4" "$update --advantage rloo"
	fresh
	replays "$generate -n 3 --greedy" "$update --advantage reinforce --baseline greedy --kl-coef 0"
	[ "$(zstdcat rollouts/000000.jsonl.zst | jq -c 'select(has("advantages") | not) | .temperature' | sort -u)" = 0 ]
	fresh
	replays "$generate" "$update --advantage reinforce --baseline moving"
	[ "$(zstdcat rollouts/000003.jsonl.zst | jq -c .state_reinforce.batches | sort -u)" = 4 ]
	fresh
	replays "$generate --lag 2" "$update --max-lag 2"
	fresh
	replays "$generate" "$update --critic none --advantage reinforce --kl-in loss --adaptive-kl .01,20"
	fresh
	rl-store lora -q --lora-r 4 run.lmdb:a
	RL_STORE=run.lmdb:a replays "$generate" "$update"
}

@test "rollouts: rows that are left out, lines that were none, and what a stage has computed are kept" {
	jq -c 'if .id == "p3" then .skip = "no" elif .id == "p20" then .error = "no" else . end' prompts.jsonl | sed '13s/.*/garbage/' >some
	mv some prompts.jsonl
	replays "{ $generate -k 2>/dev/null || [ \$? -eq 3 ]; }" "$update"
	[ "$(jq -c .skipped metrics.jsonl | paste -sd' ')" = "1 1 1 0" ]
	zstdcat rollouts/* | jq -se 'map(select(has("skip") or has("error"))) | length == 3' >/dev/null
	cp "$tiny/prompts.jsonl" prompts.jsonl
	fresh
	replays "$generate -n 4 | rl-logprob -q | rl-grpo -q --kl-coef .1 | tee staged.jsonl" "$update --advantage grpo --kl-coef .1"
	cmp <(zstdcat rollouts/* | jq -cS 'del(.last_logprobs)') <(jq -cS . staged.jsonl)
}

@test "rollouts: a stream that names no batch is recorded with its batches" {
	rl-generate -q --max-tokens 5 prompts.jsonl | jq -c 'del(.batch, .row, .batch_size, .last, .cursor) | .row = "mine"' >plain
	cp run.lmdb start.lmdb
	$update --batch-size 12 --rollouts rollouts plain >metrics.jsonl
	zstdcat rollouts/* | jq -c '[.batch, .row, .batch_size, .last]' | sed -n '1p;12p;13p;25p;32p' | paste -sd' ' |
		grep -qxF '[0,0,12,null] [0,11,12,null] [1,0,12,null] [2,0,8,true] [2,7,8,true]'
	$update -s start.lmdb rollouts/* >replayed.jsonl
	cmp <(without_time metrics.jsonl) <(without_time replayed.jsonl)
	[ "$(weights run.lmdb)" = "$(weights start.lmdb)" ]
}

@test "rollouts: a run that was killed has the same files; those of another run are not written over" {
	pipe "$generate < prompts.jsonl | $update --rollouts whole > metrics.jsonl"
	fresh
	for kill in 12 20; do
		! pipe "$generate < prompts.jsonl | sed -u ${kill}q | $update --rollouts parts > part.jsonl" 2>/dev/null || false
	done
	# one that was written, but not committed
	cp whole/000002.jsonl.zst parts/
	pipe "$generate < prompts.jsonl | $update --rollouts parts > part.jsonl"
	diff -r whole parts
	fresh
	before=$(sha256sum <run.lmdb)
	fails_with 1 "'whole' has batch 3, but run '' has trained 0" rl-ppo-step -q --rollouts whole whole/*
	diff -r whole parts
	fails_with 1 "cannot make 'no/where'" rl-ppo-step -q --rollouts no/where whole/000000.jsonl.zst
	[ "$before" = "$(sha256sum <run.lmdb)" ]
	# a file that cannot be written keeps the batch from being committed
	mkdir -p full/000000.jsonl.zst
	fails_with 1 "000000.jsonl.zst" rl-ppo-step -q --rollouts full whole/000000.jsonl.zst
	rl-store show --json run.lmdb | jq -e '.slots[0].version == 0' >/dev/null
}

# ---- versions that training can go on from ----

@test "snapshots: a copy of one goes on, from the record or from the prompts, with the bits of the run" {
	for how in "" "--critic separate" "--advantage reinforce --baseline moving"; do
		fresh
		rm -rf rollouts ./*.lmdb*
		fresh
		pipe "$generate < prompts.jsonl | $update $how --rollouts rollouts --snapshot-every 2 > metrics.jsonl"
		want=$(weights run.lmdb)
		rl-store show --json run.lmdb | jq -e '[.snapshots[] | select(.checkpoint) | [.name, .version]] == [["000002", 2], ["000004", 4]]' >/dev/null
		rl-store copy run.lmdb:000002 two.lmdb
		rl-store verify -q two.lmdb >/dev/null
		cp two.lmdb other.lmdb
		# the metrics before are the first that are printed
		$update $how -s two.lmdb rollouts/00000[23].jsonl.zst >replayed.jsonl
		cmp <(without_time metrics.jsonl) <(without_time replayed.jsonl)
		[ "$(weights two.lmdb)" = "$want" ]
		RL_STORE=other.lmdb pipe "$generate < prompts.jsonl | $update $how > sampled.jsonl"
		cmp <(without_time metrics.jsonl) <(without_time sampled.jsonl)
		[ "$(weights other.lmdb)" = "$want" ]
		[ "$how" != "--critic separate" ] || [ "$(weights other.lmdb:value)" = "$(weights run.lmdb:value)" ]
		# the last, and what is current, are the run at its end
		for name in 000004 policy; do
			rm -f end.lmdb*
			rl-store copy run.lmdb:$name end.lmdb
			$update $how -s end.lmdb rollouts/*.zst | cmp - metrics.jsonl
		done
	done
}

@test "snapshots: of an adapter and of a run with a name; their moments go with the name" {
	rl-store lora -q --lora-r 4 run.lmdb:a
	export RL_STORE=run.lmdb:a RL_RUN=second
	pipe "$generate < prompts.jsonl | $update --rollouts rollouts --snapshot-every 3 > metrics.jsonl"
	rl-store copy run.lmdb:second/000003 three.lmdb
	rl-store show --json three.lmdb | jq -c '[.slots[] | [.name, .version]], [.snapshots[] | [.name, .version]]' | paste -sd' ' |
		grep -qxF '[["a",3],["policy",0]] [["a.base",0]]'
	$update -s three.lmdb:a rollouts/000003.jsonl.zst >replayed.jsonl
	cmp <(without_time metrics.jsonl) <(without_time replayed.jsonl)
	[ "$(weights run.lmdb:a)" = "$(weights three.lmdb:a)" ]
	tensors() { rl-store verify --json run.lmdb | jq .tensors; }
	all=$(tensors)
	rl-store show run.lmdb | grep -qx 'snapshot second/000003: a@3, with moments and the state of its run'
	# A and B of two matrices in two layers, and two moments of each
	rl-store snapshot run.lmdb:second/000003 second/000003
	[ "$(tensors)" -lt "$all" ]
	some=$(tensors)
	rl-store snapshot --delete run.lmdb second/000003
	[ "$((all - $(tensors)))" -eq $((3 * (some - $(tensors)))) ]
}

@test "snapshots: a copy of a version that nothing goes on from has its weights" {
	pipe "$generate < prompts.jsonl | $update --max-lag 4 > metrics.jsonl"
	rl-store copy run.lmdb:policy@2 two.lmdb
	[ "$(weights two.lmdb)" = "$(weights run.lmdb:policy@2)" ]
	rl-store log --json two.lmdb | jq -c '[.tool, .version]' | tail -n 1 | grep -qxF '["rl-ppo-step",2]'
	# the run is not in it: the same command begins one
	rl-store verify --json two.lmdb | jq -e '.faults == 0 and .versions == 1' >/dev/null
	RL_STORE=two.lmdb pipe "$generate < prompts.jsonl | $update > again.jsonl"
	[ "$(head -n 1 again.jsonl | jq .version)" -eq 3 ]
	fails_with 1 "two.lmdb is there already" rl-store copy run.lmdb:policy two.lmdb
	fails_with 1 "no 'none'" rl-store copy run.lmdb:none new.lmdb
	[ ! -e new.lmdb ]
}

# ---- batches that nothing may be trained on ----

# spoil BATCH ROW JSON: a filter that puts fields into one record; what is no JSON makes it a line that is no record.
spoil() { echo "sed -u 's/\(.*\"batch\":$1,\"row\":$2,.*\)}\$/\1,$3}/'"; }
refused() { # TEXT OPTIONS FILE
	local before text=$1
	before=$(sha256sum <run.lmdb)
	shift
	fails_with 1 "$text" rl-ppo-step -q --lr 1e-3 "$@"
	grep -q -- '--skip-bad-batches' err || { cat err; return 1; }
	[ "$before" = "$(sha256sum <run.lmdb)" ]
}

@test "bad batches: NaN or infinity in record, gradient or weight is named, the store is as it was, and how to go on is said" {
	unset RL_REWARD
	head -n 8 prompts.jsonl | rl-generate -q --max-tokens 5 --ignore-eos |
		jq -c 'del(.batch, .row, .batch_size, .last, .cursor) | .reward = 1' >rollouts.jsonl
	with() { sed "3s/\"reward\":1}/$1}/" rollouts.jsonl >bad.jsonl; }
	with '"reward":NaN' && refused "bad.jsonl:3: not JSON" bad.jsonl
	with '"reward":1e400' && refused "bad.jsonl:3: not JSON: a number is malformed, infinite" bad.jsonl
	with '"reward":1,"values":[0,0,1e39,0,0]' && refused "bad.jsonl:3: 'values' holds 1e+39 at index 2" bad.jsonl
	with '"reward":-1e300' && refused "batch 0: row 2 ('p2'): 'rewards' would be -1e+300 at index 4" bad.jsonl
	with '"reward":1,"advantages":[0,0,0,0,0]' && sed -i 's/"logprobs":\[[^,]*/"logprobs":[-300/; s/"reward":1}/"reward":1,"advantages":[-1,0,0,0,0]}/' bad.jsonl
	refused "batch 0: row 0 ('p0'): the gradient of the policy's loss would be infinite at index 0" --critic none bad.jsonl
	with '"reward":1e37' && refused "batch 0: the gradient of 'score.weight' has" --vf-coef 1000 bad.jsonl
	jq -c '.advantages = [0, 0, 0, 0, 0]' rollouts.jsonl >none.jsonl
	refused "batch 0: after the update tensor '" --eps 0 --ppo-epochs 1 --critic none none.jsonl
	refused "batch 0: after the update the second moment of '" --max-grad-norm 0 --vf-coef 1 bad.jsonl
	# nor may it be written by more than one step
	refused "batch 0: row 0 ('p0'): the policy's log-probability would be NaN" --eps 0 --critic none none.jsonl
	jq -c 'del(.reward)' rollouts.jsonl >bad.jsonl
	refused "batch 0: none of 8 rows can be trained on" bad.jsonl
	# a rate is not what helps there
	grep -q 'mend the records' err
	! grep -q -e --lr err || false
}

@test "bad batches: up to N are passed over, counted, and a run that was stopped ends with the same bits" {
	for what in '"values":[1e39]' '"x":1e400' '"logprobs2":NaN'; do
		fresh
		rm -rf rollouts start.lmdb*
		rl-store copy run.lmdb start.lmdb
		loop="$generate < prompts.jsonl | $(spoil 1 3 "$what") | $update --skip-bad-batches 1"
		pipe "$loop --rollouts rollouts > metrics.jsonl"
		[ "$(jq -c '[.batch, .version, .rows, .skipped, .bad_batches, has("bad")]' metrics.jsonl | paste -sd' ')" = \
			'[0,1,8,0,0,false] [1,2,0,8,1,true] [2,3,8,0,1,false] [3,4,8,0,1,false]' ]
		want=$(weights run.lmdb)
		# the record alone, which has the bad batch too
		$update --skip-bad-batches 1 -s start.lmdb rollouts/* >replayed.jsonl
		cmp <(without_time metrics.jsonl | jq -c 'del(.bad)') <(without_time replayed.jsonl | jq -c 'del(.bad)')
		[ "$(weights start.lmdb)" = "$want" ]
		# stopped before it, behind it, and at once after it
		for rows in 8 12 16 20; do
			fresh
			! pipe "${loop/| rl-ppo-step/| sed -u ${rows}q | rl-ppo-step} > part.jsonl" 2>/dev/null || false
			pipe "$loop > part.jsonl"
			cmp <(without_time metrics.jsonl) <(without_time part.jsonl)
			[ "$(weights run.lmdb)" = "$want" ]
		done
	done
}

@test "bad batches: one that is passed over leaves weights, moments and a moving baseline as they were" {
	moving="--advantage reinforce --baseline moving --kl-coef 0"
	pipe "$generate < prompts.jsonl | $(spoil 2 0 '"values":[1e39]') | $update $moving --skip-bad-batches 1 --max-lag 9 > metrics.jsonl"
	[ "$(weights run.lmdb:policy@2)" = "$(weights run.lmdb:policy@3)" ]
	[ "$(weights run.lmdb:policy@2)" != "$(weights run.lmdb)" ]
	# the batches without it, in a run of three: the same weights
	fresh
	pipe "$generate < prompts.jsonl | $(spoil 2 0 '"values":[1e39]') | $update $moving --skip-bad-batches 1 --rollouts rollouts > metrics.jsonl"
	want=$(weights run.lmdb)
	fresh
	zstdcat rollouts/00000[013]* | jq -c 'del(.cursor, .state_reinforce, .advantages, .returns, .rewards)
		| .batch |= if . == 3 then 2 else . end' | $update $moving >three.jsonl
	[ "$(weights run.lmdb)" = "$want" ]
}

@test "bad batches: one that fails after steps were taken leaves what one leaves that cannot be read" {
	for critic in shared separate; do
		for batch in 0 1; do
			export RL_REWARD='.low // ([.tokens[] | if . < 32 then 1 else 0 end] | add / length)'
			more="$update --critic $critic --mini-batches 8 --skip-bad-batches 1"
			fresh
			pipe "$generate < prompts.jsonl | $(spoil $batch 3 '"values":[1e39]') | $more > metrics.jsonl"
			want=$(weights run.lmdb)
			fresh
			pipe "$generate < prompts.jsonl | jq -c --unbuffered 'if .batch == $batch and .row == 3 then .logprobs[0] = -300 | .low = -50 else . end' | $more > metrics.jsonl"
			jq -r 'select(.bad).bad' metrics.jsonl | grep -qxF "row 3 ('p$((batch * 8 + 3))'): the gradient of the policy's loss would be infinite at index 0"
			[ "$(weights run.lmdb)" = "$want" ]
		done
	done
}

@test "bad batches: one more than N is refused, and the next start goes on there; the first of a run can be one" {
	both="$(spoil 0 3 '"values":[1e39]') | $(spoil 2 3 '"values":[1e39]')"
	! pipe "$generate < prompts.jsonl | $both | $update --skip-bad-batches 1 > metrics.jsonl" 2>err || false
	grep -q "batch 2: standard input:20: row 3: 'values' holds 1e+39 at index 0, not a float32; the store is as it was, and 1 of --skip-bad-batches 1 were passed over before" err
	[ "$(jq -c '[.batch, .bad_batches]' metrics.jsonl | paste -sd' ')" = '[0,1] [1,1]' ]
	pipe "$generate < prompts.jsonl | $both | $update --skip-bad-batches 2 > metrics.jsonl"
	[ "$(jq -c '[.batch, .bad_batches]' metrics.jsonl | paste -sd' ')" = '[0,1] [1,1] [2,2] [3,2]' ]
	want=$(weights run.lmdb)
	fresh
	pipe "$generate < prompts.jsonl | $both | rl-ppo-step --lr 1e-3 --ppo-epochs 2 --skip-bad-batches 2 --critic shared > metrics.jsonl" 2>err
	[ "$(weights run.lmdb)" = "$want" ]
	grep -q "batch 0 is passed over: standard input:4: row 3: 'values' holds" err
	# a line that says where the sampler stands is not lost in silence
	fresh
	! pipe "$generate < prompts.jsonl | $(spoil 1 7 '"x":NaN') | $update --skip-bad-batches 1 > metrics.jsonl" 2>err || false
	grep -q "it may have said where the sampler stands" err
	# a stream that names no batch
	fresh
	rl-generate -q --max-tokens 5 prompts.jsonl | jq -c 'del(.batch, .row, .batch_size, .last, .cursor)' >plain
	for line in 1 7 8 9 16 32; do
		fresh
		sed "${line}s/^/x/" plain | $update --batch-size 8 --skip-bad-batches 1 >metrics.jsonl
		[ "$(jq -c '[.batch, .rows]' metrics.jsonl | wc -l)" -eq 4 ]
		[ "$(jq 'select(has("bad")).batch' metrics.jsonl)" = $(((line - 1) / 8)) ]
	done
}

# ---- commits of several updates ----

@test "checkpoints: between them samplers have the policy alone; weights and metrics are those of a commit each time" {
	for how in "" "--critic separate" "--advantage reinforce --baseline moving"; do
		fresh
		pipe "$generate < prompts.jsonl | $update $how > each.jsonl"
		want=$(weights run.lmdb)
		fresh
		pipe "$generate < prompts.jsonl | $update $how --checkpoint-every 3 > metrics.jsonl"
		cmp <(without_time each.jsonl) <(without_time metrics.jsonl)
		[ "$(weights run.lmdb)" = "$want" ]
		[ "$(rl-store log --json run.lmdb | jq 'select(.metrics).version' | paste -sd' ')" = "1 2 3 4" ]
	done
	# stopped after the fifth update: two were not committed
	loop="$generate --epochs 2 < prompts.jsonl | $update --checkpoint-every 3"
	fresh
	pipe "$loop > whole.jsonl"
	want=$(weights run.lmdb)
	fresh
	! pipe "${loop/| rl-ppo-step/| sed -u 40q | rl-ppo-step} > part.jsonl" 2>/dev/null || false
	[ "$(wc -l <part.jsonl)" -eq 5 ]
	rl-store show --json run.lmdb | jq -e '.slots[0].version == 3' >/dev/null
	# what is published is the policy, without moments
	[ "$(rl-store verify --json run.lmdb | jq .versions)" -eq 3 ]
	rl-store log --json run.lmdb:policy | jq .version | tail -n 1 | grep -qx 3
	# another program that writes takes what was published away, and the run goes on all the same
	cp run.lmdb other.lmdb
	rl-store snapshot other.lmdb here
	[ "$(rl-store verify --json other.lmdb | jq .versions)" -eq 2 ]
	for store in run.lmdb other.lmdb; do
		RL_STORE=$store pipe "$loop > part.jsonl"
		cmp <(without_time whole.jsonl) <(without_time part.jsonl)
		[ "$(weights $store)" = "$want" ]
	done
	fails_with 2 "--skip-bad-batches goes back to the last commit" rl-ppo-step --checkpoint-every 2 --skip-bad-batches 1
}

@test "checkpoints: a lag, an adapter, and a second stage have the versions that they need" {
	fresh
	pipe "$generate --lag 2 < prompts.jsonl | $update --max-lag 2 > each.jsonl"
	want=$(weights run.lmdb)
	fresh
	pipe "$generate --lag 2 < prompts.jsonl | $update --max-lag 2 --checkpoint-every 9 > metrics.jsonl"
	cmp <(without_time each.jsonl) <(without_time metrics.jsonl)
	[ "$(weights run.lmdb)" = "$want" ]
	fresh
	! pipe "$generate --lag 2 < prompts.jsonl | sed -u 24q | $update --max-lag 2 --checkpoint-every 2 > part.jsonl" 2>/dev/null || false
	pipe "$generate --lag 2 < prompts.jsonl | $update --max-lag 2 --checkpoint-every 2 > metrics.jsonl"
	cmp <(without_time each.jsonl) <(without_time metrics.jsonl)
	[ "$(weights run.lmdb)" = "$want" ]
	for every in 1 3; do
		fresh
		rl-store lora -q --lora-r 4 run.lmdb:a
		RL_STORE=run.lmdb:a pipe "$generate < prompts.jsonl | rl-generate -q --as again --prompt .tokens --max-tokens 2 | tee again.$every | $update --checkpoint-every $every > metrics.$every"
		weights run.lmdb:a >sum.$every
	done
	cmp sum.1 sum.3
	cmp again.1 again.3
}
