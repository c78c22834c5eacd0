//! The operations that policies draw from, and how strong they may be: torchvision's spaces.

use cnn_core::rng::Stream;

use super::{colour, hue, warp};

/// What is done to a picture, and how much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operation {
    Identity,
    ShearX(f64),
    ShearY(f64),
    /// Whole pixels.
    TranslateX(f64),
    TranslateY(f64),
    /// Degrees.
    Rotate(f64),
    /// A factor, as of the three that follow.
    Brightness(f64),
    Saturation(f64),
    Contrast(f64),
    Sharpness(f64),
    /// Bits that stay.
    Posterize(u32),
    /// The byte from which on.
    Solarize(f64),
    AutoContrast,
    Equalize,
    /// Part of a circle.
    Hue(f64),
}

/// The most of each kind of operation, at the largest strength.
struct Space {
    shear: f64,
    translate: [f64; 2],
    rotate: f64,
    factor: f64,
    /// Bits that posterising takes away.
    bits: f64,
}

impl Operation {
    /// One, of any strength.
    pub(super) fn trivial(stream: &mut Stream) -> Self {
        let space = Space { shear: 0.99, translate: [32.0; 2], rotate: 135.0, factor: 0.99, bits: 6.0 };
        let which = stream.below(14);
        let strength = f64::from(stream.below(31)) / 30.0;
        Self::of(which, strength, &space, stream)
    }

    /// One of nine thirtieths of the strength, for pictures of `size`.
    pub(super) fn rand(stream: &mut Stream, [height, width, _]: [usize; 3]) -> Self {
        let translate = [width, height].map(|side| 150.0 / 331.0 * side as f64);
        let space = Space { shear: 0.3, translate, rotate: 30.0, factor: 0.9, bits: 4.0 };
        let which = stream.below(14);
        Self::of(which, 9.0 / 30.0, &space, stream)
    }

    fn of(which: u32, strength: f64, space: &Space, stream: &mut Stream) -> Self {
        let sign = if stream.below(2) == 0 { 1.0 } else { -1.0 };
        let factor = 1.0 + sign * strength * space.factor;
        match which {
            0 => Operation::Identity,
            1 => Operation::ShearX(sign * strength * space.shear),
            2 => Operation::ShearY(sign * strength * space.shear),
            3 => Operation::TranslateX(sign * (strength * space.translate[0]).trunc()),
            4 => Operation::TranslateY(sign * (strength * space.translate[1]).trunc()),
            5 => Operation::Rotate(sign * strength * space.rotate),
            6 => Operation::Brightness(factor),
            7 => Operation::Saturation(factor),
            8 => Operation::Contrast(factor),
            9 => Operation::Sharpness(factor),
            10 => Operation::Posterize(8 - libm::rint(strength * space.bits) as u32),
            11 => Operation::Solarize(255.0 * (1.0 - strength)),
            12 => Operation::AutoContrast,
            _ => Operation::Equalize,
        }
    }

    /// Does it to the bytes of a picture, \[height, width, channels\] = `size`.
    pub(super) fn apply(self, bytes: &mut [u8], size: [usize; 3]) {
        let channels = size[2];
        match self {
            Operation::Identity => {}
            Operation::ShearX(by) => warp::affine(bytes, size, warp::shear_x(by)),
            Operation::ShearY(by) => warp::affine(bytes, size, warp::shear_y(by)),
            Operation::TranslateX(by) => warp::affine(bytes, size, warp::shift(by, 0.0)),
            Operation::TranslateY(by) => warp::affine(bytes, size, warp::shift(0.0, by)),
            Operation::Rotate(degrees) => warp::affine(bytes, size, warp::rotation(degrees, size)),
            Operation::Brightness(factor) => colour::brightness(bytes, factor),
            Operation::Saturation(factor) => colour::saturation(bytes, channels, factor),
            Operation::Contrast(factor) => colour::contrast(bytes, channels, factor),
            Operation::Sharpness(factor) => colour::sharpness(bytes, size, factor),
            Operation::Posterize(bits) => colour::posterize(bytes, bits),
            Operation::Solarize(threshold) => colour::solarize(bytes, threshold),
            Operation::AutoContrast => colour::autocontrast(bytes, channels),
            Operation::Equalize => colour::equalize(bytes, channels),
            Operation::Hue(part) => hue::turn(bytes, channels, part),
        }
    }
}
