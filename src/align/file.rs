//! Statistics on disk.

use std::path::Path;

use safetensors::tensor::Dtype;

use super::options::MAX_SIGMA;
use super::{Centroid, Method, Noise, Radial, Refinement, Statistics, anisoalign};
use crate::Result;
use crate::geometry::Frame;
use crate::io::write_atomically;
use crate::stats::file::{Contents, IN_MEMORY, entry, file_bytes, format_of, read_bytes};

const FORMAT: &str = "realign-statistics";
/// Of files with a refinement, which a program that does not know of it must not leave out.
const VERSION: u32 = 2;
/// Of others: they are as before there was any.
const VERSION_WITHOUT_REFINEMENT: u32 = 1;

/// The variance of a mean that private moments had noise in: 0 where none is named.
fn privacy(file: &Contents<'_>, name: &str) -> Result<f64> {
    let variance = if file.text(name).is_ok() { file.parsed(name)? } else { 0.0 };
    let possible = (0.0..=1e12).contains(&variance);
    possible.then_some(variance).ok_or_else(|| file.damaged(&format!("metadata '{name}' is impossible")))
}

/// ε and δ of private moments, with a comma between them, where they are named.
fn budget(file: &Contents<'_>, name: &str) -> Result<Option<(f64, f64)>> {
    let Ok(text) = file.text(name) else { return Ok(None) };
    let numbers = text.split_once(',').and_then(|(epsilon, delta)| Some((epsilon.parse().ok()?, delta.parse().ok()?)));
    let possible = |(epsilon, delta): &(f64, f64)| *epsilon > 0.0 && *delta > 0.0 && *delta < 1.0;
    let found = numbers.filter(possible).ok_or_else(|| file.damaged(&format!("metadata '{name}' is impossible")))?;
    Ok(Some(found))
}

/// The planes, where the method has them: orthonormal directions, and ascending quantiles of lengths that unit rows can have.
fn radial(file: &Contents<'_>, method: Method, means: (&[f64], &[f64])) -> Result<Option<Radial>> {
    let planes: usize = if method == Method::AnisoAlign { file.parsed("planes")? } else { 0 };
    if planes == 0 {
        return Ok(None);
    }
    let d = means.0.len();
    let frame = Frame::from_directions(file.finite("directions", None)?, d);
    let directions = frame.map_err(|e| file.damaged(&e.to_string()))?.directions().to_vec();
    let tables = (file.finite("lengths_y", None)?, file.finite("lengths_x", None)?);
    let mut radial = Radial::new(directions, means, tables);
    radial.check(d).map_err(|e| file.damaged(&e.to_string()))?;
    let sound = |table: &[f64], most: f64| {
        table.chunks_exact(radial.knots()).all(|row| row.is_sorted() && row[0] >= 0.0 && row[row.len() - 1] <= most)
    };
    if radial.planes() != planes {
        return Err(file.damaged("tensor 'directions' does not fit the number of planes"));
    }
    // Unit rows, and those of the source moved by a difference of means.
    if !sound(&radial.source, 3.001) || !sound(&radial.target, 1.001) {
        return Err(file.damaged("a table of lengths does not ascend, or holds what no length of unit rows can be"));
    }
    radial.refinement = Refinement::of_file(file, planes, d)?;
    Ok(Some(radial))
}

/// Names of the tensors that a file may have, beside those of a refinement.
const TENSORS: [&str; 13] =
    ["mu_y", "mu_x", "t_y", "t_x", "s", "h", "n_y", "n_x", "mu_prime", "map", "directions", "lengths_y", "lengths_x"];

impl Statistics {
    /// Writes the statistics file, safetensors, all numbers f64 but the counts:
    ///
    /// | tensor | shape | meaning |
    /// | --- | --- | --- |
    /// | `mu_y`, `mu_x` | `[d]` | means of the source's (text) and the target's (image) unit rows |
    /// | `t_y`, `t_x` | `[1]` | their traces |
    /// | `s` | `[1]` | the scale √(T_x / (T_y + 1e-10)), 1 for methods without it |
    /// | `mu_prime` | `[d]` | mean before the first centroid step, if there is one |
    /// | `h` | `[k, d]` | the centroid steps' shifts; k = 0 without such a step |
    /// | `n_y`, `n_x` | U64 `[1]` | counts |
    /// | `map` | `[d, d]` | the map of blockwise alignment, optimal transport and least squares, by rows; of AnisoAlign that outside of its planes |
    /// | `directions` | `[2 m, d]` | of AnisoAlign's planes, two each |
    /// | `lengths_y`, `lengths_x` | `[m, k]` | quantiles of lengths in each plane at equal levels: of the source's rows moved by μ_x - μ_y, and of the target's |
    /// | `refinement_weight_I`, `refinement_bias_I` | `[out, in]`, `[out]` | layer I of the refinement, 1 and 2, where stages are trained: see [`Refinement`] |
    /// | `phase_coherence`, `phase_offset`, `phase_anchor`, `phase_weight` | `[m, m]` twice, `[m]` twice | how the target's phases lie: see [`super::Phases`] |
    /// | `prior_weight_I`, `prior_bias_I` | as these | layer I of the score prior, 1 to 3, where it is trained |
    ///
    /// Metadata: `format` = `realign-statistics`, `format_version`, `crate_version`, `method`, `centroid` (or `none`),
    /// `residual_gap` (or `unknown`), for C3 `sigma` and `seed`, for optimal transport `strength`, for AnisoAlign `planes` (m, 0 where rows span a single direction) and with a refinement `stages`, `alpha_theta` and `alpha_rho`, of private moments `source_privacy` and `target_privacy` (variance of each component of a mean), `source_budget` and `target_budget` (ε and δ, with a comma), and where the rows' files named their encoders `source_encoder`,
    /// `source_encoder_hash`, `target_encoder` and `target_encoder_hash`. In NumPy:
    ///
    /// ```text
    /// from safetensors.numpy import load_file
    /// st = load_file("S.safetensors")
    /// b = st["mu_x"] - st["s"] * st["mu_y"]
    /// ```
    ///
    /// For `centre`, whose target's rows are `normalise(x - mu_x)`, b is `-mu_y`.
    ///
    /// # Errors
    /// The file exists and `force` is not given; it cannot be written.
    pub fn save(&self, path: &Path, force: bool) -> Result<()> {
        write_atomically(path, force, &self.to_bytes()?)
    }

    /// The bytes of the file that [`Self::save`] writes: for another process.
    ///
    /// # Errors
    /// None that data can cause.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let d = self.width();
        let one = |name, value: f64| entry(name, Dtype::F64, vec![1], &[value]);
        let mut entries = vec![
            entry("mu_y", Dtype::F64, vec![d], &self.mean_source),
            entry("mu_x", Dtype::F64, vec![d], &self.mean_target),
            one("t_y", self.trace_source),
            one("t_x", self.trace_target),
            one("s", self.scale),
            entry("h", Dtype::F64, vec![self.shifts.len(), d], &self.shifts.concat()),
            entry("n_y", Dtype::U64, vec![1], &[self.rows.0]),
            entry("n_x", Dtype::U64, vec![1], &[self.rows.1]),
        ];
        if let Some(mean) = &self.mean_projected {
            entries.push(entry("mu_prime", Dtype::F64, vec![d], mean));
        }
        let mut metadata = vec![
            ("method", self.method.to_string()),
            ("centroid", self.centroid.map_or("none".to_owned(), |c| c.to_string())),
            ("residual_gap", self.residual_gap.map_or("unknown".to_owned(), |g| format!("{g:e}"))),
        ];
        let sides = [("source_", &self.encoders.0), ("target_", &self.encoders.1)];
        let encoders: Vec<(String, String)> =
            sides.into_iter().filter_map(|(side, encoder)| Some(encoder.as_ref()?.notes(side))).flatten().collect();
        metadata.extend(encoders.iter().map(|(name, text)| (&name[..], text.clone())));
        if let Some(map) = &self.map {
            entries.push(entry("map", Dtype::F64, vec![d, d], map));
        }
        if let Some(radial) = &self.radial {
            let tables = vec![radial.planes(), radial.knots()];
            entries.push(entry("directions", Dtype::F64, vec![2 * radial.planes(), d], &radial.directions));
            entries.push(entry("lengths_y", Dtype::F64, tables.clone(), &radial.source));
            entries.push(entry("lengths_x", Dtype::F64, tables, &radial.target));
        }
        let refinement = self.radial.as_ref().and_then(|radial| radial.refinement.as_ref());
        if let Some(refinement) = refinement {
            entries.extend(refinement.entries());
            metadata.extend(refinement.notes());
        }
        if let Some(noise) = self.noise {
            metadata.push(("sigma", format!("{:e}", noise.sigma)));
            metadata.push(("seed", noise.seed.to_string()));
        }
        for (name, variance) in [("source_privacy", self.privacy.0), ("target_privacy", self.privacy.1)] {
            metadata.extend((variance > 0.0).then(|| (name, format!("{variance:e}"))));
        }
        for (name, budget) in [("source_budget", self.budgets[0]), ("target_budget", self.budgets[1])] {
            metadata.extend(budget.map(|(epsilon, delta)| (name, format!("{epsilon:e},{delta:e}"))));
        }
        let planes = self.radial.as_ref().map_or(0, Radial::planes);
        metadata.extend((self.method == Method::AnisoAlign).then(|| ("planes", planes.to_string())));
        metadata.extend(self.strength.map(|t| ("strength", format!("{t:e}"))));
        let version = if refinement.is_some() { VERSION } else { VERSION_WITHOUT_REFINEMENT };
        file_bytes((FORMAT, version), &metadata, &entries)
    }

    /// Reads a statistics file.
    ///
    /// # Errors
    /// No statistics file, a newer format, a damaged one, or a tensor that no statistics have.
    pub fn load(path: &Path) -> Result<Self> {
        Self::parse(path, &read_bytes(path)?)
    }

    /// From the bytes of such a file.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::parse(Path::new(IN_MEMORY), bytes)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let file = Contents::parse(path, bytes, (FORMAT, VERSION))?;
        let known: Vec<&str> = TENSORS.into_iter().chain(anisoalign::tensor_names()).collect();
        file.refuse_unknown(&known)?;
        let method: Method = file.parsed("method")?;
        let centroid = match file.text("centroid")? {
            "none" => None,
            _ => Some(file.parsed::<Centroid>("centroid")?),
        };
        let mean_source = file.finite("mu_y", None)?;
        let d = mean_source.len();
        let shifts = file.finite("h", None)?;
        if d == 0 || shifts.len() % d != 0 || shifts.len() / d > super::method::MAX_STEPS as usize {
            return Err(file.damaged("tensor 'h' does not fit 'mu_y'"));
        }
        let noise = match method {
            Method::C3 => Some(Noise { sigma: file.parsed("sigma")?, seed: file.parsed("seed")? }),
            _ => None,
        };
        let mean_target = file.finite("mu_x", Some(d))?;
        let statistics = Statistics {
            method,
            centroid,
            trace_source: file.finite("t_y", Some(1))?[0],
            trace_target: file.finite("t_x", Some(1))?[0],
            scale: file.finite("s", Some(1))?[0],
            mean_projected: match file.has("mu_prime") {
                true => Some(file.finite("mu_prime", Some(d))?),
                false => None,
            },
            shifts: shifts.chunks_exact(d).map(<[f64]>::to_vec).collect(),
            residual_gap: match file.text("residual_gap")? {
                "unknown" => None,
                _ => Some(file.parsed("residual_gap")?),
            },
            rows: (file.one("n_y", Dtype::U64)?, file.one("n_x", Dtype::U64)?),
            noise,
            strength: match method {
                Method::OptimalTransport => Some(file.parsed("strength")?),
                _ => None,
            },
            map: match method.maps() {
                true => Some(file.finite("map", Some(d * d))?),
                false => None,
            },
            radial: radial(&file, method, (&mean_source, &mean_target))?,
            encoders: (file.encoder("source_"), file.encoder("target_")),
            privacy: (privacy(&file, "source_privacy")?, privacy(&file, "target_privacy")?),
            budgets: [budget(&file, "source_budget")?, budget(&file, "target_budget")?],
            mean_source,
            mean_target,
        };
        statistics.check().map_err(|what| file.damaged(what))?;
        Ok(statistics)
    }

    /// Whether the file says that it holds statistics.
    pub fn is_file(path: &Path) -> bool {
        format_of(path).as_deref() == Some(FORMAT)
    }

    /// What a sound file satisfies, beyond shapes: unit rows have means no longer than 1.
    fn check(&self) -> Result<(), &'static str> {
        let long = |v: &[f64], most: f64| crate::host::norm(v) > most;
        if self.scale < 0.0 || self.trace_source < 0.0 || self.trace_target < 0.0 {
            return Err("a trace or the scale is negative");
        }
        // Traces of unit rows are at most 1, so that the scale is at most 1 / sqrt(1e-10).
        if self.scale > 1.001e5 || self.trace_source > 1.001 || self.trace_target > 1.001 {
            return Err("a trace or the scale is larger than unit rows can make it");
        }
        if long(&self.mean_source, 1.001) || long(&self.mean_target, 1.001) {
            return Err("a mean is longer than any mean of unit rows");
        }
        if self.shifts.iter().any(|h| long(h, 4.0)) {
            return Err("a shift is longer than any between means of unit rows");
        }
        if self.strength.is_some_and(|t| !(0.0..=1.0).contains(&t)) {
            return Err("the strength is no number from 0 to 1");
        }
        match self.noise {
            Some(n) if !(0.0..=MAX_SIGMA).contains(&n.sigma) => Err("sigma is no number from 0 to 1e6"),
            _ => Ok(()),
        }
    }
}
