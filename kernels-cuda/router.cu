// The top-k router. Reference: reference/router.rs; its bits: reference/router_f32.rs. Contract:
// RouterParams.
//
// Math, in f32, for every token t:
//   logits[t, e] = sum over i of h[t, i] * weight[e, i]
//   ids[t, :]    = the top_k experts of largest logits[t, :] (or of sigmoid + bias), ties to the
//                  lower id; among the best groups alone, if there are groups
//   weights[t, j] = softmax or sigmoid of logits[t, :] at ids[t, j], over its norm, times scale
//
// Mapping of the products: a block takes 1 or 4 tokens and 8 experts at a time; its threads share
// the rows:
//
//   thread           0        1      ...    255    |    0       ...
//   h[t, :]       [0..8)   [8..16)  ...  [.. 2048) | [2048 ..             (2-byte elements)
//   weight[e, :]     the same elements of 8 rows
//
// A thread adds its products to up to 4 * 8 sums in registers. A warp then adds lanes of distance 1,
// 2, 4, 8, 16: at each of the first three steps half of the sums go to the other lane, so that 8
// sums over 32 lanes take 9 shuffles. The sums of the 8 warps are added pairwise. So the order of a sum depends on hidden
// alone, not on how many tokens a block takes.
// Mapping of the choice: router_select.cuh, one warp for each token.
//
// Budget: 256 threads; 10240 B shared; 0 B spilled; registers: 128 sm_80, 128 sm_89, 128 sm_90a.
// Keeps: LDG.E.128; in PTX: ld.global.v4.
// Bound: for few tokens the weight, which every block reads from L2 (196,608 B for DBRX), and the
// launch; for many tokens the fmas, 16 * 6144 a token for DBRX: 0.8 G at 4096 tokens, which take as
// long as reading h. A block takes 4 tokens then, so that each vector of the weight, which stays in
// L1, is used 4 times; the tensor cores would need the sums in another order.

#include "router_select.cuh"

constexpr uint32_t WARPS = ROUTER_THREADS / WARP_THREADS;

constexpr uint32_t EXPERTS = 8;
static_assert(ROUTER_EXPERTS_AT_ONCE % EXPERTS == 0, "router_*_logits takes whole tiles");

// The sums of a block's warps.
template <uint32_t TOKENS>
struct Tile {
    float sums[TOKENS][WARPS][EXPERTS];
};

// Which tokens and experts a block multiplies. The rows of a tile are all there, so that no address
// depends on a condition: the last tile begins where it ends with the last row, and what the one
// before it has computed already is not `wanted`. With fewer than 8 experts, the rows of a tile are
// all the same.
struct Window {
    uint32_t wanted;
    uint32_t first;

    __device__ Window(uint32_t begin, uint32_t width, uint32_t end)
        : wanted(begin), first(end < width ? begin : min(begin, end - width)) {}
};

// The sums over the warp, one in each lane: that of expert_of_lane().
__device__ inline float add_lanes(float (&sums)[EXPERTS]) {
    uint32_t lane = threadIdx.x % WARP_THREADS;
#pragma unroll
    for (uint32_t step = 0; step < 5; ++step) {
        uint32_t distance = 1 << step, kept = EXPERTS / 2 >> step;
        bool upper = (lane & distance) != 0;
        if (kept == 0) {
            sums[0] += __shfl_xor_sync(0xffffffff, sums[0], distance);
        }
        // The bound is a constant, so that the loop unrolls before the one around it.
#pragma unroll
        for (uint32_t i = 0; i < EXPERTS / 2; ++i) {
            if (i < kept) {
                float mine = upper ? sums[i + kept] : sums[i];
                float other = upper ? sums[i] : sums[i + kept];
                sums[i] = mine + __shfl_xor_sync(0xffffffff, other, distance);
            }
        }
    }
    return sums[0];
}

// The lane's lowest three bits in reverse, since the first step decided on the highest.
__device__ inline uint32_t expert_of_lane() {
    return __brev(threadIdx.x) >> 29;
}

// Adds up the products of a tile.
template <typename T, uint32_t TOKENS>
__device__ inline void multiply(const RouterParams &p, Window tokens, Window experts,
                                Tile<TOKENS> &tile) {
    constexpr uint32_t WIDTH = WIDEST<T>;
    // One token leaves registers for the loads of two steps.
    constexpr uint32_t STEPS = TOKENS == 1 ? 2 : 1;
    uint64_t weight_step = p.experts < EXPERTS ? 0 : p.weight_stride;
    float sums[TOKENS][EXPERTS] = {};
#pragma unroll STEPS
    for (uint32_t vector = threadIdx.x; vector < p.hidden / WIDTH; vector += ROUTER_THREADS) {
        uint64_t at = tokens.first * p.h_stride + vector * WIDTH;
        float h[TOKENS][WIDTH];
#pragma unroll
        for (uint32_t t = 0; t < TOKENS; ++t) {
            unpack(load<T, WIDTH>(p.h, at + t * p.h_stride), h[t]);
        }
        at = experts.first * p.weight_stride + vector * WIDTH;
#pragma unroll
        for (uint32_t e = 0; e < EXPERTS; ++e) {
            float weight[WIDTH];
            unpack(load<T, WIDTH>(p.weight, at + e * weight_step), weight);
#pragma unroll
            for (uint32_t t = 0; t < TOKENS; ++t) {
#pragma unroll
                for (uint32_t i = 0; i < WIDTH; ++i) {
                    sums[t][e] = fmaf(h[t][i], weight[i], sums[t][e]);
                }
            }
        }
    }
#pragma unroll
    for (uint32_t t = 0; t < TOKENS; ++t) {
        float sum = add_lanes(sums[t]);
        if (threadIdx.x % WARP_THREADS < EXPERTS) {
            tile.sums[t][threadIdx.x / WARP_THREADS][expert_of_lane()] = sum;
        }
    }
}

template <typename T>
__device__ inline float round_to(float value) {
    float values[4] = {value, 0.0f, 0.0f, 0.0f};
    Packed<T, 4> packed;
    pack(values, packed);
    unpack(packed, values);
    return values[0];
}

// Calls finish(token of the tile, expert, logit) for each wanted logit, in the first threads.
template <typename T, uint32_t TOKENS, typename Finish>
__device__ inline void finish_sums(const RouterParams &p, Window tokens, Window experts,
                                   const Tile<TOKENS> &tile, Finish finish) {
    uint32_t t = threadIdx.x / EXPERTS, e = threadIdx.x % EXPERTS;
    uint32_t token = tokens.first + t, expert = experts.first + e;
    bool repeated = p.experts < EXPERTS && e > 0;
    if (t >= TOKENS || token < tokens.wanted || expert < experts.wanted || repeated) {
        return;
    }
    float sums[WARPS];
#pragma unroll
    for (uint32_t warp = 0; warp < WARPS; ++warp) {
        sums[warp] = tile.sums[t][warp][e];
    }
    float logit = ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
                  ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    if (p.round_logits != 0) {
        logit = round_to<T>(logit);
    }
    if (p.logits != nullptr) {
        p.logits[token * static_cast<uint64_t>(p.experts) + expert] = logit;
    }
    finish(t, expert, logit);
}

// Runs finish for the logits of the tokens with the experts from `begin` to `end`, tile after tile.
// The two tiles are written in turn, so that one barrier for each is enough.
template <typename T, uint32_t TOKENS, typename Finish>
__device__ inline void for_logits(const RouterParams &p, Window tokens, uint32_t begin,
                                  uint32_t end, Tile<TOKENS> (&tiles)[2], uint32_t &turn,
                                  Finish finish) {
    uint32_t width = p.experts < EXPERTS ? 1 : EXPERTS;
    for (uint32_t expert = begin; expert < end; expert += width) {
        Window experts(expert, EXPERTS, p.experts);
        multiply<T>(p, tokens, experts, tiles[turn]);
        __syncthreads();
        finish_sums<T>(p, tokens, experts, tiles[turn], finish);
        turn ^= 1;
    }
}

// The sums of a block, for as many tokens as it takes.
union Tiles {
    Tile<1> one[2];
    Tile<4> four[2];
};

template <typename T>
__device__ inline void route(const RouterParams &p) {
    __shared__ Tiles tiles;
    __shared__ RouterRow rows[4];
    uint32_t turn = 0, width = p.tokens_per_block;
    auto keep = [&](uint32_t t, uint32_t expert, float logit) { rows[t].logits[expert] = logit; };
    for (uint32_t first = blockIdx.x * width; first < p.tokens; first += gridDim.x * width) {
        Window tokens(first, width, p.tokens);
        if (width == 1) {
            for_logits<T>(p, tokens, 0, p.experts, tiles.one, turn, keep);
        } else {
            for_logits<T>(p, tokens, 0, p.experts, tiles.four, turn, keep);
        }
        __syncthreads();
        uint32_t t = threadIdx.x / WARP_THREADS;
        if (t < width && tokens.first + t >= tokens.wanted) {
            select_experts(p, tokens.first + t, rows[t]);
        }
        // The rows are written again after the barrier of the next products.
    }
}

template <typename T>
__device__ inline void logits(const RouterParams &p) {
    __shared__ Tiles tiles;
    uint32_t turn = 0, width = p.tokens_per_block;
    uint32_t begin = blockIdx.y * ROUTER_EXPERTS_AT_ONCE;
    uint32_t end = min(begin + ROUTER_EXPERTS_AT_ONCE, p.experts);
    auto keep = [](uint32_t, uint32_t, float) {};
    for (uint32_t first = blockIdx.x * width; first < p.tokens; first += gridDim.x * width) {
        Window tokens(first, width, p.tokens);
        if (width == 1) {
            for_logits<T>(p, tokens, begin, end, tiles.one, turn, keep);
        } else {
            for_logits<T>(p, tokens, begin, end, tiles.four, turn, keep);
        }
    }
}

extern "C" __global__ void __launch_bounds__(ROUTER_THREADS, 2)
    router_bf16(const __grid_constant__ RouterParams p) {
    route<bf16>(p);
}

extern "C" __global__ void __launch_bounds__(ROUTER_THREADS, 2)
    router_f16(const __grid_constant__ RouterParams p) {
    route<f16>(p);
}

extern "C" __global__ void __launch_bounds__(ROUTER_THREADS, 2)
    router_f32(const __grid_constant__ RouterParams p) {
    route<float>(p);
}

extern "C" __global__ void __launch_bounds__(ROUTER_THREADS, 2)
    router_bf16_logits(const __grid_constant__ RouterParams p) {
    logits<bf16>(p);
}

extern "C" __global__ void __launch_bounds__(ROUTER_THREADS, 2)
    router_f16_logits(const __grid_constant__ RouterParams p) {
    logits<f16>(p);
}

extern "C" __global__ void __launch_bounds__(ROUTER_THREADS, 2)
    router_f32_logits(const __grid_constant__ RouterParams p) {
    logits<float>(p);
}
