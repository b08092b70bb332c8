//! Variants of kernels: which files stand for the names that a shader imports, and the values of its overrides.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{ElementType, Result};

/// A name that a shader imports, and the file below `shaders/` that stands for it.
pub type Import = (&'static str, &'static str);

/// The name of an override, and its value.
pub type Constant = (&'static str, f64);

/// A variant of kernels, made by the device whose kernels it is for: two are the same where their numbers are.
#[derive(Clone, Debug)]
pub struct Variant(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u32,
    choice: Owned,
    imports: Vec<Import>,
    constants: Vec<Constant>,
}

/// What a kernel's caller chooses a variant by: few and small values, since it is looked up for every dispatch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice<'a> {
    /// Whose imports and constants complete the variant; each must always add the same for the same choice.
    pub family: &'static str,
    /// Element types of the input and output rows.
    pub elements: (ElementType, ElementType),
    /// Files for imports.
    pub imports: &'a [Import],
    /// Values of overrides.
    pub constants: &'a [Constant],
}

#[derive(Debug)]
struct Owned {
    family: &'static str,
    elements: (ElementType, ElementType),
    imports: Vec<Import>,
    constants: Vec<Constant>,
}

impl Choice<'_> {
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        // Texts by place: the same text at two places makes two variants, which costs a pipeline and no more.
        let place = |text: &'static str| text.as_ptr() as usize;
        place(self.family).hash(&mut hasher);
        self.elements.hash(&mut hasher);
        self.imports.iter().for_each(|(name, file)| (place(name), place(file)).hash(&mut hasher));
        self.constants.iter().for_each(|(name, value)| (place(name), value.to_bits()).hash(&mut hasher));
        hasher.finish()
    }

    fn is(&self, other: &Owned) -> bool {
        let same = |a: &[Constant], b: &[Constant]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && a.1.to_bits() == b.1.to_bits())
        };
        self.family == other.family
            && self.elements == other.elements
            && self.imports == other.imports
            && same(self.constants, &other.constants)
    }
}

impl Variant {
    /// Its number on its device; the plain one, without imports and constants, is 0.
    pub fn id(&self) -> u32 {
        self.0.id
    }

    /// Which files stand for the names that a source imports.
    pub fn imports(&self) -> &[Import] {
        &self.0.imports
    }

    /// Values of overrides; a shader takes those that it has.
    pub fn constants(&self) -> &[Constant] {
        &self.0.constants
    }
}

/// All variants of a device, each once.
#[derive(Debug)]
pub(crate) struct Variants {
    plain: Variant,
    made: Mutex<Made>,
}

#[derive(Debug, Default)]
struct Made {
    by_hash: HashMap<u64, Vec<Variant>>,
    count: u32,
}

impl Default for Variants {
    fn default() -> Self {
        let choice = Owned {
            family: "plain",
            elements: (ElementType::F32, ElementType::F32),
            imports: Vec::new(),
            constants: Vec::new(),
        };
        let plain = Variant(Arc::new(Inner { id: 0, choice, imports: Vec::new(), constants: Vec::new() }));
        Variants { plain, made: Mutex::default() }
    }
}

impl Variants {
    /// Forgets all choices, whose variants depend on the device's capabilities. Numbers are not given twice: the engine may hold
    /// pipelines of the variants before.
    pub fn forget(&mut self) {
        self.made.get_mut().unwrap_or_else(PoisonError::into_inner).by_hash.clear();
    }

    /// The one without imports and constants.
    pub fn plain(&self) -> &Variant {
        &self.plain
    }

    /// The variant of a choice: found, or made of the imports and constants that `complete` gives.
    ///
    /// # Errors
    /// Those of `complete`.
    pub fn get(
        &self,
        choice: Choice<'_>,
        complete: impl FnOnce() -> Result<(Vec<Import>, Vec<Constant>)>,
    ) -> Result<Variant> {
        let hash = choice.hash();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let same = made.by_hash.get(&hash).and_then(|same| same.iter().find(|v| choice.is(&v.0.choice)));
        if let Some(found) = same {
            return Ok(found.clone());
        }
        let (imports, constants) = complete()?;
        made.count += 1;
        let owned = Owned {
            family: choice.family,
            elements: choice.elements,
            imports: choice.imports.to_vec(),
            constants: choice.constants.to_vec(),
        };
        let variant = Variant(Arc::new(Inner { id: made.count, choice: owned, imports, constants }));
        made.by_hash.entry(hash).or_default().push(variant.clone());
        Ok(variant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice<'a>(elements: (ElementType, ElementType), constants: &'a [Constant]) -> Choice<'a> {
        Choice { family: "rows", elements, imports: &[], constants }
    }

    #[test]
    fn a_choice_that_was_forgotten_gets_a_number_of_its_own() {
        let mut variants = Variants::default();
        let floats = (ElementType::F32, ElementType::F32);
        let get = |variants: &Variants| variants.get(choice(floats, &[]), || Ok((vec![], vec![]))).unwrap().id();
        let before = get(&variants);
        variants.forget();
        assert!(get(&variants) > before);
    }

    #[test]
    fn equal_choices_are_one_variant_and_others_are_not() {
        let variants = Variants::default();
        let floats = (ElementType::F32, ElementType::F32);
        let get = |choice| variants.get(choice, || Ok((vec![("rows", "a")], vec![("LANES", 1.0)]))).unwrap();
        let first = get(choice(floats, &[("DOWN", 0.0)]));
        assert_eq!(first.id(), get(choice(floats, &[("DOWN", 0.0)])).id());
        assert_eq!(first.imports(), [("rows", "a")]);
        let others = [
            choice(floats, &[("DOWN", 1.0)]),
            choice(floats, &[]),
            choice((ElementType::F16, ElementType::F32), &[("DOWN", 0.0)]),
            Choice { family: "matmul", ..choice(floats, &[("DOWN", 0.0)]) },
            Choice { imports: &[("tile", "b")], ..choice(floats, &[("DOWN", 0.0)]) },
        ];
        let mut ids = vec![first.id(), variants.plain().id()];
        ids.extend(others.map(|other| get(other).id()));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 7, "{ids:?}");
    }
}
