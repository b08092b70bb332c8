//! Charts and pages from ordinary and from hostile data: well-formed, finite, escaped, nothing on top of another.

use std::ops::Range;

use realign::Error;
use realign::report::{
    Axis, Bar, Bars, Best, Cell, Chart, Cloud, Column, HeatMap, Lines, Page, Scatter, Section, Series, Stacks, Style,
    Table,
};
use roxmltree::{Document, Node};

const HOSTILE: &str = "<b>&\"'\u{0}\u{1b}\u{ffff}\n]]></style><script>alert(1)</script> 文 \u{202e}";

fn parse(svg: &str) -> Document<'_> {
    Document::parse(svg).unwrap_or_else(|e| panic!("{e}\n{svg}"))
}

/// All numbers in an attribute that holds coordinates.
fn numbers(text: &str) -> impl Iterator<Item = f64> + '_ {
    let separator = |c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == 'e' && !text.starts_with("rotate"));
    text.split(separator).filter(|part| !part.is_empty()).map(|part| part.parse().unwrap_or(f64::NAN))
}

/// The sum of the translations above a node.
fn offset(node: Node) -> (f64, f64) {
    let moves = node.ancestors().skip(1).filter_map(|n| n.attribute("transform"));
    moves.fold((0.0, 0.0), |(x, y), transform| {
        let by: Vec<f64> = numbers(transform.strip_prefix("translate").unwrap()).collect();
        (x + by[0], y + by[1])
    })
}

/// Checks that a chart's document is well-formed and refers to nothing, and that everything has a finite place on it.
fn check(svg: &str) {
    let document = parse(svg);
    let root = document.root_element();
    assert_eq!(root.tag_name().namespace(), Some("http://www.w3.org/2000/svg"));
    let size: Vec<f64> = numbers(root.attribute("viewBox").unwrap()).collect();
    assert!(size.len() == 4 && size[2] >= 420.0 && size[3] > 0.0 && size[3] < 5000.0, "{size:?}");
    for node in document.descendants().filter(Node::is_element) {
        let name = node.tag_name().name();
        assert!(["svg", "g", "path", "rect", "line", "circle", "text"].contains(&name), "{name}");
        let (dx, dy) = offset(node);
        let across = size[0] - 1.0..size[0] + size[2] + 1.0;
        let upright = size[1] - 1.0..size[1] + size[3] + 1.0;
        for (attribute, shift, limits) in [
            ("x", dx, &across),
            ("x1", dx, &across),
            ("x2", dx, &across),
            ("cx", dx, &across),
            ("y", dy, &upright),
            ("y1", dy, &upright),
            ("y2", dy, &upright),
            ("cy", dy, &upright),
        ] {
            let value = node.attribute(attribute).map_or(limits.start - shift, |v| v.parse::<f64>().unwrap());
            assert!((limits.start..=limits.end).contains(&(value + shift)), "{name} {attribute} {value}\n{svg}");
        }
        for attribute in ["width", "height", "r", "stroke-width", "fill-opacity", "stroke-opacity", "font-size"] {
            let Some(value) = node.attribute(attribute).filter(|v| *v != "100%") else { continue };
            let value: f64 = value.parse().unwrap();
            assert!(value.is_finite() && value >= 0.0, "{name} {attribute} {value}");
        }
        if let Some(data) = node.attribute("d") {
            assert!(data.chars().all(|c| "MLZh0123456789.- ".contains(c)), "{data}");
            let mut count = 0;
            for value in numbers(data.trim_end_matches('Z')) {
                assert!((-1.0..2000.0).contains(&value), "{value} in {data}");
                count += 1;
            }
            assert!(count >= 2, "an empty path");
        }
    }
    assert_apart(&document);
}

/// The box of a text of average letters: narrower than what the charts reckon with, as fonts are.
fn text_box(node: Node) -> (Range<f64>, Range<f64>, String) {
    let text = node.text().unwrap_or_default().trim().to_string();
    let get = |name: &str| node.attribute(name).map_or(0.0, |v| v.parse::<f64>().unwrap());
    let (size, x, y) = (get("font-size"), get("x"), get("y"));
    let long = 0.5 * size * text.chars().count() as f64;
    let start = match node.attribute("text-anchor") {
        Some("middle") => -0.5 * long,
        Some("end") => -long,
        _ => 0.0,
    };
    let (dx, dy) = offset(node);
    let (along, across) = (start..start + long, -0.75 * size..0.2 * size);
    let turned = node.attribute("transform").is_some();
    let (h, v) = if turned { (across, -along.end..-along.start) } else { (along, across) };
    (x + dx + h.start..x + dx + h.end, y + dy + v.start..y + dy + v.end, text)
}

fn assert_apart(document: &Document) {
    let boxes: Vec<_> = document
        .descendants()
        .filter(|n| n.has_tag_name(("http://www.w3.org/2000/svg", "text")))
        .map(text_box)
        .collect();
    let meet = |a: &Range<f64>, b: &Range<f64>| a.start < b.end && b.start < a.end;
    for (i, a) in boxes.iter().enumerate() {
        for b in &boxes[..i] {
            assert!(!(meet(&a.0, &b.0) && meet(&a.1, &b.1)), "{a:?} upon {b:?}");
        }
    }
}

fn texts(svg: &str) -> Vec<String> {
    parse(svg).descendants().filter(Node::is_element).filter_map(|n| n.text().map(|t| t.trim().to_string())).collect()
}

fn count(svg: &str, tag: &str) -> usize {
    parse(svg).descendants().filter(|n| n.tag_name().name() == tag).count()
}

fn value_sets() -> Vec<Vec<f64>> {
    vec![
        vec![],
        vec![1.0],
        vec![0.0],
        vec![-2.5; 40],
        vec![f64::NAN],
        vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 5e-324, -0.0],
        vec![1e-300, 1e300, -1e300],
        vec![1.0, 1.0 + f64::EPSILON],
        vec![0.0, 1e-9, 1.0, 0.0, f64::NAN, 3.0, -4.0, 1e6],
        (0..60).map(|i| 1e5 + i as f64 * 1e-3).collect(),
        (0..5000).map(|i| (i as f64 * 0.01).sin() * 1e-5).collect(),
    ]
}

fn axes() -> [Axis; 4] {
    let long = "a label that is far longer than any chart is wide ".repeat(5);
    [
        Axis::linear("value (m)"),
        Axis::log("value (log)"),
        Axis::linear(HOSTILE).including(0.0).including(f64::NAN).including(f64::INFINITY),
        Axis::log(long).including(0.0).including(1e3),
    ]
}

/// Every kind of chart from those values.
fn charts(values: &[f64], x: &Axis, y: &Axis, name: &str) -> Vec<Chart> {
    let points: Vec<[f64; 2]> = values.iter().zip(values.iter().rev()).map(|(&a, &b)| [a, b]).collect();
    let styles = [Style::Line, Style::Faint, Style::Fit, Style::Area, Style::Dots];
    let mut lines = Lines::new(x.clone(), y.clone());
    for (i, style) in styles.into_iter().enumerate() {
        let series = if i % 2 == 0 { Series::ranked(name, values) } else { Series::new(name, points.clone()) };
        lines = lines.series(series.style(style).colour(i));
    }
    let scatter = Scatter::new(x.clone(), y.clone())
        .panel(name, vec![Cloud::new(name, points.clone()), Cloud::new("other", points)])
        .panel("", vec![Cloud::new("", vec![])]);
    let few = &values[..values.len().min(30)];
    let names = vec![name; few.len()];
    let with_errors = |error: f64| few.iter().map(move |&v| Bar::with_error(v, error * v));
    let bars = Bars::new(x.clone(), names.clone()).group(name, few.iter().copied()).unwrap();
    let bars = bars.group("b", with_errors(0.5)).unwrap().group("c", with_errors(f64::INFINITY)).unwrap();
    let stacks = Stacks::new(y.clone(), names.clone()).row(name, few).unwrap().row("", few).unwrap();
    let side = (few.len() as f64).sqrt() as usize;
    let heat = HeatMap::new(name, names[..side].to_vec(), names[..side].to_vec(), &few[..side * side]).unwrap();
    vec![
        Chart::new(name, lines),
        Chart::new("", scatter),
        Chart::new(name.repeat(20), bars),
        Chart::new(name, stacks),
        Chart::new(name, heat),
    ]
}

#[test]
fn no_data_breaks_a_chart() {
    for values in value_sets() {
        for x in axes() {
            for y in axes() {
                charts(&values, &x, &y, "name").iter().for_each(|chart| check(&chart.svg()));
            }
        }
    }
}

#[test]
fn no_text_breaks_a_chart_or_a_page() {
    let [_, _, x, y] = axes();
    let mut section = Section::new(HOSTILE, HOSTILE);
    for name in [HOSTILE, "", " ", &"long ".repeat(300), "無".repeat(200).as_str()] {
        for chart in charts(&[1.0, 2.0, -3.0, 0.0, 5.0], &x, &y, name) {
            check(&chart.svg());
            section = section.chart(chart, HOSTILE);
        }
    }
    let table = Table::new(HOSTILE, [Column::new(HOSTILE), Column::new(HOSTILE).best(Best::Lowest)]);
    let table = table.row(HOSTILE, [HOSTILE]).unwrap().row(HOSTILE, [f64::NAN]).unwrap();
    let inputs = serde_json::json!({ HOSTILE: HOSTILE });
    let page = Page::new(HOSTILE, HOSTILE).card(HOSTILE, HOSTILE, HOSTILE).section(section.table(table, HOSTILE));
    let html = page.inputs(inputs).html();
    assert!(!html.contains("<script") && !html.contains("alert(1)<"), "unescaped");
    // The charts say nothing else about a namespace, and this is the only address.
    assert_eq!(html.matches("http").count(), html.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
    assert!(!html.contains("url(") && !html.contains("@import") && !html.contains("src="));
    assert!(!html.contains('\0') && !html.contains('\u{1b}'));
    well_formed(&html);
}

/// All of the page but the tags that HTML leaves open is XML.
fn well_formed(html: &str) {
    let body = html.split_once("<body>").unwrap().1.split_once("</body>").unwrap().0;
    let body = format!("<body>{body}</body>");
    Document::parse(&body).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn what_cannot_be_drawn_is_said() {
    let points = vec![[1.0, 2.0], [2.0, f64::NAN], [3.0, 0.0], [f64::INFINITY, 1.0], [5.0, 4.0]];
    let notes = |x: Axis, y: Axis| {
        let chart = Chart::new("t", Lines::new(x, y).series(Series::new("s", points.clone())));
        texts(&chart.svg()).join(" ")
    };
    assert!(notes(Axis::linear("x"), Axis::linear("y")).contains("2 of 5 points are not drawn: not finite."));
    let text = notes(Axis::log("x"), Axis::log("y"));
    assert!(text.contains("3 of 5 points are not drawn: not finite, or not above 0 on a logarithmic axis."), "{text}");
    let good = Chart::new("t", Lines::new(Axis::log("x"), Axis::log("y")).series(Series::ranked("s", &[1.0, 2.0])));
    assert!(!good.svg().contains("not drawn"));

    let cloud = Cloud::new("big", (0..10_000).map(|i| [f64::from(i), 1.0]).collect());
    let chart = Chart::new("t", Scatter::new(Axis::linear("x"), Axis::linear("y")).panel("p", vec![cloud]));
    assert!(texts(&chart.svg()).join(" ").contains("big: 3000 of 10000 points are shown."));

    let page = Page::new("p", "").section(
        Section::new("s", "")
            .chart(Chart::new("t", Bars::new(Axis::log("x"), ["a", "b"]).group("g", [0.0, 1.0]).unwrap()), "meaning"),
    );
    assert!(page.html().contains("1 of 2 values are not drawn"));
}

#[test]
fn lines_break_where_values_are_missing() {
    let chart = |y: [f64; 5]| {
        Chart::new("t", Lines::new(Axis::linear("x"), Axis::linear("y")).series(Series::ranked("", &y))).svg()
    };
    let moves = |svg: &str| {
        let document = parse(svg);
        document.descendants().filter_map(|n| n.attribute("d")).map(|d| d.matches('M').count()).sum::<usize>()
    };
    assert_eq!(moves(&chart([1.0, 2.0, 3.0, 2.0, 1.0])), 1);
    assert_eq!(moves(&chart([1.0, 2.0, f64::NAN, 2.0, 1.0])), 2);
}

#[test]
fn places_follow_the_values() {
    let bars = Bars::new(Axis::linear("x").including(0.0).including(10.0), ["a", "b", "c"]);
    let svg = Chart::new("t", bars.group("", [10.0, 5.0, 2.5]).unwrap()).svg();
    let document = parse(&svg);
    let widths: Vec<f64> = document
        .descendants()
        .filter(|n| n.attribute("class") == Some("f-0"))
        .map(|n| n.attribute("width").unwrap().parse().unwrap())
        .collect();
    assert!((widths[0] / widths[1] - 2.0).abs() < 1e-3 && (widths[0] / widths[2] - 4.0).abs() < 1e-3, "{widths:?}");

    // A power law is straight on two logarithmic axes.
    let values: Vec<f64> = (1..=100).map(|i| f64::from(i).powf(-1.5)).collect();
    let svg = Chart::new("t", Lines::new(Axis::log("x"), Axis::log("y")).series(Series::ranked("", &values))).svg();
    let document = parse(&svg);
    let path = document.descendants().find_map(|n| n.attribute("d")).unwrap();
    let at: Vec<f64> = numbers(path).collect();
    let slope = |i: usize, j: usize| (at[2 * j + 1] - at[2 * i + 1]) / (at[2 * j] - at[2 * i]);
    assert!(at.len() == 200 && (slope(0, 9) - slope(9, 99)).abs() < 1e-3, "{} {}", slope(0, 9), slope(9, 99));
}

#[test]
fn scatter_units_are_equal_and_panels_share_axes() {
    let square = vec![[0.0, 0.0], [4.0, 0.0], [4.0, 1.0], [0.0, 1.0]];
    let scatter = Scatter::new(Axis::linear("x"), Axis::linear("y"))
        .panel("one", vec![Cloud::new("", square.clone())])
        .panel("two", vec![Cloud::new("", square[..2].to_vec())]);
    let svg = Chart::new("t", scatter).svg();
    let document = parse(&svg);
    let data = document.descendants().filter_map(|n| n.attribute("d")).collect::<Vec<_>>();
    let dots: Vec<Vec<f64>> = data.iter().map(|d| numbers(d.trim_end_matches("h0")).take(2).collect()).collect();
    assert_eq!(dots.len(), 6);
    let across = dots[1][0] - dots[0][0];
    let upwards = dots[1][1] - dots[2][1];
    // The width left of the vertical labels differs by a few units from the one reckoned with.
    assert!((across / upwards / 4.0 - 1.0).abs() < 0.1, "{across} {upwards}");
    assert_eq!(dots[4], dots[0]);
}

#[test]
fn wrong_counts_are_errors() {
    let bars = Bars::new(Axis::linear("x"), ["a", "b"]).group("g", [1.0]);
    assert!(matches!(&bars, Err(Error::Shape { .. })), "{bars:?}");
    assert_eq!(bars.unwrap_err().to_string(), "chart of bars: g has 1, expected 2 bars");
    assert!(matches!(Stacks::new(Axis::linear("x"), ["a", "b"]).row("r", [1.0; 3]), Err(Error::Shape { .. })));
    assert!(matches!(HeatMap::new("h", ["a"], ["b", "c"], [1.0; 3]), Err(Error::Shape { .. })));
    assert!(matches!(Table::new("t", [Column::new("a")]).row("r", [1.0]), Err(Error::Shape { .. })));
    assert!(Table::new("t", []).row("r", [0.0; 0]).is_ok());
}

/// The cells that are marked as the best of a table with that one column.
fn best_of(best: Best, cells: &[Cell]) -> Vec<usize> {
    let table = Table::new("", [Column::new("name"), Column::new("value").best(best)]);
    let table = table.reference("target", [0.5]).unwrap();
    let table = cells.iter().fold(table, |table, cell| table.row("row", [cell.clone()]).unwrap());
    let html = Page::new("p", "").section(Section::new("s", "").table(table, "")).html();
    let rows = html.split("<tr").skip(3);
    rows.enumerate().filter(|(_, row)| row.contains("class=\"best\"")).map(|(i, _)| i).collect()
}

#[test]
fn the_best_values_are_marked() {
    let cells =
        [0.4.into(), Cell::Missing, Cell::Spread(0.1, 0.02), f64::NAN.into(), 0.9.into(), 0.1.into(), "0".into()];
    assert_eq!(best_of(Best::Lowest, &cells), [2, 5]);
    assert_eq!(best_of(Best::Highest, &cells), [4]);
    assert_eq!(best_of(Best::Nearest(0.5), &cells), [0]);
    assert_eq!(best_of(Best::Nearest(f64::NAN), &cells), [0; 0]);
    assert_eq!(best_of(Best::Unmarked, &cells), [0; 0]);
    assert_eq!(best_of(Best::Lowest, &[f64::NAN.into(), Cell::Missing]), [0; 0]);
}

#[test]
fn pages_and_charts_are_written_whole_and_under_their_own_names() {
    let chart = || Chart::new("Gap: by method", HeatMap::new("h", ["a"], ["b"], [1.0]).unwrap());
    let section = Section::new("s", "")
        .chart(chart(), "one")
        .chart(chart(), "two")
        .chart(Chart::new("無", Lines::new(Axis::linear(""), Axis::linear(""))), "");
    let page = Page::new("p", "i").section(section);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.html");
    page.write(&path, false).unwrap();
    assert!(matches!(page.write(&path, false), Err(Error::OutputExists(_))));
    page.write(&path, true).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), page.html());
    let charts = folder.path().join("charts");
    page.write_svgs(&charts, false).unwrap();
    assert!(matches!(page.write_svgs(&charts, false), Err(Error::OutputExists(_))));
    let mut names: Vec<_> =
        std::fs::read_dir(&charts).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["chart.svg", "gap-by-method-2.svg", "gap-by-method.svg"]);
    assert_eq!(count(&std::fs::read_to_string(charts.join("chart.svg")).unwrap(), "svg"), 1);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

/// The checks above can fail.
#[test]
fn the_checks_see_what_is_wrong() {
    let svg = |inner: &str| format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 500 400\">{inner}</svg>");
    let text = |x: i32, word: &str| format!("<text x=\"{x}\" y=\"50\" font-size=\"12\">{word}</text>");
    check(&svg(&(text(10, "one") + &text(60, "two"))));
    let bad = [
        text(10, "one") + &text(20, "two"),
        text(-9, "left"),
        "<path d=\"M1 2L3 NaN\"/>".to_string(),
        "<circle cx=\"inf\" cy=\"2\" r=\"1\"/>".to_string(),
        "<rect x=\"1\" y=\"2\" width=\"-3\" height=\"1\"/>".to_string(),
        "<image/>".to_string(),
        "<text>".to_string(),
    ];
    for inner in bad {
        let svg = svg(&inner);
        assert!(std::panic::catch_unwind(|| check(&svg)).is_err(), "passed: {inner}");
    }
}
