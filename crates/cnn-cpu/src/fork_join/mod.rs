//! Parallel loops on threads that are lent to them.
//!
//! Inference at batch 1 is some twenty parallel loops of a tenth of a millisecond, and the small networks' are of some
//! microseconds: what counts is how soon the other threads join in. So the caller works too, a helper looks for the next
//! loop for a while before it gives its thread back, and tasks are handed out by counters:
//!
//! ```text
//! caller: write the job; open it; ask for the helpers that are not there; take tasks until none is left;
//!         close it; wait until nobody is inside
//! helper: until it has waited too long for a job that is open and new to it: enter; take tasks; leave
//! ```
//!
//! Every thread has a place, and begins with the tasks of its own part of the loop before it takes what others have left. Loops
//! cut what they work on by its order in memory, so a thread mostly reads what it has written in the loop before: what lies in the
//! cache of another core takes as long to come as what lies in memory, and longer where the cores share no cache. The last tasks of
//! a long loop are nobody's, as its smallest may come last so that all threads end at about the same time.
//!
//! Whether a job is open and who is inside is one atomic word, so nobody enters a job that is closed: a loop waits for
//! helpers that have tasks of it, and never for a thread to wake up or to be lent. Who cannot have the helpers, because
//! another thread's loop or an outer loop has them, does the tasks alone: which thread does a task never shows in the
//! result.

#[cfg(all(test, loom))]
mod models;
mod sync;
#[cfg(all(test, not(loom)))]
mod tests;

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use sync::Ordering::{Acquire, Relaxed, Release};

use sync::{AtomicUsize, Condvar, Mutex, MutexGuard, Patience, Stay, UnsafeCell};

/// The most helpers.
pub(crate) const MOST: usize = COUNT;

// The word: how many are inside, how many are lent, whether the owner sleeps until nobody is inside, whether the job is
// open, and how many jobs there have been. Jobs are counted modulo what is left of the word, 2^10 on small machines: a
// helper that has missed exactly so many takes the next one for an old one, and does without it.
const COUNT: usize = (1 << 10) - 1;
const INSIDE: usize = 1;
const LENT: usize = 1 << 10;
const ASLEEP: usize = 1 << 20;
const OPEN: usize = 1 << 21;
const JOB: usize = 1 << 22;

/// How many are inside.
fn inside(word: usize) -> usize {
    word & COUNT
}

/// How many helpers have been asked for and have not given their thread back.
fn lent(word: usize) -> usize {
    (word / LENT) & COUNT
}

/// Which job it is.
fn job(word: usize) -> usize {
    word / JOB
}

/// The most parts of a loop that are some thread's; more threads share them.
const PARTS: usize = 16;
/// From how many tasks on a loop is long, and what part of it is nobody's then, as one over this: by what the tasks of a network of
/// 3x3 convolutions keep busy, see `conv2d/winograd/balance.rs`.
const LONG: usize = 2 * PARTS + 1;
const NOBODYS: usize = 3;

thread_local! {
    static PLACE: Cell<usize> = const { Cell::new(0) };
}

/// This thread's place in the last loop that it took part in, or 0: below the number of that loop's threads. No two threads of a
/// backend's own pool and its caller have the same; of a pool that is the program's and a caller outside of it, two may.
pub(crate) fn place() -> usize {
    PLACE.get()
}

/// The tasks of a loop of `count` in the order in which they are begun by this many threads: `next` says which thread is free, and
/// `begins` is told the task.
#[cfg(all(test, not(loom)))]
pub(crate) fn in_turn(
    count: usize,
    threads: usize,
    mut next: impl FnMut() -> usize,
    mut begins: impl FnMut(usize, usize),
) {
    let job = Job::new(count, threads.min(PARTS).min(count), &|_| {});
    let mut parts: Vec<_> = (0..=job.parts).map(|part| job.part(part)).map(|(first, n)| first..first + n).collect();
    for _ in 0..count {
        let thread = next();
        let task = job.order(thread, threads).find_map(|part| parts[part].next()).expect("a task that is left");
        begins(thread, task);
    }
}

/// Helpers that one thread asks for; each of them asks for as many more, as to wake somebody takes some microseconds.
const ASKED: usize = 2;

/// One loop at a time, and those who help with it.
pub(crate) struct ForkJoin {
    word: Line<AtomicUsize>,
    /// How many tasks of each part have been taken, or more when none is left of it.
    taken: Box<[Line<AtomicUsize>]>,
    job: Line<UnsafeCell<Job>>,
    /// Helpers that the job can use.
    wanted: AtomicUsize,
    /// The most that it may have.
    most: usize,
    /// Owned by the thread whose job it is.
    turn: Mutex<()>,
    /// Where the owner sleeps until nobody is inside.
    nobody_inside: (Mutex<()>, Condvar),
    /// The first panic of a task.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// On lines of the cache of its own, as processors fetch them in pairs: who waits for the word does not slow down those
/// who take tasks.
#[repr(align(128))]
struct Line<T>(T);

/// A loop: `run(body, i)` for every `i` below `count`.
#[derive(Clone, Copy)]
struct Job {
    body: *const (),
    run: unsafe fn(*const (), usize),
    count: usize,
    /// Parts that are some thread's; another one behind them is nobody's, and may be empty.
    parts: usize,
}

impl Job {
    fn none() -> Self {
        unsafe fn nothing(_: *const (), _: usize) {}
        Job { body: std::ptr::null(), run: nothing, count: 0, parts: 0 }
    }

    fn new<F: Fn(usize) + Sync>(count: usize, parts: usize, body: &F) -> Self {
        /// # Safety
        /// `body` is an `F`.
        unsafe fn run<F: Fn(usize)>(body: *const (), i: usize) {
            // SAFETY: the caller's promise.
            unsafe { (*body.cast::<F>())(i) }
        }
        Job { body: std::ptr::from_ref(body).cast(), run: run::<F>, count, parts }
    }

    /// The first task of a part and how many it has.
    fn part(&self, part: usize) -> (usize, usize) {
        let nobodys = if self.count < LONG { 0 } else { self.count / NOBODYS };
        let owned = self.count - nobodys;
        if part == self.parts {
            return (owned, nobodys);
        }
        let (least, longer) = (owned / self.parts, owned % self.parts);
        (part * least + part.min(longer), least + usize::from(part < longer))
    }

    /// The parts in the order in which the thread at `place` of `threads` takes tasks of them.
    fn order(&self, place: usize, threads: usize) -> impl Iterator<Item = usize> {
        let own = place * self.parts / threads;
        (own..self.parts).chain(0..own).chain([self.parts])
    }
}

// SAFETY: the job is written by the owner of `turn` while it is closed and nobody is inside, and read by the owner and
// by helpers that have entered while it was open. `body` is a `Sync` closure that the owner keeps alive until nobody is
// inside.
unsafe impl Sync for ForkJoin {}
// SAFETY: see Sync.
unsafe impl Send for ForkJoin {}

impl ForkJoin {
    /// For at most this many helpers.
    pub(crate) fn new(helpers: usize) -> Self {
        assert!(helpers <= MOST, "{helpers} helpers do not fit the word");
        ForkJoin {
            word: Line(AtomicUsize::new(0)),
            taken: (0..=(helpers + 1).min(PARTS)).map(|_| Line(AtomicUsize::new(0))).collect(),
            job: Line(UnsafeCell::new(Job::none())),
            wanted: AtomicUsize::new(0),
            most: helpers,
            turn: Mutex::new(()),
            nobody_inside: (Mutex::new(()), Condvar::new()),
            panic: Mutex::new(None),
        }
    }

    /// The most helpers that a loop has.
    pub(crate) fn helpers(&self) -> usize {
        self.most
    }

    /// Calls `body` with every number below `count`, on this thread, whose place is `place`, and on helpers. `lend` has a thread
    /// call [`help`](Self::help), at any time or never. A panic of `body` is passed on.
    pub(crate) fn for_each<F: Fn(usize) + Sync>(&self, place: usize, count: usize, body: &F, lend: impl Fn()) {
        let Ok(turn) = self.turn.try_lock() else { return (0..count).for_each(body) };
        let job = Job::new(count, (self.taken.len() - 1).min(count), body);
        // SAFETY: this thread owns `turn`, and the last owner closed its job and waited until nobody was inside; who
        // enters only does so when this one is open.
        self.job.0.with_mut(|place| unsafe { *place = job });
        self.taken[..=job.parts].iter().for_each(|taken| taken.0.store(0, Relaxed));
        self.wanted.store(self.most.min(count.saturating_sub(1)), Relaxed);
        let open = Open::new(self); // closed also when what follows unwinds
        self.ask(open.lent, &lend);
        self.take_tasks(job, place);
        drop(open);
        let panic = lock(&self.panic).take();
        drop(turn);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// What a lent thread does, until no job has come for a while, or it has been away from its pool for long. Places are best
    /// below the number of threads, and no two alike. `lend` as in [`for_each`](Self::for_each).
    pub(crate) fn help(&self, place: usize, lend: impl Fn()) {
        let (mut last, mut stay) = (None, Stay::begin()); // the job that it was in, and how long ago it came
        loop {
            match self.enter(&mut last, stay.is_over()) {
                Entry::Inside(word) => {
                    self.ask(lent(word), &lend);
                    // SAFETY: the job stays as it is until its owner has waited for those inside.
                    let job = self.job.0.with(|place| unsafe { *place });
                    self.take_tasks(job, place);
                    self.leave();
                }
                Entry::GivenBack => return,
            }
        }
    }

    /// Asks for helpers, if the job can use more than `lent`.
    fn ask(&self, lent: usize, lend: &impl Fn()) {
        let wanted = self.wanted.load(Relaxed);
        for _ in lent..wanted.min(lent + ASKED) {
            let more = |word: usize| (self::lent(word) < wanted).then_some(word + LENT);
            if self.word.0.fetch_update(Relaxed, Relaxed, more).is_err() {
                break;
            }
            lend();
        }
    }

    /// Waits for a job that is open and not the `last`, and enters it. After a while without one, gives the thread back;
    /// in a `hurry`, as soon as no job is open: the next one asks for another helper.
    fn enter(&self, last: &mut Option<usize>, hurry: bool) -> Entry {
        let mut patience = Patience::helper();
        let mut word = self.word.0.load(Relaxed);
        loop {
            let (to, entry) = if word & OPEN != 0 && *last != Some(job(word)) {
                (word + INSIDE, Entry::Inside(word))
            } else if !(hurry && word & OPEN == 0) && patience.is_left() {
                word = self.word.0.load(Relaxed);
                continue;
            } else {
                (word - LENT, Entry::GivenBack)
            };
            // Acquire: who enters sees the job, which was written before it was opened.
            match self.word.0.compare_exchange_weak(word, to, Acquire, Relaxed) {
                Ok(_) => {
                    *last = Some(job(word));
                    return entry;
                }
                Err(now) => word = now,
            }
        }
    }

    /// Release: the owner sees what the tasks have written, by the last to leave or by who left before.
    fn leave(&self) {
        let before = self.word.0.fetch_sub(INSIDE, Release);
        if inside(before) == 1 && before & ASLEEP != 0 {
            let (mutex, condvar) = &self.nobody_inside;
            drop(lock(mutex)); // the owner, who has said that it sleeps, holds it until it does
            condvar.notify_one();
        }
    }

    /// Waits until nobody is inside a job that is closed. Not long, as who is inside may wait for this very core: a
    /// thread that turns in circles, or gives way to whoever comes next, keeps a busy machine from running the helper.
    fn wait_until_left(&self) {
        let mut patience = Patience::owner();
        while inside(self.word.0.load(Acquire)) > 0 {
            if patience.is_left() {
                continue;
            }
            let (mutex, condvar) = &self.nobody_inside;
            let mut guard = lock(mutex);
            let mut word = self.word.0.fetch_or(ASLEEP, Acquire);
            while inside(word) > 0 {
                guard = condvar.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner());
                word = self.word.0.load(Acquire);
            }
            self.word.0.fetch_and(!ASLEEP, Relaxed);
        }
    }

    /// Does tasks until none is left: those of the part at `place`, then those of the parts behind it and before, then nobody's.
    fn take_tasks(&self, job: Job, place: usize) {
        let threads = self.most + 1;
        let place = place % threads;
        PLACE.set(place);
        let tasks = || {
            for part in job.order(place, threads) {
                let (first, count) = job.part(part);
                // Who only looks leaves the line to those who take tasks.
                while self.taken[part].0.load(Relaxed) < count {
                    let i = self.taken[part].0.fetch_add(1, Relaxed);
                    if i < count {
                        // SAFETY: `run` was written together with the closure that it takes, which is alive as the job is.
                        unsafe { (job.run)(job.body, first + i) };
                    }
                }
            }
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(tasks)) {
            self.taken[..=job.parts].iter().for_each(|taken| taken.0.store(job.count, Relaxed)); // nobody needs the rest
            let mut first = lock(&self.panic);
            match &*first {
                None => *first = Some(panic),
                // To drop it could panic again, between a loop that is open and the closure that it borrows.
                Some(_) => std::mem::forget(panic),
            }
        }
    }
}

/// What came of waiting for a job.
enum Entry {
    /// It is inside; the word before.
    Inside(usize),
    /// There is none, and it is not lent any more.
    GivenBack,
}

/// A job that is open, for as long as this lives.
struct Open<'a> {
    of: &'a ForkJoin,
    /// Helpers that there were when it was opened.
    lent: usize,
}

impl<'a> Open<'a> {
    /// Release: who enters sees the job.
    fn new(of: &'a ForkJoin) -> Self {
        let before = of.word.0.fetch_add(OPEN + JOB, Release);
        Open { of, lent: lent(before) }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.of.word.0.fetch_sub(OPEN, Relaxed);
        self.of.wait_until_left();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
