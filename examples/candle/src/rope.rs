//! Clip, rotate, and append keys and values to the cache.

use crate::elements::{Element, Name, offsets};
use crate::norm::unsupported;
use crate::storage::{StorageMut, check_distinct, write};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Error, Layout, Result, Tensor, bail};
use expertile::Pairing;
use expertile_reference::Rounding;
use expertile_reference::kv_cache::CacheLayout;
use expertile_reference::rope::{append, rope as rotate, rope_interleaved};
use half::{bf16, f16};

/// The arguments of [`rope()`] beside the rows.
#[derive(Clone, Copy, Debug)]
pub struct Rope<'a> {
    /// `[tokens]`, i32.
    pub positions: &'a Tensor,
    /// `[head_dim / 2]`, f32.
    pub inv_freq: &'a Tensor,
    /// `[pages, page_size, kv_heads, head_dim]`; written.
    pub k_cache: &'a Tensor,
    /// `[pages, page_size, kv_heads, head_dim]`; written.
    pub v_cache: &'a Tensor,
    /// `[tokens]`, i64: `page * page_size + position in the page`; one outside of the cache appends nothing.
    pub slot_mapping: &'a Tensor,
    /// Clips Q, K and V to `-clip..clip`.
    pub clip: Option<f32>,
    /// Which elements of a head are rotated against each other.
    pub pairing: Pairing,
}

/// Clips packed rows, rotates queries in place, and appends rotated keys and clipped values to the
/// cache ([`expertile::rope()`]).
///
/// `qkv` is `[tokens, q_heads + 2 kv_heads, head_dim]`, bf16, f16 or f32, as are the caches: Q, then K,
/// then V. `qkv.narrow(1, 0, q_heads)` are the rotated queries; its keys and values stay as they were.
/// Three tensors are written, each of a storage of its own, locked in the order `qkv`, `k_cache`,
/// `v_cache`. As with all operators in place, candle does not see the writes when it differentiates.
///
/// # Errors
///
/// Tensors that disagree or share memory, with their names and numbers; on a GPU what no kernel takes,
/// and the driver's. Nothing was written then.
pub fn rope(qkv: &Tensor, arguments: &Rope<'_>) -> Result<()> {
    let Rope { positions, inv_freq, k_cache, v_cache, slot_mapping, .. } = *arguments;
    let tensors = [
        ("qkv", qkv),
        ("k_cache", k_cache),
        ("v_cache", v_cache),
        ("positions", positions),
        ("inv_freq", inv_freq),
        ("slot_mapping", slot_mapping),
    ];
    check_distinct("rope", &tensors, 3)?;
    write(qkv, "rope: qkv", |qkv, qkv_layout| {
        write(k_cache, "rope: k_cache", |k, k_layout| {
            write(v_cache, "rope: v_cache", |v, v_layout| match (qkv, k, v) {
                (StorageMut::Cpu(qkv), StorageMut::Cpu(k), StorageMut::Cpu(v)) => {
                    let (qkv, k, v) = ((qkv, qkv_layout), (k, k_layout), (v, v_layout));
                    match qkv.0.dtype() {
                        DType::BF16 => arguments.cpu::<bf16>(qkv, k, v),
                        DType::F16 => arguments.cpu::<f16>(qkv, k, v),
                        DType::F32 => arguments.cpu::<f32>(qkv, k, v),
                        other => Err(unsupported("rope", other)),
                    }
                }
                #[cfg(feature = "cuda")]
                (StorageMut::Cuda(qkv), StorageMut::Cuda(k), StorageMut::Cuda(v)) => {
                    crate::cuda::rope(arguments, (qkv, qkv_layout), (k, k_layout), (v, v_layout))
                }
                _ => bail!("rope: qkv, k_cache and v_cache are not on one device"),
            })
        })
    })
}

fn name(argument: &'static str) -> Name {
    Name { operator: "rope", argument }
}

/// The reference's description of a cache, beginning at the layout's offset.
fn cache_layout(argument: &str, layout: &Layout) -> Result<CacheLayout> {
    let (&[pages, page_size, kv_heads, head_dim], &[page, position, head, element]) =
        (layout.dims(), layout.stride())
    else {
        let expected = "of shape [pages, page_size, kv_heads, head_dim]";
        bail!("rope: {argument} is {:?}, expected {expected}", layout.dims());
    };
    if head_dim > 1 && element != 1 {
        bail!("rope: {argument} is of strides {:?}, expected a last one of 1", layout.stride());
    }
    Ok(CacheLayout {
        pages,
        page_size,
        kv_heads,
        head_dim,
        page_stride: page as u64,
        position_stride: position as u64,
        head_stride: head as u64,
    })
}

impl Rope<'_> {
    fn cpu<T: Element>(
        &self,
        (qkv, qkv_layout): (&mut CpuStorage, &Layout),
        (k, k_layout): (&mut CpuStorage, &Layout),
        (v, v_layout): (&mut CpuStorage, &Layout),
    ) -> Result<()> {
        let [tokens, heads, head_dim] = *qkv_layout.dims() else {
            let expected = "of shape [tokens, q_heads + 2 kv_heads, head_dim]";
            bail!("rope: qkv is {:?}, expected {expected}", qkv_layout.dims());
        };
        let k_cache = cache_layout("k_cache", k_layout)?;
        let v_cache = cache_layout("v_cache", v_layout)?;
        let CacheLayout { pages, page_size, kv_heads, .. } = k_cache;
        name("k_cache").check_shape(k_layout, &[pages, page_size, kv_heads, head_dim])?;
        name("v_cache").check_shape(v_layout, k_layout.dims())?;
        let Some(q_heads) = heads.checked_sub(2 * kv_heads) else {
            let expected = format!("at least 2 * {kv_heads} heads of keys and values");
            bail!("rope: qkv is of {heads} heads, expected {expected}");
        };
        let positions: Vec<i32> = self.vector("positions", self.positions, tokens)?;
        let inv_freq: Vec<f32> = self.vector("inv_freq", self.inv_freq, head_dim / 2)?;
        let slots: Vec<i64> = self.vector("slot_mapping", self.slot_mapping, tokens)?;
        let slots: Vec<i64> = slots
            .into_iter()
            .map(|slot| if (slot as u64) < k_cache.slots() as u64 { slot } else { -1 })
            .collect();

        let rows: Vec<T> = name("qkv").gather(qkv, qkv_layout)?;
        let (clip, rounding) = (self.clip.map(f64::from), Rounding::F64);
        let rotated = match self.pairing {
            Pairing::Halves => {
                rotate(&rows, &positions, &inv_freq, q_heads, kv_heads, clip, rounding)
            }
            Pairing::Interleaved => {
                rope_interleaved(&rows, &positions, &inv_freq, q_heads, kv_heads, clip, rounding)
            }
        }
        .map_err(Error::wrap)?;
        let rounded = |x: &[f64]| x.iter().map(T::round).collect::<Vec<T>>();
        let qkv = name("qkv").elements_mut::<T>(qkv)?;
        let k = name("k_cache").elements_mut::<T>(k)?;
        let v = name("v_cache").elements_mut::<T>(v)?;
        for (rows, cache, layout, start) in [
            (&rotated.k, k, k_cache, k_layout.start_offset()),
            (&rotated.v, v, v_cache, v_layout.start_offset()),
        ] {
            append(&rounded(rows), &slots, &mut cache[start..], &layout).map_err(Error::wrap)?;
        }
        let queries = qkv_layout.narrow(1, 0, q_heads)?;
        for (offset, q) in offsets(&queries).zip(rounded(&rotated.q)) {
            qkv[offset] = q;
        }
        Ok(())
    }

    fn vector<T: candle_core::WithDType>(
        &self,
        argument: &'static str,
        tensor: &Tensor,
        elements: usize,
    ) -> Result<Vec<T>> {
        let (storage, layout) = tensor.storage_and_layout();
        let storage = name(argument).in_memory(&storage)?;
        name(argument).check_shape(layout, &[elements])?;
        name(argument).gather(storage, layout)
    }
}
