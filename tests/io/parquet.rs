//! Parquet: every kind of list, other columns untouched, and damage that must not end the process.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::basic::Compression;
use ::parquet::file::properties::WriterProperties;
use arrow_array::builder::{ListBuilder, StringBuilder, StringDictionaryBuilder};
use arrow_array::types::{Float32Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, Float32Array, Int64Array, LargeListArray, ListArray, RecordBatch, StringArray,
};
use arrow_schema::{DataType, Field, Schema};
use realign::ElementType;
use realign::io::{FileFormat, OpenOptions, OutputOptions};
use tempfile::tempdir;

use super::*;

const WIDTH: usize = 3;

/// Rows counting up, as the kind of list that `kind` says.
fn lists(kind: &str, rows: usize) -> ArrayRef {
    let item = Arc::new(Field::new("element", DataType::Float32, true));
    let values = Arc::new(Float32Array::from_iter_values((0..rows * WIDTH).map(|i| i as f32)));
    let fixed = FixedSizeListArray::new(item, WIDTH as i32, values, None);
    match kind {
        "fixed" => Arc::new(fixed),
        "list" => Arc::new(ListArray::from(fixed)),
        _ => Arc::new(LargeListArray::from(fixed)),
    }
}

/// Columns of everything around the embeddings.
fn columns(kind: &str, rows: usize) -> Vec<(&'static str, ArrayRef)> {
    let mut tags = ListBuilder::new(StringBuilder::new());
    let mut labels = StringDictionaryBuilder::<Int32Type>::new();
    for i in 0..rows {
        (0..i % 4).for_each(|j| tags.values().append_value(format!("t{j}")));
        tags.append(i % 5 != 0);
        labels.append_value(["cat", "dog"][i % 2]);
    }
    vec![
        ("id", Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("ü{i}")))) as ArrayRef),
        ("n", Arc::new(Int64Array::from_iter((0..rows).map(|i| (i % 3 > 0).then_some(-(i as i64)))))),
        ("embedding", lists(kind, rows)),
        ("tags", Arc::new(tags.finish())),
        ("label", Arc::new(labels.finish())),
    ]
}

fn batch(columns: Vec<(&'static str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<_> = columns.iter().map(|(name, c)| Field::new(*name, c.data_type().clone(), true)).collect();
    let notes: HashMap<_, _> = [("pandas".to_string(), "{\"index\": []}".to_string())].into();
    let schema = Schema::new_with_metadata(fields, notes);
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, column)| column).collect()).unwrap()
}

fn save(path: &Path, batch: &RecordBatch, group: usize) {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .set_compression(Compression::ZSTD(Default::default()));
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties.build())).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

fn load(path: &Path) -> RecordBatch {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    // The reader leaves the schema's metadata off its batches.
    let schema = builder.schema().clone();
    let batches = builder.with_batch_size(1 << 20).build().unwrap();
    let mut batches: Vec<_> = batches.map(|batch| batch.unwrap()).collect();
    assert_eq!(batches.len(), 1);
    batches.remove(0).with_schema(schema).unwrap()
}

fn parquet_with(columns: Vec<(&'static str, ArrayRef)>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("in.parquet");
    save(&path, &batch(columns), 8);
    (folder, path)
}

#[test]
fn other_columns_and_metadata_pass_through() {
    for kind in ["fixed", "list", "large"] {
        let folder = tempdir().unwrap();
        let path = folder.path().join("in.parquet");
        let original = batch(columns(kind, 9000));
        save(&path, &original, 1700);
        let input = open(&[&path]).unwrap();
        assert_eq!((input.rows(), input.width(), input.element_type()), (9000, WIDTH, ElementType::F32));
        let bytes = rows(&input).unwrap();
        assert!(bytes == (0..9000 * WIDTH).flat_map(|i| (i as f32).to_le_bytes()).collect::<Vec<u8>>());
        let out = folder.path().join("same.parquet");
        write(&input, &out, &OutputOptions::default(), &bytes).unwrap();
        assert!(load(&out) == load(&path), "{kind}");
        assert_eq!(load(&out).schema(), original.schema());

        let wide: Vec<u8> = (0..9000 * WIDTH).flat_map(|i| (-(i as f64)).to_le_bytes()).collect();
        let options = OutputOptions { element_type: Some(ElementType::F64), ..Default::default() };
        let out = folder.path().join("wide.parquet");
        write(&input, &out, &options, &wide).unwrap();
        let back = open(&[&out]).unwrap();
        assert!(rows(&back).unwrap() == wide);
        let back = load(&out);
        for name in ["id", "n", "tags", "label"] {
            assert_eq!(back.column_by_name(name).unwrap(), original.column_by_name(name).unwrap(), "{kind} {name}");
        }
        let (before, after) = (original.schema(), back.schema());
        assert_eq!(after.metadata(), before.metadata());
        let retyped = format!("{}", before.field(2).data_type()).replace("Float32", "Float64");
        assert_eq!(format!("{}", after.field(2).data_type()), retyped);
    }
}

#[test]
fn to_and_from_other_formats() {
    let (folder, path) = parquet_with(columns("list", 20));
    let input = open(&[&path]).unwrap();
    let bytes = rows(&input).unwrap();
    let out = folder.path().join("rows.npy");
    write(&input, &out, &OutputOptions::default(), &bytes).unwrap();
    let plain = open(&[&out]).unwrap();
    assert_eq!(rows(&plain).unwrap(), bytes);
    let out = folder.path().join("rows.parquet");
    write(&plain, &out, &OutputOptions::default(), &bytes).unwrap();
    let back = load(&out);
    assert_eq!(back.num_columns(), 1);
    assert_eq!(back.schema().field(0).name(), "embedding");
    assert!(matches!(back.schema().field(0).data_type(), DataType::FixedSizeList(_, 3)));
}

#[test]
fn columns_that_are_not_clear_or_not_there() {
    let mut two = columns("fixed", 4);
    two.push(("other", lists("list", 4)));
    let (_folder, path) = parquet_with(two);
    refused(open(&[&path]), &["in.parquet", "several", "choose another column", "\"embedding\"", "\"other\""]);
    let by = |column: &str| {
        let options = OpenOptions { column: Some(column.to_string()), ..Default::default() };
        Dataset::open(std::slice::from_ref(&path), &options)
    };
    assert_eq!(by("other").unwrap().width(), WIDTH);
    refused(by("id"), &["in.parquet", "\"id\"", "does not hold lists", "choose another column"]);
    refused(by("none"), &["in.parquet", "\"none\"", "choose another column", "\"embedding\""]);
    let (_folder, path) = parquet_with(vec![("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
    refused(open(&[&path]), &["in.parquet", "no column holds lists", "\"n\""]);
}

#[test]
fn rows_that_are_null_or_ragged() {
    let ragged = |rows: Vec<Option<Vec<Option<f32>>>>| {
        let list = ListArray::from_iter_primitive::<Float32Type, _, _>(rows);
        parquet_with(vec![("e", Arc::new(list) as ArrayRef)])
    };
    let full = || Some(vec![Some(1.0), Some(2.0)]);
    let many = |odd| (0..20).map(|_| full()).chain([odd, full()]).collect::<Vec<_>>();
    let check = |odd, words: &[&str]| {
        let (_folder, path) = ragged(many(odd));
        refused(rows(&open(&[&path]).unwrap()), &[&["in.parquet", "row 20", "\"e\""], words].concat());
    };
    check(None, &["is null", "drop"]);
    check(Some(vec![Some(1.0), None]), &["null at element 1"]);
    check(Some(vec![Some(1.0)]), &["has 1 numbers", "the first row has 2"]);
    check(Some(vec![]), &["has 0 numbers"]);
    let (_folder, path) = ragged(vec![None, full()]);
    refused(open(&[&path]), &["in.parquet", "row 0", "is null"]);
    let (_folder, path) = ragged(vec![Some(vec![])]);
    refused(open(&[&path]), &["in.parquet", "empty"]);
    let (_folder, path) = ragged(vec![]);
    refused(open(&[&path]), &["in.parquet", "empty"]);
    let rows_of = |nulls: Vec<bool>| {
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        let values = Arc::new(Float32Array::from(vec![0.0; nulls.len() * 2]));
        let list = FixedSizeListArray::new(item, 2, values, Some(nulls.into()));
        parquet_with(vec![("e", Arc::new(list) as ArrayRef)])
    };
    let (_folder, path) = rows_of(vec![true, true, false]);
    refused(rows(&open(&[&path]).unwrap()), &["in.parquet", "row 2", "is null"]);
}

#[test]
fn files_that_are_not_parquet() {
    let folder = tempdir().unwrap();
    for bytes in [&b""[..], b"PAR1", b"PAR1PAR1", b"PAR1\xff\xff\xff\xffPAR1", b"not parquet at all"] {
        refused(open(&[&put(folder.path(), "bad.parquet", bytes)]), &["bad.parquet", "not a valid parquet file"]);
    }
}

#[test]
fn shards_of_one_folder() {
    let folder = tempdir().unwrap();
    for (name, rows) in [("a.parquet", 30), ("b.parquet", 11)] {
        save(&folder.path().join(name), &batch(columns("fixed", rows)), 7);
    }
    let input = open(&[folder.path()]).unwrap();
    assert_eq!((input.rows(), input.shards().len()), (41, 2));
    let out = folder.path().join("out");
    write(&input, &out, &OutputOptions::default(), &rows(&input).unwrap()).unwrap();
    for name in ["a.parquet", "b.parquet"] {
        assert!(load(&out.join(name)) == load(&folder.path().join(name)));
    }
    let options = OutputOptions { format: Some(FileFormat::Npy), ..Default::default() };
    write(&input, &folder.path().join("npy"), &options, &rows(&input).unwrap()).unwrap();
    assert_eq!(tree(&folder.path().join("npy")), ["a.npy", "b.npy"]);
}

mod damaged {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn parquet(edits in fuzz::edits(), cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
                   kind in prop::sample::select(vec!["fixed", "list", "large"])) {
            let (_folder, path) = parquet_with(columns(kind, 20));
            let bytes = std::fs::read(path).unwrap();
            fuzz::survives("a.parquet", &fuzz::damage(bytes, &edits, cut));
        }
    }
}

/// A file of 20 rows whose footer names another encoding than its pages have: the decoder panics after the first row.
const PANICS: &[u8] = include_bytes!("damaged_pages.parquet");

#[test]
fn a_panic_of_the_decoder_is_an_error_with_its_message() {
    let folder = tempdir().unwrap();
    let input = open(&[&put(folder.path(), "a.parquet", PANICS)]).unwrap();
    for _ in 0..3 {
        refused(rows(&input), &["a.parquet", "contradict its footer", "index out of bounds"]);
    }
}

/// Set for the process that the next test starts.
const CHILD: &str = "REALIGN_TEST_PANICS";

#[test]
fn only_panics_of_the_decoder_are_silent() {
    let name = "parquet::only_panics_of_the_decoder_are_silent";
    if std::env::var_os(CHILD).is_none() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        let heard: Vec<_> = stderr.lines().filter(|line| line.starts_with("hook: ")).collect();
        assert_eq!(heard, ["hook: ours", "hook: meanwhile"], "{stderr}");
        assert!(!stderr.contains("index out of bounds"), "{stderr}");
        return;
    }
    std::panic::set_hook(Box::new(|info| {
        eprintln!("hook: {}", info.payload().downcast_ref::<&str>().unwrap_or(&"of another kind"));
    }));
    let folder = tempdir().unwrap();
    let path = put(folder.path(), "a.parquet", PANICS);
    let fail = || rows(&open(&[&path]).unwrap()).unwrap_err();
    fail();
    // The same thread is heard again, and another one while guarded calls go on.
    assert!(std::panic::catch_unwind(|| panic!("ours")).is_err());
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| (0..200).for_each(|_| drop(fail())));
        assert!(scope.spawn(|| panic!("meanwhile")).join().is_err());
        reader.join().unwrap();
    });
}
