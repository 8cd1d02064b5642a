//! A device with one buffer, in which an operator's tensors and its workspace lie between fences.

use expertile::capi::{
    EXPERTILE_BF16, EXPERTILE_CUDA, EXPERTILE_F16, EXPERTILE_F32, EXPERTILE_HIP, EXPERTILE_I32,
    EXPERTILE_I64, EXPERTILE_MAX_RANK, EXPERTILE_OK, expertile_device, expertile_device_close,
    expertile_device_open, expertile_last_error, expertile_tensor,
};
use expertile::{Buffer, Device, Dtype, Platform, Stream};
use half::{bf16, f16};
use std::ffi::{CStr, c_void};
use std::ptr::null_mut;

/// Each tensor has as many bytes, and begins behind a fence.
const PLACE_BYTES: usize = 4096;
const FENCE_BYTES: usize = 512;
const FENCE: u8 = 0x5a;

pub(crate) const TOKENS: i64 = 3;
pub(crate) const HIDDEN: i64 = 64;
pub(crate) const HEADS: i64 = 6;
pub(crate) const KV_HEADS: i64 = 2;
pub(crate) const HEAD_DIM: i64 = 32;
pub(crate) const PAGES: i64 = 3;
pub(crate) const PAGE_SIZE: i64 = 4;

/// A tensor by its argument's name.
#[derive(Clone, Copy)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) dtype: i32,
    pub(crate) shape: &'static [i64],
    pub(crate) written: bool,
}

impl Spec {
    pub(crate) fn dense_strides(&self) -> [i64; EXPERTILE_MAX_RANK] {
        std::array::from_fn(|dimension| {
            self.shape.get(dimension + 1..).map_or(0, |inner| inner.iter().product())
        })
    }
}

/// The tensors of `rope`, in the order of its struct.
pub(crate) fn rope_specs(dtype: i32) -> Vec<Spec> {
    let cache: &[i64] = &[PAGES, PAGE_SIZE, KV_HEADS, HEAD_DIM];
    let spec = |name, dtype, shape, written| Spec { name, dtype, shape, written };
    vec![
        spec("qkv", dtype, &[TOKENS, HEADS, HEAD_DIM], true),
        spec("positions", EXPERTILE_I32, &[TOKENS], false),
        spec("inv_freq", EXPERTILE_F32, &[HEAD_DIM / 2], false),
        spec("k_cache", dtype, cache, true),
        spec("v_cache", dtype, cache, true),
        spec("slot_mapping", EXPERTILE_I64, &[TOKENS], false),
    ]
}

/// Those of the norms.
pub(crate) fn norm_specs(dtype: i32) -> Vec<Spec> {
    let spec = |name, shape, written| Spec { name, dtype, shape, written };
    vec![
        spec("x", &[TOKENS, HIDDEN], false),
        spec("residual", &[TOKENS, HIDDEN], false),
        spec("sum", &[TOKENS, HIDDEN], true),
        spec("weight", &[HIDDEN], false),
        spec("out", &[TOKENS, HIDDEN], true),
    ]
}

pub(crate) const TOP_K: i64 = 4;
pub(crate) const FIRST_EXPERT: u32 = 4;
pub(crate) const END_EXPERT: u32 = 60;
const PAIRS: i64 = TOKENS * TOP_K;
const LOCAL: i64 = (END_EXPERT - FIRST_EXPERT) as i64;
pub(crate) const PACKETS: i64 = 5;

/// Those of `dispatch`.
pub(crate) fn dispatch_specs() -> Vec<Spec> {
    let spec = |name, shape, written| Spec { name, dtype: EXPERTILE_I32, shape, written };
    vec![
        spec("ids", &[TOKENS, TOP_K], false),
        spec("pairs", &[PAIRS], true),
        spec("rows", &[TOKENS, TOP_K], true),
        spec("offsets", &[LOCAL + 1], true),
        spec("counts", &[LOCAL], true),
        spec("tiles", &[PAIRS, 2], true),
        spec("tile_count", &[1], true),
    ]
}

/// Those of `combine`.
pub(crate) fn combine_specs(dtype: i32) -> Vec<Spec> {
    let spec = |name, dtype, shape, written| Spec { name, dtype, shape, written };
    vec![
        spec("expert_out", dtype, &[PAIRS, HIDDEN], false),
        spec("rows", EXPERTILE_I32, &[TOKENS, TOP_K], false),
        spec("residual", dtype, &[TOKENS, HIDDEN], false),
        spec("out", dtype, &[TOKENS, HIDDEN], true),
    ]
}

fn packets(dtype: i32) -> &'static [i64] {
    if dtype == EXPERTILE_F32 { &[PACKETS, HIDDEN + 4] } else { &[PACKETS, HIDDEN + 8] }
}

/// Those of `packet_pack`.
pub(crate) fn pack_specs(dtype: i32) -> Vec<Spec> {
    let spec = |name, dtype, shape, written| Spec { name, dtype, shape, written };
    vec![
        spec("x", dtype, &[TOKENS, HIDDEN], false),
        spec("ids", EXPERTILE_I32, &[TOKENS, TOP_K], false),
        spec("weights", EXPERTILE_F32, &[TOKENS, TOP_K], false),
        spec("pairs", EXPERTILE_I32, &[PAIRS], false),
        spec("offsets", EXPERTILE_I32, &[4], false),
        spec("packets", dtype, packets(dtype), true),
    ]
}

/// Those of `packet_unpack`.
pub(crate) fn unpack_specs(dtype: i32) -> Vec<Spec> {
    let spec = |name, dtype, shape, written| Spec { name, dtype, shape, written };
    vec![
        spec("packets", dtype, packets(dtype), false),
        spec("x", dtype, &[PACKETS, HIDDEN], true),
        spec("ids", EXPERTILE_I32, &[PACKETS, 1], true),
        spec("weights", EXPERTILE_F32, &[PACKETS, 1], true),
        spec("pairs", EXPERTILE_I32, &[PACKETS], true),
    ]
}

pub(crate) fn bytes_of(dtype: i32) -> u64 {
    match dtype {
        EXPERTILE_BF16 | EXPERTILE_F16 => 2,
        EXPERTILE_F32 | EXPERTILE_I32 => 4,
        _ => 8,
    }
}

/// An element of the tensor at a place; slots and positions are allowed ones.
fn encoded(place: usize, dtype: i32, i: i64) -> Vec<u8> {
    let real = (((i + 17 * place as i64) * 37 % 101) as f32 - 50.0) * 0.125;
    match dtype {
        EXPERTILE_BF16 => bf16::from_f32(real).to_le_bytes().to_vec(),
        EXPERTILE_F16 => f16::from_f32(real).to_le_bytes().to_vec(),
        EXPERTILE_F32 => real.to_le_bytes().to_vec(),
        EXPERTILE_I32 => (7 * i as i32).to_le_bytes().to_vec(),
        _ => (PAGES * PAGE_SIZE - 1 - 3 * i).to_le_bytes().to_vec(),
    }
}

pub(crate) fn platform_number(platform: Platform) -> i32 {
    if platform == Platform::Cuda { EXPERTILE_CUDA } else { EXPERTILE_HIP }
}

pub(crate) fn last_error() -> String {
    // SAFETY: the text of this thread lives until the next failure.
    unsafe { CStr::from_ptr(expertile_last_error()) }.to_str().unwrap().to_owned()
}

/// A handle, closed at the end.
pub(crate) struct Handle(pub(crate) *mut expertile_device);

impl Handle {
    pub(crate) fn open(platform: Platform, ordinal: u32) -> Handle {
        let mut handle = null_mut();
        // SAFETY: `handle` is a place for one.
        let status =
            unsafe { expertile_device_open(platform_number(platform), ordinal, &mut handle) };
        assert_eq!(status, EXPERTILE_OK, "{}", last_error());
        Handle(handle)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: takes any number.
        assert_eq!(unsafe { expertile_device_close(self.0) }, EXPERTILE_OK);
    }
}

pub(crate) struct Scene {
    pub(crate) handle: Handle,
    pub(crate) stream: Stream,
    pub(crate) buffer: Buffer,
    /// What the buffer held at first.
    pub(crate) image: Vec<i32>,
}

impl Scene {
    pub(crate) fn new(device: &Device, specs: &[Spec]) -> Scene {
        let mut bytes = vec![FENCE; (specs.len() + 1) * PLACE_BYTES];
        for (place, spec) in specs.iter().enumerate() {
            let elements: i64 = spec.shape.iter().product();
            let values: Vec<u8> =
                (0..elements).flat_map(|i| encoded(place, spec.dtype, i)).collect();
            assert!(values.len() + 2 * FENCE_BYTES <= PLACE_BYTES, "{}", spec.name);
            let start = place * PLACE_BYTES + FENCE_BYTES;
            bytes[start..start + values.len()].copy_from_slice(&values);
        }
        let words = bytes.chunks_exact(4);
        let image: Vec<i32> =
            words.map(|word| i32::from_le_bytes(word.try_into().unwrap())).collect();
        let stream = device.stream().unwrap();
        let buffer = Buffer::from_slice(&stream, &image).unwrap();
        assert_eq!(buffer.dtype(), Dtype::I32);
        let handle = Handle::open(device.info().platform, device.info().ordinal);
        Scene { handle, stream, buffer, image }
    }

    pub(crate) fn raw_stream(&self) -> *mut c_void {
        std::ptr::without_provenance_mut(self.stream.raw() as usize)
    }

    pub(crate) fn address(&self, place: usize) -> u64 {
        self.buffer.address() + (place * PLACE_BYTES + FENCE_BYTES) as u64
    }

    /// The place behind the tensors'.
    pub(crate) fn workspace(&self) -> u64 {
        self.address(4 * self.image.len() / PLACE_BYTES - 1)
    }

    /// The tensor, dense; its strides are stated or left to the library.
    pub(crate) fn tensor(&self, place: usize, spec: &Spec, stated: bool) -> expertile_tensor {
        let mut shape = [0; EXPERTILE_MAX_RANK];
        shape[..spec.shape.len()].copy_from_slice(spec.shape);
        expertile_tensor {
            data: std::ptr::without_provenance_mut(self.address(place) as usize),
            dtype: spec.dtype,
            rank: spec.shape.len() as u32,
            shape,
            strides: if stated { spec.dense_strides() } else { [0; EXPERTILE_MAX_RANK] },
        }
    }

    /// All of the buffer, fences included.
    pub(crate) fn contents(&self) -> Vec<i32> {
        self.buffer.read(&self.stream).unwrap()
    }

    pub(crate) fn restore(&mut self) {
        self.buffer.write(&self.stream, &self.image).unwrap();
    }
}
