// One fault each, on the marked lines.

extern "C" __global__ void barrier_removed(int *data) {
    __shared__ int shared[128];
    shared[threadIdx.x] = data[threadIdx.x];                  // fault: barrier_removed
    data[threadIdx.x] = shared[127 - threadIdx.x];            // fault: barrier_removed
}

extern "C" __global__ void barrier_misplaced(int *data) {
    __shared__ int shared[128];
    shared[threadIdx.x] = data[threadIdx.x];
    __syncthreads();
    for (int stride = 64; stride > 0; stride >>= 1) {
        if (threadIdx.x < stride)
            shared[threadIdx.x] += shared[threadIdx.x + stride];  // fault: barrier_misplaced
    }
    if (threadIdx.x == 0) data[0] = shared[0];
}

extern "C" __global__ void blocks_share_a_cell(int *data) {
    if (threadIdx.x == 0) data[0] = blockIdx.x;               // fault: blocks_share_a_cell
}

extern "C" __global__ void off_by_one(int *data, int n) {
    int i = threadIdx.x;
    if (i <= n)
        data[i] = i;                                          // fault: off_by_one
}

extern "C" __global__ void shared_overrun(int *data) {
    extern __shared__ int buffer[];
    buffer[threadIdx.x + 1] = 1;                              // fault: shared_overrun
    __syncthreads();
    data[threadIdx.x] = buffer[threadIdx.x + 1];
}

extern "C" __global__ void uninitialised_shared(int *data) {
    __shared__ int shared[128];
    if (threadIdx.x < 100) shared[threadIdx.x] = 1;
    __syncthreads();
    int value = shared[threadIdx.x];
    data[threadIdx.x] = value + 1;                            // fault: uninitialised_shared
}

extern "C" __global__ void barrier_in_divergence(int *data) {
    if (threadIdx.x < 16) {
        data[threadIdx.x] = 1;
        __syncthreads();                                      // fault: barrier_in_divergence
    } else {
        data[threadIdx.x] = 2;
    }
    __syncthreads();                                          // fault: barrier_in_divergence
    data[threadIdx.x] += data[31 - threadIdx.x + 32];
}

extern "C" __global__ void misaligned_vector(const float *data, float4 *out) {
    out[0] = *reinterpret_cast<const float4 *>(data + 1);     // fault: misaligned_vector
}

extern "C" __global__ void different_barriers(int *data) {
    if (threadIdx.x < 32)
        asm volatile("bar.sync 1, 64;" ::: "memory");         // fault: different_barriers
    else
        asm volatile("bar.sync 2, 64;" ::: "memory");         // fault: different_barriers
    data[threadIdx.x] = 1;
}
