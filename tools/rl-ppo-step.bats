#!/usr/bin/env bats
# loop.bats has the loop; here is the update itself.
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	export RL_STORE=run.lmdb
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 run.lmdb
	head -n 8 "$testdata/tiny/prompts.jsonl" | rl-generate -q --max-tokens 5 --batch-size 8 |
		jq -c 'del(.batch, .row, .batch_size, .last, .cursor) | .reward = (.tokens | map(. % 3) | add)' >rollouts.jsonl
}
weights() { # STORE[:SLOT]
	rm -rf exported
	rl-store export -q "$1" exported && sha256sum <exported/model.safetensors
}
without_time() { jq -cS 'with_entries(select(.key | startswith("time/") | not))' "$1"; }
again() { # a fresh store
	rm -f run.lmdb*
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 run.lmdb
}

# The options that a config.json of the golden PPO runs says.
options_of() {
	jq -r '"--compat trl --gamma \(.gamma) --lam \(.lam) --kl-coef \(.kl_coef) --kl-estimator \(.kl_estimator)"
		+ (if .whiten_rewards then " --whiten-rewards" else "" end)
		+ " --eos \(.eos_token_id) --missing-eos-penalty \(.missing_eos_penalty // 0) --vf-coef \(.vf_coef)"
		+ " --cliprange \(.cliprange) --cliprange-value \(.cliprange_value) --ppo-epochs \(.num_ppo_epochs)"
		+ " --lr \(.learning_rate) --weight-decay \(.weight_decay) --eps \(.adam_epsilon)"
		+ " --batch-size \(.batch_size) --mini-batches \(.num_mini_batches) --steps \(.updates) --schedule linear"' "$1"
}

# Prints "rms max" of the difference between two safetensors files of float32, in units of the third argument; the key third
# of GPT-2's c_attn.bias has gradient 0 and is left out (golden/rl/README.md).
compare_weights() {
	python3 - "$@" <<'PY'
import json, math, struct, sys
def load(path):
    data = open(path, 'rb').read()
    n = struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:8 + n])
    header.pop('__metadata__', None)
    return {k: struct.unpack('<%df' % ((v['data_offsets'][1] - v['data_offsets'][0]) // 4),
                             data[8 + n + v['data_offsets'][0]:8 + n + v['data_offsets'][1]]) for k, v in header.items()}
ours, theirs, unit = load(sys.argv[1]), load(sys.argv[2]), float(sys.argv[3])
assert set(ours) == set(theirs), set(ours) ^ set(theirs)
squares, count, worst = 0, 0, 0
for name, x in theirs.items():
    third = len(x) // 3
    for i, (a, b) in enumerate(zip(ours[name], x)):
        if not (name.endswith('c_attn.bias') and third <= i < 2 * third):
            squares, count, worst = squares + (a - b) ** 2, count + 1, max(worst, abs(a - b))
print(math.sqrt(squares / count) / unit, worst / unit)
PY
}

as_trl() { # FILTER over the records
	shared golden golden/rl/ppo
	command -v python3 >/dev/null || skip "python3 is not here"
	for run in "$golden"/*/; do
		config=$run/config.json
		rm -rf trl.lmdb* ours
		rl-store import -q "$run/$(jq -r .models.policy "$config")" trl.lmdb
		rl-store import -q "$run/$(jq -r .models.ref "$config")" trl.lmdb:ref
		rl-store import -q "$run/$(jq -r .models.value "$config")" trl.lmdb:value
		# shellcheck disable=SC2046
		rl-ppo-step -q -s trl.lmdb --critic separate $(options_of "$config") <(jq -c "$1" "$run/records.jsonl") >metrics.jsonl
		# policy/entropy_avg is over padding there (README 1.7); eps is a rate of the clock
		jq -ne --slurpfile ours metrics.jsonl --slurpfile stats "$run/stats.json" '
			[$stats[0].metrics, $ours] | transpose | all(. as [$t, $o] | $t | del(.["policy/entropy_avg"], .eps) | to_entries
				| all(($o[.key] - .value | fabs) <= 2e-6 + 1e-4 * (.value | fabs)))' >/dev/null
		# the masked entropy is in the file of epochs
		jq -ne --slurpfile ours metrics.jsonl --slurpfile stats "$run/stats.json" '
			[$stats[0].epochs | group_by(.update)[] | map(.entropy_masked) | add / length]
			| [., $ours] | transpose | all((.[0] - .[1]["policy/entropy_avg"] | fabs) <= 1e-4 * .[0])' >/dev/null
		mkdir ours
		rl-store export -q trl.lmdb ours/policy
		rl-store export -q trl.lmdb:value ours/value
		after=$run/after$(jq .updates "$config")
		for model in policy value; do
			difference=$(compare_weights ours/$model/model.safetensors "$after/$model.safetensors" "$(jq .learning_rate "$config")")
			echo "$(basename "$run") $model: $difference of lr"
			awk '{exit !($1 <= 1e-3 && $2 <= 0.1)}' <<<"$difference"
		done
	done
}
@test "rl-ppo-step: TRL's metrics and weights after its updates" { as_trl .; }
@test "rl-ppo-step: the same where ref_logprobs and values are computed here" { as_trl 'del(.ref_logprobs, .values, .bootstrap_value)'; }

@test "rl-ppo-step: a stage in or out of the pipe changes no bit" {
	# a first update, so that there is a critic and a policy that is not the reference
	rl-ppo-step -q --lr 1e-3 rollouts.jsonl >first
	cp run.lmdb begun
	export RL_RUN=second
	rl-ppo-step -q --lr 1e-3 rollouts.jsonl >plain
	plain=$(weights run.lmdb)
	for stage in 'rl-logprob -q' 'rl-logprob -q | rl-logprob -q --values --as p' \
		'rl-logprob -q | rl-logprob -q --values --as p | rl-gae -q'; do
		rm -f run.lmdb*
		cp begun run.lmdb
		bash -o pipefail -c "cat rollouts.jsonl | $stage | rl-ppo-step -q --lr 1e-3" >with
		[ "$(weights run.lmdb)" = "$plain" ]
		cmp <(without_time plain) <(without_time with)
	done
}

# in_or_out OPTIONS ROLLOUTS STAGE...: each stage before the trainer ends with the bits of no stage.
in_or_out() {
	local options=$1 rollouts=$2
	shift 2
	again
	# shellcheck disable=SC2086
	rl-ppo-step -q --lr 1e-3 $options "$rollouts" >plain
	[ "$(wc -l <plain)" -gt 1 ]
	plain=$(weights run.lmdb)
	for stage; do
		again
		bash -o pipefail -c "cat $rollouts | $stage | rl-ppo-step -q --lr 1e-3 $options" >with
		[ "$(weights run.lmdb)" = "$plain" ] || { echo "$stage: other weights"; return 1; }
		cmp <(without_time plain) <(without_time with)
	done
	echo "$plain" >>ends
}
@test "rl-ppo-step: rl-rloo, rl-grpo or rl-reinforce in or out of the pipe changes no bit" {
	# two batches of two prompts, four completions each, one of them not all the policy's, one left out
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 sampler.lmdb
	head -n 4 "$testdata/tiny/prompts.jsonl" | rl-generate -q -s sampler.lmdb -n 4 --max-tokens 5 --batch-size 8 |
		jq -c 'del(.cursor) | .reward = (.tokens | map(. % 3) | add)' |
		sed '3s/}$/,"mask":[1,0,1,1,0]}/; 6s/}$/,"skip":"why"}/' >grouped
	[ "$(jq -r .group grouped | sort | uniq -c | awk '{print $1}' | sort -u)" = 4 ]
	{ head -n 8 grouped | tac; tail -n 8 grouped | tac; } >turned
	in_or_out "--advantage rloo" grouped 'rl-logprob -q' 'rl-logprob -q | rl-rloo -q' 'cat turned - | sed -n 1,16p | rl-logprob -q | rl-rloo -q'
	in_or_out "--advantage grpo" grouped 'rl-grpo -q' 'rl-logprob -q | rl-grpo -q'
	in_or_out "--advantage grpo --scale batch --kl-coef .1" grouped 'rl-logprob -q' 'rl-logprob -q | rl-grpo -q --scale batch --kl-coef .1'
	in_or_out "--advantage grpo --critic shared" grouped 'rl-grpo -q'
	in_or_out "--advantage grpo --missing-eos-penalty 2 --eos 7" grouped 'rl-grpo -q --missing-eos-penalty 2 --eos 7'
	in_or_out "--advantage reinforce" grouped 'rl-logprob -q' 'rl-logprob -q | rl-reinforce -q'
	in_or_out "--advantage reinforce --baseline moving --kl-coef 0" grouped 'rl-reinforce -q --kl-coef 0 --baseline moving'
	in_or_out "--advantage reinforce --baseline group --compat openrlhf" grouped 'rl-logprob -q | rl-reinforce -q --baseline group --compat openrlhf'
	sed '1s/"temperature":1/"temperature":0/; 5s/"temperature":1/"temperature":0/; 9s/"temperature":1/"temperature":0/; 13s/"temperature":1/"temperature":0/' grouped >greedy
	in_or_out "--advantage reinforce --baseline greedy --kl-coef 0" greedy 'rl-reinforce -q --kl-coef 0 --baseline greedy'
	[ "$(jq -c '[.rows, .skipped]' plain | paste -sd' ')" = '[5,3] [6,2]' ]
	# and they are different methods
	[ "$(sort -u ends | wc -l)" -eq 9 ]
}

@test "rl-ppo-step: a moving baseline goes on after a stop with the same bits, in the trainer and in rl-reinforce" {
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 sampler.lmdb
	head -n 12 "$testdata/tiny/prompts.jsonl" | rl-generate -q -s sampler.lmdb --max-tokens 5 --batch-size 4 |
		jq -c 'del(.cursor) | .reward = (.tokens | map(. % 3) | add) + .batch * 5' >batches
	[ "$(wc -l <batches)" -eq 12 ]
	moving="--baseline moving --kl-coef 0" update="rl-ppo-step -q --lr 1e-3 --advantage reinforce --baseline moving --kl-coef 0"
	$update batches >whole
	want=$(weights run.lmdb)
	again
	! $update <(head -n 8 batches) >part 2>said
	grep -q "before the batch marked 'last'" said
	cp run.lmdb stopped
	$update batches >rest
	[ "$(weights run.lmdb)" = "$want" ]
	cmp <(without_time whole) <(without_time rest)
	# the filter puts what holds after a batch into its records, and goes on from what the trainer has committed
	rl-reinforce -q $moving batches >through
	[ "$(jq -c .state_reinforce.batches through | uniq | paste -sd' ')" = "1 2 3" ]
	cp stopped run.lmdb
	tail -n 4 batches | rl-reinforce -q $moving | cmp - <(tail -n 4 through)
	tail -n 4 batches | rl-reinforce -q $moving | $update - >rest
	[ "$(weights run.lmdb)" = "$want" ]
	# one stopped with the filter, ended without it, and the other way round
	again
	! head -n 8 batches | rl-reinforce -q $moving | $update >part 2>said
	$update batches >rest
	[ "$(weights run.lmdb)" = "$want" ]
	cp stopped run.lmdb
	rl-reinforce -q $moving batches | $update >rest
	[ "$(weights run.lmdb)" = "$want" ]
	# a stream that does not fit is refused
	cp stopped run.lmdb
	fails_with 1 "the stream begins with batch 1, but run '' of 'run.lmdb' has trained 2" rl-reinforce -q $moving <(tail -n 8 batches)
	fails_with 1 "the stream begins with batch 2: what --baseline moving held before is in the store" env -u RL_STORE rl-reinforce -q $moving <(tail -n 4 batches)
	fails_with 1 "'state_reinforce' is already there" rl-reinforce -q $moving <(sed '1s/}$/,"state_reinforce":1}/' batches)
}

@test "rl-ppo-step: a group that is not whole is one line, how many of how many" {
	before=$(sha256sum <run.lmdb)
	jq -c '.group = "g\(input_line_number % 2)" | .sample = (input_line_number - 1) / 2 | .sample |= floor' rollouts.jsonl >grouped
	fails_with 1 "batch 0: row 7 ('" rl-ppo-step -q --advantage grpo <(sed '2,6s/}$/,"skip":"no"}/;1s/}$/,"skip":"no"}/' grouped)
	grep -qF "group 'g0' has 1 of 4 completions to compare, and grpo needs 2" err || { cat err; return 1; }
	fails_with 1 "is not whole: 3 of 4 completions are in the batch" rl-ppo-step -q --advantage rloo --kl-coef 0 <(sed 1d grouped)
	fails_with 1 "has 1 of 1 completions to compare, and grpo needs 2" rl-ppo-step -q --advantage grpo rollouts.jsonl
	fails_with 1 "has 0 completions at temperature 0" rl-ppo-step -q --advantage reinforce --baseline greedy grouped
	fails_with 2 "trl has no reinforce" rl-ppo-step -q --advantage reinforce --compat trl grouped
	[ "$before" = "$(sha256sum <run.lmdb)" ]
}

@test "rl-ppo-step: without GAE there is no critic, one pass, and another learning rate, unless they are given" {
	rl-ppo-step -q --advantage reinforce --kl-coef 0 rollouts.jsonl >metrics
	jq -e '(has("loss/value_avg") | not) and .lr == 1e-6' metrics >/dev/null
	weights run.lmdb >want
	again
	rl-ppo-step -q --advantage reinforce --kl-coef 0 --critic none --ppo-epochs 1 --lr 1e-6 rollouts.jsonl >metrics
	weights run.lmdb | cmp - want
	again
	RL_LR=1e-4 rl-ppo-step -q --advantage reinforce --critic shared rollouts.jsonl >metrics
	jq -e 'has("loss/value_avg") and .lr == 1e-4' metrics >/dev/null
}

@test "rl-ppo-step: threads and instruction sets change no bit" {
	rl-ppo-step -q --lr 1e-3 -j 1 rollouts.jsonl >plain
	plain=$(weights run.lmdb)
	for how in '-j 2' '-j 3' '--isa avx2' '--isa plain'; do
		again
		# shellcheck disable=SC2086
		rl-ppo-step -q --lr 1e-3 $how rollouts.jsonl >other 2>said || { grep -q 'instruction set' said && continue; }
		[ "$(weights run.lmdb)" = "$plain" ]
	done
}

@test "rl-ppo-step: rows in another order give the same bits when they say their place" {
	jq -c '. + {batch: 0, row: (input_line_number - 1), batch_size: 8, last: true}' rollouts.jsonl >placed
	rl-ppo-step -q --lr 1e-3 placed >plain
	plain=$(weights run.lmdb)
	again
	tac placed | rl-ppo-step -q --lr 1e-3 >other
	[ "$(weights run.lmdb)" = "$plain" ]
}

@test "rl-ppo-step: critics are shared, separate or none, and each learns the policy" {
	for critic in shared separate none; do
		again
		rl-ppo-step -q --lr 1e-3 --critic $critic rollouts.jsonl >metrics
		[ "$(jq 'has("loss/value_avg")' metrics)" = "$([ $critic = none ] && echo false || echo true)" ]
		weights run.lmdb
	done | sort -u | wc -l | grep -qx 3
	RL_RUN=more rl-ppo-step -q --lr 1e-3 --critic separate rollouts.jsonl >metrics
}

@test "rl-ppo-step: rows with skip, error or no reward are left out and counted" {
	{ jq -c . rollouts.jsonl; head -n 1 rollouts.jsonl | jq -c '.skip = "why"'; head -n 1 rollouts.jsonl | jq -c 'del(.reward)'
		echo '{"id":"x","error":"no"}'; } >some.jsonl
	rl-ppo-step -q --lr 1e-3 rollouts.jsonl >plain
	plain=$(weights run.lmdb)
	again
	rl-ppo-step -q --lr 1e-3 some.jsonl >metrics
	[ "$(jq -c '[.rows, .skipped]' metrics)" = '[8,3]' ]
	[ "$(weights run.lmdb)" = "$plain" ]
}

@test "rl-ppo-step: bad input in one line, the store as it was" {
	before=$(sha256sum <run.lmdb)
	row=$(head -n 1 rollouts.jsonl)
	bad() { fails_with 1 "$1" rl-ppo-step -q <(jq -c "$2" <<<"$row"); }
	bad "'logprobs' has 4" '.logprobs |= .[1:]'
	bad "'reward' has 2 numbers, but 'tokens' has 5" '.reward = [1, 2]'
	bad "there is no 'logprobs'" 'del(.logprobs)'
	bad "has id 64, but the vocabulary has 64" '.tokens[0] = 64'
	bad "'mask' has 2 at place 0" '.mask = [2, 1, 1, 1, 1]'
	bad "none of 1 rows can be trained on" 'del(.reward)'
	bad "row 0 of batch 0 comes twice" '., . | . + {batch: 0, row: 0, batch_size: 2}'
	bad "the input ended in batch 0, after 1 of 2 rows" '. + {batch: 0, row: 0, batch_size: 2}'
	bad "batch 1 begins, but batch 0 has 1 of 2 rows" '. + {batch: (0, 1), row: 0, batch_size: 2}'
	fails_with 1 ":1: not JSON" rl-ppo-step -q <(sed 's/"reward":[0-9]*/"reward":NaN/' <<<"$row")
	run -1 --separate-stderr rl-ppo-step -q </dev/null
	fails_with 2 "no --beta; here it is --kl-coef" rl-ppo-step --beta 1
	fails_with 2 "needs --steps" rl-ppo-step --schedule linear rollouts.jsonl
	[ "$before" = "$(sha256sum <run.lmdb)" ]
}

@test "rl-ppo-step: an update that is not finite is refused, the tensor named, the store as it was" {
	before=$(sha256sum <run.lmdb)
	run -1 --separate-stderr rl-ppo-step -q --lr 1000 --max-grad-norm 0 --ppo-epochs 9 <(jq -c '.reward = 1e300' rollouts.jsonl)
	[[ $stderr == *"batch 0"* ]]
	[ "$before" = "$(sha256sum <run.lmdb)" ]
}

@test "rl-ppo-step: the examples of the page" {
	rl-ppo-step -s run.lmdb --batch-size 32 rollouts.jsonl
	RL_RUN=b rl-generate -s run.lmdb --max-tokens 4 <"$testdata/tiny/prompts.jsonl" | RL_RUN=b rl-ppo-step -s run.lmdb --reward '-(.tokens | length)'
}

@test "rl-ppo-step: on a terminal a table, elsewhere JSON Lines; a restart prints the same" {
	command -v script >/dev/null || skip "script is not here"
	script -qec 'rl-ppo-step -q --batch-size 2 --steps 4 rollouts.jsonl' /dev/null </dev/null | tr -d '\r' >table
	[ "$(wc -l <table)" -eq 5 ]
	[ "$(head -n 1 table | tr -s ' ')" = " step reward kl length clipped grad norm s left" ]
	rl-ppo-step -q --batch-size 2 --steps 4 rollouts.jsonl >metrics.jsonl 2>/dev/null
	holds -s 'length == 4' metrics.jsonl
	diff <(sed 1d table | awk '{print $1, $2, $4}') <(jq -r '[.["objective/scores"], .["completions/mean_length"], .batch + 1] | @tsv' metrics.jsonl |
		awk '{printf "%d/4 %.4f %.1f\n", $3, $1, $2}')
	script -qec 'rl-ppo-step -q --batch-size 2 --steps 4 rollouts.jsonl' /dev/null </dev/null | tr -d '\r' | grep -v 'is complete' | cmp table -
}

# Nine rows in groups of three, of which one has the same completion twice and another one reward for all; one has no reward.
grouped() {
	head -n 3 "$testdata/tiny/prompts.jsonl" | rl-generate -q --max-tokens 5 --batch-size 9 -n 3 |
		jq -c 'del(.batch, .row, .batch_size, .last, .cursor) | .reward_hits = (.tokens | map(. % 3) | add)' | jq -sc '
		(.[1] | {tokens, logprobs, finish}) as $twice | .[2] += $twice | map(.group = .id) | to_entries | map(.key as $i | .value
		| if $i >= 3 and $i < 6 then .reward_hits = 1 else . end
		| if $i == 7 then .reward_hits = null else .reward_tokens = (.tokens | map(. % 2 / 4)) end
		| if $i == 7 then . elif $i == 8 then .finish = "eos" else . end
		| if $i % 2 == 0 then .reward_extra = $i else . end)[]' >groups.jsonl
}

@test "rl-ppo-step: parts of the reward, lengths, groups and what is left out, by jq" {
	grouped
	{ echo '{"error":"a line that was none"}'; cat groups.jsonl
		jq -c 'select(.sample == null) | .id += "x" | .group = .id | .skip = "seen"' groups.jsonl | sed -n 1,2p; } >with_others.jsonl
	rl-ppo-step -q --batch-size 11 --advantage reinforce with_others.jsonl >metrics.jsonl
	holds -n --slurpfile got metrics.jsonl '
		def near($x): ($x - . | fabs) <= 1e-6 * ($x | fabs) + 1e-12;
		def mean: add / length;
		def std: mean as $m | (map(. - $m | . * .) | add / (length - 1)) | sqrt;
		[inputs | select(.reward_tokens)] as $all
		| ($all | map((.reward_hits // 0) + (.reward_extra // 0) + (.reward_tokens | add) | {s: .}) | [., $all] | transpose | map(.[1] + .[0])) as $r
		| ($r | group_by(.group) | map(select(length > 1))) as $groups
		| $got[0] | [
			.["completions/min_length"] == ($r | map(.tokens | length) | min),
			.["completions/max_length"] == ($r | map(.tokens | length) | max),
			(.["completions/clipped_ratio"] | near([$r[] | if .finish == "length" then 1 else 0 end] | mean)),
			(.["completions/distinct_ratio"] | near($groups | map((map(.tokens) | unique | length) / length) | mean)),
			.["completions/distinct_ratio"] < 1,
			(.["reward_std"] | near($groups | map(map(.s) | std) | mean)),
			(.["frac_reward_zero_std"] | near($groups | map(if (map(.s) | unique | length) == 1 then 1 else 0 end) | mean)),
			(.["rewards/hits/mean"] | near([$r[] | .reward_hits | numbers] | mean)),
			(.["rewards/hits/std"] | near([$r[] | .reward_hits | numbers] | std)),
			(.["rewards/extra/mean"] | near([$r[] | .reward_extra | numbers] | mean)),
			(.["rewards/tokens/mean"] | near([$r[] | .reward_tokens | add] | mean)),
			(.["objective/scores"] | near([$r[].s] | mean)),
			([.rows, .skipped, .["skipped/skip"], .["skipped/error"], .["skipped/no_reward"], .["skipped/no_token"]] == [8, 4, 2, 1, 1, null]),
			(has("val/var_explained") | not),
			(.["time/peak_rss_mib"] > 1), (.["time/rollout"] >= 0), (.["time/tokens_per_second/update"] > 0)
		] | if all then true else . end' groups.jsonl
}

@test "rl-ppo-step: the share of the variance of returns that the critic explains, from what the filters write" {
	# a critic that has learned something
	rl-ppo-step -q --lr 1e-2 --ppo-epochs 8 rollouts.jsonl >/dev/null
	export RL_RUN=second
	jq -c '.mask = [.tokens | to_entries[] | if .key == 1 then 0 else 1 end]' rollouts.jsonl | rl-logprob -q | rl-logprob -q --values --as p |
		rl-gae -q >advantages.jsonl
	rl-ppo-step -q --lr 1e-3 advantages.jsonl >metrics.jsonl
	holds -n --slurpfile got metrics.jsonl '[inputs | [.mask, .values, .returns] | transpose[] | select(.[0] == 1)] as $t
		| ($t | map(.[2]) | add / length) as $mean
		| ($t | map(.[2] - $mean | . * .) | add / (length - 1)) as $variance
		| (1 - ($t | map(.[2] - .[1] | . * .) | add / length) / $variance) as $want
		| $got[0]["val/var_explained"] | (. - $want | fabs) <= 1e-5 and . != 0' advantages.jsonl
}
