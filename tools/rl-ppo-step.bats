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

as_trl() { # FILTER over the records, further OPTIONs
	local more=${*:2}
	shared golden golden/rl/ppo
	command -v python3 >/dev/null || skip "python3 is not here"
	for run in "$golden"/*/; do
		config=$run/config.json
		rm -rf trl.lmdb* ours
		rl-store import -q "$run/$(jq -r .models.policy "$config")" trl.lmdb
		rl-store import -q "$run/$(jq -r .models.ref "$config")" trl.lmdb:ref
		rl-store import -q "$run/$(jq -r .models.value "$config")" trl.lmdb:value
		# shellcheck disable=SC2046,SC2086
		rl-ppo-step -q -s trl.lmdb --critic separate $(options_of "$config") $more <(jq -c "$1" "$run/records.jsonl") >metrics.jsonl
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
@test "rl-ppo-step: the same with two ranks" { as_trl 'del(.ref_logprobs, .values, .bootstrap_value)' --ranks 2; }

# The options that a case of the golden GRPO and RLOO losses says.
grouped_options() { # CASE
	jq -r '.config | "--compat trl --kl-coef \(.beta) --cliprange \(.epsilon) --cliprange-high \(.epsilon_high // .epsilon)"
		+ (if .mask_truncated_completions then " --mask-truncated" else "" end)
		+ (if .loss_type then " --loss \(.loss_type) --scale \(.scale_rewards) --ratio \(.importance_sampling_level)"
				+ " --delta \(.delta // 0) --top-entropy \(.top_entropy_quantile)"
				+ (if .loss_type == "dr_grpo" then " --loss-length \(.max_completion_length)" else "" end)
			else " --advantage rloo" + (if .normalize_advantages then " --whiten" else "" end) end)' <<<"$1"
}
# Prints the gradient norms of tensors that differ by more than rtol 1e-4 atol 2e-6, out of weights before and after a step
# that is the gradient, but of norm .1.
gradient_norms() { # BEFORE AFTER NORM NORMS
	python3 - "$@" <<'PY'
import json, math, struct, sys
def load(path):
    data = open(path, 'rb').read()
    n = struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:8 + n])
    header.pop('__metadata__', None)
    return {k: struct.unpack('<%df' % ((v['data_offsets'][1] - v['data_offsets'][0]) // 4),
                             data[8 + n + v['data_offsets'][0]:8 + n + v['data_offsets'][1]]) for k, v in header.items()}
before, after, norm, norms = load(sys.argv[1]), load(sys.argv[2]), float(sys.argv[3]), json.loads(sys.argv[4])
assert set(before) == set(after) == set(norms)
for name, want in norms.items():
    got = 10 * norm * math.sqrt(sum((a - b) ** 2 for a, b in zip(before[name], after[name])))
    if not abs(got - want) <= 2e-6 + 1e-4 * want:
        print(name, got, want)
PY
}
metrics_near() { # FILE WANT NAMES: the last line of metrics, by rtol 1e-4 atol 2e-6
	jq -se --argjson want "$2" --argjson names "$3" '.[-1] as $got | [$names[] | select($want[.] != null)] as $all | ($all | length > 2) and
		all($all[]; . as $n | ($got[$n] - $want[$n] | fabs) <= 2e-6 + 1e-4 * ($want[$n] | fabs))' "$1" >/dev/null ||
		{ echo "metrics: want $(jq -c --argjson names "$3" '. as $w | [$names[] | {(.): $w[.]}] | add' <<<"$2"), got $(cat "$1")"; return 1; }
}
grouped_store() {
	rm -rf grouped.lmdb*
	rl-store import -q "$golden/models/llama/policy" grouped.lmdb
	rl-store import -q "$golden/models/llama/ref" grouped.lmdb:ref
}
exported() { # DIRECTORY
	rm -rf "$1"
	rl-store export -q grouped.lmdb "$1"
}
names='["loss", "grad_norm", "kl", "entropy", "clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean"]'

@test "rl-ppo-step: TRL's GRPO and RLOO: losses, metrics, gradients by tensor, and weights after a step" {
	shared golden golden/rl
	command -v python3 >/dev/null || skip "python3 is not here"
	done=0
	for trainer in grpo rloo; do
		losses=$golden/$trainer/losses.json
		grouped_store
		exported before
		cp grouped.lmdb begun.lmdb
		jq -c '.cases[]' "$losses" >cases
		while read -r case; do
			name=$(jq -r .name <<<"$case")
			# shellcheck disable=SC2046
			options=($(grouped_options "$case"))
			# on policy: the old log-probabilities are those of the policy; where TRL takes no KL from rows that it leaves out,
			# which rl-rloo does not know, its advantages are given
			jq -c --argjson case "$case" --slurpfile l "$losses" '(input_line_number - 1) as $i
				| if $case.on_policy then .logprobs = $l[0].logprobs[$i] else . end
				| if $case.name == "kl-truncated" then .advantages = [.tokens[] | $case.advantages[$i]] else . end' \
				"$golden/$trainer/records.jsonl" >records
			# where all gradients are far below eps Adam's first step is the gradient times lr / eps; here it has norm .1
			for step in "--lr 1e3 --eps 1 --max-grad-norm 1e-4" "--lr 2e-4 --eps 1e-8 --max-grad-norm 0"; do
				rm -f grouped.lmdb*
				cp begun.lmdb grouped.lmdb
				# shellcheck disable=SC2086
				rl-ppo-step -q -s grouped.lmdb --batch-size 12 --weight-decay 0 $step "${options[@]}" records >metrics
				[ "$step" != "--lr 2e-4 --eps 1e-8 --max-grad-norm 0" ] || continue
				exported after
				wrong=$(gradient_norms before/model.safetensors after/model.safetensors "$(jq .grad_norm metrics)" "$(jq -c .grad_norms <<<"$case")")
				[ -z "$wrong" ] || { echo "$trainer $name: $wrong"; return 1; }
			done
			want=$(jq -c '.metrics + {loss, grad_norm}' <<<"$case")
			# rloo: kl is in the reward there; kl-truncated: its loss counts rows without a gradient
			[ $trainer = grpo ] || want=$(jq -c 'del(.kl)' <<<"$want")
			[ "$name" != kl-truncated ] || want=$(jq -c 'del(.loss)' <<<"$want")
			metrics_near metrics "$want" "$names" || { echo "$trainer $name"; return 1; }
			if [ -e "$golden/$trainer/$name.after.safetensors" ]; then
				exported after
				difference=$(compare_weights after/model.safetensors "$golden/$trainer/$name.after.safetensors" 2e-4)
				echo "$trainer $name: $difference of lr"
				awk '{exit !($1 <= 1e-3 && $2 <= 0.1)}' <<<"$difference"
			fi
			done=$((done + 1))
		done <cases
	done
	[ $done -eq 20 ]
}

@test "rl-ppo-step: TRL's train() of GRPO and RLOO, two steps on one batch" {
	shared golden golden/rl
	command -v python3 >/dev/null || skip "python3 is not here"
	for trainer in grpo rloo; do
		steps=$golden/train-$trainer/steps.json
		# shellcheck disable=SC2046
		options=($(grouped_options "$(jq -c '{config}' "$steps")"))
		optimizer=$(jq -r '.optimizer | "--lr \(.lr) --eps \(.eps) --weight-decay \(.weight_decay) --max-grad-norm \(.max_grad_norm)"' "$steps")
		for step in 1 2; do
			# its learning rate falls with every step, ours with every batch: the batch comes twice, with its old log-probabilities
			grouped_store
			for ((i = 0; i < step; i++)); do cat "$golden/train-$trainer/records.jsonl"; done >records
			# shellcheck disable=SC2086
			rl-ppo-step -q -s grouped.lmdb --batch-size 12 --steps 2 --schedule linear $optimizer "${options[@]}" records >metrics
			want=$(jq -c ".steps[$step - 1].metrics" "$steps")
			[ $trainer = grpo ] || want=$(jq -c 'del(.kl)' <<<"$want")
			metrics_near metrics "$want" "$names"
			exported after
			difference=$(compare_weights after/model.safetensors "$golden/train-$trainer/after$step.safetensors" "$(jq .optimizer.lr "$steps")")
			echo "$trainer step $step: $difference of lr"
			awk '{exit !($1 <= 1e-3 && $2 <= 0.1)}' <<<"$difference"
		done
	done
}

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

@test "rl-ppo-step: with --compat trl too: no cell behind the longest, and the temperature + 1e-7" {
	rl-ppo-step -q --lr 1e-3 rollouts.jsonl >first
	cp run.lmdb begun
	# lengths 5 to 2; of the longest one was cut, the others ended by themselves
	jq -c '(2 + input_line_number % 4) as $n | .tokens |= .[:$n] | .logprobs |= .[:$n]
		| if input_line_number != 3 then .finish = "eos" else . end' rollouts.jsonl >ragged
	[ "$(jq -c 'select(.tokens | length == 5) | .finish' ragged | sort -u | wc -l)" -eq 2 ]
	export RL_RUN=second RL_COMPAT=trl RL_LR=1e-3
	for options in "" "--bootstrap" "--whiten-rewards --lam .5"; do
		for stage in cat 'rl-logprob -q' 'rl-logprob -q --values' "rl-logprob -q --values | rl-gae -q $options"; do
			rm -f run.lmdb*
			cp begun run.lmdb
			# shellcheck disable=SC2086
			bash -o pipefail -c "cat ragged | $stage" | rl-ppo-step -q $options >with
			[ "$stage" != cat ] || { plain=$(weights run.lmdb) && cp with plain; }
			[ "$(weights run.lmdb)" = "$plain" ] || { echo "$options: $stage: other weights"; return 1; }
			cmp <(without_time plain) <(without_time with)
		done
	done
	# 1e-7 more is not nothing
	[ "$(rl-logprob -q ragged | jq -c .ref_logprobs | sha256sum)" != "$(rl-logprob -q --compat none ragged | jq -c .ref_logprobs | sha256sum)" ]
}

# Where the penalty is 0 the trainer asks no reference, and knows the KL only when a stage has told it.
without_kl() { jq -cS 'if has("objective/kl_se") then . else del(.["objective/kl"]) end'; }
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
		cmp <(without_time plain | without_kl) <(without_time with | without_kl)
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
	! $update <(head -n 8 batches) >part 2>said || false
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
	! head -n 8 batches | rl-reinforce -q $moving | $update >part 2>said || false
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
	# no reference, so no KL: it is not 0
	holds 'has("objective/kl") and .["objective/kl"] == null and .["objective/non_score_reward"] == 0' metrics
	weights run.lmdb >want
	again
	rl-ppo-step -q --advantage reinforce --kl-coef 0 --critic none --ppo-epochs 1 --lr 1e-6 rollouts.jsonl >metrics
	weights run.lmdb | cmp - want
	again
	RL_LR=1e-4 rl-ppo-step -q --advantage reinforce --critic shared rollouts.jsonl >metrics
	jq -e 'has("loss/value_avg") and .lr == 1e-4' metrics >/dev/null
}

# A reference that is not the policy that sampled.
other_reference='.ref_logprobs = [.logprobs, .tokens] | .ref_logprobs |= (transpose | map(.[0] - .2 + .1 * (.[1] % 4)))'
# Two batches of two prompts, four completions each.
grouped_rollouts() {
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 sampler.lmdb
	head -n 4 "$testdata/tiny/prompts.jsonl" | rl-generate -q -s sampler.lmdb -n 4 --max-tokens 5 --batch-size 8 |
		jq -c "del(.cursor) | .reward = (.tokens | map(. % 3) | add) | $other_reference" >grouped
	[ "$(wc -l <grouped)" -eq 16 ]
}
trained() { # OPTION...: the weights after a fresh run over `grouped`, whose metrics are in `metrics`
	again
	rl-ppo-step -q "$@" grouped >metrics
	weights run.lmdb
}

@test "rl-ppo-step: --loss sets what the page says, and options that are given are kept" {
	grouped_rollouts
	same() { [ "$(trained "${first[@]}")" = "$(trained "$@")" ] || { echo "${first[*]} is not $*"; return 1; }; }
	spelled="--lr 1e-3 --ppo-epochs 3 --critic none --kl-coef .3 --advantage grpo --kl-in loss --kl-estimator k3 --dual-clip 0 --delta 0"
	# shellcheck disable=SC2086
	while IFS='|' read -r loss options; do
		first=(--loss "$loss" --lr 1e-3 --ppo-epochs 3 --kl-coef .3)
		same $spelled $options
	done <<-'END'
		grpo|--ratio token --loss-agg seq-mean-token-mean --cliprange .2 --cliprange-high .2
		dr_grpo|--loss-agg seq-mean-token-sum --loss-length 5 --scale none --cliprange .2
		dapo|--loss-agg token-mean --cliprange .2 --cliprange-high .28
		bnpo|--loss-agg token-mean --cliprange .2
		gspo|--ratio sequence --loss-agg seq-mean-token-mean --cliprange 3e-4 --cliprange-high 4e-4
		cispo|--loss cispo --loss-agg token-mean --cliprange 1 --cliprange-high 4
		sapo|--loss sapo --ratio token --loss-agg seq-mean-token-mean --tau-pos 1 --tau-neg 1.05
		geo_mean|--loss geo_mean --ratio sequence --loss-agg seq-mean-token-mean --cliprange .4 --cliprange-high .4
		clip_cov|--loss clip_cov --loss-agg token-mean --cliprange .2 --cliprange-high .2 --cov-ratio 2e-4 --cov-low 1 --cov-high 5
		kl_cov|--loss kl_cov --loss-agg token-mean --cov-ratio 2e-4 --cov-kl-coef 1
	END
	first=(--loss reinforce --lr 1e-3)
	same --loss reinforce --lr 1e-3 --advantage reinforce --kl-coef .05 --kl-in reward --kl-estimator k1 --critic none --ppo-epochs 1
	first=(--loss ppo)
	same --advantage gae --ratio token --loss-agg token-mean --cliprange .2 --cliprange-high .2 --kl-in reward --vf-coef .1 --cliprange-value .2
	first=(--loss grpo --compat verl --lr 1e-3)
	same --loss grpo --compat verl --lr 1e-3 --dual-clip 3 --kl-coef 0
	# the on-policy first step of all clipped losses with one number per row and rows of one length is the same, the later ones are not
	for loss in ppo grpo gspo cispo reinforce sapo geo_mean clip_cov kl_cov; do
		trained --loss $loss --advantage grpo --kl-coef 0 --critic none --ppo-epochs 4 --lr 3e-3
	done >ends
	[ "$(sort -u ends | wc -l)" -ge 7 ]
	jq -se 'all(has("clip_ratio/low_mean") and has("clip_ratio/high_mean") and has("entropy") and has("loss"))' metrics >/dev/null
}

@test "rl-ppo-step: sapo, geo_mean, clip_cov, kl_cov: their options, the same bits however it is run, drawn by seed" {
	grouped_rollouts
	export RL_LR=3e-3 RL_PPO_EPOCHS=3
	cov="--cov-ratio .25 --cov-low 0 --cov-high 9"
	# shellcheck disable=SC2086
	for options in "--loss sapo" "--loss sapo --tau-pos 3" "--loss sapo --tau-neg 3" "--loss geo_mean" "--loss geo_mean --cliprange .01 --cliprange-high .01" \
		"--loss clip_cov $cov" "--loss clip_cov $cov --cov-high .2" "--loss clip_cov $cov --cov-low .1" "--loss clip_cov $cov --seed 3" "--loss clip_cov $cov --cov-ratio .5" \
		"--loss kl_cov" "--loss kl_cov $cov" "--loss kl_cov $cov --cov-kl-coef .1"; do
		trained $options
		[ "$(jq -s 'map(has("policy/covfrac_avg")) | unique | .[0]' metrics)" = "$([[ $options == *_cov* ]] && echo true || echo false)" ]
	done >ends
	[ "$(sort -u ends | wc -l)" -eq 13 ]
	# ten of the 40 tokens
	trained --loss kl_cov --cov-ratio .25 >kl
	[ "$(jq '."policy/covfrac_avg"' metrics | sort -u)" = 0.25 ]
	trained --loss clip_cov --cov-ratio .25 --cov-low -99 --cov-high 99 --cliprange 99 >clip
	[ "$(jq '."policy/covfrac_avg"' metrics | sort -u)" = 0.25 ]
	# in mini-batches, on any number of threads, and stopped between batches
	for loss in clip_cov kl_cov geo_mean sapo; do
		run="--loss $loss --cov-ratio .25 --cov-low -1 --mini-batches 2"
		# shellcheck disable=SC2086
		{
			trained $run -j 1 >want
			without_time metrics >lines
			trained $run -j 3 | cmp want -
			again
			! rl-ppo-step -q $run <(head -n 8 grouped) >metrics 2>err || false
			rl-ppo-step -q $run grouped >metrics
		}
		weights run.lmdb | cmp want -
		without_time metrics | cmp lines -
	done
	misused() { fails_with 2 "$1" rl-ppo-step -q "${@:2}" grouped; }
	misused "--loss geo_mean has a ratio of the sequence" --loss geo_mean --ratio token
	misused "--loss kl_cov has a ratio of tokens" --loss kl_cov --ratio sequence
	misused "--cov-low is 6, but must be below --cov-high, which is 5" --loss clip_cov --cov-low 6
	misused "--delta is of losses that are clipped, not of --loss sapo" --loss sapo --delta 3
}

@test "rl-ppo-step: every option of a loss does something, and off is as if it were not there" {
	grouped_rollouts
	jq -c 'if input_line_number % 3 == 0 then .finish = "eos" else . end' grouped >some && mv some grouped
	base="--loss grpo --lr 3e-3 --ppo-epochs 4 --kl-coef 0"
	# shellcheck disable=SC2086
	plain=$(trained $base)
	for off in "--entropy-coef 0" "--top-entropy 1" "--delta 0" "--dual-clip 0" "--target-kl 0" "--no-mask-truncated" "--dual-clip 1e9" "--delta 1e9"; do
		# shellcheck disable=SC2086
		[ "$(trained $base $off)" = "$plain" ] || { echo "$off: other weights"; return 1; }
	done
	{
		echo "$plain"
		for on in "--entropy-coef .01" "--top-entropy .3" "--cliprange .01" "--cliprange-high .01" "--loss-agg seq-mean-token-sum --loss-length 50" "--ratio product --cliprange .1" \
			"--mask-truncated" "--kl-coef .1" "--kl-coef .1 --kl-in reward" "--kl-coef .1 --kl-estimator k2" "--scale none" "--delta .99 --cliprange .01"; do
			# shellcheck disable=SC2086
			trained $base $on
		done
	} >ends
	[ "$(sort -u ends | wc -l)" -eq 13 ]
	# shellcheck disable=SC2086
	trained $base --kl-coef .1 >end
	jq -se 'all(.kl >= 0 and .["objective/kl_se"] >= 0 and .["objective/non_score_reward"] == 0)' metrics >/dev/null
	# the bonus holds the entropy up
	# shellcheck disable=SC2086
	trained $base --entropy-coef 1 >end
	up=$(jq -s '.[-1].entropy' metrics)
	# shellcheck disable=SC2086
	trained $base --entropy-coef -1 >end
	jq -se --argjson up "$up" '.[-1].entropy < $up' metrics >/dev/null
	# no loss of any row: no gradient
	jq -c '.finish = "length"' grouped >cut && mv cut grouped
	# shellcheck disable=SC2086
	trained $base --mask-truncated --weight-decay 0 >end
	jq -se 'all(.grad_norm == 0 and .loss == 0)' metrics >/dev/null
}

@test "rl-ppo-step: a value that is not clipped, and the critic's defaults of other frameworks" {
	grouped_rollouts
	{ trained --lr 1e-2 --cliprange-value 0; trained --lr 1e-2; trained --lr 1e-2 --cliprange-value 1e9; } >ends
	jq -se 'all(.["val/clipfrac_avg"] == 0)' metrics >/dev/null
	[ "$(sed -n 1p ends)" = "$(sed -n 3p ends)" ]
	[ "$(sort -u ends | wc -l)" -eq 2 ]
	[ "$(trained --compat verl)" = "$(trained --compat verl --cliprange-value .5 --vf-coef 1 --dual-clip 3)" ]
}

@test "rl-ppo-step: --compat sets the ranges of losses, the dual clip and the norm that gradients are clipped to" {
	grouped_rollouts
	# old log-probabilities far from the policy's, on both sides: no range is wide enough
	jq -c '.logprobs |= (to_entries | map(.value + [-.22, .22, -1.5, -2.5][.key % 4]))' grouped >far && mv far grouped
	is() { # OPTIONS OF THE FRAMEWORK: it is the first of both, and not the second
		# shellcheck disable=SC2086
		{ [ "$(trained --lr 1e-3 $1)" = "$(trained --lr 1e-3 $1 $2)" ] && [ "$(trained --lr 1e-3 $1)" != "$(trained --lr 1e-3 $1 $3)" ]; } ||
			{ echo "$1: not $2, or $3"; return 1; }
	}
	is "--compat verl --loss grpo" "--dual-clip 3" "--dual-clip 0"
	is "--compat openrlhf --loss grpo" "--dual-clip 0" "--dual-clip 3"
	is "--compat verl --loss cispo" "--cliprange .2 --cliprange-high .2" "--cliprange 1 --cliprange-high 4"
	is "--compat trl --loss cispo" "--cliprange 1 --cliprange-high 4" "--cliprange .2 --cliprange-high .2"
	is "--compat trl --loss dapo" "--cliprange-high .2" "--cliprange-high .28"
	is "--compat verl --loss dapo" "--cliprange-high .28" "--cliprange-high .2"
	is "--compat trl --advantage rloo" "--ratio product --loss-agg seq-mean-token-mean" "--ratio token --loss-agg token-mean"
	# TRL's PPO does not clip gradients, its other trainers do
	for off in "--compat trl" "--compat trl-old"; do
		is "$off --ppo-epochs 2" "--max-grad-norm 0" "--max-grad-norm 1"
	done
	for on in "--compat trl --loss grpo" "--compat trl --advantage rloo" "--compat verl" "--compat openrlhf" ""; do
		is "$on --ppo-epochs 2" "--max-grad-norm 1" "--max-grad-norm 0"
	done
}

@test "rl-ppo-step: --compat sets rates, passes and decay too" {
	grouped_rollouts
	is() { # OPTIONS ALL-SPELLED ONE-OTHER...: the first is as if it had the second, and with each other one it is not
		local options=$1 spelled=$2 plain
		shift 2
		# shellcheck disable=SC2086
		plain=$(trained $options)
		# shellcheck disable=SC2086
		[ "$plain" = "$(trained $options $spelled)" ] || { echo "$options: not $spelled"; return 1; }
		for other; do
			# shellcheck disable=SC2086
			[ "$plain" != "$(trained $options $other)" ] || { echo "$options: $other"; return 1; }
		done
	}
	is "" "--lr 3e-6 --critic-lr -1 --ppo-epochs 4 --weight-decay 0 --betas .9,.999"
	is "--compat trl" "--lr 3e-6 --critic-lr -1 --ppo-epochs 4 --weight-decay 0 --betas .9,.999"
	is "--compat trl-old" "--lr 1.41e-5 --critic-lr -1 --ppo-epochs 4 --weight-decay 0 --betas .9,.999" "--lr 3e-6"
	is "--compat verl" "--lr 1e-6 --critic-lr 1e-5 --ppo-epochs 1 --weight-decay .01 --decay all --betas .9,.999" "--lr 3e-6" "--critic-lr -1" "--ppo-epochs 4"
	is "--compat verl --lr .01" "--weight-decay .01 --decay all" "--weight-decay 0" "--decay matrices" # at 1e-6 no float notices
	is "--compat openrlhf" "--lr 1e-6 --critic-lr 9e-6 --ppo-epochs 1 --weight-decay 0 --betas .9,.95" "--lr 3e-6" "--critic-lr -1" "--ppo-epochs 4" "--betas .9,.999"
	is "--compat openrlhf --loss grpo" "--lr 1e-6 --ppo-epochs 1 --weight-decay 0 --betas .9,.95"
}

@test "rl-ppo-step: --adaptive-kl moves the coefficient, and a run that was stopped goes on with the same bits" {
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 sampler.lmdb
	head -n 12 "$testdata/tiny/prompts.jsonl" | rl-generate -q -s sampler.lmdb --max-tokens 5 --batch-size 4 |
		jq -c "del(.cursor) | .reward = (.tokens | map(. % 3) | add) | $other_reference" >batches
	for where in reward loss; do
		update="rl-ppo-step -q --lr 1e-3 --kl-in $where --kl-coef .1 --adaptive-kl .5,10"
		again
		$update batches >whole
		want=$(weights run.lmdb)
		# 1 + clip(kl / .5 - 1, -.2, .2) * 4 / 10, after each batch; the line has the coefficient that was used
		jq -se 'length == 3 and .[0]["objective/kl_coef"] == .1 and ([., .[1:]] | transpose | .[:-1] | all(. as [$a, $b] |
			([[$a["objective/kl"] / .5 - 1, -.2] | max, .2] | min) as $step
			| ($a["objective/kl_coef"] * (1 + $step * 4 / 10) - $b["objective/kl_coef"] | fabs) < 1e-12)) and .[1]["objective/kl_coef"] != .1' whole >/dev/null
		again
		! $update <(head -n 8 batches) >part 2>said || false
		grep -q "before the batch marked 'last'" said
		$update batches >rest
		[ "$(weights run.lmdb)" = "$want" ]
		cmp <(without_time whole) <(without_time rest)
		again
		[ "$(rl-ppo-step -q --lr 1e-3 --kl-in $where --kl-coef .1 batches >fixed && weights run.lmdb)" != "$want" ]
	done
	# verl and OpenRLHF follow the mean over rows of the mean over tokens, here a fifth of the KL: 1.1 times this target
	[ "$(jq '.tokens | length' batches | sort -u)" = 5 ]
	for like in "none .2" "verl .1" "openrlhf .1"; do
		target=$(jq -n 'input["objective/kl"] / 5 / 1.1' whole)
		again
		rl-ppo-step -q --compat "${like% *}" --kl-coef .1 --adaptive-kl "$target,10" batches >followed
		jq -se --argjson step "${like#* }" '.[0]["objective/kl"] > 0 and (.[1]["objective/kl_coef"] - .1 * (1 + $step * 4 / 10) | fabs) < 1e-9' followed >/dev/null
	done
	# a filter has put its own coefficient in already; in the loss it is not in the way
	rl-reinforce -q batches >through
	again
	fails_with 1 "has 'rewards', whose KL penalty --adaptive-kl could not move" rl-ppo-step -q --advantage reinforce --adaptive-kl 6,100 through
	rl-ppo-step -q --advantage reinforce --adaptive-kl 6,100 --kl-in loss through >metrics
	fails_with 2 "--adaptive-kl is '6', but must be TARGET,HORIZON" rl-ppo-step --adaptive-kl 6 batches
	fails_with 2 "--adaptive-kl has nothing to move: --kl-coef is 0" rl-ppo-step --adaptive-kl 6,100 --loss grpo batches
	again
	fails_with 1 "4 rows are more than 5 times the horizon 0.5 of --adaptive-kl" rl-ppo-step -q --adaptive-kl 6,.5 batches
}

@test "rl-ppo-step: --kl-estimator exact is what the estimates estimate" {
	# a reference that is another model, and many completions: the mean over rows of k1, k3 and the exact KL are one number
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 many.lmdb
	rl-store init -q --config "$testdata/tiny/config.json" --seed 5 other.lmdb
	rl-store export -q other.lmdb other
	rl-store import -q other many.lmdb:ref
	cp many.lmdb begun
	rl-generate -q -s many.lmdb -n 64 --max-tokens 6 "$testdata/tiny/prompts.jsonl" | jq -c 'del(.batch, .row, .batch_size, .last, .cursor) | .reward = 1' >many
	rows=$(wc -l <many)
	[ "$rows" -ge 500 ]
	for k in exact k1 k2 k3; do
		rm -f many.lmdb*
		cp begun many.lmdb
		rl-ppo-step -q -s many.lmdb --critic none --ppo-epochs 1 --batch-size "$rows" --kl-estimator $k many | jq -c '[.["objective/kl"], .["objective/kl_se"]]' >$k
	done
	jq -ne --slurpfile e exact --slurpfile a k1 --slurpfile c k3 '$e[0] as $e | $e[0] > 0 and
		([$a[0], $c[0]] | all((.[0] - $e[0] | fabs) < 4 * .[1])) and $e[1] < $a[0][1]' >/dev/null || { cat exact k1 k3; return 1; }
}
@test "rl-ppo-step: the exact KL in the loss pulls the policy to the reference, the same bits for any threads" {
	grouped_rollouts
	rl-store init -q --config "$testdata/tiny/config.json" --seed 5 other.lmdb
	rl-store export -q other.lmdb other
	again
	rl-store import -q other run.lmdb:ref
	cp run.lmdb begun
	for where in loss reward; do
		for how in '-j 1' '-j 3' '--isa avx2' '--isa plain'; do
			rm -f run.lmdb*
			cp begun run.lmdb
			# shellcheck disable=SC2086
			rl-ppo-step -q --loss grpo --lr 1e-2 --ppo-epochs 8 --kl-in $where --kl-coef 10 --kl-estimator exact $how grouped >metrics 2>said || { grep -q 'instruction set' said && continue; }
			weights run.lmdb
		done | sort -u | wc -l | grep -qx 1
	done
	rm -f run.lmdb*
	cp begun run.lmdb
	rl-ppo-step -q --loss grpo --lr 1e-2 --ppo-epochs 8 --kl-coef 10 --kl-estimator exact grouped >metrics
	jq -se '.[1]["objective/kl"] < .8 * .[0]["objective/kl"] and all(.kl > 0)' metrics >/dev/null || { cat metrics; return 1; }
	# before the update it is one number, of the update's first pass or of a pass of its own
	for how in '--kl-in loss' '--kl-in loss --mini-batches 2' '--kl-in reward'; do
		rm -f run.lmdb*
		cp begun run.lmdb
		# shellcheck disable=SC2086
		rl-ppo-step -q --loss grpo --ppo-epochs 2 --kl-coef 10 --kl-estimator exact $how grouped | jq -c 'select(.batch == 0) | [.["objective/kl"], .["objective/kl_se"]]'
	done >before
	[ "$(wc -l <before)" -eq 3 ]
	[ "$(sort -u before | wc -l)" -eq 1 ] || { cat before; return 1; }
	# the policy is its own reference
	again
	rl-ppo-step -q --loss grpo --kl-coef 1 --kl-estimator exact <(head -n 8 grouped | jq -c 'del(.batch, .row, .batch_size, .last)') >metrics
	jq -e '(.kl | fabs) < 1e-6 and (.["objective/kl"] | fabs) < 1e-6' metrics >/dev/null
	fails_with 2 "--kl-estimator exact needs both models: rl-ppo-step has it" rl-grpo --kl-estimator exact grouped
	# a reference with a weight that is NaN
	weights=$(ls other/*.safetensors)
	printf '\0\0\300\177' | dd of="$weights" bs=1 conv=notrunc seek=$(($(stat -c %s "$weights") - 4)) status=none
	again
	rl-store import -q other run.lmdb:ref
	for where in loss reward; do
		fails_with 1 "batch 0: row 0 ('p0'): the exact KL would be NaN at index 0" rl-ppo-step -q --loss grpo --kl-in $where --kl-coef 1 --kl-estimator exact grouped
	done
}

@test "rl-ppo-step: --target-kl ends an update before the step that is too far" {
	rl-ppo-step -q --lr 1e-2 --ppo-epochs 1 rollouts.jsonl >metrics
	one=$(weights run.lmdb)
	again
	rl-ppo-step -q --lr 1e-2 --ppo-epochs 5 --target-kl 1e-9 rollouts.jsonl >metrics
	[ "$(weights run.lmdb)" = "$one" ]
	[ "$(jq .optimizer_steps metrics)" = 1 ]
	again
	rl-ppo-step -q --lr 1e-2 --ppo-epochs 5 --target-kl 1e9 rollouts.jsonl >metrics
	[ "$(jq .optimizer_steps metrics)" = 5 ]
	want=$(weights run.lmdb)
	again
	rl-ppo-step -q --lr 1e-2 --ppo-epochs 5 rollouts.jsonl >metrics
	[ "$(weights run.lmdb)" = "$want" ]
	jq -e 'has("optimizer_steps") | not' metrics >/dev/null
	# a batch that is too far from the start makes a version like the one before
	jq -c '.logprobs |= map(. + 1)' rollouts.jsonl >far
	again
	before=$(weights run.lmdb)
	rl-ppo-step -q --critic none --target-kl .01 far >metrics
	[ "$(jq -c '[.optimizer_steps, .grad_norm]' metrics)" = '[0,0]' ]
	[ "$(weights run.lmdb)" = "$before" ]
	# it is half a nat from it: above 1.5 times .33, not above 1.5 times .34
	again
	[ "$(rl-ppo-step -q --critic none --ppo-epochs 1 --target-kl .33 far | jq .optimizer_steps)" = 0 ]
	again
	[ "$(rl-ppo-step -q --critic none --ppo-epochs 1 --target-kl .34 far | jq .optimizer_steps)" = 1 ]
}

@test "rl-ppo-step: --critic-warmup trains the critic only, for so many batches" {
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 sampler.lmdb
	head -n 8 "$testdata/tiny/prompts.jsonl" | rl-generate -q -s sampler.lmdb --max-tokens 5 --batch-size 4 |
		jq -c 'del(.cursor) | .reward = (.tokens | map(. % 3) | add)' >batches
	before=$(weights run.lmdb)
	rl-ppo-step -q --lr 1e-3 --weight-decay .1 --critic separate --critic-warmup 2 batches >metrics
	[ "$(weights run.lmdb)" = "$before" ]
	[ "$(weights run.lmdb:value)" != "$before" ]
	jq -se 'length == 2 and all(.["policy/approxkl_avg"] < 1e-9 and .["policy/entropy_avg"] > 0 and .grad_norm > 0)' metrics >/dev/null
	again
	rl-ppo-step -q --lr 1e-3 --critic separate --critic-warmup 1 batches >metrics
	once=$(weights run.lmdb)
	[ "$once" != "$before" ]
	again
	! rl-ppo-step -q --lr 1e-3 --critic separate --critic-warmup 1 <(head -n 4 batches) >metrics 2>said || false
	[ "$(weights run.lmdb)" = "$before" ]
	rl-ppo-step -q --lr 1e-3 --critic separate --critic-warmup 1 batches >metrics
	[ "$(weights run.lmdb)" = "$once" ]
	# at the critic's own rate, which is what it learns by, whatever the policy's is
	again
	rl-ppo-step -q --lr 1e-2 --critic-lr 1e-3 --critic separate --critic-warmup 2 batches >metrics
	slow=$(weights run.lmdb:value)
	again
	rl-ppo-step -q --lr 1e-3 --critic separate --critic-warmup 2 batches >metrics
	[ "$(weights run.lmdb:value)" = "$slow" ]
	fails_with 2 "--critic-warmup needs --critic separate" rl-ppo-step --critic-warmup 1 batches
}

@test "rl-ppo-step: options of losses that do not go together are one line" {
	misused() { local text=$1; shift; fails_with 2 "$text" rl-ppo-step "$@" rollouts.jsonl; }
	misused "--delta is of losses that are clipped, not of --loss cispo" --loss cispo --delta 3
	misused "--dual-clip is of losses that are clipped, not of --loss reinforce" --loss reinforce --dual-clip 3
	misused "--loss-length is what seq-mean-token-sum divides by" --loss dapo --loss-length 9
	misused "--dual-clip is 0.5, but must be at least 1" --dual-clip .5
	misused "--top-entropy 0 trains no token" --top-entropy 0
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
	bad "1 of 2 rows have 'advantages'; all or none" '. + {batch: 0, row: (0, 1), batch_size: 2} | if .row == 1 then .advantages = [0, 0, 0, 0, 0] else . end'
	bad "row 0 ('p0') has 'advantages', but no 'returns' for the critic" '.advantages = [0, 0, 0, 0, 0]'
	bad "row 0 of batch 0 comes twice" '., . | . + {batch: 0, row: 0, batch_size: 2}'
	bad "the input ended in batch 0, after 1 of 2 rows" '. + {batch: 0, row: 0, batch_size: 2}'
	bad "batch 1 begins, but batch 0 has 1 of 2 rows" '. + {batch: (0, 1), row: 0, batch_size: 2}'
	fails_with 1 ":1: not JSON: NaN and infinity are no numbers there" rl-ppo-step -q <(sed 's/"reward":[0-9]*/"reward":NaN/' <<<"$row")
	run -1 --separate-stderr rl-ppo-step -q </dev/null
	fails_with 2 "no --beta; here it is --kl-coef" rl-ppo-step --beta 1
	for alias in epsilon-high:cliprange-high loss-type:loss loss-agg-mode:loss-agg importance-sampling-level:ratio clip-ratio-c:dual-clip \
		mask-truncated-completions:mask-truncated top-entropy-quantile:top-entropy entropy-coeff:entropy-coef use-kl-loss:kl-in kl-target:adaptive-kl; do
		fails_with 2 "no --${alias%:*}; here it is --${alias#*:}" rl-ppo-step "--${alias%:*}" 1
	done
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
	jq -c '.group = "g\(input_line_number % 2)"' rollouts.jsonl >grouped
	RL_RUN=grpo rl-ppo-step -s run.lmdb --loss grpo --kl-coef .04 grouped
	RL_RUN=dapo rl-ppo-step -s run.lmdb --loss dapo --mask-truncated grouped
	RL_RUN=b rl-generate -s run.lmdb --max-tokens 4 <"$testdata/tiny/prompts.jsonl" | RL_RUN=b rl-ppo-step -s run.lmdb --reward '-(.tokens | length)'
}

@test "rl-ppo-step: on a terminal a table, elsewhere JSON Lines; a restart prints the same" {
	command -v script >/dev/null || skip "script is not here"
	script -qec 'rl-ppo-step -q --batch-size 2 --steps 4 rollouts.jsonl' /dev/null </dev/null | tr -d '\r' >table
	[ "$(wc -l <table)" -eq 5 ]
	[ "$(head -n 1 table | tr -s ' ')" = " step reward eval kl length clipped grad norm s left" ]
	rl-ppo-step -q --batch-size 2 --steps 4 rollouts.jsonl >metrics.jsonl 2>/dev/null
	holds -s 'map(has("time/commit")) == [false, true, true, true]' metrics.jsonl
	diff <(sed 1d table | awk '{print $1, $2, $4}') <(jq -r '[.["objective/scores"], .["completions/mean_length"], .batch + 1] | @tsv' metrics.jsonl |
		awk '{printf "%d/4 %.4f %.1f\n", $3, $1, $2}')
	script -qec 'rl-ppo-step -q --batch-size 2 --steps 4 rollouts.jsonl' /dev/null </dev/null | tr -d '\r' | grep -v 'is complete' | cmp table -
	# evaluations, by what --best names
	rl-generate -q -s run.lmdb --run two --max-tokens 4 --batch-size 8 --eval "$testdata/tiny/prompts.jsonl" --eval-every 2 "$testdata/tiny/prompts.jsonl" |
		jq -c 'del(.cursor) | .policy_version = 4 + .batch | .reward_a = (.tokens | length) | .reward_b = .tokens[0]' >rollouts
	script -qec 'rl-ppo-step -q --run two --best eval/reward_b rollouts' /dev/null </dev/null | tr -d '\r' >table
	rl-ppo-step -q --run two --best eval/reward_b rollouts >metrics.jsonl 2>/dev/null
	diff <(tail -n +2 table | cut -c21-29) <(jq -r '."eval/reward_b" // "" | tostring' metrics.jsonl | awk '{printf $0 == "" ? "%9s\n" : "%9.4f\n", $0}')
	[ "$(tail -n +2 table | cut -c21-29 | tr -d ' ' | grep -c .)" -eq 2 ]
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
			(.["reward"] == .["objective/scores"]), (.["reward_std"] | near($groups | map(map(.s) | std) | mean)),
			(.["frac_reward_zero_std"] | near($groups | map(if (map(.s) | unique | length) == 1 then 1 else 0 end) | mean)),
			(.["rewards/hits/mean"] | near([$r[] | .reward_hits | numbers] | mean)),
			(.["rewards/hits/std"] | near([$r[] | .reward_hits | numbers] | std)),
			(.["rewards/extra/mean"] | near([$r[] | .reward_extra | numbers] | mean)),
			(.["rewards/tokens/mean"] | near([$r[] | .reward_tokens | add] | mean)),
			(.["objective/scores"] | near([$r[].s] | mean)),
			([.rows, .skipped, .["skipped/skip"], .["skipped/error"], .["skipped/no_reward"], .["skipped/no_token"]] == [8, 4, 2, 1, 1, null]),
			(has("val/var_explained") | not),
			(.["time/peak_rss_mib"] > 1), (.["time/rollout"] >= 0), (.["time/tokens_per_second/update"] > 0),
			.["time/step"] > 0, .["time/step"] < .["time/update"], (has("time/commit") | not)
		] | if all then true else . end' groups.jsonl
}

@test "rl-ppo-step: objective/ is over the tokens that the policy chose, its standard error over rows" {
	jq -c '.mask = [1, 0, 1, 1, 0] | .ref_logprobs = [.tokens[] | -(. % 7)]' rollouts.jsonl >masked
	for k in 'k1|.' 'k2|. * . / 2' 'k3|(-. | exp) - 1 + .'; do
		again
		rl-ppo-step -q --critic none --advantage reinforce --kl-coef .3 --kl-estimator "${k%%|*}" masked >metrics
		holds -s --slurpfile m metrics "def near(\$x): (\$x - . | fabs) <= 1e-6 * (\$x | fabs);
			map([.mask, .logprobs, .ref_logprobs, .tokens] | transpose | map(select(.[0] == 1))) as \$rows
			| (\$rows | length) as \$n | (\$rows | map(map(.[1] - .[2] | ${k#*|}) | add)) as \$kl
			| (\$kl | add / \$n) as \$mean | \$m[0] | [
				(.[\"objective/entropy\"] | near(\$rows | map(map(-.[1]) | add) | add / \$n)),
				(.[\"objective/kl\"] | near(\$mean)),
				(.[\"objective/kl_se\"] | near(\$kl | map(. - \$mean | . * .) | add / (\$n - 1) / \$n | sqrt)),
				(.[\"objective/non_score_reward\"] | near(-.3 * \$mean)),
				(.[\"objective/rlhf_reward\"] | near(\$m[0][\"objective/scores\"] - .3 * \$mean)), .tokens == 3 * \$n] | all" masked
	done
}

@test "rl-ppo-step: rows of another version are weighed, or with --max-lag refused" {
	update() { rl-ppo-step -q --critic none --advantage reinforce "$@"; }
	update rollouts.jsonl >/dev/null
	update --run second rollouts.jsonl >/dev/null
	[ "$(jq -r 'select(.policy_version != 0)' rollouts.jsonl)" = "" ]
	cp run.lmdb before.lmdb
	run --separate-stderr update --run third --max-lag 1 rollouts.jsonl
	[ "$status" -eq 1 ] && [ -z "$output" ]
	[[ $stderr == *"row 0 ('"*"') has policy_version 0, but 'policy' is at version 2, and --max-lag is 1"* ]]
	run --separate-stderr update --run third --max-lag 9 <(jq -c '.policy_version = 5' rollouts.jsonl)
	[ "$status" -eq 1 ] && [ -z "$output" ]
	[[ $stderr == *"has policy_version 5, but 'policy' is at version 2, and --max-lag is 9"* ]]
	cmp run.lmdb before.lmdb
	update --run third --max-lag 2 rollouts.jsonl | holds -s 'length == 1 and all(.["offpolicy/rows"] == .rows and .["offpolicy/lag"] == 2)'
	jq -c '.policy_version = 5' rollouts.jsonl | update --run fourth | holds -s 'length == 1 and all(.["offpolicy/rows"] == .rows and .["offpolicy/lag"] == 0)'
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

# tensors STORE[:SLOT]: "name sha256" of each.
tensors() {
	rm -rf exported
	rl-store export -q "$1" exported
	python3 - <<'PY'
import hashlib, json, struct
data = open('exported/model.safetensors', 'rb').read()
n = struct.unpack('<Q', data[:8])[0]
for name, v in sorted(json.loads(data[8:8 + n]).items()):
    if name != '__metadata__':
        print(name, hashlib.sha256(data[8 + n + v['data_offsets'][0]:8 + n + v['data_offsets'][1]]).hexdigest())
PY
}

@test "rl-ppo-step: --critic-lr: a critic learns while the policy stands still, and the other way round" {
	command -v python3 >/dev/null || skip "python3 is not here"
	rl-ppo-step -q --critic separate --lr 1e-3 rollouts.jsonl | jq -e 'has("lr/critic") | not'
	tensors run.lmdb >policy
	tensors run.lmdb:value >value
	again
	rl-ppo-step -q --critic separate --lr 1e-3 --critic-lr 1e-3 rollouts.jsonl | jq -e '.["lr/critic"] == 1e-3'
	diff policy <(tensors run.lmdb)
	diff value <(tensors run.lmdb:value)
	again
	tensors run.lmdb >begun
	rl-ppo-step -q --critic separate --lr 0 --critic-lr 1e-3 rollouts.jsonl >/dev/null
	diff begun <(tensors run.lmdb)
	[ "$(join <(tensors run.lmdb:value) begun | wc -l)" -gt 5 ]
	[ "$(join <(tensors run.lmdb:value) begun | awk '$2 == $3' | wc -l)" -eq 0 ]
	again
	rl-ppo-step -q --critic separate --lr 1e-3 --critic-lr 0 rollouts.jsonl >/dev/null
	[ "$(join <(tensors run.lmdb) begun | awk '$2 == $3' | wc -l)" -eq 0 ]
	[ "$(join <(tensors run.lmdb:value) begun | awk '$2 != $3' | wc -l)" -eq 0 ]
	again
	rl-ppo-step -q --critic separate --critic-warmup 9 --lr 1e-3 --critic-lr 0 rollouts.jsonl >/dev/null
	diff begun <(tensors run.lmdb)
	[ "$(join <(tensors run.lmdb:value) begun | awk '$2 != $3' | wc -l)" -eq 0 ]
	# of a shared one the head alone
	again
	rl-ppo-step -q --lr 0 --critic-lr 1e-3 rollouts.jsonl >/dev/null
	diff begun <(tensors run.lmdb)
	rl-logprob -q --values --as p rollouts.jsonl | jq -s 'map(.values | add) | add != 0' | grep -qx true
}

@test "rl-ppo-step, rl-sft-step: the norms of the gradient's parts make the whole" {
	rl-ppo-step -q --ppo-epochs 1 rollouts.jsonl >metrics.jsonl
	rl-sft-step -q --steps 2 rollouts.jsonl >>metrics.jsonl
	holds -n '[inputs] | length == 3 and all(. as $m | [to_entries[] | select(.key | startswith("grad_norm/")) | .value | . * .]
		| add | sqrt | (. - $m.grad_norm | fabs) <= 1e-9 * .)' metrics.jsonl
	holds -s '.[0] | [keys[] | select(startswith("grad_norm/"))] == ["grad_norm/attn", "grad_norm/embed", "grad_norm/mlp", "grad_norm/norm", "grad_norm/value"]' metrics.jsonl
	again
	rl-ppo-step -q --critic separate --ppo-epochs 1 rollouts.jsonl >metrics.jsonl
	holds '. as $m | [to_entries[] | select(.key | startswith("grad_norm/")) | .value | . * .] | add | sqrt | (. - $m.grad_norm | fabs) <= 1e-9 * .' metrics.jsonl
}

@test "rl-ppo-step: --optim sgd: momentum goes on after a stop with the same bits; another kind of moments is refused" {
	export RL_OPTIM=sgd RL_LR=0.01
	rl-ppo-step -q --batch-size 2 rollouts.jsonl >whole.jsonl
	whole=$(weights run.lmdb)
	rl-store verify run.lmdb
	again
	# a stream that says its batches, and ends before the last
	jq -c '{batch: ((input_line_number - 1) / 2 | floor), row: ((input_line_number - 1) % 2), batch_size: 2, last: (input_line_number > 6)} + .' rollouts.jsonl >batches.jsonl
	run -1 rl-ppo-step -q <(head -n 4 batches.jsonl)
	before=$(sha256sum <run.lmdb)
	fails_with 1 "run '' was begun with --optim sgd, but now it is adamw" env RL_OPTIM=adamw rl-ppo-step -q batches.jsonl
	[ "$before" = "$(sha256sum <run.lmdb)" ]
	rl-ppo-step -q batches.jsonl >part.jsonl
	[ "$(weights run.lmdb)" = "$whole" ]
	diff <(without_time whole.jsonl) <(without_time part.jsonl)
	# a copy of a checkpoint has it too
	again
	rl-ppo-step -q --snapshot-every 2 batches.jsonl >/dev/null
	rl-store copy run.lmdb:000002 two.lmdb
	fails_with 1 "was begun with --optim sgd" rl-ppo-step -q -s two.lmdb --optim adamw <(tail -n 4 batches.jsonl)
	rl-ppo-step -q -s two.lmdb <(tail -n 4 batches.jsonl) >/dev/null
	[ "$(weights two.lmdb)" = "$whole" ]
	# it is the momentum that goes on, and the steps are others than AdamW's
	again
	rl-ppo-step -q --batch-size 2 --momentum 0 rollouts.jsonl >/dev/null
	[ "$(weights run.lmdb)" != "$whole" ]
	again
	rl-ppo-step -q --batch-size 2 --optim adamw rollouts.jsonl >/dev/null
	[ "$(weights run.lmdb)" != "$whole" ]
	# another run begins with moments of its own
	rl-ppo-step -q --run second --batch-size 2 rollouts.jsonl >/dev/null
}
