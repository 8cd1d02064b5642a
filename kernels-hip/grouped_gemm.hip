// The products of experts, each with its rows. Reference: reference/grouped_gemm.rs. Contract: GroupedGemmParams.
//
// Math, in f32, for every row r of out and expert e that has it:
//   up:   out[r, n] = activation(sum over k of x[s, k] * weight[e, n, k] + bias[e, n],
//                                sum over k of x[s, k] * up_weight[e, n, k] + up_bias[e, n]),
//         s the row of x of the token of pairs[r]
//   down: out[r, n] = (sum over k of x[r, k] * weight[e, n, k] + bias[e, n]) * weights[pairs[r]]
// rounded once. nt: a weight lies as [out_features, in_features]; nn: as [in_features, out_features].
//
// Mapping: as linear.hip, a workgroup of 8 waves computes a tile of 256 rows by 256 features of weights, 64 of k
// at a time, then its next one: there are as many workgroups as run at once. The order of tiles is in registers
// (grouped_order.hip.h), since the stage has all of LDS.
//
//   LDS      x [256, 64], weight [256, 64]: rows of 128 bytes, whose 16-byte pieces are swapped by the row
//   wave w   rows 128 (w / 4) .. + 128, features of weights 64 (w % 4) .. + 64: 8 by 4 products of 16x16x16
//   lane     128 sums
//   up       of 64 weight rows in LDS, 32 are the gate's and 32 those of up for the same 32 features of out,
//            so that a lane has both sums of an element
//
// A thread reads the same four rows of x all through a tile and looks once for where they lie. Waves whose rows
// are all beyond the expert's last multiply nothing; they share their SIMDs with those that do.
//
// The sum of each element is that of linear.hip: the same products in the same order.
//
// Budget: 512 threads; 65536 B LDS; 0 B scratch; registers: 256 gfx90a, 256 gfx942, 256 gfx950.
// Keeps: global_load_dwordx4, ds_read_b128, v_mfma_f32_16x16x16*.
// Products: v_mfma_f32_16x16x16*; 128 a loop, 4 a ds_read; 1 workgroup a compute unit.
// Bound: arithmetic, from about 250 rows an expert (MI300X) or 120 (MI210). A step of 64 k reads 64 KiB and has
// 2 * 256 * 256 * 64 operations, 4096 cycles of MI300X. The activations of a tile of up take about 43000 cycles, 85
// instructions an element, in which no products run: to try on hardware, two tiles of half the rows that take turns.

#include "grouped_tile.hip.h"
#include "linear_multiply.hip.h"

static_assert(TILE == GROUPED_TILE_ROWS && TILE == GROUPED_TILE_FEATURES && THREADS == GROUPED_THREADS,
              "tiles are those of dense layers");
constexpr uint32_t GROUP = WAVE_FEATURES / 2;

// LDS serves one, then the other.
union Shared {
    Stage<false> stage;
    OrderRoom room;
};

// The activations are many instructions: rows pass by one place of the code.
template <typename T>
__device__ inline void finish_tile_up(const GroupedGemmParams &p, const GroupedWork &work, uint32_t row,
                                      uint32_t feature, Sums (&sums)[ROWS][COLUMNS]) {
#pragma unroll 1
    for (uint32_t group = 0; group < ROWS; ++group) {
#pragma unroll
        for (uint32_t j = 0; j < COLUMNS / 2; ++j) {
            float gate[4], up[4];
#pragma unroll
            for (uint32_t i = 0; i < 4; ++i) {
                gate[i] = sums[0][j][i];
                up[i] = sums[0][j + COLUMNS / 2][i];
            }
            finish_up<T>(p, work, row + group * 16, feature + j * 16, gate, up);
        }
#pragma unroll
        for (uint32_t i = 0; i + 1 < ROWS; ++i) {
#pragma unroll
            for (uint32_t j = 0; j < COLUMNS; ++j) {
                sums[i][j] = sums[i + 1][j];
            }
        }
    }
}

template <typename T>
__device__ inline void finish_tile_down(const GroupedGemmParams &p, const GroupedWork &work, uint32_t row,
                                        uint32_t feature, const Sums (&sums)[ROWS][COLUMNS]) {
#pragma unroll
    for (uint32_t i = 0; i < ROWS; ++i) {
        float weight = pair_weight(p, work, row + i * 16);
#pragma unroll
        for (uint32_t j = 0; j < COLUMNS; ++j) {
            finish_down<T>(p, work, row + i * 16, feature + j * 16, weight, sums[i][j]);
        }
    }
}

template <typename T, bool UP, bool NN>
__device__ inline void grouped_gemm(const GroupedGemmParams &params) {
    __shared__ Shared shared;
    uint32_t wave = wave_id();
    uint32_t wave_row = wave / 4 * WAVE_TOKENS, wave_feature = wave % 4 * WAVE_FEATURES;
    GroupedOrder order = order_experts(params, shared.room);
    uint64_t count = uint64_t(order.total) * tile_columns(params);
    Stage<false> &stage = shared.stage;
#pragma unroll 1
    for (uint64_t number = first_turn(params.xcds); number < count; number += workgroup_count_x()) {
        // What every tile computes of these would stay in registers from the first one on.
        const GroupedGemmParams &p = read_params_again<GroupedGemmParams>();
        uint32_t thread = anew(workitem_id_x()), lane = thread % WAVE_THREADS;
        GroupedWork work = work_of(p, order, number);
        Operands<UP, NN, GROUP, TILE, TILE_K, THREADS> operands;
        operands.x.find(p, work, thread);
        operands.weight.find(p, work, thread);
        auto fetch = [&](uint32_t k) {
            operands.x.load(p, k, thread);
            operands.weight.load(p, k, thread);
        };
        fetch(0);
        auto each_stage = [&](auto use) {
            for (uint32_t k = 0; k < p.in_features; k += TILE_K) {
                operands.x.store(stage.x, TILE, thread);
                operands.weight.store(stage.weight, thread);
                workgroup_barrier();
                if (k + TILE_K < p.in_features) {
                    fetch(k + TILE_K);
                }
                use();
                workgroup_barrier();
            }
        };
        // Not within the loop: sums would be moved where both ways meet.
        if (wave_row >= work.end - work.row) {
            each_stage([] {});
        } else {
            Sums sums[ROWS][COLUMNS] = {};
            each_stage([&] {
                set_priority<1>();
                multiply<T>(stage, wave_row, wave_feature, sums, thread);
                set_priority<0>();
            });
            uint32_t row = work.row + wave_row + lane % 16;
            if constexpr (UP) {
                finish_tile_up<T>(p, work, row, work.feature + wave_feature / 2 + lane / 16 * 4, sums);
            } else {
                finish_tile_down<T>(p, work, row, work.feature + wave_feature + lane / 16 * 4, sums);
            }
        }
    }
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS),
                                          amdgpu_waves_per_eu(2, 2)))
grouped_gemm_up_bf16(GroupedGemmParams p) {
    grouped_gemm<bf16, true, false>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS),
                                          amdgpu_waves_per_eu(2, 2)))
grouped_gemm_up_f16(GroupedGemmParams p) {
    grouped_gemm<f16, true, false>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS),
                                          amdgpu_waves_per_eu(2, 2)))
grouped_gemm_down_bf16_nt(GroupedGemmParams p) {
    grouped_gemm<bf16, false, false>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS),
                                          amdgpu_waves_per_eu(2, 2)))
grouped_gemm_down_bf16_nn(GroupedGemmParams p) {
    grouped_gemm<bf16, false, true>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS),
                                          amdgpu_waves_per_eu(2, 2)))
grouped_gemm_down_f16_nt(GroupedGemmParams p) {
    grouped_gemm<f16, false, false>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS),
                                          amdgpu_waves_per_eu(2, 2)))
grouped_gemm_down_f16_nn(GroupedGemmParams p) {
    grouped_gemm<f16, false, true>(p);
}
