//! Combine: the sum of a token's expert outputs, and the residual.

use crate::error::{Result, check_rows, check_shape};
use crate::rounding::{Real, Rounding};

/// The order in which [`combine`] adds a token's expert outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CombineOrder {
    /// By slot, the largest weight first: this project's kernels.
    Slot,
    /// By expert id: the published code, which visits the experts one after another.
    Expert,
}

/// Adds each token's expert outputs in a fixed order, then the residual.
///
/// ```text
/// y[t, :]   = sum over the slots j of expert_out[rows[t, j], :]
/// out[t, :] = y[t, :] + residual[t, :]
/// ```
///
/// | argument     | dtype         | shape              | note                                      |
/// |--------------|---------------|--------------------|-------------------------------------------|
/// | `expert_out` | f32, f64      | `[rows, hidden]`   | weighted, of `grouped_gemm::down`         |
/// | `hidden`     |               |                    |                                           |
/// | `rows`       | option, usize | `[tokens, top_k]`  | of `dispatch`; `None` adds nothing        |
/// | `top_k`      |               |                    |                                           |
/// | `residual`   | f32, f64      | `[tokens, hidden]` |                                           |
/// | `order`      |               |                    | rows of a higher expert are higher rows   |
/// | returns      | f64           | `[tokens, hidden]` |                                           |
///
/// Each partial sum and the final one are rounded by `rounding`. Zero tokens give an empty result.
///
/// # Errors
///
/// `Value` if `rows` or `expert_out` is no whole number of rows or a row is not in `expert_out`,
/// `Shape` if `residual` does not match.
///
/// Source: databricks/dbrx `modeling_dbrx.py`, `DbrxExperts.forward` (`index_add_`) and `DbrxBlock`.
pub fn combine<T: Real>(
    expert_out: &[T],
    hidden: usize,
    rows: &[Option<usize>],
    top_k: usize,
    residual: &[T],
    order: CombineOrder,
    rounding: Rounding,
) -> Result<Vec<f64>> {
    let tokens = check_rows("combine", "rows", rows.len(), top_k)?;
    let expert_rows = check_rows("combine", "expert_out", expert_out.len(), hidden)?;
    check_shape("combine", "residual", residual.len(), &[tokens, hidden])?;
    if let Some(pair) = rows.iter().position(|row| row.is_some_and(|row| row >= expert_rows)) {
        let (argument, expected) =
            (format!("rows[{pair}]"), format!("less than {expert_rows} rows of expert_out"));
        let found = rows[pair].unwrap_or_default();
        return Err(crate::Error::value("combine", argument, found, expected));
    }

    let mut out = Vec::with_capacity(tokens * hidden);
    for token in 0..tokens {
        let mut slots: Vec<usize> =
            rows[token * top_k..][..top_k].iter().filter_map(|&row| row).collect();
        if order == CombineOrder::Expert {
            slots.sort_unstable();
        }
        for i in 0..hidden {
            let mut y = 0.0;
            for &row in &slots {
                y = rounding.round(y + expert_out[row * hidden + i].into());
            }
            out.push(rounding.round(y + residual[token * hidden + i].into()));
        }
    }
    Ok(out)
}
