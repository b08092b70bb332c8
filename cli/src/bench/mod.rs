//! `bench`: how fast a device is, and how close to what it can do.

mod against;
pub mod args;
pub mod tune;

use std::path::Path;

use anyhow::{Context, Result, bail};
use realign::bench::{Compared, Drift, Options, Outcome, Progress, Report, check, compare, drift, page, run};
use realign::io::check_writable;
use serde_json::{Value, json};

use crate::bench::against::Match;
use crate::bench::args::BenchArgs;
use crate::shared::show;
use crate::train;

pub fn bench(args: &BenchArgs) -> Result<()> {
    if let Some(folder) = &args.gallery {
        return gallery(folder, args.json.force);
    }
    args.json.check()?;
    args.html.iter().try_for_each(|path| check_writable(path, args.json.force))?;
    let old = args.compare.as_deref().map(read).transpose()?;
    let other = Match::of(args)?;
    let options = Options { quick: args.quick, filter: args.filter.clone() };
    // The device is given back before others take it in turns.
    let report = measure(&args.device.request_for_halves()?, &options)?;
    let mut value = report.json();
    let compared = old.as_ref().map(|old| Ok::<_, realign::Error>((compare(old, &value)?, drift(old, &value)?)));
    let compared = compared.transpose()?;
    if let Some((compared, drift)) = &compared {
        value["compared"] = compared.iter().map(compared_json).collect();
        value["drift"] = drift_json(drift);
    }
    let turns = other.map(|other| other.play(&value)).transpose()?;
    if let Some(turns) = &turns {
        value["against"] = turns.json();
    }
    if let Some(path) = &args.html {
        page(&[value.clone()])?.write(path, args.json.force)?;
    }
    let wrong: Vec<&Outcome> = report.outcomes.iter().filter(|o| o.timing.is_err()).collect();
    args.json.finish(&value, || {
        let mut text = table(&report);
        if let (Some((compared, drift)), Some(old)) = (&compared, &old) {
            text += &format!("\n\nagainst {}\n{}\n{}", whose(old), apart(drift), ratios(compared));
        }
        if let Some(turns) = &turns {
            text += &format!("\n\n{}", turns.text());
        }
        text
    })?;
    match wrong.first() {
        None => Ok(()),
        Some(first) => {
            let problem = first.timing.as_ref().err().map_or("", String::as_str);
            bail!("{} of {} cases failed, the first: {}: {problem}", wrong.len(), report.outcomes.len(), first.name)
        }
    }
}

fn measure(device: &realign::Device, options: &Options) -> Result<Report> {
    train::watch_for_stop("stopping after this case; Ctrl-C again to stop at once")?;
    let bar = show::progress(0, "");
    let mut watch = |p: Progress<'_>| {
        show::task(&bar, p.name, p.total as u64);
        bar.set_position(p.done as u64);
        if train::stopped() {
            return Err(realign::Error::Stopped);
        }
        Ok(())
    };
    let report = run(device, options, &mut watch)?;
    bar.finish_and_clear();
    Ok(report)
}

/// A results file: what it is is checked here, before anything is measured.
fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = serde_json::from_str(&text).with_context(|| format!("{}: not JSON", path.display()))?;
    check(&file)
        .with_context(|| format!("{}: is not what 'realign bench --json' of this version writes", path.display()))?;
    Ok(file)
}

fn whose(file: &Value) -> String {
    let text = |v: &Value| v.as_str().unwrap_or("?").to_owned();
    format!("{} {} on {}", text(&file["tool"]), text(&file["version"]), text(&file["device"]["name"]))
}

fn compared_json(c: &Compared) -> Value {
    json!({
        "name": c.name, "old_seconds": c.seconds[0], "seconds": c.seconds[1], "speedup": c.speedup, "noise": c.noise,
        "verdict": c.verdict(),
    })
}

fn drift_json(drift: &Drift) -> Value {
    let [low, high] = drift.range();
    let ratios: serde_json::Map<_, _> = drift.yardsticks.iter().map(|(n, r)| ((*n).to_owned(), json!(r))).collect();
    json!({ "in_turns": false, "same_device": drift.same_device, "yardsticks": ratios, "low": low, "high": high })
}

/// What is known of the drift between two runs.
fn apart(drift: &Drift) -> String {
    let ratios: Vec<String> = drift.yardsticks.iter().map(|(name, ratio)| format!("{name} {ratio:.2} ×")).collect();
    let ratios = if ratios.is_empty() { "none in both files".to_owned() } else { ratios.join(", ") };
    match drift.same_device {
        false => format!("another device: a ratio says what both builds and both devices are. Yardsticks: {ratios}"),
        true => format!(
            "two runs apart: how the machine drifted between them is unknown. Its yardsticks' rates, new over old, are the estimate \
             beyond which ratios count: {ratios}. --against times two builds in turns"
        ),
    }
}

fn ratios(compared: &[Compared]) -> String {
    let line = |c: &Compared| match c.comparable() {
        true => format!("{:28} {:8.3} × ± {:3.0}%  {}", c.name, c.speedup, 100.0 * c.noise, c.verdict()),
        false => format!("{:28} {:>8}            {}: {} and {}", c.name, "–", c.verdict(), c.shapes[0], c.shapes[1]),
    };
    match compared.is_empty() {
        true => "no case is in both files".to_owned(),
        false => compared.iter().map(line).collect::<Vec<_>>().join("\n"),
    }
}

fn table(report: &Report) -> String {
    let r = &report.roofline;
    let driver = if report.driver.is_empty() { String::new() } else { format!(", {}", report.driver) };
    let mut lines = vec![
        format!("{} ({}, {}{driver})", report.device, report.device_kind.name(), report.backend),
        format!(
            "at most: {:.1} GB/s (copy of {} MB), {:.1} GFLOP/s (f32 FMA), {:.1} GB/s up, {:.1} GB/s down",
            r.bandwidth / 1e9,
            r.bytes / 1_000_000,
            r.arithmetic / 1e9,
            r.upload / 1e9,
            r.download / 1e9
        ),
        String::new(),
        format!(
            "{:26} {:>11} {:>6} {:>10} {:>11} {:>14} {:>9}  timer",
            "case", "median", "±", "GB/s", "GFLOP/s", "a second", "roofline"
        ),
    ];
    lines.extend(report.outcomes.iter().map(line));
    lines.push(
        "±: distance of the quartiles; roofline: share of what the device can do. Clocks are unknown.".to_owned(),
    );
    lines.join("\n")
}

fn line(o: &Outcome) -> String {
    let timing = match &o.timing {
        Ok(timing) => timing,
        Err(problem) => return format!("{:26} failed: {problem}", o.name),
    };
    let median = timing.median();
    let rate = |amount: u64| if amount > 0 { format!("{:.1}", amount as f64 / median / 1e9) } else { String::new() };
    let items = o.items.map_or_else(String::new, |i| format!("{:.0} {}", i.count as f64 / median, i.unit));
    let fraction = o.fraction.map_or_else(String::new, |f| format!("{:.0}%", 100.0 * f));
    let (bytes, flops, spread) = (rate(o.bytes), rate(o.flops), 100.0 * timing.spread());
    let timer = timing.timer.name();
    format!(
        "{:26} {:8.3} ms {spread:5.0}% {bytes:>10} {flops:>11} {items:>14} {fraction:>9}  {timer}",
        o.name,
        1e3 * median
    )
}

/// A page from all results files of a folder.
fn gallery(folder: &Path, force: bool) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths: Vec<_> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "json"));
    paths.sort();
    if paths.is_empty() {
        bail!("{}: has no results file; 'realign bench --json' writes one", folder.display());
    }
    let mut files = Vec::new();
    for path in &paths {
        files.push(read(path).context("the folder has another file; take it out")?);
    }
    let out = folder.join("index.html");
    page(&files)?.write(&out, force)?;
    show::print(&format!("{} results: {}", files.len(), out.display()))
}
