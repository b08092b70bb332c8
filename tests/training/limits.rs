//! Runs on devices that bind or hold little.

use realign::device::Device;
use realign::train::{Run, Settings, Stage, Start};

use super::runs::{devices, finish, mixed, results};

/// The devices, binding no more than `bytes` at once.
fn narrow_devices(bytes: u64) -> impl Iterator<Item = Device> {
    devices().into_iter().map(move |device| device.with_capabilities(|c| c.max_binding = bytes).unwrap())
}

/// Logits that are cut into chunks must be cut alike whichever batches came before: the longest comes before the checkpoint, so that
/// the resumed run has seen shorter ones only.
#[test]
fn a_run_in_chunks_goes_on_bit_for_bit() {
    let (_folder, mut settings) = mixed(Stage::One);
    settings.checkpoint_every = 3;
    let out = settings.out.clone();
    let longest = |run: &Run| run.samples().lengths().into_iter().max().unwrap() as u64;
    let probe = Settings { out: out.with_file_name("probe"), ..settings.clone() };
    // What a batch of five of the longest needs for the widest activation, of 128 columns; its logits have 256.
    let limit = 5 * 4 * 128 * longest(&Run::start(&Device::host(), probe, Start::New).unwrap());
    for device in narrow_devices(limit) {
        settings.out = out.with_file_name("whole");
        finish(Run::start(&device, settings.clone(), Start::Replace).unwrap());
        let whole = results(&settings.out);
        settings.out = out.with_file_name("again");
        let mut first = Run::start(&device, settings.clone(), Start::Replace).unwrap();
        (0..5).for_each(|_| drop(first.advance().unwrap()));
        drop(first);
        let run = Run::start(&device, settings.clone(), Start::Resume).unwrap();
        assert_eq!(run.step(), 3);
        finish(run);
        assert!(results(&settings.out) == whole, "{}: results differ", device.name());
    }
}
