//! What is fitted of one side: lengths in planes, deviations outside of them, and the rows that networks are trained on.

use faer::Accum;

use crate::Result;
use crate::geometry::dense;
use crate::geometry::rows::UnitRows;
use crate::stats::{RowSource, StreamOptions};

/// ε of the paper's lengths and ratios.
pub(super) const EPSILON: f64 = 1e-12;
/// Deviation below which a coordinate's source is as good as constant: far below what rows of f32 resolve. It is then left as it is.
const CONSTANT: f64 = 1e-9;

/// Which rows are chosen, and what is kept of them.
#[derive(Clone, Copy)]
pub(super) struct Chosen<'a> {
    /// By row.
    pub rows: &'a [bool],
    /// Their coordinates.
    pub coordinates: bool,
    /// What lies in V.
    pub rest: bool,
}

/// What is fitted of one side.
pub(super) struct Side {
    /// Of the chosen rows, by plane.
    pub lengths: Vec<Vec<f64>>,
    /// Of each coordinate of what lies in V, over all rows, `[d]`.
    pub deviations: Vec<f64>,
    /// Of the chosen rows, where they are kept, `[n, 2 m]`.
    pub coordinates: Vec<f32>,
    /// Of the chosen rows, where it is kept, `[n, d]`.
    pub rest: Vec<f32>,
}

impl Side {
    pub fn of(
        source: &mut dyn RowSource,
        directions: &[f64],
        (mean, offset, chosen): (&[f64], &[f64], Chosen<'_>),
        stream: StreamOptions<'_>,
    ) -> Result<Self> {
        let (d, r) = (mean.len(), offset.len());
        let mut centre = mean.to_vec();
        leave(&mut centre, directions, d);
        let mut side = Side {
            lengths: vec![Vec::new(); r / 2],
            deviations: vec![0.0; d],
            coordinates: Vec::new(),
            rest: Vec::new(),
        };
        let (mut rows, mut n) = (UnitRows::new(source, stream)?, 0);
        loop {
            let mut block = rows.next()?;
            if block.is_empty() {
                break;
            }
            let coordinates = leave(&mut block, directions, d);
            for (row, coordinates) in block.chunks_exact(d).zip(coordinates.chunks_exact(r)) {
                let squares = side.deviations.iter_mut().zip(row.iter().zip(&centre));
                squares.for_each(|(s, (v, c))| *s += (v - c).powi(2));
                if chosen.rows.get(n) == Some(&true) {
                    side.keep(chosen, (row, coordinates), offset);
                }
                n += 1;
            }
        }
        side.deviations.iter_mut().for_each(|s| *s = (*s / (n as f64).max(1.0)).sqrt());
        Ok(side)
    }

    fn keep(&mut self, chosen: Chosen<'_>, (row, coordinates): (&[f64], &[f64]), offset: &[f64]) {
        let pairs = coordinates.chunks_exact(2).zip(offset.chunks_exact(2));
        let length = |(c, o): (&[f64], &[f64])| ((c[0] + o[0]).powi(2) + (c[1] + o[1]).powi(2) + EPSILON).sqrt();
        self.lengths.iter_mut().zip(pairs.map(length)).for_each(|(plane, length)| plane.push(length));
        if chosen.coordinates {
            self.coordinates.extend(coordinates.iter().map(|&x| x as f32));
        }
        if chosen.rest {
            self.rest.extend(row.iter().map(|&x| x as f32));
        }
    }
}

/// Leaves of rows `[n, d]` what lies in V, and returns their coordinates `[n, r]`.
pub(super) fn leave(rows: &mut [f64], directions: &[f64], d: usize) -> Vec<f64> {
    let (n, r) = (rows.len() / d, directions.len() / d);
    let q = dense::view(directions, r, d);
    let mut coordinates = vec![0.0; n * r];
    dense::product_into(dense::view(rows, n, d), q.transpose(), &mut coordinates);
    dense::add_product(rows, Accum::Add, (dense::view(&coordinates, n, r), q), -1.0);
    coordinates
}

/// D of V's coordinates, `[d]`, for deviations of source and target.
pub(super) fn factors((source, target): (&[f64], &[f64])) -> Vec<f64> {
    let factor = |(from, to): (&f64, &f64)| if *from < CONSTANT { 1.0 } else { to / (from + EPSILON) };
    source.iter().zip(target).map(factor).collect()
}

/// `D P_V`, `[d, d]`.
pub(super) fn scaled(directions: &[f64], factors: &[f64]) -> Vec<f64> {
    let d = factors.len();
    let mut map: Vec<f64> = (0..d * d).map(|k| f64::from(u8::from(k % (d + 1) == 0))).collect();
    leave(&mut map, directions, d);
    for (row, factor) in map.chunks_exact_mut(d).zip(factors) {
        row.iter_mut().for_each(|a| *a *= factor);
    }
    map
}
