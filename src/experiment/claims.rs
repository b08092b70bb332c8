//! What the paper leads one to expect, what the seeds say to it, and what in the results may be the reason.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::arm::Domain;
use super::expectations::{Expectation, Judgement, Score, Side, Sides, Verdict};
use super::results::Row;

/// What to look at where a claim does not come out.
#[derive(Clone, Copy)]
enum Cause {
    /// The two scores, and how the seeds differ.
    Scores,
    /// The scale that the traces give.
    Scale,
    /// C3's σ from the traces.
    Sigma,
    /// What noise on the adapter's input does to these two rows, without and with it.
    Noise(&'static str, &'static str),
}

const NONE: &str = "no alignment";
const ANCHOR: &str = "mean shift (anchor alone)";
const TRACE: &str = "anchor and trace";
const REALIGN: &str = "realign";
const NOISY: &str = "realign + noise 0.1";
const BLOCKWISE: &str = "blockwise";
const C3: &str = "c3, σ 0.02";
const PAIRED: &str = "paired images";
const HALF: &str = "realign, half of the texts";

/// The paper's orderings, as far as digits can show them.
fn claims() -> Vec<(Expectation, Cause)> {
    [of_aligners(), of_data()].concat()
}

const CAPTIONS: Score = Score::Captions;
const ALL: Score = Score::Answers(200);
const TEMPLATE: Cause = Cause::Noise(REALIGN, NOISY);

type Of = (&'static str, Score);

fn of(claim: &'static str, better: Of, worse: Of, cause: Cause) -> (Expectation, Cause) {
    let side = |(row, score)| Side { row, score };
    (Expectation { claim, better: side(better), worse: side(worse) }, cause)
}

/// Both rows by one score.
fn by(
    claim: &'static str,
    better: &'static str,
    worse: &'static str,
    score: Score,
    cause: Cause,
) -> (Expectation, Cause) {
    of(claim, (better, score), (worse, score), cause)
}

/// One aligner against another.
fn of_aligners() -> Vec<(Expectation, Cause)> {
    vec![
        by("Paired images beat text without alignment", PAIRED, NONE, CAPTIONS, Cause::Scores),
        by("Captions: C3 (σ 0.02) beats no alignment", C3, NONE, CAPTIONS, Cause::Scores),
        by("Captions: blockwise beats C3 (σ 0.02)", BLOCKWISE, C3, CAPTIONS, Cause::Scores),
        by("Captions: ReAlign beats blockwise", REALIGN, BLOCKWISE, CAPTIONS, TEMPLATE),
        by("Captions: ReAlign beats no alignment", REALIGN, NONE, CAPTIONS, TEMPLATE),
        by("Captions: ReAlign beats C3 (σ 0.05)", REALIGN, "c3, σ 0.05", CAPTIONS, TEMPLATE),
        by("Captions: ReAlign beats C3 (σ by traces)", REALIGN, "c3, σ by traces", CAPTIONS, Cause::Sigma),
        by("Captions: the trace step helps the anchor", TRACE, ANCHOR, CAPTIONS, Cause::Scale),
        by("Captions: the centroid step helps anchor and trace", REALIGN, TRACE, CAPTIONS, Cause::Scores),
        by("After stage 2: C3 (σ 0.02) beats no alignment", C3, NONE, ALL, Cause::Scores),
        by("After stage 2: blockwise beats C3 (σ 0.02)", BLOCKWISE, C3, ALL, Cause::Scores),
        by("After stage 2: ReAlign beats blockwise", REALIGN, BLOCKWISE, ALL, Cause::Scores),
        by("After stage 2: ReAlign beats no alignment", REALIGN, NONE, ALL, Cause::Scores),
        by("After stage 2: the trace step helps the anchor", TRACE, ANCHOR, ALL, Cause::Scale),
        by("After stage 2: the centroid step helps anchor and trace", REALIGN, TRACE, ALL, Cause::Scores),
    ]
}

/// How much data, which data, and noise.
fn of_data() -> Vec<(Expectation, Cause)> {
    vec![
        of(
            "60% of stage 2's images beat 30%",
            (REALIGN, Score::Answers(120)),
            (REALIGN, Score::Answers(60)),
            Cause::Scores,
        ),
        of("All of stage 2's images beat 60%", (REALIGN, ALL), (REALIGN, Score::Answers(120)), Cause::Scores),
        by("With 20 real images, stage 1 on aligned text helps", REALIGN, "no stage 1", Score::Answers(20), TEMPLATE),
        by("With 200 real images, stage 1 on aligned text helps", REALIGN, "no stage 1", ALL, Cause::Scores),
        by("After stage 2: texts, of which there are more, beat paired images", REALIGN, PAIRED, ALL, TEMPLATE),
        by("Captions: half of the texts beat a quarter", HALF, "realign, a quarter of the texts", CAPTIONS, TEMPLATE),
        by("Captions: all texts beat half of them", REALIGN, HALF, CAPTIONS, TEMPLATE),
        by(
            "After stage 2: half of the texts beat a quarter",
            HALF,
            "realign, a quarter of the texts",
            ALL,
            Cause::Scores,
        ),
        by("After stage 2: all texts beat half of them", REALIGN, HALF, ALL, Cause::Scores),
        by(
            "Captions: short texts beat long ones",
            "realign, short texts",
            "realign, long texts",
            CAPTIONS,
            Cause::Noise("realign, long texts", "realign, long texts + noise 0.1"),
        ),
        by(
            "After stage 2: short texts beat long ones",
            "realign, short texts",
            "realign, long texts",
            ALL,
            Cause::Scores,
        ),
        by("Noise on the adapter's input helps ReAlign", NOISY, REALIGN, CAPTIONS, Cause::Scores),
        by("With noise, ReAlign beats no alignment", NOISY, "no alignment + noise 0.1", CAPTIONS, Cause::Scores),
        by(
            "On thin digits, statistics of thin ones beat those of thick ones",
            "realign, statistics of thin digits",
            "realign, statistics of thick digits",
            Score::CaptionsOf(Domain::Thin),
            TEMPLATE,
        ),
        by(
            "On thick digits, statistics of thick ones beat those of thin ones",
            "realign, statistics of thick digits",
            "realign, statistics of thin digits",
            Score::CaptionsOf(Domain::Thick),
            TEMPLATE,
        ),
    ]
}

/// Every row that a claim or its reason names.
#[cfg(test)]
fn named() -> Vec<&'static str> {
    let of = |(claim, cause): (Expectation, Cause)| {
        let more = if let Cause::Noise(plain, noisy) = cause { vec![plain, noisy] } else { Vec::new() };
        [claim.better.row, claim.worse.row].into_iter().chain(more)
    };
    claims().into_iter().flat_map(of).collect()
}

/// Every claim whose two rows were run, with its verdict: `claim`, `better`, `worse`, `difference`, `half_width`, `verdict`, `reason`,
/// `sentence`.
pub fn expectations(rows: &[Row<'_>]) -> Vec<Value> {
    let find = |name: &str| rows.iter().find(|r| r.name == name);
    let judged = |(claim, cause): (Expectation, Cause)| {
        let (better, worse) = (find(claim.better.row)?, find(claim.worse.row)?);
        let sides = paired(&better.scores(claim.better.score), &worse.scores(claim.worse.score));
        let judgement = Judgement::of(&sides)?;
        let why = reason(rows, (&claim, cause), &sides, &judgement);
        Some(json!({
            "claim": claim.claim, "better": claim.better.row, "worse": claim.worse.row,
            "difference": judgement.difference, "half_width": judgement.half_width,
            "verdict": judgement.verdict().map(|v| format!("{v:?}")), "reason": why,
            "sentence": claim.sentence(&judgement, &why),
        }))
    };
    claims().into_iter().filter_map(judged).collect()
}

/// The scores of the seeds that both sides have.
pub(super) fn paired(better: &BTreeMap<u64, f64>, worse: &BTreeMap<u64, f64>) -> Sides {
    let both = better.iter().filter_map(|(seed, b)| Some((*b, *worse.get(seed)?)));
    let (better, worse) = both.unzip();
    Sides { better, worse }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// What the results themselves say of why a claim did not come out; empty where it did, or where one seed says nothing.
fn reason(rows: &[Row<'_>], (claim, cause): (&Expectation, Cause), sides: &Sides, judgement: &Judgement) -> String {
    let Some(verdict) = judgement.verdict().filter(|v| *v != Verdict::CameOut) else { return String::new() };
    let find = |name: &str| rows.iter().find(|r| r.name == name);
    let specific = match cause {
        Cause::Scores => None,
        Cause::Scale => find(claim.better.row).and_then(scale),
        Cause::Sigma => find(claim.worse.row).and_then(sigma),
        Cause::Noise(plain, noisy) => find(plain).zip(find(noisy)).and_then(|rows| noise(rows, judgement)),
    };
    let (better, worse) = (mean(&sides.better), mean(&sides.worse));
    let high = if better.min(worse) > 0.9 { ", and little is left to gain" } else { "" };
    let mut text = format!("{better:.3} against {worse:.3}{high}");
    if verdict == Verdict::Unclear {
        let differences: Vec<f64> = sides.better.iter().zip(&sides.worse).map(|(b, w)| 100.0 * (b - w)).collect();
        let list = differences.iter().map(|d| format!("{d:+.1}")).collect::<Vec<_>>().join(", ");
        text += &format!("; seed by seed the difference is {list}");
    }
    match specific {
        Some(specific) => format!("{text}. {specific}"),
        None => format!("{text}."),
    }
}

fn scale(row: &Row<'_>) -> Option<String> {
    let [text, image, scale] = ["trace_text", "trace_image", "scale"].map(|key| row.fitted(key));
    let furthest = scale.iter().map(|s| (s - 1.0).abs()).reduce(f64::max)?;
    let little = if furthest < 0.05 { "nearly the same: scaling has little to correct" } else { "apart" };
    let (text, image, scale) = (mean(&text), mean(&image), mean(&scale));
    Some(format!("The traces, {text:.3} of the texts and {image:.3} of the images (scale {scale:.3}), are {little}."))
}

fn sigma(row: &Row<'_>) -> Option<String> {
    let sigma = row.fitted("sigma");
    let zero = sigma.iter().filter(|s| **s == 0.0).count();
    let (smallest, largest) = (sigma.iter().copied().reduce(f64::min)?, sigma.iter().copied().reduce(f64::max)?);
    Some(match zero {
        0 => format!("C3's σ is {smallest:.3} to {largest:.3}."),
        _ => format!(
            "C3's σ is 0 in {zero} of {} seeds, where texts are spread at least as widely as images: there it is mean shift.",
            sigma.len()
        ),
    })
}

fn noise((plain, noisy): (&Row<'_>, &Row<'_>), judgement: &Judgement) -> Option<String> {
    let gain = Judgement::of(&paired(&noisy.scores(Score::Captions), &plain.scores(Score::Captions)))?;
    let points = 100.0 * gain.difference;
    let more = gain.verdict() == Some(Verdict::CameOut) && gain.difference > judgement.difference.abs();
    let what = match more {
        true => {
            "more than the two differ: what the adapter learns by heart of the texts' embeddings weighs more than the aligner"
        }
        false => "no more than the two differ, or not for sure: that is not the reason",
    };
    Some(format!(
        "Noise on the adapter's input changes the captions of '{}' by {points:+.1} points, {what}.",
        plain.name
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::experiment::plan::plan;

    #[test]
    fn every_row_that_is_named_is_run() {
        let names: Vec<String> = plan(true).iter().flat_map(|p| p.rows.iter().map(|(arm, _)| arm.name())).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "two rows of one name");
        for name in named() {
            assert!(names.iter().any(|n| n == name), "{name} is not among {names:?}");
        }
    }
}
