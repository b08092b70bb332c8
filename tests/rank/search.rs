//! Search against sorting everything, on every device.

use realign::device::Device;
use realign::rank::{Hit, Named, NnnOptions, RankOptions, Ranking, Score, Scorer, SearchOptions, search};
use realign::stats::{MemoryRows, StreamOptions};

use crate::cloud;
use crate::common::devices;

const WIDTH: usize = 24;
/// Reference queries: more than nnn averages.
const BANK: usize = 200;
const NAMES: [&str; 3] = ["caption", "image", "text"];

fn rows() -> [Vec<f32>; 3] {
    [cloud(300, WIDTH, 11), cloud(450, WIDTH, 12), cloud(40, WIDTH, 13)]
}

fn ranking(rows: &[Vec<f32>; 3]) -> Ranking {
    let mut sources: Vec<MemoryRows> = rows.iter().map(|rows| MemoryRows::f32("rows", rows, WIDTH).unwrap()).collect();
    let mut named: Vec<Named> = NAMES
        .into_iter()
        .zip(&mut sources)
        .map(|(name, rows)| (name, rows as &mut dyn realign::stats::RowSource))
        .collect();
    let bank = cloud(BANK, WIDTH, 18);
    let mut queries = MemoryRows::f32("bank", &bank, WIDTH).unwrap();
    let mut kinds: [Named; 1] = [("text", &mut queries)];
    Ranking::fit(&Device::host(), &mut named, &mut kinds, &RankOptions::default()).unwrap()
}

fn run(device: &Device, rows: &[Vec<f32>; 3], queries: &[f32], options: SearchOptions) -> realign::Result<Vec<Hit>> {
    let mut sources: Vec<MemoryRows> = rows.iter().map(|rows| MemoryRows::f32("rows", rows, WIDTH).unwrap()).collect();
    let mut named: Vec<Named> = NAMES
        .into_iter()
        .zip(&mut sources)
        .map(|(name, rows)| (name, rows as &mut dyn realign::stats::RowSource))
        .collect();
    search(device, &ranking(rows), queries, &mut named, &options)
}

fn unit(row: &[f32]) -> Vec<f64> {
    let norm = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    row.iter().map(|x| f64::from(*x) / norm).collect()
}

#[test]
fn raw_hits_are_those_of_sorting_everything() {
    let (rows, queries) = (rows(), cloud(9, WIDTH, 14));
    for device in devices() {
        for chunk in [None, Some(64)] {
            let stream = StreamOptions::default().chunk_rows(chunk);
            let options = SearchOptions::default().score(Score::Raw).top(25).stream(stream);
            let hits = run(&device, &rows, &queries, options).unwrap();
            for (i, query) in queries.chunks_exact(WIDTH).enumerate() {
                let query = unit(query);
                let mut all: Vec<(f64, usize, u64)> = Vec::new();
                for (c, rows) in rows.iter().enumerate() {
                    let dot = |row| unit(row).iter().zip(&query).map(|(a, b)| a * b).sum::<f64>();
                    all.extend(rows.chunks_exact(WIDTH).enumerate().map(|(r, row)| (dot(row), c, r as u64)));
                }
                all.sort_by(|a, b| b.0.total_cmp(&a.0));
                let found: Vec<&Hit> = hits.iter().filter(|hit| hit.query == i).collect();
                assert_eq!(found.len(), 25);
                for (rank, (hit, want)) in found.iter().zip(&all).enumerate() {
                    assert_eq!((hit.rank, hit.collection, hit.row), (rank + 1, want.1, want.2), "query {i}");
                    // Unit rows are rounded to f32: √d units of 2⁻²⁴ each.
                    assert!((hit.raw - want.0).abs() < 2.0 * 24f64.sqrt() * 2f64.powi(-24));
                }
            }
        }
    }
}

/// What the two scores of reference queries are by their formulas, in f64, for every item: `[collection][row]` of one query.
fn by_formula(rows: &[Vec<f32>; 3], query: &[f64], nnn: NnnOptions, score: Score) -> Vec<Vec<f64>> {
    let units = |rows: &[f32]| rows.chunks_exact(WIDTH).map(unit).collect::<Vec<_>>();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let bank = units(&cloud(BANK, WIDTH, 18));
    let one = |rows: &Vec<f32>| {
        let rows = units(rows);
        let best: Vec<f64> =
            bank.iter().map(|q| rows.iter().map(|d| dot(q, d)).fold(f64::NEG_INFINITY, f64::max)).collect();
        let mean = best.iter().sum::<f64>() / BANK as f64;
        let deviation = (best.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / BANK as f64).sqrt();
        let of = |row: &Vec<f64>| match score {
            Score::Standardise => (dot(query, row) - mean) / deviation,
            _ => {
                let mut near: Vec<f64> = bank.iter().map(|q| dot(q, row)).collect();
                near.sort_by(|a, b| b.total_cmp(a));
                let mean = near[..nnn.neighbours].iter().sum::<f64>() / nnn.neighbours as f64;
                dot(query, row) - nnn.alpha * mean
            }
        };
        rows.iter().map(of).collect()
    };
    rows.iter().map(one).collect()
}

#[test]
fn hits_of_reference_queries_are_those_of_the_formulas() {
    let (rows, queries) = (rows(), cloud(5, WIDTH, 19));
    let default = NnnOptions::default();
    for (score, nnn) in [
        (Score::Nnn, default),
        (Score::Nnn, default.alpha(1.5).neighbours(1)),
        (Score::Nnn, default.neighbours(BANK)),
        (Score::Standardise, default),
    ] {
        for (device, chunk) in devices().into_iter().zip([None, Some(50)]) {
            let stream = StreamOptions::default().chunk_rows(chunk);
            let options = SearchOptions::default().score(score).nnn(nnn).top(30).stream(stream);
            let hits = run(&device, &rows, &queries, options).unwrap();
            for (i, query) in queries.chunks_exact(WIDTH).enumerate() {
                let want = by_formula(&rows, &unit(query), nnn, score);
                let mut best: Vec<f64> = want.concat();
                best.sort_by(|a, b| b.total_cmp(a));
                let found: Vec<&Hit> = hits.iter().filter(|hit| hit.query == i).collect();
                assert_eq!(found.len(), 30);
                for (hit, best) in found.iter().zip(best) {
                    let own = want[hit.collection][hit.row as usize];
                    // Products of rows that were rounded to f32, over a deviation of a tenth or so.
                    let bound = if score == Score::Standardise { 1e-4 } else { 2e-6 };
                    let what = format!("{score}, query {i} on {}: {hit:?}", device.name());
                    assert!(
                        (hit.score - own).abs() < bound && (hit.score - best).abs() < bound,
                        "{what}, {own}, {best}"
                    );
                }
            }
        }
    }
}

/// One cut-off for all collections, as a share of all their items.
#[test]
fn cutoffs_of_reference_queries_are_shares_of_all_items() {
    let (rows, queries) = (rows(), cloud(4, WIDTH, 20));
    for score in [Score::Nnn, Score::Standardise] {
        let options = SearchOptions::default().score(score).top(100_000).pass(Some(0.1));
        let hits = run(&Device::host(), &rows, &queries, options).unwrap();
        let share = hits.len() as f64 / (4.0 * 790.0);
        assert!((share - 0.1).abs() < 0.005, "{score}: {share}");
    }
}

/// What is prepared for single queries is made anew after a merge, and changes no result.
#[test]
fn single_queries_are_scored_by_what_is_known_now() {
    let (rows, query) = (rows(), cloud(1, WIDTH, 21));
    let fit = |rows: &[f32]| {
        let mut rows = MemoryRows::f32("text", rows, WIDTH).unwrap();
        Ranking::fit(&Device::host(), &mut [("text", &mut rows)], &mut [], &RankOptions::default()).unwrap()
    };
    let raw = [0.9, 0.95, 0.5];
    let mut ranking = fit(&rows[0]);
    let first = ranking.scores(&query, "text", &raw).unwrap();
    assert_eq!(ranking.scores(&query, "text", &raw).unwrap(), first);
    let scorer = Scorer::of(&ranking, &Device::host(), (Score::Quantile, NnnOptions::default()), None, &["text"]);
    let scales = scorer.unwrap().scales(&query).unwrap();
    assert_eq!(scales[0].scores("text", &raw.map(f64::from)).unwrap(), first);
    ranking.merge(&fit(&rows[1])).unwrap();
    let merged = ranking.scores(&query, "text", &raw).unwrap();
    assert_ne!(merged, first);
    let both = [&rows[0][..], &rows[1]].concat();
    assert_eq!(merged, fit(&both).scores(&query, "text", &raw).unwrap());
}

#[test]
fn every_score_gives_the_same_hits_for_every_chunk() {
    let (rows, queries) = (rows(), cloud(6, WIDTH, 15));
    for score in Score::ALL {
        let options = SearchOptions::default().score(score).kind(Some("text"));
        let whole = run(&Device::host(), &rows, &queries, options).unwrap();
        assert_eq!(whole.len(), 60, "{score}");
        assert!(whole.chunks(10).all(|hits| hits.is_sorted_by(|a, b| a.score >= b.score)), "{score}");
        let stream = StreamOptions::default().chunk_rows(Some(33));
        assert_eq!(run(&Device::host(), &rows, &queries, options.stream(stream)).unwrap(), whole, "{score}");
    }
}

#[test]
fn a_list_may_hold_whole_collections() {
    let (rows, queries) = (rows(), cloud(2, WIDTH, 16));
    let hits = run(&Device::host(), &rows, &queries, SearchOptions::default().top(100_000)).unwrap();
    assert_eq!(hits.len(), 2 * 790);
    let half = run(&Device::host(), &rows, &queries, SearchOptions::default().top(100_000).pass(Some(0.5))).unwrap();
    // The sample is the collection itself: half of each passes, give or take the value at the cut-off.
    assert!((half.len() as i64 - 790).abs() <= 6, "{}", half.len());
    assert!(half.iter().all(|hit| hit.score >= 2f64.log10() - 1e-9));
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let (rows, queries) = (rows(), cloud(2, WIDTH, 17));
    let options = SearchOptions::default();
    for (options, queries, word) in [
        (options.top(0), &queries[..], "give 1 to"),
        (options.pass(Some(1.0)), &queries, "above 0 and below 1"),
        (options.pass(Some(0.1)).score(Score::Rrf), &queries, "has no cut-off"),
        (options.kind(Some("sound")).score(Score::Centre), &queries, "\"sound\""),
        (options.kind(Some("image")).score(Score::Nnn), &queries, "no queries of the kind \"image\""),
        (options.score(Score::Nnn).nnn(NnnOptions::default().alpha(-1.0)), &queries, "0 to 100"),
        (options.score(Score::Nnn).nnn(NnnOptions::default().neighbours(0)), &queries, "give 1 to"),
        (options, &queries[1..], "whole rows of 24"),
        (options, &[f32::INFINITY; WIDTH], "finite values"),
    ] {
        let error = run(&Device::host(), &rows, queries, options).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    // A single zero query has a place all the same.
    assert_eq!(run(&Device::host(), &rows, &[0.0; WIDTH], options).unwrap().len(), 10);
}
