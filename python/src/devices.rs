//! Devices by name, each asked for once in a process.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use etcetera::BaseStrategy;
use pyo3::prelude::*;
use realign::device::{Device, DeviceOptions, Selection, TensorCores, list_adapters};
use realign::tuning::{self, Tuned};

use crate::warnings;
use crate::work;

/// Devices that were asked for: by name, and whether for products of halves.
static KNOWN: Mutex<Option<HashMap<(String, bool), Device>>> = Mutex::new(None);

/// The host engine: one for the whole process, since what is made on one device is no other's.
pub fn host() -> Device {
    static HOST: OnceLock<Device> = OnceLock::new();
    HOST.get_or_init(Device::host).clone()
}

/// `realign` in the user's cache folder, which the command line uses, too.
pub fn cache_folder() -> Option<PathBuf> {
    Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("realign"))
}

fn request(name: &str, halves: bool) -> realign::Result<Device> {
    let selection: Selection = match name.parse() {
        Ok(selection) => selection,
        Err(never) => match never {},
    };
    let tensor_cores = if halves { TensorCores::Halves } else { TensorCores::Off };
    let folder = cache_folder();
    let options = DeviceOptions::default().selection(selection).tensor_cores(tensor_cores);
    let device = Device::request_blocking(&options.pipeline_cache(folder.as_ref().map(|at| at.join("pipelines"))))?;
    let (device, tuned) = tuning::tuned(device, folder.map(|at| at.join("tuning.json")).as_deref())?;
    if let Tuned::Failed(problem) = tuned {
        warnings::say(format!("{}: not tuned: {problem}", device.name()));
    }
    Ok(device)
}

/// The device of a name: `auto`, `gpu`, `host`, an adapter's name, part of it, or its number.
pub fn device(py: Python<'_>, name: &str) -> PyResult<Device> {
    of(py, name, false)
}

/// The same for what multiplies halves: mixed precision, and the exact products of covariances.
pub fn device_for_halves(py: Python<'_>, name: &str) -> PyResult<Device> {
    of(py, name, true)
}

fn of(py: Python<'_>, name: &str, halves: bool) -> PyResult<Device> {
    if matches!(name, "host" | "cpu") {
        work::check_process()?;
        return Ok(host());
    }
    let key = (name.to_owned(), halves);
    let known = |key: &(String, bool)| {
        let known = KNOWN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.as_ref().and_then(|known| known.get(key).cloned())
    };
    work::check_process()?;
    if let Some(device) = known(&key) {
        return Ok(device);
    }
    let device = work::run(py, false, |_| request(name, halves))?;
    let mut all = KNOWN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Of two threads that asked at once, the first one's.
    Ok(all.get_or_insert_default().entry(key).or_insert(device).clone())
}

/// The host engine, then every adapter: name, kind, backend, driver.
#[pyfunction]
pub fn devices(py: Python<'_>) -> PyResult<Vec<(String, String, String, String)>> {
    let found = work::run(py, false, |_| list_adapters(None))?;
    let host = host();
    let first = (host.name().to_owned(), "host".to_owned(), "host".to_owned(), String::new());
    let adapters = found.into_iter().map(|a| (a.name, a.kind.name().to_owned(), a.backend, a.driver));
    Ok(std::iter::once(first).chain(adapters).collect())
}

/// The full name of the device that a name stands for.
#[pyfunction]
pub fn device_name(py: Python<'_>, name: &str) -> PyResult<String> {
    Ok(device(py, name)?.name().to_owned())
}
