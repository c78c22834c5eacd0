//! Images and weights in the order in which the kernels read them.
//!
//! An image becomes `[channels / L][rows][columns][L]` with zeros where the plan says so, L being the lanes of a vector:
//! then every operand that a kernel broadcasts lies at a constant offset from the pixel before it. A normalisation that
//! was never written, or the gradient through one, is computed here, on the way; padding stays zero.
//!
//! Where an image has very few channels (the first layer of a network), the columns of the kernel are folded into the
//! channels: scratch pixel `x` holds all `KW * C` values that the window at output column `x` reads in that row.

use cnn_core::backend::{Gradient, Input};
use num_traits::{Float, One, Zero};

use super::plan::ZERO;
use crate::Cpu;
use crate::element::CpuElement;
use crate::simd::{Kernel, Simd, V, Vector};
use crate::threads::Shared;

/// An activation or a gradient as a convolution reads it, \[pixels, channels\].
#[derive(Clone, Copy)]
pub(super) enum Reader<'a, T: CpuElement> {
    Plain(Plain<'a, T>),
    Norm(Norm<'a, T>),
    Gradient(NormGradient<'a, T>),
}

/// Written to memory.
#[derive(Clone, Copy)]
pub(super) struct Plain<'a, T>(&'a [T]);

/// `max(x * scale + shift, floor)`.
#[derive(Clone, Copy)]
pub(super) struct Norm<'a, T: CpuElement> {
    x: &'a [T],
    scale: &'a [T::Accum],
    shift: &'a [T::Accum],
    floor: T::Accum,
}

/// `dy_scale * dy * mask + x_scale * x + shift`.
#[derive(Clone, Copy)]
pub(super) struct NormGradient<'a, T: CpuElement> {
    dy: &'a [T],
    x: &'a [T],
    dy_scale: &'a [T::Accum],
    x_scale: &'a [T::Accum],
    shift: &'a [T::Accum],
    mask: Option<[&'a [T::Accum]; 2]>,
}

impl<'a, T: CpuElement> Reader<'a, T> {
    /// An input of `pixels` pixels of `channels` channels.
    pub(super) fn input(input: &'a Input<Cpu<T>>, pixels: usize, channels: usize) -> Self {
        match input {
            Input::Plain(x) => Reader::Plain(Plain(checked(x.as_slice(), pixels * channels))),
            Input::Norm(norm) => Reader::Norm(Norm {
                x: checked(norm.x.as_slice(), pixels * channels),
                scale: checked(norm.scale.as_slice(), channels),
                shift: checked(norm.shift.as_slice(), channels),
                floor: if norm.relu { T::Accum::zero() } else { T::Accum::neg_infinity() },
            }),
        }
    }

    /// The arrays that are read.
    pub(super) fn sources(&self) -> [Option<&'a [T]>; 2] {
        match *self {
            Reader::Plain(source) => [Some(source.0), None],
            Reader::Norm(source) => [Some(source.x), None],
            Reader::Gradient(source) => [Some(source.dy), Some(source.x)],
        }
    }

    /// A gradient of `pixels` pixels of `channels` channels.
    pub(super) fn gradient(gradient: &'a Gradient<Cpu<T>>, pixels: usize, channels: usize) -> Self {
        match gradient {
            Gradient::Plain(dy) => Reader::Plain(Plain(checked(dy.as_slice(), pixels * channels))),
            Gradient::Norm(norm) => Reader::Gradient(NormGradient {
                dy: checked(norm.dy.as_slice(), pixels * channels),
                x: checked(norm.x.as_slice(), pixels * channels),
                dy_scale: checked(norm.dy_scale.as_slice(), channels),
                x_scale: checked(norm.x_scale.as_slice(), channels),
                shift: checked(norm.shift.as_slice(), channels),
                mask: norm
                    .mask
                    .as_ref()
                    .map(|(scale, shift)| [scale, shift].map(|list| checked(list.as_slice(), channels))),
            }),
        }
    }
}

/// The kernels read by pointer: here is where a buffer that does not fit its spec would be noticed.
fn checked<T>(slice: &[T], len: usize) -> &[T] {
    assert_eq!(slice.len(), len, "a buffer does not fit its spec");
    slice
}

/// How pixels are read, a vector of channels at a time.
pub(super) trait Read<T: CpuElement>: Copy {
    /// The coefficients of some channels.
    type Coefficients<S: Simd>: Copy;
    /// Coefficients of channels `c..c + n`.
    ///
    /// # Safety
    /// The channels exist, and `n` is at most the lanes.
    unsafe fn coefficients<S: Simd>(&self, simd: S, c: usize, n: usize) -> Self::Coefficients<S>;
    /// Elements `at..at + n`, the first of them in the first channel of the coefficients.
    ///
    /// # Safety
    /// The elements exist, and `n` is at most the lanes.
    unsafe fn read<S: Simd>(&self, simd: S, with: &Self::Coefficients<S>, at: usize, n: usize) -> V<T, S>;
    /// Asks for the elements around `at`, which need not exist, to be brought near.
    fn prefetch<S: Simd>(&self, simd: S, at: usize);
}

/// `n` numbers from `at` on.
///
/// # Safety
/// They exist, and `n` is at most the lanes.
#[inline(always)]
unsafe fn load<T: CpuElement, S: Simd>(simd: S, from: &[T], at: usize, n: usize) -> V<T, S> {
    debug_assert!(at + n <= from.len());
    // SAFETY: the caller's promise.
    unsafe {
        let from = from.as_ptr().add(at);
        if n == V::<T, S>::LANES { T::load(simd, from) } else { T::load_head(simd, from, n) }
    }
}

impl<T: CpuElement> Read<T> for Plain<'_, T> {
    type Coefficients<S: Simd> = ();
    #[inline(always)]
    unsafe fn coefficients<S: Simd>(&self, _: S, _: usize, _: usize) {}
    #[inline(always)]
    unsafe fn read<S: Simd>(&self, simd: S, (): &(), at: usize, n: usize) -> V<T, S> {
        // SAFETY: the caller's promise.
        unsafe { load(simd, self.0, at, n) }
    }
    #[inline(always)]
    fn prefetch<S: Simd>(&self, simd: S, at: usize) {
        simd.prefetch(self.0.as_ptr().wrapping_add(at));
    }
}

impl<T: CpuElement> Read<T> for Norm<'_, T> {
    type Coefficients<S: Simd> = [V<T, S>; 3];
    #[inline(always)]
    unsafe fn coefficients<S: Simd>(&self, simd: S, c: usize, n: usize) -> [V<T, S>; 3] {
        // SAFETY: the caller's promise.
        unsafe { [load(simd, self.scale, c, n), load(simd, self.shift, c, n), V::<T, S>::splat(simd, self.floor)] }
    }
    #[inline(always)]
    unsafe fn read<S: Simd>(&self, simd: S, &[scale, shift, floor]: &[V<T, S>; 3], at: usize, n: usize) -> V<T, S> {
        // SAFETY: the caller's promise.
        unsafe { load(simd, self.x, at, n) }.mul_add(scale, shift).max(floor)
    }
    #[inline(always)]
    fn prefetch<S: Simd>(&self, simd: S, at: usize) {
        simd.prefetch(self.x.as_ptr().wrapping_add(at));
    }
}

impl<T: CpuElement> Read<T> for NormGradient<'_, T> {
    type Coefficients<S: Simd> = [V<T, S>; 5];
    #[inline(always)]
    unsafe fn coefficients<S: Simd>(&self, simd: S, c: usize, n: usize) -> [V<T, S>; 5] {
        // SAFETY: the caller's promise.
        unsafe {
            let [scale, shift] = match self.mask {
                Some([scale, shift]) => [load(simd, scale, c, n), load(simd, shift, c, n)],
                None => [V::<T, S>::zero(simd), V::<T, S>::splat(simd, T::Accum::one())],
            };
            let of = |slice| load(simd, slice, c, n);
            [of(self.dy_scale), of(self.x_scale), of(self.shift), scale, shift]
        }
    }
    #[inline(always)]
    unsafe fn read<S: Simd>(&self, simd: S, with: &[V<T, S>; 5], at: usize, n: usize) -> V<T, S> {
        let [dy_scale, x_scale, shift, mask_scale, mask_shift] = *with;
        // SAFETY: the caller's promise.
        let (dy, x) = unsafe { (load(simd, self.dy, at, n), load(simd, self.x, at, n)) };
        let zero = V::<T, S>::zero(simd);
        let dy = x.mul_add(mask_scale, mask_shift).select_greater(zero, dy, zero);
        dy.mul_add(dy_scale, x.mul_add(x_scale, shift))
    }
    #[inline(always)]
    fn prefetch<S: Simd>(&self, simd: S, at: usize) {
        simd.prefetch(self.dy.as_ptr().wrapping_add(at));
        simd.prefetch(self.x.as_ptr().wrapping_add(at));
    }
}

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
    /// Scratch elements from one block of channels to the next.
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

/// The fold of the kernel's columns into the channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fold {
    /// Columns of the kernel.
    pub(super) kernel: usize,
    pub(super) stride: usize,
    /// Zeros left of the image.
    pub(super) before: usize,
}

impl Fold {
    /// Scratch elements behind the packed image that `pack` works in.
    pub(super) fn work(&self, outputs: usize, channels: usize, lanes: usize) -> usize {
        ((outputs - 1) * self.stride + self.kernel) * channels + 2 * lanes
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
    assert!(strip.plane >= strip.rows.len() * strip.columns.len() * V::<T, S>::LANES);
    match fold {
        None => {
            assert!(inside(strip.columns, strip.size[1]));
            assert!(to.len() >= strip.word.count(strip.channels).div_ceil(V::<T, S>::LANES) * strip.plane);
            if const { T::PAIRS && S::DOTS } && strip.word != Word::Number {
                return match *reader {
                    Reader::Plain(source) => simd.outline(PackPairs { source, strip, to }),
                    Reader::Norm(source) => simd.outline(PackPairs { source, strip, to }),
                    Reader::Gradient(source) => simd.outline(PackPairs { source, strip, to }),
                };
            }
            assert!(strip.word == Word::Number);
            match *reader {
                Reader::Plain(source) => simd.outline(Pack { source, strip, to }),
                Reader::Norm(source) => simd.outline(Pack { source, strip, to }),
                Reader::Gradient(source) => simd.outline(Pack { source, strip, to }),
            }
        }
        Some(fold) if strip.word == Word::Number => match *reader {
            Reader::Plain(source) => simd.outline(PackFolded { source, strip, fold, to }),
            Reader::Norm(source) => simd.outline(PackFolded { source, strip, fold, to }),
            Reader::Gradient(source) => simd.outline(PackFolded { source, strip, fold, to }),
        },
        Some(_) => unreachable!("pairs of a folded image"),
    }
}

struct Pack<'a, T: CpuElement, R> {
    source: R,
    strip: Strip<'a>,
    to: &'a mut [T::Accum],
}

impl<T: CpuElement, R: Read<T>> Kernel for Pack<'_, T, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Pack { source, strip, to } = self;
        let lanes = V::<T, S>::LANES;
        let Strip { rows, columns, image, size: [height, width], pitch, first, channels, plane, .. } = strip;
        let zero = V::<T, S>::zero(simd);
        for c in (0..channels).step_by(lanes) {
            let n = lanes.min(channels - c);
            // SAFETY: channels first..first + channels exist. `pack` has checked that every source row and column is
            // inside the image, the reader that the image has all its elements, and `to` that it has a plane for each
            // block of channels with room for every scratch pixel.
            unsafe {
                let with = source.coefficients(simd, first + c, n);
                let mut to = to.as_mut_ptr().add(c / lanes * plane);
                for &row in rows {
                    let start = (image * height + row as usize * usize::from(row != ZERO)) * width;
                    for &column in columns {
                        if row == ZERO || column == ZERO {
                            zero.store(to);
                        } else {
                            let at = (start + column as usize) * pitch + first + c;
                            source.read(simd, &with, at, n).store(to);
                        }
                        to = to.add(lanes);
                    }
                }
            }
        }
    }
}

struct PackPairs<'a, T: CpuElement, R> {
    source: R,
    strip: Strip<'a>,
    to: &'a mut [T::Accum],
}

impl<T: CpuElement, R: Read<T>> Kernel for PackPairs<'_, T, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let PackPairs { source, strip, to } = self;
        let lanes = V::<T, S>::LANES;
        let Strip { rows, columns, image, size: [height, width], pitch, first, channels, plane, word } = strip;
        let zero = V::<T, S>::zero(simd);
        let neighbours = word == Word::Channels;
        // Channels of a block, and elements from a word's first number to its second.
        let (step, apart) = if neighbours { (2 * lanes, lanes) } else { (lanes, height * width * pitch) };
        for (block, c) in (0..channels).step_by(step).enumerate() {
            let n = lanes.min(channels - c);
            let others = match word {
                Word::Channels => lanes.min((channels - c).saturating_sub(lanes)),
                Word::Images { next } => n * usize::from(next),
                Word::Number => 0,
            };
            // SAFETY: as in Pack; of the second numbers `others` are inside the image, or the next one.
            unsafe {
                let with = source.coefficients(simd, first + c, n);
                let with_other = match neighbours && others > 0 {
                    true => source.coefficients(simd, first + c + lanes, others),
                    false => with,
                };
                let mut to = to.as_mut_ptr().add(block * plane);
                for &row in rows {
                    let start = (image * height + row as usize * usize::from(row != ZERO)) * width;
                    for &column in columns {
                        if row == ZERO || column == ZERO {
                            zero.store(to);
                        } else {
                            let at = (start + column as usize) * pitch + first + c;
                            let a = source.read(simd, &with, at, n);
                            let b = if others > 0 { source.read(simd, &with_other, at + apart, others) } else { zero };
                            if neighbours { T::concat::<S>(a, b) } else { T::zip::<S>(a, b) }.store(to);
                        }
                        to = to.add(lanes);
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

impl<T: CpuElement, R: Read<T>> Kernel for PackFolded<'_, T, R> {
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

/// How a weight is cut into panels of two vectors of the channels that are written:
/// `[groups][panels][words / L][taps][L][2 L]`, a word being one channel that is read or two, the last block of each dimension as short as it is, but whole vectors.
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
}

impl Panels {
    /// What an element of the image is to be.
    pub(super) fn word(&self) -> Word {
        if self.pairs { Word::Channels } else { Word::Number }
    }

    /// Elements that hold the channels of a group that are read.
    pub(super) fn words(&self) -> usize {
        self.word().count(self.read)
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

impl<T: CpuElement> Kernel for PackPanel<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let PackPanel { panels, weight, transposed, group, panel, block, to } = self;
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
                            let from = from.add(channel * groups * write + v);
                            let mut word = V::<T, S>::load_head(simd, from, m);
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
