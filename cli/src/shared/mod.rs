//! What commands share: the device, how rows are read, outputs, results and printing.

pub mod device;
pub mod json;
pub mod outputs;
pub mod read;
pub mod show;
pub mod sources;
pub mod zero_rows;
