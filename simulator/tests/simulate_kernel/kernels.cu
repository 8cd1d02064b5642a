#define KERNEL extern "C" __global__ void
#define THREAD threadIdx.x
#define THREADS blockDim.x
#define BLOCK blockIdx.x
#define NEXT(count) atomicAdd(count, 1)

#include "kernels.h"
