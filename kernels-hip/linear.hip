// A dense layer. Reference: reference/linear.rs. Contract: LinearParams.
//
// Math, in f32, for every token t and output feature n:
//   out[t, n] = clamp(sum over k of x[t, k] * weight[n, k]) + residual[t, n]
// rounded once. nt: the weight lies as [out_features, in_features]; nn: as [in_features, out_features].
//
// Mapping: a workgroup of 8 waves computes a tile of 256 tokens by 256 features, 64 of k at a time. All of
// LDS is one stage; the next is on its way to registers while the products of this one run.
//
//   LDS      x [256, 64], weight [256, 64]: rows of 128 bytes, whose 16-byte pieces are swapped by the row
//   wave w   tokens 128 (w / 4) .. + 128, features 64 (w % 4) .. + 64: 8 by 4 products of 16x16x16
//   lane     128 sums
//
// A piece of 8 k that a lane reads serves two products: the first takes the first 4 of the pieces of 32 k, the
// second the others. So k ascends in steps of 32, each in two parts; every path of gfx90a and later does so,
// and a row's bits do not depend on others.
//
// nn: a thread reads 4 k of 8 features and turns them in registers, one v_perm_b32 for two elements, so that
// LDS holds the same either way and no copy of the weight is needed.
//
// Budget: 512 threads; 65536 B LDS; 0 B scratch; registers: 256 gfx90a, 256 gfx942, 256 gfx950.
// Keeps: global_load_dwordx4, ds_read_b128, v_mfma_f32_16x16x16*.
// Products: v_mfma_f32_16x16x16*; 128 a loop, 5 a ds_read; 1 workgroup a compute unit.
// Bound: arithmetic, from about 250 tokens (MI300X) or 120 (MI210). A step of 64 k reads 64 KiB and has
// 2 * 256 * 256 * 64 operations.

#include "linear_multiply.hip.h"

#define EXPERTILE_DEVICE __device__
#include "linear_tiles.h"

template <typename T, typename Out, bool NN>
__device__ inline void linear(const LinearParams &p) {
    __shared__ Stage<> stage;
    LinearTiles tiles =
        expertile_linear_tiles(p.tokens, p.out_features, TILE, TILE, p.panel);
    LinearTile tile = expertile_linear_tile(tiles, tile_of(p.xcds, tiles.count));
    uint32_t token = tile.row * TILE, feature = tile.column * TILE;
    uint32_t wave = workitem_id_x() / WAVE_THREADS, lane = workitem_id_x() % WAVE_THREADS;
    uint32_t wave_token = wave / 4 * WAVE_TOKENS, wave_feature = wave % 4 * WAVE_FEATURES;

    Straight<TILE, TILE_K, THREADS> x;
    typename Weight<NN, TILE, TILE_K, THREADS>::Part weight;
    auto fetch = [&](uint32_t k) {
        x.load(p.x, p.x_stride, token, p.tokens, k, p.in_features);
        weight.load(p.weight, p.weight_stride, feature, p.out_features, k, p.in_features);
    };
    Sums sums[ROWS][COLUMNS] = {};
    fetch(0);
    for (uint32_t k = 0; k < p.in_features; k += TILE_K) {
        x.store(stage.x);
        weight.store(stage.weight);
        workgroup_barrier();
        if (k + TILE_K < p.in_features) {
            fetch(k + TILE_K);
        }
        set_priority<1>();
        multiply<T>(stage, wave_token, wave_feature, sums);
        set_priority<0>();
        workgroup_barrier();
    }
#pragma unroll
    for (uint32_t i = 0; i < ROWS; ++i) {
#pragma unroll
        for (uint32_t j = 0; j < COLUMNS; ++j) {
            finish<Out>(p, token + wave_token + i * 16 + lane % 16,
                        feature + wave_feature + j * 16 + lane / 16 * 4, sums[i][j]);
        }
    }
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS),
                                          amdgpu_waves_per_eu(2, 2)))
linear_bf16_nt(LinearParams p) {
    linear<bf16, bf16, false>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS),
                                          amdgpu_waves_per_eu(2, 2)))
linear_bf16_nn(LinearParams p) {
    linear<bf16, bf16, true>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS),
                                          amdgpu_waves_per_eu(2, 2)))
linear_f16_nt(LinearParams p) {
    linear<f16, f16, false>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS),
                                          amdgpu_waves_per_eu(2, 2)))
linear_f16_nn(LinearParams p) {
    linear<f16, f16, true>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS),
                                          amdgpu_waves_per_eu(2, 2)))
linear_bf16_f32_nt(LinearParams p) {
    linear<bf16, float, false>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS),
                                          amdgpu_waves_per_eu(2, 2)))
linear_bf16_f32_nn(LinearParams p) {
    linear<bf16, float, true>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS),
                                          amdgpu_waves_per_eu(2, 2)))
linear_f16_f32_nt(LinearParams p) {
    linear<f16, float, false>(p);
}

extern "C" __global__ void __attribute__((amdgpu_flat_work_group_size(THREADS, THREADS),
                                          amdgpu_waves_per_eu(2, 2)))
linear_f16_f32_nn(LinearParams p) {
    linear<f16, float, true>(p);
}
