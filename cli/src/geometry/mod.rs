//! The commands that measure: `measure`, `compare`, `calibrate`, `frame`, `angles`, `drift`.

pub mod args;
pub mod calibrate;
pub mod compare;
pub mod frame;
pub mod measure;
pub mod pages;
