//! Chat templates and instruction data.

use realign::Result;
use realign::io::{ChatTemplate, Join, Role, SampleOptions, Samples, TARGET, TOKEN, Tokenizer, Turn, VISUAL};
use serde_json::{Value, json};

use super::texts::{index, tokenizer};
use super::{golden, put, refused};

/// The templates that the models are published with.
const LLAMA3: &str = "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = \
    '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}\
    {% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";
const QWEN2: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
    {{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}\
    {{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

fn folder(kind: &str, template: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(golden(&format!("tokenizers/{kind}/{name}")), folder.path().join(name)).unwrap();
    }
    if let Some(template) = template {
        let path = folder.path().join("tokenizer_config.json");
        let mut settings: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        settings["chat_template"] = json!(template);
        std::fs::write(path, settings.to_string()).unwrap();
    }
    folder
}

fn template(kind: &str, text: Option<&str>) -> Result<ChatTemplate> {
    let folder = folder(kind, text);
    ChatTemplate::open(folder.path(), &Tokenizer::open(folder.path()).unwrap())
}

fn turn(role: Role, text: &str) -> Turn {
    Turn { role, text: text.to_string() }
}

#[test]
fn published_templates_and_fallbacks() {
    let turns = [turn(Role::System, "Be brief."), turn(Role::User, " Hi "), turn(Role::Assistant, "Yo.")];
    let llama = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>\
        <|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n";
    for text in [Some(LLAMA3), None] {
        let chat = template("llama", text).unwrap();
        assert_eq!(chat.render(&turns[..2], true).unwrap(), llama);
        assert_eq!(chat.render(&turns, false).unwrap(), format!("{llama}Yo.<|eot_id|>"));
    }
    let qwen = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\n";
    for text in [Some(QWEN2), None] {
        let chat = template("qwen2", text).unwrap();
        assert_eq!(chat.render(&turns[..2], true).unwrap(), qwen);
        assert_eq!(chat.render(&turns, false).unwrap(), format!("{qwen}Yo.<|im_end|>\n"));
    }
    let default = template("qwen2", Some(QWEN2)).unwrap().render(&turns[1..2], false).unwrap();
    assert!(default.starts_with("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"), "{default}");
}

#[test]
fn jinja_as_transformers_sets_it_up() {
    let text = "{%- if messages[0].content.strip().startswith('x') %}\n    {{- raise_exception('no x') }}\n{%- endif %}\n\
        {% for m in messages %}\n    {% if loop.last %}\n{{ m.content.split(' ')[-1] | upper }}\n    {% endif %}\n{% endfor %}\nend";
    let chat = template("qwen2", Some(text)).unwrap();
    assert_eq!(chat.render(&[turn(Role::User, "a b c")], false).unwrap(), "C\nend");
    refused(chat.render(&[turn(Role::User, " x")], false), &["tokenizer_config.json", "no x"]);
    refused(template("qwen2", Some("{% for %}")), &["tokenizer_config.json", "not valid"]);
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a * b }}{% endfor %}{% endfor %}";
    refused(template("qwen2", Some(endless)).unwrap().render(&[], false), &["fuel"]);
    let spot = folder("qwen2", Some("old"));
    put(spot.path(), "chat_template.jinja", "new");
    let chat = ChatTemplate::open(spot.path(), &Tokenizer::open(spot.path()).unwrap()).unwrap();
    assert_eq!(chat.render(&[], false).unwrap(), "new");
    let plain = folder("qwen2", None);
    let text = std::fs::read_to_string(plain.path().join("tokenizer.json")).unwrap();
    put(plain.path(), "tokenizer.json", text.replace("im_start", "im_strat"));
    refused(ChatTemplate::open(plain.path(), &Tokenizer::open(plain.path()).unwrap()), &["chat_template.jinja"]);
}

fn read(kind: &str, record: Value, options: &SampleOptions) -> Result<Samples> {
    let spot = tempfile::tempdir().unwrap();
    let path = put(spot.path(), "data.json", json!([record]).to_string());
    let chat = template(kind, Some(if kind == "llama" { LLAMA3 } else { QWEN2 })).unwrap();
    Samples::conversations(&path, &tokenizer(kind), &chat, &index(&["a", "cat.jpg"]), options)
}

fn record(turns: &[(&str, &str)]) -> Value {
    let turns: Vec<Value> = turns.iter().map(|(from, value)| json!({"from": from, "value": value})).collect();
    json!({"id": "a", "image": "cat.jpg", "conversations": turns})
}

/// The text that an entry list stands for, targets in brackets.
fn show(tokenizer: &Tokenizer, entries: &[u32]) -> String {
    let mut text = String::new();
    for run in entries.chunk_by(|a, b| a & (VISUAL | TARGET) == b & (VISUAL | TARGET)) {
        let plain: String = run
            .iter()
            .map(|entry| match entry & TOKEN {
                _ if entry & VISUAL != 0 => "#".to_string(),
                id @ 0..11 => format!("<{id}>"),
                id => char::from((id - 11) as u8).to_string(),
            })
            .collect();
        text += &if run[0] & TARGET != 0 { format!("[{plain}]") } else { plain };
    }
    assert!(!tokenizer.is_special(11));
    text
}

#[test]
fn the_loss_is_on_responses_alone() {
    let options = SampleOptions { visual_tokens: 3, ..SampleOptions::default() };
    let data = record(&[("human", "What?\n<image>"), ("gpt", "A cat."), ("human", "Sure?"), ("gpt", "Yes.")]);
    let samples = read("llama", data.clone(), &options).unwrap();
    let expected = "<1><3>user<4>\n\n###\nWhat?<5><3>assistant<4>\n\n[A cat.<5>]<3>user<4>\n\nSure?<5>\
        <3>assistant<4>\n\n[Yes.<5>]";
    assert_eq!(show(&tokenizer("llama"), samples.get(0).unwrap().entries), expected);
    assert_eq!(samples.get(0).unwrap().row, Some(0));
    let samples = read("qwen2", data.clone(), &options).unwrap();
    let expected = "<6>system\nYou are a helpful assistant.<7>\n<6>user\n###\nWhat?<7>\n<6>assistant\n[A cat.<7>]\n\
        <6>user\nSure?<7>\n<6>assistant\n[Yes.<7>]\n";
    assert_eq!(show(&tokenizer("qwen2"), samples.get(0).unwrap().entries), expected);
    let by_image = SampleOptions { join: Join::Image, ..options };
    assert_eq!(read("llama", data, &by_image).unwrap().get(0).unwrap().row, Some(1));
}

#[test]
fn images_may_be_unmarked_or_absent() {
    let options = SampleOptions::default();
    let unmarked = record(&[("system", "S"), ("human", "Q"), ("gpt", "A"), ("human", "R"), ("gpt", "B")]);
    let samples = read("llama", unmarked, &options).unwrap();
    let expected = "<1><3>system<4>\n\nS<5><3>user<4>\n\n#\nQ<5><3>assistant<4>\n\n[A<5>]<3>user<4>\n\nR<5>\
        <3>assistant<4>\n\n[B<5>]";
    assert_eq!(show(&tokenizer("llama"), samples.get(0).unwrap().entries), expected);
    let later = record(&[("human", "Q"), ("gpt", "A"), ("human", "<image> R"), ("gpt", "B")]);
    let samples = read("llama", later, &options).unwrap();
    assert!(show(&tokenizer("llama"), samples.get(0).unwrap().entries).contains("#\nR<5>"));
    let mut text_only = record(&[("human", "Q"), ("gpt", "A")]);
    text_only.as_object_mut().unwrap().remove("image");
    let samples = read("llama", text_only, &options).unwrap();
    assert_eq!(samples.get(0).unwrap().row, None);
    assert!(samples.get(0).unwrap().entries.iter().all(|entry| entry & VISUAL == 0));
}

#[test]
fn what_is_left_without_a_response_is_left_out() {
    let data = record(&[("human", &"Q".repeat(50)), ("gpt", "A")]);
    let options = SampleOptions { max_length: 40, ..SampleOptions::default() };
    refused(read("llama", data, &options), &["none of its 1 records"]);
    let data = record(&[("human", "Q"), ("gpt", &"A".repeat(100))]);
    let samples = read("llama", data, &options).unwrap();
    assert_eq!((samples.lengths(), samples.cut()), (vec![40], 1));
}

#[test]
fn bad_conversations_are_refused() {
    let bad = |record: Value, words: &[&str]| {
        let words = [&["data.json", "record 0"], words].concat();
        refused(read("llama", record, &SampleOptions::default()), &words);
    };
    bad(record(&[("human", "Q"), ("narrator", "A")]), &["turn 1", "narrator", "gpt"]);
    bad(record(&[("human", " "), ("gpt", "A")]), &["turn 0", "empty"]);
    bad(record(&[("gpt", "A"), ("human", "Q")]), &["no response"]);
    bad(record(&[("human", "Q")]), &["no response"]);
    bad(record(&[]), &["no response"]);
    bad(record(&[("human", "<image><image>"), ("gpt", "A")]), &["2 times <image>"]);
    bad(record(&[("human", "Q"), ("gpt", "<image>")]), &["human turn"]);
    bad(
        json!({"id": "a", "conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "A"}]}),
        &["no field \"image\""],
    );
    bad(
        json!({"id": "a", "image": ["x", "y"], "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}),
        &["\"image\" lists 2 images", "one name"],
    );
    bad(json!({"id": "a", "conversations": "x"}), &["conversations", "list"]);
    bad(json!({"id": "a"}), &["conversations"]);
    bad(json!({"id": "a", "conversations": [5]}), &["turn 0", "object"]);
    bad(json!({"id": "a", "conversations": [{"from": "human"}]}), &["turn 0", "value"]);
    let mut unknown = record(&[("human", "Q"), ("gpt", "A")]);
    unknown["id"] = json!("nobody");
    let by_id = SampleOptions { join: Join::Id, ..SampleOptions::default() };
    refused(read("llama", unknown.clone(), &by_id), &["1 of 1", "nobody", "leave such records out"]);
    // Unless told otherwise, the image's name serves where the id has no embedding.
    assert_eq!(read("llama", unknown.clone(), &SampleOptions::default()).unwrap().get(0).unwrap().row, Some(1));
    unknown["image"] = json!("nowhere");
    refused(read("llama", unknown, &SampleOptions::default()), &["\"nobody\" or \"nowhere\""]);
    let shrinking = "{{ messages | length }}";
    let spot = tempfile::tempdir().unwrap();
    let path = put(spot.path(), "d.json", json!([record(&[("human", "Q"), ("gpt", "A")])]).to_string());
    let chat = template("llama", Some(shrinking)).unwrap();
    let samples = Samples::conversations(&path, &tokenizer("llama"), &chat, &index(&["a"]), &SampleOptions::default());
    refused(samples, &["record 0", "leaves the responses"]);
}
