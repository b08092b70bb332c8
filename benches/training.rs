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

use realign::device::{Device, DeviceOptions, Selection, Tensor};
use realign::io::{AdapterKind, DecoderConfig, Family};
use realign::kernels::nn::embedding::VISUAL;
use realign::nn::adapter::fresh;
use realign::nn::{Adapter, Decoder, Gradients, adapter::AdapterSpace};
use realign::optim::{AdamW, AdamWOptions};
use realign::train::{Batch, IGNORED, Model, Trainer, Trains};
use realign::{Result, host};

const HIDDEN: usize = 256;
const LAYERS: usize = 6;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const INTERMEDIATE: usize = 688;
const VOCABULARY: usize = 11_000;
const LENGTH: usize = 128;
const BATCH: usize = 8;
const INPUT: usize = 1024;

/// Input, output and rows of the adapter's case.
const ADAPTER: [usize; 3] = [1280, 2048, 256];

const ROUNDS: usize = 5;

fn config() -> DecoderConfig {
    DecoderConfig {
        family: Family::Llama,
        hidden_size: HIDDEN,
        layers: LAYERS,
        heads: HEADS,
        kv_heads: KV_HEADS,
        head_dim: HIDDEN / HEADS,
        intermediate_size: INTERMEDIATE,
        vocab_size: VOCABULARY,
        rope_theta: 10_000.0,
        rope_scaling: None,
        norm_eps: 1e-5,
        tied_embeddings: false,
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        max_positions: None,
        bos: None,
        eos: Vec::new(),
    }
}

/// A step, and the rows that it goes through.
type Step = (Box<dyn FnMut() -> Result<()>>, usize);

fn language(device: &Device, trains: Trains) -> Result<Step> {
    let mut stream = 0;
    let decoder = Decoder::new(device, &config(), |name, shape| {
        let (count, width) = (shape.iter().product(), shape[shape.len() - 1] as f32);
        stream += 1;
        let normal = host::gaussian::normals(count, 1, stream).into_iter();
        Ok(normal.map(|x| if name.contains("norm") { 1.0 } else { x / width.sqrt() }).collect())
    })?;
    let adapter = Adapter::new(device, &fresh(AdapterKind::Mlp(2), INPUT, HIDDEN, 1))?;
    let model = Model { adapter, decoder };
    let mut trainer = Trainer::new(device, model, trains, (AdamWOptions::default(), false))?;
    let mut batch = Batch::default();
    for sequence in 0..BATCH as u32 {
        let token = |t: usize| (t as u32 * 7919 + sequence * 104_729) % VOCABULARY as u32;
        batch.spans.push((sequence * LENGTH as u32, LENGTH as u32));
        batch.ids.extend((0..LENGTH).map(|t| if t == 0 { VISUAL | sequence } else { token(t) }));
        batch.positions.extend(0..LENGTH as u32);
        batch.labels.extend((1..=LENGTH).map(|t| if t < LENGTH { token(t) as i32 } else { IGNORED }));
        batch.samples.push(sequence);
        batch.visual_sequences.push(sequence);
        batch.embedding_rows.push(sequence);
    }
    batch.targets = (BATCH * (LENGTH - 1)) as u32;
    let embeddings = Tensor::from_f32(device, &host::gaussian::normals(BATCH * INPUT, 2, 0), INPUT)?;
    let device = device.clone();
    let step = move || {
        trainer.clear()?;
        let losses = trainer.accumulate(&batch, &embeddings)?;
        trainer.step(1e-4)?;
        losses.read_blocking(&device).map(|l| assert!(l.iter().all(|l| l.is_finite())))
    };
    Ok((Box::new(step), BATCH * LENGTH))
}

fn adapter(device: &Device) -> Result<Step> {
    let [input, output, rows] = ADAPTER;
    let adapter = Adapter::new(device, &fresh(AdapterKind::Mlp(2), input, output, 1))?;
    let gradients = Gradients::new(device, &adapter.parameters, |_| true)?;
    let mut optimizer = AdamW::new(device, AdamWOptions::default(), &[&gradients])?;
    let space = AdapterSpace::new(device, &adapter, rows)?;
    let x = Tensor::from_f32(device, &host::gaussian::normals(rows * input, 2, 0), input)?;
    let dy = Tensor::from_f32(device, &host::gaussian::normals(rows * output, 2, 1), output)?;
    let device = device.clone();
    let step = move || {
        let mut recorder = device.recorder();
        gradients.clear(&mut recorder);
        adapter.forward(&mut recorder, &x, &space)?;
        adapter.backward(&mut recorder, &gradients, (&x, &dy), &space, None)?;
        optimizer.record(&mut recorder, (1e-4, 1.0), &[(&adapter.parameters, &gradients)])?;
        recorder.submit()?.wait()
    };
    Ok((Box::new(step), rows))
}

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
    let python = std::env::var("REALIGN_BENCH_PYTHON").ok()?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/bench_torch.py");
    let mut pairs = vec![
        ("layers", LAYERS),
        ("heads", HEADS),
        ("kv_heads", KV_HEADS),
        ("intermediate", INTERMEDIATE),
        ("vocabulary", VOCABULARY),
        ("length", LENGTH),
    ];
    pairs.extend(match case {
        "adapter" => [("input", ADAPTER[0]), ("hidden", ADAPTER[1]), ("batch", ADAPTER[2])],
        _ => [("input", INPUT), ("hidden", HIDDEN), ("batch", BATCH)],
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
    if let Ok(name) = std::env::var("REALIGN_BENCH_ADAPTER") {
        let options = DeviceOptions { selection: Selection::Named(name.clone()), ..Default::default() };
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
            "adapter" => adapter(device),
            "stage1" => language(device, Trains::Adapter),
            _ => language(device, Trains::All),
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
