// Load histogram and auxiliary losses of the router, first half: sums of chunks of tokens. Reference:
// reference/router_loss.rs. Contract: RouterLossParams.
//
// Math, for every chunk of tokens, less those that are padding:
//   sums of P[t, e] = softmax(logits[t, :])[e], of Q[t, e] = softmax(P[t, :])[e], and of
//   log(sum over e of exp(logits[t, e]))^2; how many ids are e; how many tokens there are
//
// Mapping: workgroup b has chunk b; its 8 teams of 32 lanes, half a wave each, take one token each at a time, and a lane owns the experts
// lane, lane + 32, ... So every sum has one owner, whose order depends on nothing but the chunk:
//
//   tokens   0 1 .. 7 | 8 9 .. 15 | ... 255 | 256 ...
//   team     0 1 .. 7 | 0 1 ..  7 | ...   7 |   0 ...
//   group    0                              |   1
//
// Then the teams' sums are added in order. router_loss_reduce.hip adds the chunks.
//
// Budget: 256 threads; 25664 B LDS; 0 B scratch; registers: 96 gfx90a, 96 gfx942, 96 gfx950.
// Keeps: ds_swizzle_b32, ds_add_u32.
// Bound: for many tokens the instructions of two exponentials for each logit; few tokens are few
// workgroups, and the launch.

#include "router_select.hip.h"

constexpr uint32_t TEAMS = ROUTER_LOSS_THREADS / TEAM_THREADS;

// A team's sums, and the row that it is at.
struct TeamLoss {
    float row[ROUTER_MAX_EXPERTS];
    float p[ROUTER_MAX_EXPERTS];
    float q[ROUTER_MAX_EXPERTS];
    float z;
    uint32_t tokens;
};

// Replaces the row by its softmax; the result is what its exponentials, less the largest logit, added
// up to. Every lane has the same `largest`.
__device__ inline float soften(float (&row)[ROUTER_MAX_EXPERTS], uint32_t experts, float largest) {
    uint64_t fixed = 0;
    for_experts(experts, [&](uint32_t expert) {
        row[expert] = expertile_router_exp(expertile_router_difference(row[expert], largest));
        fixed += expertile_router_fixed(row[expert]);
    });
    float sum = expertile_router_from_fixed(team_sum_fixed(fixed));
    for_experts(experts, [&](uint32_t expert) { row[expert] /= sum; });
    return sum;
}

// Adds one token, whose logits are in the row.
__device__ inline void add_token(TeamLoss &team, uint32_t experts) {
    uint32_t key = 0;
    for_experts(experts, [&](uint32_t expert) {
        key = max(key, expertile_router_key(team.row[expert]));
    });
    key = team_max_u32(key);
    for_experts(experts, [&](uint32_t expert) {
        uint32_t own = expertile_router_in_row(expertile_router_key(team.row[expert]), key);
        team.row[expert] = expertile_router_value(own);
    });
    float largest = expertile_router_value(expertile_router_in_row(key, key));
    float sum = soften(team.row, experts, largest);

    uint32_t most = 0;
    for_experts(experts, [&](uint32_t expert) {
        team.p[expert] += team.row[expert];
        most = max(most, expertile_router_key(team.row[expert]));
    });
    soften(team.row, experts, expertile_router_value(team_max_u32(most)));
    for_experts(experts, [&](uint32_t expert) { team.q[expert] += team.row[expert]; });

    if (workitem_id_x() % TEAM_THREADS == 0) {
        // An infinite logit is the logarithm itself.
        float log_sum = expertile_router_value(key);
        if (expertile_router_in_row(key, key) == key) {
            log_sum += expertile_router_log(sum).high;
        }
        team.z += log_sum * log_sum;
        team.tokens += 1;
    }
}

template <typename T>
__device__ inline void sum_chunk(const RouterLossParams &p) {
    __shared__ TeamLoss teams[TEAMS];
    __shared__ uint32_t counts[ROUTER_MAX_EXPERTS];
    uint32_t lane = workitem_id_x() % TEAM_THREADS;
    TeamLoss &own = teams[workitem_id_x() / TEAM_THREADS];
    for_experts(p.experts, [&](uint32_t expert) { own.p[expert] = own.q[expert] = 0.0f; });
    if (lane == 0) {
        own.z = 0.0f;
        own.tokens = 0;
    }
    for (uint32_t expert = workitem_id_x(); expert < p.experts; expert += ROUTER_LOSS_THREADS) {
        counts[expert] = 0;
    }
    workgroup_barrier();

    uint64_t begin = workgroup_id_x() * uint64_t(ROUTER_LOSS_CHUNK);
    uint64_t end = begin + ROUTER_LOSS_CHUNK < p.tokens ? begin + ROUTER_LOSS_CHUNK : p.tokens;
    for (uint64_t token = begin + workitem_id_x() / TEAM_THREADS; token < end; token += TEAMS) {
        uint32_t id = ~0u;
        if (lane < p.top_k) {
            id = static_cast<uint32_t>(p.ids[token * p.top_k + lane]);
        }
        if (id < p.experts) {
            lds_atomic_add_u32(counts + id, 1);
        }
        if (team_max_u32(id < p.experts ? 1 : 0) != 0) {
            for_experts(p.experts, [&](uint32_t expert) {
                own.row[expert] = load_one<T>(p.logits, token * p.logits_stride + expert);
            });
            add_token(own, p.experts);
        }
    }
    workgroup_barrier();

    // P and Q of each expert, z; then the counts, the tokens.
    uint64_t columns = 3 * p.experts + 2;
    uint32_t *partial = p.partials + workgroup_id_x() * columns;
    for (uint32_t expert = workitem_id_x(); expert < p.experts; expert += ROUTER_LOSS_THREADS) {
        float sum_p = 0.0f, sum_q = 0.0f;
        for (const TeamLoss &team : teams) {
            sum_p += team.p[expert];
            sum_q += team.q[expert];
        }
        partial[expert] = __builtin_bit_cast(uint32_t, sum_p);
        partial[p.experts + expert] = __builtin_bit_cast(uint32_t, sum_q);
        partial[2 * p.experts + 1 + expert] = counts[expert];
    }
    if (workitem_id_x() == 0) {
        float z = 0.0f;
        uint32_t tokens = 0;
        for (const TeamLoss &team : teams) {
            z += team.z;
            tokens += team.tokens;
        }
        partial[2 * p.experts] = __builtin_bit_cast(uint32_t, z);
        partial[3 * p.experts + 1] = tokens;
    }
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(ROUTER_LOSS_THREADS,
                                                                ROUTER_LOSS_THREADS))) void
router_loss_bf16(const RouterLossParams p) {
    sum_chunk<bf16>(p);
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(ROUTER_LOSS_THREADS,
                                                                ROUTER_LOSS_THREADS))) void
router_loss_f16(const RouterLossParams p) {
    sum_chunk<f16>(p);
}

extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(ROUTER_LOSS_THREADS,
                                                                ROUTER_LOSS_THREADS))) void
router_loss_f32(const RouterLossParams p) {
    sum_chunk<float>(p);
}
