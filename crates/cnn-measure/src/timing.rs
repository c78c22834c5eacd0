//! Medians, and the memory a measurement needed.

use std::fs;
use std::time::{Duration, Instant};

use cnn_core::Result;

use crate::machine::Machine;

/// How often a measurement is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// At least so many times.
    pub least: usize,
    /// And for at least so long.
    pub budget: Duration,
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

/// The median time of `run` on a device, which may be behind the loop that asks: so many runs are timed together, and waited
/// for.
///
/// # Errors
/// The first one of `run`, or what the device's work has failed with.
pub fn median_on<B: Machine>(backend: &B, repeat: Repeat, mut run: impl FnMut() -> Result<()>) -> Result<Duration> {
    let together = backend.steps_behind().max(1);
    let time = median(repeat, || {
        (0..together).try_for_each(|_| run())?;
        backend.wait()
    })?;
    Ok(time / together as u32)
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
