//! Which form of exact products is the fastest of those that are exact.

use super::{budget, timing::recorded};
use crate::Result;
use crate::device::{Device, Recorder};
use crate::kernels::linalg::ExactForm;
use crate::kernels::linalg::exact_product::{self, Digits, LARGEST, Placement, Sums};
use crate::kernels::linalg::slices::{self, Parts, Slices};

/// Sides of the products that are tried, the second where the device is a GPU.
const SIDES: (usize, usize) = (256, 1024);
const UPPER: Placement = Placement { upper: true, words_up: 0 };

/// The fastest form of a product of integers with themselves, as covariances have it. A form whose sums are not the digits' on this device is
/// not taken, whatever a driver says of its units: the integers have slices whose sums are the largest that there are.
pub(super) fn fastest(device: &Device) -> Result<ExactForm> {
    let side = if device.capabilities().kind.is_gpu() { SIDES.1 } else { SIDES.0 };
    let integers = integers(side);
    let want = Trial::of(device, ExactForm::Digits, (&integers, side))?.sums(device)?;
    let mut best = (ExactForm::Digits, f64::INFINITY);
    for form in ExactForm::ALL {
        let trial = Trial::of(device, form, (&integers, side))?;
        if trial.sums(device)? != want {
            log::warn!("{}: exact products by {} are wrong: the form is not used", device.name(), trial.form);
            continue;
        }
        let time = recorded(device, budget(device), &|r| trial.record(r))?.median();
        if time < best.1 {
            best = (trial.form, time);
        }
    }
    Ok(best.0)
}

/// `[side, side]`: every other column has slices of -256 in all places but the highest, the others slices of either sign.
fn integers(side: usize) -> Vec<f64> {
    let lowest = -256.0 * (1.0 + 512.0 + 512f64.powi(2) + 512f64.powi(3)) - 127.0 * 512f64.powi(4);
    let some = super::numbers(1, side * side);
    let one = |(at, x): (usize, f32)| if at % 2 == 0 { lowest } else { (f64::from(x) * LARGEST).round() };
    some.into_iter().enumerate().map(one).collect()
}

/// A form's operand and sums.
struct Trial {
    form: ExactForm,
    operand: Operand,
    sums: Sums,
    side: usize,
}

enum Operand {
    Digits(Digits),
    Slices(Slices, Parts),
}

impl Trial {
    fn of(device: &Device, form: ExactForm, (integers, side): (&[f64], usize)) -> Result<Self> {
        let operand = match form.slices() {
            None => {
                let mut digits = Digits::new(device, side, side)?;
                digits.write(device, integers)?;
                Operand::Digits(digits)
            }
            Some(element) => {
                let (mut slices, parts) = (Slices::new(device, side, side, element)?, Parts::new(device, side, side)?);
                slices.write(device, integers)?;
                Operand::Slices(slices, parts)
            }
        };
        Ok(Trial { form, operand, sums: Sums::new(device, side, side)?, side })
    }

    fn record(&self, recorder: &mut Recorder) -> Result<()> {
        match &self.operand {
            Operand::Digits(digits) => exact_product::record(recorder, digits, digits, UPPER, &self.sums),
            Operand::Slices(slices, parts) => slices::record(recorder, (slices, slices), UPPER, (parts, &self.sums)),
        }
    }

    /// The sums of one product, on the diagonal and above it.
    fn sums(&self, device: &Device) -> Result<Vec<i128>> {
        let mut recorder = device.recorder();
        self.sums.clear(&mut recorder);
        self.record(&mut recorder)?;
        recorder.submit()?;
        let mut all = Vec::with_capacity(self.side * (self.side + 1) / 2);
        self.sums.read_blocking(device, |i, row| all.extend_from_slice(&row[i..self.side]))?;
        Ok(all)
    }
}
