//! Shards of odd sizes through `apply`, with every method.

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
