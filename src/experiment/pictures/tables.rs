//! The results of a study of pictures as tables in Markdown.

use serde_json::Value;

use crate::experiment::markdown::{head, line, reasons, text, verdicts};
use crate::experiment::results::mean_and_deviation;

/// All tables of a results file.
pub fn pictures_tables(value: &Value) -> String {
    let list = |key: &str| value[key].as_array().cloned().unwrap_or_default();
    let (rows, claims, preparations) = (list("rows"), list("expectations"), list("preparations"));
    let asks = value["asks"] == true;
    let note = format!("{}\n", stage2_note(asks));
    let parts = [
        results(&rows, asks),
        note,
        shared(&preparations, asks),
        verdicts(&claims),
        reasons(&claims),
        said(&list("runs")),
    ];
    parts.into_iter().filter(|part| !part.trim().is_empty()).collect::<Vec<_>>().join("\n")
}

/// What is to be known about the columns of answers.
pub fn stage2_note(asks: bool) -> &'static str {
    match asks {
        true => {
            "Answers: the share that is right, letter case and a final full stop aside, after stage 1 alone and after stage 2 on the \
             conversations about the pictures that are dealt to it."
        }
        false => {
            "Stage 2 was left out, and no questions were asked: the folder has no questions.jsonl with conversations."
        }
    }
}

/// The columns of a table of rows, each with its key in the results file.
pub fn columns(asks: bool) -> Vec<(&'static str, &'static str)> {
    let mut columns = vec![
        ("captions right", "captions"),
        ("words right (F1)", "caption_f1"),
        ("caption NLL", "caption_nll"),
        ("gap, aligned", "gap_held_out"),
        ("trace, aligned", "trace"),
    ];
    if asks {
        columns.extend([("answers before stage 2", "answers_before"), ("answers after it", "answers_after")]);
    }
    columns
}

fn results(rows: &[Value], asks: bool) -> String {
    let columns = columns(asks);
    let row = |row: &Value| {
        let cells = columns.iter().map(|(_, key)| mean_and_deviation(&row[*key]));
        line([text(row, "name").to_owned()].into_iter().chain(cells))
    };
    let names: Vec<String> = ["stage 1 on"].into_iter().chain(columns.iter().map(|c| c.0)).map(str::to_owned).collect();
    head(&names) + &rows.iter().map(row).collect::<String>()
}

/// What a seed's rows share.
fn shared(preparations: &[Value], asks: bool) -> String {
    let mut columns = vec![
        "seed",
        "gap",
        "gap, held out",
        "trace, images",
        "trace, texts",
        "retrieval",
        "commonest caption, right",
        "its F1",
    ];
    if asks {
        columns.push("commonest answer, right");
    }
    let number = |value: &Value| value.as_f64().map_or("–".to_owned(), |x| format!("{x:.3}"));
    let row = |p: &Value| {
        let keys = ["gap", "gap_held_out", "trace_image", "trace_text", "retrieval"];
        let mut cells = vec![p["seed"].to_string()];
        cells.extend(keys.map(|key| number(&p[key])));
        cells.extend(["accuracy", "f1"].map(|key| number(&p["commonest_caption"][key])));
        if asks {
            cells.push(number(&p["commonest_answer"]["accuracy"]));
        }
        line(cells)
    };
    let columns: Vec<String> = columns.into_iter().map(str::to_owned).collect();
    head(&columns) + &preparations.iter().map(row).collect::<String>()
}

/// Some captions of the first seed, row by row.
fn said(runs: &[Value]) -> String {
    const PICTURES: usize = 4;
    let Some(seed) = runs.first().map(|run| run["seed"].clone()) else { return String::new() };
    let of = |run: &Value| run["said"].as_array().cloned().unwrap_or_default().into_iter().take(PICTURES);
    let quoted = |value: &Value, key: &str| text(value, key).replace('|', "/");
    let columns = ["stage 1 on".to_owned()].into_iter().chain(of(&runs[0]).map(|s| quoted(&s, "own")));
    let rows = runs.iter().filter(|run| run["seed"] == seed);
    let row =
        |run: &Value| line([text(run, "name").to_owned()].into_iter().chain(of(run).map(|s| quoted(&s, "caption"))));
    head(&columns.collect::<Vec<_>>()) + &rows.map(row).collect::<String>()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn without_questions_the_table_says_so() {
        let spread = json!({"mean": 0.25, "sd": 0.05, "seeds": 2});
        let said = json!([{"picture": "a.png", "caption": "a cat | dog", "own": "a cat"}]);
        let value = json!({
            "asks": false, "rows": [{"name": "realign", "captions": spread, "caption_f1": spread}],
            "preparations": [{"seed": 0, "gap": 0.5, "commonest_caption": {"accuracy": 0.1, "f1": 0.2}}],
            "runs": [{"name": "realign", "seed": 0, "said": said}],
        });
        let text = pictures_tables(&value);
        assert!(text.contains("| realign | 0.250 ± 0.050 | 0.250 ± 0.050 | – | – | – |"), "{text}");
        assert!(text.contains("Stage 2 was left out") && !text.contains("answers after"), "{text}");
        assert!(text.contains("| 0 | 0.500 | – | – | – | – | 0.100 | 0.200 |"), "{text}");
        assert!(text.contains("| realign | a cat / dog |"), "{text}");
        let mut asked = value;
        asked["asks"] = json!(true);
        assert!(pictures_tables(&asked).contains("answers after it"));
    }
}
