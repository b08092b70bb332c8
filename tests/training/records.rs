//! Records as people have them: forms of conversations and captions, bad ones among good ones, byte order marks.

use std::path::Path;

use realign::Result;
use realign::io::{
    ChatTemplate, IdIndex, Ids, Join, QuestionOptions, Questions, Role, SampleOptions, Samples, SkipBad, TARGET, TOKEN,
    Tokenizer, VISUAL,
};
use realign::train::{Settings, Stage, data::Form};
use serde_json::{Value, json};

use super::texts::{index, tokenizer};
use super::{model_folder, put, refused};

fn options(skip_bad: SkipBad) -> SampleOptions {
    SampleOptions { skip_bad, ..SampleOptions::default() }
}

/// The samples of a file of conversations; embeddings are called `i0.jpg` to `i2.jpg`.
fn conversations(name: &str, text: &str, options: &SampleOptions) -> Result<Samples> {
    let spot = tempfile::tempdir().unwrap();
    let path = put(spot.path(), name, text);
    let folder = model_folder("llama");
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let template = ChatTemplate::open(folder.path(), &tokenizer).unwrap();
    Samples::conversations(&path, &tokenizer, &template, &index(&["i0.jpg", "i1.jpg", "i2.jpg"]), options)
}

fn one(record: &Value) -> Result<Samples> {
    conversations("d.json", &json!([record]).to_string(), &SampleOptions::default())
}

fn captions(name: &str, text: &str, options: &SampleOptions) -> Result<Samples> {
    let spot = tempfile::tempdir().unwrap();
    let path = put(spot.path(), name, text);
    Samples::captions(&path, &tokenizer("llama"), &index(&["t0", "t1", "x/t2.jpg"]), options)
}

/// What is learnt of a sample, and what it is told, `#` for the image; ends of turns and heads left out.
fn shown(samples: &Samples, i: usize) -> (String, String) {
    let entries = samples.get(i).unwrap().entries;
    let part = |target: bool| {
        let chosen = entries
            .iter()
            .filter(|entry| (**entry & TARGET != 0) == target && **entry & TOKEN >= 11 || **entry & VISUAL != 0);
        let bytes = chosen.filter_map(|entry| match entry & VISUAL != 0 {
            true => (!target).then_some(b'#'),
            false => Some((entry & TOKEN) as u8 - 11),
        });
        String::from_utf8(bytes.collect()).unwrap()
    };
    (part(false), part(true))
}

fn turns(list: &[(&str, &str)]) -> Value {
    list.iter().map(|(from, value)| json!({"from": from, "value": value})).collect()
}

#[test]
fn every_field_that_names_an_image_gives_the_same_sample() {
    let plain =
        json!({"id": "b", "image": "i1.jpg", "conversations": turns(&[("human", "<image>\nwhat?"), ("gpt", "a dog")])});
    let expected = one(&plain).unwrap();
    assert_eq!((expected.get(0).unwrap().row, shown(&expected, 0).1.as_str()), (Some(1), "a dog"));
    let images = [
        json!({"image": ["i1.jpg"]}),
        json!({"images": ["i1.jpg"]}),
        json!({"images": "i1.jpg", "image": null}),
        json!({"image": [], "images": ["i1.jpg"]}),
        json!({"image": {"path": "i1.jpg", "bytes": null}}),
        json!({"images": [{"path": "i1.jpg"}]}),
        json!({"image_path": "i1.jpg"}),
        json!({"image_id": "i1.jpg"}),
        json!({"img": "i1.jpg"}),
    ];
    for image in images {
        for question in ["<image>\nwhat?", "what?<image>", "what?"] {
            let mut record = image.clone();
            record["conversations"] = turns(&[("human", question), ("gpt", "a dog")]);
            let samples = one(&record).unwrap();
            let (sample, wanted) = (samples.get(0).unwrap(), expected.get(0).unwrap());
            assert_eq!((sample.entries, sample.row), (wanted.entries, wanted.row), "{record}");
        }
    }
    let bad = |image: Value, words: &[&str]| {
        let mut record = image;
        record["id"] = json!("b");
        record["conversations"] = turns(&[("human", "what?"), ("gpt", "a dog")]);
        refused(one(&record), &[&["record 0 (id \"b\")"], words].concat());
    };
    bad(json!({"images": ["i1.jpg", "i2.jpg"]}), &["\"images\" lists 2 images", "one embedding per record"]);
    bad(json!({"image": ["i1.jpg", "i2.jpg"]}), &["\"image\" lists 2 images"]);
    bad(json!({"image": true}), &["\"image\" is true"]);
    bad(json!({"image": {"height": 3}}), &["neither path nor bytes"]);
    bad(json!({"video": "a.mp4"}), &["\"video\"", "no embedding"]);
}

#[test]
fn text_alone_is_text_alone() {
    for image in
        [json!({}), json!({"image": null}), json!({"image": ""}), json!({"images": []}), json!({"images": [null]})]
    {
        let mut record = image;
        record["conversations"] = turns(&[("human", "what?"), ("gpt", "a dog")]);
        let samples = one(&record).unwrap();
        assert_eq!(samples.get(0).unwrap().row, None, "{record}");
        assert!(samples.get(0).unwrap().entries.iter().all(|entry| entry & VISUAL == 0), "{record}");
        record["conversations"] = turns(&[("human", "<image>what?"), ("gpt", "a dog")]);
        refused(one(&record), &["record 0", "no field \"image\""]);
    }
}

#[test]
fn messages_are_conversations() {
    let plain = json!({"image": "i0.jpg", "conversations": turns(&[("system", "S"), ("human", "<image>\nwhat?"), ("gpt", "a dog")])});
    let expected = one(&plain).unwrap();
    let message = |role: &str, content: Value| json!({"role": role, "content": content});
    let user = [
        json!("<image>what?"),
        json!([{"type": "image"}, {"type": "text", "text": "what?"}]),
        json!([{"type": "text", "text": "what?"}, {"type": "image"}]),
        json!([{"type": "image_url", "image_url": {"url": "i0.jpg"}}, {"type": "text", "text": "wh"}, {"type": "text", "text": "at?"}]),
        json!(["<image>", "what?"]),
    ];
    for (i, content) in user.into_iter().enumerate() {
        let answer = if i % 2 == 0 { json!("a dog") } else { json!([{"type": "text", "text": "a dog"}]) };
        let list = json!([message("System", json!("S")), message("USER", content), message("Assistant", answer)]);
        for record in [
            json!({"images": ["i0.jpg"], "messages": list}),
            json!({"image": "i0.jpg", "conversations": list, "messages": null}),
        ] {
            let samples = one(&record).unwrap();
            assert_eq!(samples.get(0).unwrap().entries, expected.get(0).unwrap().entries, "{record}");
            assert_eq!(samples.get(0).unwrap().row, Some(0));
        }
    }
    // The image's name may stand in the part alone, and the system's text in the record.
    let part = json!([{"type": "image", "image": "i0.jpg"}, {"type": "text", "text": "what?"}]);
    let record = json!({"system": "S", "messages": [message("user", part), message("assistant", json!("a dog"))]});
    let samples = one(&record).unwrap();
    assert_eq!(
        (samples.get(0).unwrap().entries, samples.get(0).unwrap().row),
        (expected.get(0).unwrap().entries, Some(0))
    );

    let bad = |record: Value, words: &[&str]| refused(one(&record), words);
    let list = turns(&[("human", "Q"), ("gpt", "A")]);
    bad(json!({"conversations": list, "messages": list}), &["both \"conversations\" and \"messages\""]);
    bad(json!({"messages": [message("user", json!([{"type": "audio"}]))]}), &["turn 0", "part 0", "\"audio\""]);
    bad(json!({"messages": [message("user", json!([5]))]}), &["part 0", "5 is no object"]);
    bad(json!({"messages": [message("tool", json!("x"))]}), &["turn 0", "unknown role \"tool\""]);
    bad(json!({"messages": [message("user", Value::Null)]}), &["turn 0", "\"content\" is null"]);
    let two = json!([{"type": "image", "image": "i0.jpg"}, {"type": "image", "image": "i1.jpg"}, {"type": "text", "text": "Q"}]);
    bad(json!({"messages": [message("user", two), message("assistant", json!("A"))]}), &["2 times <image>"]);
}

#[test]
fn a_response_before_the_first_question_is_dropped() {
    let text = json!([
        {"conversations": turns(&[("gpt", "Hello."), ("human", "what?"), ("gpt", "a bird")])},
        {"image": "i1.jpg", "conversations": turns(&[("system", "S"), ("gpt", "<image>Hello."), ("human", "what?"), ("gpt", "a bird")])},
        {"conversations": turns(&[("human", "what?"), ("gpt", "a bird")])},
    ]);
    let samples = conversations("d.json", &text.to_string(), &SampleOptions::default()).unwrap();
    assert_eq!((samples.len(), samples.leading_responses(), samples.skipped_bad()), (3, 2, 0));
    assert_eq!(samples.get(0).unwrap().entries, samples.get(2).unwrap().entries);
    assert_eq!(samples.get(1).unwrap().entries.iter().filter(|entry| **entry & VISUAL != 0).count(), 1);
    refused(one(&json!({"conversations": turns(&[("gpt", "A"), ("human", "Q")])})), &["no response"]);
    let twice = turns(&[("gpt", "A"), ("gpt", "B"), ("human", "Q"), ("gpt", "C")]);
    refused(one(&json!({"conversations": twice})), &["second response", "before any question"]);
}

#[test]
fn a_weight_is_never_ignored() {
    let with = |name: &str, value: Value| {
        let mut list = turns(&[("human", "Q"), ("gpt", "A"), ("human", "R"), ("gpt", "B")]);
        list[1][name] = value;
        one(&json!({"id": "b", "conversations": list}))
    };
    for (name, value) in [("weight", json!(1)), ("weight", json!(1.0)), ("train", json!(true)), ("loss", Value::Null)] {
        assert_eq!(shown(&with(name, value).unwrap(), 0).1, "AB");
    }
    for (name, value) in [("weight", json!(0)), ("weight", json!(0.5)), ("train", json!(false)), ("loss", json!(false))]
    {
        refused(with(name, value), &["record 0 (id \"b\")", "turn 1", name, "weight 1"]);
    }
    let mut list = turns(&[("human", "Q"), ("gpt", "A")]);
    list[0]["weight"] = json!(0);
    assert_eq!(shown(&one(&json!({"conversations": list})).unwrap(), 0).1, "A");
}

/// Good records and every kind of bad ones, with what is said of them.
fn mixed() -> Vec<(String, Option<&'static str>)> {
    let good = json!({"id": "g", "image": "i0.jpg", "conversations": turns(&[("human", "what?"), ("gpt", "a dog")])});
    let with = |list: &[(&str, &str)]| json!({"id": "b", "image": "i1.jpg", "conversations": turns(list)}).to_string();
    vec![
        (good.to_string(), None),
        (with(&[("human", "what?"), ("gpt", "")]), Some("turn 1: the text of \"gpt\" is empty")),
        (with(&[("human", "what?"), ("bing", "x")]), Some("turn 1: unknown role \"bing\"")),
        (good.to_string(), None),
        (with(&[("human", "<image><image>what?"), ("gpt", "x")]), Some("2 times <image>")),
        (with(&[("human", "<image>what?"), ("gpt", "<image> first")]), Some("2 times <image>")),
        (json!({"id": "b"}).to_string(), Some("there is no field \"conversations\"")),
        (with(&[("human", "what?")]), Some("the conversation has no response")),
    ]
}

#[test]
fn bad_records_are_listed_together_or_left_out() {
    let records = mixed();
    let count = records.iter().filter(|(_, bad)| bad.is_some()).count() as u64;
    let good: Vec<usize> = (0..records.len()).filter(|i| records[*i].1.is_none()).collect();
    let lines = records.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>();
    let files = [
        ("d.jsonl", lines.join("\n")),
        ("d.jsonl", lines.join("\r\n") + "\r\n"),
        ("d.json", format!("[{}]", lines.join(","))),
    ];
    for (name, text) in files {
        let error = conversations(name, &text, &options(SkipBad::default())).unwrap_err().to_string();
        assert!(
            error.contains(&format!("{count} of {} records (counted from 0) cannot be used:", records.len())),
            "{error}"
        );
        for (i, (_, bad)) in records.iter().enumerate() {
            let Some(reason) = bad else { continue };
            let place = match name {
                "d.json" => format!("record {i} (id \"b\"): {reason}"),
                _ => format!("record {i} (line {}, id \"b\"): {reason}", i + 1),
            };
            assert!(error.contains(&place), "{place:?} is not in: {error}");
        }
        assert_eq!(error.contains("(line "), name != "d.json", "{error}");
        refused(conversations(name, &text, &options(SkipBad::AtMost(count - 1))), &["and 5 may be left out"]);
        for allowed in [SkipBad::AtMost(count), SkipBad::AtMost(1000), SkipBad::All] {
            let samples = conversations(name, &text, &options(allowed)).unwrap();
            assert_eq!((samples.len(), samples.skipped_bad()), (good.len(), count), "{name} {allowed}");
            assert!((0..good.len()).all(|i| samples.get(i).unwrap().id == "g"));
        }
    }
}

#[test]
fn ten_are_listed_and_all_are_counted() {
    let bad = json!({"id": "b", "conversations": turns(&[("human", "Q"), ("gpt", " ")])}).to_string();
    let text = format!("[{}]", vec![bad; 5000].join(","));
    let error = conversations("d.json", &text, &options(SkipBad::AtMost(7))).unwrap_err().to_string();
    assert!(
        error.contains("5000 of 5000 records (counted from 0) cannot be used, and 7 may be left out; the first 10:"),
        "{error}"
    );
    assert_eq!(error.matches("record ").count(), 10, "{error}");
    assert!(error.contains("record 9 (id \"b\")") && !error.contains("record 10"), "{error}");
    // All left out is nothing left.
    refused(
        conversations("d.json", &text, &options(SkipBad::All)),
        &["5000 of 5000", "nothing to train on", "record 9"],
    );
}

#[test]
fn a_line_that_is_no_json_is_bad_and_an_array_has_an_end() {
    let good = json!({"id": "g", "conversations": turns(&[("human", "Q"), ("gpt", "A")])}).to_string();
    for broken in ["{\"id\": \"b\", ", "[1]", "{\"id\": 5 5}", "nothing", "{\"id\": \"\u{1}\"}"] {
        let text = format!("{good}\n{broken}\n{good}\n");
        refused(conversations("d.jsonl", &text, &options(SkipBad::default())), &["1 of 3", "record 1 (line 2): "]);
        let samples = conversations("d.jsonl", &text, &options(SkipBad::AtMost(1))).unwrap();
        assert_eq!((samples.len(), samples.skipped_bad()), (2, 1), "{broken}");
    }
    refused(
        conversations("d.json", "{\n \"id\": 5\n}\n", &options(SkipBad::default())),
        &["record 0 (line 1)", "one object per line"],
    );
    let array = format!("[{good}, {{\"id\": 5 5}}, {good}]");
    let error = conversations("d.json", &array, &options(SkipBad::All)).unwrap_err().to_string();
    assert!(error.contains("record 1: not valid JSON") && !error.contains("line"), "{error}");
    refused(conversations("d.json", &format!("[{good} {good}]"), &options(SkipBad::All)), &["record 1: a comma"]);
    refused(
        conversations("d.json", &format!("[{good}, {{\"id\""), &options(SkipBad::All)),
        &["record 1: the file ends"],
    );
    let spread = format!("[\n{good},\n{{\"id\":\n 5 5}}]");
    refused(conversations("d.json", &spread, &options(SkipBad::All)), &["record 1 (line 3)", "line 4 of the file"]);
}

#[test]
fn a_template_refuses_records_and_not_the_file() {
    let folder = model_folder("llama");
    let template = "{% for m in messages %}{% if m.content == 'no' %}{{ raise_exception('not that') }}{% endif %}<|start_header_id|>\
        {{ m.role }}<|end_header_id|>{{ m.content }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant\
        <|end_header_id|>{% endif %}";
    put(folder.path(), "chat_template.jinja", template);
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let template = ChatTemplate::open(folder.path(), &tokenizer).unwrap();
    let record =
        |id: &str, question: &str| json!({"id": id, "conversations": turns(&[("human", question), ("gpt", "A")])});
    // The template's refusals come after the parser's, and are listed in the file's order all the same.
    let list = json!([record("a", "Q"), record("b", "no"), record("c", ""), record("d", "no"), record("e", "Q")]);
    let path = put(folder.path(), "d.json", list.to_string());
    let read = |skip_bad| Samples::conversations(&path, &tokenizer, &template, &index(&["x"]), &options(skip_bad));
    let error = read(SkipBad::AtMost(2)).unwrap_err().to_string();
    let places: Vec<_> =
        ["record 1 (id \"b\")", "record 2 (id \"c\")", "record 3 (id \"d\")"].map(|p| error.find(p).unwrap()).into();
    assert!(places.is_sorted() && error.contains("not that"), "{error}");
    let samples = read(SkipBad::AtMost(3)).unwrap();
    assert_eq!((samples.len(), samples.skipped_bad(), samples.get(1).unwrap().id), (2, 3, "e"));
}

#[test]
fn captions_have_several_names_and_llavas_pretraining_form() {
    let pretraining = |question: &str| turns(&[("human", question), ("gpt", " a dog ")]);
    let expected = captions("t.json", "[{\"id\": \"t0\", \"text\": \"a dog\"}]", &SampleOptions::default()).unwrap();
    let records = [
        json!({"id": "t0", "caption": "a dog"}),
        json!({"id": "t0", "blip_caption": " a dog", "url": "u", "image": "x/t0.jpg"}),
        json!({"id": "t0", "text": null, "caption": ["a dog"]}),
        json!({"id": "t0", "caption": "a dog", "blip_caption": "a dog"}),
        json!({"id": "t0", "text": "a dog", "caption": "another"}),
        json!({"id": "t0", "image": "x/t0.jpg", "conversations": pretraining("Describe.\n<image>")}),
        json!({"id": "t0", "conversations": pretraining("<image>\nDescribe.")}),
        json!({"id": "t0", "images": ["t0.jpg"], "messages": [{"role": "user", "content": "Describe."}, {"role": "assistant", "content": "a dog"}]}),
        json!({"image": "t0", "text": "a dog"}),
    ];
    for record in records {
        let samples = captions("t.json", &json!([record]).to_string(), &SampleOptions::default()).unwrap();
        let (sample, wanted) = (samples.get(0).unwrap(), expected.get(0).unwrap());
        assert_eq!((sample.entries, sample.row), (wanted.entries, Some(0)), "{record}");
    }
    let by_image = SampleOptions { join: Join::Image, ..SampleOptions::default() };
    let record = json!([{"id": "t0", "image": "x/t2.jpg", "text": "a dog"}]).to_string();
    assert_eq!(captions("t.json", &record, &by_image).unwrap().get(0).unwrap().row, Some(2));
    let bad = |record: Value, words: &[&str]| {
        refused(
            captions("t.json", &json!([record]).to_string(), &SampleOptions::default()),
            &[&["record 0"], words].concat(),
        );
    };
    bad(json!({"id": "t0", "text": ""}), &["(id \"t0\")", "text is empty"]);
    bad(json!({"id": "t0", "text": null}), &["\"text\" is null"]);
    bad(json!({"id": "t0", "caption": "a", "blip_caption": "b"}), &["both \"caption\" and \"blip_caption\""]);
    bad(json!({"id": "t0", "caption": ["a", "b"]}), &["\"caption\" is [\"a\",\"b\"]"]);
    bad(json!({"text": "a dog"}), &["no field \"id\""]);
    bad(json!({"id": "t0", "conversations": pretraining("Tell a joke.")}), &["about no image"]);
    let long = turns(&[("human", "<image>"), ("gpt", "A"), ("human", "B"), ("gpt", "C")]);
    bad(json!({"id": "t0", "conversations": long}), &["has 4 turns", "one human turn"]);
    bad(json!({"id": "t0", "conversations": turns(&[("gpt", "A"), ("human", "<image>")])}), &["not one human turn"]);
    refused(captions("t.json", &json!([{"id": "t0", "text": "a"}]).to_string(), &by_image), &["joined by its image"]);
}

#[test]
fn bad_captions_are_left_out_too() {
    let text = "{\"id\": \"t0\", \"text\": \"a dog\"}\n{\"id\": \"t1\", \"text\": \"\"}\n{\"id\": \"t1\", \"text\": null}\nno\n";
    let error = captions("t.jsonl", text, &SampleOptions::default()).unwrap_err().to_string();
    for words in
        ["3 of 4", "record 1 (line 2, id \"t1\")", "record 2 (line 3, id \"t1\")", "record 3 (line 4): not valid JSON"]
    {
        assert!(error.contains(words), "{words:?} is not in: {error}");
    }
    let samples = captions("t.jsonl", text, &options(SkipBad::AtMost(3))).unwrap();
    assert_eq!((samples.len(), samples.skipped_bad()), (1, 3));
}

#[test]
fn python_writes_numbers_that_json_has_not() {
    let text = "{\"id\": \"t0\", \"score\": NaN, \"all\": [Infinity, -Infinity, 1], \"text\": \"NaN \\\" Infinity\"}\n";
    let samples = captions("t.jsonl", text, &SampleOptions::default()).unwrap();
    assert_eq!(shown(&samples, 0).1, "NaN \" Infinity\n");
    refused(captions("t.jsonl", "{\"id\": NaN, \"text\": \"x\"}", &SampleOptions::default()), &["\"id\" is null"]);
}

#[test]
fn a_files_form_is_that_of_its_first_record_that_has_one() {
    let spot = tempfile::tempdir().unwrap();
    let form = |text: &str| Form::of(&put(spot.path(), "d.jsonl", text));
    assert_eq!(form("{\"id\": 1, \"blip_caption\": \"x\"}").unwrap(), Form::Captions);
    assert_eq!(form("{\"messages\": []}").unwrap(), Form::Conversations);
    assert_eq!(form("{\"id\": 1}\n{broken\n{\"conversations\": []}").unwrap(), Form::Conversations);
    refused(form("{\"id\": 1}\n{\"id\": 2}"), &["record 0 (line 1, id \"1\")", "neither a text"]);
    refused(form(""), &["holds no record"]);
}

#[test]
fn questions_take_the_same_forms() {
    let spot = tempfile::tempdir().unwrap();
    let list = json!([
        {"id": 1, "images": ["i1.jpg"], "question": "what?", "answer": "x"},
        {"id": 2, "image": "i0.jpg", "messages": [{"role": "User", "content": [{"type": "text", "text": "what?"}, {"type": "image"}]},
            {"role": "assistant", "content": "a dog"}]},
        {"id": 3, "question": " ", "answer": "x"},
        {"id": 4, "image": "i0.jpg", "question": "<image><image>", "answer": "x"},
        {"id": 5, "conversations": turns(&[("gpt", "Hello"), ("human", "Q"), ("gpt", "A"), ("human", "R"), ("gpt", "B")])},
    ]);
    let path = put(spot.path(), "q.json", list.to_string());
    let index = index(&["i0.jpg", "i1.jpg"]);
    let read = |skip_bad| Questions::read(&path, &index, QuestionOptions { skip_bad, ..QuestionOptions::default() });
    refused(
        read(SkipBad::AtMost(1)),
        &["2 of 5", "record 2 (id \"3\")", "is empty", "record 3 (id \"4\")", "2 times <image>"],
    );
    let read = read(SkipBad::All).unwrap();
    assert_eq!((read.questions.len(), read.skipped_bad, read.missing), (3, 2, 0));
    let said = |i: usize| read.questions[i].turns.iter().map(|turn| turn.text.as_str()).collect::<Vec<_>>();
    assert_eq!((said(0), read.questions[0].row), (vec!["<image>\nwhat?"], Some(1)));
    assert_eq!((said(1), read.questions[1].row), (vec!["<image>\nwhat?"], Some(0)));
    assert_eq!((said(2), read.questions[2].turns[0].role), (vec!["Q", "A", "R"], Role::User));
    assert_eq!(read.questions[2].answers, ["B"]);
}

#[test]
fn names_that_differ_by_a_folder_alone_are_said() {
    let record = json!([{"id": "33471", "image": "coco/train2017/i0.jpg", "conversations": turns(&[("human", "Q"), ("gpt", "A")])}]);
    let error = conversations("d.json", &record.to_string(), &SampleOptions::default());
    refused(error, &["\"33471\" or \"coco/train2017/i0.jpg\"", "the image's file alone, such as \"i0.jpg\""]);
}

#[test]
fn marks_and_line_ends_are_no_part_of_an_id() {
    let spot = tempfile::tempdir().unwrap();
    let read = |name: &str, bytes: &[u8]| -> Result<Vec<String>> {
        let ids = Ids::read(&put(spot.path(), name, bytes), None)?;
        Ok((0..ids.len()).map(|i| ids.get(i).to_owned()).collect())
    };
    let wanted = ["a", "b c", "7"];
    for text in
        ["a\nb c\n7\n", "a\r\nb c\r\n7\r\n", "a\nb c\n7", "a\nb c\n7\n\n \n\n", "a\r\nb c\r\n7\r\n\r\n", "a\rb c\r7\r"]
    {
        for mark in ["", "\u{feff}"] {
            assert_eq!(read("ids.txt", format!("{mark}{text}").as_bytes()).unwrap(), wanted, "{text:?}");
        }
    }
    // Two lists with marks, put together.
    assert_eq!(read("ids.txt", "\u{feff}a\nb c\n\u{feff}7\n".as_bytes()).unwrap(), wanted);
    assert_eq!(read("ids.json", "\u{feff} [\"a\", \"b c\", 7]".as_bytes()).unwrap(), wanted);
    let lines = "\u{feff}{\"id\": \"a\"}\r\n{\"id\": \"b c\"}\r\n\u{feff}{\"id\": 7}\r\n\r\n";
    assert_eq!(read("ids.jsonl", lines.as_bytes()).unwrap(), wanted);
    refused(read("ids.txt", b"a\n\nb\n"), &["ids.txt", "row 1", "empty"]);
    refused(read("ids.txt", b"a\n \nb\n"), &["ids.txt", "row 1", "empty"]);
    let utf16 =
        |text: &str| [&b"\xff\xfe"[..], &text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()].concat();
    for (name, text) in [("ids.txt", "a\nb\n"), ("ids.json", "[\"a\"]"), ("ids.jsonl", "{\"id\": \"a\"}\n")] {
        refused(read(name, &utf16(text)), &[name, "UTF-16", "save it as UTF-8"]);
    }
    refused(read("ids.txt", b"\x93NUMPY\x01\x00"), &["ids.txt", "binary"]);
    refused(read("ids.txt", b"a\nb\xe9\n"), &["ids.txt", "line 2", "0xe9"]);
    // The first id is found, and its record is not lost.
    let path = put(spot.path(), "ids.txt", "\u{feff}i0.jpg\r\ni1.jpg\r\n");
    assert_eq!(IdIndex::new(Ids::read(&path, None).unwrap(), Path::new("ids.txt")).unwrap().row("i0.jpg"), Some(0));
}

#[test]
fn marks_are_no_part_of_settings_configs_and_records() {
    let folder = model_folder("llama");
    for name in ["config.json", "tokenizer_config.json"] {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        put(folder.path(), name, format!("\u{feff}{text}"));
    }
    realign::io::DecoderConfig::read(folder.path()).unwrap();
    assert_eq!(
        Tokenizer::open(folder.path()).unwrap().named_token("eos_token").as_deref(),
        tokenizer("llama").named_token("eos_token").as_deref()
    );
    let path = put(folder.path(), "run.toml", "\u{feff}lr = 0.25\r\nskip_bad = \"all\"\r\n");
    let mut settings = Settings::new(Stage::Two);
    settings.read(&path).unwrap();
    assert_eq!((settings.lr, settings.skip_bad), (0.25, SkipBad::All));
    let record = json!({"conversations": turns(&[("human", "Q"), ("gpt", "A")])}).to_string();
    assert_eq!(
        conversations("d.jsonl", &format!("\u{feff}{record}\n\u{feff}{record}\n"), &options(SkipBad::default()))
            .unwrap()
            .len(),
        2
    );
    let spot = tempfile::tempdir().unwrap();
    let wide: Vec<u8> = "[{\"id\": 1}]".encode_utf16().flat_map(u16::to_le_bytes).collect();
    refused(Form::of(&put(spot.path(), "d.json", [&b"\xff\xfe"[..], &wide].concat())), &["d.json", "UTF-16"]);
    refused(Form::of(&put(spot.path(), "d.json", wide)), &["d.json", "UTF-16"]);
}

#[test]
fn how_many_bad_records_is_a_setting() {
    let mut settings = Settings::new(Stage::One);
    assert_eq!(settings.skip_bad, SkipBad::AtMost(0));
    for (text, value) in [("3", SkipBad::AtMost(3)), ("all", SkipBad::All), ("1_000", SkipBad::AtMost(1000))] {
        settings.set("skip-bad", text).unwrap();
        assert_eq!(settings.skip_bad, value);
        let mut again = Settings::new(Stage::One);
        again.merge(&settings.to_toml(), Path::new("run.toml")).unwrap();
        assert_eq!(again.skip_bad, value);
    }
    settings.merge("skip_bad = 5", Path::new("run.toml")).unwrap();
    assert_eq!(settings.skip_bad, SkipBad::AtMost(5));
    refused(settings.set("skip_bad", "some"), &["skip_bad", "\"some\"", "\"all\""]);
    refused(settings.merge("skip_bad = -1", Path::new("run.toml")), &["skip_bad", "-1"]);
    // What it was is compared on resuming, and older checkpoints left out none.
    let mut older = Settings::new(Stage::One).essence();
    older.remove("skip_bad").unwrap();
    Settings::new(Stage::One).check_resumes(&older, false).unwrap();
    refused(settings.check_resumes(&older, false), &["skip_bad was 0 and is 5"]);
}
