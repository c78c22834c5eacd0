//! The network of K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU" (2024): it learns CIFAR-10 in ten epochs.

use cnn_core::nn::{BatchNorm2d, Conv2d, ConvNorm, Init, Kind, Layout, Linear, Module, Scope, name_fields};
use cnn_core::{Backend, Conv2dOptions, Error, Pool2dOptions, Result, Shape, Tensor, Var, named_fields};

use crate::whitening::whitening;

/// Channels of the three stages, and convolutions of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastConfig {
    /// Channels of each stage.
    pub widths: [usize; 3],
    /// Convolutions of a stage: 2, or 3 of which the last is added to what the second gave.
    pub depth: usize,
}

impl FastConfig {
    /// For 94%.
    pub const FAST: FastConfig = FastConfig { widths: [64, 256, 256], depth: 2 };
    /// For 95%.
    pub const WIDE: FastConfig = FastConfig { widths: [128, 384, 384], depth: 2 };
    /// For 96%.
    pub const DEEP: FastConfig = FastConfig { widths: [128, 512, 512], depth: 3 };

    /// How many weights the network has, without making it.
    pub(crate) fn parameter_count(&self, channels: usize, classes: usize) -> Option<usize> {
        let patch = PATCH.checked_mul(PATCH)?.checked_mul(channels)?;
        let filters = patch.checked_mul(2)?;
        let mut sum = filters.checked_mul(patch.checked_add(1)?)?;
        let mut before = filters;
        for width in self.widths {
            let later = width.checked_mul(width)?.checked_mul(9 * (self.depth - 1))?;
            let convolutions = before.checked_mul(width)?.checked_mul(9)?.checked_add(later)?;
            sum = sum.checked_add(convolutions)?.checked_add(2 * self.depth * width)?;
            before = width;
        }
        sum.checked_add(before.checked_mul(classes)?)
    }
}

/// Rows and columns of the first convolution's kernel.
const PATCH: usize = 2;

/// What the first convolution's eigenvalues are padded by before they are divided by.
const WHITENING_EPS: f64 = 5e-4;

/// The logits are divided by this: so large are the last stage's activations.
const LOGITS: f64 = 9.0;

/// A 2x2 convolution that whitens the image's patches and is not trained but for its bias; three stages of convolution,
/// max-pooling, normalisation, GELU and more convolutions; the largest of each 3x3 pixels that are left, and a dense layer
/// without a bias. GELU is exact. State dict: `whiten`, `block1.conv1`, `block1.norm1`, ..., `head`.
///
/// Normalisations have no trained scale; their statistics move by 0.4 of each batch, in the deeper network by 0.1. The first filters of each convolution
/// begin by passing a channel on. The paper divides the logits by 9; here the head's initial weights are divided instead, so
/// that to train alike its rate is 1/81 of the others' and its decay 81 times theirs.
#[derive(Debug)]
pub struct Fast<B: Backend> {
    whiten: Conv2d<B>,
    block1: Block<B>,
    block2: Block<B>,
    block3: Block<B>,
    head: Linear<B>,
    scope: Scope,
}

named_fields!(Fast { whiten, block1, block2, block3, head });

/// Convolutions with a normalisation and a GELU each; behind the first the image is halved.
#[derive(Debug)]
struct Block<B: Backend> {
    conv1: Conv2d<B>,
    norm1: BatchNorm2d<B>,
    conv2: Conv2d<B>,
    norm2: BatchNorm2d<B>,
    /// Added to what the second gave.
    conv3: Option<Conv2d<B>>,
    norm3: Option<BatchNorm2d<B>>,
    scope: Scope,
}

named_fields!(Block { conv1, norm1, conv2, norm2, conv3, norm3 });

impl<B: Backend> Fast<B> {
    /// The network for images \[height, width, channels\], which is to be [initialised](Module::initialise) with some of them.
    ///
    /// # Errors
    /// An image of fewer than 9 rows or columns, of which a first convolution and three poolings would leave nothing.
    pub fn new(backend: &B, seed: u64, config: &FastConfig, [h, w, c]: [usize; 3], classes: usize) -> Result<Self> {
        if h < 9 || w < 9 {
            let rule = "must be at least 9x9 for a 2x2 convolution and three poolings";
            return Err(Error::invalid("image", format!("{h}x{w}"), rule));
        }
        let init = &mut Init::new(backend, seed);
        let patch = PATCH * PATCH * c;
        let mut whiten = Conv2d::new(init, c, 2 * patch, Conv2dOptions::square(PATCH))?;
        whiten.weight.set_requires_grad(false);
        let [first, second, third] = config.widths;
        let mut model = Fast {
            whiten,
            block1: Block::new(init, 2 * patch, first, config.depth)?,
            block2: Block::new(init, first, second, config.depth)?,
            block3: Block::new(init, second, third, config.depth)?,
            head: head(init, third, classes)?,
            scope: Scope::default(),
        };
        name_fields(&mut model);
        Ok(model)
    }
}

impl<B: Backend> Module<B> for Fast<B> {
    /// Logits \[N, classes\].
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let x = self.whiten.call(x)?.gelu()?;
        let x = self.block1.call(&x)?;
        let x = self.block2.call(&x)?;
        let x = self.block3.call(&x)?;
        let [_, h, w, _] = x.shape().image_batch("activation")?;
        let all = Pool2dOptions { window: [h, w], stride: [h, w], ..Pool2dOptions::square(1) };
        self.head.call(&x.max_pool2d(&all)?.flatten()?)
    }

    /// Sets the first convolution to whiten the images' patches.
    fn initialise(&mut self, backend: &B, images: &mut dyn FnMut() -> Result<Tensor<B>>) -> Result<()> {
        let images = images()?;
        let weights = whitening(&images.to_vec(backend)?, images.shape(), PATCH, WHITENING_EPS)?;
        *self.whiten.weight.value_mut() = backend.upload(&weights)?;
        Ok(())
    }
}

/// The dense layer whose logits are small.
fn head<B: Backend>(init: &mut Init<'_, B>, inputs: usize, classes: usize) -> Result<Linear<B>> {
    // PyTorch's initial weights are uniform within 1 / sqrt(inputs): of 81 times as many inputs they are a ninth.
    let fan_in = inputs * (LOGITS * LOGITS) as usize;
    let layout = Layout::Transposed { dims: [1, 1, inputs, classes] };
    let mut head = Linear::without_bias(init, inputs, classes)?;
    head.weight = init.uniform(Shape::new(&[inputs, classes])?, fan_in, Kind::Weight, layout)?;
    Ok(head)
}

impl<B: Backend> Block<B> {
    fn new(init: &mut Init<'_, B>, inputs: usize, width: usize, depth: usize) -> Result<Self> {
        let conv = |init: &mut Init<'_, B>, inputs| -> Result<Conv2d<B>> {
            let mut conv = Conv2d::without_bias(init, inputs, width, Conv2dOptions::square(3).padding(1))?;
            conv.pass_channels_on(init.backend())?;
            Ok(conv)
        };
        let norm = |init: &mut Init<'_, B>| -> Result<BatchNorm2d<B>> {
            let mut norm = BatchNorm2d::new(init, width)?;
            norm.weight.set_requires_grad(false);
            (norm.eps, norm.momentum) = (1e-12, if depth > 2 { 0.1 } else { 0.4 });
            Ok(norm)
        };
        Ok(Block {
            conv1: conv(init, inputs)?,
            norm1: norm(init)?,
            conv2: conv(init, width)?,
            norm2: norm(init)?,
            conv3: (depth > 2).then(|| conv(init, width)).transpose()?,
            norm3: (depth > 2).then(|| norm(init)).transpose()?,
            scope: Scope::default(),
        })
    }
}

impl<B: Backend> Module<B> for Block<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let halved = self.conv1.call(x)?.max_pool2d(&Pool2dOptions::square(2))?;
        let first = self.norm1.call(&halved)?.gelu()?;
        let second = ConvNorm(&mut self.conv2, &mut self.norm2).linear(&first)?.gelu()?;
        match (&mut self.conv3, &mut self.norm3) {
            (Some(conv), Some(norm)) => ConvNorm(conv, norm).linear(&second)?.add(&first)?.gelu(),
            _ => Ok(second),
        }
    }
}

#[cfg(test)]
mod tests {
    use cnn_core::{Naive, Pass};

    use super::*;

    #[test]
    fn the_first_convolution_whitens_patches() {
        let backend = Naive::<f64>::new();
        let config = FastConfig { widths: [3, 4, 5], depth: 3 };
        let mut model = Fast::new(&backend, 7, &config, [9, 12, 2], 3).unwrap();
        // Neighbours are much alike.
        let values: Vec<f64> =
            (0..40 * 9 * 12 * 2).map(|i| (i as f64 * 0.05).sin() + 0.1 * (i as f64 * 1.7).cos()).collect();
        let images = Tensor::from_slice(&backend, [40, 9, 12, 2], &values).unwrap();
        model.initialise(&backend, &mut || Ok(images.clone())).unwrap();
        let pass = Pass::train(&backend, 0);
        let mut whiten = model.whiten;
        whiten.bias = None;
        let y = whiten.call(&pass.input(images).unwrap()).unwrap().to_vec().unwrap();
        let (rows, filters) = (y.len() / 16, 8);
        for i in 0..filters {
            for j in 0..=i {
                let product: f64 = (0..rows).map(|row| y[16 * row + i] * y[16 * row + j]).sum::<f64>() / rows as f64;
                let expected = if i == j { 0.0..=1.0 } else { -1e-9..=1e-9 };
                assert!(expected.contains(&product), "{i}, {j}: {product}");
            }
            let mirrored = (0..rows).all(|row| y[16 * row + i] == -y[16 * row + filters + i]);
            assert!(mirrored, "filter {i} has a negative");
        }
        // The largest component is far above what its eigenvalue is padded by.
        let largest: f64 = (0..rows).map(|row| y[16 * row] * y[16 * row]).sum::<f64>() / rows as f64;
        assert!(largest > 0.99, "{largest}");
    }

    #[test]
    fn images_of_other_sizes_are_reduced_to_one_pixel() {
        let backend = Naive::<f32>::new();
        let config = FastConfig { widths: [4, 8, 8], depth: 2 };
        for image in [[32, 32, 3], [9, 9, 1], [17, 40, 3]] {
            let mut model = Fast::new(&backend, 0, &config, image, 5).unwrap();
            let [h, w, c] = image;
            let x = Tensor::from_slice(&backend, [2, h, w, c], &vec![0.5; 2 * h * w * c]).unwrap();
            let pass = Pass::train(&backend, 0);
            assert_eq!(model.call(&pass.input(x).unwrap()).unwrap().shape().dims(), [2, 5]);
        }
        let error = Fast::new(&backend, 0, &config, [8, 32, 3], 5).unwrap_err().to_string();
        assert!(error.contains("8x32"), "{error}");
    }
}
