// The rate at which memory can be read: what no kernel that waits for memory can pass.
//
// output[thread] = the XOR of the words that the thread read, for every thread of the grid; count
// is of 16-byte vectors. So every bit read counts, and what is written is one word a thread.
//
// Mapping: thread i of n takes the vectors i, i + n, i + 2n, ...; eight of them are in flight, 32 KiB
// a workgroup.
//
// Budget: 256 threads; 0 B LDS; 0 B scratch; registers: 46 gfx90a, 42 gfx942, 42 gfx950.
// Keeps: global_load_dwordx4.
// Bound: memory, 16 bytes and 4 logical operations a vector.

#include "../common.hip.h"
#include "../kernels.h"

constexpr uint32_t IN_FLIGHT = 8;

extern "C" __global__
    __attribute__((amdgpu_flat_work_group_size(PROBE_THREADS, PROBE_THREADS))) void
    probe_read_stream(const ProbeParams p) {
    uint64_t threads = uint64_t(workgroup_count_x()) * PROBE_THREADS;
    uint64_t thread = uint64_t(workgroup_id_x()) * PROBE_THREADS + workitem_id_x();
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
