//! Images in the order in which the kernels read them.
//!
//! An image becomes `[channels / L][rows][columns][L]` with zeros where the plan says so, L being the lanes of a vector:
//! then every operand that a kernel broadcasts lies at a constant offset from the pixel before it. What a reader computes
//! is computed here, on the way; padding stays zero.
//!
//! Where an image has very few channels (the first layer of a network), the columns of the kernel are folded into the
//! channels: scratch pixel `x` holds all `KW * C` values that the window at output column `x` reads in that row.

use num_traits::Zero;

use super::plan::{Fold, ZERO};
use super::reader::{Read, Reader};
use crate::element::{CpuElement, V};
use crate::simd::{Simd, SimdKernel, Vector};

/// Some rows of an image, to be packed.
#[derive(Clone, Copy)]
pub(super) struct Strip<'a> {
    /// The source row of each scratch row, or [`ZERO`].
    pub(super) rows: &'a [u32],
    /// The source column of each scratch column, or [`ZERO`]. Of a folded image, its width alone counts.
    pub(super) columns: &'a [u32],
    /// Index of the image.
    pub(super) image: usize,
    /// H, W of the source.
    pub(super) size: [usize; 2],
    /// Channels of the source, and which of them are read: the first and how many.
    pub(super) pitch: usize,
    pub(super) first: usize,
    pub(super) channels: usize,
    /// Scratch elements from one pixel to the next, and from one block of channels to the next.
    pub(super) apart: usize,
    pub(super) plane: usize,
    /// What a scratch element holds.
    pub(super) word: Word,
}

/// What a scratch element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// A number.
    Number,
    /// Two bf16: channels 2i and 2i + 1 of a pixel, for sums over channels. A block has twice as many channels.
    Channels,
    /// Two bf16: a channel of a pixel of this image and of the next, or 0 where that does not exist, for sums over images.
    Images { next: bool },
}

impl Word {
    /// Elements that hold so many channels.
    pub(super) fn count(self, channels: usize) -> usize {
        if self == Word::Channels { channels.div_ceil(2) } else { channels }
    }
}

/// Packs the strip into the front of `to`.
#[inline(always)]
pub(super) fn pack<T: CpuElement, S: Simd>(
    simd: S,
    reader: &Reader<'_, T>,
    strip: Strip<'_>,
    fold: Option<Fold>,
    to: &mut [T::Accum],
) {
    let inside = |list: &[u32], size: usize| list.iter().all(|&at| at == ZERO || (at as usize) < size);
    assert!(inside(strip.rows, strip.size[0]) && strip.first + strip.channels <= strip.pitch);
    let (lanes, pixels) = (V::<T, S>::LANES, strip.rows.len() * strip.columns.len());
    assert!(strip.apart >= lanes && strip.plane >= pixels * strip.apart);
    match fold {
        None => {
            assert!(inside(strip.columns, strip.size[1]));
            let blocks = strip.word.count(strip.channels).div_ceil(lanes);
            if blocks * pixels > 0 {
                assert!(to.len() >= (blocks - 1) * strip.plane + (pixels - 1) * strip.apart + lanes);
            }
            if const { T::PAIRS && S::DOTS } && strip.word != Word::Number {
                return match *reader {
                    Reader::Stored(source) => simd.outline_dots(Pack::<T, _, true> { source, strip, to }),
                    Reader::Norm(source) => simd.outline_dots(Pack::<T, _, true> { source, strip, to }),
                    Reader::Gradient(source) => simd.outline_dots(Pack::<T, _, true> { source, strip, to }),
                };
            }
            assert!(strip.word == Word::Number);
            match *reader {
                Reader::Stored(source) => simd.outline(Pack::<T, _, false> { source, strip, to }),
                Reader::Norm(source) => simd.outline(Pack::<T, _, false> { source, strip, to }),
                Reader::Gradient(source) => simd.outline(Pack::<T, _, false> { source, strip, to }),
            }
        }
        Some(fold) if strip.word == Word::Number && strip.apart == lanes => match *reader {
            Reader::Stored(source) => simd.outline(PackFolded { source, strip, fold, to }),
            Reader::Norm(source) => simd.outline(PackFolded { source, strip, fold, to }),
            Reader::Gradient(source) => simd.outline(PackFolded { source, strip, fold, to }),
        },
        Some(_) => unreachable!("pairs of a folded image"),
    }
}

/// Packs one number a word, or with `PAIRS` two.
struct Pack<'a, T: CpuElement, R, const PAIRS: bool> {
    source: R,
    strip: Strip<'a>,
    to: &'a mut [T::Accum],
}

impl<T: CpuElement, R: Read<T>, const PAIRS: bool> SimdKernel for Pack<'_, T, R, PAIRS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Pack { source, strip, to } = self;
        let lanes = V::<T, S>::LANES;
        let Strip { rows, columns, image, size: [height, width], pitch, first, channels, apart: pixel, plane, word } =
            strip;
        let zero = V::<T, S>::zero(simd);
        let neighbours = PAIRS && word == Word::Channels;
        // Channels of a block, and elements from a word's first number to its second.
        let (step, apart) = if neighbours { (2 * lanes, lanes) } else { (lanes, height * width * pitch) };
        for (block, c) in (0..channels).step_by(step).enumerate() {
            let n = lanes.min(channels - c);
            let others = match word {
                Word::Channels => lanes.min((channels - c).saturating_sub(lanes)),
                Word::Images { next } => n * usize::from(next),
                Word::Number => 0,
            };
            // `pack` has checked that every source row and column is inside the image, and that `to` has a vector for every
            // scratch pixel in the plane of each block of channels; the reader has all elements of the image.
            // SAFETY: by this; channels first..first + channels exist, and of the second numbers `others` are inside the
            // image, or the next one.
            unsafe {
                let with = source.coefficients(simd, first + c, n);
                let with_other = match neighbours && others > 0 {
                    true => source.coefficients(simd, first + c + lanes, others),
                    false => with,
                };
                let mut to = to.as_mut_ptr().wrapping_add(block * plane);
                for &row in rows {
                    let start = (image * height + row as usize * usize::from(row != ZERO)) * width;
                    for &column in columns {
                        if row == ZERO || column == ZERO {
                            zero.store(to);
                        } else {
                            let at = (start + column as usize) * pitch + first + c;
                            let mut value = source.read(simd, &with, at, n);
                            if PAIRS {
                                let other =
                                    if others > 0 { source.read(simd, &with_other, at + apart, others) } else { zero };
                                // `pack` runs pairs where the instruction set has their instructions.
                                value = match neighbours {
                                    true => T::concat::<S>(value, other),
                                    false => T::zip::<S>(value, other),
                                };
                            }
                            value.store(to);
                        }
                        to = to.wrapping_add(pixel);
                    }
                }
            }
        }
    }
}

struct PackFolded<'a, T: CpuElement, R> {
    source: R,
    strip: Strip<'a>,
    fold: Fold,
    to: &'a mut [T::Accum],
}

impl<T: CpuElement, R: Read<T>> SimdKernel for PackFolded<'_, T, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let PackFolded { source, strip, fold, to } = self;
        let lanes = V::<T, S>::LANES;
        let Strip { rows, columns, image, size: [height, width], pitch, first, channels, plane, .. } = strip;
        let (outputs, folded) = (columns.len(), fold.kernel * channels);
        let (packed, line) = to.split_at_mut(folded.div_ceil(lanes) * plane);
        let padded = (outputs - 1) * fold.stride + fold.kernel; // columns that the windows reach
        let line = &mut line[..fold.work(outputs, channels, lanes)];
        line.fill(T::Accum::zero());
        // SAFETY: as in Pack; the line holds a zero-padded row of the image and two vectors behind it, and a window's
        // values start inside the row.
        unsafe {
            for (r, &row) in rows.iter().enumerate() {
                for c in (0..if row == ZERO { 0 } else { channels }).step_by(lanes) {
                    let n = lanes.min(channels - c);
                    let with = source.coefficients(simd, first + c, n);
                    for column in 0..width.min(padded.saturating_sub(fold.before)) {
                        let at = ((image * height + row as usize) * width + column) * pitch + first + c;
                        let to = line.as_mut_ptr().add((fold.before + column) * channels + c);
                        source.read(simd, &with, at, n).store_head(to, n);
                    }
                }
                for b in 0..folded.div_ceil(lanes) {
                    let to = packed.as_mut_ptr().add(b * plane + r * outputs * lanes);
                    for x in 0..outputs {
                        let value = match row {
                            ZERO => V::<T, S>::zero(simd),
                            _ => V::<T, S>::load(simd, line.as_ptr().add(x * fold.stride * channels + b * lanes)),
                        };
                        value.store(to.add(x * lanes));
                    }
                }
            }
        }
    }
}
