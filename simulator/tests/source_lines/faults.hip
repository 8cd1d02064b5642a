// One fault each, on the marked lines; helper.hip.h has one of its own.

#include "helper.hip.h"

#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))

extern "C" __global__ void off_by_one(int *data) {
    int i = __builtin_amdgcn_workitem_id_x();
    int value = 3 * i;
    if (i <= 63)
        data[i + 1] = value;                                  // fault: off_by_one
}

extern "C" __global__ void uninitialised_lds(int *data) {
    __shared__ int shared[64];
    int i = __builtin_amdgcn_workitem_id_x();
    if (i < 50) shared[i] = 1;
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
    int value = shared[i];
    data[i] = value + 1;                                      // fault: uninitialised_lds
}

extern "C" __global__ void in_a_header(int *data) {
    store(data, __builtin_amdgcn_workitem_id_x());
}
