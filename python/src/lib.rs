//! The extension module of the Python package `realign`: what `realign/*.py` calls, which has the documentation and the types.
//!
//! Functions take plain values and dictionaries of options, all of whose keys are there; they check what only the library can check. All work runs
//! by [`work::run`].
#![deny(unsafe_code)]

mod align;
mod devices;
mod encode;
mod errors;
mod geometry;
mod inference;
mod options;
mod rank;
mod rows;
mod stats;
mod train;
mod warnings;
mod work;

use pyo3::prelude::*;

/// What `realign/*.py` calls.
#[pymodule(gil_used = false)]
mod _realign {
    use super::*;

    #[pymodule_export]
    use super::align::{Statistics, fit};
    #[pymodule_export]
    use super::devices::{device_name, devices};
    #[pymodule_export]
    use super::encode::{ImageEncoder, TextEncoder};
    #[pymodule_export]
    use super::errors::_remedies;
    #[pymodule_export]
    use super::geometry::{Frame, Page, calibrate, compare, measure};
    #[pymodule_export]
    use super::inference::{Answer, Assistant};
    #[pymodule_export]
    use super::rank::Ranking;
    #[pymodule_export]
    use super::rows::width_of;
    #[pymodule_export]
    use super::stats::{Covariance, Moments};
    #[pymodule_export]
    use super::train::{Run, train, train_keys};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        warnings::listen();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
