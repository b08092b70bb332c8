//! realign (crate docs to be written)
pub mod element;
pub mod error;
pub mod io;
pub use element::ElementType;
pub use error::{Error, Result};
