//! Kernels on [20000, 1280] rows of f32, on the host engine and on the adapter that `REALIGN_BENCH_ADAPTER` names
//! (default `llvmpipe`), with a copy of the same rows as the measure of what memory gives.
//!
//! Throughput is bytes that must move: one read of the rows, and one write where rows come out. A variant in brackets is a
//! shape of kernel that the adapter does not get by itself. Each result is compared with the host engine's before it is timed.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use realign::device::{Buffer, Capabilities, Device, DeviceOptions, Recorder, Selection, Tensor};
use realign::host::{HostCall, HostSlice};
use realign::kernels::align::{apply, c3};
use realign::kernels::stats::{moments, normalize};
use realign::kernels::{Binding, KernelSpec};
use realign::{ElementType, Result};

const ROWS: usize = 20_000;
const WIDTH: usize = 1280;
const BYTES: u64 = (ROWS * WIDTH * 4) as u64;

/// The yardstick: moves the rows and does nothing else.
static COPY: KernelSpec = KernelSpec {
    name: "copy",
    source: "
        struct Params { vectors: u32, }
        override GROUP: u32 = 64u;
        @group(0) @binding(0) var<uniform> params: Params;
        @group(0) @binding(1) var<storage, read> rows: array<vec4<u32>>;
        @group(0) @binding(2) var<storage, read_write> out_rows: array<vec4<u32>>;
        @compute @workgroup_size(GROUP)
        fn main(
            @builtin(global_invocation_id) id: vec3<u32>,
            @builtin(num_workgroups) groups: vec3<u32>,
        ) {
            for (var i = id.x; i < params.vectors; i += groups.x * GROUP) { out_rows[i] = rows[i]; }
        }",
    bindings: &[Binding::uniform("params"), Binding::read(1, "rows"), Binding::read_write(2, "out_rows")],
    twin: copy_twin,
};

fn copy_twin(call: &mut HostCall<'_>) -> Result<()> {
    if let [HostSlice::Read(from), HostSlice::Write(to)] = &mut call.buffers[..] {
        to.copy_from_slice(from);
    }
    Ok(())
}

type Record = dyn Fn(&mut Recorder) -> Result<()>;

struct Case {
    /// Kernel, number of vectors, floating-point or integer operations per element.
    name: &'static str,
    /// Bytes that must move.
    bytes: u64,
    run: Box<Record>,
    result: Buffer,
    /// Results that are integers must agree in every bit, others up to this difference.
    exact: bool,
}

fn vectors(count: usize) -> Vec<Vec<f64>> {
    let vector = |k: usize| (0..WIDTH).map(|j| ((j * (2 * k + 3)) as f64 * 0.37).sin() * 0.02).collect();
    (0..count).map(vector).collect()
}

fn rows() -> Vec<f32> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 0.9
    };
    std::iter::repeat_with(next).take(ROWS * WIDTH).collect()
}

fn cases(device: &Device, data: &[f32]) -> Result<Vec<Case>> {
    let input = Tensor::from_f32(device, data, WIDTH)?;
    let output = Tensor::new(device, ROWS, WIDTH, ElementType::F32)?;
    let status = apply::status_buffer(device)?;
    let mut all = Vec::new();
    let caps = device.capabilities().clone();
    let (i, o) = (input.clone(), output.clone());
    let copy = move |recorder: &mut Recorder| {
        recorder.dispatch(realign::device::Dispatch {
            kernel: &COPY,
            imports: Vec::new(),
            constants: vec![("GROUP", f64::from(caps.group))],
            params: [(ROWS * WIDTH / 4) as u32, 0, 0, 0].iter().flat_map(|w| w.to_le_bytes()).collect(),
            buffers: vec![i.buffer().clone(), o.buffer().clone()],
            elements: (ElementType::F32, ElementType::F32),
            groups: [4096, 1, 1],
        })
    };
    let mut add = |name, bytes, result: &Buffer, exact, run| {
        all.push(Case { name, bytes, run, result: result.clone(), exact });
    };
    add("copy", 2 * BYTES, output.buffer(), true, Box::new(copy));
    let (i, o, s) = (input.clone(), output.clone(), status.clone());
    let run = move |r: &mut Recorder| normalize::record(r, &i, &o, ROWS, &s);
    add("normalize, 3 FLOP", 2 * BYTES, output.buffer(), false, Box::new(run));
    for (count, name) in [(0, "moments 0, 35 integer operations"), (1, "moments 1, 50 integer operations")] {
        let summand = moments::Summand::operator(device, 0.75, &vectors(count), WIDTH)?;
        let sums = device.buffer("sums", summand.sums_bytes())?;
        let (i, kept) = (input.clone(), sums.clone());
        let run = move |r: &mut Recorder| {
            r.clear(&kept);
            moments::record(r, &summand, &i, ROWS, (&kept, 0))
        };
        add(name, BYTES, &sums, true, Box::new(run));
    }
    let operator = apply::Operator::new(device, 0.75, &vectors(2), WIDTH)?;
    let (i, o, s) = (input.clone(), output.clone(), status.clone());
    let run = move |r: &mut Recorder| apply::record(r, &operator, &i, &o, ROWS, (&s, 0));
    add("apply 2, 11 FLOP", 2 * BYTES, output.buffer(), false, Box::new(run));
    let shift: Vec<f32> = vectors(1)[0].iter().map(|&x| x as f32).collect();
    let shift = device.buffer_from("shift", bytemuck::cast_slice(&shift))?;
    let noise = c3::Noise { sigma: 0.03, seed: 7 };
    let run = move |r: &mut Recorder| c3::record(r, (&shift, noise, 0), &input, &output, ROWS, (&status, 0));
    let result = all[0].result.clone();
    all.push(Case { name: "c3, 120 FLOP", bytes: 2 * BYTES, run: Box::new(run), result, exact: false });
    Ok(all)
}

fn once(device: &Device, case: &Case) -> Result<()> {
    let mut recorder = device.recorder();
    (case.run)(&mut recorder)?;
    recorder.submit()?.wait()
}

/// The devices, each with the name that its numbers get.
fn devices() -> Vec<(String, Device)> {
    let mut all = vec![("host".to_owned(), Device::host())];
    let name = std::env::var("REALIGN_BENCH_ADAPTER").unwrap_or_else(|_| "llvmpipe".to_owned());
    let options = DeviceOptions { selection: Selection::Named(name.clone()), ..Default::default() };
    let mut add = |what: &str, change: &dyn Fn(&mut Capabilities)| match Device::request_blocking(&options)
        .and_then(|d| d.with_capabilities(change))
    {
        Ok(device) => all.push((format!("{name}{what}"), device)),
        Err(error) => println!("skipped {name}{what}: {error}"),
    };
    add("", &|_| ());
    // Compare teams with and without subgroups, and products of 32 and of 64 bits.
    if std::env::var_os("REALIGN_BENCH_VARIANTS").is_some() {
        add(" (64-bit products)", &|c| c.int64 = true);
        add(" (32-bit products)", &|c| c.int64 = false);
        add(" (teams of 8)", &|c| (c.lanes, c.subgroup_teams) = (8, false));
        add(" (subgroups)", &|c| (c.lanes, c.subgroup_teams) = (c.subgroup_size.unwrap_or(0), true));
    }
    all
}

fn kernels(criterion: &mut Criterion) {
    let data = rows();
    let host = Device::host();
    let wanted = cases(&host, &data).expect("the host engine has memory for the rows");
    for (name, device) in devices() {
        let mut group = criterion.benchmark_group(&name);
        group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
        let cases = match cases(&device, &data) {
            Ok(cases) => cases,
            Err(error) => {
                println!("skipped {name}: {error}");
                continue;
            }
        };
        for (case, wanted) in cases.iter().zip(&wanted) {
            // Validated before it is timed.
            once(&host, wanted).and_then(|()| once(&device, case)).expect(case.name);
            let want = host.read_blocking(&wanted.result).expect("host memory is read");
            compare(case, &device.read_blocking(&case.result).expect(case.name), &want);
            group.throughput(Throughput::Bytes(case.bytes));
            group.bench_function(BenchmarkId::from_parameter(case.name), |bencher| {
                bencher.iter(|| once(&device, case).expect(case.name));
            });
        }
    }
}

fn compare(case: &Case, got: &[u8], want: &[u8]) {
    if case.exact {
        assert!(got == want, "{}: bits differ from the host engine's", case.name);
        return;
    }
    let (got, want): (Vec<f32>, Vec<f32>) = (bytemuck::pod_collect_to_vec(got), bytemuck::pod_collect_to_vec(want));
    // Elements of unit rows: sums over 1280 columns err by (1280 / 8 + 16) 2^-24 of them at most, here at most 0.2.
    let worst = got.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0f32, f32::max);
    assert!(worst < 4e-6 && got.len() == want.len(), "{}: differs from the host engine's by {worst}", case.name);
}

criterion_group!(benches, kernels);
criterion_main!(benches);
