//! The monitor's figures, as the paper's figure 1 has them: biases, leakage, spectra, drift; all texts follow from the numbers.

use super::record::{Record, View};
use crate::report::{Axis, Chart, Lines, Page, Section, Series, Style, number};

/// A page of its own with the figures.
pub fn monitor_page(title: &str, records: &[Record]) -> Page {
    let intro = "What a held-out set of pairs shows while a dual encoder trains.";
    let mut page = Page::new(title, intro);
    if let Some(last) = records.last() {
        page = page
            .card("gap", number(last.gap), format!("after {} steps", last.step))
            .card("bias inside the frame", number(last.fixed.pmb), "PMB, ‖β‖")
            .card("bias outside", number(last.fixed.pob), "POB, ‖γ‖");
        if let Some(drift) = last.fixed.drift {
            page = page.card("drift of the latter", number(drift), "since the frame was frozen");
        }
    }
    page.section(monitor_section(records))
}

/// The figures as a section of another page.
pub fn monitor_section(records: &[Record]) -> Section {
    let section = Section::new("The gap while it forms", frozen_text(records));
    section
        .chart(Chart::new("a. Biases in the fixed frame", biases(records)), biases_text(records))
        .chart(Chart::new("b. Gradients that leave the frame", leakages(records)), leakages_text(records))
        .chart(Chart::new("c. Condition of the residuals", conditions(records)), conditions_text(records))
        .chart(Chart::new("d. Drift of the passive bias", drifts(records)), drifts_text(records))
        .chart(Chart::new("e. Locks and couplings", locks(records)), locks_text(records))
        .chart(Chart::new("f. Shape of the residuals", shapes(records)), shapes_text(records))
}

fn steps() -> Axis {
    Axis::linear("step")
}

/// A series of what is defined.
fn series(name: &str, records: &[Record], value: impl Fn(&Record) -> Option<f64>) -> Series {
    Series::new(name, records.iter().filter_map(|r| value(r).map(|v| [r.step as f64, v])).collect())
}

/// The records from the frozen frame on.
fn after(records: &[Record]) -> impl Iterator<Item = &Record> {
    records.iter().filter(|r| r.frozen)
}

fn last<T>(records: &[Record], value: impl Fn(&Record) -> Option<T>) -> Option<T> {
    records.iter().rev().find_map(value)
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "undefined".to_owned(), number)
}

fn frozen_text(records: &[Record]) -> String {
    match after(records).next() {
        Some(first) => format!(
            "The frame holds {} directions and stays as it was at step {}; before, it followed the embeddings.",
            first.fixed.rank, first.step
        ),
        None => "The frame followed the embeddings to the end; it was never frozen.".to_owned(),
    }
}

fn biases(records: &[Record]) -> Lines {
    Lines::new(steps(), Axis::linear("length").including(0.0))
        .series(series("gap ‖m‖", records, |r| Some(r.gap)))
        .series(series("PMB ‖β‖", records, |r| Some(r.fixed.pmb)))
        .series(series("POB ‖γ‖", records, |r| Some(r.fixed.pob)))
        .series(series("POB, dynamic frame", records, |r| Some(r.dynamic.pob)).style(Style::Fit).colour(2))
}

fn biases_text(records: &[Record]) -> String {
    let Some(last) = records.last() else { return String::new() };
    let share = 100.0 * (last.fixed.pob / last.gap.max(f64::MIN_POSITIVE)).powi(2);
    format!(
        "At the end the gap is {}; {} % of its square lie outside the frame (POB), where the data hardly vary.",
        number(last.gap),
        number(share)
    )
}

fn leakages(records: &[Record]) -> Lines {
    Lines::new(steps(), Axis::linear("share of the gradient, rms").including(0.0))
        .series(series("fixed frame", records, |r| r.fixed.leakage))
        .series(series("dynamic frame", records, |r| r.dynamic.leakage))
        .series(series("sin θ", records, |r| Some(r.sin_theta)).style(Style::Fit))
        .series(series("sin θ + ‖L‖", records, Record::coupled_bound).style(Style::Fit))
}

fn leakages_text(records: &[Record]) -> String {
    // When the frame is frozen it is the frame of the moment, and sin θ is 0 by definition: that record tells nothing.
    let later = || after(records).skip(1).filter_map(|r| Some((r.fixed.leakage?, r)));
    let count = later().count();
    if count == 0 {
        return "No gradients were measured after the frame was frozen.".to_owned();
    }
    let below = later().filter(|(l, r)| *l <= r.sin_theta).count();
    let coupled = later().filter(|(l, r)| r.coupled_bound().is_some_and(|b| *l <= b)).count();
    format!(
        "After the frame was frozen the leakage was below sin θ, its bound for gradients inside the frame of the moment, in \
         {below} of {count} measurements, and below sin θ + ‖L‖, the bound with coupling but for its remainder, in {coupled}. \
         What leaks out of the dynamic frame itself is covered by neither."
    )
}

fn conditions(records: &[Record]) -> Lines {
    Lines::new(steps(), Axis::log("effective condition number"))
        .series(series("κ of Σ_U", records, |r| r.fixed.kappa_u))
        .series(series("κ of Σ_V", records, |r| r.fixed.kappa_v))
        .series(series("Σ_U, dynamic frame", records, |r| r.dynamic.kappa_u).style(Style::Fit).colour(0))
        .series(series("Σ_V, dynamic frame", records, |r| r.dynamic.kappa_v).style(Style::Fit).colour(1))
}

fn conditions_text(records: &[Record]) -> String {
    let get = |f: fn(&View) -> Option<f64>| shown(last(records, |r| f(&r.fixed)));
    format!(
        "At the end the residual's condition number is {} inside the frame and {} outside; 1 would be a ball.",
        get(|v| v.kappa_u),
        get(|v| v.kappa_v)
    )
}

fn drifts(records: &[Record]) -> Lines {
    Lines::new(steps(), Axis::linear("share of ‖γ(t0)‖, or cosine").including(0.0))
        .series(series("drift, fixed frame", records, |r| r.fixed.drift))
        .series(series("drift, dynamic frame", records, |r| r.dynamic.drift))
        .series(series("cos to the one before, fixed", records, |r| r.fixed.stability).style(Style::Fit).colour(0))
        .series(series("the same, dynamic", records, |r| r.dynamic.stability).style(Style::Fit).colour(1))
}

fn drifts_text(records: &[Record]) -> String {
    let drift = |f: fn(&Record) -> Option<f64>| last(records, f);
    let (fixed, dynamic) = (drift(|r| r.fixed.drift), drift(|r| r.dynamic.drift));
    let Some((fixed, dynamic)) = fixed.zip(dynamic) else {
        return "Drift is measured from the moment when the frame is frozen.".to_owned();
    };
    let which = if fixed < dynamic { "less in the frozen frame" } else { "no less in the frozen frame" };
    format!(
        "Since the frame was frozen the passive bias has moved by {} of its length in the frozen frame and by {} in the frame \
         of the moment: {which}.",
        number(fixed),
        number(dynamic)
    )
}

fn locks(records: &[Record]) -> Lines {
    let degrees = |v: &View| v.gamma_v1_deg.map(|a| a / 90.0);
    let dynamic = |name: &str, colour, value: fn(&View) -> Option<f64>| {
        series(name, records, |r| value(&r.dynamic)).style(Style::Fit).colour(colour)
    };
    Lines::new(steps(), Axis::linear("correlation, norm, share of 90°").including(0.0))
        .series(series("ρ_eig", records, |r| r.fixed.spectral_lock))
        .series(series("‖L‖", records, |r| r.fixed.coupling))
        .series(series("R² of L", records, |r| r.fixed.coupling_r2))
        .series(series("angle of γ to v₁", records, |r| degrees(&r.fixed)))
        .series(dynamic("ρ_eig, dynamic frame", 0, |v| v.spectral_lock))
        .series(dynamic("‖L‖, dynamic", 1, |v| v.coupling))
        .series(dynamic("R², dynamic", 2, |v| v.coupling_r2))
        .series(dynamic("angle, dynamic", 3, degrees))
}

fn locks_text(records: &[Record]) -> String {
    let get = |f: fn(&View) -> Option<f64>| shown(last(records, |r| f(&r.fixed)));
    format!(
        "At the end the spectra of residual and gradient correlate at {}; the residual inside explains {} of the variance of \
         the one outside; γ stands at {} degrees to its first direction.",
        get(|v| v.spectral_lock),
        get(|v| v.coupling_r2),
        get(|v| v.gamma_v1_deg)
    )
}

fn shapes(records: &[Record]) -> Lines {
    Lines::new(steps(), Axis::linear("moment").including(0.0))
        .series(series("kurtosis in U", records, |r| r.shape_u.map(|s| s.kurtosis)))
        .series(series("kurtosis in V", records, |r| r.shape_v.map(|s| s.kurtosis)))
        .series(series("|skewness| in U", records, |r| r.shape_u.map(|s| s.skewness)))
        .series(series("|skewness| in V", records, |r| r.shape_v.map(|s| s.skewness)))
}

fn shapes_text(records: &[Record]) -> String {
    let kurtosis = |f: fn(&Record) -> Option<f64>| shown(last(records, f));
    format!(
        "A normal distribution has kurtosis 3 and skewness 0; at the end the mean kurtosis is {} in U and {} in V.",
        kurtosis(|r| r.shape_u.map(|s| s.kurtosis)),
        kurtosis(|r| r.shape_v.map(|s| s.kurtosis))
    )
}
