# A tokenizer.json out of a tokenizer file of llama2.c (tok512.bin): the same byte-fallback BPE, in the form of Llama 2.
#
#   od -An -v -tu1 tok512.bin | jq -Rn -f tokenizer.jq
#
# The file: int32 longest piece, then for each token a float32 score, an int32 length and so many bytes, little-endian.

def int32($b; $at): $b[$at] + 256 * $b[$at + 1] + 65536 * $b[$at + 2] + 16777216 * $b[$at + 3];
def float32($b; $at): $b[$at:$at + 4] as [$b0, $b1, $b2, $b3]
  | ($b3 % 128 * 2 + ($b2 / 128 | floor)) as $exponent
  | if $exponent == 0 then 0
    else (if $b3 < 128 then 1 else -1 end) * (1 + ($b0 + 256 * $b1 + 65536 * ($b2 % 128)) / 8388608)
      * pow(2; $exponent - 127) end;
def utf8: reduce .[] as $byte ([];
    if $byte < 128 then . + [$byte]
    elif $byte >= 240 then . + [$byte - 240] elif $byte >= 224 then . + [$byte - 224] elif $byte >= 192 then . + [$byte - 192]
    else .[-1] = .[-1] * 64 + $byte - 128 end) | implode;

[inputs | splits(" +") | select(. != "") | tonumber] as $b
| [{at: 4} | while(.at < ($b | length); .at += 8 + int32($b; .at + 4)) | .at as $at
    | {score: float32($b; $at),
       piece: ($b[$at + 8:$at + 8 + int32($b; $at + 4)] | utf8 | gsub("^\n|\n$"; "") | if . == "" then "\n" else gsub(" "; "▁") end)}]
| to_entries | map(.value + {id: .key})
| (map({key: .piece, value: .id}) | from_entries) as $vocab
| (map(select(.id > 2 and (.piece | test("^<0x..>$") | not))) | sort_by(-.score, .id)) as $pieces
| {version: "1.0", truncation: null, padding: null,
   added_tokens: [range(3) as $id | {id: $id, content: .[$id].piece, single_word: false, lstrip: false, rstrip: false,
     normalized: false, special: true}],
   normalizer: {type: "Sequence", normalizers: [{type: "Prepend", prepend: "▁"},
     {type: "Replace", pattern: {String: " "}, content: "▁"}]},
   pre_tokenizer: null,
   post_processor: {type: "TemplateProcessing",
     single: [{SpecialToken: {id: "<s>", type_id: 0}}, {Sequence: {id: "A", type_id: 0}}],
     pair: [{SpecialToken: {id: "<s>", type_id: 0}}, {Sequence: {id: "A", type_id: 0}},
       {SpecialToken: {id: "<s>", type_id: 1}}, {Sequence: {id: "B", type_id: 1}}],
     special_tokens: {"<s>": {id: "<s>", ids: [$vocab["<s>"]], tokens: ["<s>"]}}},
   decoder: {type: "Sequence", decoders: [{type: "Replace", pattern: {String: "▁"}, content: " "}, {type: "ByteFallback"},
     {type: "Fuse"}, {type: "Strip", content: " ", start: 1, stop: 0}]},
   model: {type: "BPE", dropout: null, unk_token: "<unk>", continuing_subword_prefix: null, end_of_word_suffix: null,
     fuse_unk: true, byte_fallback: true, vocab: $vocab,
     # A pair is merged in the order of the score of what it becomes.
     merges: [$pieces[] | .piece as $p | range(1; $p | length) | select($vocab[$p[:.]] and $vocab[$p[.:]])
       | "\($p[:.]) \($p[.:])"]}}
