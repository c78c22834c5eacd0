//! SIGINT, SIGTERM and SIGHUP while a training runs: the first asks it to stop and save, and one that comes more than a
//! second later ends the process at once. A terminal that closes sends two, and an impatient finger too: they shall not
//! end the process while it saves. SIGUSR1 asks it to save and go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

#[cfg(unix)]
use signal_hook::consts::{SIGHUP, SIGUSR1, SIGXFSZ};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::failure::Failure;

/// Time between two looks for a signal.
const LOOK: Duration = Duration::from_millis(100);
/// Signals that are as close together mean the same.
const FINGER: Duration = Duration::from_secs(1);

/// What signals have asked for.
#[derive(Debug)]
pub(crate) struct Signals {
    /// The one that asked to stop; 0 for none.
    stop: Arc<AtomicUsize>,
    save: Arc<AtomicBool>,
}

impl Signals {
    /// From now on the first signal is only noted.
    pub(crate) fn noted() -> Result<Self, Failure> {
        let (late, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        for signal in stopping() {
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&late))
                .and_then(|_| flag::register_usize(signal, Arc::clone(&received), signal as usize))
                .map_err(|error| Failure::fault(format!("signal {signal}: {error}")))?;
        }
        let noted = Arc::clone(&received);
        let watch = move || {
            while noted.load(Ordering::Relaxed) == 0 {
                thread::sleep(LOOK);
            }
            thread::sleep(FINGER);
            late.store(true, Ordering::Relaxed);
        };
        let watched = thread::Builder::new().name("signals".to_owned()).spawn(watch);
        watched.map_err(|error| Failure::fault(format!("a thread for signals: {error}")))?;
        let save = Arc::new(AtomicBool::new(false));
        #[cfg(unix)]
        flag::register(SIGUSR1, Arc::clone(&save))
            .map_err(|error| Failure::fault(format!("signal {SIGUSR1}: {error}")))?;
        Ok(Signals { stop: received, save })
    }

    /// The signal that asked to stop.
    pub(crate) fn stop(&self) -> Option<u8> {
        match self.stop.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal as u8),
        }
    }

    /// Whether a signal has asked to save since this was asked for.
    pub(crate) fn save(&self) -> bool {
        self.save.swap(false, Ordering::Relaxed)
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
