//! ReAlign as the paper writes it: four passes, f64, nothing rearranged.

/// What the definition gives.
pub struct Reference {
    pub mean_source: Vec<f64>,
    pub mean_target: Vec<f64>,
    pub trace_source: f64,
    pub trace_target: f64,
    pub scale: f64,
    pub mean_projected: Vec<f64>,
    /// Rows after the anchor alone, and after anchor and trace.
    pub anchor: Vec<f64>,
    pub anchor_trace: Vec<f64>,
    /// Rows after 1 to 4 centroid steps.
    pub steps: Vec<Vec<f64>>,
}

fn normalise(rows: Vec<f64>, d: usize) -> Vec<f64> {
    let mut rows = rows;
    for row in rows.chunks_exact_mut(d) {
        let peak = row.iter().fold(0f64, |m, x| m.max(x.abs()));
        let scale = if peak > 0.0 { peak } else { 1.0 };
        let norm = scale * row.iter().map(|x| (x / scale).powi(2)).sum::<f64>().sqrt();
        let divisor = if norm < 1e-10 { 1.0 } else { norm };
        row.iter_mut().for_each(|x| *x /= divisor);
    }
    rows
}

fn mean(rows: &[f64], d: usize) -> Vec<f64> {
    let mut total = vec![0.0; d];
    rows.chunks_exact(d).for_each(|r| total.iter_mut().zip(r).for_each(|(t, x)| *t += x));
    total.iter().map(|t| t / (rows.len() / d) as f64).collect()
}

fn trace(rows: &[f64], mean: &[f64]) -> f64 {
    let d = mean.len();
    let squares = rows.chunks_exact(d).map(|r| r.iter().zip(mean).map(|(x, m)| (x - m).powi(2)).sum::<f64>());
    squares.sum::<f64>() / (rows.len() / d) as f64
}

/// `normalise(scale (row - from) + to)` for each row.
fn shifted(rows: &[f64], from: &[f64], scale: f64, to: &[f64]) -> Vec<f64> {
    let d = from.len();
    let moved = rows.iter().enumerate().map(|(i, x)| scale * (x - from[i % d]) + to[i % d]).collect();
    normalise(moved, d)
}

/// All steps on rows `[n, d]`.
pub fn reference(source: &[f64], target: &[f64], d: usize) -> Reference {
    let (y, x) = (normalise(source.to_vec(), d), normalise(target.to_vec(), d));
    let (mean_source, mean_target) = (mean(&y, d), mean(&x, d));
    let (trace_source, trace_target) = (trace(&y, &mean_source), trace(&x, &mean_target));
    let scale = (trace_target / (trace_source + 1e-10)).sqrt();
    let anchor_trace = shifted(&y, &mean_source, scale, &mean_target);
    let mut steps = Vec::new();
    let mut rows = anchor_trace.clone();
    for _ in 0..4 {
        rows = shifted(&rows, &mean(&rows, d), 1.0, &mean_target);
        steps.push(rows.clone());
    }
    Reference {
        anchor: shifted(&y, &mean_source, 1.0, &mean_target),
        mean_projected: mean(&anchor_trace, d),
        mean_source,
        mean_target,
        trace_source,
        trace_target,
        scale,
        anchor_trace,
        steps,
    }
}
