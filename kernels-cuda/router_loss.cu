// Load histogram and auxiliary losses of the router, first half: sums of chunks of tokens. Reference:
// reference/router_loss.rs. Contract: RouterLossParams.
//
// Math, for every chunk of tokens, less those that are padding:
//   sums of P[t, e] = softmax(logits[t, :])[e], of Q[t, e] = softmax(P[t, :])[e], and of
//   log(sum over e of exp(logits[t, e]))^2; how many ids are e; how many tokens there are
//
// Mapping: block b has chunk b; its 8 warps take one token each at a time, and a lane owns the experts
// lane, lane + 32, ... So every sum has one owner, whose order depends on nothing but the chunk:
//
//   tokens   0 1 .. 7 | 8 9 .. 15 | ... 255 | 256 ...
//   warp     0 1 .. 7 | 0 1 ..  7 | ...   7 |   0 ...
//   block    0                              |   1
//
// Then the warps' sums are added in order. router_loss_reduce.cu adds the chunks.
//
// Budget: 256 threads; 25664 B shared; 0 B spilled; registers: 66 sm_80, 66 sm_89, 66 sm_90a.
// Keeps: REDUX; in PTX: redux.sync.max.u32, redux.sync.add.u32.
// Bound: for many tokens the instructions of two exponentials for each logit; few tokens are few
// blocks, and the launch.

#include "router_select.cuh"

constexpr uint32_t WARPS = ROUTER_LOSS_THREADS / WARP_THREADS;

// A warp's sums, and the row that it is at.
struct WarpLoss {
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
    float sum = expertile_router_from_fixed(warp_sum_fixed(fixed));
    for_experts(experts, [&](uint32_t expert) { row[expert] /= sum; });
    return sum;
}

// Adds one token, whose logits are in the row.
__device__ inline void add_token(WarpLoss &warp, uint32_t experts) {
    uint32_t key = 0;
    for_experts(experts, [&](uint32_t expert) {
        key = max(key, expertile_router_key(warp.row[expert]));
    });
    key = warp_max_u32(key);
    for_experts(experts, [&](uint32_t expert) {
        uint32_t own = expertile_router_in_row(expertile_router_key(warp.row[expert]), key);
        warp.row[expert] = expertile_router_value(own);
    });
    float largest = expertile_router_value(expertile_router_in_row(key, key));
    float sum = soften(warp.row, experts, largest);

    uint32_t most = 0;
    for_experts(experts, [&](uint32_t expert) {
        warp.p[expert] += warp.row[expert];
        most = max(most, expertile_router_key(warp.row[expert]));
    });
    soften(warp.row, experts, expertile_router_value(warp_max_u32(most)));
    for_experts(experts, [&](uint32_t expert) { warp.q[expert] += warp.row[expert]; });

    if (threadIdx.x % WARP_THREADS == 0) {
        // An infinite logit is the logarithm itself.
        float log_sum = expertile_router_value(key);
        if (expertile_router_in_row(key, key) == key) {
            log_sum += expertile_router_log(sum).high;
        }
        warp.z += log_sum * log_sum;
        warp.tokens += 1;
    }
}

template <typename T>
__device__ inline void sum_chunk(const RouterLossParams &p) {
    __shared__ WarpLoss warps[WARPS];
    __shared__ uint32_t counts[ROUTER_MAX_EXPERTS];
    uint32_t lane = threadIdx.x % WARP_THREADS;
    WarpLoss &own = warps[threadIdx.x / WARP_THREADS];
    for_experts(p.experts, [&](uint32_t expert) { own.p[expert] = own.q[expert] = 0.0f; });
    if (lane == 0) {
        own.z = 0.0f;
        own.tokens = 0;
    }
    for (uint32_t expert = threadIdx.x; expert < p.experts; expert += ROUTER_LOSS_THREADS) {
        counts[expert] = 0;
    }
    __syncthreads();

    uint64_t begin = blockIdx.x * static_cast<uint64_t>(ROUTER_LOSS_CHUNK);
    uint64_t end = begin + ROUTER_LOSS_CHUNK < p.tokens ? begin + ROUTER_LOSS_CHUNK : p.tokens;
    for (uint64_t token = begin + threadIdx.x / WARP_THREADS; token < end; token += WARPS) {
        uint32_t id = ~0u;
        if (lane < p.top_k) {
            id = static_cast<uint32_t>(p.ids[token * p.top_k + lane]);
        }
        if (id < p.experts) {
            atomicAdd(counts + id, 1u);
        }
        if (warp_max_u32(id < p.experts ? 1 : 0) != 0) {
            for_experts(p.experts, [&](uint32_t expert) {
                own.row[expert] = load_one<T>(p.logits, token * p.logits_stride + expert);
            });
            add_token(own, p.experts);
        }
    }
    __syncthreads();

    // P and Q of each expert, z; then the counts, the tokens.
    uint64_t columns = 3 * p.experts + 2;
    uint32_t *partial = p.partials + blockIdx.x * columns;
    for (uint32_t expert = threadIdx.x; expert < p.experts; expert += ROUTER_LOSS_THREADS) {
        float sum_p = 0.0f, sum_q = 0.0f;
        for (const WarpLoss &warp : warps) {
            sum_p += warp.p[expert];
            sum_q += warp.q[expert];
        }
        partial[expert] = __float_as_uint(sum_p);
        partial[p.experts + expert] = __float_as_uint(sum_q);
        partial[2 * p.experts + 1 + expert] = counts[expert];
    }
    if (threadIdx.x == 0) {
        float z = 0.0f;
        uint32_t tokens = 0;
        for (const WarpLoss &warp : warps) {
            z += warp.z;
            tokens += warp.tokens;
        }
        partial[2 * p.experts] = __float_as_uint(z);
        partial[3 * p.experts + 1] = tokens;
    }
}

extern "C" __global__ void __launch_bounds__(ROUTER_LOSS_THREADS)
    router_loss_bf16(const __grid_constant__ RouterLossParams p) {
    sum_chunk<bf16>(p);
}

extern "C" __global__ void __launch_bounds__(ROUTER_LOSS_THREADS)
    router_loss_f16(const __grid_constant__ RouterLossParams p) {
    sum_chunk<f16>(p);
}

extern "C" __global__ void __launch_bounds__(ROUTER_LOSS_THREADS)
    router_loss_f32(const __grid_constant__ RouterLossParams p) {
    sum_chunk<float>(p);
}
