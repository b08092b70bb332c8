//! Pages of comparisons and calibrations.

mod calibrate;
mod compare;
