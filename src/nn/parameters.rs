//! Named parameters on a device, and gradients beside them.

use std::collections::HashMap;

use crate::device::{Device, Recorder, Tensor};
use crate::{ElementType, Error, Result};

/// One matrix or vector of a model, f32 on the device. A vector `[d]` is a tensor `[1, d]`.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name in the model's files.
    pub name: String,
    /// Its shape there: `[d]` or `[rows, d]`.
    pub shape: Vec<usize>,
    /// The values.
    pub value: Tensor,
}

/// Place of a parameter among its model's.
pub type Slot = usize;

/// A model's parameters in a fixed order.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    list: Vec<Parameter>,
    slots: HashMap<String, Slot>,
}

impl Parameters {
    /// Adds a parameter of values `data`, row-major.
    ///
    /// # Errors
    /// A name that is there already, a shape that is not one of a vector or matrix or does not fit the data; no memory.
    pub fn add(&mut self, device: &Device, name: &str, shape: &[usize], data: &[f32]) -> Result<Slot> {
        let (&[width] | &[_, width]) = shape else {
            return Err(Error::shape("parameters", "shape", format!("{name}: 1 or 2 sides"), shape.len()));
        };
        if self.slots.contains_key(name) {
            return Err(Error::argument("parameter", format!("{name} is there already")));
        }
        if data.len() != shape.iter().product::<usize>() || width == 0 {
            return Err(Error::shape("parameters", "data", format!("{name}: {shape:?}"), data.len()));
        }
        let value = Tensor::from_f32(device, data, width)?;
        self.slots.insert(name.to_owned(), self.list.len());
        self.list.push(Parameter { name: name.to_owned(), shape: shape.to_vec(), value });
        Ok(self.list.len() - 1)
    }

    /// The parameter at a place that [`Self::add`] gave.
    pub fn get(&self, slot: Slot) -> &Parameter {
        &self.list[slot]
    }

    /// The place of a name.
    pub fn slot(&self, name: &str) -> Option<Slot> {
        self.slots.get(name).copied()
    }

    /// All, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Parameter> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Elements of all.
    pub fn elements(&self) -> usize {
        self.list.iter().map(|p| p.shape.iter().product::<usize>()).sum()
    }
}

/// Gradients of some of a model's parameters; a frozen parameter has none and costs nothing.
#[derive(Clone, Debug)]
pub struct Gradients {
    list: Vec<Option<Tensor>>,
}

impl Gradients {
    /// Zeroed gradients for the parameters that `trains` says.
    ///
    /// # Errors
    /// No memory.
    pub fn new(device: &Device, parameters: &Parameters, trains: impl Fn(&Parameter) -> bool) -> Result<Self> {
        let one = |p: &Parameter| {
            let make = || Tensor::new(device, p.value.rows(), p.value.width(), ElementType::F32);
            trains(p).then(make).transpose()
        };
        Ok(Gradients { list: parameters.iter().map(one).collect::<Result<_>>()? })
    }

    /// For a model of which nothing trains.
    pub fn none(parameters: &Parameters) -> Self {
        Gradients { list: vec![None; parameters.len()] }
    }

    /// The gradient at a parameter's place, if it trains.
    pub fn get(&self, slot: Slot) -> Option<&Tensor> {
        self.list[slot].as_ref()
    }

    /// One entry for each parameter, in order.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = Option<&Tensor>> {
        self.list.iter().map(Option::as_ref)
    }

    /// Whether anything trains.
    pub fn any(&self) -> bool {
        self.list.iter().any(Option::is_some)
    }

    /// Places and gradients of what trains.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &Tensor)> {
        self.list.iter().enumerate().filter_map(|(slot, g)| g.as_ref().map(|g| (slot, g)))
    }

    /// Records the zeroing of all.
    pub fn clear(&self, recorder: &mut Recorder) {
        self.list.iter().flatten().for_each(|g| recorder.clear(g.buffer()));
    }
}
