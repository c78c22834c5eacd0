//! Whether a run goes on.

/// What an observer of a run answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Control {
    /// Go on.
    Continue,
    /// Save after this step, and go on; as [`Control::Continue`] where no step was made.
    Save,
    /// Save and end after this step, or after this batch of an evaluation, which a resume then begins again.
    Stop,
}
