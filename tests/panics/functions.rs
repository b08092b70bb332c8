//! Public functions that take slices: whatever their lengths, values and widths.

use proptest::prelude::*;
use realign::align::{
    FitOptions, Layer, Method, Network, Phases, Radial, Refinement, Stages, Statistics, apply_rows, fit,
};
use realign::device::Tensor;
use realign::geometry::coupling::coupling;
use realign::geometry::density::{Density, jensen_shannon};
use realign::geometry::neighbours::Rows;
use realign::geometry::{
    CovarianceView, Cut, Frame, LeadingOptions, Spectrum, consistency, cosine_histogram, direction_moments,
    direction_moments_on, drift, gradient_spectrum, leading, leakage, neighbourhood, principal_angles, symmetric_eigen,
};
use realign::kernels::nn::attention::Sequences;
use realign::nn::decoder::generate::Sampling;
use realign::nn::parameters::{Gradients, Parameters};
use realign::stats::{
    Covariance, CovarianceMode, MemoryRows, Moments, RowSource, StreamOptions, Summary, covariance, covariance_fast,
};
use realign::{Device, ElementType, Result};

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => Just(0.0),
        4 => Just(1.0),
        6 => -1.0f64..1.0,
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(1e300), Just(-1e-300), Just(1e30)],
    ]
}

/// Lists that often are whole rows of a few columns, or square.
fn values() -> impl Strategy<Value = Vec<f64>> {
    prop_oneof![
        2 => prop::collection::vec(value(), 0..20),
        2 => prop::collection::vec(value(), 16),
        1 => prop::collection::vec(-1.0f64..1.0, 16),
        1 => prop::collection::vec(Just(0.5), 16),
        1 => Just(Vec::new()),
    ]
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![2 => Just(0usize), 3 => Just(4usize), 3 => 0usize..9, 1 => prop_oneof![Just(usize::MAX), Just(1 << 32), Just(1 << 62), Just((1 << 62) + 1)]]
}

/// A refinement whose fields need not fit each other.
fn odd_refinement(a: &[f64], b: &[f64]) -> Refinement {
    let layer = |weight: &[f64], bias: &[f64]| Layer { weight: weight.to_vec(), bias: bias.to_vec() };
    let phases = Phases { coherence: a.to_vec(), offset: a.to_vec(), anchor: b.to_vec(), weight: b.to_vec() };
    let network = Network { layers: vec![layer(a, b), layer(b, a)] };
    let (stages, prior) = (Stages::Phase, None);
    Refinement { stages, alpha_theta: 0.2, alpha_rho: b.first().copied().unwrap_or(0.1), network, phases, prior }
}

/// A source that says a width of its own.
struct Odd(usize);

impl RowSource for Odd {
    fn rows(&self) -> u64 {
        3
    }
    fn width(&self) -> usize {
        self.0
    }
    fn element_type(&self) -> ElementType {
        ElementType::F32
    }
    fn rewind(&mut self) -> Result<()> {
        Ok(())
    }
    fn next(&mut self, _: usize, _: &mut [u8]) -> Result<usize> {
        Ok(0)
    }
    fn locate(&mut self, row: u64, _: &mut [u8]) -> Result<(std::path::PathBuf, u64)> {
        Ok(("odd".into(), row))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_and_widths(a in values(), b in values(), width in size(), k in size()) {
        let device = Device::host();
        let single: Vec<f32> = a.iter().map(|&x| x as f32).collect();
        let _ = neighbourhood::nearest_others(&a, width, k);
        let _ = neighbourhood::mixing(&a, &b, width, k);
        let _ = neighbourhood::knn_overlap(&a, &b, width, k);
        let _ = consistency::instance_consistency(&a, &b, width);
        let _ = consistency::relative_geometry(&a, &b, width);
        let _ = direction_moments(&a, None, width, &b);
        let _ = direction_moments(&a, Some(&b), width, &a);
        let _ = direction_moments_on(&device, &single, Some(&b), width, &a);
        if let (Ok(p), Ok(q)) = (Density::within(&a, width), Density::across(&a, &b, width)) {
            let _ = jensen_shannon(&p, &q);
        }
        if let Ok(rows) = Rows::new(&single, width) {
            let _ = realign::geometry::nearest(&device, rows, rows, k, None);
            let _ = realign::geometry::nearest(&device, rows, rows, k, Some(&[0, 1, u32::MAX]));
            let _ = cosine_histogram(&device, rows, None, k.min(64));
        }
        let _ = Tensor::from_f32(&device, &single, width);
        let _ = Covariance::of_rows(&a, width);
        if let Ok(mut rows) = MemoryRows::f32("rows", &single, width) {
            let _ = covariance(&device, &mut rows, StreamOptions::default());
            let _ = covariance_fast(&device, &mut rows, StreamOptions::default());
            let _ = Summary::of(&device, &mut rows, Some(CovarianceMode::Exact), StreamOptions::default());
        }
    }

    #[test]
    fn matrices_and_frames(a in values(), b in values(), width in size(), k in size(), energy in value()) {
        let device = Device::host();
        let _ = symmetric_eigen(&a, width);
        let _ = leading(&device, &a, width, k, LeadingOptions { oversample: Some(k), ..LeadingOptions::default() });
        let _ = drift::pob_drift(&a, &b);
        let _ = drift::adjacent_cosine(&a, &b);
        let _ = drift::expansion(&a, &b);
        let _ = drift::unit_row_expansion(&a, &a, &b, energy);
        if let Ok(spectrum) = Spectrum::of(&a, width) {
            let _ = (spectrum.alpha_between(k, width), spectrum.kappa_at(energy), spectrum.rank_at(energy));
        }
        let spectrum = Spectrum::within(b.clone(), energy);
        let _ = (spectrum.alpha(), spectrum.kappa(), spectrum.effective_rank(), consistency::residual_anisotropy(&spectrum));
        let _ = consistency::effective_dimension(&spectrum);
        let views = (CovarianceView::new(&a, width), CovarianceView::new(&b, width));
        let mut frames = vec![Frame::of(views.0, views.1, Cut::Rank(k)), Frame::of(views.0, views.0, Cut::Energy(energy))];
        frames.push(Frame::from_directions(vec![1.0, 0.0, 0.0, 0.0], width));
        frames.push(Frame::from_directions(a.clone(), width));
        for frame in frames.into_iter().flatten() {
            let _ = (frame.coordinates(&b), frame.project_u(&b), frame.split(&b), frame.complement());
            let _ = (coupling(&b, &frame, energy), leakage(&b, &frame), gradient_spectrum(&b, &frame));
            let _ = principal_angles(&frame, &frame);
        }
    }

    #[test]
    fn public_fields_that_do_not_fit(a in values(), b in values(), count in 0u64..4) {
        let fields = |mean: &[f64], matrix: &[f64]| {
            let mut made = Covariance::empty(1).unwrap();
            (made.count, made.mean, made.matrix) = (count, mean.to_vec(), matrix.to_vec());
            made
        };
        let (mut x, y) = (fields(&a, &b), fields(&b, &a));
        let _ = (x.trace(), x.merge(&y), x.merge(&x.clone()), Spectrum::of_covariance(&y));
        let _ = (Frame::of(&x, &y, Cut::default()), Frame::of(&x, &x, Cut::Rank(1)));
        let _ = Frame::leading_on(&Device::host(), (&x, &y), 1);
    }

    #[test]
    fn statistics_that_do_not_fit(a in values(), b in values(), width in 0usize..5, method in 0usize..10) {
        let device = Device::host();
        let rows = [0.1f32, 0.2, 0.3, -0.4, 0.5, 0.6, -0.7, 0.8, 0.3, 0.1, 0.2, 0.9];
        let source = || MemoryRows::f32("rows", &rows, 4).unwrap();
        let mut options = FitOptions::default();
        options.method = Method::ALL[method];
        let fitted: Statistics = fit(&device, &mut source(), &mut source(), &options).unwrap();
        for part in 0..5 {
            let mut odd = fitted.clone();
            match part {
                4 => {
                    let (directions, offset, source, target) = (a.clone(), b.clone(), a.clone(), b.clone());
                    let refinement = Some(odd_refinement(&a, &b));
                    odd.radial = Some(Radial { directions, offset, source, target, refinement });
                }
                0 => odd.mean_source = a.clone(),
                1 => odd.mean_target = b.clone(),
                2 => odd.map = Some(a.clone()),
                _ => (odd.mean_source, odd.map, odd.shifts) = (Vec::new(), Some(b.clone()), vec![a.clone()]),
            }
            let _ = (odd.gap(), odd.shift(), odd.clone().as_method(Method::Anchor));
            let _ = apply_rows(&device, &odd, &rows, width);
            let _ = odd.aligner().on(&device);
        }
    }

    #[test]
    fn lists_logits_and_places(a in prop::collection::vec(0u32..9, 0..12), logits in values(), lists in size(), k in size()) {
        let device = Device::host();
        prop_assert!((0.0..=1.0).contains(&neighbourhood::overlap_of(&a, &a, lists, k)));
        let logits: Vec<f32> = logits.iter().map(|&x| x as f32).collect();
        for (temperature, top_p) in [(0.0, 1.0), (0.7, 0.9), (f32::NAN, f32::NAN), (f32::INFINITY, -1.0)] {
            let token = Sampling { temperature, top_p, seed: 1 }.choose(&logits, k as u64);
            prop_assert!((token as usize) < logits.len().max(1));
        }
        let _ = Sequences::packed(&device, &a);
        let mut parameters = Parameters::default();
        let _ = parameters.add(&device, "w", &[lists, k], &logits);
        let _ = parameters.add(&device, "b", &[logits.len()], &logits);
        prop_assert!(parameters.tensor(parameters.len()).is_err() && parameters.tensor(usize::MAX).is_err());
        let gradients = Gradients::none(&parameters);
        prop_assert!(gradients.get(lists).is_none() && gradients.tensor(k).is_ok());
    }
}

#[test]
fn sources_without_columns() {
    let device = Device::host();
    for width in [0, usize::MAX, 1 << 62] {
        assert!(covariance(&device, &mut Odd(width), StreamOptions::default()).is_err());
        assert!(covariance_fast(&device, &mut Odd(width), StreamOptions::default()).is_err());
        assert!(realign::stats::measure_sampled(&device, &mut Odd(width), 8, StreamOptions::default()).is_err());
        assert!(fit(&device, &mut Odd(width), &mut Odd(width), &FitOptions::default()).is_err());
    }
    assert_eq!(Moments::empty(0).mean(), Vec::<f64>::new());
}
