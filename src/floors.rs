//! The floors of the house: which module may import which, checked on the sources themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// From the ground up; modules of a floor do not know each other, and an import goes down.
const FLOORS: &[&[&str]] = &[
    &["element", "remedy", "setters"],
    &["error"],
    &["blocks"],
    &["spec", "io"],
    &["host", "gpu", "report"],
    &["device"],
    &["kernels"],
    &["stats", "tuning"],
    &["geometry"],
    &["align", "rank"],
    &["nn", "nalgebra"],
    &["optim", "answers", "encode"],
    &["train"],
    &["inference"],
    &["experiment"],
    &["bench"],
];

/// Floors that every module stands on; the picture leaves them out.
const GROUND: usize = 3;

/// Items of the crate's root that stand for a module of the ground.
const RE_EXPORTED: &[(&str, &str)] =
    &[("Device", "device"), ("ElementType", "element"), ("Error", "error"), ("Result", "error")];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The source without comments and without the text of its tests.
fn code(source: &str) -> String {
    let without_tests = source.split("#[cfg(test)]").next().unwrap_or_default();
    without_tests.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The modules of the crate that the code names by `crate::`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            Some(list) => found.extend(top_level(list).into_iter().map(|item| name(item.trim()))),
            None => drop(found.insert(name(rest))),
        }
    }
    let module = |name: String| match RE_EXPORTED.iter().find(|(item, _)| *item == name) {
        Some((_, module)) => (*module).to_owned(),
        None => name,
    };
    found.into_iter().map(module).collect()
}

/// The items of a `{…}` list, of which `list` is the text behind the opening brace.
fn top_level(list: &str) -> Vec<&str> {
    let (mut depth, mut first, mut items) = (0, 0, Vec::new());
    for (i, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&list[first..i]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&list[first..i]);
                first = i + 1;
            }
            _ => (),
        }
    }
    items.retain(|item| !item.trim().is_empty());
    items
}

/// For each module, those that it imports, and a file that does.
type Arrows = BTreeMap<(String, String), String>;

fn arrows_of(file: &str, source: &str) -> Arrows {
    let module = file.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
    let others = imports(&code(source)).into_iter().filter(|other| *other != module);
    others.map(|other| ((module.clone(), other), file.to_owned())).collect()
}

fn walk(folder: &Path, root: &Path, arrows: &mut Arrows) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
        if path.is_dir() {
            walk(&path, root, arrows);
        } else if file.ends_with(".rs") && !["lib.rs", "floors.rs"].contains(&file.as_str()) {
            arrows.extend(arrows_of(&file, &std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The arrows that do not go down.
fn wrong(arrows: &Arrows) -> Vec<String> {
    let down = |(from, to): &(String, String)| floor(to).zip(floor(from)).is_some_and(|(to, from)| to < from);
    arrows
        .iter()
        .filter(|(arrow, _)| !down(arrow))
        .map(|((from, to), file)| format!("{from} -> {to} in {file}"))
        .collect()
}

fn all() -> Arrows {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut arrows = Arrows::new();
    walk(&root, &root, &mut arrows);
    arrows
}

/// The picture of `ARCHITECTURE.md`: each floor's modules with what they import, the upper floors first.
fn picture(arrows: &Arrows) -> String {
    let mut out = String::new();
    for module in FLOORS[GROUND..].iter().rev().flat_map(|floor| floor.iter()) {
        let mut below: Vec<&str> =
            arrows.keys().filter(|(from, _)| from == module).map(|(_, to)| to.as_str()).collect();
        below.sort_by_key(|to| std::cmp::Reverse(floor(to)));
        below.retain(|to| floor(to) >= Some(GROUND));
        let _ = writeln!(
            out,
            "{module:<11}-> {}",
            if below.is_empty() { "(the ground)".to_owned() } else { below.join(", ") }
        );
    }
    out
}

#[test]
fn imports_go_down() {
    let arrows = all();
    assert!(arrows.len() > 60, "only {} arrows found: has the form of imports changed?", arrows.len());
    let wrong = wrong(&arrows);
    assert!(wrong.is_empty(), "imports that do not go down:\n{}", wrong.join("\n"));
}

#[test]
fn the_architecture_page_shows_the_arrows() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let picture = picture(&all());
    assert!(page.contains(&picture), "ARCHITECTURE.md lacks this picture of the modules:\n{picture}");
}

/// The check can fail: upwards, sideways, through a list, by an item of the root, to a module without a floor.
#[test]
fn a_wrong_arrow_is_noticed() {
    for (file, source) in [
        ("gpu/mod.rs", "use crate::device::Device;"),
        ("gpu/submit.rs", "fn f() -> crate::host::Real {}"),
        ("host/nn/gelu.rs", "use crate::{Result, kernels::{nn, stats}};"),
        ("spec/kernel.rs", "use crate::Device;"),
        ("io/npy.rs", "use crate::new_module::f;"),
    ] {
        assert_eq!(wrong(&arrows_of(file, source)).len(), 1, "{file}: {source}");
    }
    let fine =
        "//! [`crate::kernels`]\nuse crate::{Error, spec::{Tile, Class}};\n#[cfg(test)]\nmod t { use crate::nn; }";
    assert_eq!(wrong(&arrows_of("gpu/mod.rs", fine)), Vec::<String>::new());
}
