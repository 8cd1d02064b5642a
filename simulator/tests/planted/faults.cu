// One fault in each kernel, on the marked lines. faults.hip has the same.

extern "C" __global__ void missing_barrier(unsigned *data, unsigned) {
    __shared__ unsigned shared[256];
    shared[threadIdx.x] = data[threadIdx.x];                  // fault: missing_barrier
    data[threadIdx.x] = shared[255 - threadIdx.x];            // fault: missing_barrier
}

extern "C" __global__ void one_byte_past(unsigned char *data, unsigned bytes) {
    if (threadIdx.x == 0) {
        data[bytes] = 1;                                      // fault: one_byte_past
    }
}

extern "C" __global__ void unwritten_shared(unsigned *data, unsigned) {
    __shared__ unsigned shared[256];
    if (threadIdx.x < 200) {
        shared[threadIdx.x] = data[threadIdx.x];
    }
    __syncthreads();
    data[threadIdx.x] = shared[threadIdx.x] + 1;              // fault: unwritten_shared
}

extern "C" __global__ void unwritten_register(unsigned *data, unsigned) {
    unsigned *at = data + threadIdx.x;
    asm volatile("{ .reg .u32 never; st.global.u32 [%0], never; }" ::"l"(at) : "memory");  // fault: unwritten_register
}

extern "C" __global__ void divergent_shuffle(unsigned *data, unsigned) {
    // Volatile: every lane loads.
    unsigned lane = threadIdx.x % 32, value = *(volatile unsigned *)(data + threadIdx.x);
    if (lane < 16) {
        data[threadIdx.x] = __shfl_sync(0xFFFF, value, lane + 16);  // fault: divergent_shuffle
    }
}

extern "C" __global__ void two_blocks(unsigned *data, unsigned) {
    if (threadIdx.x == 0) {
        data[0] = blockIdx.x;                                 // fault: two_blocks
    }
}

extern "C" __global__ void correct(unsigned *data, unsigned) {
    __shared__ unsigned shared[256];
    shared[threadIdx.x] = data[threadIdx.x];                  // fault: correct
    __syncthreads();
    data[threadIdx.x] = shared[255 - threadIdx.x];            // fault: correct
}
