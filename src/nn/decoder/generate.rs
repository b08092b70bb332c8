//! Generation with cached keys and values: greedy, or by temperature and top-p, seeded.

use super::{Batch, Cache, Decoder, Keep, Logits, Space};
use crate::device::{Buffer, Device, Pending, Piece, Pieces, Recorder, Tensor};
use crate::host::split_mix;
use crate::kernels::nn::attention::{Sequence, Sequences};
use crate::kernels::nn::embedding::VISUAL;
use crate::{Error, Result};

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0: always the most likely token.
    pub temperature: f32,
    /// Choose among the most likely tokens that make up this much probability, 0 < p <= 1.
    pub top_p: f32,
    /// Same seed, same tokens on the same device.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling { temperature: 0.0, top_p: 1.0, seed: 0 }
    }
}

impl Sampling {
    fn check(&self) -> Result<()> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return Err(Error::argument("temperature", format!("{}; give 0 or more", self.temperature)));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(Error::argument("top_p", format!("{}; give more than 0, up to 1", self.top_p)));
        }
        Ok(())
    }

    /// The token for `logits`, one for each token; `step` numbers the draws. 0 where there are none.
    pub fn choose(&self, logits: &[f32], step: u64) -> u32 {
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a))).unwrap_or(0);
        if self.temperature == 0.0 {
            return best as u32;
        }
        let weight = |i: usize| f64::from((logits[i] - logits[best]) / self.temperature).exp();
        let mut order: Vec<(usize, f64)> = (0..logits.len()).map(|i| (i, weight(i))).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let total: f64 = order.iter().map(|(_, w)| w).sum();
        let mut kept = 0.0;
        let enough = f64::from(self.top_p) * total;
        let count = order.iter().position(|(_, w)| {
            kept += w;
            kept >= enough
        });
        order.truncate(count.map_or(order.len(), |c| c + 1));
        let kept: f64 = order.iter().map(|(_, w)| w).sum();
        let mut left = uniform(self.seed, step) * kept;
        let chosen = order.iter().find(|(_, w)| {
            left -= w;
            left < 0.0
        });
        chosen.or(order.last()).map_or(best, |(i, _)| *i) as u32
    }
}

/// In [0, 1), by position: SplitMix64.
fn uniform(seed: u64, step: u64) -> f64 {
    split_mix::unit(split_mix::mix(seed.wrapping_add(step.wrapping_add(1).wrapping_mul(split_mix::STEP))))
}

/// Kernels of a piece of [`Generator::tick`].
const PIECE: usize = 8;

/// What a call of [`Generator::tick`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextToken {
    /// Work was recorded or submitted; there is more for this token.
    Submitted,
    /// The device is not done with what was submitted.
    Waiting,
    /// The next token.
    Token(u32),
    /// All tokens that were asked for have been given.
    End,
}

/// Tokens of one answer, made one by one.
#[derive(Debug)]
pub struct Generator<'a> {
    device: Device,
    decoder: &'a Decoder,
    sampling: Sampling,
    cache: Cache,
    space: Space,
    logits: Logits,
    max_tokens: usize,
    /// What the next forward pass reads.
    pending: Vec<u32>,
    /// The prompt and all tokens so far.
    all: Vec<u32>,
    visual: Option<Tensor>,
    step: u64,
    /// The forward pass that [`Self::tick`] is at.
    pieces: Option<Pieces>,
    /// The logits that it waits for.
    reading: Option<Pending<Vec<f32>>>,
}

impl<'a> Generator<'a> {
    /// Starts after `prompt`: token ids, or [`VISUAL`] with a row of `visual` `[m, hidden]`; at most `max_tokens` follow.
    ///
    /// # Errors
    /// An empty prompt, an id that the vocabulary or `visual` does not have, sampling out of range, no memory.
    pub fn new(
        device: &Device,
        decoder: &'a Decoder,
        prompt: &[u32],
        visual: Option<&Tensor>,
        (sampling, max_tokens): (Sampling, usize),
    ) -> Result<Self> {
        sampling.check()?;
        let (vocabulary, visuals) = (decoder.config().vocab_size as u32, visual.map_or(0, Tensor::rows) as u32);
        let known = |id: u32| if id & VISUAL == 0 { id < vocabulary } else { id & !VISUAL < visuals };
        if let Some(id) = prompt.iter().find(|id| !known(**id)) {
            return Err(Error::argument("prompt", format!("id {id} is neither a token nor a visual token")));
        }
        if prompt.is_empty() {
            return Err(Error::argument("prompt", "is empty"));
        }
        Ok(Generator {
            device: device.clone(),
            decoder,
            sampling,
            cache: Cache::new(device, decoder, prompt.len() + max_tokens)?,
            space: Space::new(device, decoder, prompt.len(), Keep::Nothing)?,
            logits: Logits::new(device, decoder, 1)?,
            max_tokens,
            pending: prompt.to_vec(),
            all: prompt.to_vec(),
            visual: visual.cloned(),
            step: 0,
            pieces: None,
            reading: None,
        })
    }

    /// Records the forward pass of what is pending.
    fn record(&mut self) -> Result<Recorder> {
        self.restart_if_frequencies_change()?;
        let (n, before) = (self.pending.len(), self.cache.length());
        let positions: Vec<u32> = (before as u32..(before + n) as u32).collect();
        let sequence = Sequence { q_first: 0, q_count: n as u32, k_first: 0, k_count: (before + n) as u32 };
        let batch = Batch::new(&self.device, &self.pending, &positions, Sequences::new(&self.device, &[sequence])?)?;
        let last: Buffer = self.device.buffer_from("last row", bytemuck::bytes_of(&(n as u32 - 1)))?;
        let space = self.space.first_rows(n)?;
        let mut recorder = self.device.recorder();
        self.decoder.forward(&mut recorder, &batch, self.visual.as_ref(), &space, Some(&self.cache))?;
        self.decoder.logits(&mut recorder, &last, (&space, &self.logits))?;
        self.cache.advance(n);
        Ok(recorder)
    }

    /// Phi-3's keys are made anew where its sequence becomes longer than that of the short frequencies, as Transformers has it.
    fn restart_if_frequencies_change(&mut self) -> Result<()> {
        let before = self.cache.length();
        let crosses = |limit: usize| before > 0 && before < limit && before + self.pending.len() >= limit;
        if self.decoder.restarts_at().is_some_and(crosses) {
            self.cache.restart();
            self.pending.clone_from(&self.all);
            self.space = Space::new(&self.device, self.decoder, self.pending.len(), Keep::Nothing)?;
        }
        Ok(())
    }

    /// Submits the forward pass, or what [`Self::tick`] has left of it; whether there is a token to come.
    fn submit(&mut self) -> Result<bool> {
        if let Some(mut pieces) = self.pieces.take() {
            pieces.submit_all()?;
        } else if self.reading.take().is_none() {
            if self.step == self.max_tokens as u64 {
                return Ok(false);
            }
            self.record()?.submit()?;
        }
        Ok(true)
    }

    /// Does the next piece of the work for the next token and never waits for the device: for an app's own frame loop. On the host
    /// engine a piece is computed before this returns.
    ///
    /// # Errors
    /// As [`Self::next_blocking`].
    pub fn tick(&mut self) -> Result<NextToken> {
        if let Some(reading) = &mut self.reading {
            let Some(logits) = reading.try_take(&self.device)? else { return Ok(NextToken::Waiting) };
            self.reading = None;
            return self.choose(&logits).map(NextToken::Token);
        }
        let Some(pieces) = &mut self.pieces else {
            if self.step == self.max_tokens as u64 {
                return Ok(NextToken::End);
            }
            let mut pieces = Pieces::default();
            pieces.push(self.record()?, PIECE);
            self.pieces = Some(pieces);
            return Ok(NextToken::Submitted);
        };
        match pieces.submit()? {
            Piece::Waiting => return Ok(NextToken::Waiting),
            Piece::Submitted => {}
            Piece::Done => {
                let (logits, device) = (self.logits.clone(), self.device.clone());
                self.reading = Some(Pending::new(async move { logits.read(&device).await }));
                self.pieces = None;
            }
        }
        Ok(NextToken::Submitted)
    }

    fn choose(&mut self, logits: &[f32]) -> Result<u32> {
        if logits.iter().any(|l| l.is_nan()) {
            return Err(Error::argument(
                "model",
                "its logits are not numbers; are the weights and the embedding sound?",
            ));
        }
        let token = self.sampling.choose(logits, self.step);
        self.step += 1;
        self.pending = vec![token];
        self.all.push(token);
        Ok(token)
    }

    /// The next token; `None` once `max_tokens` were given.
    ///
    /// # Errors
    /// The device was lost; logits that are not numbers.
    pub fn next_blocking(&mut self) -> Result<Option<u32>> {
        if !self.submit()? {
            return Ok(None);
        }
        let logits = self.logits.read_blocking(&self.device)?;
        self.choose(&logits).map(Some)
    }

    /// As [`Self::next_blocking`], without waiting: the future makes progress when the device is polled.
    ///
    /// # Errors
    /// As there.
    pub async fn next(&mut self) -> Result<Option<u32>> {
        if !self.submit()? {
            return Ok(None);
        }
        let logits = self.logits.read(&self.device).await?;
        self.choose(&logits).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_follows_the_probabilities() {
        let logits = [1.0f32, 3.0, 2.0, -5.0];
        let sampling = Sampling { temperature: 1.0, top_p: 1.0, seed: 7 };
        let mut counts = [0u32; 4];
        (0..20_000).for_each(|step| counts[sampling.choose(&logits, step) as usize] += 1);
        let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
        for (count, logit) in counts.iter().zip(logits) {
            let p = f64::from(logit).exp() / total;
            // Five standard deviations.
            let bound = 5.0 * (20_000.0 * p * (1.0 - p)).sqrt() + 1.0;
            assert!((f64::from(*count) - 20_000.0 * p).abs() < bound, "{counts:?}");
        }
    }

    #[test]
    fn top_p_and_greedy_leave_the_unlikely_out() {
        let logits = [1.0f32, 3.0, 2.0, -5.0];
        let narrow = Sampling { temperature: 1.0, top_p: 0.7, seed: 1 };
        // The most likely has 0.66, the two most likely 0.91.
        assert!((0..500).all(|step| [1, 2].contains(&narrow.choose(&logits, step))));
        assert!((0..500).any(|step| narrow.choose(&logits, step) == 2));
        assert_eq!(Sampling::default().choose(&logits, 0), 1);
        assert_eq!(Sampling::default().choose(&[2.0, 2.0], 0), 0);
    }
}
