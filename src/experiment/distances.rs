//! How far what an adapter learns from lies from the images that it is asked about, and whether that orders the rows as their captions do.

use super::arm::{Arm, Domain, Source};
use super::protocol::Materials;
use crate::Result;
use crate::align::{Statistics, apply_rows};
use crate::device::Device;
use crate::geometry::{Frechet, Survey};
use crate::stats::{MemoryRows, StreamOptions};

/// The squared Fréchet distance of a row's clean inputs in stage 1 to the held-out images; `None` without stage 1.
pub(super) fn frechet(device: &Device, materials: &Materials, arm: &Arm) -> Result<Option<Frechet>> {
    let rows = match arm.source {
        Source::Aligned(..) => {
            // Of all domains: one alone gives the statistics, not the texts.
            let statistics = Statistics::load(&materials.statistics(device, arm)?)?;
            apply_rows(device, &statistics, &materials.texts_of(&arm.within(Domain::All)), materials.width())?
        }
        Source::Paired => materials.images_of(&materials.digits.split().pairs),
        Source::Untrained => return Ok(None),
    };
    let survey = |rows: &[f32]| {
        Survey::of(device, &mut MemoryRows::f32("rows", rows, materials.width())?, 0, StreamOptions::default())
    };
    let held_out = materials.images_of(&materials.digits.split().test);
    Ok(Some(Frechet::of(&survey(&rows)?, &survey(&held_out)?)?))
}

/// Spearman's correlation of pairs: that of their ranks, equal values sharing the mean of theirs. `None` for fewer than three pairs, or
/// where one side's values are all equal.
pub(super) fn rank_correlation(pairs: &[(f64, f64)]) -> Option<f64> {
    let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (a, b) = (ranks(&a), ranks(&b));
    let middle = (pairs.len() as f64 - 1.0) / 2.0;
    let moment = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - middle) * (y - middle)).sum::<f64>();
    let spread = (moment(&a, &a) * moment(&b, &b)).sqrt();
    (pairs.len() > 2 && spread > 0.0).then(|| moment(&a, &b) / spread)
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |v: &f64| {
        let below = values.iter().filter(|x| *x < v).count();
        let equal = values.iter().filter(|x| *x == v).count();
        below as f64 + (equal as f64 - 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_alone_count() {
        let of = |a: &[f64], b: &[f64]| rank_correlation(&a.iter().copied().zip(b.iter().copied()).collect::<Vec<_>>());
        assert_eq!(of(&[1.0, 2.0, 9.0], &[0.1, 0.2, 0.3]), Some(1.0));
        assert_eq!(of(&[1.0, 2.0, 9.0], &[3.0, 2.0, -8.0]), Some(-1.0));
        // 1 - 6 Σ d² / n (n² - 1) with d = 1, 1, 0, 0.
        assert!((of(&[1.0, 2.0, 3.0, 4.0], &[2.0, 1.0, 3.0, 4.0]).unwrap() - 0.8).abs() < 1e-15);
        // By hand: ranks 0.5, 0.5, 2 against 0, 1, 2.
        assert!((of(&[5.0, 5.0, 6.0], &[1.0, 2.0, 3.0]).unwrap() - 0.75f64.sqrt()).abs() < 1e-15);
        assert_eq!((of(&[1.0, 2.0], &[1.0, 2.0]), of(&[1.0; 4], &[1.0, 2.0, 3.0, 4.0])), (None, None));
    }
}
