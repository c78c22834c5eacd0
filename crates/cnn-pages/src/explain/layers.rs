//! What a pass computed, layer by layer, as an observer of it saw.

use std::cell::RefCell;
use std::rc::Rc;

use cnn_core::backend::{Activation, Wide};
use cnn_core::graph::{Event, Graph, Observer, Op};
use cnn_core::nn::Module;
use cnn_core::{Backend, Conv2dSpec, Pool2dSpec, Real, Result, Tensor};

/// One operation, its value, and of its weights those that the page shows.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// State-dict path of the module that it ran in.
    pub(crate) path: String,
    pub(crate) what: What,
    /// Numbers of the values that it read.
    pub(crate) inputs: Vec<usize>,
    /// Number of the value that it made.
    pub(crate) id: usize,
    /// Dimensions of that value, the batch of one first.
    pub(crate) dims: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// Which operation.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Input,
    Conv(Conv),
    /// Normalisation: whether a second value is added, and what follows.
    Norm {
        add: bool,
        activation: Option<Activation>,
    },
    Activation(Activation),
    MaxPool(Pool2dSpec),
    AvgPool(Pool2dSpec),
    Flatten,
    /// Weight \[in, out\] and bias \[out\].
    Linear {
        weight: Vec<f32>,
        bias: Option<Vec<f32>>,
    },
    Softmax,
    Other(String),
}

/// A convolution.
#[derive(Clone, Debug)]
pub(crate) struct Conv {
    pub(crate) spec: Conv2dSpec,
    /// \[KH, KW, C / groups, K\] of the one that reads the image; empty of the others.
    pub(crate) weight: Vec<f32>,
    /// \[K\], likewise.
    pub(crate) bias: Option<Vec<f32>>,
}

impl Layer {
    /// Rows, columns and channels, of an image.
    pub(crate) fn image(&self) -> Option<[usize; 3]> {
        match self.dims[..] {
            [1, h, w, c] => Some([h, w, c]),
            _ => None,
        }
    }

    /// Whether it adds a second value, the shortcut, to what it read.
    pub(crate) fn adds(&self) -> bool {
        matches!(self.what, What::Norm { add: true, .. })
    }

    /// The activation that is part of it.
    pub(crate) fn activation(&self) -> Option<Activation> {
        match self.what {
            What::Norm { activation, .. } => activation,
            _ => None,
        }
    }

    /// What it is called on the page.
    pub(crate) fn name(&self) -> String {
        match &self.what {
            What::Input => "image".to_owned(),
            What::Conv(conv) => {
                let Conv2dSpec { kernel: [h, w], stride: [down, _], out_channels, .. } = conv.spec;
                let stride = if down > 1 { format!(" with stride {down}") } else { String::new() };
                format!("convolution by {out_channels} filters of {h}\u{d7}{w}{stride}")
            }
            // What is added, and what follows that, is told with the shortcut.
            What::Norm { add: true, .. } => "batch normalisation".to_owned(),
            What::Norm { activation, .. } => {
                let activation = activation.map_or(String::new(), |a| format!(", {}", a.name()));
                format!("batch normalisation{activation}")
            }
            What::Activation(activation) => activation.name().to_owned(),
            What::MaxPool(pool) => format!("max-pooling over {}\u{d7}{}", pool.window[0], pool.window[1]),
            What::AvgPool(pool) => format!("average over {}\u{d7}{}", pool.window[0], pool.window[1]),
            What::Flatten => "flatten".to_owned(),
            What::Linear { .. } => "dense layer".to_owned(),
            What::Softmax => "softmax".to_owned(),
            What::Other(name) => name.clone(),
        }
    }
}

/// Dimensions without the batch of one, as a reader writes them.
pub(crate) fn shape(dims: &[usize]) -> String {
    let sides: Vec<String> = dims.iter().skip(1).map(usize::to_string).collect();
    sides.join(" \u{d7} ")
}

/// What one run of a model on one image computed.
pub(crate) struct Run<B: Backend> {
    pub(crate) layers: Vec<Layer>,
    /// The same without the values, to be cut and run again.
    pub(crate) graph: Graph<B>,
    pub(crate) logits: Vec<f32>,
    pub(crate) probabilities: Vec<f64>,
}

/// Runs `model` on an image \[1, H, W, C\], as in evaluation.
pub(crate) fn observe<B: Backend>(
    backend: &B,
    model: &mut (impl Module<B> + ?Sized),
    image: Tensor<B>,
) -> Result<Run<B>> {
    let recorder = Recorder { backend: backend.clone(), layers: Vec::new(), graph: Graph::default() };
    let recorder = Rc::new(RefCell::new(recorder));
    let pass = cnn_core::Pass::eval(backend).observed(recorder.clone());
    let logits = model.call(&pass.input(image)?)?;
    let output = logits.id();
    let probabilities = logits.softmax()?.to_vec()?.iter().map(|p| p.as_f64()).collect();
    let logits = narrow(&logits.to_vec()?);
    let mut recorder = recorder.borrow_mut();
    let mut graph = std::mem::take(&mut recorder.graph);
    // The softmax is the page's, not the model's.
    graph.nodes.retain(|node| node.output <= output);
    let layers = std::mem::take(&mut recorder.layers);
    Ok(Run { layers, graph: Graph { output, ..graph }, logits, probabilities })
}

struct Recorder<B: Backend> {
    backend: B,
    layers: Vec<Layer>,
    graph: Graph<B>,
}

impl<B: Backend> Observer<B> for Recorder<B> {
    fn observe(&mut self, event: &Event<'_, B>) -> Result<()> {
        self.graph.observe(event)?;
        let reads_image = event.inputs.first().is_some_and(|input| {
            self.layers.iter().any(|layer| layer.id == *input && matches!(layer.what, What::Input))
        });
        let host = |values: &Wide<B>| -> Result<Vec<f32>> { Ok(narrow(&self.backend.download(values)?)) };
        let what = match event.op {
            Op::Input => What::Input,
            Op::Conv2d { spec, weight, bias } if reads_image => {
                let bias = bias.as_ref().map(host).transpose()?;
                What::Conv(Conv { spec: *spec, weight: host(weight)?, bias })
            }
            Op::Conv2d { spec, .. } => What::Conv(Conv { spec: *spec, weight: Vec::new(), bias: None }),
            Op::BatchNorm2d { after, .. } => What::Norm { add: after.add, activation: after.activation },
            Op::Activation(activation) => What::Activation(*activation),
            Op::MaxPool2d(spec) => What::MaxPool(*spec),
            Op::AvgPool2d(spec) => What::AvgPool(*spec),
            Op::Flatten => What::Flatten,
            Op::Linear { weight, bias, .. } => {
                What::Linear { weight: host(weight)?, bias: bias.as_ref().map(host).transpose()? }
            }
            Op::Softmax => What::Softmax,
            other => What::Other(other.name().into_owned()),
        };
        self.layers.push(Layer {
            path: event.path.to_owned(),
            what,
            inputs: event.inputs.to_vec(),
            id: event.output.id(),
            dims: event.output.shape().dims().to_vec(),
            values: narrow(&event.output.to_vec()?),
        });
        Ok(())
    }
}

/// Numbers of any precision as f32.
pub(crate) fn narrow<T: Real>(values: &[T]) -> Vec<f32> {
    values.iter().map(|value| value.as_f64() as f32).collect()
}
