//! The pages of a demo and of a study.

pub(super) mod clouds;
pub(super) mod demo;
mod gallery;
#[cfg(all(feature = "encode", feature = "pictures"))]
mod pictures;
mod study;

#[cfg(all(feature = "encode", feature = "pictures"))]
pub use pictures::page as pictures_page;
pub use study::page as study_page;
