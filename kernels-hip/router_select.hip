// The top-k router from given logits. Reference: reference/router.rs; its bits:
// reference/router_f32.rs. Contract: RouterParams.
//
// Math: router.cu, less the products.
//
// Mapping: half a wave takes a token, rows of 8 tokens by workgroup_id_x(), + the number of
// workgroups, ...; the rest is in router_select.hip.h.
//
// Budget: 256 threads; 16384 B LDS; 0 B scratch; registers: 82 gfx90a, 78 gfx942, 78 gfx950.
// Keeps: ds_swizzle_b32, global_atomic_add.
// Bound: for few tokens the launch; for many the instructions of the choice, ten exchanges between lanes for each
// of its rounds, since a token is 4 * experts bytes to read and 8 * top_k to write.
// A row passes through LDS, since the weights need the logits of experts of other lanes.

#include "router_select.hip.h"

constexpr uint32_t TEAMS = ROUTER_THREADS / TEAM_THREADS;
static_assert(ROUTER_SELECTED_AT_ONCE == TEAMS, "a team for each token");

template <typename T>
__device__ inline void select(const RouterParams &p) {
    __shared__ RouterRow rows[TEAMS];
    uint32_t team = workitem_id_x() / TEAM_THREADS, lane = workitem_id_x() % TEAM_THREADS;
    for (uint32_t first = workgroup_id_x() * TEAMS; first < p.tokens;
         first += workgroup_count_x() * TEAMS) {
        uint64_t token = first + team;
        if (token < p.tokens) {
            for (uint32_t expert = lane; expert < p.experts; expert += TEAM_THREADS) {
                rows[team].logits[expert] = load_one<T>(p.given, token * p.given_stride + expert);
            }
            select_experts(p, token, rows[team]);
            wave_barrier();
        }
    }
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(ROUTER_THREADS, ROUTER_THREADS))) void
router_select_bf16(const RouterParams p) {
    select<bf16>(p);
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(ROUTER_THREADS, ROUTER_THREADS))) void
router_select_f16(const RouterParams p) {
    select<f16>(p);
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(ROUTER_THREADS, ROUTER_THREADS))) void
router_select_f32(const RouterParams p) {
    select<float>(p);
}
