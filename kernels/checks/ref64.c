/* ref64 - the reference again, with tensors in double; see ref/ref.h */
#define KN_REF_DOUBLE
#include "kernels/ref/act.c"
#include "kernels/ref/attention.c"
#include "kernels/ref/embed.c"
#include "kernels/ref/head.c"
#include "kernels/ref/matmul.c"
#include "kernels/ref/norm.c"
#include "kernels/ref/optim.c"
#include "kernels/ref/rope.c"
#include "kernels/ref/vec.c"
