//! Search against sorting everything, on every device.

use realign::device::Device;
use realign::rank::{Hit, Named, RankOptions, Ranking, Score, SearchOptions, search};
use realign::stats::{MemoryRows, StreamOptions};

use crate::cloud;
use crate::common::devices;

const WIDTH: usize = 24;
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
    Ranking::fit(&Device::host(), &mut named, &mut [], &RankOptions::default()).unwrap()
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
        (options, &queries[1..], "whole rows of 24"),
        (options, &[f32::INFINITY; WIDTH], "finite values"),
    ] {
        let error = run(&Device::host(), &rows, queries, options).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    // A single zero query has a place all the same.
    assert_eq!(run(&Device::host(), &rows, &[0.0; WIDTH], options).unwrap().len(), 10);
}
