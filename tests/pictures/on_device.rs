//! Pictures that lie on a device, in a buffer or a texture: prepared there with the bits of the host, and encoded without waiting.

use realign::device::{Device, DeviceOptions, Piece, Pieces, Selection, Tensor};
use realign::encode::picture::{Alpha, Picture, PictureSpace, Pixels, Preprocessor, Reading};
use realign::encode::{ImageEncoder, ImageSpace};
use realign::{ElementType, Error, wgpu};
use wgpu::TextureFormat::{Bgra8Unorm, Bgra8UnormSrgb, R32Float, Rgba8Uint, Rgba8Unorm, Rgba8UnormSrgb, Rgba16Float};

use super::common::{adapter_name, devices, gpu};
use super::resized::preprocessor;
use super::rows::model;
use super::{expected, noise, size};

/// RGBA bytes from a hash, of which every third pixel is opaque and every fifth wholly transparent.
fn rgba(height: usize, width: usize) -> Vec<u8> {
    let mut bytes = noise(height * width * 4);
    for (i, pixel) in bytes.chunks_exact_mut(4).enumerate() {
        if i % 3 == 0 {
            pixel[3] = 255;
        } else if i % 5 == 0 {
            pixel[3] = 0;
        }
    }
    bytes
}

/// The same as the host has it: a PNG that is decoded.
fn decoded(rgba: &[u8], (height, width): (usize, usize), alpha: Alpha) -> Picture {
    let mut png = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut png);
    let kind = image::ExtendedColorType::Rgba8;
    image::ImageEncoder::write_image(encoder, rgba, width as u32, height as u32, kind).unwrap();
    Picture::decode(&png, "a test's".as_ref(), alpha).unwrap()
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

/// A texture with these bytes.
fn texture(
    device: &Device,
    bytes: &[u8],
    (height, width): (usize, usize),
    (format, usage): (wgpu::TextureFormat, wgpu::TextureUsages),
) -> wgpu::Texture {
    let (gpu, queue) = device.wgpu().unwrap();
    let size = wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 };
    let texture = gpu.create_texture(&wgpu::TextureDescriptor {
        label: None,
        size,
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage: usage | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    });
    let line = (bytes.len() / height) as u32;
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(line), rows_per_image: None };
    queue.write_texture(texture.as_image_copy(), bytes, layout, size);
    texture
}

const COPIED: wgpu::TextureUsages = wgpu::TextureUsages::COPY_SRC;

/// Every golden case, whose host's bytes are Pillow's: all filters, sizes and crops. In a buffer with words around it.
#[test]
fn numbers_are_those_of_the_host() {
    let expected = expected();
    for device in devices() {
        let mut met = 0;
        for want in expected["resized"].as_array().unwrap() {
            let (height, width) = (size(want, "height"), size(want, "width"));
            let preprocessor = preprocessor(&want["config"]);
            let rgb = noise(height * width * 3);
            let host = preprocessor.of_rgb(&rgb, width, height).unwrap();
            let (first, stride) = (3, width + 2);
            let mut words = vec![0x1234_5678u32; first + height * stride];
            for (i, p) in rgb.chunks_exact(3).enumerate() {
                words[first + i / width * stride + i % width] = u32::from_le_bytes([p[0], p[1], p[2], 255]);
            }
            let words = device.buffer_from("a picture", bytemuck::cast_slice(&words)).unwrap();
            let space = PictureSpace::new(&device, &preprocessor, width, height).unwrap();
            let (made_height, made_width) = preprocessor.size_of(height, width);
            assert_eq!((space.size(), space.image_size()), ((height, width), (made_height, made_width)));
            let rows = Tensor::new(&device, 2, 3 * made_height * made_width, ElementType::F32).unwrap();
            let mut recorder = device.recorder();
            let picture = Pixels { words: &words, first, stride, height, width, reading: Reading::default() };
            space.record(&mut recorder, picture, (&rows, 1)).unwrap();
            recorder.submit().unwrap();
            let got = rows.to_f32_blocking(&device).unwrap();
            let case = format!("{}: {height} x {width}, {}", device.name(), want["config"]);
            assert!(got[..host.len()].iter().all(|x| *x == 0.0), "{case}");
            assert!(bits(&got[host.len()..]) == bits(&host), "{case}");
            met += 1;
        }
        assert!(met > 35);
    }
}

/// Textures of each format, with alpha laid over white and dropped; a space serves again and again, and what is in the texture then counts.
#[test]
fn textures_have_the_numbers_of_files() {
    let device = gpu();
    // A crop that leaves pixels out on all sides, a resize without one, no resize, and a crop that is larger than the picture.
    let configs = [
        serde_json::json!({"image_processor_type": "CLIPImageProcessor", "size": 24, "crop_size": 17}),
        serde_json::json!({"image_processor_type": "SiglipImageProcessor", "size": [20, 30]}),
        serde_json::json!({"image_processor_type": "SiglipImageProcessor", "do_resize": false}),
        serde_json::json!({"image_processor_type": "CLIPImageProcessor", "size": 9, "crop_size": [31, 12]}),
    ];
    let (height, width) = (41, 67);
    for config in configs {
        for alpha in [Alpha::OnWhite, Alpha::Dropped] {
            let preprocessor = preprocessor(&config).alpha(alpha);
            let space = PictureSpace::new(&device, &preprocessor, width, height).unwrap();
            let (made_height, made_width) = space.image_size();
            let rows = Tensor::new(&device, 1, 3 * made_height * made_width, ElementType::F32).unwrap();
            for (turn, format) in
                [Rgba8UnormSrgb, Rgba8Unorm, Rgba8Uint, Bgra8Unorm, Bgra8UnormSrgb].into_iter().enumerate()
            {
                let mut bytes = rgba(height, width);
                bytes.rotate_left(4 * turn);
                let picture = decoded(&bytes, (height, width), alpha);
                if matches!(format, Bgra8Unorm | Bgra8UnormSrgb) {
                    bytes.chunks_exact_mut(4).for_each(|p| p.swap(0, 2));
                }
                let texture = texture(&device, &bytes, (height, width), (format, COPIED));
                let mut recorder = device.recorder();
                space.record_texture(&mut recorder, &texture, (&rows, 0)).unwrap();
                recorder.submit().unwrap();
                let (got, want) = (rows.to_f32_blocking(&device).unwrap(), preprocessor.pixels(&picture).unwrap());
                assert!(bits(&got) == bits(&want), "{format:?} {alpha:?} {config}");
            }
        }
    }
}

/// A device that an app opened by itself, with default limits and no features.
fn adopted() -> Device {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let name = adapter_name().to_lowercase();
    let adapter = found.into_iter().find(|a| a.get_info().name.to_lowercase().contains(&name)).unwrap();
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    Device::from_wgpu(&adapter.get_info(), device, queue).unwrap()
}

#[test]
fn pictures_are_encoded_without_waiting() {
    // Devices of its own: other tests wait for theirs.
    let named = DeviceOptions::default().selection(Selection::Named(adapter_name()));
    for device in [Device::host(), Device::request_blocking(&named).unwrap(), adopted()] {
        for name in ["clip_quick", "siglip2"] {
            let folder = model(name);
            let encoder = ImageEncoder::load(&device, folder.path()).unwrap();
            let (height, width) = (50, 61);
            let rgb = noise(height * width * 3);
            let pixels = Preprocessor::load(folder.path()).unwrap().of_rgb(&rgb, width, height).unwrap();
            let want = encoder.encode_blocking(&pixels).unwrap();
            let file = folder.path().join("picture.png");
            image::save_buffer(&file, &rgb, width as u32, height as u32, image::ExtendedColorType::Rgb8).unwrap();
            let (waits, space) = (device.waits(), ImageSpace::new(&encoder, 1).unwrap());
            let mut rows = vec![encoder.encode_rgb(&rgb, width, height).unwrap(), encoder.encode_file(&file).unwrap()];
            let mut recorder = device.recorder();
            rows.push(encoder.record_rgb(&mut recorder, (&rgb, width, height), &space).unwrap());
            let mut pieces = Pieces::default();
            pieces.push(recorder, 3);
            while pieces.submit().unwrap() != Piece::Done {}
            if device.wgpu().is_some() {
                let rgba: Vec<u8> = rgb.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
                let texture = texture(&device, &rgba, (height, width), (Rgba8Unorm, COPIED));
                rows.extend([(); 2].map(|()| encoder.encode_texture(&texture).unwrap()));
            }
            assert_eq!(device.waits(), waits, "{name} on {}", device.name());
            for row in rows {
                assert_eq!((row.rows(), row.width()), (1, encoder.width()));
                assert_eq!(row.to_f32_blocking(&device).unwrap(), want, "{name} on {}", device.name());
            }
            assert_eq!(encoder.encode_rgb_blocking(&rgb, width, height).unwrap(), want);
            assert_eq!(encoder.encode_file_blocking(&file).unwrap(), want);
            let (many, unit) = (encoder.encode(&pixels.repeat(5)).unwrap(), encoder.unit_rows().unwrap());
            let close = |got: &[f32], scale: f32| {
                let norm = want.iter().map(|x| x * x).sum::<f32>().sqrt();
                got.iter().zip(want.iter().cycle()).all(|(a, b)| (a - b * scale).abs() <= 1e-5 * norm * scale)
            };
            let many = many.to_f32_blocking(&device).unwrap();
            assert!(many.len() == 5 * want.len() && close(&many, 1.0), "{name} on {}", device.name());
            let length = want.iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!(close(&unit.encode_rgb_blocking(&rgb, width, height).unwrap(), 1.0 / length), "{name}");
            assert!(unit.record(&mut device.recorder(), &encoder_pixels(&device, &pixels), &space).is_err());
        }
    }
}

fn encoder_pixels(device: &Device, pixels: &[f32]) -> Tensor {
    Tensor::from_f32(device, pixels, pixels.len()).unwrap()
}

/// A tower without a preprocessor takes ready pixels, and says what it lacks for others.
#[test]
fn what_is_missing_is_told_when_it_is_asked_for() {
    let device = Device::host();
    let folder = model("siglip");
    let path = folder.path().join("preprocessor_config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let said = |encoder: &ImageEncoder| encoder.encode_rgb(&[9; 12], 2, 2).unwrap_err().to_string();
    std::fs::write(&path, text.replace("42", "40")).unwrap();
    let other = ImageEncoder::load(&device, folder.path()).unwrap();
    assert!(said(&other).contains("40 x 40 pixels, but the tower takes 42 x 42"), "{}", said(&other));
    std::fs::write(&path, text.replace("do_rescale", "do_nothing")).unwrap();
    let unknown = ImageEncoder::load(&device, folder.path()).unwrap();
    assert!(said(&unknown).contains("\"do_nothing\""), "{}", said(&unknown));
    std::fs::remove_file(&path).unwrap();
    let none = ImageEncoder::load(&device, folder.path()).unwrap();
    assert!(said(&none).contains("no preprocessor_config.json"), "{}", said(&none));
    assert_eq!(none.encode_blocking(&[0.5; 3 * 42 * 42]).unwrap().len(), none.width());
    std::fs::write(&path, text).unwrap();
    let given = none.with_preprocessor(Preprocessor::load(folder.path()).unwrap().alpha(Alpha::Dropped));
    assert_eq!(given.preprocessor().unwrap().alpha_rule(), Alpha::Dropped);
    given.encode_rgb(&[9; 12], 2, 2).unwrap();
    assert!(given.encode_rgb(&[9; 11], 2, 2).unwrap_err().to_string().contains("11 bytes"));
}

#[test]
fn textures_that_do_not_fit_are_refused() {
    let device = gpu();
    let config = serde_json::json!({"image_processor_type": "SiglipImageProcessor", "size": 6});
    let space = PictureSpace::new(&device, &preprocessor(&config), 8, 4).unwrap();
    let rows = Tensor::new(&device, 1, 3 * 36, ElementType::F32).unwrap();
    let mut recorder = device.recorder();
    let sampled = wgpu::TextureUsages::TEXTURE_BINDING;
    for (bytes, format, usage, words) in [
        (128, Rgba8Unorm, sampled, "COPY_SRC"),
        (128, R32Float, COPIED, "R32Float"),
        (256, Rgba16Float, COPIED, "Rgba16Float"),
    ] {
        let texture = texture(&device, &vec![0; bytes], (4, 8), (format, usage));
        let said = space.record_texture(&mut recorder, &texture, (&rows, 0)).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    }
    let turned = texture(&device, &[0; 128], (8, 4), (Rgba8Unorm, COPIED));
    let said = space.record_texture(&mut recorder, &turned, (&rows, 0)).unwrap_err().to_string();
    assert!(said.contains("8 x 4 pixels") && said.contains("4 x 8"), "{said}");
    let good = texture(&device, &[0; 128], (4, 8), (Rgba8Unorm, COPIED));
    let buffer = device.buffer("lines", 256 * 4).unwrap();
    for (part, line) in
        [(([0, 0], [9, 4]), 256), (([0, 1], [8, 4]), 256), (([0, 0], [8, 4]), 128), (([0, 0], [8, 4]), 512)]
    {
        recorder.copy_texture(&good, part, (&buffer, line)).unwrap_err();
    }
    assert!(recorder.commands().is_empty());
    recorder.copy_texture(&good, ([0, 0], [8, 4]), (&buffer, 256)).unwrap();
    // The host engine has no textures.
    let host = Device::host();
    let here = PictureSpace::new(&host, &preprocessor(&config), 8, 4).unwrap();
    let rows = Tensor::new(&host, 1, 3 * 36, ElementType::F32).unwrap();
    let error = here.record_texture(&mut host.recorder(), &good, (&rows, 0)).unwrap_err();
    assert!(matches!(error, Error::Argument { argument: "texture", .. }), "{error}");
    assert!(PictureSpace::new(&host, &preprocessor(&config), 0, 4).is_err());
}
