//! Medians, and the memory a measurement needed.

use std::fs;
use std::time::{Duration, Instant};

/// The median time of `run`, after one run that does not count: at least `least` runs, and more until `budget` is spent.
///
/// # Errors
/// The first one of `run`.
pub fn median<E>(least: usize, budget: Duration, mut run: impl FnMut() -> Result<(), E>) -> Result<Duration, E> {
    run()?;
    let (begin, mut times) = (Instant::now(), Vec::new());
    while times.len() < least.max(1) || begin.elapsed() < budget {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

/// Forgets the process's peak memory so far, where the system can (Linux).
pub fn reset_peak_memory() {
    // Where it cannot, peaks are those of the whole process, which is what they are called.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The most memory that this process has held since the last reset, in bytes; none where the system does not say.
pub fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}
