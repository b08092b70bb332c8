//! The geometry against its own identities and against f64 references.

#[path = "../common/mod.rs"]
mod common;

mod angles;
mod anisoalign;
mod anisoalign_trained;
mod bad_input;
mod covariance;
mod data;
mod eigen;
mod float_error;
mod gradients;
mod identities;
mod neighbours;
mod oracle;
mod orthonormal;
mod principal_vectors;
mod second_moments;
mod shape;
mod subspace;
mod transport;
