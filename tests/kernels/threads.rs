//! Recordings of several threads on the host engine.

use std::time::Duration;

use realign::ElementType;
use realign::device::{Device, Tensor};
use realign::kernels::{align::apply, stats::normalize};

use crate::common::cloud;

/// A thread that waits for its kernel's parts takes up others' work: not a recording that waits for the buffer which that kernel reads.
#[test]
fn recordings_that_share_a_buffer_end() {
    let (device, n, d) = (Device::host(), 4000, 64);
    let shared = Tensor::from_f32(&device, &cloud(8, n, d), d).unwrap();
    let (ended, end) = std::sync::mpsc::channel();
    for clears in [false, true, false, true] {
        let (device, shared, ended) = (device.clone(), shared.clone(), ended.clone());
        // Not joined: one that waits for ever would keep the test from failing.
        std::thread::spawn(move || {
            let output = Tensor::new(&device, n, d, ElementType::F32).unwrap();
            let status = apply::status_buffer(&device).unwrap();
            for _ in 0..500 {
                let mut recorder = device.recorder();
                if clears {
                    recorder.clear(shared.buffer());
                } else {
                    normalize::record(&mut recorder, &shared, &output, n, &status).unwrap();
                }
                // A kernel whose rows are being cleared is refused.
                assert!(recorder.submit().is_ok() || !clears);
            }
            ended.send(()).unwrap();
        });
    }
    for _ in 0..4 {
        end.recv_timeout(Duration::from_secs(60)).expect("all four end");
    }
}
