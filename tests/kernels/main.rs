//! Each kernel on each engine against f64 references, over shapes that cross every boundary.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/shaders.rs"]
mod shaders;

mod apply;
mod attention_cores;
mod attention_relative;
mod attention_shapes;
mod bench;
mod c3;
mod comparison;
mod epilogue;
mod exact_product;
mod golden;
mod halves;
mod histogram;
mod jacobi;
mod matmul;
mod moments;
mod nan;
mod nearest;
mod nn;
mod nn_attention;
mod nn_contrastive;
mod nn_cross_entropy;
mod nn_dropout;
mod nn_elements;
mod nn_embedding;
mod nn_encoders;
mod nn_norm;
mod nn_rotary;
mod normalize;
mod optim;
mod optim_8bit;
mod phases;
mod phases_golden;
mod picture;
mod power_sums;
mod q8_blocks;
mod radial;
mod rows;
mod slices;
mod tensor_cores;
mod threads;
mod typed_products;
mod validation;
mod variants;
mod watchdog;
