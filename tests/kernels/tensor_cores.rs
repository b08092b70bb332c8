//! The kernel for tensor cores: with them where the adapter has some, and with fragments as loops on any adapter, so that all that is around them
//! (fetching, workgroup memory, corners, epilogues) is tested everywhere.

use realign::ElementType::{self, BF16, F16, F32};
use realign::device::{Command, Device, DeviceOptions, Recorder, Selection, Tensor, TensorCores};
use realign::kernels::linalg::epilogue::Epilogue;
use realign::kernels::linalg::matmul::{self, Operand, Product};
use realign::kernels::linalg::tiles::{Multiplier, Tile};

use crate::common::{adapter_name, gpu};
use crate::nn::{normal, run};
use crate::typed_products::{Asked, BESIDE, Beside, Case, TRANSPOSITIONS};

/// A part's file, and the sides of its tile of fragments of 8.
const PARTS: [(&str, (usize, usize)); 3] =
    [("linalg/part_2x2.wgsl", (32, 32)), ("linalg/part_4x2.wgsl", (64, 64)), ("linalg/part_4x4.wgsl", (64, 128))];

/// Records a product with fragments as loops: as for tensor cores of 8 x 8, the files of fragments and parts exchanged.
fn emulate(r: &mut Recorder, asked: Asked<'_>, (part, sides): (&'static str, (usize, usize)), (m, n): (usize, usize)) {
    let device = r.device().clone();
    let mut plan = device.recorder();
    let what = (asked.product, asked.epilogue);
    matmul::record_parts(&mut plan, what, asked.operands, asked.c, Tile::Cooperative8).unwrap();
    let mut emulated = 0;
    for command in plan.commands() {
        let Command::Dispatch(dispatch) = command else { panic!("{command:?}") };
        let mut dispatch = dispatch.clone();
        if dispatch.kernel.name.starts_with(matmul::COOPERATIVE.name) {
            let mut imports = dispatch.imports().to_vec();
            for (name, file) in [("fragment", "linalg/fragment_emulated.wgsl"), ("part", part)] {
                imports.iter_mut().find(|(n, _)| *n == name).unwrap().1 = file;
            }
            let variant = device.variant(&imports, &dispatch.constants());
            // What is tried is one dispatch a product, but for layers.
            let groups = [n.div_ceil(sides.1) as u32, m.div_ceil(sides.0) as u32, dispatch.groups[2]];
            dispatch = dispatch.variant(variant).groups(groups);
            emulated += 1;
        }
        r.dispatch(dispatch).unwrap();
    }
    assert_eq!(emulated, 1);
}

fn verify_emulated(case: Case, part: (&'static str, (usize, usize))) {
    let (m, n, _) = case.shape;
    let what = format!("emulated, {}", part.0);
    case.verify_by(&gpu(), &what, true, &|r, asked| emulate(r, asked, part, (m, n)));
}

/// Every way of reading, part, transposition and epilogue: rows of whole eights and of others, tiles that are whole and that are not.
#[test]
fn fragments_as_loops_give_the_product() {
    for (turn, part) in PARTS.into_iter().enumerate() {
        for (i, transpose) in TRANSPOSITIONS.into_iter().enumerate() {
            // Drivers take seconds to compile each: parts and transpositions take turns with what is beside the product.
            let whole = ((64, 128, 64), [F16, F16, F32]);
            let odd = ((70, 137, 75), [F16, F16, F16]);
            let other = [((5, 3, 2), [F32, BF16, F32]), ((33, 40, 100), [F32, F16, F16]), ((72, 136, 40), [F16; 3])]
                [(i + turn) % 3];
            for (shape, elements) in [whole, odd, other] {
                verify_emulated(Case { shape, transpose, elements, beside: Beside::Nothing }, part);
            }
            for beside in BESIDE.into_iter().skip(1).skip((i + turn) % 4).step_by(4) {
                let shape = if beside == Beside::Upper { (130, 130, 33) } else { (67, 41, 33) };
                verify_emulated(Case { shape, transpose, elements: [F16, F16, F32], beside }, part);
            }
        }
    }
}

/// Long sums of few tiles: parts of k side by side.
#[test]
fn layers_of_fragments_as_loops() {
    let (device, (m, n, k)) = (gpu(), (40, 36, 2_100));
    let numbers = |seed, count| normal(seed, count).iter().map(|x| (x * 8.0).round()).collect::<Vec<f32>>();
    let (a, b) = (numbers(1, m * k), numbers(2, n * k));
    let half = |data: &[f32]| {
        let bytes: Vec<u8> = data.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect();
        Tensor::from_bytes(&device, &bytes, k, F16).unwrap()
    };
    let (ta, tb, c) = (half(&a), half(&b), Tensor::new(&device, m, n, F32).unwrap());
    run(&device, |r| {
        let operands = (Operand::new(&ta), Operand::new(&tb).transposed());
        let asked = Asked { product: Product::default(), epilogue: Default::default(), operands, c: (&c, 0) };
        emulate(r, asked, PARTS[1], (m, n));
        assert_eq!(r.commands().len(), 2);
    });
    // Of whole numbers the sums are exact.
    for (place, got) in c.to_f32_blocking(&device).unwrap().into_iter().enumerate() {
        let (i, j) = (place / n, place % n);
        let want: f32 = (0..k).map(|l| a[i * k + l] * b[j * k + l]).sum();
        assert_eq!(got, want, "({i}, {j})");
    }
}

/// What exact products are made of: slices at their ends, whose sums are the largest that f32 holds exactly, on the diagonal and above it, below other
/// rows of the result.
#[test]
fn sums_of_24_bits_by_fragments_as_loops() {
    let (device, (d, k, first)) = (gpu(), (130, 256, 7));
    for (turn, part) in PARTS.into_iter().enumerate() {
        let element = |at: usize| if at % 3 == turn { 255.0 } else { -256.0 };
        let slices: Vec<f32> = (0..k * d).map(|at| element(at / d + at % d)).collect();
        let a = Tensor::new(&device, k, d, F16).unwrap();
        a.write_f32(&device, &slices).unwrap();
        let c = Tensor::new(&device, first + d, d, F32).unwrap();
        let asked = Asked {
            product: Product { upper: true, ..Product::default() },
            epilogue: Epilogue::None,
            operands: (Operand::new(&a).transposed(), Operand::new(&a)),
            c: (&c, first),
        };
        run(&device, |r| emulate(r, asked, part, (d, d)));
        let got = c.to_f32_blocking(&device).unwrap();
        for (i, j) in (0..d).flat_map(|i| (i..d).map(move |j| (i, j))) {
            let want: f64 = (0..k).map(|l| f64::from(slices[l * d + i]) * f64::from(slices[l * d + j])).sum();
            assert_eq!(f64::from(got[(first + i) * d + j]), want, "{} {i} {j}", part.0);
        }
        assert!(got[..first * d].iter().all(|&x| x == 0.0), "{}: rows before", part.0);
    }
}

/// The comparison can fail: fragments of another part than the groups are for.
#[test]
#[should_panic(expected = "emulated")]
fn a_tile_that_is_not_written_is_noticed() {
    let case =
        Case { shape: (70, 137, 33), transpose: (false, true), elements: [F16, F16, F32], beside: Beside::Nothing };
    verify_emulated(case, ("linalg/part_2x2.wgsl", (64, 64)));
}

/// A device that multiplies halves on tensor cores, if the adapter has some; says loudly that nothing was tried elsewhere.
pub fn with_tensor_cores(test: &str) -> Option<Device> {
    let options =
        DeviceOptions::default().selection(Selection::Named(adapter_name())).tensor_cores(TensorCores::Halves);
    let device = Device::request_blocking(&options).unwrap();
    if device.capabilities().tensor_cores.is_none() {
        println!("NOT RUN: {test}: {} has no tensor cores", device.name());
        return None;
    }
    Some(device)
}

fn cooperative(device: &Device) -> Vec<Tile> {
    let caps = device.capabilities();
    Tile::ALL.into_iter().filter(|t| t.multiplier().0 == Multiplier::Cooperative && t.runs_on(caps)).collect()
}

#[test]
fn tensor_cores_give_the_product() {
    let Some(device) = with_tensor_cores("tensor_cores_give_the_product") else { return };
    for tile in cooperative(&device) {
        for transpose in TRANSPOSITIONS {
            for beside in BESIDE {
                for (shape, elements) in [((128, 256, 64), [F16, F16, F32]), ((150, 150, 75), [F16, F16, F16])] {
                    let square = (shape.0, shape.0, shape.2);
                    let shape = if beside == Beside::Upper { square } else { shape };
                    let elements = if beside == Beside::Sum { [F16, F16, F32] } else { elements };
                    let case = Case { shape, transpose, elements, beside };
                    case.verify_by(&device, tile.name(), true, &|r, asked| {
                        let what = (asked.product, asked.epilogue);
                        matmul::record_parts(r, what, asked.operands, asked.c, tile).unwrap();
                    });
                }
            }
        }
    }
}

/// A race between the slices in workgroup memory would show as other bits.
#[test]
fn a_hundred_runs_on_tensor_cores_have_the_same_bits() {
    let Some(device) = with_tensor_cores("a_hundred_runs_on_tensor_cores_have_the_same_bits") else { return };
    let (m, n, k) = (1024, 1536, 2048);
    let half = |seed: u64, rows: usize, width: usize| {
        let bytes: Vec<u8> =
            normal(seed, rows * width).into_iter().flat_map(|x| half::f16::from_f32(x).to_le_bytes()).collect();
        Tensor::from_bytes(&device, &bytes, width, ElementType::F16).unwrap()
    };
    let (a, b, c) = (half(1, m, k), half(2, n, k), Tensor::new(&device, m, n, F32).unwrap());
    for tile in cooperative(&device) {
        let mut first = None;
        for round in 0..100 {
            run(&device, |r| {
                let operands = (Operand::new(&a), Operand::new(&b).transposed());
                matmul::record_tiled(r, Product::default(), operands, (&c, 0), tile).unwrap();
            });
            let bytes = device.read_blocking(c.buffer()).unwrap();
            let known = first.get_or_insert_with(|| bytes.clone());
            assert!(*known == bytes, "{}: run {round} has other bits", tile.name());
        }
    }
}
