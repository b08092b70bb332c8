//! AnisoAlign in `fit`, `info`, `apply`, `compare` and `calibrate`: planes, stages, trainings that go on.

use super::geometry::{KEYS, numbers, run, sets};

#[test]
fn anisoalign_has_planes() {
    let folder = sets();
    let fit = "fit --source text.npy --target image.npy --method anisoalign --device host --out p.st --force --json";
    assert_eq!(run(&folder, &format!("{fit} --rank 5"))["planes"], 3);
    assert_eq!(run(&folder, "info p.st --json")["planes"], 3);
    let plain = folder.bytes("p.st");
    let mixed = |more: &str| {
        run(&folder, &format!("{fit} --rank 5 {more}"));
        folder.bytes("p.st")
    };
    // The closed form is the default.
    assert_eq!(mixed("--stages init --mix none"), plain);
    assert_ne!(mixed("--mix haar"), plain);
    assert_eq!(mixed("--mix haar --seed 1"), mixed("--mix haar --seed 1"));
    assert_ne!(mixed("--mix haar --seed 1"), mixed("--mix haar --seed 2"));
    assert_ne!(mixed("--fit-rows 20"), plain);
    folder.bad(1, &format!("{fit} --fit-rows 1"), &["--fit-rows", "2 or more"]);
    folder.bad(2, &format!("{fit} --stages half"), &["--stages", "init, refine, prior, phase, full"]);
    folder.bad(2, &format!("{fit} --rank 5 --energy 0.5"), &["--energy"]);
    for flag in ["--mix haar", "--fit-rows 9", "--stages init"] {
        let line = format!("{} {flag}", fit.replace("anisoalign", "realign"));
        folder.bad(1, &line, &[flag.split(' ').next().unwrap(), "realign", "--method anisoalign"]);
    }
    let compare = "compare --source text.npy --target image.npy --methods anisoalign --mix haar --json --device host";
    numbers(&run(&folder, compare)["methods"]["anisoalign"], &KEYS);
}

/// What a training that was stopped says of itself, without its tensors: of other rows than all.
fn stopped() -> Vec<u8> {
    let metadata = serde_json::json!({ "__metadata__": {
        "format": "realign-anisoalign-training", "format_version": "1", "trained": "prior", "step": "3", "rows": "none",
        "stages": "full", "hidden": "8", "prior_steps": "5", "refine_steps": "5", "alpha_theta": "0.2", "alpha_rho": "0.1", "seed": "0",
    }});
    let header = metadata.to_string().into_bytes();
    [&(header.len() as u64).to_le_bytes()[..], &header].concat()
}

#[test]
fn anisoalign_is_trained() {
    let folder = sets();
    let fit = "fit --source text.npy --target image.npy --method anisoalign --rank 6 --device host --out t.st --json";
    let short = "--hidden 8 --prior-steps 5 --refine-steps 5";
    let full = format!("{fit} --stages full {short}");
    let made = run(&folder, &full);
    assert_eq!((&made["stages"], &made["hidden"], &made["alpha_theta"]), (&"full".into(), &8.into(), &0.2.into()));
    let info = run(&folder, "info t.st --json");
    assert_eq!((&info["stages"], &info["planes"], &info["alpha_rho"]), (&"full".into(), &3.into(), &0.1.into()));
    let trained = folder.bytes("t.st");
    assert!(!folder.path().join("t.st.training").exists());
    run(&folder, &format!("{full} --force --resume"));
    assert_eq!(folder.bytes("t.st"), trained);
    let aligned = |stats: &str, out: &str| {
        folder.good(&format!("apply text.npy --stats {stats} --out {out} --device host"));
        folder.bytes(out)
    };
    run(&folder, &fit.replace("t.st", "i.st"));
    assert_eq!(run(&folder, "info i.st --json")["stages"], "init");
    let init = aligned("i.st", "i.npy");
    assert_ne!(aligned("t.st", "t.npy"), init);
    run(&folder, &format!("{full} --alpha-theta 0 --alpha-rho 0 --force").replace("t.st", "z.st"));
    assert_eq!(aligned("z.st", "z.npy"), init);
    // A state that is left is neither gone on with nor written over unasked.
    folder.put("n.st.training", &stopped());
    let line = full.replace("t.st", "n.st");
    folder.bad(1, &line, &["n.st.training", "--resume", "--force"]);
    folder.bad(1, &format!("{line} --resume"), &["n.st.training", "other rows"]);
    let info = run(&folder, "info n.st.training --json");
    assert_eq!((&info["kind"], &info["trained"], &info["step"]), (&"training".into(), &"prior".into(), &3.into()));
    assert_eq!((&info["stages"], &info["hidden"]), (&"full".into(), &8.into()));
    // Nor is a file of another kind, even if it was asked.
    folder.put("other.st.training", b"notes");
    folder.bad(1, &format!("{} --force", full.replace("t.st", "other.st")), &["other.st.training", "no state"]);
    assert_eq!(folder.bytes("other.st.training"), b"notes");
    run(&folder, &format!("{line} --force"));
    for (stages, flag) in [
        ("init", "--hidden 8"),
        ("init", "--alpha-rho 0.1"),
        ("refine", "--refine-steps 5"),
        ("phase", "--prior-steps 5"),
        ("refine", "--resume"),
    ] {
        let name = flag.split(' ').next().unwrap();
        folder.bad(1, &format!("{fit} --force --stages {stages} {flag}"), &[name, stages, "--stages full"]);
    }
    folder.bad(1, &format!("{full} --force --alpha-theta 9"), &["--alpha-theta", "0 to 3.1416"]);
    for flag in ["--hidden 8", "--resume"] {
        let line = format!("{} --force {flag}", fit.replace("anisoalign --rank 6", "realign"));
        folder.bad(1, &line, &[flag.split(' ').next().unwrap(), "realign", "--method anisoalign"]);
    }
    let compare = "compare --source text.npy --target image.npy --methods anisoalign --json --device host --stages";
    numbers(&run(&folder, &format!("{compare} full {short}"))["methods"]["anisoalign"], &KEYS);
    folder.bad(1, &format!("{compare} init --hidden 8"), &["--hidden", "init"]);
    let calibrate =
        "calibrate --source text.npy --target image.npy --sizes 20 --trials 1 --method anisoalign --json --device host";
    folder.good(&format!("{calibrate} --stages prior {short}"));
}
