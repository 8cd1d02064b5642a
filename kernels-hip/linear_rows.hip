// A dense layer for few tokens. Reference: reference/linear.rs. Contract: LinearParams.
//
// Math, in f32, for every token t and output feature n:
//   out[t, n] = clamp(sum over k of x[t, k] * weight[n, k]) + residual[t, n]
// rounded once. nt: the weight lies as [out_features, in_features]; nn: as [in_features, out_features].
//
// Mapping: a workgroup of 4 waves computes 64 features of all tokens, 128 of k at a time. LDS is one stage; the
// next is on its way to registers while the products of this one run. Two workgroups share a compute unit, so
// that one loads while the other waits.
//
//   LDS      weight [64, 128], x [64, 128]
//   wave w   features 16 w .. + 16: one product of 16x16x16 for each 16 tokens
//
// The sum of each element is that of linear.hip: the same products in the same order.
//
// Budget: 256 threads; 32768 B LDS; 0 B scratch; registers: 128 gfx90a, 128 gfx942, 128 gfx950.
// Keeps: global_load_dwordx4, ds_read_b128, v_mfma_f32_16x16x16*.
// Products: v_mfma_f32_16x16x16*; 8 a loop, 1 a ds_read; 2 workgroups a compute unit.
// Bound: memory. The weight is read once; 16 KiB of it a workgroup are on their way.

#include "linear_rows_multiply.hip.h"

template <typename T, typename Out, bool NN, uint32_t COLUMNS>
__device__ inline void run(const LinearParams &p, Stage &stage) {
    uint32_t feature = workgroup_id_x() * TILE;
    uint32_t wave = workitem_id_x() / WAVE_THREADS, lane = workitem_id_x() % WAVE_THREADS;
    Straight<TILE, TILE_K, THREADS> x;
    typename Weight<NN, TILE, TILE_K, THREADS>::Part weight;
    auto fetch = [&](uint32_t k) {
        weight.load(p.weight, p.weight_stride, feature, p.out_features, k, p.in_features);
        x.load(p.x, p.x_stride, 0, p.tokens, k, p.in_features);
    };
    Sums sums[COLUMNS] = {};
    fetch(0);
    for (uint32_t k = 0; k < p.in_features; k += TILE_K) {
        x.store(stage.x);
        weight.store(stage.weight);
        workgroup_barrier();
        if (k + TILE_K < p.in_features) {
            fetch(k + TILE_K);
        }
        multiply<T, COLUMNS>(stage, wave * 16, sums);
        workgroup_barrier();
    }
#pragma unroll
    for (uint32_t i = 0; i < COLUMNS; ++i) {
        finish<Out>(p, i * 16 + lane % 16, feature + wave * 16 + lane / 16 * 4, sums[i]);
    }
}

template <typename T, typename Out, bool NN>
__device__ inline void linear_rows(const LinearParams &p) {
    __shared__ Stage stage;
    switch ((p.tokens + 15) / 16) {
        case 1: run<T, Out, NN, 1>(p, stage); break;
        case 2: run<T, Out, NN, 2>(p, stage); break;
        case 3: run<T, Out, NN, 3>(p, stage); break;
        default: run<T, Out, NN, 4>(p, stage); break;
    }
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS)))
linear_rows_bf16_nt(LinearParams p) {
    linear_rows<bf16, bf16, false>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS)))
linear_rows_bf16_nn(LinearParams p) {
    linear_rows<bf16, bf16, true>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS)))
linear_rows_f16_nt(LinearParams p) {
    linear_rows<f16, f16, false>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS)))
linear_rows_f16_nn(LinearParams p) {
    linear_rows<f16, f16, true>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS)))
linear_rows_bf16_f32_nt(LinearParams p) {
    linear_rows<bf16, float, false>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS)))
linear_rows_bf16_f32_nn(LinearParams p) {
    linear_rows<bf16, float, true>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS)))
linear_rows_f16_f32_nt(LinearParams p) {
    linear_rows<f16, float, false>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS)))
linear_rows_f16_f32_nn(LinearParams p) {
    linear_rows<f16, float, true>(p);
}
