//! The state of an AnisoAlign training on disk: so that one that was stopped goes on with the same bits.
//!
//! | tensor | type | meaning |
//! | --- | --- | --- |
//! | `network.I.weight`, `.bias` | F32 `[out, in]`, `[out]` | layer I of the network that is being trained, from 0 |
//! | `m.I.*`, `v.I.*` | as these | its first and second moments |
//! | `prior.I.*` | as these | the prior, where the refinement is being trained |
//!
//! Metadata: `format` = `realign-anisoalign-training`, `format_version`, `crate_version`, `trained` (`prior` or `refinement`), `step`, the options that the
//! training depends on, and `rows`, a CRC-32 of all that it is trained on.

use std::path::Path;

use safetensors::tensor::Dtype;

use super::network::{Layer, Network, NetworkOn};
use super::refinement::TIME;
use super::train::Data;
use super::{Trained, Training};
use crate::align::FitOptions;
use crate::device::Device;
use crate::io::Start;
use crate::stats::file::{Contents, format_of, read_bytes, write};
use crate::{Error, Result};

const FORMAT: &str = "realign-anisoalign-training";
const VERSION: u32 = 1;
/// Steps from one save to the next, where none are given.
const EVERY: u64 = 100;

/// Settings that a state names; [`Keeper::new`] has their values.
const SETTINGS: [&str; 7] = ["stages", "hidden", "prior_steps", "refine_steps", "alpha_theta", "alpha_rho", "seed"];

/// What the state of a training that was stopped says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrainingState {
    /// The network that was being trained.
    pub trained: Trained,
    /// The steps of it that were done.
    pub step: u64,
    /// What the training depends on, by name: stages, widths, steps, bounds, seed.
    pub settings: Vec<(String, String)>,
}

impl TrainingState {
    /// Whether a file is the state of a training.
    pub fn is_file(path: &Path) -> bool {
        format_of(path).as_deref() == Some(FORMAT)
    }

    /// Reads a file, and checks it as far as its metadata go.
    ///
    /// # Errors
    /// A file that cannot be read, is no state of a training, is damaged or of a newer version.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = read_bytes(path)?;
        let file = Contents::parse(path, &bytes, (FORMAT, VERSION))?;
        let setting = |name: &str| Ok((name.to_owned(), file.text(name)?.to_owned()));
        let settings = SETTINGS.iter().map(|name| setting(name)).collect::<Result<_>>()?;
        Ok(TrainingState { trained: trained(&file)?, step: file.parsed("step")?, settings })
    }
}

fn trained(file: &Contents<'_>) -> Result<Trained> {
    match file.text("trained")? {
        "prior" => Ok(Trained::Prior),
        "refinement" => Ok(Trained::Refinement),
        _ => Err(file.damaged("metadata 'trained' names no network")),
    }
}

/// A training after a step.
pub(super) struct State {
    pub trained: Trained,
    pub step: u64,
    pub network: Network,
    pub moments: [Network; 2],
    pub prior: Option<Network>,
}

impl State {
    /// Reads what a device holds, waiting for it.
    pub fn read(
        device: &Device,
        (trained, step): (Trained, u64),
        prior: Option<&Network>,
        (network, [m, v]): (&NetworkOn, &[NetworkOn; 2]),
    ) -> Result<Self> {
        let moments = [m.read(device)?, v.read(device)?];
        Ok(State { trained, step, network: network.read(device)?, moments, prior: prior.cloned() })
    }
}

/// Keeps a training's state in a file, if there is to be one.
pub(super) struct Keeper<'a> {
    training: Training<'a>,
    /// What the training depends on, by name.
    identity: Vec<(&'static str, String)>,
    has_prior: bool,
    /// Steps of the prior and of the refinement.
    steps: [u64; 2],
    planes: usize,
    width: usize,
}

impl<'a> Keeper<'a> {
    pub fn new(data: &Data, options: &FitOptions<'a>) -> Self {
        let (training, p) = (options.training, &options.planes);
        let identity = vec![
            ("stages", p.stages.to_string()),
            ("hidden", p.hidden.to_string()),
            ("prior_steps", if p.stages.has_prior() { p.prior_steps } else { 0 }.to_string()),
            ("refine_steps", p.refine_steps.to_string()),
            ("alpha_theta", p.alpha_theta.to_string()),
            ("alpha_rho", p.alpha_rho.to_string()),
            ("seed", options.seed.to_string()),
            ("rows", format!("{:08x}", fingerprint(data))),
        ];
        let (has_prior, steps) = (p.stages.has_prior(), [p.prior_steps, p.refine_steps]);
        Keeper { training, identity, has_prior, steps, planes: data.phases.planes(), width: data.width }
    }

    /// The state that is to be gone on with, if there is one.
    pub fn load(&self) -> Result<Option<State>> {
        let Some(path) = self.training.checkpoint.filter(|_| self.training.start == Start::Resume) else {
            return Ok(None);
        };
        if !path.exists() {
            return Ok(None);
        }
        let bytes = read_bytes(path)?;
        let file = Contents::parse(path, &bytes, (FORMAT, VERSION))?;
        for (name, want) in &self.identity {
            let found = file.text(name)?;
            if found != want {
                let problem = match *name {
                    "rows" => "is the state of a training on other rows".to_owned(),
                    _ => format!("is the state of a training with {name} {found}, and this one has {want}"),
                };
                let remedy = "train as it was trained, or name another file";
                return Err(Error::format(path, format!("{problem}; {remedy}")));
            }
        }
        let trained = trained(&file)?;
        let (m, d) = (self.planes, self.width);
        let prior_shape = (3, (3 * m + TIME, m));
        let shape = if trained == Trained::Prior { prior_shape } else { (2, (3 * m + d, 2 * m)) };
        let of = |prefix, shape| network(&file, prefix, shape);
        let step = file.parsed("step")?;
        if !(1..=self.steps[usize::from(trained == Trained::Refinement)]).contains(&step) {
            return Err(file
                .damaged(&format!("metadata 'step' is {step}, which the training of the {} has not", trained.name())));
        }
        let moments = [of("m", shape)?, of("v", shape)?];
        let second = moments[1].layers.iter().flat_map(|layer| layer.weight.iter().chain(&layer.bias));
        if second.into_iter().any(|&x| x < 0.0) {
            return Err(file.damaged("second moments are below 0"));
        }
        let has_prior = trained == Trained::Refinement && self.has_prior;
        let prior = has_prior.then(|| of("prior", prior_shape)).transpose()?;
        Ok(Some(State { trained, step, network: of("network", shape)?, moments, prior }))
    }

    /// Saves the state after a step, where it is due.
    pub fn keep(&self, (step, steps): (u64, u64), state: impl FnOnce() -> Result<State>) -> Result<()> {
        let every = if self.training.every == 0 { EVERY } else { self.training.every };
        let due = step.is_multiple_of(every) || step == steps;
        match self.training.checkpoint {
            Some(path) if due => self.save(path, &state()?),
            _ => Ok(()),
        }
    }

    fn save(&self, path: &Path, state: &State) -> Result<()> {
        let [m, v] = &state.moments;
        let networks =
            [("network", Some(&state.network)), ("m", Some(m)), ("v", Some(v)), ("prior", state.prior.as_ref())];
        let entries: Vec<_> = networks
            .into_iter()
            .filter_map(|(prefix, network)| Some((prefix, network?)))
            .flat_map(|(prefix, network)| {
                network.layers.iter().enumerate().flat_map(move |(i, layer)| both(prefix, i, layer))
            })
            .collect();
        let mut metadata = self.identity.clone();
        metadata.push(("trained", state.trained.name().to_owned()));
        metadata.push(("step", state.step.to_string()));
        write(path, true, (FORMAT, VERSION), &metadata, &entries)
    }
}

/// A layer's tensors, in f32: a device's numbers.
fn both(prefix: &str, i: usize, layer: &Layer) -> [(String, Dtype, Vec<usize>, Vec<u8>); 2] {
    let bytes = |values: &[f64]| values.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect();
    let (rows, all) = (layer.bias.len(), layer.weight.len());
    let shape = vec![rows, all / rows.max(1)];
    [
        (format!("{prefix}.{i}.weight"), Dtype::F32, shape, bytes(&layer.weight)),
        (format!("{prefix}.{i}.bias"), Dtype::F32, vec![rows], bytes(&layer.bias)),
    ]
}

/// Reads a network of so many layers, from a width to another.
fn network(file: &Contents<'_>, prefix: &str, (layers, ends): (usize, (usize, usize))) -> Result<Network> {
    let wide = |name: String| -> Result<Vec<f64>> { Ok(file.floats(&name)?.into_iter().map(f64::from).collect()) };
    let layer =
        |i| Ok(Layer { weight: wide(format!("{prefix}.{i}.weight"))?, bias: wide(format!("{prefix}.{i}.bias"))? });
    let network = Network { layers: (0..layers).map(layer).collect::<Result<_>>()? };
    network.check(layers, ends).map_err(|_| file.damaged(&format!("the layers of '{prefix}' do not fit")))?;
    Ok(network)
}

fn fingerprint(data: &Data) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for values in [&data.images, &data.texts, &data.rest] {
        crc.update(bytemuck::cast_slice(values));
    }
    crc.finalize()
}
