//! Batches of a set, in an order that depends on the seed and the epoch and on nothing else.
//!
//! A set in memory needs no thread: a batch is a list of views, unless colours and shapes are changed. A set of files is decoded ahead by the threads of a pool,
//! a picture at a time, so that a large one holds up nobody but its own batch; at most three batches are in memory (one
//! being handed out and two ahead). Whoever waits for a batch decodes as well, so it comes even if the pool is busy with
//! something else or has no thread.

use crate::augment::Augment;
use crate::balanced::{self, Turn};
use crate::distort::Distort;
use crate::image_set::ImageSet;
use crate::pool::Pool;
use crate::{Error, Result};
use cnn_core::image::SampleView;
use cnn_core::rng::{Philox, Purpose};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Some samples, ready for a backend.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Which samples of the set these are.
    pub samples: Vec<u32>,
    /// Their classes; none of a set [of several labels](ImageSet::is_multi_label), of which [`ImageSet::targets`] are learned.
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

    /// The samples in `count` parts that differ by one sample at most, those with more first; as many as there are samples,
    /// if that is fewer.
    pub fn parts(&self, count: usize) -> Vec<Batch> {
        let (len, count) = (self.len(), count.clamp(1, self.len().max(1)));
        let start = |part: usize| part * (len / count) + part.min(len % count);
        (0..count).map(|part| self.part(start(part)..start(part + 1))).collect()
    }

    fn part(&self, range: Range<usize>) -> Batch {
        let mut views = self.views[range.clone()].to_vec();
        let bytes = match &self.bytes {
            BatchBytes::Resident => BatchBytes::Resident,
            BatchBytes::Decoded(bytes) => {
                views.iter_mut().zip(0..).for_each(|(view, place)| view.index = place);
                let image = bytes.len() / self.len().max(1);
                BatchBytes::Decoded(bytes[range.start * image..range.end * image].to_vec())
            }
        };
        let labels = if self.labels.is_empty() { Vec::new() } else { self.labels[range.clone()].to_vec() };
        Batch { samples: self.samples[range].to_vec(), labels, views, bytes }
    }

    /// Whether there are no samples; a loader makes no such batch.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }
}

/// How a set is walked.
///
/// ```
/// use cnn_data::LoaderOptions;
///
/// let options = LoaderOptions::new(128).seed(1).shuffle(true).drop_last(true);
/// ```
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    batch: usize,
    seed: u64,
    shuffle: bool,
    balanced: bool,
    drop_last: bool,
    pool: Option<Pool>,
}

impl LoaderOptions {
    /// Batches of `batch` samples, in the set's order, the last one as short as it comes.
    pub fn new(batch: usize) -> Self {
        LoaderOptions { batch, seed: 0, shuffle: false, balanced: false, drop_last: false, pool: None }
    }

    /// What the order and the augmentation depend on besides the epoch; 0 by default.
    pub fn seed(self, seed: u64) -> Self {
        LoaderOptions { seed, ..self }
    }

    /// Whether each epoch has an order of its own.
    pub fn shuffle(self, shuffle: bool) -> Self {
        LoaderOptions { shuffle, ..self }
    }

    /// Whether an epoch has as many samples of every class: a random choice of large classes, each sample once at most, and those of
    /// small ones several times, each time augmented anew. An epoch is as long as the set, rounded up to whole classes.
    pub fn balanced(self, balanced: bool) -> Self {
        LoaderOptions { balanced, ..self }
    }

    /// Whether a last batch that is short is left out.
    pub fn drop_last(self, drop_last: bool) -> Self {
        LoaderOptions { drop_last, ..self }
    }

    /// The threads that decode images that are not in memory; by default those of the set, [`ImageSet::pool`].
    pub fn pool(self, pool: impl Into<Pool>) -> Self {
        LoaderOptions { pool: Some(pool.into()), ..self }
    }
}

/// Makes the batches of a set, epoch by epoch.
#[derive(Clone, Debug)]
pub struct Loader {
    set: Arc<ImageSet>,
    options: LoaderOptions,
}

impl Loader {
    /// Batches of `set`.
    ///
    /// # Errors
    /// Batches of 0 samples; [balanced](LoaderOptions::balanced) ones of a set of several labels.
    pub fn new(set: impl Into<Arc<ImageSet>>, options: LoaderOptions) -> Result<Self> {
        if options.batch == 0 {
            return Err(Error::invalid("batch", 0, "must be at least 1"));
        }
        let set = set.into();
        if options.balanced && set.is_multi_label() {
            let rule = "must be off where an image has several labels: it would count for several classes";
            return Err(Error::invalid("balanced", true, rule));
        }
        Ok(Loader { set, options })
    }

    /// The set that is walked.
    pub fn set(&self) -> &Arc<ImageSet> {
        &self.set
    }

    /// Samples of an epoch, those of a last batch that is left out among them.
    pub fn samples(&self) -> usize {
        if self.options.balanced { balanced::len(&self.set) } else { self.set.len() }
    }

    /// Batches of an epoch.
    pub fn batches(&self) -> usize {
        let (samples, batch) = (self.samples(), self.options.batch);
        if self.options.drop_last { samples / batch } else { samples.div_ceil(batch) }
    }

    /// Every batch of `epoch`, each sample once but for those of a last batch that is left out; or as
    /// [balanced](LoaderOptions::balanced).
    pub fn epoch(&self, epoch: u32, augment: &Augment) -> Epoch {
        self.epoch_from(epoch, 0, augment)
    }

    /// As [`Loader::epoch`], without the batches before `first_batch`: the rest of an epoch that was interrupted.
    pub fn epoch_from(&self, epoch: u32, first_batch: usize, augment: &Augment) -> Epoch {
        let LoaderOptions { batch, seed, shuffle, balanced, .. } = self.options;
        let mut order = match balanced {
            true => balanced::turns(&self.set, seed, epoch),
            false => (0..self.set.len() as u32).map(|sample| Turn { sample, repeat: 0 }).collect(),
        };
        if shuffle {
            Philox::new(seed, Purpose::Shuffle, epoch, 0).stream().shuffle(&mut order);
        }
        let end = self.batches();
        let pool = self.options.pool.as_ref().unwrap_or(self.set.pool()).clone();
        Epoch {
            plan: Arc::new(Plan { set: self.set.clone(), order, batch, seed, epoch, distort: augment.distort }),
            next: first_batch.min(end),
            end,
            seed,
            epoch,
            augment: *augment,
            pool,
            ahead: None,
        }
    }
}

/// Which samples each batch has: what a decoding thread needs to know.
#[derive(Debug)]
struct Plan {
    set: Arc<ImageSet>,
    order: Vec<Turn>,
    batch: usize,
    seed: u64,
    epoch: u32,
    distort: Distort,
}

impl Plan {
    /// The image of a sample, as its colours and shape are changed.
    fn image(&self, turn: Turn) -> Result<Vec<u8>> {
        let sample = turn.sample as usize;
        let mut image = self.set.image(sample)?.into_owned();
        let epoch = turn.seen_in(self.epoch);
        self.distort.apply(self.seed, epoch, self.set.stored(sample), &mut image, self.set.size());
        Ok(image)
    }

    fn turns(&self, batch: usize) -> &[Turn] {
        let start = batch * self.batch;
        &self.order[start..self.order.len().min(start + self.batch)]
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
    pool: Pool,
    ahead: Option<Ahead>,
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
        let turns = self.plan.turns(self.next);
        let samples: Vec<u32> = turns.iter().map(|turn| turn.sample).collect();
        let labels = if set.is_multi_label() { &[] } else { &*samples };
        let labels = labels.iter().map(|&sample| set.label(sample as usize)).collect();
        // Keyed by the stored image, so that it is the same whatever else is in the set.
        let ([height, width, _], [rows, columns, _]) = (set.size(), set.shown());
        let view = |turn: &Turn| {
            let (stored, epoch) = (set.stored(turn.sample as usize), turn.seen_in(self.epoch));
            self.augment.view(self.seed, epoch, stored, [height, width], [rows, columns])
        };
        let mut views: Vec<SampleView> = turns.iter().map(view).collect();
        let bytes = if set.is_resident() && self.plan.distort.is_none() {
            BatchBytes::Resident
        } else {
            views.iter_mut().zip(0..).for_each(|(view, place)| view.index = place);
            let start = || Ahead::start(&self.plan, self.next..self.end, &self.pool);
            BatchBytes::Decoded(self.ahead.get_or_insert_with(start).collect()?)
        };
        Ok(Batch { samples, labels, views, bytes })
    }
}

/// Most batches that are decoded ahead, the next one first.
const AHEAD: usize = 2;
/// Bytes after which one is enough.
const AHEAD_BYTES: usize = 512 << 20;

/// The batches that are being decoded; dropping it stops that.
#[derive(Debug)]
struct Ahead {
    plan: Arc<Plan>,
    pool: Pool,
    jobs: VecDeque<Arc<Job>>,
    /// Batches that nobody has begun with.
    later: Range<usize>,
}

impl Ahead {
    fn start(plan: &Arc<Plan>, batches: Range<usize>, pool: &Pool) -> Self {
        let mut ahead = Ahead { plan: plan.clone(), pool: pool.clone(), jobs: VecDeque::new(), later: batches };
        ahead.fill();
        ahead
    }

    fn fill(&mut self) {
        let bytes = self.plan.batch.saturating_mul(self.plan.set.image_bytes());
        let most = (AHEAD_BYTES / bytes.max(1)).clamp(1, AHEAD);
        while self.jobs.len() < most
            && let Some(batch) = self.later.next()
        {
            let job = Arc::new(Job::new(self.plan.clone(), batch));
            let helper = job.clone();
            self.pool.spawn(job.pictures.len(), move || helper.work());
            self.jobs.push_back(job);
        }
    }

    /// The next batch's images; of several errors, the one of the earliest sample.
    fn collect(&mut self) -> Result<Vec<u8>> {
        let Some(job) = self.jobs.pop_front() else { return Ok(Vec::new()) };
        self.fill();
        job.work();
        job.finished()
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.jobs.iter().for_each(|job| job.stop());
    }
}

/// A batch whose pictures are taken one by one by whoever has time.
#[derive(Debug)]
struct Job {
    plan: Arc<Plan>,
    batch: usize,
    /// The first picture that nobody has taken.
    next: AtomicUsize,
    pictures: Vec<Mutex<Option<Result<Vec<u8>>>>>,
    done: Mutex<usize>,
    all_done: Condvar,
}

impl Job {
    fn new(plan: Arc<Plan>, batch: usize) -> Self {
        let pictures = plan.turns(batch).iter().map(|_| Mutex::new(None)).collect();
        Job { plan, batch, next: AtomicUsize::new(0), pictures, done: Mutex::new(0), all_done: Condvar::new() }
    }

    /// Decodes until every picture is taken.
    fn work(&self) {
        let turns = self.plan.turns(self.batch);
        loop {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(&turn) = turns.get(i) else { return };
            let image = self.plan.image(turn);
            *self.pictures[i].lock().unwrap_or_else(PoisonError::into_inner) = Some(image);
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            *done += 1;
            if *done == turns.len() {
                self.all_done.notify_all();
            }
        }
    }

    /// Lets nobody take another picture.
    fn stop(&self) {
        self.next.store(self.pictures.len(), Ordering::Relaxed);
    }

    /// Waits for the pictures that others have taken, and puts all of them together.
    fn finished(&self) -> Result<Vec<u8>> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.all_done.wait_while(done, |done| *done < self.pictures.len());
        drop(wait.unwrap_or_else(PoisonError::into_inner));
        let mut bytes = Vec::with_capacity(self.pictures.len() * self.plan.set.image_bytes());
        for picture in &self.pictures {
            let image = picture.lock().unwrap_or_else(PoisonError::into_inner).take();
            let missing = || Err(Error::invalid("batch", self.batch, "a picture of it was not decoded"));
            bytes.append(&mut image.unwrap_or_else(missing)?);
        }
        Ok(bytes)
    }
}
