//! Steps that are submitted before the numbers of the step before were read.

use realign::device::Device;
use realign::train::{LogRecord, Run, Settings, Stage, Start, Trained};

use super::runs::{devices, finish, mixed, results, setup};

/// Runs ahead to the end; gives all records and how many calls gave none.
fn run_ahead(run: &mut Run) -> (Vec<LogRecord>, u64) {
    let (mut records, mut without) = (Vec::new(), 0);
    while !run.is_done() {
        match run.advance_ahead().unwrap() {
            Some(record) => records.push(record),
            None => without += 1,
        }
    }
    (records, without)
}

fn steps(device: &Device, settings: &Settings) -> Run {
    Run::start(device, settings.clone(), Start::New).unwrap()
}

#[test]
fn a_run_ahead_gives_the_same() {
    for device in devices() {
        for (stage, trained) in
            [(Stage::One, Trained::Adapter), (Stage::Two, Trained::All), (Stage::Two, Trained::Lora)]
        {
            // Eight steps, an evaluation after the third and the sixth, checkpoints after the fifth and the last.
            let (_folder, mut settings) = mixed(stage);
            (settings.train, settings.checkpoint_every, settings.log_every) = (trained, 5, 1);
            (settings.eval_data, settings.eval_every) = (Some(settings.data.clone()), 3);
            let out = settings.out.clone();
            let whole = finish(steps(&device, &settings));
            assert_eq!(whole.len(), 8);
            settings.out = out.with_file_name("ahead");
            let mut run = steps(&device, &settings);
            let (records, without) = run_ahead(&mut run);
            run.finish().unwrap();
            assert!(results(&out) == results(&settings.out), "{} {trained:?}", device.name());
            // A call gives the step before, or, where it has to wait, its own: the first after that has none to give.
            let given: Vec<u64> = records.iter().map(|r| r.step).collect();
            assert_eq!((&given[..], without), (&[1, 3, 5, 6, 8][..], 3), "{}", device.name());
            assert!(records.iter().all(|r| *r == whole[r.step as usize - 1]), "{}: {records:?}", device.name());
        }
    }
}

/// The first step's numbers are not waited for, and with the second step submitted there is one wait, for the first.
#[test]
fn the_device_has_a_step_to_do_while_numbers_are_read() {
    for device in devices() {
        let (_folder, mut settings) = mixed(Stage::One);
        (settings.log_every, settings.checkpoint_every) = (1, 0);
        let mut run = steps(&device, &settings);
        let gpu = u64::from(device.wgpu().is_some());
        for (step, waits) in [(1, 0), (2, gpu), (3, gpu)] {
            let before = device.waits();
            let record = run.advance_ahead().unwrap();
            assert_eq!(record.map(|r| r.step), (step > 1).then(|| step - 1), "{}", device.name());
            assert_eq!(device.waits() - before, waits, "{}: step {step}", device.name());
            assert_eq!(run.step(), step);
        }
    }
}

#[test]
fn what_was_ahead_is_saved_and_a_resumed_run_goes_on_bit_for_bit() {
    for device in devices() {
        for saves in [false, true] {
            let (_folder, mut settings) = mixed(Stage::Two);
            settings.checkpoint_every = 3;
            let out = settings.out.clone();
            finish(steps(&device, &settings));
            settings.out = out.with_file_name("again");
            let mut first = steps(&device, &settings);
            (0..5).for_each(|_| drop(first.advance_ahead().unwrap()));
            assert_eq!(first.step(), 5);
            if saves {
                first.save().unwrap();
            }
            drop(first);
            let mut run = Run::start(&device, settings.clone(), Start::Resume).unwrap();
            assert_eq!(run.step(), if saves { 5 } else { 3 });
            run_ahead(&mut run);
            run.finish().unwrap();
            assert!(results(&out) == results(&settings.out), "{}: saved {saves}", device.name());
        }
    }
}

#[test]
fn all_ways_to_step_can_be_mixed() {
    for device in devices() {
        let (_folder, settings) = mixed(Stage::One);
        let out = settings.out.clone();
        finish(steps(&device, &settings));
        let settings = settings.out(out.with_file_name("mixed"));
        let mut run = steps(&device, &settings);
        for turn in 0.. {
            match turn % 3 {
                _ if run.is_done() => break,
                0 => drop(run.advance_ahead().unwrap()),
                1 => drop(run.tick().unwrap()),
                _ => drop(run.advance().unwrap()),
            }
        }
        run.finish().unwrap();
        assert!(results(&out) == results(&settings.out), "{}", device.name());
    }
}

#[test]
fn a_loss_that_is_not_finite_is_found_a_step_late_and_named() {
    for device in devices() {
        let stop = |ahead: bool| {
            let (_folder, mut settings) = setup(Stage::Two);
            (settings.lr, settings.clip, settings.checkpoint_every) = (1e30, 0.0, 50);
            let mut run = steps(&device, &settings);
            let mut step = || if ahead { run.advance_ahead().map(drop) } else { run.advance().map(drop) };
            let error = (0..50).find_map(|_| step().err()).expect("the loss stayed finite").to_string();
            let kept = settings.out.join("checkpoints").read_dir().unwrap().count();
            (error, run.step(), kept)
        };
        let (at_once, late) = (stop(false), stop(true));
        assert_eq!((&at_once.0, at_once.1 + 1), (&late.0, late.1), "{}", device.name());
        assert!(late.0.contains("the loss is") && late.0.contains("no checkpoint"), "{}", late.0);
        assert_eq!((at_once.2, late.2), (0, 0));
    }
}
