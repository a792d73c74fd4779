# The segments of a sample with their notes (rl-group) to a question with the notes that say something; the text is left out.
#
#   rl-group --adjacent --by .doc notes.jsonl | jq -c -f margins.jq

.items[0] as $first
| {id, task: $first.task, length: $first.length, question: $first.question, target: $first.target, answers: $first.answers,
   context: "", margins: (.items | map(.completion | select(ltrimstr(" ") != "none")) | if . == [] then [" none"] else . end)}
