//! Why a command did not succeed, and the exit status that says so.

use cnn::{core, data, train};

/// A command that did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Arguments that cannot be meant: status 2.
    Usage(String),
    /// Something broke: status 1.
    Fault(String),
    /// The same, already said on stderr.
    Reported,
    /// Stopped by this signal, everything saved: status 128 + signal.
    Stopped(u8),
}

impl Failure {
    /// An argument has a value that breaks a rule.
    pub(crate) fn usage(error: impl ToString) -> Self {
        Failure::Usage(error.to_string())
    }

    /// Something broke.
    pub(crate) fn fault(error: impl ToString) -> Self {
        Failure::Fault(error.to_string())
    }

    /// What the user is still to be told.
    pub(crate) fn message(&self) -> Option<&str> {
        match self {
            Failure::Usage(message) | Failure::Fault(message) => Some(message),
            Failure::Reported | Failure::Stopped(_) => None,
        }
    }

    /// The exit status.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Fault(_) | Failure::Reported => 1,
            Failure::Stopped(signal) => 128 + signal,
        }
    }
}

impl From<core::Error> for Failure {
    fn from(error: core::Error) -> Self {
        Failure::fault(error)
    }
}

impl From<data::Error> for Failure {
    fn from(error: data::Error) -> Self {
        match error {
            data::Error::Missing { .. } => Failure::usage(error),
            _ => Failure::fault(error),
        }
    }
}

impl From<train::Error> for Failure {
    fn from(error: train::Error) -> Self {
        match error {
            train::Error::Data(error) => error.into(),
            train::Error::Recipe { .. } => Failure::usage(error),
            _ => Failure::fault(error),
        }
    }
}
