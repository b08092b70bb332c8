//! ReVision in miniature, through the library: can a language model learn to describe images from text alone?
//!
//! 1. A dual encoder learns from 800 digit images with captions to put images and texts into one space. A monitor watches the
//!    gap between the two clouds form.
//! 2. ReAlign is fitted on texts and images that have no pairs: a mean and a trace per side.
//! 3. A tiny language model learns from texts alone how captions and answers are written.
//! 4. Stage 1: an adapter learns to make the frozen language model say a text from that text's embedding, moved into the image
//!    cloud by ReAlign. No image is seen.
//! 5. Real, held-out images go through the adapter: does the model describe them?
//! 6. Stage 2: adapter and language model learn to answer questions about a few real images.
//!
//! `cargo run --release --example train_revision [DEVICE]`, for instance `llvmpipe`; some minutes on two cores.

use std::io::Write;

use realign::align::Method;
use realign::device::{Device, DeviceOptions, Selection};
use realign::experiment::{Arm, Materials, Outcome, Progress, ProtocolSettings, Source, run_arm};

/// Real images in stage 2: few, and all that there are.
const IMAGES: [usize; 2] = [20, 200];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A GPU if there is one, else the host's cores.
    let selection = std::env::args().nth(1).map_or(Selection::Auto, |name| match name.parse() {
        Ok(selection) => selection,
        Err(never) => match never {},
    });
    let device = Device::request_blocking(&DeviceOptions::default().selection(selection))?;
    println!("on {}", device.name());

    // Everything that is made goes into a folder: data as JSON, embeddings as npy, statistics, models, logs of the runs.
    let folder = tempfile_folder()?;
    let mut watch = |p: Progress<'_>| {
        let loss = p.loss.map_or(String::new(), |loss| format!(", loss {loss:.3}"));
        eprint!("\r\x1b[2K{} {}/{}{loss}", p.task, p.done, p.total);
        std::io::stderr().flush().map_err(realign::Error::io("write", "stderr"))
    };

    // Steps 1 to 3 are the same for all that is compared.
    let materials = Materials::prepare(&device, &folder, ProtocolSettings::default(), &mut watch)?;
    if let (Some(first), Some(last)) = (materials.records.first(), materials.records.last()) {
        eprintln!();
        println!("the gap between the clouds: {:.2} before training, {:.2} after it", first.gap, last.gap);
        println!("own caption nearest of all: {:.0}% of held-out images", 100.0 * materials.retrieval);
    }

    // Steps 4 to 6, once for each way to get from texts to the image cloud; paired images are what one would like to reach.
    let arms = [
        Arm::new(Source::Untrained),
        Arm::aligned(Method::None),
        Arm::aligned(Method::ReAlign),
        Arm::aligned(Method::ReAlign).noisy(0.1),
        Arm::new(Source::Paired),
    ];
    let mut outcomes = Vec::new();
    for arm in arms {
        outcomes.push(run_arm(&device, &materials, arm, &IMAGES, &mut watch)?);
    }
    eprintln!();
    print(&outcomes);
    println!("everything is in {}", folder.display());
    Ok(())
}

fn tempfile_folder() -> std::io::Result<std::path::PathBuf> {
    let folder = std::env::temp_dir().join(format!("realign-train-revision-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn print(outcomes: &[Outcome]) {
    println!("{:24}{:>10}{:>14}{:>14}{:>9}", "stage 1 on", "captions", "20 images", "200 images", "seconds");
    for outcome in outcomes {
        let answers = |images| outcome.answers(images).map_or(f64::NAN, |accuracy| accuracy.share());
        let captions = outcome.captions.share();
        let [few, many] = IMAGES.map(answers);
        println!("{:24}{captions:>10.3}{few:>14.3}{many:>14.3}{:>9.1}", outcome.arm.name(), outcome.seconds);
    }
    println!("captions: attributes that captions of held-out images have right, after stage 1 alone");
    println!("images: right answers about held-out images after stage 2 on so many real ones");
}
