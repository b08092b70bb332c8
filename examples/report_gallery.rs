//! Every chart on one page, from made-up data. Run with
//! `cargo run --release --example report_gallery -- gallery.html [folder for the SVG files]`.

use realign::report::{
    Axis, Bar, Bars, Best, Cell, Chart, Cloud, Column, HeatMap, Lines, Page, Scatter, Section, Series, Stacks, Style,
    Table, number,
};

const IMAGE: usize = 0;
const TEXT: usize = 1;
const ALIGNED: usize = 2;
const METHODS: [&str; 7] =
    ["none", "anchor", "anchor + trace", "mean shift", "C3, σ = 0.01", "blockwise covariance", "ReAlign"];

/// A seeded source of numbers for the clouds; the gallery needs no more than that they look random.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

fn spectra() -> realign::Result<Chart> {
    let mut noise = Noise(1);
    let mut spectrum = |scale: f64, alpha: f64| -> Vec<f64> {
        let knee = |i: f64| scale * (i + 3.0).powf(-alpha) * (-(i / 900.0).powi(4)).exp();
        (1..=1280).map(|i| knee(f64::from(i)) * (0.04 * noise.normal()).exp()).collect()
    };
    let (image, text) = (spectrum(0.4, 1.80), spectrum(0.1, 1.33));
    let fit = |scale: f64, alpha: f64| [10.0f64, 500.0].map(|i| [i, scale * (i + 3.0).powf(-alpha)]).to_vec();
    let lines = Lines::new(Axis::log("direction, by variance"), Axis::log("variance"))
        .series(Series::ranked("image", &image).colour(IMAGE))
        .series(Series::ranked("text", &text).colour(TEXT))
        .series(Series::new("fit, α = 1.80", fit(0.4, 1.80)).style(Style::Fit))
        .series(Series::new("fit, α = 1.33", fit(0.1, 1.33)).style(Style::Fit));
    Ok(Chart::new("Variance per direction", lines))
}

fn densities() -> Chart {
    let bell = |mean: f64, sd: f64| -> Vec<[f64; 2]> {
        let at = |i: i32| -0.2 + f64::from(i) * 0.005;
        let density = |x: f64| (-0.5 * ((x - mean) / sd).powi(2)).exp() / (sd * std::f64::consts::TAU.sqrt());
        (0..=240).map(|i| [at(i), density(at(i))]).collect()
    };
    let lines = Lines::new(Axis::linear("cosine of a pair"), Axis::linear("density"))
        .series(Series::new("image – image", bell(0.52, 0.09)).style(Style::Area).colour(IMAGE))
        .series(Series::new("text – text", bell(0.43, 0.11)).style(Style::Area).colour(TEXT))
        .series(Series::new("image – text", bell(0.13, 0.06)).style(Style::Area).colour(3))
        .series(Series::new("image – aligned text", bell(0.5, 0.095)).style(Style::Area).colour(ALIGNED));
    Chart::new("Cosines within and between the clouds", lines)
}

fn clouds() -> Chart {
    let mut noise = Noise(2);
    let mut cloud = |x: f64, y: f64, sx: f64, sy: f64| -> Vec<[f64; 2]> {
        (0..2000)
            .map(|_| {
                let (a, b) = (noise.normal(), noise.normal());
                [x + sx * a + 0.3 * sy * b, y + sy * b]
            })
            .collect()
    };
    let image = cloud(-0.3, 0.02, 0.11, 0.15);
    let (text, aligned) = (cloud(0.34, -0.03, 0.08, 0.12), cloud(-0.29, 0.02, 0.1, 0.16));
    let image_cloud = || Cloud::new("image", image.clone()).colour(IMAGE);
    let scatter = Scatter::new(Axis::linear("first principal direction"), Axis::linear("second principal direction"))
        .panel("before", vec![image_cloud(), Cloud::new("text", text).colour(TEXT)])
        .panel("after", vec![image_cloud(), Cloud::new("aligned text", aligned).colour(ALIGNED)]);
    Chart::new("The two clouds, before and after alignment", scatter)
}

fn gaps() -> realign::Result<[Chart; 2]> {
    let gaps = [0.391, 0.0121, 0.0102, 0.0121, 0.0119, 0.0042, 2.1e-13];
    let dots = Bars::new(Axis::log("distance of the means (log)"), METHODS).group("", gaps)?;
    let kept = [1.0, 0.931, 0.931, 0.93, 0.703, 0.571, 0.928];
    let mixing = [0.001, 0.44, 0.451, 0.44, 0.452, 0.483, 0.449];
    let with_error = |values: [f64; 7], error: f64| values.map(|v| Bar::with_error(v, error * v));
    let bars = Bars::new(Axis::linear("share (0 to 1)").including(1.0), METHODS)
        .group("own neighbours kept", with_error(kept, 0.012))?
        .group("neighbours of the other kind", with_error(mixing, 0.05))?;
    Ok([Chart::new("Gap left by each method", dots), Chart::new("Neighbours, mean ± sd of five random", bars)])
}

fn decomposition() -> realign::Result<Chart> {
    let parts = ["mean, principal β", "mean, orthogonal γ", "residual, principal δ", "residual, orthogonal ζ"];
    let stacks = Stacks::new(Axis::linear("mean squared length of Δ"), parts)
        .row("before", [0.121, 0.032, 0.61, 0.092])?
        .row("anchored", [1e-6, 1e-6, 0.61, 0.092])?
        .row("aligned", [0.0, 0.0, 0.74, 0.087])?;
    Ok(Chart::new("What the difference of a pair is made of", stacks))
}

fn transfer() -> realign::Result<Chart> {
    let domains = ["photos", "charts", "documents", "art"];
    let gaps = [0.001, 0.142, 0.188, 0.067, 0.131, 0.002, 0.071, 0.155, 0.19, 0.082, 0.001, 0.201, 0.07, 0.16, 0.21];
    let gaps = [gaps.as_slice(), &[0.001]].concat();
    Ok(Chart::new("Statistics of one domain, applied to another", HeatMap::new("gap left", domains, domains, gaps)?))
}

fn signed() -> realign::Result<Chart> {
    let names = ["gap", "trace", "α", "rank", "κ", "JSD"];
    let value = |i: usize| ((i / 6 * 5 + i % 6 * 5) as f64 * 0.37).cos() * if i / 6 == i % 6 { 0.0 } else { 1.0 };
    let values: Vec<f64> = (0..36).map(|i| if i / 6 == i % 6 { 1.0 } else { value(i) }).collect();
    Ok(Chart::new("Correlation of the diagnostics", HeatMap::new("correlation", names, names, values)?))
}

fn training() -> Chart {
    let mut noise = Noise(3);
    let mut curve = |start: f64, rate: f64| -> [Vec<[f64; 2]>; 2] {
        let (mut raw, mut smooth, mut mean) = (Vec::new(), Vec::new(), start);
        for step in 0..20_000 {
            let t = f64::from(step);
            let loss = 1.9 + (start - 1.9) * (1.0 + t / 60.0).powf(-rate) + 0.08 * noise.normal();
            mean += 0.01 * (loss - mean);
            raw.push([t, loss]);
            smooth.push([t, mean]);
        }
        [raw, smooth]
    };
    let ([a, a_smooth], [b, b_smooth]) = (curve(9.0, 0.7), curve(9.0, 0.45));
    let lines = Lines::new(Axis::linear("step"), Axis::linear("loss per token (nats)"))
        .series(Series::new("", a).style(Style::Faint).colour(ALIGNED))
        .series(Series::new("", b).style(Style::Faint).colour(TEXT))
        .series(Series::new("aligned text", a_smooth).colour(ALIGNED))
        .series(Series::new("raw text", b_smooth).colour(TEXT));
    Chart::new("Training loss", lines)
}

fn samples() -> Chart {
    let gap = |n: f64| 0.9 / n.sqrt();
    let points: Vec<[f64; 2]> = [100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5]
        .iter()
        .map(|&n| [n, gap(n) * (1.0 + 0.05 * (n.ln() * 9.0).sin())])
        .collect();
    let lines = Lines::new(Axis::log("rows for the fit"), Axis::log("gap on held-out rows"))
        .series(Series::new("1/√n", vec![[100.0, gap(100.0)], [1e5, gap(1e5)]]).style(Style::Fit))
        .series(Series::new("measured", points).style(Style::Dots).colour(IMAGE))
        .series(Series::new("could not be measured", vec![[10.0, f64::NAN], [0.0, 1.0]]));
    Chart::new("How many rows are enough", lines)
}

fn methods() -> realign::Result<Table> {
    let column = |name: &str, best: Best| Column::new(name).best(best);
    let columns = [
        Column::new("method"),
        column("gap", Best::Lowest),
        column("trace", Best::Nearest(0.71)),
        column("α", Best::Nearest(1.8)),
        column("effective rank", Best::Nearest(57.5)),
        column("κ", Best::Unmarked),
        column("JSD", Best::Lowest),
        column("mixing", Best::Nearest(0.5)),
        column("neighbours kept", Best::Highest),
        column("time (s)", Best::Unmarked),
    ];
    let rest = |i: f64| -> [Cell; 9] {
        [
            (0.391 / 10f64.powf(i)).into(),
            (0.6 + 0.02 * i).into(),
            Cell::Spread(1.33 + 0.01 * i, 0.021),
            (41.0 + 1.7 * i).into(),
            (1320.0 * (1.0 + i)).into(),
            (0.53 / (1.0 + 4.0 * i)).into(),
            (0.07 * i).into(),
            (1.0 - 0.05 * i).into(),
            if i == 0.0 { Cell::Missing } else { (0.02 * i).into() },
        ]
    };
    let table = Table::new("Every method on the held-out half", columns);
    let target = [0.0, 0.71, 1.8, 57.5, 812.0, 0.0, 0.5, 1.0].map(Cell::from);
    let table = table.reference("image (target)", target.into_iter().chain([Cell::Missing]))?;
    METHODS.iter().enumerate().try_fold(table, |table, (i, name)| table.row(*name, rest(i as f64)))
}

fn main() -> realign::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let path = arguments.next().unwrap_or_else(|| "gallery.html".into());
    let [gap, neighbours] = gaps()?;
    let gallery = "Each chart of the report module, drawn from made-up data to show what it can look like.";
    let page = Page::new("Gallery of charts", gallery)
        .card("Gap of the means", number(0.391), "before alignment")
        .card("Gap after ReAlign", number(2.1e-13), "on the same rows")
        .card("Neighbours kept", "93 %", "of 10, by cosine")
        .card("Rows", number(50_000.0), "per side, 1280 wide")
        .section(
            Section::new("The clouds", "Where the two sets lie, and how they are shaped.")
                .chart(
                    clouds(),
                    "Apart before, one within the other afterwards: the shift alone closes most of the gap.",
                )
                .chart(spectra()?, "Straight lines on these axes are power laws; the steeper one is more concentrated.")
                .chart(
                    densities(),
                    "Pairs across the clouds were less alike than pairs within either; aligned, they are not.",
                ),
        )
        .section(
            Section::new("The methods", "")
                .table(methods()?, "The best value of a column is marked; the target's own row is for comparison.")
                .chart(gap, "A logarithmic axis has no zero, so dots instead of bars.")
                .chart(
                    neighbours,
                    "A method that mixes the clouds but loses its own neighbours has destroyed what it moved.",
                )
                .chart(decomposition()?, "Alignment removes the mean parts and leaves what differs from pair to pair.")
                .chart(transfer()?, "The diagonal is the domain that the statistics come from."),
        )
        .section(
            Section::new("More", "")
                .chart(training(), "Forty thousand points, thinned to what a screen can show.")
                .chart(samples(), "The error falls as one over the root of the count.")
                .chart(signed()?, "Two colours for the two signs."),
        )
        .inputs(serde_json::json!({ "seed": 1, "rows": 50_000, "files": ["text.npy", "<image>.npy"], "k": 10 }));
    page.write(&path, true)?;
    println!("wrote {}", path.display());
    if let Some(folder) = arguments.next() {
        page.write_svgs(&folder, true)?;
        println!("wrote {} charts to {}", page.svgs().len(), folder.display());
    }
    Ok(())
}
