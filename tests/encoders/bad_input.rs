//! Folders and options that do not fit: each is an error that names what is wrong.

use realign::device::Device;
use realign::encode::{ImageEncoder, ImageSpace, TextEncoder, TextOptions};
use serde_json::{Value, json};

use super::{changed, folder, pixels};

fn image_error(name: &str, change: impl FnOnce(&mut Value)) -> String {
    ImageEncoder::load(&Device::host(), changed(name, change).path()).unwrap_err().to_string()
}

fn text_error(name: &str, change: impl FnOnce(&mut Value)) -> String {
    TextEncoder::load(&Device::host(), changed(name, change).path(), &TextOptions::default()).unwrap_err().to_string()
}

fn has(error: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| error.contains(part)), "{error} lacks some of {parts:?}");
}

#[test]
fn models_of_another_kind_are_named() {
    has(&image_error("minilm", |_| ()), &["\"bert\"", "an encoder of texts", "\"siglip\""]);
    has(&text_error("clip_image", |_| ()), &["\"clip_vision_model\"", "an encoder of images", "\"bert\""]);
    has(&image_error("clip_quick", |c| c["model_type"] = json!("llama")), &["\"llama\"", "\"clip\""]);
    has(&image_error("siglip", |c| c["model_type"] = json!("siglip2")), &["NaFlex"]);
    // The class says it, too.
    let by_class = changed("siglip", |c| drop(c.as_object_mut().unwrap().remove("model_type")));
    ImageEncoder::load(&Device::host(), by_class.path()).unwrap();
    let none =
        |c: &mut Value| c.as_object_mut().unwrap().retain(|key, _| key != "model_type" && key != "architectures");
    has(&text_error("clip_quick", none), &["model_type", "is missing"]);
}

#[test]
fn unknown_fields_are_refused_by_name() {
    has(&image_error("clip_quick", |c| c["vision_config"]["use_rope"] = json!(true)), &["vision_config", "use_rope"]);
    has(&image_error("clip_quick", |c| c["pool_type"] = json!("tok")), &["pool_type"]);
    has(&text_error("minilm", |c| c["position_embedding_type"] = json!("relative_key")), &["relative_key"]);
    has(&text_error("minilm", |c| c["is_decoder"] = json!(true)), &["is_decoder"]);
    has(&text_error("minilm", |c| c["quantization_config"] = json!({"bits": 4})), &["quantization_config"]);
    has(&text_error("mpnet", |c| c["relative_attention_num_buckets"] = json!(16)), &["num_buckets", "16", "32"]);
    has(&image_error("clip_quick", |c| c["vision_config"]["hidden_act"] = json!("mish")), &["mish", "quick_gelu"]);
    has(&image_error("siglip", |c| c["vision_config"]["vision_use_head"] = json!(false)), &["vision_use_head"]);
    has(&text_error("clip_quick", |c| c["text_config"]["eos_token_id"] = json!([1, 2])), &["eos_token_id"]);
    // Harmless ones are not.
    let harmless = changed("clip_quick", |c| {
        c["text_config"]["output_attentions"] = json!(false);
        c["vision_config"]["dropout"] = json!(0.1);
        c["torch_dtype"] = json!("float32");
    });
    ImageEncoder::load(&Device::host(), harmless.path()).unwrap();
    TextEncoder::load(&Device::host(), harmless.path(), &TextOptions::default()).unwrap();
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let vision = |field: &'static str, value: Value| move |c: &mut Value| c["vision_config"][field] = value;
    has(&image_error("clip_quick", vision("hidden_size", json!(42))), &["hidden_size", "42", "5 heads"]);
    has(&image_error("clip_quick", vision("num_attention_heads", json!(0))), &["num_attention_heads"]);
    has(&image_error("clip_quick", vision("image_size", json!(13))), &["patch_size", "14", "13"]);
    has(&image_error("clip_quick", vision("image_size", json!([42, 28]))), &["image_size"]);
    has(&image_error("clip_quick", vision("num_channels", json!(1))), &["num_channels"]);
    has(&image_error("clip_quick", vision("image_size", json!(56))), &["position_embedding", "[10, 40]", "[17, 40]"]);
    has(&image_error("clip_quick", vision("num_hidden_layers", json!(3))), &["vision_model.encoder.layers.2"]);
    has(
        &image_error("clip_quick", vision("num_hidden_layers", json!(1))),
        &["vision_model.encoder.layers.1", "call for"],
    );
    has(
        &image_error("clip_quick", |c| c["projection_dim"] = json!(21)),
        &["visual_projection", "[20, 40]", "[21, 40]"],
    );
    has(&text_error("clip_quick", |c| c["text_config"]["vocab_size"] = json!(40)), &["40"]);
    has(&text_error("minilm", |c| c["max_position_embeddings"] = json!(41)), &["position_embeddings"]);
}

#[test]
fn folders_without_a_file() {
    let device = Device::host();
    for (file, part) in [("model.safetensors", "model.safetensors"), ("config.json", "config.json")] {
        let copy = changed("clip_quick", |_| ());
        std::fs::remove_file(copy.path().join(file)).unwrap();
        has(&ImageEncoder::load(&device, copy.path()).unwrap_err().to_string(), &[part]);
    }
    let copy = changed("clip_quick", |_| ());
    std::fs::remove_file(copy.path().join("tokenizer.json")).unwrap();
    let error = TextEncoder::load(&device, copy.path(), &TextOptions::default()).unwrap_err().to_string();
    has(&error, &["tokenizer.json"]);
    ImageEncoder::load(&device, copy.path()).unwrap();
    let file = folder("clip_quick").join("config.json");
    has(&ImageEncoder::load(&device, &file).unwrap_err().to_string(), &["is a file"]);
    has(&ImageEncoder::load(&device, &folder("nowhere")).unwrap_err().to_string(), &["nowhere"]);
}

#[test]
fn modules_that_are_not_computed() {
    let with = |file: &str, change: &dyn Fn(&mut Value)| {
        let copy = changed("minilm", |_| ());
        let path = copy.path().join(file);
        let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut json);
        std::fs::write(&path, json.to_string()).unwrap();
        TextEncoder::load(&Device::host(), copy.path(), &TextOptions::default()).unwrap_err().to_string()
    };
    let kind = |i: usize, name: &'static str| move |json: &mut Value| json[i]["type"] = json!(name);
    has(&with("modules.json", &kind(2, "sentence_transformers.models.LSTM")), &["LSTM", "Normalize"]);
    has(&with("modules.json", &kind(2, "my.own.Normalize")), &["my.own.Normalize"]);
    has(&with("modules.json", &kind(0, "sentence_transformers.models.Pooling")), &["comes first"]);
    has(&with("modules.json", &kind(1, "sentence_transformers.models.Dense")), &["Dense", "then Pooling"]);
    has(&with("modules.json", &|json| *json = json!({})), &["no list"]);
    let pooling = "1_Pooling/config.json";
    has(&with(pooling, &|json| json["pooling_mode_cls_token"] = json!(true)), &["one way of pooling"]);
    has(&with(pooling, &|json| json["pooling_mode_weighted"] = json!(3)), &["pooling_mode_weighted"]);
    has(&with(pooling, &|json| json["pooling_mode_mean_tokens"] = json!(false)), &["pooling_mode_mean_tokens"]);
    has(&with("sentence_bert_config.json", &|json| json["max_seq_length"] = json!(2)), &["2 tokens"]);
    let prompts = "config_sentence_transformers.json";
    has(&with(prompts, &|json| json["default_prompt_name"] = json!("passage")), &["passage"]);
}

#[test]
fn pixels_and_spaces_that_do_not_fit() {
    let device = Device::host();
    let encoder = ImageEncoder::load(&device, &folder("clip_quick")).unwrap();
    let siglip = ImageEncoder::load(&device, &folder("siglip")).unwrap();
    let data = pixels("clip_quick");
    has(&encoder.encode_blocking(&data[1..]).unwrap_err().to_string(), &["[3, 42, 42]"]);
    assert!(ImageSpace::new(&encoder, 0).is_err());
    let images = realign::device::Tensor::from_f32(&device, &data, 3 * 42 * 42).unwrap();
    let mut recorder = device.recorder();
    let three = ImageSpace::new(&encoder, 3).unwrap();
    has(&encoder.record(&mut recorder, &images, &three).unwrap_err().to_string(), &["3 images"]);
    let other = ImageSpace::new(&siglip, 2).unwrap();
    assert!(encoder.record(&mut recorder, &images, &other).is_err());
}
