//! candle, on the host.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};

use crate::{ADAPTER, Peer, measure, numbers};

fn variable(seed: u32, shape: (usize, usize), scale: f64) -> Result<Var> {
    let data = Tensor::from_vec(numbers(seed, shape.0 * shape.1), shape, &Device::Cpu)?;
    Var::from_tensor(&(data * scale)?)
}

/// Forward, backward with a given gradient of the output, clipping at 1 left out, and AdamW.
fn adapter(seconds: f64) -> Result<[f64; 3]> {
    let [input, output, rows] = ADAPTER;
    let x = Tensor::from_vec(numbers(1, rows * input), (rows, input), &Device::Cpu)?;
    let dy = Tensor::from_vec(numbers(2, rows * output), (rows, output), &Device::Cpu)?;
    let (w1, w2) = (variable(3, (input, output), 0.03)?, variable(4, (output, output), 0.02)?);
    let bias = |_| Var::zeros((1, output), DType::F32, &Device::Cpu);
    let (b1, b2) = (bias(1)?, bias(2)?);
    let variables = vec![w1.clone(), b1.clone(), w2.clone(), b2.clone()];
    let mut optimizer = AdamW::new(variables, ParamsAdamW { lr: 1e-4, weight_decay: 0.0, ..ParamsAdamW::default() })?;
    let mut step = || -> Result<()> {
        let hidden = x.matmul(w1.as_tensor())?.broadcast_add(b1.as_tensor())?.gelu_erf()?;
        let y = hidden.matmul(w2.as_tensor())?.broadcast_add(b2.as_tensor())?;
        optimizer.backward_step(&(y * &dy)?.sum_all()?)
    };
    step()?;
    Ok(measure(seconds, || step().expect("a step")))
}

fn products(n: usize, seconds: f64) -> Result<Vec<(&'static str, [f64; 3])>> {
    let matrix = |seed| Tensor::from_vec(numbers(seed, n * n), (n, n), &Device::Cpu);
    let (a, b) = (matrix(1)?, matrix(2)?);
    let (at, bt) = (a.t()?, b.t()?);
    Ok(vec![
        ("product A B", measure(seconds, || drop(a.matmul(&b).expect("a product")))),
        ("product A Bᵀ", measure(seconds, || drop(a.matmul(&bt).expect("a product")))),
        ("product Aᵀ B", measure(seconds, || drop(at.matmul(&b).expect("a product")))),
    ])
}

pub fn run(side: usize, seconds: f64) -> Peer {
    let mut cases = products(side, seconds).expect("candle multiplies");
    cases.push(("adapter step", adapter(seconds).expect("candle trains")));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Peer { version: "0.11", device: format!("cpu, {threads} threads"), cases }
}
