//! What a network made of some images as its training went on: recorded epoch by epoch, kept in the run's folder, and shown as
//! a page there.

mod file;
mod page;

use std::collections::BTreeMap;
use std::path::Path;

use cnn_core::Backend;
use cnn_data::{Preprocess, decode_image};
use cnn_train::{Error, Result, Trained, WeightsInfo, write_atomically};

use crate::explain::layers::{Layer, What, observe};
use crate::explain::regions::{self, Map};
use crate::explain::sections::first_convolution;
use crate::explain::seen::{shown, tensor};
use crate::picture::Picture;

/// The page's file in a run's folder.
pub const TIMELINE: &str = "timeline.html";
/// What the page is made of: an [`Archive`](cnn_core::archive::Archive) with a digest.
const RECORD: &str = "timeline.safetensors";

/// Filters of the first convolution that are kept.
const FILTERS: usize = 16;
/// Rows and columns of a filter's output that are kept at most: of a larger one, means of squares.
const SIDE: usize = 32;
/// Pixels of the longer side of a picture that a reader sees.
const SHOWN: usize = 192;

/// Some images in the eyes of a network that is being trained. Of every epoch it keeps the probabilities, and of
/// at most a dozen the filters of the first convolution, what they make of the images, and where the network looked.
#[derive(Clone, Debug)]
pub struct Timeline {
    classes: Vec<String>,
    /// Height, width and channels of an image.
    image: [usize; 3],
    preprocess: Preprocess,
    /// Of the first convolution, by epoch.
    filters: BTreeMap<u32, Grid>,
    followed: Vec<Followed>,
}

/// Numbers with their dimensions, the last of which counts filters: \[KH, KW, C, K\] or \[H, W, K\].
#[derive(Clone, Debug, PartialEq)]
struct Grid {
    dims: Vec<usize>,
    values: Vec<f32>,
}

/// One image. Epoch 0 is before the first step.
#[derive(Clone, Debug)]
struct Followed {
    /// What the page calls it.
    name: String,
    /// As the network is given it, \[H, W, C\].
    bytes: Vec<u8>,
    /// As a reader sees it.
    shown: Picture,
    /// The probability of each class, by epoch.
    answers: BTreeMap<u32, Vec<f32>>,
    seen: BTreeMap<u32, Seen>,
}

/// What is kept of an epoch as pictures.
#[derive(Clone, Debug)]
struct Seen {
    /// What each filter made of the image; none of a network that does not begin with a convolution.
    maps: Option<Grid>,
    /// Grad-CAM of the class that was found; none of a network that has no such maps.
    places: Option<Map>,
}

impl Timeline {
    /// Most images that a run follows.
    pub const MOST_IMAGES: usize = 4;

    /// An empty one for a network of `info`.
    pub fn new(info: &WeightsInfo) -> Self {
        let WeightsInfo { classes, image, preprocess, .. } = info.clone();
        Timeline { classes, image, preprocess, filters: BTreeMap::new(), followed: Vec::new() }
    }

    /// Follows the picture file at `path` from the next epoch on that is recorded. One whose pixels are followed already is
    /// not followed twice.
    ///
    /// # Errors
    /// It cannot be read, or is one more than [`MOST_IMAGES`](Timeline::MOST_IMAGES).
    pub fn follow(&mut self, path: &Path) -> Result<()> {
        let bytes = decode_image(path, self.image, &self.preprocess)?;
        if self.followed.iter().any(|followed| followed.bytes == bytes) {
            return Ok(());
        }
        if self.followed.len() == Self::MOST_IMAGES {
            return Err(Error::Recipe {
                field: "explain".to_owned(),
                value: path.display().to_string(),
                rule: format!("is one image too many: a run follows at most {}", Self::MOST_IMAGES),
            });
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let shown = shown(path, &bytes, self.image, &self.preprocess)?.fitted(SHOWN);
        self.followed.push(Followed { name, bytes, shown, answers: BTreeMap::new(), seen: BTreeMap::new() });
        Ok(())
    }

    /// Whether no image is followed.
    pub fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }

    /// Whether `epoch` is recorded of every image.
    pub fn has(&self, epoch: u32) -> bool {
        self.followed.iter().all(|followed| followed.answers.contains_key(&epoch))
    }

    /// Forgets the epochs after `epoch`: a run that goes on from there makes them again.
    pub fn forget_after(&mut self, epoch: u32) {
        let known = ..=epoch;
        self.filters.retain(|at, _| known.contains(at));
        for Followed { answers, seen, .. } in &mut self.followed {
            answers.retain(|at, _| known.contains(at));
            seen.retain(|at, _| known.contains(at));
        }
    }

    /// Records what `trained` makes of the images after `epoch` epochs, in place of what was known of that and later ones. The
    /// network is run as in evaluation, and left as it was.
    ///
    /// # Errors
    /// Logits that are not finite, and those of the model. Nothing of the epoch is then kept.
    pub fn record<B: Backend>(&mut self, epoch: u32, trained: &mut Trained<B>) -> Result<()> {
        let (backend, info) = (trained.backend().clone(), trained.info().clone());
        let mut filters = None;
        let mut made = Vec::with_capacity(self.followed.len());
        for followed in &self.followed {
            let image = tensor(&backend, &info, &followed.bytes)?;
            let run = observe(&backend, &mut **trained.model_mut(), image)?;
            if run.probabilities.len() != self.classes.len() || run.probabilities.iter().any(|p| !p.is_finite()) {
                return Err(Error::NotFiniteLogits { image: followed.name.clone() });
            }
            let answer: Vec<f32> = run.probabilities.iter().map(|&p| p as f32).collect();
            let found = largest_at(&answer);
            let places = match regions::last_maps(&run.graph, &run.layers) {
                Some(at) => regions::class_maps(&backend, &run.graph, &run.layers, at, &[found])?.pop(),
                None => None,
            };
            let first = first_convolution(&run.layers).map(|at| &run.layers[at]);
            filters = filters.or_else(|| first.and_then(weights));
            made.push((answer, Seen { maps: first.and_then(maps), places: places.map(|places| places.map) }));
        }
        self.forget_after(epoch);
        self.filters.extend(filters.map(|filters| (epoch, filters)));
        for (followed, (answer, seen)) in self.followed.iter_mut().zip(made) {
            followed.answers.insert(epoch, answer);
            followed.seen.insert(epoch, seen);
            followed.seen.retain(|&at, _| pictured(at, epoch));
        }
        self.filters.retain(|&at, _| pictured(at, epoch));
        Ok(())
    }

    /// Writes what is recorded, and the page, into the folder of a run.
    ///
    /// # Errors
    /// A file cannot be written; an old one is then still there.
    pub fn save(&self, folder: &Path) -> Result<()> {
        write_atomically(&folder.join(RECORD), &self.to_archive().to_bytes()?)?;
        let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let name = whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned();
        write_atomically(&folder.join(TIMELINE), self.page(&name).as_bytes())
    }
}

/// Whether an epoch is shown as pictures when `last` is the last one: the first two, the last, and between them every so
/// many, a power of two, that they are a dozen at most. One that is left out is not needed by a later `last` either.
fn pictured(epoch: u32, last: u32) -> bool {
    let mut step = 1;
    while last / step > 9 {
        step *= 2;
    }
    epoch <= 1 || epoch == last || epoch.is_multiple_of(step)
}

/// Where the largest number is.
fn largest_at(values: &[f32]) -> usize {
    (0..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// The weights of the first filters.
fn weights(layer: &Layer) -> Option<Grid> {
    let What::Conv(conv) = &layer.what else { return None };
    let [kh, kw, channels, filters] = conv.spec.weight_shape();
    Some(Grid { dims: vec![kh, kw, channels, filters.min(FILTERS)], values: first_filters(&conv.weight, filters) })
}

/// What the first filters make of the image.
fn maps(layer: &Layer) -> Option<Grid> {
    let [h, w, filters] = layer.image()?;
    let values = first_filters(&layer.values, filters);
    Some(shrunk(&values, [h, w, filters.min(FILTERS)]))
}

/// Of numbers whose last dimension counts `filters`, those of the first ones.
fn first_filters(values: &[f32], filters: usize) -> Vec<f32> {
    values.chunks_exact(filters.max(1)).flat_map(|all| &all[..filters.min(FILTERS)]).copied().collect()
}

/// Maps \[H, W, K\] as means of squares so large that no more than [`SIDE`] of them are in a row or column.
fn shrunk(values: &[f32], [h, w, k]: [usize; 3]) -> Grid {
    let side = h.max(w).div_ceil(SIDE).max(1);
    let [rows, columns] = [h, w].map(|length| length.div_ceil(side));
    let mut sums = vec![0.0; rows * columns * k];
    let mut counts = vec![0.0; rows * columns];
    for (at, pixel) in values.chunks_exact(k.max(1)).enumerate() {
        let place = at / w / side * columns + at % w / side;
        counts[place] += 1.0;
        sums[place * k..][..k].iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
    }
    for (place, count) in sums.chunks_exact_mut(k.max(1)).zip(counts) {
        place.iter_mut().for_each(|sum| *sum /= count);
    }
    Grid { dims: vec![rows, columns, k], values: sums }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_of_a_dozen_epochs_at_most_and_never_missed_later() {
        for last in 0..500 {
            let shown: Vec<u32> = (0..=last).filter(|&epoch| pictured(epoch, last)).collect();
            assert!(shown.len() <= 12 && shown.len() as u32 >= last.min(6), "{last}: {shown:?}");
            assert_eq!((shown.first(), shown.last()), (Some(&0), Some(&last)));
            let kept = |epoch: &u32| (*epoch..=last).all(|then| pictured(*epoch, then));
            assert!(shown.iter().all(kept), "{last}: {shown:?}");
        }
    }

    #[test]
    fn large_maps_become_means() {
        // 33 rows of one column: squares of 2, the last of which is cut off.
        let values: Vec<f32> = (0..33).flat_map(|row| [row as f32, 1.0]).collect();
        let Grid { dims, values } = shrunk(&values, [33, 1, 2]);
        assert_eq!((dims, values.len()), (vec![17, 1, 2], 34));
        assert_eq!((values[0], values[1], values[32]), (0.5, 1.0, 32.0));
    }
}
