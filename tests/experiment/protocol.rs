//! The whole experiment with fixed seeds: what must come out of it.

use realign::align::Method;
use realign::device::Device;
use realign::experiment::{Arm, Materials, Outcome, ProtocolSettings, Source, Texts, Training, run_arm};

/// What the paper's orderings ask for at this size, on images that nothing was trained on.
#[test]
fn stage_one_on_text_carries_over_to_images() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::host();
    let mut tasks = 0;
    let mut watch = |_: realign::experiment::Progress<'_>| {
        tasks += 1;
        Ok(())
    };
    let settings = ProtocolSettings::default();
    let materials = Materials::prepare(&device, &folder.path().join("run"), settings, &mut watch).unwrap();
    let last = materials.records.last().unwrap();
    assert!(last.gap > 0.5 && materials.language_loss < 1.5, "{} {}", last.gap, materials.language_loss);
    let mut run = |arm: Arm| run_arm(&device, &materials, arm, &[20], &mut watch).unwrap();
    let untrained = run(Arm::new(Source::Untrained));
    let none = run(Arm::aligned(Method::None));
    let realign = run(Arm::aligned(Method::ReAlign).noisy(0.1));
    let paired = run(Arm::new(Source::Paired));
    let captions = |o: &Outcome| o.captions.share();
    let few = |o: &Outcome| o.answers(20).unwrap().share();
    assert!(captions(&paired) > 0.85, "{}", captions(&paired));
    assert!(captions(&none) < captions(&paired), "{} {}", captions(&none), captions(&paired));
    // Stage 1 helps when stage 2 has few images.
    assert!(few(&realign) > few(&untrained) + 0.03, "{} {}", few(&realign), few(&untrained));
    assert!(few(&paired) > few(&untrained) + 0.03, "{} {}", few(&paired), few(&untrained));
    assert!(tasks > 1000);
}

#[test]
fn it_is_the_same_again_and_stops_when_asked() {
    let device = Device::host();
    let tiny = || {
        let mut settings = ProtocolSettings { texts: 300, asked: 4, seed: 3, ..Default::default() };
        (settings.encoder.steps, settings.pretrain.steps) = (10, 10);
        settings.stage1 = Training { steps: 5, batch_size: 16, lr: 1e-3 };
        settings.stage2 = Training { steps: 5, batch_size: 4, lr: 1e-3 };
        settings
    };
    let run = || {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let materials = Materials::prepare(&device, &out, tiny(), &mut |_| Ok(())).unwrap();
        let mut outcome = run_arm(&device, &materials, Arm::aligned(Method::C3), &[6], &mut |_| Ok(())).unwrap();
        outcome.seconds = 0.0;
        let smaller = Arm::aligned(Method::C3).sigma(0.05).on(Texts::Quarter);
        let fitted = run_arm(&device, &materials, smaller, &[], &mut |_| Ok(())).unwrap().fitted.unwrap();
        assert_eq!((fitted.sigma, fitted.rows), (Some(0.05), (75, 200)));
        let by_traces = (fitted.trace_image - outcome.fitted.unwrap().trace_text).max(0.0) / 64.0;
        assert!((outcome.fitted.unwrap().sigma.unwrap() - by_traces.sqrt()).abs() < 1e-9);
        assert_eq!(smaller.name(), "c3, σ 0.05, a quarter of the texts");
        (materials.texts, outcome)
    };
    assert!(run() == run(), "two runs of one seed differ");
    let folder = tempfile::tempdir().unwrap();
    let stopped = Materials::prepare(&device, folder.path(), tiny(), &mut |p| match p.task {
        "language model" if p.done == 3 => Err(realign::Error::argument("test", "enough")),
        _ => Ok(()),
    });
    assert!(stopped.unwrap_err().to_string().contains("enough"));
    // A folder that holds something is left alone.
    let again = Materials::prepare(&device, folder.path(), tiny(), &mut |_| Ok(()));
    assert!(again.unwrap_err().to_string().contains("exists"));
}
