//! Grouped-query attention over batches of sequences of different lengths (GQA: arXiv:2305.13245).

use crate::error::{Error, Result, check_shape};
use crate::kv_cache::CacheLayout;
use crate::rounding::{Real, Rounding};

/// Where each sequence's keys and values are.
#[derive(Clone, Copy, Debug)]
pub enum KvIndex<'a> {
    /// K and V are `[total keys, kv_heads, head_dim]`, the sequences one after another. Sequence s
    /// has the keys `cu_lens[s]..cu_lens[s + 1]`, `[sequences + 1]`.
    Contiguous {
        /// Cumulative lengths, from 0.
        cu_lens: &'a [usize],
        /// The key and value heads.
        kv_heads: usize,
        /// The elements of a head.
        head_dim: usize,
    },
    /// K and V are caches of one layout. Position p of sequence s is in the page
    /// `block_table[s, p / page_size]`.
    Paged {
        /// Extents and strides of both caches.
        layout: &'a CacheLayout,
        /// Page numbers, `[sequences, max_pages]`. Entries past a sequence's length are not read.
        block_table: &'a [i32],
        /// The keys of each sequence, `[sequences]`.
        lens: &'a [usize],
    },
}

/// What [`attention`] returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// `[tokens, q_heads, head_dim]`.
    pub out: Vec<f64>,
    /// The natural logarithm of each softmax's denominator, `[tokens, q_heads]`.
    pub lse: Vec<f64>,
}

/// Attends from every query to the keys of its own sequence.
///
/// Query head h reads key and value head `h / (q_heads / kv_heads)`. In a sequence of `q_len`
/// queries and `kv_len` keys, with the causal mask query i sees the keys `j <= i + kv_len - q_len`:
/// the last query sees every key (bottom-right alignment). Over the keys j that query i sees:
///
/// ```text
/// s[j]   = scale * sum over d of q[i, h, d] * k[j, h', d]
/// lse    = log(sum over j of exp(s[j]))
/// out[d] = sum over j of exp(s[j] - lse) * v[j, h', d]
/// ```
///
/// | argument   | dtype    | shape                         | note                                 |
/// |------------|----------|-------------------------------|--------------------------------------|
/// | `q`        | f32, f64 | `[tokens, q_heads, head_dim]` | the sequences one after another      |
/// | `cu_q_lens`| usize    | `[sequences + 1]`             | cumulative query counts, from 0      |
/// | `q_heads`  |          |                               | a multiple of the key and value heads|
/// | `k`, `v`   | f32, f64 |                               | as `kv` says                         |
/// | `scale`    | f64      |                               | DBRX: `1 / sqrt(head_dim)`           |
/// | `causal`   |          |                               |                                      |
///
/// A query that sees no key gives zeros and `lse` = -inf. Keys and values that no query sees are
/// not read. The sum of products, its scaled value, each probability, and each element of `out` are
/// rounded by `rounding`; the softmax and `lse` are f64.
///
/// # Errors
///
/// `Shape` if an array does not match, `Value` if cumulative lengths do not ascend from 0, heads
/// are empty, `q_heads` is not a multiple of the key and value heads, or a page is not in the cache.
///
/// Source: databricks/dbrx `modeling_dbrx.py`, `DbrxAttention.forward`; mask alignment as in
/// FlashAttention since 2.1; paged caches as in arXiv:2309.06180.
#[expect(clippy::too_many_arguments, reason = "one argument for each row of the table")]
pub fn attention<T: Real>(
    q: &[T],
    cu_q_lens: &[usize],
    q_heads: usize,
    k: &[T],
    v: &[T],
    kv: KvIndex<'_>,
    scale: f64,
    causal: bool,
    rounding: Rounding,
) -> Result<Attention> {
    kv.check_queries(q.len(), cu_q_lens, q_heads, k.len(), v.len())?;
    let (kv_heads, head_dim) = kv.head_extents();
    let (sequences, tokens) = (cu_q_lens.len() - 1, cu_q_lens[cu_q_lens.len() - 1]);
    let group = q_heads / kv_heads;

    let mut out = Vec::with_capacity(q.len());
    let mut lse = Vec::with_capacity(tokens * q_heads);
    for sequence in 0..sequences {
        let q_len = cu_q_lens[sequence + 1] - cu_q_lens[sequence];
        let kv_len = kv.len(sequence);
        for i in 0..q_len {
            let visible = if causal { (i + 1 + kv_len).saturating_sub(q_len) } else { kv_len };
            for head in 0..q_heads {
                let token = cu_q_lens[sequence] + i;
                let q = &q[(token * q_heads + head) * head_dim..][..head_dim];
                let row = |position| kv.offset(sequence, position, head / group);

                let scores: Vec<f64> = (0..visible)
                    .map(|position| {
                        let k = &k[row(position)..][..head_dim];
                        let mut sum = 0.0;
                        for (&q, &k) in q.iter().zip(k) {
                            sum += q.into() * k.into();
                        }
                        rounding.round(rounding.round(sum) * scale)
                    })
                    .collect();

                let log_sum = log_sum_exp(&scores);
                let mut sum = vec![0.0; head_dim];
                for (position, score) in scores.iter().enumerate() {
                    let p = rounding.round((score - log_sum).exp());
                    let v = &v[row(position)..][..head_dim];
                    for (sum, &v) in sum.iter_mut().zip(v) {
                        *sum += p * v.into();
                    }
                }
                out.extend(sum.iter().map(|&sum| rounding.round(sum)));
                lse.push(log_sum);
            }
        }
    }
    Ok(Attention { out, lse })
}

/// `log(sum(exp(scores)))`, -inf for no scores. The largest score is taken out first.
fn log_sum_exp(scores: &[f64]) -> f64 {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shift = if largest == f64::NEG_INFINITY { 0.0 } else { largest };
    shift + scores.iter().map(|score| (score - shift).exp()).sum::<f64>().ln()
}

impl KvIndex<'_> {
    /// Checks every argument of [`attention`]; the arrays by their element counts.
    pub(crate) fn check_queries(
        &self,
        q: usize,
        cu_q_lens: &[usize],
        q_heads: usize,
        k: usize,
        v: usize,
    ) -> Result<()> {
        let sequences = self.check(k, v)?;
        let (kv_heads, head_dim) = self.head_extents();
        check_cumulative("cu_q_lens", cu_q_lens)?;
        if cu_q_lens.len() != sequences + 1 {
            let (found, expected) = (vec![cu_q_lens.len()], vec![sequences + 1]);
            return Err(Error::Shape {
                operator: "attention",
                argument: "cu_q_lens",
                found,
                expected,
            });
        }
        check_shape("attention", "q", q, &[cu_q_lens[sequences], q_heads, head_dim])?;
        if head_dim == 0 {
            return Err(Error::value("attention", "head_dim", head_dim, "at least 1"));
        }
        if kv_heads == 0 || !q_heads.is_multiple_of(kv_heads) {
            let expected = format!("a multiple of kv_heads = {kv_heads}");
            return Err(Error::value("attention", "q_heads", q_heads, expected));
        }
        Ok(())
    }

    /// Checks both arrays' lengths and every page that is read; returns the number of sequences.
    fn check(&self, k: usize, v: usize) -> Result<usize> {
        match *self {
            KvIndex::Contiguous { cu_lens, kv_heads, head_dim } => {
                check_cumulative("kv cu_lens", cu_lens)?;
                let keys = cu_lens[cu_lens.len() - 1];
                check_shape("attention", "k", k, &[keys, kv_heads, head_dim])?;
                check_shape("attention", "v", v, &[keys, kv_heads, head_dim])?;
                Ok(cu_lens.len() - 1)
            }
            KvIndex::Paged { layout, block_table, lens } => {
                let elements = layout.elements("attention")?;
                for (argument, found) in [("k", k), ("v", v)] {
                    if found < elements {
                        let (found, expected) = (vec![found], vec![elements]);
                        return Err(Error::Shape {
                            operator: "attention",
                            argument,
                            found,
                            expected,
                        });
                    }
                }
                self.check_pages(layout, block_table, lens)?;
                Ok(lens.len())
            }
        }
    }

    fn check_pages(&self, layout: &CacheLayout, block_table: &[i32], lens: &[usize]) -> Result<()> {
        let refuse = |argument: String, found: String, expected: String| {
            Err(Error::value("attention", argument, found, expected))
        };
        if lens.is_empty() || lens.iter().all(|&len| len == 0) {
            return Ok(());
        }
        let max_pages = block_table.len() / lens.len();
        if !block_table.len().is_multiple_of(lens.len()) || layout.page_size == 0 {
            let expected = format!("a multiple of the {} sequences, pages not empty", lens.len());
            return refuse("block_table.len()".into(), block_table.len().to_string(), expected);
        }
        for (sequence, &len) in lens.iter().enumerate() {
            let pages = len.div_ceil(layout.page_size);
            if pages > max_pages {
                let expected = format!("at most {max_pages} pages of {}", layout.page_size);
                return refuse(format!("kv lens[{sequence}]"), len.to_string(), expected);
            }
            for (page, &number) in block_table[sequence * max_pages..][..pages].iter().enumerate() {
                if usize::try_from(number).ok().is_none_or(|number| number >= layout.pages) {
                    let argument = format!("block_table[{sequence}, {page}]");
                    let expected = format!("at least 0 and less than pages = {}", layout.pages);
                    return refuse(argument, number.to_string(), expected);
                }
            }
        }
        Ok(())
    }

    /// `(kv_heads, head_dim)`.
    pub(crate) fn head_extents(&self) -> (usize, usize) {
        match *self {
            KvIndex::Contiguous { kv_heads, head_dim, .. } => (kv_heads, head_dim),
            KvIndex::Paged { layout, .. } => (layout.kv_heads, layout.head_dim),
        }
    }

    /// The keys of a sequence.
    pub(crate) fn len(&self, sequence: usize) -> usize {
        match *self {
            KvIndex::Contiguous { cu_lens, .. } => cu_lens[sequence + 1] - cu_lens[sequence],
            KvIndex::Paged { lens, .. } => lens[sequence],
        }
    }

    /// The offset of a position's row of one head, in K and in V.
    pub(crate) fn offset(&self, sequence: usize, position: usize, head: usize) -> usize {
        match *self {
            KvIndex::Contiguous { cu_lens, kv_heads, head_dim } => {
                ((cu_lens[sequence] + position) * kv_heads + head) * head_dim
            }
            KvIndex::Paged { layout, block_table, lens } => {
                let max_pages = block_table.len() / lens.len();
                let page = block_table[sequence * max_pages + position / layout.page_size];
                layout.offset(page as usize, position % layout.page_size, head)
            }
        }
    }
}

/// Checks that cumulative lengths start at 0 and ascend.
fn check_cumulative(argument: &'static str, lens: &[usize]) -> Result<()> {
    if lens.first() == Some(&0) && lens.is_sorted() {
        return Ok(());
    }
    Err(Error::value("attention", argument, format!("{lens:?}"), "ascending from 0"))
}
