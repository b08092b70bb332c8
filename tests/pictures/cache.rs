//! Rows that are computed once.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use realign::encode::ImageEncoder;
use realign::encode::cache::{EmbeddingCache, KeptRows, PictureRecords};
use realign::encode::picture::{Preprocessor, is_picture};
use realign::io::{Dataset, EncoderId, Extent, Ids, Join, NamedTexts, OpenOptions, PictureList, SkipBad};
use realign::nn::Precision;
use realign::{Device, Error};

use super::common::devices;
use super::golden;

const NAMES: [&str; 6] = ["rgb8.png", "rgba8.png", "grey2.png", "plain.gif", "rgb444.jpg", "rgb24.bmp"];

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        let from = golden().join("../encoders/clip_gelu");
        std::fs::create_dir(place.at("clip")).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, place.at("clip").join(path.file_name().unwrap())).unwrap();
        }
        let configs: serde_json::Value =
            serde_json::from_slice(&std::fs::read(golden().join("rows.json")).unwrap()).unwrap();
        std::fs::write(place.at("clip/preprocessor_config.json"), configs["clip_gelu"].to_string()).unwrap();
        std::fs::create_dir(place.at("pictures")).unwrap();
        NAMES.iter().for_each(|name| place.add(name, name));
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn add(&self, golden_name: &str, name: &str) {
        std::fs::copy(golden().join("files").join(golden_name), self.at("pictures").join(name)).unwrap();
    }

    fn keep(&self, device: &Device, cache: &EmbeddingCache<'_>) -> Result<KeptRows, Error> {
        let list = PictureList::open(&[self.at("pictures")], is_picture)?;
        cache.pictures(device, &self.at("clip"), &list)
    }
}

fn rows(path: &Path) -> (Vec<f32>, Vec<EncoderId>) {
    let set = Dataset::open(&[path.to_path_buf()], &OpenOptions::default()).unwrap();
    let mut bytes = vec![0; set.rows() as usize * set.width() * 4];
    set.reader(0).unwrap().read(set.rows() as usize, &mut bytes).unwrap();
    (bytemuck::pod_collect_to_vec(&bytes), set.encoders())
}

fn ids(path: &Path) -> Vec<String> {
    let ids = Ids::read(path, None).unwrap();
    (0..ids.len()).map(|i| ids.get(i).to_owned()).collect()
}

#[test]
fn each_picture_is_computed_once() {
    let place = Place::new();
    for device in devices() {
        let cache = EmbeddingCache::new(place.at(&format!("kept {}", device.name())));
        let first = place.keep(&device, &cache).unwrap();
        assert_eq!((first.count, first.computed, first.bad), (6, 6, 0));
        let mut sorted = NAMES.to_vec();
        sorted.sort_unstable();
        assert_eq!(ids(&first.ids), sorted);
        // They are what the encoder gives, and say whose they are.
        let (preprocessor, encoder) =
            (Preprocessor::load(&place.at("clip")).unwrap(), ImageEncoder::load(&device, &place.at("clip")).unwrap());
        let pixels: Vec<f32> =
            sorted.iter().flat_map(|name| preprocessor.of_file(&place.at("pictures").join(name)).unwrap()).collect();
        let (kept, encoders) = rows(&first.rows);
        assert_eq!(kept, encoder.encode_blocking(&pixels).unwrap());
        assert_eq!(encoders, [EncoderId::of_model(&place.at("clip")).unwrap()]);
        assert_eq!((&encoders[0].name[..], &encoders[0]), ("clip", &first.encoder));
        // Asked again, with one more, with two alike, renamed, edited.
        let computed = || {
            let kept = place.keep(&device, &cache).unwrap();
            (kept.count, kept.computed)
        };
        assert_eq!(computed(), (6, 0));
        place.add("clear.webp", "new.webp");
        place.add("clear.webp", "same.webp");
        place.add("rgb8.png", "again.png");
        assert_eq!(computed(), (9, 1));
        std::fs::rename(place.at("pictures/plain.gif"), place.at("pictures/zz.gif")).unwrap();
        assert_eq!(computed(), (9, 0));
        let last = place.keep(&device, &cache).unwrap();
        let (kept, names) = (rows(&last.rows).0, ids(&last.ids));
        let row = |name: &str| {
            let at = names.iter().position(|n| n == name).unwrap();
            kept[at * 20..][..20].to_vec()
        };
        assert_eq!((row("new.webp"), row("rgb8.png")), (row("same.webp"), row("again.png")));
        assert_ne!(row("new.webp"), row("rgb8.png"));
        place.add("rgba8.png", "zz.gif");
        assert_eq!(computed(), (9, 0), "a picture's content counts, not its name");
        for name in ["new.webp", "same.webp", "again.png", "zz.gif"] {
            std::fs::remove_file(place.at("pictures").join(name)).unwrap();
        }
        place.add("plain.gif", "plain.gif");
        assert_eq!(computed(), (6, 0));
    }
}

#[test]
fn another_encoder_shares_nothing() {
    let place = Place::new();
    let (device, cache) = (Device::host(), EmbeddingCache::new(place.at("kept")));
    let first = place.keep(&device, &cache).unwrap();
    let config = std::fs::read_to_string(place.at("clip/preprocessor_config.json")).unwrap();
    let mut changed: serde_json::Value = serde_json::from_str(&config).unwrap();
    changed["image_mean"] = serde_json::json!([0.25, 0.5, 0.5]);
    std::fs::write(place.at("clip/preprocessor_config.json"), changed.to_string()).unwrap();
    let other = place.keep(&device, &cache).unwrap();
    assert_eq!(other.computed, 6);
    assert_ne!((rows(&first.rows).0, &first.encoder.hash), (rows(&other.rows).0, &other.encoder.hash));
    std::fs::write(place.at("clip/preprocessor_config.json"), config).unwrap();
    assert_eq!(place.keep(&device, &cache).unwrap(), KeptRows { computed: 0, ..first });
}

#[test]
fn broken_pictures_are_named_or_left_out() {
    let place = Place::new();
    let (device, cache) = (Device::host(), EmbeddingCache::new(place.at("kept")));
    std::fs::write(place.at("pictures/plain.gif"), b"GIF89a").unwrap();
    let said = place.keep(&device, &cache).unwrap_err().to_string();
    assert!(said.contains("plain.gif"), "{said}");
    let lenient = cache.clone().skip_bad(SkipBad::AtMost(1));
    let kept = place.keep(&device, &lenient).unwrap();
    assert_eq!((kept.count, kept.bad, ids(&kept.ids).len()), (5, 1, 5));
    assert_eq!((rows(&kept.rows).0.len(), kept.computed), (100, 5));
    // Beside pictures that are there, the broken one alone is embedded again, in vain; by itself it leaves nothing.
    let of = |names: &[&str], cache: &EmbeddingCache<'_>| {
        cache.pictures(&device, &place.at("clip"), &PictureList::named(&place.at("pictures"), names.iter().copied()))
    };
    let some = of(&["rgb8.png", "plain.gif"], &lenient).unwrap();
    assert_eq!((some.count, some.bad, some.computed, ids(&some.ids)), (1, 1, 0, vec!["rgb8.png".to_owned()]));
    let none = of(&["plain.gif"], &lenient).unwrap_err().to_string();
    assert!(none.contains("all 1 pictures are bad"), "{none}");
    std::fs::copy(place.at("pictures/plain.gif"), place.at("pictures/twin.gif")).unwrap();
    let both = ["rgb8.png", "plain.gif", "twin.gif"];
    assert!(of(&both, &lenient).unwrap_err().to_string().contains("2 pictures cannot be used, and 1 may be left out"));
    assert_eq!(of(&both, &cache.clone().skip_bad(SkipBad::AtMost(2))).unwrap().bad, 2);
    std::fs::remove_file(place.at("pictures/twin.gif")).unwrap();
    // What was left out once is no reason to leave it out again unasked.
    assert!(place.keep(&device, &cache).unwrap_err().to_string().contains("plain.gif"));
    assert_eq!(place.keep(&device, &lenient).unwrap().computed, 0);
}

/// So many questions as can be asked are found, though some of the first are about pictures that are bad.
#[test]
fn bad_pictures_do_not_count_for_an_extent() {
    let place = Place::new();
    let cache = EmbeddingCache::new(place.at("kept")).skip_bad(SkipBad::All);
    for broken in ["a.png", "b.png"] {
        std::fs::write(place.at("pictures").join(broken), b"GIF89a").unwrap();
    }
    let asked = ["a.png", "rgb8.png", "a.png", "b.png", "rgba8.png", "grey2.png", "plain.gif"];
    let line = |name: &&str| format!("{{\"image\": \"{name}\", \"question\": \"what\", \"answer\": \"x\"}}\n");
    std::fs::write(place.at("q.jsonl"), asked.iter().map(line).collect::<String>()).unwrap();
    let (data, root) = (place.at("q.jsonl"), place.at("pictures"));
    let kept = |extent| {
        let (join, skip_missing) = (Join::Auto, false);
        let records = PictureRecords { data: &data, root: Some(&root), join, skip_missing, extent };
        let kept = cache.pictures_of(&Device::host(), &place.at("clip"), &records).unwrap();
        (ids(&kept.ids), kept.bad)
    };
    for (most, good, bad) in [(1, 1, 1), (2, 2, 2), (3, 3, 2), (4, 4, 2), (9, 4, 2)] {
        let want = ["rgb8.png", "rgba8.png", "grey2.png", "plain.gif"][..good].to_vec();
        assert_eq!(kept(Extent::Questions(most)), (want.into_iter().map(str::to_owned).collect(), bad), "{most}");
    }
    assert_eq!(kept(Extent::All).1, 2);
}

/// Rows of mixed precision are others, and are kept beside those of f32.
#[test]
fn each_precision_has_rows_of_its_own() {
    let place = Place::new();
    let (device, cache) = (Device::host(), EmbeddingCache::new(place.at("kept")));
    let mixed = cache.clone().precision(Precision::Mixed);
    let [first, other] = [&cache, &mixed].map(|cache| place.keep(&device, cache).unwrap());
    assert_eq!((first.computed, other.computed), (6, 6));
    let (a, b) = (rows(&first.rows).0, rows(&other.rows).0);
    let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let apart = norm(&mut a.iter().zip(&b).map(|(a, b)| a - b)) / norm(&mut a.iter().copied());
    assert!(apart > 1e-6 && apart < 4e-3, "{apart}");
    assert_eq!([&cache, &mixed].map(|cache| place.keep(&device, cache).unwrap().computed), [0, 0]);
}

#[test]
fn what_was_stopped_goes_on() {
    let place = Place::new();
    let device = Device::host();
    for i in 0..300 {
        // Of each a content of its own: bytes behind a picture's end are no part of it.
        let mut bytes = std::fs::read(golden().join("files/rgb8.png")).unwrap();
        bytes.extend(format!("{i}").bytes());
        std::fs::write(place.at(&format!("pictures/{i:03}.png")), bytes).unwrap();
    }
    let (seen, stop) = (Cell::new(Vec::new()), || true);
    let watch = |what, done, all| seen.set([seen.take(), vec![(what, done, all)]].concat());
    let cache = EmbeddingCache::new(place.at("kept")).watch(Some(&watch));
    assert!(matches!(place.keep(&device, &cache.clone().stop(Some(&stop))), Err(Error::Stopped)));
    let before = seen.take();
    assert!(before.iter().all(|(what, done, all)| (*what, *all) == ("pictures", 306) && done <= all), "{before:?}");
    let reached = before.last().unwrap().1;
    assert!(reached > 0 && reached < 306);
    let kept = place.keep(&device, &cache).unwrap();
    assert_eq!((kept.count, seen.take()[0]), (306, ("pictures", reached, 306)));
    let whole = place.keep(&device, &EmbeddingCache::new(place.at("whole"))).unwrap();
    assert_eq!(rows(&kept.rows), rows(&whole.rows));
    // A file of the cache that is damaged costs its rows, no more.
    std::fs::write(&kept.rows, b"nonsense").unwrap();
    assert_eq!(place.keep(&device, &cache).unwrap().computed, 306);
}

#[test]
fn texts_are_kept_likewise() {
    let place = Place::new();
    let (device, cache) = (Device::host(), EmbeddingCache::new(place.at("kept")));
    let keep = |texts: &[(&str, &str)]| {
        let mut list = NamedTexts::default();
        for (name, text) in texts {
            list.names.push(name);
            list.texts.push(text);
        }
        cache.texts(&device, &place.at("clip"), &list).unwrap()
    };
    let first = keep(&[("1", "a dog"), ("2", "a cat"), ("3", "a dog")]);
    assert_eq!((first.count, first.computed), (3, 2));
    let (numbers, names) = (rows(&first.rows).0, ids(&first.ids));
    assert_eq!((names, &numbers[..20]), (vec!["1".into(), "2".into(), "3".into()], &numbers[40..]));
    assert_eq!(keep(&[("x", "a cat")]).computed, 0);
    assert_eq!(keep(&[("1", "a dog"), ("2", "a bird"), ("3", "a dog")]).computed, 1);
    let there = |name: &str| place.at("kept").join(name).exists();
    assert!(std::fs::read_dir(place.at("kept")).unwrap().count() == 1 && !there("texts.jsonl"));
}

#[test]
fn a_picture_that_changes_meanwhile_is_not_kept() {
    let place = Place::new();
    let device = Device::host();
    let changed = Cell::new(false);
    let path = place.at("pictures/rgb24.bmp");
    let watch = |_, _, _| {
        if !changed.replace(true) {
            std::fs::copy(golden().join("files/plain.gif"), &path).unwrap();
        }
    };
    let cache = EmbeddingCache::new(place.at("kept")).watch(Some(&watch));
    let said = place.keep(&device, &cache).unwrap_err().to_string();
    assert!(said.contains("rgb24.bmp") && said.contains("changed while"), "{said}");
    let again = place.keep(&device, &cache).unwrap();
    let whole = place.keep(&device, &EmbeddingCache::new(place.at("whole"))).unwrap();
    // Of the picture that it is now there is one like it.
    assert_eq!((again.count, again.computed), (6, 5));
    assert_eq!(rows(&again.rows), rows(&whole.rows));
}

#[test]
fn a_run_waits_for_another_in_the_same_folder() {
    let place = Place::new();
    let cache = EmbeddingCache::new(place.at("kept"));
    let first = place.keep(&Device::host(), &cache).unwrap();
    place.add("clear.webp", "new.webp");
    let folder = first.rows.parent().unwrap();
    let lock = realign::io::FolderLock::acquire(folder).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| place.keep(&Device::host(), &EmbeddingCache::new(place.at("kept"))).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert!(!waiting.is_finished());
        drop(lock);
        assert_eq!(waiting.join().unwrap().computed, 1);
    });
}
