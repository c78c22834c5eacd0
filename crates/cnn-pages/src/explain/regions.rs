//! Where in the image a network finds its answer: by gradients, and by covering parts of the image.

use cnn_core::graph::{Graph, Node, Op};
use cnn_core::nn::Module;
use cnn_core::{Backend, Frozen, Pass, Real, Result, Shape, Tensor};

use super::layers::{Layer, What, narrow};

/// A number from 0 to 1 for each place of the image.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    /// Rows and columns.
    pub(crate) size: [usize; 2],
    pub(crate) values: Vec<f32>,
    /// The largest, before it was scaled.
    pub(crate) most: f32,
}

/// The places that speak for a class, and the layer at which they were found: Grad-CAM (R. Selvaraju et al., "Grad-CAM:
/// Visual Explanations from Deep Networks via Gradient-based Localization", 2017).
///
/// Each channel of the last feature maps counts by the mean of its gradient; what speaks against the class is left out.
#[derive(Clone, Debug)]
pub(crate) struct ClassMap {
    pub(crate) class: usize,
    pub(crate) map: Map,
}

/// The last feature maps that all that follows goes through, before pooling loses their places.
pub(crate) fn last_maps<B: Backend>(graph: &Graph<B>, layers: &[Layer]) -> Option<usize> {
    let is_maps = |node: &Node<B>| {
        let pooled = matches!(node.op, Op::MaxPool2d(_) | Op::AvgPool2d(_) | Op::Input);
        let image = layers.iter().find(|layer| layer.id == node.output).and_then(Layer::image);
        !pooled && image.is_some_and(|[h, w, _]| h * w > 1)
    };
    (0..graph.nodes.len()).rev().find(|&at| is_maps(&graph.nodes[at]) && is_cut(graph, at))
}

/// Whether all that follows node `at` goes through the value that it makes.
pub(crate) fn is_cut<B: Backend>(graph: &Graph<B>, at: usize) -> bool {
    let made = |id: usize| graph.nodes.iter().position(|node| node.output == id);
    let later = graph.nodes.iter().skip(at + 1).flat_map(|node| &node.inputs);
    later.copied().all(|id| made(id).is_some_and(|maker| maker >= at))
}

/// The gradient of the value that node `at`, a cut, makes, where that of the logits is `logits`.
pub(crate) fn gradient_at<B: Backend>(
    backend: &B,
    graph: &Graph<B>,
    layers: &[Layer],
    at: usize,
    logits: &[f32],
) -> Result<Vec<f32>> {
    let node = &graph.nodes[at];
    // The rest of the network, which begins with this value.
    let enters = Node { op: Op::Input, inputs: Vec::new(), ..node.clone() };
    let nodes = std::iter::once(enters).chain(graph.nodes[at + 1..].iter().cloned()).collect();
    let mut rest = Graph { nodes, output: graph.output };
    let value = layers.iter().find(|layer| layer.id == node.output).map_or(&[][..], |layer| &layer.values);
    let wide = |values: &[f32]| values.iter().map(|&v| Real::from_f64(f64::from(v))).collect::<Vec<_>>();
    let pass = Pass::eval_recorded(backend);
    let x = pass.input(Tensor::from_slice(backend, node.shape, &wide(value))?)?.keep_gradient();
    let out = rest.call(&x)?;
    let gradients = out.backward_from(Tensor::from_slice(backend, out.shape(), &wide(logits))?)?;
    let gradient = Tensor::from_data(backend, x.shape(), gradients.of(&x)?.clone())?;
    Ok(narrow(&gradient.to_vec(backend)?))
}

/// Grad-CAM of each of `classes`, at the value that node `at` makes.
pub(crate) fn class_maps<B: Backend>(
    backend: &B,
    graph: &Graph<B>,
    layers: &[Layer],
    at: usize,
    classes: &[usize],
) -> Result<Vec<ClassMap>> {
    let node = &graph.nodes[at];
    let Some(layer) = layers.iter().find(|layer| layer.id == node.output) else { return Ok(Vec::new()) };
    let Some([h, w, c]) = layer.image() else { return Ok(Vec::new()) };
    let count = layers.iter().find(|layer| layer.id == graph.output).map_or(0, |logits| logits.values.len());
    classes
        .iter()
        .map(|&class| {
            let one: Vec<f32> = (0..count).map(|i| f32::from(u8::from(i == class))).collect();
            let gradient = gradient_at(backend, graph, layers, at, &one)?;
            Ok(ClassMap { class, map: grad_cam(&layer.values, &gradient, [h, w, c]) })
        })
        .collect()
}

fn grad_cam(maps: &[f32], gradient: &[f32], [h, w, c]: [usize; 3]) -> Map {
    let mut weights = vec![0.0f32; c];
    for place in gradient.chunks_exact(c) {
        weights.iter_mut().zip(place).for_each(|(weight, g)| *weight += g / (h * w) as f32);
    }
    let at = |place: &[f32]| place.iter().zip(&weights).map(|(a, weight)| a * weight).sum::<f32>().max(0.0);
    Map::scaled(maps.chunks_exact(c).map(at).collect(), [h, w])
}

impl Map {
    /// Of numbers that are at least 0.
    fn scaled(mut values: Vec<f32>, size: [usize; 2]) -> Self {
        let most = values.iter().copied().fold(0.0, f32::max);
        if most > 0.0 {
            values.iter_mut().for_each(|value| *value /= most);
        }
        Map { size, values, most }
    }

    /// Of losses of probability: what is next to nothing does not shine.
    fn of_losses(values: Vec<f32>, size: [usize; 2]) -> Self {
        let mut map = Map::scaled(values, size);
        let strength = (map.most / LEAST).min(1.0);
        map.values.iter_mut().for_each(|value| *value *= strength);
        map
    }
}

/// Places of each side at which the cover is put.
const PLACES: usize = 14;
/// Images that are run at a time.
const BATCH: usize = 28;
/// The least loss of probability that is as bright as can be.
const LEAST: f32 = 0.01;

/// How much less probable `class` becomes when a square of a quarter of the sides covers the image there (M. Zeiler,
/// R. Fergus, "Visualizing and Understanding Convolutional Networks", 2014). The cover has the mean colour of the
/// training images, which is 0 after normalisation.
pub(crate) fn occlusion<B: Backend>(
    backend: &B,
    graph: &Graph<B>,
    image: &[f32],
    [h, w, c]: [usize; 3],
    class: usize,
    before: f64,
) -> Result<Map> {
    let frozen = Frozen::from_graph(backend, graph)?;
    let size = [PLACES.min(h), PLACES.min(w)];
    let half = |side: usize| (side / 8).max(1);
    let covered = |place: usize| {
        let (row, column) = ((place / size[1]) * 2 + 1, (place % size[1]) * 2 + 1);
        let centre = [row * h / (2 * size[0]), column * w / (2 * size[1])];
        let mut values = image.to_vec();
        for y in centre[0].saturating_sub(half(h))..(centre[0] + half(h)).min(h) {
            for x in centre[1].saturating_sub(half(w))..(centre[1] + half(w)).min(w) {
                values[(y * w + x) * c..][..c].fill(0.0);
            }
        }
        values
    };
    let places: Vec<usize> = (0..size[0] * size[1]).collect();
    let mut drops = Vec::with_capacity(places.len());
    for some in places.chunks(BATCH) {
        let values: Vec<_> =
            some.iter().flat_map(|&place| covered(place)).map(|v| Real::from_f64(f64::from(v))).collect();
        let logits = frozen.run(Tensor::from_slice(backend, [some.len(), h, w, c], &values)?)?;
        let [_, classes] = logits.shape().matrix("logits")?;
        let probabilities = backend.softmax(logits.data(), classes)?;
        let shape = Shape::new(&[some.len(), classes])?;
        let rows = Tensor::from_data(backend, shape, probabilities)?.to_vec(backend)?;
        drops.extend(rows.chunks_exact(classes).map(|row| (before - row[class].as_f64()).max(0.0) as f32));
    }
    Ok(Map::of_losses(drops, size))
}

/// The value that the last dense layer reads, if the network ends with one.
pub(crate) fn features(layers: &[Layer], output: usize) -> Option<usize> {
    let last = layers.iter().find(|layer| layer.id == output)?;
    matches!(last.what, What::Linear { .. }).then(|| last.inputs.first().copied())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grad_cam_weighs_maps_by_their_mean_gradients() {
        // Two channels at two places; the second channel speaks against the class.
        let map = grad_cam(&[1.0, 0.0, 3.0, 4.0], &[2.0, -1.0, 0.0, -1.0], [1, 2, 2]);
        // Weights 1 and -1: 1 and 3 - 4.
        assert_eq!((map.values, map.most), (vec![1.0, 0.0], 1.0));
    }

    #[test]
    fn losses_of_next_to_nothing_are_dark() {
        let bright = |values: [f32; 2]| Map::of_losses(values.to_vec(), [1, 2]);
        assert_eq!((bright([0.5, 0.25]).values, bright([0.5, 0.25]).most), (vec![1.0, 0.5], 0.5));
        let map = bright([0.0001, 0.0]);
        assert!((map.values[0] - 0.01).abs() < 1e-6 && map.values[1] == 0.0 && map.most == 0.0001, "{map:?}");
    }
}
