//! The two networks that are measured, `stepwise` and ResNet-18, for any framework.

use crate::{Answer, Result};

/// The shape of a convolution: channels that are read and written, and what holds for rows and columns alike.
pub(crate) struct Shape {
    pub(crate) channels: [usize; 2],
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

impl Shape {
    /// \[written, read, kernel, kernel\].
    pub(crate) fn weight(&self) -> [usize; 4] {
        [self.channels[1], self.channels[0], self.kernel, self.kernel]
    }

    /// Products in an output.
    pub(crate) fn summed(&self) -> usize {
        self.channels[0] * self.kernel * self.kernel
    }
}

/// Weights are uniform in (-a, a): a is one over the root of the products that are summed.
pub(crate) fn bound(summed: usize) -> f64 {
    1.0 / (summed as f64).sqrt()
}

/// What a framework must do. Images are \[N, C, H, W\]; every weight has a bias.
pub(crate) trait Framework: Sized + 'static {
    type Images: Clone;
    type Features;
    type Convolution;
    type Dense;

    fn new() -> Self;
    fn images(&self, shape: [usize; 4]) -> Result<Self::Images>;
    fn convolution(&self, shape: &Shape) -> Result<Self::Convolution>;
    fn dense(&self, features: [usize; 2]) -> Result<Self::Dense>;

    fn convolve(x: Self::Images, by: &Self::Convolution) -> Result<Self::Images>;
    fn relu(x: Self::Images) -> Result<Self::Images>;
    fn add(x: Self::Images, y: Self::Images) -> Result<Self::Images>;
    /// Windows of 2x2.
    fn max_pool(x: Self::Images) -> Result<Self::Images>;
    /// The mean of every channel.
    fn global_average(x: Self::Images) -> Result<Self::Features>;
    fn flatten(x: Self::Images) -> Result<Self::Features>;
    fn apply(x: Self::Features, by: &Self::Dense) -> Result<Self::Features>;
    fn relu_features(x: Self::Features) -> Result<Self::Features>;
    fn numbers(x: Self::Features) -> Result<Vec<f32>>;
}

/// A network of random weights and images for it.
pub(crate) fn answer<F: Framework>(model: &str, batch: usize) -> Result<Answer> {
    let framework = F::new();
    let images = framework.images([batch, 3, 32, 32])?;
    match model {
        "stepwise" => {
            let network = Stepwise::new(&framework)?;
            Ok(Box::new(move || F::numbers(network.run(images.clone())?)))
        }
        "resnet18" => {
            let network = ResNet18::new(&framework)?;
            Ok(Box::new(move || F::numbers(network.run(images.clone())?)))
        }
        other => Err(format!("model {other:?}: must be resnet18 or stepwise").into()),
    }
}

struct Stepwise<F: Framework> {
    convolution: F::Convolution,
    hidden: F::Dense,
    last: F::Dense,
}

impl<F: Framework> Stepwise<F> {
    fn new(framework: &F) -> Result<Self> {
        Ok(Stepwise {
            convolution: framework.convolution(&Shape { channels: [3, 32], kernel: 3, stride: 1, padding: 0 })?,
            hidden: framework.dense([7200, 128])?,
            last: framework.dense([128, 10])?,
        })
    }

    fn run(&self, images: F::Images) -> Result<F::Features> {
        let x = F::flatten(F::max_pool(F::relu(F::convolve(images, &self.convolution)?)?)?)?;
        F::apply(F::relu_features(F::apply(x, &self.hidden)?)?, &self.last)
    }
}

/// A residual block.
struct Block<F: Framework> {
    first: F::Convolution,
    second: F::Convolution,
    shortcut: Option<F::Convolution>,
}

impl<F: Framework> Block<F> {
    fn run(&self, x: F::Images) -> Result<F::Images> {
        let inner = F::convolve(F::relu(F::convolve(x.clone(), &self.first)?)?, &self.second)?;
        let shortcut = match &self.shortcut {
            Some(convolution) => F::convolve(x, convolution)?,
            None => x,
        };
        F::relu(F::add(inner, shortcut)?)
    }
}

/// ResNet-18 for 32x32 images: a 3x3 stem without pooling.
struct ResNet18<F: Framework> {
    stem: F::Convolution,
    blocks: Vec<Block<F>>,
    last: F::Dense,
}

impl<F: Framework> ResNet18<F> {
    fn new(framework: &F) -> Result<Self> {
        let convolution =
            |channels, kernel, stride| framework.convolution(&Shape { channels, kernel, stride, padding: kernel / 2 });
        let (mut blocks, mut read) = (Vec::new(), 64);
        for write in [64, 64, 128, 128, 256, 256, 512, 512] {
            let changes = read != write;
            let stride = if changes { 2 } else { 1 };
            let shortcut = changes.then(|| convolution([read, write], 1, stride)).transpose()?;
            let first = convolution([read, write], 3, stride)?;
            blocks.push(Block { first, second: convolution([write, write], 3, 1)?, shortcut });
            read = write;
        }
        let stem = convolution([3, 64], 3, 1)?;
        Ok(ResNet18 { stem, blocks, last: framework.dense([512, 10])? })
    }

    fn run(&self, images: F::Images) -> Result<F::Features> {
        let mut x = F::relu(F::convolve(images, &self.stem)?)?;
        for block in &self.blocks {
            x = block.run(x)?;
        }
        F::apply(F::global_average(x)?, &self.last)
    }
}
