//! A decoder's change from f32 to mixed precision.

use super::{Decoder, Layer};
use crate::Result;
use crate::device::Device;
use crate::nn::Precision;
use crate::nn::linear::Linear;
use crate::nn::parameters::Slot;

/// What the MLP's activation is divided by where it is stored in f16: in a few tokens of real models it reaches 1e3 to 1e4 ("massive
/// activations", arXiv 2402.17762), and a product of two f16 may pass their range.
const ACTIVATION: f32 = 16.0;

impl Decoder {
    /// In which types it computes.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Computes in `precision` from here on; work space that was made before is of no more use. For [`Precision::Mixed`] the matrices that
    /// products read get copies in f16, unless they have 16 bits already, and for [`Precision::F32`] they are given back: after
    /// [`Decoder::add_low_rank`], and before a [`Trainer`](crate::train::Trainer) is made.
    ///
    /// # Errors
    /// No memory; the device was lost.
    pub fn compute_in(&mut self, device: &Device, precision: Precision) -> Result<()> {
        self.precision = precision;
        let factor = if precision == Precision::Mixed { ACTIVATION } else { 1.0 };
        self.layers.iter_mut().for_each(|layer| layer.down.input_factor = factor);
        if precision == Precision::F32 {
            self.parameters.drop_rounded();
            return Ok(());
        }
        for slot in self.product_slots() {
            self.parameters.add_rounded(device, slot)?;
        }
        self.round_blocking(device)
    }

    /// Rounds all matrices that products read in f16 again: after their values were replaced.
    ///
    /// # Errors
    /// The device was lost.
    pub fn round_blocking(&self, device: &Device) -> Result<()> {
        let mut recorder = device.recorder();
        self.parameters.round(&mut recorder, |_| true)?;
        recorder.submit().map(drop)
    }

    /// The matrices that products read.
    fn product_slots(&self) -> Vec<Slot> {
        let of_linear = |linear: &Linear| {
            let low_rank = linear.low_rank.map_or([linear.weight; 2], |low_rank| [low_rank.a, low_rank.b]);
            [linear.weight, low_rank[0], low_rank[1]]
        };
        let of_layer = |layer: &Layer| {
            let Layer { q, k, v, o, gate, up, down, .. } = layer;
            [q, k, v, o, gate, up, down].map(of_linear)
        };
        let slots = self.layers.iter().flat_map(of_layer).flatten();
        slots.chain([self.output]).collect()
    }
}
