// The top-k router from given logits. Reference: reference/router.rs; its bits:
// reference/router_f32.rs. Contract: RouterParams.
//
// Math: router.cu, less the products.
//
// Mapping: a warp takes a token, rows of 8 tokens by blockIdx.x, + gridDim.x, ...; the rest is in
// router_select.cuh.
//
// Budget: 256 threads; 16384 B shared; 0 B spilled; registers: 32 sm_80, 35 sm_89, 32 sm_90a.
// Keeps: REDUX; in PTX: redux.sync.max.u32, redux.sync.min.u32.
// Bound: for few tokens the launch; for many the instructions of the choice, two redux for each of
// its rounds, since a token is 4 * experts bytes to read and 8 * top_k to write.
// A row passes through shared memory, since the weights need the logits of experts of other lanes.

#include "router_select.cuh"

constexpr uint32_t WARPS = ROUTER_THREADS / WARP_THREADS;
static_assert(ROUTER_SELECTED_AT_ONCE == WARPS, "a warp for each token");

template <typename T>
__device__ inline void select(const RouterParams &p) {
    __shared__ RouterRow rows[WARPS];
    uint32_t warp = threadIdx.x / WARP_THREADS, lane = threadIdx.x % WARP_THREADS;
    for (uint32_t first = blockIdx.x * WARPS; first < p.tokens; first += gridDim.x * WARPS) {
        uint64_t token = first + warp;
        if (token < p.tokens) {
            for (uint32_t expert = lane; expert < p.experts; expert += WARP_THREADS) {
                rows[warp].logits[expert] = load_one<T>(p.given, token * p.given_stride + expert);
            }
            select_experts(p, token, rows[warp]);
            __syncwarp();
        }
    }
}

extern "C" __global__ void __launch_bounds__(ROUTER_THREADS)
    router_select_bf16(const __grid_constant__ RouterParams p) {
    select<bf16>(p);
}

extern "C" __global__ void __launch_bounds__(ROUTER_THREADS)
    router_select_f16(const __grid_constant__ RouterParams p) {
    select<f16>(p);
}

extern "C" __global__ void __launch_bounds__(ROUTER_THREADS)
    router_select_f32(const __grid_constant__ RouterParams p) {
    select<float>(p);
}
