//! The memory that a run takes, planned and real, and the budget in `docs/training.md`.

use std::path::Path;

use realign::ElementType;
use realign::device::{Device, Purpose, Tensor};
use realign::io::{AdapterKind, DecoderConfig, VISUAL};
use realign::nn::adapter::fresh;
use realign::nn::decoder::LowRankOptions;
use realign::nn::{Adapter, Decoder, Precision};
use realign::optim::{AdamWOptions, MomentType};
use realign::train::{Batch, IGNORED, MemoryPlan, Model, PlanOptions, Trainer, Trains, plan};

use super::{golden, refused};

fn tiny() -> DecoderConfig {
    let path = golden("models/llama.config.json");
    DecoderConfig::parse(&std::fs::read_to_string(&path).unwrap(), &path).unwrap()
}

const OPTIONS: PlanOptions = PlanOptions {
    storage: ElementType::F32,
    precision: Precision::F32,
    moments: MomentType::F32,
    trains: Trains::All,
    rank: 0,
    targets: Vec::new(),
    dropout: false,
    recompute: false,
    adapter: AdapterKind::Mlp(2),
    embedding_width: 48,
    visual_tokens: 2,
    batch_size: 3,
    accumulate: 1,
    length: 10,
    max_binding: u64::MAX,
};

/// A step on a device that computes.
fn real(options: &PlanOptions) -> (Device, Trainer) {
    let (device, config) = (Device::host(), tiny());
    let zeros = |_: &str, shape: &[usize]| Ok(vec![0.0; shape.iter().product()]);
    let mut decoder = Decoder::with_storage(&device, &config, options.storage, zeros).unwrap();
    if options.rank > 0 {
        let low_rank = LowRankOptions { rank: options.rank, alpha: 1.0, seed: 0 };
        decoder.add_low_rank_to(&device, low_rank, &options.targets).unwrap();
        decoder.set_dropout(if options.dropout { 0.1 } else { 0.0 }).unwrap();
    }
    decoder.compute_in(&device, options.precision).unwrap();
    let weights = fresh(options.adapter, 48, config.hidden_size * options.visual_tokens, 0);
    let model = Model { adapter: Adapter::new(&device, &weights).unwrap(), decoder };
    let how = (AdamWOptions { moments: options.moments, ..Default::default() }, options.recompute);
    let mut trainer = Trainer::new(&device, model, options.trains, how).unwrap();
    let sequence = |i: u32| [vec![1], vec![VISUAL | i; 2], vec![7; 7]].concat();
    let labels = [vec![IGNORED; 2], vec![7; 7], vec![IGNORED]].concat();
    let batch = Batch {
        ids: (0..3).flat_map(sequence).collect(),
        positions: (0..3).flat_map(|_| 0..10).collect(),
        labels: labels.repeat(3),
        sequences: vec![(0, 10), (10, 10), (20, 10)],
        samples: vec![0, 1, 2],
        visual_sequences: vec![0, 1, 2],
        embedding_rows: vec![0, 1, 2],
        targets: 21,
    };
    if options.accumulate > 1 {
        trainer.sum_whole_batches().unwrap();
    }
    trainer.clear().unwrap();
    trainer.accumulate(&batch, &Tensor::from_f32(&device, &[0.5; 3 * 48], 48).unwrap()).unwrap();
    trainer.step(1e-3).unwrap();
    (device, trainer)
}

#[test]
fn a_plan_is_what_a_run_takes() {
    for options in [
        OPTIONS,
        PlanOptions { recompute: true, ..OPTIONS },
        PlanOptions { accumulate: 2, ..OPTIONS },
        PlanOptions { accumulate: 2, trains: Trains::LowRank, rank: 4, ..OPTIONS },
        PlanOptions { precision: Precision::Mixed, ..OPTIONS },
        PlanOptions {
            precision: Precision::Mixed,
            trains: Trains::LowRank,
            rank: 4,
            storage: ElementType::F16,
            ..OPTIONS
        },
        PlanOptions { moments: MomentType::Dynamic8, storage: ElementType::BF16, ..OPTIONS },
        PlanOptions { trains: Trains::Adapter, storage: ElementType::BF16, ..OPTIONS },
        PlanOptions { trains: Trains::LowRank, rank: 4, storage: ElementType::F16, ..OPTIONS },
        PlanOptions { trains: Trains::LowRank, rank: 4, storage: ElementType::Q8_0, ..OPTIONS },
        PlanOptions { trains: Trains::Adapter, storage: ElementType::Q8_0, precision: Precision::Mixed, ..OPTIONS },
        PlanOptions { trains: Trains::LowRank, rank: 4, dropout: true, ..OPTIONS },
        PlanOptions {
            trains: Trains::LowRank,
            rank: 4,
            dropout: true,
            targets: vec!["q_proj".into(), "down_proj".into()],
            precision: Precision::Mixed,
            storage: ElementType::BF16,
            ..OPTIONS
        },
    ] {
        let planned = plan(&tiny(), &options).unwrap();
        let (device, _trainer) = real(&options);
        let MemoryPlan { layers, tables, additions, gradients, moments, activations, backward, head, .. } = planned;
        let all = [
            (Purpose::Weights, layers + tables + additions),
            (Purpose::Gradients, gradients),
            (Purpose::Moments, moments),
            (Purpose::Activations, activations),
            (Purpose::Backward, backward),
            (Purpose::Head, head),
        ];
        for (purpose, bytes) in all {
            assert_eq!(device.memory(purpose), bytes, "{purpose:?} {options:?}");
        }
        // Which ids a batch has decides on its scatter plan's size, within a few words an id.
        let (peak, tables) = (device.peak_memory(), planned.peak - all.iter().map(|(_, bytes)| bytes).sum::<u64>());
        assert!(peak.abs_diff(planned.peak) < 1000 && tables > 0, "{peak} {planned:?}");
    }
    refused(plan(&tiny(), &PlanOptions { length: 3, ..OPTIONS }), &["length"]);
    refused(plan(&tiny(), &PlanOptions { max_binding: 32_000, ..OPTIONS }), &["weights", "gate_proj", "32000"]);
}

fn gigabytes(bytes: u64) -> String {
    let gb = bytes as f64 / 1e9;
    if gb < 1.0 { format!("{gb:.2} GB") } else { format!("{gb:.1} GB") }
}

/// The tables of the documented budget: Llama-3-8B, stage 1, embeddings of width 1280, batches of 8.
#[test]
fn the_documented_budget() {
    let config = r#"{"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "rope_theta": 500000.0,
        "rms_norm_eps": 1e-05, "tie_word_embeddings": false}"#;
    let config = DecoderConfig::parse(config, Path::new("config.json")).unwrap();
    let options = |length, recompute| PlanOptions {
        storage: ElementType::BF16,
        moments: MomentType::F32,
        trains: Trains::Adapter,
        embedding_width: 1280,
        visual_tokens: 1,
        batch_size: 8,
        length,
        recompute,
        ..OPTIONS
    };
    let columns = [(42, false), (42, true), (2048, false), (2048, true)];
    let plans = columns.map(|(length, recompute)| plan(&config, &options(length, recompute)).unwrap());
    type Part = (&'static str, fn(&MemoryPlan) -> u64);
    let parts: [Part; 7] = [
        ("layers, bf16", |p| p.layers),
        ("embedding table and head, bf16", |p| p.tables),
        ("adapter: weights, gradients, moments", |p| p.additions + p.gradients + p.moments),
        ("activations", |p| p.activations),
        ("gradients of activations", |p| p.backward),
        ("supervised rows and their logits", |p| p.head),
        ("all at once", |p| p.peak),
    ];
    let rows = parts.map(|(name, bytes)| {
        let cells = plans.iter().map(|plan| format!(" {} |", gigabytes(bytes(plan)))).collect::<String>();
        format!("| {name} |{cells}\n")
    });
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/training.md")).unwrap();
    let table = rows.concat();
    assert!(docs.contains(&table), "docs/training.md should have\n{table}");
    // Stage 2 by low-rank additions, on the same base.
    let low_rank = PlanOptions { trains: Trains::LowRank, rank: 16, ..options(42, true) };
    let total = gigabytes(plan(&config, &low_rank).unwrap().peak);
    let words = format!("`--train lora` at rank 16 takes {total}");
    assert!(docs.contains(&words), "docs/training.md should say {words}");
    // In blocks of Q8_0, 8.5 bits a number of the matrices; norms are in f32.
    let blocks = plan(&config, &PlanOptions { storage: ElementType::Q8_0, ..options(42, true) }).unwrap();
    let norms = 4 * 65 * 4096;
    assert_eq!(blocks.tables * 32, plans[1].tables * 17);
    assert_eq!((blocks.layers - norms) * 32, (plans[1].layers - norms) * 17);
    let words = format!("`--weights q8_0` {} and {}", gigabytes(blocks.layers), gigabytes(blocks.tables));
    assert!(docs.contains(&words), "docs/training.md should say {words}");
    // All parameters, in bf16 with moments in 8 bits: the GPU of 80 GB holds it, and without gradients it is 4 bytes a parameter.
    let all = PlanOptions { trains: Trains::All, moments: MomentType::Dynamic8, ..options(42, true) };
    let all = plan(&config, &all).unwrap();
    let parameters = (all.layers + all.tables) as f64 / 2.0;
    let state = (all.layers + all.tables + all.moments) as f64 / parameters;
    assert!(all.peak < 80_000_000_000 && (4.0..4.1).contains(&state), "{all:?} {state}");
    let [peak, gradients, moments] = [all.peak, all.gradients, all.moments].map(gigabytes);
    let words =
        format!("takes {peak} with `--recompute` and such texts, {gradients} of them gradients in f32 and {moments}");
    assert!(docs.contains(&words), "docs/training.md should say {words}");
    // The f32 tables, of 2.1 GB, on a device that binds 128 MiB; the layers' largest matrices fit in bf16.
    let small = PlanOptions { max_binding: 128 << 20, ..options(42, true) };
    assert!(plan(&config, &small).is_ok());
    refused(plan(&config, &PlanOptions { storage: ElementType::F32, ..small }), &["gate_proj", "134217728"]);
}
