//! A weight as a checkpoint stores it: a shape and elements of one of three types.

use half::{bf16, f16};
use std::borrow::Cow;
use std::fmt;

/// A row-major array in its stored type.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    elements: Elements,
}

/// The elements of a [`Tensor`].
#[derive(Clone, PartialEq)]
pub enum Elements {
    /// IEEE single precision.
    F32(Vec<f32>),
    /// IEEE half precision.
    F16(Vec<f16>),
    /// The upper half of an f32.
    Bf16(Vec<bf16>),
}

impl Tensor {
    /// A tensor of this shape, or `None` when the product of the shape is not the element count.
    pub fn new(shape: impl Into<Vec<usize>>, elements: Elements) -> Option<Tensor> {
        let shape = shape.into();
        let product = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
        (product == Some(elements.len())).then_some(Tensor { shape, elements })
    }

    /// The extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements in their stored type.
    pub fn elements(&self) -> &Elements {
        &self.elements
    }

    /// All elements as f32, which holds each stored type exactly. Borrows when they are f32.
    pub fn to_f32(&self) -> Cow<'_, [f32]> {
        match &self.elements {
            Elements::F32(x) => Cow::Borrowed(x),
            Elements::F16(x) => x.iter().map(|x| x.to_f32()).collect(),
            Elements::Bf16(x) => x.iter().map(|x| x.to_f32()).collect(),
        }
    }
}

impl Elements {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Elements::F32(x) => x.len(),
            Elements::F16(x) => x.len(),
            Elements::Bf16(x) => x.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the type as safetensors spells it.
    pub fn dtype(&self) -> &'static str {
        match self {
            Elements::F32(_) => "F32",
            Elements::F16(_) => "F16",
            Elements::Bf16(_) => "BF16",
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {:?})", self.elements.dtype(), self.shape)
    }
}
