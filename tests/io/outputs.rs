//! Outputs appear whole or not at all, and never over something that was not to be replaced.

use realign::io::{FileFormat, OutputOptions};
use realign::{ElementType, Error};
use tempfile::tempdir;

use super::*;

fn three_shards(folder: &Path) -> Dataset {
    let shards = folder.join("in");
    std::fs::create_dir(&shards).unwrap();
    for name in ["a.npy", "b.npy", "c.npy"] {
        put(&shards, name, &counting("<f4", 4, 2));
    }
    open(&[&shards]).unwrap()
}

#[test]
fn nothing_is_visible_before_commit_and_nothing_stays_without() {
    let folder = tempdir().unwrap();
    let input = three_shards(folder.path());
    let before = tree(folder.path());
    let out = folder.path().join("deep/er/out");
    let mut output = Output::create(&input, &out, &OutputOptions::default()).unwrap();
    let mut writer = output.writer(0).unwrap();
    writer.write(&[1; 32]).unwrap();
    writer.finish().unwrap();
    let mut half = output.writer(1).unwrap();
    half.write(&[1; 16]).unwrap();
    assert!(!out.join("a.npy").exists() && !out.join("b.npy").exists());
    refused(half.finish(), &["b.npy", "4 rows", "2 rows"]);
    refused(output.commit(), &["b.npy", "not all of its rows"]);
    assert_eq!(tree(folder.path()), before);
    drop(Output::create(&input, &out, &OutputOptions::default()).unwrap());
    assert_eq!(tree(folder.path()), before);
}

#[test]
fn shards_keep_their_names_in_a_new_folder() {
    let folder = tempdir().unwrap();
    let input = three_shards(folder.path());
    let out = folder.path().join("deep/out");
    let options = OutputOptions { format: Some(FileFormat::Safetensors), ..Default::default() };
    let bytes: Vec<u8> = (0..96).collect();
    write(&input, &out, &options, &bytes).unwrap();
    assert_eq!(tree(&out), ["a.safetensors", "b.safetensors", "c.safetensors"]);
    assert_eq!(rows(&open(&[&out]).unwrap()).unwrap(), bytes);
}

#[test]
fn a_single_file_goes_to_a_file_or_into_a_folder() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    let input = open(&[&put(path, "a.npy", &counting("<f4", 1, 2))]).unwrap();
    let options = OutputOptions::default();
    std::fs::create_dir(path.join("there")).unwrap();
    for (out, file) in [("b.npy", "b.npy"), ("there", "there/a.npy"), ("new/", "new/a.npy"), ("c.bin", "c.bin")] {
        assert_eq!(write(&input, &path.join(out), &options, &[3; 8]).unwrap(), [path.join(file)], "{out}");
        assert!(path.join(file).is_file());
    }
    let converted = OutputOptions { format: Some(FileFormat::Safetensors), ..Default::default() };
    assert_eq!(write(&input, &path.join("there"), &converted, &[3; 8]).unwrap(), [path.join("there/a.safetensors")]);
    refused(Output::create(&input, &path.join("d.npy"), &converted), &["d.npy", "safetensors", "contradicts"]);
    refused(Output::create(&input, &path.join("no/d.npy"), &options), &["no", "does not exist", "create it"]);
}

#[test]
fn existing_files_are_kept_without_force() {
    let folder = tempdir().unwrap();
    let input = three_shards(folder.path());
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    put(&out, "c.npy", b"precious");
    let refusal = Output::create(&input, &out, &OutputOptions::default()).unwrap_err();
    assert!(matches!(refusal, Error::OutputExists(path) if path == out.join("c.npy")));
    assert_eq!(tree(&out), ["c.npy"]);
    let force = OutputOptions { force: true, ..Default::default() };
    let mut output = Output::create(&input, &out, &force).unwrap();
    output.writer(2).unwrap().write(&[0; 32]).unwrap();
    drop(output);
    assert_eq!(std::fs::read(out.join("c.npy")).unwrap(), b"precious");
    write(&input, &out, &force, &[0; 96]).unwrap();
    assert_eq!(tree(&out), ["a.npy", "b.npy", "c.npy"]);
    assert_eq!(rows(&open(&[&out]).unwrap()).unwrap(), [0; 96]);
}

#[test]
fn a_file_that_appears_meanwhile_is_kept_and_its_siblings_go() {
    let folder = tempdir().unwrap();
    let input = three_shards(folder.path());
    let out = folder.path().join("out");
    let mut output = Output::create(&input, &out, &OutputOptions::default()).unwrap();
    for i in 0..3 {
        let mut writer = output.writer(i).unwrap();
        writer.write(&[0; 32]).unwrap();
        writer.finish().unwrap();
    }
    put(&out, "b.npy", b"theirs");
    assert!(matches!(output.commit().unwrap_err(), Error::OutputExists(_)));
    assert_eq!(tree(&out), ["b.npy"]);
    assert_eq!(std::fs::read(out.join("b.npy")).unwrap(), b"theirs");
}

#[test]
fn inputs_are_never_replaced() {
    let folder = tempdir().unwrap();
    let input = three_shards(folder.path());
    let force = OutputOptions { force: true, ..Default::default() };
    refused(Output::create(&input, &folder.path().join("in"), &force), &["a.npy", "also an input"]);
    let single = open(&[&folder.path().join("in/b.npy")]).unwrap();
    refused(Output::create(&single, &folder.path().join("in/../in/b.npy"), &force), &["b.npy", "also an input"]);
    assert_eq!(tree(&folder.path().join("in")), ["a.npy", "b.npy", "c.npy"]);
}

#[test]
fn names_and_types_that_cannot_be() {
    let folder = tempdir().unwrap();
    let input = three_shards(folder.path());
    let options = OutputOptions::default();
    let out = folder.path().join("out");
    refused(Output::create(&input, &folder.path().join("out.npy"), &options), &["out.npy", "name a folder"]);
    refused(Output::create(&input, &put(folder.path(), "file", b""), &options), &["file", "name a folder"]);
    for (format, element) in [
        (FileFormat::Npy, ElementType::BF16),
        (FileFormat::Parquet, ElementType::BF16),
        (FileFormat::Safetensors, ElementType::Fixed),
    ] {
        let options = OutputOptions { format: Some(format), element_type: Some(element), force: false };
        refused(Output::create(&input, &out, &options), &[element.name(), "f32"]);
    }
    assert!(!out.exists());
    let second = folder.path().join("two");
    std::fs::create_dir(&second).unwrap();
    let same = put(&second, "a.npy", &counting("<f4", 1, 2));
    let clash = open(&[&folder.path().join("in/a.npy"), &same]).unwrap();
    refused(Output::create(&clash, &out, &options), &["in/a.npy", "two/a.npy", "rename"]);
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let folder = tempdir().unwrap();
    let input = three_shards(folder.path());
    let mut output = Output::create(&input, &folder.path().join("out"), &OutputOptions::default()).unwrap();
    let mut writer = output.writer(0).unwrap();
    refused(writer.write(&[0; 7]), &["rows of 8 bytes", "7 bytes"]);
    writer.write(&[0; 24]).unwrap();
    refused(writer.write(&[0; 16]), &["a.npy", "4 rows", "5 rows"]);
    refused(output.writer(3).map(drop), &["out of range"]);
}
