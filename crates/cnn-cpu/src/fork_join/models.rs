//! The protocol under loom, which runs every order of its steps that the memory model allows:
//! `cargo test --release --manifest-path crates/cnn-cpu/loom/Cargo.toml --target-dir target/loom`, which builds the protocol alone.

use std::panic::{AssertUnwindSafe, catch_unwind};

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::thread;

use super::sync::{Fault, PLANTED};
use super::*;

/// Runs `body` in every order with at most this many threads interrupted against their will.
fn model(interruptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(interruptions);
    builder.check(body);
}

/// Starts a thread that helps.
fn lend(loops: &Arc<ForkJoin>) {
    let loops = loops.clone();
    thread::spawn(move || loops.help(1, || lend(&loops)));
}

fn run(loops: &Arc<ForkJoin>, count: usize, body: impl Fn(usize) + Sync) {
    loops.for_each(0, count, &body, || lend(loops));
}

/// What tasks write, each its own place, and the loop's caller reads: loom objects to any access that is not ordered.
struct Places(Vec<UnsafeCell<usize>>);

// SAFETY: loom checks what is promised here.
unsafe impl Sync for Places {}

impl Places {
    fn new(count: usize) -> Self {
        Places((0..count).map(|_| UnsafeCell::new(0)).collect())
    }

    fn add(&self, i: usize) {
        // SAFETY: loom's pointer, which it watches.
        self.0[i].with_mut(|place| unsafe { *place += 1 });
    }

    fn read(&self) -> Vec<usize> {
        // SAFETY: as above.
        self.0.iter().map(|place| place.with(|place| unsafe { *place })).collect()
    }
}

/// Loops of `count` tasks, one after the other: each task runs once, and the caller sees what it wrote.
fn loops_in_turn(helpers: usize, rounds: usize, count: usize) {
    let loops = Arc::new(ForkJoin::new(helpers));
    for _ in 0..rounds {
        let places = Places::new(count); // gone with the loop, as a closure and what it borrows are
        run(&loops, count, |i| places.add(i));
        assert_eq!(places.read(), vec![1; count]);
    }
}

#[test]
fn one_loop_and_a_helper() {
    model(8, || loops_in_turn(1, 1, 2));
}

#[test]
fn two_loops_and_a_helper() {
    model(4, || loops_in_turn(1, 2, 2));
}

#[test]
fn three_loops_and_a_helper() {
    model(3, || loops_in_turn(1, 3, 2));
}

#[test]
fn one_loop_and_two_helpers() {
    model(2, || loops_in_turn(2, 1, 3));
}

#[test]
fn two_loops_and_two_helpers() {
    model(1, || loops_in_turn(2, 2, 3));
}

#[test]
fn two_callers_and_a_helper() {
    model(2, || {
        let loops = Arc::new(ForkJoin::new(1));
        let other = {
            let loops = loops.clone();
            thread::spawn(move || {
                let places = Places::new(2);
                run(&loops, 2, |i| places.add(i));
                assert_eq!(places.read(), [1, 1]);
            })
        };
        let places = Places::new(2);
        run(&loops, 2, |i| places.add(i));
        assert_eq!(places.read(), [1, 1]);
        other.join().unwrap();
    });
}

#[test]
fn a_helper_that_comes_between_two_loops_or_never() {
    model(3, || {
        let (loops, late) = (Arc::new(ForkJoin::new(1)), AtomicBool::new(false));
        for _ in 0..2 {
            let places = Places::new(2);
            loops.for_each(0, 2, &|i: usize| places.add(i), || late.store(true, std::sync::atomic::Ordering::Relaxed));
            assert_eq!(places.read(), [1, 1]);
            if late.swap(false, std::sync::atomic::Ordering::Relaxed) {
                lend(&loops);
            }
        }
    });
}

#[test]
fn a_task_that_panics() {
    model(2, || {
        let loops = Arc::new(ForkJoin::new(1));
        for bad in [0, 1] {
            let attempt = || {
                run(&loops, 2, |i| {
                    if i == bad {
                        std::panic::resume_unwind(Box::new(i))
                    }
                })
            };
            let panic = catch_unwind(AssertUnwindSafe(attempt)).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&bad));
        }
    });
}

/// Every thread that was lent is given back, and was never one too many.
#[test]
fn threads_that_are_lent_are_given_back() {
    model(2, || {
        let loops = Arc::new(ForkJoin::new(1));
        let threads = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        for _ in 0..2 {
            loops.for_each(0, 2, &|_: usize| {}, || {
                let loops = loops.clone();
                threads.lock().unwrap().push(thread::spawn(move || loops.help(1, || unreachable!("one is enough"))));
            });
            assert!(lent(loops.word.0.load(Relaxed)) <= 1);
        }
        for thread in threads.lock().unwrap().drain(..) {
            thread.join().unwrap();
        }
        assert_eq!(loops.word.0.load(Relaxed) % JOB, 0);
    });
}

#[test]
fn planted_faults_are_found() {
    use Fault::*;
    for fault in [OpenedUnseen, EnteredBlind, LeftUnseen, OwnerBlind, OwnerHasty, OwnerNotWoken] {
        PLANTED.set(Some(fault));
        let found = catch_unwind(|| model(2, || loops_in_turn(1, 2, 2)));
        PLANTED.set(None);
        assert!(found.is_err(), "{fault:?} was not found");
    }
}
