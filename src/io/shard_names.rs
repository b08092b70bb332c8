//! clip-retrieval's layout: `img_emb/img_emb_N.npy` and `text_emb/text_emb_N.npy`, with `metadata/metadata_N.parquet` for the names of
//! their rows, or all of them in one folder.

use std::path::{Path, PathBuf};

/// The folders and first words of the two kinds of shards.
pub(super) const KINDS: [&str; 2] = ["img_emb", "text_emb"];
const METADATA: &str = "metadata";

/// The kind of a shard, and its number as it is written.
fn parts(path: &Path) -> Option<(&'static str, &str)> {
    let stem = path.extension().filter(|end| end.eq_ignore_ascii_case("npy")).and(path.file_stem())?.to_str()?;
    let found = KINDS.iter().find_map(|kind| Some((*kind, stem.strip_prefix(kind)?.strip_prefix('_')?)));
    found.filter(|(_, number)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// The kind of a shard, `img_emb` or `text_emb`, if it has the name of one.
pub(super) fn kind(path: &Path) -> Option<&'static str> {
    parts(path).map(|(kind, _)| kind)
}

/// Whether a file has the name of a shard's metadata.
pub(super) fn is_metadata(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let number = stem.strip_prefix(METADATA).and_then(|rest| rest.strip_prefix('_')).unwrap_or_default();
    !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
}

/// Sorts files by name, and shards by their number: `img_emb_2.npy` before `img_emb_10.npy`, since the list of a set's rows is in that order.
pub(super) fn sort(files: &mut [PathBuf]) {
    let number = |path: &PathBuf| parts(path).and_then(|(_, number)| number.parse::<u64>().ok());
    files.sort();
    if files.iter().all(|file| number(file).is_some()) {
        files.sort_by_key(|file| (file.parent().map(Path::to_path_buf), number(file)));
    }
}

/// Where the names of a shard's rows may be: beside it, or in the folder `metadata` beside its folder.
pub(super) fn metadata(path: &Path) -> Vec<PathBuf> {
    let Some((_, number)) = parts(path) else { return Vec::new() };
    let name = format!("{METADATA}_{number}.parquet");
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Of `img_emb` alone the parent is empty, and of `.` it is nothing.
    let above = folder.join("..").join(METADATA).join(&name);
    vec![folder.join(&name), above]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_sorted_as_numbers_and_other_names_as_names() {
        let sorted = |names: &[&str]| {
            let mut files: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
            sort(&mut files);
            files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(sorted(&["img_emb_10.npy", "img_emb_9.npy"]), ["img_emb_9.npy", "img_emb_10.npy"]);
        assert_eq!(sorted(&["text_emb_010.npy", "text_emb_009.npy"]), ["text_emb_009.npy", "text_emb_010.npy"]);
        assert_eq!(sorted(&["part_9.npy", "part_10.npy"]), ["part_10.npy", "part_9.npy"]);
        assert_eq!(sorted(&["img_emb_9.npy", "img_emb_10.npy", "x.npy"]), ["img_emb_10.npy", "img_emb_9.npy", "x.npy"]);
    }

    #[test]
    fn names_of_the_layout_are_known() {
        assert_eq!(kind(Path::new("a/img_emb_0.npy")), Some("img_emb"));
        for other in ["img_emb.npy", "img_emb_.npy", "img_emb_1a.npy", "img_emb_1.parquet", "my_img_emb_1.npy"] {
            assert_eq!(kind(Path::new(other)), None, "{other}");
        }
        assert!(is_metadata(Path::new("metadata_12.parquet")) && !is_metadata(Path::new("metadata.parquet")));
    }
}
