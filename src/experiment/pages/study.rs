//! A study's page. Every sentence is made from the numbers that it stands beside.

use serde_json::Value;

use crate::Result;
use crate::experiment::plan::{IMAGES, NOISE};
use crate::experiment::results::mean_and_deviation;
use crate::report::{Axis, Bar, Bars, Cell, Chart, Column, Page, Section, Table};

/// The page of a study's results file.
///
/// # Errors
/// None for a results file; rows of another form may not make a chart.
pub fn page(value: &Value) -> Result<Page> {
    let rows = value["rows"].as_array().cloned().unwrap_or_default();
    let intro = format!("{} on {}.", seeds(value), value["device"].as_str().unwrap_or(""));
    let section = Section::new("Captions of held-out images after stage 1", "")
        .chart(Chart::new("Captions, without and with noise on the adapter's input", captions(&rows)?), order(&rows))
        .table(
            table(&rows)?,
            "Answers: after stage 2 on so many real images; without images, before it. A dash: not run.",
        );
    Ok(Page::new("The experiment", intro).section(section).section(expected(value)?).section(preparations(value)?))
}

pub fn seeds(value: &Value) -> String {
    match value["seeds"].as_u64() {
        Some(1) => "1 seed".to_owned(),
        seeds => format!("{} seeds", seeds.unwrap_or(0)),
    }
}

fn name(row: &Value) -> &str {
    row["name"].as_str().unwrap_or("")
}

/// A row's name without its noise.
fn source(row: &Value) -> &str {
    name(row).split(" + noise").next().unwrap_or("")
}

/// Captions by aligner, without and with noise side by side; rows of which there is only one, where others have both, are left to
/// the table.
fn captions(rows: &[Value]) -> Result<Bars> {
    let noisy = |row: &Value| row["noise"].as_f64().is_some_and(|noise| noise > 0.0);
    let with_noise = |name: &str| rows.iter().find(|row| noisy(row) && source(row) == name);
    let any = rows.iter().any(noisy);
    let shown: Vec<&Value> = rows.iter().filter(|r| !noisy(r) && (!any || with_noise(source(r)).is_some())).collect();
    let bar = |row: &Value| match (row["captions"]["mean"].as_f64(), row["captions"]["sd"].as_f64()) {
        (Some(mean), Some(sd)) => Bar::with_error(mean, sd),
        (mean, _) => Bar::from(mean.unwrap_or(f64::NAN)),
    };
    let bars = Bars::new(Axis::linear("attributes right").including(0.0), shown.iter().map(|row| source(row)));
    let bars = bars.group("without noise", shown.iter().map(|row| bar(row)))?;
    if !any {
        return Ok(bars);
    }
    let noise = shown.iter().map(|row| with_noise(source(row)).map_or(Bar::from(f64::NAN), bar));
    bars.group(format!("noise {NOISE}"), noise)
}

fn order(rows: &[Value]) -> String {
    let mut order: Vec<(f64, &str)> =
        rows.iter().filter_map(|row| Some((row["captions"]["mean"].as_f64()?, name(row)))).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let list: Vec<String> = order.iter().map(|(mean, name)| format!("{name} {:.0}%", 100.0 * mean)).collect();
    format!("From least to most: {}.", list.join("; "))
}

fn table(rows: &[Value]) -> Result<Table> {
    let columns = ["stage 1 on", "captions", "of thin digits", "of thick digits", "caption NLL", "answers, no images"];
    let columns = columns.into_iter().map(str::to_owned);
    let columns = columns.chain(IMAGES.iter().map(|n| format!("answers, {n} images"))).map(Column::new);
    let mut table = Table::new("Mean ± standard deviation over the seeds", columns);
    for row in rows {
        let own = ["captions", "captions_thin", "captions_thick", "caption_nll"].into_iter().map(|key| &row[key]);
        let sizes = [0].into_iter().chain(IMAGES).map(|n| &row["answers"][n.to_string()]);
        let cells = own.chain(sizes).map(mean_and_deviation);
        table = table.row(name(row), cells.map(|c| Cell::from(&c[..])).collect::<Vec<_>>())?;
    }
    Ok(table)
}

/// What the rows of a preparation share.
fn preparations(value: &Value) -> Result<Section> {
    let columns =
        ["encoder and language model", "gap", "trace, images", "trace, texts", "retrieval", "language model's loss"];
    let mut table = Table::new("By seed", columns.map(Column::new));
    for p in value["preparations"].as_array().into_iter().flatten() {
        let keys = ["gap", "trace_image", "trace_text", "retrieval", "language_model_loss"];
        let cells = keys.map(|key| Cell::from(p[key].as_f64().unwrap_or(f64::NAN)));
        table = table.row(format!("{}, seed {}", p["preparation"].as_str().unwrap_or(""), p["seed"]), cells)?;
    }
    let meaning = "Gap and traces: of the monitor's held-out pairs at the end. Retrieval: held-out images whose own caption is the \
                   nearest of all; captions of the same attributes compete.";
    Ok(Section::new("What the rows share", "").table(table, meaning))
}

/// The paper's claims, and what the seeds say to each.
pub fn expected(value: &Value) -> Result<Section> {
    let columns = ["claim", "difference", "verdict"].map(Column::new);
    let mut table = Table::new("Difference of the two rows over paired seeds, with its 95% interval", columns);
    let mut open = Vec::new();
    for e in value["expectations"].as_array().into_iter().flatten() {
        let text = |key: &str| e[key].as_str().unwrap_or("").to_owned();
        let points = |key: &str| e[key].as_f64().map(|v| 100.0 * v);
        let interval = points("half_width").map_or_else(String::new, |h| format!(" ± {h:.1}"));
        let difference = format!("{:+.1}{interval} points", points("difference").unwrap_or(f64::NAN));
        let verdict = match e["verdict"].as_str() {
            Some("CameOut") => "came out",
            Some("Reversed") => "the other way round",
            Some(_) => "open",
            None => "none from one seed",
        };
        table = table.row(text("claim"), [Cell::from(&difference[..]), Cell::from(verdict)])?;
        if matches!(verdict, "open" | "the other way round") {
            open.push(text("sentence"));
        }
    }
    let seeds = value["seeds"].as_u64().unwrap_or(0);
    let rest = match (seeds, open.is_empty()) {
        (0 | 1, _) => "One seed gives no verdicts.".to_owned(),
        (_, true) => "All of them came out.".to_owned(),
        (_, false) => open.join(" "),
    };
    Ok(Section::new("What one would expect from the paper", "").table(table, rest))
}
