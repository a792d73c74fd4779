#!/usr/bin/env bats
load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	printf '%s\n' '{"completion":"a","tokens":[1,2]}' '{"completion":"bb","tokens":[3]}' '{"skip":"x"}' '{"completion":"ccc","tokens":[4,5,6]}' >in.jsonl
}
# answers TEXT: a program that gives TEXT for every line
answers() { printf '%s\n' "$1" >answer && echo 'while read -r line; do cat answer; done'; }
rewards() { rl-reward-exec -q "$@" <in.jsonl | jq -c .reward_x | paste -sd' '; }

@test "rl-reward-exec: every kind of answer" {
	[ "$(rewards x sh -c "$(answers 0.1)")" = "0.1 0.1 null 0.1" ]
	[ "$(rewards x sh -c "$(answers null)")" = "null null null null" ]
	rewards x sh -c "$(answers null)" >/dev/null && rl-reward-exec -q x sh -c "$(answers null)" <in.jsonl | jq -se '.[0] | has("reward_x")' >/dev/null
	[ "$(rewards --fields tokens x jq -c --unbuffered '.tokens | map(. / 10)')" = "[0.1,0.2] [0.3] null [0.4,0.5,0.6]" ]
	[ "$(rewards x sh -c "$(answers '[[0, 1, 0.5],[0,0,1]]')")" = "[[0,1,0.5],[0,0,1]] [[0,1,0.5],[0,0,1]] null [[0,1,0.5],[0,0,1]]" ]
	[ "$(rewards x jq -c --unbuffered '{note: "n", reward: (.completion | length)}')" = "1 2 null 3" ]
}

@test "rl-reward-exec: what the program is given" {
	echo '{"id":"1","completion":"é","tokens":[1],"logprobs":[-0.5],"ends":[1],"reward_a":[0.5],"hits":[1]}' >one
	rl-reward-exec -q x sh -c 'while read -r line; do printf "%s\n" "$line" >given; echo 1; done' <one
	[ "$(cat given)" = '{"id":"1","completion":"é","reward_a":[0.5],"hits":[1]}' ]
	rl-reward-exec -q --fields tokens,id x sh -c 'while read -r line; do printf "%s\n" "$line" >given; echo 1; done' <one
	[ "$(cat given)" = '{"id":"1","tokens":[1]}' ]
	rl-reward-exec -q x sh -c 'env >given; ls /proc/self/fd | wc -l >fds; read -r line; echo 1; read -r line' <one
	grep -qx PYTHONUNBUFFERED=1 given
	[ "$(cat fds)" -le 4 ] # 0, 1, 2 and the folder
}

@test "rl-reward-exec: order is kept, whoever is faster" {
	seq 40 | jq -c '{id: ., completion: "x"}' >many
	rl-reward-exec -q -j 4 x python3 -c '
import sys, json, time
for line in sys.stdin:
    i = json.loads(line)["id"]
    time.sleep(.01 if i % 3 else .03)
    print(i)' <many | jq -c 'select(.id != .reward_x)' >wrong
	[ ! -s wrong ]
	[ "$(rl-reward-exec -q -j 4 x jq --unbuffered .id <many | jq .id | paste -sd,)" = "$(seq 40 | paste -sd,)" ]
}

@test "rl-reward-exec: a record is not held while input pauses" {
	mkfifo pipe
	{ head -n 2 in.jsonl; exec sleep 20; } >pipe 3>&- &
	feeder=$!
	[ "$(within 10 bash -c "rl-reward-exec -q -j 8 x jq --unbuffered '.completion | length' <pipe | head -n 2 | wc -l")" -eq 2 ]
	kill $feeder
}

@test "rl-reward-exec: no answer in time, garbage, too many lines, too long a line" {
	fails_with 1 "standard input:1: 'sh': no answer within 0.3 seconds" rl-reward-exec -q --timeout 0.3 x sh -c 'read a; sleep 30' <in.jsonl
	fails_with 1 "standard input:1: 'sh': the answer 'foo'" rl-reward-exec -q x sh -c "$(answers foo)" <in.jsonl
	fails_with 1 "standard input:1: 'sh': the answer ''" rl-reward-exec -q x sh -c "$(answers '')" <in.jsonl
	fails_with 1 "the answer is no number" rl-reward-exec -q x sh -c "$(answers '"1"')" <in.jsonl
	fails_with 1 "object without 'reward'" rl-reward-exec -q x sh -c "$(answers '{}')" <in.jsonl
	fails_with 1 "neither numbers nor spans" rl-reward-exec -q x sh -c "$(answers '[[2,1,0]]')" <in.jsonl
	fails_with 1 "the answer has 3 numbers, expected 2" rl-reward-exec -q x sh -c "$(answers '[1,2,3]')" <in.jsonl
	fails_with 1 "more than one line" rl-reward-exec -q x yes 1 <in.jsonl
	fails_with 1 "longer than 16777216 bytes" rl-reward-exec -q x cat /dev/zero <in.jsonl
	fails_with 1 "" rl-reward-exec -q x sh -c "$(answers NaN)" <in.jsonl
	fails_with 1 "" rl-reward-exec -q x sh -c "$(answers 1e999)" <in.jsonl
}

@test "rl-reward-exec: a program is never resynchronised: what it says late counts for nobody" {
	# the first record is answered too late; the second would get that answer
	cat >late.py <<-'END'
		import sys, json, time
		for line in sys.stdin:
		    n = len(json.loads(line)["completion"])
		    if n == 1:
		        time.sleep(6)
		    print(n)
	END
	[ "$(rewards --timeout 4 --otherwise -1 x python3 late.py)" = "-1 2 null 3" ]
}

@test "rl-reward-exec: a line that nobody asked for at the start is noticed at the end" {
	fails_with 1 "'sh' wrote a line that no record asked for" rl-reward-exec -q x \
		sh -c 'echo 100; while read -r l; do sleep 0.3; echo 1; done' <<<'{"completion":"a"}'
}

@test "rl-reward-exec: --otherwise and -k" {
	[ "$(rewards --otherwise -1 x sh -c "$(answers foo)")" = "-1 -1 null -1" ]
	rl-reward-exec --otherwise -1 x sh -c "$(answers foo)" <in.jsonl 2>&1 >/dev/null | grep -q '3 without an answer'
	run --separate-stderr rl-reward-exec -q -k x sh -c "$(answers '[1]')" <in.jsonl
	[ "$status" -eq 3 ]
	[ "$(jq -c '.reward_x // .error' <<<"$output" | cut -c-20 | paste -sd' ')" = '"standard input:1: ' ] ||
		[ "$(jq -c 'has("error")' <<<"$output" | paste -sd' ')" = "true false false true" ]
}

@test "rl-reward-exec: its death is an error, before, at and behind an answer" {
	fails_with 1 "'reward_x': cannot run 'no-such-program': No such file or directory" rl-reward-exec -q x no-such-program <in.jsonl
	fails_with 1 "standard input:1: 'false': it ended with status 1 before it answered" rl-reward-exec -q --otherwise 1 x false <in.jsonl
	fails_with 1 "standard input:2: 'sh': it ended with status 3 before it answered" rl-reward-exec -q x sh -c 'read a; echo 1; exit 3' <in.jsonl
	fails_with 1 "standard input:1: 'sh': it was killed by signal 9" rl-reward-exec -q x sh -c 'kill -9 $$' <in.jsonl
	fails_with 1 "closed its output" rl-reward-exec -q x sh -c 'exec >&-; sleep 30' <in.jsonl
}

@test "rl-reward-exec: the whole group is killed, and nothing is left behind" {
	rl-reward-exec -q --timeout 0.3 --otherwise 0 x sh -c 'sleep 987 & echo $! >>pids; read a; sleep 987' <in.jsonl >/dev/null
	sleep 0.2
	while read -r pid; do
		[ ! -e "/proc/$pid" ] || grep -q '^State:.Z' "/proc/$pid/status"
	done <pids
	[ "$(wc -l <pids)" -eq 3 ]
}

@test "rl-reward-exec: when it is killed, so is its program" {
	mkfifo pipe
	sleep 20 >pipe 3>&- &
	feeder=$!
	head -n 1 in.jsonl >one
	rl-reward-exec -q x sh -c 'echo $$ >own; sleep 987' < <(cat one pipe) >/dev/null 3>&- &
	tool=$!
	for _ in $(seq 50); do
		[ ! -s own ] || break
		sleep 0.1
	done
	kill -9 $tool
	for _ in $(seq 50); do
		[ -e "/proc/$(cat own)" ] || break
		sleep 0.1
	done
	[ ! -e "/proc/$(cat own)" ]
	kill $feeder
}

@test "rl-reward-exec: a program that does not read, and records larger than a pipe" {
	jq -nc '{completion: ("x" * 3000000)}' >big
	[ "$(rl-reward-exec -q x jq --unbuffered '.completion | length' <big | jq .reward_x)" = 3000000 ]
	fails_with 1 "no answer within 0.3 seconds" rl-reward-exec -q --timeout 0.3 x sleep 30 <big
}

@test "rl-reward-exec: --once runs the program for each record" {
	printf 'read -r line; echo x >>runs; printf "%%s" "${#line}"\n' >length.sh # no newline behind the answer
	[ "$(rewards --once -j 2 x sh length.sh)" = "$(jq -c '{completion}' in.jsonl | awk '{ print $0 ~ /null/ ? "null" : length($0) }' | paste -sd' ')" ]
	[ "$(wc -l <runs)" -eq 3 ]
	# a program that reads to the end of its input and cannot be asked twice
	[ "$(rewards --once x python3 -c 'import sys, json; print(len(json.loads(sys.stdin.read())["completion"]))')" = "1 2 null 3" ]
	fails_with 1 "standard input:1: 'sh': it ended with status 7" rl-reward-exec -q --once x sh -c 'echo 1; exit 7' <in.jsonl
	fails_with 1 "standard input:1: 'sh': it was killed by signal 9" rl-reward-exec -q --once x sh -c 'echo 1; kill -9 $$' <in.jsonl
	fails_with 1 "more than one line" rl-reward-exec -q --once x sh -c 'echo 1; echo 2' <in.jsonl
	fails_with 1 "standard input:1: 'true': the answer ''" rl-reward-exec -q --once x true <in.jsonl
	fails_with 1 "no answer within 0.3 seconds" rl-reward-exec -q --once --timeout 0.3 x sleep 30 <in.jsonl
	fails_with 1 "longer than 16777216 bytes" rl-reward-exec -q --once x cat /dev/zero <in.jsonl
	# a crash costs one record
	run -3 --separate-stderr rl-reward-exec -q -k --once x sh -c 'read -r l; case $l in *bb*) exit 1;; esac; echo 5' <in.jsonl
	[ "$(jq -c '[.reward_x, has("error")]' <<<"$output" | paste -sd' ')" = '[5,false] [null,true] [null,false] [5,false]' ]
}

@test "rl-reward-exec: --max-memory" {
	eat='import sys
for line in sys.stdin:
    try:
        len(bytearray(400 << 20)); print(1)
    except MemoryError:
        print(-1)'
	[ "$(rewards x python3 -c "$eat")" = "1 1 null 1" ]
	[ "$(rewards --max-memory 300 x python3 -c "$eat")" = "-1 -1 null -1" ]
}

@test "rl-reward-exec: --no-network" {
	unshare -rn true 2>/dev/null || skip "no network namespaces here"
	# interfaces that are up: /proc/net/route and the like are those of the namespace
	count='read -r l; tail -n +3 /proc/net/dev | grep -vc "lo:"; while read -r l; do echo 0; done'
	[ "$(rewards --no-network x sh -c "$count" | cut -d' ' -f1)" = 0 ]
	[ "$(rewards --no-network x sh -c 'read -r l; id -u; while read -r l; do echo 0; done' | cut -d' ' -f1)" = "$(id -u)" ]
	connect='import socket
s = socket.create_server(("127.0.0.1", 0))
try:
    socket.create_connection(s.getsockname(), 2)
    print(1)
except OSError:
    print(0)'
	[ "$(rewards --once x python3 -c "$connect")" = "1 1 null 1" ]
	[ "$(rewards --once --no-network x python3 -c "$connect")" = "0 0 null 0" ]
}

@test "rl-reward-exec: the name" {
	fails_with 2 "is no name of a reward" rl-reward-exec 'a b' cat <in.jsonl
	fails_with 1 "'reward_x'" rl-reward-exec -q x sh -c "$(answers 1)" <<<'{"completion":"a","reward_x":1}'
	fails_with 2 "" rl-reward-exec x
}

@test "rl-reward-exec: the example of the page" {
	sed -n '/^import sys/,/^\.Ed/p' "$root/man/rl-reward-exec.1" | sed '$d' >brevity.py
	cp in.jsonl rollouts.jsonl
	[ "$(rl-reward-exec -j 2 brevity python3 brevity.py < rollouts.jsonl 2>/dev/null | jq -c .reward_brevity | paste -sd' ')" = "-0.9 -0.9 null -0.9" ]
}
