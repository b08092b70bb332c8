//! Decoding: every mode, depth and format.

use std::path::Path;

use realign::encode::picture::{Alpha, MAX_PIXELS, Picture};

use super::{expected, golden, noise, size};

/// Lossless files have Pillow's bytes, with alpha over white and with alpha dropped, behind their EXIF orientation.
#[test]
fn lossless_files_have_pillow_s_bytes() {
    let (expected, mut tried) = (expected(), 0);
    let mut wrong = Vec::new();
    for (name, want) in expected["files"].as_object().unwrap() {
        if want["lossy"].as_bool().unwrap() {
            continue;
        }
        for alpha in [Alpha::OnWhite, Alpha::Dropped] {
            let picture = Picture::open(&golden().join("files").join(name), alpha).unwrap();
            assert_eq!((picture.height(), picture.width()), (size(want, "height"), size(want, "width")), "{name}");
            if u64::from(crc32fast::hash(picture.rgb())) != want[alpha.name()].as_u64().unwrap() {
                wrong.push(format!("{name} {}", alpha.name()));
            }
            tried += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(tried > 60, "only {tried} were tried");
}

/// Lossy files are near Pillow's pixels: other decoders round elsewhere, and upsample colours of 4:2:0 in another way.
#[test]
fn lossy_files_are_near_pillow_s_pixels() {
    let (expected, mut tried) = (expected(), 0);
    for (name, want) in expected["files"].as_object().unwrap() {
        if !want["lossy"].as_bool().unwrap() {
            continue;
        }
        let picture = Picture::open(&golden().join("files").join(name), Alpha::OnWhite).unwrap();
        let pillow = golden().join("lossy").join(Path::new(name).with_extension("png").file_name().unwrap());
        let pillow = Picture::open(&pillow, Alpha::OnWhite).unwrap();
        assert_eq!((picture.height(), picture.width()), (pillow.height(), pillow.width()), "{name}");
        let off: Vec<f64> = picture.rgb().iter().zip(pillow.rgb()).map(|(a, b)| f64::from(a.abs_diff(*b))).collect();
        let (mean, most) = (off.iter().sum::<f64>() / off.len() as f64, off.iter().copied().fold(0.0, f64::max));
        println!("{name}: mean {mean:.3}, most {most}");
        // At full resolution only the last bits of the transform differ; at half of it whole pixels beside an edge of colours. Of 5 bits Pillow cuts
        // what the decoder rounds.
        let bounds = match name.as_str() {
            "bits15.bmp" => (1.0, 1.0),
            name if name.contains("42") || name.starts_with("progr") => (0.6, 10.0),
            _ => (0.2, 3.0),
        };
        assert!(mean <= bounds.0 && most <= bounds.1, "{name}: mean {mean}, most {most}");
        tried += 1;
    }
    assert!(tried >= 14, "only {tried} were tried");
}

/// Every file cut short, and with bytes changed, is an error or a picture: no panic, no hang; a PNG or JPEG without its end is an error.
#[test]
fn damaged_files_are_errors_or_pictures() {
    for entry in std::fs::read_dir(golden().join("files")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let end = path.extension().unwrap().to_str().unwrap().to_owned();
        for part in 0..8 {
            let cut = &bytes[..bytes.len() * part / 8];
            let result = Picture::decode(cut, &path, Alpha::OnWhite);
            if ["png", "jpg"].contains(&end.as_str()) {
                let error = result.expect_err(&path.display().to_string()).to_string();
                assert!(error.contains(&path.display().to_string()), "{error}");
            }
        }
        for (i, salt) in noise(16).into_iter().enumerate() {
            let mut changed = bytes.clone();
            let at = 16 + (i * 997) % (bytes.len() - 16);
            changed[at] ^= salt | 1;
            let _ = Picture::decode(&changed, &path, Alpha::Dropped);
        }
    }
}

/// A small file that claims to be huge is refused before it is decoded, with the limit.
#[test]
fn bombs_are_refused_by_their_limit() {
    let mut png = std::fs::read(golden().join("files/rgb8.png")).unwrap();
    png[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    png[20..24].copy_from_slice(&50_000u32.to_be_bytes());
    let crc = crc32fast::hash(&png[12..29]);
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    let error = Picture::decode(&png, Path::new("bomb.png"), Alpha::OnWhite).unwrap_err().to_string();
    let words = ["bomb.png", "60000 x 50000", &MAX_PIXELS.to_string()];
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
    // Fewer pixels, of 8 bytes each.
    let mut wide = std::fs::read(golden().join("files/rgba16.png")).unwrap();
    wide[16..20].copy_from_slice(&12_000u32.to_be_bytes());
    wide[20..24].copy_from_slice(&12_000u32.to_be_bytes());
    let crc = crc32fast::hash(&wide[12..29]);
    wide[29..33].copy_from_slice(&crc.to_be_bytes());
    let error = Picture::decode(&wide, Path::new("wide.png"), Alpha::OnWhite).unwrap_err().to_string();
    assert!(error.contains("wide.png") && error.contains("limit"), "{error}");
}

#[test]
fn missing_files_and_odd_pixels_are_named() {
    let error = Picture::open(Path::new("no/such.png"), Alpha::OnWhite).unwrap_err().to_string();
    assert!(error.contains("no/such.png"), "{error}");
    assert!(Picture::of_rgb(vec![0; 11], 2, 2).is_err() && Picture::of_rgb(Vec::new(), 0, 2).is_err());
    assert!(Picture::of_rgb(Vec::new(), usize::MAX, 2).is_err());
    assert_eq!(Picture::of_rgb(noise(12), 2, 2).unwrap().rgb(), noise(12));
}
