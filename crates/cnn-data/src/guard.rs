//! A dependency's panic as an error: whatever a decoder meets in a file, the program goes on with the others.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::thread;

thread_local! {
    /// Whether this thread's panics are caught and told as errors.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// The result of `work` or, if it panics, the panic's message.
///
/// A panic inside writes nothing: the first call puts a hook before the process's panic hook that lets pass what other
/// threads panic with, and this one at other times. Nothing that `work` changed is looked at after a panic.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    // A panicking thread may not set a hook; its message has been written already.
    if !thread::panicking() {
        HOOK.call_once(|| {
            let other = panic::take_hook();
            panic::set_hook(Box::new(move |panic| {
                if !GUARDED.get() {
                    other(panic);
                }
            }));
        });
    }
    let outer = GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    result.map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("for a reason it does not say").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        assert_eq!(guarded(|| 7), Ok(7));
        assert_eq!(guarded(|| -> () { panic!("number {}", 3) }), Err("number 3".to_owned()));
        let index = std::hint::black_box(3);
        let outside = guarded(|| [1, 2][index]).unwrap_err();
        assert!(outside.contains("out of bounds"), "{outside}");
        assert!(!GUARDED.get());
    }
}
