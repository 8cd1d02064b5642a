use crate::data::{Random, assert_near, cases, gamma, refusal};
use crate::{U32, everywhere};
use expertile_reference::attention::{KvIndex, attention};
use expertile_reference::kv_cache::CacheLayout;
use expertile_reference::{Arithmetic, Fast, Rounding};
use proptest::prelude::*;
use proptest::sample::select;

/// Sequences of few and many queries around the 32 of a task, with keys before them or too few.
fn lens() -> impl Strategy<Value = Vec<(usize, usize)>> {
    let q_len = select(vec![0, 1, 2, 31, 32, 33, 70]);
    let len = (q_len, select(vec![0isize, 1, 100, -1, -40])).prop_map(|(q_len, before)| {
        let kv_len = (q_len as isize + before).max(0);
        (q_len, kv_len as usize)
    });
    proptest::collection::vec(len, 0..3)
}

fn cumulative(lens: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut ends = vec![0];
    lens.for_each(|len| ends.push(ends[ends.len() - 1] + len));
    ends
}

/// The bound of each element of the output: how far the probabilities can be off, times what they
/// weigh.
fn bounds(
    lens: &[(usize, usize)],
    [kv_heads, group, head_dim]: [usize; 3],
    [q, k, v]: [&[f32]; 3],
    scale: f64,
) -> Vec<f64> {
    let (mut out, mut q_rows, mut first_key) = (Vec::new(), q.chunks(head_dim), 0);
    let dot = |x: &[f32], y: &[f32], term: fn(f64) -> f64| -> f64 {
        x.iter().zip(y).map(|(&x, &y)| term(f64::from(x) * f64::from(y))).sum()
    };
    for &(q_len, kv_len) in lens {
        for (i, head) in (0..q_len).flat_map(|i| (0..kv_heads * group).map(move |h| (i, h))) {
            let q = q_rows.next().unwrap();
            let visible = (i + 1 + kv_len).saturating_sub(q_len);
            let row = |key: usize| {
                let at = ((first_key + key) * kv_heads + head / group) * head_dim;
                at..at + head_dim
            };
            let scores: Vec<f64> =
                (0..visible).map(|key| scale * dot(q, &k[row(key)], |x| x)).collect();
            let largest = scores.iter().copied().fold(0.0, |a: f64, b| a.max(b.abs()));
            // A score: the scale, its product with q, and head_dim roundings of the dot product.
            // Then the difference from the largest, of magnitude up to twice that.
            let score_error = (0..visible)
                .map(|key| gamma(head_dim + 2, U32) * scale * dot(q, &k[row(key)], f64::abs))
                .fold(0.0, f64::max)
                + 2.0 * U32 * largest;
            // The exponential is 2 ulp, so 4 roundings, off; the sum of them one for each key, its
            // inverse and the product with it two more; all of it above and below the line, and
            // the product with V once more for each key.
            let exponent = 2.0 * (score_error + 4.0 * U32 + gamma(visible + 2, U32));
            let relative = exponent.exp_m1() + gamma(visible, U32);
            let sum: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
            out.extend((0..head_dim).map(|d| {
                let p = |key: usize| (scores[key] - largest).exp() / sum;
                let weighed: f64 =
                    (0..visible).map(|key| p(key) * f64::from(v[row(key)][d]).abs()).sum();
                // No probability is below exp(-87.3), which adds so much.
                weighed * relative * 1.01 + visible as f64 * 1.3e-38
            }));
        }
        first_key += kv_len;
    }
    out
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn near_the_operator(
        lens in lens(), kv_heads in 1..3usize, group in select(vec![1usize, 6, 8]),
        head_dim in select(vec![1usize, 4, 24]), page_size in select(vec![1usize, 3, 16, 200]),
        seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let (cu_q_lens, cu_lens) =
            (cumulative(lens.iter().map(|x| x.0)), cumulative(lens.iter().map(|x| x.1)));
        let q_heads = kv_heads * group;
        let q = random.values(cu_q_lens[lens.len()] * q_heads * head_dim);
        let q: Vec<f32> = q.iter().map(|q| q * 4.0).collect();
        let k = random.values(cu_lens[lens.len()] * kv_heads * head_dim);
        let v = random.values(cu_lens[lens.len()] * kv_heads * head_dim);
        let scale = 0.7;
        let kv = KvIndex::Contiguous { cu_lens: &cu_lens, kv_heads, head_dim };
        let want = attention(&q, &cu_q_lens, q_heads, &k, &v, kv, scale, true, Rounding::F64);
        let want = want.unwrap().out;
        let bound = bounds(&lens, [kv_heads, group, head_dim], [&q, &k, &v], scale);
        let found =
            everywhere(|| Fast.attention(&q, &cu_q_lens, q_heads, &k, &v, kv, scale).unwrap());
        assert_near(&found, &want, |i| bound[i]);

        // In shuffled pages, NaN between them, the same bits.
        let kv_lens: Vec<usize> = lens.iter().map(|lens| lens.1).collect();
        let max_pages = kv_lens.iter().map(|len| len.div_ceil(page_size)).max().unwrap_or(0);
        let pages = max_pages * lens.len();
        let layout = CacheLayout::packed(pages, page_size, kv_heads, head_dim).unwrap();
        let block_table: Vec<i32> =
            random.permutation(pages).into_iter().map(|page| page as i32).collect();
        let width = kv_heads * head_dim;
        let paged = [&k, &v].map(|array| {
            let mut cache = vec![f32::NAN; pages * page_size * width];
            for (sequence, &len) in kv_lens.iter().enumerate() {
                for position in 0..len {
                    let page = block_table[sequence * max_pages + position / page_size] as usize;
                    let to = (page * page_size + position % page_size) * width;
                    let from = (cu_lens[sequence] + position) * width;
                    cache[to..][..width].copy_from_slice(&array[from..][..width]);
                }
            }
            cache
        });
        let kv = KvIndex::Paged { layout: &layout, block_table: &block_table, lens: &kv_lens };
        let [k, v] = &paged;
        assert_eq!(Fast.attention(&q, &cu_q_lens, q_heads, k, v, kv, scale).unwrap(), found);
    }

    /// One key stands out for each query; the others have almost no weight.
    #[test]
    fn a_needle_is_found(
        len in select(vec![1usize, 31, 32, 33, 70]), group in select(vec![1usize, 6]),
        seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let (mut q, mut k) = (vec![0.0; len * group * len], vec![0.0; len * len]);
        k.iter_mut().step_by(len + 1).for_each(|k| *k = 1.0);
        let mut want = Vec::new();
        for (row, q) in q.chunks_mut(len).enumerate() {
            let needle = random.below(row / group + 1);
            q[needle] = 60.0;
            want.extend(vec![needle as f64; len]);
        }
        let v: Vec<f32> = (0..len).flat_map(|key| vec![key as f32; len]).collect();
        let kv = KvIndex::Contiguous { cu_lens: &[0, len], kv_heads: 1, head_dim: len };
        let found = Fast.attention(&q, &[0, len], group, &k, &v, kv, 1.0).unwrap();
        // exp(-60) of up to 70 others, of values up to 70, and the rounding of the inverse sum.
        assert_near(&found, &want, |i| 1e-22 + 3.0 * U32 * want[i]);
    }
}

#[test]
fn refusals() {
    let both = |q: usize, cu_q_lens: &[usize], q_heads, k: usize, kv: KvIndex<'_>| {
        let [q, k] = [q, k].map(|elements| vec![0.0; elements]);
        let plain = attention(&q, cu_q_lens, q_heads, &k, &k, kv, 1.0, true, Rounding::F32);
        let fast = Fast.attention(&q, cu_q_lens, q_heads, &k, &k, kv, 1.0);
        assert_eq!(refusal(plain), refusal(fast));
    };
    let kv = KvIndex::Contiguous { cu_lens: &[0, 4, 6], kv_heads: 2, head_dim: 3 };
    both(35, &[0, 1, 3], 4, 36, kv);
    both(36, &[0, 1, 3], 4, 35, kv);
    both(27, &[0, 1, 3], 3, 36, kv);
    both(36, &[0, 3], 4, 36, kv);
    both(36, &[0, 1, usize::MAX], 4, 36, kv);
    both(36, &[0, 1, 3], usize::MAX, 36, kv);
    let layout = CacheLayout::packed(3, 4, 1, 2).unwrap();
    both(2, &[0, 1], 1, 24, KvIndex::Paged { layout: &layout, block_table: &[3], lens: &[1] });
    both(2, &[0, 1], 1, 24, KvIndex::Paged { layout: &layout, block_table: &[0], lens: &[5] });
    for (kv_heads, head_dim) in [(0, 3), (2, 0), (usize::MAX, 0)] {
        let kv = KvIndex::Contiguous { cu_lens: &[0, 0], kv_heads, head_dim };
        both(0, &[0, 1], 0, 0, kv);
    }
    assert!(
        Fast.attention(&[], &[0, 1, 3], 0, &[0.0; 36], &[0.0; 36], kv, 1.0).unwrap().is_empty()
    );
}
