//! Methods that set a field each, for options that will grow: they cannot be written as literals outside of the crate.

/// Implements, for each field, a method of its name that gives the options with that field set.
macro_rules! setters {
    ($name:ident $(<$lifetime:lifetime>)? { $($field:ident: $type:ty),* $(,)? }) => {
        impl $(<$lifetime>)? $name $(<$lifetime>)? {
            $(
                #[doc = concat!("The same with the field `", stringify!($field), "` set.")]
                #[must_use]
                pub fn $field(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}
pub(crate) use setters;
