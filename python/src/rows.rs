//! Rows from Python: arrays, which are read where they lie, and files.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};
use realign::io::{Dataset, EncoderId, OpenOptions};
use realign::stats::{DatasetRows, MemoryRows, NonFinite, RowSource, StreamOptions};
use realign::{ElementType, Error, Result};

use crate::errors::{input, parsed, raised};
use crate::options::options;
use crate::warnings;
use crate::work::{QUICK, Stop};

options! {
    /// How rows are read: keyword arguments of everything that takes rows.
    #[derive(Clone, Debug, Default)]
    pub struct Reading {
        nonfinite: Option<String>,
        chunk_rows: Option<usize>,
        key: Option<String>,
        column: Option<String>,
    }
}

impl Reading {
    pub fn nonfinite(&self) -> PyResult<NonFinite> {
        match self.nonfinite.as_deref() {
            None | Some("error") => Ok(NonFinite::Error),
            Some("zero") => Ok(NonFinite::Zero),
            Some(other) => Err(input(format!("nonfinite: {other:?} is unknown; give \"error\" or \"zero\""))),
        }
    }

    pub fn stream(&self) -> PyResult<StreamOptions<'static>> {
        Ok(StreamOptions::default().chunk_rows(self.chunk_rows).nonfinite(self.nonfinite()?))
    }
}

/// Rows `[n, d]` of an array, kept alive by the object that they belong to.
#[derive(Debug)]
pub struct Array {
    /// What numbers are in, to be let go of with the interpreter.
    _owner: Py<PyAny>,
    address: usize,
    pub rows: usize,
    pub width: usize,
    pub element: ElementType,
    /// What errors call it.
    name: String,
}

impl Array {
    /// The numbers as bytes.
    #[expect(unsafe_code, reason = "NumPy's memory")]
    pub fn bytes(&self) -> &[u8] {
        let bytes = self.rows * self.width * self.element.bytes();
        if bytes == 0 {
            return &[];
        }
        // SAFETY: the address is that of an aligned array in C order of this shape and type, which `_owner` keeps. Writing into the array while
        // realign reads it is as wrong as with NumPy's own functions, and said so in the package's documentation.
        unsafe { std::slice::from_raw_parts(self.address as *const u8, bytes) }
    }

    /// The numbers in f32.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let mut source = self.source()?;
        realign::rank::read_queries(&mut source, NonFinite::Error)
    }

    fn source(&self) -> Result<MemoryRows<'_>> {
        MemoryRows::new(&self.name, self.bytes(), self.width, self.element)
    }
}

/// Rows that something was given.
#[derive(Debug)]
pub enum Rows {
    Array(Array),
    Files(Dataset),
}

impl Rows {
    /// Rows of whatever Python calls so: see `realign._rows`, which brings everything to one of two forms.
    pub fn of(object: &Bound<'_, PyAny>, name: &str, reading: &Reading) -> PyResult<Rows> {
        if let Some(array) = exact_array(object, name)? {
            return Ok(Rows::Array(array));
        }
        let py = object.py();
        let converted = converter(py)?.call1((object, name))?;
        if let Some(array) = exact_array(&converted, name)? {
            return Ok(Rows::Array(array));
        }
        let paths: Vec<PathBuf> = converted.extract()?;
        let options = OpenOptions { key: reading.key.clone(), column: reading.column.clone(), ..Default::default() };
        py.detach(|| Dataset::open(&paths, &options)).map(Rows::Files).map_err(raised)
    }

    pub fn width(&self) -> usize {
        match self {
            Rows::Array(array) => array.width,
            Rows::Files(files) => files.width(),
        }
    }

    pub fn count(&self) -> u64 {
        match self {
            Rows::Array(array) => array.rows as u64,
            Rows::Files(files) => files.rows(),
        }
    }

    pub fn element(&self) -> ElementType {
        match self {
            Rows::Array(array) => array.element,
            Rows::Files(files) => files.element_type(),
        }
    }

    /// Whether work on them is over before anyone could want to stop it.
    pub fn quick(&self) -> bool {
        match self {
            Rows::Array(array) => array.bytes().len() <= QUICK,
            Rows::Files(_) => false,
        }
    }

    pub fn encoders(&self) -> Vec<EncoderId> {
        match self {
            Rows::Array(_) => Vec::new(),
            Rows::Files(files) => files.encoders(),
        }
    }

    /// The rows as the library reads them, until someone wants it to stop.
    pub fn source<'a>(&'a self, stop: &'a Stop) -> Result<Source<'a>> {
        let (inner, files): (Inner<'a>, _) = match self {
            Rows::Array(array) => (Inner::Array(array.source()?), None),
            Rows::Files(files) => (Inner::Files(Box::new(DatasetRows::new(files))), Some(files)),
        };
        Ok(Source { inner, files, stop })
    }
}

#[derive(Debug)]
enum Inner<'a> {
    Array(MemoryRows<'a>),
    Files(Box<DatasetRows<'a>>),
}

/// Rows that end early where someone wants the work to stop, and that warn of rows of zeros in files.
#[derive(Debug)]
pub struct Source<'a> {
    inner: Inner<'a>,
    files: Option<&'a Dataset>,
    stop: &'a Stop,
}

impl Source<'_> {
    fn get(&self) -> &dyn RowSource {
        match &self.inner {
            Inner::Array(rows) => rows,
            Inner::Files(rows) => &**rows,
        }
    }

    fn get_mut(&mut self) -> &mut dyn RowSource {
        match &mut self.inner {
            Inner::Array(rows) => rows,
            Inner::Files(rows) => &mut **rows,
        }
    }
}

impl Drop for Source<'_> {
    fn drop(&mut self) {
        let (Inner::Files(rows), Some(files)) = (&self.inner, self.files) else { return };
        let zero = rows.zero_rows();
        if let (Some(first), count @ 1..) = (zero.first, zero.count) {
            let path = files.shards().first().map_or_else(String::new, |shard| shard.path().display().to_string());
            let all = files.rows();
            warnings::say(format!(
                "{path}: {count} of {all} rows are zero, the first is row {first}: they count like all others; failed downloads and \
                 memory-mapped files that were not filled leave such rows, take them out"
            ));
        }
    }
}

impl RowSource for Source<'_> {
    fn rows(&self) -> u64 {
        self.get().rows()
    }

    fn width(&self) -> usize {
        self.get().width()
    }

    fn element_type(&self) -> ElementType {
        self.get().element_type()
    }

    fn rewind(&mut self) -> Result<()> {
        self.get_mut().rewind()
    }

    fn next(&mut self, most: usize, out: &mut [u8]) -> Result<usize> {
        self.stop.check()?;
        self.get_mut().next(most, out)
    }

    fn locate(&mut self, row: u64, out: &mut [u8]) -> Result<(PathBuf, u64)> {
        self.get_mut().locate(row, out)
    }

    fn encoder(&self) -> Option<EncoderId> {
        self.get().encoder()
    }
}

/// `realign._rows.rows`.
fn converter(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static FOUND: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    Ok(FOUND.get_or_try_init(py, || Ok::<_, PyErr>(py.import("realign._rows")?.getattr("rows")?.unbind()))?.bind(py))
}

/// `numpy.ndarray`, once something imported NumPy.
fn ndarray(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static FOUND: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    FOUND.import(py, "numpy", "ndarray")
}

/// A matrix of floats in C order, aligned and in this machine's byte order; `None` for all else, subclasses of NumPy's array included: a mask
/// must not be passed over.
fn exact_array(object: &Bound<'_, PyAny>, name: &str) -> PyResult<Option<Array>> {
    let py = object.py();
    if object.get_type().module().is_ok_and(|module| module != "numpy") || !object.get_type().is(ndarray(py)?) {
        return Ok(None);
    }
    let interface = object.getattr("__array_interface__")?.cast_into::<PyDict>()?;
    let get = |key| interface.get_item(key)?.ok_or_else(|| input(format!("{name}: an array without {key}")));
    let typestr: String = get("typestr")?.extract()?;
    let element = match &typestr[..] {
        "<f2" => ElementType::F16,
        "<f4" => ElementType::F32,
        "<f8" => ElementType::F64,
        _ => return Ok(None),
    };
    let shape = get("shape")?.cast_into::<PyTuple>()?;
    // Strides are said where the array is not in C order.
    if shape.len() != 2 || !get("strides")?.is_none() {
        return Ok(None);
    }
    let (rows, width): (usize, usize) = shape.extract()?;
    let (address, _): (usize, bool) = get("data")?.extract()?;
    if !address.is_multiple_of(element.bytes()) {
        return Ok(None);
    }
    if width == 0 {
        return Err(input(format!("{name}: rows of no numbers, [{rows}, 0]; give [n, d] with d from 1")));
    }
    Ok(Some(Array { _owner: object.clone().unbind(), address, rows, width, element, name: name.to_owned() }))
}

/// A name of a type, as NumPy has it or as the library.
pub fn element_of(argument: &str, text: &str) -> PyResult<ElementType> {
    match text {
        "f16" | "float16" => Ok(ElementType::F16),
        "bf16" | "bfloat16" => Ok(ElementType::BF16),
        "f32" | "float32" => Ok(ElementType::F32),
        "f64" | "float64" => Ok(ElementType::F64),
        other => Err(input(format!("{argument}: {other:?} is no type; choose float16, float32 or float64"))),
    }
}

/// A new NumPy array `[n, d]`, and the memory to fill.
pub struct Filled<'py> {
    pub array: Bound<'py, PyAny>,
    address: usize,
    bytes: usize,
}

impl<'py> Filled<'py> {
    /// Of zeros.
    pub fn new(py: Python<'py>, shape: &[usize], element: ElementType) -> PyResult<Self> {
        let name = match element {
            ElementType::F16 => "float16",
            ElementType::F64 => "float64",
            _ => "float32",
        };
        let array = py.import("numpy")?.call_method1("zeros", (PyTuple::new(py, shape)?, name))?;
        let interface = array.getattr("__array_interface__")?.cast_into::<PyDict>()?;
        let data = interface.get_item("data")?.ok_or_else(|| input("NumPy gave an array without memory"))?;
        let (address, _): (usize, bool) = data.extract()?;
        Ok(Filled { array, address, bytes: shape.iter().product::<usize>() * element.bytes() })
    }

    /// Of these numbers, f64 or f32 by the bytes of one.
    pub fn of<T: Number>(py: Python<'py>, shape: &[usize], numbers: &[T]) -> PyResult<Bound<'py, PyAny>> {
        let mut filled = Self::new(py, shape, T::ELEMENT)?;
        let mut memory = filled.memory();
        let size = T::ELEMENT.bytes();
        memory.get().chunks_exact_mut(size).zip(numbers).for_each(|(to, number)| number.put(to));
        Ok(filled.array)
    }

    /// The memory, to be filled without the interpreter's lock.
    pub fn memory(&mut self) -> Memory {
        Memory { address: self.address, bytes: self.bytes }
    }
}

/// A number of an array.
pub trait Number: Copy {
    const ELEMENT: ElementType;
    fn put(self, to: &mut [u8]);
}

impl Number for f32 {
    const ELEMENT: ElementType = ElementType::F32;
    fn put(self, to: &mut [u8]) {
        to.copy_from_slice(&self.to_ne_bytes());
    }
}

impl Number for f64 {
    const ELEMENT: ElementType = ElementType::F64;
    fn put(self, to: &mut [u8]) {
        to.copy_from_slice(&self.to_ne_bytes());
    }
}

/// The memory of a new array that nobody else has seen.
pub struct Memory {
    address: usize,
    bytes: usize,
}

impl Memory {
    #[expect(unsafe_code, reason = "NumPy's memory")]
    pub fn get(&mut self) -> &mut [u8] {
        if self.bytes == 0 {
            return &mut [];
        }
        // SAFETY: the array was made for this, has so many bytes, and outlives the call that fills it: its owner is on that call's stack.
        unsafe { std::slice::from_raw_parts_mut(self.address as *mut u8, self.bytes) }
    }
}

/// Fails where rows are of another width than what they are for.
pub fn check_width(rows: &Rows, name: &str, (want, what): (usize, &str)) -> PyResult<()> {
    let have = rows.width();
    if have == want {
        return Ok(());
    }
    Err(input(format!("{name}: rows of width {have}, but {what} is of width {want}")))
}

/// How many directions a frame has, from `energy=` and `rank=`.
pub fn cut(energy: Option<f64>, rank: Option<usize>) -> PyResult<realign::geometry::Cut> {
    match (energy, rank) {
        (Some(_), Some(_)) => Err(input("energy, rank: give one of them")),
        (Some(energy), None) => Ok(realign::geometry::Cut::Energy(energy)),
        (None, Some(rank)) => Ok(realign::geometry::Cut::Rank(rank)),
        (None, None) => Ok(Default::default()),
    }
}

/// A number of steps or a word, as callers give a centroid.
pub enum NumberOrName {
    Number(i64),
    Name(String),
}

impl<'a, 'py> FromPyObject<'a, 'py> for NumberOrName {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(name) = given.extract() {
            return Ok(NumberOrName::Name(name));
        }
        given.extract().map(NumberOrName::Number)
    }
}

impl NumberOrName {
    pub fn centroid(&self) -> PyResult<realign::align::Centroid> {
        match self {
            NumberOrName::Number(number) => parsed("centroid", &number.to_string()),
            NumberOrName::Name(name) => parsed("centroid", name),
        }
    }
}

/// An output that must fit the rows that it is for.
pub fn whole(rows: u64) -> Result<usize> {
    usize::try_from(rows).map_err(|_| Error::argument("rows", "too many for this machine's memory; give out="))
}

/// d of rows.
#[pyfunction]
pub fn width_of(rows: &Bound<'_, PyAny>, reading: Reading) -> PyResult<usize> {
    Ok(Rows::of(rows, "rows", &reading)?.width())
}
