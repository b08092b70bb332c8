//! realign (crate docs to be written)
#![deny(missing_docs, unsafe_code)]
pub mod device;
pub mod element;
pub mod error;
mod gpu;
pub mod host;
pub mod kernels;
pub use device::Device;
pub use element::ElementType;
pub use error::{Error, Result};
