//! Inputs of the tests, and what the reference says of them.

use candle_core::{DType, Device, Result, Tensor, WithDType};
use expertile_candle::{Pairing, Residual};
use expertile_reference::Rounding;
use expertile_reference::kv_cache::CacheLayout;

pub(crate) const DTYPES: [DType; 3] = [DType::BF16, DType::F16, DType::F32];

pub(crate) fn rounding(dtype: DType) -> Rounding {
    match dtype {
        DType::BF16 => Rounding::Bf16,
        DType::F16 => Rounding::F16,
        _ => Rounding::F32,
    }
}

/// Half a unit in the last place of 1.
pub(crate) fn unit(dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => 2f64.powi(-8),
        DType::F16 => 2f64.powi(-11),
        _ => 2f64.powi(-24),
    }
}

/// Multiples of 1/16 between -8 and 8: every type holds them, and f32 the sum of two.
pub(crate) fn values(shape: &[usize], dtype: DType, seed: u64) -> Tensor {
    let mut random = fastrand::Rng::with_seed(seed);
    let elements: Vec<f32> =
        (0..shape.iter().product()).map(|_| random.i32(-128..=128) as f32 / 16.0).collect();
    Tensor::from_vec(elements, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// The elements as f64, in order.
pub(crate) fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The elements as they are, in order.
pub(crate) fn elements<T: WithDType>(tensor: &Tensor) -> Vec<T> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The reference's norm of tensors as they lie: the sum, and the rows with the rounding that ends them.
pub(crate) fn reference_norm(
    layer: bool,
    x: &Tensor,
    residual: Option<&Tensor>,
    weight: &Tensor,
    epsilon: f32,
) -> (Vec<f64>, Vec<f64>) {
    let rounding = rounding(x.dtype());
    let (x, residual) = (numbers(x), residual.map(numbers));
    let weight: Vec<f32> = numbers(weight).iter().map(|weight| *weight as f32).collect();
    let (residual, epsilon) = (residual.as_deref(), f64::from(epsilon));
    let (sum, rows) = if layer {
        use expertile_reference::layer_norm::layer_norm;
        let norm = layer_norm(&x, residual, &weight, epsilon, rounding).unwrap();
        (norm.sum, norm.normalized)
    } else {
        use expertile_reference::rms_norm::rms_norm;
        let norm = rms_norm(&x, residual, &weight, epsilon, rounding).unwrap();
        (norm.sum, norm.normalized)
    };
    (sum, rounding.round_all(rows))
}

pub(crate) const TOKENS: usize = 5;
pub(crate) const Q_HEADS: usize = 6;
pub(crate) const KV_HEADS: usize = 2;
pub(crate) const HEADS: usize = Q_HEADS + 2 * KV_HEADS;
pub(crate) const HEAD_DIM: usize = 32;
pub(crate) const PAGES: usize = 3;
pub(crate) const PAGE_SIZE: usize = 4;
pub(crate) const CLIP: f32 = 3.5;

/// A call of `rope`.
#[derive(Clone)]
pub(crate) struct RopeCase {
    pub(crate) qkv: Tensor,
    pub(crate) positions: Tensor,
    pub(crate) inv_freq: Tensor,
    pub(crate) k_cache: Tensor,
    pub(crate) v_cache: Tensor,
    pub(crate) slot_mapping: Tensor,
    pub(crate) clip: Option<f32>,
    pub(crate) pairing: Pairing,
}

impl RopeCase {
    pub(crate) fn new(dtype: DType, clip: Option<f32>, pairing: Pairing) -> RopeCase {
        let cache = [PAGES, PAGE_SIZE, KV_HEADS, HEAD_DIM];
        let inv_freq = expertile_reference::rope::inv_freq(5e5, HEAD_DIM);
        // Two are nowhere.
        let (positions, slots) = ([0i32, 1, 2, 1000, 131071], [7i64, 0, -1, 12, 11]);
        RopeCase {
            qkv: values(&[TOKENS, HEADS, HEAD_DIM], dtype, 1),
            positions: Tensor::new(&positions, &Device::Cpu).unwrap(),
            inv_freq: Tensor::new(inv_freq, &Device::Cpu).unwrap(),
            k_cache: values(&cache, dtype, 2),
            v_cache: values(&cache, dtype, 3),
            slot_mapping: Tensor::new(&slots, &Device::Cpu).unwrap(),
            clip,
            pairing,
        }
    }

    /// Every option in every type.
    pub(crate) fn all() -> impl Iterator<Item = RopeCase> {
        let options = [
            (Some(CLIP), Pairing::Halves),
            (None, Pairing::Halves),
            (Some(CLIP), Pairing::Interleaved),
        ];
        DTYPES.into_iter().flat_map(move |dtype| {
            options.into_iter().map(move |(clip, pairing)| RopeCase::new(dtype, clip, pairing))
        })
    }

    pub(crate) fn run(&self) -> Result<()> {
        let arguments = expertile_candle::Rope {
            positions: &self.positions,
            inv_freq: &self.inv_freq,
            k_cache: &self.k_cache,
            v_cache: &self.v_cache,
            slot_mapping: &self.slot_mapping,
            clip: self.clip,
            pairing: self.pairing,
        };
        expertile_candle::rope(&self.qkv, &arguments)
    }

    /// What the reference makes of `qkv` and the caches, in their order.
    pub(crate) fn reference(&self) -> [Vec<f64>; 3] {
        let (positions, inv_freq) = (elements::<i32>(&self.positions), elements(&self.inv_freq));
        let clip = self.clip.map(f64::from);
        let mut qkv = numbers(&self.qkv);
        let rope = match self.pairing {
            Pairing::Halves => expertile_reference::rope::rope,
            Pairing::Interleaved => expertile_reference::rope::rope_interleaved,
        };
        let rotated =
            rope(&qkv, &positions, &inv_freq, Q_HEADS, KV_HEADS, clip, Rounding::F64).unwrap();
        let rounding = rounding(self.qkv.dtype());
        for (row, q) in qkv
            .chunks_mut(HEADS * HEAD_DIM)
            .zip(rounding.round_all(rotated.q).chunks(Q_HEADS * HEAD_DIM))
        {
            row[..q.len()].copy_from_slice(q);
        }
        let slots: Vec<i64> = elements::<i64>(&self.slot_mapping)
            .into_iter()
            .map(|slot| if slot < (PAGES * PAGE_SIZE) as i64 { slot } else { -1 })
            .collect();
        let layout = CacheLayout::packed(PAGES, PAGE_SIZE, KV_HEADS, HEAD_DIM).unwrap();
        let append = |rows, cache: &Tensor| {
            let mut cache = numbers(cache);
            let rows = rounding.round_all(rows);
            expertile_reference::rope::append(&rows, &slots, &mut cache, &layout).unwrap();
            cache
        };
        let (k, v) = (append(rotated.k, &self.k_cache), append(rotated.v, &self.v_cache));
        [qkv, k, v]
    }

    pub(crate) fn results(&self) -> [Vec<f64>; 3] {
        [numbers(&self.qkv), numbers(&self.k_cache), numbers(&self.v_cache)]
    }

    /// The same call on tensors of its own.
    pub(crate) fn copied(&self) -> RopeCase {
        let mut copy = self.clone();
        for tensor in [&mut copy.qkv, &mut copy.k_cache, &mut copy.v_cache] {
            *tensor = tensor.force_contiguous().unwrap();
        }
        copy
    }
}

/// A copy between zeros, at an offset and with strides, and all of that memory. Heads stay dense and
/// follow each other.
pub(crate) fn within(tensor: &Tensor) -> (Tensor, Tensor) {
    let dimensions = if tensor.rank() > 2 { tensor.rank() - 1 } else { tensor.rank() };
    let mut memory = tensor.clone();
    for dimension in 0..dimensions {
        memory = memory.pad_with_zeros(dimension, 8, 8).unwrap();
    }
    let mut view = memory.clone();
    for (dimension, extent) in tensor.dims().iter().enumerate().take(dimensions) {
        view = view.narrow(dimension, 8, *extent).unwrap();
    }
    (view, memory)
}

/// The residuals of a norm, by their names.
pub(crate) fn residuals(residual: &Tensor) -> [(&'static str, Residual<'_>); 3] {
    [
        ("none", Residual::None),
        ("added", Residual::Add(residual)),
        ("updated", Residual::Update(residual)),
    ]
}
