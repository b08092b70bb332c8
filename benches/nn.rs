//! Kernels of neural networks and optimisation, on the host engine and on the adapter that `REALIGN_BENCH_ADAPTER` names, Mesa's
//! llvmpipe if none. Throughput is in bytes that must move, or, for attention, in FLOPs (criterion says elements).
//!
//! Each case is compared with the host engine before it is timed.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use realign::device::{Buffer, Device, DeviceOptions, Recorder, Selection, Tensor};
use realign::kernels::nn::attention::{self, Heads, Spans};
use realign::kernels::nn::gelu::{self, Form};
use realign::kernels::nn::rotary::{self, Frequencies};
use realign::kernels::nn::{bias, cross_entropy, elementwise, embedding, layer_norm, rms_norm, silu_gate};
use realign::kernels::optim::{adamw, norm};
use realign::{ElementType, Result};

/// Tokens of a batch, width of the model, columns of a chunk of the vocabulary.
const ROWS: usize = 512;
const WIDTH: usize = 2048;
const CHUNK: usize = 8192;
const HEADS: Heads = Heads { query: 32, key_value: 8, width: 64 };
const LENGTH: u32 = 256;

type Record = dyn Fn(&mut Recorder) -> Result<()>;

struct Case {
    name: &'static str,
    throughput: Throughput,
    run: Box<Record>,
    result: Buffer,
}

fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// A batch's tensors, `[ROWS, WIDTH]`, and a row.
struct Operands {
    device: Device,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    out: [Tensor; 2],
    row: Tensor,
    sums: Tensor,
}

impl Operands {
    fn new(device: &Device) -> Result<Self> {
        let matrix = |seed| Tensor::from_f32(device, &numbers(seed, ROWS * WIDTH), WIDTH);
        let empty = || Tensor::new(device, ROWS, WIDTH, ElementType::F32);
        Ok(Operands {
            device: device.clone(),
            a: matrix(1)?,
            b: matrix(2)?,
            c: matrix(3)?,
            out: [empty()?, empty()?],
            row: Tensor::from_f32(device, &numbers(4, WIDTH), WIDTH)?,
            sums: Tensor::new(device, 1, WIDTH, ElementType::F32)?,
        })
    }

    /// A case of `bytes` bytes an element.
    fn case(
        &self,
        name: &'static str,
        bytes: usize,
        result: &Tensor,
        run: impl Fn(&mut Recorder) -> Result<()> + 'static,
    ) -> Case {
        let throughput = Throughput::Bytes((bytes * ROWS * WIDTH) as u64);
        Case { name, throughput, run: Box::new(run), result: result.buffer().clone() }
    }
}

macro_rules! cloned {
    ($($name:ident = $value:expr),* ; $body:expr) => {{ $(let $name = $value.clone();)* $body }};
}

fn elements(o: &Operands) -> Vec<Case> {
    let Operands { a, b, c, out: [x, y], .. } = o;
    vec![
        cloned!(a = a, x = x; o.case("gelu, 30 FLOP", 8, &x.clone(), move |r| gelu::forward(r, Form::Erf, &a, &x))),
        cloned!(a = a, b = b, x = x;
            o.case("gelu backward, 45 FLOP", 12, &x.clone(), move |r| gelu::backward(r, Form::Erf, &a, &b, &x))),
        cloned!(a = a, b = b, x = x;
            o.case("silu gate, 15 FLOP", 12, &x.clone(), move |r| silu_gate::forward(r, &a, &b, &x))),
        cloned!(a = a, b = b, c = c, x = x, y = y; o.case("silu gate backward, 20 FLOP", 20, &x.clone(), move |r| {
            silu_gate::backward(r, &a, &b, &c, &x, &y)
        })),
        // Copied first, so that the result does not grow.
        cloned!(a = a, b = b, x = x; o.case("copy and add, 1 FLOP", 20, &x.clone(), move |r| {
            r.copy(&b, &x)?;
            elementwise::add(r, &a, &x)
        })),
        cloned!(a = a, s = o.sums;
            o.case("bias backward, 1 FLOP", 4, &s.clone(), move |r| bias::backward(r, &a, &s, false))),
    ]
}

fn rows(o: &Operands) -> Result<Vec<Case>> {
    let Operands { a, b, out: [x, y], row, .. } = o;
    let positions: Vec<u32> = (0..ROWS as u32).collect();
    let positions = o.device.buffer_from("positions", bytemuck::cast_slice(&positions))?;
    let frequencies = Frequencies::new(&o.device, HEADS.width, 5e5, None)?;
    let ids: Vec<u32> = (0..ROWS as u32).map(|i| i * 37 % 401).collect();
    let plan = embedding::ScatterPlan::new(&o.device, &ids)?;
    let ids = o.device.buffer_from("ids", bytemuck::cast_slice(&ids))?;
    Ok(vec![
        cloned!(a = a, w = row, x = x;
            o.case("rms norm, 5 FLOP", 8, &x.clone(), move |r| rms_norm::forward(r, 1e-5, &a, &w, &x))),
        cloned!(a = a, b = b, w = row, x = x; o.case("rms norm backward by x, 12 FLOP", 20, &x.clone(), move |r| {
            rms_norm::backward(r, 1e-5, &a, &w, &b, (&x, false), None)
        })),
        cloned!(a = a, w = row, x = x;
            o.case("layer norm, 8 FLOP", 8, &x.clone(), move |r| layer_norm::forward(r, 1e-5, &a, &w, &w, &x))),
        cloned!(a = a, y = y; o.case("copy and rotary, 20 FLOP", 16, &y.clone(), move |r| {
            r.copy(&a, &y)?;
            rotary::record(r, &frequencies, &positions, HEADS.query, &y, false)
        })),
        cloned!(a = a, x = x; o.case("embedding gather", 8, &x.clone(), move |r| {
            embedding::gather(r, &a, None, &ids, &x)
        })),
        cloned!(a = a, b = b, x = x; o.case("copy and embedding scatter", 20, &x.clone(), move |r| {
            r.copy(&b, &x)?;
            embedding::scatter(r, &plan, &a, Some(&x), None)
        })),
    ])
}

fn losses(o: &Operands) -> Result<Vec<Case>> {
    let device = &o.device;
    let logits = Tensor::from_f32(device, &numbers(5, ROWS * CHUNK), CHUNK)?;
    let gradient = Tensor::new(device, ROWS, CHUNK, ElementType::F32)?;
    let labels: Vec<i32> = (0..ROWS as i32).map(|i| if i % 5 == 0 { -100 } else { i * 13 % CHUNK as i32 }).collect();
    let labels = device.buffer_from("labels", bytemuck::cast_slice(&labels))?;
    let state = Tensor::new(device, ROWS, 4, ElementType::F32)?;
    let bytes = |n: usize| Throughput::Bytes((n * ROWS * CHUNK) as u64);
    let forward = cloned!(l = logits, t = labels, s = state;
        move |r: &mut Recorder| cross_entropy::forward_chunk(r, &l, 0, &t, &s));
    let backward = cloned!(l = logits, t = labels, s = state, g = gradient; move |r: &mut Recorder| {
        r.copy(&l, &g)?;
        cross_entropy::backward_chunk(r, &g, 0, &t, &s, 0.01)
    });
    let (partials, out) = (norm::partials(device, 1)?, device.buffer("clip", 8)?);
    let clipped = cloned!(l = logits, out = out; move |r: &mut Recorder| {
        norm::square_sum(r, &l, &partials, 0)?;
        norm::clip(r, &partials, Some(1.0), 1.0, &out)
    });
    let case = |name, n, run, result: &Buffer| Case { name, throughput: bytes(n), run, result: result.clone() };
    Ok(vec![
        case("cross entropy, 10 FLOP", 4, Box::new(forward), state.buffer()),
        case("copy and cross entropy backward, 10 FLOP", 16, Box::new(backward), gradient.buffer()),
        case("norm and clip, 2 FLOP", 4, Box::new(clipped), &out),
    ])
}

fn optimiser(o: &Operands) -> Result<Case> {
    let hyper = adamw::Hyper { lr: 1e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, step: 1 };
    let scale = o.device.buffer_from("scale", &1f32.to_le_bytes())?;
    let v = Tensor::new(&o.device, ROWS, WIDTH, ElementType::F32)?;
    let [p, m] = o.out.clone();
    Ok(cloned!(g = o.a, b = o.b, v = v; o.case("copy 3 and adamw, 15 FLOP", 52, &p.clone(), move |r| {
        r.copy(&b, &p)?;
        r.clear(m.buffer());
        r.clear(v.buffer());
        adamw::step(r, &hyper, &scale, &p, &g, &m, &v)
    })))
}

fn attentions(device: &Device) -> Result<Vec<Case>> {
    let lengths = [LENGTH; ROWS / LENGTH as usize];
    let spans = Spans::packed(device, &lengths)?;
    let matrix =
        |seed, heads| Tensor::from_f32(device, &numbers(seed, ROWS * heads * HEADS.width), heads * HEADS.width);
    let empty = |heads: usize| Tensor::new(device, ROWS, heads * HEADS.width, ElementType::F32);
    let (q, dout, k, v) = (matrix(1, 32)?, matrix(2, 32)?, matrix(3, 8)?, matrix(4, 8)?);
    let (out, dq, dk, dv) = (empty(32)?, empty(32)?, empty(8)?, empty(8)?);
    let lse = Tensor::new(device, ROWS, HEADS.query, ElementType::F32)?;
    let pairs = lengths.len() as u64 * u64::from(LENGTH) * u64::from(LENGTH + 1) / 2;
    let flops = |each: u64| Throughput::Elements(each * pairs * (HEADS.query * HEADS.width) as u64);
    let forward = cloned!(s = spans, q = q, k = k, v = v, out = out, lse = lse;
        move |r: &mut Recorder| attention::forward(r, HEADS, &s, &q, &k, &v, &out, &lse));
    let result = dk.buffer().clone();
    let backward = cloned!(out = out; move |r: &mut Recorder| {
        attention::backward(r, HEADS, &spans, &q, &k, &v, &out, &lse, &dout, &dq, &dk, &dv)
    });
    Ok(vec![
        Case { name: "attention", throughput: flops(4), run: Box::new(forward), result: out.buffer().clone() },
        Case { name: "attention backward", throughput: flops(14), run: Box::new(backward), result },
    ])
}

fn cases(device: &Device) -> Result<Vec<Case>> {
    let o = Operands::new(device)?;
    let mut all = elements(&o);
    all.extend(rows(&o)?);
    all.extend(losses(&o)?);
    all.push(optimiser(&o)?);
    all.extend(attentions(device)?);
    Ok(all)
}

fn once(device: &Device, case: &Case) -> Result<()> {
    let mut recorder = device.recorder();
    (case.run)(&mut recorder)?;
    recorder.submit()?.wait()
}

/// The largest difference, relative to the largest value.
fn difference(got: &[u8], want: &[u8]) -> f32 {
    let (got, want): (Vec<f32>, Vec<f32>) = (bytemuck::pod_collect_to_vec(got), bytemuck::pod_collect_to_vec(want));
    let size = want.iter().fold(1e-30f32, |m, w| m.max(w.abs()));
    got.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0f32, f32::max) / size
}

fn kernels(criterion: &mut Criterion) {
    let host = Device::host();
    let wanted = cases(&host).expect("the host engine has memory");
    let name = std::env::var("REALIGN_BENCH_ADAPTER").unwrap_or_else(|_| "llvmpipe".to_owned());
    let options = DeviceOptions { selection: Selection::Named(name.clone()), ..Default::default() };
    let mut devices = vec![("nn host".to_owned(), Device::host())];
    match Device::request_blocking(&options) {
        Ok(device) => devices.push((format!("nn {name}"), device)),
        Err(error) => println!("skipped {name}: {error}"),
    }
    for (name, device) in devices {
        let mut group = criterion.benchmark_group(&name);
        group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
        let cases = cases(&device).expect("memory for the operands");
        for (case, wanted) in cases.iter().zip(&wanted) {
            once(&host, wanted).and_then(|()| once(&device, case)).expect(case.name);
            let got = device.read_blocking(&case.result).expect(case.name);
            let worst = difference(&got, &host.read_blocking(&wanted.result).expect(case.name));
            assert!(worst < 1e-5, "{}: differs from the host engine's by {worst} of the largest", case.name);
            group.throughput(case.throughput.clone());
            group.bench_function(BenchmarkId::from_parameter(case.name), |bencher| {
                bencher.iter(|| once(&device, case).expect(case.name));
            });
        }
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
