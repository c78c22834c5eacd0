//! Medians, and the memory a measurement needed.

use std::fs;
use std::time::{Duration, Instant};

use cnn_core::{Error, Result};

use crate::machine::Machine;

/// How often a measurement is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// At least so many times.
    pub least: usize,
    /// And for at least so long.
    pub budget: Duration,
}

impl Repeat {
    /// Once, to see that it runs.
    pub const ONCE: Repeat = Repeat { least: 1, budget: Duration::ZERO };
}

impl Default for Repeat {
    /// 7 times and 300 ms.
    fn default() -> Self {
        Repeat { least: 7, budget: Duration::from_millis(300) }
    }
}

/// The median time of `run`, after two runs that do not count: the second is the first that finds all its memory there.
///
/// # Errors
/// The first one of `run`.
pub fn median<E>(repeat: Repeat, mut run: impl FnMut() -> Result<(), E>) -> Result<Duration, E> {
    run()?;
    run()?;
    let (begin, mut times) = (Instant::now(), Vec::new());
    while times.len() < repeat.least.max(1) || begin.elapsed() < repeat.budget {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

/// How long a row of runs is at least, so that what it begins and ends with does not count.
const ROW: Duration = Duration::from_millis(5);

/// The median time of `run` on a device. One that may be behind the loop that asks is given rows of runs, each waited for: of as
/// many as it may be behind, and of more where those are short.
///
/// # Errors
/// The first one of `run`, or what the device's work has failed with.
pub fn median_on<B: Machine>(backend: &B, repeat: Repeat, mut run: impl FnMut() -> Result<()>) -> Result<Duration> {
    let behind = backend.steps_behind() as u32;
    if behind == 0 {
        return median(repeat, run);
    }
    let mut row = |together: u32| {
        let start = Instant::now();
        (0..together).try_for_each(|_| run())?;
        backend.wait()?;
        Ok::<_, Error>(start.elapsed())
    };
    let mut together = if repeat.budget.is_zero() { 1 } else { behind };
    row(1)?;
    while row(together)? < ROW.min(repeat.budget) {
        together *= 2;
    }
    let time = median(repeat, || row(together).map(drop))?;
    Ok(time / together)
}

/// The most memory that this process has held, in bytes; none where the system does not say.
pub fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_does_not_count_and_an_error_ends_it() {
        let mut runs = 0;
        let slow_at_first = || {
            runs += 1;
            std::thread::sleep(Duration::from_millis(if runs <= 2 { 50 } else { 0 }));
            Ok::<_, ()>(())
        };
        let time = median(Repeat { least: 5, budget: Duration::ZERO }, slow_at_first).unwrap();
        assert!(time < Duration::from_millis(50), "{time:?}");
        assert_eq!(runs, 7);
        assert_eq!(median(Repeat::default(), || Err(3)), Err(3));
    }
}
