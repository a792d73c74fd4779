/* fill - the slots of a table whose ops are compiled for each type of activations */
#include "kernels/cuda/common.cuh"

void CU(fill)(struct kernels *k)
{
	k->embed_fwd = CU(embed_fwd);
	k->embed_bwd = CU(embed_bwd);
	k->layernorm_fwd = CU(layernorm_fwd);
	k->layernorm_bwd = CU(layernorm_bwd);
	k->rmsnorm_fwd = CU(rmsnorm_fwd);
	k->rmsnorm_bwd = CU(rmsnorm_bwd);
	k->rope = CU(rope);
	k->attention_fwd = CU(attention_fwd);
	k->attention_bwd = CU(attention_bwd);
	k->act_fwd = CU(act_fwd);
	k->act_bwd = CU(act_bwd);
	k->glu_fwd = CU(glu_fwd);
	k->glu_bwd = CU(glu_bwd);
	k->add = CU(add);
	k->scale = CU(scale);
	k->gather_rows = CU(gather_rows);
	k->scatter_rows = CU(scatter_rows);
	k->store_rows = CU(store_rows);
	k->head_scratch = CU(head_scratch);
	k->head_fwd = CU(head_fwd);
	k->head_bwd = CU(head_bwd);
	k->head_logits = CU(head_logits);
	k->logits_stats = CU(logits_stats);
	k->matmul_fwd = CU(matmul_fwd);
	k->matmul_dx = CU(matmul_dx);
	k->matmul_dw = CU(matmul_dw);
}
