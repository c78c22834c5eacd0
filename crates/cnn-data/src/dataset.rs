//! A data set: its splits, their class names, and the statistics that normalise their pixels.

use crate::image_set::ImageSet;
use crate::report::{ClassCount, MultiLabelCount, Report};
use crate::{Error, Result};
use std::path::PathBuf;

/// Training and test images of the same size and classes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dataset {
    /// What the set is called.
    pub name: String,
    /// Where it is, from the root, so that it is found again from another working directory; None if it is no file.
    pub path: Option<PathBuf>,
    /// Images to learn from, and to hold a validation split out of.
    pub train: ImageSet,
    /// Images to watch the training with, where the set has some of its own beside those to test with.
    pub validation: Option<ImageSet>,
    /// Images to read once, at the end.
    pub test: ImageSet,
    /// Mean of each channel over the training split, of pixels scaled to [0, 1].
    pub mean: Vec<f32>,
    /// Standard deviation of each channel over the training split, of pixels scaled to [0, 1].
    pub std: Vec<f32>,
    /// What was found and what was left out.
    pub report: Report,
}

impl Dataset {
    /// Joins two splits and measures the training split's pixels.
    ///
    /// # Errors
    /// The splits differ in size or classes, the training split is empty, or a picture cannot be decoded.
    pub fn new(name: &str, train: ImageSet, test: ImageSet) -> Result<Dataset> {
        let count = |set: &ImageSet, class| set.class_sizes().get(class).copied().unwrap_or(0);
        let classes = train.classes().iter().enumerate().map(|(class, name)| ClassCount {
            name: name.clone(),
            train: count(&train, class),
            validation: 0,
            test: count(&test, class),
        });
        let report = Report {
            name: name.to_owned(),
            format: "images".to_owned(),
            size: train.shown(),
            split: "the program's".to_owned(),
            classes: classes.collect(),
            multi_label: multi_label_count(&train, None, &test),
            ..Report::default()
        };
        Dataset::of(name.to_owned(), None, [train, test], None, report)
    }

    /// Splits with their report.
    pub(crate) fn of(
        name: String,
        path: Option<PathBuf>,
        [train, test]: [ImageSet; 2],
        validation: Option<ImageSet>,
        report: Report,
    ) -> Result<Dataset> {
        for (what, set) in [("test", Some(&test)), ("validation", validation.as_ref())] {
            let Some(set) = set else { continue };
            if train.size() != set.size() || train.shown() != set.shown() {
                let rule = format!("training images are {:?}", train.size());
                return Err(Error::invalid(name, format!("{what} images of {:?}", set.size()), rule));
            }
            if train.is_multi_label() != set.is_multi_label() {
                let rule = "one label for each image, or none or several, must be in all splits alike";
                return Err(Error::invalid(name, format!("{what} labels"), rule));
            }
            if train.classes() != set.classes() {
                let rule = format!("training classes are {:?}", train.classes());
                return Err(Error::invalid(name, format!("{what} classes {:?}", set.classes()), rule));
            }
        }
        if train.is_empty() {
            return Err(Error::invalid(name, "no training images", "there must be some"));
        }
        let (mean, std) = statistics(&train)?;
        Ok(Dataset { name, path, train, validation, test, mean, std, report })
    }

    /// The same set with only the classes called `names`, in that order; mean and std stay as they are.
    ///
    /// # Errors
    /// As [`ImageSet::keep_classes`], which says what becomes of images of several labels too.
    pub fn keep_classes<S: AsRef<str>>(&self, names: &[S]) -> Result<Dataset> {
        let (train, test) = (self.train.keep_classes(names)?, self.test.keep_classes(names)?);
        let validation = self.validation.as_ref().map(|set| set.keep_classes(names)).transpose()?;
        let mut report = self.report.clone();
        let counts = |name: &S| self.report.classes.iter().find(|class| class.name == name.as_ref()).cloned();
        report.classes = names.iter().filter_map(counts).collect();
        report.multi_label = multi_label_count(&train, validation.as_ref(), &test);
        Ok(Dataset { train, validation, test, report, ..self.clone() })
    }
}

/// How many images and labels splits of several labels have; None where each image has one.
pub(crate) fn multi_label_count(
    train: &ImageSet,
    validation: Option<&ImageSet>,
    test: &ImageSet,
) -> Option<MultiLabelCount> {
    let each = |count: fn(&ImageSet) -> usize| [Some(train), validation, Some(test)].map(|set| set.map_or(0, count));
    train.is_multi_label().then(|| MultiLabelCount {
        images: each(ImageSet::len),
        without: each(|set| (0..set.len()).filter(|&i| set.classes_of(i).is_empty()).count()),
        labels: each(|set| set.labels().len()),
    })
}

/// Pictures that are decoded to measure a set that is not in memory.
const MEASURED: usize = 2048;

/// Of each channel, the sum of its bytes and of their squares.
type Sums = Vec<[u64; 2]>;

/// Mean and standard deviation of each channel; exact integer sums, so the order of the images does not matter.
fn statistics(set: &ImageSet) -> Result<(Vec<f32>, Vec<f32>)> {
    let channels = set.channels();
    let some = if set.is_resident() { set.clone() } else { set.evenly(MEASURED) };
    // A picture at a time and thread, whatever its size, and only the samples: what else is stored is not of this set.
    let each = some.pool().map(some.len(), |i| Ok(sums(&some.image(i)?, channels)));
    let each = each.into_iter().collect::<Result<Vec<Sums>>>()?;
    let total = |channel: usize| each.iter().fold([0, 0], |sum, one| [0, 1].map(|i| sum[i] + one[channel][i]));
    let sums: Sums = (0..channels).map(total).collect();
    let bytes = some.len() * some.image_bytes();
    let scaled = |sum: u64| sum as f64 / (bytes / channels) as f64 / 255.0;
    let mean = sums.iter().map(|sum| scaled(sum[0]) as f32).collect();
    let deviation = |sum: &[u64; 2]| (scaled(sum[1]) / 255.0 - scaled(sum[0]).powi(2)).max(0.0).sqrt();
    // A channel of one value would divide by zero; one step of a byte is the least that can be told apart.
    let std = sums.iter().map(|sum| deviation(sum).max(1.0 / 255.0) as f32).collect();
    Ok((mean, std))
}

fn sums(bytes: &[u8], channels: usize) -> Sums {
    let mut sums = vec![[0u64; 2]; channels];
    for pixel in bytes.chunks_exact(channels) {
        for (sum, &value) in sums.iter_mut().zip(pixel) {
            let value = u64::from(value);
            *sum = [sum[0] + value, sum[1] + value * value];
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_training_images_are_measured() {
        let bytes = (0..40).flat_map(|i| [if i < 20 { 51 } else { 255 }; 4]).collect();
        let labels = (0..40).map(|i| u32::from(i >= 20)).collect();
        let all = ImageSet::from_bytes("made", [2, 2, 1], &["dark", "bright"], labels, bytes).unwrap();
        let (rest, held_out) = all.split_validation(20, 0).unwrap();
        // Every class is split alike: ten of each are left.
        let data = Dataset::new("made", rest, held_out).unwrap();
        assert_eq!(data.mean, [0.6]);
        let dark = all.keep_classes(&["dark"]).unwrap();
        let data = Dataset::new("made", dark.clone(), dark).unwrap();
        assert_eq!((data.mean[0], data.std[0]), (0.2, 1.0 / 255.0));
    }
}
