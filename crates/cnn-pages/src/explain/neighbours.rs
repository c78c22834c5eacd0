//! The training images that a network sees as most alike: nearest by the last layer's features.

use cnn_core::graph::Graph;
use cnn_core::image::Border;
use cnn_core::{Backend, Frozen};
use cnn_data::{Augment, ImageSet, Loader, LoaderOptions};
use cnn_train::{DeviceBatches, Result, WeightsInfo};

use super::layers::narrow;
use super::seen::as_seen;

/// A training image that is near.
#[derive(Clone, Debug)]
pub(crate) struct Neighbour {
    pub(crate) name: String,
    pub(crate) class: String,
    /// \[H, W, C\].
    pub(crate) bytes: Vec<u8>,
    /// Cosine between the features, from -1 to 1.
    pub(crate) similarity: f64,
}

/// The nearest, and of how many.
#[derive(Clone, Debug)]
pub(crate) struct Neighbours {
    pub(crate) nearest: Vec<Neighbour>,
    pub(crate) searched: usize,
    pub(crate) of: usize,
}

const NEAREST: usize = 8;
/// Numbers of images that are searched at most, but for so many images: what takes seconds, not minutes. It is 10,000 of 32 x 32 in
/// colour, and 1,000 of photographs.
const SEARCHED: usize = 10_000 * 32 * 32 * 3;
const SEARCHED_IMAGES: usize = 1000;
const BATCH: usize = 128;

/// Searches `images`, or as many of them as is done in a short time, drawn at random.
pub(crate) fn search<B: Backend>(
    backend: &B,
    graph: &Graph<B>,
    feature: usize,
    own: &[f32],
    info: &WeightsInfo,
    images: &ImageSet,
) -> Result<Neighbours> {
    let end = graph.nodes.iter().position(|node| node.output == feature).map_or(0, |at| at + 1);
    let head = Graph { nodes: graph.nodes[..end].to_vec(), output: feature };
    let frozen = Frozen::from_graph(backend, &head)?;
    let spec = info.spec(Border::Zero);
    let batches = DeviceBatches::new(backend, images, spec);
    let loader = Loader::new(images.clone(), LoaderOptions::new(BATCH).shuffle(true))?;
    let most = most_searched(info.image);
    let mut found: Vec<(f64, usize)> = Vec::new();
    let mut searched = 0;
    for batch in loader.epoch(0, &Augment::NONE) {
        let batch = batch?;
        let features = narrow(&frozen.run(batches.tensor(&batch)?)?.to_vec(backend)?);
        let each = features.chunks_exact(own.len().max(1)).zip(&batch.samples);
        found.extend(each.map(|(features, &sample)| (cosine(own, features), sample as usize)));
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        found.truncate(NEAREST);
        searched += batch.len();
        if searched >= most {
            break;
        }
    }
    let neighbour = |&(similarity, sample): &(f64, usize)| -> Result<Neighbour> {
        let class = images.named(images.classes_of(sample));
        let [height, width, _] = info.image;
        let bytes = as_seen(&images.image(sample)?, images.size(), [height, width])?;
        Ok(Neighbour { name: images.name(sample), class, bytes, similarity })
    };
    let nearest = found.iter().map(neighbour).collect::<Result<_>>()?;
    Ok(Neighbours { nearest, searched, of: images.len() })
}

/// Images of this size that are searched at most.
fn most_searched(image: [usize; 3]) -> usize {
    (SEARCHED / image.iter().product::<usize>().max(1)).max(SEARCHED_IMAGES)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms > 0.0 { dot(a, b) / norms } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_are_searched_of_large_images() {
        assert_eq!([[32, 32, 3], [64, 64, 3], [224, 224, 3]].map(most_searched), [10_000, 2500, 1000]);
    }

    #[test]
    fn likeness_does_not_depend_on_length() {
        assert!((cosine(&[1.0, 2.0], &[2.0, 4.0]) - 1.0).abs() < 1e-12);
        assert_eq!([cosine(&[1.0, 0.0], &[0.0, 3.0]), cosine(&[0.0], &[1.0])], [0.0, 0.0]);
    }
}
