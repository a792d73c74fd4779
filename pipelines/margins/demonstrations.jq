# What the model is shown: {prompt, completion} of notes on segments, and of answers, from such notes alone and from the whole text.
#
#   jq -nc -L . -L ../lib --argjson templates '{...}' -f demonstrations.jq segments.jsonl samples.jsonl
include "prompts";
include "notes";

inputs
| if has("doc") then {prompt: margin_prompt($templates; {}), completion: wanted}
  else ({context: "", margins: [note(0; .context | length)]}, {margins: []}) as $given
    | {prompt: (. + $given | margin_answer_prompt($templates; {})), completion: (" " + .target)} end
