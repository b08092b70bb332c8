//! Which device a request gets.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{Device, environment, nodes};
use crate::error::{Problem, Remedy};
use crate::gpu::{self, Gpu, Wanted};
use crate::setters::setters;
use crate::spec::{AdapterSummary, DeviceKind, TensorCores};
use crate::{Error, Result};

/// Which device is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// A discrete GPU, else an integrated one, else the host engine. Never a software GPU. Drivers are not even loaded on a Linux system
    /// without any device file of a GPU: Mesa's would keep some 60 MB resident.
    #[default]
    Auto,
    /// A discrete GPU, else an integrated one, else an error.
    Gpu,
    /// The host engine.
    Host,
    /// The first adapter whose name or driver contains this text, whatever its kind; case is ignored.
    Named(String),
    /// The adapter of this place in [`adapters`], else the first one whose name contains the number: `4090`.
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
/// `WGPU_ADAPTER_NAME` where the selection is `Auto` or `Gpu`. Empty variables count as unset; one that holds what it cannot mean, here
/// or among the other variables that wgpu reads, is an error that names it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DeviceOptions {
    /// Which device.
    pub selection: Selection,
    /// Only adapters of these backends.
    pub backends: Option<wgpu::Backends>,
    /// Prefer an integrated GPU to a discrete one.
    pub low_power: bool,
    /// Which products the adapter's tensor cores take, see [`COOPERATIVE`](crate::kernels::linalg::matmul::COOPERATIVE).
    pub tensor_cores: TensorCores,
    /// Keep wgpu's checks in all shaders: indices clamped, loops bounded, workgroup memory zeroed. Without it they are left out of this
    /// crate's own kernels, whose indices are in range by construction; an app's kernels are always checked, unless
    /// [`Recorder::dispatch_unchecked`](super::Recorder::dispatch_unchecked) records them.
    pub checked: bool,
    /// A folder in which compiled pipelines are kept, so that the next process need not compile them: a file for each adapter and driver,
    /// on Vulkan alone. It is read when the device is made and written when its last clone is dropped; a file that is damaged or of another
    /// version is left aside. Many drivers keep such files themselves.
    pub pipeline_cache: Option<PathBuf>,
}

setters! {
    DeviceOptions { selection: Selection, backends: Option<wgpu::Backends>, low_power: bool, tensor_cores: TensorCores, checked: bool, pipeline_cache: Option<PathBuf> }
}

/// All adapters of `backends` (those of `WGPU_BACKEND`, or all backends, if `None`), in the order that [`Selection::Index`] counts; the
/// host engine is not among them. None, with an error in the log, where [`list_adapters`] says one.
pub fn adapters(backends: Option<wgpu::Backends>) -> Vec<AdapterSummary> {
    list_adapters(backends).unwrap_or_else(|error| {
        log::error!("{error}");
        Vec::new()
    })
}

/// As [`adapters`], with what is wrong.
///
/// # Errors
/// An environment variable that holds what it cannot mean.
pub fn list_adapters(backends: Option<wgpu::Backends>) -> Result<Vec<AdapterSummary>> {
    Ok(pollster::block_on(enumerate(backends))?.iter().map(|adapter| adapter.summary()).collect())
}

async fn enumerate(asked: Option<wgpu::Backends>) -> Result<Vec<gpu::Adapter>> {
    environment::check()?;
    let backends = match asked {
        Some(backends) => backends,
        None => environment::backends()?.unwrap_or(wgpu::Backends::all()),
    };
    Ok(gpu::enumerate(backends, environment::unset_flags()).await)
}

pub(super) async fn request(options: &DeviceOptions) -> Result<Device> {
    let (selection, origin) = match (&options.selection, environment::adapter_name()?) {
        (Selection::Auto | Selection::Gpu, Some(name)) => (Selection::Named(name), environment::ADAPTER_NAME),
        (selection, _) => (selection.clone(), ""),
    };
    if selection == Selection::Host {
        return Ok(Device::host());
    }
    if selection == Selection::Auto && !nodes::may_have_gpu() {
        // As where drivers are asked: a mistyped variable is refused whatever the machine has.
        environment::check()?;
        environment::backends()?;
        return Ok(Device::host());
    }
    let found = enumerate(options.backends).await?;
    let chosen = match &selection {
        Selection::Auto | Selection::Gpu => found
            .iter()
            .filter(|a| rank(a.kind(), options.low_power) < 9)
            .min_by_key(|a| rank(a.kind(), options.low_power)),
        Selection::Named(name) => found.iter().find(|a| a.matches(name)),
        Selection::Index(index) => found.get(*index).or_else(|| found.iter().find(|a| a.matches(&index.to_string()))),
        Selection::Host => None,
    };
    match (chosen, &selection) {
        (Some(adapter), _) => {
            let DeviceOptions { tensor_cores, checked, .. } = *options;
            let wanted = Wanted { tensor_cores, checked, pipelines: options.pipeline_cache.as_deref() };
            Device::from_gpu(Gpu::request(adapter, wanted).await?)
        }
        (None, Selection::Auto) => Ok(Device::host()),
        (None, Selection::Gpu) => {
            let problem = format!("no GPU found; {}; a software driver must be asked for by name", listing(&found));
            Err(Error::NoAdapter(Problem::new(problem).remedy(Remedy::HostEngine)))
        }
        (None, _) => {
            let of = if origin.is_empty() { String::new() } else { format!(" of the environment variable {origin}") };
            let problem = Problem::new(format!("none matches '{selection}'{of}; {}", listing(&found)));
            Err(Error::NoAdapter(problem.remedy(Remedy::HostEngine)))
        }
    }
}

/// What there is instead of what was asked for.
fn listing(found: &[gpu::Adapter]) -> String {
    if found.is_empty() {
        return "this machine has none for the backends asked".to_owned();
    }
    let name = |(i, a): (usize, &gpu::Adapter)| format!("{i}: {} ({})", a.summary().name, a.summary().kind.name());
    format!("this machine has {}", found.iter().enumerate().map(name).collect::<Vec<_>>().join("; "))
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
