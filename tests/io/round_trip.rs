//! What is written in any format and type comes back bit by bit.

use realign::ElementType;
use realign::io::{FileFormat, OpenOptions, OutputOptions};
use tempfile::tempdir;

use super::*;

const TYPES: [ElementType; 4] = [ElementType::F16, ElementType::BF16, ElementType::F32, ElementType::F64];

fn formats() -> Vec<FileFormat> {
    FileFormat::WRITTEN.into_iter().filter(|f| cfg!(feature = "parquet") || *f != FileFormat::Parquet).collect()
}

#[test]
fn every_format_and_type() {
    let folder = tempdir().unwrap();
    let input = open(&[&put(folder.path(), "in.npy", &counting("<f4", 41, 3))]).unwrap();
    for format in formats() {
        for element in TYPES {
            if element == ElementType::BF16 && format != FileFormat::Safetensors {
                continue;
            }
            // Any bits, NaN payloads included, must survive.
            let bytes: Vec<u8> = (0..41 * 3 * element.bytes()).map(|i| (i * 37 % 256) as u8).collect();
            let out = folder.path().join(format!("{element}.{format}"));
            let options = OutputOptions { element_type: Some(element), ..Default::default() };
            assert_eq!(write(&input, &out, &options, &bytes).unwrap(), std::slice::from_ref(&out));
            let back = open(&[&out]).unwrap();
            assert_eq!((back.rows(), back.width(), back.element_type()), (41, 3, element));
            assert_eq!(back.shards()[0].format(), format);
            assert!(back.single_file());
            assert_eq!(rows(&back).unwrap(), bytes, "{format} {element}");
            let mut reader = back.reader(0).unwrap();
            let mut some = vec![0; 2 * 3 * element.bytes()];
            reader.read_at(30, 2, &mut some).unwrap();
            assert_eq!(some, bytes[30 * 3 * element.bytes()..][..some.len()]);
            reader.read(2, &mut some).unwrap();
            assert_eq!(some, bytes[..some.len()], "read_at must not move the reader");
        }
    }
}

#[test]
fn blocks_large_enough_for_several_threads() {
    let folder = tempdir().unwrap();
    let input = open(&[&put(folder.path(), "in.npy", &counting("<f4", 3001, 257))]).unwrap();
    let mut bytes = vec![0; 3001 * 257 * 4];
    input.reader(0).unwrap().read(3001, &mut bytes).unwrap();
    let expected: Vec<u8> = (0..3001 * 257).flat_map(|i| (i as f32).to_le_bytes()).collect();
    assert!(bytes == expected);
    for format in formats() {
        let out = folder.path().join(format!("out.{format}"));
        let mut output = Output::create(&input, &out, &OutputOptions::default()).unwrap();
        let mut writer = output.writer(0).unwrap();
        writer.write(&bytes).unwrap();
        writer.finish().unwrap();
        output.commit().unwrap();
        let mut back = vec![0; bytes.len()];
        open(&[&out]).unwrap().reader(0).unwrap().read(3001, &mut back).unwrap();
        assert!(back == bytes, "{format}");
    }
}

#[test]
fn npy_versions_two_and_three() {
    let folder = tempdir().unwrap();
    let one = counting("<f4", 5, 2);
    for version in [2, 3] {
        let text_len = u16::from_le_bytes([one[8], one[9]]);
        let mut file = b"\x93NUMPY".to_vec();
        file.extend([version, 0]);
        file.extend(u32::from(text_len).to_le_bytes());
        file.extend(&one[10..]);
        let path = put(folder.path(), &format!("v{version}.npy"), &file);
        assert_eq!(rows(&open(&[&path]).unwrap()).unwrap(), one[one.len() - 40..]);
    }
}

#[test]
fn safetensors_keep_other_tensors_and_notes() {
    let folder = tempdir().unwrap();
    let table = concat!(
        r#"{"__metadata__":{"model":"clip","b":"ü"},"flags":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]},"#,
        r#""rows":{"dtype":"F32","shape":[2,3],"data_offsets":[3,27]},"ids":{"dtype":"I64","shape":[2],"data_offsets":[27,43]}}"#
    );
    let body: Vec<u8> = (0..43).collect();
    let input = open(&[&put(folder.path(), "in.safetensors", &safetensors(table, &body))]).unwrap();
    assert_eq!(rows(&input).unwrap(), body[3..27]);
    let out = folder.path().join("out.safetensors");
    let options = OutputOptions { element_type: Some(ElementType::BF16), ..Default::default() };
    write(&input, &out, &options, &[9; 12]).unwrap();
    let bytes = std::fs::read(&out).unwrap();
    let tensors = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.len(), 3);
    assert_eq!(tensors.tensor("flags").unwrap().data(), &body[..3]);
    assert_eq!(tensors.tensor("ids").unwrap().data(), &body[27..]);
    let rows = tensors.tensor("rows").unwrap();
    assert_eq!((rows.dtype(), rows.shape(), rows.data()), (::safetensors::Dtype::BF16, &[2, 3][..], &[9; 12][..]));
    let (_, metadata) = ::safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let notes = metadata.metadata().clone().unwrap();
    assert_eq!((notes["model"].as_str(), notes["b"].as_str(), notes.len()), ("clip", "ü", 2));
    let again = folder.path().join("again.safetensors");
    write(&input, &again, &options, &[9; 12]).unwrap();
    assert!(std::fs::read(again).unwrap() == bytes, "the same input must give the same file");
}

#[test]
fn a_tensor_by_name() {
    let folder = tempdir().unwrap();
    let table = concat!(
        r#"{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"#,
        r#""b":{"dtype":"F32","shape":[2,1],"data_offsets":[8,16]}}"#
    );
    let path = put(folder.path(), "two.safetensors", &safetensors(table, &[7; 16]));
    refused(open(&[&path]), &["two.safetensors", "choose a tensor among", r#""a" (F32 [1, 2])"#, r#""b""#]);
    let by = |key: &str| OpenOptions { key: Some(key.to_string()), ..Default::default() };
    let input = Dataset::open(std::slice::from_ref(&path), &by("b")).unwrap();
    assert_eq!((input.rows(), input.width()), (2, 1));
    refused(
        Dataset::open(&[path], &by("c")),
        &["two.safetensors", r#"no tensor is called "c""#, "choose a tensor among", r#""a""#],
    );
}

#[test]
fn folders_patterns_and_lists() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    for (name, rows) in [("x_2.npy", 2), ("x_10.npy", 3), ("y.npy", 1)] {
        put(path, name, &counting("<f4", rows, 2));
    }
    put(path, "notes.txt", b"not rows");
    put(path, "._x_2.npy", b"not rows");
    let names = |dataset: &Dataset| {
        dataset.shards().iter().map(|shard| shard.name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let all = open(&[path]).unwrap();
    assert_eq!(names(&all), ["x_10.npy", "x_2.npy", "y.npy"]);
    assert_eq!((all.rows(), all.single_file()), (6, false));
    let some = open(&[&path.join("x_*.npy")]).unwrap();
    assert_eq!(names(&some), ["x_10.npy", "x_2.npy"]);
    let given = open(&[&path.join("y.npy"), &path.join("x_?.npy")]).unwrap();
    assert_eq!(names(&given), ["y.npy", "x_2.npy"]);
    let one = open(&[&path.join("y.np[y]")]).unwrap();
    assert!(!one.single_file());
    put(path, "z[1].npy", &counting("<f4", 1, 2));
    assert_eq!(names(&open(&[&path.join("z[1].npy")]).unwrap()), ["z[1].npy"]);
}
