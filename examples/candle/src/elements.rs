//! Tensors in the host's memory.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Layout, Result, Storage, WithDType, bail};
use expertile_reference::Rounding;
use half::{bf16, f16};

/// The types of elements that the operators take.
pub(crate) trait Element: WithDType + Into<f64> {
    const ROUNDING: Rounding;

    /// The elements of a storage; none if it holds others.
    fn slice_mut(storage: &mut CpuStorage) -> &mut [Self];

    /// Rounds once.
    fn round(x: &f64) -> Self {
        Self::from_f64(Self::ROUNDING.round(*x))
    }
}

impl Element for bf16 {
    const ROUNDING: Rounding = Rounding::Bf16;

    fn slice_mut(storage: &mut CpuStorage) -> &mut [bf16] {
        match storage {
            CpuStorage::BF16(elements) => elements,
            _ => &mut [],
        }
    }
}

impl Element for f16 {
    const ROUNDING: Rounding = Rounding::F16;

    fn slice_mut(storage: &mut CpuStorage) -> &mut [f16] {
        match storage {
            CpuStorage::F16(elements) => elements,
            _ => &mut [],
        }
    }
}

impl Element for f32 {
    const ROUNDING: Rounding = Rounding::F32;

    fn slice_mut(storage: &mut CpuStorage) -> &mut [f32] {
        match storage {
            CpuStorage::F32(elements) => elements,
            _ => &mut [],
        }
    }
}

/// An operator's argument, as its errors name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(crate) operator: &'static str,
    pub(crate) argument: &'static str,
}

impl Name {
    pub(crate) fn check_shape(self, layout: &Layout, expected: &[usize]) -> Result<()> {
        let Name { operator, argument } = self;
        if layout.dims() != expected {
            bail!("{operator}: {argument} has shape {:?}, expected {expected:?}", layout.dims());
        }
        Ok(())
    }

    /// That of an argument which candle did not compare with the others.
    pub(crate) fn in_memory(self, storage: &Storage) -> Result<&CpuStorage> {
        let Name { operator, argument } = self;
        match storage {
            Storage::Cpu(storage) => Ok(storage),
            other => {
                bail!("{operator}: {argument} is on {:?}, expected Cpu", other.device().location())
            }
        }
    }

    fn check_dtype<T: WithDType>(self, storage: &CpuStorage) -> Result<()> {
        let Name { operator, argument } = self;
        if storage.dtype() != T::DTYPE {
            let (found, expected) = (storage.dtype().as_str(), T::DTYPE.as_str());
            bail!("{operator}: {argument} is {found}, expected {expected}");
        }
        Ok(())
    }

    /// The elements in their order.
    pub(crate) fn gather<T: WithDType>(
        self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> Result<Vec<T>> {
        self.check_dtype::<T>(storage)?;
        let elements = storage.as_slice::<T>()?;
        Ok(offsets(layout).map(|offset| elements[offset]).collect())
    }

    /// The memory to write to.
    pub(crate) fn elements_mut<T: Element>(self, storage: &mut CpuStorage) -> Result<&mut [T]> {
        self.check_dtype::<T>(storage)?;
        Ok(T::slice_mut(storage))
    }
}

/// Where the elements are, the last dimension fastest.
pub(crate) fn offsets(layout: &Layout) -> impl Iterator<Item = usize> {
    let (dims, strides) = (layout.dims(), layout.stride());
    (0..layout.shape().elem_count()).map(move |mut index| {
        let mut offset = layout.start_offset();
        for (dim, stride) in dims.iter().zip(strides).rev() {
            offset += index % dim * stride;
            index /= dim;
        }
        offset
    })
}
