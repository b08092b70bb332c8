//! Conversations as Transformers reads them: kinds of tokenizers, templates, several turns (`generate_dialogues.py`).

use std::ops::ControlFlow;

use realign::device::Device;
use realign::inference::{AnswerOptions, Assistant, End};
use realign::io::{ChatTemplate, Role, SampleOptions, Samples, TARGET, TOKEN, Tokenizer, Turn, VISUAL};
use serde_json::{Value, json};

use super::texts::index;
use super::{golden, model_folder, put, refused};

fn record() -> Value {
    serde_json::from_slice(&std::fs::read(golden("dialogues/dialogues.json")).unwrap()).unwrap()
}

/// The folder of a tokenizer and its template.
fn folder(record: &Value, entry: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "tokenizer.json", record["tokenizers"][entry["tokenizer"].as_str().unwrap()].to_string());
    for (name, content) in entry["files"].as_object().unwrap() {
        put(folder.path(), name, content.to_string());
    }
    folder
}

fn turns(case: &Value) -> Vec<Turn> {
    let turn = |pair: &Value| Turn {
        role: Role::parse(pair[0].as_str().unwrap()).unwrap(),
        text: pair[1].as_str().unwrap().to_owned(),
    };
    case["turns"].as_array().unwrap().iter().map(turn).collect()
}

/// Ids as the record has them, an image as -1.
fn ids(entries: &[u32]) -> Vec<i64> {
    entries.iter().map(|entry| if entry & VISUAL != 0 { -1 } else { i64::from(entry & TOKEN) }).collect()
}

fn numbers(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect()
}

#[test]
fn conversations_have_the_tokens_and_targets_of_transformers() {
    let record = record();
    for (name, entry) in record["folders"].as_object().unwrap() {
        let folder = folder(&record, entry);
        let tokenizer = Tokenizer::open(folder.path()).unwrap();
        let template = ChatTemplate::open(folder.path(), &tokenizer).unwrap();
        assert_eq!(tokenizer.bos().map(i64::from), numbers(&entry["bos"]).first().copied(), "{name}");
        for case in entry["cases"].as_array().unwrap() {
            let turns = turns(case);
            let prompt = template.prompt(&turns[..turns.len() - 1], &tokenizer, 1).unwrap();
            assert_eq!(ids(&prompt), numbers(&case["prompt"]), "{name}: prompt of {turns:?}");
            let entries = template.conversation(&turns, &tokenizer, 1).unwrap();
            assert_eq!(ids(&entries), numbers(&case["ids"]), "{name}: {turns:?}");
            let targets: Vec<bool> = entries.iter().map(|entry| entry & TARGET != 0).collect();
            let wanted: Vec<bool> =
                case["targets"].as_array().unwrap().iter().map(|target| target.as_bool().unwrap()).collect();
            assert_eq!(targets, wanted, "{name}: targets of {turns:?}, {:?}", ids(&entries));
        }
    }
}

/// The same conversation is the same tokens in training, in scoring and before an answer.
#[test]
fn what_training_reads_begins_with_what_is_asked() {
    let record = record();
    for (name, entry) in record["folders"].as_object().unwrap() {
        let folder = folder(&record, entry);
        let tokenizer = Tokenizer::open(folder.path()).unwrap();
        let template = ChatTemplate::open(folder.path(), &tokenizer).unwrap();
        for case in entry["cases"].as_array().unwrap() {
            let turns = turns(case);
            let speakers = |turn: &Turn| match turn.role {
                Role::System => "system",
                Role::User => "human",
                Role::Assistant => "gpt",
            };
            let said: Vec<Value> =
                turns.iter().map(|turn| json!({"from": speakers(turn), "value": turn.text})).collect();
            let image = turns.iter().any(|turn| turn.text.contains("<image>"));
            let image = if image { json!("a") } else { Value::Null };
            let data = json!([{"id": "a", "image": image, "conversations": said}]);
            let path = put(folder.path(), "data.json", data.to_string());
            let samples =
                Samples::conversations(&path, &tokenizer, &template, &index(&["a"]), &SampleOptions::default());
            let samples = samples.unwrap();
            let entries = samples.get(0).unwrap().entries;
            assert_eq!(entries, template.conversation(&turns, &tokenizer, 1).unwrap(), "{name}");
            // But where an answer is asked for with what history does not show, or a mark follows either.
            let prompt = template.prompt(&turns[..turns.len() - 1], &tokenizer, 1).unwrap();
            let plain: Vec<u32> = entries.iter().map(|e| if e & VISUAL != 0 { *e } else { e & TOKEN }).collect();
            assert!(
                plain.starts_with(&prompt) || ["l3-thinking", "l3-added"].contains(&&name[..]),
                "{name}: {prompt:?} {plain:?}"
            );
        }
    }
}

#[test]
fn text_is_decoded_and_streamed_as_transformers_decodes_it() {
    let record = record();
    for (name, entry) in record["folders"].as_object().unwrap() {
        let folder = folder(&record, entry);
        let tokenizer = Tokenizer::open(folder.path()).unwrap();
        for pair in entry["decoded"].as_array().unwrap() {
            let ids: Vec<u32> = numbers(&pair[0]).into_iter().map(|id| id as u32).collect();
            let wanted = pair[1].as_str().unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), wanted, "{name}: {ids:?}");
            let (mut stream, mut text) = (tokenizer.stream(), String::new());
            for id in &ids {
                text.extend(stream.step(*id).unwrap());
                assert!(wanted.starts_with(&text), "{name}: {text:?} is taken back, {wanted:?}");
            }
            text.extend(stream.finish().unwrap());
            assert_eq!(text, wanted, "{name}: {ids:?}");
        }
    }
}

#[test]
fn ends_of_responses_are_found_whatever_their_flag() {
    let record = record();
    for (name, end) in [
        ("chatml-plain", Some("<|im_end|>")),
        ("chatml", Some("<|im_end|>")),
        ("l3-ended", Some("<|end|>")),
        ("l3-blocks", Some("<|eot_id|>")),
        ("l3-thinking", Some("<|eot_id|>")),
        ("l3-stern", Some("<|eot_id|>")),
        ("map-inst", Some("</s>")),
        ("legacy-zephyr", Some("</s>")),
    ] {
        let folder = folder(&record, &record["folders"][name]);
        let tokenizer = Tokenizer::open(folder.path()).unwrap();
        let template = ChatTemplate::open(folder.path(), &tokenizer).unwrap();
        assert_eq!(template.response_end(&tokenizer), end.and_then(|end| tokenizer.token_id(end)), "{name}");
    }
}

/// `generation_config.json` and `config.json` name ends, too.
#[test]
fn ends_of_generations_come_from_all_files() {
    let record = record();
    let folder = folder(&record, &record["folders"]["chatml"]);
    put(folder.path(), "config.json", r#"{"model_type": "llama", "eos_token_id": 7}"#);
    put(folder.path(), "generation_config.json", r#"{"eos_token_id": [8, 9]}"#);
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let named = tokenizer.token_id("<|im_end|>").unwrap();
    assert_eq!(tokenizer.ends().iter().copied().collect::<Vec<_>>(), [7, 8, 9, named]);
}

/// A `[PAD]` behind the model's last row is refused where it is used, and nowhere else.
#[test]
fn added_tokens_without_a_row_are_refused_by_use() {
    let record = record();
    let folder = folder(&record, &record["folders"]["l3-added"]);
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let rows = tokenizer.token_id("[PAD]").unwrap() as usize;
    let tokenizer = tokenizer.fitted_to(rows).unwrap();
    tokenizer.encode("the cat").unwrap();
    refused(tokenizer.encode("the cat[PAD]"), &["[PAD]", &rows.to_string(), "embedding table"]);
    refused(Tokenizer::open(folder.path()).unwrap().fitted_to(100), &["belongs to the model"]);
}

/// Code points that mark places while a template is read are no text.
#[test]
fn marks_of_the_program_are_no_text() {
    let record = record();
    let folder = folder(&record, &record["folders"]["l3-blocks"]);
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let template = ChatTemplate::open(folder.path(), &tokenizer).unwrap();
    for mark in ["a\u{FDD0}b", "a\u{FDD1}", "\u{FDD2}b"] {
        let turns = [Turn { role: Role::User, text: mark.to_owned() }];
        refused(template.prompt(&turns, &tokenizer, 1), &["turn 0", "U+FDD0", "remove"]);
    }
}

/// A template that demands a system turn can still be asked with one, and a plain text needs no template at all.
#[test]
fn a_template_that_refuses_the_probe_blocks_nothing() {
    let folder = model_folder("llama");
    let path = folder.path().join("tokenizer_config.json");
    let mut settings: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let mut with = |template: &str| {
        settings["chat_template"] = json!(template);
        std::fs::write(&path, settings.to_string()).unwrap();
        Assistant::open(&Device::host(), folder.path(), &adapter(folder.path()), None).unwrap()
    };
    let turn = |role, text: &str| Turn { role, text: text.to_owned() };
    let stern = with(
        "{% if messages[0].role != 'system' %}{{ raise_exception('no system turn') }}{% endif %}{{ messages[1].content }}",
    );
    refused(stern.chat(&[turn(Role::User, "hi")]), &["no system turn"]);
    stern.chat(&[turn(Role::System, "be brief"), turn(Role::User, "hi")]).unwrap();
    let never = with("{{ raise_exception('never') }}");
    let options = AnswerOptions { max_tokens: 3, ..AnswerOptions::default() };
    let entries = never.plain("a", false).unwrap();
    let answer = never.answer((&entries, None), &options, |_| ControlFlow::Continue(())).unwrap();
    assert!(answer.end == End::Length || answer.end == End::Finished);
}

fn adapter(folder: &std::path::Path) -> std::path::PathBuf {
    let kind = realign::io::AdapterKind::Linear;
    let hidden = realign::io::DecoderConfig::read(folder).unwrap().hidden_size;
    let path = folder.join("adapter.safetensors");
    realign::nn::adapter::fresh(kind, 4, hidden, 0).save(&path, realign::ElementType::F32, true).unwrap();
    path
}
