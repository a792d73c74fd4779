# Beginnings out of stories that the model told: the first two sentences of each, where they have 8 to 30 words on one line
# and a third follows.  Each text is there once.  The first $held of them and all that were written are held out; no text of
# training is among those.
#
#   jq -nc --arg part heldout|train --argjson held N --slurpfile written written.jsonl -f beginnings.jq stories.jsonl

def beginning: ltrimstr(" ") | [match("[^.!?]*[.!?]+[”\"]*"; "g").string] | select(length > 2) | .[0] + .[1]
  | select(contains("\n") | not) | select(split(" ") | length >= 8 and length <= 30);

[$written[] | .prompt] as $written
| ($written | map({key: ., value: true}) | from_entries) as $taken
| reduce (inputs | if has("completion") then .completion | beginning else .prompt end) as $text (
    {seen: $taken, texts: []}; if .seen[$text] then . else .seen[$text] = true | .texts += [$text] end)
| .texts
| if length <= $held then error("\(length) different beginnings are too few to hold \($held) out") else . end
| if $part == "heldout" then
    (range($held) as $i | {id: "m\($i)", from: "model", prompt: .[$i]}),
    (range($written | length) as $i | {id: "w\($i)", from: "written", prompt: $written[$i]})
  else range($held; length) as $i | {id: "t\($i)", prompt: .[$i]} end
