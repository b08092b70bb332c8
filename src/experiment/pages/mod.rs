//! The pages of a demo and of a study.

pub(super) mod clouds;
pub(super) mod demo;
mod gallery;
mod study;

pub use study::page as study_page;
