//! Rankings on disk.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::Dtype;

use super::prepared::Prepared;
use super::profile::{Profile, Sums};
use super::ranking::{MAX_SAMPLE_ROWS, Ranking};
use super::sample::Sample;
use crate::io::write_atomically;
use crate::stats::file::{Contents, IN_MEMORY, file_bytes, format_of, read_bytes};
use crate::stats::{MAX_COVARIANCE_WIDTH, Moments, SecondMoments};
use crate::{Error, Result};

const FORMAT: &str = "realign-ranking";
/// Of files with private collections or queries; without them files are as before there were any, version 1.
const VERSION: u32 = 2;
const VERSION_OF_ROWS: u32 = 1;

/// Prefixes of the tensors of collections and of kinds of queries, and the metadata that lists their names.
const COLLECTIONS: &str = "collection";
const QUERIES: &str = "queries";
/// The tensors of one that is not private.
const OPEN: [&str; 8] = ["mean", "sample", "copies", "rows", "sum_high", "sum_low", "product_high", "product_low"];
/// The tensor of a private one.
const PRIVATE: &str = "private";

type Entries = Vec<(String, Dtype, Vec<usize>, Vec<u8>)>;

fn push<T: bytemuck::Pod>(entries: &mut Entries, name: String, dtype: Dtype, shape: Vec<usize>, values: &[T]) {
    entries.push((name, dtype, shape, bytemuck::cast_slice(values).to_vec()));
}

impl Ranking {
    /// Writes the ranking, safetensors. For each collection NAME, and for each kind of query with `queries` for `collection`:
    ///
    /// | tensor | type, shape | meaning |
    /// | --- | --- | --- |
    /// | `collection.NAME.mean` | F64 `[d]` | mean of the unit rows |
    /// | `collection.NAME.sample` | F32 `[m, d]` | the reference sample: distinct unit rows in the order of their keys |
    /// | `collection.NAME.copies` | U64 `[m]` | how often each of them is in the collection |
    /// | `collection.NAME.rows` | U64 `[1]` | rows of the collection |
    /// | `collection.NAME.sum_high`, `.sum_low` | I64, U64 `[d]` | column sums: `(high 2⁶⁴ + low) 2⁻⁴³` |
    /// | `collection.NAME.product_high`, `.product_low` | I64, U64 `[d (d + 1) / 2]` | `Σ u uᵀ` in 2⁻⁸⁶, its rows from the diagonal on |
    ///
    /// Of a private one there is no more than `collection.NAME.private`, U8 `[bytes]`: the file of its moments ([`Moments::to_bytes`]).
    ///
    /// Metadata: `format` = `realign-ranking`, `format_version`, `crate_version`, `width`, `seed`, `sample` (the most rows of a sample),
    /// `collection` and `queries` (names, with commas), and where the rows' files named their encoder `collection.NAME.encoder` and
    /// `collection.NAME.encoder_hash`.
    ///
    /// # Errors
    /// A ranking of no rows; the file exists and `force` is not given; it cannot be written.
    pub fn save(&self, path: &Path, force: bool) -> Result<()> {
        write_atomically(path, force, &self.to_bytes()?)
    }

    /// The bytes of the file that [`Self::save`] writes: for another process.
    ///
    /// # Errors
    /// A ranking of no rows, which says nothing.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        if self.is_empty() {
            return Err(Error::degenerate("the ranking has no rows yet; count a collection first"));
        }
        let mut entries = Vec::new();
        for (prefix, all) in [(COLLECTIONS, &self.collections), (QUERIES, &self.queries)] {
            for (name, profile) in all {
                self.add(&mut entries, &format!("{prefix}.{name}."), profile)?;
            }
        }
        let names = |all: &BTreeMap<String, Profile>| all.keys().cloned().collect::<Vec<_>>().join(",");
        let mut metadata = vec![
            ("width", self.width.to_string()),
            ("seed", self.seed.to_string()),
            ("sample", self.sample.to_string()),
            (COLLECTIONS, names(&self.collections)),
            (QUERIES, names(&self.queries)),
        ];
        let encoders: Vec<(String, String)> = [(COLLECTIONS, &self.collections), (QUERIES, &self.queries)]
            .into_iter()
            .flat_map(|(prefix, all)| all.iter().map(move |(name, profile)| (format!("{prefix}.{name}."), profile)))
            .filter_map(|(prefix, profile)| Some(profile.encoder.as_ref()?.notes(&prefix)))
            .flatten()
            .collect();
        metadata.extend(encoders.iter().map(|(name, text)| (&name[..], text.clone())));
        file_bytes((FORMAT, self.version()), &metadata, &entries)
    }

    fn version(&self) -> u32 {
        let private = self.collections.values().chain(self.queries.values()).any(|profile| profile.noise().is_some());
        if private { VERSION } else { VERSION_OF_ROWS }
    }

    fn add(&self, entries: &mut Entries, prefix: &str, profile: &Profile) -> Result<()> {
        let (d, copies) = (self.width, profile.sample.copies());
        let name = |tensor: &str| format!("{prefix}{tensor}");
        let moments = match &profile.sums {
            Sums::Exact(moments) => moments,
            Sums::Private(moments) => {
                let bytes = moments.to_bytes()?;
                push(entries, name(PRIVATE), Dtype::U8, vec![bytes.len()], &bytes);
                return Ok(());
            }
        };
        push(entries, name("mean"), Dtype::F64, vec![d], &profile.mean());
        push(entries, name("sample"), Dtype::F32, vec![copies.len(), d], &profile.sample.rows());
        push(entries, name("copies"), Dtype::U64, vec![copies.len()], &copies);
        push(entries, name("rows"), Dtype::U64, vec![1], &[profile.rows()]);
        for (tensor, (high, low)) in [("sum", moments.columns()), ("product", moments.products())] {
            let shape = vec![high.len()];
            push(entries, name(&format!("{tensor}_high")), Dtype::I64, shape.clone(), &high);
            push(entries, name(&format!("{tensor}_low")), Dtype::U64, shape, &low);
        }
        Ok(())
    }

    /// Reads a ranking.
    ///
    /// # Errors
    /// No ranking, a newer format, or a damaged file.
    pub fn load(path: &Path) -> Result<Self> {
        Self::parse(path, &read_bytes(path)?)
    }

    /// From the bytes of such a file.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::parse(Path::new(IN_MEMORY), bytes)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let contents = Contents::parse(path, bytes, (FORMAT, VERSION))?;
        let (width, seed, sample) = (contents.parsed("width")?, contents.parsed("seed")?, contents.parsed("sample")?);
        if !(1..=MAX_COVARIANCE_WIDTH).contains(&width) || !(2..=MAX_SAMPLE_ROWS).contains(&sample) {
            return Err(contents.damaged("the width or the samples' size is out of range"));
        }
        let all = |prefix: &str| -> Result<BTreeMap<String, Profile>> {
            let names = contents.text(prefix)?.split(',').filter(|name| !name.is_empty());
            let one = |name: &str| read(&contents, &format!("{prefix}.{name}."), (width, seed, sample));
            names.map(|name| Ok((name.to_owned(), one(name)?))).collect()
        };
        let (collections, queries) = (all(COLLECTIONS)?, all(QUERIES)?);
        if collections.is_empty() && queries.is_empty() {
            return Err(contents.damaged("there is no collection"));
        }
        Ok(Ranking { width, seed, sample, collections, queries, prepared: Prepared::default() })
    }

    /// Whether the file says that it holds a ranking.
    pub fn is_file(path: &Path) -> bool {
        format_of(path).as_deref() == Some(FORMAT)
    }
}

fn read(contents: &Contents<'_>, prefix: &str, shape: (usize, u64, usize)) -> Result<Profile> {
    let name = |tensor: &str| format!("{prefix}{tensor}");
    let encoder = contents.encoder(prefix);
    if contents.has(&name(PRIVATE)) {
        // The file is meant for those who may not see rows.
        if let Some(open) = OPEN.iter().find(|tensor| contents.has(&name(tensor))) {
            return Err(contents.damaged(&format!("tensor '{}' tells of rows that are private", name(open))));
        }
        if contents.parsed::<u32>("format_version")? < VERSION {
            return Err(contents.damaged(&format!("tensor '{}' is of a later format version", name(PRIVATE))));
        }
        let moments = Moments::from_bytes(&contents.values::<u8>(&name(PRIVATE), Dtype::U8)?);
        let moments = moments.map_err(|e| contents.damaged(&format!("tensor '{}': {e}", name(PRIVATE))))?;
        if moments.width() != shape.0 || moments.noise().is_none() {
            return Err(contents.damaged("private moments are not those of the ranking's rows"));
        }
        let sample = Sample::empty(shape.0, shape.1, shape.2);
        return Ok(Profile { sums: Sums::Private(moments), sample, encoder });
    }
    let rows = contents.one(&name("rows"), Dtype::U64)?;
    let [columns, products] = ["sum", "product"]
        .map(|tensor| contents.wide(&name(&format!("{tensor}_high")), &name(&format!("{tensor}_low"))));
    let moments = SecondMoments::from_sums(rows, columns?, products?).filter(|found| found.width() == shape.0);
    let moments = moments.ok_or_else(|| contents.damaged("the sums do not fit each other"))?;
    let sample = contents.floats(&name("sample"))?;
    let copies: Vec<u64> = contents.values(&name("copies"), Dtype::U64)?;
    let sample = Sample::from_parts(shape, &sample, &copies).map_err(|what| contents.damaged(what))?;
    if copies.iter().fold(0u64, |all, c| all.saturating_add(*c)) > rows {
        return Err(contents.damaged("the sample has more rows than the collection"));
    }
    Ok(Profile { sums: Sums::Exact(moments), sample, encoder })
}
