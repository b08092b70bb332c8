//! Rows in buckets, against an S3 server on this machine (`tools/s3_server`) with a proxy before it that breaks what it is told to break.
//!
//! Without libtest: the environment that clients read is set before there is a second thread, requests are counted, and so tests run one after
//! the other. Arguments filter them by name, as elsewhere.

mod faults;
mod memory;
mod proxy;
mod reading;
mod web;
mod world;
mod writing;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use world::World;

/// A test by its name.
type Test = (&'static str, fn(&World));

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let world = World::start();
    let all = [reading::TESTS, faults::TESTS, writing::TESTS, web::TESTS, memory::TESTS].concat();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(&filter[..]));
    let chosen: Vec<&Test> = all.iter().filter(|(name, _)| wanted(name)).collect();
    println!("running {} tests", chosen.len());
    let mut failed = Vec::new();
    for (name, test) in &chosen {
        let start = std::time::Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| test(&world))).is_ok();
        world.proxy.forget();
        println!("test {name} ... {} ({:.1} s)", if passed { "ok" } else { "FAILED" }, start.elapsed().as_secs_f64());
        if !passed {
            failed.push(*name);
        }
    }
    println!("{} passed, {} failed: {failed:?}", chosen.len() - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
