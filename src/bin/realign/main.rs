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
mod experiment_clouds;
mod experiment_full;
mod experiment_page;
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

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = if cli.verbose { "debug" } else { "error" };
    // wgpu's own layers speak only when asked by RUST_LOG.
    let filter = format!("off,realign={level}");
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(filter)).init();
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
        Err(error) if error.is::<train::Interrupted>() => {
            eprintln!("{error}");
            // As a shell reports a process that Ctrl-C ended.
            ExitCode::from(130)
        }
        // An experiment is not resumed: what was made so far stays in its folder.
        Err(_) if train::stopped() => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {}", message(&error));
            ExitCode::FAILURE
        }
    }
}
