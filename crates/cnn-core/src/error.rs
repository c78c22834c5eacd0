//! The one error type: it names the layer, the argument, its value and the rule.
//!
//! A message is complete, its cause included, so `source` has nothing to add and returns none: a report that follows the
//! chain of sources says nothing twice.

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation was refused or failed.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument breaks a rule.
    #[error("{what} {value}: {rule}")]
    Invalid {
        /// The argument, in words.
        what: String,
        /// Its value.
        value: String,
        /// The rule that it breaks.
        rule: String,
    },
    /// An error inside the layer at `path`; a path that begins with a number, of a list of layers, is called one.
    #[error("{}{path}: {error}", if path.starts_with(|c: char| c.is_ascii_digit()) { "layer " } else { "" })]
    Layer {
        /// State-dict path of the layer, such as `layer2.0.conv1`.
        path: String,
        /// What went wrong there.
        error: Box<Error>,
    },
    /// A weights file that does not parse, or does not fit the model.
    #[error("{0}")]
    StateDict(String),
    /// The device failed or cannot do what was asked.
    #[error("{backend}: {message}")]
    Device {
        /// Name of the backend.
        backend: &'static str,
        /// What happened.
        message: String,
    },
    /// The device has no memory for a buffer.
    #[error("{backend}: out of memory: {bytes} bytes were asked for{}", free.map_or_else(String::new, |free| format!(", {free} are free")))]
    OutOfMemory {
        /// Name of the backend.
        backend: &'static str,
        /// What was asked for.
        bytes: u128,
        /// What nobody has, where the device says so; it may be in pieces.
        free: Option<u64>,
    },
    /// Reading or writing a file failed.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// The operating system's answer.
        error: std::io::Error,
    },
}

/// The line that is displayed: it is what a `main` that returns the error prints.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// `what` has `value`, which breaks `rule`.
    pub fn invalid(what: impl Into<String>, value: impl ToString, rule: impl Into<String>) -> Self {
        Error::Invalid { what: what.into(), value: value.to_string(), rule: rule.into() }
    }

    /// The operation on `path` failed with `error`.
    pub fn io(path: impl Into<std::path::PathBuf>, error: std::io::Error) -> Self {
        Error::Io { path: path.into(), error }
    }

    /// The same error, known to come from the layer at `path`; the innermost layer is kept.
    #[must_use]
    pub fn in_layer(self, path: &str) -> Self {
        match self {
            Error::Layer { .. } => self,
            _ if path.is_empty() => self,
            other => Error::Layer { path: path.to_owned(), error: Box::new(other) },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_cause_is_in_the_message_and_not_said_again_by_the_source() {
        let io = Error::io("a.bin", std::io::Error::other("broken"));
        let layer = Error::invalid("kernel", 9, "must be at most 8").in_layer("conv1");
        assert_eq!(io.to_string(), "a.bin: broken");
        assert_eq!(layer.to_string(), "conv1: kernel 9: must be at most 8");
        assert!(io.source().is_none() && layer.source().is_none());
    }
}
