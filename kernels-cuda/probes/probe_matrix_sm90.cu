// stmatrix: probe_each.cuh. A lane's words are those of the four matrices, its results the row of 16
// bytes whose address it gave.
//
// Budget: 256 threads; 4096 B shared; 0 B spilled; registers: 18 sm_90a.
// Keeps: STG.E, STSM.16.M88.4; in PTX: stmatrix.
// Bound: none that matters; a launch does a few thousand elements.

#include "../ptx_sm90.cuh"
#include "probe_each.cuh"

extern "C" __global__ void __launch_bounds__(PROBE_THREADS)
    probe_stmatrix(const __grid_constant__ ProbeParams p) {
    __shared__ uint4 rows[PROBE_THREADS];
    each<4, 4>(p, [](const uint32_t *in, uint32_t *out) {
        uint32_t words[4] = {in[0], in[1], in[2], in[3]};
        stmatrix_x4(shared_address(&rows[threadIdx.x]), words);
        __syncwarp();
        uint4 row = rows[threadIdx.x];
        out[0] = row.x;
        out[1] = row.y;
        out[2] = row.z;
        out[3] = row.w;
    });
}
