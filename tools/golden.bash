# Shared by the bats files of the trainers: `load golden`.  Safetensors and tolerances, in words of the shell.

tensor() { # FILE NAME: one float32 per line
	local head
	head=$(od -An -tu8 -N8 "$1" | tr -d ' ')
	# shellcheck disable=SC2046
	set -- "$1" "$head" $(tail -c +9 "$1" | head -c "$head" | jq -r --arg name "$2" '.[$name].data_offsets[]')
	od -An -v -w4 -tf4 -j $((8 + $2 + $3)) -N $(($4 - $3)) "$1"
}
names() { # FILE
	tail -c +9 "$1" | head -c "$(od -An -tu8 -N8 "$1" | tr -d ' ')" | jq -r 'keys[] | select(. != "__metadata__")'
}
# The worst tensor's squared error over the square of its change; GPT-2's key bias, which attention ignores, left out.
worst_change() { # BEFORE GOLDEN OURS
	local name
	for name in $(names "$2"); do
		paste <(tensor "$1" "$name") <(tensor "$2" "$name") <(tensor "$3" "$name") |
			awk -v name="$name" -v n="$(tensor "$2" "$name" | wc -l)" '
				NF != 3 { print "9 " name " has other lengths"; exit }
				name ~ /c_attn\.bias$/ && NR > n / 3 && NR <= 2 * n / 3 { next }
				{ wrong += ($3 - $2) ^ 2; change += ($2 - $1) ^ 2 }
				END { print (change > 0 ? wrong / change : wrong), name }'
	done | sort -g | tail -n 1
}
# near TOLERANCE RELATIVE WANT GOT: files of numbers
near() {
	paste "$3" "$4" | awk -v atol="$1" -v rtol="$2" '
		NF != 2 { print "line " NR ": " $0; exit bad = 1 }
		{ by = $2 - $1; if (by < 0) by = -by; size = $1 < 0 ? -$1 : $1 }
		by > atol + rtol * size { print "line " NR ": " $2 ", expected " $1; bad = 1 }
		END { exit bad || NR == 0 }'
}
