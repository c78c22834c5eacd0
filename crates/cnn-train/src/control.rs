//! Whether a run goes on.

/// What an observer of a run answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Save and end after this step, or after this batch of an evaluation, which a resume then begins again.
    Stop,
}
