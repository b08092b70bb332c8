//! Bytes on the device for each parameter, in each way of training: what the documentation says.

use realign::ElementType;
use realign::device::Device;
use realign::nn::decoder::LowRankOptions;
use realign::nn::{Gradients, Parameters};
use realign::optim::{AdamWOptions, LEAST, MomentType};
use realign::train::{Model, Trainer, Trains};

use super::{devices, stored_model};

/// Elements and bytes of the parameters that `chosen` says: values, gradients and moments.
struct Held {
    elements: u64,
    bytes: u64,
}

impl Held {
    /// Bytes of each parameter.
    fn each(&self) -> f64 {
        self.bytes as f64 / self.elements as f64
    }
}

fn held(trainer: &Trainer, chosen: impl Fn(&str, &[usize]) -> bool) -> Held {
    let (adapter, decoder) = trainer.gradients();
    let model = &trainer.model;
    let sides: [(&Parameters, &Gradients); 2] =
        [(&model.adapter.parameters, adapter), (&model.decoder.parameters, decoder)];
    let mut moments = trainer.optimizer.moments();
    let mut held = Held { elements: 0, bytes: 0 };
    for (parameters, gradients) in sides {
        for (parameter, gradient) in parameters.iter().zip(gradients.slots()) {
            let training = gradient.map_or(0, |g| g.bytes() + moments.next().unwrap().bytes());
            if chosen(&parameter.name, &parameter.shape) {
                held.elements += parameter.shape.iter().product::<usize>() as u64;
                held.bytes += parameter.value.bytes() + training;
            }
        }
    }
    assert!(moments.next().is_none() && held.elements > 0);
    held
}

fn trainer(device: &Device, storage: ElementType, trains: Trains) -> Trainer {
    trainer_with(device, storage, trains, MomentType::F32)
}

fn trainer_with(device: &Device, storage: ElementType, trains: Trains, moments: MomentType) -> Trainer {
    let mut model: Model = stored_model(device, "llama", storage, |x| x);
    if trains == Trains::LowRank {
        // A rank of 4: rows are padded to a multiple of 4 numbers.
        model.decoder.add_low_rank(device, LowRankOptions { rank: 4, alpha: 8.0, seed: 1 }).unwrap();
    }
    Trainer::new(device, model, trains, (AdamWOptions { moments, ..Default::default() }, false)).unwrap()
}

#[test]
fn bytes_for_each_parameter() {
    let adapter = |name: &str, _: &[usize]| name.contains("mm_projector");
    let addition = |name: &str, _: &[usize]| name.contains(".lora_");
    let decoder = |name: &str, shape: &[usize]| !adapter(name, shape) && !addition(name, shape);
    let matrix = |name: &str, shape: &[usize]| decoder(name, shape) && shape.len() == 2;
    for device in devices() {
        let frozen = trainer(&device, ElementType::F32, Trains::Adapter);
        assert_eq!((held(&frozen, adapter).each(), held(&frozen, decoder).each()), (16.0, 4.0));
        for storage in [ElementType::F16, ElementType::BF16] {
            let frozen = trainer(&device, storage, Trains::Adapter);
            assert_eq!((held(&frozen, adapter).each(), held(&frozen, matrix).each()), (16.0, 2.0));
        }
        let all = trainer(&device, ElementType::F32, Trains::All);
        assert_eq!((held(&all, adapter).each(), held(&all, decoder).each()), (16.0, 16.0));
        // A byte for each moment, and 8 for a block of 256; 4 for the gradient.
        for (storage, weight) in [(ElementType::F32, 4.0), (ElementType::BF16, 2.0)] {
            let all = trainer_with(&device, storage, Trains::All, MomentType::Dynamic8);
            let large = |name: &str, shape: &[usize]| matrix(name, shape) && shape[0] * shape[1] >= LEAST;
            assert_eq!(held(&all, large).each(), weight + 4.0 + 2.0 + 8.0 / 256.0);
        }
        let low_rank = trainer(&device, ElementType::F32, Trains::LowRank);
        assert_eq!((held(&low_rank, adapter).each(), held(&low_rank, decoder).each()), (16.0, 4.0));
        assert_eq!(held(&low_rank, addition).each(), 16.0);
    }
}
