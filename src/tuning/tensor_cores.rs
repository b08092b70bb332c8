//! Whether a device's tensor cores compute what its other cores do: nobody has to take a driver's word for it before a run trusts them.

use super::numbers;
use crate::device::{Device, Tensor};
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::kernels::linalg::tiles::{Multiplier, Tile};
use crate::kernels::nn::attention::{self, Family, Heads, Sequence, Sequences};
use crate::{ElementType, Result};

/// Runs small products and attentions of f16 on the tensor cores and compares them: products of whole numbers bit by bit, attention and its
/// gradients with the kernels in f32, to 1% of the largest value. False where the device has none. Takes some milliseconds, and the kernels'
/// compilation.
///
/// # Errors
/// The device was lost, or refuses a kernel.
pub(crate) fn tensor_cores_agree(device: &Device) -> Result<bool> {
    let caps = device.capabilities();
    let tiles =
        Tile::ALL.into_iter().filter(|tile| tile.multiplier().0 == Multiplier::Cooperative && tile.runs_on(caps));
    let tiles: Vec<Tile> = tiles.collect();
    if caps.tensor_cores.is_none() || tiles.is_empty() {
        return Ok(false);
    }
    Ok(products_agree(device, &tiles)? && attention_agrees(device)?)
}

fn halves(device: &Device, (rows, width): (usize, usize), data: &[f32]) -> Result<Tensor> {
    let tensor = Tensor::new(device, rows, width, ElementType::F16)?;
    tensor.write_f32(device, data)?;
    Ok(tensor)
}

/// Whole numbers, whose sums are exact in every order; sides that end within tiles and slices.
fn products_agree(device: &Device, tiles: &[Tile]) -> Result<bool> {
    const SHAPE: (usize, usize, usize) = (150, 76, 84);
    let (m, n, k) = SHAPE;
    let whole = |seed, count| numbers(seed, count).into_iter().map(|x| (8.0 * x).round()).collect::<Vec<f32>>();
    let (a, b) = (whole(1, m * k), whole(2, k * n));
    for (turn_a, turn_b) in [(false, false), (false, true), (true, false)] {
        let at = |i: usize, l: usize| if turn_a { l * m + i } else { i * k + l };
        let bt = |l: usize, j: usize| if turn_b { j * k + l } else { l * n + j };
        let sum = |(i, j): (usize, usize)| (0..k).map(|l| a[at(i, l)] * b[bt(l, j)]).sum::<f32>();
        let want: Vec<f32> = (0..m).flat_map(|i| (0..n).map(move |j| (i, j))).map(sum).collect();
        let ta = halves(device, if turn_a { (k, m) } else { (m, k) }, &a)?;
        let tb = halves(device, if turn_b { (n, k) } else { (k, n) }, &b)?;
        let turned = |t, turn| if turn { Operand::new(t).transposed() } else { Operand::new(t) };
        for &tile in tiles {
            let c = Tensor::new(device, m, n, ElementType::F32)?;
            let mut recorder = device.recorder();
            let operands = (turned(&ta, turn_a), turned(&tb, turn_b));
            matmul::record_tiled(&mut recorder, Product::default(), operands, (&c, 0), tile)?;
            recorder.submit()?.wait()?;
            if c.to_f32_blocking(device)? != want {
                log::warn!("{}: a product of \"{}\" is wrong: no tensor cores are used", device.name(), tile.name());
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The narrow heads take less workgroup memory than the wide ones.
fn attention_agrees(device: &Device) -> Result<bool> {
    for width in [64, 128] {
        // Fragments of 8 x 8 are not taken for attention: its family is then the tiles, and agrees with itself.
        let family = Family::of(device.capabilities());
        let (got, want) = (attention_of(device, family, width)?, attention_of(device, Family::Tiles, width)?);
        for ((name, got), want) in ["out", "lse", "dq", "dk", "dv"].into_iter().zip(got).zip(want) {
            if !near(&got, &want) {
                log::warn!("{}: {name} of attention is wrong: no tensor cores are used", device.name());
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// To 1% of the largest value; a NaN is near nothing.
fn near(got: &[f32], want: &[f32]) -> bool {
    let largest = want.iter().fold(0f32, |most, x| most.max(x.abs()));
    got.iter().zip(want).all(|(g, w)| (g - w).abs() <= 0.01 * largest)
}

/// Results and gradients of two sequences that share their heads' keys, of one with keys before its queries.
fn attention_of(device: &Device, family: Family, width: usize) -> Result<[Vec<f32>; 5]> {
    let heads = Heads::new(2, 1, width);
    let sequence = |q_first, q_count, k_first, k_count| Sequence { q_first, q_count, k_first, k_count };
    let sequences = Sequences::of_family(device, family, &[sequence(0, 40, 0, 40), sequence(40, 7, 40, 50)])?;
    let (n, m, wide) = (47, 90, 2 * width);
    let filled = |seed, rows: usize, width: usize| halves(device, (rows, width), &numbers(seed, rows * width));
    let (q, k, v, dout) = (filled(1, n, wide)?, filled(2, m, width)?, filled(3, m, width)?, filled(4, n, wide)?);
    let empty = |rows, width| Tensor::new(device, rows, width, ElementType::F32);
    let (out, lse, dq) = (empty(n, wide)?, empty(n, 2)?, empty(n, wide)?);
    let (dk, dv) = (empty(m, width)?, empty(m, width)?);
    let mut recorder = device.recorder();
    attention::forward(&mut recorder, heads, &sequences, &q, &k, &v, &out, &lse)?;
    attention::backward(&mut recorder, heads, &sequences, &q, &k, &v, &out, &lse, &dout, &dq, &dk, &dv)?;
    recorder.submit()?.wait()?;
    let read = |t: &Tensor| t.to_f32_blocking(device);
    Ok([read(&out)?, read(&lse)?, read(&dq)?, read(&dk)?, read(&dv)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On the host engine each kernel is its twin: what is compared is right, whichever tile or family it is called by.
    #[test]
    fn what_is_compared_agrees_where_nothing_is_wrong() {
        let host = Device::host();
        assert!(products_agree(&host, &[Tile::Cooperative16]).unwrap());
        assert!(attention_agrees(&host).unwrap());
        assert!(!tensor_cores_agree(&host).unwrap(), "the host has no tensor cores");
    }

    #[test]
    fn other_numbers_are_not_near() {
        let want = attention_of(&Device::host(), Family::Tiles, 64).unwrap();
        let other = attention_of(&Device::host(), Family::Tiles, 128).unwrap();
        assert!(near(&want[2], &want[2]) && !near(&want[1], &other[1]));
        assert!(!near(&[f32::NAN], &[1.0]) && !near(&[1.02], &[1.0]) && near(&[1.005], &[1.0]));
    }
}
