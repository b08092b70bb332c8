//! A run's side of its ranks: the batches, numbers and results that go from one to another.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::super::pass::{Completed, Part};
use super::super::run::Run;
use super::super::settings::Reduce;
use super::super::step::{Batches, Pace, Phase, Sum, Tick};
use super::super::{Batch, Finished, LogRecord};
use super::agree::{to_bytes, to_words};
use super::{Contribution, Mail, Ranks};
use crate::device::{Pending, Submission, Tensor};
use crate::{Error, Result};

/// A bucket on its way from the device.
#[derive(Debug)]
struct Leaving {
    bucket: usize,
    place: (usize, usize),
    /// Its tensors, in order, and what has come of them.
    reads: VecDeque<Pending<Vec<u8>>>,
    bytes: Vec<u8>,
    /// Behind the copies.
    submitted: Submission,
}

/// What goes from this rank's batches to the others, and comes from them, within a step.
#[derive(Debug, Default)]
pub(in crate::train) struct Exchange {
    /// Of the present batch those that follow.
    parts: VecDeque<Part>,
    /// The bucket of the part that is with the device.
    running: Option<usize>,
    /// The present batch's place in the sum, of so many.
    place: (usize, usize),
    leaving: VecDeque<Leaving>,
    /// Sums that have come, of so many.
    came: usize,
    of: usize,
    /// Whether the others know that this rank's batches are done.
    told: bool,
}

/// Losses of batches and the gradient's norm, as they are sent.
fn numbers_to_bytes((sums, norm): &(Vec<Sum>, f64)) -> Vec<u8> {
    let sums = sums.iter().flat_map(|(sum, targets)| [sum.to_bits(), *targets]);
    to_bytes(std::iter::once(norm.to_bits()).chain(sums))
}

fn numbers_of_bytes(bytes: &[u8]) -> (Vec<Sum>, f64) {
    let words = to_words(bytes);
    let sums = words.get(1..).unwrap_or(&[]).chunks_exact(2).map(|w| (f64::from_bits(w[0]), w[1]));
    (sums.collect(), words.first().map_or(f64::NAN, |bits| f64::from_bits(*bits)))
}

/// The sum over batches, in their order: batch `i` is the next of rank `i mod n`.
fn in_order(by_rank: &[Vec<Sum>]) -> Sum {
    let longest = by_rank.iter().map(Vec::len).max().unwrap_or(0);
    let all = (0..longest).flat_map(|i| by_rank.iter().filter_map(move |sums| sums.get(i)));
    all.fold((0.0, 0), |total, (sum, targets)| (total.0 + sum, total.1 + targets))
}

/// Between a rank and its step.
const WAS: &str = " was at step ";

impl Run {
    /// The ranks that share this run's steps.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Whether any rank wishes to stop: all hear the same. Every rank must ask as often as the others, between two steps.
    ///
    /// # Errors
    /// What another rank ended by.
    pub fn agree_to_stop(&mut self, wish: bool) -> Result<bool> {
        if self.ranks.are_one() {
            return Ok(wish);
        }
        self.asked += 1;
        let what = format!("step {}", self.step());
        let all = self.ranks.gather((Mail::Stop, self.asked), vec![u8::from(wish)], &what);
        Ok(self.shared(all)?.iter().any(|wish| wish == &[1]))
    }

    /// Tells the others of this rank's error, and says of another's where this rank was and what is kept.
    pub(in crate::train) fn shared<T>(&mut self, result: Result<T>) -> Result<T> {
        let within = u64::from(matches!(self.phase, Phase::Idle | Phase::Batches(_)));
        self.shared_at(self.step() + within, result)
    }

    /// The same of what happened in a step.
    pub(in crate::train) fn shared_at<T>(&mut self, step: u64, result: Result<T>) -> Result<T> {
        result.map_err(|error| match error {
            // Said once, however many calls it comes through.
            Error::Rank { rank, problem } if !self.ranks.are_one() && !problem.contains(WAS) => {
                let (own, kept) = (self.ranks.rank(), self.kept());
                Error::Rank { rank, problem: format!("{problem}; rank {own}{WAS}{step}; {kept}") }
            }
            error => {
                self.ranks.tell_error(&format!("step {step}"), &error);
                error
            }
        })
    }

    /// Ends this rank's part of the run by an error of the caller's, which the other ranks end by, too.
    ///
    /// # Errors
    /// That one, always.
    pub fn fail(mut self, error: Error) -> Result<()> {
        self.shared(Err(error))
    }

    /// How many batches the step that begins has: a pass ends with the step that it is in.
    pub(in crate::train) fn batches_of_step(&self) -> usize {
        let left = self.order.batches().saturating_sub(self.order.position().batch);
        (self.settings.step_batches() as u64).min(left) as usize
    }

    /// The next batch of the step that this rank computes; those of others are counted. `None` behind the last.
    pub(in crate::train) fn next_own_batch(&mut self, batches: &mut Batches) -> Result<Option<Batch>> {
        let (rank, size) = (self.ranks.rank(), self.ranks.size());
        while batches.count < batches.of {
            let number = batches.count;
            let batch = Batch::pack(&self.samples, &self.order.next_batch())?;
            batches.count += 1;
            self.tokens += batch.tokens() as u64;
            if number % size == rank {
                batches.exchange.place = match self.settings.reduce {
                    Reduce::F32 => (number, batches.of),
                    Reduce::Bf16 => (rank, batches.of.min(size)),
                };
                return Ok(Some(batch));
            }
            self.trainer.count_targets(batch.targets);
        }
        Ok(None)
    }

    /// Counts the batches of other ranks that end the step.
    pub(in crate::train) fn count_the_rest(&mut self, batches: &mut Batches) -> Result<()> {
        let own = |number: usize| number % self.ranks.size() == self.ranks.rank();
        if !(batches.count..batches.of).any(own) {
            let none = self.next_own_batch(batches)?;
            debug_assert!(none.is_none());
        }
        Ok(())
    }

    /// Records a batch whose gradients go to other ranks. In bf16 the sum of this rank's batches does, with the last of them.
    pub(in crate::train) fn record_shared(&mut self, batches: &mut Batches, batch: &Batch, pace: Pace) -> Result<()> {
        let last = batches.count - 1 + self.ranks.size() >= batches.of;
        let ships = self.settings.reduce == Reduce::F32 || last;
        let completed = if ships { Completed::Part } else { Completed::Sum };
        let embeddings = self.inputs.noisy(batch, self.step())?;
        let (parts, rest, losses) = self.trainer.record_cut(batch, &embeddings, completed)?;
        batches.losses.push(losses);
        match ships {
            true => batches.exchange.parts.extend(parts),
            false => batches.pieces.push(rest, pace.piece()),
        }
        Ok(())
    }

    /// Goes on with what was submitted: reads the bucket that is complete, submits the next part, and takes the sums that have come.
    /// `None` where a batch is submitted, and with the last one all sums are there.
    pub(in crate::train) fn go_on_sharing(&mut self, batches: &mut Batches, pace: Pace) -> Result<Option<Tick>> {
        self.ranks.check()?;
        if let Some(bucket) = batches.exchange.running.take() {
            let read = |tensor: &Tensor| {
                let bytes = (tensor.rows() * tensor.row_bytes()) as u64;
                self.device.begin_read_part(tensor.buffer(), (0, bytes), Vec::new())
            };
            let reads = self.trainer.bucket(bucket).map(read);
            let reads = reads.collect::<Result<_>>()?;
            // Nothing but a mark behind the copies.
            let submitted = self.device.recorder().submit()?;
            let leaving = Leaving { bucket, place: batches.exchange.place, reads, bytes: Vec::new(), submitted };
            batches.exchange.leaving.push_back(leaving);
        }
        self.pump(&mut batches.exchange)?;
        if let Some(Part { recorder, bucket }) = batches.exchange.parts.pop_front() {
            batches.pieces.push(recorder, pace.piece());
            batches.exchange.running = Some(bucket);
            return Ok(Some(Tick::Submitted));
        }
        if batches.count < batches.of {
            return Ok(None);
        }
        let exchange = &mut batches.exchange;
        if !exchange.leaving.is_empty() {
            return Ok(Some(Tick::Waiting));
        }
        if !std::mem::replace(&mut exchange.told, true) {
            self.ranks.tell_progress(self.step() + 1);
            exchange.of = self.trainer.filled_buckets();
        }
        Ok((exchange.came < exchange.of).then_some(Tick::Waiting))
    }

    /// Hands on what has come from the device, and brings sums that have come from the ranks to it.
    fn pump(&mut self, exchange: &mut Exchange) -> Result<()> {
        while let Some(leaving) = exchange.leaving.front_mut() {
            while let Some(read) = leaving.reads.front_mut() {
                let Some(bytes) = read.try_take(&self.device)? else { break };
                leaving.reads.pop_front();
                match leaving.bytes.is_empty() {
                    true => leaving.bytes = bytes,
                    false => leaving.bytes.extend(bytes),
                }
            }
            if !leaving.reads.is_empty() {
                break;
            }
            let Some(Leaving { bucket, place, bytes, .. }) = exchange.leaving.pop_front() else { break };
            let (step, reduce) = (self.step(), self.settings.reduce);
            self.ranks.contribute(Contribution { step, bucket, place, reduce, bytes });
        }
        while let Some((step, bucket, bytes)) = self.ranks.take_sum() {
            debug_assert_eq!(step, self.step());
            self.trainer.set_bucket(bucket, &bytes)?;
            exchange.came += 1;
        }
        Ok(())
    }

    /// Waits for what a phase cannot go on without, if that is another rank or the gradients of a bucket; whether it was.
    pub(in crate::train) fn rest_for_ranks(&self) -> Result<bool> {
        if self.ranks.are_one() {
            return Ok(false);
        }
        let step = self.step();
        match &self.phase {
            Phase::Batches(batches) => match batches.exchange.leaving.front() {
                Some(leaving) => leaving.submitted.wait()?,
                None if batches.exchange.told && batches.exchange.came < batches.exchange.of => {
                    let late = |done: &[u64]| (0..done.len()).filter(|rank| done[*rank] < step + 1).collect();
                    self.ranks.wait(&format!("step {}", step + 1), late)?;
                }
                None => return Ok(false),
            },
            Phase::Reading => self.rest_for_numbers()?,
            Phase::Hearing(..) => self.ranks.wait(&format!("step {step}, its evaluation"), |_| vec![0])?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Waits for the numbers of the oldest step.
    pub(in crate::train) fn rest_for_numbers(&self) -> Result<()> {
        match self.unread.front().filter(|unread| unread.own.is_some() && !self.ranks.are_one()) {
            Some(unread) => {
                let missing = |rank: &usize| match self.ranks.is_root() {
                    true => *rank > 0 && !unread.heard.contains_key(rank),
                    false => *rank == 0,
                };
                let late = |_: &[u64]| (0..self.ranks.size()).filter(missing).collect();
                self.ranks.wait(&format!("step {}", unread.record.step), late)
            }
            None => self.device.wait(),
        }
    }

    /// The oldest step's losses and norm, once all ranks' have come; rank 0's norm counts for all.
    pub(in crate::train) fn total_of_oldest(&mut self) -> Result<Option<(Sum, f64)>> {
        let ranks = self.ranks.clone();
        let Some(oldest) = self.unread.front_mut() else { return Ok(None) };
        let Some((own, norm)) = &oldest.own else { return Ok(None) };
        if ranks.are_one() {
            return Ok(Some((in_order(std::slice::from_ref(own)), *norm)));
        }
        ranks.check()?;
        let step = oldest.record.step;
        if !std::mem::replace(&mut oldest.told, true) && !ranks.is_root() {
            ranks.post(Some(0), Mail::Numbers, step, &numbers_to_bytes(&(own.clone(), *norm)));
        }
        if !ranks.is_root() {
            let total = ranks.take(0, Mail::Total, step).map(|bytes| numbers_of_bytes(&bytes));
            return Ok(total.and_then(|(sums, norm)| Some((*sums.first()?, norm))));
        }
        for rank in 1..ranks.size() {
            if let Some(bytes) = ranks.take(rank, Mail::Numbers, step) {
                oldest.heard.insert(rank, numbers_of_bytes(&bytes).0);
            }
        }
        if oldest.heard.len() + 1 < ranks.size() {
            return Ok(None);
        }
        let by_rank: Vec<Vec<Sum>> = std::iter::once(own).chain(oldest.heard.values()).cloned().collect();
        let total = in_order(&by_rank);
        ranks.post(None, Mail::Total, step, &numbers_to_bytes(&(vec![total], *norm)));
        Ok(Some((total, *norm)))
    }

    /// Tells the others what rank 0's evaluation found.
    pub(in crate::train) fn tell_evaluation(&self, step: u64, value: f64) {
        if !self.ranks.are_one() {
            self.ranks.post(None, Mail::Evaluation, step, &to_bytes([value.to_bits()]));
        }
    }

    /// Hears what rank 0's evaluation found.
    pub(in crate::train) fn go_on_hearing(&mut self, record: LogRecord, sum: Sum) -> Result<Tick> {
        self.ranks.check()?;
        let Some(bytes) = self.ranks.take(0, Mail::Evaluation, record.step) else {
            return self.wait_in(Phase::Hearing(record, sum));
        };
        let value = to_words(&bytes).first().map_or(f64::NAN, |bits| f64::from_bits(*bits));
        self.evaluations.observe(&self.settings, record.step, value);
        self.close(record, sum)
    }

    /// What the run leaves, once rank 0 has written it.
    pub(in crate::train) fn write_results(&mut self) -> Result<Finished> {
        self.save()?;
        if self.ranks.are_one() {
            return self.results();
        }
        self.check_replicas()?;
        let ranks = self.ranks.clone();
        let mut written = None;
        let bytes = ranks.broadcast((Mail::Written, 0), "the results", || {
            let finished = self.results()?;
            let bytes = finished.to_json().to_string().into_bytes();
            written = Some(finished);
            Ok(bytes)
        })?;
        match written {
            Some(finished) => Ok(finished),
            None => Ok(Finished::from_json(&serde_json::from_slice(&bytes).unwrap_or_default())),
        }
    }

    /// Compares what the ranks have learnt: the same bits, where they have the same adapter.
    fn check_replicas(&self) -> Result<()> {
        let own = json!([self.device.name(), self.replica_sum()?]).to_string().into_bytes();
        let all = self.ranks.gather((Mail::Replica, 0), own, "the end")?;
        let all: Vec<Value> = all.iter().map(|bytes| serde_json::from_slice(bytes).unwrap_or_default()).collect();
        match all.iter().position(|rank| rank[0] == all[0][0] && rank[1] != all[0][1]) {
            None => Ok(()),
            Some(rank) => Err(Error::degenerate(format!(
                "rank {rank} learnt other bits than rank 0 on an adapter of the same name; its driver or memory may be at fault"
            ))),
        }
    }
}
