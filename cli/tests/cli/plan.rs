//! `train plan`, and settings of batches and low-rank additions, from outside.

use super::train::folder;

const PLAN: &str = "train plan --model m --length 20 --batch-size 4 --embedding-width 48 --device host --json";

#[test]
fn a_plan_says_the_bytes_of_a_run_and_loads_nothing() {
    let folder = folder();
    let plan = |more: &str| folder.json_line(&format!("{PLAN} {more}"));
    let all = plan("");
    let bytes = |value: &serde_json::Value, key: &str| value["bytes"][key].as_u64().unwrap();
    let keys = ["layers", "tables", "additions", "gradients", "moments", "activations", "backward", "head", "peak"];
    assert!(keys.iter().all(|key| bytes(&all, key) > 0), "{all}");
    let parts: u64 = keys[..8].iter().map(|key| bytes(&all, key)).sum();
    assert!(bytes(&all, "peak") >= parts, "{all}");
    assert_eq!((&all["batch_size"], &all["length"], &all["embedding_width"]), (&4.into(), &20.into(), &48.into()));
    // Stage 2 by default, all parameters; stage 1 trains the adapter alone.
    let one = folder.json_line(&PLAN.replace("plan", "plan stage1"));
    assert!(bytes(&one, "moments") < bytes(&all, "moments") && bytes(&one, "layers") == bytes(&all, "layers"));
    let recomputed = plan("--recompute");
    assert!(bytes(&recomputed, "activations") < bytes(&all, "activations"));
    let lora = plan("--train lora --lora-rank 4");
    let few = plan("--train lora --lora-rank 4 --lora-targets q_proj v_proj");
    assert!(bytes(&few, "gradients") < bytes(&lora, "gradients") && lora["rank"] == 4);
    assert_eq!(plan("--batch-tokens 70")["batch_size"], 3);
    // Nothing but the configuration is needed, and nothing is left behind.
    std::fs::remove_file(folder.at("m/model.safetensors")).unwrap();
    assert_eq!(plan(""), all);
    assert!(!folder.at("run").exists());
    let text = String::from_utf8(folder.run(&PLAN.replace(" --json", "")).stdout).unwrap();
    for words in ["4 samples of 20 positions", "width 48", "activations that are kept", "all at once", "MB"] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    folder.bad(1, &PLAN.replace("--embedding-width 48", ""), &["--embedding-width", "an encoder, statistics"]);
    // An encoder of the run has one: of stage 1 its texts', of stage 2 its pictures'.
    let encoders = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/encoders");
    let of = |stage: &str, flag: &str, name: &str| {
        let line = PLAN.replace("--embedding-width 48", &format!("{flag} {encoders}/{name}"));
        folder.json_line(&line.replace("plan", &format!("plan {stage}")))["embedding_width"].clone()
    };
    for (name, width) in [("minilm", 30), ("bert_dense", 18), ("clip_quick", 20), ("decoder_last", 24)] {
        assert_eq!(of("stage1", "--text-model", name), width, "{name}");
    }
    assert_eq!(of("stage2", "--vision-model", "clip_quick"), 20);
    folder.bad(1, &PLAN.replace("--model m", "--model nowhere"), &["nowhere"]);
    folder.bad(1, &PLAN.replace("--model m ", ""), &["model is missing"]);
    folder.bad(1, &format!("{PLAN} --lora-dropout 1 --train lora"), &["lora_dropout", "below 1"]);
    folder.bad(1, &format!("{PLAN} --lora-targets query --train lora"), &["query", "q_proj", "all-linear"]);
    folder.bad(2, &PLAN.replace("plan", "plan stage3"), &["stage3"]);
}

#[test]
fn batches_by_tokens_and_rates_of_additions_are_said() {
    let folder = folder();
    let line = "train stage2 --model m --data conversations.json --embeddings image.npy --ids image_ids.json --init-adapter \
                a.safetensors --device host";
    let value = folder
        .json_quiet(&format!("{line} --batch-tokens 150 --epochs 2 --lr 1e-3 --train adapter --out by-tokens --json"));
    assert!(value["steps"].as_u64().unwrap() > 2, "{value}");
    folder.bad(1, &format!("{line} --batch-tokens 5 --out few"), &["batch_tokens", "longest", "max_length"]);
    let said = folder.good(&format!("{line} --train lora --max-steps 1 --out slow"));
    assert!(said.contains("lr is 0.00001") && said.contains("1e-4 to 2e-4"), "{said}");
    let said = folder.good(&format!("{line} --train lora --lr 2e-4 --lora-dropout 0.1 --max-steps 1 --out quick"));
    assert!(!said.contains("lr is"), "{said}");
}
