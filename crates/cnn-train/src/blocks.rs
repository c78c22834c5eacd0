//! A network's blocks from its input to its last layer, by the names of its parameters: what layer-wise rates and gradual unfreezing
//! go by.

use cnn_core::Backend;
use cnn_core::nn::{Module, parameters};
use cnn_core::optim::{Group, OptimizerOptions};

use crate::{Error, FreezeRecipe, Result};

/// The blocks of a network but for its last layer, in the order in which it has them.
#[derive(Debug)]
pub(crate) struct Blocks {
    blocks: Vec<Block>,
}

/// Parameters that have a rate in common.
#[derive(Debug, PartialEq)]
struct Block {
    /// What the names of its first parameters begin with: `conv1`, `layer1.0`, `features.3`.
    name: String,
    parameters: Vec<String>,
    /// Whether there is anything in it but vectors.
    has_weights: bool,
}

/// The block of a parameter: the first two parts of its layer's name, or the one that this has.
fn block_of(parameter: &str) -> &str {
    let layer = parameter.rfind('.').map_or(parameter, |dot| &parameter[..dot]);
    layer.match_indices('.').nth(1).map_or(layer, |(dot, _)| &layer[..dot])
}

impl Blocks {
    /// Those of a model whose last layer's names begin with `head`. A layer that has only vectors, a normalisation, is of the block
    /// before it.
    pub(crate) fn of<B: Backend>(model: &dyn Module<B>, head: &str) -> Self {
        let mut blocks: Vec<Block> = Vec::new();
        for parameter in parameters(model) {
            let (name, is_weight) = (parameter.name(), parameter.shape().dims().len() > 1);
            if !head.is_empty() && name.starts_with(head) {
                continue;
            }
            let known = blocks.iter().position(|block| block.name == block_of(name));
            let at = known.unwrap_or(blocks.len());
            if known.is_none() {
                blocks.push(Block { name: block_of(name).to_owned(), parameters: Vec::new(), has_weights: false });
            }
            let block = &mut blocks[at];
            block.parameters.push(name.to_owned());
            block.has_weights |= is_weight;
        }
        let mut merged: Vec<Block> = Vec::new();
        for block in blocks {
            match merged.last_mut() {
                Some(before) if !block.has_weights => before.parameters.extend(block.parameters),
                _ => merged.push(block),
            }
        }
        Blocks { blocks: merged }
    }

    /// `options` with rates that fall towards the input: each block has that of the one behind it, times `decay`; the last layer's
    /// stays (J. Howard, S. Ruder, "Universal Language Model Fine-tuning for Text Classification", 2018, there called discriminative).
    pub(crate) fn decayed(&self, mut options: OptimizerOptions, decay: f64) -> OptimizerOptions {
        let count = self.blocks.len();
        let slower = self.blocks.iter().enumerate().flat_map(|(at, block)| {
            let scale = decay.powi((count - at) as i32);
            block.parameters.iter().map(move |name| (name, scale))
        });
        let group = |(name, scale): (&String, f64)| {
            let own = options.groups.iter().find(|group| group.matches(name)).cloned();
            let own = own.unwrap_or_else(|| Group::new(name, 1.0));
            Group { pattern: name.clone(), lr_scale: own.lr_scale * scale, ..own }
        };
        // Of several groups that match, the first counts.
        options.groups = slower.map(group).chain(options.groups.iter().cloned()).collect();
        options
    }

    /// What is frozen at first where `epochs` are those after which a part of the blocks is thawed, the part nearest the last layer
    /// first: as many parts as numbers, of as many blocks each, to within one.
    ///
    /// # Errors
    /// More parts than blocks.
    pub(crate) fn unfreezing(&self, epochs: &[u32]) -> Result<Vec<FreezeRecipe>> {
        let count = self.blocks.len();
        if epochs.len() > count {
            let rule = format!("must be at most {count} numbers, one for each block of the network");
            return Err(Error::recipe("unfreeze", format!("{epochs:?}"), rule));
        }
        let frozen = |(at, block): (usize, &Block)| {
            let before_epochs = Some(epochs[(count - 1 - at) * epochs.len() / count]);
            let frozen = |name: &String| FreezeRecipe {
                pattern: name.clone(),
                before_epochs,
                after_epochs: None,
                statistics: true,
            };
            block.parameters.iter().map(frozen).collect::<Vec<_>>()
        };
        match epochs {
            [] => Ok(Vec::new()),
            _ => Ok(self.blocks.iter().enumerate().flat_map(frozen).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use cnn_core::Naive;
    use cnn_core::optim::Method;
    use cnn_core::pretrained::head;
    use cnn_models::Arch;

    use super::*;
    use crate::Networks;

    fn blocks(network: &str, side: usize) -> Blocks {
        let model = Networks::new().build(network, &Naive::<f32>::new(), 0, [side, side, 3], 3).unwrap();
        Blocks::of(&*model, &head(&*model).unwrap())
    }

    fn names(blocks: &Blocks) -> Vec<&str> {
        blocks.blocks.iter().map(|block| &*block.name).collect()
    }

    #[test]
    fn blocks_are_in_the_order_of_the_network_and_normalisations_belong_to_them() {
        let resnet = blocks("resnet18", 32);
        let expected = "conv1 layer1.0 layer1.1 layer2.0 layer2.1 layer3.0 layer3.1 layer4.0 layer4.1";
        assert_eq!(names(&resnet).join(" "), expected);
        assert_eq!(resnet.blocks[0].parameters, ["conv1.weight", "bn1.weight", "bn1.bias"]);
    }

    #[test]
    fn every_network_has_blocks_and_each_parameter_is_of_one() {
        for (network, _) in Arch::described() {
            let arch: Arch = network.parse().unwrap();
            let [side, _] = arch.usual_size();
            let model = Networks::new().build(network, &Naive::<f32>::new(), 0, [side, side, 3], 3).unwrap();
            let head = head(&*model).unwrap();
            let blocks = Blocks::of(&*model, &head);
            let mut of_blocks: Vec<&str> =
                blocks.blocks.iter().flat_map(|block| &block.parameters).map(|name| &**name).collect();
            let mut all: Vec<&str> = parameters(&*model).iter().map(|parameter| parameter.name()).collect();
            all.retain(|name| !name.starts_with(&head));
            of_blocks.sort_unstable();
            all.sort_unstable();
            assert_eq!(of_blocks, all, "{network}");
            // Neither everything in one, nor a block to each layer of a deep network.
            let count = blocks.blocks.len();
            assert!((1..=36).contains(&count) && (count >= 5 || all.len() < 16), "{network}: {:?}", names(&blocks));
            println!("{network}: {} blocks: {}", count, names(&blocks).join(" "));
        }
    }

    #[test]
    fn rates_fall_towards_the_input_and_groups_keep_what_they_have() {
        let blocks = blocks("resnet18", 32);
        let own = Group { weight_decay: Some(0.0), ..Group::new("*.bias", 2.0) };
        let options = OptimizerOptions::new(Method::ADAMW).group(Group::new("fc.*", 10.0)).group(own);
        let options = blocks.decayed(options, 0.5);
        let of = |name: &str| options.groups.iter().find(|group| group.matches(name)).unwrap();
        assert_eq!(of("layer4.1.conv1.weight").lr_scale, 0.5);
        assert_eq!(of("layer4.0.downsample.0.weight").lr_scale, 0.25);
        assert_eq!((of("conv1.weight").lr_scale, of("bn1.weight").lr_scale), (0.5f64.powi(9), 0.5f64.powi(9)));
        assert_eq!((of("bn1.bias").lr_scale, of("bn1.bias").weight_decay), (0.5f64.powi(8), Some(0.0)));
        assert_eq!((of("fc.weight").lr_scale, of("fc.bias").lr_scale), (10.0, 10.0));
    }

    #[test]
    fn blocks_are_thawed_from_the_last_layer_on() {
        let blocks = blocks("resnet18", 32);
        let epoch = |epochs: &[u32], name: &str| {
            let tables = blocks.unfreezing(epochs).unwrap();
            tables.iter().find(|table| table.pattern == name).unwrap().before_epochs.unwrap()
        };
        assert_eq!([epoch(&[2], "conv1.weight"), epoch(&[2], "layer4.1.bn2.bias")], [2, 2]);
        // Nine blocks: the five nearest the last layer, then the other four.
        let two = |name| epoch(&[2, 4], name);
        assert_eq!([two("layer4.1.conv1.weight"), two("layer2.1.bn1.bias"), two("layer2.0.conv1.weight")], [2, 2, 4]);
        assert_eq!(two("bn1.weight"), 4);
        assert!(blocks.unfreezing(&[]).unwrap().is_empty());
        let error = blocks.unfreezing(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).unwrap_err().to_string();
        assert!(error.ends_with("must be at most 9 numbers, one for each block of the network"), "{error}");
    }
}
