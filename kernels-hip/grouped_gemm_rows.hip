// The products of experts that have few rows each. Reference: reference/grouped_gemm.rs. Contract:
// GroupedGemmParams.
//
// Math: that of grouped_gemm.hip, and the same bits.
//
// Mapping: as linear_rows.hip, a workgroup of 4 waves computes 64 features of weights of up to 64 rows, 128 of k
// at a time, then its next tile: there are as many workgroups as run at once, two on a compute unit. LDS is one
// stage; the next, or the first of the next tile, is on its way to registers while the products of this one run.
//
//   LDS      weight [64, 128], x [64, 128]
//   wave w   features of weights 16 w .. + 16: one product of 16x16x16 for each 16 rows
//   up       of four weight rows in LDS, two are the gate's and two those of up for the same two features of
//            out, so that the four sums of a lane are two of each
//
// Only as many groups of 16 rows are copied and multiplied as the tile has.
//
// Budget: 256 threads; 32768 B LDS; 0 B scratch; registers: 192 gfx90a, 192 gfx942, 192 gfx950.
// Keeps: global_load_dwordx4, ds_read_b128, v_mfma_f32_16x16x16*.
// Products: v_mfma_f32_16x16x16*; 8 a loop, 1 a ds_read; 2 workgroups a compute unit.
// Bound: memory. The weights of an expert of up to 64 rows are read once; 16 KiB of them a workgroup are on their
// way.

#include "grouped_tile.hip.h"
#include "linear_rows_multiply.hip.h"

static_assert(TILE == GROUPED_ROWS_TILE_ROWS && TILE == GROUPED_ROWS_TILE_FEATURES &&
                  THREADS == GROUPED_ROWS_THREADS,
              "tiles are those of dense layers");
constexpr uint32_t GROUP = 2;

// LDS serves one, then the other.
union Shared {
    Stage stage;
    OrderRoom room;
};

// A tile of COLUMNS groups of rows, whose first stage is fetched; fetches that of the next.
template <typename T, bool UP, bool NN, uint32_t COLUMNS, typename Fetch>
__device__ inline void run(const GroupedGemmParams &p, Stage &stage, const GroupedWork &work, uint32_t thread,
                           Operands<UP, NN, GROUP, TILE, TILE_K, THREADS> &operands, Fetch fetch) {
    uint32_t wave = thread / WAVE_THREADS, lane = thread % WAVE_THREADS;
    Sums sums[COLUMNS] = {};
    for (uint32_t k = 0; k < p.in_features; k += TILE_K) {
        operands.x.store(stage.x, COLUMNS * 16, thread);
        operands.weight.store(stage.weight, thread);
        workgroup_barrier();
        fetch(k + TILE_K);
        multiply<T, COLUMNS>(stage, wave * 16, sums, thread);
        workgroup_barrier();
    }
    // The activations are many instructions: groups pass by one place of the code.
#pragma unroll 1
    for (uint32_t group = 0; group < COLUMNS; ++group) {
        uint32_t row = work.row + group * 16 + lane % 16;
        if constexpr (UP) {
            float gate[2] = {sums[0][0], sums[0][1]}, up[2] = {sums[0][2], sums[0][3]};
            finish_up<T>(p, work, row, work.feature + wave * 8 + lane / 16 * 2, gate, up);
        } else {
            finish_down<T>(p, work, row, work.feature + wave * 16 + lane / 16 * 4, pair_weight(p, work, row),
                           sums[0]);
        }
#pragma unroll
        for (uint32_t i = 0; i + 1 < COLUMNS; ++i) {
            sums[i] = sums[i + 1];
        }
    }
}

template <typename T, bool UP, bool NN>
__device__ inline void grouped_gemm_rows(const GroupedGemmParams &params) {
    __shared__ Shared shared;
    GroupedOrder order = order_experts(params, shared.room);
    uint64_t count = uint64_t(order.total) * tile_columns(params);
    uint64_t number = first_turn(params.xcds);
    if (number >= count) {
        return;
    }
    GroupedWork work = work_of(params, order, number);
    Operands<UP, NN, GROUP, TILE, TILE_K, THREADS> operands;
    operands.x.find(params, work, workitem_id_x());
    operands.weight.find(params, work, workitem_id_x());
    operands.weight.load(params, 0, workitem_id_x());
    operands.x.load(params, 0, workitem_id_x());
#pragma unroll 1
    while (true) {
        // What every tile computes of these would stay in registers from the first one on.
        const GroupedGemmParams &p = read_params_again<GroupedGemmParams>();
        uint32_t thread = anew(workitem_id_x());
        number += workgroup_count_x();
        bool has_next = number < count;
        GroupedWork next = work;
        if (has_next) {
            next = work_of(p, order, number);
        }
        Operands<UP, NN, GROUP, TILE, TILE_K, THREADS> coming;
        coming.x.find(p, next, thread);
        coming.weight.find(p, next, thread);
        auto fetch = [&](uint32_t k) {
            if (k >= p.in_features) {
                if (!has_next) {
                    return;
                }
                operands.x.turn_to(coming.x);
                operands.weight.turn_to(coming.weight);
                k = 0;
            }
            operands.weight.load(p, k, thread);
            operands.x.load(p, k, thread);
        };
        switch ((work.end - work.row + 15) / 16) {
            case 1: run<T, UP, NN, 1>(p, shared.stage, work, thread, operands, fetch); break;
            case 2: run<T, UP, NN, 2>(p, shared.stage, work, thread, operands, fetch); break;
            case 3: run<T, UP, NN, 3>(p, shared.stage, work, thread, operands, fetch); break;
            default: run<T, UP, NN, 4>(p, shared.stage, work, thread, operands, fetch); break;
        }
        if (!has_next) {
            return;
        }
        work = next;
    }
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS)))
grouped_gemm_rows_up_bf16(GroupedGemmParams p) {
    grouped_gemm_rows<bf16, true, false>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS)))
grouped_gemm_rows_up_f16(GroupedGemmParams p) {
    grouped_gemm_rows<f16, true, false>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS)))
grouped_gemm_rows_down_bf16_nt(GroupedGemmParams p) {
    grouped_gemm_rows<bf16, false, false>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS)))
grouped_gemm_rows_down_bf16_nn(GroupedGemmParams p) {
    grouped_gemm_rows<bf16, false, true>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS)))
grouped_gemm_rows_down_f16_nt(GroupedGemmParams p) {
    grouped_gemm_rows<f16, false, false>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS)))
grouped_gemm_rows_down_f16_nn(GroupedGemmParams p) {
    grouped_gemm_rows<f16, false, true>(p);
}
