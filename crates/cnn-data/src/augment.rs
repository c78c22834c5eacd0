//! Random crop, flip, cutout and random erasing, as numbers: what a backend does to the pixels is a [`SampleView`].
//!
//! A view is a function of (seed, epoch, sample). The flip alternates: a random half of the images starts mirrored and
//! every image changes sides each epoch, so two epochs show both sides of all of them (K. Jordan, "94% on CIFAR-10 in
//! 3.29 seconds on a single GPU", 2024), where independent coins would show a quarter of them the same side twice.

use cnn_core::image::{Border, SampleView};
use cnn_core::rng::{Philox, Purpose, Stream};

use crate::distort::{Distort, Policy};

/// What is done at random to training images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Augment {
    /// Pixels by which the crop moves at most, each way; 0 for no crop. Less than the image's sides.
    pub crop_padding: usize,
    /// What the crop finds outside the image.
    pub border: Border,
    /// Mirror left to right, every image in every other epoch.
    pub flip: bool,
    /// Least part of an image's area that a rectangle of it has, which is stretched over all that is shown (C. Szegedy et al., "Going
    /// Deeper with Convolutions", 2014, with torchvision's proportions); 0 for none. It is in place of the crop.
    pub resized_crop: f64,
    /// Side of the square that is blanked, its centre anywhere in the image; 0 for none.
    pub cutout: usize,
    /// Part of the images of which, in place of a square, a rectangle is blanked that lies inside: 2% to a third of the
    /// image, up to 3.3 times as high as wide or as wide as high (Z. Zhong et al., "Random Erasing Data Augmentation", 2017,
    /// with torchvision's ranges).
    pub random_erasing: f64,
    /// What is done to its colours and shape before all that.
    pub distort: Distort,
}

/// The epoch whose sequence decides in which parity of epochs a sample is mirrored; no run gets that far.
const FLIP_KEY: u32 = u32::MAX;

impl Augment {
    /// Every image as it is stored.
    pub const NONE: Augment = Augment {
        crop_padding: 0,
        border: Border::Zero,
        flip: false,
        resized_crop: 0.0,
        cutout: 0,
        random_erasing: 0.0,
        distort: Distort { policy: Policy::None, jitter: [0.0; 4] },
    };

    /// How `sample`, an image of `stored` rows and columns of which a network is shown `shown`, is seen in `epoch`; the view's
    /// `index` is `sample`.
    pub fn view(&self, seed: u64, epoch: u32, sample: u32, stored: [usize; 2], shown: [usize; 2]) -> SampleView {
        let mut stream = Philox::new(seed, Purpose::Augment, epoch, sample).stream();
        let mut view = SampleView::whole(sample, stored, shown);
        for (offset, side) in view.offset.iter_mut().zip(stored) {
            *offset += shift(&mut stream, self.crop_padding, side);
        }
        let [height, width] = shown;
        let rows = interval(&mut stream, self.cutout, height);
        let columns = interval(&mut stream, self.cutout, width);
        view.flip = self.flip && {
            let starts_mirrored = Philox::new(seed, Purpose::Augment, FLIP_KEY, sample).block(0)[0];
            (starts_mirrored ^ epoch) & 1 == 1
        };
        view.cutout = if self.random_erasing > 0.0 && stream.uniform() < self.random_erasing {
            erased(&mut stream, shown)
        } else if self.cutout > 0 {
            [rows[0], columns[0], rows[1], columns[1]]
        } else {
            [0; 4]
        };
        if self.resized_crop > 0.0 {
            let [top, left, bottom, right] = part(&mut stream, stored, self.resized_crop);
            view.offset = [i32::from(top), i32::from(left)];
            view.source = [bottom - top, right - left];
        }
        view
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

/// A rectangle to erase: top, left, bottom, right. None, if ten of random areas and sides do not fit the image.
fn erased(stream: &mut Stream, sides: [usize; 2]) -> [u16; 4] {
    // A side is not all of the image's.
    rectangle(stream, sides, [0.02, 0.33], [0.3, 3.3], 0).unwrap_or([0; 4])
}

/// What a resized crop shows: top, left, bottom, right of at least `least` of the image's area, between 4/3 as high as wide and 4/3 as
/// wide as high. The middle, if ten of random areas and sides do not fit the image, which is longer than that.
fn part(stream: &mut Stream, sides: [usize; 2], least: f64) -> [u16; 4] {
    const ASPECT: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];
    rectangle(stream, sides, [least, 1.0], ASPECT, 1).unwrap_or_else(|| {
        let [height, width] = sides.map(|side| side.min(usize::from(u16::MAX)));
        let most = |side: usize| (libm::round(side as f64 * ASPECT[1]) as usize).max(1);
        let [rows, columns] = [height.min(most(width)), width.min(most(height))];
        let [top, left] = [(height - rows) / 2, (width - columns) / 2];
        [top, left, top + rows, left + columns].map(|at| at as u16)
    })
}

/// Top, left, bottom, right of a rectangle anywhere in an image of `sides`: of a part of its area that is uniform in `area`, and
/// height to width with a logarithm that is uniform between those of `aspect`; `whole` is 1 if a side may be all of the image's, and
/// 0 if not. None, if ten of them do not fit.
fn rectangle(
    stream: &mut Stream,
    sides: [usize; 2],
    area: [f64; 2],
    aspect: [f64; 2],
    whole: usize,
) -> Option<[u16; 4]> {
    let sides = sides.map(|side| side.min(usize::from(u16::MAX)));
    for _ in 0..10 {
        let area = (sides[0] * sides[1]) as f64 * stream.range(area[0], area[1]);
        let aspect = libm::exp(stream.range(libm::log(aspect[0]), libm::log(aspect[1])));
        let [rows, columns] = [area * aspect, area / aspect].map(|square| libm::round(libm::sqrt(square)) as usize);
        if (1..sides[0] + whole).contains(&rows) && (1..sides[1] + whole).contains(&columns) {
            let top = stream.below((sides[0] - rows + 1) as u32) as usize;
            let left = stream.below((sides[1] - columns + 1) as u32) as usize;
            return Some([top, left, top + rows, left + columns].map(|at| at as u16));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Augment = Augment { crop_padding: 4, border: Border::Reflect, flip: true, cutout: 8, ..Augment::NONE };

    #[test]
    fn none_is_the_plain_view() {
        assert_eq!(Augment::NONE.view(1, 2, 3, [32, 32], [32, 32]), SampleView::plain(3));
    }

    #[test]
    fn every_shift_is_reached_and_none_beyond() {
        let mut seen = [[0; 9]; 2];
        for sample in 0..2000 {
            let view = ALL.view(7, 0, sample, [32, 32], [32, 32]);
            (0..2).for_each(|axis| seen[axis][(view.offset[axis] + 4) as usize] += 1);
        }
        assert!(seen.iter().flatten().all(|&count| (150..300).contains(&count)), "{seen:?}");
    }

    #[test]
    fn flip_alternates_and_starts_on_either_side() {
        let flip = |epoch, sample| ALL.view(7, epoch, sample, [32, 32], [32, 32]).flip;
        assert!((0..100).all(|sample| flip(0, sample) != flip(1, sample) && flip(0, sample) == flip(2, sample)));
        let mirrored = (0..1000).filter(|&sample| flip(0, sample)).count();
        assert!((430..570).contains(&mirrored), "{mirrored} of 1000 start mirrored");
    }

    #[test]
    fn cutout_stays_inside_and_is_full_in_the_middle() {
        let mut full = 0;
        for sample in 0..500 {
            let [top, left, bottom, right] = ALL.view(3, 1, sample, [20, 30], [20, 30]).cutout;
            assert!(top < bottom && bottom <= 20 && left < right && right <= 30, "{top} {left} {bottom} {right}");
            full += usize::from(bottom - top == 8 && right - left == 8);
        }
        assert!(full > 200, "{full} of 500 squares are whole");
    }

    #[test]
    fn as_many_rectangles_are_erased_as_were_asked_for_of_these_sizes() {
        let augment = Augment { random_erasing: 0.25, ..Augment::NONE };
        let (mut erased, mut smallest, mut largest, mut corners) = (0, 1.0f64, 0.0f64, [false; 2]);
        for sample in 0..4000 {
            let [top, left, bottom, right] = augment.view(3, 1, sample, [40, 60], [40, 60]).cutout.map(usize::from);
            if bottom == 0 {
                continue;
            }
            erased += 1;
            let (rows, columns) = (bottom - top, right - left);
            assert!(bottom <= 40 && right <= 60 && rows < 40 && columns < 60, "{rows}x{columns} at {top}, {left}");
            let (area, aspect) = ((rows * columns) as f64 / 2400.0, rows as f64 / columns as f64);
            assert!((0.015..0.36).contains(&area) && (0.24..4.1).contains(&aspect), "{rows}x{columns}");
            (smallest, largest) = (smallest.min(area), largest.max(area));
            corners = [corners[0] || (top, left) == (0, 0), corners[1] || (bottom, right) == (40, 60)];
        }
        assert!((900..1100).contains(&erased), "{erased} of 4000 erased");
        assert!(smallest < 0.04 && largest > 0.29 && corners == [true; 2], "{smallest} to {largest}, {corners:?}");
        // What is not erased is seen as without.
        let [with, without] = [0.25, 0.0].map(|random_erasing| Augment { random_erasing, ..ALL });
        let seen = |augment: &Augment, sample| augment.view(7, 1, sample, [32, 32], [32, 32]);
        let same = |sample: &u32| seen(&with, *sample) == seen(&without, *sample);
        assert!((700..800).contains(&(0..1000).filter(same).count()));
        assert!((0..1000).all(|sample| seen(&with, sample).offset == seen(&without, sample).offset));
    }

    #[test]
    fn resized_crops_are_parts_of_these_sizes_anywhere() {
        let augment = Augment { resized_crop: 0.25, ..Augment::NONE };
        let (mut smallest, mut largest, mut corners) = (1.0f64, 0.0f64, [false; 2]);
        for sample in 0..4000 {
            let SampleView { offset, source, .. } = augment.view(3, 1, sample, [40, 60], [32, 32]);
            let [rows, columns] = source.map(usize::from);
            let [top, left] = offset.map(|at| usize::try_from(at).unwrap());
            assert!(
                rows > 0 && columns > 0 && top + rows <= 40 && left + columns <= 60,
                "{rows}x{columns} at {top}, {left}"
            );
            let (area, aspect) = ((rows * columns) as f64 / 2400.0, rows as f64 / columns as f64);
            assert!((0.23..=1.0).contains(&area) && (0.7..1.41).contains(&aspect), "{rows}x{columns}");
            (smallest, largest) = (smallest.min(area), largest.max(area));
            corners = [corners[0] || (top, left) == (0, 0), corners[1] || (top + rows, left + columns) == (40, 60)];
        }
        assert!(smallest < 0.27 && largest > 0.8 && corners == [true; 2], "{smallest} to {largest}, {corners:?}");
        // Of an image that is longer than a crop may be, all that is as high as it.
        let least = Augment { resized_crop: 1.0, ..Augment::NONE }.view(0, 0, 0, [30, 300], [32, 32]);
        assert_eq!((least.offset, least.source), ([0, 130], [30, 40]));
        // All of a square is a part of it too.
        assert_eq!(Augment { resized_crop: 1.0, ..Augment::NONE }.view(0, 0, 0, [1, 1], [8, 8]).source, [1, 1]);
    }

    #[test]
    fn a_crop_moves_around_the_middle() {
        let augment = Augment { crop_padding: 2, ..Augment::NONE };
        let offset = |sample| augment.view(3, 1, sample, [40, 60], [32, 32]).offset;
        assert!((0..200).all(|sample| (2..=6).contains(&offset(sample)[0]) && (12..=16).contains(&offset(sample)[1])));
        assert!((0..200).any(|sample| offset(sample)[0] == 2) && (0..200).any(|sample| offset(sample)[1] == 16));
    }

    #[test]
    fn a_view_depends_on_seed_epoch_and_sample_only() {
        let view = ALL.view(1, 2, 3, [32, 32], [32, 32]);
        assert_eq!(view, ALL.view(1, 2, 3, [32, 32], [32, 32]));
        let others = [
            ALL.view(2, 2, 3, [32, 32], [32, 32]),
            ALL.view(1, 4, 3, [32, 32], [32, 32]),
            ALL.view(1, 2, 5, [32, 32], [32, 32]),
        ];
        assert!(others.iter().all(|other| (other.offset, other.cutout) != (view.offset, view.cutout)));
    }

    #[test]
    fn extreme_arguments_do_not_panic() {
        let wild = Augment { crop_padding: usize::MAX, cutout: usize::MAX, random_erasing: 0.5, ..ALL };
        for side in [0, 1, 2, 16_384, usize::MAX] {
            let view = wild.view(u64::MAX, u32::MAX, u32::MAX, [side, 1], [side, 1]);
            assert_eq!(view.offset[1], 0);
        }
    }
}
