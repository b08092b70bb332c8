//! `demo` and `experiment`.

pub mod args;
mod claims;
mod clouds;
pub mod demo;
pub mod full;
mod full_page;
mod gallery;
mod jobs;
mod markdown;
mod page;
mod plan;
mod results;
