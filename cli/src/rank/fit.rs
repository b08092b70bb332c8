//! `rank fit` and `rank merge`.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use realign::io::{Dataset, Shard, check_writable};
use realign::rank::{Profile, RankOptions, Ranking};
use realign::stats::DatasetRows;
use serde_json::{Map, Value, json};

use crate::rank::args::{NamedInput, RankFitArgs, RankMergeArgs};
use crate::rank::searched::{grouped, named};
use crate::shared::outputs::{refuse_input, refuse_twice};
use crate::shared::sources::LazyDevice;
use crate::shared::{show, zero_rows};

pub fn fit(args: &RankFitArgs) -> Result<()> {
    check_writable(&args.out, args.force)?;
    let device = LazyDevice::new(&args.device);
    let open = |inputs: &[NamedInput]| -> Result<Vec<(String, Dataset)>> {
        let one = |(name, paths): (String, Vec<_>)| Ok((name, args.encoder.open(&device, &args.read, &paths)?));
        grouped(inputs).into_iter().map(one).collect()
    };
    let (collections, queries) = (open(&args.collections)?, open(&args.queries)?);
    let sets = || collections.iter().chain(&queries).map(|(_, set)| set);
    let named_files = args.collections.iter().chain(&args.queries).map(|input| input.path.as_path());
    refuse_input(&args.out, sets().flat_map(Dataset::shards).map(Shard::path).chain(named_files))?;
    let start = Instant::now();
    let bar = show::progress(sets().map(Dataset::rows).sum(), "counting");
    let step = |rows| bar.inc(rows);
    let (mut rows_of_collections, mut rows_of_queries) = (rows_of(&collections, args), rows_of(&queries, args));
    let budget = args.private.map(|budget| budget.0);
    let stream = args.read.stream(Some(&step));
    let options = RankOptions::default().sample(args.sample).seed(args.seed).private(budget).stream(stream);
    let ranking = Ranking::fit(
        device.get()?,
        &mut named(&collections, &mut rows_of_collections),
        &mut named(&queries, &mut rows_of_queries),
        &options,
    )?;
    bar.finish_and_clear();
    for (set, rows) in sets().zip(rows_of_collections.iter().chain(&rows_of_queries)) {
        zero_rows::warn(set, rows.zero_rows());
    }
    ranking.save(&args.out, args.force)?;
    let mut value = value(&ranking);
    value["device"] = json!(device.get()?.name());
    value["seconds"] = json!(start.elapsed().as_secs_f64());
    value["out"] = json!(args.out.display().to_string());
    show::result(args.json, &value)
}

fn rows_of<'a>(sets: &'a [(String, Dataset)], args: &RankFitArgs) -> Vec<DatasetRows<'a>> {
    sets.iter().map(|(_, set)| DatasetRows::new(set).nonfinite(args.read.nonfinite())).collect()
}

pub fn merge(args: &RankMergeArgs) -> Result<()> {
    check_writable(&args.out, args.force)?;
    refuse_input(&args.out, args.inputs.iter().map(PathBuf::as_path))?;
    refuse_twice(&args.inputs)?;
    let mut total: Option<Ranking> = None;
    for path in &args.inputs {
        let ranking = Ranking::load(path)?;
        match &mut total {
            None => total = Some(ranking),
            Some(total) => {
                let merged = total.check_encoders_of(&ranking, args.force).and_then(|()| total.merge(&ranking));
                merged.with_context(|| path.display().to_string())?;
            }
        }
    }
    let total = total.context("no ranking was named")?;
    total.save(&args.out, args.force)?;
    let mut value = value(&total);
    value["files"] = json!(args.inputs.len());
    value["out"] = json!(args.out.display().to_string());
    show::result(args.json, &value)
}

/// What a ranking holds.
pub fn value(ranking: &Ranking) -> Value {
    let entry = |(name, profile): (&str, &Profile)| {
        let sample = profile.sample();
        let mut value = json!({
            "rows": profile.rows(), "sample": sample.len(), "effective_sample": sample.effective_rows(),
            "mean_norm": profile.mean().iter().map(|m| m * m).sum::<f64>().sqrt(),
            "trace": profile.trace(), "encoder": profile.encoder().map(ToString::to_string),
        });
        if let Some(noise) = profile.noise() {
            value["private"] = show::noise_json(noise, profile.rows());
        }
        (name.to_owned(), value)
    };
    let collections: Map<String, Value> = ranking.collections().map(entry).collect();
    let queries: Map<String, Value> = ranking.queries().map(entry).collect();
    json!({ "width": ranking.width(), "collections": collections, "queries": queries })
}
