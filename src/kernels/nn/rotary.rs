//! Rotary position embedding in the half-split layout (`rotate_half`) of the Llama and Qwen2 families, of whole heads or of their first elements,
//! by any frequencies.
//!
//! Angles are exact modulo a turn: frequencies are 64-bit fractions of a turn, so that a late position loses nothing.
//! Bytes: 8 per element that turns, 4 in f16. FLOPs: about 20 per element. Where heads or halves of what turns are no multiple of 4 elements, a
//! kernel that takes one element at a time does the same.

use super::super::{Binding, KernelSpec, Work, check_float_matrix, check_index, check_words, check_written, halves_of};
use crate::device::{Buffer, Device, Recorder, Tensor};
use crate::host::nn::rotary::Params;
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "rotary",
    source!("nn/rotary.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "positions"),
        Binding::read(2, "frequencies"),
        Binding::read_write(3, "inout3"),
    ],
    crate::host::nn::rotary::twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// [`SPEC`] for heads that are no whole vectors, or whose halves are none.
pub static ELEMENTS: KernelSpec =
    KernelSpec::new("rotary elements", source!("nn/rotary_elements.wgsl"), SPEC.bindings, SPEC.twin)
        .with_grid()
        .with_overrides(&["GROUP"])
        .trusted(in_range::ELEMENTS);

/// Llama 3's scaling of the frequencies (`rope_type: llama3`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Llama3Scaling {
    /// By how much low frequencies are divided.
    pub factor: f64,
    /// Wavelengths above the original length over this are divided.
    pub low_freq_factor: f64,
    /// Wavelengths below the original length over this are left alone.
    pub high_freq_factor: f64,
    /// Context length, in tokens, before scaling.
    pub original_max_position_embeddings: f64,
}

impl Llama3Scaling {
    fn apply(&self, frequency: f64) -> f64 {
        let waves = self.original_max_position_embeddings * frequency / std::f64::consts::TAU;
        if waves < self.low_freq_factor {
            frequency / self.factor
        } else if waves > self.high_freq_factor {
            frequency
        } else {
            let smooth = (waves - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor);
            (1.0 - smooth) * frequency / self.factor + smooth * frequency
        }
    }

    fn check(&self) -> Result<()> {
        let all = [self.factor, self.low_freq_factor, self.high_freq_factor, self.original_max_position_embeddings];
        match all.iter().all(|x| x.is_finite() && *x > 0.0) && self.high_freq_factor > self.low_freq_factor {
            true => Ok(()),
            false => {
                Err(Error::argument("rope_scaling", "wants factors above 0, high_freq_factor above low_freq_factor"))
            }
        }
    }
}

/// The frequencies of one kind of head on a device.
#[derive(Clone, Debug)]
pub struct Frequencies {
    head_width: usize,
    /// Their number: half of a head's elements that turn.
    count: usize,
    amplitude: f32,
    words: Buffer,
}

impl Frequencies {
    /// `θ^(-2 j / head_width)` for `j` below `head_width / 2`, perhaps scaled.
    ///
    /// # Errors
    /// A head width that is odd or 0, `theta` not above 1, a scaling outside its domain, no memory.
    pub fn new(device: &Device, head_width: usize, theta: f64, scaling: Option<Llama3Scaling>) -> Result<Self> {
        if !(theta.is_finite() && theta > 1.0) {
            return Err(Error::argument("rope_theta", format!("{theta}; wants a number above 1, such as 10000")));
        }
        scaling.map_or(Ok(()), |s| s.check())?;
        let plain = (0..head_width / 2).map(|j| theta.powf(-2.0 * j as f64 / head_width as f64));
        let scaled: Vec<f64> = plain.map(|f| scaling.map_or(f, |s| s.apply(f))).collect();
        Self::of(device, head_width, &scaled, 1.0)
    }

    /// Frequencies in radians per position, one for each pair of elements that turn: of a head's first `2 * frequencies.len()` elements, the
    /// rotary width, the first half turns with the second; the rest of the head stays as it is. What turns is multiplied by `amplitude`, too
    /// (the attention factor of YaRN and LongRoPE), there and back.
    ///
    /// # Errors
    /// A head width that is odd or 0; no frequency, or more than half the width; one that is negative or not finite; an amplitude that is not
    /// finite or not above 0; no memory.
    pub fn of(device: &Device, head_width: usize, frequencies: &[f64], amplitude: f64) -> Result<Self> {
        if head_width == 0 || !head_width.is_multiple_of(2) {
            return Err(Error::argument("head width", format!("{head_width}; rotary embedding wants an even number")));
        }
        if frequencies.is_empty() || frequencies.len() > head_width / 2 {
            let problem = format!("{}; heads {head_width} wide have from 1 to {}", frequencies.len(), head_width / 2);
            return Err(Error::argument("rotary frequencies", problem));
        }
        if let Some(wrong) = frequencies.iter().find(|f| !(f.is_finite() && **f >= 0.0)) {
            return Err(Error::argument(
                "rotary frequencies",
                format!("{wrong}; want radians per position, 0 or above"),
            ));
        }
        if !(amplitude.is_finite() && amplitude > 0.0) {
            return Err(Error::argument("rotary amplitude", format!("{amplitude}; wants a number above 0")));
        }
        // In units of 2^-64; `as` cuts off, and whole turns do not matter.
        let turns = frequencies.iter().map(|f| ((f / std::f64::consts::TAU).fract() * 2f64.powi(64)) as u64);
        let mut turns: Vec<u64> = turns.collect();
        turns.resize(frequencies.len().next_multiple_of(4), 0);
        let high = turns.iter().map(|t| (t >> 32) as u32);
        let words: Vec<u32> = high.chain(turns.iter().map(|t| *t as u32)).collect();
        let words = device.buffer_from("rotary frequencies", bytemuck::cast_slice(&words))?;
        Ok(Frequencies { head_width, count: frequencies.len(), amplitude: amplitude as f32, words })
    }
}

/// Records the rotation of every head of `x`, `[n, heads * head_width]` f32 or f16, in place: row `i` by `positions[i]`, u32 `[n]`.
/// `inverse` turns back, by the same amplitude, which is also the gradient.
///
/// # Errors
/// Shapes that do not fit, another element type, another device's tensors.
pub fn record(
    recorder: &mut Recorder,
    frequencies: &Frequencies,
    positions: &Buffer,
    heads: usize,
    x: &Tensor,
    inverse: bool,
) -> Result<()> {
    let &Frequencies { head_width, count: turning, amplitude, ref words } = frequencies;
    check_float_matrix(recorder, SPEC.name, ("x", x), (x.rows(), heads.saturating_mul(head_width)))?;
    check_words(recorder, SPEC.name, ("positions", positions), x.rows())?;
    let vectors = check_index(SPEC.name, x)?;
    let whole = head_width.is_multiple_of(4) && turning.is_multiple_of(4);
    if !whole && vectors >= 1 << 30 {
        let got = format!("[{}, {}]", x.rows(), x.width());
        return Err(Error::shape(SPEC.name, "x", "fewer than 2^32 elements; split the rows", got));
    }
    let (kernel, units) = if whole { (&SPEC, turning / 4) } else { (&ELEMENTS, 1) };
    let count = x.rows() * heads * units;
    if count == 0 {
        return Ok(());
    }
    let params = Params {
        count: count as u32,
        heads: heads as u32,
        head: head_width as u32,
        turning: turning as u32,
        width4: x.width4() as u32,
        cosine: amplitude,
        sine: if inverse { -amplitude } else { amplitude },
    };
    let buffers = [positions, words, x.buffer()];
    check_written(SPEC.name, &buffers, 1)?;
    Work { kernel, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }.elements_halves(
        recorder,
        count,
        halves_of([x]) << 2,
    )
}
