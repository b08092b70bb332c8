//! Lists of pictures: files, folders with their folders, patterns.

use std::path::{Path, PathBuf};

use super::Ids;
use crate::{Error, Result};

/// Endings of pictures' names, in small letters.
const ENDINGS: [&str; 10] = ["bmp", "dib", "gif", "jfif", "jpe", "jpeg", "jpg", "png", "apng", "webp"];
/// How deep folders may lie within each other.
const MAX_DEPTH: usize = 64;

/// Files of pictures in order, each with an id: its path relative to the folder that was named, with `/` between names. Of a file that was named
/// by itself the id is its name, of those that match a pattern the path behind the pattern's last folder without a wildcard.
#[derive(Clone, Debug, Default)]
pub struct PictureList {
    ids: Ids,
    /// The folders that ids are relative to, and the one of each picture.
    folders: Vec<PathBuf>,
    folder_of: Vec<u32>,
}

impl PictureList {
    /// Lists what `inputs` name, in their order: a file; a folder, of which every file with a picture's ending (png, jpg, jpeg, webp, gif, bmp and
    /// rarer ones) counts, in its folders too, sorted by path; a pattern such as `photos/**/*.jpg`, sorted likewise. Hidden files and folders are
    /// passed over. `is_picture` tells from a file's first bytes whether it is a picture where its ending does not.
    ///
    /// # Errors
    /// Nothing was named; a file or folder that cannot be read; a folder or pattern without a picture; a file that is none; two pictures with one id,
    /// both named; a name that is no UTF-8 or has a line break, which an id cannot have.
    pub fn open(inputs: &[PathBuf], is_picture: impl Fn(&[u8]) -> bool) -> Result<PictureList> {
        if inputs.is_empty() {
            return Err(Error::argument(
                "images",
                "none was named; name files, folders or patterns such as 'photos/*.jpg'",
            ));
        }
        let mut list = PictureList::default();
        for input in inputs {
            // A name that exists is taken literally, brackets and all.
            super::check_local(input)?;
            if input.is_dir() {
                list.add_folder(input)?;
            } else if !input.exists() && input.to_string_lossy().contains(['*', '?', '[']) {
                list.add_pattern(input)?;
            } else {
                list.add_file(input, &is_picture)?;
            }
        }
        list.refuse_duplicates()?;
        Ok(list)
    }

    /// The files that lie under `root` by these names, which are their ids; each name once.
    pub fn named<'a>(root: &Path, names: impl IntoIterator<Item = &'a str>) -> PictureList {
        let mut list = PictureList { folders: vec![root.to_path_buf()], ..PictureList::default() };
        for name in names {
            list.ids.push(name);
            list.folder_of.push(0);
        }
        list
    }

    /// The pictures at these places of the list, with their ids.
    #[must_use]
    pub fn at(&self, places: &[usize]) -> PictureList {
        let mut list = PictureList { folders: self.folders.clone(), ..PictureList::default() };
        for &place in places.iter().filter(|place| **place < self.len()) {
            list.ids.push(self.ids.get(place));
            list.folder_of.push(self.folder_of[place]);
        }
        list
    }

    /// Whether a file is a picture by its ending, in any letter case.
    pub fn is_named_as_one(path: &Path) -> bool {
        has_ending(path)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.folder_of.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.folder_of.is_empty()
    }

    /// The id of the picture at `index`; empty beyond the end.
    pub fn id(&self, index: usize) -> &str {
        self.ids.get(index)
    }

    /// The file of the picture at `index`; empty beyond the end.
    pub fn path(&self, index: usize) -> PathBuf {
        let folder = self.folder_of.get(index).and_then(|folder| self.folders.get(*folder as usize));
        folder.map(|folder| folder.join(self.ids.get(index))).unwrap_or_default()
    }

    fn push(&mut self, id: &Path, path: &Path) -> Result<()> {
        let names: Option<Vec<&str>> = id.components().map(|part| part.as_os_str().to_str()).collect();
        let id = names.map(|names| names.join("/")).filter(|id| !id.contains(['\n', '\r']));
        let id = id.ok_or_else(|| {
            Error::format(path, "its name is no UTF-8 or has a line break, so that it can be no id; rename it")
        })?;
        // Invariant: `add_…` has pushed the folder; there are never 2^32 of them, for each was named.
        self.folder_of.push(self.folders.len().saturating_sub(1) as u32);
        self.ids.push(&id);
        Ok(())
    }

    fn add_file(&mut self, path: &Path, is_picture: &impl Fn(&[u8]) -> bool) -> Result<()> {
        let kind = std::fs::metadata(path).map_err(Error::io("open", path))?;
        if !kind.is_file() {
            return Err(Error::format(path, "is neither a file nor a folder; name a picture"));
        }
        if !has_ending(path) && !is_picture(&start(path)?) {
            let what = "is no picture: neither its ending nor its first bytes are those of PNG, JPEG, WebP, GIF or BMP";
            return Err(Error::format(path, format!("{what}; files of texts are given as texts")));
        }
        self.folders.push(path.parent().map(Path::to_path_buf).unwrap_or_default());
        self.push(Path::new(path.file_name().unwrap_or_default()), path)
    }

    fn add_folder(&mut self, folder: &Path) -> Result<()> {
        self.folders.push(folder.to_path_buf());
        let (before, mut other) = (self.len(), None);
        self.walk(folder, folder, &mut Vec::new(), &mut other)?;
        if self.len() > before {
            return Ok(());
        }
        let holds =
            other.map_or("nothing at all".to_owned(), |other: PathBuf| format!("{} and the like", other.display()));
        let problem =
            format!("holds no picture (png, jpg, jpeg, webp, gif, bmp), nor do its folders; it holds {holds}");
        Err(Error::format(folder, problem))
    }

    /// Adds a folder's pictures and those of its folders, by name. `above` are the real paths of the folders that it lies in: a link back to one
    /// of them is not followed.
    fn walk(
        &mut self,
        root: &Path,
        folder: &Path,
        above: &mut Vec<PathBuf>,
        other: &mut Option<PathBuf>,
    ) -> Result<()> {
        let real = folder.canonicalize().map_err(Error::io("list", folder))?;
        if above.contains(&real) {
            return Ok(());
        }
        if above.len() >= MAX_DEPTH {
            return Err(Error::format(folder, format!("lies more than {MAX_DEPTH} folders deep; name it by itself")));
        }
        above.push(real);
        let entries = std::fs::read_dir(folder).map_err(Error::io("list", folder))?;
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(Error::io("list", folder))?.file_name());
        }
        // Of paths, parts are compared: so this is the order of whole paths.
        names.sort();
        for name in names.iter().filter(|name| !name.to_string_lossy().starts_with('.')) {
            let path = folder.join(name);
            if path.is_dir() {
                self.walk(root, &path, above, other)?;
            } else if has_ending(&path) {
                self.push(path.strip_prefix(root).unwrap_or(&path), &path)?;
            } else if other.is_none() {
                *other = Some(path);
            }
        }
        above.pop();
        Ok(())
    }

    fn add_pattern(&mut self, pattern: &Path) -> Result<()> {
        let text = pattern.to_str().ok_or_else(|| Error::format(pattern, "a pattern must be valid UTF-8"))?;
        let matches = glob::glob(text).map_err(|e| Error::format(pattern, format!("not a valid pattern: {e}")))?;
        let mut files = Vec::new();
        for file in matches {
            let file =
                file.map_err(|e| Error::Io { action: "list", path: e.path().to_path_buf(), source: e.into() })?;
            if !file.is_dir() && has_ending(&file) {
                files.push(file);
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(Error::format(pattern, "no picture (png, jpg, jpeg, webp, gif, bmp) matches this pattern"));
        }
        let fixed = |part: &std::path::Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
        let folder: PathBuf = pattern.components().take_while(fixed).collect();
        self.folders.push(folder.clone());
        files.iter().try_for_each(|file| self.push(file.strip_prefix(&folder).unwrap_or(file), file))
    }

    fn refuse_duplicates(&self) -> Result<()> {
        let mut sorted: Vec<usize> = (0..self.len()).collect();
        sorted.sort_by(|a, b| self.id(*a).cmp(self.id(*b)).then(a.cmp(b)));
        let twice = sorted.windows(2).find(|pair| self.id(pair[0]) == self.id(pair[1]));
        let Some(&[first, second]) = twice else { return Ok(()) };
        let (a, b, id) = (self.path(first), self.path(second), self.id(first));
        let problem = format!("has the id {id:?}, and so has {}", a.display());
        let remedy = "name each picture once, or the folder that both lie in, so that their ids differ";
        Err(Error::format(b, format!("{problem}; {remedy}")))
    }
}

fn has_ending(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// The first bytes of a file.
fn start(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    file.take(64).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file.as_bytes()).unwrap();
        }
        folder
    }

    fn ids(list: &PictureList) -> Vec<String> {
        (0..list.len()).map(|i| list.id(i).to_owned()).collect()
    }

    fn open(inputs: &[PathBuf]) -> Result<PictureList, String> {
        PictureList::open(inputs, |start| start.starts_with(b"MAGIC")).map_err(|e| e.to_string())
    }

    #[test]
    fn folders_are_listed_by_path_with_their_folders() {
        let names = [
            "b.PNG",
            "a/2.jpg",
            "a/10.jpeg",
            "a-b/x.webp",
            "a.gif",
            "notes.txt",
            ".hidden.png",
            ".git/y.png",
            "a/z/q.bmp",
        ];
        let folder = folder(&names);
        let list = open(&[folder.path().to_path_buf()]).unwrap();
        // Python's sorted(Path.rglob("*")) has this order: folders by their names, not by the text of whole paths.
        let want = ["a/10.jpeg", "a/2.jpg", "a/z/q.bmp", "a-b/x.webp", "a.gif", "b.PNG"];
        assert_eq!(ids(&list), want);
        (0..list.len()).for_each(|i| assert!(list.path(i) == folder.path().join(want[i])));
        assert!(list.id(9).is_empty() && list.path(9) == PathBuf::new() && !list.is_empty());
    }

    #[test]
    fn patterns_and_files_keep_their_order() {
        let folder = folder(&["x/b.png", "x/a.png", "y/c.png", "y/d.txt", "y/e.data", "[odd]/f.png"]);
        let at = |name: &str| folder.path().join(name);
        assert_eq!(ids(&open(&[at("*/*.png")]).unwrap()), ["[odd]/f.png", "x/a.png", "x/b.png", "y/c.png"]);
        assert_eq!(ids(&open(&[at("y/*"), at("x")]).unwrap()), ["c.png", "a.png", "b.png"]);
        assert_eq!(ids(&open(&[at("x/b.png"), at("x/a.png"), at("[odd]")]).unwrap()), ["b.png", "a.png", "f.png"]);
        std::fs::write(at("y/e.data"), b"MAGIC").unwrap();
        assert_eq!(ids(&open(&[at("y/e.data")]).unwrap()), ["e.data"]);
    }

    #[test]
    fn what_is_no_list_of_pictures_is_named() {
        let folder = folder(&["x/a.png", "y/a.png", "texts/t.jsonl", "texts/u.txt", "empty/.keep"]);
        let at = |name: &str| folder.path().join(name);
        for (inputs, words) in [
            (vec![], vec!["none was named"]),
            (vec![at("none.png")], vec!["none.png"]),
            (vec![at("texts/t.jsonl")], vec!["t.jsonl", "is no picture", "texts"]),
            (vec![at("texts")], vec!["holds no picture", "t.jsonl"]),
            (vec![at("empty")], vec!["holds no picture", "nothing at all"]),
            (vec![at("x/*.gif")], vec!["x/*.gif", "no picture"]),
            (vec![at("x"), at("y")], vec!["\"a.png\"", "x/a.png", "y/a.png"]),
            (vec![at("x/a.png"), at("x")], vec!["\"a.png\""]),
        ] {
            let problem = open(&inputs).unwrap_err();
            assert!(words.iter().all(|word| problem.contains(word)), "{words:?} are not all in: {problem}");
        }
    }

    #[test]
    fn pictures_are_found_under_names_that_others_gave() {
        let folder = folder(&["a/1.png", "b.jpg"]);
        let list = PictureList::named(folder.path(), ["b.jpg", "./a//1.png", "c.png"]);
        assert_eq!(ids(&list), ["b.jpg", "./a//1.png", "c.png"]);
        assert!(list.path(1).is_file() && !list.path(2).exists());
        assert_eq!(ids(&list.at(&[2, 0, 9])), ["c.png", "b.jpg"]);
        assert_eq!(list.at(&[1]).path(0), list.path(1));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_but_not_in_circles() {
        let folder = folder(&["a/1.png", "b/2.png"]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("a/back")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("b"), folder.path().join("c")).unwrap();
        assert_eq!(ids(&open(&[folder.path().to_path_buf()]).unwrap()), ["a/1.png", "b/2.png", "c/2.png"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn names_that_can_be_no_id_are_refused() {
        let folder = folder(&["a\nb.png"]);
        assert!(open(&[folder.path().to_path_buf()]).unwrap_err().contains("line break"));
    }
}
