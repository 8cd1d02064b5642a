//! Residual addition and layer or RMS normalisation.

use crate::device::NormKind;
use crate::elements::{Element, Name, offsets};
use crate::storage::{StorageMut, check_distinct, write};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, DType, Error, Layout, Result, Shape, Tensor, bail,
};
use half::{bf16, f16};

/// What is added to `x` before it is normalised.
#[derive(Clone, Copy, Debug)]
pub enum Residual<'a> {
    /// Nothing.
    None,
    /// `[tokens, hidden]`; the sum is not kept.
    Add(&'a Tensor),
    /// `[tokens, hidden]`, which the sum replaces.
    Update(&'a Tensor),
}

/// Adds the residual to each row, then shifts the row to mean 0 and scales it to variance 1
/// ([`expertile::layer_norm()`]).
///
/// `x` is `[tokens, hidden]`, `weight` is `[hidden]`; all have one type, bf16, f16 or f32. Returns the
/// normalised rows, without gaps. A sum is rounded to that type before it is normalised.
///
/// # Errors
///
/// Tensors that disagree, with their numbers; on a GPU what no kernel takes, and the driver's.
pub fn layer_norm(
    x: &Tensor,
    residual: Residual<'_>,
    weight: &Tensor,
    epsilon: f32,
) -> Result<Tensor> {
    norm(NormKind::Layer, x, residual, weight, epsilon)
}

/// Adds the residual to each row, then scales the row to a mean square of 1
/// ([`expertile::rms_norm()`]). Arguments, results and errors are those of [`layer_norm`].
///
/// # Errors
///
/// As [`layer_norm`].
pub fn rms_norm(
    x: &Tensor,
    residual: Residual<'_>,
    weight: &Tensor,
    epsilon: f32,
) -> Result<Tensor> {
    norm(NormKind::Rms, x, residual, weight, epsilon)
}

fn norm(
    kind: NormKind,
    x: &Tensor,
    residual: Residual<'_>,
    weight: &Tensor,
    epsilon: f32,
) -> Result<Tensor> {
    let operator = NormOp { kind, epsilon, updated: None };
    match residual {
        Residual::None => x.apply_op2(weight, operator),
        Residual::Add(residual) => x.apply_op3(residual, weight, operator),
        Residual::Update(residual) => {
            check_distinct(
                operator.operator(),
                &[("residual", residual), ("x", x), ("weight", weight)],
                1,
            )?;
            x.apply_op2(weight, NormOp { updated: Some(residual.clone()), ..operator })
        }
    }
}

/// The operator; a residual that is only added is its second argument of three.
pub(crate) struct NormOp {
    pub(crate) kind: NormKind,
    pub(crate) epsilon: f32,
    pub(crate) updated: Option<Tensor>,
}

impl NormOp {
    pub(crate) fn operator(&self) -> &'static str {
        match self.kind {
            NormKind::Layer => "layer_norm",
            NormKind::Rms => "rms_norm",
        }
    }

    /// As `write` names it.
    pub(crate) fn updated_name(&self) -> &'static str {
        match self.kind {
            NormKind::Layer => "layer_norm: residual",
            NormKind::Rms => "rms_norm: residual",
        }
    }

    fn name(&self, argument: &'static str) -> Name {
        Name { operator: self.operator(), argument }
    }

    /// The sum, rounded, and the normalised rows.
    fn rows<T: Element>(
        &self,
        x: (&CpuStorage, &Layout),
        residual: Option<(&CpuStorage, &Layout)>,
        weight: (&CpuStorage, &Layout),
    ) -> Result<(Vec<T>, Vec<T>)> {
        let operator = self.operator();
        let [tokens, hidden] = *x.1.dims() else {
            bail!("{operator}: x is {:?}, expected of shape [tokens, hidden]", x.1.dims());
        };
        if self.epsilon.is_nan() || self.epsilon < 0.0 {
            bail!("{operator}: epsilon is {}, expected at least 0", self.epsilon);
        }
        self.name("weight").check_shape(weight.1, &[hidden])?;
        let weight: Vec<T> = self.name("weight").gather(weight.0, weight.1)?;
        let weight: Vec<f32> = weight.into_iter().map(|weight| weight.into() as f32).collect();
        let residual = residual.map(|(storage, layout)| {
            self.name("residual").check_shape(layout, &[tokens, hidden])?;
            self.name("residual").gather::<T>(storage, layout)
        });
        let residual = residual.transpose()?;
        let x: Vec<T> = self.name("x").gather(x.0, x.1)?;
        let (residual, epsilon) = (residual.as_deref(), f64::from(self.epsilon));
        let (sum, rows) = match self.kind {
            NormKind::Layer => {
                use expertile_reference::layer_norm::layer_norm;
                let norm = layer_norm(&x, residual, &weight, epsilon, T::ROUNDING);
                norm.map(|norm| (norm.sum, norm.normalized))
            }
            NormKind::Rms => {
                use expertile_reference::rms_norm::rms_norm;
                let norm = rms_norm(&x, residual, &weight, epsilon, T::ROUNDING);
                norm.map(|norm| (norm.sum, norm.normalized))
            }
        }
        .map_err(Error::wrap)?;
        Ok((sum.iter().map(T::round).collect(), rows.iter().map(T::round).collect()))
    }

    fn cpu<T: Element>(
        &self,
        x: (&CpuStorage, &Layout),
        residual: Option<(&CpuStorage, &Layout)>,
        weight: (&CpuStorage, &Layout),
    ) -> Result<(CpuStorage, Shape)> {
        let shape = x.1.shape().clone();
        let Some(updated) = &self.updated else {
            let (_, rows) = self.rows::<T>(x, residual, weight)?;
            return Ok((T::to_cpu_storage_owned(rows), shape));
        };
        let mut normalized = Vec::new();
        write(updated, self.updated_name(), |storage, layout| {
            let StorageMut::Cpu(storage) = storage else {
                bail!("{} is not on Cpu, where x is", self.updated_name());
            };
            let (sum, rows) = self.rows::<T>(x, Some((&*storage, layout)), weight)?;
            let elements = self.name("residual").elements_mut::<T>(storage)?;
            for (offset, sum) in offsets(layout).zip(sum) {
                elements[offset] = sum;
            }
            normalized = rows;
            Ok(())
        })?;
        Ok((T::to_cpu_storage_owned(normalized), shape))
    }

    fn dispatch(
        &self,
        x: (&CpuStorage, &Layout),
        residual: Option<(&CpuStorage, &Layout)>,
        weight: (&CpuStorage, &Layout),
    ) -> Result<(CpuStorage, Shape)> {
        match x.0.dtype() {
            DType::BF16 => self.cpu::<bf16>(x, residual, weight),
            DType::F16 => self.cpu::<f16>(x, residual, weight),
            DType::F32 => self.cpu::<f32>(x, residual, weight),
            other => Err(unsupported(self.operator(), other)),
        }
    }
}

/// As the kernels' planner says it.
pub(crate) fn unsupported(operator: &str, dtype: DType) -> Error {
    let dtype = dtype.as_str();
    Error::msg(format!("{operator}: no kernel for dtype {dtype}, only for bf16, f16 and f32"))
}

impl CustomOp2 for NormOp {
    fn name(&self) -> &'static str {
        self.operator()
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.dispatch((x, x_layout), None, (weight, weight_layout))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        crate::cuda::norm(self, (x, x_layout), None, (weight, weight_layout))
    }
}

impl CustomOp3 for NormOp {
    fn name(&self) -> &'static str {
        self.operator()
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.dispatch((x, x_layout), Some((residual, residual_layout)), (weight, weight_layout))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        residual: &CudaStorage,
        residual_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let residual = Some((residual, residual_layout));
        crate::cuda::norm(self, (x, x_layout), residual, (weight, weight_layout))
    }
}
