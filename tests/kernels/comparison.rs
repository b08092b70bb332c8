//! The comparison helper must be able to fail.

use crate::common::max_difference;

#[test]
fn a_perturbed_result_is_noticed() {
    let want = vec![0.25; 100];
    let mut got = want.clone();
    assert_eq!(max_difference(&got, &want, 0.0), Ok(0.0));
    got[57] += 1e-6;
    assert!(max_difference(&got, &want, 0.9e-6).unwrap_err().contains("at 57"));
    got[57] = f64::NAN;
    assert!(max_difference(&got, &want, 1.0).is_err());
    assert!(max_difference(&got[1..], &want, 1.0).is_err());
}
