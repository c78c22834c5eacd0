//! Random crop, flip and cutout, as numbers: what a backend does to the pixels is a [`SampleView`].
//!
//! A view is a function of (seed, epoch, sample). The flip alternates: a random half of the images starts mirrored and
//! every image changes sides each epoch, so two epochs show both sides of all of them (K. Jordan, "94% on CIFAR-10 in
//! 3.29 seconds on a single GPU", 2024), where independent coins would show a quarter of them the same side twice.

use cnn_core::image::{Border, SampleView};
use cnn_core::rng::{Philox, Purpose, Stream};

/// What is done at random to training images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Augment {
    /// Pixels by which the crop moves at most, each way; 0 for no crop. Less than the image's sides.
    pub crop_padding: usize,
    /// What the crop finds outside the image.
    pub border: Border,
    /// Mirror left to right, every image in every other epoch.
    pub flip: bool,
    /// Side of the square that is blanked, its centre anywhere in the image; 0 for none.
    pub cutout: usize,
}

/// The epoch whose sequence decides in which parity of epochs a sample is mirrored; no run gets that far.
const FLIP_KEY: u32 = u32::MAX;

impl Augment {
    /// Every image as it is stored.
    pub const NONE: Augment = Augment { crop_padding: 0, border: Border::Zero, flip: false, cutout: 0 };

    /// How `sample`, an image of `height` x `width`, is seen in `epoch`; the view's `index` is `sample`.
    pub fn view(&self, seed: u64, epoch: u32, sample: u32, height: usize, width: usize) -> SampleView {
        let mut stream = Philox::new(seed, Purpose::Augment, epoch, sample).stream();
        let offset = [shift(&mut stream, self.crop_padding, height), shift(&mut stream, self.crop_padding, width)];
        let rows = interval(&mut stream, self.cutout, height);
        let columns = interval(&mut stream, self.cutout, width);
        let flip = self.flip && {
            let starts_mirrored = Philox::new(seed, Purpose::Augment, FLIP_KEY, sample).block(0)[0];
            (starts_mirrored ^ epoch) & 1 == 1
        };
        let cutout = if self.cutout == 0 { [0; 4] } else { [rows[0], columns[0], rows[1], columns[1]] };
        SampleView { offset, flip, cutout, ..SampleView::plain(sample) }
    }
}

/// Uniform in `-padding..=padding`, the padding kept below `side`.
fn shift(stream: &mut Stream, padding: usize, side: usize) -> i32 {
    let padding = padding.min(side.saturating_sub(1)).min(usize::from(u16::MAX)) as u32;
    stream.below(2 * padding + 1) as i32 - padding as i32
}

/// `length` pixels around a uniform centre, clipped to `0..side`.
fn interval(stream: &mut Stream, length: usize, side: usize) -> [u16; 2] {
    let side = side.min(usize::from(u16::MAX));
    let start = stream.below(side as u32) as usize;
    let end = start.saturating_add(length.div_ceil(2)).min(side);
    [start.saturating_sub(length / 2) as u16, end as u16]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Augment = Augment { crop_padding: 4, border: Border::Reflect, flip: true, cutout: 8 };

    #[test]
    fn none_is_the_plain_view() {
        assert_eq!(Augment::NONE.view(1, 2, 3, 32, 32), SampleView::plain(3));
    }

    #[test]
    fn every_shift_is_reached_and_none_beyond() {
        let mut seen = [[0; 9]; 2];
        for sample in 0..2000 {
            let view = ALL.view(7, 0, sample, 32, 32);
            (0..2).for_each(|axis| seen[axis][(view.offset[axis] + 4) as usize] += 1);
        }
        assert!(seen.iter().flatten().all(|&count| (150..300).contains(&count)), "{seen:?}");
    }

    #[test]
    fn flip_alternates_and_starts_on_either_side() {
        let flip = |epoch, sample| ALL.view(7, epoch, sample, 32, 32).flip;
        assert!((0..100).all(|sample| flip(0, sample) != flip(1, sample) && flip(0, sample) == flip(2, sample)));
        let mirrored = (0..1000).filter(|&sample| flip(0, sample)).count();
        assert!((430..570).contains(&mirrored), "{mirrored} of 1000 start mirrored");
    }

    #[test]
    fn cutout_stays_inside_and_is_full_in_the_middle() {
        let mut full = 0;
        for sample in 0..500 {
            let [top, left, bottom, right] = ALL.view(3, 1, sample, 20, 30).cutout;
            assert!(top < bottom && bottom <= 20 && left < right && right <= 30, "{top} {left} {bottom} {right}");
            full += usize::from(bottom - top == 8 && right - left == 8);
        }
        assert!(full > 200, "{full} of 500 squares are whole");
    }

    #[test]
    fn a_view_depends_on_seed_epoch_and_sample_only() {
        let view = ALL.view(1, 2, 3, 32, 32);
        assert_eq!(view, ALL.view(1, 2, 3, 32, 32));
        let others = [ALL.view(2, 2, 3, 32, 32), ALL.view(1, 4, 3, 32, 32), ALL.view(1, 2, 5, 32, 32)];
        assert!(others.iter().all(|other| (other.offset, other.cutout) != (view.offset, view.cutout)));
    }

    #[test]
    fn extreme_arguments_do_not_panic() {
        let wild = Augment { crop_padding: usize::MAX, cutout: usize::MAX, ..ALL };
        for side in [0, 1, 2, 16_384, usize::MAX] {
            let view = wild.view(u64::MAX, u32::MAX, u32::MAX, side, 1);
            assert_eq!(view.offset[1], 0);
        }
    }
}
