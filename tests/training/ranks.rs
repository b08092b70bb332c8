//! Runs that several ranks share, here threads: the bits of one rank, on whatever link; resumed on other numbers of them; what is refused.

use std::sync::{Mutex, Once};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use realign::device::Device;
use realign::train::ranks::{Link, LocalCommunicator, local_communicators};
use realign::train::{LogRecord, Ranks, Reduce, Run, Settings, Stage, Start, Trained};
use realign::{Error, Result};

use super::refused;
use super::runs::{devices, finish, results, setup_of};

/// How a rank goes through its run.
type Body<'a> = &'a (dyn Fn(Run) -> Result<Vec<LogRecord>> + Sync);

/// A rank in this thread.
fn rank_of(communicator: LocalCommunicator) -> Ranks {
    Ranks::new(move || Ok(communicator)).unwrap()
}

fn whole(mut run: Run) -> Result<Vec<LogRecord>> {
    let mut records = Vec::new();
    while !run.is_done() {
        records.extend(run.advance_ahead()?);
    }
    run.finish().map(|_| records)
}

/// What each rank comes to; `settings` says what a rank is told.
fn on_ranks(
    (count, link): (usize, Link),
    device: impl Fn(usize) -> Device + Sync,
    settings: impl Fn(usize) -> Settings + Sync,
    (start, body): (Start, Body<'_>),
) -> Vec<Result<Vec<LogRecord>>> {
    std::thread::scope(|scope| {
        let one = |(rank, communicator)| {
            let (device, settings) = (&device, &settings);
            scope.spawn(move || {
                let ranks = rank_of(communicator).with_patience(Duration::from_millis(200));
                Run::start_on(&device(rank), settings(rank), start, None, ranks).and_then(body)
            })
        };
        let threads: Vec<_> = local_communicators(count, link).into_iter().enumerate().map(one).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Batches of two or three of the twelve samples, noise, clipping and weight decay.
fn shared_setup(stage: Stage, kind: &str, train: Trained) -> (tempfile::TempDir, Settings) {
    let (folder, mut settings) = setup_of(stage, kind);
    (settings.batch_size, settings.accumulate, settings.epochs) = (3, 4, 50.0);
    (settings.noise, settings.clip, settings.lora_rank, settings.train) = (0.1, 0.5, 3, train);
    settings.precision = Some(realign::nn::Precision::F32);
    if train == Trained::Lora {
        settings.lora_dropout = Some(0.1);
    }
    (folder, settings)
}

const WAYS: [(Stage, Trained); 3] =
    [(Stage::One, Trained::Adapter), (Stage::Two, Trained::All), (Stage::Two, Trained::Lora)];

/// One of the two families has its embedding table tied to the output matrix.
#[test]
fn four_ranks_have_the_bits_of_one_after_fifty_steps() {
    for kind in ["llama", "qwen2"] {
        for (stage, train) in WAYS {
            let (_folder, settings) = shared_setup(stage, kind, train);
            let alone = finish(Run::start(&Device::host(), settings.clone(), Start::New).unwrap());
            assert_eq!(alone.len(), 50);
            let expected = results(&settings.out);
            let shared = settings.clone().out(settings.out.with_file_name("shared")).accumulate(1);
            let link = Link { latency: Duration::from_micros(100), ..Link::default() };
            let ended = on_ranks((4, link), |_| Device::host(), |_| shared.clone(), (Start::New, &whole));
            ended.into_iter().for_each(|rank| drop(rank.unwrap()));
            assert!(expected.len() >= 2 && results(&shared.out) == expected, "{kind} {stage:?} {train:?}");
        }
    }
}

/// Passes of three batches of five, five and two samples: of four batches to a step the last rank has none, of two to a step every
/// second step has one. On the driver, too, and with everything recomputed.
#[test]
fn ranks_without_a_batch_and_short_steps() {
    for device in devices() {
        for (ranks, accumulate) in [(4, 4), (2, 2), (2, 4)] {
            let (_folder, mut settings) = shared_setup(Stage::Two, "qwen2", Trained::All);
            (settings.batch_size, settings.accumulate, settings.max_steps) = (5, accumulate, Some(5));
            settings.recompute = ranks == 4;
            finish(Run::start(&device, settings.clone(), Start::New).unwrap());
            let expected = results(&settings.out);
            let each = accumulate / ranks;
            let shared = settings.clone().out(settings.out.with_file_name("shared")).accumulate(each);
            let link = (ranks, Link::default());
            let ended = on_ranks(link, |_| device.clone(), |_| shared.clone(), (Start::New, &whole));
            ended.into_iter().for_each(|rank| drop(rank.unwrap()));
            assert!(results(&shared.out) == expected, "{} {ranks} {accumulate}", device.name());
        }
    }
}

/// In frames every rank goes on in pieces, and evaluations come from rank 0: an early end is one for all.
#[test]
fn frames_evaluations_and_an_early_end_are_those_of_one_rank() {
    let (_folder, mut settings) = shared_setup(Stage::Two, "llama", Trained::All);
    (settings.eval_data, settings.eval_every, settings.keep_best) = (Some(settings.data.clone()), 2, true);
    (settings.patience, settings.min_delta) = (1, 1.0);
    let mut alone = Run::start(&Device::host(), settings.clone(), Start::New).unwrap();
    while !alone.is_done() {
        alone.advance().unwrap();
    }
    assert!(alone.stopped_early().is_some(), "after {} steps", alone.step());
    alone.finish().unwrap();
    let expected = results(&settings.out);
    let shared = settings.clone().out(settings.out.with_file_name("shared")).accumulate(2);
    let in_frames = |mut run: Run| {
        while !run.is_done() {
            run.tick()?;
        }
        assert!(run.stopped_early().is_some());
        run.finish().map(|_| Vec::new())
    };
    let ended = on_ranks((2, Link::default()), |_| Device::host(), |_| shared.clone(), (Start::New, &in_frames));
    ended.into_iter().for_each(|rank| drop(rank.unwrap()));
    assert!(results(&shared.out) == expected);
}

/// What rank 0's evaluations found is in its checkpoint, and ends the run for all: before it was at its end, and of one that was.
#[test]
fn a_run_that_ends_early_goes_on_as_that_of_one_rank() {
    let (_folder, mut settings) = shared_setup(Stage::Two, "llama", Trained::All);
    (settings.eval_data, settings.eval_every, settings.keep_best) = (Some(settings.data.clone()), 2, true);
    (settings.patience, settings.min_delta, settings.checkpoint_every, settings.max_steps) = (3, 100.0, 2, Some(20));
    assert_eq!(finish(Run::start(&Device::host(), settings.clone(), Start::New).unwrap()).len(), 8);
    let expected = results(&settings.out);
    let shared = settings.clone().out(settings.out.with_file_name("shared")).accumulate(2);
    let until_5 = |mut run: Run| {
        while run.step() < 5 {
            run.advance()?;
        }
        Ok(Vec::new())
    };
    let to_the_end = |mut run: Run| {
        while !run.is_done() {
            run.advance_ahead()?;
        }
        assert!(run.step() == 8 && run.stopped_early().is_some() && run.best().is_some(), "after {}", run.step());
        run.finish().map(|_| Vec::new())
    };
    let parts: [(Start, Body<'_>); 3] =
        [(Start::New, &until_5), (Start::Resume, &to_the_end), (Start::Resume, &to_the_end)];
    for part in parts {
        let ended = on_ranks((2, Link::default()), |_| Device::host(), |_| shared.clone(), part);
        ended.into_iter().for_each(|rank| drop(rank.unwrap()));
    }
    assert!(results(&shared.out) == expected);
    // More patience goes on, on all.
    let patient = shared.patience(4);
    let ended = on_ranks((2, Link::default()), |_| Device::host(), |_| patient.clone(), (Start::Resume, &whole));
    ended.into_iter().for_each(|rank| drop(rank.unwrap()));
    let mut alone = Run::start(&Device::host(), settings.patience(4), Start::Resume).unwrap();
    while !alone.is_done() {
        alone.advance().unwrap();
    }
    assert_eq!(alone.step(), 10);
    let out = alone.settings().out.clone();
    alone.finish().unwrap();
    assert!(results(&patient.out) == results(&out));
}

/// Killed between checkpoints on four ranks, resumed on two, then on one: the same command each time, or the sum given anew.
#[test]
fn a_run_goes_on_with_other_numbers_of_ranks_bit_for_bit() {
    for (stage, train) in WAYS {
        let (_folder, mut settings) = shared_setup(stage, "llama", train);
        (settings.checkpoint_every, settings.max_steps) = (3, Some(12));
        finish(Run::start(&Device::host(), settings.clone(), Start::New).unwrap());
        let expected = results(&settings.out);
        let shared = settings.clone().out(settings.out.with_file_name("shared")).accumulate(1);
        let until = |steps: u64| {
            move |mut run: Run| {
                while run.step() < steps {
                    run.advance()?;
                }
                Ok(Vec::new())
            }
        };
        let host = |_| Device::host();
        for (ranks, accumulate, start, steps) in
            [(4, 1, Start::New, 5), (2, 1, Start::Resume, 7), (2, 2, Start::Resume, 10)]
        {
            let settings = shared.clone().accumulate(accumulate);
            let ended = on_ranks((ranks, Link::default()), host, |_| settings.clone(), (start, &until(steps)));
            ended.into_iter().for_each(|rank| drop(rank.unwrap()));
        }
        finish(Run::start(&Device::host(), shared.clone().accumulate(4), Start::Resume).unwrap());
        assert!(results(&shared.out) == expected, "{stage:?} {train:?}");
        // Three ranks cannot share four batches, and a step of another number is another run.
        let four = shared.clone().accumulate(4);
        let three = on_ranks((3, Link::default()), host, |_| four.clone(), (Start::Resume, &whole));
        for (rank, ended) in three.into_iter().enumerate() {
            let own: &[&str] = if rank == 0 { &[] } else { &["rank 0"] };
            refused(ended, &[own, &["accumulate", "4 batches", "3 ranks", "evenly"]].concat());
        }
        let other = shared.clone().accumulate(3).ranks(Some(1));
        refused(Run::start(&Device::host(), other, Start::Resume), &["accumulate was 4 and is 3"]);
    }
}

/// What ranks are told and read must be the same.
#[test]
fn ranks_that_differ_are_refused_by_what_differs() {
    let (folder, settings) = shared_setup(Stage::One, "llama", Trained::Adapter);
    let text = std::fs::read(&settings.data).unwrap();
    let other = folder.path().join("other.jsonl");
    std::fs::write(&other, String::from_utf8(text).unwrap().replacen("a ", "b ", 1)).unwrap();
    type Change<'a> = &'a (dyn Fn(Settings) -> Settings + Sync);
    let cases: [(Change<'_>, &[&str]); 4] = [
        (&|settings| settings.lr(1e-4), &["lr is 0.005 on rank 0 and 0.0001 on rank 1"]),
        (&|settings| settings.data(other.clone()), &["data is another on rank 1", "the same files"]),
        // Rank 0 would evaluate, the other go on.
        (
            &|mut settings| {
                settings.eval_data = Some(settings.data.clone());
                settings
            },
            &["eval_data is unset on rank 0 and set on rank 1", "alike"],
        ),
        (&|settings| settings.ranks(Some(1)), &["ranks is unset on rank 0 and 1 on rank 1"]),
    ];
    for (change, words) in cases {
        let of = |rank: usize| if rank == 1 { change(settings.clone()) } else { settings.clone() };
        let began = Instant::now();
        for ended in on_ranks((2, Link::default()), |_| Device::host(), of, (Start::Replace, &whole)) {
            refused(ended, words);
        }
        // A goodbye that does not come is waited for 10 s.
        assert!(began.elapsed() < Duration::from_secs(9), "{words:?}: {:?}", began.elapsed());
    }
    // What one process wrote says that there is one.
    let of_one = |_| settings.clone().accumulate(1).ranks(Some(1));
    for ended in on_ranks((4, Link::default()), |_| Device::host(), of_one, (Start::New, &whole)) {
        refused(ended, &["1 batches", "4 ranks", "ranks was given as 1", "leave it out, or set it to 4"]);
    }
    assert!(!settings.out.join("checkpoints").exists());
}

/// One ends in the middle, with an error or without a word: the others hear of it, and say the step and what is kept.
#[test]
fn the_end_of_one_rank_is_the_end_of_all() {
    let (_folder, mut settings) = shared_setup(Stage::Two, "llama", Trained::All);
    (settings.checkpoint_every, settings.accumulate) = (2, 1);
    for fails in [false, true] {
        let body = |mut run: Run| {
            let last = run.ranks().rank() == 2;
            while !run.is_done() {
                run.advance()?;
                if last && run.step() == 5 {
                    // A file of its own is gone, or it is.
                    return if fails { run.fail(Error::Stopped).map(|()| Vec::new()) } else { Ok(Vec::new()) };
                }
            }
            Ok(Vec::new())
        };
        let ended = on_ranks((3, Link::default()), |_| Device::host(), |_| settings.clone(), (Start::Replace, &body));
        for (rank, ended) in ended.into_iter().enumerate().filter(|(rank, _)| *rank != 2) {
            let said = if fails { "step 6: stopped" } else { "ended before the others" };
            // Rank 2's end may come to rank 1 before rank 0's numbers of step 5 do.
            let early = ended.as_ref().is_err_and(|e| e.to_string().contains("rank 1 was at step 5"));
            let own = format!("rank {rank} was at step {}", if early && fails { 5 } else { 6 });
            // Rank 0 waits for what it is still writing, the others see what is there.
            let kept = if rank == 0 { "the checkpoint of step 4 is kept in" } else { "checkpoint" };
            refused(ended, &["rank 2: ", said, &own, kept]);
        }
    }
    // And it is whole.
    let shared = settings.clone().accumulate(1);
    let mut run = Run::start(&Device::host(), shared, Start::Resume).unwrap();
    assert_eq!(run.step(), 4);
    run.advance().unwrap();
}

/// What was said, and in which thread: that of a rank, or another test's.
struct Lines(Mutex<Vec<(ThreadId, String)>>);

impl log::Log for Lines {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push((std::thread::current().id(), record.args().to_string()));
    }

    fn flush(&self) {}
}

static LINES: Lines = Lines(Mutex::new(Vec::new()));
static LISTEN: Once = Once::new();

#[test]
fn a_late_rank_is_waited_for_and_named() {
    LISTEN.call_once(|| {
        log::set_logger(&LINES).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
    });
    let (_folder, mut settings) = shared_setup(Stage::One, "llama", Trained::Adapter);
    (settings.max_steps, settings.accumulate) = (Some(4), 1);
    for late in [0, 1] {
        let own = Mutex::new(Vec::new());
        let body = |mut run: Run| {
            let rank = run.ranks().rank();
            own.lock().unwrap().push(std::thread::current().id());
            while !run.is_done() {
                if run.step() == 2 && rank == late {
                    std::thread::sleep(Duration::from_secs(3));
                }
                run.advance()?;
            }
            run.finish().map(|_| Vec::new())
        };
        let ended = on_ranks((2, Link::default()), |_| Device::host(), |_| settings.clone(), (Start::Replace, &body));
        ended.into_iter().for_each(|rank| drop(rank.unwrap()));
        let words = format!("step 3: waiting for rank {late}, ");
        let own = own.into_inner().unwrap();
        let lines = LINES.0.lock().unwrap();
        let mut said = lines.iter().filter(|(thread, _)| own.contains(thread));
        assert!(said.any(|(_, line)| line.starts_with(&words)), "{lines:?}");
    }
}

/// Gradients in bf16: close, half of the bytes, and still the same on all ranks (the run's end compares them).
#[test]
fn gradients_in_bf16_are_close_and_half_as_long() {
    let (_folder, mut settings) = shared_setup(Stage::Two, "llama", Trained::All);
    (settings.max_steps, settings.accumulate, settings.lr) = (Some(10), 2, 1e-4);
    let runs = [Reduce::F32, Reduce::Bf16].map(|reduce| {
        let sent = Mutex::new(0);
        let body = |mut run: Run| {
            let mut records = Vec::new();
            while !run.is_done() {
                records.push(run.advance()?);
            }
            *sent.lock().unwrap() += run.ranks().sent();
            run.finish().map(|_| records)
        };
        let settings = settings.clone().reduce(reduce);
        let ended = on_ranks((2, Link::default()), |_| Device::host(), |_| settings.clone(), (Start::Replace, &body));
        let all: Vec<_> = ended.into_iter().map(Result::unwrap).collect();
        assert_eq!(all[0], all[1]);
        (all[0].clone(), *sent.lock().unwrap())
    });
    let [(exact, bytes), (rounded, halves)] = runs;
    assert_ne!(exact, rounded);
    for (a, b) in exact.iter().zip(&rounded) {
        // A bf16 number is within 2^-9 of what it stands for, a sum of two of them rounded again.
        assert!((a.grad_norm - b.grad_norm).abs() <= 2f64.powi(-7) * a.grad_norm, "{a:?} {b:?}");
    }
    // Two batches a step and their sum in f32, against one rank's sum each way in bf16.
    assert!(halves * 2 < bytes, "{halves} {bytes}");
}

/// The host engine and a driver: what both learn is near what one does, the gradient is the same on both.
#[test]
fn ranks_on_different_adapters_stay_together() {
    let (_folder, mut settings) = shared_setup(Stage::Two, "llama", Trained::All);
    (settings.max_steps, settings.accumulate) = (Some(10), 1);
    let all = devices();
    let ended = on_ranks(
        (2, Link::default()),
        |rank| all[rank].clone(),
        |_| settings.clone(),
        (Start::New, &|mut run| {
            let mut records = Vec::new();
            while !run.is_done() {
                records.push(run.advance()?);
            }
            run.finish().map(|_| records)
        }),
    );
    let shared: Vec<_> = ended.into_iter().map(Result::unwrap).collect();
    assert_eq!(shared[0], shared[1], "rank 0's numbers are those of all");
    let alone = settings.clone().out(settings.out.with_file_name("alone")).accumulate(2);
    for (a, b) in finish(Run::start(&all[0], alone, Start::New).unwrap()).iter().zip(&shared[0]) {
        // As one device against another, see `switches`.
        assert!((a.loss - b.loss).abs() <= 1e-4 * a.loss, "{a:?} {b:?}");
    }
}
