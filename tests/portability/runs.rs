//! Recorded runs as data for the browser's page: dispatches, what their buffers hold before, and what they must hold after.

use std::fmt::Write;
use std::path::Path;

use realign::ElementType;
use realign::align::{Centroid, FitOptions, Target, fit};
use realign::device::{Buffer, Command, Device, DeviceKind, Dispatch, Recorder, Tensor};
use realign::kernels::GRID_BINDING;
use realign::kernels::align::apply::status_buffer;
use realign::kernels::geometry::histogram::{self, Histogram, Pairs};
use realign::kernels::geometry::nearest::{self, Lists, Queries};
use realign::kernels::linalg::matmul::{self, Operand, Product};
use realign::kernels::linalg::tiles::Tile;
use realign::kernels::stats::moments::{self, Summand};
use realign::stats::MemoryRows;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use crate::dump::binding_kind;

/// Devices that record what a GPU's would, or a CPU's; nothing runs on them but the expectations.
fn shaped() -> Vec<(&'static str, Device)> {
    let device = |lanes, texel_reads| {
        let shape = |c: &mut realign::device::Capabilities| {
            c.kind = if lanes == 1 { DeviceKind::Software } else { DeviceKind::OtherGpu };
            c.int64 = false;
            (c.group, c.lanes, c.texel_reads) = (if lanes == 1 { 64 } else { 256 }, lanes, texel_reads);
        };
        Device::host().with_capabilities(shape).unwrap()
    };
    vec![("teams", device(32, false)), ("rows alone", device(1, false)), ("texels", device(1, true))]
}

/// What a buffer must hold after a run.
enum Check {
    Bytes(Buffer, Vec<u8>),
    /// A tensor's elements, and how far each may be off.
    Close(Tensor, Vec<f64>, Vec<f64>),
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, b| {
        // A String takes everything.
        let _ = write!(text, "{b:02x}");
        text
    })
}

/// A run as the page takes it.
fn data(name: &str, recorder: &Recorder, checks: &[Check]) -> Value {
    let device = recorder.device();
    let mut buffers: Vec<Buffer> = Vec::new();
    let dispatches: Vec<Value> = recorder
        .commands()
        .iter()
        .map(|command| match command {
            Command::Dispatch(dispatch) => dispatch_data(dispatch, device, &mut buffers),
            other => panic!("{name}: {other:?}"),
        })
        .collect();
    let place = |buffer: &Buffer| buffers.iter().position(|b| b.same(buffer)).unwrap();
    let checks = checks.iter().map(|check| match check {
        Check::Bytes(buffer, bytes) => json!({ "buffer": place(buffer), "bytes": hex(bytes) }),
        Check::Close(tensor, values, bounds) => json!({
            "buffer": place(tensor.buffer()), "width": tensor.width(), "stride": 4 * tensor.width4(),
            "values": values, "bounds": bounds,
        }),
    });
    let checks: Vec<Value> = checks.collect();
    let held: Vec<String> = buffers.iter().map(|b| hex(&device.read_blocking(b).unwrap())).collect();
    json!({ "name": name, "buffers": held, "dispatches": dispatches, "checks": checks })
}

fn dispatch_data(dispatch: &Dispatch, device: &Device, buffers: &mut Vec<Buffer>) -> Value {
    let source = dispatch.source().unwrap();
    let constants = dispatch.constants().into_iter();
    let constants: serde_json::Map<_, _> = constants.map(|(name, v)| (name.to_owned(), json!(v))).collect();
    let mut places = dispatch.buffers.iter().map(|buffer| {
        buffers.iter().position(|b| b.same(buffer)).unwrap_or_else(|| {
            buffers.push(buffer.clone());
            buffers.len() - 1
        })
    });
    let bindings: Vec<Value> = (dispatch.kernel.bindings.iter())
        .map(|b| {
            let place = if b.index == 0 { None } else { places.next() };
            json!([b.index, binding_kind(b.kind, device.capabilities().texel_reads), place])
        })
        .collect();
    // The block that the engine would bind: the parameters, and the grid from byte 240 on.
    let mut block = dispatch.params.clone();
    block.resize(240, 0);
    let part = dispatch.part.unwrap_or([0, dispatch.groups.iter().product()]);
    block.extend(part.into_iter().chain([0, 0]).flat_map(u32::to_le_bytes));
    let bindings = bindings.into_iter().chain([json!([GRID_BINDING, "uniform", Value::Null])]);
    json!({
        "name": dispatch.kernel.name,
        "source": source,
        "features": [],
        "constants": constants,
        "params": hex(&block),
        "bindings": bindings.collect::<Vec<_>>(),
        "groups": dispatch.groups,
    })
}

/// One side of a golden file.
struct Rows {
    bytes: Vec<u8>,
    element: ElementType,
}

impl Rows {
    fn source(&self, width: usize) -> MemoryRows<'_> {
        MemoryRows::new("rows", &self.bytes, width, self.element).unwrap()
    }
}

/// Texts, images, the published script's output, d.
fn golden(name: &str) -> (Rows, Rows, Vec<f64>, usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/realign_{name}.safetensors"));
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let side = |name: &str| {
        let view = file.tensor(name).unwrap();
        let element = if view.dtype() == Dtype::F16 { ElementType::F16 } else { ElementType::F32 };
        Rows { bytes: view.data().to_vec(), element }
    };
    let out = file.tensor("out").unwrap();
    let four = |b: &[u8]| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    (side("txt"), side("img"), out.data().chunks_exact(4).map(four).collect(), out.shape()[1])
}

/// Moments of a golden file's texts, as unit rows and under an operator, have the host engine's bits; the operator's rows
/// are the published script's.
fn operator_runs(file: &str, runs: &mut Vec<Value>) {
    let (text, image, want, width) = golden(file);
    let options = FitOptions::default().centroid(Centroid::Steps(1));
    let statistics = fit(&Device::host(), &mut text.source(width), &mut image.source(width), &options).unwrap();
    let vectors = [statistics.mean_target.clone()];
    for (shape, device) in shaped() {
        for (what, vectors) in [("unit rows", &vectors[..0]), ("an operator", &vectors[..])] {
            let sums = |device: &Device| {
                let summand = Summand::operator(device, 0.75, vectors, width).unwrap();
                let sums = device.buffer("sums", summand.sums_bytes()).unwrap();
                let rows = Tensor::from_bytes(device, &text.bytes, width, text.element).unwrap();
                let mut recorder = device.recorder();
                moments::record(&mut recorder, &summand, &rows, rows.rows(), (&sums, 0)).unwrap();
                (recorder, sums)
            };
            let host = Device::host();
            let (recorder, held) = sums(&host);
            recorder.submit().unwrap();
            let expected = host.read_blocking(&held).unwrap();
            let (recorder, held) = sums(&device);
            let name = format!("moments of {what}, {file}, {shape}");
            runs.push(data(&name, &recorder, &[Check::Bytes(held, expected)]));
        }
        let rows = Tensor::from_bytes(&device, &text.bytes, width, text.element).unwrap();
        let output = Tensor::new(&device, rows.rows(), width, ElementType::F32).unwrap();
        let status = status_buffer(&device).unwrap();
        let mut recorder = device.recorder();
        let target = Target { output: &output, status: &status, first_row: 0 };
        statistics.aligner().on(&device).unwrap().record(&mut recorder, &rows, rows.rows(), target).unwrap();
        let checks = [Check::Close(output, want.clone(), vec![2e-6]), Check::Bytes(status, vec![0; 8])];
        runs.push(data(&format!("apply, {file}, {shape}"), &recorder, &checks));
    }
}

/// Numbers of a fixed sequence, -1 to 1.
fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut x = seed;
    let next = |_| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

/// Products in every transposition, by each kernel that needs no subgroups and two of its tiles, from buffers and from textures,
/// against f64.
fn product_runs(runs: &mut Vec<Value>) {
    let (m, n, k) = (131, 70, 45);
    let (a, b) = (numbers(1, m * k), numbers(2, k * n));
    // The first two shapes differ only in teams, which products do not have.
    for (shape, device) in shaped().into_iter().skip(1) {
        for tile in [Tile::Direct, Tile::Tiny, Tile::Large] {
            for turned in [(false, false), (false, true), (true, false), (true, true)] {
                let tensor = |data: &[f32], turn: bool, (rows, columns): (usize, usize)| {
                    Tensor::from_f32(&device, data, if turn { rows } else { columns }).unwrap()
                };
                let (at, bt) = (tensor(&a, turned.0, (m, k)), tensor(&b, turned.1, (k, n)));
                let operand = |t, turn| if turn { Operand::new(t).transposed() } else { Operand::new(t) };
                let c = Tensor::new(&device, m, n, ElementType::F32).unwrap();
                let mut recorder = device.recorder();
                let operands = (operand(&at, turned.0), operand(&bt, turned.1));
                matmul::record_tiled(&mut recorder, Product::default(), operands, (&c, 0), tile).unwrap();
                let at = |i, l| f64::from(if turned.0 { a[l * m + i] } else { a[i * k + l] });
                let bt = |l, j| f64::from(if turned.1 { b[j * k + l] } else { b[l * n + j] });
                // The bound of a sum of k + 3 roundings, as in the kernels' tests.
                let unit = f64::from(f32::EPSILON) / 2.0;
                let element = |(i, j)| {
                    let products = (0..k).map(|l| at(i, l) * bt(l, j));
                    products.fold((0.0, 0.0), |(sum, bound), p| (sum + p, bound + (k + 3) as f64 * unit * p.abs()))
                };
                let (values, bounds) = (0..m).flat_map(|i| (0..n).map(move |j| (i, j))).map(element).unzip();
                let name = format!("product {turned:?} by {}, {shape}", tile.name());
                runs.push(data(&name, &recorder, &[Check::Close(c, values, bounds)]));
            }
        }
    }
}

/// Selection and counting in a tile of numbers have the host engine's bits.
fn tile_runs(runs: &mut Vec<Value>) {
    let (rows, columns) = (70, 1100);
    let cosines = numbers(3, rows * columns);
    type Record = fn(&mut Recorder, &Tensor);
    let kernels: [(&str, Record); 3] = [
        ("nearest of rows", |r, tile| select(r, tile, Queries::Rows)),
        ("nearest of columns", |r, tile| select(r, tile, Queries::Columns)),
        ("histogram", |r, tile| {
            let counts = Histogram::new(r.device(), 3001).unwrap();
            histogram::record(r, tile, (0, 5), Pairs::Different, &counts).unwrap();
        }),
    ];
    for (what, record) in kernels {
        let recorded = |device: &Device| {
            let tile = Tensor::from_f32(device, &cosines, columns).unwrap();
            let mut recorder = device.recorder();
            record(&mut recorder, &tile);
            let [Command::Dispatch(dispatch)] = recorder.commands() else { panic!("{what}: one dispatch") };
            let written = dispatch.buffers[2].clone();
            (recorder, written)
        };
        let host = Device::host();
        let (recorder, written) = recorded(&host);
        recorder.submit().unwrap();
        let expected = host.read_blocking(&written).unwrap();
        for (shape, device) in shaped() {
            let (recorder, written) = recorded(&device);
            runs.push(data(&format!("{what}, {shape}"), &recorder, &[Check::Bytes(written, expected.clone())]));
        }
    }
}

/// A candidate of every seventh query does not count.
fn select(recorder: &mut Recorder, tile: &Tensor, queries: Queries) {
    let count = if queries == Queries::Rows { tile.rows() } else { tile.width() };
    let lists = Lists::new(recorder.device(), count, 12).unwrap();
    let excluded: Vec<u32> = (0..count as u32).map(|i| if i % 7 == 0 { i % 50 + 3 } else { nearest::NONE }).collect();
    let excluded = recorder.device().buffer_from("excluded", bytemuck::cast_slice(&excluded)).unwrap();
    nearest::record(recorder, (tile, queries), (0, 3), &excluded, &lists).unwrap();
}

/// All runs.
pub fn all() -> Vec<Value> {
    let mut runs = Vec::new();
    tile_runs(&mut runs);
    ["clean", "f16"].into_iter().for_each(|file| operator_runs(file, &mut runs));
    product_runs(&mut runs);
    runs
}

/// A run with an expectation that does not hold, and one whose first dispatch is missing.
pub fn spoilt(run: &Value) -> Vec<Value> {
    let name = run["name"].as_str().unwrap();
    let (mut other, mut idle) = (run.clone(), run.clone());
    other["name"] = json!(format!("{name}, expecting something else"));
    let check = &mut other["checks"][0];
    match check["bytes"].as_str().map(str::to_owned) {
        Some(bytes) => {
            let first = if bytes.starts_with('0') { "1" } else { "0" };
            check["bytes"] = json!(format!("{first}{}", &bytes[1..]));
        }
        None => check["values"][0] = json!(check["values"][0].as_f64().unwrap() + 1e-3),
    }
    idle["name"] = json!(format!("{name}, without its last dispatch"));
    idle["dispatches"].as_array_mut().unwrap().pop();
    vec![other, idle]
}
