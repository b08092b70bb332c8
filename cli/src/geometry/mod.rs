//! The commands that measure: `measure`, `compare`, `calibrate`, `frame`, `angles`, `drift`.

pub mod args;
pub mod calibrate;
mod calibrate_page;
pub mod compare;
mod compare_page;
pub mod frame;
pub mod measure;
mod measure_page;
pub mod pages;
