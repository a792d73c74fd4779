/* optim8 - AdamW with moments in 8 bits: a thread per element, a block of threads per block of elements; see kernels.h
 */
#include "kernels/cuda/optim.cuh"

/* Of a map, with what lies in the middle between neighbours; the 256th of these is never read. */
struct map8 {
	float value[256], middle[256];
};

static __device__ inline void map8_load(struct map8 *s, const float *map)
{
	int i = threadIdx.x;
	s->value[i] = map[i];
	s->middle[i] = i < 255 ? (map[i] + map[i + 1]) / 2 : 0;
}

/* The largest over the block of threads; NaN counts as nothing.  Every thread must come here. */
static __device__ float block_largest(float x, float *warp)
{
	x = fmaxf(fabsf(x), 0);
	for (int width = CU_WARP / 2; width; width /= 2)
		x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, width));
	__syncthreads();
	if (threadIdx.x % CU_WARP == 0)
		warp[threadIdx.x / CU_WARP] = x;
	__syncthreads();
	x = warp[0];
	for (int i = 1; i < KN_BLOCK8 / CU_WARP; i++)
		x = fmaxf(x, warp[i]);
	return x;
}

static __device__ inline uint8_t map8_nearest(const struct map8 *s, float y)
{
	int code = 0;
	for (int half = 128; half; half /= 2)
		code += s->middle[code + half - 1] < y ? half : 0;
	return (uint8_t)code;
}

static __global__ void adamw8_kernel(const struct adamw_rates a, float *w, const struct kn_moment8 m,
                                     const struct kn_moment8 v, const float *g, int64_t n)
{
	__shared__ struct map8 m_map, v_map;
	__shared__ float warp[KN_BLOCK8 / CU_WARP];
	map8_load(&m_map, m.map);
	map8_load(&v_map, v.map);
	__syncthreads();
	for (int64_t block = blockIdx.x; block * KN_BLOCK8 < n; block += gridDim.x) {
		int64_t i = block * KN_BLOCK8 + threadIdx.x;
		float mt = 0, vt = 0;
		if (i < n) {
			mt = m_map.value[m.code[i]] * m.absmax[block];
			vt = v_map.value[v.code[i]] * v.absmax[block];
			w[i] = adamw_element(a, w[i], &mt, &vt, g[i]);
		}
		/* Between these two every thread has read what the first thread writes below. */
		float m_largest = block_largest(mt, warp), v_largest = block_largest(vt, warp);
		if (i < n) {
			m.code[i] = map8_nearest(&m_map, mt / m_largest);
			v.code[i] = map8_nearest(&v_map, vt / v_largest);
		}
		if (threadIdx.x == 0) {
			m.absmax[block] = m_largest;
			v.absmax[block] = v_largest;
		}
	}
}

void cu_adamw8(void *ctx, float *w, const struct kn_moment8 *m, const struct kn_moment8 *v, const float *g,
               const struct kn_adamw *o, int64_t n)
{
	struct cuda *cu = (struct cuda *)ctx;
	unsigned grid = (unsigned)cu_min(cu_ceil_div(n, KN_BLOCK8), (int64_t)cu->processors * 16);
	if (n > 0 && cu_enter(cu))
		CU_LAUNCH(cu, adamw8_kernel, grid, KN_BLOCK8, adamw_rates_of(o), w, *m, *v, g, n);
}
