//! What is measured, of our side and of every other.

use cnn_measure::{Area, Repeat, Setting};

use crate::on::On;

/// What all contenders of a race do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Training or inference.
    pub(crate) area: Area,
    /// Of which network.
    pub(crate) model: String,
    /// Rows and columns of its images.
    pub(crate) side: usize,
    /// On how many images at a time.
    pub(crate) batch: usize,
    /// With how many threads.
    pub(crate) threads: usize,
    /// `f32` or `bf16`.
    pub(crate) precision: String,
    /// On what.
    pub(crate) on: On,
    /// Everything once, to see that it runs.
    pub(crate) rehearse: bool,
}

impl Setup {
    /// How often everything is repeated.
    pub(crate) fn repeat(&self) -> Repeat {
        if self.rehearse { Repeat::ONCE } else { Repeat::default() }
    }

    /// An engine that does this.
    pub(crate) fn setting(&self, engine: &str, config: &str, isa: &str) -> Setting {
        Setting {
            area: self.area,
            model: self.model.clone(),
            engine: engine.to_owned(),
            config: config.to_owned(),
            isa: isa.to_owned(),
            threads: self.threads,
            batch: self.batch,
            dtype: self.precision.clone(),
        }
    }
}
