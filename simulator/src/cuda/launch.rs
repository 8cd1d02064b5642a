//! Launches: what the driver checks before it queues one.

use std::sync::Arc;

use super::architecture::THREADS_PER_BLOCK;
use super::driver::{Driver, Platform};
use super::error::{Code, Result, refuse};
use super::ffi::{In, array, call, platform};
use super::queue::Work;
use super::table::Handle;
use crate::engine::{Kernel, MOST_BLOCKS};
use crate::program::Program;

/// A launch with all that it needs, taken at the call.
pub(crate) struct KernelLaunch {
    /// Of the stream that it was launched or captured in; a graph may run in another's.
    pub(crate) context: Handle,
    pub(crate) program: Arc<Program>,
    pub(crate) kernel: String,
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) dynamic_shared_bytes: u32,
    pub(crate) cluster: Option<[u32; 3]>,
    pub(crate) parameters: Vec<u8>,
}

/// The geometry that a caller asks for.
struct Geometry {
    grid: [u32; 3],
    block: [u32; 3],
    dynamic_shared_bytes: u32,
    /// Blocks of a cluster, if the launch says.
    cluster: Option<[u32; 3]>,
}

/// `CUlaunchConfig`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LaunchConfiguration {
    grid: [u32; 3],
    block: [u32; 3],
    dynamic_shared_bytes: u32,
    stream: Handle,
    attributes: usize,
    attribute_count: u32,
}

/// `CUlaunchAttribute`: the value is a union of 64 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
struct LaunchAttribute {
    id: u32,
    padding: u32,
    value: [u32; 16],
}

const _: () = assert!(size_of::<LaunchConfiguration>() == 56);
const _: () = assert!(size_of::<LaunchAttribute>() == 72);

/// Marks in the `extra` list: end in CUDA, end in HIP, parameter buffer, its size.
const EXTRA_END_CUDA: usize = 0;
const EXTRA_END_HIP: usize = 3;
const EXTRA_POINTER: usize = 1;
const EXTRA_SIZE: usize = 2;

impl Driver {
    fn launch(
        &mut self,
        function: Handle,
        geometry: &Geometry,
        stream: Handle,
        values: &In<usize>,
        extra: &In<usize>,
    ) -> Result<()> {
        let stream = self.stream(stream)?;
        let context = self.streams.get(stream)?.context;
        let module = self.module_for(function, context)?;
        if self.modules.get(module)?.context != context {
            return refuse(Code::INVALID_HANDLE, "function and stream are of different contexts");
        }
        if self.platform == Platform::Hip && self.current()? != context {
            return refuse(Code::INVALID_HANDLE, "the stream is not of the current device");
        }
        let (program, kernel) = self.kernel(function, context)?;
        self.check_geometry(function, context, &kernel, geometry)?;
        let parameters = parameters(&kernel, values, extra)?;
        let launch = KernelLaunch {
            context,
            program,
            kernel: kernel.name,
            grid: geometry.grid,
            block: geometry.block,
            dynamic_shared_bytes: geometry.dynamic_shared_bytes,
            cluster: geometry.cluster,
            parameters,
        };
        self.enqueue(stream, Work::Kernel(launch))
    }

    fn check_geometry(
        &self,
        function: Handle,
        context: Handle,
        kernel: &Kernel,
        geometry: &Geometry,
    ) -> Result<()> {
        let Geometry { grid, block, dynamic_shared_bytes, cluster } = *geometry;
        let name = &kernel.name;
        let device = self.device_of(context)?;
        let card = self.devices[device].architecture;
        let (extents_code, bounds_code) = match self.platform {
            Platform::Cuda => (Code::INVALID_VALUE, Code::INVALID_VALUE),
            Platform::Hip => (Code::INVALID_CONFIGURATION, Code::LAUNCH_FAILED),
        };
        let limits = [("grid", grid, card.limits.grid), ("block", block, card.limits.block)];
        for (what, extents, limits) in limits {
            if extents.iter().zip(limits).any(|(&extent, limit)| extent == 0 || extent > limit) {
                let reason = format!("{name}: {what} {extents:?}, each from 1 to {limits:?}");
                return refuse(extents_code, reason);
            }
        }
        let threads: u32 = block.iter().product();
        if threads > THREADS_PER_BLOCK {
            let reason = format!("{name}: {threads} threads in a block, most {THREADS_PER_BLOCK}");
            return refuse(extents_code, reason);
        }
        if threads > kernel.max_threads {
            let most = kernel.max_threads;
            let reason = format!("{name}: {threads} threads in a block, it is made for {most}");
            return refuse(bounds_code, reason);
        }
        let grid_threads = [0, 1, 2].map(|axis| u64::from(grid[axis]) * u64::from(block[axis]));
        let most = card.limits.grid_threads;
        if grid_threads.iter().any(|&threads| threads > most) {
            let reason = format!("{name}: {grid_threads:?} threads in the grid, each to {most}");
            return refuse(extents_code, reason);
        }
        if let Some(cluster) = cluster.or(kernel.cluster) {
            check_cluster(kernel, cluster, grid, card.major)?;
        }
        let most = self.dynamic_shared_limit(function, device, kernel);
        if i64::from(dynamic_shared_bytes) > i64::from(most) {
            let reason = format!(
                "{name}: {dynamic_shared_bytes} bytes of dynamic shared memory, most {most} \
                 (unless its attribute MAX_DYNAMIC_SHARED_SIZE_BYTES is set)"
            );
            return refuse(Code::INVALID_VALUE, reason);
        }
        let limit = card.parameter_bytes;
        if kernel.parameter_bytes as usize > limit {
            let reason =
                format!("{name}: {} parameter bytes, most {limit}", kernel.parameter_bytes);
            return refuse(Code::INVALID_VALUE, reason);
        }
        Ok(())
    }

    /// Whether all blocks of a launch run at one time.
    fn check_cooperative(
        &mut self,
        function: Handle,
        geometry: &Geometry,
        stream: Handle,
    ) -> Result<()> {
        let stream = self.stream(stream)?;
        let context = self.streams.get(stream)?.context;
        let (_, kernel) = self.kernel(function, context)?;
        self.check_geometry(function, context, &kernel, geometry)?;
        let card = self.devices[self.device_of(context)?].architecture;
        let threads = geometry.block.iter().product();
        let at_once =
            super::occupancy::blocks(card, &kernel, threads, geometry.dynamic_shared_bytes) as u64
                * card.multiprocessors as u64;
        let blocks: u64 = geometry.grid.iter().map(|&extent| u64::from(extent)).product();
        if blocks > at_once {
            let reason = format!("{}: {blocks} blocks, {at_once} at a time", kernel.name);
            return refuse(Code::COOPERATIVE_LAUNCH_TOO_LARGE, reason);
        }
        Ok(())
    }
}

/// Portable sizes only: clusters of more blocks need an attribute of the kernel, and luck.
fn check_cluster(kernel: &Kernel, cluster: [u32; 3], grid: [u32; 3], major: i32) -> Result<()> {
    let name = &kernel.name;
    let refused = |reason: String| refuse(Code::INVALID_CLUSTER_SIZE, format!("{name}: {reason}"));
    if let Some(required) = kernel.cluster.filter(|required| *required != cluster) {
        return refused(format!("clusters of {cluster:?}, it is made for {required:?}"));
    }
    let blocks: u64 = cluster.iter().map(|&size| u64::from(size)).product();
    let divides = |(&size, extent): (&u32, u32)| size != 0 && extent.is_multiple_of(size);
    if !cluster.iter().zip(grid).all(divides) {
        return refused(format!("clusters of {cluster:?}, grid {grid:?}"));
    }
    if blocks > MOST_BLOCKS.into() {
        return refused(format!("clusters of {cluster:?}, at most {MOST_BLOCKS} blocks"));
    }
    if blocks > 1 && major < 9 {
        return refuse(Code::NOT_SUPPORTED, format!("{name}: clusters of {cluster:?}"));
    }
    Ok(())
}

/// The parameter space of a launch, from one address for each parameter, or from a buffer.
fn parameters(kernel: &Kernel, values: &In<usize>, extra: &In<usize>) -> Result<Vec<u8>> {
    let needed = kernel.parameter_bytes as usize;
    let name = &kernel.name;
    if !extra.is_null() {
        if !values.is_null() {
            return refuse(Code::INVALID_VALUE, format!("{name}: parameters are given twice"));
        }
        return parameter_buffer(kernel, extra);
    }
    let mut space = vec![0; needed];
    if needed > 0 && values.is_null() {
        return refuse(
            Code::INVALID_VALUE,
            format!("{name}: {needed} parameter bytes, none given"),
        );
    }
    for (index, layout) in kernel.parameters.iter().enumerate() {
        let bytes = array::<u8>(values.at(index)?).all(layout.bytes as usize)?;
        let start = layout.offset as usize;
        space[start..start + bytes.len()].copy_from_slice(&bytes);
    }
    Ok(space)
}

fn parameter_buffer(kernel: &Kernel, extra: &In<usize>) -> Result<Vec<u8>> {
    let (mut buffer, mut size) = (None, None);
    let end = match platform() {
        Platform::Cuda => EXTRA_END_CUDA,
        Platform::Hip => EXTRA_END_HIP,
    };
    for index in (0..).step_by(2).take(3) {
        match extra.at(index)? {
            mark if mark == end => break,
            EXTRA_POINTER => buffer = Some(extra.at(index + 1)?),
            EXTRA_SIZE => size = Some(array::<usize>(extra.at(index + 1)?).get()?),
            mark => return refuse(Code::INVALID_VALUE, format!("mark {mark} in `extra`")),
        }
    }
    let (Some(buffer), Some(size)) = (buffer, size) else {
        return refuse(Code::INVALID_VALUE, "`extra` lacks the parameter buffer or its size");
    };
    let needed = kernel.parameter_bytes as usize;
    // Callers may pad the end of the buffer to its alignment, and no further.
    if size < needed || size > needed.next_multiple_of(16) {
        let reason = format!("{}: a buffer of {size} bytes, {needed} are needed", kernel.name);
        return refuse(Code::INVALID_VALUE, reason);
    }
    array::<u8>(buffer).all(needed)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuLaunchKernel(
    function: Handle,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    dynamic_shared_bytes: u32,
    stream: Handle,
    values: In<usize>,
    extra: In<usize>,
) -> u32 {
    call("cuLaunchKernel", |driver| {
        let grid = [grid_x, grid_y, grid_z];
        let block = [block_x, block_y, block_z];
        let geometry = Geometry { grid, block, dynamic_shared_bytes, cluster: None };
        driver.launch(function, &geometry, stream, &values, &extra)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchCooperativeKernel(
    function: Handle,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    dynamic_shared_bytes: u32,
    stream: Handle,
    values: In<usize>,
) -> u32 {
    call("cuLaunchCooperativeKernel", |driver| {
        let grid = [grid_x, grid_y, grid_z];
        let block = [block_x, block_y, block_z];
        let geometry = Geometry { grid, block, dynamic_shared_bytes, cluster: None };
        driver.check_cooperative(function, &geometry, stream)?;
        driver.launch(function, &geometry, stream, &values, &array(0))
    })
}

/// `CUlaunchAttributeID`s.
mod attribute {
    pub(crate) const IGNORE: u32 = 0;
    pub(crate) const ACCESS_POLICY_WINDOW: u32 = 1;
    pub(crate) const COOPERATIVE: u32 = 2;
    pub(crate) const CLUSTER_DIMENSION: u32 = 4;
    pub(crate) const CLUSTER_SCHEDULING: u32 = 5;
    pub(crate) const PROGRAMMATIC_SERIALIZATION: u32 = 6;
    pub(crate) const PRIORITY: u32 = 8;
    pub(crate) const MEMORY_DOMAIN_MAP: u32 = 9;
    pub(crate) const MEMORY_DOMAIN: u32 = 10;
    pub(crate) const CARVEOUT: u32 = 14;
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchKernelEx(
    configuration: In<LaunchConfiguration>,
    function: Handle,
    values: In<usize>,
    extra: In<usize>,
) -> u32 {
    call("cuLaunchKernelEx", |driver| {
        let configuration = configuration.get()?;
        let LaunchConfiguration { grid, block, dynamic_shared_bytes, stream, .. } = configuration;
        let mut geometry = Geometry { grid, block, dynamic_shared_bytes, cluster: None };
        let attributes = array::<LaunchAttribute>(configuration.attributes);
        for attribute in attributes.all(configuration.attribute_count as usize)? {
            match (attribute.id, attribute.value) {
                (attribute::COOPERATIVE, [0, ..]) => {}
                (attribute::COOPERATIVE, _) => {
                    driver.check_cooperative(function, &geometry, stream)?;
                }
                (attribute::CLUSTER_DIMENSION, [x, y, z, ..]) => {
                    geometry.cluster = Some([x, y, z]);
                }
                // Preferences, and permission to overlap, which a device need not use.
                (
                    attribute::IGNORE
                    | attribute::ACCESS_POLICY_WINDOW
                    | attribute::CLUSTER_SCHEDULING
                    | attribute::PROGRAMMATIC_SERIALIZATION
                    | attribute::PRIORITY
                    | attribute::MEMORY_DOMAIN_MAP
                    | attribute::MEMORY_DOMAIN
                    | attribute::CARVEOUT,
                    _,
                ) => {}
                (id, _) => return refuse(Code::NOT_SUPPORTED, format!("launch attribute {id}")),
            }
        }
        driver.launch(function, &geometry, stream, &values, &extra)
    })
}
