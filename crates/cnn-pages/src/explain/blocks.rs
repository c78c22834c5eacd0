//! A deep network part by part: which layers belong together, and what some of their channels show.

use super::layers::{Layer, What, shape};
use crate::html::{escape, figure};
use crate::picture::{Colours, Picture, channel, largest};

/// Layers that belong together: a block of a residual network, or a convolution with what follows it.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    /// State-dict path of the block.
    pub(crate) name: String,
    pub(crate) layers: Vec<&'a Layer>,
}

/// The layers in their blocks. `layer1.0.conv2` belongs to `layer1.0`: a path up to its first number, or else its first
/// word. Of modules that are single layers, each convolution or dense layer begins a new block.
pub(crate) fn blocks(layers: &[Layer]) -> Vec<Block<'_>> {
    let is_container =
        |key: &str| layers.iter().any(|layer| layer.path.len() > key.len() && block_of(&layer.path) == key);
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for layer in layers.iter().filter(|layer| !matches!(layer.what, What::Input | What::Softmax)) {
        let key = block_of(&layer.path);
        let begins = match blocks.last() {
            None => true,
            Some(block) if is_container(key) => block.name != key,
            // A layer outside of any container goes with the one before it, unless that is a container or it computes anew.
            Some(block) => {
                let weighs = matches!(layer.what, What::Conv(_) | What::Linear { .. });
                weighs || is_container(&block.name)
            }
        };
        if begins {
            let name = if key.is_empty() { layer.name() } else { key.to_owned() };
            blocks.push(Block { name, layers: Vec::new() });
        }
        if let Some(block) = blocks.last_mut() {
            block.layers.push(layer);
        }
    }
    blocks
}

/// The block that a path belongs to.
pub(crate) fn block_of(path: &str) -> &str {
    let mut end = 0;
    for part in path.split('.') {
        end += part.len();
        if part.bytes().all(|b| b.is_ascii_digit()) && end > 0 {
            return &path[..end];
        }
        end += 1;
    }
    path.split('.').next().unwrap_or_default()
}

/// Channels that are shown of a block.
const CHANNELS: usize = 8;

impl Block<'_> {
    /// Its last feature maps.
    pub(crate) fn maps(&self) -> Option<&Layer> {
        self.layers.iter().rev().find(|layer| layer.image().is_some_and(|[h, w, _]| h * w > 1)).copied()
    }

    /// Layers of the block that `id` comes through, last first.
    fn behind(&self, id: usize) -> Vec<&Layer> {
        let mut found: Vec<&Layer> = Vec::new();
        let mut ids = vec![id];
        while let Some(id) = ids.pop() {
            let makers = self.layers.iter().filter(|layer| layer.id == id);
            for layer in makers.filter(|layer| !found.iter().any(|other| other.id == layer.id)).collect::<Vec<_>>() {
                found.push(layer);
                ids.extend(&layer.inputs);
            }
        }
        found
    }

    /// What it computes, in a line: its layers in their order, but those of a shortcut, which runs beside the others, where it
    /// is added.
    fn told(&self) -> String {
        let joined = |layers: &[&Layer]| layers.iter().map(|l| l.name()).collect::<Vec<_>>().join(" \u{2192} ");
        let mut main = self.layers.clone();
        let mut parts: Vec<String> = Vec::new();
        for layer in &self.layers {
            let (true, [sum, shortcut]) = (layer.adds(), &layer.inputs[..]) else { continue };
            let own: Vec<usize> = self.behind(*sum).iter().map(|layer| layer.id).collect();
            let mut beside: Vec<&Layer> = self.behind(*shortcut);
            beside.retain(|layer| !own.contains(&layer.id));
            beside.reverse();
            main.retain(|layer| !beside.iter().any(|other| other.id == layer.id));
            let end = main.iter().position(|other| other.id == layer.id).map_or(main.len(), |at| at + 1);
            let shortcut = match beside[..] {
                [] => "what entered the block, unchanged".to_owned(),
                _ => joined(&beside),
            };
            let path: Vec<&Layer> = main.drain(..end).collect();
            let then = layer.activation().map_or(String::new(), |activation| format!(", then {}", activation.name()));
            parts.push(format!("{}, plus the shortcut: {shortcut}{then}", joined(&path)));
        }
        if !main.is_empty() {
            parts.push(joined(&main));
        }
        parts.join(" \u{2192} ")
    }

    /// A heading, what it computes, and what comes out.
    pub(crate) fn html(&self) -> String {
        let mut out = format!("<h3>{}</h3>\n<p class=\"note\">{}.</p>\n", escape(&self.name), escape(&self.told()));
        if let Some(maps) = self.maps() {
            out += &feature_maps(maps, CHANNELS);
        }
        out
    }
}

/// The channels of `layer` that vary most over the image, and the mean of all.
pub(crate) fn feature_maps(layer: &Layer, count: usize) -> String {
    let Some([h, w, c]) = layer.image() else { return String::new() };
    let spread = |k: usize| {
        let map = channel(&layer.values, c, k);
        let mean = map.iter().sum::<f32>() / map.len() as f32;
        map.iter().map(|v| (v - mean).powi(2)).sum::<f32>()
    };
    let mut order: Vec<(usize, f32)> = (0..c).map(|k| (k, spread(k))).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    let signed = layer.values.iter().any(|&value| value < 0.0);
    let colours = if signed { Colours::Signed } else { Colours::Heat };
    let mut out = "<div class=\"tiles plain\">\n".to_owned();
    for &(k, _) in order.iter().take(count) {
        let map = channel(&layer.values, c, k);
        let most = largest(&map);
        out += &figure(&Picture::of_map(&map, [h, w], colours, most).img(84, ""), &format!("channel {k}"));
    }
    let mean: Vec<f32> = layer.values.chunks_exact(c).map(|place| place.iter().sum::<f32>() / c as f32).collect();
    out += &figure(&Picture::of_map(&mean, [h, w], colours, largest(&mean)).img(84, ""), "mean of all");
    out + &format!(
        "</div>\n<p class=\"note\">{}: {} of {c} channels.</p>\n",
        shape(&layer.dims),
        order.len().min(count)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use cnn_core::backend::Activation;

    fn layer(path: &str, what: What) -> Layer {
        Layer { path: path.to_owned(), what, inputs: Vec::new(), id: 0, dims: vec![1, 2], values: Vec::new() }
    }

    #[test]
    fn a_shortcut_is_told_where_it_is_added() {
        let numbered =
            |id: usize, inputs: &[usize], what: What| Layer { id, inputs: inputs.to_vec(), ..layer("layer2.0", what) };
        let dense = || What::Linear { weight: Vec::new(), bias: None };
        let norm = |add: bool| What::Norm { add, activation: Some(Activation::Relu).filter(|_| add) };
        let convolved = [
            numbered(1, &[0], What::Other("1x1".into())),
            numbered(2, &[1], norm(false)),
            numbered(3, &[0], dense()),
            numbered(4, &[3, 2], norm(true)),
            numbered(5, &[4], What::Flatten),
        ];
        let told = |layers: &[Layer]| Block { name: String::new(), layers: layers.iter().collect() }.told();
        assert_eq!(
            told(&convolved),
            "dense layer \u{2192} batch normalisation, plus the shortcut: 1x1 \u{2192} batch normalisation, then ReLU \u{2192} flatten"
        );
        let unchanged = [numbered(3, &[0], dense()), numbered(4, &[3, 0], norm(true))];
        let text =
            "dense layer \u{2192} batch normalisation, plus the shortcut: what entered the block, unchanged, then ReLU";
        assert_eq!(told(&unchanged), text);
    }

    #[test]
    fn layers_are_found_in_their_blocks() {
        let flat = || What::Flatten;
        let dense = || What::Linear { weight: Vec::new(), bias: None };
        let layers = [
            layer("", What::Input),
            layer("conv1", dense()),
            layer("bn1", flat()),
            layer("layer1.0.conv1", dense()),
            layer("layer1.0", flat()),
            layer("layer1.1.conv1", dense()),
            layer("", flat()),
            layer("fc", dense()),
        ];
        let found: Vec<(String, usize)> = blocks(&layers).into_iter().map(|b| (b.name, b.layers.len())).collect();
        let expected = [("conv1", 2), ("layer1.0", 2), ("layer1.1", 1), ("flatten", 1), ("fc", 1)];
        assert_eq!(found, expected.map(|(name, count)| (name.to_owned(), count)));
        assert_eq!(blocks(&layers)[1].told(), "dense layer \u{2192} flatten");
        assert_eq!([block_of("block1.conv1"), block_of("0"), block_of("conv")], ["block1", "0", "conv"]);
    }
}
