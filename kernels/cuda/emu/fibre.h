/* fibre - stacks and the change from one to another, without system calls */
#ifndef KERNELS_CUDA_EMU_FIBRE_H
#define KERNELS_CUDA_EMU_FIBRE_H

/* Stores where this context stopped in *from and goes on at `to`. */
extern "C" void emu_switch(void **from, void *to);

/* A stack number i (kept for reuse), prepared so that emu_switch to the result calls entry, which never returns. */
void *emu_stack(int i, void (*entry)(void));

#endif
