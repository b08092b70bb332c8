//! Rows gathered by id, and gradients scattered back.

use realign::ElementType;
use realign::device::Tensor;
use realign::kernels::nn::embedding::{Scales, ScatterPlan, VISUAL, gather, gather_shards, scatter, scatter_shards};

use crate::common::{Rng, devices};
use crate::nn::{normal, read, rubbish, run, tensor, wide, words, zeros};
use crate::rows::{U, check};

const ONE: Scales = Scales { table: 1.0, visual: 1.0 };

fn ids(count: usize, vocabulary: u64, visual: u64) -> Vec<u32> {
    let mut rng = Rng(count as u64);
    (0..count)
        .map(|_| match rng.next() % 4 {
            0 if visual > 0 => VISUAL | (rng.next() % visual) as u32,
            // Few ids, so that they come again and again.
            1 => (rng.next() % 3.min(vocabulary)) as u32,
            _ => (rng.next() % vocabulary) as u32,
        })
        .collect()
}

#[test]
fn gather_and_scatter() {
    for device in devices() {
        for (n, d, vocabulary, visual) in
            [(0, 8, 5, 0), (1, 1, 1, 1), (7, 3, 4, 2), (257, 17, 50, 9), (1009, 64, 300, 33)]
        {
            let ids = ids(n, vocabulary as u64, visual as u64);
            let [table, seen, dx] = [vocabulary, visual, n].map(|rows| normal(rows as u64, rows * d));
            let [t, v, tdx] = [&table, &seen, &dx].map(|x| tensor(&device, x, d));
            let (out, visible) = (rubbish(&device, n, d), (visual > 0).then_some(&v));
            let (dt, dv) = (tensor(&device, &table, d), tensor(&device, &seen, d));
            let plan = ScatterPlan::new(&device, &ids).unwrap();
            plan.check(vocabulary, visual).unwrap();
            run(&device, |r| {
                gather(r, &t, visible, &words(&device, &ids), &out).unwrap();
                scatter(r, &plan, &tdx, Some(&dt), visible.map(|_| &dv)).unwrap();
            });
            let row = |id: u32| {
                if id & VISUAL == 0 { &table[id as usize * d..] } else { &seen[(id & !VISUAL) as usize * d..] }
            };
            let want: Vec<f32> = ids.iter().flat_map(|&id| row(id)[..d].to_vec()).collect();
            let what = format!("{} [{n}, {d}]", device.name());
            assert_eq!(read(&device, &out), want, "{what}");
            for (tensor, before, bit) in [(&dt, &table, 0), (&dv, &seen, VISUAL)] {
                let mut sums = wide(before);
                let mut size: Vec<f64> = sums.iter().map(|s| s.abs()).collect();
                for (i, _) in ids.iter().enumerate().filter(|(_, id)| **id & VISUAL == bit) {
                    for j in 0..d {
                        let at = (ids[i] & !VISUAL) as usize * d + j;
                        sums[at] += f64::from(dx[i * d + j]);
                        size[at] += f64::from(dx[i * d + j].abs());
                    }
                }
                let bounds: Vec<f64> = size.iter().map(|s| s * n as f64 * U).collect();
                check(&read(&device, tensor), &sums, &bounds, &what);
            }
        }
    }
}

/// Powers of two as scales: exactly what the unscaled rows times the scale are, and gradients as if `dx` were scaled.
#[test]
fn scaled_rows() {
    let scales = Scales { table: 4.0, visual: 0.5 };
    for device in devices() {
        for (n, d) in [(7, 3), (257, 17)] {
            let ids = ids(n, 9, 5);
            let [table, seen, dx] = [9, 5, n].map(|rows| normal(rows as u64, rows * d));
            let [t, v, tdx] = [&table, &seen, &dx].map(|x| tensor(&device, x, d));
            let scale = |id: &u32| if id & VISUAL == 0 { scales.table } else { scales.visual };
            let times = |x: &[f32]| -> Vec<f32> {
                x.chunks_exact(d)
                    .zip(&ids)
                    .flat_map(|(row, id)| row.iter().map(|x| scale(id) * x).collect::<Vec<_>>())
                    .collect()
            };
            let scaled_dx = tensor(&device, &times(&dx), d);
            let [plain, scaled] = [(); 2].map(|()| rubbish(&device, n, d));
            let [(dt, dv), (et, ev)] = [(); 2].map(|()| (tensor(&device, &table, d), tensor(&device, &seen, d)));
            let plan = ScatterPlan::new(&device, &ids).unwrap();
            let words = words(&device, &ids);
            run(&device, |r| {
                gather(r, &t, Some(&v), &words, &plain).unwrap();
                gather_shards(r, [(0, &t)].into_iter(), Some(&v), &words, (&scaled, scales)).unwrap();
                scatter_shards(r, &plan, (&tdx, scales), [(0, &dt)].into_iter(), Some(&dv)).unwrap();
                scatter(r, &plan, &scaled_dx, Some(&et), Some(&ev)).unwrap();
            });
            assert!(read(&device, &scaled) == times(&read(&device, &plain)), "{} [{n}, {d}]", device.name());
            for (a, b) in [(dt, et), (dv, ev)] {
                let (a, b) = (read(&device, &a), read(&device, &b));
                let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4;
                assert!(a.iter().zip(&b).all(near), "{} [{n}, {d}]", device.name());
            }
            let bad = Scales { table: f32::NAN, ..scales };
            let mut r = device.recorder();
            gather_shards(&mut r, [(0, &t)].into_iter(), Some(&v), &words, (&scaled, bad)).unwrap_err();
            scatter_shards(&mut r, &plan, (&tdx, bad), [(0, &t)].into_iter(), None).unwrap_err();
        }
    }
}

#[test]
fn tables_of_16_bits() {
    for device in devices() {
        for (element, one, minus_two) in [(ElementType::F16, 0x3c00u16, 0xc000u16), (ElementType::BF16, 0x3f80, 0xc000)]
        {
            // Width 5: a row of 16 bits is padded to 8 elements.
            let table = [[one; 5], [minus_two; 5], [0, one, 0, 0, minus_two]].concat();
            let table = Tensor::from_bytes(&device, bytemuck::cast_slice(&table), 5, element).unwrap();
            let (visual, out) = (tensor(&device, &[7.0; 5], 5), rubbish(&device, 5, 5));
            let ids = [2, 0, VISUAL, 1, 9];
            for (seen, there) in [(Some(&visual), 7.0), (None, 0.0)] {
                run(&device, |r| gather(r, &table, seen, &words(&device, &ids), &out).unwrap());
                let want = [[0.0, 1.0, 0.0, 0.0, -2.0], [1.0; 5], [there; 5], [-2.0; 5], [0.0; 5]].concat();
                assert_eq!(read(&device, &out), want, "{} {element}", device.name());
            }
        }
        let fixed = Tensor::new(&device, 4, 8, ElementType::Fixed).unwrap();
        let mut r = device.recorder();
        let ids = words(&device, &[0]);
        gather(&mut r, &fixed, None, &ids, &zeros(&device, 1, 8)).unwrap_err();
    }
}

/// A table in several tensors gives the bits of one in one, whatever shards the ids are in.
#[test]
fn tables_in_several_tensors() {
    for device in devices() {
        for (n, d, sizes, visual) in [
            (0, 4, vec![2, 1], 0),
            (7, 3, vec![1, 1, 2], 2),
            (257, 17, vec![20, 20, 10], 9),
            (1009, 64, vec![299, 1], 0),
        ] {
            let vocabulary: usize = sizes.iter().sum();
            let ids = ids(n, vocabulary as u64, visual as u64);
            let [table, seen, dx] = [vocabulary, visual, n].map(|rows| normal(rows as u64, rows * d));
            let [whole, v, tdx] = [&table, &seen, &dx].map(|x| tensor(&device, x, d));
            let visible = (visual > 0).then_some(&v);
            let starts: Vec<usize> = sizes.iter().scan(0, |at, size| Some(std::mem::replace(at, *at + size))).collect();
            let part = |(first, size): (&usize, &usize)| tensor(&device, &table[first * d..(first + size) * d], d);
            let parts: Vec<Tensor> = starts.iter().zip(&sizes).map(part).collect();
            let shards = || starts.iter().copied().zip(&parts);
            let outs = [(), ()].map(|()| rubbish(&device, n, d));
            let (words, plan) = (words(&device, &ids), ScatterPlan::new(&device, &ids).unwrap());
            run(&device, |r| {
                gather(r, &whole, visible, &words, &outs[0]).unwrap();
                gather_shards(r, shards(), visible, &words, (&outs[1], ONE)).unwrap();
                scatter(r, &plan, &tdx, Some(&whole), None).unwrap();
                scatter_shards(r, &plan, (&tdx, ONE), shards(), None).unwrap();
            });
            let what = format!("{} [{n}, {d}] {sizes:?}", device.name());
            assert!(read(&device, &outs[0]) == read(&device, &outs[1]), "{what}");
            let together: Vec<f32> = parts.iter().flat_map(|part| read(&device, part)).collect();
            assert!(read(&device, &whole) == together, "{what}");
            assert!(n == 0 || together != table, "{what}: nothing was added");
        }
        // An id beyond all shards; shards that leave a gap; none.
        let (a, b, out) = (tensor(&device, &[1.0; 8], 4), tensor(&device, &[2.0; 8], 4), rubbish(&device, 3, 4));
        let ids = words(&device, &[4, 3, VISUAL]);
        run(&device, |r| gather_shards(r, [(0, &a), (2, &b)].into_iter(), None, &ids, (&out, ONE)).unwrap());
        assert_eq!(read(&device, &out), [[0.0; 4], [2.0; 4], [0.0; 4]].concat());
        let (plan, mut r) = (ScatterPlan::new(&device, &[4, 3, 0]).unwrap(), device.recorder());
        scatter_shards(&mut r, &plan, (&out, ONE), [(0, &a), (2, &b)].into_iter(), None).unwrap_err();
        scatter_shards(&mut r, &plan, (&out, ONE), [(0, &a), (3, &b)].into_iter(), None).unwrap_err();
        gather_shards(&mut r, std::iter::empty(), None, &ids, (&out, ONE)).unwrap_err();
        assert!(r.commands().is_empty());
    }
}

#[test]
fn scattering_has_the_same_bits_on_both_engines() {
    let (ids, dx) = (ids(1009, 20, 3), normal(3, 1009 * 12));
    let all: Vec<Vec<f32>> = devices()
        .iter()
        .map(|device| {
            let (t, plan) = (zeros(device, 20, 12), ScatterPlan::new(device, &ids).unwrap());
            run(device, |r| scatter(r, &plan, &tensor(device, &dx, 12), Some(&t), None).unwrap());
            read(device, &t)
        })
        .collect();
    assert_eq!(all[0], all[1]);
}

#[test]
fn ids_beyond_the_rows() {
    for device in devices() {
        let (table, visual) = (tensor(&device, &[1.0; 8], 4), tensor(&device, &[2.0; 4], 4));
        let ids = [1, 2, VISUAL, VISUAL | 1];
        let out = rubbish(&device, 4, 4);
        run(&device, |r| gather(r, &table, Some(&visual), &words(&device, &ids), &out).unwrap());
        assert_eq!(read(&device, &out), [[1.0; 4], [0.0; 4], [2.0; 4], [0.0; 4]].concat());
        let plan = ScatterPlan::new(&device, &ids).unwrap();
        assert!(plan.check(2, 2).unwrap_err().to_string().contains("token id"));
        assert!(plan.check(3, 1).unwrap_err().to_string().contains("visual row"));
        plan.check(3, 2).unwrap();
        let mut r = device.recorder();
        scatter(&mut r, &plan, &out, Some(&table), None).unwrap_err();
        scatter(&mut r, &plan, &zeros(&device, 3, 4), None, None).unwrap_err();
        gather(&mut r, &table, Some(&zeros(&device, 1, 5)), &words(&device, &ids), &out).unwrap_err();
        gather(&mut r, &table, None, &words(&device, &ids[..3]), &out).unwrap_err();
        assert!(r.commands().is_empty());
    }
}
