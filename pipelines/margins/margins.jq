# The segments of a sample with their notes (rl-group) to a question with the notes that say something; the text is left out.
# (Tokenizers differ in the spaces in front of what they decode; a note has one.)
#
#   rl-group --adjacent --across --by .doc notes.jsonl | jq -c -L ../lib -f margins.jq
include "text";

.items[0] as $first
| {id, task: $first.task, length: $first.length, question: $first.question, target: $first.target, answers: $first.answers,
   context: "", margins: (.items | map(" " + (.completion | strip) | select(. != " none")) | if . == [] then [" none"] else . end)}
