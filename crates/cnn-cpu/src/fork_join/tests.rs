//! The protocol on threads that are started for each helper.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::*;

/// Starts a thread that helps.
fn lend(loops: &Arc<ForkJoin>) {
    let loops = loops.clone();
    std::thread::spawn(move || loops.help(1, || lend(&loops)));
}

fn run(loops: &Arc<ForkJoin>, count: usize, body: impl Fn(usize) + Sync) {
    loops.for_each(0, count, &body, || lend(loops));
}

fn counts(loops: &Arc<ForkJoin>, count: usize) -> Vec<usize> {
    let ran: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
    run(loops, count, |i| {
        ran[i].fetch_add(1, Relaxed);
    });
    ran.into_iter().map(AtomicUsize::into_inner).collect()
}

fn panic_of(attempt: impl FnOnce()) -> Box<dyn Any + Send> {
    catch_unwind(AssertUnwindSafe(attempt)).unwrap_err()
}

/// How many are lent once those that have nothing to do are gone.
fn lent_in_the_end(loops: &ForkJoin) -> usize {
    for _ in 0..10_000 {
        if lent(loops.word.0.load(Relaxed)) == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    lent(loops.word.0.load(Relaxed))
}

#[test]
fn loops_meet_and_nest() {
    let loops = Arc::new(ForkJoin::new(2));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let sum = AtomicUsize::new(0);
                    run(&loops, 5, |i| {
                        run(&loops, i, |_| {
                            sum.fetch_add(1, Relaxed);
                        });
                    });
                    assert_eq!(sum.into_inner(), 10);
                }
            });
        }
    });
}

/// Which of the threads does which task, where all are there for as long as each has a task to do.
#[test]
fn every_thread_begins_with_its_own_part() {
    fn lend(loops: &Arc<ForkJoin>, next: &Arc<AtomicUsize>) {
        let (loops, next) = (loops.clone(), next.clone());
        let place = next.fetch_add(1, Relaxed);
        std::thread::spawn(move || loops.help(place, || lend(&loops, &next)));
    }
    let (loops, next) = (Arc::new(ForkJoin::new(2)), Arc::new(AtomicUsize::new(1)));
    for count in [3, 7, 12] {
        let (places, arrived) = (Mutex::new(vec![usize::MAX; count]), AtomicUsize::new(0));
        let body = |i: usize| {
            lock(&places)[i] = place();
            arrived.fetch_add(1, Relaxed);
            while arrived.load(Relaxed) < 3 {
                std::thread::yield_now();
            }
        };
        loops.for_each(0, count, &body, || lend(&loops, &next));
        let firsts: Vec<usize> = (0..3).map(|part| Job::new(count, 3, &body).part(part).0).collect();
        let places = places.into_inner().unwrap();
        let began: Vec<usize> = firsts.iter().map(|&first| places[first]).collect();
        // A helper that had given its thread back is asked for again with another place.
        let mut parts: Vec<usize> = began.iter().map(|place| place % 3).collect();
        parts.sort_unstable();
        assert_eq!((began[0], parts), (0, vec![0, 1, 2]), "{count}: {places:?}");
        lent_in_the_end(&loops);
        next.store(1, Relaxed);
    }
}

#[test]
fn parts_cover_all_tasks_once_and_are_as_even_as_can_be() {
    for (count, parts, nobodys) in [(1, 1, 0), (5, 2, 0), (16, 16, 0), (17, 16, 0), (33, 2, 11), (1000, 7, 333)] {
        let job = Job::new(count, parts, &|_| {});
        let (mut next, owned) = (0, count - nobodys);
        for part in 0..parts {
            let (first, tasks) = job.part(part);
            assert!(first == next && (owned / parts..=owned.div_ceil(parts)).contains(&tasks));
            next += tasks;
        }
        assert_eq!((job.part(parts), next), ((owned, nobodys), owned));
        for place in 0..parts {
            let mut order: Vec<usize> = job.order(place, parts).collect();
            assert_eq!((order[0], order[parts]), (place, parts));
            order.sort_unstable();
            assert_eq!(order, (0..=parts).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_panic_is_passed_on_and_the_helpers_go_on() {
    let loops = Arc::new(ForkJoin::new(3));
    for bad in [0, 7, 99] {
        let panic = panic_of(|| run(&loops, 100, |i| assert_ne!(i, bad, "task {i}")));
        assert!(panic.downcast_ref::<String>().unwrap().contains(&format!("task {bad}")));
        assert_eq!(counts(&loops, 50), [1; 50]);
    }
}

/// A panic's payload that panics when it is dropped.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

#[test]
fn a_second_panic_that_cannot_be_dropped_holds_up_nobody() {
    let loops = Arc::new(ForkJoin::new(1));
    for _ in 0..20 {
        let both = AtomicUsize::new(0);
        let panic = panic_of(|| {
            run(&loops, 2, |_| {
                both.fetch_add(1, Relaxed);
                while both.load(Relaxed) < 2 {
                    std::thread::yield_now(); // so that both threads panic
                }
                std::panic::panic_any(Grenade);
            });
        });
        std::mem::forget(panic);
        assert_eq!(counts(&loops, 50), [1; 50]);
    }
}

#[test]
fn no_more_helpers_are_asked_for_than_there_are_tasks_for() {
    let (loops, asked) = (ForkJoin::new(7), AtomicUsize::new(0));
    let ask = |count| {
        for _ in 0..10 {
            loops.for_each(0, count, &|_| {}, || {
                asked.fetch_add(1, Relaxed); // and nobody ever comes
            });
        }
        asked.load(Relaxed)
    };
    assert_eq!([0, 1, 2, 3, 4, 100, 100].map(ask), [0, 0, 1, 2, 3, 7, 7]);
}

#[test]
fn threads_are_given_back() {
    let loops = Arc::new(ForkJoin::new(4));
    for _ in 0..3 {
        for _ in 0..100 {
            assert_eq!(counts(&loops, 20), [1; 20]);
        }
        assert_eq!(lent_in_the_end(&loops), 0);
    }
}

/// The helpers' last tasks take longer than the owner looks for their end: it sleeps, and is woken.
#[test]
fn an_owner_that_sleeps_is_woken() {
    let loops = Arc::new(ForkJoin::new(2));
    let owner = std::thread::current().id();
    let done = AtomicUsize::new(0);
    for round in 0..20 {
        let arrived = AtomicUsize::new(0);
        run(&loops, 3, |_| {
            arrived.fetch_add(1, Relaxed);
            while arrived.load(Relaxed) < 3 {
                std::thread::yield_now();
            }
            if std::thread::current().id() != owner {
                std::thread::sleep(Duration::from_millis(2));
            }
            done.fetch_add(1, Relaxed);
        });
        assert_eq!(done.load(Relaxed), 3 * (round + 1));
    }
}

#[test]
fn what_lends_may_panic() {
    let loops = Arc::new(ForkJoin::new(1));
    let panic = panic_of(|| loops.for_each(0, 4, &|_| {}, || panic!("no threads")));
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"no threads"));
    assert_eq!(loops.word.0.load(Relaxed) & OPEN, 0, "the loop is closed");
    assert_eq!(counts(&loops, 9), [1; 9]);
}
