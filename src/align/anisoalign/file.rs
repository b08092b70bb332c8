//! A refinement's part of a statistics file.

use safetensors::tensor::Dtype;

use super::{Layer, Network, Phases, Refinement, Stages};
use crate::Result;
use crate::stats::file::{Contents, Entry, entry};

/// Names of a network's tensors: a layer's weight and bias.
type Names = &'static [[&'static str; 2]];
const REFINEMENT: Names = &[["refinement_weight_1", "refinement_bias_1"], ["refinement_weight_2", "refinement_bias_2"]];
const PRIOR: Names =
    &[["prior_weight_1", "prior_bias_1"], ["prior_weight_2", "prior_bias_2"], ["prior_weight_3", "prior_bias_3"]];
const PHASES: [&str; 4] = ["phase_coherence", "phase_offset", "phase_anchor", "phase_weight"];

/// Names of all tensors that a refinement may have.
pub(in crate::align) fn names() -> impl Iterator<Item = &'static str> {
    REFINEMENT.iter().chain(PRIOR).flatten().copied().chain(PHASES)
}

fn of_network(names: Names, network: &Network) -> impl Iterator<Item = Entry> {
    names.iter().zip(&network.layers).flat_map(|([weight, bias], layer)| {
        let (rows, all) = (layer.bias.len(), layer.weight.len());
        let shape = vec![rows, all / rows.max(1)];
        [entry(weight, Dtype::F64, shape, &layer.weight), entry(bias, Dtype::F64, vec![rows], &layer.bias)]
    })
}

fn network(file: &Contents<'_>, names: Names) -> Result<Network> {
    let layer = |[weight, bias]: &[&str; 2]| {
        let layer = Layer { weight: file.finite(weight, None)?, bias: file.finite(bias, None)? };
        let outputs = layer.bias.len();
        file.check_shape(bias, &[outputs])?;
        file.check_shape(weight, &[outputs, layer.weight.len() / outputs.max(1)])?;
        // Devices have them in f32.
        match layer.weight.iter().chain(&layer.bias).find(|x| x.abs() > f64::from(f32::MAX)) {
            Some(x) => Err(file.damaged(&format!("tensor '{weight}' or '{bias}' has {x:e}, which is beyond f32"))),
            None => Ok(layer),
        }
    };
    Ok(Network { layers: names.iter().map(layer).collect::<Result<_>>()? })
}

impl Refinement {
    /// Its tensors.
    pub(in crate::align) fn entries(&self) -> Vec<Entry> {
        let Phases { coherence, offset, anchor, weight } = &self.phases;
        let m = self.phases.planes();
        let shapes = [vec![m, m], vec![m, m], vec![m], vec![m]];
        let phases = PHASES.iter().zip(shapes).zip([coherence, offset, anchor, weight]);
        let phases = phases.map(|((name, shape), values)| entry(name, Dtype::F64, shape, values));
        let prior = self.prior.iter().flat_map(|prior| of_network(PRIOR, prior));
        of_network(REFINEMENT, &self.network).chain(phases).chain(prior).collect()
    }

    /// Its metadata.
    pub(in crate::align) fn notes(&self) -> [(&'static str, String); 3] {
        [
            ("stages", self.stages.to_string()),
            ("alpha_theta", format!("{:e}", self.alpha_theta)),
            ("alpha_rho", format!("{:e}", self.alpha_rho)),
        ]
    }

    /// The refinement of a file, if it has one; for so many planes of rows of width `d`.
    pub(in crate::align) fn of_file(file: &Contents<'_>, planes: usize, d: usize) -> Result<Option<Self>> {
        if file.text("stages").is_err() {
            return match names().find(|name| file.has(name)) {
                Some(name) => Err(file.damaged(&format!("tensor '{name}' is of stages that it does not name"))),
                None => Ok(None),
            };
        }
        let stages: Stages = file.parsed("stages")?;
        let [coherence, offset, anchor, weight] = PHASES.map(|name| file.finite(name, None));
        let shapes = [&[planes, planes][..], &[planes, planes], &[planes], &[planes]];
        PHASES.iter().zip(shapes).try_for_each(|(name, shape)| file.check_shape(name, shape))?;
        let refinement = Refinement {
            stages,
            alpha_theta: file.parsed("alpha_theta")?,
            alpha_rho: file.parsed("alpha_rho")?,
            network: network(file, REFINEMENT)?,
            phases: Phases { coherence: coherence?, offset: offset?, anchor: anchor?, weight: weight? },
            prior: stages.has_prior().then(|| network(file, PRIOR)).transpose()?,
        };
        refinement.check(planes, d).map_err(|e| file.damaged(&e.to_string()))?;
        match refinement.phases.sound() {
            true => Ok(Some(refinement)),
            false => Err(file.damaged("statistics of phases hold what none of points can be")),
        }
    }
}
