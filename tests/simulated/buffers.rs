//! Buffers for one call of an operator.

use expertile::{Buffer, Dtype, Norm, Pairing, Residual, Rope, Stream, rope};
use half::bf16;

/// Buffers of one call, with DBRX's extents unless stated.
pub(crate) struct RopeBuffers {
    pub(crate) tokens: u64,
    heads: (u64, u64),
    pub(crate) head_dim: u64,
    pub(crate) qkv: Buffer,
    pub(crate) caches: [Buffer; 2],
    pub(crate) positions: Buffer,
    pub(crate) slots: Buffer,
    pub(crate) inv_freq: Buffer,
}

impl RopeBuffers {
    pub(crate) fn new(
        stream: &Stream,
        tokens: u64,
        heads: (u64, u64),
        head_dim: u64,
    ) -> RopeBuffers {
        let row = (heads.0 + 2 * heads.1) * head_dim;
        let qkv: Vec<bf16> = (0..tokens * row).map(|i| bf16::from_f32((i % 13) as f32)).collect();
        let cache = tokens * heads.1 * head_dim;
        let mut caches =
            [(); 2].map(|()| Buffer::new(stream.device(), Dtype::Bf16, cache).unwrap());
        for cache in &mut caches {
            cache.fill_bytes(stream, 0xff).unwrap();
        }
        let positions: Vec<i32> = (0..tokens as i32).collect();
        let slots: Vec<i64> = (0..tokens as i64).rev().collect();
        let inv_freq = expertile_reference::rope::inv_freq(5e5, head_dim as usize);
        RopeBuffers {
            tokens,
            heads,
            head_dim,
            qkv: Buffer::from_slice(stream, &qkv).unwrap(),
            caches,
            positions: Buffer::from_slice(stream, &positions).unwrap(),
            slots: Buffer::from_slice(stream, &slots).unwrap(),
            inv_freq: Buffer::from_slice(stream, &inv_freq).unwrap(),
        }
    }

    pub(crate) fn launch(&mut self, stream: &Stream) -> expertile::Result<()> {
        let (tokens, (q_heads, kv_heads)) = (self.tokens, self.heads);
        let cache = [1, tokens, kv_heads, self.head_dim];
        let [k_cache, v_cache] = &mut self.caches;
        let arguments = Rope {
            qkv: self.qkv.tensor_mut(&[tokens, q_heads + 2 * kv_heads, self.head_dim])?,
            positions: self.positions.tensor(&[tokens])?,
            inv_freq: self.inv_freq.tensor(&[self.head_dim / 2])?,
            k_cache: k_cache.tensor_mut(&cache)?,
            v_cache: v_cache.tensor_mut(&cache)?,
            slot_mapping: self.slots.tensor(&[tokens])?,
            clip: Some(8.0),
            pairing: Pairing::Halves,
        };
        rope(stream, &arguments)
    }
}

pub(crate) type Operator = fn(&Stream, &Norm<'_>) -> expertile::Result<()>;

pub(crate) struct NormBuffers {
    pub(crate) shape: [u64; 2],
    pub(crate) x: Buffer,
    pub(crate) residual: Buffer,
    pub(crate) weight: Buffer,
    pub(crate) out: Buffer,
}

impl NormBuffers {
    pub(crate) fn new(stream: &Stream, tokens: u64, hidden: u64) -> NormBuffers {
        let values = |count: u64| -> Buffer {
            let values: Vec<bf16> = (0..count).map(|i| bf16::from_f32((i % 7) as f32)).collect();
            Buffer::from_slice(stream, &values).unwrap()
        };
        let elements = tokens * hidden;
        let (x, residual, weight) = (values(elements), values(elements), values(hidden));
        let out = Buffer::new(stream.device(), Dtype::Bf16, elements).unwrap();
        NormBuffers { shape: [tokens, hidden], x, residual, weight, out }
    }

    pub(crate) fn launch(&mut self, stream: &Stream, operator: Operator) -> expertile::Result<()> {
        let arguments = Norm {
            x: self.x.tensor(&self.shape)?,
            residual: Residual::Update(self.residual.tensor_mut(&self.shape)?),
            weight: self.weight.tensor(&self.shape[1..])?,
            out: self.out.tensor_mut(&self.shape)?,
            epsilon: 1e-5,
        };
        operator(stream, &arguments)
    }
}
