//! Token embedding: one row of a table for each token.

use crate::error::{Error, Result, check_rows};
use crate::rounding::Real;

/// Looks up the row of each token id.
///
/// ```text
/// out[t, :] = table[ids[t], :]
/// ```
///
/// | argument | dtype         | shape              | note                   |
/// |----------|---------------|--------------------|------------------------|
/// | `table`  | f32, f16, bf16| `[vocab, hidden]`  |                        |
/// | `hidden` |               |                    | the length of a row    |
/// | `ids`    | u32           | `[tokens]`         | each less than `vocab` |
/// | returns  | f64           | `[tokens, hidden]` |                        |
///
/// Nothing is rounded: f64 holds every stored type. Zero tokens give an empty result.
///
/// # Errors
///
/// `Value` if `table` is no whole number of rows, or names the first id outside the vocabulary.
///
/// Source: databricks/dbrx `modeling_dbrx.py`, `DbrxModel.wte`. DBRX scales nothing here.
pub fn embedding(table: &[impl Real], hidden: usize, ids: &[u32]) -> Result<Vec<f64>> {
    let vocab = check_rows("embedding", "table", table.len(), hidden)?;
    if let Some(token) = ids.iter().position(|&id| id as usize >= vocab) {
        let (argument, expected) = (format!("ids[{token}]"), format!("less than vocab = {vocab}"));
        return Err(Error::value("embedding", argument, ids[token], expected));
    }
    let mut out = Vec::with_capacity(ids.len() * hidden);
    for &id in ids {
        out.extend(table[id as usize * hidden..][..hidden].iter().map(|&x| x.into()));
    }
    Ok(out)
}
