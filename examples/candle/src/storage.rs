//! Several tensors locked at once, which candle's own operators do for one that is written.

use candle_core::{CpuStorage, CudaStorage, InplaceOp1, Layout, Result, Storage, Tensor, bail};
use std::cell::Cell;

/// A storage that nobody else reads or writes.
pub(crate) enum StorageMut<'a> {
    Cpu(&'a mut CpuStorage),
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "nothing makes or reads one"))]
    Cuda(&'a mut CudaStorage),
}

/// An in-place operator that is a closure.
struct Write<F> {
    name: &'static str,
    body: Cell<Option<F>>,
}

impl<F: FnOnce(StorageMut<'_>, &Layout) -> Result<()>> Write<F> {
    fn call(&self, storage: StorageMut<'_>, layout: &Layout) -> Result<()> {
        self.body.take().map_or(Ok(()), |body| body(storage, layout))
    }
}

impl<F: FnOnce(StorageMut<'_>, &Layout) -> Result<()>> InplaceOp1 for Write<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        self.call(StorageMut::Cpu(storage), layout)
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
        self.call(StorageMut::Cuda(storage), layout)
    }
}

/// Locks a tensor for the time of `body`; one whose elements overlap is refused under that name.
pub(crate) fn write(
    tensor: &Tensor,
    name: &'static str,
    body: impl FnOnce(StorageMut<'_>, &Layout) -> Result<()>,
) -> Result<()> {
    tensor.inplace_op1(&Write { name, body: Cell::new(Some(body)) })
}

/// Refuses tensors that share the storage of one that is written, with which a lock would wait for
/// itself. The first `written` are those.
pub(crate) fn check_distinct(
    operator: &str,
    tensors: &[(&str, &Tensor)],
    written: usize,
) -> Result<()> {
    let address = |tensor: &Tensor| -> *const Storage { &raw const *tensor.storage_and_layout().0 };
    for (i, (argument, tensor)) in tensors.iter().enumerate().take(written) {
        for (other, beside) in &tensors[i + 1..] {
            if address(tensor) == address(beside) {
                bail!("{operator}: {argument} is written and shares its memory with {other}");
            }
        }
    }
    Ok(())
}
