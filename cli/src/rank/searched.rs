//! What `search` and `compare` read: a ranking, queries, collections, and the ids of all.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use realign::error::Remedy;
use realign::io::{Dataset, Ids, Shard};
use realign::rank::{Named, Profile, Ranking, read_queries};
use realign::stats::{DatasetRows, RowSource};

use crate::rank::args::{NamedInput, SearchedArgs};
use crate::shared::sources::LazyDevice;
use crate::shared::zero_rows;

/// A name and its files, in the order of first mention.
pub fn grouped(inputs: &[NamedInput]) -> Vec<(String, Vec<PathBuf>)> {
    let mut all: Vec<(String, Vec<PathBuf>)> = Vec::new();
    for input in inputs {
        match all.iter_mut().find(|(name, _)| *name == input.name) {
            Some((_, paths)) => paths.push(input.path.clone()),
            None => all.push((input.name.clone(), vec![input.path.clone()])),
        }
    }
    all
}

/// Rows of data sets as the library takes them.
pub fn named<'a, 'b>(names: &'a [(String, Dataset)], rows: &'b mut [DatasetRows<'_>]) -> Vec<Named<'a, 'b>> {
    names.iter().zip(rows).map(|((name, _), rows)| (&name[..], rows as &mut dyn RowSource)).collect()
}

/// What was opened.
pub struct Searched {
    pub ranking: Ranking,
    /// The queries' kind, where one was named.
    pub kind: Option<String>,
    /// `[b, d]`.
    pub queries: Vec<f32>,
    pub query_ids: Ids,
    pub query_path: PathBuf,
    pub collections: Vec<(String, Dataset)>,
    pub ids: Vec<Ids>,
    inputs: Vec<PathBuf>,
}

impl Searched {
    /// With `any` rows may be of another encoder than the ranking's.
    pub fn open(args: &SearchedArgs, device: &LazyDevice<'_>, any: bool) -> Result<Searched> {
        let ranking = Ranking::load(&args.ranking)?;
        let (kind, paths) = queries_of(&ranking, &args.queries)?;
        let query_set = args.encoder.open(device, &args.read, &paths)?;
        if query_set.width() != ranking.width() {
            let (have, want) = (query_set.width(), ranking.width());
            bail!("{}: rows of {have}, but the ranking is one of rows of {want}", paths[0].display());
        }
        ranking.check_query_encoders(kind.as_deref(), &query_set.encoders(), any)?;
        let query_ids = ids_of(&query_set, args.query_ids.as_deref(), args.id_column.as_deref())?;
        let (mut collections, mut ids) = (Vec::new(), Vec::new());
        for (name, paths) in grouped(&args.collections) {
            let set = args.encoder.open(device, &args.read, &paths)?;
            let mut lists = args.ids.iter().filter(|list| list.name == name).map(|list| &list.path);
            let list = lists.next();
            if let Some(second) = lists.next() {
                bail!("{}: is the second list of ids of {name}; give one", second.display());
            }
            ids.push(ids_of(&set, list.map(PathBuf::as_path), args.id_column.as_deref())?);
            ranking.check_collection_encoders(&name, &set.encoders(), any)?;
            collections.push((name, set));
        }
        if let Some(list) = args.ids.iter().find(|list| collections.iter().all(|(name, _)| *name != list.name)) {
            bail!("--ids {}={}: there is no collection of this name", list.name, list.path.display());
        }
        let mut inputs = vec![args.ranking.clone()];
        // As they were named, too: with an encoder the rows lie in a cache, and these are texts and pictures.
        inputs.extend(paths.iter().cloned().chain(args.collections.iter().map(|input| input.path.clone())));
        inputs.extend(query_set.shards().iter().map(|shard| shard.path().to_path_buf()));
        inputs.extend(args.ids.iter().map(|list| list.path.clone()).chain(args.query_ids.clone()));
        let query_path = paths.into_iter().next().unwrap_or_default();
        let mut rows = DatasetRows::new(&query_set).nonfinite(args.read.nonfinite());
        let queries = read_queries(&mut rows, args.read.nonfinite())?;
        zero_rows::warn(&query_set, rows.zero_rows());
        Ok(Searched { ranking, kind, queries, query_ids, query_path, collections, ids, inputs })
    }

    /// Every file that is read.
    pub fn inputs(&self) -> impl Iterator<Item = &Path> + Clone {
        let shards = self.collections.iter().flat_map(|(_, set)| set.shards()).map(Shard::path);
        shards.chain(self.inputs.iter().map(PathBuf::as_path))
    }

    /// Warns of collections that are their own reference: a share of them is a rank.
    pub fn warn_of_own_references(&self) {
        for (name, set) in &self.collections {
            let profile = self.ranking.collections().find(|(known, _)| known == name);
            let whole = |p: &Profile| p.rows() == set.rows() && p.sample().copies().iter().sum::<u64>() == p.rows();
            if profile.is_some_and(|(_, profile)| whole(profile)) {
                let rows = set.rows();
                log::warn!(
                    "{name}: the ranking's sample is the whole of a collection of {rows} rows, as many as are searched; if it is this one, a share of it \
                     is a rank within it, and tells no more than fusion of ranks; fit to more or other rows of its kind"
                );
            }
        }
    }

    /// Rows of the collections, for a bar.
    pub fn rows(&self) -> u64 {
        self.collections.iter().map(|(_, set)| set.rows()).sum()
    }
}

/// The kind that was named, and the files.
fn queries_of(ranking: &Ranking, queries: &[String]) -> Result<(Option<String>, Vec<PathBuf>)> {
    let knows = |name: &str| ranking.queries().chain(ranking.collections()).any(|(known, _)| known == name);
    let (mut kind, mut paths) = (None::<String>, Vec::new());
    for (i, text) in queries.iter().enumerate() {
        // A file's name may have an equals sign, too.
        let (name, path) = match text.split_once('=') {
            Some((name, path)) if knows(name) => (Some(name.to_owned()), path),
            _ => (None, &text[..]),
        };
        if i > 0 && name != kind {
            bail!("--queries {text}: all queries of one run are of one kind; run the others apart");
        }
        kind = name;
        paths.push(PathBuf::from(path));
    }
    Ok((kind, paths))
}

/// The ids of rows: of a list, of the files' own column, or the rows' numbers where there is neither.
fn ids_of(set: &Dataset, list: Option<&Path>, column: Option<&str>) -> Result<Ids> {
    match Ids::of_dataset(set, list, column) {
        Err(error) if list.is_none() && column.is_none() && has_none(&error) => {
            let mut ids = Ids::default();
            (0..set.rows()).for_each(|row| ids.push(&row.to_string()));
            Ok(ids)
        }
        other => Ok(other?),
    }
}

/// Whether files hold no ids: not that they hold bad ones.
fn has_none(error: &realign::Error) -> bool {
    matches!(error.remedy(), Some(Remedy::GiveIds | Remedy::ChooseIdColumn))
}
