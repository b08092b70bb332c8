//! The list of commands.

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::align::args::{ApplyArgs, FitArgs, MergeArgs, StatsArgs};
use crate::bench::args::{BenchArgs, TuneArgs};
use crate::encode::args::EmbedArgs;
use crate::experiment::args::{DemoArgs, ExperimentArgs};
use crate::export::ExportArgs;
use crate::geometry::args::{AnglesArgs, CalibrateArgs, CompareArgs, DriftArgs, FrameArgs, MeasureArgs};
use crate::inference::args::{EvaluateArgs, GenerateArgs, ScoreArgs};
use crate::inspect::args::{AdaptersArgs, InfoArgs};
use crate::rank::args::RankArgs;
use crate::train::args::TrainArgs;
use crate::{align, bench, encode, experiment, export, geometry, inference, inspect, rank, train};

/// Closes the modality gap between text and image embeddings, on any GPU or none.
#[derive(Parser)]
#[command(name = "realign", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Says more on stderr.
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Lists the devices that --device can name.
    Adapters(AdaptersArgs),
    /// Makes embeddings of pictures or texts with an encoder: CLIP, SigLIP, sentence-transformers.
    Embed(EmbedArgs),
    /// Counts one side's moments, for merging and fitting later.
    Stats(StatsArgs),
    /// Merges moments and exact covariances that were counted apart, exactly and in any order; those of f32 products up to rounding.
    Merge(MergeArgs),
    /// Fits an operator that maps the source (text) into the cloud of the target (image).
    Fit(FitArgs),
    /// Applies a fitted operator to files of rows.
    Apply(ApplyArgs),
    /// Measures the gap between two sets, or what alignment made of it: every diagnostic.
    Measure(MeasureArgs),
    /// Fits every method on one half of the rows and measures it on the other half.
    Compare(CompareArgs),
    /// How many rows a fit needs, how it carries over to other domains, and whether new data asks for another.
    Calibrate(CalibrateArgs),
    /// Builds the fixed frame of two sets: the span of their leading directions.
    Frame(FrameArgs),
    /// Principal angles between two frames.
    Angles(AnglesArgs),
    /// How the passive bias and the projected mean moved between two snapshots of paired or unpaired sets.
    Drift(DriftArgs),
    /// Searches several collections at once, with the scores of all modalities on one scale.
    Rank(RankArgs),
    /// Trains an adapter on aligned text (stage 1), or adapter and language model on images (stage 2).
    Train(TrainArgs),
    /// How likely a model finds texts about embeddings: mean negative log-likelihood.
    Score(ScoreArgs),
    /// Asks a model about an image embedding.
    Generate(GenerateArgs),
    /// Asks a model many questions with known answers: accuracy by question type.
    Evaluate(EvaluateArgs),
    /// Writes a language model's folder as a GGUF file, for llama.cpp and what builds on it.
    Export(ExportArgs),
    /// Says what a file holds.
    Info(InfoArgs),
    /// Times every kernel and job on a device, against what the device can do at most; compares with earlier results.
    Bench(BenchArgs),
    /// Measures which kernels are fastest on an adapter, and keeps that for later commands.
    Tune(TuneArgs),
    /// The whole experiment on bundled images of digits, in minutes: dual encoder, alignment, training on text, real images.
    Demo(DemoArgs),
    /// The experiment over several seeds; with --full every aligner and ablation, lengths of captions and sizes of the pool.
    Experiment(ExperimentArgs),
}

impl Command {
    /// Does it.
    pub fn run(&self) -> Result<()> {
        match self {
            Command::Adapters(args) => inspect::adapters(args),
            Command::Embed(args) => encode::embed(args),
            Command::Stats(args) => align::fit::stats(args),
            Command::Merge(args) => align::fit::merge(args),
            Command::Fit(args) => align::fit::fit(args),
            Command::Apply(args) => align::apply::apply(args),
            Command::Measure(args) => geometry::measure::measure(args),
            Command::Compare(args) => geometry::compare::compare(args),
            Command::Calibrate(args) => geometry::calibrate::calibrate(args),
            Command::Frame(args) => geometry::frame::frame(args),
            Command::Angles(args) => geometry::frame::angles(args),
            Command::Drift(args) => geometry::frame::drift(args),
            Command::Rank(args) => rank::rank(args),
            Command::Train(args) => train::train(args),
            Command::Score(args) => inference::score(args),
            Command::Generate(args) => inference::generate(args),
            Command::Evaluate(args) => inference::evaluate(args),
            Command::Export(args) => export::export(args),
            Command::Info(args) => inspect::info(args),
            Command::Demo(args) => experiment::demo::demo(args),
            Command::Bench(args) => bench::bench(args),
            Command::Tune(args) => bench::tune::tune(args),
            Command::Experiment(args) => experiment::full::experiment(args),
        }
    }
}
