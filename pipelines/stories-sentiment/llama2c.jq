# What a directory of Hugging Face says of a model of llama2.c: its config.json, or the header of its model.safetensors.
#
#   jq -nc --arg part config|header --argjson v '[dim, hidden, layers, heads, kv heads, vocabulary, length]' -f llama2c.jq
#
# A model file is those seven as int32 and then the tensors as float32, each kind over all layers, in the order below; a
# vocabulary below 0 says that the head has weights of its own, which stand behind two tables that nothing needs.

$v as [$d, $hidden, $layers, $heads, $kv, $vocab, $length]
| ($vocab | fabs) as $tokens
| def layers($name; $shape): range($layers) | ["model.layers.\(.).\($name).weight", $shape];
  def tensors:
    ["model.embed_tokens.weight", [$tokens, $d]],
    layers("input_layernorm"; [$d]),
    layers("self_attn.q_proj"; [$d, $d]),
    layers("self_attn.k_proj"; [$d / $heads * $kv, $d]),
    layers("self_attn.v_proj"; [$d / $heads * $kv, $d]),
    layers("self_attn.o_proj"; [$d, $d]),
    layers("post_attention_layernorm"; [$d]),
    layers("mlp.gate_proj"; [$hidden, $d]),
    layers("mlp.down_proj"; [$d, $hidden]),
    layers("mlp.up_proj"; [$hidden, $d]),
    ["model.norm.weight", [$d]],
    (if $vocab < 0 then ["lm_head.weight", [$tokens, $d]] else empty end);
  if $part == "header" then
    reduce tensors as [$name, $shape] ({at: 0, header: {}};
      (.at + 4 * (reduce $shape[] as $n (1; . * $n))) as $stop
      | .header[$name] = {dtype: "F32", shape: $shape, data_offsets: [.at, $stop]} | .at = $stop)
    | .header
  else
    {architectures: ["LlamaForCausalLM"], model_type: "llama", hidden_size: $d, intermediate_size: $hidden,
     num_hidden_layers: $layers, num_attention_heads: $heads, num_key_value_heads: $kv, vocab_size: $tokens,
     max_position_embeddings: $length, rms_norm_eps: 1e-5, rope_theta: 10000, hidden_act: "silu",
     tie_word_embeddings: ($vocab > 0), bos_token_id: 1, eos_token_id: 2, torch_dtype: "float32"}
  end
