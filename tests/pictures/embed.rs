//! Runs that write rows: order, formats, ends that come early, and going on.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use realign::encode::embed::{EmbedOptions, Embedded, EncodesPictures, EncodesTexts, embed_pictures, embed_texts};
use realign::encode::picture::{Preprocessor, is_picture};
use realign::io::{Dataset, Ids, OpenOptions, PictureList, SkipBad, TextList};
use realign::train::Start;
use realign::{ElementType, Error, Result};

use super::golden;

/// Sums of a picture's channels and of its first line: enough to tell pictures apart. After so many pictures it fails, as a run that is killed.
struct Sums {
    left: Cell<usize>,
    seen: Cell<usize>,
    factor: f32,
}

impl Sums {
    fn new(left: usize) -> Sums {
        Sums { left: Cell::new(left), seen: Cell::new(0), factor: 1.0 }
    }
}

impl EncodesPictures for Sums {
    fn width(&self) -> usize {
        4
    }

    fn image_size(&self) -> (usize, usize) {
        (6, 5)
    }

    fn picture_rows(&self, pixels: &[f32], count: usize) -> Result<Vec<f32>> {
        assert_eq!(pixels.len(), count * 90);
        if self.left.get() < count {
            return Err(Error::argument("device", "gone, as a test"));
        }
        self.left.set(self.left.get() - count);
        self.seen.set(self.seen.get() + count);
        let row = |p: &[f32]| {
            let planes = p.chunks(30).map(|plane| plane.iter().sum::<f32>());
            planes.chain([p[..5].iter().sum()]).map(|x| x * self.factor).collect::<Vec<f32>>()
        };
        Ok(pixels.chunks(90).flat_map(row).collect())
    }
}

/// A text's bytes and their sum; texts above ten bytes are cut.
struct Lengths;

impl EncodesTexts for Lengths {
    fn width(&self) -> usize {
        2
    }

    fn text_rows(&self, texts: &[String]) -> Result<(Vec<f32>, u64)> {
        let row = |t: &String| [1.0 + t.len() as f32, t.bytes().map(f32::from).sum()];
        Ok((texts.iter().flat_map(row).collect(), texts.iter().filter(|t| t.len() > 10).count() as u64))
    }
}

struct Place {
    folder: tempfile::TempDir,
    preprocessor: Preprocessor,
    list: Arc<PictureList>,
}

impl Place {
    /// A model's folder, and one with copies of the golden pictures under numbers, 23 of them.
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let (model, pictures) = (folder.path().join("model"), folder.path().join("pictures"));
        std::fs::create_dir(&model).unwrap();
        std::fs::create_dir_all(pictures.join("more")).unwrap();
        let config = r#"{"image_processor_type": "SiglipImageProcessor", "size": {"height": 6, "width": 5}}"#;
        std::fs::write(model.join("preprocessor_config.json"), config).unwrap();
        let names = ["rgb8.png", "rgba8.png", "grey2.png", "plain.gif", "rgb444.jpg", "clear.webp", "rgb24.bmp"];
        for i in 0..23 {
            let name = names[i % names.len()];
            let end = Path::new(name).extension().unwrap().to_str().unwrap();
            let to = if i < 15 { format!("{i:02}.{end}") } else { format!("more/{i:02}.{end}") };
            std::fs::copy(golden().join("files").join(name), pictures.join(to)).unwrap();
        }
        let preprocessor = Preprocessor::load(&model).unwrap();
        let mut place = Place { folder, preprocessor, list: Arc::new(PictureList::default()) };
        place.list_again();
        place
    }

    fn list_again(&mut self) {
        self.list = Arc::new(PictureList::open(&[self.at("pictures")], is_picture).unwrap());
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn options<'a>(&self, out: &str, model: &'a Path) -> EmbedOptions<'a> {
        // The state is kept after every batch.
        let options = EmbedOptions::new(self.at(out)).batch_size(4).save_every(Duration::ZERO).model(Some(model));
        options.ids_out(Some(self.at(out).with_extension("txt")))
    }

    fn run(&self, encoder: &Sums, options: &EmbedOptions<'_>) -> Result<Embedded, String> {
        embed_pictures(encoder, &self.preprocessor, &self.list, options).map_err(|e| e.to_string())
    }

    fn ids(&self) -> Vec<String> {
        (0..self.list.len()).map(|i| self.list.id(i).to_owned()).collect()
    }
}

fn read(files: &[PathBuf]) -> (u64, Vec<f32>) {
    let set = Dataset::open(files, &OpenOptions::default()).unwrap();
    let mut all = Vec::new();
    for (i, shard) in set.shards().iter().enumerate() {
        let mut bytes = vec![0; shard.rows() as usize * set.width() * set.element_type().bytes()];
        set.reader(i).unwrap().read(shard.rows() as usize, &mut bytes).unwrap();
        all.extend(match set.element_type() {
            ElementType::F16 => {
                bytes.chunks(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect::<Vec<_>>()
            }
            _ => bytes.chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        });
    }
    (set.rows(), all)
}

fn want(place: &Place) -> Vec<f32> {
    let one = |i: usize| {
        let pixels = place.preprocessor.of_file(&place.list.path(i)).unwrap();
        Sums::new(1).picture_rows(&pixels, 1).unwrap()
    };
    (0..place.list.len()).flat_map(one).collect()
}

#[test]
fn rows_are_in_order_in_every_format() {
    let place = Place::new();
    let (model, want) = (place.at("model"), want(&place));
    for out in ["a.npy", "a.safetensors", "a.parquet"] {
        let options = place.options(out, &model);
        let embedded = place.run(&Sums::new(99), &options).unwrap();
        assert_eq!((embedded.rows, embedded.width, embedded.resumed, embedded.skipped_bad), (23, 4, 0, 0));
        assert_eq!(embedded.files, [place.at(out)]);
        assert!(read(&embedded.files) == (23, want.clone()), "{out}");
        let ids = Ids::read(&embedded.ids.unwrap(), None).unwrap();
        let ids: Vec<String> = (0..ids.len()).map(|i| ids.get(i).to_owned()).collect();
        assert_eq!(ids, place.ids());
        std::fs::remove_file(place.at("a.txt")).unwrap();
        assert!(!place.at(&format!("{out}.unfinished")).exists());
        let again = place.run(&Sums::new(99), &options).unwrap_err();
        assert!(again.contains(out) && again.contains("exists"), "{again}");
    }
    let set = Dataset::open(&[place.at("a.parquet")], &OpenOptions::default()).unwrap();
    assert_eq!(Ids::of_dataset(&set, None, None).unwrap().get(22), place.ids()[22]);
}

#[test]
fn norms_halves_and_files_of_so_many_rows() {
    let place = Place::new();
    let (model, want) = (place.at("model"), want(&place));
    let options = place.options("n.npy", &model).normalize(true).element_type(ElementType::F16).shard_rows(Some(10));
    let options = options.ids_out(Some(place.at("n.json")));
    let embedded = place.run(&Sums::new(99), &options).unwrap();
    let files: Vec<PathBuf> = (0..3).map(|i| place.at(&format!("n_0000{i}.npy"))).collect();
    assert_eq!(embedded.files, files);
    let (rows, got) = read(&files);
    assert_eq!(rows, 23);
    for (got, want) in got.chunks(4).zip(want.chunks(4)) {
        let norm = want.iter().map(|x| x * x).sum::<f32>().sqrt();
        got.iter().zip(want).for_each(|(a, b)| assert!((a - b / norm).abs() < 1e-3, "{got:?} {want:?}"));
    }
    assert_eq!(Ids::read(&place.at("n.json"), None).unwrap().len(), 23);
}

/// A run that ends anywhere and goes on gives the bytes of one that does not end; nothing that was kept is encoded again.
#[test]
fn going_on_gives_the_same_files() {
    let place = Place::new();
    let model = place.at("model");
    for (out, shard) in
        [("a.npy", None), ("a.npy", Some(5)), ("a.parquet", Some(7)), ("a.safetensors", Some(4)), ("a.parquet", None)]
    {
        let files = |folder: &str| -> Vec<Vec<u8>> {
            let mut all: Vec<PathBuf> =
                std::fs::read_dir(place.at(folder)).unwrap().map(|e| e.unwrap().path()).collect();
            all.sort();
            assert!(all.iter().all(|path| path.is_file()), "{all:?}");
            all.iter().map(|path| std::fs::read(path).unwrap()).collect()
        };
        std::fs::create_dir(place.at("whole")).unwrap();
        let whole = place.options(&format!("whole/{out}"), &model).shard_rows(shard);
        place.run(&Sums::new(99), &whole).unwrap();
        for kills in [vec![0], vec![1], vec![4], vec![9, 4], vec![20, 0, 2], vec![4, 4, 4, 4, 4]] {
            std::fs::create_dir(place.at("part")).unwrap();
            let part = || place.options(&format!("part/{out}"), &model).shard_rows(shard);
            let (mut start, mut seen) = (Start::New, 0);
            for after in &kills {
                let encoder = Sums::new(*after);
                assert!(place.run(&encoder, &part().start(start)).unwrap_err().contains("as a test"));
                seen += encoder.seen.get();
                start = Start::Resume;
            }
            let encoder = Sums::new(99);
            let embedded = place.run(&encoder, &part().start(Start::Resume)).unwrap();
            assert_eq!((embedded.rows, seen + encoder.seen.get()), (23, 23), "{kills:?}");
            assert_eq!(embedded.resumed as usize, seen);
            assert!(files("part") == files("whole"), "{out} {shard:?} {kills:?}");
            std::fs::remove_dir_all(place.at("part")).unwrap();
        }
        std::fs::remove_dir_all(place.at("whole")).unwrap();
    }
}

/// Killed between what was kept and the next state: what was written meanwhile is made again.
#[test]
fn what_came_after_the_state_is_made_again() {
    let place = Place::new();
    let model = place.at("model");
    place.run(&Sums::new(99), &place.options("whole.npy", &model)).unwrap();
    let options = || place.options("part.npy", &model);
    place.run(&Sums::new(9), &options()).unwrap_err();
    let rows = place.at("part.npy.unfinished/rows_00000");
    let mut bytes = std::fs::read(&rows).unwrap();
    assert_eq!(bytes.len(), 8 * 16);
    bytes.extend([7; 37]);
    std::fs::write(&rows, bytes).unwrap();
    place.run(&Sums::new(99), &options().start(Start::Resume)).unwrap();
    assert!(std::fs::read(place.at("part.npy")).unwrap() == std::fs::read(place.at("whole.npy")).unwrap());
    // Fewer rows than the state counts are refused.
    place.run(&Sums::new(9), &place.options("short.npy", &model)).unwrap_err();
    std::fs::write(place.at("short.npy.unfinished/rows_00000"), [0; 100]).unwrap();
    let said = place.run(&Sums::new(99), &place.options("short.npy", &model).start(Start::Resume)).unwrap_err();
    assert!(said.contains("rows_00000") && said.contains("128"), "{said}");
}

#[test]
fn other_inputs_and_settings_are_refused_by_name() {
    let mut place = Place::new();
    let model = place.at("model");
    let resume = |place: &Place, options: EmbedOptions<'_>| place.run(&Sums::new(99), &options.start(Start::Resume));
    place.run(&Sums::new(9), &place.options("a.npy", &model)).unwrap_err();
    let options = || EmbedOptions::new(place.at("a.npy")).batch_size(4).model(Some(&model));
    for (changed, words) in [
        (options().normalize(true), "normalize is true and was false"),
        (options().element_type(ElementType::F16), "dtype is \"f16\" and was \"f32\""),
        (options().shard_rows(Some(5)), "shard_rows is 5 and was null"),
        (options().settings(vec![("pool", "mean".to_owned())]), "pool is \"mean\" and was null"),
    ] {
        let said = resume(&place, changed).unwrap_err();
        assert!(said.contains(words) && said.contains("settings changed"), "{said}");
    }
    let said = place.run(&Sums::new(99), &options()).unwrap_err();
    assert!(said.contains("a.npy.unfinished") && said.contains("not finished"), "{said}");
    std::fs::write(model.join("config.json"), "{}").unwrap();
    assert!(resume(&place, options()).unwrap_err().contains("config.json is new"));
    std::fs::remove_file(model.join("config.json")).unwrap();
    let preprocessor = model.join("preprocessor_config.json");
    let text = std::fs::read_to_string(&preprocessor).unwrap();
    std::fs::write(&preprocessor, text.replace("height", "width ")).unwrap();
    assert!(resume(&place, options()).unwrap_err().contains("preprocessor_config.json has another content"));
    std::fs::write(&preprocessor, text).unwrap();
    std::fs::copy(golden().join("files/rgb8.png"), place.at("pictures/more/99.png")).unwrap();
    let before = place.list.clone();
    place.list_again();
    let options = || EmbedOptions::new(place.at("a.npy")).batch_size(4).model(Some(&model));
    assert!(resume(&place, options()).unwrap_err().contains("more/99.png is new (23 were listed then and 24 now)"));
    std::fs::write(place.at("pictures/02.png"), "another").unwrap();
    let place = Place { list: before, ..place };
    let options = || EmbedOptions::new(place.at("a.npy")).batch_size(4).model(Some(&model));
    assert!(resume(&place, options()).unwrap_err().contains("02.png was changed"));
    std::fs::copy(golden().join("files/grey2.png"), place.at("pictures/02.png")).unwrap();
    // Begun again, nothing is compared.
    assert_eq!(place.run(&Sums::new(99), &options().start(Start::Replace)).unwrap().resumed, 0);
}

#[test]
fn bad_pictures_are_named_or_left_out() {
    let place = Place::new();
    let model = place.at("model");
    for (name, bytes) in [("03.gif", &b"GIF89a"[..]), ("05.webp", b""), ("more/21.png", b"a text")] {
        assert!(place.at("pictures").join(name).exists(), "{name}");
        std::fs::write(place.at("pictures").join(name), bytes).unwrap();
    }
    let options = |most| place.options("a.npy", &model).skip_bad(most);
    for most in [0, 1, 2] {
        let said = place.run(&Sums::new(99), &options(SkipBad::AtMost(most)).start(Start::Replace)).unwrap_err();
        assert!(
            said.contains("03.gif")
                && said.contains(["1 picture cannot", "2 pictures cannot", "3 pictures cannot"][most as usize]),
            "{said}"
        );
    }
    // A run that ended at a bad picture goes on with more of them allowed.
    let embedded = place.run(&Sums::new(99), &options(SkipBad::All).start(Start::Resume)).unwrap();
    assert_eq!((embedded.rows, embedded.skipped_bad), (20, 3));
    let good = |i: &usize| !["03.gif", "05.webp", "more/21.png"].contains(&place.list.id(*i));
    let want: Vec<f32> = (0..23)
        .filter(good)
        .flat_map(|i| {
            let pixels = place.preprocessor.of_file(&place.list.path(i)).unwrap();
            Sums::new(1).picture_rows(&pixels, 1).unwrap()
        })
        .collect();
    assert_eq!(read(&embedded.files), (20, want));
    let ids = Ids::read(&place.at("a.txt"), None).unwrap();
    assert_eq!(
        (0..20).map(|i| ids.get(i).to_owned()).collect::<Vec<_>>(),
        (0..23).filter(good).map(|i| place.list.id(i).to_owned()).collect::<Vec<_>>()
    );
    for i in 0..23 {
        std::fs::write(place.list.path(i), "none").unwrap();
    }
    let seldom = EmbedOptions::new(place.at("b.npy")).skip_bad(SkipBad::All);
    let said = place.run(&Sums::new(99), &seldom).unwrap_err();
    assert!(said.contains("all 23 pictures are bad") && !place.at("b.npy.unfinished").exists(), "{said}");
}

#[test]
fn files_that_are_there_are_kept_unless_replaced() {
    let place = Place::new();
    let model = place.at("model");
    for (name, shard) in [("a.npy", None), ("a_00007.npy", Some(5))] {
        std::fs::write(place.at(name), "precious").unwrap();
        let options = || EmbedOptions::new(place.at("a.npy")).batch_size(4).shard_rows(shard).model(Some(&model));
        for start in [Start::New, Start::Resume] {
            let said = place.run(&Sums::new(99), &options().start(start)).unwrap_err();
            assert!(said.contains(name) && said.contains("exists"), "{said}");
            assert!(std::fs::read(place.at(name)).unwrap() == b"precious" && !place.at("a.npy.unfinished").exists());
        }
        let embedded = place.run(&Sums::new(99), &options().start(Start::Replace)).unwrap();
        // What an earlier run left beyond the last file would be read as this one's.
        assert!(
            embedded.files.iter().all(|f| f.exists()) && place.at(name).exists() == shard.is_none(),
            "{embedded:?}"
        );
    }
    let said = |out: &str| place.run(&Sums::new(99), &EmbedOptions::new(place.at(out))).unwrap_err();
    assert!(said("no/a.npy").contains("does not exist") && said("a.csv").contains(".npy, .safetensors or .parquet"));
    let ids = EmbedOptions::new(place.at("b.npy")).ids_out(Some(place.at("b.jsonl")));
    assert!(place.run(&Sums::new(99), &ids).unwrap_err().contains("JSON array"));
}

#[test]
fn a_stop_keeps_what_was_made() {
    let place = Place::new();
    let model = place.at("model");
    let asked = Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() == 3
    };
    let options = || place.options("a.npy", &model).save_every(Duration::from_secs(3600));
    let stopped = embed_pictures(&Sums::new(99), &place.preprocessor, &place.list, &options().stop(Some(&stop)));
    assert!(matches!(stopped, Err(Error::Stopped)));
    let done = Cell::new((u64::MAX, 0));
    let progress = |n: u64| done.set((done.get().0.min(n), n));
    let embedded = place.run(&Sums::new(99), &options().start(Start::Resume).progress(Some(&progress))).unwrap();
    assert_eq!((embedded.resumed, embedded.rows, done.get()), (12, 23, (12, 23)));
}

#[test]
fn numbers_that_no_row_has_are_named() {
    let place = Place::new();
    let model = place.at("model");
    let with =
        |factor: f32, options: &EmbedOptions<'_>| place.run(&Sums { factor, ..Sums::new(99) }, options).unwrap_err();
    let options = || place.options("a.npy", &model);
    assert!(with(f32::NAN, &options()).contains("\"00.png\" has NaN"));
    assert!(with(1e6, &options().element_type(ElementType::F16)).contains("f16 cannot hold"));
    assert!(with(0.0, &options().normalize(true)).contains("\"00.png\" is all zeros"));
    assert!(with(1.0, &options().element_type(ElementType::BF16)).contains("choose f32 or f16"));
    assert!(with(1.0, &options().batch_size(0)).contains("0"));
    assert!(!place.at("a.npy.unfinished").exists() && !place.at("a.npy").exists());
    let config = r#"{"image_processor_type": "SiglipImageProcessor", "size": {"height": 7, "width": 5}}"#;
    std::fs::write(model.join("preprocessor_config.json"), config).unwrap();
    let place = Place { preprocessor: Preprocessor::load(&model).unwrap(), ..place };
    let said = place.run(&Sums::new(99), &EmbedOptions::new(place.at("a.npy"))).unwrap_err();
    assert!(said.contains("7 x 5 pixels, but the tower takes 6 x 5"), "{said}");
}

#[test]
fn texts_have_rows_in_the_file_s_order() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("t.txt"), "a dog\r\n\r\na very long line indeed\nend").unwrap();
    std::fs::write(
        at("t.jsonl"),
        "{\"id\": \"x\", \"text\": \"a dog\"}\n{\"id\": \"y\"}\n{\"id\": 3, \"text\": \"end\"}\n",
    )
    .unwrap();
    let list = TextList::open(&at("t.txt")).unwrap();
    for batch in [1, 2, 3, 50] {
        let options = EmbedOptions::new(at("t.npy")).batch_size(batch).start(Start::Replace).ids_out(Some(at("i.txt")));
        let embedded = embed_texts(&Lengths, &list, &options).unwrap();
        assert_eq!((embedded.rows, embedded.cut, embedded.width), (4, 1, 2));
        let (_, rows) = read(&embedded.files);
        assert_eq!([rows[0], rows[2], rows[4], rows[6]], [6.0, 1.0, 24.0, 4.0]);
        assert_eq!(std::fs::read_to_string(at("i.txt")).unwrap(), "0\n1\n2\n3\n");
        let records = TextList::open(&at("t.jsonl")).unwrap();
        let said = embed_texts(&Lengths, &records, &options).unwrap_err().to_string();
        assert!(said.contains("record 1 (line 2, id \"y\")") && said.contains("t.jsonl"), "{said}");
        let embedded = embed_texts(&Lengths, &records, &options.clone().skip_bad(SkipBad::AtMost(1))).unwrap();
        assert_eq!((embedded.rows, embedded.skipped_bad), (2, 1));
        assert_eq!(std::fs::read_to_string(at("i.txt")).unwrap(), "x\n3\n");
    }
    // Texts that changed meanwhile do not go on.
    let stop = || true;
    let options = EmbedOptions::new(at("u.npy")).batch_size(1);
    assert!(embed_texts(&Lengths, &list, &options.clone().stop(Some(&stop))).is_err());
    std::fs::write(at("t.txt"), "a cat\r\n\r\na very long line indeed\nend").unwrap();
    let list = TextList::open(&at("t.txt")).unwrap();
    let said = embed_texts(&Lengths, &list, &options.start(Start::Resume)).unwrap_err().to_string();
    assert!(said.contains("the file of texts has another content"), "{said}");
}
