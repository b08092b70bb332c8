//! What the library logs as a warning becomes a Python warning of the call in which it happened.

use std::ffi::CString;
use std::sync::Mutex;

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;

/// Said, and not yet shown.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Collector;

impl Log for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn && metadata.target().starts_with("realign")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            say(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Keeps a warning until the call that it belongs to ends; no thread needs the interpreter for it.
pub fn say(text: String) {
    let mut said = SAID.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if !said.contains(&text) {
        said.push(text);
    }
}

/// Listens to the library; a second call changes nothing.
pub fn listen() {
    if log::set_logger(&Collector).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

/// Shows what was said.
///
/// # Errors
/// A warning that the user's filter makes an error.
pub fn show(py: Python<'_>) -> PyResult<()> {
    let said = std::mem::take(&mut *SAID.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    if said.is_empty() {
        return Ok(());
    }
    let category = py.import("realign._errors")?.getattr("RealignWarning")?;
    for text in said {
        let text = CString::new(text.replace('\0', " "))?;
        PyErr::warn(py, &category, &text, 2)?;
    }
    Ok(())
}
