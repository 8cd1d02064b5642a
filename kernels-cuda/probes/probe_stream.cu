// The rate at which memory can be read: what no kernel that waits for memory can pass.
//
// output[thread] = the XOR of the words that the thread read, for every thread of the grid; count
// is of 16-byte vectors. So every bit read counts, and what is written is one word a thread.
//
// Mapping: thread i of n takes the vectors i, i + n, i + 2n, ...; eight of them are in flight, 32 KiB
// a block.
//
// Budget: 256 threads; 0 B shared; 0 B spilled; registers: 32 sm_80, 40 sm_89, 32 sm_90a.
// Keeps: LDG.E.128; in PTX: ld.global.v4.
// Bound: memory, 16 bytes and 4 logical operations a vector.

#include "../common.cuh"
#include "../kernels.h"

constexpr uint32_t IN_FLIGHT = 8;

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_read_stream(const __grid_constant__ ProbeParams p) {
    uint64_t threads = uint64_t(gridDim.x) * PROBE_THREADS;
    uint64_t thread = uint64_t(blockIdx.x) * PROBE_THREADS + threadIdx.x;
    uint32_t fold = 0;
    auto take = [&](const Packed<float, 4> &vector) {
        fold ^= vector.words[0] ^ vector.words[1] ^ vector.words[2] ^ vector.words[3];
    };
    uint64_t vector = thread;
    for (; vector + (IN_FLIGHT - 1) * threads < p.count; vector += IN_FLIGHT * threads) {
        Packed<float, 4> vectors[IN_FLIGHT];
#pragma unroll
        for (uint32_t i = 0; i < IN_FLIGHT; ++i) {
            vectors[i] = load<float, 4>(p.input, 4 * (vector + i * threads));
        }
#pragma unroll
        for (uint32_t i = 0; i < IN_FLIGHT; ++i) {
            take(vectors[i]);
        }
    }
    for (; vector < p.count; vector += threads) {
        take(load<float, 4>(p.input, 4 * vector));
    }
    p.output[thread] = fold;
}
