//! Launches of clusters: blocks that run together and reach each other's shared memory.

use super::{Cuda, Current, check, stream_of};
use crate::driver::{Geometry, RawKernel, RawStream};
use crate::error::Result;
use cudarc::driver::sys;
use std::ffi::c_void;
use std::ptr::null_mut;

impl Cuda {
    /// # Safety
    ///
    /// As [`Driver::launch`](crate::driver::Driver::launch).
    pub(super) unsafe fn launch_clusters(
        &self,
        kernel: RawKernel,
        geometry: &Geometry,
        params: *const c_void,
        stream: RawStream,
    ) -> Result<()> {
        let _current = Current::enter(self.context)?;
        let [x, y, z] = geometry.grid;
        let mut arguments = [params.cast_mut()];
        let kernel = kernel as sys::CUfunction;
        let mut cluster = [sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue {
                clusterDim: sys::CUlaunchAttributeValue_union__bindgen_ty_1 {
                    x: geometry.cluster_blocks,
                    y: 1,
                    z: 1,
                },
            },
        }];
        let config = sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: geometry.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: geometry.shared_bytes,
            hStream: stream_of(stream),
            attrs: cluster.as_mut_ptr(),
            numAttrs: cluster.len() as u32,
        };
        // SAFETY: the kernel takes exactly one argument, by value, which the driver copies from `params`
        // before it returns and does not write; the caller vouches for what it points to. `attrs` has as
        // many attributes as are stated.
        let code =
            unsafe { sys::cuLaunchKernelEx(&config, kernel, arguments.as_mut_ptr(), null_mut()) };
        check(code, || {
            let Geometry { grid, threads, cluster_blocks, .. } = geometry;
            format!(
                "cuLaunchKernelEx(grid {grid:?}, {threads} threads, clusters of {cluster_blocks})"
            )
        })
    }
}
