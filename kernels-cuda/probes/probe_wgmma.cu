// A product of matrices by one warp group: out[64, N] = A[64, 64] B[64, N]. Contract: ProbeProductParams.
//
// The entries are probe_wgmma_{bf16,f16}_n{N}_{A}_{B}: how a matrix lies in global and in shared memory, k
// (K-major) or mn (MN-major), or, of A, r: in registers, which ldmatrix fills from the K-major tile.
//
// Mapping: a block of one warp group. Tiles come as boxes with the 128B swizzle, 64 elements to a row.
//
// Budget: 128 threads; 40968 B shared; 0 B spilled; registers: 154 sm_90a.
// Keeps: HGMMA, UTMALDG; in PTX: wgmma.mma_async, cp.async.bulk.tensor.
// Bound: none that matters; a launch is one block.

#include "../ptx_sm90.cuh"
#include "../ptx_wgmma.cuh"

constexpr uint32_t M = PROBE_PRODUCT_ROWS;
constexpr uint32_t K = PROBE_PRODUCT_K;
constexpr uint32_t MAX_N = 256;
constexpr uint32_t STEPS = K / 16;
constexpr uint32_t ROW_BYTES = 128;
// From one product's k to the next, in 16 bytes: along a row, or 16 rows.
constexpr uint32_t K_STEP = 32 / 16;
constexpr uint32_t MN_STEP = 16 * ROW_BYTES / 16;
// A box of 64 k of MN-major rows.
constexpr uint32_t BOX_BYTES = K * ROW_BYTES;

enum class Lies { K, MN, REGISTERS };

template <typename T, uint32_t N, Lies A, Lies B>
__device__ inline void multiply(const ProbeProductParams &p) {
    __shared__ __align__(1024) uint8_t a_tile[M * ROW_BYTES];
    __shared__ __align__(1024) uint8_t b_tile[MAX_N * ROW_BYTES];
    __shared__ uint64_t full;
    uint32_t a_at = shared_address(a_tile), b_at = shared_address(b_tile);
    uint32_t barrier = shared_address(&full);
    if (threadIdx.x == 0) {
        mbarrier_init(barrier, 1);
        fence_mbarrier_init();
        mbarrier_arrive_expect_tx(barrier, (M + N) * ROW_BYTES);
        copy_tile(a_at, p.a_map, 0, 0, barrier);
        for (uint32_t n = 0; n < (B == Lies::MN ? N : 1); n += 64) {
            copy_tile(b_at + n / 64 * BOX_BYTES, p.b_map, n, 0, barrier);
        }
    }
    __syncthreads();
    mbarrier_wait_parity(barrier, 0);

    uint32_t warp = threadIdx.x / WARP_THREADS, lane = threadIdx.x % WARP_THREADS;
    uint32_t words[STEPS][4];
    if constexpr (A == Lies::REGISTERS) {
        uint32_t row = 16 * warp + lane % 16;
#pragma unroll
        for (uint32_t step = 0; step < STEPS; ++step) {
            ldmatrix_x4(words[step], a_at + row * ROW_BYTES + ((2 * step + lane / 16) ^ (row % 8)) * 16);
        }
    }
    float sums[N / 2];
    uint64_t a = matrix_descriptor(a_at, 0);
    uint64_t b = matrix_descriptor(b_at, B == Lies::MN ? BOX_BYTES : 0);
    wgmma_fence();
#pragma unroll
    for (uint32_t step = 0; step < STEPS; ++step) {
        uint64_t b_step = b + step * (B == Lies::MN ? MN_STEP : K_STEP);
        if constexpr (A == Lies::REGISTERS) {
            WgmmaRegisters<T, N>::template run<B == Lies::MN>(sums, words[step], b_step, step != 0);
        } else {
            Wgmma<T, N>::template run<A == Lies::MN, B == Lies::MN>(
                sums, a + step * (A == Lies::MN ? MN_STEP : K_STEP), b_step, step != 0);
        }
    }
    wgmma_commit_group();
    wgmma_wait_group<0>();
#pragma unroll
    for (uint32_t i = 0; i < N / 2; ++i) {
        uint32_t row = 16 * warp + lane / 4 + 8 * (i / 2 % 2);
        uint32_t column = 8 * (i / 4) + 2 * (lane % 4) + i % 2;
        p.out[row * N + column] = sums[i];
    }
}

#define PROBE(NAME, T, N, A, B)                                            \
    extern "C" __global__ void __launch_bounds__(PROBE_PRODUCT_THREADS)    \
        probe_wgmma_##NAME(const __grid_constant__ ProbeProductParams p) { \
        multiply<T, N, Lies::A, Lies::B>(p);                               \
    }

PROBE(bf16_n8_k_k, bf16, 8, K, K)
PROBE(bf16_n64_k_k, bf16, 64, K, K)
PROBE(bf16_n256_k_k, bf16, 256, K, K)
PROBE(bf16_n256_k_mn, bf16, 256, K, MN)
PROBE(bf16_n128_mn_mn, bf16, 128, MN, MN)
PROBE(bf16_n64_mn_k, bf16, 64, MN, K)
PROBE(bf16_n64_r_k, bf16, 64, REGISTERS, K)
PROBE(bf16_n128_r_mn, bf16, 128, REGISTERS, MN)
PROBE(f16_n64_k_k, f16, 64, K, K)
PROBE(f16_n128_mn_mn, f16, 128, MN, MN)
PROBE(f16_n64_r_mn, f16, 64, REGISTERS, MN)
