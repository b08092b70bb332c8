//! The geometry of embedding clouds [spec 4, 5; paper section 3].

pub mod eigen;
pub mod neighbours;

pub use eigen::{Eigen, symmetric_eigen};
pub use neighbours::{Neighbours, cosine_histogram, nearest};
