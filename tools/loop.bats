#!/usr/bin/env bats
# The loop as a user has it: who is in it, nothing hangs, and a killed run ends with the same bits.
bats_require_minimum_version 1.5.0
set -o pipefail

tiny=$BATS_TEST_DIRNAME/../testdata/tiny
# The share of ids below 32: something that a policy over ids can learn.
low='[.tokens[] | if . < 32 then 1 else 0 end] | add / length'
generate="rl-generate -q --max-tokens 6 --batch-size 8"
update="rl-ppo-step -q --lr 1e-3 --ppo-epochs 2"

fresh() {
	rm -f run.lmdb*
	rl-store init --config "$tiny/config.json" --seed 1 run.lmdb
}
setup() {
	cd "$BATS_TEST_TMPDIR"
	export RL_STORE=run.lmdb RL_REWARD=$low
	cp "$tiny/prompts.jsonl" prompts.jsonl
	fresh
}

within() { # SECONDS COMMAND: fails when it takes longer, which here means that it hangs
	local rc=0
	timeout -k 1 "$@" || rc=$?
	[ $rc -ne 124 ] || echo "hangs: ${*:2}"
	return $rc
}
pipe() { within "$1" bash -o pipefail -c "$2"; }
without_time() { jq -cS 'with_entries(select(.key | startswith("time/") | not))' "$1"; }
weights() {
	rm -rf exported
	rl-store export "$1" exported && sha256sum <exported/model.safetensors
}

@test "off-policy: weights of rows that a version before sampled; on-policy all are 1 and change no bit" {
	within 20 bash -c "$generate < prompts.jsonl | $update" >plain
	want=$(weights run.lmdb)
	fresh
	within 20 bash -c "$generate < prompts.jsonl | $update --proximal always" >always
	[ "$(weights run.lmdb)" = "$want" ]
	jq -se 'all(.["offpolicy/rows"] == .rows and .["offpolicy/lag"] == 0 and .["sampling/importance_sampling_ratio/min"] == 1
		and .["sampling/importance_sampling_ratio/max"] == 1 and .["sampling/sampling_logp_difference/max"] == 0)' always >/dev/null
	[ "$(jq -s 'map(has("offpolicy/rows")) | any' plain)" = false ]
	fresh
	within 20 bash -c "$generate --lag 1 < prompts.jsonl | tee rolled | $update --max-lag 1 --importance-max 100" >lagged
	# batch 0 is of the version before it; from batch 1 on each row is one update behind
	[ "$(jq -c '.["offpolicy/lag"]' lagged | paste -sd' ')" = "null 1 1 1" ]
	lagged=$(weights run.lmdb)
	# the same numbers by rl-logprob: of batch 1 under the version after batch 0
	fresh
	within 20 bash -c "jq -c 'select(.batch == 0)' rolled | $update --steps 1" >/dev/null
	jq -c 'select(.batch == 1)' rolled | rl-logprob -q -s run.lmdb:policy --as proximal |
		jq -sc '[.[] | [.proximal, .logprobs] | transpose[] | .[0] - .[1]] | {mean: (map(fabs) | add / length), ratio: (map(exp) | add / length)}' >byhand
	jq -se '.[0] as $h | .[2] as $m | (($h.mean - $m["sampling/sampling_logp_difference/mean"]) | fabs) < 1e-6
		and (($h.ratio - $m["sampling/importance_sampling_ratio/mean"]) | fabs) < 1e-6 and $h.mean > 0' byhand lagged >/dev/null
	for other in "--proximal never" "--importance none" "--importance-max 1"; do
		fresh
		within 20 bash -c "$generate --lag 1 < prompts.jsonl | $update --max-lag 1 $other" >/dev/null
		[ "$(weights run.lmdb)" != "$lagged" ]
	done
	run -2 rl-ppo-step -q --importance-min 3 --importance-max 2
	[[ "$output" == *"--importance-min is 3, but --importance-max 2"* ]]
}

@test "loop: a pipe of two trains, one update a batch, each batch sampled after the update before" {
	pipe 60 "$generate < prompts.jsonl | tee rollouts.jsonl | $update > metrics.jsonl"
	[ "$(wc -l <metrics.jsonl)" -eq 4 ]
	[ "$(jq -c '[.batch, .policy_version] | select(.[0] != .[1])' rollouts.jsonl | wc -l)" -eq 0 ]
	[ "$(jq -s 'map(.last // false) | map(select(.)) | length' rollouts.jsonl)" -eq 8 ]
}

@test "loop: on-policy rollouts have ratio exactly 1 and KL exactly 0 at the first update" {
	pipe 60 "$generate < prompts.jsonl | rl-ppo-step -q --lr 1e-3 --ppo-epochs 1 > metrics.jsonl"
	[ "$(jq -c 'select(.["val/ratio"] != 1)' metrics.jsonl | wc -l)" -eq 0 ]
	[ "$(head -n 1 metrics.jsonl | jq '.["objective/kl"]')" = 0 ]
}

@test "loop: rl-grpo in the pipe trains what the trainer trains alone" {
	pipe 60 "$generate -n 4 < prompts.jsonl | $update --advantage grpo > plain.jsonl"
	[ "$(wc -l <plain.jsonl)" -eq 16 ]
	plain=$(weights run.lmdb)
	fresh
	pipe 60 "$generate -n 4 < prompts.jsonl | rl-grpo -q | $update --advantage grpo > with.jsonl"
	[ "$(weights run.lmdb)" = "$plain" ]
	cmp <(without_time plain.jsonl) <(without_time with.jsonl)
}

@test "loop: a greedy completion of each prompt is the baseline of the others (ReMax), in the pipe and in the trainer" {
	remax="--baseline greedy --kl-coef 0"
	pipe 60 "$generate -n 3 --greedy < prompts.jsonl | $update --advantage reinforce $remax > plain.jsonl"
	[ "$(jq -c '[.rows, .skipped]' plain.jsonl | sort -u)" = '[6,2]' ]
	plain=$(weights run.lmdb)
	fresh
	pipe 60 "$generate -n 3 --greedy < prompts.jsonl | rl-reinforce -q $remax | $update --advantage reinforce $remax > with.jsonl"
	[ "$(weights run.lmdb)" = "$plain" ]
	cmp <(without_time plain.jsonl) <(without_time with.jsonl)
	fresh
	run -1 pipe 60 "$generate -n 3 --greedy < prompts.jsonl | sed -u 12q | $update --advantage reinforce $remax > part.jsonl"
	pipe 60 "$generate -n 3 --greedy < prompts.jsonl | $update --advantage reinforce $remax > with.jsonl"
	[ "$(weights run.lmdb)" = "$plain" ]
}

@test "resume: rl-reinforce with a moving baseline goes on from what was committed" {
	moving="--baseline moving --kl-coef 0" baseline="--advantage reinforce"
	pipe 60 "$generate < prompts.jsonl | rl-reinforce -q $moving | $update $baseline $moving > plain.jsonl"
	[ "$(wc -l <plain.jsonl)" -eq 4 ]
	plain=$(weights run.lmdb)
	fresh
	run -1 pipe 60 "$generate < prompts.jsonl | rl-reinforce -q $moving | sed -u 20q | $update $baseline $moving > part.jsonl"
	[ "$(wc -l <part.jsonl)" -eq 2 ]
	pipe 60 "$generate < prompts.jsonl | rl-reinforce -q $moving | $update $baseline $moving > with.jsonl"
	[ "$(weights run.lmdb)" = "$plain" ]
	cmp <(without_time plain.jsonl) <(without_time with.jsonl)
	fresh
	pipe 60 "$generate < prompts.jsonl | $update $baseline $moving > with.jsonl"
	[ "$(weights run.lmdb)" = "$plain" ]
}

@test "loop: the same command on a complete run changes nothing and prints the same metrics" {
	pipe 60 "$generate < prompts.jsonl | $update > first.jsonl"
	before=$(sha256sum <run.lmdb)
	pipe 60 "$generate < prompts.jsonl | $update > second.jsonl"
	cmp first.jsonl second.jsonl
	[ "$before" = "$(sha256sum <run.lmdb)" ]
}

@test "loop: another run goes on from the weights as they are" {
	pipe 60 "$generate < prompts.jsonl | $update > first.jsonl"
	one=$(weights run.lmdb)
	RL_RUN=second pipe 60 "$generate < prompts.jsonl | $update > second.jsonl"
	[ "$(wc -l <second.jsonl)" -eq 4 ]
	[ "$one" != "$(weights run.lmdb)" ]
}

@test "loop: --steps goes over the input as often as needed and ends by itself" {
	pipe 60 "$generate --steps 6 < prompts.jsonl | $update > metrics.jsonl"
	[ "$(wc -l <metrics.jsonl)" -eq 6 ]
}

@test "loop: the trainer's --steps closes the run and the sampler ends with it" {
	pipe 60 "$generate --epochs 100 < prompts.jsonl | $update --steps 3 > metrics.jsonl"
	[ "$(wc -l <metrics.jsonl)" -eq 3 ]
}

@test "in the loop: into a file, head and jq a sampler ends by itself" {
	within 20 $generate prompts.jsonl >out.jsonl
	[ "$(wc -l <out.jsonl)" -eq 32 ]
	within 20 bash -c "$generate < prompts.jsonl | head -n 3 > three"
	[ "$(wc -l <three)" -eq 3 ]
	within 20 bash -c "$generate < prompts.jsonl | jq -c .tokens > tokens"
	[ "$(wc -l <tokens)" -eq 32 ]
}

@test "in the loop: a second trainer is refused, the store stays as it is" {
	mkfifo gate
	rl-ppo-step -q --lr 1e-3 <gate >/dev/null 2>&1 3>&- &
	first=$!
	exec 9>gate
	sleep 0.3
	before=$(sha256sum <run.lmdb)
	run -1 --separate-stderr within 10 rl-ppo-step -q --lr 1e-3 <prompts.jsonl
	[[ $stderr == *"another trainer"* ]]
	[ "$before" = "$(sha256sum <run.lmdb)" ]
	kill $first
	exec 9>&-
}

# Two of four batches are trained, then the input of the trainer ends.
interrupted() {
	run pipe 60 "$generate < prompts.jsonl | sed -u 16q | $update > metrics.jsonl"
	[ "$status" -ne 0 ]
	[ "$(wc -l <metrics.jsonl)" -eq 2 ]
}

@test "in the loop: on an interrupted store a sampler into a file begins at record 0 and changes nothing" {
	interrupted
	before=$(sha256sum <run.lmdb)
	within 20 $generate prompts.jsonl >out.jsonl
	[ "$(wc -l <out.jsonl)" -eq 32 ]
	[ "$(head -n 1 out.jsonl | jq -r '.id, .policy_version' | tr '\n' ' ')" = "p0 2 " ]
	[ "$before" = "$(sha256sum <run.lmdb)" ]
}

@test "no hang: jq --unbuffered and python3 -u train" {
	pipe 60 "$generate < prompts.jsonl | jq -c --unbuffered . | $update > metrics.jsonl"
	[ "$(wc -l <metrics.jsonl)" -eq 4 ]
	command -v python3 >/dev/null || skip "python3 is not here"
	RL_RUN=b pipe 60 "$generate < prompts.jsonl | python3 -u -c 'import sys
for line in sys.stdin: sys.stdout.write(line)' | $update > metrics.jsonl"
	[ "$(wc -l <metrics.jsonl)" -eq 4 ]
}

# named_within_15_seconds FILTER TEXT: the trainer says TEXT while it waits.
named_within_15_seconds() {
	setsid bash -c "$generate < prompts.jsonl | $1 | $update" >/dev/null 2>said 3>&- &
	pid=$!
	for _ in $(seq 150); do
		grep -q 'drops or holds' said && break
		sleep 0.1
	done
	kill -9 -- -$pid || true
	cat said
	grep -q "$2" said
}

@test "no hang: a filter that drops records is named within 15 seconds" {
	named_within_15_seconds 'sed -u 3d' 'batch 0: 7 of 8 rows'
}

@test "no hang: a filter that has let nothing through is named within 15 seconds" {
	named_within_15_seconds 'jq -c .' 'batch 0: no row yet'
}

@test "no hang: a filter that drops a whole batch is named, and the batch is the right one" {
	named_within_15_seconds "jq -c --unbuffered 'select(.batch != 1)'" 'batch 1: no row yet'
}

@test "no hang: sampler and trainer in different runs are told so" {
	run --separate-stderr pipe 30 "$generate < prompts.jsonl | $update --run other"
	[ "$status" -ne 0 ]
	[[ $stderr == *"the sampler is in run '', but this is run 'other'"* ]]
	[ "$(rl-store show --json run.lmdb | jq '[.. | .version? // empty] | max')" -le 0 ]
}

@test "loop: with -k a line that is no record is counted, and the run goes on" {
	sed -i '13s/.*/garbage/' prompts.jsonl
	run --separate-stderr within 60 bash -c "$generate -k < prompts.jsonl | $update > metrics.jsonl; echo \${PIPESTATUS[*]}"
	[ "$output" = "3 0" ]
	[ "$(jq -s 'map(.rows) | add' metrics.jsonl)" -eq 31 ]
	[ "$(jq -s 'map(.skipped) | add' metrics.jsonl)" -eq 1 ]
}

@test "loop: prompts with skip or error are rows that are left out, by any stage before the sampler" {
	jq -c 'if .id == "p3" then .skip = "no" elif .id == "p20" then .error = "no" else . end' prompts.jsonl >some.jsonl
	pipe 60 "$generate < some.jsonl | tee rollouts.jsonl | $update > metrics.jsonl"
	[ "$(jq -c '[.rows, .skipped]' metrics.jsonl | tr -d '\n')" = '[7,1][8,0][7,1][8,0]' ]
	[ "$(jq -c 'select(.id == ("p3", "p20")) | has("tokens")' rollouts.jsonl | sort -u)" = false ]
}

@test "loop: a complete run says so; fewer --steps than were made are refused" {
	pipe 60 "$generate < prompts.jsonl | $update > first.jsonl"
	run --separate-stderr pipe 60 "$generate < prompts.jsonl | rl-ppo-step --lr 1e-3 --ppo-epochs 2"
	[ "$status" -eq 0 ]
	[[ $stderr == *"run '' is complete after 4 updates"* ]]
	fresh
	interrupted
	run --separate-stderr pipe 30 "$generate < prompts.jsonl | $update --steps 2"
	[ "$status" -ne 0 ]
	[[ $stderr == *"has made 2 updates already, and --steps is 2"* ]]
}

@test "no hang: kill -9 of any stage ends all with a non-zero status" {
	for stage in rl-generate 'jq -c --unbuffered' rl-ppo-step; do
		fresh
		rm -f metrics.jsonl
		setsid timeout 30 bash -o pipefail -c "$generate --epochs 1000 < prompts.jsonl | jq -c --unbuffered . | $update > metrics.jsonl" 2>said 3>&- &
		pid=$!
		for _ in $(seq 200); do
			[ -s metrics.jsonl ] && break
			sleep 0.05
		done
		pkill -9 -s $pid -f "^$stage"
		rc=0
		wait $pid || rc=$?
		echo "$stage: $rc"
		[ $rc -ne 0 ]
		[ $rc -ne 124 ]
	done
}

@test "resume: a sampler that is slow to die keeps the next one waiting, not out of the loop" {
	loop="$generate --epochs 8 < prompts.jsonl | $update"
	pipe 60 "$loop > whole.jsonl"
	whole=$(weights run.lmdb)
	fresh
	rm -f part.jsonl
	setsid bash -o pipefail -c "$loop > part.jsonl" 2>/dev/null 3>&- &
	pid=$!
	for _ in $(seq 200); do
		[ ! -s part.jsonl ] || break
		sleep 0.02
	done
	pkill -STOP -s $pid -f '^rl-generate'
	pkill -9 -s $pid -f '^rl-ppo-step'
	while pgrep -s $pid -f '^rl-ppo-step' >/dev/null; do sleep 0.01; done
	{ sleep 0.7 && pkill -9 -s $pid -f '^rl-generate'; } 3>&- &
	pipe 60 "$loop > part.jsonl"
	[ "$(weights run.lmdb)" = "$whole" ]
	diff <(without_time whole.jsonl) <(without_time part.jsonl)
	wait
}

@test "resume: with another input or other options it is refused, saying what changed" {
	interrupted
	before=$(sha256sum <run.lmdb)
	tac prompts.jsonl >other.jsonl
	run --separate-stderr pipe 30 "$generate < other.jsonl | $update"
	[ "$status" -ne 0 ]
	[[ $stderr == *"the first 16 input records are not those"* ]]
	run --separate-stderr pipe 30 "$generate --temperature 0.5 < prompts.jsonl | $update"
	[ "$status" -ne 0 ]
	[[ $stderr == *"temperature=1"*"temperature=0.5"* ]]
	run --separate-stderr pipe 30 "$generate --stop x < prompts.jsonl | $update"
	[ "$status" -ne 0 ]
	[[ $stderr == *"begun without stop=x"* ]]
	[ "$before" = "$(sha256sum <run.lmdb)" ]
}

@test "resume: with --greedy and then without, or the other way round, it is refused" {
	for first in "" --greedy; do
		fresh
		run -1 pipe 60 "$generate $first < prompts.jsonl | sed -u 12q | $update > part.jsonl"
		run -1 pipe 60 "$generate $([ $first ] || echo --greedy) < prompts.jsonl | $update > rest.jsonl"
		[[ $output == *greedy* ]] || { echo "$output"; return 1; }
	done
}

@test "sampler: tokens and log-probs are the same for any batch size and thread count" {
	rl-generate -q --max-tokens 8 --batch-size 32 -j 1 prompts.jsonl | jq -c '[.id, .tokens, .logprobs]' >a
	for b in 1 7; do
		for j in 1 2; do
			rl-generate -q --max-tokens 8 --batch-size $b -j $j prompts.jsonl | jq -c '[.id, .tokens, .logprobs]' >b
			cmp a b
		done
	done
	rl-generate -q --max-tokens 8 --max-running 3 prompts.jsonl | jq -c '[.id, .tokens, .logprobs]' >b
	cmp a b
}

@test "sampler: every instruction set of this machine gives the same tokens and log-probs" {
	rl-generate -q --max-tokens 8 prompts.jsonl | jq -c '[.id, .tokens, .logprobs]' >a
	for isa in avx512 avx2 plain neon; do
		rl-generate -q --max-tokens 8 --isa $isa prompts.jsonl >b.full 2>/dev/null || continue
		echo "$isa"
		jq -c '[.id, .tokens, .logprobs]' b.full >b
		cmp a b
	done
}

@test "sampler = trainer: rl-logprob gives the very same numbers" {
	rl-generate -q --max-tokens 8 prompts.jsonl >rollouts.jsonl
	rl-logprob -q --as again rollouts.jsonl | jq -c 'select(.again != .logprobs)' >different
	[ ! -s different ]
}

# ---- a second stage (--as) ----

# It goes on from what the first wrote; the reward is on what it wrote itself.
again="rl-generate -q --as again --prompt '.prompt_tokens + .tokens' --max-tokens 5"
of_again='[.again.tokens[] | if . < 32 then 1 else 0 end] | add / length'

@test "second stage: it has no part in the loop: a run beside it ends with the bits of one without" {
	pipe 60 "$generate < prompts.jsonl | $update > plain.jsonl"
	plain=$(weights run.lmdb)
	fresh
	pipe 60 "$generate < prompts.jsonl | $again | $update > metrics.jsonl"
	[ "$(weights run.lmdb)" = "$plain" ]
	diff <(without_time plain.jsonl) <(without_time metrics.jsonl)
	# the same command again, and a run that goes on
	pipe 60 "$generate < prompts.jsonl | $again | $update > metrics.jsonl"
	diff <(without_time plain.jsonl) <(without_time metrics.jsonl)
	# before the first stage too
	fresh
	pipe 60 "rl-generate -q --as before --prompt .prompt_tokens --max-tokens 2 < prompts.jsonl | $generate | $update > metrics.jsonl"
	[ "$(weights run.lmdb)" = "$plain" ]
}

@test "second stage: each record is sampled from the version that sampled it before" {
	export RL_REWARD=$of_again
	pipe 60 "$generate < prompts.jsonl | $again | tee rollouts.jsonl | $update --max-lag 4 > metrics.jsonl"
	[ "$(jq -c '[.batch, .policy_version, .again.policy_version] | select(.[0] != .[1] or .[0] != .[2])' rollouts.jsonl | wc -l)" -eq 0 ]
	[ "$(wc -l <metrics.jsonl)" -eq 4 ]
	# afterwards, from what is recorded, in any order: the trainer was told to keep these versions
	jq -c 'del(.again)' rollouts.jsonl | shuf --random-source=<(yes) | tee shuffled | eval "$again" | sort | cmp - <(sort rollouts.jsonl)
	# they are of these versions: in another one they would be others
	jq -c 'select(.batch == 1) | del(.again)' rollouts.jsonl | eval "$again -s run.lmdb:policy@2" >other
	[ "$(jq -c .again.logprobs other | grep -cxFf <(jq -c .again.logprobs rollouts.jsonl))" -eq 0 ]
	[ "$(jq -c .again.policy_version other | sort -u)" = 2 ]
	# groups, and groups of groups, name the version of their items
	jq -c 'select(.batch == 1) | del(.again)' rollouts.jsonl | rl-group -q --across --by .batch | tee one |
		eval "${again/.prompt_tokens + .tokens/.items[0].tokens}" | jq -e '.again.policy_version == 1'
	rl-group -q --by '"all"' one | eval "${again/.prompt_tokens + .tokens/[7]}" | jq -e '.again.policy_version == 1'
	run -1 --separate-stderr eval "rl-group -q --across --by '\"all\"' rollouts.jsonl | ${again/.prompt_tokens + .tokens/[7]}"
	[[ $stderr == *":1: 'policy_version' is 0 in one item and 1 in another" ]]
}

@test "second stage: with a lag too, though the policy may be ahead" {
	export RL_REWARD=$of_again
	pipe 60 "$generate --lag 2 < prompts.jsonl | $again | tee rollouts.jsonl | $update --max-lag 2 > metrics.jsonl"
	[ "$(jq -c '[.batch, .policy_version, .again.policy_version]' rollouts.jsonl | uniq | tr -d '\n')" = '[0,0,0][1,0,0][2,0,0][3,1,1]' ]
}

@test "second stage: a version that is gone is named; records that name none have the one that was there" {
	pipe 60 "$generate < prompts.jsonl | tee rollouts.jsonl | $update > metrics.jsonl"
	run -1 --separate-stderr eval "jq -c 'select(.batch == 2)' rollouts.jsonl | $again"
	[[ $stderr == "rl-generate: standard input:1: 'policy_version' is 2: 'run.lmdb' has no 'policy@2'; it has policy (version 4)"* ]]
	[ "$(wc -l <<<"$stderr")" -eq 1 ]
	jq -c 'select(.batch == 2)' rollouts.jsonl | eval "$again -s run.lmdb:policy" | jq -se 'length == 8 and all(.again.policy_version == 4)'
	jq -c 'del(.policy_version)' rollouts.jsonl | eval "$again" | jq -se 'length == 32 and all(.again.policy_version == 4)'
}

@test "second stage: margins to an answer, its reward back to the margins, in a loop" {
	export RL_REWARD=.reward_answer
	jq -nc 'range(8) as $d | range(3) as $i | {id: "d\($d)/\($i)", doc: "d\($d)", of: 3, prompt_tokens: [$d + 1, $i + 20]}' >segments.jsonl
	answer="rl-group -q --by .doc | rl-generate -q --as answer --max-tokens 5 --prompt '.items | map(.tokens) | add + [9]'"
	reward="rl-reward-jq -q answer '[.answer.tokens[] | if . < 32 then 1 else 0 end] | add / length' | rl-group -q -u --give reward_answer"
	pipe 60 "rl-generate -q --max-tokens 6 --batch-size 12 < segments.jsonl | $answer | tee answers.jsonl | $reward | tee rollouts.jsonl | $update > metrics.jsonl"
	[ "$(jq -s 'map(.rows) | add' metrics.jsonl)" -eq 24 ]
	[ "$(wc -l <answers.jsonl)" -eq 8 ]
	jq -se 'group_by(.doc) | length == 8 and all(length == 3 and (map(.reward_answer) | unique | length == 1))' rollouts.jsonl
	jq -se 'all(.answer.policy_version == .items[0].batch)' answers.jsonl
	jq -se 'all(.answer.prompt_tokens == (.items | map(.tokens) | add + [9]))' answers.jsonl
}

@test "second stage: one that is at work for long is not taken for one that holds records back" {
	jq '.hidden_size = 256 | .intermediate_size = 512 | .num_hidden_layers = 8' "$tiny/config.json" >config.json
	rm -f run.lmdb*
	rl-store init --config config.json --seed 1 run.lmdb
	setsid bash -c "$generate < prompts.jsonl | tee first.jsonl | ${again/5/50} --ignore-eos --device ref | $update" >/dev/null 2>said 3>&- &
	pid=$!
	for _ in $(seq 200); do
		[ ! -s first.jsonl ] || [ "$(wc -l <first.jsonl)" -lt 8 ] || break
		sleep 0.05
	done
	# stopped at its work, as good as a slow machine
	sleep 0.5
	pkill -STOP -s $pid -f '^rl-generate.*--as'
	sleep 13
	kill -9 -- -$pid || true
	cat said
	[ ! -s said ]
}

# ---- a mix of rewards ----

components="rl-reward-jq -q low '$low' | rl-reward-jq -q each '[.tokens[] | . / 10]'"
mix="rl-reward-mix -q -w low=1 -w each=0..0.5:3 --normalize low --normalize each --clip each=-2..2 --percentile 30 --percentile-warmup 12 --percentile-window 20"

@test "mix: statistics and weights go on over batches, and are in the state of the run" {
	unset RL_REWARD
	pipe 60 "$generate < prompts.jsonl | $components | $mix | tee mixed.jsonl | $update > metrics.jsonl"
	[ "$(wc -l <metrics.jsonl)" -eq 4 ]
	[ "$(jq -s 'map(.rows) | add' metrics.jsonl)" -eq "$(jq -c 'select(.skip == null)' mixed.jsonl | wc -l)" ]
	[ "$(jq -s 'map(.skipped) | add' metrics.jsonl)" -ge 3 ]
	# the same from the file at once, without a store
	unset RL_STORE
	jq -c 'del(.mix, .reward, .skip, .state_mix)' mixed.jsonl | eval "$mix" | cmp - mixed.jsonl
}

@test "mix: interrupted between two batches it goes on from what was committed, beside another stage with memory" {
	unset RL_REWARD
	moving="--baseline moving --kl-coef 0" baseline="--advantage reinforce"
	loop="$generate < prompts.jsonl | $components | $mix | rl-reinforce -q $moving"
	pipe 60 "$loop | $update $baseline $moving > plain.jsonl"
	[ "$(wc -l <plain.jsonl)" -eq 4 ]
	plain=$(weights run.lmdb)
	fresh
	run -1 pipe 60 "$loop | sed -u 20q | $update $baseline $moving > part.jsonl"
	[ "$(wc -l <part.jsonl)" -eq 2 ]
	pipe 60 "$loop | $update $baseline $moving > with.jsonl"
	[ "$(weights run.lmdb)" = "$plain" ]
	cmp <(without_time plain.jsonl) <(without_time with.jsonl)
}

@test "loop: a batch of which every row is skipped changes no weight, and the run goes on" {
	pipe 60 "$generate < prompts.jsonl | jq -c --unbuffered 'if .batch == 1 then .skip = \"x\" else . end' | tee rollouts.jsonl | $update > metrics.jsonl"
	[ "$(jq -c '[.batch, .version, .rows, .skipped, .["objective/scores"] == null]' metrics.jsonl | tr -d '\n')" = '[0,1,8,0,false][1,2,0,8,true][2,3,8,0,false][3,4,8,0,false]' ]
	# a coefficient that follows the KL has seen none
	fresh
	pipe 60 "$generate < prompts.jsonl | jq -c --unbuffered 'if .batch == 1 then .skip = \"x\" else . end' | $update --adaptive-kl 0.01,10 > metrics.jsonl"
	[ "$(jq -c '.["objective/scores"] == null' metrics.jsonl | paste -sd' ')" = "false true false false" ]
	# batch 2 is sampled from what batch 0 left
	fresh
	pipe 60 "$generate < prompts.jsonl | jq -c --unbuffered 'if .batch == 1 then .skip = \"x\" else . end' | $update --steps 2 > metrics.jsonl"
	two=$(weights run.lmdb)
	fresh
	pipe 60 "$generate < prompts.jsonl | $update --steps 1 > metrics.jsonl"
	[ "$(weights run.lmdb)" = "$two" ]
}

# ---- evaluations ----

held() { jq -c '.id = "e" + .id | .prompt_tokens |= reverse' prompts.jsonl | sed "${1:-5}q" >held.jsonl; }
score="rl-reward-jq -q low '$low'"
no_eval() { jq -cS 'with_entries(select(.key | startswith("eval/") | not))' "$1"; }

@test "evaluation: held-out prompts come before batch 0, K, 2K, greedy, and have no part in the run" {
	unset RL_REWARD
	held 5
	pipe 60 "$generate < prompts.jsonl | $score | tee plain.rollouts | $update > plain.jsonl"
	plain=$(weights run.lmdb)
	fresh
	pipe 60 "$generate --eval held.jsonl --eval-every 2 < prompts.jsonl | $score | tee rollouts.jsonl | $update > metrics.jsonl"
	[ "$(jq -c 'select(.eval) | [.batch, .row, .batch_size, .temperature, .policy_version, .id]' rollouts.jsonl | tr -d '\n')" = \
		'[0,0,5,0,0,"ep0"][0,1,5,0,0,"ep1"][0,2,5,0,0,"ep2"][0,3,5,0,0,"ep3"][0,4,5,0,0,"ep4"][2,0,5,0,2,"ep0"][2,1,5,0,2,"ep1"][2,2,5,0,2,"ep2"][2,3,5,0,2,"ep3"][2,4,5,0,2,"ep4"]' ]
	[ "$(jq -c '.eval // false' rollouts.jsonl | uniq -c | awk '{print $1 $2}' | paste -sd' ')" = "5true 16false 5true 16false" ]
	# the others are as without, but for what the run remembers of its options
	cmp <(jq -c 'select(.eval | not) | del(.cursor.options)' rollouts.jsonl) <(jq -c 'del(.cursor.options)' plain.rollouts)
	[ "$(weights run.lmdb)" = "$plain" ]
	diff <(without_time plain.jsonl) <(no_eval metrics.jsonl | without_time -)
	# greedy, from the version that it says
	jq -c 'select(.eval and .batch == 0) | .tokens' rollouts.jsonl | cmp - <(fresh && rl-generate -q --max-tokens 6 --temperature 0 held.jsonl | jq -c .tokens)
	# mean and Student's interval of what the rows scored
	jq -c 'select(.eval and .batch == 2) | {x: .reward_low}' rollouts.jsonl | rl-eval -q --json -m .x | jq -c '[.mean, .low, .high]' >want
	jq -c 'select(.batch == 2) | [.["eval/reward_low"], .["eval/reward_low/low"], .["eval/reward_low/high"]]' metrics.jsonl >got
	jq -se '(.[0] | length == 3) and all(range(3) as $i | (.[0][$i] - .[1][$i]) | fabs; . < 1e-12)' want got
	[ "$(jq -c '[.["eval/rows"], .["eval/version"]]' metrics.jsonl | tr -d '\n')" = '[5,0][null,null][5,2][null,null]' ]
}

@test "evaluation: stages that wait for batches let it go by, groups are its own" {
	unset RL_REWARD
	held 4
	local grouped="--advantage reinforce"
	for stage in "rl-grpo -q" "rl-rloo -q --kl-coef 0" "rl-reinforce -q --kl-coef 0 --baseline moving" "rl-group -q | rl-group -q -u" \
		"rl-logprob -q --as again" "rl-generate -q --as again --max-tokens 2 --prompt .prompt_tokens" \
		"rl-reward-mix -q -w low=1 --normalize low --dynamic-sampling"; do
		fresh
		echo "$stage"
		pipe 60 "$generate -n 4 --eval held.jsonl --eval-every 1 --steps 3 < prompts.jsonl | $score | $stage | tee rollouts.jsonl | $update $grouped > metrics.jsonl"
		[ "$(jq -c '[.["eval/rows"], .["eval/version"]]' metrics.jsonl | tr -d '\n')" = '[4,0][4,1][4,2]' ]
		[ "$(jq -c 'select(.eval) | has("advantages") or has("skip")' rollouts.jsonl | uniq -c | awk '{print $1 $2}')" = 12false ]
	done
}

@test "evaluation: the best version is kept as a snapshot, with what it scored" {
	unset RL_REWARD
	held 6
	pipe 60 "$generate --eval held.jsonl --eval-every 2 --steps 12 < prompts.jsonl | $score | tee rollouts.jsonl | rl-ppo-step -q --lr 1e-2 --ppo-epochs 2 --best eval/reward_low > metrics.jsonl"
	# by hand: the first of the largest
	jq -sc '[.[] | select(.["eval/reward"])] | (map(.["eval/reward"]) | max) as $m | first(.[] | select(.["eval/reward"] == $m)) | [.["eval/version"], $m]' metrics.jsonl >want
	jq -sc '[.[] | select(.["eval/best"])] | last | [.["eval/best_version"], .["eval/best"]]' metrics.jsonl | cmp want -
	# it was not the first, so that something was learned
	[ "$(jq '.[0]' want)" -gt 0 ]
	rl-store show run.lmdb | grep -qx "snapshot best: policy@$(jq '.[0]' want)"
	# the snapshot is the version that scored so
	rl-generate -q -s run.lmdb:best --temperature 0 --max-tokens 6 held.jsonl | eval "$score" | jq -s 'map(.reward_low) | add / length' >again
	jq -ne --slurpfile a again --slurpfile w want '$a[0] - $w[0][1] | fabs < 1e-12'
	# a run with a name has its own
	RL_RUN=b pipe 60 "$generate --eval held.jsonl --steps 2 < prompts.jsonl | $score | $update --best eval/reward > named.jsonl"
	rl-store show run.lmdb | grep -qx "snapshot best/b: policy@12"
	rl-store show run.lmdb | grep -qx "snapshot best: policy@$(jq '.[0]' want)"
}

@test "evaluation: a run that makes no progress is closed by patience, and the sampler ends with it" {
	unset RL_REWARD
	held 3
	# nothing is learned, so that the first is the best
	loop="$generate --eval held.jsonl --eval-every 2 --epochs 100 < prompts.jsonl | $score | rl-ppo-step -q --lr 0 --best eval/reward --patience 2"
	pipe 60 "$loop > metrics.jsonl"
	[ "$(jq -c 'select(.["eval/since_best"]) | [.batch, .["eval/since_best"], .["eval/best_version"]]' metrics.jsonl | tr -d '\n')" = '[0,0,0][2,1,0][4,2,0]' ]
	[ "$(wc -l <metrics.jsonl)" -eq 5 ]
	pipe 60 "$loop > again.jsonl"
	cmp metrics.jsonl again.jsonl
}

@test "loop: a sampler that is further behind than --max-lag keeps versions is refused before anything is trained" {
	before=$(weights run.lmdb)
	within 20 bash -c "set -o pipefail; $generate --lag 2 < prompts.jsonl | tee rolled | $update --max-lag 1" >metrics 2>err && false
	grep -qF "the sampler's --lag is 2, but --max-lag is 1: give the trainer --max-lag 2" err
	[ ! -s metrics ]
	[ "$(weights run.lmdb)" = "$before" ]
	# with it the same run goes on; what is recorded needs no versions
	within 20 bash -c "set -o pipefail; $generate --lag 2 < prompts.jsonl | tee rolled | $update --max-lag 2" >metrics
	want=$(weights run.lmdb)
	fresh
	within 20 bash -c "$update < rolled" >again
	[ "$(weights run.lmdb)" = "$want" ]
}

@test "evaluation: with a lag it is of the version that the batch is sampled from, which has to be kept" {
	unset RL_REWARD
	held 3
	loop="$generate --lag 2 --eval held.jsonl --eval-every 1 < prompts.jsonl | $score"
	pipe 60 "$loop | rl-ppo-step -q --lr 1e-2 --max-lag 2 --best eval/reward > metrics.jsonl"
	[ "$(jq -c '[.batch, .["eval/version"]]' metrics.jsonl | tr -d '\n')" = '[0,0][1,0][2,0][3,1]' ]
	# a version that has gone
	fresh
	pipe 60 "$generate < prompts.jsonl | $score | $update --kl-coef 0 > metrics.jsonl"
	{ echo '{"eval":true,"batch":0,"row":0,"batch_size":1,"policy_version":2,"tokens":[1],"reward":1}'; $generate --run b prompts.jsonl; } >stale.jsonl
	run -1 --separate-stderr rl-ppo-step -q --run b --reward "$low" --kl-coef 0 --best eval/reward stale.jsonl
	[[ $stderr == *"--best: version 2, which was evaluated, is not kept (--max-lag)"* ]]
}

@test "evaluation: --best without any is said at the end of the run" {
	for how in "" "--eval held.jsonl --eval-every 1"; do
		fresh
		held 2
		within 20 bash -c "set -o pipefail; $generate $how < prompts.jsonl | $score | ${update/ -q/} --kl-coef 0 --best eval/reward" >metrics.jsonl 2>err
		[ "$(grep -c 'no evaluation came' err)" = "$([ -z "$how" ] && echo 1 || echo 0)" ]
	done
}

@test "evaluation: what is wrong with its records is named" {
	held 2
	$generate --eval held.jsonl --eval-every 2 prompts.jsonl >good.jsonl
	bad() { # TEXT JQ: applied to the records that jq reads slurped
		fresh
		jq -c -s "$2 | .[]" good.jsonl >bad.jsonl
		run -1 --separate-stderr rl-ppo-step -q ${3-} bad.jsonl
		[[ $stderr == *"$1"* ]] || { echo "$stderr"; return 1; }
		[ "$(wc -l <<<"$stderr")" -eq 1 ]
	}
	bad "batch 1 begins, but the evaluation before batch 0 has 1 of 2 rows" 'del(.[1])'
	bad "bad.jsonl:3: row 0 of the evaluation before batch 0 comes twice" '[.[0], .[1], .[0]] + .[2:]'
	bad "bad.jsonl:1: a record of an evaluation does not say which 'batch' it comes before" 'del(.[0].batch)'
	bad "bad.jsonl:1: a record of an evaluation has no 'row' and 'batch_size'" 'del(.[0].row)'
	bad "bad.jsonl:2: 'batch_size' is 3, but 2 in other rows of the evaluation before batch 0" '.[1].batch_size = 3'
	bad "bad.jsonl:2: 'policy_version' is 1, but 0 in other rows of the evaluation" '.[1].policy_version = 1'
	bad "bad.jsonl:3: an evaluation before batch 2 comes in batch 0" '[.[0], .[1], .[18]] + .[2:18] + .[19:]'
	bad "--best: the evaluation has no 'eval/reward_x'; it has eval/reward" . "--best eval/reward_x"
	bad "the input ended in the evaluation before batch 2, after 1 of 2 rows" '.[0:19]'
	# rows of the batch may come between
	fresh
	jq -cs '.[0], .[2:10][], .[1], .[10:][]' good.jsonl | rl-ppo-step -q --best eval/reward | no_eval /dev/stdin | without_time - >got
	fresh
	jq -c 'select(.eval | not)' good.jsonl | rl-ppo-step -q | without_time - | cmp - got
	run -2 rl-ppo-step -q --best objective/kl good.jsonl
	[[ $output == *"--best is 'objective/kl', but must be eval/reward or eval/reward_NAME" ]]
	run -2 rl-ppo-step -q --patience 2 good.jsonl
	[[ $output == *"--patience is 2, but without --best there is no progress" ]]
}

@test "evaluation: records that are left out are counted; prompts that cannot be used are named" {
	held 4
	sed -i '2s/}$/,"skip":"x"}/; 3s/.*/{"id":"bad","prompt_tokens":[]}/' held.jsonl
	run -1 --separate-stderr $generate --eval held.jsonl prompts.jsonl
	[[ $stderr == "rl-generate: held.jsonl:3: the prompt has no token" ]]
	pipe 60 "$generate --eval held.jsonl --eval-every 3 -k < prompts.jsonl 2>said | $update > metrics.jsonl" || [ $? -eq 3 ]
	[ "$(jq -c 'select(.["eval/rows"]) | [.batch, .["eval/rows"], .["eval/skipped"], .rows]' metrics.jsonl | tr -d '\n')" = '[0,2,2,8][3,2,2,8]' ]
	fails() { run -1 --separate-stderr "$@"; echo "$stderr"; [ "$(wc -l <<<"$stderr")" -eq 1 ]; }
	: >empty
	fails $generate --eval empty prompts.jsonl
	[[ $stderr == *"--eval: 'empty' has no record" ]]
	fails $generate --eval absent prompts.jsonl
	echo '{"id":"x","prompt_tokens":[1],"eval":true}' >marked
	fails $generate marked
	[[ $stderr == *"marked:1: 'eval' is true, which marks records of an evaluation (--eval)" ]]
	run -2 rl-generate --as x --eval held.jsonl prompts.jsonl
}

@test "evaluation: on resume other held-out prompts, or another K, are refused" {
	held 3
	run -1 pipe 60 "$generate --eval held.jsonl --eval-every 2 < prompts.jsonl | sed -u 19q | $update > part.jsonl"
	[ "$(wc -l <part.jsonl)" -eq 2 ]
	run -1 pipe 60 "$generate --eval held.jsonl --eval-every 3 < prompts.jsonl | $update > part.jsonl"
	[[ $output == *eval-every=2*eval-every=3* ]]
	held 2
	run -1 pipe 60 "$generate --eval held.jsonl --eval-every 2 < prompts.jsonl | $update > part.jsonl"
	[[ $output == *eval=* ]]
	run -1 pipe 60 "$generate < prompts.jsonl | $update > part.jsonl"
	[[ $output == *eval* ]]
}

@test "evaluation: interrupted before, in and after one, the run ends with the same bits, metrics and best" {
	unset RL_REWARD
	held 3
	loop="$generate --eval held.jsonl --eval-every 1 --epochs 4 < prompts.jsonl | $score"
	train="rl-ppo-step -q --lr 3e-3 --ppo-epochs 2 --best eval/reward --patience 3"
	pipe 60 "$loop | $train > plain.jsonl"
	plain=$(weights run.lmdb) best=$(weights run.lmdb:best) names=$(rl-store show run.lmdb | grep snapshot)
	# the best is neither the first nor the last: what was counted before a death matters
	[ "$(jq -c '.["eval/since_best"]' plain.jsonl | tr -d '\n')" = 00123 ]
	for records in 10 11 13 14 22 25 33 35 44 47; do
		fresh
		run -1 pipe 60 "$loop | sed -u ${records}q | $train > part.jsonl"
		pipe 60 "$loop | $train > with.jsonl"
		[ "$(weights run.lmdb)" = "$plain" ]
		[ "$(weights run.lmdb:best)" = "$best" ]
		[ "$(rl-store show run.lmdb | grep snapshot)" = "$names" ]
		cmp <(without_time plain.jsonl) <(without_time with.jsonl)
	done
}
