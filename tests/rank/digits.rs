//! The scores' worth on the bundled digits as NumPy computed it, and the same with three collections.

use std::path::Path;

use realign::device::Device;
use realign::io::{Dataset, EmbeddingRows, OpenOptions};
use realign::rank::{CompareOptions, Comparison, Named, RankOptions, Ranking, Relevance, Score, compare};
use realign::stats::MemoryRows;
use safetensors::SafeTensors;

use crate::common::devices;

const WIDTH: usize = 64;
const SPLITS: usize = 10;
const QUERIES: usize = 800;
const SCORES: [Score; 7] =
    [Score::Raw, Score::Realign, Score::Centre, Score::Z, Score::Quantile, Score::Dbsf, Score::Rrf];
/// Those that are held against reference queries.
const BANKED: [Score; 2] = [Score::Nnn, Score::Standardise];

struct Digits {
    images: Vec<f32>,
    texts: Vec<f32>,
    image_attributes: Vec<[u8; 4]>,
    text_attributes: Vec<[u8; 4]>,
    seen: Vec<usize>,
    held: Vec<usize>,
    orders: Vec<usize>,
    worth: Vec<f64>,
    worth_banked: Vec<f64>,
}

fn file(name: &str) -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/digits-embeddings").join(name);
    let set = Dataset::open(&[path], &OpenOptions::default()).unwrap();
    let rows: Vec<u32> = (0..set.rows() as u32).collect();
    let mut out = vec![0.0; rows.len() * set.width()];
    EmbeddingRows::open(&set).unwrap().read(&rows, &mut out).unwrap();
    out
}

fn digits() -> Digits {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mixed_search.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let data = |name: &str| golden.tensor(name).unwrap().data();
    let attributes = |name: &str| data(name).chunks_exact(4).map(|a| [a[0], a[1], a[2], a[3]]).collect::<Vec<_>>();
    let words =
        |name: &str| data(name).chunks_exact(2).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]]))).collect();
    let numbers = |name: &str| data(name).chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect();
    let (images, seen): (Vec<f32>, Vec<usize>) = (file("image.npy"), words("seen"));
    Digits {
        held: (0..images.len() / WIDTH).filter(|i| !seen.contains(i)).collect(),
        texts: file("text.npy"),
        image_attributes: attributes("image_attributes"),
        text_attributes: attributes("text_attributes"),
        orders: words("orders"),
        worth: numbers("worth"),
        worth_banked: numbers("worth_banked"),
        images,
        seen,
    }
}

/// A collection's name, its rows and what each shows.
type Collection = (&'static str, Vec<f32>, Vec<[u8; 4]>);

/// What is searched: rows with their attributes, those that the ranking is fitted to, reference queries, and the queries.
struct Split {
    corpus: Vec<Collection>,
    fitted: Vec<(&'static str, Vec<f32>)>,
    bank: Vec<f32>,
    queries: (Vec<f32>, Vec<[u8; 4]>),
}

fn pick(rows: &[f32], at: &[usize]) -> Vec<f32> {
    at.iter().flat_map(|i| rows[i * WIDTH..(i + 1) * WIDTH].iter().copied()).collect()
}

impl Digits {
    /// As the golden file's generator cuts; where answers are disjoint, digits 0 to 4 are images alone, 5 to 9 captions alone.
    fn split(&self, split: usize, disjoint: bool) -> Split {
        let order = &self.orders[split * 4000..(split + 1) * 4000];
        let images: Vec<usize> =
            self.held.iter().copied().filter(|i| !disjoint || self.image_attributes[*i][0] < 5).collect();
        let (queries, rest) = order.split_at(QUERIES);
        let (texts, rest) = rest.split_at(images.len());
        let texts: Vec<usize> =
            texts.iter().copied().filter(|i| !disjoint || self.text_attributes[*i][0] >= 5).collect();
        let of = |all: &[[u8; 4]], at: &[usize]| at.iter().map(|i| all[*i]).collect::<Vec<_>>();
        Split {
            corpus: vec![
                ("image", pick(&self.images, &images), of(&self.image_attributes, &images)),
                ("text", pick(&self.texts, &texts), of(&self.text_attributes, &texts)),
            ],
            fitted: vec![("image", pick(&self.images, &self.seen)), ("text", pick(&self.texts, rest))],
            bank: Vec::new(),
            queries: (pick(&self.texts, queries), of(&self.text_attributes, queries)),
        }
    }

    /// The first half of the captions that are left as reference queries, the other half as the captions' reference.
    fn banked(&self, split: usize, disjoint: bool) -> Split {
        let mut split = self.split(split, disjoint);
        let texts = &mut split.fitted[1].1;
        let rest = texts.split_off(texts.len() / WIDTH / 2 * WIDTH);
        split.bank = std::mem::replace(texts, rest);
        split
    }
}

fn grade(a: &[u8; 4], b: &[u8; 4]) -> f64 {
    let agree = a.iter().zip(b).filter(|(x, y)| x == y).count() as f64;
    if a[0] == b[0] { agree * agree } else { 0.0 }
}

fn run(device: &Device, split: &Split, scores: &[Score]) -> Comparison {
    let mut fitted: Vec<MemoryRows> =
        split.fitted.iter().map(|(name, rows)| MemoryRows::f32(name, rows, WIDTH).unwrap()).collect();
    let mut named: Vec<Named> = split
        .fitted
        .iter()
        .zip(&mut fitted)
        .map(|((name, _), rows)| (*name, rows as &mut dyn realign::stats::RowSource))
        .collect();
    let mut bank = MemoryRows::f32("bank", &split.bank, WIDTH).unwrap();
    let mut kinds: Vec<Named> = vec![("text", &mut bank)];
    kinds.truncate(usize::from(!split.bank.is_empty()));
    let ranking = Ranking::fit(device, &mut named, &mut kinds, &RankOptions::default()).unwrap();
    let mut relevance = Relevance::new(split.queries.1.len());
    for (query, asked) in split.queries.1.iter().enumerate() {
        for (collection, (_, _, attributes)) in split.corpus.iter().enumerate() {
            for (row, answer) in attributes.iter().enumerate() {
                let grade = grade(asked, answer);
                if grade > 0.0 {
                    relevance.add(query, (collection, row as u64), grade).unwrap();
                }
            }
        }
    }
    let mut corpus: Vec<MemoryRows> =
        split.corpus.iter().map(|(name, rows, _)| MemoryRows::f32(name, rows, WIDTH).unwrap()).collect();
    let mut named: Vec<Named> = split
        .corpus
        .iter()
        .zip(&mut corpus)
        .map(|((name, ..), rows)| (*name, rows as &mut dyn realign::stats::RowSource))
        .collect();
    let options = CompareOptions::default().scores(scores);
    compare(device, &ranking, &split.queries.0, &mut named, &relevance, &options).unwrap()
}

/// The table: means over ten splits of NDCG@10 and of the images among the first ten. The quantile's tail is smooth, NumPy's ends at the
/// sample's maximum; all other scores differ by rounding alone.
#[test]
fn both_tables_are_numpys() {
    let digits = digits();
    for (mode, disjoint) in [false, true].into_iter().enumerate() {
        let mut sums = [[0.0; 4]; SCORES.len()];
        for split in 0..SPLITS {
            let found = run(&Device::host(), &digits.split(split, disjoint), &SCORES);
            for (k, line) in found.scores.iter().enumerate() {
                assert_eq!(line.score, SCORES[k]);
                let at = ((mode * SPLITS + split) * SCORES.len() + k) * 2;
                let (gain, share) = (digits.worth[at], digits.worth[at + 1]);
                if line.score != Score::Quantile {
                    // A pair of scores within 1e-6 of each other may change places: one of the 8,000 hits.
                    let what = format!("{} of split {split}, disjoint {disjoint}", line.score);
                    assert!((line.ndcg.value - gain).abs() < 2e-4, "{what}: {} and {gain}", line.ndcg.value);
                    assert!(
                        (line.shares[0].value - share).abs() < 5e-4,
                        "{what}: {} and {share}",
                        line.shares[0].value
                    );
                }
                for (sum, x) in sums[k].iter_mut().zip([line.ndcg.value, gain, line.shares[0].value, share]) {
                    *sum += x / SPLITS as f64;
                }
            }
        }
        for (score, [gain, want, share, want_share]) in SCORES.iter().zip(sums) {
            println!("disjoint {disjoint} {score}: NDCG {gain:.4} ({want:.4}), images {share:.3} ({want_share:.3})");
            assert!((gain - want).abs() < 3e-3, "{score}: {gain} and {want}");
        }
    }
}

/// The scores that are held against reference queries, in both modes; on every device for one split.
#[test]
fn scores_of_reference_queries_are_numpys() {
    let digits = digits();
    for (mode, disjoint) in [false, true].into_iter().enumerate() {
        let mut sums = [[0.0; 2]; BANKED.len()];
        for split in 0..SPLITS {
            for device in if split == 0 { devices() } else { vec![Device::host()] } {
                let found = run(&device, &digits.banked(split, disjoint), &BANKED);
                for (k, line) in found.scores.iter().enumerate() {
                    assert_eq!(line.score, BANKED[k]);
                    let at = ((mode * SPLITS + split) * BANKED.len() + k) * 2;
                    let (gain, share) = (digits.worth_banked[at], digits.worth_banked[at + 1]);
                    let what = format!("{} of split {split}, disjoint {disjoint} on {}", line.score, device.name());
                    assert!((line.ndcg.value - gain).abs() < 2e-4, "{what}: {} and {gain}", line.ndcg.value);
                    let found_share = line.shares[0].value;
                    assert!((found_share - share).abs() < 5e-4, "{what}: {found_share} and {share}");
                    if device.name() == Device::host().name() {
                        sums[k][0] += line.ndcg.value / SPLITS as f64;
                        sums[k][1] += found_share / SPLITS as f64;
                    }
                }
            }
        }
        for (score, [gain, share]) in BANKED.iter().zip(sums) {
            println!("disjoint {disjoint} {score}: NDCG {gain:.4}, images {share:.3}");
        }
    }
}

#[test]
fn cutoffs_mean_the_same_in_every_collection() {
    let found = run(&Device::host(), &digits().split(0, false), &SCORES);
    let line = |score: Score| found.scores.iter().find(|line| line.score == score).unwrap();
    for c in &line(Score::Quantile).calibration {
        println!("quantile {}: {:?}", c.nominal, c.passed);
        for passed in &c.passed {
            // The sample of 800 images and the 997 that are searched differ by some √(p / 800) for each query.
            let noise = 3.0 * (c.nominal / 800.0).sqrt();
            assert!((passed.value - c.nominal).abs() < noise + passed.half_width, "{}: {passed:?}", c.nominal);
        }
    }
    // Raw cosines: one cut-off for all passes texts alone.
    let raw = &line(Score::Raw).calibration[0];
    assert!(raw.passed[0].value < 1e-3 && raw.passed[1].value > 0.12, "{raw:?}");
    assert!(line(Score::Dbsf).calibration.is_empty());
}

/// Captions of thick and of thin digits as collections of their own: every one comes up, and the answers are as good.
#[test]
fn three_collections_are_searched_as_one() {
    let digits = digits();
    let two = digits.split(0, false);
    let (_, texts, attributes) = &two.corpus[1];
    let halves = [true, false].map(|first| {
        let at: Vec<usize> = (0..attributes.len()).filter(|i| (attributes[*i][1] == 0) == first).collect();
        (pick(texts, &at), at.iter().map(|i| attributes[*i]).collect::<Vec<_>>())
    });
    let order = &digits.orders[QUERIES + digits.held.len()..4000];
    let fitted = [true, false].map(|first| {
        let at: Vec<usize> = order.iter().copied().filter(|i| (digits.text_attributes[*i][1] == 0) == first).collect();
        pick(&digits.texts, &at)
    });
    let ([(thin, thin_attributes), (thick, thick_attributes)], [fitted_thin, fitted_thick]) = (halves, fitted);
    let [image, _] = <[_; 2]>::try_from(two.corpus).ok().unwrap();
    let three = Split {
        corpus: vec![image, ("text", thin, thin_attributes), ("text-2", thick, thick_attributes)],
        fitted: vec![two.fitted[0].clone(), ("text", fitted_thin), ("text-2", fitted_thick)],
        bank: Vec::new(),
        queries: two.queries,
    };
    let found = run(&Device::host(), &three, &SCORES);
    let line = |score: Score| found.scores.iter().find(|line| line.score == score).unwrap();
    for line in &found.scores {
        let shares: Vec<f64> = line.shares.iter().map(|s| s.value).collect();
        println!("{}: NDCG {:.3}, shares {shares:.2?}", line.score, line.ndcg.value);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
    assert!(line(Score::Raw).shares[0].value < 0.02);
    assert!(line(Score::Quantile).shares.iter().all(|share| share.value > 0.1));
    assert!(line(Score::Quantile).ndcg.value > line(Score::Raw).ndcg.value);
    for c in line(Score::Quantile).calibration.iter().take(3) {
        assert!(c.passed.iter().all(|p| (p.value - c.nominal).abs() < 0.35 * c.nominal + 0.01), "{c:?}");
    }
}

/// The page and what is printed come from one value; every chart is there.
#[cfg(feature = "report")]
#[test]
fn the_page_has_its_charts() {
    let mut split = digits().split(0, false);
    split.queries.0.truncate(20 * WIDTH);
    split.queries.1.truncate(20);
    let found = run(&Device::host(), &split, &SCORES);
    let page = found.page(serde_json::Value::Null).unwrap();
    let titles: Vec<String> = page.svgs().into_iter().map(|(name, _)| name).collect();
    assert_eq!(titles.len(), Comparison::charts().len(), "{titles:?}");
    assert!(page.html().contains("quantile"));
}
