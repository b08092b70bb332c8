//! GELU, the gated unit, sums and multiples, element by element, and column sums.

use realign::device::{Device, Tensor};
use realign::host::nn as host;
use realign::kernels::nn::gelu::{self, Form};
use realign::kernels::nn::{bias, elementwise, gate};
use realign::{ElementType, Error};

use crate::common::devices;
use crate::golden::golden;
use crate::nn::{SHAPES, dot, exp_error, finite_differences, normal, read, rubbish, run, tensor, wide, zeros};
use crate::rows::{U, check, variants};

/// Complementary error function of y ≥ 0, by its continued fraction or its series: independent of the library that the crate uses.
fn erfc(y: f64) -> f64 {
    if y < 0.0 {
        return 2.0 - erfc(-y);
    }
    if y < 2.5 {
        let (mut term, mut sum) = (y, y);
        for n in 1..200 {
            term *= -y * y / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return 1.0 - 2.0 / std::f64::consts::PI.sqrt() * sum;
    }
    let mut tail = 0.0;
    for k in (1..200).rev() {
        tail = f64::from(k) / 2.0 / (y + tail);
    }
    (-y * y).exp() / std::f64::consts::PI.sqrt() / (y + tail)
}

fn phi(x: f64) -> f64 {
    0.5 * erfc(-x / 2f64.sqrt())
}

/// All that go by the name.
const FORMS: [Form; 3] = [Form::Erf, Form::Tanh, Form::Quick];

/// Value and slope of GELU, and the magnitude of the slope's terms.
pub fn reference(form: Form, x: f64) -> (f64, f64, f64) {
    match form {
        Form::Erf => {
            let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            (x * phi(x), phi(x) + x * density, phi(x) + (x * density).abs())
        }
        Form::Tanh => {
            let root = (2.0 / std::f64::consts::PI).sqrt();
            let t = (root * (x + 0.044715 * x.powi(3))).tanh();
            let (half, slope) = (0.5 * (1.0 + t), 0.5 * x * (1.0 - t * t) * root * (1.0 + 3.0 * 0.044715 * x * x));
            (x * half, half + slope, half + slope.abs())
        }
        Form::Quick => {
            let s = 1.0 / (1.0 + (-1.702 * x).exp());
            let slope = 1.702 * x * s * (1.0 - s);
            (x * s, s + slope, s + slope.abs())
        }
    }
}

/// What each value may err by, relative: the polynomials, and the exponential with its argument's rounding.
pub fn gelu_error(form: Form, x: f64) -> f64 {
    let argument = match form {
        Form::Erf => x * x / 2.0,
        Form::Tanh => (1.6 * (x + 0.05 * x.powi(3))).abs().min(90.0),
        Form::Quick => 1.702 * x.abs(),
    };
    1e-6 + exp_error(argument)
}

/// Of what the reference gives for a gate, the gate, the other operand and the gradient.
type Formula<'a> = &'a dyn Fn(&(f64, f64, f64), f64, f64, f64) -> f64;

#[test]
fn gelu_of_all_shapes() {
    for device in devices() {
        for (n, d) in SHAPES {
            for form in FORMS {
                let (x, dy) = (normal(n as u64, n * d), normal(2, n * d));
                let x: Vec<f32> = x.iter().map(|x| 2.5 * x).collect();
                let (y, dx) = (rubbish(&device, n, d), rubbish(&device, n, d));
                let (tx, tdy) = (tensor(&device, &x, d), tensor(&device, &dy, d));
                run(&device, |r| {
                    gelu::forward(r, form, &tx, &y).unwrap();
                    gelu::backward(r, form, &tx, &tdy, &dx).unwrap();
                });
                let what = format!("{} [{n}, {d}] {form:?}", device.name());
                let want: Vec<_> = x.iter().map(|&x| reference(form, f64::from(x))).collect();
                let error = |i: usize| gelu_error(form, f64::from(x[i]));
                // By tanh the reference itself cancels in 1 + t: an absolute 1e-15.
                let values: Vec<f64> = want.iter().map(|w| w.0).collect();
                let bounds: Vec<f64> = (0..x.len()).map(|i| values[i].abs() * error(i) + 1e-14).collect();
                check(&read(&device, &y), &values, &bounds, &what);
                let slopes: Vec<f64> = want.iter().zip(&dy).map(|(w, &dy)| w.1 * f64::from(dy)).collect();
                let bounds: Vec<f64> =
                    (0..x.len()).map(|i| (want[i].2 * f64::from(dy[i])).abs() * error(i) + 1e-14).collect();
                check(&read(&device, &dx), &slopes, &bounds, &what);
            }
        }
    }
}

#[test]
fn gelu_against_pytorch() {
    let [x, y, slope] = ["gelu_x", "gelu_y", "gelu_dy"].map(|name| golden("adapter", name));
    let ones = vec![1.0; x.len()];
    let (mut value, mut gradient) = (ones.clone(), ones.clone());
    host::gelu::forward(Form::Erf, &x, &mut value);
    host::gelu::backward(Form::Erf, &x, &ones, &mut gradient);
    for i in 0..x.len() {
        assert!((value[i] - y[i]).abs() < 1e-14 && (gradient[i] - slope[i]).abs() < 1e-14, "f64 at {}", x[i]);
    }
    let narrow: Vec<f32> = x.iter().map(|&x| x as f32).collect();
    for device in devices() {
        let (tx, ones) = (tensor(&device, &narrow, 65), tensor(&device, &[1.0; 65], 65));
        let (ty, dx) = (rubbish(&device, 1, 65), rubbish(&device, 1, 65));
        run(&device, |r| {
            gelu::forward(r, Form::Erf, &tx, &ty).unwrap();
            gelu::backward(r, Form::Erf, &tx, &ones, &dx).unwrap();
        });
        check(&read(&device, &ty), &y, &[2e-6; 65], device.name());
        check(&read(&device, &dx), &slope, &[2e-6; 65], device.name());
    }
}

#[test]
fn far_values_are_finite() {
    let x = [1e30f32, -1e30, 3e38, -3e38, 1e4, -1e4, 100.0, -100.0, 1e-30, -0.0, 12.0, -12.0];
    for device in devices() {
        let (tx, ones) = (tensor(&device, &x, 12), tensor(&device, &[1.0; 12], 12));
        let out: Vec<_> = (0..5).map(|_| rubbish(&device, 1, 12)).collect();
        for form in FORMS {
            run(&device, |r| {
                gelu::forward(r, form, &tx, &out[0]).unwrap();
                gelu::backward(r, form, &tx, &ones, &out[1]).unwrap();
                gate::forward(r, gate::Act::Silu, &tx, &ones, &out[2]).unwrap();
                gate::backward(r, gate::Act::Silu, &tx, &ones, &ones, &out[3], &out[4]).unwrap();
            });
            let values: Vec<_> = out.iter().map(|t| read(&device, t)).collect();
            for (i, &x) in x.iter().enumerate().take(8) {
                let step = if x > 0.0 { 1.0 } else { 0.0 };
                for (got, want) in values.iter().zip([x * step, step, x * step, step, x * step]) {
                    // The gate is no less than e^-80, a factor that the largest arguments show.
                    let bound = 1e-6 * want.abs() + 1e-30 * x.abs().max(1e5);
                    assert!((got[i] - want).abs() <= bound, "{} {form:?} {x}: {} for {want}", device.name(), got[i]);
                }
            }
            assert!(values.iter().flatten().all(|v| v.is_finite()), "{} {form:?}", device.name());
        }
    }
}

#[test]
fn gated_unit_of_all_shapes() {
    for device in devices() {
        for (n, d) in SHAPES {
            let [gate, up, dy] = [3, 4, 5].map(|seed| normal(seed, n * d));
            let gate: Vec<f32> = gate.iter().map(|x| 3.0 * x).collect();
            let [tg, tu, td] = [&gate, &up, &dy].map(|x| tensor(&device, x, d));
            let [y, dgate, dup] = [(); 3].map(|()| rubbish(&device, n, d));
            run(&device, |r| {
                gate::forward(r, gate::Act::Silu, &tg, &tu, &y).unwrap();
                gate::backward(r, gate::Act::Silu, &tg, &tu, &td, &dgate, &dup).unwrap();
            });
            let what = format!("{} [{n}, {d}]", device.name());
            let each = |f: &dyn Fn(f64, f64, f64, f64) -> f64| -> Vec<f64> {
                let rows = wide(&gate).into_iter().zip(wide(&up)).zip(wide(&dy));
                rows.map(|((g, u), dy)| f(g, u, dy, 1.0 / (1.0 + (-g).exp()))).collect()
            };
            let error = |g: f64| 1e-6 + exp_error(g);
            let want = each(&|g, u, _, s| g * s * u);
            check(&read(&device, &y), &want, &each(&|g, u, _, s| (g * s * u).abs() * error(g)), &what);
            let want = each(&|g, _, dy, s| dy * g * s);
            check(&read(&device, &dup), &want, &each(&|g, _, dy, s| (dy * g * s).abs() * error(g)), &what);
            let want = each(&|g, u, dy, s| dy * u * s * (1.0 + g * (1.0 - s)));
            let bounds = each(&|g, u, dy, s| (dy * u * s).abs() * (1.0 + g.abs()) * error(g));
            check(&read(&device, &dgate), &want, &bounds, &what);
        }
    }
}

#[test]
fn unit_gated_by_gelu_of_all_shapes() {
    for device in devices() {
        for (n, d) in SHAPES {
            for form in FORMS {
                let [g, up, dy] = [3, 4, 5].map(|seed| normal(seed, n * d));
                let g: Vec<f32> = g.iter().map(|x| 2.5 * x).collect();
                let [tg, tu, td] = [&g, &up, &dy].map(|x| tensor(&device, x, d));
                let [y, dgate, dup] = [(); 3].map(|()| rubbish(&device, n, d));
                let act = gate::Act::Gelu(form);
                run(&device, |r| {
                    gate::forward_scaled(r, (act, 0.25), &tg, &tu, &y).unwrap();
                    gate::backward(r, act, &tg, &tu, &td, &dgate, &dup).unwrap();
                });
                let what = format!("{} [{n}, {d}] {form:?}", device.name());
                let all = |f: Formula<'_>| -> Vec<f64> {
                    let each = |((g, u), dy): ((f64, f64), f64)| f(&reference(form, g), g, u, dy);
                    wide(&g).into_iter().zip(wide(&up)).zip(wide(&dy)).map(each).collect()
                };
                let error = |g: f64| 2.0 * gelu_error(form, g);
                let bounds = all(&|r, g, u, _| (0.25 * r.0 * u).abs() * error(g) + 1e-14);
                check(&read(&device, &y), &all(&|r, _, u, _| 0.25 * r.0 * u), &bounds, &what);
                let bounds = all(&|r, g, _, dy| (dy * r.0).abs() * error(g) + 1e-14);
                check(&read(&device, &dup), &all(&|r, _, _, dy| dy * r.0), &bounds, &what);
                let bounds = all(&|r, g, u, dy| (dy * u).abs() * r.2 * error(g) + 1e-14);
                check(&read(&device, &dgate), &all(&|r, _, u, dy| dy * u * r.1), &bounds, &what);
            }
        }
    }
}

/// The larger of x and 0 exactly, the hyperbolic tangent to a few 1e-7.
#[test]
fn unit_gated_by_other_functions() {
    for device in devices() {
        for (n, d) in SHAPES {
            let [g, up, dy] = [3, 4, 5].map(|seed| normal(seed, n * d));
            let [tg, tu, td] = [&g, &up, &dy].map(|x| tensor(&device, x, d));
            for act in [gate::Act::Relu, gate::Act::Tanh] {
                let [y, dgate, dup] = [(); 3].map(|()| rubbish(&device, n, d));
                run(&device, |r| {
                    gate::forward(r, act, &tg, &tu, &y).unwrap();
                    gate::backward(r, act, &tg, &tu, &td, &dgate, &dup).unwrap();
                });
                let both = |x: f64| match act {
                    gate::Act::Relu => (x.max(0.0), f64::from(u8::from(x > 0.0))),
                    _ => (x.tanh(), 1.0 - x.tanh().powi(2)),
                };
                let all = |f: &dyn Fn((f64, f64), f64, f64) -> f64| -> Vec<f64> {
                    let rows = wide(&g).into_iter().zip(wide(&up)).zip(wide(&dy));
                    rows.map(|((g, u), dy)| f(both(g), u, dy)).collect()
                };
                let what = format!("{} [{n}, {d}] {act:?}", device.name());
                // The logistic function of 2 x errs by 1e-7 and its exponential; so does twice it less 1, absolutely.
                let error = 2.0 * (1e-7 + exp_error(4.0));
                let bound = |x: f64| x.abs() * error;
                check(&read(&device, &y), &all(&|f, u, _| f.0 * u), &all(&|_, u, _| bound(u)), &what);
                check(&read(&device, &dup), &all(&|f, _, dy| f.0 * dy), &all(&|_, _, dy| bound(dy)), &what);
                let bounds = all(&|_, u, dy| 2.0 * bound(u * dy));
                check(&read(&device, &dgate), &all(&|f, u, dy| f.1 * u * dy), &bounds, &what);
            }
        }
    }
}

/// Heads of every even width, there and back, in both element types: no element is lost, and padding is zero.
#[test]
fn heads_apart_and_together() {
    for device in devices() {
        for (n, heads, width) in [(0, 2, 6), (1, 1, 2), (5, 3, 6), (7, 2, 10), (3, 5, 8), (65, 7, 20), (300, 4, 66)] {
            for element in [ElementType::F32, ElementType::F16] {
                let x: Vec<f32> = (0..n * heads * width).map(|i| (i % 2039) as f32).collect();
                let make = |rows, width| Tensor::new(&device, rows, width, element).unwrap();
                let (together, apart, back) = (make(n, heads * width), make(n * heads, width), make(n, heads * width));
                for t in [&together, &apart, &back] {
                    t.write_f32(&device, &vec![-5.0; t.rows() * t.width()]).unwrap();
                }
                together.write_f32(&device, &x).unwrap();
                run(&device, |r| {
                    elementwise::split_heads(r, heads, &together, &apart).unwrap();
                    elementwise::join_heads(r, heads, &apart, &back).unwrap();
                });
                // The elements follow each other in both.
                assert!(apart.to_f32_blocking(&device).unwrap() == x, "{} {n} {heads} {width}", device.name());
                assert!(back.to_f32_blocking(&device).unwrap() == x, "{} {n} {heads} {width}", device.name());
                if element == ElementType::F32 {
                    // Which checks the padding.
                    for t in [&apart, &back] {
                        read(&device, t);
                    }
                }
            }
        }
        let (a, b) = (zeros(&device, 3, 12), zeros(&device, 6, 6));
        let mut r = device.recorder();
        elementwise::split_heads(&mut r, 3, &a, &b).unwrap_err();
        elementwise::join_heads(&mut r, 0, &b, &a).unwrap_err();
        elementwise::split_heads(&mut r, 12, &a, &zeros(&device, 36, 1)).unwrap_err();
        assert!(r.commands().is_empty());
    }
}

#[test]
fn sums_of_multiples() {
    for device in devices() {
        for (n, d) in SHAPES {
            let (x, y) = (normal(6, n * d), normal(7, n * d));
            let (tx, ty, z) = (tensor(&device, &x, d), tensor(&device, &y, d), rubbish(&device, n, d));
            let multiple = rubbish(&device, n, d);
            run(&device, |r| {
                elementwise::add_scaled(r, &tx, 0.22, &ty, &z).unwrap();
                elementwise::cast_scaled(r, 0.22, &ty, &multiple).unwrap();
            });
            let what = format!("{} [{n}, {d}]", device.name());
            let factor = f64::from(0.22f32);
            let want: Vec<f64> = wide(&x).iter().zip(wide(&y)).map(|(x, y)| x + factor * y).collect();
            let bounds: Vec<f64> = wide(&x).iter().zip(wide(&y)).map(|(x, y)| 2.0 * U * (x.abs() + y.abs())).collect();
            check(&read(&device, &z), &want, &bounds, &what);
            let want: Vec<f64> = wide(&y).iter().map(|y| factor * y).collect();
            let bounds: Vec<f64> = want.iter().map(|w| 2.0 * U * w.abs()).collect();
            check(&read(&device, &multiple), &want, &bounds, &what);
            let mut r = device.recorder();
            elementwise::add_scaled(&mut r, &tx, f32::INFINITY, &ty, &z).unwrap_err();
            elementwise::add_scaled(&mut r, &tx, 1.0, &ty, &ty).unwrap_err();
            elementwise::cast_scaled(&mut r, f32::NAN, &ty, &multiple).unwrap_err();
        }
    }
}

#[test]
fn sums_and_multiples() {
    for device in devices() {
        for (n, d) in SHAPES {
            let (x, y) = (normal(6, n * d), normal(7, n * d));
            let (tx, ty) = (tensor(&device, &x, d), tensor(&device, &y, d));
            run(&device, |r| {
                elementwise::scale(r, -0.75, &ty).unwrap();
                elementwise::add(r, &tx, &ty).unwrap();
            });
            let want: Vec<f32> = (0..n * d).map(|i| y[i] * -0.75 + x[i]).collect();
            // A driver may fuse what a kernel multiplies and adds, but these are different kernels: the same bits.
            assert_eq!(read(&device, &ty), want, "{} [{n}, {d}]", device.name());
        }
    }
}

#[test]
fn more_entries_than_one_side_of_a_dispatch() {
    // Workgroups of one invocation.
    let gpu = crate::common::gpu().with_capabilities(|c| (c.group, c.lanes, c.subgroup_teams) = (1, 1, false)).unwrap();
    for device in [Device::host(), gpu] {
        let (n, d) = (65_535 + 300, 4);
        let (x, y) = (normal(9, n * d), normal(10, n * d));
        let (tx, ty) = (tensor(&device, &x, d), tensor(&device, &y, d));
        run(&device, |r| elementwise::add(r, &tx, &ty).unwrap());
        let want: Vec<f32> = x.iter().zip(&y).map(|(x, y)| y + x).collect();
        assert_eq!(read(&device, &ty), want, "{}", device.name());
    }
}

#[test]
fn column_sums() {
    for (name, device) in variants() {
        for (n, d) in SHAPES {
            for accumulate in [false, true] {
                let (dy, before) = (normal(11, n * d), normal(12, d));
                let (t, sums) = (tensor(&device, &dy, d), tensor(&device, &before, d));
                run(&device, |r| bias::backward(r, &t, &sums, accumulate).unwrap());
                let mut want = if accumulate { wide(&before) } else { vec![0.0; d] };
                let mut size: Vec<f64> = want.iter().map(|w| w.abs()).collect();
                for (i, &x) in dy.iter().enumerate() {
                    want[i % d] += f64::from(x);
                    size[i % d] += f64::from(x.abs());
                }
                let bounds: Vec<f64> = size.iter().map(|s| s * U * (n as f64 + 1.0)).collect();
                check(&read(&device, &sums), &want, &bounds, &format!("{name} [{n}, {d}] {accumulate}"));
            }
        }
    }
}

/// Mesa's CPU driver ends an invocation's loops after 65,535 iterations, without a word.
#[test]
fn column_sums_of_more_rows_than_a_driver_loops() {
    for (name, device) in variants() {
        let n = 140_001;
        let (t, sums) = (tensor(&device, &vec![1.0; n * 4], 4), zeros(&device, 1, 4));
        run(&device, |r| bias::backward(r, &t, &sums, false).unwrap());
        assert_eq!(read(&device, &sums), [n as f32; 4], "{name}");
    }
}

#[test]
fn column_sums_have_the_same_bits_again() {
    for (_, device) in variants() {
        let dy = tensor(&device, &normal(13, 1009 * 36), 36);
        let sums = [(); 3].map(|()| zeros(&device, 1, 36));
        sums.iter().for_each(|s| run(&device, |r| bias::backward(r, &dy, s, false).unwrap()));
        assert_eq!(read(&device, &sums[0]), read(&device, &sums[1]));
        assert_eq!(read(&device, &sums[0]), read(&device, &sums[2]));
    }
}

/// A few columns of many rows: a GPU takes slices of rows, and adds up their sums.
#[test]
fn column_sums_in_slices() {
    let teams = crate::common::gpu().with_capabilities(|c| (c.group, c.lanes, c.subgroup_teams) = (64, 32, false));
    for (device, dispatches) in [(teams.unwrap(), 2), (Device::host(), 1)] {
        let (n, d) = (1009, 36);
        let (dy, before) = (normal(13, n * d), normal(14, d));
        let (t, sums) = (tensor(&device, &dy, d), tensor(&device, &before, d));
        run(&device, |r| {
            bias::backward(r, &t, &sums, true).unwrap();
            assert_eq!(r.commands().len(), dispatches);
        });
        let (mut want, mut size) = (wide(&before), vec![1.0; d]);
        for (i, &x) in dy.iter().enumerate() {
            want[i % d] += f64::from(x);
            size[i % d] += f64::from(x.abs());
        }
        // At most 32 rows, 32 slices and what was there before.
        let bounds: Vec<f64> = size.iter().map(|s| s * U * 70.0).collect();
        check(&read(&device, &sums), &want, &bounds, device.name());
    }
}

#[test]
fn gradients_by_finite_differences() {
    let x: Vec<f64> = (0..48).map(|i| f64::from(i) * 0.21 - 5.0).collect();
    let (up, c) = (wide(&normal(14, 48)), wide(&normal(15, 48)));
    for form in FORMS {
        let mut dx = vec![0.0; 48];
        host::gelu::backward(form, &x, &c, &mut dx);
        let loss = |x: &[f64]| {
            let mut y = vec![0.0; 48];
            host::gelu::forward(form, x, &mut y);
            dot(&y, &c)
        };
        finite_differences(&x, &dx, loss, &format!("{form:?}"));
    }
    let (mut dgate, mut dup) = (vec![0.0; 48], vec![0.0; 48]);
    for act in [gate::Act::Silu, gate::Act::Tanh, gate::Act::Relu].into_iter().chain(FORMS.map(gate::Act::Gelu)) {
        host::gate::backward(act, (&x, &up), &c, (&mut dgate, &mut dup));
        let loss = |gate: &[f64], up: &[f64]| {
            let mut y = vec![0.0; 48];
            host::gate::forward(act, 1.0, gate, up, &mut y);
            dot(&y, &c)
        };
        finite_differences(&x, &dgate, |gate| loss(gate, &up), "gate");
        finite_differences(&up, &dup, |up| loss(&x, up), "up");
    }
    let mut dbias = vec![0.0; 8];
    host::bias::backward(&c, &mut dbias, false);
    let loss = |bias: &[f64]| {
        let y: Vec<f64> = up.iter().zip(bias.iter().cycle()).map(|(y, b)| y + b).collect();
        dot(&y, &c)
    };
    finite_differences(&x[..8], &dbias, loss, "bias");
}

#[test]
fn operands_that_do_not_fit() {
    let shape = |result: realign::Result<()>| {
        assert!(matches!(result.unwrap_err(), Error::Shape { .. } | Error::Argument { .. }));
    };
    for device in devices() {
        let (a, b, wrong) = (zeros(&device, 3, 5), zeros(&device, 3, 5), zeros(&device, 3, 6));
        let stranger = zeros(&Device::host(), 3, 5);
        let half = Tensor::new(&device, 3, 5, ElementType::BF16).unwrap();
        let mut r = device.recorder();
        for other in [&wrong, &stranger, &half, &a] {
            shape(gelu::forward(&mut r, Form::Erf, &a, other));
            shape(elementwise::add(&mut r, &a, other));
            shape(gate::forward(&mut r, gate::Act::Silu, &a, &b, other));
        }
        shape(gate::backward(&mut r, gate::Act::Silu, &a, &a, &a, &b, &b));
        shape(elementwise::scale(&mut r, f32::NAN, &a));
        shape(bias::backward(&mut r, &a, &b, true));
        assert!(r.commands().is_empty());
    }
}
