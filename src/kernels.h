// The contract between host and device: one params struct for each kernel, plain C.
//
// A kernel takes exactly one argument, its struct by value. Pointers come first, each with its
// shape; then 64-bit strides in elements; then 32-bit extents. nvcc and clang include this file;
// src/kernels.rs is generated from it by bindgen.

#ifndef EXPERTILE_KERNELS_H
#define EXPERTILE_KERNELS_H

#include <stdint.h>

// Clip, rotate and append to the cache: reference/rope.rs, src/rope.rs.
// Entries: rope_{bf16,f16,f32} pair i with i + head_dim / 2; rope_{bf16,f16,f32}_interleaved pair
// 2i with 2i + 1. Grid: x = tokens, y = ceil((q_heads + 2 kv_heads) / heads_per_block).
#define ROPE_THREADS 256
#define ROPE_MAX_HEAD_DIM 256

typedef struct RopeParams {
    void *qkv;                    // [tokens, q_heads + 2 * kv_heads, head_dim]; q is rotated in place
    void *k_cache;                // [pages, page_size, kv_heads, head_dim]
    void *v_cache;                // [pages, page_size, kv_heads, head_dim]
    const int32_t *positions;     // [tokens]
    const int64_t *slot_mapping;  // [tokens]; a slot outside 0..slots skips the token's k and v
    const float *inv_freq;        // [head_dim / 2]
    uint64_t qkv_stride;          // from one token's row to the next
    uint64_t k_page_stride;
    uint64_t k_position_stride;
    uint64_t k_head_stride;
    uint64_t v_page_stride;
    uint64_t v_position_stride;
    uint64_t v_head_stride;
    uint64_t slots;               // pages * page_size
    uint32_t tokens;
    uint32_t q_heads;
    uint32_t kv_heads;
    uint32_t head_dim;            // a multiple of 8 from 16 to ROPE_MAX_HEAD_DIM
    uint32_t page_size;
    uint32_t heads_per_block;
    float clip;                   // q, k and v are clipped to -clip..clip; infinity clips nothing
    uint32_t reserved;            // 0
} RopeParams;

// Residual addition and normalisation: reference/layer_norm.rs and rms_norm.rs.
// Entries: layer_norm_{bf16,f16,f32}, rms_norm_{bf16,f16,f32}.
// A block normalises one row at a time, rows blockIdx.x, + gridDim.x, ...; its threads are
// ceil(hidden / NORM_ELEMENTS_PER_THREAD) rounded up to whole warps. So the order of every sum
// depends on hidden alone.
#define NORM_ELEMENTS_PER_THREAD 16
#define NORM_MAX_THREADS 1024
#define NORM_MAX_HIDDEN 16384

typedef struct NormParams {
    const void *x;           // [tokens, hidden]
    const void *residual;    // [tokens, hidden], or null: nothing is added
    const void *weight;      // [hidden]
    void *out;               // [tokens, hidden]
    void *sum;               // [tokens, hidden], or null: the sum is not kept; may be x or residual
    uint64_t x_stride;       // from one row to the next
    uint64_t residual_stride;
    uint64_t out_stride;
    uint64_t sum_stride;
    uint32_t tokens;
    uint32_t hidden;         // a multiple of 8 from 8 to NORM_MAX_HIDDEN
    float epsilon;
    uint32_t reserved;       // 0
} NormParams;

// The top-k router: reference/router.rs, reference/router_f32.rs (the bits), src/router.rs.
// Entries, each for bf16, f16 and f32: router_* from h to weights, router_*_logits the logits alone,
// router_select_* from given logits to weights.
// Threads of a block: ROUTER_THREADS. The order of a logit's sum depends on hidden alone.
// Grid: router_* and router_*_logits: x goes through the tiles of tokens_per_block tokens;
// router_*_logits: y = ceil(experts / ROUTER_EXPERTS_AT_ONCE). router_select_*: x goes through the
// tiles of ROUTER_SELECTED_AT_ONCE tokens.
#define ROUTER_THREADS 256
#define ROUTER_MAX_EXPERTS 256
#define ROUTER_MAX_TOP_K 16
#define ROUTER_MAX_GROUPS 32
#define ROUTER_EXPERTS_AT_ONCE 16
#define ROUTER_SELECTED_AT_ONCE 8

// Of RouterParams::scoring.
#define ROUTER_SOFTMAX 0
#define ROUTER_SIGMOID 1

// Of RouterParams::norm: what the weights are divided by.
#define ROUTER_NORM_NONE 0      // nothing: they are scores
#define ROUTER_NORM_SUM 1       // their sum
#define ROUTER_NORM_LARGEST 2   // their largest
#define ROUTER_NORM_POWER 3     // (sum of their p-th powers)^(1 / p)

typedef struct RouterParams {
    const void *h;              // [tokens, hidden]; not read by router_select_*
    const void *weight;         // [experts, hidden]; the same
    const void *given;          // [tokens, experts], logits; read by router_select_* alone
    const float *bias;          // [experts], or null: added to scores for the choice
    const int32_t *forced;      // [tokens, top_k], or null: ids to take
    float *logits;              // [tokens, experts], or null; of router_select_*: null
    int32_t *ids;               // [tokens, top_k]
    float *weights;             // [tokens, top_k]
    float *probabilities;       // [tokens, experts], or null
    uint32_t *counts;           // [experts], or null: the number of tokens is added
    uint64_t h_stride;          // from one row to the next
    uint64_t weight_stride;
    uint64_t given_stride;
    uint32_t tokens;
    uint32_t hidden;            // a multiple of 8
    uint32_t experts;           // 1 to ROUTER_MAX_EXPERTS
    uint32_t top_k;             // 1 to ROUTER_MAX_TOP_K
    uint32_t groups;            // 1 to ROUTER_MAX_GROUPS, a divisor of experts
    uint32_t top_groups;        // 1 to groups
    uint32_t tokens_per_block;  // 1, or 4 if there are as many
    uint32_t scoring;
    uint32_t norm;
    uint32_t round_logits;      // not 0: logits are rounded to the type of h
    float p_norm;               // of ROUTER_NORM_POWER
    float inverse_p_high;       // 1 / p_norm, as a sum of two
    float inverse_p_low;
    float scale;                // the weights are multiplied by it
} RouterParams;

// Load histogram and losses of the router: reference/router_loss.rs, src/router_loss.rs.
// Entries: router_loss_{bf16,f16,f32} sum chunks of ROUTER_LOSS_CHUNK tokens, a block each;
// router_loss_reduce_f32, one block, adds the chunks. Threads of a block: ROUTER_LOSS_THREADS.
#define ROUTER_LOSS_THREADS 256
#define ROUTER_LOSS_CHUNK 256

typedef struct RouterLossParams {
    const void *logits;         // [tokens, experts]
    const int32_t *ids;         // [tokens, top_k]; outside of the experts: none
    uint32_t *partials;         // [chunks, 3 * experts + 2]: sums of P, of Q, of z; counts; tokens
    float *losses;              // [3]
    int32_t *counts;            // [experts]
    float *mean_probabilities;  // [experts]
    uint64_t logits_stride;     // from one row to the next
    uint32_t tokens;
    uint32_t experts;           // 1 to ROUTER_MAX_EXPERTS
    uint32_t top_k;             // 1 to ROUTER_MAX_TOP_K
    uint32_t chunks;            // ceil(tokens / ROUTER_LOSS_CHUNK)
} RouterLossParams;

// The (token, slot) pairs sorted by expert: reference/dispatch.rs, src/dispatch.rs.
// Entries: dispatch_i32_count, dispatch_i32_place. Without histograms dispatch_i32_place is one block that does
// it all; with them, dispatch_i32_count first writes one for each chunk of pairs, both in chunks
// blocks. A block is whole warps, as many as have a part of chunk_pairs.
#define DISPATCH_MAX_EXPERTS 256
#define DISPATCH_MAX_TOP_K 16
#define DISPATCH_MAX_THREADS 1024

typedef struct DispatchParams {
    const int32_t *ids;    // [pair_count]; outside first_expert.. + experts: no row
    int32_t *pairs;        // [pair_count]: of each row; -1 past the last
    int32_t *rows;         // [pair_count]: of each pair, or -1
    int32_t *offsets;      // [experts + 1]
    int32_t *counts;       // [experts]
    int32_t *tiles;        // [max_tiles, 2]: expert and first row; -1, -1 past the last
    int32_t *tile_count;   // [1]
    uint32_t *histograms;  // [chunks, experts], or null: one chunk
    uint32_t pair_count;   // less than 2^31
    uint32_t chunk_pairs;  // whole blocks of threads
    uint32_t chunks;
    uint32_t first_expert;
    uint32_t experts;      // from 1 to DISPATCH_MAX_EXPERTS
    uint32_t expert_bits;  // of experts - 1
    uint32_t tile_shift;   // a tile is 1 << tile_shift rows
    uint32_t max_tiles;
} DispatchParams;

// The sum of each token's expert outputs, and the residual: reference/combine.rs, src/combine.rs.
// Entries: combine_{bf16,f16,f32}. A token has 1 << lane_bits threads, from 16 to COMBINE_THREADS,
// each with 16 bytes of it; grid: x goes through the tokens, y = ceil(vectors of a row / lanes).
#define COMBINE_THREADS 256
#define COMBINE_MAX_TOP_K 16
#define COMBINE_MAX_HIDDEN 65536

typedef struct CombineParams {
    const void *expert_out;      // [expert_rows, hidden]
    const void *residual;        // [tokens, hidden], or null: nothing is added
    const int32_t *rows;         // [tokens, top_k]; one outside 0..expert_rows adds nothing
    void *out;                   // [tokens, hidden]; may be residual
    uint64_t expert_out_stride;  // from one row to the next
    uint64_t residual_stride;
    uint64_t out_stride;
    uint32_t tokens;
    uint32_t expert_rows;  // at most 2^31
    uint32_t hidden;       // a multiple of 8 from 8 to COMBINE_MAX_HIDDEN
    uint32_t top_k;        // from 1 to COMBINE_MAX_TOP_K
    uint32_t lane_bits;
    uint32_t reserved;  // 0
} CombineParams;

// Rows on their way to another device: src/packet.rs. A packet is a row of x and a PacketTrailer.
// Entries: packet_any_pack, packet_any_unpack. Elements have no type here: rows are vectors of 16 bytes. A
// packet has 1 << lane_bits threads, from 16 to PACKET_MAX_LANES; blocks go through the packets.
#define PACKET_THREADS 256
#define PACKET_MAX_LANES 128
#define PACKET_TRAILER_BYTES 16

typedef struct PacketTrailer {
    int32_t pair;    // token * top_k + slot on the device that sent it
    int32_t expert;  // as the router numbers them, over all devices
    float weight;
    uint32_t reserved;  // 0
} PacketTrailer;

typedef struct PacketPackParams {
    const void *x;             // [tokens] rows
    const int32_t *ids;        // [pair_count]
    const float *weights;      // [pair_count]
    const int32_t *pairs;      // [pair_count], as DispatchParams has it
    const int32_t *row_count;  // [1]: the last of DispatchParams's offsets
    void *packets;             // [packet_count] rows and trailers; untouched past row_count
    uint64_t x_stride;         // in vectors
    uint64_t packet_stride;
    uint32_t pair_count;
    uint32_t packet_count;
    uint32_t vectors;  // of a row of x
    uint32_t top_k;
    uint32_t lane_bits;
    uint32_t reserved;  // 0
} PacketPackParams;

typedef struct PacketUnpackParams {
    const void *packets;  // [packet_count] rows and trailers
    void *x;              // [packet_count] rows
    int32_t *ids;         // [packet_count]
    float *weights;       // [packet_count]
    int32_t *pairs;       // [packet_count]
    uint64_t x_stride;    // in vectors
    uint64_t packet_stride;
    uint32_t packet_count;
    uint32_t vectors;  // of a row of x
    uint32_t lane_bits;
    uint32_t reserved;  // 0
} PacketUnpackParams;

// A matrix as the copies of tiles of sm_90a know it: the driver makes it.
typedef struct __attribute__((aligned(64))) TensorMap {
    uint64_t words[16];
} TensorMap;

// A dense layer: reference/linear.rs, src/linear.rs, src/linear_tiles.h.
// Entries, each as linear_{bf16,f16}{,_f32}_{nt,nn}: nt, the weight lies as [out_features, in_features];
// nn, as [in_features, out_features]; _f32, out and residual are f32. On AMD linear_* and linear_rows_*,
// on NVIDIA the same with _sm80, and for sm_90a alone with _sm90, which take LinearSm90Params.
// linear_*: tiles of tile_tokens by tile_features in the order of expertile_linear_tile. The grid is the
// tiles; that of sm_90a is any number of clusters, which go through them.
// linear_rows_*: all tokens at once, tiles of tile_features features. The grid is the tiles; that of sm_90a
// is any number of blocks. Those of sm_80 have a warp for each 16 features.
#define LINEAR_THREADS 512
#define LINEAR_TILE 256
#define LINEAR_ROWS_THREADS 256
#define LINEAR_ROWS_TILE_FEATURES 64
#define LINEAR_ROWS_MAX_TOKENS 64

#define LINEAR_SM80_THREADS 128
#define LINEAR_SM80_TILE 128
#define LINEAR_SM80_SHARED_BYTES 49152
#define LINEAR_ROWS_SM80_THREADS 256
#define LINEAR_ROWS_SM80_SHARED_BYTES 98304

#define LINEAR_SM90_THREADS 384
#define LINEAR_SM90_TILE_TOKENS 128
#define LINEAR_SM90_TILE_FEATURES 256
#define LINEAR_SM90_BOX_FEATURES_NT 128
#define LINEAR_SM90_BOX_FEATURES_NN 64
#define LINEAR_SM90_CHUNK_TOKENS 64
#define LINEAR_SM90_SHARED_BYTES 229472

#define LINEAR_ROWS_SM90_THREADS 160
#define LINEAR_ROWS_SM90_SHARED_BYTES 214112

typedef struct LinearParams {
    const void *x;         // [tokens, in_features]
    const void *weight;    // nt: [out_features, in_features]; nn: [in_features, out_features]
    const void *residual;  // [tokens, out_features], or null: nothing is added; may be out
    void *out;             // [tokens, out_features]
    uint64_t x_stride;     // from one row to the next
    uint64_t weight_stride;
    uint64_t residual_stride;
    uint64_t out_stride;
    uint32_t tokens;
    uint32_t in_features;   // a multiple of 8
    uint32_t out_features;  // a multiple of 8
    float clamp;            // sums are clamped to -clamp..clamp; infinity clamps nothing
    uint32_t tile_tokens;   // linear_rows_*_sm90: 8, 16, 32 or 64, and not less than tokens
    uint32_t tile_features;  // linear_rows_*_sm90: a multiple of 8 up to 64; nn: 64. linear_rows_*_sm80: of
                             // 16 up to 128; nn: a power of two
    uint32_t panel;          // rows of tiles that go through all columns together
    uint32_t xcds;           // on AMD, the dies that blocks go round; 1 if one
} LinearParams;

// The boxes have rows of 128 bytes: columns of x, weight (nt: k, nn: features), residual and out.
typedef struct LinearSm90Params {
    LinearParams common;
    TensorMap x_map;         // boxes of tile_tokens rows
    TensorMap weight_map;    // nt: of LINEAR_SM90_BOX_FEATURES_NT or tile_features rows; nn: of 64 k
    TensorMap residual_map;  // of LINEAR_SM90_CHUNK_TOKENS rows; not if out is f32 or rows are few
    TensorMap out_map;
} LinearSm90Params;

// The products of experts: reference/grouped_gemm.rs, src/grouped_gemm.rs, src/grouped_tiles.h.
// Entries, each for bf16 and f16: up_*, of a gate and an up weight that lie as [out_features, in_features],
// joined by the activation; down_*_nt and down_*_nn, of one weight, times the weight of the row's pair. On AMD
// grouped_gemm_* and grouped_gemm_rows_*, on NVIDIA the same with _sm80, and for sm_90a alone with _sm90, which
// take GroupedGemmSm90Params.
// A row of out is one of offsets[e] to offsets[e + 1] of expert e. The tiles of all experts, those of the expert
// with most rows first, are in the order of expertile_grouped_tile. The grid is any number of blocks, which go
// through them.
// grouped_gemm_rows_*: up to 64 rows at once, operands swapped.
#define GROUPED_MAX_EXPERTS 256

#define GROUPED_THREADS 512
#define GROUPED_TILE_ROWS 256
#define GROUPED_TILE_FEATURES 256     // of weights: up's are half of gate, half of up
#define GROUPED_ROWS_THREADS 256
#define GROUPED_ROWS_TILE_ROWS 64
#define GROUPED_ROWS_TILE_FEATURES 64  // of weights

#define GROUPED_SM80_THREADS 128
#define GROUPED_SM80_TILE_ROWS 128
#define GROUPED_SM80_TILE_FEATURES 128
#define GROUPED_SM80_SHARED_BYTES 50696
#define GROUPED_ROWS_SM80_THREADS 256
#define GROUPED_ROWS_SM80_SHARED_BYTES 99848

#define GROUPED_SM90_THREADS 384
#define GROUPED_SM90_TILE_ROWS 128
#define GROUPED_SM90_TILE_FEATURES 256
#define GROUPED_SM90_BOX_FEATURES_NT 128
#define GROUPED_SM90_BOX_FEATURES_NN 64
#define GROUPED_SM90_SHARED_BYTES 230984
#define GROUPED_ROWS_SM90_THREADS 256
#define GROUPED_ROWS_SM90_SHARED_BYTES 215656

// Of GroupedGemmParams::activation: src/activation.h.
#define ACTIVATION_SILU 0
#define ACTIVATION_GELU_TANH 1
#define ACTIVATION_CLAMPED_SWIGLU 2

typedef struct GroupedGemmParams {
    const void *x;           // up: [x_rows, in_features]; down: [rows, in_features]
    const void *weight;      // [experts] of [out_features, in_features], up: the gate's; nn: of [in_features, out_features]
    const void *up_weight;   // up: [experts] of [out_features, in_features]
    const void *bias;        // [experts, out_features], added to sums; or null. up: the gate's
    const void *up_bias;     // up: the same
    const int32_t *offsets;  // [experts + 1]; what passes 0 to rows counts as the nearer end
    const int32_t *pairs;    // [rows]: up: a row of x is that of pairs[row] / top_k, or zeros if there is none such.
                             // down: weights[pairs[row]]; may be null if weights is
    const float *weights;    // down: [pair_count], or null: all are 1. A pair outside has the weight 0
    void *out;               // [rows, out_features]
    uint64_t x_stride;       // from one row to the next
    uint64_t weight_stride;
    uint64_t weight_expert_stride;
    uint64_t up_weight_stride;
    uint64_t up_weight_expert_stride;
    uint64_t bias_stride;  // from one expert to the next
    uint64_t up_bias_stride;
    uint64_t out_stride;
    uint32_t x_rows;
    uint32_t rows;        // less than 2^31
    uint32_t pair_count;  // of weights
    uint32_t top_k;
    uint32_t experts;  // from 1 to GROUPED_MAX_EXPERTS
    uint32_t in_features;   // a multiple of 8
    uint32_t out_features;  // a multiple of 8
    uint32_t tile_shift;    // a tile is 1 << tile_shift rows
    uint32_t tile_features;  // of out, a multiple of 8; of weights half as many in down, as many in up
    uint32_t panel;          // tiles of rows that go through all features together
    uint32_t activation;
    float limit;  // of ACTIVATION_CLAMPED_SWIGLU
    float alpha;
    uint32_t xcds;  // on AMD, the dies that blocks go round; 1 if one
} GroupedGemmParams;

// Maps of three dimensions: columns, rows, experts. The boxes have rows of 128 bytes.
typedef struct GroupedGemmSm90Params {
    GroupedGemmParams common;
    TensorMap x_map;          // down, not rows_*: [rows, in_features], boxes of GROUPED_SM90_TILE_ROWS rows
    TensorMap weight_map;     // nt: boxes of GROUPED_SM90_BOX_FEATURES_NT features; nn: of 64 k and 64 features;
                              // rows_*_nt: of tile_features features
    TensorMap up_weight_map;  // up
} GroupedGemmSm90Params;

// Probes: src/probe.rs. Kernels that measure or question a machine; not in a usual build.
// Threads of a block: PROBE_THREADS.
#define PROBE_THREADS 256

typedef struct ProbeParams {
    const uint32_t *input;
    uint32_t *output;
    uint64_t count;  // of what a probe goes through: each says of what
} ProbeParams;

// out[64, n] = A[64, 64] B[64, n], of 2 bytes an element, n by the entry, which also says how a map lies.
// k: [rows, 64], boxes of all rows; mn: [64, rows], boxes of 64 rows of k.
#define PROBE_PRODUCT_THREADS 128
#define PROBE_PRODUCT_ROWS 64
#define PROBE_PRODUCT_K 64

typedef struct ProbeProductParams {
    TensorMap a_map;
    TensorMap b_map;
    float *out;
    uint64_t reserved[7];  // 0
} ProbeProductParams;

#endif
