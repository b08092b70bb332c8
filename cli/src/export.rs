//! `export`.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use realign::io::{DecoderConfig, GgufType, check_local, write_gguf};
use serde_json::json;

use crate::shared::show;

#[derive(Args)]
pub struct ExportArgs {
    /// The model's folder in Hugging Face's layout, such as the one that a run leaves in OUT/model.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The GGUF file.
    #[arg(long, value_name = "OUT.gguf")]
    out: PathBuf,
    /// What matrices are stored as: q8_0 takes 8.5 bits a number. Vectors are f32.
    #[arg(long, default_value = "f16", value_parser = parse_type, value_name = "f32|f16|bf16|q8_0")]
    r#type: GgufType,
    /// Replace OUT.gguf if it is there.
    #[arg(long)]
    force: bool,
    /// Machine-readable result on stdout.
    #[arg(long)]
    json: bool,
}

fn parse_type(text: &str) -> Result<GgufType, String> {
    text.parse().map_err(|_| format!("'{text}' is unknown; choose f32, f16, bf16 or q8_0"))
}

pub fn export(args: &ExportArgs) -> Result<()> {
    check_local(&args.out)?;
    let start = Instant::now();
    let numbers = DecoderConfig::read(&args.model)?.parameters();
    let bar = show::progress(numbers, "writing");
    write_gguf(&args.model, (&args.out, args.force), args.r#type, |count| bar.inc(count))?;
    bar.finish_and_clear();
    let bytes = std::fs::metadata(&args.out)?.len();
    if args.json {
        let seconds = start.elapsed().as_secs_f64();
        return show::result(
            true,
            &json!({ "out": args.out.display().to_string(), "parameters": numbers, "bytes": bytes, "seconds": seconds }),
        );
    }
    show::print(&format!("{}: {numbers} numbers in {bytes} bytes", args.out.display()))
}
