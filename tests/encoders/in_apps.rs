//! Encoders on an app's device: nothing waits, and rows stay there.

use realign::device::{Device, Piece, Pieces};
use realign::encode::{ImageEncoder, TextEncoder, TextOptions, TextSpace};

use super::{again, check, expected, folder, gpu, pixels, texts};

/// Devices of its own: other tests wait for theirs.
fn own_devices() -> [Device; 2] {
    [Device::host(), gpu()]
}

#[test]
fn texts_are_recorded_without_waiting() {
    for device in own_devices() {
        for name in ["clip_quick", "siglip", "minilm", "decoder_mean"] {
            let encoder = TextEncoder::load(&device, &folder(name), &TextOptions::default()).unwrap();
            let (all, width) = (texts(name), encoder.width());
            let want = encoder.encode_blocking(&all).unwrap();
            let space = TextSpace::new(&encoder, all.len() * encoder.positions().min(200)).unwrap();
            let (waits, mut kept) = (device.waits(), Vec::new());
            for turn in 0..3 {
                let mut recorder = device.recorder();
                // Fewer texts, and then all again: the space serves any.
                let some = if turn == 1 { &all[..1] } else { &all };
                kept.push((some.len(), encoder.record(&mut recorder, some, &space).unwrap()));
                let mut pieces = Pieces::default();
                pieces.push(recorder, 3);
                while pieces.submit().unwrap() != Piece::Done {}
            }
            let many = encoder.encode(&again(&all, 60)).unwrap();
            assert_eq!(device.waits(), waits, "{name} on {}", device.name());
            for (count, out) in kept {
                let got = out.rows.to_f32_blocking(&device).unwrap();
                let wide: Vec<f64> = want.rows[..count * width].iter().map(|&x| f64::from(x)).collect();
                check(&got, &wide, width, &format!("{name}, {count} texts on {}", device.name()));
                assert!(count == 1 || out.cut == want.cut);
            }
            assert_eq!((many.rows.rows(), many.cut), (60 * all.len(), 60 * want.cut));
            let wide: Vec<f64> = want.rows.iter().map(|&x| f64::from(x)).collect();
            let got = many.rows.to_f32_blocking(&device).unwrap();
            check(&got, &wide.repeat(60), width, &format!("{name}, {} texts", 60 * all.len()));
            assert_eq!(encoder.encode(&[]).unwrap().rows.rows(), 0);
        }
    }
}

#[test]
fn texts_that_a_space_has_no_room_for_are_refused() {
    let device = Device::host();
    let load = |name: &str| TextEncoder::load(&device, &folder(name), &TextOptions::default()).unwrap();
    let (encoder, other) = (load("clip_quick"), load("decoder_mean"));
    let space = TextSpace::new(&encoder, 9).unwrap();
    assert_eq!(space.tokens(), 9);
    let mut recorder = device.recorder();
    let said = encoder.record(&mut recorder, &again(&texts("clip_quick"), 9), &space).unwrap_err().to_string();
    assert!(said.contains("from 1 to 9 tokens"), "{said}");
    assert!(encoder.record(&mut recorder, &[], &space).is_err());
    let said = other.record(&mut recorder, &["a".to_owned()], &space).unwrap_err().to_string();
    assert!(said.contains("another encoder"), "{said}");
    assert!(TextSpace::new(&encoder, 0).is_err());
}

/// Rows of length 1, of images and of texts; a folder that makes them by itself is left as it is.
#[test]
fn unit_rows_are_the_rows_over_their_norms() {
    let unit = |rows: &[f64], width: usize| -> Vec<f64> {
        let row = |row: &[f64]| {
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.iter().map(|x| x / norm).collect::<Vec<_>>()
        };
        rows.chunks_exact(width).flat_map(row).collect()
    };
    for device in own_devices() {
        let encoder = ImageEncoder::load(&device, &folder("clip_quick")).unwrap().unit_rows().unwrap();
        let want = unit(&expected("clip_quick", "images"), encoder.width());
        check(&encoder.encode_blocking(&pixels("clip_quick")).unwrap(), &want, encoder.width(), "images");
        for name in ["clip_quick", "minilm"] {
            let encoder = TextEncoder::load(&device, &folder(name), &TextOptions::default()).unwrap();
            let encoder = encoder.unit_rows().unwrap();
            let want = unit(&expected(name, "texts"), encoder.width());
            check(&encoder.encode_blocking(&texts(name)).unwrap().rows, &want, encoder.width(), name);
        }
    }
}

#[test]
fn images_are_encoded_without_waiting() {
    for device in own_devices() {
        let encoder = ImageEncoder::load(&device, &folder("siglip")).unwrap();
        let (data, waits) = (pixels("siglip"), device.waits());
        let (first, second) = (encoder.encode(&data).unwrap(), encoder.encode(&data).unwrap());
        let empty = encoder.encode(&[]).unwrap();
        assert_eq!((device.waits(), empty.rows()), (waits, 0));
        for out in [first, second] {
            let got = out.to_f32_blocking(&device).unwrap();
            check(&got, &expected("siglip", "images"), encoder.width(), &format!("on {}", device.name()));
        }
        assert!(encoder.encode(&data[1..]).is_err());
    }
}
