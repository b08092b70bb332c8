//! The geometry of the gap: covariance spectra, the fixed frame, the decomposition of paired gaps, and every diagnostic of
//! alignment [spec 3-5; paper sections 3.1, 3.4 and appendices C to G].
//!
//! [`measure()`] takes every diagnostic of two sets at once; its parts: [`Survey`] reads a row set once; [`Reference::diagnose`] compares two surveys; [`Decomposition::of`] streams pairs in a
//! [`Frame`]. Rows are normalised first, as everywhere; second moments are exact sums, decompositions f64. What the data
//! leaves undefined (a constant set, a singular covariance) is `None`, never a NaN.

pub mod angles;
pub mod consistency;
pub mod coupling;
pub mod decomposition;
pub(crate) mod dense;
pub mod density;
pub mod diagnosis;
pub mod drift;
pub mod eigen;
pub mod frame;
pub mod gradients;
mod measurement;
pub mod neighbourhood;
pub mod neighbours;
pub mod orthonormal;
#[cfg(feature = "report")]
pub(crate) mod pages;
pub mod principal_vectors;
pub mod recalibrate;
pub(crate) mod roots;
pub(crate) mod rows;
pub(crate) mod scatter;
pub mod shape;
pub mod spectrum;
pub mod subspace;
mod survey;
pub mod transport;

pub use angles::{PrincipalAngles, principal_angles, principal_angles_by_kernel, principal_angles_on};
pub use decomposition::{Decomposition, Pairs};
pub use diagnosis::{Before, Diagnosis, DiagnosisOptions, Kept, Reference, Side};
pub use eigen::{Eigen, symmetric_eigen};
pub use frame::{CovarianceView, Cut, Frame, Split};
pub use gradients::{gradient_spectrum, leakage, spectral_lock};
pub use measurement::{
    MeasureOptions, MeasuredPairs, MeasuredRow, MeasuredSets, Measurement, frame_of_covariances, frame_of_surveys,
    measure,
};
pub use neighbours::{Neighbours, cosine_histogram, nearest};
pub use principal_vectors::{PrincipalVectors, principal_vectors, principal_vectors_by_kernel, principal_vectors_on};
pub use shape::{DirectionMoments, direction_moments, direction_moments_on};
pub use spectrum::Spectrum;
pub use subspace::{Leading, LeadingOptions, leading};
pub use survey::{SAMPLE_ROWS, Survey, Surveyor};
pub use transport::{Frechet, sliced_wasserstein};
