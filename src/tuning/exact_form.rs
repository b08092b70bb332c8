//! Which form of exact products is the fastest.

use super::{budget, numbers, timing::recorded};
use crate::Result;
use crate::device::Device;
use crate::kernels::linalg::ExactForm;
use crate::kernels::linalg::exact_product::{self, Digits, LARGEST, Placement, Sums};
use crate::kernels::linalg::slices::{self, Parts, Slices};

/// Sides of the products that are tried, the second where the device is a GPU.
const SIDES: (usize, usize) = (128, 512);

/// The fastest form of a product of integers with themselves, as covariances have it.
pub(super) fn fastest(device: &Device) -> Result<ExactForm> {
    let side = if device.capabilities().kind.is_gpu() { SIDES.1 } else { SIDES.0 };
    let mut best = (ExactForm::fixed(device.capabilities()), f64::INFINITY);
    for form in ExactForm::ALL {
        let time = time(device, form, side)?;
        if time < best.1 {
            best = (form, time);
        }
    }
    Ok(best.0)
}

/// Seconds of `[side, side]` by a form.
fn time(device: &Device, form: ExactForm, side: usize) -> Result<f64> {
    let integers: Vec<f64> = numbers(1, side * side).into_iter().map(|x| (f64::from(x) * LARGEST).round()).collect();
    let (sums, upper) = (Sums::new(device, side, side)?, Placement { upper: true, words_up: 0 });
    let timing = match form.slices() {
        None => {
            let mut digits = Digits::new(device, side, side)?;
            digits.write(device, &integers)?;
            recorded(device, budget(device), &|r| exact_product::record(r, &digits, &digits, upper, &sums))?
        }
        Some(element) => {
            let (mut all, parts) = (Slices::new(device, side, side, element)?, Parts::new(device, side, side)?);
            all.write(device, &integers)?;
            recorded(device, budget(device), &|r| slices::record(r, (&all, &all), upper, (&parts, &sums)))?
        }
    };
    Ok(timing.median())
}
