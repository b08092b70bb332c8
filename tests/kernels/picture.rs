//! Pictures on a device: every pass of a resampling and every plane against plain integers, bit for bit.

use realign::device::{Buffer, Device, Recorder, Tensor};
use realign::kernels::picture::planes::{self, Frame};
use realign::kernels::picture::resample::{self, Along, BITS, Taps};
use realign::kernels::picture::{Pixels, Reading};

use crate::common::{Rng, devices};
use crate::nn::{normal, read, rubbish, run, words, zeros};

const READINGS: [Reading; 4] = [
    Reading { over_white: false, blue_first: false },
    Reading { over_white: true, blue_first: false },
    Reading { over_white: false, blue_first: true },
    Reading { over_white: true, blue_first: true },
];

/// A picture's words, with a line's rest and some words before that do not belong to it.
struct Noise {
    words: Vec<u32>,
    first: usize,
    stride: usize,
    height: usize,
    width: usize,
}

impl Noise {
    fn new(seed: u64, height: usize, width: usize) -> Noise {
        let (first, stride) = (seed as usize % 5, width + seed as usize % 3);
        let mut rng = Rng(seed);
        // Wholly transparent and opaque pixels are among them.
        let word = |x: u64| {
            if x.is_multiple_of(5) { x as u32 | 0xff00_0000 } else { x as u32 & !((x >> 34) as u32 % 2 * 0xff00_0000) }
        };
        let words = (0..first + height * stride).map(|_| word(rng.next())).collect();
        Noise { words, first, stride, height, width }
    }

    fn on<'a>(&self, words: &'a Buffer, reading: Reading) -> Pixels<'a> {
        let Noise { first, stride, height, width, .. } = *self;
        Pixels { words, first, stride, height, width, reading }
    }

    /// Red, green and blue, by the definition.
    fn colours(&self, x: usize, y: usize, reading: Reading) -> [i64; 3] {
        let word = self.words[self.first + y * self.stride + x];
        let byte = |i: u32| i64::from(word >> (8 * i) & 255);
        let ordered = if reading.blue_first { [byte(2), byte(1), byte(0)] } else { [byte(0), byte(1), byte(2)] };
        let alpha = byte(3);
        ordered.map(|x| if reading.over_white { over_white(x, alpha) } else { x })
    }
}

/// `alpha_composite` over a white that is opaque, as Pillow's source has it.
fn over_white(x: i64, alpha: i64) -> i64 {
    if alpha == 0 {
        return 255;
    }
    let blend = 255 * (255 - alpha);
    let out_alpha = alpha * 255 + blend;
    let first = alpha * 255 * 255 * (1 << 7) / out_alpha;
    let second = 255 * (1 << 7) - first;
    let sum = x * first + 255 * second + (0x80 << 7);
    (((sum >> 8) + sum) >> 8) >> 7
}

/// Runs of pixels with weights whose magnitudes add up to 2 at most, anywhere within a side.
fn taps(seed: u64, side: usize, places: usize, most: usize) -> Vec<(usize, Vec<i32>)> {
    let mut rng = Rng(seed);
    let place = |_| {
        let count = 1 + rng.next() as usize % most.min(side);
        let first = rng.next() as usize % (side - count + 1);
        let bound = (1i64 << (BITS + 1)) / count as i64;
        let weight = |x: u64| ((x >> 8) as i64 % (2 * bound) - bound) as i32;
        (first, (0..count).map(|_| weight(rng.next())).collect())
    };
    (0..places).map(place).collect()
}

fn upload(device: &Device, list: &[(usize, Vec<i32>)]) -> Taps {
    Taps::new(device, &list.iter().map(|(first, weights)| (*first, &weights[..])).collect::<Vec<_>>()).unwrap()
}

fn expected(noise: &Noise, along: Along, list: &[(usize, Vec<i32>)], reading: Reading) -> Vec<u32> {
    let (height, width) = if along == Along::Lines { (noise.height, list.len()) } else { (list.len(), noise.width) };
    let pixel = |(y, x): (usize, usize)| {
        let (first, weights) = &list[if along == Along::Lines { x } else { y }];
        let mut sums = [1i64 << (BITS - 1); 3];
        for (i, weight) in weights.iter().enumerate() {
            let (x, y) = if along == Along::Lines { (first + i, y) } else { (x, first + i) };
            let colours = noise.colours(x, y, reading);
            sums.iter_mut().zip(colours).for_each(|(sum, c)| *sum += i64::from(*weight) * c);
        }
        let [r, g, b] = sums.map(|sum| (sum >> BITS).clamp(0, 255) as u32);
        r | g << 8 | b << 16 | 255 << 24
    };
    (0..height).flat_map(|y| (0..width).map(move |x| (y, x))).map(pixel).collect()
}

fn read_words(device: &Device, buffer: &Buffer, count: usize) -> Vec<u32> {
    let mut all: Vec<u32> = bytemuck::pod_collect_to_vec(&device.read_blocking(buffer).unwrap());
    all.truncate(count);
    all
}

#[test]
fn passes_have_the_bytes_of_plain_integers() {
    // Height, width, pixels of the resampled side, pixels of a sum: one pixel, primes, above one workgroup, and above one side of a grid.
    let shapes = [
        (1, 1, 1, 1),
        (5, 7, 3, 4),
        (13, 64, 70, 9),
        (70, 1, 5, 2),
        (3, 9001, 11, 4001),
        (257, 300, 131, 6),
        (2050, 3, 2049, 1),
    ];
    for device in devices() {
        for (i, (height, width, places, most)) in shapes.into_iter().enumerate() {
            for along in [Along::Lines, Along::Columns] {
                let noise = match along {
                    Along::Lines => Noise::new(i as u64 + 1, height, width),
                    Along::Columns => Noise::new(i as u64 + 11, width, height),
                };
                let (reading, list) = (READINGS[i % 4], taps(i as u64, width, places, most));
                let (on, count) = (words(&device, &noise.words), height * places);
                let result = words(&device, &vec![7; count + 1]);
                let table = upload(&device, &list);
                assert_eq!(table.places(), places);
                run(&device, |r| resample::record(r, noise.on(&on, reading), along, &table, &result).unwrap());
                let got = read_words(&device, &result, count + 1);
                let want = expected(&noise, along, &list, reading);
                assert!(got[..count] == want, "{}: {height} x {width} {along:?} to {places}", device.name());
                assert_eq!(got[count], 7);
            }
        }
    }
}

/// The comparison can fail: a weight that is off by a part of 512 shows.
#[test]
fn another_weight_is_noticed() {
    let noise = Noise::new(3, 9, 40);
    let mut list = taps(2, 40, 30, 5);
    let before = expected(&noise, Along::Lines, &list, READINGS[1]);
    list.iter_mut().for_each(|(_, weights)| weights[0] += 1 << (BITS - 9));
    assert!(before != expected(&noise, Along::Lines, &list, READINGS[1]));
}

#[test]
fn planes_are_what_the_table_says() {
    let values = normal(5, planes::VALUES);
    // Height and width of the picture, and the plane around it with what lies above and on the left.
    let shapes = [
        ((1, 1), (1, 1, 0, 0)),
        ((5, 7), (5, 7, 0, 0)),
        ((3, 4), (9, 13, 5, 2)),
        ((16, 16), (16, 17, 0, 1)),
        ((131, 61), (140, 99, 9, 38)),
        ((1150, 1250), (1150, 1250, 0, 0)),
    ];
    for device in devices() {
        let table = device.buffer_from("values", bytemuck::cast_slice(&values)).unwrap();
        for (i, ((h, w), (height, width, top, left))) in shapes.into_iter().enumerate() {
            let (noise, reading) = (Noise::new(i as u64 + 20, h, w), READINGS[i % 4]);
            let (on, rows) = (words(&device, &noise.words), rubbish(&device, 3, 3 * height * width));
            let frame = Frame { height, width, top, left };
            run(&device, |r| planes::record(r, (noise.on(&on, reading), frame), &table, (&rows, 1)).unwrap());
            let got = read(&device, &rows);
            let number = |k: usize| {
                let (channel, y, x) = (k / (height * width), k / width % height, k % width);
                let inside = (top..top + h).contains(&y) && (left..left + w).contains(&x);
                let byte = if inside { noise.colours(x - left, y - top, reading)[channel] } else { 0 };
                values[channel * 256 + byte as usize]
            };
            let each = 3 * height * width;
            let want: Vec<f32> = (0..each).map(number).collect();
            assert!(got[each..2 * each] == want, "{}: {h} x {w} in {frame:?}", device.name());
            assert!(got[..each].iter().chain(&got[2 * each..]).all(|x| *x == -777.25), "{}", device.name());
        }
    }
}

/// Both kernels, on little.
pub fn record_all(device: &Device, r: &mut Recorder) {
    let noise = Noise::new(4, 9, 12);
    let (on, result) = (words(device, &noise.words), words(device, &[0; 9 * 7]));
    resample::record(r, noise.on(&on, READINGS[1]), Along::Lines, &upload(device, &taps(1, 12, 7, 5)), &result)
        .unwrap();
    let small = words(device, &[0; 5 * 7]);
    let pixels = Pixels { words: &result, first: 0, stride: 7, height: 9, width: 7, reading: READINGS[0] };
    resample::record(r, pixels, Along::Columns, &upload(device, &taps(2, 9, 5, 4)), &small).unwrap();
    let values = device.buffer_from("values", bytemuck::cast_slice(&normal(5, planes::VALUES))).unwrap();
    let frame = Frame { height: 5, width: 8, top: 0, left: 1 };
    let pixels = Pixels { words: &small, height: 5, ..pixels };
    planes::record(r, (pixels, frame), &values, (&zeros(device, 2, 120), 1)).unwrap();
}

#[test]
fn operands_that_do_not_fit() {
    for device in devices() {
        let (picture, result) = (words(&device, &[0; 60]), words(&device, &[0; 40]));
        let good = Pixels { words: &picture, first: 4, stride: 8, height: 7, width: 8, reading: READINGS[0] };
        let table = upload(&device, &[(0, vec![1; 3]), (6, vec![1; 2])]);
        let stranger = words(&Device::host(), &[0; 60]);
        let mut r = device.recorder();
        for (pixels, along, to) in [
            (Pixels { first: 5, ..good }, Along::Lines, &result),
            (Pixels { height: 0, ..good }, Along::Lines, &result),
            (Pixels { width: 0, ..good }, Along::Columns, &result),
            (Pixels { stride: 7, ..good }, Along::Lines, &result),
            (Pixels { stride: usize::MAX, ..good }, Along::Lines, &result),
            (Pixels { width: 7, ..good }, Along::Lines, &result),
            (good, Along::Columns, &result),
            (Pixels { words: &stranger, ..good }, Along::Lines, &result),
            (good, Along::Lines, &picture),
            (good, Along::Lines, &stranger),
            (good, Along::Lines, &words(&device, &[0; 13])),
        ] {
            resample::record(&mut r, pixels, along, &table, to).unwrap_err();
        }
        assert!(Taps::new(&device, &[]).is_err() && Taps::new(&device, &[(1 << 31, &[1])]).is_err());
        let (values, rows) = (words(&device, &[0; planes::VALUES]), zeros(&device, 2, 3 * 90));
        let frame = Frame { height: 9, width: 10, top: 2, left: 2 };
        let few = words(&device, &[0; planes::VALUES - 1]);
        let other = |rows: Tensor| (rows, 0);
        for (frame, values, (rows, row)) in [
            (Frame { top: 3, ..frame }, &values, other(rows.clone())),
            (Frame { left: 3, ..frame }, &values, other(rows.clone())),
            (Frame { left: usize::MAX, ..frame }, &values, other(rows.clone())),
            (frame, &few, other(rows.clone())),
            (frame, &values, (rows.clone(), 2)),
            (frame, &values, other(zeros(&device, 2, 3 * 90 + 1))),
            (frame, &values, other(zeros(&Device::host(), 2, 3 * 90))),
        ] {
            planes::record(&mut r, (good, frame), values, (&rows, row)).unwrap_err();
        }
        assert!(r.commands().is_empty());
        resample::record(&mut r, good, Along::Lines, &table, &result).unwrap();
        planes::record(&mut r, (good, frame), &values, (&rows, 1)).unwrap();
    }
}
