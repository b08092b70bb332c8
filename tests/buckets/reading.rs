//! What is read from a bucket is what would be read from a disk.

use std::path::{Path, PathBuf};

use realign::device::Device;
use realign::io::{Dataset, EmbeddingRows, FileFormat, Ids, Output, OutputOptions, Records};
use realign::stats::{CovarianceMode, DatasetRows, StreamOptions, Summary};

use crate::Test;
use crate::world::{World, numbers, open, read_all, url};

pub const TESTS: &[Test] = &[
    ("reading::every_format_has_the_rows_and_the_statistics_of_the_files", formats),
    ("reading::patterns_and_folders_are_those_of_disks", listings),
    ("reading::requests_are_few", requests),
    ("reading::names_texts_and_statistics", names),
    ("reading::what_is_not_there_is_said", missing),
    ("reading::rows_in_any_order", any_order),
];

fn bits(set: &Dataset) -> Vec<u8> {
    let mut rows = DatasetRows::new(set);
    let mode = Some(CovarianceMode::Exact);
    Summary::of(&Device::host(), &mut rows, mode, StreamOptions::default()).unwrap().to_bytes().unwrap()
}

/// The same rows in a format, as a folder of two shards.
fn converted(world: &World, folder: &str, format: FileFormat) {
    let options = OutputOptions { format: Some(format), force: true, ..OutputOptions::default() };
    let input = open(&[world.at("npy/a.npy"), world.at("npy/b.npy")]).unwrap();
    let mut output = Output::create(&input, &world.at(folder), &options).unwrap();
    for (number, shard) in input.shards().iter().enumerate() {
        let mut rows = vec![0; shard.rows() as usize * input.width() * 4];
        input.reader(number).unwrap().read(shard.rows() as usize, &mut rows).unwrap();
        let mut writer = output.writer(number).unwrap();
        writer.write(&rows).unwrap();
        writer.finish().unwrap();
    }
    output.commit().unwrap();
}

fn formats(world: &World) {
    // More than one piece each, and no whole number of them; more than one row group in parquet.
    world.put_rows("npy/a.npy", 21_001, 67, 1);
    world.put_rows("npy/b.npy", 20_011, 67, 2);
    for format in [FileFormat::Parquet, FileFormat::Safetensors] {
        converted(world, format.name(), format);
    }
    let mut first: Option<Vec<u8>> = None;
    for folder in ["npy", "parquet", "safetensors"] {
        let local = open(&[world.at(folder)]).unwrap();
        let remote = open(&[url(&format!("{folder}/"))]).unwrap();
        assert_eq!((remote.rows(), remote.width(), remote.shards().len()), (41_012, 67, 2), "{folder}");
        assert!(!remote.single_file());
        let rows = read_all(&local, 1000).unwrap();
        for block in [1000, 7919] {
            assert!(read_all(&remote, block).unwrap() == rows, "{folder} in blocks of {block}");
        }
        let statistics = bits(&remote);
        assert!(statistics == bits(&local), "{folder}");
        assert!(*first.get_or_insert(statistics.clone()) == statistics, "{folder}");
    }
}

fn names_of(set: &Dataset) -> Vec<String> {
    set.shards().iter().map(|shard| shard.path().display().to_string()).collect()
}

fn listings(world: &World) {
    for (key, seed) in [("list/img_emb/img_emb_2.npy", 1), ("list/img_emb/img_emb_10.npy", 2), ("list/x y/é[1].npy", 3)]
    {
        world.put_rows(key, 3, 4, seed);
    }
    world.put("list/x y/.hidden.npy", b"");
    world.put("list/x y/notes.txt", b"");
    let shards = ["s3://bucket/list/img_emb/img_emb_2.npy", "s3://bucket/list/img_emb/img_emb_10.npy"];
    for name in
        ["list/img_emb/", "list/", "list/img_emb/*.npy", "list/*/img*_?*.npy", "li*t/img_emb/img_emb_[0-9]*.npy"]
    {
        assert_eq!(names_of(&open(&[url(name)]).unwrap()), shards, "{name}");
    }
    let odd = open(&[url("list/x y/")]).unwrap();
    assert_eq!(names_of(&odd), ["s3://bucket/list/x y/é[1].npy"]);
    assert_eq!(read_all(&odd, 9).unwrap(), read_all(&open(&[world.at("list/x y/é[1].npy")]).unwrap(), 9).unwrap());
    for (name, word) in [("list/*/none*.npy", "no file matches"), ("nothing/", "no .npy"), ("list/[", "pattern")] {
        let error = open(&[url(name)]).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("s3://bucket/"), "{error}");
    }
    let twice = open(&[url("list/img_emb/img_emb_2.npy"), url("list/*/img_emb_2.npy")]).unwrap_err().to_string();
    assert!(twice.contains("named twice"), "{twice}");
}

fn requests(world: &World) {
    let name = world.put_rows("few.npy", 10_000, 256, 5);
    world.proxy.requests();
    let set = open(std::slice::from_ref(&name)).unwrap();
    let looks = world.proxy.requests();
    assert_eq!(looks.len(), 2, "a look and the header: {looks:?}");
    assert!(looks[0].starts_with("HEAD /bucket/few.npy"), "{looks:?}");
    // 10.24 MB in pieces of 4 MiB, however small the blocks that are asked for.
    read_all(&set, 10).unwrap();
    let mut ranges = world.proxy.requests();
    ranges.sort();
    assert_eq!(ranges.len(), 3, "{ranges:?}");
    assert!(ranges.iter().any(|range| range.ends_with("bytes=128-4194431")), "{ranges:?}");
    assert_eq!(set.shards()[0].path(), name);
}

fn names(world: &World) {
    world.put("ids/names.txt", "a\nb\u{e9}\n".as_bytes());
    world.put("ids/names.jsonl", b"{\"id\": \"a\"}\n{\"id\": 7}\n");
    let ids = Ids::read(&url("ids/names.txt"), None).unwrap();
    assert_eq!((ids.len(), ids.get(1)), (2, "b\u{e9}"));
    assert_eq!(Ids::read(&url("ids/names.jsonl"), None).unwrap().get(1), "7");
    let mut records = Records::open(&url("ids/names.jsonl")).unwrap();
    assert_eq!(records.next().unwrap().unwrap().object["id"], "a");
    world.put_rows("stats/rows.npy", 50, 8, 4);
    let set = open(&[url("stats/rows.npy")]).unwrap();
    let mut rows = DatasetRows::new(&set);
    let summary = Summary::of(&Device::host(), &mut rows, None, StreamOptions::default()).unwrap();
    summary.save(&url("stats/out.safetensors"), false).unwrap();
    assert_eq!(Summary::load(&url("stats/out.safetensors")).unwrap().to_bytes().unwrap(), summary.to_bytes().unwrap());
    assert_eq!(std::fs::read(world.at("stats/out.safetensors")).unwrap(), summary.to_bytes().unwrap());
}

fn missing(_world: &World) {
    for (name, word) in [
        ("s3://bucket/no.npy", "no such object"),
        ("s3://other/no.npy", "no such"),
        ("s3://bucket/no.xyz", "unknown file type"),
        ("ftp://bucket/no.npy", "no scheme"),
    ] {
        let error = open(&[PathBuf::from(name)]).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(name), "{error}");
    }
    assert!(!Path::new("s3:").exists());
}

fn any_order(world: &World) {
    let name = world.put_rows("order.npy", 1000, 16, 9);
    let set = open(&[name]).unwrap();
    let mut rows = EmbeddingRows::open(&set).unwrap();
    let (all, mut out) = (numbers(16_000, 9), vec![0.0; 3 * 16]);
    world.proxy.requests();
    rows.read(&[999, 0, 517], &mut out).unwrap();
    assert_eq!(out, [&all[999 * 16..], &all[..16], &all[517 * 16..518 * 16]].concat());
    assert_eq!(world.proxy.requests(), Vec::<String>::new(), "rows are on the disk by then");
    let mut reader = set.reader(0).unwrap();
    let mut row = [0; 64];
    reader.read_at(700, 1, &mut row).unwrap();
    assert_eq!(row, bytemuck::cast_slice::<f32, u8>(&all[700 * 16..701 * 16]));
    reader.read(1, &mut row).unwrap();
    assert_eq!(row, bytemuck::cast_slice::<f32, u8>(&all[..16]));
}
