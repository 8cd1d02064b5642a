#define KERNEL extern "C" __attribute__((global)) void
#define THREAD __builtin_amdgcn_workitem_id_x()
#define THREADS __builtin_amdgcn_workgroup_size_x()
#define BLOCK __builtin_amdgcn_workgroup_id_x()
#define NEXT(count) __hip_atomic_fetch_add(count, 1, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT)

#include "kernels.h"
