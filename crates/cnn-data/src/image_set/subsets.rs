//! Parts of a set: some of its classes or samples, and a part to be held out.

use super::ImageSet;
use crate::stratify::hold_out;
use crate::{Error, Result};
use cnn_core::rng::{Philox, Purpose};

impl ImageSet {
    /// The samples of the classes called `names`; the first name becomes class 0. In a set
    /// [of several labels](ImageSet::is_multi_label) these are all samples, some of which then have none of the classes.
    ///
    /// # Errors
    /// A name that is not a class (the message lists them), or given twice.
    pub fn keep_classes<S: AsRef<str>>(&self, names: &[S]) -> Result<ImageSet> {
        let mut renumbered = vec![None; self.classes.len()];
        for (new, name) in names.iter().enumerate() {
            let name = name.as_ref();
            let Some(old) = self.classes.iter().position(|class| class == name) else {
                return Err(Error::invalid("class", name, format!("the classes are {}", self.classes.join(", "))));
            };
            if renumbered[old].replace(new as u32).is_some() {
                return Err(Error::invalid("class", name, "given twice"));
            }
        }
        let kept = |&i: &usize| self.is_multi_label() || renumbered[self.labels[i] as usize].is_some();
        let kept: Vec<usize> = (0..self.len()).filter(kept).collect();
        let classes = names.iter().map(|name| name.as_ref().to_owned()).collect();
        Ok(ImageSet { classes, ..self.relabelled(&kept, |class| renumbered[class as usize]) })
    }

    /// The same samples [of several labels](ImageSet::is_multi_label), as some of the classes called `names`, of which the others are in
    /// no sample.
    ///
    /// # Errors
    /// A class of this set that is none of the `names`; samples of one class each.
    pub fn of_classes<S: AsRef<str>>(&self, names: &[S]) -> Result<ImageSet> {
        if !self.is_multi_label() {
            return Err(Error::invalid("classes", "of one label for each image", "must be of several labels"));
        }
        let mut new = Vec::with_capacity(self.classes.len());
        for class in self.classes.iter() {
            let at = names.iter().position(|name| name.as_ref() == class);
            let names = || names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
            new.push(at.ok_or_else(|| Error::invalid("class", class, format!("must be one of {}", names())))? as u32);
        }
        let all: Vec<usize> = (0..self.len()).collect();
        let classes = names.iter().map(|name| name.as_ref().to_owned()).collect();
        Ok(ImageSet { classes, ..self.relabelled(&all, |class| Some(new[class as usize])) })
    }

    /// Splits off `count` samples for validation: (train, validation), both in the order of this set.
    ///
    /// Which ones depends on the seed; every class gives its share, to within one sample. With
    /// [several labels](ImageSet::is_multi_label) a class may give more, of samples that are held out for a rarer one.
    ///
    /// # Errors
    /// `count` is 0, or leaves nothing to train on.
    pub fn split_validation(&self, count: usize, seed: u64) -> Result<(ImageSet, ImageSet)> {
        if count == 0 || count >= self.len() {
            let rule = format!("must be at least 1 and leave some of the {} to train on", self.len());
            return Err(Error::invalid("validation images", count, rule));
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        Philox::new(seed, Purpose::Split, 0, 0).stream().shuffle(&mut order);
        let mut first = if self.is_multi_label() { self.stratified(&order, count) } else { self.by_class(&order) };
        let mut rest = first.split_off(count);
        first.sort_unstable();
        rest.sort_unstable();
        Ok((self.select(rest), self.select(first)))
    }

    /// The samples, each of one class, in an order of which any cut has every class's share, within a class as in `order`.
    fn by_class(&self, order: &[usize]) -> Vec<usize> {
        // The k-th of the n samples of its class stands at (k + 1/2) / n; a cut anywhere cuts every class there.
        let (sizes, mut seen) = (self.class_sizes(), vec![0u32; self.classes.len()]);
        let mut placed: Vec<(f64, usize)> = Vec::with_capacity(order.len());
        for &i in order {
            let class = self.labels[i] as usize;
            placed.push(((f64::from(seen[class]) + 0.5) / sizes[class] as f64, i));
            seen[class] += 1;
        }
        placed.sort_by(|a, b| a.0.total_cmp(&b.0));
        placed.into_iter().map(|(_, i)| i).collect()
    }

    /// The samples, first `count` that have of each class's samples as large a part as `count` is of all, the rest as in `order`.
    fn stratified(&self, order: &[usize], count: usize) -> Vec<usize> {
        let classes: Vec<&[u32]> = (0..self.len()).map(|i| self.classes_of(i)).collect();
        let mut rank = vec![0; self.len()];
        order.iter().enumerate().for_each(|(place, &i)| rank[i] = place);
        let part = count as f64 / self.len() as f64;
        let held = hold_out(&classes, &rank, |size| (size as f64 * part).round() as usize, Some(count));
        let (first, rest): (Vec<usize>, Vec<usize>) = order.iter().partition(|&&i| held[i]);
        [first, rest].concat()
    }

    /// Number of samples of each class; one of several classes counts for each of them.
    pub fn class_sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.classes.len()];
        self.labels.iter().for_each(|&label| sizes[label as usize] += 1);
        sizes
    }

    /// At most `count` samples at even distances.
    pub(crate) fn evenly(&self, count: usize) -> ImageSet {
        let count = count.min(self.len());
        self.select((0..count).map(|i| i * self.len() / count).collect())
    }

    pub(super) fn select(&self, samples: Vec<usize>) -> ImageSet {
        self.relabelled(&samples, Some)
    }

    /// Some of the samples, with the classes that `new` makes of theirs: of one class each it makes one.
    fn relabelled(&self, samples: &[usize], new: impl Fn(u32) -> Option<u32>) -> ImageSet {
        let (mut labels, mut ends) = (Vec::with_capacity(samples.len()), Vec::with_capacity(samples.len()));
        for &i in samples {
            let first = labels.len();
            labels.extend(self.classes_of(i).iter().filter_map(|&class| new(class)));
            labels[first..].sort_unstable();
            ends.push(labels.len());
        }
        let stored = samples.iter().map(|&i| self.stored[i]).collect();
        ImageSet { stored, labels, ends: self.ends.as_ref().map(|_| ends), ..self.clone() }
    }
}
