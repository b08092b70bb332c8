//! burn, its wgpu backend.

use burn::backend::wgpu::WgpuDevice;
use burn::backend::{Autodiff, Wgpu};
use burn::module::Module;
use burn::nn::{Gelu, Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use crate::{ADAPTER, Peer, measure, numbers};

type Plain = Wgpu<f32, i32>;
type Training = Autodiff<Plain>;

#[derive(Module, Debug)]
struct Adapter<B: Backend> {
    first: Linear<B>,
    second: Linear<B>,
    gelu: Gelu,
}

impl<B: Backend> Adapter<B> {
    fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        self.second.forward(self.gelu.forward(self.first.forward(x)))
    }
}

fn tensor<B: Backend>(seed: u32, shape: [usize; 2], device: &B::Device) -> Tensor<B, 2> {
    Tensor::from_data(TensorData::new(numbers(seed, shape[0] * shape[1]), shape), device)
}

fn wait(device: &WgpuDevice) {
    Plain::sync(device).expect("the device is there");
}

/// Forward, backward with a given gradient of the output, clipping at 1 left out, and AdamW.
fn adapter(device: &WgpuDevice, seconds: f64) -> [f64; 3] {
    let [input, output, rows] = ADAPTER;
    let mut model = Some(Adapter::<Training> {
        first: LinearConfig::new(input, output).init(device),
        second: LinearConfig::new(output, output).init(device),
        gelu: Gelu::new(),
    });
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.0).init();
    let (x, dy) = (tensor::<Training>(1, [rows, input], device), tensor::<Training>(2, [rows, output], device));
    let mut step = || {
        let now = model.take().expect("the model comes back after each step");
        let gradients = (now.forward(x.clone()) * dy.clone()).sum().backward();
        let gradients = GradientsParams::from_grads(gradients, &now);
        model = Some(optimizer.step(1e-4, now, gradients));
        wait(device);
    };
    // Autotuning.
    (0..3).for_each(|_| step());
    measure(seconds, step)
}

pub fn run(side: usize, seconds: f64) -> Peer {
    let device = match std::env::var("BURN_DEVICE").as_deref() {
        Ok("cpu") => WgpuDevice::Cpu,
        Ok("discrete") => WgpuDevice::DiscreteGpu(0),
        Err(_) | Ok("") => WgpuDevice::default(),
        Ok(other) => panic!("BURN_DEVICE is {other:?}; give it cpu or discrete, or leave it unset"),
    };
    let (a, b) = (tensor::<Plain>(1, [side, side], &device), tensor::<Plain>(2, [side, side], &device));
    let product = |left: bool, right: bool| {
        let turn = |t: &Tensor<Plain, 2>, yes: bool| if yes { t.clone().transpose() } else { t.clone() };
        measure(seconds, || {
            let c = turn(&a, left).matmul(turn(&b, right));
            wait(&device);
            drop(c);
        })
    };
    let mut cases = vec![
        ("product A B", product(false, false)),
        ("product A Bᵀ", product(false, true)),
        ("product Aᵀ B", product(true, false)),
    ];
    cases.push(("adapter step", adapter(&device, seconds)));
    Peer { version: "0.20", device: format!("{device:?}"), cases }
}
