//! How many blocks a multiprocessor holds.
//!
//! Granules are the architecture's. The registers of a PTX kernel are the engine's estimate, not those
//! of ptxas.

use super::architecture::{Architecture, Limits, THREADS_PER_BLOCK};
use super::error::{Code, refuse};
use super::ffi::{Out, call};
use super::table::Handle;
use crate::engine::Kernel;

/// The blocks of a kernel that a multiprocessor holds at a time.
pub(crate) fn blocks(card: &Architecture, kernel: &Kernel, threads: u32, dynamic: u32) -> u32 {
    if threads == 0 || threads > kernel.max_threads.min(THREADS_PER_BLOCK) {
        return 0;
    }
    let Limits { warp_threads, register_granule, shared_granule, .. } = card.limits;
    let warps = threads.div_ceil(warp_threads);
    let by_warps = card.threads_per_multiprocessor as u32 / warp_threads / warps;
    let registers = kernel.registers.max(1) * warp_threads;
    let registers = registers.next_multiple_of(register_granule) * warps;
    let by_registers = card.limits.registers_per_multiprocessor / registers;
    let asked = kernel.static_shared_bytes.saturating_add(dynamic);
    if asked > card.shared_bytes_per_block() as u32 {
        return 0;
    }
    let shared = asked + card.limits.reserved_shared_bytes as u32;
    let shared = shared.next_multiple_of(shared_granule).max(1);
    let by_shared = card.shared_bytes_per_multiprocessor as u32 / shared;
    by_warps.min(by_registers).min(by_shared).min(card.blocks_per_multiprocessor as u32)
}

fn active_blocks(
    symbol: &'static str,
    count: Out<i32>,
    function: Handle,
    threads: i32,
    dynamic: usize,
) -> u32 {
    call(symbol, |driver| {
        let context = driver.current()?;
        let (_, kernel) = driver.kernel(function, context)?;
        let card = driver.devices[driver.device_of(context)?].architecture;
        if threads <= 0 {
            return refuse(Code::INVALID_VALUE, format!("{threads} threads"));
        }
        let dynamic = u32::try_from(dynamic).unwrap_or(u32::MAX);
        count.set(blocks(card, &kernel, threads as u32, dynamic) as i32)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    count: Out<i32>,
    function: Handle,
    threads: i32,
    dynamic: usize,
) -> u32 {
    active_blocks("cuOccupancyMaxActiveBlocksPerMultiprocessor", count, function, threads, dynamic)
}

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    count: Out<i32>,
    function: Handle,
    threads: i32,
    dynamic: usize,
    _flags: u32,
) -> u32 {
    let symbol = "cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags";
    active_blocks(symbol, count, function, threads, dynamic)
}

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyAvailableDynamicSMemPerBlock(
    bytes: Out<usize>,
    function: Handle,
    count: i32,
    _threads: i32,
) -> u32 {
    call("cuOccupancyAvailableDynamicSMemPerBlock", |driver| {
        let context = driver.current()?;
        let (_, kernel) = driver.kernel(function, context)?;
        let card = driver.devices[driver.device_of(context)?].architecture;
        if count <= 0 || count > card.blocks_per_multiprocessor {
            return refuse(Code::INVALID_VALUE, format!("{count} blocks"));
        }
        let granule = card.limits.shared_granule as i32;
        let share = card.shared_bytes_per_multiprocessor / count / granule * granule;
        let most = share - card.limits.reserved_shared_bytes;
        bytes.set((most - kernel.static_shared_bytes as i32).max(0) as usize)
    })
}

/// The function that says how much dynamic shared memory a block of so many threads needs.
type SharedForThreads = Option<unsafe extern "C" fn(i32) -> usize>;

fn potential_block_size(
    symbol: &'static str,
    grid: Out<i32>,
    block: Out<i32>,
    function: Handle,
    dynamic: &dyn Fn(u32) -> u32,
    limit: i32,
) -> u32 {
    call(symbol, |driver| {
        let context = driver.current()?;
        let (_, kernel) = driver.kernel(function, context)?;
        let card = driver.devices[driver.device_of(context)?].architecture;
        let most = kernel.max_threads.min(THREADS_PER_BLOCK);
        let most = if limit > 0 { most.min(limit as u32) } else { most };
        let warp = card.limits.warp_threads;
        let mut best = (0, 0, 0);
        for threads in (1..=most / warp).map(|warps| warps * warp).rev() {
            let count = blocks(card, &kernel, threads, dynamic(threads));
            if count * threads > best.0 {
                best = (count * threads, threads, count);
            }
        }
        block.set(best.1 as i32)?;
        grid.set(best.2 as i32 * card.multiprocessors)
    })
}

fn shared_for(threads: u32, function: SharedForThreads, fixed: usize) -> u32 {
    let bytes = match function {
        // SAFETY: the caller passed the function to be called with a number of threads.
        Some(function) => unsafe { function(threads as i32) },
        None => fixed,
    };
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxPotentialBlockSize(
    grid: Out<i32>,
    block: Out<i32>,
    function: Handle,
    shared: SharedForThreads,
    dynamic: usize,
    limit: i32,
) -> u32 {
    let dynamic = |threads| shared_for(threads, shared, dynamic);
    potential_block_size("cuOccupancyMaxPotentialBlockSize", grid, block, function, &dynamic, limit)
}

#[unsafe(no_mangle)]
extern "C" fn cuOccupancyMaxPotentialBlockSizeWithFlags(
    grid: Out<i32>,
    block: Out<i32>,
    function: Handle,
    shared: SharedForThreads,
    dynamic: usize,
    limit: i32,
    _flags: u32,
) -> u32 {
    let dynamic = |threads| shared_for(threads, shared, dynamic);
    let symbol = "cuOccupancyMaxPotentialBlockSizeWithFlags";
    potential_block_size(symbol, grid, block, function, &dynamic, limit)
}
