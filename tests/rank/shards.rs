//! What is kept does not depend on chunks, shards, order or device, and survives a file.

use realign::device::Device;
use realign::io::EncoderId;
use realign::rank::{Named, RankOptions, Ranking};
use realign::stats::{MemoryRows, RowSource, StreamOptions};

use crate::cloud;
use crate::common::devices;

const WIDTH: usize = 20;

/// Rows of two collections, with copies among them.
fn collections() -> [Vec<f32>; 2] {
    let mut text = cloud(600, WIDTH, 1);
    text.extend_from_within(100 * WIDTH..300 * WIDTH);
    [text, cloud(500, WIDTH, 2)]
}

fn fit(device: &Device, parts: [&[f32]; 2], chunk: Option<usize>) -> Ranking {
    let [text, image] = parts;
    let mut texts = MemoryRows::f32("text", text, WIDTH).unwrap();
    let mut images = MemoryRows::f32("image", image, WIDTH).unwrap();
    let mut queries = MemoryRows::f32("queries", text, WIDTH).unwrap();
    let mut named: [Named; 2] = [("text", &mut texts), ("image", &mut images)];
    let mut kinds: [Named; 1] = [("question", &mut queries)];
    let options = RankOptions::default().sample(64).seed(5).stream(StreamOptions::default().chunk_rows(chunk));
    Ranking::fit(device, &mut named, &mut kinds, &options).unwrap()
}

#[test]
fn chunks_shards_and_devices_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |ranking: &Ranking, name: &str| {
        let path = folder.path().join(name);
        ranking.save(&path, true).unwrap();
        assert_eq!(&Ranking::load(&path).unwrap(), ranking);
        std::fs::read(path).unwrap()
    };
    let [text, image] = collections();
    let whole = fit(&Device::host(), [&text, &image], None);
    let file = bytes(&whole, "whole.st");
    for device in devices() {
        for chunk in [1, 7, 333, 4096] {
            assert_eq!(fit(&device, [&text, &image], Some(chunk)), whole, "chunks of {chunk} on {}", device.name());
        }
    }
    for shards in [2, 4] {
        let parts = text.chunks(text.len() / shards).zip(image.chunks(image.len() / shards));
        let mut parts: Vec<Ranking> =
            parts.map(|(text, image)| fit(&Device::host(), [text, image], Some(100))).collect();
        let mut merged = parts.pop().unwrap();
        parts.iter().for_each(|part| merged.merge(part).unwrap());
        assert!(bytes(&merged, "merged.st") == file, "{shards} shards");
    }
    let profile = whole.collections().find(|(name, _)| *name == "text").unwrap().1;
    assert_eq!((profile.rows(), profile.sample().len()), (800, 64));
    // A third of the distinct rows has a copy.
    let copies = profile.sample().copies().iter().filter(|c| **c == 2).count();
    assert!((8..40).contains(&copies), "{copies}");
}

#[test]
fn collections_that_were_fitted_apart_merge() {
    let [text, image] = collections();
    let fit = |name: &str, rows: &[f32]| {
        let mut rows = MemoryRows::f32(name, rows, WIDTH).unwrap();
        Ranking::fit(&Device::host(), &mut [(name, &mut rows)], &mut [], &RankOptions::default()).unwrap()
    };
    let mut apart = fit("text", &text);
    apart.merge(&fit("image", &image)).unwrap();
    let names: Vec<&str> = apart.collections().map(|(name, _)| name).collect();
    assert_eq!(names, ["image", "text"]);
}

#[test]
fn rows_counted_batch_by_batch_are_those_of_one_fit() {
    let [text, image] = collections();
    let whole = fit(&Device::host(), [&text, &image], None);
    let mut grown = Ranking::empty(WIDTH, 64, 5).unwrap();
    assert!(grown.is_empty() && grown.to_bytes().unwrap_err().to_string().contains("no rows"));
    let parts =
        text.chunks(170 * WIDTH).map(|rows| ("text", rows)).chain(image.chunks(99 * WIDTH).map(|r| ("image", r)));
    // A batch of no rows is none.
    for (name, rows) in parts.chain([("text", &[][..])]) {
        let (mut items, mut asked) = (MemoryRows::f32(name, rows, WIDTH), MemoryRows::f32(name, rows, WIDTH));
        let (items, asked) = (items.as_mut().unwrap(), asked.as_mut().unwrap());
        let queries: &mut [Named] = if name == "text" { &mut [("question", asked)] } else { &mut [] };
        grown.update(&Device::host(), &mut [(name, items)], queries, StreamOptions::default()).unwrap();
    }
    assert_eq!((&grown, grown.sampling()), (&whole, (64, 5)));
    assert!(grown.to_bytes().unwrap() == whole.to_bytes().unwrap());
    let mut merged = Ranking::empty(WIDTH, 64, 5).unwrap();
    merged.merge(&whole).unwrap();
    merged.merge(&Ranking::empty(WIDTH, 64, 5).unwrap()).unwrap();
    assert_eq!(merged, whole);
    for (width, sample) in [(0, 64), (1 << 30, 64), (WIDTH, 1)] {
        assert!(Ranking::empty(width, sample, 0).is_err(), "{width} {sample}");
    }
    // Queries alone are a part, too.
    let mut rows = MemoryRows::f32("queries", &text, WIDTH).unwrap();
    let mut asked = Ranking::empty(WIDTH, 64, 5).unwrap();
    asked.update(&Device::host(), &mut [], &mut [("question", &mut rows)], StreamOptions::default()).unwrap();
    assert_eq!(Ranking::from_bytes(&asked.to_bytes().unwrap()).unwrap(), asked);
}

/// Rows of an encoder.
struct Of<'a>(MemoryRows<'a>, EncoderId);

impl RowSource for Of<'_> {
    fn rows(&self) -> u64 {
        self.0.rows()
    }

    fn width(&self) -> usize {
        self.0.width()
    }

    fn element_type(&self) -> realign::ElementType {
        self.0.element_type()
    }

    fn rewind(&mut self) -> realign::Result<()> {
        self.0.rewind()
    }

    fn next(&mut self, most: usize, out: &mut [u8]) -> realign::Result<usize> {
        self.0.next(most, out)
    }

    fn locate(&mut self, row: u64, out: &mut [u8]) -> realign::Result<(std::path::PathBuf, u64)> {
        self.0.locate(row, out)
    }

    fn encoder(&self) -> Option<EncoderId> {
        Some(self.1.clone())
    }
}

/// What made each collection's rows is kept, survives a file and is held against what is searched; rows of several are nobody's.
#[test]
fn encoders_are_remembered() {
    let id = |hash: &str| EncoderId { name: "clip".to_owned(), hash: hash.to_owned() };
    let rows = cloud(50, WIDTH, 4);
    let fit = |hash: &str| {
        let of = |name| Of(MemoryRows::f32(name, &rows, WIDTH).unwrap(), id(hash));
        let (mut texts, mut queries) = (of("text"), of("queries"));
        let options = RankOptions::default();
        Ranking::fit(&Device::host(), &mut [("text", &mut texts)], &mut [("question", &mut queries)], &options).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.st");
    let mut ranking = fit("aa");
    ranking.save(&path, false).unwrap();
    assert_eq!(Ranking::load(&path).unwrap(), ranking);
    let encoder = |ranking: &Ranking| ranking.collections().next().unwrap().1.encoder().cloned();
    assert_eq!(encoder(&Ranking::load(&path).unwrap()), Some(id("aa")));
    assert!(ranking.check_collection_encoders("text", &[id("aa")], false).is_ok());
    assert!(ranking.check_query_encoders(None, &[id("aa")], false).is_ok());
    for refused in [
        ranking.check_collection_encoders("text", &[id("bb")], false),
        ranking.check_query_encoders(Some("question"), &[id("bb")], false),
        ranking.check_encoders_of(&fit("bb"), false),
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("clip (aa)") && error.contains("clip (bb)"), "{error}");
    }
    assert!(ranking.check_collection_encoders("text", &[id("bb")], true).is_ok());
    assert!(ranking.check_collection_encoders("image", &[id("bb")], false).is_ok());
    ranking.merge(&fit("bb")).unwrap();
    assert_eq!(encoder(&ranking), None);
    assert!(ranking.check_collection_encoders("text", &[id("bb")], false).is_ok());
}

#[test]
fn what_does_not_fit_is_refused() {
    let rows = cloud(50, WIDTH, 3);
    let host = Device::host();
    let fit = |names: &[&str], options: RankOptions| {
        let mut sources: Vec<MemoryRows> =
            names.iter().map(|name| MemoryRows::f32(name, &rows, WIDTH).unwrap()).collect();
        let mut named: Vec<Named> =
            names.iter().zip(&mut sources).map(|(name, rows)| (*name, rows as &mut dyn RowSource)).collect();
        Ranking::fit(&host, &mut named, &mut [], &options)
    };
    let options = RankOptions::default();
    for (names, options, word) in [
        (&[][..], options, "none was given"),
        (&["a", "a"], options, "given twice"),
        (&["a/b"], options, "is no name"),
        (&["a"], options.sample(1), "give 2 to"),
    ] {
        let error = fit(names, options).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let mut one = fit(&["a"], options).unwrap();
    let error = one.merge(&fit(&["a"], options.seed(1)).unwrap()).unwrap_err().to_string();
    assert!(error.contains("seed 1"), "{error}");
    let error = one.scores(&rows[..WIDTH], "b", &[0.5]).unwrap_err().to_string();
    assert!(error.contains("\"b\"") && error.contains('a'), "{error}");
    assert!(one.scores(&rows[..WIDTH - 1], "a", &[0.5]).is_err());
    // Nor several queries at once, nor none.
    assert!(one.scores(&rows[..2 * WIDTH], "a", &[0.5]).is_err());
    assert!(one.scores(&[], "a", &[0.5]).is_err());
    assert!(one.scores(&[0.0; WIDTH], "a", &[0.5]).unwrap_err().to_string().contains("zeros"));
    assert!(one.scores(&rows[..WIDTH], "a", &[f32::NAN]).is_err());
    let same: Vec<f32> = rows[..WIDTH].repeat(9);
    let mut source = MemoryRows::f32("same", &same, WIDTH).unwrap();
    let same = Ranking::fit(&host, &mut [("same", &mut source)], &mut [], &options).unwrap();
    let error = same.scores(&rows[..WIDTH], "same", &[0.5]).unwrap_err().to_string();
    assert!(error.contains("two different rows"), "{error}");
    let wide = cloud(50, WIDTH + 1, 3);
    let mut source = MemoryRows::f32("wide", &wide, WIDTH + 1).unwrap();
    let wide = Ranking::fit(&host, &mut [("a", &mut source)], &mut [], &options).unwrap();
    assert!(one.merge(&wide).is_err());
}
