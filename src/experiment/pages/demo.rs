//! The demo's page. Every sentence is made from the numbers that it stands beside.

use serde_json::Value;

use super::gallery;
use crate::Result;
use crate::experiment::demo::{AlignedCloud, Demo};
use crate::experiment::figures::monitor_section;
use crate::experiment::{Clustered, Outcome, Source};
use crate::report::{Axis, Bar, Bars, Cell, Chart, Column, Page, Section, Table, number};

/// The page of a demo, with a chart of its clouds.
pub fn page(shown: &Demo, clouds: Chart, inputs: &Value) -> Result<Page> {
    let materials = &shown.materials;
    let mut page = Page::new(
        "Learning to see from text",
        "A dual encoder, ReAlign, and a small language model that is trained on text and asked about real images of digits.",
    );
    if let Some(last) = materials.records.last() {
        page = page.card("gap", number(last.gap), "between the means of images and captions");
    }
    if let Some(best) = best(shown.outcomes.iter().filter(|o| o.arm.is_text())) {
        let note = format!("of attributes right, trained on text alone: {}", best.arm.name());
        page = page.card("captions", percent(best.captions.share()), note);
    }
    if let Some(paired) = shown.outcomes.iter().find(|o| o.arm.source == Source::Paired) {
        page = page.card(
            "captions",
            percent(paired.captions.share()),
            "trained on paired images, what one would like to reach",
        );
    }
    let page = page.section(monitor_section(&materials.records)).section(geometry(&shown.clouds, clouds)?);
    Ok(page.section(accuracy(shown)?).section(said(shown)).inputs(without_rows(inputs)))
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

fn best<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Option<&'a Outcome> {
    outcomes.max_by(|a, b| a.captions.share().total_cmp(&b.captions.share()))
}

fn geometry(rows: &[AlignedCloud], clouds: Chart) -> Result<Section> {
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

fn bar(accuracy: Clustered) -> Bar {
    Bar::with_error(accuracy.share(), accuracy.half_width())
}

fn accuracy(shown: &Demo) -> Result<Section> {
    let names = || shown.outcomes.iter().map(|o| o.arm.name());
    let captions = Bars::new(Axis::linear("attributes right").including(0.0), names())
        .group("captions after stage 1", shown.outcomes.iter().map(|o| bar(o.captions)))?;
    let mut answers = Bars::new(Axis::linear("answers right").including(0.0), names());
    for &n in shown.images {
        let bars = shown.outcomes.iter().filter_map(|o| o.answers(n)).map(bar);
        answers = answers.group(format!("stage 2 on {n} images"), bars)?;
    }
    let section = Section::new("What the model says of held-out images", order_text(&shown.outcomes))
        .chart(Chart::new("Captions after stage 1 alone", captions), captions_text(&shown.outcomes))
        .chart(Chart::new("Answers after stage 2", answers), answers_text(shown));
    let columns = ["stage 1 on", "captions", "caption NLL", "answers, no images"].into_iter().map(str::to_owned);
    let columns = columns.chain(shown.images.iter().map(|n| format!("answers, {n} images"))).map(Column::new);
    let mut table = Table::new("All rows, with half the width of the 95% interval", columns);
    for outcome in &shown.outcomes {
        let share = |a: Clustered| format!("{:.3} ± {:.3}", a.share(), a.half_width());
        let sizes = [0].into_iter().chain(shown.images.iter().copied());
        let answers = sizes.map(|n| outcome.answers(n).map_or("–".to_owned(), share));
        let cells = [share(outcome.captions), number(outcome.caption_nll)].into_iter().chain(answers);
        table = table.row(outcome.arm.name(), cells.map(|c| Cell::from(&c[..])).collect::<Vec<_>>())?;
    }
    let meaning = "NLL: mean negative log-likelihood per token of the images' own captions, after stage 1. Answers without images: \
                   after stage 1, before stage 2. Answers about one image go together, and the intervals allow for it.";
    Ok(section.table(table, meaning))
}

fn order_text(outcomes: &[Outcome]) -> String {
    let mut order: Vec<&Outcome> = outcomes.iter().collect();
    order.sort_by(|a, b| a.captions.share().total_cmp(&b.captions.share()));
    let list: Vec<String> = order.iter().map(|o| format!("{} {}", o.arm.name(), percent(o.captions.share()))).collect();
    format!("Attributes right in captions, from least to most: {}.", list.join(", "))
}

/// How the first compares with the second, beyond what the two intervals leave open.
fn verdict(a: Clustered, b: Clustered) -> &'static str {
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

fn answers_text(shown: &Demo) -> String {
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

fn said(shown: &Demo) -> Section {
    match best(shown.outcomes.iter().filter(|o| o.arm.is_text())) {
        Some(text) => gallery::section(&shown.materials, text),
        None => Section::new("Held-out images", ""),
    }
}
