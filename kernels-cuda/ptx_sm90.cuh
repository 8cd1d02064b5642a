// Instructions of sm_90a: barriers in shared memory, copies of tensor tiles, registers of warp
// groups. One function per instruction, with its section of NVIDIA's "PTX ISA", version 9.0.
// Addresses of shared memory are 32-bit and of the block's own window, unless a comment says otherwise.

#pragma once

#include "kernels.h"
#include "ptx_mma.cuh"

// 9.7.13.15.9 mbarrier.init: a barrier that `count` arrivals complete.
__device__ inline void mbarrier_init(uint32_t barrier, uint32_t count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}

// 9.7.13.4 fence.mbarrier_init: initialised barriers are seen by the cluster and by copies.
__device__ inline void fence_mbarrier_init() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// 9.7.13.15.13 mbarrier.arrive
__device__ inline void mbarrier_arrive(uint32_t barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// 9.7.13.15.13 mbarrier.arrive at the barrier at the same place of a block of the cluster (9.7.9.24
// mapa). Of the scope of the block: what wgmma has read needs no more, and a release to the cluster
// would wait for all of the thread's stores.
__device__ inline void mbarrier_arrive_cluster(uint32_t barrier, uint32_t block) {
    asm volatile(
        "{\n"
        ".reg .b32 remote;\n"
        "mapa.shared::cluster.u32 remote, %0, %1;\n"
        "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
        "}" ::"r"(barrier),
        "r"(block)
        : "memory");
}

// 9.7.13.15.13 mbarrier.arrive.expect_tx: arrives, and the phase waits for so many bytes more.
__device__ inline void mbarrier_arrive_expect_tx(uint32_t barrier, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
                 : "memory");
}

// 9.7.13.15.16 mbarrier.try_wait, until the phase of that parity is complete.
__device__ inline void mbarrier_wait_parity(uint32_t barrier, uint32_t parity) {
    uint32_t complete;
    do {
        asm volatile(
            "{\n"
            ".reg .pred complete;\n"
            "mbarrier.try_wait.parity.shared::cta.b64 complete, [%1], %2;\n"
            "selp.u32 %0, 1, 0, complete;\n"
            "}"
            : "=r"(complete)
            : "r"(barrier), "r"(parity)
            : "memory");
    } while (complete == 0);
}

// 9.7.9.27.1.2 cp.async.bulk.tensor: the box at column x and row y of a tensor of two dimensions. What
// lies outside of the tensor is 0. The barrier gets the bytes of the whole box.
__device__ inline void copy_tile(uint32_t to, const TensorMap &map, uint32_t x, uint32_t y,
                                 uint32_t barrier) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
        " [%0], [%1, {%2, %3}], [%4];" ::"r"(to),
        "l"(&map), "r"(x), "r"(y), "r"(barrier)
        : "memory");
}

// The same of a tensor of three dimensions: the box lies in its plane z.
__device__ inline void copy_tile_3d(uint32_t to, const TensorMap &map, uint32_t x, uint32_t y,
                                    uint32_t z, uint32_t barrier) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
        " [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(to),
        "l"(&map), "r"(x), "r"(y), "r"(z), "r"(barrier)
        : "memory");
}

// The same to the same place of every block of the cluster whose bit is set, at its own barrier.
__device__ inline void copy_tile_multicast(uint32_t to, const TensorMap &map, uint32_t x,
                                           uint32_t y, uint32_t barrier, uint16_t blocks) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
        ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
        "l"(&map), "r"(x), "r"(y), "r"(barrier), "h"(blocks)
        : "memory");
}

// 9.7.9.27.1.2 cp.async.bulk.tensor: a box to a tensor. What lies outside of the tensor is left out.
__device__ inline void store_tile(const TensorMap &map, uint32_t x, uint32_t y, uint32_t from) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%1, %2}], [%3];" ::
                     "l"(&map),
                 "r"(x), "r"(y), "r"(from)
                 : "memory");
}

// 9.7.9.25.3.1 cp.async.bulk.commit_group
__device__ inline void bulk_commit_group() {
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

// 9.7.9.25.3.2 cp.async.bulk.wait_group: all but the latest GROUPS have read what they copy.
template <uint32_t GROUPS>
__device__ inline void bulk_wait_group_read() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(GROUPS) : "memory");
}

// 9.7.13.4 fence.proxy.async: copies and matrix instructions see what the thread wrote to shared memory.
__device__ inline void fence_proxy_async() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// 9.7.9.28.1 prefetch.tensormap
__device__ inline void prefetch_tensor_map(const TensorMap &map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// 9.7.13.1 bar.sync: the barrier of that number, for so many threads.
__device__ inline void named_barrier(uint32_t number, uint32_t threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

// 9.7.13.3 barrier.cluster: all threads of the cluster.
__device__ inline void cluster_barrier() {
    asm volatile(
        "barrier.cluster.arrive.release.aligned;\n"
        "barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// 10 %cluster_ctarank
__device__ inline uint32_t cluster_block() {
    uint32_t block;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(block));
    return block;
}

// 10 %cluster_nctarank
__device__ inline uint32_t cluster_blocks() {
    uint32_t blocks;
    asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(blocks));
    return blocks;
}

// 9.7.20.5 setmaxnreg: all warps of a warp group give registers back, or take them.
template <uint32_t REGISTERS>
__device__ inline void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

template <uint32_t REGISTERS>
__device__ inline void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

// 9.7.14.5.16 stmatrix: the reverse of ldmatrix_x4.
__device__ inline void stmatrix_x4(uint32_t row, const uint32_t (&words)[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row),
                 "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3])
                 : "memory");
}

// 9.7.13.19 elect.sync: true in one lane of the warp.
__device__ inline bool elect_one() {
    uint32_t elected;
    asm volatile(
        "{\n"
        ".reg .pred elected;\n"
        "elect.sync _|elected, 0xffffffff;\n"
        "selp.u32 %0, 1, 0, elected;\n"
        "}"
        : "=r"(elected));
    return elected != 0;
}
