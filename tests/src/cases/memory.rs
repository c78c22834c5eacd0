//! Uploads, downloads and conversions.

use cnn_core::{Backend, Result};
use proptest::prelude::*;

use crate::{Case, Lab};

/// Buffers of some length.
#[derive(Clone, Debug)]
pub struct Memory {
    len: usize,
    seed: u32,
}

/// Buffers of every length.
pub fn memory() -> impl Strategy<Value = Memory> {
    let len = prop_oneof![1 => Just(0), 9 => 1usize..=100, 9 => 101usize..=5000, 1 => 60_000usize..=140_000];
    (len, any::<u32>()).prop_map(|(len, seed)| Memory { len, seed })
}

impl Case for Memory {
    fn seed(&self) -> u32 {
        self.seed
    }

    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let backend = lab.backend();
        let values = lab.numbers(self.len);
        let data = lab.data(&values)?;
        lab.report("data", &data)?.exact();
        lab.report_fact("length", backend.len(&data) as u32);
        let wide = backend.widen(&data)?;
        lab.report_wide("widened", &wide)?.exact();
        lab.report("narrowed", &backend.narrow(&wide)?)?.exact();
        lab.report_indices("filled", &backend.fill(self.len, self.seed)?)?;
        let bytes: Vec<u8> = (0..self.len).map(|i| (i * 7) as u8).collect();
        let same = backend.download(&backend.upload(&bytes)?)? == bytes;
        lab.report_fact("bytes come back", u8::from(same));
        Ok(())
    }
}
