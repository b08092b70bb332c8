//! Which device a request gets.

use std::fmt;
use std::str::FromStr;

use super::{Device, DeviceKind};
use crate::error::{Problem, Remedy};
use crate::gpu::{self, Gpu};
use crate::{Error, Result};

/// Which device is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// A discrete GPU, else an integrated one, else the host engine. Never a software GPU.
    #[default]
    Auto,
    /// A discrete GPU, else an integrated one, else an error.
    Gpu,
    /// The host engine.
    Host,
    /// The first adapter whose name or driver contains this text, whatever its kind; case is ignored.
    Named(String),
    /// The adapter of this place in [`adapters`].
    Index(usize),
}

impl FromStr for Selection {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Selection::Auto,
            "gpu" => Selection::Gpu,
            "host" | "cpu" => Selection::Host,
            other => match other.parse() {
                Ok(index) => Selection::Index(index),
                Err(_) => Selection::Named(other.to_owned()),
            },
        })
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selection::Auto => f.write_str("auto"),
            Selection::Gpu => f.write_str("gpu"),
            Selection::Host => f.write_str("host"),
            Selection::Named(name) => f.write_str(name),
            Selection::Index(index) => write!(f, "{index}"),
        }
    }
}

/// What to ask of [`Device::request`].
///
/// The environment is honoured: `WGPU_BACKEND` (a comma-separated list such as `vulkan,gl`) where `backends` is `None`, and
/// `WGPU_ADAPTER_NAME` where the selection is `Auto` or `Gpu`.
#[derive(Clone, Debug, Default)]
pub struct DeviceOptions {
    /// Which device.
    pub selection: Selection,
    /// Only adapters of these backends.
    pub backends: Option<wgpu::Backends>,
    /// Prefer an integrated GPU to a discrete one.
    pub low_power: bool,
    /// Multiply matrices on the adapter's matrix units, where wgpu offers them (cooperative matrices, an experimental feature) for
    /// f16 operands and f32 sums: several times as fast, but operands are rounded to f16, see
    /// [`UNITS`](crate::kernels::linalg::matmul::UNITS). Requests fail on adapters without.
    pub matrix_units: bool,
}

/// One adapter of this machine, or the host engine.
#[derive(Clone, Debug)]
pub struct AdapterSummary {
    /// Name, as [`Selection::Named`] takes it.
    pub name: String,
    /// The kind of processor.
    pub kind: DeviceKind,
    /// `vulkan`, `metal`, `dx12`, `gl`, or `host`.
    pub backend: String,
    /// Driver and version, where known.
    pub driver: String,
    /// Largest storage binding, in bytes.
    pub max_binding: u64,
    /// Optional features that this crate uses where it finds them.
    pub features: Vec<&'static str>,
}

/// All adapters of `backends` (all backends if `None`), in the order that [`Selection::Index`] counts; the host engine is
/// not among them.
pub fn adapters(backends: Option<wgpu::Backends>) -> Vec<AdapterSummary> {
    pollster::block_on(gpu::enumerate(effective_backends(backends))).iter().map(|a| a.summary()).collect()
}

fn effective_backends(asked: Option<wgpu::Backends>) -> wgpu::Backends {
    asked.or_else(wgpu::Backends::from_env).unwrap_or(wgpu::Backends::all())
}

pub(super) async fn request(options: &DeviceOptions) -> Result<Device> {
    let named = std::env::var("WGPU_ADAPTER_NAME").ok().filter(|n| !n.is_empty());
    let selection = match (&options.selection, named) {
        (Selection::Auto | Selection::Gpu, Some(name)) => Selection::Named(name),
        (selection, _) => selection.clone(),
    };
    if selection == Selection::Host {
        return Ok(Device::host());
    }
    let found = gpu::enumerate(effective_backends(options.backends)).await;
    let listing = || match found.len() {
        0 => "this machine has none for the backends asked".to_owned(),
        _ => {
            let names: Vec<String> = found
                .iter()
                .enumerate()
                .map(|(i, a)| format!("{i}: {} ({})", a.summary().name, a.summary().kind.name()))
                .collect();
            format!("this machine has {}", names.join("; "))
        }
    };
    let chosen = match &selection {
        Selection::Auto | Selection::Gpu => found
            .iter()
            .filter(|a| rank(a.kind(), options.low_power) < 9)
            .min_by_key(|a| rank(a.kind(), options.low_power)),
        Selection::Named(name) => found.iter().find(|a| a.matches(name)),
        Selection::Index(index) => found.get(*index),
        Selection::Host => None,
    };
    match (chosen, &selection) {
        (Some(adapter), _) => Device::from_gpu(Gpu::request(adapter, options.matrix_units).await?),
        (None, Selection::Auto) => Ok(Device::host()),
        (None, Selection::Gpu) => {
            let problem = format!("no GPU found; {}; a software driver must be asked for by name", listing());
            Err(Error::NoAdapter(Problem::new(problem).remedy(Remedy::HostEngine)))
        }
        (None, _) => Err(Error::NoAdapter(
            Problem::new(format!("none matches '{selection}'; {}", listing())).remedy(Remedy::HostEngine),
        )),
    }
}

/// Order of preference; 9 is never chosen unasked.
fn rank(kind: DeviceKind, low_power: bool) -> u8 {
    match kind {
        DeviceKind::DiscreteGpu => 1,
        DeviceKind::IntegratedGpu => u8::from(!low_power) * 2,
        DeviceKind::OtherGpu => 3,
        DeviceKind::Software | DeviceKind::Host => 9,
    }
}
