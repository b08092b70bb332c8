//! The ground floor: what a kernel is, what a device can do, what memory is for, and how shaders import each other. Both engines
//! and everything above them speak these words; this floor knows neither an engine nor a kernel.

mod call;
mod capabilities;
mod exact_form;
pub(crate) mod in_range;
mod kernel;
mod memory;
pub mod shader;
pub mod tiles;
mod variant;

pub(crate) use call::check_params;
pub use call::{HostCall, HostSlice, volume};
pub(crate) use capabilities::Offered;
pub use capabilities::{AdapterSummary, Capabilities, DeviceKind, TensorCores};
pub use exact_form::ExactForm;
pub use kernel::{Binding, BindingKind, GRID_BINDING, KernelSpec, TEXEL_LINE};
pub use memory::Purpose;
pub(crate) use memory::Use;
pub use tiles::{Class, Multiplier, Tile, Tiling};
pub(crate) use variant::{Choice, Variants};
pub use variant::{Constant, Import, Variant};
