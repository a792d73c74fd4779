# Segments of the samples that have $segments of them, sample after sample in an order drawn by $seed: a batch of a multiple of
# $segments prompts has whole samples.
#
#   jq -nc -L ../lib --argjson segments 2 --argjson seed 1 -f whole-samples.jq train.segments
include "draw";

[inputs | select(.of == $segments)] | group_by(.doc) | sort_by(draw($seed; .[0].doc))[] | sort_by(.index)[]
