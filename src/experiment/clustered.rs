//! Shares of right answers where several answers are about one image.

use crate::inference::wilson;

/// A share of right answers about images that were each asked several things. Answers about one image go together: the
/// interval counts as many answers as would be as telling if they did not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clustered {
    /// Right answers.
    pub correct: u64,
    /// Answers.
    pub count: u64,
    /// Independent answers that would say as much: at least the number of images, at most `count`.
    pub effective: f64,
}

impl Clustered {
    /// From the answers' rights and wrongs, those about an image beside one another, `per_image` each.
    pub fn of(right: &[bool], per_image: usize) -> Self {
        let (count, images) = (right.len(), right.chunks(per_image.max(1)).len());
        let correct = right.iter().filter(|r| **r).count();
        let share = correct as f64 / count.max(1) as f64;
        let of_image = |image: &[bool]| image.iter().filter(|r| **r).count() as f64 / image.len() as f64;
        let squares: f64 = right.chunks(per_image.max(1)).map(|image| (of_image(image) - share).powi(2)).sum();
        // The variance of the mean over images, and that of as many independent answers.
        let variance = squares / (images as f64 * (images as f64 - 1.0));
        // Where all answers are alike nothing tells how far they go together: images count, to be safe.
        let effective = if correct == 0 || correct == count { 0.0 } else { share * (1.0 - share) / variance };
        let effective = effective.clamp(images as f64, count.max(images) as f64);
        Clustered { correct: correct as u64, count: count as u64, effective }
    }

    /// The share, 0 to 1; 0 without answers.
    pub fn share(self) -> f64 {
        if self.count == 0 { 0.0 } else { self.correct as f64 / self.count as f64 }
    }

    /// Wilson's 95% interval of the share, for the effective number of answers.
    pub fn interval(self) -> (f64, f64) {
        wilson(self.share(), self.effective)
    }

    /// Half the interval's width.
    pub fn half_width(self) -> f64 {
        let (low, high) = self.interval();
        (high - low) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_go_together_count_once() {
        // 40 images, all five answers of each alike: 40 independent answers.
        let together: Vec<bool> = (0..200).map(|i| (i / 5) % 2 == 0).collect();
        let share = Clustered::of(&together, 5);
        assert_eq!((share.correct, share.count, share.effective), (100, 200, 40.0));
        // 64 images, every combination of six answers once: as good as independent, but for n - 1.
        let apart: Vec<bool> = (0..64).flat_map(|i| (0..6).map(move |k| (i >> k) & 1 == 1)).collect();
        let share = Clustered::of(&apart, 6);
        assert!((share.effective - 384.0 * 63.0 / 64.0).abs() < 1e-9, "{}", share.effective);
        assert!(share.interval().0 < 0.5 && share.interval().1 > 0.5);
        // A repeated set of answers says no more.
        let twice: Vec<bool> = together.iter().flat_map(|r| [*r, *r]).collect();
        assert_eq!(Clustered::of(&twice, 10).interval(), Clustered::of(&together, 5).interval());
        assert_eq!(Clustered::of(&[], 5).interval(), (0.0, 1.0));
        assert_eq!(Clustered::of(&[true, false].repeat(4), 2).effective, 8.0);
        assert_eq!(Clustered::of(&[true; 10], 5).effective, 2.0);
    }
}
