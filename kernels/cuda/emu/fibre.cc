/* fibre - see fibre.h */
#include "kernels/cuda/emu/fibre.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <vector>

/* What a function must keep, by the calling convention of the machine, goes onto the stack; then the stack changes. */
#if defined __x86_64__
#define SAVED 7 /* six registers and the place to return to */
#define PLACE 6
asm(".text\n"
    ".globl emu_switch\n"
    ".hidden emu_switch\n"
    ".type emu_switch, @function\n"
    "emu_switch:\n"
    "	pushq %rbp\n"
    "	pushq %rbx\n"
    "	pushq %r12\n"
    "	pushq %r13\n"
    "	pushq %r14\n"
    "	pushq %r15\n"
    "	movq %rsp, (%rdi)\n"
    "	movq %rsi, %rsp\n"
    "	popq %r15\n"
    "	popq %r14\n"
    "	popq %r13\n"
    "	popq %r12\n"
    "	popq %rbx\n"
    "	popq %rbp\n"
    "	ret\n"
    ".size emu_switch, . - emu_switch\n");
#elif defined __aarch64__
#define SAVED 20 /* x19..x28, frame pointer, link register, d8..d15 */
#define PLACE 11
asm(".text\n"
    ".globl emu_switch\n"
    ".hidden emu_switch\n"
    ".type emu_switch, %function\n"
    "emu_switch:\n"
    "	sub sp, sp, #160\n"
    "	stp x19, x20, [sp]\n"
    "	stp x21, x22, [sp, #16]\n"
    "	stp x23, x24, [sp, #32]\n"
    "	stp x25, x26, [sp, #48]\n"
    "	stp x27, x28, [sp, #64]\n"
    "	stp x29, x30, [sp, #80]\n"
    "	stp d8, d9, [sp, #96]\n"
    "	stp d10, d11, [sp, #112]\n"
    "	stp d12, d13, [sp, #128]\n"
    "	stp d14, d15, [sp, #144]\n"
    "	mov x9, sp\n"
    "	str x9, [x0]\n"
    "	mov sp, x1\n"
    "	ldp x19, x20, [sp]\n"
    "	ldp x21, x22, [sp, #16]\n"
    "	ldp x23, x24, [sp, #32]\n"
    "	ldp x25, x26, [sp, #48]\n"
    "	ldp x27, x28, [sp, #64]\n"
    "	ldp x29, x30, [sp, #80]\n"
    "	ldp d8, d9, [sp, #96]\n"
    "	ldp d10, d11, [sp, #112]\n"
    "	ldp d12, d13, [sp, #128]\n"
    "	ldp d14, d15, [sp, #144]\n"
    "	add sp, sp, #160\n"
    "	ret\n"
    ".size emu_switch, . - emu_switch\n");
#else
#error "emu_switch is written for x86-64 and aarch64"
#endif

#define STACK ((size_t)256 << 10)
#define GUARD ((size_t)4096)

static std::vector<char *> stacks;

/* Tops differ by some lines of the cache, or all fibres would meet in the same few. */
static size_t colour(int i)
{
	return (size_t)i % 16 * 256 + 64;
}

void *emu_stack(int i, void (*entry)(void))
{
	while ((int)stacks.size() <= i) {
		void *p = mmap(NULL, GUARD + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED || mprotect(p, GUARD, PROT_NONE))
			abort();
		stacks.push_back((char *)p + GUARD);
	}
	/* above what emu_switch takes: one word, the return address of entry, whose stack is as after a call */
	uint64_t *top = (uint64_t *)(stacks[(size_t)i] + STACK - colour(i));
#ifdef __x86_64__
	*--top = 0;
#endif
	top -= SAVED;
	memset(top, 0, SAVED * sizeof *top);
	top[PLACE] = (uint64_t)(uintptr_t)entry;
	return top;
}
