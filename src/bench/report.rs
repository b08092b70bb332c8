//! Running the cases, and what came of it.

use serde_json::{Map, Value, json};

use super::case::{Case, Kind, Run, Sizes};
use super::catalogue::{Entry, catalogue};
use super::host;
use super::roofline::Roofline;
use super::timing::{Budget, Timing, called, recorded, timed};
use crate::device::{Device, DeviceKind};
use crate::kernels::linalg::tiles::Tiling;
use crate::{Error, Result};

/// Version of the results' form.
pub(super) const SCHEMA: u64 = 1;
/// The version of wgpu that this crate is tested with.
const WGPU: &str = "30.0.1";

/// What is run, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Small data and short times.
    pub quick: bool,
    /// Only cases whose name contains one of these, case ignored; all if empty.
    pub filter: Vec<String>,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The case, or `roofline`.
    pub name: &'a str,
    /// Cases done.
    pub done: usize,
    /// Of so many.
    pub total: usize,
}

/// One case's outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The case's name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its shapes.
    pub shape: String,
    /// Its times, or why there are none.
    pub timing: std::result::Result<Timing, String>,
    /// Bytes that must move at least, 0 if unstated.
    pub bytes: u64,
    /// FLOPs of the definition, 0 if unstated.
    pub flops: u64,
    /// What throughput counts.
    pub items: Option<super::Items>,
    /// Whether the result was compared with the host engine's.
    pub checked: bool,
    /// Share of what the roofline allows: the time that memory or arithmetic needs at least, over the median.
    pub fraction: Option<f64>,
    /// Whether memory is what bounds it.
    pub memory_bound: bool,
}

/// How a device's work is cut into dispatches and tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatching {
    /// FLOPs of a dispatch of products or attention at most.
    pub flops: u64,
    /// Bytes that another dispatch moves at most.
    pub bytes: u64,
    /// The tile of each class of products.
    pub tiling: Tiling,
    /// Whether the tiles were measured on the device.
    pub tuned: bool,
}

impl Dispatching {
    fn of(device: &Device) -> Option<Self> {
        let caps = device.capabilities();
        (caps.kind != DeviceKind::Host).then(|| Dispatching {
            flops: caps.dispatch_flops,
            bytes: caps.dispatch_bytes,
            tiling: caps.tiling.unwrap_or_else(|| Tiling::fixed(caps)),
            tuned: caps.tiling.is_some(),
        })
    }
}

/// All outcomes on a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The device's name.
    pub device: String,
    /// Its kind.
    pub device_kind: DeviceKind,
    /// Its driver and version; empty on the host engine.
    pub driver: String,
    /// Its backend.
    pub backend: String,
    /// The model of the machine's CPU, where its system says it.
    pub cpu: Option<String>,
    /// How it splits its work; `None` on the host engine, which does not.
    pub dispatch: Option<Dispatching>,
    /// Sizes of the data.
    pub sizes: Sizes,
    /// Whether it was a quick run.
    pub quick: bool,
    /// What the device can do at most.
    pub roofline: Roofline,
    /// The cases.
    pub outcomes: Vec<Outcome>,
}

/// Measures the roofline and runs the cases, each compared with the host engine before it is timed. A case that a device cannot
/// run is an [`Outcome`] with the reason; a wrong result, too.
///
/// # Errors
/// A filter that no case matches; the roofline cannot be measured; what `watch` says.
pub fn run(device: &Device, options: &Options, watch: &mut dyn FnMut(Progress<'_>) -> Result<()>) -> Result<Report> {
    let entries = chosen(device, &options.filter)?;
    let sizes = Sizes::of(device, options.quick);
    let budget = if options.quick {
        Budget { seconds: 0.1, least: 3, most: 20 }
    } else {
        Budget { seconds: 1.0, least: 7, most: 200 }
    };
    let total = entries.len();
    watch(Progress { name: "roofline", done: 0, total })?;
    let bytes = (8 * sizes.rows * sizes.width) as u64;
    let roofline = Roofline::measure(device, bytes, budget)?;
    let mut outcomes = Vec::with_capacity(total);
    for (done, entry) in entries.iter().enumerate() {
        watch(Progress { name: entry.name, done, total })?;
        outcomes.push(outcome(device, entry, (&sizes, budget, &roofline)));
    }
    Ok(Report {
        device: device.name().to_owned(),
        device_kind: device.capabilities().kind,
        driver: device.driver().to_owned(),
        backend: device.backend().to_owned(),
        cpu: host::cpu(),
        dispatch: Dispatching::of(device),
        sizes,
        quick: options.quick,
        roofline,
        outcomes,
    })
}

/// The cases of this kind of device that the filter lets through.
fn chosen(device: &Device, filter: &[String]) -> Result<Vec<Entry>> {
    let wanted: Vec<String> = filter.iter().map(|f| f.to_lowercase()).collect();
    let named = |e: &Entry, f: &str| e.name.to_lowercase().contains(f) && (!e.by_shape || f.contains("-shaped"));
    let keep = |e: &Entry| (wanted.is_empty() && !e.by_shape) || wanted.iter().any(|f| named(e, f));
    let (chosen, rest): (Vec<Entry>, Vec<Entry>) =
        (catalogue().into_iter().filter(|entry| !entry.wgpu || device.wgpu().is_some())).partition(keep);
    if chosen.is_empty() {
        let names: Vec<&str> = rest.iter().map(|e| e.name).collect();
        let (asked, names) = (filter.join(", "), names.join(", "));
        return Err(Error::argument("filter", format!("'{asked}' matches no case; there are: {names}")));
    }
    Ok(chosen)
}

fn outcome(device: &Device, entry: &Entry, (sizes, budget, roofline): (&Sizes, Budget, &Roofline)) -> Outcome {
    let mut outcome = Outcome {
        name: entry.name,
        kind: entry.kind,
        shape: String::new(),
        timing: Err(String::new()),
        bytes: 0,
        flops: 0,
        items: None,
        checked: false,
        fraction: None,
        memory_bound: false,
    };
    let mut times = || -> Result<Timing> {
        let mut case = (entry.make)(device, sizes)?;
        (outcome.shape, outcome.bytes, outcome.flops) = (case.shape.clone(), case.bytes, case.flops);
        outcome.items = case.items;
        outcome.checked = check(device, entry, (&case, sizes))?;
        match &mut case.run {
            Run::Recorded(record) => recorded(device, budget, record),
            Run::Called(call) => called(budget, call),
            Run::Timed(call) => timed(budget, call),
        }
    };
    let timing = times().map_err(|e| e.to_string());
    if let (Ok(timing), true) = (&timing, outcome.bytes + outcome.flops > 0) {
        let (least, memory_bound) = roofline.bound(outcome.bytes, outcome.flops);
        (outcome.fraction, outcome.memory_bound) = (Some(least / timing.median()), memory_bound);
    }
    outcome.timing = timing;
    outcome
}

/// Compares a case's result with the host engine's; false where there is nothing to compare.
fn check(device: &Device, entry: &Entry, (case, sizes): (&Case, &Sizes)) -> Result<bool> {
    let Some(check) = &case.check else { return Ok(false) };
    if device.capabilities().kind == DeviceKind::Host {
        return Ok(false);
    }
    let got = case.result(device)?;
    let host = Device::host();
    // A device may take fewer rows than were asked for: the host takes what it has.
    let want = (entry.make)(&host, sizes)?.result(&host)?;
    let length = got.len().min(want.len());
    let (got, want) = (&got[..length], &want[..length]);
    let problem = if check.exact {
        (got != want).then(|| "its bits differ from the host engine's".to_owned())
    } else {
        let numbers = |bytes: &[u8]| match check.halves {
            true => bytemuck::pod_collect_to_vec::<u8, half::f16>(bytes).into_iter().map(half::f16::to_f32).collect(),
            false => bytemuck::pod_collect_to_vec::<u8, f32>(bytes),
        };
        let (got, want): (Vec<f32>, Vec<f32>) = (numbers(got), numbers(want));
        let size = want.iter().fold(f32::MIN_POSITIVE, |m, w| m.max(w.abs()));
        let off =
            got.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0f32, |m, d| if d.is_nan() { d } else { m.max(d) });
        let bound = if device.capabilities().rounds_operands { 2e-3 } else { 2e-5 };
        // Neighbours in f16 are up to 2^-10 apart.
        let bound = if check.halves { bound + 1.0 / 1024.0 } else { bound };
        let bound = if device.capabilities().tensor_cores.is_some() { bound + check.on_cores } else { bound };
        let right = off <= bound * size;
        (!right).then(|| format!("it differs from the host engine's by {:.1e} of the largest value", off / size))
    };
    match problem {
        None => Ok(true),
        Some(problem) => Err(Error::degenerate(format!("{}: wrong result: {problem}; please report this", entry.name))),
    }
}

impl Outcome {
    /// For results files: rates in GB/s and GFLOP/s, times in seconds.
    pub fn json(&self) -> Value {
        let mut value = json!({
            "name": self.name, "kind": self.kind.name(), "shape": self.shape, "bytes": self.bytes, "flops": self.flops,
            "checked": self.checked, "fraction_of_roofline": self.fraction,
            "bound": self.fraction.map(|_| if self.memory_bound { "memory" } else { "arithmetic" }),
        });
        match &self.timing {
            Err(problem) => value["error"] = json!(problem),
            Ok(timing) => {
                let median = timing.median();
                value["timer"] = json!(timing.timer.name());
                value["runs"] = json!(timing.runs());
                value["seconds"] = json!(median);
                value["seconds_q1"] = json!(timing.quantile(0.25));
                value["seconds_q3"] = json!(timing.quantile(0.75));
                let rate = |amount: u64| (amount > 0).then(|| amount as f64 / median / 1e9);
                value["gb_s"] = json!(rate(self.bytes));
                value["gflop_s"] = json!(rate(self.flops));
                if let Some(items) = self.items {
                    value["items_per_s"] = json!(items.count as f64 / median);
                    value["items"] = json!(items.unit);
                }
            }
        }
        value
    }
}

impl Report {
    /// The results file.
    pub fn json(&self) -> Value {
        let Sizes { rows, width, side, tokens, hidden, vocabulary, neighbours, batch } = self.sizes;
        let names = |tiling: Tiling| tiling.names().map(|(class, tile)| (class, json!(tile))).collect::<Map<_, _>>();
        json!({
            "schema": SCHEMA, "tool": "realign", "version": env!("CARGO_PKG_VERSION"), "wgpu": WGPU,
            "device": {
                "name": self.device, "kind": self.device_kind.name(), "backend": self.backend, "driver": self.driver,
                "clocks": "unknown", "dispatch_flops": self.dispatch.map(|d| d.flops),
                "dispatch_bytes": self.dispatch.map(|d| d.bytes), "tuned": self.dispatch.map(|d| d.tuned),
                "tiles": self.dispatch.map(|d| names(d.tiling)),
            },
            "host": {
                "cpu": self.cpu, "os": std::env::consts::OS, "arch": std::env::consts::ARCH, "threads": rayon::current_num_threads(),
            },
            "quick": self.quick,
            "sizes": {
                "rows": rows, "width": width, "side": side, "tokens": tokens, "hidden": hidden,
                "vocabulary": vocabulary, "neighbours": neighbours, "batch": batch,
            },
            "roofline": self.roofline.json(),
            "results": self.outcomes.iter().map(Outcome::json).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_name_the_wgpu_that_is_built_in() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
        assert!(lock.replace('\r', "").contains(&format!("name = \"wgpu\"\nversion = \"{WGPU}\"\n")), "not {WGPU}");
    }
}
