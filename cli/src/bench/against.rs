//! `bench --against`: this build and another one, or two devices, timed in turns, each turn in a process of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use realign::bench::{Side, Turns, Verdict, check, in_turns};
use serde_json::{Value, json};

use crate::bench::args::BenchArgs;
use crate::shared::show;
use crate::train;

/// Rounds where none are asked for: of all cases without a difference, fewer than one in a whole run is then called faster or slower.
const ROUNDS: u16 = 8;
/// Cases that are timed in one process: few, so that a case's turns lie close together in time.
const TOGETHER: usize = 4;

/// A build on a device, as a process runs it.
struct Player {
    binary: PathBuf,
    flags: Vec<String>,
}

/// Two builds, or devices, that have not been timed yet.
pub struct Match {
    this: Player,
    other: Player,
    /// Whether another device was asked for.
    other_device: bool,
    rounds: usize,
    /// The other's results of one run, which say what cases it knows and who it is.
    survey: Value,
}

/// What came of it.
pub struct Played {
    other: PathBuf,
    /// The other's results of one run.
    survey: Value,
    rounds: usize,
    cases: Vec<Case>,
    /// Cases that were not timed in turns, and why.
    left_out: Vec<(String, String)>,
}

struct Case {
    name: String,
    /// For each round this side's seconds and the other's.
    seconds: Vec<[f64; 2]>,
    turns: Turns,
}

/// Seconds of each case in one turn.
type Times = BTreeMap<String, f64>;

impl Match {
    /// The other side that the flags name, after one run of it: what cannot be timed is said before anything else is measured.
    pub fn of(args: &BenchArgs) -> Result<Option<Self>> {
        if args.against.is_none() && args.against_device.is_none() {
            return Ok(None);
        }
        let own = std::env::current_exe().context("cannot find this program's own file")?;
        let player = |binary: PathBuf, device: Option<&str>| {
            let mut flags = args.device.flags(device);
            flags.extend(args.quick.then(|| "--quick".to_owned()));
            // Each build's own tuning would be compared, or be measured in the midst of a turn.
            flags.push("--no-tune".to_owned());
            Player { binary, flags }
        };
        let binary = args.against.as_deref().map(a_build).transpose()?;
        let other = player(binary.unwrap_or_else(|| own.clone()), args.against_device.as_deref());
        train::watch_for_stop("stopping after this turn; Ctrl-C again to stop at once")?;
        eprintln!("cases of {}", other.binary.display());
        let survey = other.results(&args.filter)?;
        Ok(Some(Match {
            this: player(own, None),
            other,
            other_device: args.against_device.is_some(),
            rounds: usize::from(args.rounds.unwrap_or(ROUNDS)),
            survey,
        }))
    }

    /// Times the cases of `own`, this build's results, that both sides know.
    pub fn play(self, own: &Value) -> Result<Played> {
        self.check_devices(own)?;
        let (names, mut left_out) = common(own, &self.survey);
        if names.is_empty() {
            let path = self.other.binary.display();
            let reasons: Vec<String> = left_out.iter().map(|(name, why)| format!("{name}: {why}")).collect();
            bail!("{path}: no case can be timed on both sides: {}", reasons.join("; "));
        }
        let groups = groups(&names);
        let bar = show::progress(0, "");
        let mut cases = Vec::new();
        for (done, (filters, members)) in groups.iter().enumerate() {
            let title = format!("in turns: {}", members.join(", "));
            show::task(&bar, &title, (groups.len() * self.rounds * 2) as u64);
            bar.set_position((done * self.rounds * 2) as u64);
            let rounds = in_turns(self.rounds, |side| self.turn(side, filters, &bar))?;
            for name in members {
                match judged(name, &rounds) {
                    Ok(case) => cases.push(case),
                    Err(error) => left_out.push((name.clone(), format!("{error:#}"))),
                }
            }
        }
        bar.finish_and_clear();
        let Match { other, survey, rounds, .. } = self;
        Ok(Played { other: other.binary, survey, rounds, cases, left_out })
    }

    fn turn(&self, side: Side, filters: &[String], bar: &ProgressBar) -> Result<Times> {
        let player = match side {
            Side::This => &self.this,
            Side::Other => &self.other,
        };
        let file = player.results(filters);
        if train::stopped() {
            // Ctrl-C reaches the other process too, whose failure is then no news.
            return Err(realign::Error::Stopped.into());
        }
        bar.inc(1);
        Ok(results(&file?).filter_map(|r| Some((text(&r["name"]), r["seconds"].as_f64()?))).collect())
    }

    /// Two builds must have taken the same device, unless another one was asked for.
    fn check_devices(&self, own: &Value) -> Result<()> {
        let [own, other] = [own, &self.survey].map(|file| &file["device"]);
        let same = own["kind"] == other["kind"] && (own["backend"] == "host" || own["name"] == other["name"]);
        if !same && !self.other_device {
            let (path, own, other) = (self.other.binary.display(), text(&own["name"]), text(&other["name"]));
            bail!("{path}: took another device, {other}, than this build, {own}; name one with --device");
        }
        Ok(())
    }
}

/// A program that is a realign.
fn a_build(path: &Path) -> Result<PathBuf> {
    // As a path, where a bare name would be looked for among the installed programs.
    let binary = std::path::absolute(path).with_context(|| format!("--against {}", path.display()))?;
    if !binary.is_file() {
        bail!("--against {}: is no file; it takes the path of another build's program", path.display());
    }
    let output = called(&binary, &["--version".to_owned()])?;
    if !output.status.success() || !output.stdout.starts_with(b"realign ") {
        bail!("--against {}: is no build of realign: --version does not say so", path.display());
    }
    Ok(binary)
}

fn called(binary: &Path, flags: &[String]) -> Result<Output> {
    let output = Command::new(binary).args(flags).stdin(Stdio::null()).output();
    output.with_context(|| format!("cannot run {}", binary.display()))
}

impl Player {
    /// The results file of a run of some cases. A build that could not run one case of several has still timed the others.
    fn results(&self, filters: &[String]) -> Result<Value> {
        let mut flags = vec!["bench".to_owned()];
        flags.extend(filters.iter().map(|filter| format!("--filter={filter}")));
        flags.extend(self.flags.iter().cloned());
        // Last: it would take a word that follows for a file.
        flags.push("--json".to_owned());
        let output = called(&self.binary, &flags)?;
        let path = self.binary.display();
        match serde_json::from_slice::<Value>(&output.stdout) {
            Ok(file) => check(&file).map(|()| file).with_context(|| path.to_string()),
            Err(_) if output.status.success() => bail!("{path}: 'bench --json' printed no results"),
            Err(_) => bail!("{path}: 'bench' failed ({}): {}", output.status, said(&output.stderr)),
        }
    }
}

/// What a build said of its failure: its last error, without what it told before; or the end of whatever it said.
fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.trim().lines().collect();
    let error = lines.iter().rposition(|line| line.starts_with("error: "));
    let from = error.unwrap_or(lines.len().saturating_sub(5));
    match lines[from..].join("\n") {
        words if words.is_empty() => "it said nothing".to_owned(),
        words => words.trim_start_matches("error: ").to_owned(),
    }
}

fn text(v: &Value) -> String {
    v.as_str().unwrap_or_default().to_owned()
}

fn results(file: &Value) -> impl Iterator<Item = &Value> {
    file["results"].as_array().into_iter().flatten()
}

/// The cases of this side that both have timed in the same shapes; the others, with why they are left out.
fn common(own: &Value, other: &Value) -> (Vec<String>, Vec<(String, String)>) {
    let (mut names, mut left_out) = (Vec::new(), Vec::new());
    for case in results(own) {
        let name = text(&case["name"]);
        let Some(others) = results(other).find(|o| o["name"] == case["name"]) else {
            left_out.push((name, "the other side has no such case".to_owned()));
            continue;
        };
        let problem = match (case["error"].as_str(), others["error"].as_str()) {
            (Some(problem), _) => Some(format!("it fails here: {problem}")),
            (None, Some(problem)) => Some(format!("it fails on the other side: {problem}")),
            _ if case["shape"] != others["shape"] => {
                Some(format!("other shapes: {} and {}", text(&case["shape"]), text(&others["shape"])))
            }
            _ => None,
        };
        match problem {
            None => names.push(name),
            Some(problem) => left_out.push((name, problem)),
        }
    }
    (names, left_out)
}

/// The cases in groups of a process each: its filters, and the cases that are timed in it.
fn groups(names: &[String]) -> Vec<(Vec<String>, Vec<String>)> {
    let mut groups: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    let mut left: Vec<String> = names.to_vec();
    while let Some(first) = left.first() {
        // The flag splits at commas, which some names have. A part of a name matches others too: they come along.
        let part = first.split(',').map(str::trim).max_by_key(|part| part.len()).unwrap_or_default().to_owned();
        let (members, rest): (Vec<String>, _) = left.into_iter().partition(|name| name.contains(&part));
        left = rest;
        match groups.last_mut() {
            Some((parts, group)) if group.len() + members.len() <= TOGETHER => {
                parts.push(part);
                group.extend(members);
            }
            _ => groups.push((vec![part], members)),
        }
    }
    groups
}

fn judged(name: &str, rounds: &[[Times; 2]]) -> Result<Case> {
    let seconds = |times: &Times| times.get(name).copied().context("it failed in some turns");
    let seconds: Vec<[f64; 2]> =
        rounds.iter().map(|[this, other]| Ok([seconds(this)?, seconds(other)?])).collect::<Result<_>>()?;
    Ok(Case { name: name.to_owned(), turns: Turns::of(&seconds)?, seconds })
}

fn verdict(turns: &Turns) -> String {
    match turns.verdict() {
        Verdict::Drift => format!("no difference beyond the machine's drift of {:.0}%", 100.0 * turns.drift),
        Verdict::Unsettled => "no difference that the rounds agree on; more --rounds may tell".to_owned(),
        known => known.name().to_owned(),
    }
}

impl Played {
    pub fn json(&self) -> Value {
        let case = |c: &Case| {
            let side = |i: usize| c.seconds.iter().map(|round| round[i]).collect::<Vec<f64>>();
            let [low, high] = c.turns.interval;
            json!({
                "name": c.name, "seconds": side(0), "other_seconds": side(1), "speedup": c.turns.speedup,
                "speedup_low": low, "speedup_high": high, "confidence": c.turns.confidence, "drift": c.turns.drift,
                "verdict": c.turns.verdict().name(),
            })
        };
        let left_out = |(name, reason): &(String, String)| json!({ "name": name, "reason": reason });
        json!({
            "binary": self.other.display().to_string(), "version": self.survey["version"],
            "device": self.survey["device"], "in_turns": true, "rounds": self.rounds,
            "cases": self.cases.iter().map(case).collect::<Vec<_>>(),
            "left_out": self.left_out.iter().map(left_out).collect::<Vec<_>>(),
        })
    }

    pub fn text(&self) -> String {
        let confidence = self.cases.first().map_or(0.0, |c| c.turns.confidence);
        let mut lines = vec![
            format!("in turns with {} ({}), {} rounds", super::whose(&self.survey), self.other.display(), self.rounds),
            format!(
                "{:28} {:>7} {:>15} {:>6}",
                "case",
                "ratio",
                format!("{:.0}% interval", 100.0 * confidence),
                "drift"
            ),
        ];
        lines.extend(self.cases.iter().map(|c| {
            let ([low, high], drift) = (c.turns.interval, 100.0 * c.turns.drift);
            let interval = format!("{low:.3} – {high:.3}");
            format!("{:28} {:7.3} {interval:>15} {drift:5.0}%  {}", c.name, c.turns.speedup, verdict(&c.turns))
        }));
        lines.extend(self.left_out.iter().map(|(name, reason)| format!("{name:28}       – {reason}")));
        lines.push(
            "ratio: how many times as fast this side is; drift: how far the turns of one side differ (quartiles)."
                .to_owned(),
        );
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_in_one_group_whose_filters_find_it() {
        let names =
            ["copy", "product A Bᵀ", "product A Bᵀ, B in f16", "product A Bᵀ + bias, gelu", "c3", "gelu", "add"];
        let names = names.map(str::to_owned);
        let groups = groups(&names);
        let mut all: Vec<&String> = groups.iter().flat_map(|(_, members)| members).collect();
        all.sort();
        let mut want: Vec<&String> = names.iter().collect();
        want.sort();
        assert_eq!(all, want);
        for (filters, members) in &groups {
            assert!(filters.iter().all(|f| !f.contains(',')), "{filters:?}");
            assert!(members.iter().all(|m| filters.iter().any(|f| m.contains(f))), "{filters:?}: {members:?}");
        }
        assert_eq!(groups[0].1, ["copy", "product A Bᵀ", "product A Bᵀ, B in f16", "product A Bᵀ + bias, gelu"]);
    }

    #[test]
    fn a_failure_is_told_in_its_own_words() {
        let noisy = b"error: XDG_RUNTIME_DIR is invalid\nroofline\nerror: no adapter: 'x'\n\ntip: none\n";
        assert_eq!(said(noisy), "no adapter: 'x'\n\ntip: none");
        assert_eq!(said(b"1\n2\n3\n4\n5\n6\n"), "2\n3\n4\n5\n6");
        assert_eq!(said(b" \n"), "it said nothing");
    }
}
