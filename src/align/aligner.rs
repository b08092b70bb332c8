//! The operators as values: made from statistics, put on a device, recorded for tensors.

use super::{Mapped, Method, Noise};
use crate::device::{Buffer, Device, Recorder, Tensor};
use crate::kernels::align::{apply, c3};
use crate::{Error, Result};

/// An operator on rows `[n, d]`.
pub trait Aligner: Send + Sync {
    /// Which one.
    fn method(&self) -> Method;
    /// d.
    fn width(&self) -> usize;
    /// Uploads its constants.
    ///
    /// # Errors
    /// No memory; a lost device.
    fn on(&self, device: &Device) -> Result<Box<dyn OnDevice>>;
    /// The operator as one that works on the host's rows alone, if it is such.
    fn on_host(&self) -> Option<&Mapped> {
        None
    }
}

/// Where an operator's rows go, and where bad rows are reported.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// `[n, d]`, at least as many rows as the input.
    pub output: &'a Tensor,
    /// A [`apply::status_buffer`].
    pub status: &'a Buffer,
    /// Index in the data set of the input's first row: bad rows are reported, and C3's noise is keyed, by it.
    pub first_row: u64,
}

/// An operator with its constants on a device.
pub trait OnDevice {
    /// Records the operator on the first `rows` rows of `input`.
    ///
    /// # Errors
    /// Shapes that do not fit, another device's tensors.
    fn record(&self, recorder: &mut Recorder, input: &Tensor, rows: usize, target: Target<'_>) -> Result<()>;
}

/// Rows as they are.
#[derive(Clone, Debug)]
pub struct Unchanged {
    /// d.
    pub width: usize,
}

impl Aligner for Unchanged {
    fn method(&self) -> Method {
        Method::None
    }

    fn width(&self) -> usize {
        self.width
    }

    fn on(&self, _device: &Device) -> Result<Box<dyn OnDevice>> {
        Ok(Box::new(self.clone()))
    }
}

impl OnDevice for Unchanged {
    fn record(&self, recorder: &mut Recorder, input: &Tensor, rows: usize, target: Target<'_>) -> Result<()> {
        recorder.copy_rows((input, 0), (target.output, 0), rows)
    }
}

/// `r_0 = P(a u + v_0)`, `r_k = P(r_{k-1} + v_k)`: mean shift and ReAlign with its ablations.
#[derive(Clone, Debug)]
pub struct Affine {
    /// Which of them.
    pub method: Method,
    /// a.
    pub scale: f64,
    /// The vectors, each `[d]`.
    pub vectors: Vec<Vec<f64>>,
}

impl Aligner for Affine {
    fn method(&self) -> Method {
        self.method
    }

    fn width(&self) -> usize {
        self.vectors.first().map_or(0, Vec::len)
    }

    fn on(&self, device: &Device) -> Result<Box<dyn OnDevice>> {
        Ok(Box::new(apply::Operator::new(device, self.scale, &self.vectors, self.width())?))
    }
}

impl OnDevice for apply::Operator {
    fn record(&self, recorder: &mut Recorder, input: &Tensor, rows: usize, target: Target<'_>) -> Result<()> {
        apply::record(recorder, self, input, target.output, rows, (target.status, row_base(target.first_row)?))
    }
}

/// C3: `P(u + b + σ g)`.
#[derive(Clone, Debug)]
pub struct Perturbed {
    /// b, `[d]`.
    pub shift: Vec<f64>,
    /// σ and the seed.
    pub noise: Noise,
}

struct PerturbedOn {
    shift: Buffer,
    noise: Noise,
}

impl Aligner for Perturbed {
    fn method(&self) -> Method {
        Method::C3
    }

    fn width(&self) -> usize {
        self.shift.len()
    }

    fn on(&self, device: &Device) -> Result<Box<dyn OnDevice>> {
        let mut shift: Vec<f32> = self.shift.iter().map(|&b| b as f32).collect();
        shift.resize(shift.len().next_multiple_of(4), 0.0);
        let shift = device.buffer_from("C3 shift", bytemuck::cast_slice(&shift))?;
        Ok(Box::new(PerturbedOn { shift, noise: self.noise }))
    }
}

impl OnDevice for PerturbedOn {
    fn record(&self, recorder: &mut Recorder, input: &Tensor, rows: usize, target: Target<'_>) -> Result<()> {
        let status = (target.status, row_base(target.first_row)?);
        c3::record(recorder, (&self.shift, self.noise, target.first_row), input, target.output, rows, status)
    }
}

/// Bad rows are reported in 32 bits.
pub(super) fn row_base(first_row: u64) -> Result<u32> {
    u32::try_from(first_row).map_err(|_| Error::shape("apply", "rows", "below 2^32 in one data set", first_row))
}
