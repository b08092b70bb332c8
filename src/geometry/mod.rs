//! The geometry of embedding clouds [spec 4, 5; paper section 3].

pub mod eigen;

pub use eigen::{Eigen, symmetric_eigen};
