//! The command line: parse, call, print.

mod args;
mod ask;
mod ask_args;
mod bench;
mod bench_args;
mod bench_page;
mod calibrate;
mod calibrate_page;
mod compare;
mod compare_page;
mod data;
mod experiment;
mod experiment_args;
mod experiment_claims;
mod experiment_clouds;
mod experiment_full;
mod experiment_full_page;
mod experiment_gallery;
mod experiment_jobs;
mod experiment_markdown;
mod experiment_page;
mod experiment_plan;
mod experiment_results;
mod fit;
mod frame;
mod geometry_args;
mod measure;
mod measure_page;
mod outputs;
mod pages;
mod show;
mod train;
mod train_args;
mod train_page;
mod tune;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

/// The error and its causes; the library's messages contain theirs already.
fn message(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Warnings, or everything, on stderr. wgpu's own layers and the other libraries speak only when asked by RUST_LOG.
fn log_to_stderr(verbose: bool) {
    let filter = format!("off,realign={}", if verbose { "debug" } else { "warn" });
    let mut builder = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(filter));
    if !verbose && std::env::var_os("RUST_LOG").is_none() {
        builder.format(|out, record| match record.level() {
            log::Level::Error => writeln!(out, "error: {}", record.args()),
            _ => writeln!(out, "warning: {}", record.args()),
        });
    }
    builder.init();
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.verbose);
    let result = match &cli.command {
        Command::Adapters(args) => show::adapters(args),
        Command::Stats(args) => fit::stats(args),
        Command::Merge(args) => fit::merge(args),
        Command::Fit(args) => fit::fit(args),
        Command::Apply(args) => data::apply(args),
        Command::Measure(args) => measure::measure(args),
        Command::Compare(args) => compare::compare(args),
        Command::Calibrate(args) => calibrate::calibrate(args),
        Command::Frame(args) => frame::frame(args),
        Command::Angles(args) => frame::angles(args),
        Command::Drift(args) => frame::drift(args),
        Command::Train(args) => train::train(args),
        Command::Score(args) => ask::score(args),
        Command::Generate(args) => ask::generate(args),
        Command::Evaluate(args) => ask::evaluate(args),
        Command::Info(args) => show::info(args),
        Command::Demo(args) => experiment::demo(args),
        Command::Bench(args) => bench::bench(args),
        Command::Tune(args) => tune::tune(args),
        Command::Experiment(args) => experiment_full::experiment(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (code, text) = failure(&error);
            eprintln!("{text}");
            ExitCode::from(code)
        }
    }
}

/// The exit code and what is said. 130 is what a shell reports of a process that Ctrl-C ended; an error that comes after Ctrl-C
/// remains an error.
fn failure(error: &anyhow::Error) -> (u8, String) {
    if error.is::<train::Interrupted>() {
        return (130, error.to_string());
    }
    match error.downcast_ref() {
        Some(realign::Error::Stopped) => (130, train::STOPPED.to_owned()),
        _ => (1, format!("error: {}", message(error))),
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
