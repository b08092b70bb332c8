//! Tuning: which tiles multiply matrices fastest on a device, in which form integers are multiplied exactly, and how much work fits into one dispatch. It is measured once, in about a
//! second on a GPU, and kept in a file of the caller's choice: [`tuned`] gives a device as its tuning has it.

mod attention;
mod exact_form;
mod tensor_cores;
pub mod timing;

use std::path::Path;

use serde_json::{Map, Value, json};

pub(crate) use attention::{Attention, AttentionGradients};
pub(crate) use tensor_cores::tensor_cores_agree;
use timing::{Budget, recorded};

use crate::device::{Device, DeviceKind, Tensor};
use crate::error::{Problem, Remedy};
use crate::io::write_atomically;
use crate::kernels::bench::copy;
use crate::kernels::linalg::ExactForm;
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::kernels::linalg::tiles::{Class, Tile, Tiling};
use crate::{ElementType, Error, Result};

/// Seconds that one dispatch may take: half of the limit that keeps a desktop's watchdog away.
const DISPATCH_SECONDS: f64 = 0.25;
/// How much slower than the copy kernel, for its bytes, the slowest kernel may be that is neither a product nor attention:
/// moments by 64-bit sums, C3's normal numbers.
const SLOWER: f64 = 8.0;
/// Side of the first product that a tile makes, before any rate is known.
const FIRST_SIDE: usize = 256;
/// Bytes of the first copy and of the last.
const COPIES: (u64, u64) = (1 << 20, 64 << 20);
/// Tokens and width of the attention.
const ATTENTION: (usize, usize) = (512, 512);
/// Version of the file's form.
const SCHEMA: u64 = 1;

/// One tile's rate on one class of products.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// The class.
    pub class: Class,
    /// The tile.
    pub tile: Tile,
    /// FLOPs per second.
    pub rate: f64,
}

/// What was measured on a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// The fastest tile of each class.
    pub tiling: Tiling,
    /// The fastest form of exact products.
    pub exact_form: ExactForm,
    /// FLOPs of one dispatch of matrix products or attention at most.
    pub dispatch_flops: u64,
    /// Bytes that one dispatch of another kernel moves at most.
    pub dispatch_bytes: u64,
    /// All that was tried; empty where the tuning was read from a file.
    pub tried: Vec<Tried>,
}

/// Times every tile that is worth trying on each class of products, and the attention, which is slower; in about a second on a
/// GPU. The host engine has nothing to tune.
///
/// # Errors
/// The host engine; the device is lost or out of memory.
pub fn tune(device: &Device) -> Result<Tuning> {
    let caps = device.capabilities();
    if caps.kind == DeviceKind::Host {
        return Err(Error::argument(
            "device",
            Problem::new("the host engine has nothing to tune").remedy(Remedy::AnotherDevice),
        ));
    }
    let on_cpu = caps.kind == DeviceKind::Software;
    let (mut tiling, mut tried) = (Tiling::fixed(caps), Vec::new());
    for class in Class::all() {
        // A CPU has no use for many tiles: one size stands for both.
        let side = if on_cpu || !class.large { 512 } else { 2048 };
        let mut best = 0.0;
        for tile in Tile::candidates(caps) {
            let rate = rate(device, class, (tile, side))?;
            if rate > best {
                best = rate;
                tiling.set(class, tile);
            }
            tried.push(Tried { class, tile, rate });
        }
    }
    let chosen = tried.iter().filter(|t| tiling.get(t.class) == t.tile).map(|t| t.rate);
    let slowest = chosen.fold(attention_rate(device)?, f64::min);
    let dispatch_flops = ((DISPATCH_SECONDS * slowest) as u64).clamp(1 << 26, 1 << 40);
    let exact_form = exact_form::fastest(device)?;
    let dispatch_bytes = ((DISPATCH_SECONDS * copy_rate(device)? / SLOWER) as u64).clamp(1 << 22, 1 << 32);
    Ok(Tuning { tiling, exact_form, dispatch_flops, dispatch_bytes, tried })
}

fn budget(device: &Device) -> Budget {
    let least = if device.capabilities().kind == DeviceKind::Software { 2 } else { 5 };
    Budget { seconds: 0.02, least, most: 20 }
}

/// FLOPs per second of a tile at side `most`; sides double up to it, and end where a product takes so long that the next might
/// run into a watchdog.
fn rate(device: &Device, class: Class, (tile, most): (Tile, usize)) -> Result<f64> {
    let mut side = FIRST_SIDE.min(most);
    loop {
        let rate = rate_at(device, class, (tile, side))?;
        let next = 2.0 * (2.0 * side as f64).powi(3) / rate;
        if side >= most || next > DISPATCH_SECONDS {
            return Ok(rate);
        }
        side *= 2;
    }
}

fn rate_at(device: &Device, class: Class, (tile, n): (Tile, usize)) -> Result<f64> {
    let matrix = |seed| Tensor::from_f32(device, &numbers(seed, n * n), n);
    let (a, b, c) = (matrix(1)?, matrix(2)?, Tensor::new(device, n, n, ElementType::F32)?);
    let timing = recorded(device, budget(device), &|r| {
        let operands = (turned_a(&a, class), turned_b(&b, class));
        matmul::record_tiled(r, Product::default(), operands, (&c, 0), tile)
    })?;
    Ok(2.0 * (n as f64).powi(3) / timing.median())
}

fn turned_a(a: &Tensor, class: Class) -> Operand<'_> {
    if class.transpose_a { Operand::new(a).transposed() } else { Operand::new(a) }
}

fn turned_b(b: &Tensor, class: Class) -> Operand<'_> {
    if class.transpose_b { Operand::new(b).transposed() } else { Operand::new(b) }
}

/// Bytes per second of the copy kernel, read and written; the size doubles as a product's side does.
fn copy_rate(device: &Device) -> Result<f64> {
    let most = device.capabilities().max_binding.min(COPIES.1);
    let mut bytes = COPIES.0;
    loop {
        let (from, to) = (device.buffer("copy from", bytes)?, device.buffer("copy to", bytes)?);
        let timing = recorded(device, budget(device), &|r| copy::record(r, &from, &to, bytes))?;
        let rate = 2.0 * bytes as f64 / timing.median();
        if 2 * bytes > most || 4.0 * bytes as f64 / rate > DISPATCH_SECONDS {
            return Ok(rate);
        }
        bytes *= 2;
    }
}

/// FLOPs per second of the slower of attention and its gradients.
fn attention_rate(device: &Device) -> Result<f64> {
    let forward = Attention::new(device, ATTENTION, ElementType::F32)?;
    let time = recorded(device, budget(device), &|r| forward.forward(r))?.median();
    let rate = forward.forward_flops() as f64 / time;
    let backward = AttentionGradients::new(forward)?;
    let time = recorded(device, budget(device), &|r| backward.backward(r))?.median();
    Ok(rate.min(backward.flops() as f64 / time))
}

/// Numbers in [-1, 1), the same everywhere.
pub(crate) fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Where the tuning of a [`tuned`] device comes from.
#[derive(Debug)]
#[non_exhaustive]
pub enum Tuned {
    /// The device has none: the host engine, which needs none, or a driver on the CPU whose tuning, which takes seconds, is not in the
    /// file.
    Not,
    /// The file of tunings, or a measurement that is kept there from now on.
    Kept,
    /// A measurement that could not be kept, for this reason; `None` where no file was named.
    Lost(Option<Error>),
    /// It could not be measured, for this reason: the device has the fixed choice of kernels.
    Failed(Error),
}

/// A device as its tuning has it: from the file of tunings, or measured now and kept there. A software GPU is tuned only where the
/// file has its tuning already: see [`tune`] and [`Tuning::save`]. Call it before anything is made on the device.
///
/// # Errors
/// The device is in use.
pub fn tuned(device: Device, file: Option<&Path>) -> Result<(Device, Tuned)> {
    let found = match device.capabilities().kind {
        DeviceKind::Host => None,
        DeviceKind::Software => file.and_then(|file| Tuning::load(file, &device)).map(|tuning| (tuning, Tuned::Kept)),
        _ => match Tuning::load_or_tune(file, &device) {
            Ok((tuning, None)) if file.is_some() => Some((tuning, Tuned::Kept)),
            Ok((tuning, problem)) => Some((tuning, Tuned::Lost(problem))),
            Err(error) => return Ok((device, Tuned::Failed(error))),
        },
    };
    match found {
        Some((tuning, origin)) => Ok((tuning.apply(device)?, origin)),
        None => Ok((device, Tuned::Not)),
    }
}

impl Tuning {
    /// The device with this tuning; call it before anything is made on the device.
    ///
    /// # Errors
    /// The device is in use, or lacks what a tile needs.
    pub fn apply(&self, device: Device) -> Result<Device> {
        device.with_capabilities(|c| {
            (c.tiling, c.exact_form) = (Some(self.tiling), Some(self.exact_form));
            (c.dispatch_flops, c.dispatch_bytes) = (self.dispatch_flops, self.dispatch_bytes);
        })
    }

    /// A device's tuning: from the file of tunings, else measured now and kept there. Where it cannot be kept, for there is no file or
    /// the disk refuses, it serves all the same, and the reason comes with it.
    ///
    /// # Errors
    /// As [`tune`].
    pub fn load_or_tune(path: Option<&Path>, device: &Device) -> Result<(Tuning, Option<Error>)> {
        if let Some(known) = path.and_then(|path| Tuning::load(path, device)) {
            return Ok((known, None));
        }
        let tuning = tune(device)?;
        let problem = path.and_then(|path| tuning.save(path, device).err());
        Ok((tuning, problem))
    }

    /// What belongs to a device in a file of tunings.
    fn entry(&self) -> Value {
        let tiles: Map<String, Value> = self.tiling.names().map(|(class, tile)| (class, json!(tile))).collect();
        json!({
            "tiles": tiles, "exact_products": self.exact_form.name(),
            "dispatch_flops": self.dispatch_flops, "dispatch_bytes": self.dispatch_bytes,
        })
    }

    fn of_entry(entry: &Value, device: &Device) -> Option<Tuning> {
        let mut tiling = Tiling::fixed(device.capabilities());
        for class in Class::all() {
            tiling.set(class, Tile::of_name(entry["tiles"][class.name()].as_str()?)?);
        }
        let exact_form = ExactForm::of_name(entry["exact_products"].as_str()?)?;
        let budget = |name: &str| entry[name].as_u64().filter(|budget| *budget > 0);
        let (dispatch_flops, dispatch_bytes) = (budget("dispatch_flops")?, budget("dispatch_bytes")?);
        Some(Tuning { tiling, exact_form, dispatch_flops, dispatch_bytes, tried: Vec::new() })
            .filter(|t| t.tiling.runs_on(device.capabilities()))
    }

    /// The tuning of a device in a file of tunings: `None` where there is no file, none for this device, driver and version of
    /// the crate, or nothing that this version understands.
    pub fn load(path: &Path, device: &Device) -> Option<Tuning> {
        let file = read(path)?;
        Tuning::of_entry(&file["devices"][key(device)], device)
    }

    /// Writes it to a file of tunings, beside those of other devices; a file that is none of these is replaced.
    ///
    /// # Errors
    /// What the disk says.
    pub fn save(&self, path: &Path, device: &Device) -> Result<()> {
        let mut file = read(path).unwrap_or_else(|| json!({ "schema": SCHEMA, "devices": {} }));
        file["devices"][key(device)] = self.entry();
        if let Some(folder) = path.parent() {
            crate::io::url::create_folders(folder)?;
        }
        write_atomically(path, true, format!("{file:#}\n").as_bytes())
    }
}

fn read(path: &Path) -> Option<Value> {
    let file: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    (file["schema"] == SCHEMA && file["devices"].is_object()).then_some(file)
}

/// Kernels and drivers change what is fastest.
fn key(device: &Device) -> String {
    let (name, backend, driver) = (device.name(), device.backend(), device.driver());
    let caps = device.capabilities();
    let units = match (caps.tensor_cores, caps.rounds_operands) {
        (None, _) => "",
        (Some(_), false) => " | tensor cores for halves",
        (Some(_), true) => " | tensor cores",
    };
    format!("{name} | {backend} | {driver} | realign {}{units}", env!("CARGO_PKG_VERSION"))
}
