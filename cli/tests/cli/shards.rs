//! Shards: of odd sizes through `apply`, with every method; counted apart for all of ReAlign's steps.

use super::*;

const WIDTH: usize = 6;

#[test]
fn apply_writes_shards_as_the_single_file() {
    let folder = Folder::fresh();
    let rows = cloud(2600, WIDTH, 3, 1.0);
    folder.put("image.npy", &npy("<f4", &cloud(300, WIDTH, 4, -1.0), WIDTH));
    folder.put("text.npy", &npy("<f4", &rows, WIDTH));
    let mut left = &rows[..];
    for (name, count) in [("a", 1500), ("b", 1), ("c", 999), ("d", 100)] {
        let (now, later) = left.split_at(count * WIDTH);
        folder.put(&format!("shards/{name}.npy"), &npy("<f4", now, WIDTH));
        left = later;
    }
    assert!(left.is_empty());
    for format in ["npy", "safetensors", "parquet"] {
        for method in ["realign", "c3", "blockwise", "ot", "none"] {
            let (one, many) = (format!("{method}.{format}"), format!("{method}-{format}"));
            let fit = "fit --source text.npy --target image.npy --device host --force --out s.st --method";
            folder.good(&format!("{fit} {method}"));
            folder.good(&format!("apply --stats s.st --device host --out {one} text.npy"));
            folder.good(&format!("apply --stats s.st --device host --format {format} --out {many}/ shards"));
            let back = |input: &str| {
                folder.good(&format!(
                    "fit --source {input} --target image.npy --device host --force --out t.st --method none"
                ));
                folder.good(&format!("apply --stats t.st --device host --format npy --out back/ --force {input}"));
                let mut names: Vec<_> =
                    std::fs::read_dir(folder.at("back")).unwrap().map(|e| e.unwrap().path()).collect();
                names.sort();
                let all = names.iter().flat_map(|p| floats(&std::fs::read(p).unwrap())).collect::<Vec<f32>>();
                std::fs::remove_dir_all(folder.at("back")).unwrap();
                (names.len(), all)
            };
            std::fs::create_dir_all(folder.at("back")).unwrap();
            let (files, want) = back(&one);
            std::fs::create_dir_all(folder.at("back")).unwrap();
            let (shards, got) = back(&many);
            assert_eq!((files, shards, want.len(), got.len()), (1, 4, 2600 * WIDTH, 2600 * WIDTH), "{method} {format}");
            let off = want.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-6, "{method} {format}: {off}");
        }
    }
}

#[test]
fn a_fit_of_shards_that_were_counted_apart_is_that_of_all_rows() {
    let folder = Folder::fresh();
    folder.put("image.npy", &npy("<f4", &cloud(300, WIDTH, 4, -1.0), WIDTH));
    let rows = cloud(2600, WIDTH, 3, 1.0);
    folder.put("text.npy", &npy("<f4", &rows, WIDTH));
    for (shard, part) in rows.chunks(900 * WIDTH).enumerate() {
        folder.put(&format!("text-{shard}.npy"), &npy("<f4", part, WIDTH));
    }
    let count = |options: &str, name: &str| {
        for shard in 0..3 {
            folder.good(&format!("stats text-{shard}.npy {options} --device host --out {name}-{shard}.st"));
        }
        folder.good(&format!("merge {name}-2.st {name}-0.st {name}-1.st --out {name}.st"));
    };
    count("", "y");
    folder.good("stats image.npy --device host --out x.st");
    let fit = "fit --source-stats y.st --target-stats x.st --device host";
    folder.good(&format!("{fit} --method anchor-trace --out a.st"));
    count("--moved-by a.st", "moved");
    folder.good(&format!("{fit} --moved-stats moved.st --out apart.st"));
    folder.good("fit --source text.npy --target image.npy --device host --out whole.st");
    let bytes = |name: &str| std::fs::read(folder.at(name)).unwrap();
    assert!(bytes("apart.st") == bytes("whole.st"));
    folder.good("stats text.npy --moved-by a.st --device host --out moved-whole.st");
    assert!(bytes("moved-whole.st") == bytes("moved.st"));

    folder.bad(1, &format!("{fit} --moved-stats y.st --out o.st"), &["y.st", "as they are", "moved"]);
    folder.bad(1, &format!("{fit} --moved-stats moved-0.st --out o.st"), &["[2600, 6]", "[900, 6]"]);
    folder.bad(1, "fit --source-stats moved.st --target-stats x.st --device host --out o.st", &["moved"]);
    folder.bad(1, "merge y-0.st moved-1.st --out o.st", &["moved-1.st", "moved"]);
    folder.bad(1, "stats text.npy --moved-by y.st --device host --out o.st", &["y.st"]);
    // By the operator of other sides, whose sums look alike, or by one that has taken its step.
    folder.good("fit --source-stats y.st --target-stats y.st --device host --method anchor-trace --out b.st");
    folder.good("stats text.npy --moved-by b.st --device host --out by-another.st");
    folder.bad(1, &format!("{fit} --moved-stats by-another.st --out o.st"), &["by-another.st", "another operator"]);
    folder.bad(1, "merge moved-0.st by-another.st --out o.st", &["by-another.st", "different operators"]);
    folder.bad(
        1,
        "stats text.npy --moved-by apart.st --device host --out o.st",
        &["--moved-by", "apart.st", "realign"],
    );
    // The operator is read, too.
    folder.bad(1, "apply text.npy --stats a.st --out a.st --format npy --force --device host", &["is also an input"]);
    assert!(folder.at("a.st").metadata().unwrap().len() > 0);
    folder.bad(2, &format!("{fit} --moved-stats moved.st --method c3 --out o.st"), &["--moved-stats", "--method"]);
    folder.bad(2, "stats text.npy --moved-by a.st --covariance --out o.st", &["--moved-by", "--covariance"]);
}
