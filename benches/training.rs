//! Steps of training on the host engine and on the adapter that `REALIGN_BENCH_ADAPTER` names (none without it), and the same steps in
//! PyTorch on the CPU where `REALIGN_BENCH_PYTHON` names a Python that has it; all take turns, so that they meet the same load.
//!
//! stage1, stage2: a Llama decoder of 10 million parameters, 8 sequences of 128 tokens, all supervised; the decoder frozen, or
//! all trained. adapter: 1280 → 2048 GELU → 2048 on 256 rows. Every step has forward, backward, clipping and AdamW.
//!
//! Times are of the wall and of the process' CPU, user and system: on a machine that does other things the second is the
//! one to compare, at one thread each (RAYON_NUM_THREADS=1 OMP_NUM_THREADS=1). Arguments: the cases, and how many seconds a turn takes.

use std::process::Command;
use std::time::Instant;

use realign::bench::training::{ADAPTER, INPUT, LENGTH, adapter_step, decoder_config, decoder_step};
use realign::device::{Device, DeviceOptions, Selection};
use realign::train::Trains;

const BATCH: usize = 8;
const ROUNDS: usize = 5;

/// A step, and the rows that it goes through.
type Step = (realign::bench::training::Step, usize);

/// CPU seconds of this process so far, where the system tells.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    // utime and stime, in ticks of 10 ms.
    after.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Rows per second of the wall and of the CPU.
type Rates = [f64; 2];

fn ours((step, rows): &mut Step, seconds: f64) -> Rates {
    step().expect("a step");
    let (start, cpu, mut steps) = (Instant::now(), cpu_seconds(), 0);
    while start.elapsed().as_secs_f64() < seconds {
        step().expect("a step");
        steps += 1;
    }
    [start.elapsed().as_secs_f64(), cpu_seconds() - cpu].map(|t| (steps * *rows) as f64 / t)
}

/// `None` without PyTorch.
fn torch(case: &str, seconds: f64) -> Option<Rates> {
    let python = std::env::var("REALIGN_BENCH_PYTHON").ok().filter(|path| !path.is_empty())?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/bench_torch.py");
    let config = decoder_config();
    let mut pairs = vec![
        ("layers", config.layers),
        ("heads", config.heads),
        ("kv_heads", config.kv_heads),
        ("intermediate", config.intermediate_size),
        ("vocabulary", config.vocab_size),
        ("length", LENGTH),
    ];
    pairs.extend(match case {
        "adapter" => [("input", ADAPTER[0]), ("hidden", ADAPTER[1]), ("batch", ADAPTER[2])],
        _ => [("input", INPUT), ("hidden", config.hidden_size), ("batch", BATCH)],
    });
    let shape = pairs.iter().map(|(key, value)| format!("{key}={value}"));
    let output = Command::new(python).arg(script).arg(seconds.to_string()).arg(case).args(shape).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    Some(["rows_per_s", "rows_per_cpu_s"].map(|key| json[key].as_f64().unwrap_or(0.0)))
}

fn median(mut list: Vec<f64>) -> f64 {
    list.sort_by(f64::total_cmp);
    list[list.len() / 2]
}

fn report(case: &str, name: &str, rounds: &[Rates], reference: &[Rates]) {
    let column = |rates: &[Rates], i: usize| median(rates.iter().map(|r| r[i]).collect());
    let mut line = format!("{case:8} {name:30} {:9.0} rows/s {:9.0} rows/CPU s", column(rounds, 0), column(rounds, 1));
    if reference.len() == rounds.len() {
        let ratios = |i: usize| median(rounds.iter().zip(reference).map(|(a, b)| a[i] / b[i]).collect());
        line += &format!("  {:5.2} and {:5.2} x PyTorch", ratios(0), ratios(1));
    }
    println!("{line}");
}

fn devices() -> Vec<Device> {
    let mut devices = vec![Device::host()];
    if let Some(name) = std::env::var("REALIGN_BENCH_ADAPTER").ok().filter(|name| !name.is_empty()) {
        let options = DeviceOptions::default().selection(Selection::Named(name.clone()));
        match Device::request_blocking(&options) {
            Ok(device) => devices.push(device),
            Err(error) => println!("skipped {name}: {error}"),
        }
    }
    devices
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let seconds = arguments.iter().find_map(|a| a.parse::<f64>().ok()).unwrap_or(4.0);
    let devices = devices();
    for case in ["stage1", "stage2", "adapter"] {
        if arguments.iter().any(|a| a.parse::<f64>().is_err()) && !arguments.iter().any(|a| a == case) {
            continue;
        }
        let make = |device| match case {
            "adapter" => adapter_step(device).map(|step| (step, ADAPTER[2])),
            "stage1" => decoder_step(device, Trains::Adapter, BATCH).map(|step| (step, BATCH * LENGTH)),
            _ => decoder_step(device, Trains::All, BATCH).map(|step| (step, BATCH * LENGTH)),
        };
        let mut steps: Vec<Step> = devices.iter().map(|d| make(d).expect("memory for the model")).collect();
        let (mut rates, mut reference) = (vec![Vec::new(); devices.len()], Vec::new());
        for _ in 0..ROUNDS {
            for (step, rates) in steps.iter_mut().zip(&mut rates) {
                rates.push(ours(step, seconds));
            }
            reference.extend(torch(case, seconds));
        }
        for (device, rates) in devices.iter().zip(&rates) {
            report(case, device.name(), rates, &reference);
        }
        if !reference.is_empty() {
            report(case, "PyTorch", &reference, &[]);
        }
    }
}
