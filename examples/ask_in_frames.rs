//! A question about a picture inside an app's frame loop: no call waits for the device, so frames keep coming.
//!
//! The picture lies in a texture of the app's, as a camera's or a game's does. It is resized there; tower, adapter and decoder read what the ones
//! before them wrote, and only tokens come back. The device gets a few kernels at a time, and no more before it is done with them.
//!
//! `cargo run --release --features encode,pictures --example ask_in_frames -- VISION_DIR ADAPTER.safetensors MODEL_DIR PICTURE "What is it?" [DEVICE]`

use std::path::Path;
use std::time::{Duration, Instant};

use realign::device::{Device, DeviceOptions, Piece, Pieces, Tensor};
use realign::encode::picture::{Alpha, Picture, PictureSpace};
use realign::encode::{ImageEncoder, ImageSpace};
use realign::inference::{Answer, AnswerOptions, Assistant, Reply};
use realign::io::{Role, Turn};
use realign::wgpu;

/// Sixty frames a second, and what answering may take of one.
const FRAME: Duration = Duration::from_micros(16_667);
const SHARE: Duration = Duration::from_millis(8);
/// Kernels that are submitted at a time.
const PIECE: usize = 8;

/// The picture in a texture of the app's; none on the host engine.
fn texture(device: &Device, picture: &Picture) -> Option<wgpu::Texture> {
    let (gpu, queue) = device.wgpu()?;
    let (width, height) = (picture.width() as u32, picture.height() as u32);
    let size = wgpu::Extent3d { width, height, depth_or_array_layers: 1 };
    let texture = gpu.create_texture(&wgpu::TextureDescriptor {
        label: Some("the app's picture"),
        size,
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba8UnormSrgb,
        // It is copied from, besides whatever the app does with it.
        usage: wgpu::TextureUsages::COPY_SRC | wgpu::TextureUsages::COPY_DST | wgpu::TextureUsages::TEXTURE_BINDING,
        view_formats: &[],
    });
    let rgba: Vec<u8> = picture.rgb().chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(4 * width), rows_per_image: None };
    queue.write_texture(texture.as_image_copy(), &rgba, layout, size);
    Some(texture)
}

/// The picture's embedding, as commands; it will lie in the tensor when the device has run them.
fn encode(device: &Device, encoder: &ImageEncoder, picture: &Picture) -> realign::Result<(Pieces, Tensor)> {
    // An app makes both spaces once, for one size of pictures, and uses them for every picture.
    let (space, (width, height)) = (ImageSpace::new(encoder, 1)?, (picture.width(), picture.height()));
    let (mut recorder, mut pieces) = (device.recorder(), Pieces::default());
    let row = match texture(device, picture) {
        Some(texture) => {
            let steps = PictureSpace::new(device, encoder.preprocessor()?, width, height)?;
            let pixels = encoder.pixels_for(1)?;
            steps.record_texture(&mut recorder, &texture, (&pixels, 0))?;
            encoder.record(&mut recorder, &pixels, &space)?
        }
        None => encoder.record_rgb(&mut recorder, (picture.rgb(), width, height), &space)?,
    };
    pieces.push(recorder, PIECE);
    Ok((pieces, row))
}

/// Asks within a loop that calls `frame` for each frame, with what came of the answer meanwhile.
pub fn ask(
    (encoder, assistant): (&ImageEncoder, &Assistant),
    (picture, question): (&Picture, &str),
    mut frame: impl FnMut(&str),
) -> realign::Result<Answer> {
    let turns = [Turn { role: Role::User, text: format!("<image>\n{question}") }];
    let entries = assistant.chat(&turns)?;
    let (mut pieces, row) = encode(encoder.device(), encoder, picture)?;
    let mut answering = None;
    loop {
        let (began, mut heard) = (Instant::now(), String::new());
        while began.elapsed() < SHARE {
            let reply = match &mut answering {
                None => match pieces.submit()? {
                    Piece::Submitted => Reply::Submitted,
                    Piece::Waiting => Reply::Waiting,
                    Piece::Done => {
                        answering = Some(assistant.begin_on((&entries, &row), &AnswerOptions::default())?);
                        Reply::Submitted
                    }
                },
                Some(answering) => answering.tick()?,
            };
            match reply {
                Reply::Submitted => {}
                // The device is busy: on with the next frame.
                Reply::Waiting => break,
                Reply::Text(text) => heard.push_str(&text),
                Reply::Done(answer) => {
                    frame(&heard);
                    return Ok(answer);
                }
            }
        }
        frame(&heard);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [vision, adapter, model, picture, question, device @ ..] = &args[..] else {
        return Err("usage: ask_in_frames VISION_DIR ADAPTER.safetensors MODEL_DIR PICTURE QUESTION [DEVICE]".into());
    };
    let selection = match device.first().map_or("auto", String::as_str).parse() {
        Ok(selection) => selection,
        Err(never) => match never {},
    };
    // An app that holds a wgpu device already passes it with Device::from_wgpu instead.
    let device = Device::request_blocking(&DeviceOptions::default().selection(selection))?;
    let assistant = Assistant::open(&device, Path::new(model), Path::new(adapter), None)?;
    let encoder = ImageEncoder::load(&device, Path::new(vision))?;
    // Adapters that learnt from aligned texts learnt from rows of length 1; a tower's are longer.
    let encoder = if assistant.model.adapter.unit_rows() == Some(true) { encoder.unit_rows()? } else { encoder };
    let picture = Picture::open(Path::new(picture), Alpha::OnWhite)?;
    let (mut frames, mut last) = (0, Instant::now());
    let answer = ask((&encoder, &assistant), (&picture, question), |text| {
        // What the app does besides: it draws, and waits for the screen.
        print!("{text}");
        std::thread::sleep(FRAME.saturating_sub(last.elapsed()));
        (frames, last) = (frames + 1, Instant::now());
    })?;
    println!("\n({} tokens in {frames} frames, {})", answer.tokens.len(), answer.end.name());
    Ok(())
}
