#!/usr/bin/env bats
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	jq -nc 'range(40) | {batch: ., version: (. + 1), "objective/scores": (. / 40), "objective/kl": (if . == 7 then null else . * . end),
		lr: 3e-6, "time/update": 0.5, "time/prepare": 0.25}' >metrics.jsonl
}
# A store with a run of SFT, then two of PPO.
trained() {
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 run.lmdb
	head -n 8 "$testdata/tiny/prompts.jsonl" | rl-generate -q -s run.lmdb --max-tokens 5 --batch-size 8 |
		jq -c 'del(.batch, .row, .batch_size, .last, .cursor) | .reward = (.tokens | map(. % 3) | add)' >rollouts.jsonl
	rl-sft-step -q -s run.lmdb --steps 3 rollouts.jsonl >sft.jsonl
	rl-ppo-step -q -s run.lmdb --batch-size 4 rollouts.jsonl >first.jsonl
	rl-ppo-step -q -s run.lmdb --run second --batch-size 2 rollouts.jsonl >second.jsonl
}
# The rows of an event file as {step, values}, read by what knows nothing of ours: CRC-32C bit by bit, protocol buffers by
# their wire format.  The first event has to say the version.
events() {
	python3 - "$1" <<'PY'
import json, struct, sys
def crc(data):
    x = 0xffffffff
    for byte in data:
        x ^= byte
        for _ in range(8):
            x = x >> 1 ^ (0x82f63b78 if x & 1 else 0)
    x ^= 0xffffffff
    return ((x >> 15 | x << 17) + 0xa282ead8) & 0xffffffff
assert crc(b'\0' * 32) == ((0x8a9136aa >> 15 | 0x8a9136aa << 17) + 0xa282ead8) & 0xffffffff  # RFC 3720, B.4
def varint(data, i):
    x = shift = 0
    while True:
        x |= (data[i] & 127) << shift
        shift += 7
        i += 1
        if data[i - 1] < 128:
            return x, i
def fields(data):
    i = 0
    while i < len(data):
        tag, i = varint(data, i)
        n = {0: None, 1: 8, 5: 4}.get(tag & 7)
        if tag & 7 == 0:
            value, i = varint(data, i)
        elif tag & 7 == 2:
            n, i = varint(data, i)
        if n is not None:
            value, i = data[i:i + n], i + n
            assert len(value) == n
        yield tag >> 3, value
data = open(sys.argv[1], 'rb').read()
i = 0
while i < len(data):
    head = data[i:i + 8]
    n, = struct.unpack('<Q', head)
    body = data[i + 12:i + 12 + n]
    assert struct.unpack('<I', data[i + 8:i + 12])[0] == crc(head) and struct.unpack('<I', data[i + 12 + n:i + 16 + n])[0] == crc(body)
    event = dict(fields(body))
    assert 1.7e9 < struct.unpack('<d', event[1])[0] < 1e11
    if i == 0:
        assert event[3] == b'brain.Event:2'
    else:
        values = [dict(fields(v)) for _, v in fields(event[5])]
        print(json.dumps({'step': event.get(2, 0), 'values': {v[1].decode(): struct.unpack('<f', v[2])[0] for v in values}}))
    i += n + 16
PY
}

@test "rl-plot: the main metrics, in their order, side by side as the width allows" {
	rl-plot -q --width 80 metrics.jsonl >wide
	[ "$(sed -n 1p wide)" = "metrics.jsonl: 40 rows, batch 0 to 39" ]
	[[ $(sed -n 3p wide) =~ ^objective/scores\ +0.975\ \ objective/kl\ +1521$ ]]
	[[ $(sed -n 11p wide) =~ ^lr\ +3e-06$ ]]
	[ "$(wc -l <wide)" -eq 17 ]
	rl-plot -q --width 40 --height 3 metrics.jsonl >narrow
	[ "$(wc -l <narrow)" -eq 16 ]
	! grep -q time/ wide || false
	zstd -qc metrics.jsonl | rl-plot -q --width 80 | sed 's/^standard input/metrics.jsonl/' | cmp wide -
}

@test "rl-plot: -k patterns choose; a key that is not there is named" {
	rl-plot -q --width 60 -k 'time/*' -k lr metrics.jsonl | grep -oE '^[a-z]+[/a-z]* ' >names
	[ "$(tr -d '\n' <names)" = "time/update time/prepare lr " ]
	fails_with 1 "no metric is called 'objective/k'; near is 'objective/kl'" rl-plot -k objective/k metrics.jsonl
	fails_with 1 "metrics.jsonl:1: there is no number 'step'" rl-plot --x step metrics.jsonl
	rl-plot -q --x version -k lr metrics.jsonl | grep -q 'version 1 to 40'
	cat metrics.jsonl metrics.jsonl | rl-plot -q --x row -k lr | grep -q '80 rows, row 1 to 80'
}

@test "rl-plot: metrics that were printed again by a trainer that went on are drawn once" {
	head -n 30 metrics.jsonl | cat - metrics.jsonl | rl-plot -q | head -n 1 | grep -q ': 40 rows, batch 0 to 39'
}

@test "rl-plot: a store's log: the run that wrote last, or the one that is named" {
	trained
	rl-plot -q --width 60 run.lmdb >log
	[ "$(sed -n 1p log)" = "run.lmdb: rl-ppo-step, run 'second': 4 rows, batch 0 to 3" ]
	diff <(sed 1d log) <(rl-plot -q --width 60 second.jsonl | sed 1d)
	diff <(rl-plot -q --run '' run.lmdb | sed 1d) <(rl-plot -q first.jsonl | sed 1d)
	fails_with 1 "no metrics of a run 'third'" rl-plot --run third run.lmdb
	fails_with 1 "--run is for stores" rl-plot --run x metrics.jsonl
	rl-store init -q --config "$testdata/tiny/config.json" --seed 1 new.lmdb
	fails_with 1 "has no metrics yet" rl-plot new.lmdb
}

@test "rl-plot: an event file has every number, with checksums, as an independent reader finds them" {
	command -v python3 >/dev/null || skip "python3 is not here"
	rl-plot -q --tensorboard logs/a metrics.jsonl >out
	[ ! -s out ]
	events logs/a/events.out.tfevents.0.rl-plot >got
	[ "$(wc -l <got)" -eq 40 ]
	holds -n --slurpfile got got '[inputs] as $want | [$got, $want] | transpose | all(. as [$g, $w] | $g.step == $w.batch
		and ($w | with_entries(select(.value != null)) | keys) == ($g.values | keys)
		and ($g.values | to_entries | all((.value - $w[.key] | fabs) <= 1e-7 * ($w[.key] | fabs))))' metrics.jsonl
	# begun anew; keys as they are chosen
	rl-plot -q --tensorboard logs/a -k lr metrics.jsonl
	events logs/a/events.out.tfevents.0.rl-plot | jq -c '.values | keys' | uniq | grep -qx '\["lr"\]'
	touch file
	fails_with 1 "cannot make the directory 'file/a'" rl-plot --tensorboard file/a metrics.jsonl
}

@test "rl-plot: TensorBoard's own reader, where it is installed" {
	python3 -c 'import tensorboard' 2>/dev/null || skip "python's tensorboard is not here"
	rl-plot -q --tensorboard logs metrics.jsonl
	python3 - >got 2>/dev/null <<'PY'
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
log = EventAccumulator('logs', size_guidance={'scalars': 0})
log.Reload()
print(sorted(log.Tags()['scalars']), [x.step for x in log.Scalars('objective/kl')], log.Scalars('objective/kl')[-1].value)
PY
	python3 - >want <<'PY'
print(sorted(['batch', 'version', 'objective/scores', 'objective/kl', 'lr', 'time/update', 'time/prepare']), [i for i in range(40) if i != 7], 1521.0)
PY
	diff got want
}

@test "rl-plot: without gnuplot it is named, and no file appears" {
	mkdir bin
	ln -s "$(command -v rl-plot)" bin/
	fails_with 1 "there is no gnuplot, which --png and --svg need" env PATH="$PWD/bin" rl-plot --png a.png metrics.jsonl
	[ ! -e a.png ]
	printf '#!/bin/sh\nexit 5\n' >bin/gnuplot
	chmod +x bin/gnuplot
	fails_with 1 "gnuplot ended with status 5" env PATH="$PWD/bin" rl-plot --svg a.svg metrics.jsonl
	[ ! -e a.svg ]
}

@test "rl-plot: PNG and SVG by gnuplot, with names that it could take for its own language" {
	command -v gnuplot >/dev/null || skip "gnuplot is not here"
	jq -c "{batch, \"it's_\\\"{/x}\": .lr, none: (if .batch == 3 then 1 else null end), kl: .[\"objective/kl\"]}" metrics.jsonl >odd.jsonl
	rl-plot --png a.png --svg a.svg odd.jsonl >out 2>err
	[ ! -s out ]
	[ "$(cat err)" = "rl-plot: 40 records in, 40 rows" ]
	[ "$(head -c 4 a.png | od -An -c | tr -d ' ')" = '211PNG' ]
	grep -q '<svg' a.svg
	grep -qF "it's_" a.svg
}

@test "rl-plot -f: draws as lines arrive in a pipe, and ends with it" {
	mkfifo in
	within 20 rl-plot -q -f -k lr <in >out &
	exec 8>in
	head -n 3 metrics.jsonl >&8
	for _ in $(seq 100); do
		! grep -q ': 3 rows' out || break
		sleep 0.1
	done
	grep -q ': 3 rows' out
	tail -n +4 metrics.jsonl >&8
	exec 8>&-
	wait
	tail -n 9 out | grep -q ': 40 rows'
}

@test "rl-plot -f: a file that grows, by half lines too, and a store" {
	command -v python3 >/dev/null || skip "python3 is not here"
	head -n 3 metrics.jsonl >growing
	rl-plot -q -f --tensorboard logs growing 3>&- &
	pid=$!
	arrived() { # N
		for _ in $(seq 100); do
			[ "$(events logs/events.out.tfevents.0.rl-plot 2>/dev/null | wc -l)" -ne "$1" ] || return 0
			sleep 0.1
		done
		return 1
	}
	arrived 3
	sed -n 4,5p metrics.jsonl >>growing
	sed -n 6p metrics.jsonl | head -c 30 >>growing
	arrived 5
	sed -n 6p metrics.jsonl | tail -c +31 >>growing
	arrived 6
	cp metrics.jsonl growing
	arrived 40
	kill $pid
	trained
	rc=0
	timeout 2 rl-plot -q -f -k loss --run '' run.lmdb >out || rc=$?
	[ $rc -eq 124 ]
	grep -q "^run.lmdb: rl-ppo-step: 2 rows" out
}

@test "rl-plot: a terminal is as wide as it says" {
	command -v script >/dev/null || skip "script is not here"
	script -qec 'stty cols 60; rl-plot metrics.jsonl' /dev/null </dev/null | tr -d '\r' >out
	[ "$(grep -c objective out)" -eq 2 ]
	grep -q '^objective/scores  *0.975$' out
	[ "$(grep -c 'records in' out)" -eq 0 ]
	holds -Rn '[inputs | length] | max == 60' out
}

@test "rl-plot: nothing in is a failure; a bad line is named" {
	fails_with 1 "standard input: there are no metrics" rl-plot -q </dev/null
	{ head -n 2 metrics.jsonl; echo '{"batch":'; } >bad.jsonl
	fails_with 1 "bad.jsonl:3: " rl-plot -q bad.jsonl
	fails_with 1 "absent.jsonl" rl-plot -q absent.jsonl
	fails_with 1 "No space left" bash -c 'rl-plot -q metrics.jsonl >/dev/full'
}

@test "rl-plot: the examples of the page" {
	trained
	cp first.jsonl metrics.jsonl
	sed -n '/^.Sh EXAMPLES/,/^.Sh SEE/s/^\.Dl //p' "$root/man/rl-plot.1" >commands
	[ "$(wc -l <commands)" -eq 5 ]
	while read -r line; do
		case $line in
		*' -f '*) line="timeout 1 $line || [ \$? -eq 124 ]" ;;
		*--svg*) command -v gnuplot >/dev/null || continue ;;
		esac
		echo "$line"
		bash -eo pipefail -c "$line" >out 2>err
		[ -s out ] || [[ $line == *--* ]]
	done <commands
	[ -s logs/first/events.out.tfevents.0.rl-plot ]
}
