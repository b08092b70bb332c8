//! The results of a study as tables in Markdown, beside those of the PyTorch prototype.

use serde_json::Value;

use super::plan::IMAGES;
use super::results::mean_and_deviation;

/// What the prototype measured (4 seeds, 700 held-out images, four attributes): captions, answers after stage 2 on 20 and on 200
/// images.
const PROTOTYPE: [(&str, [&str; 3]); 11] = [
    ("no stage 1", [".26 ± .14", ".755", ".895"]),
    ("no alignment", [".21 ± .25", ".808", ".924"]),
    ("mean shift (anchor alone)", [".58 ± .09", ".805", ".921"]),
    ("realign", [".52 ± .07", ".799", ".922"]),
    ("blockwise", [".79", ".81", ".918"]),
    ("c3, σ 0.02", [".71 ± .11", ".817", ".923"]),
    ("c3, σ 0.05", [".86 ± .02", ".844", ".929"]),
    ("paired images", [".93 ± .00", ".866", ".932"]),
    ("no alignment + noise 0.1", [".87 ± .04", "–", "–"]),
    ("mean shift (anchor alone) + noise 0.1", [".887 ± .006", "–", "–"]),
    ("realign + noise 0.1", [".893 ± .014", "–", "–"]),
];

/// All tables of a results file.
pub fn tables(value: &Value) -> String {
    let list = |key: &str| value[key].as_array().cloned().unwrap_or_default();
    let (rows, claims, preparations) = (list("rows"), list("expectations"), list("preparations"));
    let ranks = ranks(&value["rank_correlations"]);
    [results(&rows), ranks, shared(&preparations), verdicts(&claims), reasons(&claims)].join("\n")
}

pub(super) fn line<T: AsRef<str>>(cells: impl IntoIterator<Item = T>) -> String {
    let cells: Vec<String> = cells.into_iter().map(|c| c.as_ref().to_owned()).collect();
    format!("| {} |\n", cells.join(" | "))
}

pub(super) fn head(columns: &[String]) -> String {
    line(columns) + &line(columns.iter().map(|_| "---"))
}

pub(super) fn text<'a>(v: &'a Value, key: &str) -> &'a str {
    v[key].as_str().unwrap_or("")
}

fn results(rows: &[Value]) -> String {
    let sizes = IMAGES.map(|n| format!("{n} images"));
    let columns: Vec<String> =
        ["stage 1 on", "captions", "no images"].map(str::to_owned).into_iter().chain(sizes).collect();
    let prototype = ["prototype: captions", "20", "200"].map(str::to_owned);
    let row = |row: &Value| {
        let name = text(row, "name");
        let answers = [0].into_iter().chain(IMAGES).map(|n| mean_and_deviation(&row["answers"][n.to_string()]));
        let known = PROTOTYPE.iter().find(|(of, _)| *of == name).map_or(["–"; 3], |(_, numbers)| *numbers);
        let own = [name.to_owned(), mean_and_deviation(&row["captions"])].into_iter().chain(answers);
        line(own.chain(known.map(str::to_owned)))
    };
    let columns: Vec<String> = columns.into_iter().chain(prototype).collect();
    head(&columns) + &rows.iter().map(row).collect::<String>()
}

/// What the distances of the clouds say of the captions.
fn ranks(correlations: &Value) -> String {
    let of = |part: &str| mean_and_deviation(&correlations[part]);
    format!(
        "Rank correlation with the captions, over a seed's rows without noise, of the squared Fréchet distance from stage 1's inputs to the \
         held-out images: its part of the means {}, of the shapes {}.\n",
        of("frechet_mean"),
        of("frechet_covariance"),
    )
}

/// Domains and what a seed's rows share.
fn shared(preparations: &[Value]) -> String {
    let keys = ["gap", "trace_image", "trace_text", "retrieval", "language_model_loss"];
    let columns = [
        "encoder and language model",
        "seed",
        "gap",
        "trace, images",
        "trace, texts",
        "retrieval",
        "language model's loss",
    ];
    let row = |p: &Value| {
        let numbers = keys.map(|key| p[key].as_f64().map_or("–".to_owned(), |x| format!("{x:.3}")));
        line([text(p, "preparation").to_owned(), p["seed"].to_string()].into_iter().chain(numbers))
    };
    head(&columns.map(str::to_owned)) + &preparations.iter().map(row).collect::<String>()
}

pub(super) fn verdicts(claims: &[Value]) -> String {
    let row = |e: &Value| {
        let points = |key: &str| e[key].as_f64().map(|v| 100.0 * v);
        let interval = points("half_width").map_or_else(String::new, |h| format!(" ± {h:.1}"));
        let difference = points("difference").map_or_else(String::new, |d| format!("{d:+.1}{interval}"));
        let verdict = match e["verdict"].as_str() {
            Some("CameOut") => "came out",
            Some("Reversed") => "the other way round",
            Some(_) => "open",
            None => "none from one seed",
        };
        line([text(e, "claim"), &difference, verdict])
    };
    let columns = ["claim", "points, 95% interval over the seeds", "verdict"].map(str::to_owned);
    head(&columns) + &claims.iter().map(row).collect::<String>()
}

/// What did not come out, and what the results say of why.
pub(super) fn reasons(claims: &[Value]) -> String {
    let open = claims.iter().filter(|e| e["verdict"].is_string() && e["verdict"] != "CameOut");
    open.map(|e| format!("* {}\n", text(e, "sentence"))).collect()
}
