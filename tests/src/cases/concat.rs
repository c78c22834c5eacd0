//! Channels side by side, some of them, and in another order.

use cnn_core::backend::SliceSpec;
use cnn_core::{Backend, Result};
use proptest::prelude::*;

use super::channels;
use crate::{Case, Lab};

/// Rows of some parts.
#[derive(Clone, Debug)]
pub struct Concat {
    rows: usize,
    /// Of each part.
    channels: Vec<usize>,
    groups: usize,
    seed: u32,
}

/// Parts of every number and size.
pub fn concat() -> impl Strategy<Value = Concat> {
    let rows = prop_oneof![1 => Just(0), 9 => 1usize..=60, 3 => 61usize..=900];
    let channels = prop_oneof![channels(), Just(8), 1usize..=40];
    (rows, proptest::collection::vec(channels, 1..=4), 1usize..=5, any::<u32>())
        .prop_map(|(rows, channels, groups, seed)| Concat { rows, channels, groups, seed })
}

/// Parts that vectors fit and that they do not, one part alone, rows of several tasks, and none.
pub fn edges() -> Vec<Concat> {
    let parts: [&[usize]; 7] = [&[1], &[16], &[8, 8], &[16, 32, 8], &[3, 5], &[8, 1, 8], &[64, 64]];
    let case = |(i, &channels): (usize, &&[usize])| {
        [0, 1, 5, 700].map(|rows| Concat { rows, channels: channels.to_vec(), groups: 1 + i % 4, seed: i as u32 })
    };
    parts.iter().enumerate().flat_map(case).collect()
}

impl Case for Concat {
    fn seed(&self) -> u32 {
        self.seed
    }

    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let backend = lab.backend();
        let mut parts = Vec::new();
        for &channels in &self.channels {
            let numbers = lab.numbers(self.rows * channels);
            parts.push((lab.data(&numbers)?, channels));
        }
        let y = backend.concat(&parts.iter().map(|(part, channels)| (part, *channels)).collect::<Vec<_>>())?;
        lab.report("y", &y)?.exact();
        let channels = self.channels.iter().sum();
        let mut first = 0;
        for (part, own) in &parts {
            let spec = SliceSpec::new(channels, first..first + own)?;
            lab.report("a slice", &backend.slice_channels(&spec, &y)?)?.exact();
            lab.report("dx of the slice", &backend.slice_channels_backward(&spec, part)?)?.exact();
            first += own;
        }
        // As many groups as are asked for, of as many members as there are channels of one part.
        let (x, channels) = (&parts[0].0, parts[0].1);
        let all: Vec<_> = std::iter::repeat_n((x, channels), self.groups).collect();
        let (x, channels) = (backend.concat(&all)?, channels * self.groups);
        lab.report("shuffled", &backend.shuffle_channels(&x, channels, self.groups)?)?.exact();
        lab.report("shuffled back", &backend.shuffle_channels(&x, channels, channels / self.groups)?)?.exact();
        Ok(())
    }
}
