//! Batches of a set, in an order that depends on the seed and the epoch and on nothing else.
//!
//! A set in memory needs no thread: a batch is a list of views. A set of files is decoded ahead: each thread decodes its
//! own share of every batch and waits while its last share is not collected, so whatever the number of threads, at most
//! three batches are in memory (one being handed out, one waiting, one in work).

use crate::image_set::ImageSet;
use crate::{Augment, Error, Result};
use cnn_core::image::SampleView;
use cnn_core::rng::{Philox, Purpose};
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

/// Some samples, ready for a backend.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Which samples of the set these are.
    pub samples: Vec<u32>,
    /// Their classes.
    pub labels: Vec<u32>,
    /// Which image of `bytes` each is, and how it is cut.
    pub views: Vec<SampleView>,
    /// Where the images are.
    pub bytes: BatchBytes,
}

/// The images that a batch's views point into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchBytes {
    /// [`ImageSet::resident_bytes`] of the set: a view's index is the stored image.
    Resident,
    /// These, \[N, H, W, C\]: a view's index is the place in the batch.
    Decoded(Vec<u8>),
}

impl Batch {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are no samples; a loader makes no such batch.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }
}

/// Makes the batches of a set, epoch by epoch.
#[derive(Clone, Debug)]
pub struct Loader {
    set: Arc<ImageSet>,
    batch: usize,
    seed: u64,
    threads: usize,
}

impl Loader {
    /// Batches of `batch` samples of `set`; `threads` (0 for all) decode, if the set is not in memory.
    ///
    /// Errors: `batch` is 0.
    pub fn new(set: impl Into<Arc<ImageSet>>, batch: usize, seed: u64, threads: usize) -> Result<Self> {
        if batch == 0 {
            return Err(Error::invalid("batch", 0, "must be at least 1"));
        }
        Ok(Loader { set: set.into(), batch, seed, threads: threads_or_all(threads) })
    }

    /// The set that is walked.
    pub fn set(&self) -> &Arc<ImageSet> {
        &self.set
    }

    /// Batches of an epoch. The last one may be short; `drop_last` leaves a short one out.
    pub fn batches(&self, drop_last: bool) -> usize {
        let samples = self.set.len();
        if drop_last { samples / self.batch } else { samples.div_ceil(self.batch) }
    }

    /// Every batch of `epoch`, each sample once; in the set's order unless `shuffle`.
    pub fn epoch(&self, epoch: u32, augment: &Augment, shuffle: bool, drop_last: bool) -> Epoch {
        self.epoch_from(epoch, 0, augment, shuffle, drop_last)
    }

    /// As [`Loader::epoch`], without the batches before `first_batch`: the rest of an epoch that was interrupted.
    pub fn epoch_from(
        &self,
        epoch: u32,
        first_batch: usize,
        augment: &Augment,
        shuffle: bool,
        drop_last: bool,
    ) -> Epoch {
        let mut order: Vec<u32> = (0..self.set.len() as u32).collect();
        if shuffle {
            Philox::new(self.seed, Purpose::Shuffle, epoch, 0).stream().shuffle(&mut order);
        }
        let end = self.batches(drop_last);
        let plan = Plan { set: self.set.clone(), order, batch: self.batch };
        Epoch {
            plan: Arc::new(plan),
            next: first_batch.min(end),
            end,
            seed: self.seed,
            epoch,
            augment: *augment,
            threads: self.threads,
            decoders: None,
        }
    }
}

/// `threads`, or one for each core that this process may use if it is 0.
pub(crate) fn threads_or_all(threads: usize) -> usize {
    if threads > 0 { threads } else { thread::available_parallelism().map_or(1, |cores| cores.get()) }
}

/// Which samples each batch has: what a decoding thread needs to know.
#[derive(Debug)]
struct Plan {
    set: Arc<ImageSet>,
    order: Vec<u32>,
    batch: usize,
}

impl Plan {
    fn samples(&self, batch: usize) -> &[u32] {
        let start = batch * self.batch;
        &self.order[start..self.order.len().min(start + self.batch)]
    }

    /// The images of part `part` of `parts` of a batch.
    fn decode(&self, batch: usize, part: usize, parts: usize) -> Result<Vec<u8>> {
        let samples = self.samples(batch);
        let share = &samples[samples.len() * part / parts..samples.len() * (part + 1) / parts];
        let mut bytes = Vec::with_capacity(share.len() * self.set.image_bytes());
        for &sample in share {
            bytes.extend_from_slice(&self.set.image(sample as usize)?);
        }
        Ok(bytes)
    }
}

/// The batches of one epoch; ends after the first error.
#[derive(Debug)]
pub struct Epoch {
    plan: Arc<Plan>,
    next: usize,
    end: usize,
    seed: u64,
    epoch: u32,
    augment: Augment,
    threads: usize,
    decoders: Option<Decoders>,
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        if self.next >= self.end {
            return None;
        }
        let batch = self.load();
        self.next = if batch.is_ok() { self.next + 1 } else { self.end };
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.next, Some(self.end - self.next))
    }
}

impl ExactSizeIterator for Epoch {}

impl Epoch {
    fn load(&mut self) -> Result<Batch> {
        let set = &self.plan.set;
        let samples = self.plan.samples(self.next).to_vec();
        let labels = samples.iter().map(|&sample| set.label(sample as usize)).collect();
        // Keyed by the stored image, so that it is the same whatever else is in the set.
        let view = |&sample: &u32| {
            let stored = set.stored(sample as usize);
            self.augment.view(self.seed, self.epoch, stored, set.height, set.width)
        };
        let mut views: Vec<SampleView> = samples.iter().map(view).collect();
        let bytes = if set.is_resident() {
            BatchBytes::Resident
        } else {
            views.iter_mut().zip(0..).for_each(|(view, place)| view.index = place);
            let decoders = match &mut self.decoders {
                Some(decoders) => decoders,
                none => none.insert(Decoders::start(&self.plan, self.next..self.end, self.threads)?),
            };
            BatchBytes::Decoded(decoders.collect()?)
        };
        Ok(Batch { samples, labels, views, bytes })
    }
}

/// Threads that decode ahead; dropping them stops and joins them.
#[derive(Debug)]
struct Decoders {
    parts: Vec<Receiver<Result<Vec<u8>>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Decoders {
    fn start(plan: &Arc<Plan>, batches: Range<usize>, threads: usize) -> Result<Self> {
        let count = threads.min(plan.batch);
        let mut decoders = Decoders { parts: Vec::new(), threads: Vec::new() };
        for part in 0..count {
            let (sender, receiver) = sync_channel(1);
            let (plan, batches) = (plan.clone(), batches.clone());
            let work = move || {
                for batch in batches {
                    let decoded = plan.decode(batch, part, count);
                    let last = decoded.is_err();
                    // Nobody receives any more once the epoch is dropped.
                    if sender.send(decoded).is_err() || last {
                        return;
                    }
                }
            };
            let spawned = thread::Builder::new().name("decode".to_owned()).spawn(work);
            decoders.threads.push(spawned.map_err(|error| Error::invalid("decoding thread", part, error))?);
            decoders.parts.push(receiver);
        }
        Ok(decoders)
    }

    /// The next batch's images; of several errors, the one of the earliest sample.
    fn collect(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for part in &self.parts {
            let died = || Err(Error::invalid("image decoder", "panicked", "a picture that it cannot handle"));
            bytes.append(&mut part.recv().unwrap_or_else(|_| died())?);
        }
        Ok(bytes)
    }
}

impl Drop for Decoders {
    fn drop(&mut self) {
        self.parts.clear();
        for thread in self.threads.drain(..) {
            // A panic was already reported by `collect`, as an error.
            let _ = thread.join();
        }
    }
}
