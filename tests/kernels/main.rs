//! Each kernel on each engine against f64 references, over shapes that cross every boundary.

#[path = "../common/mod.rs"]
mod common;

mod apply;
mod c3;
mod comparison;
mod matmul;
mod moments;
mod normalize;
mod rows;
mod validation;
mod variants;
