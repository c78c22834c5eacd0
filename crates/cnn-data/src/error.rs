//! The one error type: a message is one line that names the file, the record or value, and the rule.

use crate::report::BadFile;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a data set could not be found, read or fetched.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file, an argument or a value in one breaks a rule.
    #[error("{what}: {value}: {rule}")]
    Invalid {
        /// The file or the argument.
        what: String,
        /// What was found there.
        value: String,
        /// The rule that it breaks.
        rule: String,
    },
    /// One record of a file breaks a rule.
    #[error("{file}: record {record}: {value}: {rule}")]
    Record {
        /// The file; a member of an archive is written `ARCHIVE:MEMBER`.
        file: String,
        /// Number of the record, from 0.
        record: usize,
        /// What was found there.
        value: String,
        /// The rule that it breaks.
        rule: String,
    },
    /// An image file that cannot be decoded, or is too large to be.
    #[error("{path}: {reason}")]
    Image {
        /// The file.
        path: PathBuf,
        /// Why it was refused.
        reason: String,
    },
    /// Several pictures of a set cannot be decoded.
    #[error("{} of {of} pictures cannot be decoded: {}", bad.len(), reasons(bad))]
    Pictures {
        /// Each of them.
        bad: Vec<BadFile>,
        /// Pictures that were looked at.
        of: usize,
    },
    /// Rows of a file of labels break a rule.
    #[error("{file}: {}", rows(bad, *of))]
    Rows {
        /// The file.
        file: PathBuf,
        /// Each of them.
        bad: Vec<BadRow>,
        /// Rows that were looked at, if all were.
        of: Option<usize>,
    },
    /// No data set is where it was looked for.
    #[error("{name}: not found: looked for {}; {hint}", list(looked_for))]
    Missing {
        /// The set that was asked for.
        name: String,
        /// Every place that was tried.
        looked_for: Vec<PathBuf>,
        /// How to get it.
        hint: String,
    },
    /// The network or the server failed.
    #[error("{url}: {reason}")]
    Download {
        /// The address.
        url: String,
        /// What happened.
        reason: String,
    },
    /// A file is not the pinned one.
    #[error("{from}: SHA-256 is {actual}, expected {expected}; {advice}")]
    Hash {
        /// The URL or the file.
        from: String,
        /// The pinned digest.
        expected: String,
        /// The digest of what was read.
        actual: String,
        /// What to do.
        advice: String,
    },
    /// Reading or writing a file failed.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        error: io::Error,
    },
    /// An error of the core crate.
    #[error(transparent)]
    Core(#[from] cnn_core::Error),
}

/// A row of a file of labels that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadRow {
    /// The line at which it begins, from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// The line that is displayed: it is what a `main` that returns the error prints.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// `what` has `value`, which breaks `rule`.
    pub fn invalid(what: impl ToString, value: impl ToString, rule: impl ToString) -> Self {
        Error::Invalid { what: what.to_string(), value: value.to_string(), rule: rule.to_string() }
    }

    /// The operation on `path` failed with `error`.
    pub fn io(path: impl Into<PathBuf>, error: io::Error) -> Self {
        Error::Io { path: path.into(), error }
    }

    /// Rows of the file at `path` were refused, `of` so many.
    pub(crate) fn rows(path: &Path, bad: Vec<BadRow>, of: Option<usize>) -> Self {
        Error::Rows { file: path.to_owned(), bad, of }
    }

    /// The image at `path` was refused; libraries' reasons can have several lines, a message here has one.
    pub(crate) fn image(path: &Path, reason: impl ToString) -> Self {
        let reason = reason.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Error::Image { path: path.to_owned(), reason }
    }
}

/// Reasons that a message has room for.
const SHOWN: usize = 8;

fn reasons(bad: &[BadFile]) -> String {
    some(bad.iter().map(|bad| bad.reason.clone()))
}

fn rows(bad: &[BadRow], of: Option<usize>) -> String {
    // A reason may quote what the file says, which may have lines.
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let count = of.map(|of| format!("{} of {of} rows are wrong: ", bad.len())).unwrap_or_default();
    count + &some(bad.iter().map(|bad| format!("line {}: {}", bad.line, one_line(&bad.reason))))
}

/// The first of the reasons, and how many more there are.
fn some(reasons: impl ExactSizeIterator<Item = String>) -> String {
    let more = reasons.len().saturating_sub(SHOWN);
    let shown: Vec<_> = reasons.take(SHOWN).collect();
    shown.join("; ") + &if more > 0 { format!("; and {more} more") } else { String::new() }
}

fn list(paths: &[PathBuf]) -> String {
    let mut out = String::new();
    for (i, path) in paths.iter().enumerate() {
        let separator = if i == 0 { "" } else { ", " };
        let _ = write!(out, "{separator}{}", path.display());
    }
    out
}
