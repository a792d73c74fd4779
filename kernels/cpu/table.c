/* table - the ops of one instruction set */
#include "kernels/cpu/cpu.h"

void KN(fill_table)(struct kernels *k)
{
#define SLOT(op) k->op = KN(op)
	SLOT(embed_fwd);
	SLOT(embed_bwd);
	SLOT(matmul_fwd);
	SLOT(matmul_dx);
	SLOT(matmul_dw);
	SLOT(layernorm_fwd);
	SLOT(layernorm_bwd);
	SLOT(rmsnorm_fwd);
	SLOT(rmsnorm_bwd);
	SLOT(rope);
	SLOT(attention_fwd);
	SLOT(attention_bwd);
	SLOT(act_fwd);
	SLOT(act_bwd);
	SLOT(glu_fwd);
	SLOT(glu_bwd);
	SLOT(add);
	SLOT(scale);
	SLOT(axpy);
	SLOT(gather_rows);
	SLOT(scatter_rows);
	SLOT(store_rows);
	SLOT(head_scratch);
	SLOT(head_fwd);
	SLOT(head_bwd);
	SLOT(head_logits);
	SLOT(logits_stats);
	SLOT(draw);
	SLOT(sum_squares);
	SLOT(count_nonfinite);
	SLOT(adamw);
	SLOT(adamw8);
	SLOT(to_bf16);
	SLOT(from_bf16);
#undef SLOT
}
