//! The page of results files: one device's results, or several devices' side by side.

use serde_json::Value;

use crate::Result;
use crate::report::{Axis, Bars, Cell, Chart, Column, Page, Section, Table, number};

/// More cases than this are shown in two charts, side by side.
const ONE_CHART: usize = 8;

/// A page from results files, as [`Report::json`](super::Report::json) gives them.
///
/// # Errors
/// None for such files; others may not make a table.
pub fn page(files: &[Value]) -> Result<Page> {
    let title =
        if let [file] = files { format!("realign on {}", name(file)) } else { "realign on several devices".into() };
    let mut page = Page::new(title, "How fast each case is, and how close to what the same device can do at most.");
    page = page.section(limits(files)?);
    if files.len() > 1 {
        page = page.section(across(files)?);
    }
    for file in files {
        page = page.section(device(file)?);
    }
    Ok(page)
}

fn name(file: &Value) -> String {
    file["device"]["name"].as_str().unwrap_or("an unnamed device").to_owned()
}

fn results(file: &Value) -> Vec<&Value> {
    file["results"].as_array().into_iter().flatten().collect()
}

fn cell(v: &Value) -> Cell {
    Cell::Text(v.as_f64().map_or_else(|| "–".to_owned(), number))
}

fn limits(files: &[Value]) -> Result<Section> {
    let columns = ["device", "driver", "GB/s", "GFLOP/s", "GB/s up", "GB/s down", "timer"].map(Column::new);
    let mut table = Table::new("Measured limits", columns);
    for file in files {
        let r = &file["roofline"];
        let text = |v: &Value| Cell::Text(v.as_str().unwrap_or("–").to_owned());
        let cells = [
            text(&file["device"]["driver"]),
            cell(&r["bandwidth_gb_s"]),
            cell(&r["arithmetic_gflop_s"]),
            cell(&r["upload_gb_s"]),
            cell(&r["download_gb_s"]),
            text(&r["timer"]),
        ];
        table = table.row(name(file), cells)?;
    }
    let meaning = "Bandwidth: bytes read and written by a copy. Arithmetic: fused multiply-adds of f32 in registers. Clocks are unknown.";
    Ok(Section::new("What the devices can do", "").table(table, meaning))
}

/// Items or bytes or FLOPs per second of every case on every device.
fn across(files: &[Value]) -> Result<Section> {
    let columns = std::iter::once("case".to_owned()).chain(files.iter().map(name)).map(Column::new);
    let mut table = Table::new("Throughput", columns);
    let mut names: Vec<&str> = Vec::new();
    for result in files.iter().flat_map(results) {
        let name = result["name"].as_str().unwrap_or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    for case in names {
        let of =
            |file: &Value| results(file).into_iter().find(|r| r["name"] == case).map_or("–".to_owned(), throughput);
        table = table.row(case, files.iter().map(|f| Cell::Text(of(f))).collect::<Vec<_>>())?;
    }
    Ok(Section::new("Side by side", "")
        .table(table, "Sizes differ between kinds of devices: rates compare, times do not."))
}

fn throughput(result: &Value) -> String {
    if let (Some(rate), Some(unit)) = (result["items_per_s"].as_f64(), result["items"].as_str()) {
        return format!("{} {unit}/s", number(rate));
    }
    let memory = result["bound"] == "memory";
    match (result["gb_s"].as_f64(), result["gflop_s"].as_f64()) {
        (Some(rate), flops) if memory || flops.is_none() => format!("{} GB/s", number(rate)),
        (_, Some(rate)) => format!("{} GFLOP/s", number(rate)),
        _ if result["error"].is_string() => "failed".to_owned(),
        _ => "–".to_owned(),
    }
}

fn device(file: &Value) -> Result<Section> {
    let columns = ["case", "shape", "median, ms", "GB/s", "GFLOP/s", "a second", "roofline"];
    let mut table = Table::new("All cases", columns.map(Column::new));
    let (mut names, mut shares) = (Vec::new(), Vec::new());
    for result in results(file) {
        let name = result["name"].as_str().unwrap_or_default();
        let share = result["fraction_of_roofline"].as_f64();
        if let Some(share) = share {
            names.push(name.to_owned());
            shares.push((100.0 * share).round());
        }
        let text = |v: &Value| v.as_str().unwrap_or("–").to_owned();
        let mark = if result["timer"] == "wall" { " *" } else { "" };
        let seconds = |key: &str| result[key].as_f64().unwrap_or(f64::NAN);
        let spread = 100.0 * (seconds("seconds_q3") - seconds("seconds_q1")) / seconds("seconds");
        let times = format!("{} ± {spread:.0}%{mark}", number(1e3 * seconds("seconds")));
        let cells = [
            text(&result["shape"]),
            if result["error"].is_string() { "failed".to_owned() } else { times },
            cell_text(&result["gb_s"]),
            cell_text(&result["gflop_s"]),
            result["items_per_s"]
                .as_f64()
                .map_or("–".to_owned(), |n| format!("{} {}", number(n), text(&result["items"]))),
            share.map_or("–".to_owned(), |s| format!("{:.0}%", 100.0 * s)),
        ];
        table = table.row(name, cells.map(Cell::Text))?;
    }
    let meaning = "What a case must move and compute at least, over what the device can do. Above 100%: data that stays in caches, \
                   which the copy's does not.";
    let quick = if file["quick"] == true { "A quick run: small data, noisy." } else { "" };
    let driver = file["device"]["driver"].as_str().unwrap_or_default();
    let version = file["version"].as_str().unwrap_or("?");
    let tool = file["tool"].as_str().unwrap_or("realign");
    let about = [format!("{tool} {version}"), driver.to_owned(), quick.to_owned()];
    let intro = about.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(". ");
    let mut section = Section::new(name(file), intro);
    for (i, chart) in charts(&names, &shares)?.into_iter().enumerate() {
        section = section.chart(chart, if i == 0 { meaning } else { "" });
    }
    let clock = "±: distance of the quartiles. *: by the host's clock, from submission to completion; others by the device's timestamps.";
    let notes = std::iter::once(clock).chain(results(file).into_iter().filter_map(|r| r["error"].as_str()));
    Ok(section.table(table, notes.collect::<Vec<_>>().join(" ")).table(machine(file)?, ""))
}

/// The cases' shares in one chart, or in two halves of one scale.
fn charts(names: &[String], shares: &[f64]) -> Result<Vec<Chart>> {
    let most = shares.iter().fold(100.0, |most: f64, share| most.max(*share));
    let half = if names.len() > ONE_CHART { names.len().div_ceil(2) } else { names.len().max(1) };
    let chart = |(i, (names, shares)): (usize, (&[String], &[f64]))| {
        let axis = Axis::linear("% of what memory or arithmetic allows").including(0.0).including(most);
        let bars = Bars::new(axis, names).group("", shares.iter().copied())?;
        Ok(Chart::new(if i == 0 { "Share of the roofline" } else { "Share of the roofline, continued" }, bars))
    };
    names.chunks(half).zip(shares.chunks(half)).enumerate().map(chart).collect()
}

/// What ran, and how its work was cut. Files of earlier versions do not have all of it.
fn machine(file: &Value) -> Result<Table> {
    let (device, host) = (&file["device"], &file["host"]);
    let text = |v: &Value| v.as_str().unwrap_or("–").to_owned();
    let amount = |v: &Value, unit: &str| v.as_f64().map(|x| format!("{} {unit}", number(x / 1e9)));
    let threads = host["threads"].as_u64().map_or_else(|| "–".to_owned(), |n| n.to_string());
    let mut rows = vec![
        ("versions".to_owned(), format!("realign {}, wgpu {}", text(&file["version"]), text(&file["wgpu"]))),
        ("host's CPU".to_owned(), format!("{}, {threads} threads", text(&host["cpu"]))),
        ("system".to_owned(), format!("{} on {}", text(&host["os"]), text(&host["arch"]))),
    ];
    if let (Some(flops), Some(bytes)) =
        (amount(&device["dispatch_flops"], "GFLOP"), amount(&device["dispatch_bytes"], "GB"))
    {
        rows.push(("a dispatch, at most".to_owned(), format!("{flops}, or {bytes} moved")));
    }
    let how = if device["tuned"] == true { "measured" } else { "not measured" };
    let tiles = device["tiles"].as_object().into_iter().flatten();
    rows.extend(tiles.map(|(class, tile)| (format!("tile of {class}"), format!("{} ({how})", text(tile)))));
    let table = Table::new("What ran", ["", ""].map(Column::new));
    rows.into_iter().try_fold(table, |table, (name, value)| table.row(name, [Cell::Text(value)]))
}

fn cell_text(v: &Value) -> String {
    v.as_f64().map_or_else(|| "–".to_owned(), number)
}
