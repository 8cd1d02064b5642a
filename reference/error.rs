//! The one error type of the operators and the model.

use std::fmt;

/// What an operator or the model can refuse. Nothing was written when one of these comes back.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// Two arguments disagree: `rope: positions has shape [7], expected [8]`.
    Shape {
        /// The operator that refused.
        operator: &'static str,
        /// The argument as the operator's page names it.
        argument: &'static str,
        /// The extents found. A flat slice has one.
        found: Vec<usize>,
        /// The extents that the other arguments ask for.
        expected: Vec<usize>,
    },
    /// One value is out of range: `embedding: ids[3] is 2048, expected less than 2048`.
    Value {
        /// The operator that refused.
        operator: &'static str,
        /// The argument, with its index where it has one.
        argument: String,
        /// The value found.
        found: String,
        /// What would have been accepted.
        expected: String,
    },
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Shape { operator, argument, found, expected } => match found[..] {
                [elements] if expected.len() > 1 => {
                    write!(
                        f,
                        "{operator}: {argument} has {elements} elements, expected {expected:?}"
                    )
                }
                _ => write!(f, "{operator}: {argument} has shape {found:?}, expected {expected:?}"),
            },
            Error::Value { operator, argument, found, expected } => {
                write!(f, "{operator}: {argument} is {found}, expected {expected}")
            }
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// An [`Error::Value`] from anything that prints.
    pub(crate) fn value(
        operator: &'static str,
        argument: impl Into<String>,
        found: impl fmt::Display,
        expected: impl Into<String>,
    ) -> Error {
        let (argument, expected) = (argument.into(), expected.into());
        Error::Value { operator, argument, found: found.to_string(), expected }
    }
}

/// Checks that a flat slice of `elements` holds an array of shape `expected`.
///
/// The product saturates, so extents whose product passes `usize` cannot match any slice.
pub(crate) fn check_shape(
    operator: &'static str,
    argument: &'static str,
    elements: usize,
    expected: &[usize],
) -> Result<()> {
    if elements == expected.iter().fold(1, |product: usize, &extent| product.saturating_mul(extent))
    {
        return Ok(());
    }
    Err(Error::Shape { operator, argument, found: vec![elements], expected: expected.to_vec() })
}

/// The number of rows of `row` elements in a flat slice of `elements`.
///
/// A row of zero elements is an error unless the slice is empty too, which has zero rows.
pub(crate) fn check_rows(
    operator: &'static str,
    argument: &'static str,
    elements: usize,
    row: usize,
) -> Result<usize> {
    match row {
        0 if elements == 0 => Ok(0),
        0 => Err(Error::value(
            operator,
            format!("{argument}.len()"),
            elements,
            "0, as rows are empty",
        )),
        _ if elements.is_multiple_of(row) => Ok(elements / row),
        _ => {
            let expected = format!("a multiple of the row length {row}");
            Err(Error::value(operator, format!("{argument}.len()"), elements, expected))
        }
    }
}
