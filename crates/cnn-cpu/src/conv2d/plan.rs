//! The geometry of a convolution as its kernels see it: taps over a padded copy of the image.
//!
//! A kernel reads no image but a scratch copy with zeros around it, arranged so that neighbouring outputs always read
//! neighbouring pixels. Then stride, dilation and padding are nothing but a list of which source row or column each
//! scratch position holds, and a list of offsets, one for each tap:
//!
//! ```text
//! output t of a class = sum over its taps (k, at) of scratch[at + t * step] * w[k]
//! ```
//!
//! Forward there is one class. A stride s reads every s-th position, so the scratch holds the columns by their
//! remainder modulo s, one remainder after the other; rows have a pitch of their own anyway and stay in order. The
//! gradient of the input falls into s classes of outputs, those with the same (i + padding) mod s, each with its own
//! taps over one copy of the output's gradient. A tap that would see only padding is dropped.

use std::ops::Range;

use cnn_core::Conv2dSpec;

/// A scratch position that holds zeros.
pub(super) const ZERO: u32 = u32::MAX;

/// One axis of a convolution.
#[derive(Debug, PartialEq)]
pub(super) struct Axis {
    /// The source row or column in each scratch position, or [`ZERO`].
    pub(super) source: Vec<u32>,
    /// Scratch positions from one output to the next.
    pub(super) step: usize,
    /// The outputs; together the classes cover each once.
    pub(super) classes: Vec<Class>,
}

/// Outputs `first + t * stride` for `t < count`, which see the same taps.
#[derive(Debug, PartialEq)]
pub(super) struct Class {
    pub(super) first: usize,
    pub(super) stride: usize,
    pub(super) count: usize,
    /// Index in the kernel, and scratch position for t = 0.
    pub(super) taps: Vec<(usize, usize)>,
}

/// One axis of a spec.
#[derive(Clone, Copy)]
struct Line {
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    before: usize,
}

fn line(spec: &Conv2dSpec, axis: usize) -> Line {
    Line {
        input: spec.input[axis],
        output: spec.output[axis],
        kernel: spec.kernel[axis],
        stride: spec.stride[axis],
        dilation: spec.dilation[axis],
        before: [spec.padding.top, spec.padding.left][axis],
    }
}

/// Rows and columns of the forward convolution and of the weight gradient.
pub(super) fn forward(spec: &Conv2dSpec) -> [Axis; 2] {
    [forward_axis(line(spec, 0), true), forward_axis(line(spec, 1), false)]
}

/// Rows and columns of the gradient of the input.
pub(super) fn data(spec: &Conv2dSpec) -> [Axis; 2] {
    [data_axis(line(spec, 0)), data_axis(line(spec, 1))]
}

/// Output t reads input `t * stride + k * dilation - before`.
fn forward_axis(line: Line, in_order: bool) -> Axis {
    let Line { input, output, kernel, stride, dilation, before } = line;
    let sees = |k: usize| {
        let (first, last) = (k * dilation, k * dilation + (output - 1) * stride); // in the padded image
        last >= before && first < before + input
            // between first and last there may still be only a gap
            && (0..output).any(|t| (before..before + input).contains(&(first + t * stride)))
    };
    // Taps by remainder: (remainder, k).
    let mut taps: Vec<(usize, usize)> = (0..kernel).filter(|&k| sees(k)).map(|k| (k * dilation % stride, k)).collect();
    taps.sort_unstable();
    let step = if in_order { taps.chunk_by(|a, b| a.0 == b.0).count().max(1) } else { 1 };
    let (mut source, mut placed) = (Vec::new(), Vec::with_capacity(taps.len()));
    for (i, same) in taps.chunk_by(|a, b| a.0 == b.0).enumerate() {
        let shift = |k: usize| k * dilation / stride;
        let (least, most) = (shift(same[0].1), shift(same[same.len() - 1].1));
        let start = if in_order { i } else { source.len() };
        let positions = most - least + output;
        source.resize(source.len().max(start + (positions - 1) * step + 1), ZERO);
        for j in 0..positions {
            let padded = (least + j) * stride + same[0].0;
            if (before..before + input).contains(&padded) {
                source[start + j * step] = (padded - before) as u32;
            }
        }
        placed.extend(same.iter().map(|&(_, k)| (k, start + (shift(k) - least) * step)));
    }
    placed.sort_unstable();
    Axis { source, step, classes: vec![Class { first: 0, stride: 1, count: output, taps: placed }] }
}

/// Input i hears from output `(i + before - k * dilation) / stride` where that divides.
fn data_axis(line: Line) -> Axis {
    let Line { input, output, kernel, stride, dilation, before } = line;
    let mut classes: Vec<Class> = Vec::with_capacity(stride.min(input));
    // The first output that a tap reads, which may be before the image; shifted to scratch positions below.
    let mut starts: Vec<Vec<isize>> = Vec::with_capacity(stride.min(input));
    let (mut least, mut most) = (isize::MAX, isize::MIN);
    for first in 0..stride.min(input) {
        let (padded, count) = (first + before, (input - 1 - first) / stride + 1);
        let (mut taps, mut start) = (Vec::new(), Vec::new());
        for k in (0..kernel).filter(|k| k * dilation % stride == padded % stride) {
            let from = (padded / stride) as isize - (k * dilation / stride) as isize;
            let to = from + count as isize; // exclusive
            if to > 0 && from < output as isize {
                (least, most) = (least.min(from), most.max(to));
                taps.push((k, 0));
                start.push(from);
            }
        }
        classes.push(Class { first, stride, count, taps });
        starts.push(start);
    }
    for (class, starts) in classes.iter_mut().zip(starts) {
        for (tap, start) in class.taps.iter_mut().zip(starts) {
            tap.1 = (start - least) as usize;
        }
    }
    let inside = |o: isize| if (0..output as isize).contains(&o) { o as u32 } else { ZERO };
    let source = if least < most { (least..most).map(inside).collect() } else { Vec::new() };
    Axis { source, step: 1, classes }
}

impl Axis {
    /// Outputs 0, 1, ... that read positions 0, 1, ...: what is left of an axis that was folded into the channels.
    pub(super) fn identity(output: usize) -> Axis {
        let class = Class { first: 0, stride: 1, count: output, taps: vec![(0, 0)] };
        Axis { source: (0..output as u32).collect(), step: 1, classes: vec![class] }
    }

    /// The most outputs in a class.
    pub(super) fn count(&self) -> usize {
        self.classes.iter().map(|class| class.count).max().unwrap_or(0)
    }

    /// The first of `count` outputs for which a tap at `at` reads more than padding, and the one after the last.
    pub(super) fn seen(&self, at: usize, count: usize) -> [usize; 2] {
        let sees = |t: &usize| self.source[at + t * self.step] != ZERO;
        [(0..count).find(sees).unwrap_or(count), (0..count).rev().find(sees).map_or(0, |t| t + 1)]
    }

    /// The scratch positions that outputs `t` of all classes read.
    pub(super) fn reach(&self, t: Range<usize>) -> Range<usize> {
        let at = || self.classes.iter().flat_map(|class| class.taps.iter().map(|&(_, at)| at));
        match (at().min(), at().max()) {
            (Some(least), Some(most)) if !t.is_empty() => {
                let end = ((t.end - 1) * self.step + most + 1).min(self.source.len());
                (t.start * self.step + least).min(end)..end
            }
            _ => 0..0,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stride_of_two_separates_even_and_odd_columns() {
        let line = Line { input: 6, output: 3, kernel: 3, stride: 2, dilation: 1, before: 1 };
        let columns = forward_axis(line, false);
        // padded columns 0 2 4 6, then 1 3 5
        assert_eq!(columns.source, [ZERO, 1, 3, 5, 0, 2, 4]);
        assert_eq!(columns.classes[0].taps, [(0, 0), (1, 4), (2, 1)]);
        let rows = forward_axis(line, true);
        assert_eq!(rows.source, [ZERO, 0, 1, 2, 3, 4, 5]);
        assert_eq!((rows.step, &rows.classes[0].taps[..]), (2, &[(0, 0), (1, 1), (2, 2)][..]));
    }

    #[test]
    fn both_plans_agree_with_the_definition() {
        for (input, kernel, stride, dilation, before, after) in [
            (7, 3, 1, 1, 1, 1),
            (8, 3, 2, 1, 1, 1),
            (5, 1, 2, 1, 0, 0),
            (3, 5, 3, 2, 4, 3),
            (1, 3, 1, 1, 1, 1),
            (9, 2, 3, 4, 0, 5),
        ] {
            let output = (input + before + after - dilation * (kernel - 1) - 1) / stride + 1;
            let line = Line { input, output, kernel, stride, dilation, before };
            let mut expected = Vec::new(); // (output, input, k)
            for o in 0..output {
                for k in 0..kernel {
                    if let Some(i) = (o * stride + k * dilation).checked_sub(before).filter(|&i| i < input) {
                        expected.push((o, i, k));
                    }
                }
            }
            let pairs = |axis: &Axis| {
                let mut pairs = Vec::new(); // (written, read, k)
                for class in &axis.classes {
                    for t in 0..class.count {
                        assert!(class.taps.iter().all(|tap| axis.reach(t..t + 1).contains(&(tap.1 + t * axis.step))));
                        for &(k, at) in &class.taps {
                            match axis.source[at + t * axis.step] {
                                ZERO => {}
                                source => pairs.push((class.first + t * class.stride, source as usize, k)),
                            }
                        }
                    }
                }
                pairs.sort_unstable();
                pairs
            };
            assert_eq!(pairs(&forward_axis(line, true)), expected);
            assert_eq!(pairs(&forward_axis(line, false)), expected);
            let mut back: Vec<_> = pairs(&data_axis(line)).into_iter().map(|(i, o, k)| (o, i, k)).collect();
            back.sort_unstable();
            assert_eq!(back, expected);
            let axis = data_axis(line);
            assert_eq!(axis.classes.iter().map(|c| c.count).sum::<usize>(), input);
        }
    }
}
