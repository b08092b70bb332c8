//! Files as other programs lay them out: columns of ids, lists in lists, empty shards, clip-retrieval's folders, Arrow's own files.

use std::fs::File;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{BrotliLevel, Compression};
use ::parquet::file::properties::WriterProperties;
use arrow_array::types::{Int8Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, FixedSizeBinaryArray, FixedSizeListArray, Float32Array,
    Float64Array, Int8Array, Int16Array, Int64Array, LargeBinaryArray, ListArray, RecordBatch, StringArray,
    StringViewArray, StructArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field, Schema};
use realign::ElementType;
use realign::io::{EmbeddingRows, FileFormat, Ids, OpenOptions, OutputOptions};
use tempfile::tempdir;

use super::*;

const WIDTH: usize = 3;

/// Rows counting up from `first`, as fixed lists.
fn fixed(first: usize, rows: usize) -> FixedSizeListArray {
    let item = Arc::new(Field::new("element", DataType::Float32, true));
    let values = Float32Array::from_iter_values((first * WIDTH..(first + rows) * WIDTH).map(|i| i as f32));
    FixedSizeListArray::new(item, WIDTH as i32, Arc::new(values), None)
}

fn list(first: usize, rows: usize) -> ArrayRef {
    Arc::new(ListArray::from(fixed(first, rows)))
}

fn counting(rows: usize) -> Vec<u8> {
    (0..rows * WIDTH).flat_map(|i| (i as f32).to_le_bytes()).collect()
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<_> = columns.iter().map(|(name, c)| Field::new(*name, c.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, column)| column).collect())
        .unwrap()
}

fn save(path: &Path, batches: &[RecordBatch], properties: Option<WriterProperties>) {
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batches[0].schema(), properties).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
        writer.flush().unwrap();
    }
    writer.close().unwrap();
}

fn texts(first: usize, rows: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values((first..first + rows).map(|i| format!("t{i}"))))
}

fn names(ids: &Ids) -> Vec<String> {
    (0..ids.len()).map(|i| ids.get(i).to_owned()).collect()
}

fn ids_of(column: ArrayRef, schema: bool) -> Result<Vec<String>> {
    let folder = tempdir().unwrap();
    let path = folder.path().join("e.parquet");
    let rows = column.len();
    let options = ::parquet::arrow::arrow_writer::ArrowWriterOptions::new().with_skip_arrow_metadata(!schema);
    let batch = batch(vec![("id", column), ("e", list(0, rows))]);
    let mut writer = ArrowWriter::try_new_with_options(File::create(&path).unwrap(), batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    Ids::of_dataset(&open(&[&path])?, None, None).map(|ids| names(&ids))
}

#[test]
fn ids_may_be_categories_integers_and_bytes() {
    for schema in [true, false] {
        let words = ["a", "b", "a2"];
        let categories: DictionaryArray<Int32Type> = words.into_iter().collect();
        assert_eq!(ids_of(Arc::new(categories), schema).unwrap(), words);
        let small: DictionaryArray<Int8Type> = words.into_iter().collect();
        assert_eq!(ids_of(Arc::new(small), schema).unwrap(), words);
        let bytes: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let columns: [ArrayRef; 4] = [
            Arc::new(BinaryArray::from(bytes.clone())),
            Arc::new(LargeBinaryArray::from(bytes)),
            Arc::new(StringViewArray::from(words.to_vec())),
            Arc::new(StringArray::from(words.to_vec())),
        ];
        for column in columns {
            assert_eq!(ids_of(column.clone(), schema).unwrap(), words, "{}", column.data_type());
        }
        let same = FixedSizeBinaryArray::try_from_iter(["ab", "cd"].iter()).unwrap();
        assert_eq!(ids_of(Arc::new(same), schema).unwrap(), ["ab", "cd"]);
        let integers: [ArrayRef; 8] = [
            Arc::new(Int8Array::from(vec![7, 127])),
            Arc::new(Int16Array::from(vec![7, 127])),
            Arc::new(arrow_array::Int32Array::from(vec![7, 127])),
            Arc::new(Int64Array::from(vec![7, 127])),
            Arc::new(UInt8Array::from(vec![7, 127])),
            Arc::new(UInt16Array::from(vec![7, 127])),
            Arc::new(UInt32Array::from(vec![7, 127])),
            Arc::new(UInt64Array::from(vec![7, 127])),
        ];
        for column in integers {
            assert_eq!(ids_of(column.clone(), schema).unwrap(), ["7", "127"], "{}", column.data_type());
        }
        let large = UInt64Array::from(vec![u64::MAX, 0]);
        assert_eq!(ids_of(Arc::new(large), schema).unwrap(), ["18446744073709551615", "0"]);
        assert_eq!(ids_of(Arc::new(Int8Array::from(vec![-128])), schema).unwrap(), ["-128"]);
        refused(
            ids_of(Arc::new(Float64Array::from(vec![1.0, 2.0])), schema),
            &["\"id\" holds Float64", "Int64", "column of ids"],
        );
        refused(ids_of(Arc::new(Float32Array::from(vec![1.0])), schema), &["\"id\" holds Float32"]);
        refused(ids_of(Arc::new(arrow_array::BooleanArray::from(vec![true])), schema), &["\"id\" holds Boolean"]);
        let broken: Vec<&[u8]> = vec![b"a", b"\xff\xfe"];
        refused(ids_of(Arc::new(BinaryArray::from(broken)), schema), &["row 1 of column \"id\"", "no text in UTF-8"]);
    }
    let holes: DictionaryArray<Int32Type> = [Some("a"), None].into_iter().collect();
    refused(ids_of(Arc::new(holes), true), &["row 1", "null"]);
}

#[test]
fn lists_of_one_list_are_rows() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("e.parquet");
    let nested = |inner: ArrayRef, large: bool| -> ArrayRef {
        let item = Arc::new(Field::new("item", inner.data_type().clone(), true));
        let one = FixedSizeListArray::new(item, 1, inner, None);
        if large { Arc::new(arrow_array::LargeListArray::from(one)) } else { Arc::new(ListArray::from(one)) }
    };
    let kinds = [nested(list(0, 9000), false), nested(Arc::new(fixed(0, 9000)), false), nested(list(0, 9000), true)];
    for column in kinds {
        let original = batch(vec![("id", texts(0, 9000)), ("e", column)]);
        save(&path, std::slice::from_ref(&original), None);
        let input = open(&[&path]).unwrap();
        assert_eq!((input.rows(), input.width(), input.element_type()), (9000, WIDTH, ElementType::F32));
        assert!(rows(&input).unwrap() == counting(9000));
        let mut out = [0.0; 2 * WIDTH];
        EmbeddingRows::open(&input).unwrap().read(&[8999, 1], &mut out).unwrap();
        assert_eq!(out, [26997.0, 26998.0, 26999.0, 3.0, 4.0, 5.0]);
        // Written in its own form, beside the other column, in its own type and in another.
        for element in [ElementType::F32, ElementType::F64] {
            let target = folder.path().join("out.parquet");
            let bytes: Vec<u8> = match element {
                ElementType::F64 => (0..9000 * WIDTH).flat_map(|i| (i as f64).to_le_bytes()).collect(),
                _ => counting(9000),
            };
            let options = OutputOptions { element_type: Some(element), force: true, ..Default::default() };
            write(&input, &target, &options, &bytes).unwrap();
            let back = open(&[&target]).unwrap();
            assert_eq!(back.element_type(), element);
            assert!(rows(&back).unwrap() == bytes);
            assert_eq!(names(&Ids::of_dataset(&back, None, None).unwrap())[8999], "t8999");
            let builder =
                ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(File::open(&target).unwrap())
                    .unwrap();
            let kind = |schema: &Schema| schema.field(1).data_type().to_string().replace("Float64", "Float32");
            assert_eq!(kind(builder.schema()), kind(&original.schema()));
        }
    }
    // Two vectors in a row are not one.
    let item = Arc::new(Field::new("item", list(0, 4).data_type().clone(), true));
    let two: ArrayRef = Arc::new(ListArray::from(FixedSizeListArray::new(item, 2, list(0, 4), None)));
    save(&path, &[batch(vec![("e", two)])], None);
    refused(open(&[&path]), &["row 0 of column \"e\" holds 2 lists", "one embedding per row"]);
}

#[test]
fn empty_shards_and_row_groups_among_full_ones_are_nothing() {
    let folder = tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let cut = |first, rows| batch(vec![("id", texts(first, rows)), ("e", list(first, rows))]);
    let path = at("one.parquet");
    save(&path, &[cut(0, 0), cut(0, 8), cut(8, 0), cut(8, 12)], None);
    let input = open(&[&path]).unwrap();
    assert!(rows(&input).unwrap() == counting(20));
    assert_eq!(names(&Ids::of_dataset(&input, None, None).unwrap()).len(), 20);
    std::fs::remove_file(path).unwrap();

    for format in ["parquet", "npy", "arrow", "safetensors"] {
        let dir = at(format);
        std::fs::create_dir(&dir).unwrap();
        for (k, (first, n)) in [(0, 0), (0, 8), (8, 0), (8, 12), (20, 0)].into_iter().enumerate() {
            let name = format!("part-{k}.{format}");
            match format {
                "parquet" => save(&dir.join(name), &[cut(first, n)], None),
                "arrow" => save_stream(&dir.join(name), &[cut(first, n)]),
                // What np.save makes of an empty list, and of an empty array.
                "npy" if k == 2 => {
                    drop(put(&dir, &name, &npy("{'descr': '<f8', 'fortran_order': False, 'shape': (0,), }", &[])))
                }
                "npy" => {
                    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n}, {WIDTH}), }}");
                    put(&dir, &name, &npy(&text, &counting(20)[first * WIDTH * 4..(first + n) * WIDTH * 4]));
                }
                _ => {
                    let bytes = &counting(20)[first * WIDTH * 4..(first + n) * WIDTH * 4];
                    let table = format!(
                        "{{\"e\":{{\"dtype\":\"F32\",\"shape\":[{n},{WIDTH}],\"data_offsets\":[0,{}]}}}}",
                        bytes.len()
                    );
                    put(&dir, &name, &safetensors(&table, bytes));
                }
            }
        }
        let input = open(&[&dir]).unwrap();
        assert_eq!((input.rows(), input.width(), input.shards().len()), (20, WIDTH, 5), "{format}");
        assert!(rows(&input).unwrap() == counting(20), "{format}");
        let mut out = [0.0; WIDTH];
        for row in [0, 7, 8, 19] {
            EmbeddingRows::open(&input).unwrap().read(&[row], &mut out).unwrap();
            assert_eq!(out[0], (row as usize * WIDTH) as f32, "{format}");
        }
        if !matches!(format, "npy" | "safetensors") {
            assert_eq!(names(&Ids::of_dataset(&input, None, None).unwrap())[19], "t19");
        }
        // Each gets its file, the empty ones too.
        let options = OutputOptions { format: (format == "arrow").then_some(FileFormat::Npy), ..Default::default() };
        let device = realign::Device::host();
        let output = realign::io::Output::create(&input, &at(&format!("{format}-out")), &options).unwrap();
        let same = realign::align::Unchanged { width: WIDTH };
        let written = realign::align::apply_to_files(&device, &same, &input, output, Default::default()).unwrap();
        assert_eq!((written.files.len(), written.applied.rows), (5, 20), "{format}");
        assert!(rows(&open(&[&at(&format!("{format}-out"))]).unwrap()).unwrap() == counting(20), "{format}");
        refused(open(&[&dir.join(format!("part-0.{format}"))]), &["empty", "0 rows"]);
    }
}

fn save_stream(path: &Path, batches: &[RecordBatch]) {
    let mut writer = StreamWriter::try_new(File::create(path).unwrap(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
}

fn save_file(path: &Path, batches: &[RecordBatch], compression: Option<CompressionType>) {
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer =
        FileWriter::try_new_with_options(File::create(path).unwrap(), &batches[0].schema(), options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
}

#[test]
fn arrows_own_files_are_read() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("data-00000-of-00001.arrow");
    let cut = |first, rows| {
        let labels: DictionaryArray<Int32Type> = (first..first + rows).map(|i| ["x", "y"][i % 2]).collect();
        batch(vec![("label", Arc::new(labels)), ("e", list(first, rows)), ("id", texts(first, rows))])
    };
    let batches = [cut(0, 1000), cut(1000, 0), cut(1000, 1000), cut(2000, 7)];
    type Save<'a> = Box<dyn Fn() + 'a>;
    let kinds: [Save<'_>; 4] = [
        Box::new(|| save_stream(&path, &batches)),
        Box::new(|| save_file(&path, &[batches[0].clone(), batches[2].slice(0, 1000), batches[3].clone()], None)),
        Box::new(|| {
            save_file(
                &path,
                &[batches[0].clone(), batches[2].clone(), batches[3].clone()],
                Some(CompressionType::LZ4_FRAME),
            )
        }),
        Box::new(|| {
            save_file(&path, &[batches[0].clone(), batches[2].clone(), batches[3].clone()], Some(CompressionType::ZSTD))
        }),
    ];
    for (kind, save) in kinds.iter().enumerate() {
        save();
        let input = open(&[&path]).unwrap();
        assert_eq!(
            (input.rows(), input.width(), input.shards()[0].format()),
            (2007, WIDTH, FileFormat::Arrow),
            "{kind}"
        );
        assert!(rows(&input).unwrap() == counting(2007), "{kind}");
        let ids = names(&Ids::of_dataset(&input, None, None).unwrap());
        assert_eq!((ids.len(), ids[0].as_str(), ids[2006].as_str()), (2007, "t0", "t2006"));
        assert_eq!(names(&Ids::read(&path, None).unwrap()), ids);
        let mut reader = input.reader(0).unwrap();
        for row in [0, 999, 1000, 1500, 2006] {
            let mut bytes = [0; WIDTH * 4];
            reader.read_at(row, 1, &mut bytes).unwrap();
            assert_eq!(bytes[..4], ((row as usize * WIDTH) as f32).to_le_bytes(), "{kind} row {row}");
        }
    }
    // Categories would repeat from batch to batch in a file: there they are in a column of their own that is chosen here.
    save_stream(&path, &batches[..1]);
    let input = open(&[&path]).unwrap();
    assert_eq!(names(&Ids::of_dataset(&input, None, Some("label")).unwrap())[..3], ["x", "y", "x"]);
    refused(Ids::of_dataset(&input, None, Some("none")), &["\"none\"", "\"label\""]);
    let options = OutputOptions::default();
    refused(
        realign::io::Output::create(&input, &folder.path().join("out.arrow"), &options),
        &["not written", "parquet"],
    );
    let out = folder.path().join("out.parquet");
    write(&input, &out, &options, &counting(1000)).unwrap();
    assert!(rows(&open(&[&out]).unwrap()).unwrap() == counting(1000));
    let pick = OpenOptions { column: Some("id".to_owned()), ..Default::default() };
    refused(Dataset::open(std::slice::from_ref(&path), &pick), &["\"id\"", "does not hold lists"]);
}

#[test]
fn damaged_arrow_files_are_refused() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.arrow");
    let whole = batch(vec![("e", list(0, 50)), ("id", texts(0, 50))]);
    save_stream(&path, std::slice::from_ref(&whole));
    let stream = std::fs::read(&path).unwrap();
    save_file(&path, std::slice::from_ref(&whole), None);
    let file = std::fs::read(&path).unwrap();
    for good in [stream, file] {
        for at in (0..good.len()).step_by(3) {
            put(folder.path(), "a.arrow", &good[..at]);
            // Cut after its last batch, a stream is whole but for the word that ends it.
            if let Ok(input) = open(&[&path]) {
                assert!(rows(&input).unwrap() == counting(50), "cut at {at} of {}", good.len());
            }
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            put(folder.path(), "a.arrow", &bad);
            // Whatever comes of it, it comes as a value.
            let _ = open(&[&path]).and_then(|input| rows(&input));
            let _ = Ids::read(&path, None);
        }
        put(folder.path(), "a.arrow", &good[..good.len() / 2]);
        refused(open(&[&path]), &["a.arrow", "truncated"]);
    }
    put(folder.path(), "a.arrow", b"not arrow at all");
    refused(open(&[&path]), &["a.arrow"]);
    put(folder.path(), "a.arrow", b"");
    refused(open(&[&path]), &["a.arrow", "0 bytes"]);
}

#[test]
fn brotli_is_a_codec_like_others() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("b.parquet");
    let codec = Compression::BROTLI(BrotliLevel::try_new(1).unwrap());
    let properties = WriterProperties::builder().set_compression(codec).build();
    save(&path, &[batch(vec![("id", texts(0, 500)), ("e", list(0, 500))])], Some(properties));
    let input = open(&[&path]).unwrap();
    assert!(rows(&input).unwrap() == counting(500));
    assert_eq!(names(&Ids::of_dataset(&input, None, None).unwrap())[499], "t499");
    let out = folder.path().join("out.parquet");
    write(&input, &out, &OutputOptions::default(), &counting(500)).unwrap();
    assert_eq!(names(&Ids::of_dataset(&open(&[&out]).unwrap(), None, None).unwrap())[499], "t499");
}

/// clip-retrieval's layout: twelve shards of growing size, so that their order by name and by number differs.
fn clip_retrieval(root: &Path, kind: &str, flat: bool) {
    let (emb, meta) = if flat { (root.to_owned(), root.to_owned()) } else { (root.join(kind), root.join("metadata")) };
    std::fs::create_dir_all(&emb).unwrap();
    std::fs::create_dir_all(&meta).unwrap();
    let mut first = 0;
    for shard in 0..12 {
        let n = 2 + shard;
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n}, {WIDTH}), }}");
        let all = counting(first + n);
        put(&emb, &format!("{kind}_{shard}.npy"), &npy(&text, &all[first * WIDTH * 4..]));
        let paths: ArrayRef = Arc::new(StringArray::from_iter_values((0..n).map(|i| format!("im/{shard}/{i}.jpg"))));
        save(
            &meta.join(format!("metadata_{shard}.parquet")),
            &[batch(vec![("image_path", paths), ("id", texts(first, n))])],
            None,
        );
        first += n;
    }
}

const SHARDS_ROWS: usize = 90;

#[test]
fn clip_retrievals_folders_have_names_beside_their_rows() {
    let folder = tempdir().unwrap();
    let root = folder.path().join("cr");
    clip_retrieval(&root, "img_emb", false);
    let check = |input: &[&Path]| {
        let input = open(input).unwrap();
        assert_eq!((input.rows(), input.shards().len()), (SHARDS_ROWS as u64, 12));
        assert!(rows(&input).unwrap() == counting(SHARDS_ROWS), "the shards are in the order of their numbers");
        let ids = names(&Ids::of_dataset(&input, None, None).unwrap());
        assert!(ids.iter().enumerate().all(|(i, id)| *id == format!("t{i}")), "{ids:?}");
        let paths = names(&Ids::of_dataset(&input, None, Some("image_path")).unwrap());
        assert_eq!((paths[0].as_str(), paths[SHARDS_ROWS - 1].as_str()), ("im/0/0.jpg", "im/11/12.jpg"));
    };
    let pattern = root.join("img_emb").join("img_emb_*.npy");
    check(&[&root.join("img_emb")]);
    check(&[&root]);
    check(&[&pattern]);
    let flat = folder.path().join("flat");
    clip_retrieval(&flat, "text_emb", true);
    check(&[&flat]);

    // One shard alone has its own names.
    let one = open(&[&root.join("img_emb/img_emb_10.npy")]).unwrap();
    assert_eq!(names(&Ids::of_dataset(&one, None, None).unwrap())[0], "t65");
    // A list goes before the metadata.
    let list =
        put(folder.path(), "ids.txt", (0..SHARDS_ROWS).map(|i| format!("n{i}\n")).collect::<String>().as_bytes());
    assert_eq!(names(&Ids::of_dataset(&open(&[&root]).unwrap(), Some(&list), None).unwrap())[89], "n89");

    refused(
        Ids::of_dataset(&open(&[&root]).unwrap(), None, Some("caption")),
        &["metadata_0.parquet", "\"caption\"", "\"image_path\""],
    );
    std::fs::rename(root.join("metadata/metadata_4.parquet"), root.join("metadata/metadata_7.parquet")).unwrap();
    let input = open(&[&root]).unwrap();
    refused(Ids::of_dataset(&input, None, None), &["img_emb_4.npy", "metadata_4.parquet", "list of its rows' ids"]);
    std::fs::copy(root.join("metadata/metadata_7.parquet"), root.join("metadata/metadata_4.parquet")).unwrap();
    refused(Ids::of_dataset(&input, None, None), &["metadata_7.parquet", "has 6 rows", "img_emb_7.npy has 9"]);

    clip_retrieval(&root, "text_emb", false);
    refused(open(&[&root]), &["cr/img_emb", "cr/text_emb", "images and of texts"]);
    clip_retrieval(&flat, "img_emb", true);
    refused(open(&[&flat]), &["images and of texts", "img_emb_*.npy"]);
}

#[test]
fn partitions_are_named_by_a_pattern() {
    let folder = tempdir().unwrap();
    let root = folder.path().join("hive");
    for (part, first) in [("split=0", 0), ("split=1", 10)] {
        std::fs::create_dir_all(root.join(part)).unwrap();
        save(
            &root.join(part).join("a.parquet"),
            &[batch(vec![("id", texts(first, 10)), ("e", list(first, 10))])],
            None,
        );
    }
    refused(open(&[&root]), &["holds no .npy", "hive/*/*.parquet"]);
    let input = open(&[&root.join("*").join("*.parquet")]).unwrap();
    assert!(rows(&input).unwrap() == counting(20));
}

#[test]
fn rows_in_another_form_are_refused_with_what_to_do() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let says = |columns: Vec<(&str, ArrayRef)>, words: &[&str]| {
        save(&path, &[batch(columns)], None);
        refused(open(&[&path]), &[&["no column holds lists"], words].concat());
    };
    let bytes: Vec<&[u8]> = vec![b"\0\0\0\0"; 2];
    says(vec![("id", texts(0, 2)), ("e", Arc::new(BinaryArray::from(bytes)))], &["\"e\"", "np.frombuffer"]);
    says(vec![("id", texts(0, 2)), ("e", texts(0, 2))], &["\"e\"", "json.loads"]);
    let wide = |i: usize| Arc::new(Float32Array::from(vec![i as f32; 2])) as ArrayRef;
    let digits: Vec<String> = (0..32).map(|i| i.to_string()).collect();
    says(digits.iter().enumerate().map(|(i, name)| (name.as_str(), wide(i))).collect(), &["df.to_numpy(np.float32)"]);
    let fields = StructArray::from(vec![(Arc::new(Field::new("v", list(0, 2).data_type().clone(), true)), list(0, 2))]);
    says(vec![("row", Arc::new(fields))], &["\"row\"", "a column of its own"]);
    let integers = ListArray::from_iter_primitive::<Int8Type, _, _>([Some([Some(1i8)]), Some([Some(2)])]);
    says(vec![("e", Arc::new(integers))], &["\"e\"", "float32"]);
}

#[test]
fn arrays_with_a_middle_of_one_are_rows() {
    let folder = tempdir().unwrap();
    for shape in ["(4, 1, 3)", "(np.int64(4), np.int64(3))", "(4, np.int64(1), 3)"] {
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        let path = put(folder.path(), "a.npy", &npy(&text, &counting(4)));
        let input = open(&[&path]).unwrap();
        assert_eq!((input.rows(), input.width()), (4, WIDTH), "{shape}");
        assert_eq!(rows(&input).unwrap(), counting(4));
    }
    let path = put(
        folder.path(),
        "a.npy",
        &npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 3), }", &counting(4)),
    );
    refused(open(&[&path]), &["3-D"]);
    let table = "{\"e\":{\"dtype\":\"F32\",\"shape\":[4,1,3],\"data_offsets\":[0,48]}}";
    let path = put(folder.path(), "a.safetensors", &safetensors(table, &counting(4)));
    assert_eq!(rows(&open(&[&path]).unwrap()).unwrap(), counting(4));
}
