//! Matrix products against f64.

use std::sync::OnceLock;

use realign::device::{Command, Device, DeviceOptions, Selection, Tensor, TensorCores, adapters};
use realign::host::linalg::matmul::{Stored, multiply};
use realign::kernels::linalg::matmul::{self, Operand, Product};
use realign::kernels::linalg::tiles::{Class, Tile, Tiling};
use realign::{ElementType, Error};

use crate::common::{Rng, adapter_name, gpu};
use crate::rows::U;

/// The host, the adapter's own shape, and the shape of the other kind.
pub fn variants() -> Vec<(String, Device)> {
    // One device each for all tests: each pipeline is compiled once.
    static VARIANTS: OnceLock<Vec<(String, Device)>> = OnceLock::new();
    VARIANTS.get_or_init(make_variants).clone()
}

fn make_variants() -> Vec<(String, Device)> {
    let shaped = |group, lanes| {
        gpu().with_capabilities(|c| (c.group, c.lanes, c.subgroup_teams) = (group, lanes, false)).unwrap()
    };
    let buffers = |device: Device| device.with_capabilities(|c| c.texel_reads = false).unwrap();
    let direct = || shaped(64, 1).with_capabilities(|c| c.subgroup_size = None).unwrap();
    vec![
        ("host".into(), Device::host()),
        ("subgroup, or direct where there are none of 8".into(), shaped(64, 1)),
        ("subgroup, from buffers".into(), buffers(shaped(64, 1))),
        ("direct".into(), direct()),
        ("direct, from buffers".into(), buffers(direct())),
        ("tiled".into(), shaped(256, 32)),
        ("tiled, small groups".into(), shaped(64, 32)),
    ]
}

fn random(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = Rng(seed);
    (0..n).map(|_| rng.normal() as f32).collect()
}

/// op(M) of `[rows, columns]` stored by rows, element (i, j).
fn at(m: &[f32], (rows, columns): (usize, usize), transpose: bool, i: usize, j: usize) -> f64 {
    f64::from(if transpose { m[j * rows + i] } else { m[i * columns + j] })
}

struct Case {
    shape: (usize, usize, usize),
    transpose: (bool, bool),
    product: Product,
}

/// Runs the product; checks each element against f64 with the bound of a sum of k + 3 roundings of products that large, and of
/// operands that tensor cores round to f16: 2^-11 each, or half of the least f16.
fn verify(device: &Device, case: &Case, what: &str) {
    let ((m, n, k), (ta, tb)) = (case.shape, case.transpose);
    let (a, b, c) = (random(1, m * k), random(2, k * n), random(3, (m + 2) * n));
    let tensor = |data: &[f32], rows: usize, columns: usize| {
        Tensor::from_f32(device, data, columns.max(1)).inspect(|t| assert_eq!(t.rows(), rows))
    };
    let (ar, ac) = if ta { (k, m) } else { (m, k) };
    let (br, bc) = if tb { (n, k) } else { (k, n) };
    let (at_, bt) = (tensor(&a, ar, ac).unwrap(), tensor(&b, br, bc).unwrap());
    let ct = tensor(&c, m + 2, n).unwrap();
    let operand = |t, flip| if flip { Operand::new(t).transposed() } else { Operand::new(t) };
    let mut recorder = device.recorder();
    // To rows 1 .. m + 1: the first and the last must stay.
    matmul::record(&mut recorder, case.product, (operand(&at_, ta), operand(&bt, tb)), (&ct, 1)).unwrap();
    recorder.submit().unwrap();
    let bytes = device.read_blocking(ct.buffer()).unwrap();
    for row in bytes.chunks_exact(ct.row_bytes()).take(m + 2) {
        assert!(row[4 * n..].iter().all(|&b| b == 0), "{what}: padding is not zero");
    }
    let got = ct.to_f32_blocking(device).unwrap();
    assert_eq!((&got[..n], &got[(m + 1) * n..]), (&c[..n], &c[(m + 1) * n..]), "{what}: rows around");
    for i in 0..m {
        for j in if case.product.upper { i } else { 0 }..n {
            let products = (0..k).map(|l| at(&a, (m, k), ta, i, l) * at(&b, (k, n), tb, l, j));
            let (sum, size) = products.fold((0.0, 0.0), |(s, z), p| (s + p, z + p.abs()));
            let alpha = f64::from(case.product.alpha);
            let before = if case.product.accumulate { f64::from(c[(i + 1) * n + j]) } else { 0.0 };
            let want = alpha * sum + before;
            let units = if device.capabilities().rounds_operands {
                1.001 / 1024.0 * size + k as f64 / 16_777_216.0
            } else {
                0.0
            };
            let bound = (k + 3) as f64 * U * (alpha.abs() * size + before.abs()) + alpha.abs() * units;
            let g = f64::from(got[(i + 1) * n + j]);
            assert!((g - want).abs() <= bound, "{what} ({i}, {j}): {g} for {want}, allowed {bound:e}");
        }
    }
}

#[test]
fn shapes_transpositions_and_options() {
    let shapes =
        [(1, 1, 1), (3, 5, 7), (4, 4, 4), (16, 8, 16), (17, 9, 33), (64, 64, 64), (65, 130, 31), (131, 67, 18)];
    for (name, device) in variants() {
        for shape in shapes {
            for transpose in [(false, false), (false, true), (true, false), (true, true)] {
                for (alpha, accumulate) in [(1.0, false), (-0.75, true)] {
                    let product = Product { alpha, accumulate, upper: false };
                    let what = format!("{name} {shape:?} {transpose:?} {accumulate}");
                    verify(&device, &Case { shape, transpose, product }, &what);
                }
            }
        }
    }
}

#[test]
fn upper_triangles() {
    for (name, device) in variants() {
        for (n, k) in [(1, 3), (63, 70), (64, 5), (200, 33)] {
            for accumulate in [false, true] {
                let case = Case {
                    shape: (n, n, k),
                    transpose: (true, false),
                    product: Product { alpha: 0.5, accumulate, upper: true },
                };
                verify(&device, &case, &format!("{name} {n} {k}"));
            }
        }
    }
}

#[test]
fn large_tiles() {
    let (name, device) = variants().remove(5);
    let shape = (128 * 15 + 1, 128 * 15 + 5, 19);
    verify(&device, &Case { shape, transpose: (false, true), product: Product::default() }, &name);
}

/// Sums longer than one dispatch makes are split along k.
#[test]
fn long_sums() {
    let (m, n, k) = (260, 4, 1 << 16);
    let data = random(8, m * 7);
    for (name, device) in variants() {
        // Rows that repeat, so that the reference is short: each dot is that of 7 numbers, k / 7 times over.
        let a: Vec<f32> = (0..m * k).map(|i| data[(i / k) * 7 + (i % k) % 7]).collect();
        let b: Vec<f32> = (0..n * k).map(|i| (i / k + 1) as f32).collect();
        let [at, bt] = [&a, &b].map(|d| Tensor::from_f32(&device, d, k).unwrap());
        let ct = Tensor::new(&device, m, n, ElementType::F32).unwrap();
        let mut recorder = device.recorder();
        let operands = (Operand::new(&at), Operand::new(&bt).transposed());
        matmul::record(&mut recorder, Product::default(), operands, (&ct, 0)).unwrap();
        recorder.submit().unwrap();
        let got = ct.to_f32_blocking(&device).unwrap();
        for i in 0..m {
            let row = &data[i * 7..(i + 1) * 7];
            let sum: f64 = (0..k).map(|l| f64::from(row[l % 7])).sum();
            let size: f64 = (0..k).map(|l| f64::from(row[l % 7]).abs()).sum();
            for j in 0..n {
                let (g, want) = (f64::from(got[i * n + j]), sum * (j + 1) as f64);
                let bound = (k + 3) as f64 * U * size * (j + 1) as f64;
                assert!((g - want).abs() <= bound, "{name} ({i}, {j}): {g} for {want}");
            }
        }
    }
}

#[test]
fn each_variant_records_its_own_kernel() {
    let mut seen = Vec::new();
    for (name, device) in variants() {
        let t = |n| Tensor::new(&device, n, 8, ElementType::F32).unwrap();
        let (a, b, c) = (t(3), t(8), t(3));
        let mut recorder = device.recorder();
        matmul::record(&mut recorder, Product::default(), (Operand::new(&a), Operand::new(&b)), (&c, 0)).unwrap();
        let [Command::Dispatch(dispatch)] = recorder.commands() else { panic!("one dispatch") };
        seen.push(dispatch.kernel.name);
        assert_eq!(dispatch.kernel.name == "matmul tiled", name.starts_with("tiled"), "{name}");
    }
    assert!(seen.contains(&"matmul direct"));
    let subgroups = gpu().capabilities().subgroup_size.is_some_and(|size| size >= matmul::SUBGROUP_LANES);
    assert_eq!(seen.contains(&"matmul subgroup"), subgroups);
}

#[test]
fn a_sub_range_of_rows_and_an_empty_sum() {
    for (name, device) in variants() {
        let (a, b) = (random(5, 40 * 6), random(6, 40 * 9));
        let (at, bt) = (Tensor::from_f32(&device, &a, 6).unwrap(), Tensor::from_f32(&device, &b, 9).unwrap());
        let ct = Tensor::from_f32(&device, &[7.0; 54], 9).unwrap();
        let product = |(af, bf, rows), product| {
            let mut recorder = device.recorder();
            let operands = (Operand::new(&at).rows(af, rows).transposed(), Operand::new(&bt).rows(bf, rows));
            matmul::record(&mut recorder, product, operands, (&ct, 0)).unwrap();
            recorder.submit().unwrap();
            ct.to_f32_blocking(&device).unwrap()
        };
        let got = product((3, 11, 21), Product::default());
        for (i, j) in (0..6).flat_map(|i| (0..9).map(move |j| (i, j))) {
            let terms = (0..21).map(|l| f64::from(a[(3 + l) * 6 + i]) * f64::from(b[(11 + l) * 9 + j]));
            let (want, size) = terms.fold((0.0, 0.0), |(s, z): (f64, f64), p| (s + p, z + p.abs()));
            assert!((f64::from(got[i * 9 + j]) - want).abs() <= 24.0 * U * size, "{name} ({i}, {j})");
        }
        let kept = product((0, 0, 0), Product { accumulate: true, ..Product::default() });
        assert_eq!(kept, got, "{name}: nothing added");
        assert_eq!(product((0, 0, 0), Product::default()), [0.0; 54], "{name}: a sum of nothing");
    }
}

/// `data` rounded to 16 bits: as the type's own tensor, and as one of f32.
fn rounded(device: &Device, data: &[f32], width: usize, element: ElementType) -> [Tensor; 2] {
    let halves: Vec<(u16, f32)> = data
        .iter()
        .map(|&x| match element {
            ElementType::F16 => (half::f16::from_f32(x).to_bits(), half::f16::from_f32(x).to_f32()),
            _ => (half::bf16::from_f32(x).to_bits(), half::bf16::from_f32(x).to_f32()),
        })
        .collect();
    let (bits, wide): (Vec<u16>, Vec<f32>) = halves.into_iter().unzip();
    assert!(wide != data, "nothing was rounded");
    let short = Tensor::from_bytes(device, bytemuck::cast_slice(&bits), width, element).unwrap();
    [short, Tensor::from_f32(device, &wide, width).unwrap()]
}

/// A B of 16 bits gives what an f32 B of the same numbers gives; to the bit where one block of rows holds it.
#[test]
fn operands_without_rows_share_what_is_bound_for_them() {
    for (name, device) in variants() {
        let empty = |width| Tensor::new(&device, 0, width, ElementType::F32).unwrap();
        let (a, b, c) = (empty(3), empty(5), Tensor::from_f32(&device, &[7.0; 15], 5).unwrap());
        let mut recorder = device.recorder();
        for _ in 0..2 {
            let operands = (Operand::new(&a).transposed(), Operand::new(&b));
            matmul::record(&mut recorder, Product::default(), operands, (&c, 0)).unwrap();
        }
        let bound = recorder.commands().iter().map(|command| match command {
            Command::Dispatch(dispatch) => dispatch.buffers[..2].to_vec(),
            other => panic!("{other:?}"),
        });
        let bound: Vec<_> = bound.collect::<Vec<_>>().concat();
        assert!(bound.len() == 4 && bound.iter().all(|buffer| buffer.same(&bound[0])), "{name}");
        assert!(bound[0].bytes() >= 16, "{name}");
        recorder.submit().unwrap().wait().unwrap();
        assert_eq!(c.to_f32_blocking(&device).unwrap(), [0.0; 15], "{name}");
    }
}

#[test]
fn an_operand_of_16_bits() {
    for (name, device) in variants() {
        for element in [ElementType::F16, ElementType::BF16] {
            for (shape, flips) in [((17, 9, 33), [false, true]), ((65, 130, 31), [true, false]), ((3, 7, 2), [true; 2])]
            {
                let (m, n, k) = shape;
                let a = random(1, m * k);
                let at = Tensor::from_f32(&device, &a, if flips[0] { m } else { k }).unwrap();
                let [short, wide] = rounded(&device, &random(2, n * k), if flips[1] { k } else { n }, element);
                let results = [short, wide].map(|b| {
                    let c = Tensor::new(&device, m, n, ElementType::F32).unwrap();
                    let operand = |t, flip| if flip { Operand::new(t).transposed() } else { Operand::new(t) };
                    let mut recorder = device.recorder();
                    let operands = (operand(&at, flips[0]), operand(&b, flips[1]));
                    matmul::record(&mut recorder, Product::default(), operands, (&c, 0)).unwrap();
                    recorder.submit().unwrap();
                    c.to_f32_blocking(&device).unwrap()
                });
                assert_eq!(results[0], results[1], "{name} {element} {shape:?} {flips:?}");
                assert!(results[0].iter().any(|x| *x != 0.0));
            }
        }
    }
}

/// On the host a B of several blocks: sums in another order, within the bound of sums.
#[test]
fn an_operand_of_16_bits_in_blocks() {
    let (device, (m, n, k)) = (Device::host(), (2, 1100, 1030));
    let a = random(1, m * k);
    for transpose in [false, true] {
        let [short, wide] = rounded(&device, &random(2, n * k), if transpose { k } else { n }, ElementType::BF16);
        let numbers = wide.to_f32_blocking(&device).unwrap();
        let at_ = Tensor::from_f32(&device, &a, k).unwrap();
        let c = Tensor::from_f32(&device, &vec![1.0; m * n], n).unwrap();
        let b = Operand::new(&short);
        let operands = (Operand::new(&at_), if transpose { b.transposed() } else { b });
        let mut recorder = device.recorder();
        matmul::record(&mut recorder, Product { accumulate: true, ..Product::default() }, operands, (&c, 0)).unwrap();
        recorder.submit().unwrap();
        for (i, got) in c.to_f32_blocking(&device).unwrap().iter().enumerate() {
            let (i, j) = (i / n, i % n);
            let products = (0..k).map(|l| f64::from(a[i * k + l]) * at(&numbers, (k, n), transpose, l, j));
            let (sum, size) = products.fold((1.0, 1.0), |(s, z), p| (s + p, z + p.abs()));
            assert!((f64::from(*got) - sum).abs() <= (k + 3) as f64 * U * size, "({i}, {j}): {got} for {sum}");
        }
    }
}

#[test]
fn operands_that_do_not_fit() {
    for (_, device) in variants() {
        let t = |n, d| Tensor::new(&device, n, d, ElementType::F32).unwrap();
        let (a, b, c) = (t(5, 6), t(6, 7), t(5, 7));
        let mut recorder = device.recorder();
        let mut refused = |product: Product, a: Operand<'_>, b: Operand<'_>, c: (&Tensor, usize)| {
            let error = matmul::record(&mut recorder, product, (a, b), c).unwrap_err();
            assert!(matches!(error, Error::Shape { .. } | Error::Argument { .. }), "{error}");
        };
        let (all, oa, ob) = (Product::default(), Operand::new(&a), Operand::new(&b));
        refused(all, oa.transposed(), ob, (&c, 0));
        refused(all, oa, ob.transposed(), (&c, 0));
        refused(all, oa, ob, (&t(5, 8), 0));
        refused(all, oa, ob, (&t(4, 7), 0));
        refused(all, oa, ob, (&c, 1));
        refused(all, oa, ob, (&c, usize::MAX));
        refused(all, oa.rows(3, 3), ob, (&c, 0));
        refused(all, oa.rows(usize::MAX, 2), ob, (&c, 0));
        refused(Product { upper: true, ..all }, oa, ob, (&c, 0));
        refused(Product { alpha: f32::NAN, ..all }, oa, ob, (&c, 0));
        let square = t(6, 6);
        refused(all, Operand::new(&square), Operand::new(&t(6, 6)), (&square, 0));
        let stranger = Tensor::new(&Device::host(), 6, 7, ElementType::F32).unwrap();
        refused(all, oa, Operand::new(&stranger), (&c, 0));
        assert!(recorder.commands().is_empty());
    }
}

#[test]
fn the_twin_in_f64_and_its_refusals() {
    let (a, b): (Vec<f64>, Vec<f64>) = ((0..6).map(f64::from).collect(), (0..6).map(|i| f64::from(i) - 2.5).collect());
    let stored = |data, stride, transpose| Stored { data, stride, transpose };
    let mut c = vec![0.0; 4];
    multiply((&mut c, 2), (stored(&a, 3, false), stored(&b, 2, false)), (2, 2, 3), (2.0, false, false)).unwrap();
    assert_eq!(c, [5.0, 11.0, -4.0, 20.0]);
    let mut refused = |a, b, shape, upper| {
        assert!(multiply((&mut c, 2), (a, b), shape, (1.0, false, upper)).is_err());
    };
    refused(stored(&a, 3, false), stored(&b, 2, false), (3, 2, 3), false);
    refused(stored(&a, 3, false), stored(&b, 2, false), (2, 2, 4), false);
    refused(stored(&a, 3, false), stored(&b, 2, true), (2, 2, 3), false);
    refused(stored(&a, 3, false), stored(&b, 2, false), (1, 2, 3), true);
    refused(stored(&a, usize::MAX, false), stored(&b, 2, false), (2, 2, 3), false);
}

/// `c` of one product with a tile, on a device that may have a budget for its dispatches.
fn tiled(device: &Device, tile: Tile, class: Class, (m, n, k): (usize, usize, usize)) -> (Vec<f32>, usize) {
    let (a, b) = (random(1, m * k), random(2, k * n));
    let tensor = |data: &[f32], rows: usize, columns: usize, turn: bool| {
        Tensor::from_f32(device, data, if turn { rows } else { columns }).unwrap()
    };
    let (at_, bt) = (tensor(&a, m, k, class.transpose_a), tensor(&b, k, n, class.transpose_b));
    let ct = Tensor::new(device, m, n, ElementType::F32).unwrap();
    let operand = |t, turn: bool| if turn { Operand::new(t).transposed() } else { Operand::new(t) };
    let operands = (operand(&at_, class.transpose_a), operand(&bt, class.transpose_b));
    let mut recorder = device.recorder();
    matmul::record_tiled(&mut recorder, Product::default(), operands, (&ct, 0), tile).unwrap();
    let dispatches = recorder.commands().len();
    recorder.submit().unwrap().wait().unwrap();
    let got = ct.to_f32_blocking(device).unwrap();
    for (i, j) in [(0, 0), (m / 2, n - 1), (m - 1, n / 3), (m - 1, n - 1)] {
        let products =
            (0..k).map(|l| at(&a, (m, k), class.transpose_a, i, l) * at(&b, (k, n), class.transpose_b, l, j));
        let (want, size) = products.fold((0.0, 0.0), |(sum, size), p| (sum + p, size + p.abs()));
        let off = (f64::from(got[i * n + j]) - want).abs();
        assert!(off <= (k + 3) as f64 * U * size, "{}: ({i}, {j}) is off by {off}", tile.name());
    }
    (got, dispatches)
}

/// Those that the GPU under test can run.
fn on_gpu(tiles: [Tile; 3]) -> Vec<Tile> {
    tiles.into_iter().filter(|tile| tile.runs_on(gpu().capabilities())).collect()
}

#[test]
fn every_tile_serves_every_class() {
    let device = gpu();
    let shape = (150, 133, 61);
    let tiles = || Tile::ALL.into_iter().filter(|t| t.runs_on(device.capabilities()));
    assert!(tiles().count() >= 4);
    for class in Class::all().filter(|c| !c.large) {
        // Those through workgroup memory sum in the same order: the same bits.
        let same: Vec<_> = tiles()
            .map(|tile| (tile, tiled(&device, tile, class, shape).0))
            .filter(|(tile, _)| !matches!(tile, Tile::Subgroup | Tile::Direct))
            .collect();
        assert!(same.len() >= 4 && same.iter().all(|(_, c)| *c == same[0].1), "{}", class.name());
    }
}

/// An adapter that has tensor cores says so, gives them where they are asked for, and takes them for all products; others refuse.
#[test]
fn matrix_units_round_operands_to_f16() {
    let options = DeviceOptions::default().selection(Selection::Named(adapter_name())).tensor_cores(TensorCores::All);
    let offered = adapters(None).iter().any(|a| a.name == gpu().name() && a.features.contains(&"tensor cores"));
    match Device::request_blocking(&options) {
        Err(error) => assert!(!offered && error.to_string().contains("no tensor cores"), "{error}"),
        Ok(device) => {
            assert!(offered);
            let flags = [false, true].into_iter().flat_map(|a| [(a, false), (a, true)]);
            for (transpose, shape) in
                flags.flat_map(|t| [(1, 1, 1), (17, 33, 5), (130, 259, 67), (128, 128, 64)].map(|s| (t, s)))
            {
                for (accumulate, upper) in [(false, false), (true, false), (false, true)] {
                    let shape = if upper { (shape.0, shape.0, shape.2) } else { shape };
                    let product = Product { alpha: -0.5, accumulate, upper };
                    verify(&device, &Case { shape, transpose, product }, "tensor cores");
                }
            }
        }
    }
}

#[test]
fn a_device_of_its_own_tiling_takes_it() {
    for tile in on_gpu([Tile::Tiny, Tile::LargeShallow, Tile::Direct]) {
        let device = gpu().with_capabilities(|c| c.tiling = Some(Tiling::all(tile))).unwrap();
        let make = || Tensor::new(&device, 8, 8, ElementType::F32).unwrap();
        let (a, b, c) = (make(), make(), make());
        let mut recorder = device.recorder();
        matmul::record(&mut recorder, Product::default(), (Operand::new(&a), Operand::new(&b)), (&c, 0)).unwrap();
        let Command::Dispatch(dispatch) = &recorder.commands()[0] else { panic!("no dispatch") };
        let (multiplier, shape) = tile.multiplier();
        assert_eq!(dispatch.kernel.name, matmul::kernel(multiplier).name);
        assert!(shape.iter().all(|import| dispatch.imports().contains(import)));
    }
    let none = gpu().with_capabilities(|c| (c.subgroup_size, c.tiling) = (None, Some(Tiling::all(Tile::Subgroup))));
    assert!(none.unwrap_err().to_string().contains("subgroups"));
}

/// On a device that seems slow, a product is many short dispatches, with the same bits.
#[test]
fn slow_devices_get_short_dispatches() {
    let slow = gpu().with_capabilities(|c| c.dispatch_flops = 1 << 20).unwrap();
    let class = Class { transpose_a: false, transpose_b: true, large: false };
    for tile in on_gpu([Tile::Direct, Tile::Small, Tile::Large]) {
        let (want, one) = tiled(&gpu(), tile, class, (400, 90, 50));
        let (got, many) = tiled(&slow, tile, class, (400, 90, 50));
        // Two tiles of 64 x 64 fit into 2^20 FLOPs, which are a row of them; of larger ones a single one.
        let columns = if tile == Tile::Small { 1 } else { 90usize.div_ceil(tile.sides().1) };
        assert_eq!((one, many), (1, 400usize.div_ceil(tile.sides().0) * columns), "{}", tile.name());
        assert!(got == want, "{}", tile.name());
    }
    assert!(gpu().with_capabilities(|c| c.dispatch_flops = 0).unwrap_err().to_string().contains("dispatch_flops"));
}
