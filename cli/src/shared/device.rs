//! The device of a command, as its tuning has it.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use etcetera::BaseStrategy;
use realign::device::{Device, DeviceOptions, Selection, TensorCores, backends_of};
use realign::tuning::{self, Tuned};

use crate::wording::words;

#[derive(Args)]
pub struct DeviceArgs {
    /// auto (a GPU, else the host's cores), gpu, host, or an adapter's name, part of it, or number.
    #[arg(long, default_value = "auto", value_name = "auto|gpu|host|NAME", value_parser = NonEmptyStringValueParser::new())]
    device: String,
    /// Only adapters of these backends: vulkan, metal, dx12, gl; several with commas.
    #[arg(long, value_name = "LIST", value_parser = parse_backends)]
    backend: Option<wgpu::Backends>,
    /// The fixed choice of kernels, not the one that was measured on this adapter.
    #[arg(long)]
    no_tune: bool,
    /// Multiply matrices on the GPU's tensor cores: faster, with operands rounded to f16 (sums are f32).
    #[arg(long, alias = "matrix-units")]
    tensor_cores: bool,
    /// Keep the GPU's checks of indices and loops in the kernels, which do without: slower, to look for faults.
    #[arg(long)]
    checked: bool,
}

fn parse_backends(text: &str) -> Result<wgpu::Backends, String> {
    backends_of(text).ok_or_else(|| format!("'{text}' is no backend; choose vulkan, metal, dx12 or gl"))
}

impl DeviceArgs {
    pub fn backends(&self) -> Option<wgpu::Backends> {
        self.backend
    }

    /// The flags by which another process of realign, of an earlier version too, takes this device, or the one that `name` stands for.
    pub fn flags(&self, name: Option<&str>) -> Vec<String> {
        let mut flags = vec![format!("--device={}", name.unwrap_or(&self.device))];
        let known = ["vulkan", "metal", "dx12", "gl"];
        let asked = |name: &&&str| self.backend.zip(backends_of(name)).is_some_and(|(all, one)| all.contains(one));
        let backends: Vec<&str> = known.iter().filter(asked).copied().collect();
        flags.extend((!backends.is_empty()).then(|| format!("--backend={}", backends.join(","))));
        // The name that all versions know.
        flags.extend(self.tensor_cores.then(|| "--matrix-units".to_owned()));
        flags.extend(self.checked.then(|| "--checked".to_owned()));
        flags
    }

    /// The device, with its tuning unless --no-tune.
    pub fn request(&self) -> Result<Device> {
        self.request_with(TensorCores::Off)
    }

    /// The same for what multiplies halves, on the tensor cores of an adapter that has them: mixed precision, and the exact products of
    /// covariances.
    pub fn request_for_halves(&self) -> Result<Device> {
        self.request_with(TensorCores::Halves)
    }

    fn request_with(&self, least: TensorCores) -> Result<Device> {
        let device = self.open(least)?;
        if self.no_tune { Ok(device) } else { tuned(device) }
    }

    pub fn request_untuned(&self) -> Result<Device> {
        self.open(TensorCores::Off)
    }

    fn open(&self, least: TensorCores) -> Result<Device> {
        let selection: Selection = match self.device.parse() {
            Ok(selection) => selection,
            Err(never) => match never {},
        };
        let tensor_cores = if self.tensor_cores { TensorCores::All } else { least };
        let options = DeviceOptions::default().selection(selection).backends(self.backend).tensor_cores(tensor_cores);
        // Nothing that goes wrong with the cache stops a command.
        let options = options.checked(self.checked).pipeline_cache(cache_folder().ok().map(|at| at.join("pipelines")));
        let device = Device::request_blocking(&options)?;
        if self.tensor_cores && device.capabilities().tensor_cores.is_none() {
            bail!("--tensor-cores: {} has none; leave the option out", device.name());
        }
        log::info!("device: {} ({})", device.name(), device.capabilities().kind.name());
        Ok(device)
    }
}

/// The file of tunings: `realign/tuning.json` in the user's cache folder.
pub fn tunings() -> Result<PathBuf> {
    Ok(cache_folder()?.join("tuning.json"))
}

/// The folder of embeddings that were computed: `realign/embeddings` in the user's cache folder.
pub fn embeddings_folder() -> Result<PathBuf> {
    Ok(cache_folder()?.join("embeddings"))
}

/// `realign` in the user's cache folder.
fn cache_folder() -> Result<PathBuf> {
    let base = etcetera::choose_base_strategy().context("this user has no home folder for a cache")?;
    Ok(base.cache_dir().join("realign"))
}

/// A device as its tuning has it: from the cache, or measured now and kept there. A software GPU is tuned by `realign tune` alone,
/// for it takes seconds; nothing that goes wrong with a tuning stops a command.
fn tuned(device: Device) -> Result<Device> {
    let path = tunings();
    let (device, tuned) = tuning::tuned(device, path.as_deref().ok())?;
    let lost = match tuned {
        Tuned::Failed(e) => {
            log::warn!("not tuned: {}", words(&e));
            None
        }
        Tuned::Lost(problem) => problem.map(|e| words(&e)).or_else(|| path.err().map(|e| format!("{e:#}"))),
        _ => None,
    };
    if let Some(problem) = lost {
        log::warn!("the tuning is used, but not kept, and the next command tunes again (or pass --no-tune): {problem}");
    }
    Ok(device)
}
