//! Products, the covariance, eigenvectors and the adapter's step of `realign bench`, in other libraries.
//!
//!     realign-peers burn|candle|faer|nalgebra SIDE ROWS WIDTH SECONDS
//!
//! SIDE is that of the square matrices, ROWS and WIDTH are those of the embeddings. faer and nalgebra find all eigenvectors, not the leading ones. Prints `{version, device, cases: [{name, seconds: [first quartile, median, third]}]}`. burn runs on
//! the adapter of the kind that BURN_DEVICE says: cpu (a software driver), discrete, or what burn takes by itself.

// burn's backend is a type of many layers.
#![recursion_limit = "512"]

mod burn_cases;
mod candle_cases;
mod matrices;

use std::time::Instant;

use serde_json::{Value, json};

/// Input, hidden and output width, and rows of the adapter.
pub const ADAPTER: [usize; 3] = [1280, 2048, 256];

/// Quartiles of the seconds that `call` takes; `call` waits for its result.
pub fn measure(seconds: f64, mut call: impl FnMut()) -> [f64; 3] {
    (0..3).for_each(|_| call());
    let (begin, mut samples) = (Instant::now(), Vec::new());
    while samples.len() < 5 || (begin.elapsed().as_secs_f64() < seconds && samples.len() < 200) {
        let start = Instant::now();
        call();
        samples.push(start.elapsed().as_secs_f64());
    }
    samples.sort_by(f64::total_cmp);
    [1, 2, 3].map(|q| samples[q * (samples.len() - 1) / 4])
}

/// Numbers in [-1, 1).
pub fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Shapes of the data.
pub struct Sizes {
    pub side: usize,
    pub rows: usize,
    pub width: usize,
}

pub struct Peer {
    pub version: &'static str,
    pub device: String,
    pub cases: Vec<(&'static str, [f64; 3])>,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [peer, sizes @ .., seconds] = &args[..] else { return usage() };
    let Ok(sizes) = sizes.iter().map(|n| n.parse()).collect::<Result<Vec<usize>, _>>() else { return usage() };
    let ([side, rows, width], Ok(seconds)) = (&sizes[..], seconds.parse()) else { return usage() };
    let sizes = Sizes { side: *side, rows: *rows, width: *width };
    let side = sizes.side;
    let peer = match peer.as_str() {
        "burn" => burn_cases::run(side, seconds),
        "candle" => candle_cases::run(side, seconds),
        "faer" => matrices::faer(&sizes, seconds),
        "nalgebra" => matrices::nalgebra(&sizes, seconds),
        _ => return usage(),
    };
    let cases: Vec<Value> =
        peer.cases.iter().map(|(name, seconds)| json!({"name": name, "seconds": seconds})).collect();
    println!("{}", json!({"version": peer.version, "device": peer.device, "cases": cases}));
}

fn usage() {
    eprintln!("usage: realign-peers burn|candle|faer|nalgebra SIDE ROWS WIDTH SECONDS");
    std::process::exit(2);
}
