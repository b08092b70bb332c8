//! What it takes to put one query's scores in two collections on one scale, on the host: rows of width 1280, samples of 4,096 rows; by a scorer, and by the
//! ranking alone.
//!
//! `cargo bench --bench rank`. The median and the least of many; a batch's time is that of a query of it.

use std::time::Instant;

use realign::Result;
use realign::device::Device;
use realign::rank::{Named, NnnOptions, RankOptions, Ranking, Score, Scorer};
use realign::stats::MemoryRows;

const WIDTH: usize = 1280;
const ROWS: usize = 4096;
/// Scores that a database returned from each collection.
const RETURNED: usize = 100;

fn rows(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n * WIDTH).map(|i| next() + if i % 7 == seed as usize % 7 { 0.5 } else { 0.0 }).collect()
}

fn main() -> Result<()> {
    let device = Device::host();
    let (text, image) = (rows(ROWS, 1), rows(ROWS, 2));
    let mut sources = [MemoryRows::f32("text", &text, WIDTH)?, MemoryRows::f32("image", &image, WIDTH)?];
    let [texts, images] = &mut sources;
    let mut named: [Named<'_, '_>; 2] = [("text", texts), ("image", images)];
    let bank = rows(ROWS, 4);
    let mut queries = MemoryRows::f32("queries", &bank, WIDTH)?;
    let mut kinds: [Named<'_, '_>; 1] = [("text", &mut queries)];
    let ranking = Ranking::fit(&device, &mut named, &mut kinds, &RankOptions::default())?;
    let raw: Vec<f64> = (0..RETURNED).map(|i| 0.3 - 1e-3 * i as f64).collect();
    println!("{} threads; ms a query", rayon::current_num_threads());
    let (query, returned) = (rows(1, 3), raw.iter().map(|x| *x as f32).collect::<Vec<_>>());
    let both = || -> Result<()> {
        for name in ["text", "image"] {
            std::hint::black_box(ranking.scores(&query, name, &returned)?);
        }
        Ok(())
    };
    let start = Instant::now();
    both()?;
    println!("Ranking::scores: first call {:.1}", start.elapsed().as_secs_f64() * 1e3);
    let mut times = Vec::new();
    for _ in 0..200 {
        let start = Instant::now();
        both()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!("Ranking::scores: median {:.3}, least {:.3}", times[times.len() / 2], times[0]);
    for score in [Score::Quantile, Score::Z, Score::Standardise] {
        let scorer = Scorer::of(&ranking, &device, (score, NnnOptions::default()), None, &["text", "image"])?;
        for batch in [1, 16, 256] {
            let queries = rows(batch, 3);
            let mut times = Vec::new();
            for _ in 0..if batch == 1 { 200 } else { 20 } {
                let start = Instant::now();
                for scale in scorer.scales(&queries)? {
                    for name in ["text", "image"] {
                        std::hint::black_box(scale.scores(name, &raw)?);
                    }
                }
                times.push(start.elapsed().as_secs_f64() * 1e3 / batch as f64);
            }
            times.sort_by(f64::total_cmp);
            println!("{score:?} in batches of {batch}: median {:.3}, least {:.3}", times[times.len() / 2], times[0]);
        }
    }
    Ok(())
}
