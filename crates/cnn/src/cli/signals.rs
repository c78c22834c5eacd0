//! SIGINT, SIGTERM and SIGHUP while a training runs: the first asks it to stop and save, the second ends the process at
//! once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[cfg(unix)]
use signal_hook::consts::{SIGHUP, SIGXFSZ};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::failure::Failure;

/// Whether a signal has asked to stop.
#[derive(Debug)]
pub(crate) struct Stop(Arc<AtomicUsize>);

impl Stop {
    /// From now on the first signal is only noted.
    pub(crate) fn on_signals() -> Result<Stop, Failure> {
        let (noted, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        for signal in stopping() {
            // In this order: the first signal finds `noted` unset, the second finds it set and ends the process.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&noted))
                .and_then(|_| flag::register(signal, Arc::clone(&noted)))
                .and_then(|_| flag::register_usize(signal, Arc::clone(&received), signal as usize))
                .map_err(|error| Failure::fault(format!("signal {signal}: {error}")))?;
        }
        Ok(Stop(received))
    }

    /// The signal that asked to stop.
    pub(crate) fn signal(&self) -> Option<u8> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal as u8),
        }
    }
}

/// The signals that ask to stop.
fn stopping() -> Vec<i32> {
    let mut signals = vec![SIGINT, SIGTERM];
    #[cfg(unix)]
    if !is_ignored(SIGHUP) {
        signals.push(SIGHUP);
    }
    signals
}

/// Whether this process was started with `signal` ignored, as nohup does; also true where the system does not say (all
/// but Linux), so that the signal is left alone.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    // A mask in hexadecimal digits, whose lowest bit is signal 1.
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask >> (signal - 1) & 1 == 1)
}

/// From now on a write past the limit of a file's size (`ulimit -f`) is an error of that write, not the end of the
/// process with half a file left.
pub(crate) fn file_size_limit_is_an_error() -> Result<(), Failure> {
    #[cfg(unix)]
    flag::register(SIGXFSZ, Arc::default()).map_err(|error| Failure::fault(format!("signal {SIGXFSZ}: {error}")))?;
    Ok(())
}
