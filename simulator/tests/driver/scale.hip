// Multiplies `count` floats by a factor; the workgroup has 256 threads at most.

extern "C" __attribute__((global)) __attribute__((amdgpu_flat_work_group_size(1, 256))) void
scale(float *data, float factor, unsigned count) {
    unsigned index = __builtin_amdgcn_workgroup_id_x() * 256 + __builtin_amdgcn_workitem_id_x();
    if (index < count) {
        data[index] *= factor;
    }
}
