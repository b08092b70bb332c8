//! Each malformed input is refused, naming the file, the place and the remedy.

use tempfile::tempdir;

use super::*;

fn bad(name: &str, bytes: &[u8], words: &[&str]) {
    let folder = tempdir().unwrap();
    let path = put(folder.path(), name, bytes);
    refused(open(&[&path]), &[&[name], words].concat());
}

fn bad_npy(dictionary: &str, body: usize, words: &[&str]) {
    bad("a.npy", &npy(dictionary, &vec![0; body]), words);
}

#[test]
fn npy_of_another_kind() {
    bad_npy("{'descr': '>f4', 'fortran_order': False, 'shape': (1, 2)}", 8, &["big-endian", "a.astype('<f4')"]);
    bad_npy("{'descr': '=f4', 'fortran_order': False, 'shape': (1, 2)}", 8, &["byte order", "a.astype('<f4')"]);
    bad_npy("{'descr': '<i8', 'fortran_order': False, 'shape': (1, 2)}", 16, &["<i8", ".astype(np.float32)"]);
    bad_npy("{'descr': '|O', 'fortran_order': False, 'shape': (1, 2)}", 16, &["|O", ".astype(np.float32)"]);
    bad_npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", 4, &["structured", "astype"]);
    bad_npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2)}", 8, &["Fortran", "np.ascontiguousarray"]);
    bad_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 8, &["1-D", "[2]", "a.reshape"]);
    bad_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 2)}", 16, &["3-D", "a.reshape"]);
    bad_npy("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", 4, &["0-D", "a.reshape"]);
    bad_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 2)}", 0, &["empty", "0 rows of 2"]);
    bad_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 0)}", 0, &["empty", "2 rows of 0"]);
}

#[test]
fn npy_with_sizes_that_do_not_fit() {
    let dictionary = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)}";
    let len = npy(dictionary, &[]).len();
    let sizes = [format!("{} bytes in all", len + 16), format!("has {}", len + 15)];
    bad_npy(dictionary, 15, &["truncated", &sizes[0], &sizes[1]]);
    bad_npy(dictionary, 17, &["1 bytes follow", "save the array"]);
    for shape in ["(1000000000000, 1000)", "(18446744073709551615, 18446744073709551615)", "(4611686018427387904, 4)"] {
        bad_npy(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"), 64, &["truncated"]);
    }
    bad_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 1)}", 4, &["64 bits"]);
}

#[test]
fn npy_with_a_broken_preamble() {
    bad("a.npy", b"", &["not an npy file"]);
    bad("a.npy", b"\x93NUMPY\x01", &["not an npy file"]);
    bad("a.npy", b"PK\x03\x04 not numpy at all", &["not an npy file"]);
    bad("a.npy", b"\x93NUMPY\x04\x00\x10\x00{}          ", &["version 4.0", "np.save"]);
    bad("a.npy", b"\x93NUMPY\x01\x00\xff\x7f{}", &["truncated", "32767"]);
    bad("a.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", &["4294967295", "np.save"]);
    bad("a.npy", b"\x93NUMPY\x02\x00\xff\xff", &["truncated"]);
    let nested = format!("{{'descr': {}", "[".repeat(60_000));
    bad_npy(&nested, 0, &["structured"]);
}

#[test]
fn safetensors_with_a_broken_header() {
    let one = |dtype: &str, shape: &str, end: usize| {
        format!(r#"{{"x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#)
    };
    let file = |table: &str, body: usize| safetensors(table, &vec![0; body]);
    bad("a.safetensors", b"1234567", &["only 7 bytes"]);
    bad("a.safetensors", &u64::MAX.to_le_bytes(), &["claims 18446744073709551615", "has 8"]);
    bad("a.safetensors", &[&100u64.to_le_bytes()[..], b"{}"].concat(), &["claims 100", "has 10"]);
    bad("a.safetensors", &file("{not json}", 0), &["not a valid safetensors header"]);
    bad("a.safetensors", &file(&"[".repeat(100_000), 0), &["not a valid safetensors header"]);
    bad("a.safetensors", &file("{}", 0), &["no tensor at all"]);
    bad("a.safetensors", &file(&one("F32", "[2,2]", 16), 15), &["truncated"]);
    bad("a.safetensors", &file(&one("F32", "[2,2]", 16), 17), &["follow the last tensor"]);
    bad("a.safetensors", &file(&one("F32", "[2,2]", 12), 12), &["not a valid safetensors header"]);
    bad("a.safetensors", &file(&one("F32", "[4294967296,4294967296,2]", 16), 16), &["not a valid safetensors header"]);
    bad("a.safetensors", &file(&one("F32", "[4]", 16), 16), &["no 2-D tensor", r#""x" (F32 [4])"#]);
    bad("a.safetensors", &file(&one("I32", "[2,2]", 16), 16), &["no 2-D tensor", "I32"]);
    bad("a.safetensors", &file(&one("F32", "[0,2]", 0), 0), &["empty"]);
    let folder = tempdir().unwrap();
    let path = put(folder.path(), "a.safetensors", &file(&one("I32", "[2,2]", 16), 16));
    let options = OpenOptions { key: Some("x".to_string()), ..Default::default() };
    refused(Dataset::open(&[path], &options), &["a.safetensors", "I32", "2-D tensor of F16", "choose another tensor"]);
}

#[test]
fn inputs_that_are_not_there_or_not_ours() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    refused(open(&[]), &["no file was named"]);
    refused(open(&[&path.join("none.npy")]), &["none.npy", "open"]);
    refused(open(&[path]), &["holds no .npy"]);
    refused(open(&[&path.join("*.npy")]), &["no file matches"]);
    refused(open(&[&path.join("***.npy")]), &["not a valid pattern"]);
    refused(open(&[&put(path, "a.csv", b"1,2")]), &["a.csv", ".npy, .safetensors, .parquet or .arrow"]);
    let a = put(path, "a.npy", &counting("<f4", 2, 3));
    refused(open(&[&a, &a]), &["a.npy", "named twice"]);
    refused(open(&[&a, &path.join("*.npy")]), &["a.npy", "named twice"]);
    refused(open(&[&a, &put(path, "b.npy", &counting("<f4", 2, 4))]), &["b.npy", "4 f32", "a.npy", "3 f32"]);
    refused(open(&[&a, &put(path, "c.npy", &counting("<f8", 2, 3))]), &["c.npy", "3 f64", "a.npy", "3 f32"]);
    put(path, "d.safetensors", b"");
    refused(open(&[path]), &["a.npy", "d.safetensors", "one format", "*.npy"]);
    refused("csv".parse::<realign::io::FileFormat>(), &["csv", "npy, safetensors or parquet"]);
}

#[test]
fn files_that_change_after_opening() {
    let folder = tempdir().unwrap();
    let path = put(folder.path(), "a.npy", &counting("<f4", 10, 3));
    let input = open(&[&path]).unwrap();
    let mut reader = input.reader(0).unwrap();
    let mut block = vec![0; 5 * 12];
    reader.read(5, &mut block).unwrap();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 4]).unwrap();
    refused(reader.read(5, &mut block), &["a.npy", "truncated while in use", "rows 5 to 9", "again"]);
    refused(input.reader(0).map(drop), &["a.npy", "changed while in use"]);
    std::fs::remove_file(&path).unwrap();
    refused(input.reader(0).map(drop), &["a.npy"]);
}

#[test]
fn blocks_of_the_wrong_size() {
    let folder = tempdir().unwrap();
    let input = open(&[&put(folder.path(), "a.npy", &counting("<f4", 10, 3))]).unwrap();
    let mut reader = input.reader(0).unwrap();
    refused(reader.read(2, &mut [0; 23]), &["2 rows of 12 bytes", "23 bytes"]);
    refused(reader.read(11, &mut [0; 132]), &["a.npy", "11 rows", "10 rows"]);
    refused(reader.read_at(u64::MAX, 1, &mut [0; 12]), &["a.npy"]);
    refused(reader.read(usize::MAX, &mut []), &["bytes"]);
    refused(input.reader(1).map(drop), &["out of range"]);
    reader.read(10, &mut [0; 120]).unwrap();
    reader.read(0, &mut []).unwrap();
}

#[cfg(not(feature = "parquet"))]
#[test]
fn parquet_names_its_feature() {
    bad("a.parquet", b"PAR1", &["feature `parquet`"]);
    let folder = tempdir().unwrap();
    let input = open(&[&put(folder.path(), "a.npy", &counting("<f4", 1, 3))]).unwrap();
    let out = folder.path().join("out.parquet");
    refused(Output::create(&input, &out, &OutputOptions::default()), &["out.parquet", "feature `parquet`"]);
}
