// One fault in each kernel, on the marked lines. faults.cu has the same.

#define KERNEL extern "C" __attribute__((global)) __attribute__((amdgpu_flat_work_group_size(1, 256))) void
#define LDS __attribute__((shared))

__attribute__((device)) static unsigned thread() {
    return __builtin_amdgcn_workitem_id_x();
}

__attribute__((device)) static void barrier() {
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}

KERNEL missing_barrier(unsigned *data, unsigned) {
    LDS static unsigned shared[256];
    shared[thread()] = data[thread()];                        // fault: missing_barrier
    data[thread()] = shared[255 - thread()];                  // fault: missing_barrier
}

KERNEL one_byte_past(unsigned char *data, unsigned bytes) {
    if (thread() == 0) {
        data[bytes] = 1;                                      // fault: one_byte_past
    }
}

KERNEL unwritten_shared(unsigned *data, unsigned) {
    LDS static unsigned shared[256];
    if (thread() < 200) {
        shared[thread()] = data[thread()];
    }
    barrier();
    data[thread()] = shared[thread()] + 1;                    // fault: unwritten_shared
}

KERNEL unwritten_register(unsigned *data, unsigned) {
    unsigned *at = data + thread();
    asm volatile("global_store_dword %0, v99, off" ::"v"(at) : "memory", "v99");  // fault: unwritten_register
}

KERNEL divergent_shuffle(unsigned *data, unsigned) {
    // Volatile: every lane loads.
    unsigned lane = thread() % 64, value = *(volatile unsigned *)(data + thread());
    if (lane < 16) {
        data[thread()] = __builtin_amdgcn_ds_bpermute(4 * (lane + 16), value);  // fault: divergent_shuffle
    }
}

KERNEL two_blocks(unsigned *data, unsigned) {
    if (thread() == 0) {
        data[0] = __builtin_amdgcn_workgroup_id_x();          // fault: two_blocks
    }
}

KERNEL correct(unsigned *data, unsigned) {
    LDS static unsigned shared[256];
    shared[thread()] = data[thread()];                        // fault: correct
    barrier();
    data[thread()] = shared[255 - thread()];                  // fault: correct
}
