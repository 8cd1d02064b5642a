use crate::data::{Random, assert_near, cases, gather, refusal, same_bits, wide};
use expertile_reference::Rounding;
use expertile_reference::attention::{Attention, KvIndex, attention};
use expertile_reference::kv_cache::CacheLayout;
use half::bf16;
use proptest::prelude::*;

/// A batch of sequences.
#[derive(Clone, Debug)]
struct Batch {
    /// New tokens and all keys of each sequence.
    lens: Vec<(usize, usize)>,
    kv_heads: usize,
    /// Query heads for each key head.
    group: usize,
    head_dim: usize,
    causal: bool,
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
}

fn cumulative(lens: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut ends = vec![0];
    ends.extend(lens.scan(0, |end, len| {
        *end += len;
        Some(*end)
    }));
    ends
}

impl Batch {
    fn q_heads(&self) -> usize {
        self.kv_heads * self.group
    }

    fn q_width(&self) -> usize {
        self.q_heads() * self.head_dim
    }

    fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    fn cu_q_lens(&self) -> Vec<usize> {
        cumulative(self.lens.iter().map(|lens| lens.0))
    }

    fn cu_kv_lens(&self) -> Vec<usize> {
        cumulative(self.lens.iter().map(|lens| lens.1))
    }

    /// Makes the arrays again for the extents.
    fn fill(mut self, random: &mut Random) -> Batch {
        let (tokens, keys) = (self.cu_q_lens(), self.cu_kv_lens());
        let scaled = |x: Vec<f32>| x.iter().map(|&x| f64::from(x) * 2.0).collect();
        self.q = scaled(random.values(tokens[self.lens.len()] * self.q_width()));
        self.k = scaled(random.values(keys[self.lens.len()] * self.kv_width()));
        self.v = scaled(random.values(keys[self.lens.len()] * self.kv_width()));
        self
    }

    fn run(&self) -> Attention {
        let (kv_heads, head_dim) = (self.kv_heads, self.head_dim);
        let cu_lens = &self.cu_kv_lens();
        self.run_on(&self.k, &self.v, KvIndex::Contiguous { cu_lens, kv_heads, head_dim })
    }

    fn run_on(&self, k: &[f64], v: &[f64], kv: KvIndex<'_>) -> Attention {
        let (cu_q_lens, rounding) = (self.cu_q_lens(), Rounding::F64);
        let (q, q_heads) = (&self.q, self.q_heads());
        attention(q, &cu_q_lens, q_heads, k, v, kv, SCALE, self.causal, rounding).unwrap()
    }

    /// For each sequence, query and head: the index of the row in `lse`, and the visible scores
    /// with the values they weigh.
    fn each(&self, mut visit: impl FnMut(usize, Vec<(f64, &[f64])>)) {
        let (cu_q_lens, cu_kv_lens) = (self.cu_q_lens(), self.cu_kv_lens());
        for (sequence, &(q_len, kv_len)) in self.lens.iter().enumerate() {
            for (i, head) in (0..q_len).flat_map(|i| (0..self.q_heads()).map(move |head| (i, head)))
            {
                let row = (cu_q_lens[sequence] + i) * self.q_heads() + head;
                let q = &self.q[row * self.head_dim..][..self.head_dim];
                let mut seen = Vec::new();
                for j in 0..kv_len {
                    // The last query sees all keys, the one before it all but one, ...
                    if self.causal && kv_len - j < q_len - i {
                        continue;
                    }
                    let at = (cu_kv_lens[sequence] + j) * self.kv_heads + head / self.group;
                    let at = at * self.head_dim..(at + 1) * self.head_dim;
                    let dot: f64 = q.iter().zip(&self.k[at.clone()]).map(|(q, k)| q * k).sum();
                    seen.push((SCALE * dot, &self.v[at]));
                }
                visit(row, seen);
            }
        }
    }
}

const SCALE: f64 = 0.75;

/// Errors of f64 sums of at most a few hundred terms of magnitude 8 are below this.
const SLACK: f64 = 1e-12;

fn batches() -> impl Strategy<Value = (Batch, u64)> {
    let lens = prop_oneof![
        3 => (0..6usize, 0..24usize),
        1 => (1..=1usize, 1..40usize),
        1 => (2..8usize, 0..3usize),
    ];
    let group = prop_oneof![Just(1usize), Just(6), Just(8)];
    let extents = (proptest::collection::vec(lens, 0..4), 1..3usize, group, 1..6usize);
    (extents, any::<bool>(), any::<u64>()).prop_map(|(extents, causal, seed)| {
        let (lens, kv_heads, group, head_dim) = extents;
        let (q, k, v) = (Vec::new(), Vec::new(), Vec::new());
        let batch = Batch { lens, kv_heads, group, head_dim, causal, q, k, v };
        (batch.fill(&mut Random::new(seed)), seed)
    })
}

proptest! {
    #![proptest_config(cases())]

    /// Against the formula without its shift, which these small scores do not need.
    #[test]
    fn follows_the_formula((batch, _) in batches()) {
        let found = batch.run();
        let (mut out, mut lse) = (vec![f64::NAN; found.out.len()], vec![f64::NAN; found.lse.len()]);
        batch.each(|row, seen| {
            let sum: f64 = seen.iter().map(|(score, _)| score.exp()).sum();
            lse[row] = sum.ln();
            for d in 0..batch.head_dim {
                let weighed: f64 = seen.iter().map(|(score, v)| score.exp() * v[d]).sum();
                out[row * batch.head_dim + d] = if seen.is_empty() { 0.0 } else { weighed / sum };
            }
            if seen.is_empty() {
                assert_eq!(found.lse[row], f64::NEG_INFINITY);
                let out = &found.out[row * batch.head_dim..][..batch.head_dim];
                assert!(out.iter().all(|x| *x == 0.0));
                lse[row] = 0.0;
            }
        });
        let finite: Vec<f64> =
            found.lse.iter().map(|&lse| if lse == f64::NEG_INFINITY { 0.0 } else { lse }).collect();
        assert_near(&finite, &lse, |_| SLACK);
        assert_near(&found.out, &out, |_| SLACK);
    }

    #[test]
    fn constant_values_come_through((mut batch, _) in batches(), c in -8.0..8.0f64) {
        batch.v.fill(c);
        let found = batch.run();
        batch.each(|row, seen| {
            let want = if seen.is_empty() { 0.0 } else { c };
            let out = &found.out[row * batch.head_dim..][..batch.head_dim];
            assert_near(out, &vec![want; batch.head_dim], |_| SLACK);
        });
    }

    /// The same vector added to all keys of a head adds one number to all scores of a query.
    #[test]
    fn shifted_scores_shift_the_lse((batch, seed) in batches()) {
        let shift = wide(&Random::new(!seed).values(batch.head_dim));
        let mut shifted = batch.clone();
        shifted.k.iter_mut().zip(shift.iter().cycle()).for_each(|(k, shift)| *k += 4.0 * shift);
        let (before, after) = (batch.run(), shifted.run());
        assert_near(&after.out, &before.out, |_| SLACK);
        for (row, (&before, &after)) in before.lse.iter().zip(&after.lse).enumerate() {
            let q = &batch.q[row * batch.head_dim..][..batch.head_dim];
            let added: f64 = q.iter().zip(&shift).map(|(q, shift)| SCALE * q * 4.0 * shift).sum();
            assert!(before == after || (before + added - after).abs() < SLACK);
        }
    }

    /// The order of the keys is irrelevant when all of them are seen.
    #[test]
    fn keys_are_a_set((mut batch, seed) in batches()) {
        batch.causal = false;
        let mut random = Random::new(!seed);
        let order: Vec<usize> = batch
            .cu_kv_lens()
            .windows(2)
            .flat_map(|ends| {
                let order = random.permutation(ends[1] - ends[0]);
                order.into_iter().map(|key| ends[0] + key).collect::<Vec<_>>()
            })
            .collect();
        let mut permuted = batch.clone();
        permuted.k = gather(&batch.k, batch.kv_width(), &order);
        permuted.v = gather(&batch.v, batch.kv_width(), &order);
        let (found, want) = (permuted.run(), batch.run());
        assert_near(&found.out, &want.out, |_| SLACK);
        for (found, want) in found.lse.iter().zip(&want.lse) {
            assert!(found == want || (found - want).abs() < SLACK);
        }
    }

    /// A sequence gives the same bits in a batch and alone, and whatever the others hold.
    #[test]
    fn sequences_do_not_see_each_other((batch, _) in batches()) {
        let whole = batch.run();
        let (cu_q_lens, cu_kv_lens) = (batch.cu_q_lens(), batch.cu_kv_lens());
        for (sequence, &lens) in batch.lens.iter().enumerate() {
            let q = cu_q_lens[sequence] * batch.q_width()..cu_q_lens[sequence + 1] * batch.q_width();
            let kv = cu_kv_lens[sequence] * batch.kv_width()
                ..cu_kv_lens[sequence + 1] * batch.kv_width();
            let alone = Batch {
                lens: vec![lens],
                q: batch.q[q.clone()].to_vec(),
                k: batch.k[kv.clone()].to_vec(),
                v: batch.v[kv].to_vec(),
                ..batch.clone()
            };
            assert!(same_bits(&alone.run().out, &whole.out[q]));
        }
    }

    /// Queries from the t-th on, and what they alone see, have no part in the rows before.
    #[test]
    fn later_tokens_change_nothing((mut batch, seed) in batches(), len in 1..12usize, before in 0..6usize) {
        batch.causal = true;
        batch.lens = vec![(len, before + len)];
        let batch = batch.fill(&mut Random::new(seed));
        let t = Random::new(!seed).below(len + 1);
        let mut poisoned = batch.clone();
        poisoned.q[t * batch.q_width()..].fill(f64::NAN);
        poisoned.k[(before + t) * batch.kv_width()..].fill(f64::NAN);
        poisoned.v[(before + t) * batch.kv_width()..].fill(f64::NAN);
        let (clean, poisoned) = (batch.run(), poisoned.run());
        let rows = t * batch.q_heads();
        assert!(same_bits(&clean.out[..t * batch.q_width()], &poisoned.out[..t * batch.q_width()]));
        assert!(same_bits(&clean.lse[..rows], &poisoned.lse[..rows]));
    }

    /// One prefill, chunks of it, and one token after another give the same bits.
    #[test]
    fn chunks_make_one_prefill((mut batch, seed) in batches(), len in 1..14usize) {
        batch.causal = true;
        batch.lens = vec![(len, len)];
        let batch = batch.fill(&mut Random::new(seed));
        let whole = batch.run();
        let mut random = Random::new(!seed);
        for most in [1, 5] {
            let (mut out, mut lse, mut start) = (Vec::new(), Vec::new(), 0);
            while start < len {
                let end = len.min(start + 1 + random.below(most));
                let chunk = Batch {
                    lens: vec![(end - start, end)],
                    q: batch.q[start * batch.q_width()..end * batch.q_width()].to_vec(),
                    k: batch.k[..end * batch.kv_width()].to_vec(),
                    v: batch.v[..end * batch.kv_width()].to_vec(),
                    ..batch.clone()
                };
                let part = chunk.run();
                out.extend(part.out);
                lse.extend(part.lse);
                start = end;
            }
            assert!(same_bits(&out, &whole.out) && same_bits(&lse, &whole.lse));
        }
    }

    /// Pages in any order with NaN wherever no key is, and table entries past a sequence's end that
    /// lead nowhere.
    #[test]
    fn pages_change_nothing(
        (batch, seed) in batches(), page_size in prop_oneof![Just(1usize), Just(3), Just(16)],
        gaps in any::<[bool; 3]>(),
    ) {
        let mut random = Random::new(!seed);
        let pages_of = |len: usize| len.div_ceil(page_size);
        let used: usize = batch.lens.iter().map(|lens| pages_of(lens.1)).sum();
        let (pages, kv_heads) = (used + random.below(3), batch.kv_heads);
        let mut layout = CacheLayout::packed(pages, page_size, kv_heads, batch.head_dim).unwrap();
        layout.head_stride += u64::from(gaps[0]);
        layout.position_stride = layout.head_stride * kv_heads as u64 + u64::from(gaps[1]);
        layout.page_stride = layout.position_stride * page_size as u64 + u64::from(gaps[2]);
        let elements = layout.elements("test").unwrap();
        let mut caches = [vec![f64::NAN; elements], vec![f64::NAN; elements]];

        let mut free = random.permutation(pages);
        let lens: Vec<usize> = batch.lens.iter().map(|lens| lens.1).collect();
        let max_pages = lens.iter().map(|&len| pages_of(len)).max().unwrap_or(0) + random.below(2);
        let mut block_table = Vec::new();
        let mut key = 0;
        for &len in &lens {
            let row = block_table.len();
            block_table.extend((0..pages_of(len)).map(|_| free.pop().unwrap() as i32));
            for position in 0..len {
                let page = block_table[row + position / page_size] as u64;
                for head in 0..kv_heads {
                    let at = page * layout.page_stride
                        + (position % page_size) as u64 * layout.position_stride
                        + head as u64 * layout.head_stride;
                    let from = (key * kv_heads + head) * batch.head_dim;
                    for (cache, array) in caches.iter_mut().zip([&batch.k, &batch.v]) {
                        cache[at as usize..][..batch.head_dim]
                            .copy_from_slice(&array[from..][..batch.head_dim]);
                    }
                }
                key += 1;
            }
            block_table.resize(row + max_pages, [-1, i32::MAX, 0][random.below(3)]);
        }
        let kv = KvIndex::Paged { layout: &layout, block_table: &block_table, lens: &lens };
        let (found, want) = (batch.run_on(&caches[0], &caches[1], kv), batch.run());
        assert!(same_bits(&found.out, &want.out) && same_bits(&found.lse, &want.lse));
    }

    #[test]
    fn groups_share_their_head((batch, _) in batches()) {
        let repeat = |x: &[f64]| -> Vec<f64> {
            x.chunks(batch.head_dim).flat_map(|head| head.repeat(batch.group)).collect()
        };
        let every = Batch {
            kv_heads: batch.q_heads(),
            group: 1,
            k: repeat(&batch.k),
            v: repeat(&batch.v),
            ..batch.clone()
        };
        let (found, want) = (batch.run(), every.run());
        assert!(same_bits(&found.out, &want.out) && same_bits(&found.lse, &want.lse));
    }

    /// Every key is found by a query that points at it, also beside each page's edge.
    #[test]
    fn a_needle_is_found(
        kv_heads in 1..3usize, page_size in prop_oneof![Just(1usize), Just(3), Just(16)],
        len in 1..40usize,
    ) {
        // Keys are one-hot, so that no two are alike; the value of each is its number.
        let layout = CacheLayout::packed(len.div_ceil(page_size), page_size, kv_heads, len).unwrap();
        let mut k = vec![f64::NAN; layout.elements("test").unwrap()];
        let mut v = k.clone();
        for (row, position) in (0..len).flat_map(|position| vec![position; kv_heads]).enumerate() {
            k[row * len..][..len].fill(0.0);
            k[row * len + position] = 1.0;
            v[row * len..][..len].fill(position as f64);
        }
        let block_table: Vec<i32> = (0..layout.pages as i32).collect();
        let kv = KvIndex::Paged { layout: &layout, block_table: &block_table, lens: &[len] };
        for needle in 0..len {
            let mut q = vec![0.0; kv_heads * len];
            q.chunks_mut(len).for_each(|q| q[needle] = 100.0);
            let found =
                attention(&q, &[0, 1], kv_heads, &k, &v, kv, 1.0, true, Rounding::F64).unwrap();
            // The others weigh exp(-100) each.
            assert_near(&found.out, &vec![needle as f64; q.len()], |_| 1e-12);
            assert_near(&found.lse, &vec![100.0; kv_heads], |_| 1e-12);
        }
    }

    /// What split decoding does: parts of the keys, merged through their lse.
    #[test]
    fn halves_of_the_keys_merge((mut batch, seed) in batches(), len in 1..40usize, q_len in 1..4usize) {
        batch.causal = false;
        batch.lens = vec![(q_len, len)];
        let batch = batch.fill(&mut Random::new(seed));
        let cut = Random::new(!seed).below(len + 1) * batch.kv_width();
        let part = |from: usize, to: usize| {
            let (k, v) = (batch.k[from..to].to_vec(), batch.v[from..to].to_vec());
            let lens = vec![(q_len, (to - from) / batch.kv_width())];
            Batch { lens, k, v, ..batch.clone() }.run()
        };
        let (whole, low, high) = (batch.run(), part(0, cut), part(cut, batch.k.len()));
        for (row, &lse) in whole.lse.iter().enumerate() {
            let (a, b) = (low.lse[row].exp(), high.lse[row].exp());
            assert!(((a + b).ln() - lse).abs() < SLACK);
            let row = row * batch.head_dim..(row + 1) * batch.head_dim;
            let merged: Vec<f64> = low.out[row.clone()]
                .iter()
                .zip(&high.out[row.clone()])
                .map(|(low, high)| (a * low + b * high) / (a + b))
                .collect();
            assert_near(&merged, &whole.out[row], |_| SLACK);
        }
    }

    #[test]
    fn every_named_point_is_rounded((mut batch, seed) in batches()) {
        batch.lens = vec![(1, 5)];
        let batch = batch.fill(&mut Random::new(seed));
        let round = |x: f64| -> f64 { bf16::from_f32(x as f32).into() };
        let kv = KvIndex::Contiguous {
            cu_lens: &[0, 5],
            kv_heads: batch.kv_heads,
            head_dim: batch.head_dim,
        };
        let (q, q_heads) = (&batch.q, batch.q_heads());
        let found = attention(q, &[0, 1], q_heads, &batch.k, &batch.v, kv, SCALE, true, Rounding::Bf16)
            .unwrap();
        batch.each(|row, seen| {
            // A power of two and 3: the product with the scale is exact in f64, so its division is.
            let scores: Vec<f64> =
                seen.iter().map(|(score, _)| round(round(score / SCALE) * SCALE)).collect();
            let lse = scores.iter().map(|score| score.exp()).sum::<f64>().ln();
            assert!((found.lse[row] - lse).abs() < SLACK);
            for d in 0..batch.head_dim {
                let lse = found.lse[row];
                let weighed = scores.iter().zip(&seen).map(|(s, (_, v))| round((s - lse).exp()) * v[d]);
                assert_eq!(found.out[row * batch.head_dim + d], round(weighed.sum()));
            }
        });
    }
}

/// Large scores overflow `exp` unless the largest is taken out first.
#[test]
fn large_scores() {
    let kv = KvIndex::Contiguous { cu_lens: &[0, 2], kv_heads: 1, head_dim: 1 };
    let run = |q: f64| {
        attention(&[q], &[0, 1], 1, &[1e4, 1e4], &[1.0, 3.0], kv, 1.0, true, Rounding::F64).unwrap()
    };
    for (q, lse) in [(1e4, 1e8), (-1e4, -1e8)] {
        let found = run(q);
        // lse is rounded to a multiple of 2^-26, which scales both probabilities.
        assert_near(&found.out, &[2.0], |_| 2.0 * 2f64.powi(-26));
        assert!((found.lse[0] - lse - 2f64.ln()).abs() < 1e-7);
    }
}

/// The last query sees all keys, and the first of more queries than keys sees none.
#[test]
fn the_mask_is_aligned_with_the_end() {
    let run = |q_len: usize, kv_len: usize| {
        let (zeros, v): (Vec<f64>, Vec<f64>) =
            (vec![0.0; kv_len], (0..kv_len).map(|key| 2f64.powi(key as i32)).collect());
        let kv = KvIndex::Contiguous { cu_lens: &[0, kv_len], kv_heads: 1, head_dim: 1 };
        let q = vec![0.0; q_len];
        attention(&q, &[0, q_len], 1, &zeros, &v, kv, 1.0, true, Rounding::F64).unwrap()
    };
    let (a, b, c) = (1.5, 7.0 / 3.0, 3.75);
    for (found, want) in [
        (run(4, 4), &[1.0, a, b, c][..]),
        (run(2, 4), &[b, c]),
        (run(1, 4), &[c]),
        (run(4, 2), &[0.0, 0.0, 1.0, a]),
        (run(2, 0), &[0.0, 0.0]),
    ] {
        assert_near(&found.out, want, |_| 1e-12);
        let none = want.iter().filter(|x| **x == 0.0).count();
        assert_eq!(found.lse.iter().filter(|lse| **lse == f64::NEG_INFINITY).count(), none);
    }
}

#[test]
fn refusals() {
    let run = |q: usize, cu_q_lens: &[usize], q_heads, k: usize, v: usize, kv: KvIndex<'_>| {
        let [q, k, v] = [q, k, v].map(|elements| vec![0f32; elements]);
        attention(&q, cu_q_lens, q_heads, &k, &v, kv, 1.0, true, Rounding::F32)
    };
    let contiguous = |cu_lens| KvIndex::Contiguous { cu_lens, kv_heads: 2, head_dim: 3 };
    // Two sequences of 1 and 2 queries, 4 and 2 keys.
    let (cu_q_lens, kv) = (&[0, 1, 3][..], contiguous(&[0, 4, 6]));
    run(36, cu_q_lens, 4, 36, 36, kv).unwrap();
    for (found, text) in [
        (run(35, cu_q_lens, 4, 36, 36, kv), "q has 35 elements, expected [3, 4, 3]"),
        (run(36, cu_q_lens, 4, 35, 36, kv), "k has 35 elements, expected [6, 2, 3]"),
        (run(36, cu_q_lens, 4, 36, 37, kv), "v has 37 elements, expected [6, 2, 3]"),
        (run(27, cu_q_lens, 3, 36, 36, kv), "q_heads is 3, expected a multiple of kv_heads = 2"),
        (run(36, &[0, 3], 4, 36, 36, kv), "cu_q_lens has shape [2], expected [3]"),
        (run(36, &[], 4, 36, 36, kv), "cu_q_lens is [], expected ascending from 0"),
        (run(36, &[1, 1, 3], 4, 36, 36, kv), "cu_q_lens is [1, 1, 3], expected ascending from 0"),
        (run(36, &[0, 4, 3], 4, 36, 36, kv), "cu_q_lens is [0, 4, 3], expected ascending from 0"),
        (
            run(36, cu_q_lens, 4, 36, 36, contiguous(&[0, 7, 6])),
            "kv cu_lens is [0, 7, 6], expected ascending from 0",
        ),
    ] {
        assert_eq!(refusal(found), format!("attention: {text}"));
    }
    refusal(run(36, cu_q_lens, usize::MAX, 36, 36, kv));
    refusal(run(36, &[0, 1, usize::MAX], 4, 36, 36, kv));
    refusal(run(36, cu_q_lens, 4, 36, 36, contiguous(&[0, 4, usize::MAX])));
    refusal(run(36, cu_q_lens, 4, 36, 36, contiguous(&[])));
    for (kv_heads, head_dim) in [(0, 3), (2, 0), (usize::MAX, 0), (usize::MAX, usize::MAX)] {
        let kv = KvIndex::Contiguous { cu_lens: &[0, 0, 0], kv_heads, head_dim };
        refusal(
            run(0, &[0, 1, 1], 0, 0, 0, kv).and_then(|_| run(0, &[0, 1, 1], kv_heads, 0, 0, kv)),
        );
    }
    let none = run(0, &[0], 4, 0, 0, contiguous(&[0])).unwrap();
    assert!(none.out.is_empty() && none.lse.is_empty());
    assert!(run(0, &[0, 0, 0], 4, 36, 36, kv).unwrap().out.is_empty());
}

#[test]
fn refusals_of_pages() {
    let layout = CacheLayout::packed(3, 4, 1, 2).unwrap();
    let run = |block_table: &[i32], lens: &[usize], layout: &CacheLayout, elements: usize| {
        let cache = vec![0f32; elements];
        let kv = KvIndex::Paged { layout, block_table, lens };
        let cu_q_lens: Vec<usize> = (0..=lens.len()).collect();
        let q = vec![0f32; 2 * lens.len()];
        attention(&q, &cu_q_lens, 1, &cache, &cache, kv, 1.0, true, Rounding::F32)
    };
    run(&[2, 0, 1, -1], &[8, 4], &layout, 24).unwrap();
    for (found, text) in [
        (
            run(&[2, 3, 1, -1], &[8, 4], &layout, 24),
            "block_table[0, 1] is 3, expected at least 0 and less than pages = 3",
        ),
        (
            run(&[2, 0, -1, -1], &[8, 4], &layout, 24),
            "block_table[1, 0] is -1, expected at least 0 and less than pages = 3",
        ),
        (
            run(&[2, 0, 1, 1], &[8, 9], &layout, 24),
            "kv lens[1] is 9, expected at most 2 pages of 4",
        ),
        (
            run(&[2, 0, 1], &[8, 4], &layout, 24),
            "block_table.len() is 3, expected a multiple of the 2 sequences, pages not empty",
        ),
        (run(&[2, 0, 1, -1], &[8, 4], &layout, 23), "k has shape [23], expected [24]"),
    ] {
        assert_eq!(refusal(found), format!("attention: {text}"));
    }
    refusal(run(&[2, 0], &[usize::MAX], &layout, 24));
    // A layout that repeats a position for ever would hold any length.
    let endless = CacheLayout { page_size: usize::MAX, position_stride: 0, ..layout };
    refusal(run(&[0], &[usize::MAX], &endless, 24));
    let empty = CacheLayout { page_size: 0, ..layout };
    refusal(run(&[0], &[1], &empty, 24));
    run(&[], &[0], &empty, 0).unwrap();
    run(&[], &[], &layout, 24).unwrap();
}
