//! Pictures and texts wherever embeddings are asked for, with tiny random encoders.

use super::embed::{copy, golden};
use super::*;

/// Pictures that tiny models take, and under which name.
const PICTURES: [(&str, &str); 6] = [
    ("rgb8.png", "a.png"),
    ("rgba8.png", "b.png"),
    ("plain.gif", "c.gif"),
    ("rgb444.jpg", "deep/d.jpg"),
    ("clear.webp", "deep/e.webp"),
    ("rgb24.bmp", "f.bmp"),
];

/// The folder of `train::folder` with the encoders `clip` and `other`, pictures in `pictures`, and records that name them.
fn place() -> Folder {
    let folder = train::folder();
    let configs: Value = serde_json::from_slice(&std::fs::read(golden("pictures/rows.json")).unwrap()).unwrap();
    for (name, mean) in [("clip", 0.5), ("other", 0.25)] {
        copy(&golden("encoders/clip_gelu"), &folder.at(name));
        let mut config = configs["clip_gelu"].clone();
        config["image_mean"] = serde_json::json!([mean, 0.5, 0.5]);
        folder.put(&format!("{name}/preprocessor_config.json"), config.to_string().as_bytes());
    }
    for (from, to) in PICTURES {
        folder.put(&format!("pictures/{to}"), &std::fs::read(golden("pictures/files").join(from)).unwrap());
    }
    let talk = |i: usize| {
        let (_, image) = PICTURES[i % PICTURES.len()];
        let answer = ["a red dog", "two blue birds", "a cat"][i % 3];
        let turns = serde_json::json!([
            {"from": "human", "value": "<image>\nwhat is it"},
            {"from": "gpt", "value": answer},
        ]);
        serde_json::json!({"id": format!("r{i}"), "image": image, "conversations": turns})
    };
    folder.put("talks.json", Value::from_iter((0..12).map(talk)).to_string().as_bytes());
    let texts: String = (0..8).map(|i| format!("{{\"id\": \"t{i}\", \"text\": \"a dog and {i} birds\"}}\n")).collect();
    folder.put("captions.jsonl", texts.as_bytes());
    folder
}

/// A caption of each picture, in the pictures' order.
fn lines(folder: &Folder) {
    folder.put("lines.txt", b"a dog\nbirds\na cat\na red cat\nblue\nsnow\n");
}

const TALKS: &str = "train stage2 --model m --data talks.json --batch-size 4 --accumulate 1 --max-steps 3 --lr 1e-3";

#[test]
fn training_on_pictures_is_training_on_their_embeddings() {
    let folder = place();
    let encoder = "--vision-model clip --images-root pictures --cache kept";
    for device in devices() {
        let embed = format!("embed --model clip --images pictures --out rows.npy --ids-out ids.txt --device {device}");
        folder.good(&format!("{embed} --force"));
        folder.good(&format!("{TALKS} --embeddings rows.npy --ids ids.txt --out given --force --device {device}"));
        let said = folder.json_quiet(&format!("{TALKS} {encoder} --out made --force --json --device {device}"));
        assert_eq!((&said["step"], &said["skipped"]), (&3.into(), &0.into()));
        for name in ["adapter.safetensors", "model/model.safetensors"] {
            assert!(folder.bytes(&format!("given/{name}")) == folder.bytes(&format!("made/{name}")), "{device} {name}");
        }
        // The encoder is part of the settings, and of what a run goes on with.
        let toml = String::from_utf8(folder.bytes("made/run.toml")).unwrap();
        assert!(toml.contains("vision_model = \"clip\"") && toml.contains("images_root = \"pictures\""), "{toml}");
        folder.good(&format!("{TALKS} {encoder} --out made --resume --device {device}"));
        let other = format!("{TALKS} --vision-model other --images-root pictures --cache kept --out made --resume");
        let said = folder.run(&format!("{other} --device {device}"));
        let stderr = String::from_utf8(said.stderr).unwrap();
        assert!(said.status.code() == Some(1) && stderr.contains("embeddings by pictures-"), "{stderr}");
        std::fs::remove_dir_all(folder.at("kept")).unwrap();
    }
    // Settings in a file say the same, and beside the pictures no root is needed.
    folder.put("pictures/talks.json", &folder.bytes("talks.json"));
    let toml = "model = \"m\"\ndata = \"pictures/talks.json\"\nvision_model = \"clip\"\ncache = \"kept\"\nmax_steps = 3\n\
                batch_size = 4\naccumulate = 1\nlr = 1e-3\n";
    folder.put("run.toml", toml.as_bytes());
    folder.good("train stage2 --config run.toml --out file --device host");
    folder.good("embed --model clip --images pictures --out rows.npy --ids-out ids.txt --device host --force");
    folder.good(&format!("{TALKS} --embeddings rows.npy --ids ids.txt --out given --force --device host"));
    assert!(folder.bytes("file/adapter.safetensors") == folder.bytes("given/adapter.safetensors"));
    let plan = folder.json_quiet("train plan stage2 --model m --vision-model clip --json --device host");
    assert_eq!(plan["embedding_width"], 20, "{plan}");
}

#[test]
fn stage_1_embeds_its_texts() {
    let folder = place();
    let line = "train stage1 --model m --data captions.jsonl --batch-size 4 --accumulate 1 --max-steps 3 --device host";
    lines(&folder);
    folder.good(
        "fit --model clip --source lines.txt --target pictures --cache kept --out s.safetensors --device host --force",
    );
    folder.good("embed --model clip --texts captions.jsonl --out rows.npy --ids-out ids.txt --device host");
    folder.good(&format!("{line} --embeddings rows.npy --ids ids.txt --stats s.safetensors --out given"));
    let held = "--eval-data captions.jsonl --eval-every 1";
    folder.good(&format!("{line} --text-model clip --cache kept --stats s.safetensors --out made"));
    assert!(folder.bytes("given/adapter.safetensors") == folder.bytes("made/adapter.safetensors"));
    let judged = folder
        .json_quiet(&format!("{line} --text-model clip --cache kept --stats s.safetensors --out held {held} --json"));
    assert!(judged["eval_loss"].as_f64().unwrap() > 0.0);
    // Statistics of another encoder are refused, whoever made the embeddings.
    folder.good("embed --model other --texts captions.jsonl --out other.safetensors --ids-out other.txt --device host");
    let words = ["other", "clip", "--force"];
    folder.bad(1, &format!("{line} --text-model other --cache kept --stats s.safetensors --out no"), &words);
    folder.bad(
        1,
        &format!("{line} --embeddings other.safetensors --ids other.txt --stats s.safetensors --out no"),
        &words,
    );
    let forced = folder.good(&format!(
        "{line} --embeddings other.safetensors --ids other.txt --stats s.safetensors --out forced --force"
    ));
    assert!(words[..2].iter().all(|word| forced.contains(word)) && forced.contains("warning"), "{forced}");
    assert!(forced.contains("clip ("), "{forced}");
    // Without an aligner nothing of the statistics is used, and any encoder will do.
    folder.good(&format!("{line} --text-model other --cache kept --stats s.safetensors --aligner none --out none"));
    folder.good(&format!("{line} --text-model other --cache kept --stats s.safetensors --any-encoder --out any"));
    for place in ["--ids ids.txt", "--key rows", "--column c", "--id-column i"] {
        let key = place.split(' ').next().unwrap().trim_start_matches("--").replace('-', "_");
        folder.bad(1, &format!("{line} --text-model clip {place} --stats s.safetensors --out no"), &[&key, "encoder"]);
    }
    // What was forced once goes on.
    folder.good(&format!(
        "{line} --embeddings other.safetensors --ids other.txt --stats s.safetensors --out forced --resume"
    ));
    for (more, words) in [
        ("--vision-model clip", &["vision_model", "text_model"][..]),
        ("--text-model clip --embeddings rows.npy", &["embeddings", "leave out"]),
    ] {
        folder.bad(1, &format!("{line} {more} --stats s.safetensors --out no"), words);
    }
    folder.bad(1, &format!("{TALKS} --text-model clip --out no --device host"), &["text_model", "vision_model"]);
}

#[test]
fn pictures_are_scored_asked_and_evaluated() {
    let folder = place();
    let questions = |i: usize| {
        let (_, image) = PICTURES[i];
        format!("{{\"id\": \"q{i}\", \"image\": \"{image}\", \"question\": \"what is it\", \"answer\": \"a cat\"}}\n")
    };
    folder.put("q.jsonl", (0..6).map(questions).collect::<String>().as_bytes());
    folder.good("embed --model clip --images pictures --out rows.npy --ids-out ids.txt --device host");
    folder.good(&format!("{TALKS} --embeddings rows.npy --ids ids.txt --train adapter --out run --device host"));
    let (given, made) =
        ("--embeddings rows.npy --ids ids.txt", "--vision-model clip --images-root pictures --cache kept");
    let model = "--model m --adapter run --device host";
    for line in [
        format!("score {model} --data talks.json --json"),
        format!("evaluate {model} --data q.jsonl --max-tokens 3 --json"),
        format!("evaluate {model} --data talks.json --max-tokens 3 --json"),
    ] {
        let plain = |source: &str| {
            let mut value = folder.json_quiet(&format!("{line} {source}"));
            value.as_object_mut().unwrap().remove("seconds");
            value
        };
        assert_eq!(plain(given), plain(made), "{line}");
    }
    for (row, (_, image)) in [(0, PICTURES[0]), (3, PICTURES[3])] {
        let row = String::from_utf8(folder.bytes("ids.txt")).unwrap().lines().position(|id| id == image).unwrap_or(row);
        let ask = |source: String| {
            let line = format!("generate {model} {source} --prompt what --max-tokens 4 --json");
            folder.json_quiet(&line)["text"].clone()
        };
        let by_row = ask(format!("--image-embedding rows.npy --row {row}"));
        assert_eq!(ask(format!("--image pictures/{image} --vision-model clip")), by_row);
    }
    // Of a few questions the pictures alone are embedded, and none beyond them is missed.
    folder.put(
        "far.jsonl",
        [&folder.bytes("q.jsonl")[..], b"{\"image\": \"none.png\", \"question\": \"what\", \"answer\": \"x\"}\n"]
            .concat()
            .as_slice(),
    );
    let far = format!("evaluate {model} --data far.jsonl --images-root pictures --vision-model clip --max-tokens 2");
    folder.good(&format!("{far} --limit 2 --cache few"));
    let kept: Vec<_> = folder.tree().into_keys().filter(|path| path.starts_with(folder.at("few"))).collect();
    let ids = kept.iter().find(|path| path.to_string_lossy().ends_with(".ids.json")).unwrap();
    assert_eq!(std::fs::read_to_string(ids).unwrap().trim(), "[\"a.png\",\"b.png\"]");
    let said = String::from_utf8(folder.run(&format!("{far} --cache few")).stderr).unwrap();
    assert!(said.contains("none.png") && said.contains("--skip-missing"), "{said}");
    let score = format!("score {model} --data talks.json");
    for (line, words) in [
        (
            format!("{score} --vision-model clip --images-root m"),
            &["images_root", "12 records", "a.png", "--skip-missing"][..],
        ),
        (format!("{score} --vision-model clip --images-root none"), &["none", "no folder"]),
        (format!("{score} --vision-model m --images-root pictures --cache kept"), &["m"]),
        (format!("generate {model} --image q.jsonl --vision-model clip --prompt what"), &["q.jsonl"]),
        (format!("generate {model} --image none.png --vision-model clip --prompt what"), &["none.png"]),
    ] {
        let output = folder.run(&line);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {stderr}");
        words.iter().for_each(|word| assert!(stderr.contains(word), "{line}: {word:?} is not in: {stderr}"));
    }
    // An adapter for embeddings of another width is refused before a picture is read, and nothing is kept.
    let wide = "--model m --adapter a.safetensors --device host";
    let pictures = "--vision-model clip --images-root pictures --cache none";
    for line in [format!("score {wide} --data talks.json"), format!("evaluate {wide} --data q.jsonl")] {
        folder.bad(1, &format!("{line} {pictures}"), &["a.safetensors", "width", "20"]);
    }
    folder.bad(
        1,
        &format!("{TALKS} {pictures} --init-adapter a.safetensors --out no --device host"),
        &["a.safetensors", "20"],
    );
    // Pictures are what texts are aligned to, and are not aligned themselves.
    folder.bad(2, &format!("{score} --vision-model clip --stats s.safetensors"), &["--stats"]);
    folder.bad(2, &format!("{score} --vision-model clip --embeddings rows.npy"), &["--embeddings"]);
    folder.bad(2, &format!("generate {model} --image pictures/a.png --prompt what"), &["--vision-model"]);
}

#[test]
fn what_cannot_be_embedded_is_named_or_left_out() {
    let folder = place();
    let encoder = "--vision-model clip --images-root pictures --cache kept";
    folder.put("pictures/c.gif", b"GIF89a");
    let line = format!("{TALKS} {encoder} --out run --device host");
    let said = folder.run(&line);
    let stderr = String::from_utf8(said.stderr).unwrap();
    assert!(said.status.code() == Some(1) && stderr.contains("c.gif") && stderr.contains("--skip-bad"), "{stderr}");
    let made = folder.json_quiet(&format!("{line} --skip-bad 1 --json"));
    assert_eq!(made["skipped"], 2, "{made}");
    std::fs::remove_file(folder.at("pictures/c.gif")).unwrap();
    let said = String::from_utf8(folder.run(&format!("{line} --force")).stderr).unwrap();
    assert!(["2 records", "c.gif", "--skip-missing"].iter().all(|word| said.contains(word)), "{said}");
    let made = folder.json_quiet(&format!("{line} --skip-missing --force --json"));
    assert_eq!(made["skipped"], 2, "{made}");
}

#[test]
fn statistics_and_measures_take_pictures_and_texts() {
    let folder = place();
    lines(&folder);
    for device in devices() {
        let embed = format!("embed --model clip --device {device} --force");
        folder.good(&format!("{embed} --images pictures --out image.npy"));
        folder.good(&format!("{embed} --texts lines.txt --out text.npy"));
        let (given, made) = (
            format!("--source text.npy --target image.npy --device {device}"),
            format!("--source lines.txt --target pictures --model clip --cache kept --device {device}"),
        );
        let plain = |line: String| {
            let mut value = folder.json_quiet(&line);
            for key in ["seconds", "out", "encoder_source", "encoder_target"] {
                value.as_object_mut().unwrap().remove(key);
            }
            value
        };
        assert_eq!(
            plain(format!("fit {given} --out g.st --json --force")),
            plain(format!("fit {made} --out m.st --json --force"))
        );
        assert_eq!(
            plain(format!("measure {given} --paired --mixing-k 2 --overlap-k 2 --json")),
            plain(format!("measure {made} --paired --mixing-k 2 --overlap-k 2 --json"))
        );
        let gap = |line: &str| {
            let value =
                folder.json_quiet(&format!("compare {line} --methods realign --mixing-k 1 --overlap-k 1 --json"));
            value["methods"]["realign"]["gap"].clone()
        };
        assert_eq!(gap(&given), gap(&made));
        std::fs::remove_dir_all(folder.at("kept")).unwrap();
    }
    let fitted = folder.json_quiet(
        "fit --source lines.txt --target pictures --model clip --cache kept --out s.st --json --device host",
    );
    assert_eq!((&fitted["encoder_source"], &fitted["encoder_target"]), (&"clip".into(), &"clip".into()));
    // One side may be given.
    folder.good("fit --source lines.txt --target image.npy --model clip --cache kept --out one.st --device host");
    let (pictures, embeddings) =
        ("--source lines.txt --target s.st", "--source pictures captions.jsonl --target image.npy");
    folder.bad(1, &format!("measure {pictures} --model clip --cache kept --device host"), &["s.st"]);
    folder.bad(
        1,
        &format!("measure {embeddings} --model clip --cache kept --device host"),
        &["captions.jsonl", "kind"],
    );
    folder.bad(1, "measure --source lines.txt --target image.npy --device host", &["lines.txt"]);
    folder.bad(
        1,
        "fit --source lines.txt --target pictures --model clip --cache kept --out lines.txt --force --device host",
        &["lines.txt", "input"],
    );
}

#[test]
fn rows_of_another_encoder_are_refused_unless_forced() {
    let folder = place();
    lines(&folder);
    folder.good("fit --source lines.txt --target pictures --model clip --cache kept --out s.st --device host");
    for out in ["own.safetensors", "own.parquet", "own.npy"] {
        folder.good(&format!("embed --model clip --texts lines.txt --out {out} --device host"));
        let aligned = format!("aligned_{out}");
        folder.good(&format!("apply {out} --stats s.st --out {aligned} --device host"));
        let known =
            folder.json(&["info", &aligned, "--json"])["encoder"].as_str().map(|name| name.starts_with("clip ("));
        assert_eq!(known, (!out.ends_with(".npy")).then_some(true), "{aligned}");
    }
    // The folder's name does not count, its files do.
    copy(&folder.at("clip"), &folder.at("renamed"));
    folder.good("embed --model renamed --texts lines.txt --out renamed.safetensors --device host");
    folder.good("apply renamed.safetensors --stats s.st --out again.safetensors --device host");
    for out in ["other.safetensors", "other.parquet"] {
        folder.good(&format!("embed --model other --texts lines.txt --out {out} --device host"));
        folder.bad(1, &format!("apply {out} --stats s.st --out b --device host"), &["other (", "clip (", "--force"]);
        let said = folder.good(&format!("apply {out} --stats s.st --out b_{out} --force --device host"));
        assert!(said.contains("warning") && said.contains("other ("), "{said}");
        // What was aligned lies where the target's rows lie, and says so, in either format.
        let target = "--target pictures --model clip --cache kept";
        folder.good(&format!("fit --source {out} {target} --out t.st --device host --force"));
        for to in ["to.safetensors", "to.parquet"] {
            folder.good(&format!("apply {out} --stats t.st --out {to} --device host --force"));
            let said = folder.json(&["info", to, "--json"])["encoder"].as_str().map(str::to_owned);
            assert!(said.as_ref().is_some_and(|name| name.starts_with("clip (")), "{out} to {to}: {said:?}");
            // Not refused for its encoder.
            let calibrate = format!("calibrate --stats t.st --batch {to} --side target --device host");
            folder.bad(1, &calibrate, &["the batch has 6 rows"]);
            folder.bad(1, &format!("apply {to} --stats t.st --out c --device host"), &["clip (", "other ("]);
        }
    }
    // A file that says nothing is taken at its word.
    folder.good("embed --model other --texts lines.txt --out other.npy --device host");
    folder.good("apply other.npy --stats s.st --out d.npy --device host");
    // Files of two encoders, of which one is another.
    folder.put("both/a.safetensors", &folder.bytes("own.safetensors"));
    folder.put("both/b.safetensors", &folder.bytes("other.safetensors"));
    folder.bad(1, "apply both --stats s.st --out e --device host", &["other ("]);
    folder.bad(1, "calibrate --stats s.st --batch other.safetensors --device host", &["other (", "source"]);
    folder.bad(
        1,
        "calibrate --stats s.st --batch other.safetensors --side target --device host",
        &["other (", "target"],
    );
    // Moments hand it on, merged ones where they agree.
    folder.good("embed --model clip --images pictures --out image.safetensors --device host");
    for (out, rows) in
        [("own.m", "own.safetensors"), ("other.m", "other.safetensors"), ("image.m", "image.safetensors")]
    {
        folder.good(&format!("stats {rows} --out {out} --device host"));
    }
    folder.good("merge own.m image.m --out twice.m");
    folder.good("merge own.m other.m --out both.m");
    folder.good("merge both.m own.m --out thrice.m");
    for (source, name) in [("own.m", Some("clip")), ("twice.m", Some("clip")), ("both.m", None), ("thrice.m", None)] {
        let line = format!(
            "fit --source-stats {source} --target-stats image.m --method anchor-trace --out f.st --force --json --device host"
        );
        let made = folder.json_quiet(&line);
        assert_eq!(
            (made["encoder_source"].as_str(), made["encoder_target"].as_str()),
            (name, Some("clip")),
            "{source}"
        );
    }
    // Rows in npy know no encoder; statistics of before there were such are read as ever.
    folder.good("fit --source own.npy --target own.npy --out plain.st --device host --allow-degenerate");
    folder.good("apply other.safetensors --stats plain.st --out f.safetensors --device host");
}

/// The commands of the README's section, as written, with models and files of the names that it supposes.
#[test]
fn the_readme_goes_from_pictures_to_answers() {
    let folder = place();
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let section = readme.split("### From a folder of pictures to answers").nth(1).unwrap();
    let commands = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap().replace("\\\n", " ");
    copy(&folder.at("m"), &folder.at("llm"));
    std::fs::rename(folder.at("pictures"), folder.at("photos")).unwrap();
    std::fs::copy(folder.at("photos/a.png"), folder.at("photos/cat.jpg")).unwrap();
    let talk = r#"{"id": "1", "image": "cat.jpg", "conversations": [{"from": "human", "value": "<image>\nwhat"}, {"from": "gpt", "value": "a cat"}]}"#;
    folder.put("chat.jsonl", talk.as_bytes());
    folder.put("questions.jsonl", br#"{"id": 1, "image": "deep/d.jpg", "question": "what", "answer": "a dog"}"#);
    let mut ran = 0;
    for command in commands.lines() {
        let args: Vec<&str> =
            command.strip_prefix("realign ").unwrap().split('"').enumerate().fold(Vec::new(), |mut args, (i, part)| {
                match i % 2 {
                    0 => args.extend(part.split_whitespace()),
                    _ => args.push(part),
                }
                args
            });
        let output = folder.command(&args).env("XDG_CACHE_HOME", folder.at("home")).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{command}: {stderr}");
        ran += 1;
    }
    assert_eq!(ran, 5);
    // Texts, pictures of the fit, those of the conversations (which are among them) and of the questions.
    assert!(folder.at("home/realign/embeddings").is_dir());
}

/// Aligned texts have length 1; pictures' rows must have it, too, before an adapter that learnt from them.
#[test]
fn what_learnt_from_rows_of_length_1_gets_such_rows() {
    let folder = place();
    lines(&folder);
    folder.good("fit --model clip --source lines.txt --target pictures --cache kept --out s.st --device host");
    let one = "train stage1 --model m --data captions.jsonl --text-model clip --cache kept --batch-size 4 --accumulate 1 \
               --max-steps 2 --device host";
    folder.good(&format!("{one} --stats s.st --out aligned"));
    folder.good(&format!("{one} --aligner none --out plain"));
    let embed = "embed --model clip --images pictures --ids-out ids.txt --device host --force";
    folder.good(&format!("{embed} --out raw.npy"));
    folder.good(&format!("{embed} --out unit.npy --normalize"));
    let norm = floats(&folder.bytes("raw.npy"))[..20].iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!((norm - 1.0).abs() > 0.1, "{norm}");
    for (adapter, suits) in [("aligned", "unit.npy"), ("plain", "raw.npy")] {
        let line = format!("{TALKS} --init-adapter {adapter}/adapter.safetensors --device host --force");
        let made = format!("{line} --vision-model clip --images-root pictures --cache kept --out {adapter}_made");
        assert!(!folder.good(&made).contains("length"));
        for rows in ["unit.npy", "raw.npy"] {
            let said = folder.good(&format!("{line} --embeddings {rows} --ids ids.txt --out {adapter}_given"));
            assert_eq!(
                said.contains("learnt from rows of length 1"),
                adapter == "aligned" && rows == "raw.npy",
                "{said}"
            );
            let weights = |run: &str| folder.bytes(&format!("{run}/model/model.safetensors"));
            let same = weights(&format!("{adapter}_made")) == weights(&format!("{adapter}_given"));
            assert_eq!(same, rows == suits, "{adapter} {rows}");
        }
        // What stage 2 leaves still says it, and is asked likewise.
        let model = format!("--model {adapter}_made/model --adapter {adapter}_made --device host");
        let score = |source: &str| {
            let value = folder.json_quiet(&format!("score {model} --data talks.json {source} --json"));
            value["samples"].clone()
        };
        let pictures = score("--vision-model clip --images-root pictures --cache kept");
        assert_eq!(pictures, score(&format!("--embeddings {suits} --ids ids.txt")), "{adapter}");
        let ask = |source: &str| folder.run(&format!("generate {model} {source} --prompt what --max-tokens 3 --json"));
        let text = |output: &Output| serde_json::from_slice::<Value>(&output.stdout).unwrap()["text"].clone();
        let asked = ask("--image pictures/a.png --vision-model clip");
        assert_eq!(text(&asked), text(&ask(&format!("--image-embedding {suits} --row 0"))), "{adapter}");
        let warned = String::from_utf8(ask("--image-embedding raw.npy --row 0").stderr).unwrap();
        assert_eq!(warned.contains("learnt from rows of length 1"), adapter == "aligned", "{warned}");
    }
}
