//! `rank search`.

use std::time::Instant;

use anyhow::{Result, ensure};
use realign::io::{Ids, check_writable};
use realign::rank::{Hits, Score, SearchOptions, search as search_all, write_hits};
use realign::stats::DatasetRows;
use serde_json::{Map, Value, json};

use crate::rank::args::RankSearchArgs;
use crate::rank::searched::{Searched, named};
use crate::shared::outputs::refuse_input;
use crate::shared::sources::LazyDevice;
use crate::shared::{show, zero_rows};

pub fn search(args: &RankSearchArgs) -> Result<()> {
    check_writable(&args.out, args.force)?;
    let ending = args.out.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    let known = matches!(ending.as_deref(), Some("jsonl" | "parquet"));
    ensure!(known, "--out {}: hits are written as .jsonl or .parquet; choose one of these endings", args.out.display());
    let nnn = &args.searched.nnn;
    for (flag, given) in [("--nnn-alpha", nnn.nnn_alpha.is_some()), ("--nnn-neighbours", nnn.nnn_neighbours.is_some())]
    {
        let score = args.score;
        ensure!(!given || score == Score::Nnn, "{flag}: {score} has none; leave it out, or give --score nnn");
    }
    let device = LazyDevice::new(&args.searched.device);
    let searched = Searched::open(&args.searched, &device, args.force)?;
    refuse_input(&args.out, searched.inputs())?;
    if args.score == Score::Quantile {
        searched.warn_of_own_references();
    }
    let start = Instant::now();
    let bar = show::progress(searched.rows(), "searching");
    let step = |rows| bar.inc(rows);
    let read = &args.searched.read;
    let rows = |set| DatasetRows::new(set).nonfinite(read.nonfinite());
    let mut rows: Vec<_> = searched.collections.iter().map(|(_, set)| rows(set)).collect();
    let options = SearchOptions::default()
        .score(args.score)
        .kind(searched.kind.as_deref())
        .top(args.top)
        .pass(args.pass)
        .nnn(nnn.options())
        .stream(read.stream(Some(&step)));
    let collections = &mut named(&searched.collections, &mut rows);
    let hits = search_all(device.get()?, &searched.ranking, &searched.queries, collections, &options)?;
    bar.finish_and_clear();
    searched.collections.iter().zip(&rows).for_each(|((_, set), rows)| zero_rows::warn(set, rows.zero_rows()));
    let names: Vec<(&str, &Ids)> =
        searched.collections.iter().zip(&searched.ids).map(|((name, _), ids)| (&name[..], ids)).collect();
    write_hits(&args.out, Hits { hits: &hits, queries: &searched.query_ids, collections: &names }, args.force)?;
    let share = |i: usize| hits.iter().filter(|hit| hit.collection == i).count() as f64 / hits.len().max(1) as f64;
    let shares: Map<String, Value> =
        names.iter().enumerate().map(|(i, (name, _))| ((*name).to_owned(), json!(share(i)))).collect();
    let value = json!({
        "score": args.score.name(), "queries": searched.query_ids.len(), "hits": hits.len(), "shares": shares,
        "device": device.get()?.name(), "seconds": start.elapsed().as_secs_f64(),
        "out": args.out.display().to_string(),
    });
    show::result(args.json, &value)
}
