//! AnisoAlign's losses and gradients, put together from the twins in f64, against a reference implementation's.

use realign::host::align::phase_features::{Strided, features};
use realign::host::align::phase_noise::{self, Moves, Phases};
use realign::host::align::phase_turn::{self, Bounds, Turned};
use realign::host::nn::gelu::{self, Form};

use crate::common::max_difference;
use crate::golden::golden;
use crate::nn::dot;

/// Rows, planes, the rows' width, hidden units, features of the noise level.
const N: usize = 96;
const M: usize = 4;
const D: usize = 16;
const H: usize = 12;
const TIME: usize = 16;
const WIDTH: usize = 3 * M + TIME;
/// The reference's bounds and step of the drift.
const BOUNDS: Bounds<f64> = Bounds { theta: 0.2, rho: 0.1 };
const TAU: f64 = 0.1;

fn of(name: &str) -> Vec<f64> {
    golden("anisoalign_trained", name)
}

/// The reference has sines, cosines and lengths of all planes one after the other; here a plane's cosine and sine are neighbours.
fn columns(matrix: &[f64], width: usize) -> Vec<f64> {
    let row = |row: &[f64]| -> Vec<f64> {
        let pairs = (0..M).flat_map(|k| [row[M + k], row[k]]);
        pairs.chain(row[2 * M..].iter().copied()).collect()
    };
    matrix.chunks_exact(width).flat_map(row).collect()
}

/// As many steps of phases as of lengths, then others: here a plane's two are neighbours, and there are no others.
fn rows(matrix: &[f64], width: usize) -> Vec<f64> {
    let row = |i: usize| matrix[i * width..(i + 1) * width].to_vec();
    (0..M).flat_map(|k| [row(k), row(M + k)]).flatten().collect()
}

fn points(length: &[f64], angle: &[f64]) -> Vec<f64> {
    length.iter().zip(angle).flat_map(|(l, a)| [l * a.cos(), l * a.sin()]).collect()
}

/// `x Wᵀ + b`.
fn linear(x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let inputs = weight.len() / bias.len();
    let out =
        |row: &[f64]| -> Vec<f64> { weight.chunks_exact(inputs).zip(bias).map(|(w, b)| dot(row, w) + b).collect() };
    x.chunks_exact(inputs).flat_map(out).collect()
}

struct Net {
    /// Weight and bias of each layer.
    layers: Vec<(Vec<f64>, Vec<f64>)>,
}

/// Of a layer's weight and of its bias.
type LayerGradient = (Vec<f64>, Vec<f64>);

/// What goes into each layer, and what comes out of each before GELU.
struct Trace {
    inputs: Vec<Vec<f64>>,
    before: Vec<Vec<f64>>,
}

impl Net {
    fn forward(&self, x: Vec<f64>) -> (Vec<f64>, Trace) {
        let mut trace = Trace { inputs: vec![x], before: Vec::new() };
        for (i, (weight, bias)) in self.layers.iter().enumerate() {
            let before = linear(&trace.inputs[i], weight, bias);
            let mut after = before.clone();
            gelu::forward(Form::Erf, &before, &mut after);
            trace.inputs.push(after);
            trace.before.push(before);
        }
        (trace.before[self.layers.len() - 1].clone(), trace)
    }

    /// Gradients of each weight and bias, and of the input.
    fn backward(&self, trace: &Trace, dout: &[f64]) -> (Vec<LayerGradient>, Vec<f64>) {
        let (mut dy, mut all) = (dout.to_vec(), Vec::new());
        for (i, (weight, bias)) in self.layers.iter().enumerate().rev() {
            let (outputs, inputs) = (bias.len(), weight.len() / bias.len());
            if i + 1 < self.layers.len() {
                let after = dy.clone();
                gelu::backward(Form::Erf, &trace.before[i], &after, &mut dy);
            }
            let (mut dw, mut db, mut dx) = (vec![0.0; weight.len()], vec![0.0; outputs], Vec::new());
            for (x, dy) in trace.inputs[i].chunks_exact(inputs).zip(dy.chunks_exact(outputs)) {
                let mut row = vec![0.0; inputs];
                for ((d, dw), (w, db)) in
                    dy.iter().zip(dw.chunks_exact_mut(inputs)).zip(weight.chunks_exact(inputs).zip(&mut db))
                {
                    *db += d;
                    dw.iter_mut().zip(x).for_each(|(dw, x)| *dw += d * x);
                    row.iter_mut().zip(w).for_each(|(dx, w)| *dx += d * w);
                }
                dx.extend(row);
            }
            all.push((dw, db));
            dy = dx;
        }
        all.reverse();
        (all, dy)
    }
}

fn prior() -> Net {
    let first = (columns(&of("score.0"), WIDTH), of("score.1"));
    Net { layers: vec![first, (of("score.2"), of("score.3")), (of("score.4"), of("score.5"))] }
}

fn refinement() -> Net {
    let first = (columns(&of("resid.0"), 3 * M + D), of("resid.1"));
    Net { layers: vec![first, (rows(&of("resid.2"), H), rows(&of("resid.3"), 1))] }
}

/// The drift's parts of features, `[2 m, 2 m]` and `[2 m]`.
fn parts() -> (Vec<f64>, Vec<f64>) {
    let (a, eta, psi, alpha) = (of("phase.A"), of("phase.eta"), of("phase.psi"), of("phase.alpha"));
    let matrix = (0..2 * M).flat_map(|i| (0..2 * M).map(move |j| (i, j))).map(|(i, j)| {
        let at = i / 2 * M + j / 2;
        let (sine, cosine) = eta[at].sin_cos();
        a[at] * [[cosine, -sine], [sine, cosine]][i % 2][j % 2]
    });
    let row = (0..2 * M).map(|i| alpha[i / 2] * if i % 2 == 0 { psi[i / 2].cos() } else { psi[i / 2].sin() });
    (matrix.collect(), row.collect())
}

fn tails() -> Vec<f64> {
    let time = |t: f64| {
        (0..TIME).map(move |i| {
            let angle = t / 100.0 * 100f64.powf((i % 8) as f64 / 7.0);
            if i < 8 { angle.sin() } else { angle.cos() }
        })
    };
    of("t").into_iter().flat_map(time).collect()
}

/// The score's loss of points, and all that its gradient is made of.
struct Score {
    features: Vec<f64>,
    turned: Vec<f64>,
    drift: Vec<f64>,
    residual: Vec<f64>,
    trace: Trace,
}

impl Score {
    fn new(points: &[f64]) -> Score {
        let mut features_of = vec![0.0; N * WIDTH];
        let tail = tails();
        features((Strided::new(points, 2 * M), Strided::new(&tail[..], TIME)), (M, TIME), &mut features_of, WIDTH);
        let phases: Vec<f64> = features_of.chunks_exact(WIDTH).flat_map(|row| row[..2 * M].to_vec()).collect();
        let (matrix, row) = parts();
        let drift = linear(&phases, &matrix, &row);
        let (noise, sigma) = (of("noise"), of("sigma"));
        let scales: Vec<f64> = of("t").iter().map(|&t| 2f64.sqrt() * sigma[t as usize]).collect();
        let (mut turned, mut score) = (features_of.clone(), vec![0.0; N * M]);
        let moves = Moves {
            drift: Strided::new(&drift[..], 2 * M),
            noise: Strided::new(&noise[..], M),
            scales: &scales,
            tau: TAU,
        };
        phase_noise::forward(&moves, M, (&mut turned, WIDTH), (&mut score, M));
        let (out, trace) = prior().forward(turned.clone());
        let residual = out.iter().zip(&score).map(|(o, s)| o + s).collect();
        Score { features: features_of, turned, drift, residual, trace }
    }

    fn loss(&self) -> f64 {
        dot(&self.residual, &self.residual) / (N * M) as f64
    }

    fn of_residual(&self) -> Vec<f64> {
        self.residual.iter().map(|r| 2.0 * r / (N * M) as f64).collect()
    }

    /// The gradient of the points' features.
    fn of_features(&self) -> Vec<f64> {
        let (_, mut gradient) = prior().backward(&self.trace, &self.of_residual());
        let mut of_parts = vec![0.0; N * 2 * M];
        let all = Phases {
            turned: Strided::new(&self.turned[..], WIDTH),
            features: Strided::new(&self.features[..], WIDTH),
            drift: Strided::new(&self.drift[..], 2 * M),
            tau: TAU,
        };
        phase_noise::backward(&all, M, (&mut gradient, WIDTH), (&mut of_parts, 2 * M));
        let (matrix, _) = parts();
        for (row, parts) in gradient.chunks_exact_mut(WIDTH).zip(of_parts.chunks_exact(2 * M)) {
            for (i, part) in parts.iter().enumerate() {
                (0..2 * M).for_each(|j| row[j] += part * matrix[i * 2 * M + j]);
            }
        }
        gradient
    }
}

/// Sums of some hundreds of products, of numbers of some ones.
const CLOSE: f64 = 1e-13;

#[test]
fn the_prior_s_loss_and_gradients() {
    let score = Score::new(&points(&of("target_rho"), &of("target_theta")));
    assert!((score.loss() - of("loss")[0]).abs() < CLOSE, "{} {}", score.loss(), of("loss")[0]);
    let (gradients, _) = prior().backward(&score.trace, &score.of_residual());
    for (i, (weight, bias)) in gradients.iter().enumerate() {
        let want = of(&format!("grad.score.{}", 2 * i));
        let want = if i == 0 { columns(&want, WIDTH) } else { want };
        max_difference(weight, &want, CLOSE).unwrap();
        max_difference(bias, &of(&format!("grad.score.{}", 2 * i + 1)), CLOSE).unwrap();
    }
}

fn turn(bounds: Bounds<f64>, steps: &[f64], from: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; from.len()];
    phase_turn::forward(bounds, (Strided::new(steps, 2 * M), Strided::new(from, 2 * M)), M, (&mut out, 2 * M));
    out
}

/// Pairs of neighbours.
fn pairs() -> Vec<(usize, usize)> {
    let a = of("phase.A");
    (0..M).flat_map(|k| (k + 1..M).map(move |l| (k, l))).filter(|(k, l)| a[k * M + l] > 0.0).collect()
}

#[test]
fn the_refinement_s_losses_gradients_and_rows() {
    let from = points(&of("rho0"), &of("theta0"));
    let (rest, mut seen) = (of("v0"), vec![0.0; N * (3 * M + D)]);
    features((Strided::new(&from[..], 2 * M), Strided::new(&rest[..], D)), (M, D), &mut seen, 3 * M + D);
    let (steps, trace) = refinement().forward(seen);
    let turned = turn(BOUNDS, &steps, &from);
    max_difference(&turned, &points(&of("rho"), &of("theta")), CLOSE).unwrap();
    let score = Score::new(&turned);
    assert!((score.loss() - of("loss")[1]).abs() < CLOSE);
    // Lengths whose products over pairs sum to 1.
    let scaled = |row: &[f64]| -> Vec<f64> {
        let total: f64 = pairs().iter().map(|&(k, l)| row[k] * row[l]).sum::<f64>() + 1e-12;
        row.iter().flat_map(|x| [x / total.sqrt(), 0.0]).collect()
    };
    let lengths: Vec<f64> = of("rho0").chunks_exact(M).flat_map(scaled).collect();
    let lengths_turned = turn(Bounds { rho: 0.0, ..BOUNDS }, &steps, &lengths);
    let (mut neighbours, mut loss) = (vec![0.0; lengths.len()], 0.0);
    for (row, out) in lengths_turned.chunks_exact(2 * M).zip(neighbours.chunks_exact_mut(2 * M)) {
        for (k, l) in pairs() {
            for j in 0..2 {
                out[2 * k + j] += row[2 * l + j];
                out[2 * l + j] += row[2 * k + j];
            }
            let size = |k: usize| row[2 * k].hypot(row[2 * k + 1]);
            loss += size(k) * size(l) - dot(&row[2 * k..2 * k + 2], &row[2 * l..2 * l + 2]);
        }
    }
    assert!((loss / N as f64 - of("loss")[2]).abs() < CLOSE, "{} {}", loss / N as f64, of("loss")[2]);
    let (gradient, mut of_steps) = (score.of_features(), vec![0.0; steps.len()]);
    let all = Turned {
        steps: Strided::new(&steps[..], 2 * M),
        features: Strided::new(&score.features[..], WIDTH),
        gradient: Strided::new(&gradient[..], WIDTH),
        lengths: Strided::new(&lengths_turned[..], 2 * M),
        neighbours: Strided::new(&neighbours[..], 2 * M),
        weight: 1.0 / N as f64,
    };
    phase_turn::backward(BOUNDS, &all, M, (&mut of_steps, 2 * M));
    let (gradients, _) = refinement().backward(&trace, &of_steps);
    max_difference(&gradients[0].0, &columns(&of("grad.resid.0"), 3 * M + D), CLOSE).unwrap();
    max_difference(&gradients[0].1, &of("grad.resid.1"), CLOSE).unwrap();
    max_difference(&gradients[1].0, &rows(&of("grad.resid.2"), H), CLOSE).unwrap();
    max_difference(&gradients[1].1, &rows(&of("grad.resid.3"), 1), CLOSE).unwrap();
    // The losses contain nothing of what the reference moves outside of the planes.
    assert!(of("grad.resid.2")[2 * M * H..].iter().chain(&of("grad.resid.3")[2 * M..]).all(|g| *g == 0.0));
    rows_of(&turned);
}

/// What becomes of rows: the points and the reference's own part outside of the planes, projected, and the centroid step.
fn rows_of(points: &[f64]) {
    let project = |row: &mut [f64]| {
        let norm = dot(row, row).sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
    };
    let (directions, mut out) = (of("QU"), of("v"));
    for (row, c) in out.chunks_exact_mut(D).zip(points.chunks_exact(2 * M)) {
        row.iter_mut().enumerate().for_each(|(i, x)| *x += dot(&directions[2 * M * i..2 * M * (i + 1)], c));
        project(row);
    }
    max_difference(&out, &of("raw"), CLOSE).unwrap();
    let (fitted, target) = (of("mu_hat"), of("mu_i"));
    for row in out.chunks_exact_mut(D) {
        row.iter_mut().zip(target.iter().zip(&fitted)).for_each(|(x, (t, f))| *x += t - f);
        project(row);
    }
    max_difference(&out, &of("out"), CLOSE).unwrap();
}

/// The tolerance is no invitation: other phases have another loss.
#[test]
fn other_phases_have_another_loss() {
    let other = Score::new(&points(&of("target_rho"), &of("theta0")));
    assert!((other.loss() - of("loss")[0]).abs() > 1e-4);
}
