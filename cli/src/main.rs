//! The command line: parse, call, print.

mod align;
mod bench;
mod commands;
mod encode;
mod experiment;
mod export;
mod geometry;
mod inference;
mod inspect;
mod rank;
mod shared;
mod train;
mod wording;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use commands::Cli;

/// Warnings, or everything, on stderr. wgpu's own layers and the other libraries speak only when asked by RUST_LOG, which is unset if
/// it is empty.
fn log_to_stderr(verbose: bool) {
    let asked = std::env::var("RUST_LOG").ok().filter(|filter| !filter.trim().is_empty());
    let own = format!("off,realign={}", if verbose { "debug" } else { "warn" });
    let mut builder = env_logger::Builder::new();
    builder
        .parse_filters(asked.as_deref().unwrap_or(&own))
        .parse_write_style(&std::env::var("RUST_LOG_STYLE").unwrap_or_default());
    if !verbose && asked.is_none() {
        builder.format(|out, record| match record.level() {
            log::Level::Error => writeln!(out, "error: {}", record.args()),
            _ => writeln!(out, "warning: {}", record.args()),
        });
    }
    builder.init();
}

/// Keeps Mesa's Vulkan layer from complaining on machines without a desktop.
///
/// The layer asks a Wayland compositor which GPU is the first, once for each time that adapters are listed, and libwayland prints
/// `error: XDG_RUNTIME_DIR is invalid or not set in the environment.` where there is none: it looks like an error of ours. A name of a
/// display that is a path needs no such folder, and one that is not there is answered by silence. The layer stays on: `DRI_PRIME` and
/// `MESA_VK_DEVICE_SELECT` are its work. We open no window, so that nothing else asks.
#[cfg(all(unix, not(target_vendor = "apple")))]
#[expect(unsafe_code, reason = "the environment must be set before drivers are loaded")]
fn silence_wayland() {
    let without = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
    let path = std::env::var_os("WAYLAND_DISPLAY").is_some_and(|name| std::path::Path::new(&name).is_absolute());
    if without("XDG_RUNTIME_DIR") && without("WAYLAND_SOCKET") && !path {
        // SAFETY: called first thing in `main`, when no other thread runs that could read the environment.
        unsafe { std::env::set_var("WAYLAND_DISPLAY", "/no/wayland") };
    }
}

#[cfg(not(all(unix, not(target_vendor = "apple"))))]
fn silence_wayland() {}

fn main() -> ExitCode {
    silence_wayland();
    wording::know(&Cli::command());
    let cli = match align::args::with_covariance_modes(std::env::args_os()) {
        Ok(args) => Cli::parse_from(args),
        Err(problem) => Cli::command().error(clap::error::ErrorKind::ValueValidation, problem).exit(),
    };
    log_to_stderr(cli.verbose);
    let result = cli.command.run();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (code, text) = failure(&error);
            if !text.is_empty() {
                eprintln!("{text}");
            }
            ExitCode::from(code)
        }
    }
}

/// The exit code and what is said. 130 is what a shell reports of a process that Ctrl-C ended; an error that comes after Ctrl-C
/// remains an error.
fn failure(error: &anyhow::Error) -> (u8, String) {
    if let Some(train::ranks::Said(code)) = error.downcast_ref() {
        return (*code, String::new());
    }
    if error.is::<train::Interrupted>() {
        return (130, error.to_string());
    }
    match error.downcast_ref() {
        Some(realign::Error::Stopped) => (130, train::STOPPED.to_owned()),
        _ => (1, format!("error: {}", wording::message(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stop_is_no_error() {
        assert_eq!(failure(&realign::Error::Stopped.into()).0, 130);
        let io = realign::Error::io("write", "page.html")(std::io::ErrorKind::StorageFull.into());
        let (code, text) = failure(&io.into());
        assert!(code == 1 && text.starts_with("error: cannot write page.html"), "{text}");
    }
}
