//! What lies in a bucket.

use std::path::{Path as FilePath, PathBuf};

use futures_util::TryStreamExt;
use glob::{MatchOptions, Pattern};
use object_store::path::Path;

use super::address::{Address, Service};
use super::store;
use crate::{Error, Result};

/// What a name stands for.
pub(in super::super) enum Listed {
    /// One object.
    One,
    /// A folder: a name that ends in a slash.
    Folder,
    /// The objects that match a pattern, in any order.
    Pattern(Vec<PathBuf>),
}

const PATTERN: [char; 3] = ['*', '?', '['];

/// What a URL names, and what is there if it is a pattern.
pub(in super::super) fn expand(path: &FilePath) -> Result<Listed> {
    let address = Address::parse(path)?;
    if !address.key.contains(PATTERN) {
        return Ok(if address.key.ends_with('/') || address.key.is_empty() { Listed::Folder } else { Listed::One });
    }
    refuse_web(&address, path)?;
    let pattern = Pattern::new(&address.key).map_err(|e| Error::format(path, format!("not a valid pattern: {e}")))?;
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
    let literal = address.key.split(PATTERN).next().unwrap_or_default();
    let folder = literal.rsplit_once('/').map_or("", |(folder, _)| folder);
    let (store, prefix) = (store::connect(&address, path)?, prefix(folder, path)?);
    let objects = store.objects.clone();
    let list = move || {
        let (objects, prefix) = (objects.clone(), prefix.clone());
        async move { objects.list(prefix.as_ref()).map_ok(|meta| meta.location).try_collect::<Vec<_>>().await }
    };
    let keys = store::persist(path, store.service, list).map_err(Error::io("list", path))?;
    let fits = keys.iter().map(Path::as_ref).filter(|key| pattern.matches_with(key, options));
    Ok(Listed::Pattern(fits.map(|key| format!("{}/{key}", address.base).into()).collect()))
}

/// The objects of a folder, and the folders in it.
pub(in super::super) fn folder_of_files(path: &FilePath) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let address = Address::parse(path)?;
    refuse_web(&address, path)?;
    let (store, prefix) = (store::connect(&address, path)?, prefix(address.key.trim_end_matches('/'), path)?);
    let objects = store.objects.clone();
    let list = move || {
        let (objects, prefix) = (objects.clone(), prefix.clone());
        async move { objects.list_with_delimiter(prefix.as_ref()).await }
    };
    let found = store::persist(path, store.service, list).map_err(Error::io("list", path))?;
    let url = |key: &Path| PathBuf::from(format!("{}/{key}", address.base));
    Ok((
        found.objects.iter().map(|meta| url(&meta.location)).collect(),
        found.common_prefixes.iter().map(url).collect(),
    ))
}

fn prefix(folder: &str, path: &FilePath) -> Result<Option<Path>> {
    if folder.is_empty() {
        return Ok(None);
    }
    Path::parse(folder).map(Some).map_err(|e| Error::format(path, format!("is no folder of keys: {e}")))
}

fn refuse_web(address: &Address, path: &FilePath) -> Result<()> {
    match address.service {
        Service::Web => Err(Error::format(path, "web servers do not list their files; name each file by itself")),
        _ => Ok(()),
    }
}
