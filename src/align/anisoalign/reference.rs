//! Losses, gradients and statistics of phases as the trainer computes them, in f32, against a reference implementation's in f64.

use std::path::Path;

use safetensors::SafeTensors;

use super::losses::{Refiner, Score};
use super::network::{Layer, Network, NetworkOn};
use super::refinement::TIME;
use super::{Phases, PlaneOptions, Refinement, Stages};
use crate::device::{Device, Tensor};

/// Rows, planes, the rows' width, hidden units.
const N: usize = 96;
const M: usize = 4;
const D: usize = 16;
const H: usize = 12;

fn golden(name: &str) -> Vec<f64> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/anisoalign_trained.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    bytemuck::pod_collect_to_vec(file.tensor(name).unwrap().data())
}

fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&x| x as f32).collect()
}

fn points(length: &str, angle: &str) -> Vec<f64> {
    golden(length).iter().zip(&golden(angle)).flat_map(|(l, a)| [l * a.cos(), l * a.sin()]).collect()
}

/// Sines, then cosines of all planes, to a plane's cosine and sine beside each other.
fn columns(matrix: Vec<f64>, width: usize) -> Vec<f64> {
    let row = |row: &[f64]| -> Vec<f64> {
        (0..M).flat_map(|k| [row[M + k], row[k]]).chain(row[2 * M..].iter().copied()).collect()
    };
    matrix.chunks_exact(width).flat_map(row).collect()
}

/// Steps of phases, then of lengths, to a plane's two beside each other; others are left out.
fn rows(matrix: &[f64], width: usize) -> Vec<f64> {
    (0..M).flat_map(|k| [k, M + k]).flat_map(|i| matrix[i * width..(i + 1) * width].to_vec()).collect()
}

fn prior(of: &str) -> Network {
    let get = |i: usize| golden(&format!("{of}score.{i}"));
    let first = Layer { weight: columns(get(0), 3 * M + TIME), bias: get(1) };
    let other = |i| Layer { weight: get(i), bias: get(i + 1) };
    Network { layers: vec![first, other(2), other(4)] }
}

fn refinement(of: &str) -> Network {
    let get = |i: usize| golden(&format!("{of}resid.{i}"));
    let first = Layer { weight: columns(get(0), 3 * M + D), bias: get(1) };
    Network { layers: vec![first, Layer { weight: rows(&get(2), H), bias: rows(&get(3), 1) }] }
}

fn phases() -> Phases {
    let [coherence, offset, anchor, weight] = ["phase.A", "phase.eta", "phase.psi", "phase.alpha"].map(golden);
    Phases { coherence, offset, anchor, weight }
}

fn options() -> PlaneOptions {
    PlaneOptions::default().stages(Stages::Full).hidden(H)
}

fn close(got: &[f64], want: &[f64], bound: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let off = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off <= bound, "{what}: {off:e}");
}

/// A gradient is a sum over 96 rows of products of numbers of some ones, each good to some roundings of f32.
fn close_gradients(device: &Device, got: &NetworkOn, want: &Network, factor: f64) {
    for (got, want) in got.read(device).unwrap().layers.iter().zip(&want.layers) {
        let scaled = |values: &[f64]| values.iter().map(|x| x * factor).collect::<Vec<_>>();
        close(&scaled(&got.weight), &want.weight, 2e-6, "weight");
        close(&scaled(&got.bias), &want.bias, 2e-6, "bias");
    }
}

#[test]
fn statistics_of_phases_are_the_reference_s() {
    let found = Phases::of(&points("target_rho", "target_theta"), M, 2).unwrap();
    let want = phases();
    close(&found.coherence, &want.coherence, 1e-13, "A");
    close(&found.offset, &want.offset, 1e-12, "η");
    close(&found.anchor, &want.anchor, 1e-12, "ψ");
    close(&found.weight, &want.weight, 1e-13, "α");
    assert!(found.pairs().eq(want.pairs()) && found.pairs().count() < M * (M - 1) / 2);
    // Another number of partners is another graph.
    assert_ne!(Phases::of(&points("target_rho", "target_theta"), M, 3).unwrap().pairs().count(), want.pairs().count());
}

#[test]
fn losses_and_gradients_are_the_reference_s() {
    let device = Device::host();
    let (noise, levels) = (single(&golden("noise")), golden("t").iter().map(|&t| t as usize).collect::<Vec<_>>());
    let score = Score::new(&device, &prior(""), &phases(), N).unwrap();
    let gradients = score.network.zeros_like(&device).unwrap();
    score.write(&device, &noise, &levels).unwrap();
    let images = Tensor::from_f32(&device, &single(&points("target_rho", "target_theta")), 2 * M).unwrap();
    let mut recorder = device.recorder();
    score.forward(&mut recorder, &images).unwrap();
    score.backward_network(&mut recorder, &gradients).unwrap();
    recorder.submit().unwrap();
    let want = golden("loss");
    close(&[score.loss(&device).unwrap()], &want[..1], 2e-6, "prior's loss");
    close_gradients(&device, &gradients, &prior("grad."), f64::from(score.factor()));
    let refiner = Refiner::new(&device, &refinement(""), (&phases(), D), &options(), N).unwrap();
    let gradients = refiner.network.zeros_like(&device).unwrap();
    refiner.write(&device, &single(&points("rho0", "theta0")), &single(&golden("v0"))).unwrap();
    let mut recorder = device.recorder();
    refiner.forward(&mut recorder).unwrap();
    score.forward(&mut recorder, &refiner.turned).unwrap();
    refiner.backward(&mut recorder, Some(&score), &gradients).unwrap();
    recorder.submit().unwrap();
    let losses = [score.loss(&device).unwrap(), refiner.loss(&device).unwrap()];
    close(&losses, &want[1..], 2e-6, "refinement's losses");
    close_gradients(&device, &gradients, &refinement("grad."), 1.0);
    let turned: Vec<f64> = refiner.turned.to_f32_blocking(&device).unwrap().into_iter().map(f64::from).collect();
    close(&turned, &points("rho", "theta"), 1e-6, "turned points");
}

/// As rows are applied on the host, in f64; the bound of A.7 holds, and is not far.
#[test]
fn points_are_turned_as_the_reference_s() {
    let (alpha_theta, alpha_rho) = (0.2, 0.1);
    let (network, prior) = (refinement(""), Some(prior("")));
    let refinement = Refinement { stages: Stages::Full, alpha_theta, alpha_rho, network, phases: phases(), prior };
    refinement.check(M, D).unwrap();
    assert!(refinement.check(M, D + 1).is_err() && refinement.check(M + 1, D).is_err());
    let (before, mut turned) = (points("rho0", "theta0"), points("rho0", "theta0"));
    refinement.turn(&mut turned, &golden("v0"));
    close(&turned, &points("rho", "theta"), 1e-13, "turned points");
    let norm = |row: &[f64]| crate::host::norm(row);
    let moved = turned
        .chunks_exact(2 * M)
        .zip(before.chunks_exact(2 * M))
        .map(|(a, b)| norm(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>()) / norm(b));
    let most = moved.fold(0.0, f64::max);
    assert!(most <= refinement.bound() && most > 0.01 * refinement.bound(), "{most} {}", refinement.bound());
    let bare = Refinement { prior: None, ..refinement.clone() };
    assert!(bare.check(M, D).is_err());
    assert!(Refinement { alpha_theta: f64::NAN, ..refinement }.check(M, D).is_err());
}
