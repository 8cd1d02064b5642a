//! Where candle's tensors lie on a GPU, and on which stream.

use crate::device::{self, NormPlaces, Place, ResidualPlace, RopePlaces};
use crate::elements::Name;
use crate::norm::{NormOp, unsupported};
use crate::rope::Rope;
use crate::storage::{StorageMut, write};
use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::cuda_backend::CudaStorageSlice;
use candle_core::cuda_backend::cudarc::driver::{CudaStream, DevicePtr, DevicePtrMut, SyncOnDrop};
use candle_core::{
    CudaDevice, CudaStorage, DType, DeviceLocation, Error, Layout, Result, Shape, Storage, Tensor,
    bail,
};
use expertile::Dtype;

/// The ordinal of a device.
fn ordinal(device: &CudaDevice) -> Result<u32> {
    match device.location() {
        DeviceLocation::Cuda { gpu_id } => Ok(gpu_id as u32),
        other => bail!("a CUDA device on {other:?}"),
    }
}

/// Calls `body` with a storage's elements, whatever their type, and its `Dtype`.
macro_rules! with_elements {
    ($name:expr, $slice:expr, |$elements:ident, $dtype:ident| $body:expr) => {
        match $slice {
            CudaStorageSlice::BF16($elements) => {
                let $dtype = Dtype::Bf16;
                $body
            }
            CudaStorageSlice::F16($elements) => {
                let $dtype = Dtype::F16;
                $body
            }
            CudaStorageSlice::F32($elements) => {
                let $dtype = Dtype::F32;
                $body
            }
            CudaStorageSlice::I32($elements) => {
                let $dtype = Dtype::I32;
                $body
            }
            CudaStorageSlice::I64($elements) => {
                let $dtype = Dtype::I64;
                $body
            }
            _ => {
                let Name { operator, argument } = $name;
                bail!("{operator}: {argument} is neither bf16, f16, f32, i32 nor i64")
            }
        }
    };
}

fn place(address: u64, dtype: Dtype, layout: &Layout) -> Place {
    let numbers = |values: &[usize]| values.iter().map(|&value| value as u64).collect();
    Place {
        address: address + layout.start_offset() as u64 * dtype.bytes(),
        dtype,
        shape: numbers(layout.dims()),
        strides: numbers(layout.stride()),
    }
}

impl Name {
    fn check_device(self, found: &CudaDevice, expected: &CudaDevice) -> Result<()> {
        let (found, expected) = (found.location(), expected.location());
        if found != expected {
            let Name { operator, argument } = self;
            bail!("{operator}: {argument} is on {found:?}, expected {expected:?}");
        }
        Ok(())
    }

    /// Its place, for work of `stream` until the second is dropped.
    fn read<'a>(
        self,
        storage: &'a CudaStorage,
        layout: &Layout,
        device: &CudaDevice,
        stream: &'a CudaStream,
    ) -> Result<(Place, SyncOnDrop<'a>)> {
        self.check_device(storage.device(), device)?;
        with_elements!(self, &storage.slice, |elements, dtype| {
            let (address, guard) = elements.device_ptr(stream);
            Ok((place(address, dtype, layout), guard))
        })
    }

    /// The same to write it.
    fn write<'a>(
        self,
        storage: &'a mut CudaStorage,
        layout: &Layout,
        device: &CudaDevice,
        stream: &'a CudaStream,
    ) -> Result<(Place, SyncOnDrop<'a>)> {
        self.check_device(storage.device(), device)?;
        with_elements!(self, &mut storage.slice, |elements, dtype| {
            let (address, guard) = elements.device_ptr_mut(stream);
            Ok((place(address, dtype, layout), guard))
        })
    }

    /// That of an argument which candle did not compare with the others.
    fn on_device(self, storage: &Storage) -> Result<&CudaStorage> {
        let Name { operator, argument } = self;
        match storage {
            Storage::Cuda(storage) => Ok(storage),
            other => bail!("{operator}: {argument} is on {:?}", other.device().location()),
        }
    }
}

pub(crate) fn rope(
    arguments: &Rope<'_>,
    (qkv, qkv_layout): (&mut CudaStorage, &Layout),
    (k, k_layout): (&mut CudaStorage, &Layout),
    (v, v_layout): (&mut CudaStorage, &Layout),
) -> Result<()> {
    let name = |argument| Name { operator: "rope", argument };
    let device = qkv.device().clone();
    let stream = device.cuda_stream();
    let [positions, inv_freq, slot_mapping] =
        [arguments.positions, arguments.inv_freq, arguments.slot_mapping]
            .map(Tensor::storage_and_layout);
    let read = |argument, (storage, layout)| {
        name(argument).read(name(argument).on_device(storage)?, layout, &device, &stream)
    };
    let (positions, _positions) = read("positions", (&*positions.0, positions.1))?;
    let (inv_freq, _inv_freq) = read("inv_freq", (&*inv_freq.0, inv_freq.1))?;
    let (slots, _slots) = read("slot_mapping", (&*slot_mapping.0, slot_mapping.1))?;
    let (qkv, _qkv) = name("qkv").write(qkv, qkv_layout, &device, &stream)?;
    let (k_cache, _k) = name("k_cache").write(k, k_layout, &device, &stream)?;
    let (v_cache, _v) = name("v_cache").write(v, v_layout, &device, &stream)?;
    let places = RopePlaces { qkv, positions, inv_freq, k_cache, v_cache, slot_mapping: slots };
    let raw = stream.cu_stream().addr() as u64;
    // SAFETY: the places are those of candle's tensors, whose storages are locked, three of them for
    // writing; the guards tell cudarc, which frees in the order of the stream, that the launch uses them.
    unsafe { device::rope(ordinal(&device)?, raw, &places, arguments.clip, arguments.pairing) }
        .map_err(Error::wrap)
}

pub(crate) fn norm(
    operator: &NormOp,
    (x, x_layout): (&CudaStorage, &Layout),
    residual: Option<(&CudaStorage, &Layout)>,
    weight: (&CudaStorage, &Layout),
) -> Result<(CudaStorage, Shape)> {
    let device = x.device().clone();
    let shape = x_layout.shape().clone();
    // Drivers refuse a size of 0.
    let elements = shape.elem_count().max(1);
    // SAFETY: the launch writes every element.
    let out = unsafe {
        match x.dtype() {
            DType::BF16 => CudaStorageSlice::BF16(device.alloc(elements)?),
            DType::F16 => CudaStorageSlice::F16(device.alloc(elements)?),
            DType::F32 => CudaStorageSlice::F32(device.alloc(elements)?),
            other => return Err(unsupported(operator.operator(), other)),
        }
    };
    let mut out = CudaStorage { slice: out, device };
    let x = (x, x_layout);
    match &operator.updated {
        None => launch(operator, x, residual.map(Added::Add), weight, &mut out)?,
        Some(updated) => write(updated, operator.updated_name(), |storage, layout| {
            let StorageMut::Cuda(storage) = storage else {
                bail!("{} is not on the GPU, where x is", operator.updated_name());
            };
            launch(operator, x, Some(Added::Update(storage, layout)), weight, &mut out)
        })?,
    }
    Ok((out, shape))
}

enum Added<'a> {
    Add((&'a CudaStorage, &'a Layout)),
    Update(&'a mut CudaStorage, &'a Layout),
}

fn launch(
    operator: &NormOp,
    (x, x_layout): (&CudaStorage, &Layout),
    residual: Option<Added<'_>>,
    (weight, weight_layout): (&CudaStorage, &Layout),
    out: &mut CudaStorage,
) -> Result<()> {
    let name = |argument| Name { operator: operator.operator(), argument };
    let device = x.device().clone();
    let stream = device.cuda_stream();
    let layout = Layout::contiguous(x_layout.shape());
    let (x, _x) = name("x").read(x, x_layout, &device, &stream)?;
    let (weight, _weight) = name("weight").read(weight, weight_layout, &device, &stream)?;
    let (out, _out) = name("out").write(out, &layout, &device, &stream)?;
    let (residual, _residual) = match residual {
        None => (ResidualPlace::None, None),
        Some(Added::Add((storage, layout))) => {
            let (place, guard) = name("residual").read(storage, layout, &device, &stream)?;
            (ResidualPlace::Add(place), Some(guard))
        }
        Some(Added::Update(storage, layout)) => {
            let (place, guard) = name("residual").write(storage, layout, &device, &stream)?;
            (ResidualPlace::Update(place), Some(guard))
        }
    };
    let places = NormPlaces { x, residual, weight, out };
    let raw = stream.cu_stream().addr() as u64;
    // SAFETY: the places are those of candle's tensors, whose storages are locked, and of one that is
    // still nobody's; the guards tell cudarc, which frees in the order of the stream, that the launch
    // uses them.
    unsafe { device::norm(operator.kind, ordinal(&device)?, raw, &places, operator.epsilon) }
        .map_err(Error::wrap)
}
