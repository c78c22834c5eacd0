//! Epochs in which every class is there as often as the others.

use cnn_core::rng::{Philox, Purpose};

use crate::image_set::ImageSet;

/// A sample's turn in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) sample: u32,
    /// Times that it was there before in the epoch.
    pub(crate) repeat: u32,
}

impl Turn {
    /// What a sample's augmentation is drawn by in `epoch`: each repetition is seen as in an epoch of its own, far behind those of
    /// any run, and mirrored where the one before was not.
    pub(crate) fn seen_in(self, epoch: u32) -> u32 {
        const APART: u32 = (1 << 20) + 1;
        epoch.wrapping_add(self.repeat.wrapping_mul(APART))
    }
}

/// How many samples of each class an epoch has: its share of the set, rounded up. Classes without a sample have none.
fn of_each(set: &ImageSet) -> [usize; 2] {
    let classes = set.class_sizes().iter().filter(|size| **size > 0).count();
    [set.len().div_ceil(classes.max(1)), classes]
}

/// How many samples such an epoch has in all.
pub(crate) fn len(set: &ImageSet) -> usize {
    of_each(set).into_iter().product()
}

/// The samples of `epoch` in the order of their classes: a class is gone through in a random order, again and again where
/// it has fewer than its share. So each of a large class is there once at most, and of a small one all equally often, to within one.
pub(crate) fn turns(set: &ImageSet, seed: u64, epoch: u32) -> Vec<Turn> {
    let [share, classes] = of_each(set);
    let mut of_class: Vec<Vec<u32>> = set.class_sizes().into_iter().map(Vec::with_capacity).collect();
    (0..set.len()).for_each(|i| of_class[set.label(i) as usize].push(i as u32));
    let mut turns = Vec::with_capacity(share * classes);
    for (mut samples, class) in of_class.into_iter().zip(1u32..).filter(|(samples, _)| !samples.is_empty()) {
        let mut stream = Philox::new(seed, Purpose::Shuffle, epoch, class).stream();
        let end = turns.len() + share;
        for repeat in 0.. {
            stream.shuffle(&mut samples);
            let left = end - turns.len();
            turns.extend(samples.iter().take(left).map(|&sample| Turn { sample, repeat }));
            if turns.len() == end {
                break;
            }
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Augment, Loader, LoaderOptions};

    /// One image of class 0, four of class 1, ten of class 2, none of class 3.
    fn uneven() -> ImageSet {
        let labels: Vec<u32> = [vec![0; 1], vec![1; 4], vec![2; 10]].concat();
        let bytes = (0..15 * 16).map(|i| i as u8).collect();
        ImageSet::from_bytes("made", [4, 4, 1], &["a", "b", "c", "d"], labels, bytes).unwrap()
    }

    #[test]
    fn every_class_is_there_as_often() {
        let set = uneven();
        assert_eq!(len(&set), 15);
        for epoch in 0..4 {
            let turns = turns(&set, 3, epoch);
            let mut times = [0u32; 15];
            for turn in &turns {
                assert_eq!(turn.repeat, times[turn.sample as usize], "in the order of their classes");
                times[turn.sample as usize] += 1;
            }
            assert_eq!(times[0], 5);
            assert!(times[1..5].iter().all(|&n| n == 1 || n == 2) && times[1..5].iter().sum::<u32>() == 5, "{times:?}");
            assert!(times[5..].iter().all(|&n| n <= 1) && times[5..].iter().sum::<u32>() == 5, "{times:?}");
            assert_eq!(turns, super::turns(&set, 3, epoch));
            assert_ne!(turns, super::turns(&set, 4, epoch));
            assert_ne!(turns, super::turns(&set, 3, epoch + 1));
        }
    }

    #[test]
    fn repetitions_are_seen_otherwise_and_an_epoch_goes_on_where_it_stopped() {
        let loader = |set| Loader::new(set, LoaderOptions::new(4).seed(3).shuffle(true).balanced(true)).unwrap();
        let set = uneven();
        let augment = Augment { crop_padding: 2, flip: true, ..Augment::NONE };
        let batches: Vec<_> = loader(set.clone()).epoch(1, &augment).map(Result::unwrap).collect();
        assert_eq!((batches.len(), loader(set.clone()).batches(), loader(set.clone()).samples()), (4, 4, 15));
        let views: Vec<_> = batches.iter().flat_map(|batch| &batch.views).filter(|view| view.index == 0).collect();
        let mirrored = views.iter().filter(|view| view.flip).count();
        assert!(views.len() == 5 && (mirrored == 2 || mirrored == 3), "{views:?}");
        assert!(views.iter().any(|view| view.offset != views[0].offset), "{views:?}");
        let rest: Vec<_> = loader(set.clone()).epoch_from(1, 2, &augment).map(Result::unwrap).collect();
        assert_eq!([&rest[0].samples, &rest[1].samples], [&batches[2].samples, &batches[3].samples]);
        assert_eq!([&rest[0].views, &rest[1].views], [&batches[2].views, &batches[3].views]);
        // Of a set that is even already each image is there once, as it would be seen without.
        let even = set.keep_classes(&["b"]).unwrap();
        let mut samples: Vec<u32> = loader(even).epoch(0, &augment).flat_map(|batch| batch.unwrap().samples).collect();
        samples.sort_unstable();
        assert_eq!(samples, [0, 1, 2, 3]);
    }
}
