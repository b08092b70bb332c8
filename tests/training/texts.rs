//! Tokenizer, ids, records, captions and embeddings by row.

use std::path::Path;

use realign::io::{
    Dataset, EmbeddingRows, IdIndex, Ids, OpenOptions, Records, SampleOptions, Samples, TARGET, Tokenizer, VISUAL,
};

use super::{golden, model_folder, put, refused};

/// The tiny tokenizers have a token per byte, after eleven special ones.
pub fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(|b| u32::from(b) + 11).collect()
}

pub fn tokenizer(kind: &str) -> Tokenizer {
    Tokenizer::open(&golden(&format!("tokenizers/{kind}"))).unwrap()
}

pub fn index(ids: &[&str]) -> IdIndex {
    let mut list = Ids::default();
    ids.iter().for_each(|id| list.push(id));
    IdIndex::new(list, Path::new("ids.txt")).unwrap()
}

#[test]
fn tokens_and_back() {
    let llama = tokenizer("llama");
    let text = "Ünïcode 猫 🐈, \t tabs";
    assert_eq!(llama.encode(text).unwrap(), bytes(text));
    assert_eq!(llama.decode(&bytes(text)).unwrap(), text);
    assert_eq!(llama.encode("a<|eot_id|>").unwrap(), [bytes("a"), vec![5]].concat());
    assert_eq!(llama.decode(&[1, 108, 5]).unwrap(), "a");
    assert_eq!((llama.bos(), tokenizer("qwen2").bos()), (Some(1), None));
    assert!(llama.is_special(5) && !llama.is_special(11));
    let entries = llama.encode_with_image("a<image>b", 2).unwrap();
    assert_eq!(entries, [bytes("a"), vec![VISUAL, VISUAL | 1], bytes("b")].concat());
    // The last of the bytes; special tokens are added ones.
    let fitted = |rows| tokenizer("llama").fitted_to(rows);
    fitted(267).unwrap();
    refused(fitted(200), &["200", "belongs to the model"]);
}

#[test]
fn streamed_text_waits_for_whole_characters() {
    let llama = tokenizer("llama");
    let mut stream = llama.stream();
    let parts: Vec<Option<String>> = bytes("a猫b").into_iter().map(|id| stream.step(id).unwrap()).collect();
    let expected = [Some("a"), None, None, Some("猫"), Some("b")].map(|part| part.map(str::to_string));
    assert_eq!(parts, expected);
}

#[test]
fn broken_tokenizers_are_refused() {
    let spot = tempfile::tempdir().unwrap();
    refused(Tokenizer::open(spot.path()), &["tokenizer.json", "save_pretrained"]);
    put(spot.path(), "tokenizer.json", "{\"model\": 1}");
    refused(Tokenizer::open(spot.path()), &["tokenizer.json", "not a valid tokenizer"]);
}

#[test]
fn captions_become_bos_image_text_newline() {
    let spot = tempfile::tempdir().unwrap();
    let lines = "{\"id\": \"b\", \"text\": \" A cat. \"}\n\n{\"id\": 7, \"text\": \"Ö\", \"more\": []}\r\n";
    let array =
        "\u{feff} [\n{\"id\": \"b\", \"text\": \" A cat. \"} ,\n {\"id\": 7, \"text\": \"Ö\", \"q\": \"]}\\\"\"}\n]\n";
    let index = index(&["a", "b", "7"]);
    let options = SampleOptions { visual_tokens: 2, ..SampleOptions::default() };
    for (name, text) in [("t.jsonl", lines), ("t.json", array)] {
        let path = put(spot.path(), name, text);
        let samples = Samples::captions(&path, &tokenizer("llama"), &index, &options).unwrap();
        assert_eq!((samples.len(), samples.tokens()), (2, 3 + 7 + 3 + 3));
        let first = samples.get(0).unwrap();
        let targets: Vec<u32> = bytes("A cat.\n").iter().map(|id| id | TARGET).collect();
        assert_eq!((first.entries, first.row), (&[vec![1, VISUAL, VISUAL | 1], targets].concat()[..], Some(1)));
        assert_eq!(samples.get(1).unwrap().row, Some(2));
        assert_eq!(samples.lengths(), [10, 6]);
        let qwen = Samples::captions(&path, &tokenizer("qwen2"), &index, &options).unwrap();
        assert_eq!(qwen.get(0).unwrap().entries, &first.entries[1..]);
    }
}

#[test]
fn long_texts_are_cut() {
    let spot = tempfile::tempdir().unwrap();
    let path = put(spot.path(), "t.jsonl", format!("{{\"id\": \"a\", \"text\": \"{}\"}}", "x".repeat(100)));
    let read = |max_length, visual_tokens| {
        let options = SampleOptions { max_length, visual_tokens, ..SampleOptions::default() };
        Samples::captions(&path, &tokenizer("llama"), &index(&["a"]), &options)
    };
    let samples = read(20, 1).unwrap();
    assert_eq!((samples.lengths(), samples.cut()), (vec![20], 1));
    assert_eq!(read(103, 1).unwrap().cut(), 0);
    refused(read(20, 19), &["20", "19", "room"]);
    refused(read(20, 0), &["visual tokens"]);
}

#[test]
fn missing_embeddings_are_listed_or_left_out() {
    let spot = tempfile::tempdir().unwrap();
    let line = |i: usize| format!("{{\"id\": \"n{i}\", \"text\": \"x\"}}\n");
    let path = put(spot.path(), "t.jsonl", (0..5000).map(line).collect::<String>());
    let ids: Vec<String> = (12..5000).map(|i| format!("n{i}")).collect();
    let index = index(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let read = |skip_missing| {
        let options = SampleOptions { skip_missing, ..SampleOptions::default() };
        Samples::captions(&path, &tokenizer("llama"), &index, &options)
    };
    refused(read(false), &["t.jsonl", "12 of 5000", "\"n0\"", "\"n9\" …", "leave such records out"]);
    let error = read(false).unwrap_err().to_string();
    assert!(!error.contains("n10"), "more than ten: {error}");
    let samples = read(true).unwrap();
    assert_eq!((samples.len(), samples.missing()), (4988, 12));
    // Blocks are tokenised in parallel; their order stays.
    assert!((0..4988).all(|i| samples.get(i).unwrap().row == Some(i as u32)));
}

#[test]
fn bad_captions_are_refused_with_their_line() {
    let spot = tempfile::tempdir().unwrap();
    let bad = |text: &str, words: &[&str]| {
        let path = put(spot.path(), "t.jsonl", text);
        let read = Samples::captions(&path, &tokenizer("llama"), &index(&["a"]), &SampleOptions::default());
        refused(read, &[&["t.jsonl"], words].concat());
    };
    let good = "{\"id\": \"a\", \"text\": \"x\"}\n";
    bad(&format!("{good}{{\"id\": \"a\" \"text\"}}\n"), &["line 2", "JSON"]);
    bad(&format!("{good}\n\n[1]\n"), &["line 4", "object"]);
    bad(&format!("{good}{{\"id\": \"a\", \"text\": \" \\n\"}}"), &["line 2", "empty", "\"a\""]);
    bad(&format!("{good}{{\"id\": \"a\", \"txt\": \"x\"}}"), &["line 2", "\"text\"", "\"txt\""]);
    bad(&format!("{good}{{\"id\": 1.5, \"text\": \"x\"}}"), &["line 2", "integer"]);
    bad("{\"id\": \"a\", \"text\": 5}", &["line 1", "\"text\" is 5"]);
    bad(&format!("[{good}, \n {good}"), &["line 4", "ends"]);
    bad(&format!("[{good}, \n {{\"id\": \"a"), &["line 3", "ends inside"]);
    bad(&format!("[{good} {good}]"), &["line 2", "comma"]);
    bad(&format!("[{good}] x"), &["line 2", "follows"]);
    bad(&format!("[{good}, 5]"), &["record 1 (line 2)", "object", "'5'"]);
    bad("[\n{\"id\":\n \"a\",,}]", &["line 3", "JSON"]);
    bad("id,text\n", &["line 1", "array of objects"]);
    bad("", &["holds no record"]);
    bad("[ ]", &["holds no record"]);
    bad("{\"id\": \"a\", \"text\": \"\u{fffd}\"}".replace('\u{fffd}', "\u{1}").as_str(), &["line 1", "JSON"]);
    refused(Records::open(&spot.path().join("none")), &["open", "none"]);
    refused(Records::open(spot.path()), &["not a regular file"]);
}

#[test]
fn ids_come_from_every_kind_of_list() {
    let spot = tempfile::tempdir().unwrap();
    let files = [
        ("a.txt", "x\n7\r\nz z\n"),
        ("a.json", "[\"x\", 7, \"z z\"]"),
        ("a.jsonl", "{\"id\": \"x\"}\n{\"id\": 7}\n{\"id\": \"z z\"}"),
    ];
    for (name, text) in files {
        let ids = Ids::read(&put(spot.path(), name, text), None).unwrap();
        assert_eq!((0..4).map(|i| ids.get(i)).collect::<Vec<_>>(), ["x", "7", "z z", ""], "{name}");
        let index = IdIndex::new(ids, Path::new(name)).unwrap();
        assert_eq!((index.row("7"), index.row("z z"), index.row("y")), (Some(1), Some(2), None));
    }
    let read = |name: &str, text: &str| {
        let path = put(spot.path(), name, text);
        Ids::read(&path, None).and_then(|ids| IdIndex::new(ids, &path))
    };
    refused(read("a.txt", "x\ny\nx\n"), &["a.txt", "rows 0 and 2", "\"x\""]);
    refused(read("a.txt", "x\n\ny\n"), &["a.txt", "row 1", "empty"]);
    refused(read("a.json", "[\"x\", null]"), &["a.json", "name 1", "null"]);
    refused(read("a.json", "{}"), &["a.json", "array"]);
    refused(read("a.jsonl", "{\"id\": \"x\"}\n{}"), &["line 2", "\"id\""]);
}

#[test]
fn embeddings_are_read_by_row_across_files() {
    let spot = tempfile::tempdir().unwrap();
    let shard = |name: &str, rows: usize, first: f32| {
        let numbers: Vec<f32> = (0..rows * 3).map(|i| first + i as f32).collect();
        put(spot.path(), name, super::safetensors(&[("e", &[rows, 3], &numbers)]))
    };
    let files = [shard("a.safetensors", 2, 0.0), shard("b.safetensors", 4, 100.0)];
    let dataset = Dataset::open(&files, &OpenOptions::default()).unwrap();
    let mut rows = EmbeddingRows::open(&dataset).unwrap();
    let mut out = [0.0; 12];
    rows.read(&[5, 1, 2, 5], &mut out).unwrap();
    assert_eq!(out, [109.0, 110.0, 111.0, 3.0, 4.0, 5.0, 100.0, 101.0, 102.0, 109.0, 110.0, 111.0]);
    refused(rows.read(&[6], &mut [0.0; 3]), &["row 6", "below 6"]);
    refused(rows.read(&[0], &mut [0.0; 4]), &["1 rows of 3", "4 numbers"]);
    let list = put(spot.path(), "ids.txt", "a\nb\n");
    refused(Ids::of_dataset(&dataset, Some(&list), None), &["2 ids", "6 rows"]);
    refused(Ids::of_dataset(&dataset, None, None), &["a.safetensors", "a list of its rows' ids"]);
    let odd = put(spot.path(), "c.safetensors", super::safetensors(&[("e", &[2, 2], &[0.0, 1.0, 2.0, f32::NAN])]));
    let dataset = Dataset::open(&[odd], &OpenOptions::default()).unwrap();
    let mut rows = EmbeddingRows::open(&dataset).unwrap();
    rows.read(&[0], &mut [0.0; 2]).unwrap();
    refused(rows.read(&[1], &mut [0.0; 2]), &["c.safetensors", "NaN", "row 1", "column 1"]);
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_has_ids_beside_its_rows() {
    use std::sync::Arc;

    use arrow_array::types::Float32Type;
    use arrow_array::{ArrayRef, FixedSizeListArray, Int64Array, RecordBatch, StringArray};

    let spot = tempfile::tempdir().unwrap();
    let list = (0..3).map(|row| Some((0..2).map(move |i| Some((10 * row + i) as f32))));
    let list = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(list, 2);
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(StringArray::from(vec!["x", "y", "z"]))),
        ("n", Arc::new(Int64Array::from(vec![-1, 5, 7]))),
        ("e", Arc::new(list)),
        ("holes", Arc::new(StringArray::from(vec![Some("x"), None, Some("z")]))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, n == "holes"))).unwrap();
    let path = spot.path().join("e.parquet");
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let dataset = Dataset::open(std::slice::from_ref(&path), &OpenOptions::default()).unwrap();
    let read = |field| Ids::of_dataset(&dataset, None, field);
    let names = |ids: Ids| (0..3).map(|i| ids.get(i).to_string()).collect::<Vec<_>>();
    assert_eq!(names(read(None).unwrap()), ["x", "y", "z"]);
    assert_eq!(names(read(Some("n")).unwrap()), ["-1", "5", "7"]);
    assert_eq!(names(Ids::read(&path, Some("n")).unwrap()), ["-1", "5", "7"]);
    refused(read(Some("none")), &["e.parquet", "\"none\"", "the column of ids"]);
    refused(read(Some("e")), &["e.parquet", "texts or integers"]);
    refused(read(Some("holes")), &["row 1", "\"holes\"", "null"]);
    let mut out = [0.0; 4];
    EmbeddingRows::open(&dataset).unwrap().read(&[2, 0], &mut out).unwrap();
    assert_eq!(out, [20.0, 21.0, 0.0, 1.0]);
}

#[test]
fn the_tiny_tokenizers_fit_the_tiny_models() {
    for kind in ["llama", "qwen2"] {
        let folder = model_folder(kind);
        let config = realign::io::DecoderConfig::read(folder.path()).unwrap();
        Tokenizer::open(folder.path()).unwrap().fitted_to(config.vocab_size).unwrap();
    }
}
