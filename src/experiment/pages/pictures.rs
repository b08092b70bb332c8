//! The page of a study of pictures. Every sentence is made from the numbers that it stands beside.

use serde_json::Value;

use super::study::{expected, seeds};
use crate::Result;
use crate::experiment::pictures::{columns, stage2_note};
use crate::experiment::results::mean_and_deviation;
use crate::report::{Axis, Bar, Bars, Cell, Chart, Column, Page, Section, Table};

/// The page of the results file of a study of pictures.
///
/// # Errors
/// None for a results file; rows of another form may not make a chart.
pub fn page(value: &Value) -> Result<Page> {
    let rows = value["rows"].as_array().cloned().unwrap_or_default();
    let asks = value["asks"] == true;
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let intro = format!(
        "{} on {}, with the language model {}. Images by a tower {}, texts by a tower {}.",
        seeds(value),
        text(&value["device"]),
        text(&value["model"]),
        text(&value["encoders"]["images"]),
        text(&value["encoders"]["texts"])
    );
    let mut section = Section::new("What the model says of held-out pictures", order(&rows))
        .chart(Chart::new("Words right in captions after stage 1", bars(&rows, "words right (F1)", "caption_f1")?), "");
    if asks {
        let chart = Chart::new("Answers after stage 2", bars(&rows, "answers right", "answers_after")?);
        section = section.chart(chart, "");
    }
    let section = section.table(table(&rows, asks)?, stage2_note(asks));
    Ok(Page::new("The experiment on pictures", intro)
        .section(section)
        .section(expected(value)?)
        .section(preparations(value)?)
        .section(said(value)?))
}

fn name(row: &Value) -> &str {
    row["name"].as_str().unwrap_or("")
}

fn bars(rows: &[Value], axis: &str, key: &str) -> Result<Bars> {
    let bar = |row: &Value| match (row[key]["mean"].as_f64(), row[key]["sd"].as_f64()) {
        (Some(mean), Some(sd)) => Bar::with_error(mean, sd),
        (mean, _) => Bar::from(mean.unwrap_or(f64::NAN)),
    };
    Bars::new(Axis::linear(axis).including(0.0), rows.iter().map(name)).group("", rows.iter().map(bar))
}

fn order(rows: &[Value]) -> String {
    let mut order: Vec<(f64, &str)> =
        rows.iter().filter_map(|row| Some((row["caption_f1"]["mean"].as_f64()?, name(row)))).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let list: Vec<String> = order.iter().map(|(mean, name)| format!("{name} {mean:.3}")).collect();
    format!("Words right in captions, from least to most: {}.", list.join("; "))
}

fn table(rows: &[Value], asks: bool) -> Result<Table> {
    let columns = columns(asks);
    let names = ["stage 1 on"].into_iter().chain(columns.iter().map(|c| c.0)).map(Column::new);
    let mut table = Table::new("Mean ± standard deviation over the seeds", names);
    for row in rows {
        let cells = columns.iter().map(|(_, key)| mean_and_deviation(&row[*key]));
        table = table.row(name(row), cells.map(|c| Cell::from(&c[..])).collect::<Vec<_>>())?;
    }
    Ok(table)
}

/// What the rows of a seed share.
fn preparations(value: &Value) -> Result<Section> {
    let columns =
        ["seed", "gap", "gap, held out", "trace, images", "trace, texts", "retrieval", "commonest caption's F1"];
    let mut table = Table::new("By seed", columns.map(Column::new));
    for p in value["preparations"].as_array().into_iter().flatten() {
        let keys = ["gap", "gap_held_out", "trace_image", "trace_text", "retrieval"];
        let numbers = keys.map(|key| &p[key]).into_iter().chain([&p["commonest_caption"]["f1"]]);
        let cells = numbers.map(|x| Cell::from(x.as_f64().unwrap_or(f64::NAN)));
        table = table.row(format!("seed {}", p["seed"]), cells)?;
    }
    let meaning = "Gap: between the means of the texts of stage 1 and of the pictures that statistics come from, or of the held-out ones. \
                   Retrieval: held-out pictures whose own caption is the nearest of all. Commonest caption: what one reaches who says the \
                   commonest caption of stage 1 of every picture.";
    Ok(Section::new("What the rows share", "").table(table, meaning))
}

/// Captions of the first seed.
fn said(value: &Value) -> Result<Section> {
    let runs = value["runs"].as_array().cloned().unwrap_or_default();
    let section = Section::new("Captions of the first held-out pictures, of the first seed", "");
    let Some(first) = runs.first() else { return Ok(section) };
    let of = |run: &Value, key: &str| -> Vec<String> {
        let list = run["said"].as_array().into_iter().flatten();
        list.take(4).map(|s| s[key].as_str().unwrap_or("").to_owned()).collect()
    };
    let columns = ["stage 1 on".to_owned()].into_iter().chain(of(first, "own")).map(Column::new);
    let mut table = Table::new("The heads are the pictures' own captions", columns);
    for run in runs.iter().filter(|run| run["seed"] == first["seed"]) {
        table = table.row(name(run), of(run, "caption").iter().map(|c| Cell::from(&c[..])).collect::<Vec<_>>())?;
    }
    Ok(section.table(table, ""))
}
