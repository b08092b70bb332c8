//! `rank compare`.

use anyhow::Result;
use realign::io::{IdIndex, Shard};
use realign::rank::{CompareOptions, Comparison, Estimate, Relevance, Score, compare as compare_scores};
use realign::stats::DatasetRows;
use serde_json::{Map, Value, json};

use crate::rank::args::RankCompareArgs;
use crate::rank::searched::{Searched, named};
use crate::shared::sources::LazyDevice;
use crate::shared::{show, zero_rows};

pub fn compare(args: &RankCompareArgs) -> Result<()> {
    let outputs = args.page.check(&Comparison::charts(), &args.json)?;
    let device = LazyDevice::new(&args.searched.device);
    let mut searched = Searched::open(&args.searched, &device, args.json.force)?;
    outputs.refuse(&[], searched.inputs().chain([args.relevance.as_path()]))?;
    searched.warn_of_own_references();
    let relevance = relevance(args, &mut searched)?;
    let bar = show::progress(searched.rows(), "comparing");
    let step = |rows| {
        if bar.position() + rows > bar.length().unwrap_or(0) {
            bar.inc_length(rows);
        }
        bar.inc(rows);
    };
    let read = &args.searched.read;
    let rows = |set| DatasetRows::new(set).nonfinite(read.nonfinite());
    let mut rows: Vec<_> = searched.collections.iter().map(|(_, set)| rows(set)).collect();
    let kind = searched.kind.as_deref();
    let names: Vec<&str> = searched.collections.iter().map(|(name, _)| &name[..]).collect();
    let scores = searched.ranking.possible_scores(kind, &names);
    note_left_out(&scores, searched.ranking.any_private(&names));
    let nnn = args.searched.nnn.options();
    anyhow::ensure!(
        scores.contains(&Score::Nnn) || !args.searched.nnn.given(),
        "--nnn-alpha, --nnn-neighbours: the ranking has no reference queries, which nnn needs; leave them out"
    );
    let options = CompareOptions::default().kind(kind).scores(&scores).nnn(nnn).stream(read.stream(Some(&step)));
    let collections = &mut named(&searched.collections, &mut rows);
    let ranking = &searched.ranking;
    let comparison = compare_scores(device.get()?, ranking, &searched.queries, collections, &relevance, &options)?;
    bar.finish_and_clear();
    searched.collections.iter().zip(&rows).for_each(|((_, set), rows)| zero_rows::warn(set, rows.zero_rows()));
    let value = value(&comparison, device.get()?.name());
    args.page.write(args.json.force, || comparison.page(value.clone()))?;
    args.json.finish(&value, || text(&comparison))
}

/// Says which scores are not compared, and why.
fn note_left_out(scores: &[Score], private: bool) {
    let left_out = |why: fn(Score) -> bool| {
        let names = Score::ALL.into_iter().filter(|score| !scores.contains(score) && why(*score)).map(Score::name);
        Some(names.collect::<Vec<_>>().join(" and ")).filter(|names| !names.is_empty())
    };
    if let Some(names) = left_out(Score::needs_rows).filter(|_| private) {
        eprintln!("note: {names} need rows, of which a private collection has none; they are left out");
    } else if let Some(names) = left_out(Score::needs_queries) {
        eprintln!(
            "note: {names} need reference queries, which realign rank fit --queries KIND=FILES counts; they are left out"
        );
    }
}

/// The grades, by ids that must be unique to be meant.
fn relevance(args: &RankCompareArgs, searched: &mut Searched) -> Result<Relevance> {
    let queries = IdIndex::new(std::mem::take(&mut searched.query_ids), &searched.query_path)?;
    let mut indices = Vec::new();
    for ((_, set), ids) in searched.collections.iter().zip(&mut searched.ids) {
        let path = set.shards().first().map(Shard::path).unwrap_or(std::path::Path::new(""));
        indices.push(IdIndex::new(std::mem::take(ids), path)?);
    }
    let names = searched.collections.iter().map(|(name, _)| &name[..]);
    let collections: Vec<(&str, &IdIndex)> = names.zip(&indices).collect();
    Ok(Relevance::read(&args.relevance, &queries, &collections)?)
}

fn estimate(e: &Estimate) -> Value {
    json!({ "value": e.value, "half_width": e.half_width })
}

fn by_collection(comparison: &Comparison, estimates: &[Estimate]) -> Value {
    let entries = comparison.collections.iter().zip(estimates);
    Value::Object(entries.map(|(name, e)| (name.clone(), estimate(e))).collect())
}

fn value(comparison: &Comparison, device: &str) -> Value {
    let mut scores = Map::new();
    for line in &comparison.scores {
        let calibration = line
            .calibration
            .iter()
            .map(|c| json!({ "share": c.nominal, "passed": by_collection(comparison, &c.passed) }));
        let calibration: Vec<Value> = calibration.collect();
        let value = json!({
            "ndcg": estimate(&line.ndcg), "recall": estimate(&line.recall),
            "shares": by_collection(comparison, &line.shares), "calibration": calibration,
        });
        scores.insert(line.score.name().to_owned(), value);
    }
    let rows: Map<String, Value> =
        comparison.collections.iter().zip(&comparison.rows).map(|(name, n)| (name.clone(), json!(n))).collect();
    json!({ "scores": scores, "queries": comparison.queries, "rows": rows, "device": device })
}

fn text(comparison: &Comparison) -> String {
    let names = &comparison.collections;
    let shares: String = names.iter().map(|name| format!(" {:>16}", cut(name))).collect();
    let mut lines = vec![format!("{:<12}{:>16}{:>16}{shares}", "score", "NDCG@10", "recall@10")];
    let cell = |e: &Estimate| format!("{:.3} ± {:.3}", e.value, e.half_width);
    for line in &comparison.scores {
        let shares: String = line.shares.iter().map(|share| format!(" {:>16}", cell(share))).collect();
        lines.push(format!("{:<12}{:>16}{:>16}{shares}", line.score.name(), cell(&line.ndcg), cell(&line.recall)));
    }
    lines.push("\nA collection's column is its share among the first ten.".to_owned());
    if comparison.scores.iter().all(|line| line.calibration.is_empty()) {
        lines.push("No score has a cut-off here.".to_owned());
        return lines.join("\n");
    }
    lines.push("What passes a cut-off, in percent:\n".to_owned());
    let passed: String = names.iter().map(|name| format!(" {:>16}", cut(name))).collect();
    lines.push(format!("{:<12}{:>16}{passed}", "score", "asked for"));
    for line in &comparison.scores {
        for c in &line.calibration {
            let cell =
                |e: &Estimate| format!(" {:>16}", format!("{:.2} ± {:.2}", 100.0 * e.value, 100.0 * e.half_width));
            let passed: String = c.passed.iter().map(cell).collect();
            lines.push(format!("{:<12}{:>16}{passed}", line.score.name(), show::number(100.0 * c.nominal)));
        }
    }
    lines.push(format!("\n{} queries; intervals are 95% over queries.", comparison.queries));
    lines.join("\n")
}

/// A name as a column's head.
fn cut(name: &str) -> String {
    name.chars().take(16).collect()
}
