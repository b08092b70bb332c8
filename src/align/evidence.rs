//! Fitting from what there is of each side: its rows, its moments, or both.

use super::fit::{needs_source_rows, refuse_moments};
use super::options::check_options;
use super::{FitOptions, Method, Statistics, fit, fit_moments};
use crate::device::Device;
use crate::io::EncoderId;
use crate::kernels::stats::moments::Summand;
use crate::stats::{Moments, RowSource, measure};
use crate::{Error, Result};

/// What there is of one side of a fit.
pub enum Evidence<'a> {
    /// Its rows `[n, d]`.
    Rows(&'a mut dyn RowSource),
    /// Its moments, counted before and perhaps elsewhere.
    Moments(&'a Moments),
    /// Both: the moments are not counted again, and the rows serve what needs them once more.
    Both(&'a mut dyn RowSource, &'a Moments),
}

impl std::fmt::Debug for Evidence<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Evidence::Rows(_) => "Rows",
            Evidence::Moments(_) => "Moments",
            Evidence::Both(..) => "Both",
        };
        f.debug_struct(name).field("width", &self.width()).finish_non_exhaustive()
    }
}

impl<'a> Evidence<'a> {
    /// From what is given; `None` where neither is.
    pub fn of(rows: Option<&'a mut dyn RowSource>, moments: Option<&'a Moments>) -> Option<Self> {
        match (rows, moments) {
            (Some(rows), Some(moments)) => Some(Evidence::Both(rows, moments)),
            (Some(rows), None) => Some(Evidence::Rows(rows)),
            (None, Some(moments)) => Some(Evidence::Moments(moments)),
            (None, None) => None,
        }
    }

    /// d.
    pub fn width(&self) -> usize {
        match self {
            Evidence::Rows(rows) => rows.width(),
            Evidence::Moments(moments) | Evidence::Both(_, moments) => moments.width(),
        }
    }

    /// The encoder of its rows, where they or their moments say it.
    fn encoder(&self) -> Option<EncoderId> {
        match self {
            Evidence::Rows(rows) => rows.encoder(),
            Evidence::Both(rows, moments) => rows.encoder().or_else(|| moments.encoder().cloned()),
            Evidence::Moments(moments) => moments.encoder().cloned(),
        }
    }

    /// The method that a source of this kind allows: ReAlign with rows; with moments alone anchor and trace, for the centroid step
    /// needs the rows once more.
    pub fn default_method(&self) -> Method {
        match self {
            Evidence::Moments(_) => Method::AnchorTrace,
            Evidence::Rows(_) | Evidence::Both(..) => Method::ReAlign,
        }
    }

    /// The moments, counted where they are not known, and the rows.
    fn counted(self, device: &Device, options: &FitOptions<'_>) -> Result<(Moments, Option<&'a mut dyn RowSource>)> {
        match self {
            Evidence::Rows(rows) => {
                let unit_rows = Summand::unit_rows(device, rows.width())?;
                let moments = measure(device, rows, &unit_rows, options.stream)?;
                Ok((moments, Some(rows)))
            }
            Evidence::Moments(moments) => Ok((moments.clone(), None)),
            Evidence::Both(rows, moments) => Ok((moments.clone(), Some(rows))),
        }
    }
}

/// Fits an operator from whatever there is of each side; the result is the same, bit for bit, whether a side's moments are counted
/// here or were counted before.
///
/// # Errors
/// As [`fit()`] and [`fit_moments`]: methods with a map need the rows of both sides and no moments, ReAlign the source's rows.
pub fn fit_evidence(
    device: &Device,
    source: Evidence<'_>,
    target: Evidence<'_>,
    options: &FitOptions<'_>,
) -> Result<Statistics> {
    let (source, target) = match (source, target) {
        (Evidence::Rows(source), Evidence::Rows(target)) => return fit(device, source, target, options),
        others => others,
    };
    if source.width() != target.width() {
        let (want, got) = (format!("width {}, as the source", source.width()), format!("width {}", target.width()));
        return Err(Error::shape("fit", "target", want, got));
    }
    // Before a side is counted, which may take hours.
    check_options(options, source.width())?;
    refuse_moments(options.method)?;
    if options.method == Method::ReAlign && matches!(source, Evidence::Moments(_)) {
        return Err(needs_source_rows());
    }
    let encoders = (source.encoder(), target.encoder());
    let (source, rows) = source.counted(device, options)?;
    let (target, _) = target.counted(device, options)?;
    Ok(Statistics { encoders, ..fit_moments(device, (&source, &target), rows, options)? })
}
