//! `calibrate`: how many rows, which domains, and is it still valid.

use std::path::PathBuf;

use anyhow::Result;
use realign::align::{
    Calibration, Domain, FitOptions, SizeResult, Statistics, Transfer, sample_size_study, sizes, transfer_matrix,
};
use realign::device::Device;
use realign::geometry::recalibrate::{Recalibration, recalibration};
use realign::io::Dataset;
use realign::stats::DatasetRows;
use serde_json::{Map, Value, json};

use crate::geometry::args::{CalibrateArgs, SideArg};
use crate::geometry::measure::open_all;
use crate::shared::show;

pub fn calibrate(args: &CalibrateArgs) -> Result<()> {
    let (study, transfer) = (!args.source.is_empty(), !args.domain.is_empty());
    let outputs = args.page.check(&Calibration::charts(study, transfer), &args.json)?;
    if !study && !transfer && args.stats.is_none() {
        anyhow::bail!("nothing to do: give --source and --target, --domain twice or more, or --stats and --batch");
    }
    anyhow::ensure!(args.domain.is_empty() || args.domain.len() >= 6, "--domain: one domain; give two or more");
    anyhow::ensure!(
        args.significance > 0.0 && args.significance < 1.0,
        "--significance: {}; give a probability between 0 and 1",
        args.significance
    );
    if study || transfer {
        args.fit.refuse_unused(&[args.method.unwrap_or_default()])?;
    } else {
        anyhow::ensure!(
            args.method.is_none(),
            "--method: a batch is held against --stats, which has one; leave it out"
        );
        if let Some(flag) = args.fit.given() {
            anyhow::bail!("{flag}: a batch is held against --stats, which is fitted already; leave it out");
        }
    }
    let sides =
        if study { Some(open_all(&|inputs| args.read.open(inputs), [&args.source, &args.target])?) } else { None };
    let domains = open_domains(args)?;
    let batch = if args.batch.is_empty() { None } else { Some(args.read.open(&args.batch)?) };
    let sets = sides.iter().flatten().chain(domains.iter().flat_map(|(_, sets)| sets)).chain(&batch);
    outputs.refuse(&sets.collect::<Vec<_>>(), args.stats.as_deref())?;
    let (mut value, mut found) = (Map::new(), Calibration::default());
    if let (Some(stats), Some(batch)) = (&args.stats, &batch) {
        found.drift = Some(drift(args, &Statistics::load(stats)?, batch)?);
    }
    if study || transfer {
        let device = args.device.request()?;
        let mut options = args.fit.options(args.read.stream(None));
        options.method = args.method.unwrap_or_default();
        value.insert("method".to_owned(), json!(options.method.name()));
        value.insert("device".to_owned(), json!(device.name()));
        if let Some([source, target]) = &sides {
            found.sizes = sample_sizes(&device, args, (source, target), &options)?;
        }
        if transfer {
            found.transfer = Some(transfer_between(&device, &domains, &options)?);
        }
    }
    value.extend(found.json(args.significance));
    let value = Value::Object(value);
    args.page.write(args.json.force, || found.page(args.significance, value.clone()))?;
    args.json.finish(&value, || text(&found, args.significance))
}

fn text(found: &Calibration, significance: f64) -> String {
    let drift = found.drift.as_ref().map(|result| drift_text(result, significance));
    let sizes = (!found.sizes.is_empty()).then(|| sizes_text(&found.sizes));
    let matrix = found.transfer.as_ref().map(matrix_text);
    [drift, sizes, matrix].into_iter().flatten().collect::<Vec<_>>().join("\n\n")
}

fn drift(args: &CalibrateArgs, statistics: &Statistics, batch: &Dataset) -> Result<Recalibration> {
    let (encoders, any) = (batch.encoders(), args.json.force);
    let stored = match args.side {
        SideArg::Source => {
            statistics.check_source_encoders(&encoders, any)?;
            statistics.stored_source()
        }
        SideArg::Target => {
            statistics.check_target_encoders(&encoders, any)?;
            statistics.stored_target()
        }
    };
    Ok(recalibration(&mut DatasetRows::new(batch), stored, args.read.stream(None))?)
}

fn drift_text(r: &Recalibration, significance: f64) -> String {
    let verdict = match r.recalibrate(significance) {
        true => "The data has moved: fit again.",
        false => "No sign that the data has moved.",
    };
    format!(
        "{verdict}\np-value {} (mean: statistic {} on {} degrees of freedom, p {}; trace: {} standard errors, p {})\n\
         The mean has moved by some {}, from {} rows.",
        show::number(r.p_value),
        show::number(r.statistic),
        show::number(r.degrees),
        show::number(r.p_mean),
        show::number(r.trace_z),
        show::number(r.p_trace),
        show::number(r.drift),
        r.rows,
    )
}

fn sample_sizes(
    device: &Device,
    args: &CalibrateArgs,
    (source, target): (&Dataset, &Dataset),
    options: &FitOptions<'_>,
) -> Result<Vec<SizeResult>> {
    let all = sizes(source.rows().max(target.rows()).div_ceil(2));
    let asked = if args.sizes.is_empty() { &all } else { &args.sizes };
    let (mut y, mut x) = (DatasetRows::new(source), DatasetRows::new(target));
    Ok(sample_size_study(device, &mut y, &mut x, (asked, args.trials, args.fit.seed), options)?)
}

fn sizes_text(table: &[SizeResult]) -> String {
    let mut lines = vec![format!("{:>10} {:>12} {:>12} {:>7}", "rows", "gap", "sd", "trials")];
    lines.extend(table.iter().map(|s| {
        let deviation = s.deviation().map_or_else(|| "-".to_owned(), show::number);
        let mean = show::number(s.mean());
        format!("{:>10} {mean:>12} {deviation:>12} {:>7}", s.rows, s.gaps.len())
    }));
    lines.push("The gap is left on the half of the rows that no fit saw.".to_owned());
    lines.join("\n")
}

/// A domain's name, its text and its image rows.
type Sides = (String, [Dataset; 2]);

fn open_domains(args: &CalibrateArgs) -> Result<Vec<Sides>> {
    let mut opened: Vec<Sides> = Vec::new();
    for parts in args.domain.chunks_exact(3) {
        let (source, target) = (PathBuf::from(&parts[1]), PathBuf::from(&parts[2]));
        anyhow::ensure!(!opened.iter().any(|(n, _)| *n == parts[0]), "--domain: {} is named twice", parts[0]);
        opened.push((parts[0].clone(), open_all(&|inputs| args.read.open(inputs), [&[source], &[target]])?));
    }
    Ok(opened)
}

/// The domains' names and the matrix of their gaps.
fn transfer_between(device: &Device, opened: &[Sides], options: &FitOptions<'_>) -> Result<Transfer> {
    let mut all: Vec<Domain<'_>> = opened
        .iter()
        .map(|(name, [source, target])| Domain {
            name: name.clone(),
            source: Box::new(DatasetRows::new(source)),
            target: Box::new(DatasetRows::new(target)),
        })
        .collect();
    let gaps = transfer_matrix(device, &mut all, options)?;
    Ok(Transfer { domains: opened.iter().map(|(name, _)| name.clone()).collect(), gaps })
}

fn matrix_text(Transfer { domains: names, gaps: matrix }: &Transfer) -> String {
    let header: String = names.iter().map(|n| format!(" {n:>12}")).collect();
    let mut lines = vec![format!("{:<16}{header}", "fitted on")];
    for (name, row) in names.iter().zip(matrix) {
        let cells: String = row.iter().map(|g| format!(" {:>12}", show::number(*g))).collect();
        lines.push(format!("{name:<16}{cells}"));
    }
    lines.push("The gap that a fit on one domain's rows leaves on the held-out rows of each.".to_owned());
    lines.join("\n")
}
