//! realign (crate docs to be written)
pub mod element;
pub mod error;
pub use element::ElementType;
pub use error::{Error, Result};
