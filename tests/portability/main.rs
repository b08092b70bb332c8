//! That the shaders are right on backends that no test here can run: each kernel in each variant, as data for other compilers.
//!
//! * `target/shaders.json`, for `tools/translations`, which makes SPIR-V, Metal and HLSL of them;
//! * `target/portability.html`, for a browser, which compiles them and runs some.

#[path = "../common/shaders.rs"]
mod shaders;

mod browser;
mod dump;
mod runs;
