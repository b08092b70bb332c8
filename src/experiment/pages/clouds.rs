//! The two clouds before and after alignment, seen along the gap.

use crate::Result;
use crate::align::{Method, Statistics, apply_rows};
use crate::device::Device;
use crate::experiment::{Arm, Domain, Materials};
use crate::geometry::Survey;
use crate::report::{Axis, Chart, Cloud, Scatter};
use crate::stats::{MemoryRows, StreamOptions};

/// Points of a cloud that are drawn.
const DRAWN: usize = 200;
const IMAGES: usize = 0;
const TEXTS: usize = 1;
const ALIGNED: usize = 2;

/// Images and texts along two directions: the difference of their means before alignment, and the images' direction of
/// largest variance, as far as it is orthogonal to the first.
pub fn clouds(device: &Device, materials: &Materials) -> Result<Chart> {
    let width = materials.width();
    let path = materials.statistics(device, &Arm::aligned(Method::ReAlign))?;
    let aligned = apply_rows(device, &Statistics::load(&path)?, &materials.texts, width)?;
    let pool = materials.pool_of(Domain::All);
    let survey =
        |rows: &[f32]| Survey::of(device, &mut MemoryRows::f32("rows", rows, width)?, 1, StreamOptions::default());
    let (images, texts) = (survey(&pool)?, survey(&materials.texts)?);
    let gap: Vec<f64> = texts.mean().iter().zip(images.mean()).map(|(t, i)| t - i).collect();
    let along = unit(gap).unwrap_or_else(|| vec![0.0; width]);
    let leading = crate::geometry::symmetric_eigen(images.covariance(), width)?.vector(0).to_vec();
    let overlap = dot(&leading, &along);
    let across = leading.iter().zip(&along).map(|(l, a)| l - overlap * a).collect();
    let across = unit(across).unwrap_or_else(|| vec![0.0; width]);
    let points = |rows: &[f32]| -> Vec<[f64; 2]> {
        let row = |row: &[f32]| row.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let shown = rows.chunks_exact(width).take(DRAWN).map(row);
        shown.map(|row| [dot(&row, &along), dot(&row, &across)]).collect()
    };
    let target = Cloud::new("images", points(&pool)).colour(IMAGES);
    let scatter = Scatter::new(Axis::linear("along the gap"), Axis::linear("across: the images' widest direction"))
        .panel("before", vec![target.clone(), Cloud::new("texts", points(&materials.texts)).colour(TEXTS)])
        .panel("after", vec![target, Cloud::new("aligned texts", points(&aligned)).colour(ALIGNED)]);
    Ok(Chart::new("The clouds", scatter))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Scaled to length 1; `None` for a vector without length.
fn unit(v: Vec<f64>) -> Option<Vec<f64>> {
    let norm = dot(&v, &v).sqrt();
    (norm > 0.0).then(|| v.iter().map(|x| x / norm).collect())
}
