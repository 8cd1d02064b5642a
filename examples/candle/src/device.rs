//! The operators on a device's memory as an engine has it: addresses, extents, strides, a stream.

use expertile::{Device, Dtype, Norm, Pairing, Residual, Result, Rope, Stream, Tensor, TensorMut};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Where a tensor lies. Strides count elements.
#[derive(Clone, Debug)]
pub struct Place {
    /// The device address of its first element.
    pub address: u64,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its extents.
    pub shape: Vec<u64>,
    /// From one index to the next.
    pub strides: Vec<u64>,
}

impl Place {
    /// # Safety
    ///
    /// As [`Tensor::from_raw`].
    unsafe fn read<'a>(&self, device: &Device) -> Result<Tensor<'a>> {
        let (shape, strides) = (&self.shape, Some(&*self.strides));
        // SAFETY: the caller's contract is the same.
        unsafe { Tensor::from_raw(device, self.address, self.dtype, shape, strides) }
    }

    /// # Safety
    ///
    /// As [`TensorMut::from_raw`].
    unsafe fn write<'a>(&self, device: &Device) -> Result<TensorMut<'a>> {
        let (shape, strides) = (&self.shape, Some(&*self.strides));
        // SAFETY: the caller's contract is the same.
        unsafe { TensorMut::from_raw(device, self.address, self.dtype, shape, strides) }
    }
}

/// The tensors of [`expertile::Rope`].
#[derive(Clone, Debug)]
pub struct RopePlaces {
    /// `[tokens, q_heads + 2 kv_heads, head_dim]`; the queries are written.
    pub qkv: Place,
    /// `[tokens]`, i32.
    pub positions: Place,
    /// `[head_dim / 2]`, f32.
    pub inv_freq: Place,
    /// `[pages, page_size, kv_heads, head_dim]`; written.
    pub k_cache: Place,
    /// `[pages, page_size, kv_heads, head_dim]`; written.
    pub v_cache: Place,
    /// `[tokens]`, i64.
    pub slot_mapping: Place,
}

/// Which of the norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// [`expertile::layer_norm()`].
    Layer,
    /// [`expertile::rms_norm()`].
    Rms,
}

/// What is added to `x`.
#[derive(Clone, Debug)]
pub enum ResidualPlace {
    /// Nothing.
    None,
    /// `[tokens, hidden]`.
    Add(Place),
    /// `[tokens, hidden]`, which the sum replaces.
    Update(Place),
}

/// The tensors of [`expertile::Norm`].
#[derive(Clone, Debug)]
pub struct NormPlaces {
    /// `[tokens, hidden]`.
    pub x: Place,
    /// What is added to it.
    pub residual: ResidualPlace,
    /// `[hidden]`.
    pub weight: Place,
    /// `[tokens, hidden]`; written.
    pub out: Place,
}

/// The device with its kernels loaded, which happens once in a process.
fn open(ordinal: u32) -> Result<Device> {
    static OPEN: Mutex<BTreeMap<u32, Device>> = Mutex::new(BTreeMap::new());
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = open.get(&ordinal) {
        return Ok(device.clone());
    }
    let device = Device::cuda(ordinal)?;
    open.insert(ordinal, device.clone());
    Ok(device)
}

/// [`expertile::rope()`] on a CUDA device and a stream of its primary context.
///
/// # Errors
///
/// As [`Device::cuda`], [`Stream::borrow`] and [`expertile::rope()`].
///
/// # Safety
///
/// `stream` is a `CUstream` of the device. The places lie within its memory, which stays allocated until
/// the stream has come to the launch and through it; nothing else uses what is written, and nothing
/// writes what is read, unless the stream orders it.
pub unsafe fn rope(
    ordinal: u32,
    stream: u64,
    places: &RopePlaces,
    clip: Option<f32>,
    pairing: Pairing,
) -> Result<()> {
    let device = open(ordinal)?;
    // SAFETY: the caller vouches for the stream and for the places.
    let (stream, arguments) = unsafe {
        let arguments = Rope {
            qkv: places.qkv.write(&device)?,
            positions: places.positions.read(&device)?,
            inv_freq: places.inv_freq.read(&device)?,
            k_cache: places.k_cache.write(&device)?,
            v_cache: places.v_cache.write(&device)?,
            slot_mapping: places.slot_mapping.read(&device)?,
            clip,
            pairing,
        };
        (Stream::borrow(&device, stream)?, arguments)
    };
    expertile::rope(&stream, &arguments)
}

/// [`expertile::layer_norm()`] or [`expertile::rms_norm()`] on a CUDA device and a stream of its primary
/// context.
///
/// # Errors
///
/// As [`Device::cuda`], [`Stream::borrow`] and the operator.
///
/// # Safety
///
/// As [`rope`].
pub unsafe fn norm(
    kind: NormKind,
    ordinal: u32,
    stream: u64,
    places: &NormPlaces,
    epsilon: f32,
) -> Result<()> {
    let device = open(ordinal)?;
    // SAFETY: the caller vouches for the stream and for the places.
    let (stream, arguments) = unsafe {
        let arguments = Norm {
            x: places.x.read(&device)?,
            residual: match &places.residual {
                ResidualPlace::None => Residual::None,
                ResidualPlace::Add(residual) => Residual::Add(residual.read(&device)?),
                ResidualPlace::Update(residual) => Residual::Update(residual.write(&device)?),
            },
            weight: places.weight.read(&device)?,
            out: places.out.write(&device)?,
            epsilon,
        };
        (Stream::borrow(&device, stream)?, arguments)
    };
    match kind {
        NormKind::Layer => expertile::layer_norm(&stream, &arguments),
        NormKind::Rms => expertile::rms_norm(&stream, &arguments),
    }
}
