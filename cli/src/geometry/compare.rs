//! `compare`.

use std::path::PathBuf;

use anyhow::Result;
use realign::align::{CompareOptions, Comparison, FitOptions, Method, compare as compare_methods};
use realign::stats::{DatasetRows, StreamOptions};
use serde_json::{Value, json};

use crate::align::unused::{Given, refuse_unused};
use crate::geometry::args::{CompareArgs, FitOptionArgs};
use crate::geometry::measure::open_all;
use crate::shared::show;
use crate::shared::sources::LazyDevice;

impl FitOptionArgs {
    pub fn options<'a>(&self, stream: StreamOptions<'a>) -> FitOptions<'a> {
        FitOptions::default()
            .centroid(self.centroid.unwrap_or_default())
            .sigma(self.sigma)
            .seed(self.seed)
            .shrinkage(self.shrinkage)
            .strength(self.strength)
            .planes(self.planes.options())
            .stream(stream)
    }

    /// Refuses what none of the methods heeds; the seed is the diagnosis's and the studies', too.
    pub fn refuse_unused(&self, methods: &[Method]) -> Result<()> {
        refuse_unused(methods, &self.flags())?;
        self.planes.refuse_untrained()
    }

    /// The first flag of a method's options that is given.
    pub fn given(&self) -> Option<&'static str> {
        self.flags().into_iter().find_map(|(flag, _, given)| given.then_some(flag))
    }

    fn flags(&self) -> [Given; 5] {
        let planes = self.planes.given();
        [
            (planes.unwrap_or_default(), "planes", planes.is_some()),
            ("--centroid", "centroid", self.centroid.is_some()),
            ("--sigma", "sigma", self.sigma.is_some()),
            ("--shrinkage", "shrinkage", self.shrinkage.is_some()),
            ("--strength", "strength", self.strength.is_some()),
        ]
    }
}

pub fn compare(args: &CompareArgs) -> Result<()> {
    let outputs = args.page.check(&Comparison::charts(args.paired), &args.json)?;
    let every: Vec<Method> = Method::every().collect();
    let methods = match &args.methods[..] {
        [] if args.paired => &every,
        [] => &Method::ALL[..],
        asked => asked,
    };
    args.fit.refuse_unused(methods)?;
    let device = LazyDevice::new(&args.device);
    let open = |inputs: &[PathBuf]| args.encoder.open(&device, &args.read, inputs);
    let [source, target] = open_all(&open, [&args.source, &args.target])?;
    outputs.refuse(&[&source, &target], args.source.iter().chain(&args.target).map(PathBuf::as_path))?;
    let device = device.get()?;
    let bar = show::progress(source.rows(), "comparing");
    let step = |rows| {
        bar.inc_length(rows);
        bar.inc(rows);
    };
    let mut fit = args.fit.options(args.read.stream(Some(&step)));
    fit.frame = args.cut.cut();
    let (mut diagnosis, frame) = (args.neighbours.options(), args.cut.cut());
    diagnosis.seed = args.fit.seed;
    let options = CompareOptions { fit, diagnosis, frame, paired: args.paired };
    let (mut y, mut x) = (DatasetRows::new(&source), DatasetRows::new(&target));
    let comparison = compare_methods(device, &mut y, &mut x, methods, &options)?;
    bar.finish_and_clear();
    let mut value = comparison.json();
    value.insert("device".to_owned(), json!(device.name()));
    let value = Value::Object(value);
    args.page.write(args.json.force, || comparison.page(value.clone()))?;
    args.json.finish(&value, || text(&comparison))
}

fn text(comparison: &Comparison) -> String {
    let columns = [
        "gap", "trace", "alpha", "eff.rank", "kappa", "F.means", "F.shapes", "sliced W", "JSD", "mixing", "kNN", "phi",
        "psi", "seconds",
    ];
    let header: String = columns.iter().map(|c| format!(" {c:>9}")).collect();
    let mut lines = vec![format!("{:<13}{header}", "method")];
    let number = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), show::number);
    for line in &comparison.methods {
        let (d, kept) = (&line.diagnosis, &line.diagnosis.kept);
        let cells = [
            Some(d.gap),
            Some(d.source.trace),
            d.source.alpha,
            Some(d.source.effective_rank),
            d.source.kappa,
            Some(d.frechet.mean),
            Some(d.frechet.covariance),
            Some(d.sliced_wasserstein),
            Some(d.jsd),
            Some(d.mixing.rate),
            kept.as_ref().map(|k| k.knn_overlap),
            kept.as_ref().map(|k| k.phi),
            kept.as_ref().and_then(|k| k.psi),
            Some((line.fit_time + line.apply_time).as_secs_f64()),
        ];
        let cells: String = cells.into_iter().map(|v| format!(" {:>9}", number(v))).collect();
        lines.push(format!("{:<13}{cells}", line.method.name()));
    }
    let (y, x) = (&comparison.source, &comparison.target);
    let x_spectrum = x.spectrum();
    lines.push(format!(
        "\nFitted on {} and {} rows (every other one), measured on the remaining {} and {}. The target's trace is {}, its \
         alpha {}, its effective rank {}.",
        comparison.fitted_rows.0,
        comparison.fitted_rows.1,
        y.rows(),
        x.rows(),
        show::number(x_spectrum.trace()),
        number(x_spectrum.alpha()),
        show::number(x_spectrum.effective_rank()),
    ));
    for line in &comparison.methods {
        if let Some(spectrum) = line.target.as_ref().map(|target| target.spectrum()) {
            let (trace, alpha) = (show::number(spectrum.trace()), number(spectrum.alpha()));
            let (name, rank) = (line.method.name(), show::number(spectrum.effective_rank()));
            lines.push(format!(
                "{name} moves the target, too, and is measured against what it became: trace {trace}, alpha {alpha}, \
                 effective rank {rank}."
            ));
        }
    }
    lines.join("\n")
}
