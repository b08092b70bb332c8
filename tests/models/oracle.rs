//! The twins in f64 against the f64 oracle.

use realign::device::Device;
use realign::io::DecoderConfig;

use super::twins::{Matrix, Pass, Twin};
use super::{Golden, case, golden};

/// Relative error that is allowed: the oracle's sums have another order.
const BOUND: f64 = 1e-10;

/// The tiny model of a family in f64.
pub fn twin(kind: &str) -> Twin {
    let path = golden(&format!("{kind}.config.json"));
    let config = DecoderConfig::parse(&std::fs::read_to_string(&path).unwrap(), &path).unwrap();
    let weights = Golden::open(&format!("{kind}.safetensors"));
    let matrix = |name: &str| Matrix::new(&weights.doubles(name), *weights.shape(name).last().unwrap());
    let values = weights.tensors().names().into_iter().map(|name| (name.to_owned(), matrix(name))).collect();
    Twin { config, values, low_rank_scale: 1.0, mask: None }
}

/// Frobenius norm of the difference over that of `want`.
pub fn off(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |x: f64| x * x;
    let difference: f64 = got.iter().zip(want).map(|(g, w)| square(g - w)).sum();
    (difference / want.iter().map(|w| square(*w)).sum::<f64>()).sqrt()
}

fn check(got: &[f64], want: &[f64], what: &str) {
    let error = off(got, want);
    assert!(error <= BOUND, "{what} is off by {error:e}");
}

fn compare(pass: &Pass, golden: &Golden, rows: &[usize], what: &str) {
    let (logits, width) = (golden.doubles("logits"), pass.logits.width);
    let wanted: Vec<f64> = rows.iter().flat_map(|row| logits[row * width..][..width].to_vec()).collect();
    check(&pass.logits.tight(), &wanted, &format!("{what}: logits"));
    // The oracle has one for each position but the last; where the next token is no target, 0.
    let per_token: Vec<f64> = golden.doubles("nll").into_iter().filter(|nll| *nll != 0.0).collect();
    check(&pass.nll, &per_token, &format!("{what}: likelihoods"));
    let mean = pass.nll.iter().sum::<f64>() / pass.nll.len() as f64;
    check(&[mean], &golden.doubles("loss"), &format!("{what}: loss"));
    check(&pass.d_embeddings.tight(), &golden.doubles("grad_embed"), &format!("{what}: embeddings"));
    for (name, gradient) in &pass.gradients {
        check(&gradient.tight(), &golden.doubles(&format!("grad.{name}")), &format!("{what}: {name}"));
    }
}

#[test]
fn twins_in_f64_agree_with_the_oracle() {
    for kind in ["llama", "qwen2"] {
        let twin = twin(kind);
        for name in ["a", "b", "c"] {
            let golden = Golden::open(&format!("{kind}.case_{name}.safetensors"));
            let (batch, _, rows) = case(&Device::host(), &golden);
            let pass = twin.pass(&batch, &Matrix::new(&golden.doubles("embed"), golden.shape("embed")[1]));
            let gradients = golden.tensors().names().into_iter().filter(|name| name.starts_with("grad.")).count();
            assert_eq!(pass.gradients.len(), gradients);
            compare(&pass, &golden, &rows, &format!("{kind} {name}"));
        }
    }
}

#[test]
fn the_comparison_can_fail() {
    let want = Golden::open("llama.case_a.safetensors").doubles("grad.model.norm.weight");
    let mut got = want.clone();
    got[5] *= 1.0 + 1e-7;
    assert!(off(&want, &want) == 0.0 && off(&got, &want) > BOUND);
    got[5] = f64::NAN;
    assert!(std::panic::catch_unwind(|| check(&got, &want, "nan")).is_err());
}
