#!/usr/bin/env bats
# Batches that nothing may be trained on, in the trainers of records: rl-sft-step, rl-dpo-step, rl-rm-step.  (Those of
# rl-ppo-step: blackbox.bats.)
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	export RL_STORE=run.lmdb
	# no tensor is in the input and the output: with --eps 0 a token that no record has yet becomes 0/0 in the step
	jq '.tie_word_embeddings = false' "$testdata/tiny/config.json" >config.json
	rl-store init -q --config config.json --seed 1 start.lmdb
	# a reward model whose score is no longer zero
	echo '{"prompt_tokens":[1],"chosen":[2,3],"rejected":[4]}' | rl-rm-step -q -s start.lmdb --run first --lr 1e-2 >first
	jq -nc 'def all: [range(64)]; def row(p; c; r): {prompt_tokens: p, tokens: c, chosen: c, rejected: r};
		row([1]; [2,3,4,2]; [7]), row([5]; [6,7]; [8,9]),
		row([1]; all[:60] ; all[20:63] | reverse), row([2]; [63] + all[4:63] + [0]; all[:40]),
		row([9]; [8,7,6,5]; [1,2,3]), row([10,11]; [12]; [13,13])' >rows.jsonl
	head -n 2 rows.jsonl >few.jsonl
	tail -n +3 rows.jsonl >many.jsonl
	fresh
}
fresh() {
	rm -f run.lmdb*
	rl-store copy start.lmdb run.lmdb
}
without_time() { jq -cS 'with_entries(select(.key | startswith("time/") | not))' "$@"; }
weights() { # TOOL
	rm -rf exported
	rl-store export -q "run.lmdb:$([ "$1" = rl-rm-step ] && echo reward || echo policy)" exported
	cat exported/*.safetensors | sha256sum
}

@test "bad batches of records: the tensor is named, the store is as it was, and how to go on is said" {
	for tool in rl-sft-step rl-dpo-step rl-rm-step; do
		before=$(sha256sum <run.lmdb)
		fails_with 1 "step 1: after the update tensor 'model.embed_tokens.weight' has" $tool -q --eps 0 --batch-size 2 few.jsonl
		grep -q -- 'go on without the batch by --skip-bad-batches N' err
		[ "$before" = "$(sha256sum <run.lmdb)" ]
		fails_with 2 '--skip-bad-batches goes back to the last commit: it needs --checkpoint-every 1' $tool -q --skip-bad-batches 1 --checkpoint-every 2 few.jsonl
	done
}

@test "bad batches of records: the one that is passed over leaves weights, moments and step count as they were" {
	for tool in rl-sft-step rl-dpo-step rl-rm-step; do
		fresh
		update="$tool -q --eps 0 --batch-size 2 --lr 1e-3 --momentum 0.9"
		$update many.jsonl >want.jsonl
		want=$(weights $tool)
		[ "$(wc -l <want.jsonl)" -eq 2 ]
		fresh
		$update --skip-bad-batches 1 rows.jsonl >got.jsonl 2>err
		[ "$(jq -c '[.step, .rows, .skipped, .bad_batches, has("bad")]' got.jsonl | paste -sd' ')" = '[1,0,2,1,true] [2,2,null,1,false] [3,2,null,1,false]' ]
		[ "$(weights $tool)" = "$want" ]
		jq -r 'select(.bad).bad' got.jsonl | grep -q "^after the update tensor 'model.embed_tokens.weight' has [0-9]* of 2048 elements"
		cmp <(without_time want.jsonl | jq -c 'del(.step, .epoch)') <(without_time got.jsonl | jq -c 'select(.rows > 0) | del(.step, .epoch, .bad_batches)')
		# complete: printed again, trained no more
		$update --skip-bad-batches 1 rows.jsonl 2>/dev/null | cmp got.jsonl -
		[ "$(weights $tool)" = "$want" ]
	done
}

@test "bad batches of records: a log-probability, a score or a gradient is named by its record, and one more than N is refused" {
	# weights grow by a million each step: 3 steps are finite, the pass of the next is not
	for tool in rl-sft-step rl-dpo-step rl-rm-step; do
		fresh
		grow="$tool -q --lr 1000 --weight-decay 1000 --decay all --batch-size 2 --epochs 4 --no-shuffle"
		! $grow few.jsonl many.jsonl >got.jsonl 2>err || false
		n=$(wc -l <got.jsonl)
		[ "$n" -ge 1 ]
		want=$(weights $tool)
		grep -qE "step $((n + 1)): (few|many)\.jsonl:[0-9]: .* would be .* at index [0-9]+; the store is as it was: leave the record out" err
		! $grow --skip-bad-batches 2 few.jsonl many.jsonl >part.jsonl 2>err || false
		grep -q 'and 2 of --skip-bad-batches 2 were passed over before' err
		[ "$(wc -l <part.jsonl)" -eq $((n + 2)) ]
		$grow --skip-bad-batches 99 few.jsonl many.jsonl >rest.jsonl
		[ "$(wc -l <rest.jsonl)" -eq 12 ]
		[ "$(jq -s 'map(select(.bad)) | length' rest.jsonl)" -eq $((12 - n)) ]
		[ "$(jq -s '.[-1].bad_batches' rest.jsonl)" -eq $((12 - n)) ]
		[ "$(weights $tool)" = "$want" ]
	done
}

@test "bad batches of records: a gradient of a pair that is infinite; warned of on stderr; stopped, it ends with the same bits" {
	jq -c 'if .prompt_tokens == [9] then . + {ref_chosen_logps: 1e300, ref_rejected_logps: 0} else . + {ref_chosen_logps: -20, ref_rejected_logps: -20} end' rows.jsonl >pairs.jsonl
	update="rl-dpo-step --loss ipo --batch-size 2 --lr 1e-3 --steps 7"
	fails_with 1 "pairs.jsonl:5: the gradient of the policy's loss would be" $update -q pairs.jsonl
	fresh
	$update --skip-bad-batches 9 --no-shuffle pairs.jsonl >want.jsonl 2>err
	grep -q "step 3 is passed over: pairs.jsonl:5: the gradient of the policy's loss would be" err
	[ "$(jq -c 'select(.bad).step' want.jsonl | paste -sd' ')" = '3 6' ]
	want=$(weights rl-dpo-step)
	fresh
	! $update -q --skip-bad-batches 1 --no-shuffle pairs.jsonl >part.jsonl 2>err || false
	[ "$(wc -l <part.jsonl)" -eq 5 ]
	$update -q --skip-bad-batches 9 --no-shuffle pairs.jsonl >got.jsonl
	cmp <(without_time want.jsonl) <(without_time got.jsonl)
	[ "$(weights rl-dpo-step)" = "$want" ]
}
