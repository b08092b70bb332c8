//! Products of every combination of element types, against f64 on the rounded operands.

use half::{bf16, f16};
use realign::ElementType::{self, BF16, F16, F32};
use realign::device::{Device, DeviceKind, Recorder, Tensor};
use realign::kernels::linalg::epilogue::Epilogue;
use realign::kernels::linalg::matmul::{self, Operand, Product};
use realign::kernels::linalg::tiles::Tile;
use realign::kernels::nn::gelu::Form;

use crate::common::gpu;
use crate::matmul::variants;
use crate::nn::{normal, run, wide, zeros};
use crate::nn_elements::{gelu_error, reference};
use crate::rows::U;

/// A number as an element type has it.
fn round(element: ElementType, x: f32) -> f32 {
    match element {
        F16 => f16::from_f32(x).to_f32(),
        BF16 => bf16::from_f32(x).to_f32(),
        _ => x,
    }
}

/// `data` in an element type, and what is then in it.
fn typed(device: &Device, data: &[f32], width: usize, element: ElementType) -> (Tensor, Vec<f32>) {
    let bytes: Vec<u8> = match element {
        F16 => data.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
        BF16 => data.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
        _ => bytemuck::cast_slice(data).to_vec(),
    };
    let rounded = data.iter().map(|&x| round(element, x)).collect();
    (Tensor::from_bytes(device, &bytes, width, element).unwrap(), rounded)
}

/// A tensor's elements as they are; its padding must be zero.
fn read(device: &Device, tensor: &Tensor) -> Vec<f32> {
    let bytes = device.read_blocking(tensor.buffer()).unwrap();
    let used = tensor.element_type().bytes() * tensor.width();
    for row in bytes.chunks_exact(tensor.row_bytes()).take(tensor.rows()) {
        assert!(row[used..].iter().all(|&b| b == 0), "padding is not zero");
    }
    tensor.to_f32_blocking(device).unwrap()
}

/// What may be beside a product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Beside {
    Nothing,
    Sum,
    Upper,
    Added,
    Residual,
    Gelu(Form),
}

pub const BESIDE: [Beside; 6] =
    [Beside::Nothing, Beside::Sum, Beside::Upper, Beside::Added, Beside::Gelu(Form::Erf), Beside::Gelu(Form::Tanh)];

#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub shape: (usize, usize, usize),
    pub transpose: (bool, bool),
    /// Of A, B and C.
    pub elements: [ElementType; 3],
    pub beside: Beside,
}

/// A product as it is recorded.
pub struct Asked<'a> {
    pub product: Product,
    pub epilogue: Epilogue<'a>,
    pub operands: (Operand<'a>, Operand<'a>),
    pub c: (&'a Tensor, usize),
}

/// Whether a result lies within `bound` of what is wanted, or is what a number within it rounds to.
fn near(element: ElementType, got: f32, want: f64, bound: f64) -> bool {
    let (low, high) = ((want - bound) as f32, (want + bound) as f32);
    let exact = (f64::from(got) - want).abs() <= bound;
    exact || (element == F16 && round(F16, low) <= got && got <= round(F16, high))
}

impl Case {
    /// Runs it to rows 1 .. m + 1 of C; each element is within the bound of a sum of k + 5 roundings of terms that large, rounded to C's
    /// type once.
    fn verify(&self, device: &Device, what: &str) {
        self.verify_by(device, what, false, &|r, asked| {
            matmul::record_fused(r, asked.product, asked.epilogue, asked.operands, asked.c).unwrap();
        });
    }

    /// The same of a product that `record` records; with `rounds`, of operands that it rounds to f16.
    pub fn verify_by(&self, device: &Device, what: &str, rounds: bool, record: &dyn Fn(&mut Recorder, Asked<'_>)) {
        let ((m, n, k), (ta, tb), [ea, eb, ec]) = (self.shape, self.transpose, self.elements);
        let what = format!("{what} {self:?}");
        let (at, a) = typed(device, &normal(1, m * k), if ta { m } else { k }, ea);
        let (bt, b) = typed(device, &normal(2, k * n), if tb { k } else { n }, eb);
        let (ct, c) = typed(device, &normal(3, (m + 2) * n), n, ec);
        let (bias, residual) = (typed(device, &normal(4, n), n, F32), typed(device, &normal(5, m * n), n, F32));
        let kept = typed(device, &vec![-777.0; m * n], n, ec).0;
        let epilogue = match self.beside {
            Beside::Added => Epilogue::Add { bias: Some(&bias.0), residual: Some(&residual.0) },
            Beside::Residual => Epilogue::Add { bias: None, residual: Some(&residual.0) },
            Beside::Gelu(form) => Epilogue::Gelu { form, bias: Some(&bias.0), before: &kept },
            _ => Epilogue::None,
        };
        let (accumulate, upper) = (self.beside == Beside::Sum, self.beside == Beside::Upper);
        let operand = |t, flip| if flip { Operand::new(t).transposed() } else { Operand::new(t) };
        let operands = (operand(&at, ta), operand(&bt, tb));
        let product = Product { alpha: 0.5, accumulate, upper };
        run(device, |r| record(r, Asked { product, epilogue, operands, c: (&ct, 1) }));
        let [a, b] = [a, b].map(|x| x.into_iter().map(|x| if rounds { round(F16, x) } else { x }).collect::<Vec<_>>());
        let got = read(device, &ct);
        assert_eq!((&got[..n], &got[(m + 1) * n..]), (&c[..n], &c[(m + 1) * n..]), "{what}: rows around");
        let kept = if let Beside::Gelu(_) = self.beside { read(device, &kept) } else { Vec::new() };
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))).filter(|(i, j)| !upper || j >= i) {
            let at = |l: usize| (if ta { l * m + i } else { i * k + l }, if tb { j * k + l } else { l * n + j });
            let terms = (0..k).map(|l| 0.5 * f64::from(a[at(l).0]) * f64::from(b[at(l).1]));
            let others = match self.beside {
                Beside::Sum => vec![c[(i + 1) * n + j]],
                Beside::Added => vec![bias.1[j], residual.1[i * n + j]],
                Beside::Residual => vec![residual.1[i * n + j]],
                Beside::Gelu(_) => vec![bias.1[j]],
                _ => vec![],
            };
            let terms = terms.chain(others.into_iter().map(f64::from));
            let (want, size) = terms.fold((0.0, 0.0), |(s, z), p| (s + p, z + p.abs()));
            let (bound, got) = ((k + 5) as f64 * U * size, got[(i + 1) * n + j]);
            let Beside::Gelu(form) = self.beside else {
                assert!(near(ec, got, want, bound), "{what} ({i}, {j}): {got} for {want}, allowed {bound:e}");
                continue;
            };
            let before = kept[i * n + j];
            assert!(near(ec, before, want, bound), "{what} ({i}, {j}), argument: {before} for {want}");
            // GELU's slope is below 1.13.
            let value = reference(form, want).0;
            let bound = 1.13 * bound + value.abs() * gelu_error(form, want) + 1e-14;
            assert!(near(ec, got, value, bound), "{what} ({i}, {j}): {got} for {value}, allowed {bound:e}");
        }
    }
}

pub const TRANSPOSITIONS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

fn all_elements() -> impl Iterator<Item = [ElementType; 3]> {
    let types = |b| [F32, F16].into_iter().flat_map(move |a| [F32, F16].map(|c| [a, b, c]));
    [F32, F16, BF16].into_iter().flat_map(types)
}

/// The whole product of them on the host; on drivers, which compile each, every triple of types and every option, in turns.
#[test]
fn every_combination_of_types_and_options() {
    for (place, (name, device)) in variants().into_iter().enumerate() {
        let host = device.capabilities().kind == DeviceKind::Host;
        let mut turn = 0;
        for elements in all_elements() {
            for beside in BESIDE.into_iter().filter(|b| *b != Beside::Sum || elements[2] == F32) {
                turn += 1;
                if !host && turn % 6 != place % 6 {
                    continue;
                }
                for (i, transpose) in TRANSPOSITIONS.into_iter().enumerate().filter(|(i, _)| host || *i == turn % 4) {
                    let shape = if beside == Beside::Upper { (37, 37, 19) } else { (35, 41, 19) };
                    Case { shape, transpose, elements, beside }.verify(&device, &format!("{name} {i}"));
                }
            }
        }
    }
}

/// Of one element, of less than a vector, of half a texel, of more than a tile.
#[test]
fn odd_shapes() {
    for (name, device) in variants() {
        for (elements, beside) in [
            ([F16, F16, F16], Beside::Nothing),
            ([F16, BF16, F32], Beside::Residual),
            ([F32, F16, F16], Beside::Nothing),
        ] {
            for shape in [(1, 1, 1), (3, 7, 2), (5, 4, 12), (65, 130, 31)] {
                let transpose = (shape.0 == 3, shape.0 != 5);
                {
                    Case { shape, transpose, elements, beside }.verify(&device, &name);
                }
            }
        }
    }
}

/// Sums in layers, and sums of several dispatches, are rounded once: the f32 result rounded, bit for bit.
#[test]
fn long_sums_are_rounded_once() {
    for (name, device) in variants() {
        for (m, n, k) in [(5, 6, 2_000), (5, 6, (1 << 15) + 9)] {
            let (a, b) = (typed(&device, &normal(1, m * k), k, F16).0, typed(&device, &normal(2, n * k), k, F16).0);
            let residual = typed(&device, &normal(3, m * n), n, F32).0;
            for epilogue in [Epilogue::None, Epilogue::Add { bias: None, residual: Some(&residual) }] {
                let both = [F32, F16].map(|element| {
                    let c = typed(&device, &vec![7.0; (m + 3) * n], n, element).0;
                    let operands = (Operand::new(&a), Operand::new(&b).transposed());
                    let product = Product { alpha: 1.0 / 64.0, ..Product::default() };
                    run(&device, |r| matmul::record_fused(r, product, epilogue, operands, (&c, 2)).unwrap());
                    read(&device, &c)
                });
                let want: Vec<f32> = both[0].iter().map(|&x| round(F16, x)).collect();
                assert_eq!(want, both[1], "{name} {k}");
                assert!(both[0] != want, "nothing was rounded");
            }
        }
    }
}

/// All of C, so that the tiled shader sums in layers.
#[test]
fn layers_are_rounded_once() {
    let (device, (m, n, k)) = (gpu(), (40, 24, 1 << 12));
    let (a, b) = (typed(&device, &normal(1, m * k), k, F16).0, typed(&device, &normal(2, n * k), k, F16).0);
    let both = [F32, F16].map(|element| {
        let c = Tensor::new(&device, m, n, element).unwrap();
        let operands = (Operand::new(&a), Operand::new(&b).transposed());
        let mut recorder = device.recorder();
        matmul::record_tiled(&mut recorder, Product::default(), operands, (&c, 0), Tile::Small).unwrap();
        assert_eq!(recorder.commands().len(), if element == F16 { 3 } else { 2 });
        recorder.submit().unwrap();
        read(&device, &c)
    });
    assert_eq!(both[0].iter().map(|&x| round(F16, x)).collect::<Vec<_>>(), both[1]);
}

/// What f16 cannot hold is infinite, what is no number stays none.
#[test]
fn results_beyond_the_range_of_f16() {
    for (name, device) in variants() {
        let row = [1.0, -1.0, 65_504.0, 65_519.0, 65_520.0, -70_000.0, f32::INFINITY, f32::NAN, 3e-8];
        // In A, which is masked beyond k: what is not finite in B meets zeros there.
        let (a, b) = (typed(&device, &row, 9, F32).0, typed(&device, &[1.0], 1, F16).0);
        let c = Tensor::new(&device, 9, 1, F16).unwrap();
        let operands = (Operand::new(&a).transposed(), Operand::new(&b));
        run(&device, |r| matmul::record(r, Product::default(), operands, (&c, 0)).unwrap());
        let got = read(&device, &c);
        for (x, got) in row.iter().zip(got) {
            let want = round(F16, *x);
            assert!(want.to_bits() == got.to_bits() || (want.is_nan() && got.is_nan()), "{name}: {got} for {x}");
        }
    }
}

#[test]
fn types_that_do_not_fit() {
    for (_, device) in variants() {
        let t = |element| Tensor::new(&device, 6, 6, element).unwrap();
        let mut r = device.recorder();
        let mut refused = |a: &Tensor, b: &Tensor, c: &Tensor, (accumulate, epilogue): (bool, Epilogue<'_>)| {
            let product = Product { accumulate, ..Product::default() };
            let operands = (Operand::new(a), Operand::new(b));
            matmul::record_fused(&mut r, product, epilogue, operands, (c, 0)).unwrap_err().to_string()
        };
        let (full, half, brain) = (t(F32), t(F16), t(BF16));
        let plain = (false, Epilogue::None);
        assert!(refused(&brain, &full, &t(F32), plain).contains("bf16"));
        assert!(refused(&full, &full, &t(BF16), plain).contains("bf16"));
        assert!(refused(&full, &t(ElementType::Fixed), &t(F32), plain).contains("f32 or f16"));
        assert!(refused(&half, &half, &t(F16), (true, Epilogue::None)).contains("added to"));
        refused(&full, &full, &t(F32), (false, Epilogue::Add { bias: None, residual: Some(&half) }));
        refused(&full, &full, &t(F16), (false, Epilogue::Add { bias: None, residual: Some(&half) }));
        let kept = |before| Epilogue::Gelu { form: Form::Erf, bias: None, before };
        refused(&full, &full, &t(F32), (false, kept(&half)));
        refused(&full, &full, &t(F16), (false, kept(&brain)));
        assert!(r.commands().is_empty());
    }
}

/// The bounds can fail: a result of operands that were not rounded is outside.
#[test]
fn operands_that_were_not_rounded_are_noticed() {
    let device = Device::host();
    assert_eq!(device.capabilities().kind, DeviceKind::Host);
    let (m, n, k) = (3, 4, 50);
    let (a, b) = (normal(1, m * k), normal(2, k * n));
    let c = zeros(&device, m, n);
    let (at, bt) = (typed(&device, &a, k, F32).0, typed(&device, &b, n, F32).0);
    run(&device, |r| {
        matmul::record(r, Product::default(), (Operand::new(&at), Operand::new(&bt)), (&c, 0)).unwrap();
    });
    let halves: Vec<f32> = a.iter().map(|&x| round(F16, x)).collect();
    let outside = wide(&read(&device, &c)).into_iter().enumerate().any(|(place, got)| {
        let (i, j) = (place / n, place % n);
        let terms = (0..k).map(|l| f64::from(halves[i * k + l]) * f64::from(b[l * n + j]));
        let (want, size) = terms.fold((0.0, 0.0), |(s, z), p| (s + p, z + p.abs()));
        (got - want).abs() > (k + 5) as f64 * U * size
    });
    assert!(outside);
}
