//! The two matrix products of the experts: each expert multiplies its own rows.

use crate::error::{Error, Result, check_rows, check_shape};
use crate::rounding::{Real, Rounding};

/// The first product of every expert, with the gate applied: `SiLU(x w1^T) * (x v1^T)`.
///
/// For each row r of expert e, with `x = h[tokens_of_rows[r], :]` and `SiLU(g) = g / (1 + exp(-g))`:
///
/// ```text
/// gate[r, f] = sum over i of x[i] * w1[e, f, i]
/// up[r, f]   = sum over i of x[i] * v1[e, f, i]
/// out[r, f]  = SiLU(gate[r, f]) * up[r, f]
/// ```
///
/// | argument         | dtype    | shape                           | note                            |
/// |------------------|----------|---------------------------------|---------------------------------|
/// | `h`              | f32, f64 | `[tokens, hidden]`              |                                 |
/// | `hidden`         |          |                                 |                                 |
/// | `tokens_of_rows` | usize    | `[rows]`                        | the token that each row gathers |
/// | `offsets`        | usize    | `[experts + 1]`                 | first row of each expert        |
/// | `w1`             | f32      | `[experts, ffn_hidden, hidden]` | the gate                        |
/// | `v1`             | f32      | `[experts, ffn_hidden, hidden]` |                                 |
/// | returns          | f64      | `[rows, ffn_hidden]`            |                                 |
///
/// Products and sums are f64. `gate`, `SiLU(gate)`, `up` and `out` are each rounded by `rounding`.
/// An expert without rows does nothing.
///
/// # Errors
///
/// `Shape` if the weights do not match, `Value` if `offsets` do not ascend from 0 to `rows` or a
/// row's token is not in `h`.
///
/// Source: databricks/dbrx `modeling_dbrx.py`, `DbrxExpertGLU.forward`.
pub fn up(
    h: &[impl Real],
    hidden: usize,
    tokens_of_rows: &[usize],
    offsets: &[usize],
    w1: &[f32],
    v1: &[f32],
    rounding: Rounding,
) -> Result<Vec<f64>> {
    let tokens = check_rows("grouped_gemm up", "h", h.len(), hidden)?;
    check_offsets("grouped_gemm up", offsets, tokens_of_rows.len())?;
    let ffn_hidden = expert_extent("grouped_gemm up", "w1", w1.len(), offsets, hidden)?;
    let experts = offsets.len() - 1;
    check_shape("grouped_gemm up", "v1", v1.len(), &[experts, ffn_hidden, hidden])?;
    for (row, &token) in tokens_of_rows.iter().enumerate() {
        if token >= tokens {
            let (argument, expected) =
                (format!("tokens_of_rows[{row}]"), format!("less than tokens = {tokens}"));
            return Err(Error::value("grouped_gemm up", argument, token, expected));
        }
    }

    let mut out = Vec::with_capacity(tokens_of_rows.len() * ffn_hidden);
    for expert in 0..experts {
        for &token in &tokens_of_rows[offsets[expert]..offsets[expert + 1]] {
            let x = &h[token * hidden..][..hidden];
            for feature in 0..ffn_hidden {
                let row = (expert * ffn_hidden + feature) * hidden;
                let (mut gate, mut up) = (0.0, 0.0);
                for ((&x, &w1), &v1) in x.iter().zip(&w1[row..]).zip(&v1[row..]) {
                    let x: f64 = x.into();
                    gate += x * f64::from(w1);
                    up += x * f64::from(v1);
                }
                let gate = rounding.round(silu(rounding.round(gate)));
                out.push(rounding.round(gate * rounding.round(up)));
            }
        }
    }
    Ok(out)
}

/// The second product of every expert, scaled by the routing weight.
///
/// For each row r of expert e:
///
/// ```text
/// y[r, i]   = sum over f of x[r, f] * w2[e, f, i]
/// out[r, i] = y[r, i] * weights[r]
/// ```
///
/// | argument     | dtype    | shape                           | note                             |
/// |--------------|----------|---------------------------------|----------------------------------|
/// | `x`          | f32, f64 | `[rows, ffn_hidden]`            | of [`up`]                        |
/// | `ffn_hidden` |          |                                 |                                  |
/// | `offsets`    | usize    | `[experts + 1]`                 | first row of each expert         |
/// | `w2`         | f32      | `[experts, ffn_hidden, hidden]` | input by output, as stored       |
/// | `weights`    | f64      | `[rows]`                        | of the router, in the row's order|
/// | returns      | f64      | `[rows, hidden]`                |                                  |
///
/// Products and sums are f64. `y` and `out` are each rounded by `rounding`.
///
/// # Errors
///
/// `Shape` if `weights` or `w2` do not match, `Value` if `x` is no whole number of rows or
/// `offsets` do not ascend from 0 to `rows`.
///
/// Source: databricks/dbrx `modeling_dbrx.py`, `DbrxExpertGLU.forward` and `DbrxExperts.forward`.
pub fn down(
    x: &[impl Real],
    ffn_hidden: usize,
    offsets: &[usize],
    w2: &[f32],
    weights: &[f64],
    rounding: Rounding,
) -> Result<Vec<f64>> {
    let rows = check_rows("grouped_gemm down", "x", x.len(), ffn_hidden)?;
    check_offsets("grouped_gemm down", offsets, rows)?;
    let hidden = expert_extent("grouped_gemm down", "w2", w2.len(), offsets, ffn_hidden)?;
    check_shape("grouped_gemm down", "weights", weights.len(), &[rows])?;

    let mut out = Vec::with_capacity(rows * hidden);
    for expert in 0..offsets.len() - 1 {
        for row in offsets[expert]..offsets[expert + 1] {
            let mut y = vec![0.0; hidden];
            for feature in 0..ffn_hidden {
                let x: f64 = x[row * ffn_hidden + feature].into();
                let w2 = &w2[(expert * ffn_hidden + feature) * hidden..][..hidden];
                for (y, &w2) in y.iter_mut().zip(w2) {
                    *y += x * f64::from(w2);
                }
            }
            out.extend(y.iter().map(|&y| rounding.round(rounding.round(y) * weights[row])));
        }
    }
    Ok(out)
}

/// The sigmoid-weighted linear unit, `g / (1 + exp(-g))`. At -inf it is the limit 0, not NaN.
fn silu(g: f64) -> f64 {
    if g == f64::NEG_INFINITY { 0.0 } else { g / (1.0 + (-g).exp()) }
}

/// Checks that `offsets` ascend from 0 to `rows`.
pub(crate) fn check_offsets(operator: &'static str, offsets: &[usize], rows: usize) -> Result<()> {
    let ascend = offsets.first() == Some(&0) && offsets.is_sorted();
    if ascend && offsets.last() == Some(&rows) {
        return Ok(());
    }
    let (found, expected) = (format!("{offsets:?}"), format!("ascending from 0 to rows = {rows}"));
    Err(Error::value(operator, "offsets", found, expected))
}

/// The free extent of a weight `[experts, ffn_hidden, hidden]` of which `known` is the other one.
fn expert_extent(
    operator: &'static str,
    argument: &'static str,
    elements: usize,
    offsets: &[usize],
    known: usize,
) -> Result<usize> {
    check_rows(operator, argument, elements, (offsets.len() - 1).saturating_mul(known))
}
