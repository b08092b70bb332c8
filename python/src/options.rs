//! Keyword arguments, as `realign/*.py` gives them: dictionaries that have every key.

use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::errors::input;

/// A struct that is read from a dictionary, with errors that name the keyword.
macro_rules! options {
    ($(#[$doc:meta])* $vis:vis struct $name:ident $(<$py:lifetime>)? { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        $vis struct $name $(<$py>)? {
            $($field: $type,)*
        }

        $crate::options::options!(@read $name, ($($py)?), $($field: $type),*);
    };
    (@read $name:ident, (), $($field:ident: $type:ty),*) => {
        impl<'a, 'py> ::pyo3::FromPyObject<'a, 'py> for $name {
            type Error = ::pyo3::PyErr;

            fn extract(given: ::pyo3::Borrowed<'a, 'py, ::pyo3::PyAny>) -> ::pyo3::PyResult<Self> {
                Ok($name { $($field: $crate::options::keyword(&given, stringify!($field))?,)* })
            }
        }
    };
    (@read $name:ident, ($py:lifetime), $($field:ident: $type:ty),*) => {
        impl<'a, $py> ::pyo3::FromPyObject<'a, $py> for $name<$py> {
            type Error = ::pyo3::PyErr;

            fn extract(given: ::pyo3::Borrowed<'a, $py, ::pyo3::PyAny>) -> ::pyo3::PyResult<Self> {
                Ok($name { $($field: $crate::options::keyword(&given, stringify!($field))?,)* })
            }
        }
    };
}
pub(crate) use options;

/// The value of a keyword.
///
/// # Errors
/// A value of another type or out of range: the keyword is named.
pub fn keyword<'py, T: FromPyObjectOwned<'py>>(given: &Bound<'py, PyAny>, name: &str) -> PyResult<T> {
    let value = given.get_item(name)?;
    value.extract().map_err(|problem: T::Error| {
        let problem: PyErr = problem.into();
        let shown = value.repr().map_or_else(|_| "?".to_owned(), |text| text.to_string());
        let text = format!("{name}: {shown} is no value for it: {}", problem.value(given.py()));
        if problem.is_instance_of::<PyTypeError>(given.py()) { PyTypeError::new_err(text) } else { input(text) }
    })
}
