//! Named parameters on a device, and gradients beside them.

use std::collections::HashMap;

use super::sharded_matrix::{self, ShardedMatrix};
use crate::device::{Device, Purpose, Recorder, Tensor};
use crate::kernels::nn::elementwise;
use crate::{ElementType, Error, Result};

/// One matrix or vector of a model, on the device in f32 or bf16 or, where it is frozen, perhaps in f16. A vector `[d]` is a tensor `[1, d]`.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name in the model's files.
    pub name: String,
    /// Its shape there: `[d]` or `[rows, d]`.
    pub shape: Vec<usize>,
    /// The values: one tensor, unless it was added as a table.
    pub value: ShardedMatrix,
    /// Their copy in f16, which products read instead, where the model computes in [`Precision::Mixed`](super::Precision::Mixed) and trains.
    pub(crate) rounded: Option<ShardedMatrix>,
}

impl Parameter {
    /// What products read.
    pub(crate) fn operand(&self) -> &ShardedMatrix {
        self.rounded.as_ref().unwrap_or(&self.value)
    }
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
    /// Adds a parameter of values `data`, row-major, in f32.
    ///
    /// # Errors
    /// As [`Self::add_as`].
    pub fn add(&mut self, device: &Device, name: &str, shape: &[usize], data: &[f32]) -> Result<Slot> {
        self.add_as(device, name, shape, data, ElementType::F32)
    }

    /// Adds a parameter of values `data`, row-major, stored as f32, f16 or bf16 (rounded to nearest). What trains must be f32 or bf16.
    ///
    /// # Errors
    /// Another type, a number beyond f16, a name that is there already, a shape that is not one of a vector or matrix or does not fit the data; no memory.
    pub fn add_as(
        &mut self,
        device: &Device,
        name: &str,
        shape: &[usize],
        data: &[f32],
        element: ElementType,
    ) -> Result<Slot> {
        let width = self.check(name, shape, data)?;
        let value = sharded_matrix::stored(device, name, data, width, element)?;
        Ok(self.push(name, shape, value.into()))
    }

    /// As [`Self::add_as`], in several tensors where one would be above the device's largest binding: for what embeddings are gathered
    /// from and logits are computed with.
    ///
    /// # Errors
    /// As [`Self::add_as`].
    pub fn add_table(
        &mut self,
        device: &Device,
        name: &str,
        shape: &[usize],
        data: &[f32],
        element: ElementType,
    ) -> Result<Slot> {
        let width = self.check(name, shape, data)?;
        let value = ShardedMatrix::from_f32(device, name, data, width, element)?;
        Ok(self.push(name, shape, value))
    }

    /// The width of a parameter that may be added.
    fn check(&self, name: &str, shape: &[usize], data: &[f32]) -> Result<usize> {
        let (&[width] | &[_, width]) = shape else {
            return Err(Error::shape("parameters", "shape", format!("{name}: 1 or 2 sides"), shape.len()));
        };
        if self.slots.contains_key(name) {
            return Err(Error::argument("parameter", format!("{name} is there already")));
        }
        if data.len() != shape.iter().product::<usize>() || width == 0 {
            return Err(Error::shape("parameters", "data", format!("{name}: {shape:?}"), data.len()));
        }
        Ok(width)
    }

    fn push(&mut self, name: &str, shape: &[usize], value: ShardedMatrix) -> Slot {
        self.slots.insert(name.to_owned(), self.list.len());
        self.list.push(Parameter { name: name.to_owned(), shape: shape.to_vec(), value, rounded: None });
        self.list.len() - 1
    }

    /// The parameter at a place that [`Self::add`] or [`Self::slot`] gave.
    ///
    /// # Panics
    /// As a list does where these parameters have no such place: a [`Slot`] is an index, and belongs to its own model's parameters.
    pub fn get(&self, slot: Slot) -> &Parameter {
        &self.list[slot]
    }

    /// The values of a parameter that was not added as a table.
    ///
    /// # Errors
    /// It is a table in several tensors; there is no such place.
    pub fn tensor(&self, slot: Slot) -> Result<&Tensor> {
        self.single(slot, |parameter| &parameter.value)
    }

    /// What products read of a parameter that was not added as a table.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub(crate) fn operand(&self, slot: Slot) -> Result<&Tensor> {
        self.single(slot, Parameter::operand)
    }

    fn single(&self, slot: Slot, of: impl Fn(&Parameter) -> &ShardedMatrix) -> Result<&Tensor> {
        let places = || Error::shape("parameters", "place", format!("below {}", self.len()), slot);
        let parameter = self.list.get(slot).ok_or_else(places)?;
        let parts = || format!("{} tensors", parameter.value.shards().len());
        of(parameter).single().ok_or_else(|| Error::shape("parameters", &parameter.name, "one tensor", parts()))
    }

    /// Gives the parameter a copy in f16 for products to read, to be filled by [`Self::round`]; nothing where it has 16 bits already or a copy.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn add_rounded(&mut self, device: &Device, slot: Slot) -> Result<()> {
        let Some(parameter) = self.list.get_mut(slot) else { return Ok(()) };
        if parameter.rounded.is_none() && parameter.value.element_type() == ElementType::F32 {
            let label = (Purpose::Weights, &parameter.name[..]);
            parameter.rounded = Some(parameter.value.empty_like(device, label, ElementType::F16)?);
        }
        Ok(())
    }

    /// Gives back the copies that products read in f16: they read the values again.
    pub(crate) fn drop_rounded(&mut self) {
        self.list.iter_mut().for_each(|parameter| parameter.rounded = None);
    }

    /// Records the rounding of values to the copies that products read, of those parameters that `changed` says.
    ///
    /// # Errors
    /// The recorder is another device's.
    pub(crate) fn round(&self, recorder: &mut Recorder, changed: impl Fn(Slot) -> bool) -> Result<()> {
        for (_, parameter) in self.list.iter().enumerate().filter(|(slot, _)| changed(*slot)) {
            let Some(rounded) = &parameter.rounded else { continue };
            for ((_, value), (_, rounded)) in parameter.value.shards().zip(rounded.shards()) {
                elementwise::cast(recorder, value, rounded)?;
            }
        }
        Ok(())
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
    list: Vec<Option<ShardedMatrix>>,
}

impl Gradients {
    /// Zeroed gradients, in f32, for the parameters that `trains` says. One in bf16 is rounded stochastically at each step.
    ///
    /// # Errors
    /// A parameter that trains and is neither f32 nor bf16; no memory.
    pub fn new(device: &Device, parameters: &Parameters, trains: impl Fn(&Parameter) -> bool) -> Result<Self> {
        let one = |p: &Parameter| {
            let make = || {
                if !matches!(p.value.element_type(), ElementType::F32 | ElementType::BF16) {
                    let problem =
                        format!("{} is held in {}, which only frozen ones are", p.name, p.value.element_type());
                    return Err(Error::argument(
                        "training parameter",
                        format!("{problem}; load the model in f32 or bf16"),
                    ));
                }
                p.value.zeros_like(device, (Purpose::Gradients, &p.name))
            };
            trains(p).then(make).transpose()
        };
        Ok(Gradients { list: parameters.iter().map(one).collect::<Result<_>>()? })
    }

    /// For a model of which nothing trains.
    pub fn none(parameters: &Parameters) -> Self {
        Gradients { list: vec![None; parameters.len()] }
    }

    /// Zeroed gradients of the same parameters, whose memory groups share that are complete one after the other: what one of `groups` holds
    /// is to be taken before the next one's begins. Those that are `alone` share nothing; a parameter in no group gets none.
    ///
    /// # Errors
    /// No memory.
    #[cfg(feature = "train")]
    pub(crate) fn shared_by(
        &self,
        device: &Device,
        groups: &[Vec<Slot>],
        alone: impl Fn(Slot) -> bool,
    ) -> Result<Gradients> {
        let (mut list, mut pool) = (vec![None; self.list.len()], Vec::<ShardedMatrix>::new());
        for group in groups {
            let mut free = vec![true; pool.len()];
            for &slot in group {
                let Some(like) = self.get(slot) else { continue };
                let fits = |i: &usize| free[*i] && pool[*i].is_cut_as(like);
                let shared = (0..pool.len()).find(fits).filter(|_| !alone(slot));
                let matrix = match shared {
                    Some(i) => {
                        free[i] = false;
                        pool[i].clone()
                    }
                    None => like.zeros_like(device, (Purpose::Gradients, "of a batch"))?,
                };
                if shared.is_none() && !alone(slot) {
                    pool.push(matrix.clone());
                    free.push(false);
                }
                list[slot] = Some(matrix);
            }
        }
        Ok(Gradients { list })
    }

    /// The gradient at a parameter's place, if it trains; none where there is no such place.
    pub fn get(&self, slot: Slot) -> Option<&ShardedMatrix> {
        self.list.get(slot)?.as_ref()
    }

    /// The gradient of a parameter that was not added as a table, if it trains.
    ///
    /// # Errors
    /// It is a table in several tensors.
    pub fn tensor(&self, slot: Slot) -> Result<Option<&Tensor>> {
        let several = || Error::shape("gradients", "parameter", "one tensor", "a table in several");
        self.get(slot).map(|table| table.single().ok_or_else(several)).transpose()
    }

    /// One entry for each parameter, in order.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = Option<&ShardedMatrix>> {
        self.list.iter().map(Option::as_ref)
    }

    /// Whether anything trains.
    pub fn any(&self) -> bool {
        self.list.iter().any(Option::is_some)
    }

    /// Places and gradients of what trains.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &ShardedMatrix)> {
        self.list.iter().enumerate().filter_map(|(slot, g)| g.as_ref().map(|g| (slot, g)))
    }

    /// Records the zeroing of all.
    pub fn clear(&self, recorder: &mut Recorder) {
        self.list.iter().flatten().for_each(|g| g.clear(recorder));
    }
}
