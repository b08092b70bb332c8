//! The pages of `demo` and `experiment`. Every sentence is made from the numbers that it stands beside.

use anyhow::Result;
use realign::experiment::figures::monitor_section;
use realign::experiment::{Materials, Outcome, exam::ATTRIBUTE_NAMES};
use realign::inference::Accuracy;
use realign::report::{Axis, Bar, Bars, Cell, Chart, Column, Gallery, Page, Section, Table, Tile, number};
use serde_json::Value;

use crate::experiment::Geometry;
use crate::experiment_full::mean_and_deviation;

/// Held-out images in the gallery.
const TILES: usize = 12;

/// What a demo has to show.
pub struct Shown<'a> {
    pub materials: &'a Materials,
    pub outcomes: &'a [Outcome],
    pub geometry: &'a [Geometry],
    pub clouds: Chart,
    pub images: &'a [usize],
}

/// `demo`'s page.
pub fn demo(shown: Shown<'_>, inputs: &Value) -> Result<Page> {
    let materials = shown.materials;
    let mut page = Page::new(
        "Learning to see from text",
        "A dual encoder, ReAlign, and a small language model that is trained on text and asked about real images of digits.",
    );
    if let Some(last) = materials.records.last() {
        page = page.card("gap", number(last.gap), "between the means of images and captions");
    }
    if let Some(best) = best(shown.outcomes.iter().filter(|o| is_text(o))) {
        let note = format!("of attributes right, trained on text alone: {}", best.arm.name());
        page = page.card("captions", percent(best.captions.share()), note);
    }
    if let Some(paired) = shown.outcomes.iter().find(|o| o.arm.name() == "paired images") {
        page = page.card(
            "captions",
            percent(paired.captions.share()),
            "trained on paired images, what one would like to reach",
        );
    }
    let page =
        page.section(monitor_section(&materials.records)).section(geometry(shown.geometry, shown.clouds.clone())?);
    Ok(page.section(accuracy(&shown)?).section(gallery(&shown)).inputs(without_rows(inputs)))
}

fn without_rows(inputs: &Value) -> Value {
    let mut inputs = inputs.clone();
    if let Some(object) = inputs.as_object_mut() {
        object.remove("rows");
    }
    inputs
}

fn percent(share: f64) -> String {
    format!("{:.0}%", 100.0 * share)
}

fn is_text(outcome: &Outcome) -> bool {
    outcome.stage1_loss.is_some() && outcome.arm.name() != "paired images"
}

fn best<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Option<&'a Outcome> {
    outcomes.max_by(|a, b| a.captions.share().total_cmp(&b.captions.share()))
}

fn geometry(rows: &[Geometry], clouds: Chart) -> Result<Section> {
    let columns = ["aligner", "distance of the means", "trace"].map(Column::new);
    let mut table = Table::new("The texts' cloud after each aligner", columns);
    for row in rows {
        let cells = [Cell::from(row.gap), Cell::from(row.trace)];
        table = if row.name == "images" { table.reference("images", cells)? } else { table.row(&row.name, cells)? };
    }
    let of = |name: &str| rows.iter().find(|r| r.name == name);
    let meaning = match (of("no alignment"), of("realign"), of("images")) {
        (Some(none), Some(realign), Some(images)) => format!(
            "ReAlign brings the means from {} to {} of each other, and the spread from {} to {}; the images' is {}.",
            number(none.gap),
            number(realign.gap),
            number(none.trace),
            number(realign.trace),
            number(images.trace)
        ),
        _ => String::new(),
    };
    let seen =
        "A point is an image or a text. Along the gap: the direction from the mean of the images to that of the texts.";
    Ok(Section::new("Before and after alignment", "").chart(clouds, seen).table(table, meaning))
}

fn bar(accuracy: Accuracy) -> Bar {
    let (low, high) = accuracy.interval();
    Bar::with_error(accuracy.share(), (high - low) / 2.0)
}

fn accuracy(shown: &Shown<'_>) -> Result<Section> {
    let names = || shown.outcomes.iter().map(|o| o.arm.name());
    let captions = Bars::new(Axis::linear("attributes right").including(0.0), names())
        .group("captions after stage 1", shown.outcomes.iter().map(|o| bar(o.captions)))?;
    let mut answers = Bars::new(Axis::linear("answers right").including(0.0), names());
    for &n in shown.images {
        let bars = shown.outcomes.iter().filter_map(|o| o.answers(n)).map(bar);
        answers = answers.group(format!("stage 2 on {n} images"), bars)?;
    }
    let section = Section::new("What the model says of held-out images", order_text(shown.outcomes))
        .chart(Chart::new("Captions after stage 1 alone", captions), captions_text(shown.outcomes))
        .chart(Chart::new("Answers after stage 2", answers), answers_text(shown));
    let columns = ["stage 1 on", "captions", "caption NLL"].into_iter().map(str::to_owned);
    let columns = columns.chain(shown.images.iter().map(|n| format!("answers, {n} images"))).map(Column::new);
    let mut table = Table::new("All rows, with half the width of the 95% interval", columns);
    for outcome in shown.outcomes {
        let share = |a: realign::inference::Accuracy| {
            let (low, high) = a.interval();
            format!("{:.3} ± {:.3}", a.share(), (high - low) / 2.0)
        };
        let answers = shown.images.iter().map(|n| outcome.answers(*n).map_or("–".to_owned(), share));
        let cells = [share(outcome.captions), number(outcome.caption_nll)].into_iter().chain(answers);
        table = table.row(outcome.arm.name(), cells.map(|c| Cell::from(&c[..])).collect::<Vec<_>>())?;
    }
    Ok(section.table(table, "NLL: mean negative log-likelihood per token of the images' own captions, after stage 1."))
}

fn order_text(outcomes: &[Outcome]) -> String {
    let mut order: Vec<&Outcome> = outcomes.iter().collect();
    order.sort_by(|a, b| a.captions.share().total_cmp(&b.captions.share()));
    let list: Vec<String> = order.iter().map(|o| format!("{} {}", o.arm.name(), percent(o.captions.share()))).collect();
    format!("Attributes right in captions, from least to most: {}.", list.join(", "))
}

/// How the first compares with the second, beyond what the two intervals leave open.
fn verdict(a: Accuracy, b: Accuracy) -> &'static str {
    if a.interval().0 > b.interval().1 {
        "helps"
    } else if a.interval().1 < b.interval().0 {
        "harms"
    } else {
        "makes no clear difference (the intervals overlap)"
    }
}

fn captions_text(outcomes: &[Outcome]) -> String {
    let of = |name: &str| outcomes.iter().find(|o| o.arm.name() == name).map(|o| o.captions);
    let (Some(none), Some(realign), Some(paired)) = (of("no alignment"), of("realign"), of("paired images")) else {
        return String::new();
    };
    let mut text = format!(
        "Alignment {} here: {} with ReAlign, {} without alignment; paired images reach {}.",
        verdict(realign, none),
        percent(realign.share()),
        percent(none.share()),
        percent(paired.share())
    );
    let noisy = outcomes.iter().find(|o| o.arm.noise > 0.0 && o.arm.name().starts_with("realign"));
    if let Some(noisy) = noisy {
        text += &format!(
            " Noise on the adapter's input, on top of ReAlign, {}: {}.",
            verdict(noisy.captions, realign),
            percent(noisy.captions.share())
        );
    }
    text
}

fn answers_text(shown: &Shown<'_>) -> String {
    let Some(&few) = shown.images.first() else { return String::new() };
    let of = |name: &str| shown.outcomes.iter().find(|o| o.arm.name() == name).and_then(|o| o.answers(few));
    match (of("no stage 1"), of("realign")) {
        (Some(without), Some(with)) => format!(
            "With {few} real images, stage 1 on aligned text {}: {} against {} without stage 1.",
            verdict(with, without),
            percent(with.share()),
            percent(without.share())
        ),
        _ => String::new(),
    }
}

fn gallery(shown: &Shown<'_>) -> Section {
    let materials = shown.materials;
    let mut gallery = Gallery::new();
    let text = best(shown.outcomes.iter().filter(|o| is_text(o)));
    let Some(text) = text else { return Section::new("Held-out images", "") };
    let last = text.instructed.last();
    for (i, described) in text.described.iter().take(TILES).enumerate() {
        let right = described.right.iter().filter(|r| **r).count();
        let mut tile = Tile::new(materials.digits.images(&[described.image]), 8).line(
            format!("caption, {right} of {} right", described.right.len()),
            &described.caption,
            Some(right == described.right.len()),
        );
        // The questions about an image stand together, one per attribute.
        let per_image = ATTRIBUTE_NAMES.len();
        let judged = last.into_iter().flat_map(|l| l.evaluation.judged.iter().skip(i * per_image).take(per_image));
        let answers: Vec<_> = judged.collect();
        if !answers.is_empty() {
            let said: Vec<&str> = answers.iter().map(|j| j.answer.as_str()).collect();
            let right = answers.iter().filter(|j| j.correct).count();
            let label = format!("answers after stage 2, {right} of {per_image} right");
            tile = tile.line(label, said.join(", "), Some(right == per_image));
        }
        gallery = gallery.tile(tile);
    }
    let meaning = format!("Stage 1 on {}; ✓ where everything is right.", text.arm.name());
    Section::new("Held-out images", "").gallery(gallery, meaning)
}

/// `experiment`'s page.
pub fn experiment(value: &Value, images: &[usize]) -> Result<Page> {
    let rows = value["rows"].as_array().cloned().unwrap_or_default();
    let name = |row: &Value| row["name"].as_str().unwrap_or("").to_owned();
    let bar = |v: &Value| Bar::with_error(v["mean"].as_f64().unwrap_or(0.0), v["sd"].as_f64().unwrap_or(0.0));
    let captions = Bars::new(Axis::linear("attributes right").including(0.0), rows.iter().map(name))
        .group("captions", rows.iter().map(|row| bar(&row["captions"])))?;
    let columns = ["stage 1 on", "captions", "of thin digits", "of thick digits", "caption NLL"];
    let columns = columns.into_iter().map(str::to_owned);
    let columns = columns.chain(images.iter().map(|n| format!("answers, {n} images"))).map(Column::new);
    let mut table = Table::new("Mean ± standard deviation over the seeds", columns);
    for row in &rows {
        let own = ["captions", "captions_thin", "captions_thick", "caption_nll"].into_iter().map(|key| &row[key]);
        let cells = own.chain(images.iter().map(|n| &row["answers"][n.to_string()])).map(mean_and_deviation);
        table = table.row(name(row), cells.map(|c| Cell::from(&c[..])).collect::<Vec<_>>())?;
    }
    let mut order: Vec<(f64, String)> =
        rows.iter().map(|row| (row["captions"]["mean"].as_f64().unwrap_or(0.0), name(row))).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let list: Vec<String> = order.iter().map(|(mean, name)| format!("{name} {}", percent(*mean))).collect();
    let intro = format!("{} seeds on {}.", value["seeds"], value["device"].as_str().unwrap_or(""));
    let section = Section::new("Captions of held-out images after stage 1", "")
        .chart(Chart::new("Captions", captions), format!("From least to most: {}.", list.join(", ")))
        .table(table, "Answers: after stage 2 on so many real images. A dash: not run.");
    Ok(Page::new("The experiment", intro).section(section).section(expected(value)?))
}

/// The paper's claims, and what the seeds say to each.
fn expected(value: &Value) -> Result<Section> {
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
            _ => "open",
        };
        table = table.row(text("claim"), [Cell::from(&difference[..]), Cell::from(verdict)])?;
        if verdict != "came out" {
            open.push(text("sentence"));
        }
    }
    let rest = if open.is_empty() { "All of them came out.".to_owned() } else { open.join(" ") };
    Ok(Section::new("What one would expect from the paper", "").table(table, rest))
}
