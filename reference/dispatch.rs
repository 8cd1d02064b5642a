//! Dispatch: the rows of the expert products, sorted by expert.

use crate::error::{Error, Result, check_rows};
use std::ops::Range;

/// What [`dispatch`] returns. `rows` counts the pairs that some local expert takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// The pair `token * top_k + slot` of each row, `[rows]`. Rows of one expert are adjacent, in
    /// ascending order of their pair.
    pub pairs: Vec<usize>,
    /// The first row of each local expert and, last, the number of rows, `[local experts + 1]`.
    pub offsets: Vec<usize>,
    /// The row of each pair, `[tokens * top_k]`; `None` for a pair that no local expert takes.
    pub rows: Vec<Option<usize>>,
}

impl Dispatch {
    /// Cuts each expert's rows into tiles of `tile_rows` rows: the local expert and the first row of each,
    /// experts ascending. A tile holds rows of one expert, so an expert's last one may not be full.
    ///
    /// # Panics
    ///
    /// If `tile_rows` is 0.
    pub fn tiles(&self, tile_rows: usize) -> Vec<[usize; 2]> {
        let tiles_of = |(expert, ends): (usize, &[usize])| -> Vec<[usize; 2]> {
            (ends[0]..ends[1]).step_by(tile_rows).map(|row| [expert, row]).collect()
        };
        self.offsets.windows(2).enumerate().flat_map(tiles_of).collect()
    }
}

/// Sorts the (token, slot) pairs by expert, stably.
///
/// | argument  | dtype | shape             | note                                            |
/// |-----------|-------|-------------------|-------------------------------------------------|
/// | `ids`     | i32   | `[tokens, top_k]` | of [`router`](crate::router::router)            |
/// | `top_k`   |       |                   |                                                 |
/// | `experts` |       |                   | the local experts, `0..experts` without sharding|
///
/// An id outside `experts`, -1 included, contributes nothing: expert parallelism hands each device
/// all ids and its own range. Nothing is rounded. Zero tokens give no rows and all offsets 0.
///
/// # Errors
///
/// `Value` if `ids` is no whole number of rows, or the range is reversed or passes `i32`.
///
/// Source: MegaBlocks (arXiv:2211.15841), section 5.1: the permutation is a stable sort by expert.
pub fn dispatch(ids: &[i32], top_k: usize, experts: Range<usize>) -> Result<Dispatch> {
    check_rows("dispatch", "ids", ids.len(), top_k)?;
    if experts.start > experts.end || i32::try_from(experts.end).is_err() {
        let expected = "an ascending range that ends at 2147483647 or before";
        return Err(Error::value("dispatch", "experts", format!("{experts:?}"), expected));
    }
    let local = |id: i32| {
        let expert = usize::try_from(id).ok()?;
        experts.contains(&expert).then(|| expert - experts.start)
    };

    let mut counts = vec![0; experts.len()];
    for expert in ids.iter().filter_map(|&id| local(id)) {
        counts[expert] += 1;
    }
    let mut offsets = vec![0];
    for count in counts {
        offsets.push(offsets[offsets.len() - 1] + count);
    }

    let mut next = offsets.clone();
    let mut pairs = vec![0; offsets[experts.len()]];
    let mut rows = vec![None; ids.len()];
    for (pair, &id) in ids.iter().enumerate() {
        if let Some(expert) = local(id) {
            pairs[next[expert]] = pair;
            rows[pair] = Some(next[expert]);
            next[expert] += 1;
        }
    }
    Ok(Dispatch { pairs, offsets, rows })
}
