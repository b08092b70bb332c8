//! Settings from files and flags.

use std::path::{Path, PathBuf};

use realign::ElementType;
use realign::align::Method;
use realign::io::{AdapterKind, Join};
use realign::train::{Key, NoiseShape, ScheduleKind, Settings, Stage, Trained};

use super::refused;

fn parse(text: &str) -> realign::Result<Settings> {
    let mut settings = Settings::new(Stage::One);
    settings.merge(text, Path::new("run.toml")).map(|()| settings)
}

#[test]
fn the_defaults_are_the_published_recipe() {
    let (one, two) = (Settings::new(Stage::One), Settings::new(Stage::Two));
    assert_eq!((one.lr, one.batch_size, one.accumulate, one.train), (5e-4, 8, 4, Trained::Adapter));
    assert_eq!((two.lr, two.batch_size, two.accumulate, two.train), (1e-5, 16, 2, Trained::All));
    for s in [&one, &two] {
        assert_eq!((s.warmup_ratio, s.weight_decay, s.clip, s.epochs, s.max_length), (0.03, 0.0, 1.0, 1.0, 2048));
        assert_eq!((s.schedule, s.adapter, s.visual_tokens), (ScheduleKind::Cosine, AdapterKind::Mlp(2), 1));
        assert_eq!((s.beta1, s.beta2, s.eps), (0.9, 0.999, 1e-8));
    }
}

#[test]
fn files_and_flags_say_the_same() {
    let file = parse(
        "model = 'm'\nembeddings = ['a.npy', 'b.npy']\nbatch-size = 3\nlr = 1e-3\nepochs = 2\nmax_steps = 7\nseed = 5\n\
         aligner = 'anchor'\nadapter = 'linear'\nnoise_shape = 'covariance'\nskip_missing = true\nweights = 'bf16'\njoin = 'image'\n",
    )
    .unwrap();
    let mut flags = Settings::new(Stage::One);
    let pairs = [
        ("model", "m"),
        ("embeddings", "a.npy, b.npy"),
        ("batch-size", "3"),
        ("lr", "0.001"),
        ("epochs", "2"),
        ("max-steps", "7"),
        ("seed", "5"),
        ("aligner", "anchor"),
        ("adapter", "linear"),
        ("noise-shape", "covariance"),
        ("skip_missing", "true"),
        ("weights", "bf16"),
        ("join", "image"),
    ];
    pairs.iter().for_each(|(key, text)| flags.set(key, text).unwrap());
    assert_eq!(file, flags);
    assert_eq!(file.embeddings, [PathBuf::from("a.npy"), PathBuf::from("b.npy")]);
    let (noise, join) = (file.noise_shape, file.join);
    assert_eq!((file.aligner, noise, join), (Some(Method::Anchor), NoiseShape::Covariance, Join::Image));
    assert_eq!((file.weights, file.max_steps), (Some(ElementType::BF16), Some(7)));
}

#[test]
fn what_is_written_reads_back() {
    let mut settings = Settings::new(Stage::Two);
    for (key, text) in [
        ("model", "a \"b\"\\c"),
        ("seed", "18446744073709551615"),
        ("embeddings", "x"),
        ("lr", "3e-9"),
        ("train", "lora"),
    ] {
        settings.set(key, text).unwrap();
    }
    let mut again = Settings::new(Stage::Two);
    again.merge(&settings.to_toml(), Path::new("x")).unwrap();
    assert_eq!(settings, again);
}

#[test]
fn every_key_can_be_set_and_has_an_explanation() {
    assert!(Settings::KEYS.len() > 40);
    for Key { name: key, help, .. } in Settings::KEYS {
        assert!(help.ends_with('.') && !help.starts_with(' '), "{key}: {help:?}");
        let error = Settings::new(Stage::One).merge(&format!("{key} = []\n"), Path::new("f")).err();
        assert!(error.is_none_or(|e| !e.to_string().contains("unknown;")), "{key} is not known");
    }
}

#[test]
fn mistakes_are_named() {
    refused(parse("bach_size = 3"), &["run.toml", "bach_size", "did you mean \"batch_size\""]);
    refused(parse("learning = 3"), &["run.toml", "learning"]);
    refused(parse("[optimisation]\nlr = 3"), &["optimisation", "known are", "lr"]);
    refused(parse("[optimizer]\nlr = 3"), &["optimizer", "a name"]);
    refused(parse("optimizer = 'sgd'"), &["optimizer", "sgd", "adamw, adamw8bit"]);
    refused(parse("lr = 1\nseed = = 2"), &["run.toml", "line 2", "TOML"]);
    refused(parse("batch_size = -1"), &["batch_size", "-1", "at least 0"]);
    refused(parse("batch_size = 1.5"), &["batch_size", "1.5"]);
    refused(parse("lr = 'fast'"), &["lr", "fast", "number"]);
    refused(parse("lr = nan"), &["lr", "nan"]);
    refused(parse("skip_missing = 1"), &["skip_missing", "true or false"]);
    refused(parse("model = 5"), &["model", "path"]);
    refused(parse("train = 'some'"), &["train", "some", "adapter, all, lora"]);
    refused(parse("aligner = 'best'"), &["aligner", "best", "realign"]);
    refused(parse("adapter = 'mlp'"), &["adapter", "mlpNx_gelu"]);
    refused(Settings::new(Stage::One).set("lrr", "1"), &["lrr", "did you mean \"lr\""]);
    refused(Settings::new(Stage::One).set("lr", "x"), &["lr", "\"x\""]);
    refused(Settings::new(Stage::One).read(Path::new("/nowhere/run.toml")), &["read", "/nowhere/run.toml"]);
}

#[test]
fn impossible_values_are_named() {
    let base = "model = 'm'\ndata = 'd'\nembeddings = 'e'\nout = 'o'\nstats = 's'\n";
    parse(base).unwrap().validate().unwrap();
    for key in ["model", "data", "embeddings", "out", "stats"] {
        let without: String =
            base.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
        refused(parse(&without).unwrap().validate(), &[key]);
    }
    parse("model = 'm'\ndata = 'd'\nembeddings = 'e'\nout = 'o'\naligner = 'none'").unwrap().validate().unwrap();
    let changes = [
        ("lr", "0"),
        ("lr", "-1"),
        ("epochs", "0"),
        ("max_steps", "0"),
        ("batch_size", "0"),
        ("accumulate", "0"),
        ("window", "0"),
        ("warmup_ratio", "1.1"),
        ("weight_decay", "-1"),
        ("beta1", "1"),
        ("beta2", "-0.1"),
        ("eps", "0"),
        ("clip", "-1"),
        ("noise", "-1"),
        ("train", "all"),
        ("lora_rank", "0"),
        ("lora_alpha", "0"),
        ("log_every", "0"),
        ("keep", "0"),
        ("visual_tokens", "0"),
        ("max_length", "2"),
    ];
    for (key, text) in changes {
        let mut settings = parse(base).unwrap();
        settings.set(key, text).unwrap();
        refused(settings.validate(), &[key]);
    }
}

#[test]
fn a_resumed_run_must_agree_in_what_matters() {
    let base = Settings::new(Stage::One);
    let mut other = base.clone();
    other.set("keep", "7").unwrap();
    other.set("out", "elsewhere").unwrap();
    other.check_resumes(&base.essence(), false).unwrap();
    other.set("lr", "0.25").unwrap();
    other.set("max_steps", "9").unwrap();
    refused(
        other.check_resumes(&base.essence(), false),
        &["lr was 0.0005 and is 0.25", "max_steps was unset and is 9", "another folder"],
    );
    refused(base.check_resumes(&Settings::new(Stage::Two).essence(), false), &["stage"]);
}
