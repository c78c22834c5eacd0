//! Weights in the order in which the kernels read them.

use num_traits::Zero;

use super::pack::Word;
use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::Shared;

/// How a weight is cut into panels of two vectors of the channels that are written:
/// `[groups][panels][words / L][taps][L][2 L]`, a word being one channel that is read or two, the last block of each
/// dimension as short as it is, but whole vectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panels {
    pub(super) groups: usize,
    pub(super) taps: usize,
    /// Channels of a group that are read (summed over).
    pub(super) read: usize,
    /// Channels of a group that are written.
    pub(super) write: usize,
    pub(super) lanes: usize,
    /// An element holds two of the channels that are read.
    pub(super) pairs: bool,
    /// Blocks of words are whole, with zeros: the rows of a tile.
    pub(super) tiles: bool,
}

impl Panels {
    /// What an element of the image is to be.
    pub(super) fn word(&self) -> Word {
        if self.pairs { Word::Channels } else { Word::Number }
    }

    /// Elements that hold the channels of a group that are read.
    pub(super) fn words(&self) -> usize {
        let words = self.word().count(self.read);
        if self.tiles { words.next_multiple_of(self.lanes) } else { words }
    }

    /// Panels of a group.
    pub(super) fn count(&self) -> usize {
        self.write.div_ceil(2 * self.lanes)
    }

    /// Vectors of panel `p`: 2, or 1 where one is enough for the last channels.
    pub(super) fn vectors(&self, p: usize) -> usize {
        (self.write - p * 2 * self.lanes).div_ceil(self.lanes).min(2)
    }

    /// Where panel `p` of a group starts.
    pub(super) fn start(&self, group: usize, p: usize) -> usize {
        let vectors = group * self.write.div_ceil(self.lanes) + p * 2;
        vectors * self.lanes * self.taps * self.words()
    }

    /// Elements of the whole packed weight.
    pub(super) fn len(&self) -> usize {
        self.start(self.groups, 0)
    }

    /// Packs `weight` \[taps, C / groups, K\]: for the forward pass K is written, for the gradient of the input
    /// (`transposed`) C / groups is.
    pub(super) fn pack<T: CpuElement>(&self, cpu: &Cpu<T>, weight: &[T::Accum], transposed: bool, to: &mut [T::Accum]) {
        assert_eq!(weight.len(), self.groups * self.taps * self.read * self.write);
        assert_eq!(to.len(), self.len());
        let (blocks, panels, to) = (self.words().div_ceil(self.lanes), self.count(), Shared::new(to));
        cpu.for_each(self.groups * panels * blocks, |i| {
            let (group, panel, block) = (i / (panels * blocks), i / blocks % panels, i % blocks);
            cpu.run(PackPanel::<T> { panels: *self, weight, transposed, group, panel, block, to });
        });
    }
}

struct PackPanel<'a, T: CpuElement> {
    panels: Panels,
    weight: &'a [T::Accum],
    transposed: bool,
    group: usize,
    panel: usize,
    block: usize,
    to: Shared<T::Accum>,
}

impl<T: CpuElement> SimdKernel for PackPanel<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if const { T::PAIRS && S::DOTS } && self.panels.pairs {
            simd.outline_dots(PackWords(self));
        } else {
            PackWords(self).run(simd);
        }
    }
}

struct PackWords<'a, T: CpuElement>(PackPanel<'a, T>);

impl<T: CpuElement> SimdKernel for PackWords<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let PackPanel { panels, weight, transposed, group, panel, block, to } = self.0;
        let lanes = V::<T, S>::LANES;
        let Panels { groups, taps, read, write, pairs, .. } = panels;
        let width = panels.vectors(panel) * lanes;
        let (r0, w0) = (block * lanes, panel * 2 * lanes);
        let (n, m) = (lanes.min(panels.words() - r0), width.min(write - w0));
        // SAFETY: this task alone writes block `block` of panel `panel`, taps * n * width elements from here on.
        let to = unsafe { to.get().add(panels.start(group, panel) + r0 * taps * width) };
        // Channels of a word; the second of the last may not exist.
        let numbers = 1 + usize::from(pairs);
        for tap in 0..taps {
            // SAFETY: weight has [taps][read][groups * write] elements, or with the roles exchanged; a word has room for
            // as many T as it has numbers.
            unsafe {
                let to = to.add(tap * n * width);
                if transposed {
                    let from = weight.as_ptr().add((tap * write + w0) * groups * read + group * read);
                    for w in 0..width {
                        for r in 0..n * numbers {
                            let channel = r0 * numbers + r;
                            let exists = w < m && channel < read;
                            let value = if exists { *from.add(w * groups * read + channel) } else { T::Accum::zero() };
                            let word = to.add(r / numbers * width + w);
                            if pairs {
                                *word.cast::<T>().add(r % 2) = T::from_accum(value);
                            } else {
                                *word = value;
                            }
                        }
                    }
                } else {
                    let from = weight.as_ptr().add(tap * read * groups * write + group * write + w0);
                    for r in 0..n {
                        for v in (0..width).step_by(lanes) {
                            let (channel, m) = ((r0 + r) * numbers, lanes.min(m - v));
                            let from = from.wrapping_add(channel * groups * write + v);
                            let mut word = match channel < read {
                                true => V::<T, S>::load_head(simd, from, m),
                                false => V::<T, S>::zero(simd),
                            };
                            if pairs {
                                let second = match channel + 1 < read {
                                    true => V::<T, S>::load_head(simd, from.add(groups * write), m),
                                    false => V::<T, S>::zero(simd),
                                };
                                word = T::zip::<S>(word, second);
                            }
                            word.store(to.add(r * width + v));
                        }
                    }
                }
            }
        }
    }
}
