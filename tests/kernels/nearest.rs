//! Partial selection against sorting: the same lists, to the bit, on every device.

use realign::device::{Buffer, Device, Tensor};
use realign::kernels::geometry::nearest::{Lists, MAX_K, NONE, Queries, record};

use crate::common::{Rng, devices, gpu};
use crate::nn::{run, tensor, words, zeros};
use crate::rows::variants;

/// Cosines of all queries with all candidates, `[n, m]`, and the candidate that does not count for each query.
struct Case {
    n: usize,
    m: usize,
    k: usize,
    cosines: Vec<f32>,
    excluded: Vec<u32>,
}

impl Case {
    /// Numbers of which many are equal, zeros of both signs and subnormals among them.
    fn new(n: usize, m: usize, k: usize) -> Self {
        let mut rng = Rng((n * 31 + m) as u64);
        let special = [0.0, -0.0, 1e-40, -1e-40, 1e-45, 1.0, -1.0];
        let number = |_| match rng.next() % 4 {
            0 => special[(rng.next() % 7) as usize],
            1 => (rng.uniform() * 8.0).round() as f32 / 8.0,
            _ => (rng.normal() * 0.2) as f32,
        };
        let cosines = (0..n * m).map(number).collect();
        let excluded =
            (0..n).map(|_| if rng.next().is_multiple_of(3) { NONE } else { (rng.next() % m as u64) as u32 }).collect();
        Case { n, m, k, cosines, excluded }
    }

    /// The same with a NaN of either sign in the place of every fifth or so, and in all of the last query's.
    fn with_nans(mut self) -> Self {
        let (mut rng, last) = (Rng(self.m as u64), (self.n - 1) * self.m);
        for (i, c) in self.cosines.iter_mut().enumerate() {
            if i >= last || rng.next().is_multiple_of(5) {
                *c = if rng.next().is_multiple_of(2) { f32::NAN } else { -f32::NAN };
            }
        }
        self
    }

    /// All candidates that count, sorted.
    fn reference(&self) -> Vec<Vec<(f32, u32)>> {
        let rows = self.cosines.chunks_exact(self.m).zip(&self.excluded);
        let sorted = rows.map(|(row, &own)| {
            let all = row.iter().copied().zip(0..);
            let mut all: Vec<(f32, u32)> = all.filter(|&(c, j)| j != own && !c.is_nan()).collect();
            all.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap().then(a.1.cmp(&b.1)));
            all.truncate(self.k);
            all
        });
        sorted.collect()
    }

    /// The tile of some queries and candidates, as rows or, turned, as columns.
    fn tile(&self, device: &Device, (q, rows): (usize, usize), (c, columns): (usize, usize), side: Queries) -> Tensor {
        let at = |i: usize, j: usize| self.cosines[(q + i) * self.m + c + j];
        let (data, width): (Vec<f32>, usize) = match side {
            Queries::Rows => ((0..rows).flat_map(|i| (0..columns).map(move |j| at(i, j))).collect(), columns),
            Queries::Columns => ((0..columns).flat_map(|j| (0..rows).map(move |i| at(i, j))).collect(), rows),
        };
        tensor(device, &data, width)
    }
}

/// Tiles of `side` queries and candidates, candidates from the last to the first if `backwards`.
fn verify(device: &Device, case: &Case, side: usize, queries: Queries, backwards: bool, what: &str) {
    let lists = Lists::new(device, case.n, case.k).unwrap();
    let excluded = words(device, &case.excluded);
    let mut starts: Vec<usize> = (0..case.m).step_by(side).collect();
    if backwards {
        starts.reverse();
    }
    for q in (0..case.n).step_by(side) {
        for &c in &starts {
            let tile = case.tile(device, (q, side.min(case.n - q)), (c, side.min(case.m - c)), queries);
            run(device, |r| record(r, (&tile, queries), (q, c), &excluded, &lists).unwrap());
        }
    }
    let (indices, cosines) = lists.read_blocking(device).unwrap();
    for (i, want) in case.reference().iter().enumerate() {
        let got: Vec<(f32, u32)> = (i * case.k..i * case.k + want.len()).map(|p| (cosines[p], indices[p])).collect();
        assert_eq!(got, *want, "{what}: query {i} of {} among {}, {} nearest", case.n, case.m, case.k);
        assert!(cosines[i * case.k + want.len()..(i + 1) * case.k].iter().all(|c| c.is_nan()), "{what}: {i}");
    }
}

#[test]
fn shapes_tiles_and_variants() {
    let all = gpu().with_capabilities(|c| (c.group, c.lanes, c.subgroup_teams) = (256, 32, false)).unwrap();
    for (name, device) in variants().into_iter().chain([("teams of 32".to_owned(), all)]) {
        for (n, m, k, side) in [
            (1, 1, 1, 64),
            (3, 5, 2, 64),
            (7, 130, 10, 33),
            (65, 257, 36, 128),
            (33, 1000, 256, 999),
            (300, 9, 9, 301),
            (2, 2051, 20, 2048),
            (61, 500, 1, 500),
        ] {
            let case = Case::new(n, m, k);
            for (queries, backwards) in [(Queries::Rows, false), (Queries::Columns, true)] {
                verify(&device, &case, side, queries, backwards, &format!("{name} {queries:?}"));
            }
        }
    }
}

/// A NaN comes into no list, on any device: neither before all others nor where there are too few.
#[test]
fn nans_are_no_neighbours() {
    let all = gpu().with_capabilities(|c| (c.group, c.lanes, c.subgroup_teams) = (256, 32, false)).unwrap();
    for (name, device) in variants().into_iter().chain([("teams of 32".to_owned(), all)]) {
        for (n, m, k, side) in [(1, 1, 1, 64), (3, 5, 4, 64), (33, 700, 36, 256), (9, 40, 40, 16)] {
            let case = Case::new(n, m, k).with_nans();
            for (queries, backwards) in [(Queries::Rows, false), (Queries::Columns, true)] {
                verify(&device, &case, side, queries, backwards, &format!("{name} {queries:?} with NaNs"));
            }
        }
    }
}

/// No candidate may come twice; where one does, it is in the list twice on every device, and no place is left without an entry.
#[test]
fn candidates_that_come_twice() {
    let case = Case::new(5, 300, 7);
    let lists_of = |device: &Device| {
        let (lists, excluded) = (Lists::new(device, case.n, case.k).unwrap(), words(device, &case.excluded));
        let tile = case.tile(device, (0, case.n), (0, case.m), Queries::Rows);
        for _ in 0..2 {
            run(device, |r| record(r, (&tile, Queries::Rows), (0, 0), &excluded, &lists).unwrap());
        }
        let (indices, cosines) = lists.read_blocking(device).unwrap();
        (indices, cosines.iter().map(|c| c.to_bits()).collect::<Vec<_>>())
    };
    let want = lists_of(&Device::host());
    let best = &want.0[..case.k];
    assert_eq!(best[0], best[1], "the best candidate is there twice: {best:?}");
    let all = gpu().with_capabilities(|c| (c.group, c.lanes, c.subgroup_teams) = (256, 32, false)).unwrap();
    for (name, device) in variants().into_iter().chain([("teams of 32".to_owned(), all)]) {
        assert_eq!(lists_of(&device), want, "{name}");
    }
}

/// Each candidate better than all before: the most work that there can be, which a driver on the CPU must not cut short.
#[test]
fn candidates_in_ascending_order() {
    for (name, device) in variants() {
        let (n, m, k) = (3, 3000, MAX_K);
        let cosines = (0..n * m).map(|at| (at % m) as f32 / m as f32).collect();
        let case = Case { n, m, k, cosines, excluded: vec![NONE, 2999, 2998] };
        for queries in [Queries::Rows, Queries::Columns] {
            verify(&device, &case, m, queries, false, &format!("{name} {queries:?}"));
        }
    }
}

#[test]
fn more_queries_than_a_dispatch_side_holds() {
    let single = gpu().with_capabilities(|c| (c.group, c.lanes, c.subgroup_teams) = (1, 1, false)).unwrap();
    let case = Case::new(65_535 + 9, 5, 2);
    verify(&single, &case, 1 << 20, Queries::Rows, false, "two sides");
}

#[test]
fn operands_that_do_not_fit() {
    for device in devices() {
        let (tile, lists, excluded) =
            (zeros(&device, 3, 5), Lists::new(&device, 4, 2).unwrap(), words(&device, &[0; 4]));
        let mut r = device.recorder();
        let mut refused = |tile: &Tensor, side, at, excluded: &Buffer, lists: &Lists| {
            record(&mut r, (tile, side), at, excluded, lists).unwrap_err().to_string()
        };
        assert!(refused(&tile, Queries::Rows, (2, 0), &excluded, &lists).contains("at most 4 lists"));
        assert!(refused(&tile, Queries::Columns, (0, 0), &excluded, &lists).contains("at most 4 lists"));
        assert!(refused(&tile, Queries::Rows, (usize::MAX, 0), &excluded, &lists).contains("lists"));
        assert!(refused(&tile, Queries::Rows, (0, u32::MAX as usize - 4), &excluded, &lists).contains("2^32"));
        assert!(refused(&tile, Queries::Rows, (0, 0), &words(&device, &[0; 3]), &lists).contains("excluded"));
        let half = Tensor::new(&device, 3, 5, realign::ElementType::F16).unwrap();
        assert!(refused(&half, Queries::Rows, (0, 0), &excluded, &lists).contains("f32"));
        let other = Device::host();
        refused(&zeros(&other, 3, 5), Queries::Rows, (0, 0), &excluded, &lists);
        assert!(r.commands().is_empty());
        for k in [0, MAX_K + 1, usize::MAX] {
            assert!(Lists::new(&device, 1, k).is_err());
        }
        assert!(Lists::new(&device, usize::MAX, 1).is_err());
    }
}
