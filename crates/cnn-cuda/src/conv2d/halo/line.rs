//! How images lie in a line of places, for the kernels of `kernels/halo.cuh`.

use cnn_core::Element;

use crate::conv2d::divisor::Divisor;
use crate::conv2d::shape::Shape;
use crate::conv2d::tile::{Tile, chunk};
use crate::launch::Argument;

/// Places of the line stay below this, as they are divided in 32 bits; and so do the elements of images and weight, as they are
/// counted in 32 bits.
const MOST: usize = 1 << 30;

/// As `Halo` in `kernels/halo.cuh`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Line {
    images: i32,
    size: [i32; 2],
    lead: [i32; 2],
    taps: [i32; 2],
    apart: [i32; 2],
    depth: i32,
    pixel: i32,
    pixels: i32,
    places: i32,
    pub(super) rooms: i32,
    pitch: Divisor,
    rows: Divisor,
    area: Divisor,
    columns: Divisor,
}

// SAFETY: numbers of one size.
unsafe impl Argument for Line {}

/// Which pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::conv2d) enum Direction {
    Forward,
    Data,
}

/// What a pass reads and what it computes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    images: usize,
    /// Rows and columns of what is read and of what is computed.
    size: [usize; 2],
    output: [usize; 2],
    /// Rows and columns of zeros that taps read before an image and after it.
    lead: [usize; 2],
    trail: [usize; 2],
    pub(super) taps: [usize; 2],
    apart: [usize; 2],
    pub(super) groups: usize,
    /// Channels of a group that are read, and that are computed.
    pub(super) depth: usize,
    pub(super) width: usize,
}

impl Pass {
    /// None for strides, and where more zeros are around an image than its taps reach over.
    pub(super) fn new(shape: &Shape, direction: Direction) -> Option<Self> {
        let (window, padding, (groups, depth, width)) = (shape.window(), shape.padding(), shape.groups());
        if shape.stride() != [1, 1] {
            return None;
        }
        let reach = window.map(|side| side - 1);
        let (size, output, depth, width) = match direction {
            Direction::Forward => (shape.input(), shape.output(), depth, width),
            Direction::Data => (shape.output(), shape.input(), width, depth),
        };
        let mut pass = Pass {
            images: shape.batch(),
            size,
            output,
            lead: padding,
            trail: [0; 2],
            taps: shape.kernel(),
            apart: shape.dilation(),
            groups,
            depth,
            width,
        };
        for axis in 0..2 {
            if direction == Direction::Data {
                pass.lead[axis] = reach[axis].checked_sub(padding[axis])?;
            }
            let read = output[axis] + reach[axis]; // from the first zero to the last
            pass.trail[axis] = read.saturating_sub(pass.lead[axis] + size[axis]);
            if pass.lead[axis] > reach[axis] || pass.trail[axis] > reach[axis] {
                return None;
            }
        }
        Some(pass)
    }

    /// Rows of an image in the line and places of each, gaps included.
    fn pitches(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.size[axis] + self.lead[axis].max(self.trail[axis]))
    }

    pub(super) fn pixels(&self) -> usize {
        self.images * self.output[0] * self.output[1]
    }

    /// How many places tiles of `pixels` need at most.
    fn places(&self, pixels: usize) -> usize {
        let ([rows, pitch], [out_rows, out_columns]) = (self.pitches(), self.output);
        let pixels = pixels.min(self.pixels());
        // How often neighbours in a tile are in different lines of `len`: seldom where tiles begin with lines.
        let crossed = |len: usize| match len {
            _ if pixels.is_multiple_of(len) => pixels / len - 1,
            _ if len.is_multiple_of(pixels) => 0,
            _ => (pixels + len - 2) / len,
        };
        let gaps = crossed(out_columns) * (pitch - out_columns);
        let blank = crossed(out_rows * out_columns) * (rows - out_rows) * pitch;
        let [down, right] = [0, 1].map(|axis| (self.taps[axis] - 1) * self.apart[axis]);
        pixels + gaps + blank + down * pitch + right
    }
}

impl Line {
    /// For tiles of `tile` pixels. None for channels that are no whole chunks, no pixels, or very many.
    pub(super) fn new<T: Element>(pass: &Pass, tile: usize) -> Option<Self> {
        let whole = |channels: usize| channels.is_multiple_of(chunk::<T>());
        let ([rows, pitch], pixels) = (pass.pitches(), pass.pixels());
        let places = (pass.images + 2) * rows * pitch;
        let elements = pass.images * pass.size[0] * pass.size[1] * pass.groups * pass.depth;
        let weight = pass.taps[0] * pass.taps[1] * pass.groups * pass.depth * pass.width;
        let many = [places, elements, weight].into_iter().any(|len| len >= MOST);
        if pixels == 0 || !whole(pass.depth) || !whole(pass.width) || many {
            return None;
        }
        let pair = |pair: [usize; 2]| pair.map(|side| side as i32);
        Some(Line {
            images: pass.images as i32,
            size: pair(pass.size),
            lead: pair(pass.lead),
            taps: pair(pass.taps),
            apart: pair(pass.apart),
            depth: pass.depth as i32,
            pixel: (pass.groups * pass.depth) as i32,
            pixels: pixels as i32,
            // What follows them in shared memory begins where eight rows of 128 bytes do.
            places: pass.places(tile).next_multiple_of(8) as i32,
            rooms: if pass.depth > Tile::step::<T>() { 2 } else { 1 },
            pitch: Divisor::by(pitch),
            rows: Divisor::by(rows),
            area: Divisor::by(pass.output[0] * pass.output[1]),
            columns: Divisor::by(pass.output[1]),
        })
    }

    /// Bytes of the table of where each place is in the images.
    pub(super) fn table_bytes(&self) -> usize {
        self.places as usize * size_of::<i32>()
    }

    /// Bytes of shared memory for a slice of channels.
    pub(super) fn room_bytes(&self) -> usize {
        self.places as usize * 128
    }
}
