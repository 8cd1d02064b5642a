//! Operators on hostile extents and values.

use expertile_reference::arithmetic::{Arithmetic, Experts, Plain};
use expertile_reference::attention::{KvIndex, attention};
use expertile_reference::combine::{CombineOrder, combine};
use expertile_reference::dispatch::dispatch;
use expertile_reference::embedding::embedding;
use expertile_reference::grouped_gemm::{down, up};
use expertile_reference::kv_cache::CacheLayout;
use expertile_reference::layer_norm::layer_norm;
use expertile_reference::linear::linear;
use expertile_reference::rope::{append, rope};
use expertile_reference::router::router;
use expertile_reference::{Elements, Fast, Rounding, Tensor};

/// One operator, chosen by the first byte, on arguments made of the others: it accepts or refuses,
/// the results have the extents of its page, and both arithmetics accept the same.
pub fn operators(data: &[u8]) {
    let mut bytes = Bytes(data);
    match bytes.next() % 10 {
        0 => embeddings(bytes),
        1 => layer_norms(bytes),
        2 => linears(bytes),
        3 => ropes(bytes),
        4 => appends(bytes),
        5 => routers(bytes),
        6 => dispatches(bytes),
        7 => contiguous_attention(bytes),
        8 => paged_attention(bytes),
        _ => moe(bytes),
    }
}

/// The most elements of an array.
const MOST: usize = 4096;

/// The rest of the input.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    /// The next byte, 0 after the last.
    fn next(&mut self) -> u8 {
        let (&first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        first
    }

    /// A small extent, or one that overflows somewhere. None between 2^16 and 2^31: an operator may
    /// allocate what its caller asks for.
    fn extent(&mut self) -> usize {
        match self.next() {
            255 => usize::MAX,
            254 => usize::MAX / 2 + 1,
            253 => usize::MAX / 8 + 2,
            252 => (1 << 32) + 1,
            251 => 1 << 32,
            250 => 1 << 31,
            small => usize::from(small % 10),
        }
    }

    /// Most often `expected`, where an array may have as many elements; sometimes 20 times that.
    fn len(&mut self, expected: &[usize]) -> usize {
        let product = expected.iter().try_fold(1usize, |product, &x| product.checked_mul(x));
        match self.next() {
            few @ 240.. => usize::from(few - 240),
            200.. => product.filter(|&product| product <= MOST / 20).unwrap_or(0) * 20,
            _ => product.filter(|&product| product <= MOST).unwrap_or(0),
        }
    }

    fn value(&mut self) -> f32 {
        match self.next() {
            1 => -0.0,
            2 => f32::NAN,
            3 => f32::INFINITY,
            4 => f32::NEG_INFINITY,
            5 => f32::MAX,
            6 => f32::MIN_POSITIVE,
            7 => 1e-45,
            other => f32::from(other as i8) / 8.0,
        }
    }

    fn values(&mut self, expected: &[usize]) -> Vec<f32> {
        let len = self.len(expected);
        (0..len).map(|_| self.value()).collect()
    }

    /// Indexes, most of them below `below`.
    fn indexes(&mut self, expected: &[usize], below: usize) -> Vec<usize> {
        let len = self.len(expected);
        let index = |byte: u8| match byte {
            255 => usize::MAX,
            254 => below,
            other => usize::from(other) % below.max(1),
        };
        (0..len).map(|_| index(self.next())).collect()
    }

    /// Lengths that ascend from 0, most of the time.
    fn cumulative(&mut self, sequences: usize) -> Vec<usize> {
        let mut lens = vec![0];
        for _ in 0..sequences {
            let last = lens[lens.len() - 1];
            lens.push(match self.next() {
                255 => usize::MAX,
                254 => last.saturating_sub(1),
                other => last.saturating_add(usize::from(other % 6)),
            });
        }
        lens
    }

    fn rounding(&mut self) -> Rounding {
        [Rounding::F64, Rounding::F32, Rounding::F16, Rounding::Bf16][usize::from(self.next() % 4)]
    }

    fn layout(&mut self) -> CacheLayout {
        let [pages, page_size, kv_heads, head_dim] = [(); 4].map(|()| self.extent());
        let Ok(mut layout) = CacheLayout::packed(pages, page_size, kv_heads, head_dim) else {
            let strides = [(); 3].map(|()| self.extent() as u64);
            let [page_stride, position_stride, head_stride] = strides;
            return CacheLayout {
                pages,
                page_size,
                kv_heads,
                head_dim,
                page_stride,
                position_stride,
                head_stride,
            };
        };
        if self.next() >= 128 {
            layout.page_stride = layout.page_stride.wrapping_add(self.extent() as u64);
        }
        if self.next() >= 192 {
            layout.head_stride = self.extent() as u64;
            layout.position_stride = self.extent() as u64;
        }
        layout
    }
}

fn tensor(elements: &[f32]) -> Tensor {
    Tensor::new([elements.len()], Elements::F32(elements.to_vec())).expect("one dimension")
}

fn embeddings(mut bytes: Bytes<'_>) {
    let (vocab, hidden, tokens) = (bytes.extent(), bytes.extent(), bytes.extent());
    let table = bytes.values(&[vocab, hidden]);
    let ids: Vec<u32> =
        bytes.indexes(&[tokens], vocab).into_iter().map(|id| id.min(1 << 31) as u32).collect();
    if let Ok(out) = embedding(&table, hidden, &ids) {
        assert_eq!(out.len(), ids.len() * hidden);
    }
}

fn layer_norms(mut bytes: Bytes<'_>) {
    let (tokens, hidden, rounding) = (bytes.extent(), bytes.extent(), bytes.rounding());
    let (x, weight) = (bytes.values(&[tokens, hidden]), bytes.values(&[hidden]));
    let residual = bytes.values(&[tokens, hidden]);
    let residual = (bytes.next() >= 64).then_some(&residual[..]);
    let epsilon = f64::from(bytes.value());
    let plain = layer_norm(&x, residual, &weight, epsilon, rounding);
    let fast = Fast.layer_norm(&x, residual, &tensor(&weight), epsilon);
    assert_eq!(plain.is_ok(), fast.is_ok());
    if let (Ok(plain), Ok([sum, normalized])) = (plain, fast) {
        let lens = [plain.sum.len(), plain.normalized.len(), sum.len(), normalized.len()];
        assert_eq!(lens, [x.len(); 4]);
    }
}

fn linears(mut bytes: Bytes<'_>) {
    let (tokens, k, n) = (bytes.extent(), bytes.extent(), bytes.extent());
    let (x, weight) = (bytes.values(&[tokens, k]), bytes.values(&[n, k]));
    let (plain, fast) = (linear(&x, &weight, k), Fast.linear(&x, &tensor(&weight), k));
    assert_eq!(plain.is_ok(), fast.is_ok());
    if let (Ok(plain), Ok(fast)) = (plain, fast) {
        let rows = |x: &[f32]| x.len().checked_div(k).unwrap_or_default();
        assert_eq!([plain.len(), fast.len()], [rows(&x) * rows(&weight); 2]);
    }
}

fn ropes(mut bytes: Bytes<'_>) {
    let (tokens, half) = (bytes.extent(), bytes.extent());
    let (q_heads, kv_heads, rounding) = (bytes.extent(), bytes.extent(), bytes.rounding());
    let heads = q_heads.saturating_add(kv_heads.saturating_mul(2));
    let inv_freq = bytes.values(&[half]);
    let head_dim = 2 * inv_freq.len();
    let positions: Vec<i32> = (0..bytes.len(&[tokens]))
        .map(|_| i32::from_le_bytes([(); 4].map(|()| bytes.next())))
        .collect();
    let clip = (bytes.next() >= 64).then(|| f64::from(bytes.value()));
    let qkv = bytes.values(&[positions.len(), heads, head_dim]);
    let plain = rope(&qkv, &positions, &inv_freq, q_heads, kv_heads, clip, rounding);
    let fast = Fast.rope(&qkv, &positions, &inv_freq, (q_heads, kv_heads), clip);
    assert_eq!(plain.is_ok(), fast.is_ok());
    if let (Ok(plain), Ok([q, k, v])) = (plain, fast) {
        let lens = [plain.q.len(), plain.k.len(), plain.v.len()];
        assert_eq!(lens, [q.len(), k.len(), v.len()]);
        assert_eq!(lens.iter().sum::<usize>(), qkv.len());
        let clip = clip.unwrap_or(f64::INFINITY);
        assert!(plain.v.iter().all(|v| v.is_nan() || v.abs() <= clip));
    }
}

fn appends(mut bytes: Bytes<'_>) {
    let layout = bytes.layout();
    let tokens = bytes.extent();
    let slots: Vec<i64> = bytes
        .indexes(&[tokens], layout.slots())
        .into_iter()
        .map(|slot| if slot == usize::MAX { -1 } else { slot as i64 })
        .collect();
    let rows = bytes.len(&[slots.len(), layout.kv_heads, layout.head_dim]);
    let rows = vec![1u8; rows];
    let elements = layout.elements("fuzz").unwrap_or(0);
    let mut cache = vec![0u8; bytes.len(&[elements])];
    let result = append(&rows, &slots, &mut cache, &layout);
    let written = cache.iter().filter(|&&x| x == 1).count();
    match result {
        Ok(()) => assert!(written <= rows.len()),
        Err(_) => assert_eq!(written, 0),
    }
}

fn routers(mut bytes: Bytes<'_>) {
    let (tokens, experts, top_k) = (bytes.extent(), bytes.extent(), bytes.extent());
    let (p_norm, rounding) = (bytes.value(), bytes.rounding());
    let p_norm = (bytes.next() >= 64).then_some(f64::from(p_norm));
    let logits = bytes.values(&[tokens, experts]);
    let plain = router(&logits, experts, top_k, p_norm, Rounding::F32);
    assert_eq!(format!("{plain:?}"), format!("{:?}", Fast.router(&logits, experts, top_k, p_norm)));
    let Ok(routing) = router(&logits, experts, top_k, p_norm, rounding) else { return };
    let tokens = logits.len() / experts;
    assert_eq!([routing.ids.len(), routing.weights.len()], [tokens * top_k; 2]);
    for ids in routing.ids.chunks_exact(top_k) {
        for (slot, id) in ids.iter().enumerate() {
            assert!(usize::try_from(*id).is_ok_and(|id| id < experts), "{ids:?}");
            assert!(!ids[..slot].contains(id), "{ids:?}");
        }
    }
    assert!(routing.weights.iter().all(|weight| (0.0..=1.001).contains(weight)), "{routing:?}");
    assert_eq!(routing.counts.iter().sum::<u32>() as usize, tokens * top_k);
}

fn dispatches(mut bytes: Bytes<'_>) {
    let (tokens, top_k) = (bytes.extent(), bytes.extent());
    let experts = bytes.extent()..bytes.extent();
    let ids: Vec<i32> = (0..bytes.len(&[tokens, top_k]))
        .map(|_| match bytes.next() {
            255 => i32::MAX,
            254 => i32::MIN,
            253 => -1,
            other => i32::from(other % 12),
        })
        .collect();
    let Ok(dispatch) = dispatch(&ids, top_k, experts.clone()) else { return };
    assert_eq!(dispatch.offsets.len(), experts.len() + 1);
    assert_eq!(dispatch.offsets.last(), Some(&dispatch.pairs.len()));
    assert_eq!(dispatch.rows.iter().flatten().count(), dispatch.pairs.len());
    for (row, &pair) in dispatch.pairs.iter().enumerate() {
        assert_eq!(dispatch.rows[pair], Some(row));
        let expert = ids[pair] as usize - experts.start;
        assert!((dispatch.offsets[expert]..dispatch.offsets[expert + 1]).contains(&row));
    }
}

fn contiguous_attention(mut bytes: Bytes<'_>) {
    let (kv_heads, head_dim) = (bytes.extent(), bytes.extent());
    let sequences = usize::from(bytes.next() % 4);
    let cu_lens = bytes.cumulative(sequences);
    let keys = cu_lens[cu_lens.len() - 1];
    let k = bytes.values(&[keys, kv_heads, head_dim]);
    let v = bytes.values(&[keys, kv_heads, head_dim]);
    attend(bytes, &k, &v, KvIndex::Contiguous { cu_lens: &cu_lens, kv_heads, head_dim });
}

fn paged_attention(mut bytes: Bytes<'_>) {
    let layout = bytes.layout();
    let sequences = usize::from(bytes.next() % 4);
    let max_pages = bytes.extent();
    let block_table: Vec<i32> = bytes
        .indexes(&[sequences, max_pages], layout.pages)
        .into_iter()
        .map(|page| if page == usize::MAX { -1 } else { page as i32 })
        .collect();
    let lens: Vec<usize> = (0..sequences).map(|_| bytes.extent()).collect();
    let elements = layout.elements("fuzz").unwrap_or(0);
    let (k, v) = (bytes.values(&[elements]), bytes.values(&[elements]));
    let kv = KvIndex::Paged { layout: &layout, block_table: &block_table, lens: &lens };
    attend(bytes, &k, &v, kv);
}

fn attend(mut bytes: Bytes<'_>, k: &[f32], v: &[f32], kv: KvIndex<'_>) {
    let (sequences, kv_heads, head_dim) = match kv {
        KvIndex::Contiguous { cu_lens, kv_heads, head_dim } => {
            (cu_lens.len() - 1, kv_heads, head_dim)
        }
        KvIndex::Paged { layout, lens, .. } => (lens.len(), layout.kv_heads, layout.head_dim),
    };
    let cu_q_lens = bytes.cumulative(sequences);
    let q_heads = kv_heads.wrapping_mul(bytes.extent());
    let q = bytes.values(&[cu_q_lens[cu_q_lens.len() - 1], q_heads, head_dim]);
    let (causal, rounding) = (bytes.next() >= 64, bytes.rounding());
    let scale = f64::from(bytes.value());
    let plain = attention(&q, &cu_q_lens, q_heads, k, v, kv, scale, causal, rounding);
    let fast = Fast.attention(&q, &cu_q_lens, q_heads, k, v, kv, scale);
    assert_eq!(plain.is_ok(), fast.is_ok());
    if let (Ok(plain), Ok(fast)) = (plain, fast) {
        assert_eq!([plain.out.len(), fast.len()], [q.len(); 2]);
        assert_eq!(plain.lse.len() * head_dim, q.len());
    }
}

fn moe(mut bytes: Bytes<'_>) {
    let (tokens, hidden, ffn_hidden) = (bytes.extent(), bytes.extent(), bytes.extent());
    let (experts, top_k, rounding) = (bytes.extent(), bytes.extent(), bytes.rounding());
    let ids: Vec<i32> = (0..bytes.len(&[tokens, top_k]))
        .map(|_| match bytes.next() {
            255 => -1,
            other => i32::from(other % 12),
        })
        .collect();
    let Ok(mut dispatch) = dispatch(&ids, top_k, 0..experts) else { return };
    let (h, residual) = (bytes.values(&[tokens, hidden]), bytes.values(&[tokens, hidden]));
    let [w1, v1, w2] = [(); 3].map(|()| bytes.values(&[experts, ffn_hidden, hidden]));
    let weights: Vec<f64> = bytes.values(&[tokens, top_k]).into_iter().map(f64::from).collect();
    match bytes.next() {
        255 => dispatch.offsets = bytes.cumulative(2),
        254 => dispatch.pairs.iter_mut().for_each(|pair| *pair = pair.wrapping_add(1)),
        253 => dispatch.rows.iter_mut().flatten().for_each(|row| *row += 1),
        _ => (),
    }
    let offsets = &dispatch.offsets;

    let tokens_of_rows = bytes.indexes(&[dispatch.pairs.len()], tokens);
    let x = up(&h, hidden, &tokens_of_rows, offsets, &w1, &v1, rounding);
    let x = x.unwrap_or_default();
    let of_rows: Vec<f64> = dispatch.pairs.iter().map(|&pair| pair as f64).collect();
    let y = down(&x, ffn_hidden, offsets, &w2, &of_rows, rounding).unwrap_or_default();
    let wide: Vec<f64> = residual.iter().map(|&x| x.into()).collect();
    let order = CombineOrder::Slot;
    if let Ok(out) = combine(&y, hidden, &dispatch.rows, top_k, &wide, order, rounding) {
        assert_eq!(out.len(), residual.len());
    }

    let wide_h: Vec<f64> = h.iter().map(|&x| x.into()).collect();
    let (w1, v1, w2) = (&tensor(&w1), &tensor(&v1), &tensor(&w2));
    let (dispatch, weights) = (&dispatch, &weights[..]);
    let (wide_h, wide) = (&wide_h[..], &wide[..]);
    let plain = Plain { rounding }.experts(&Experts {
        h: wide_h,
        residual: wide,
        hidden,
        ffn_hidden,
        top_k,
        dispatch,
        weights,
        w1,
        v1,
        w2,
    });
    let (h, residual) = (&h[..], &residual[..]);
    let fast = Fast.experts(&Experts {
        h,
        residual,
        hidden,
        ffn_hidden,
        top_k,
        dispatch,
        weights,
        w1,
        v1,
        w2,
    });
    assert_eq!(plain.is_ok(), fast.is_ok());
    if let (Ok(plain), Ok(fast)) = (plain, fast) {
        assert_eq!([plain.len(), fast.len()], [h.len(); 2]);
    }
}
