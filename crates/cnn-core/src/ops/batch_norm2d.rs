//! Batch normalisation, with a ReLU or an addition and a ReLU in the same op.

use crate::backend::{Affine, Backend, Data, Input, Moments, Norm, NormGradient, NormStats, Running};
use crate::graph::{After, Op, Weights};
use crate::nn::BatchNorm2d;
use crate::pass::Mode;
use crate::spec::BatchNormSpec;
use crate::tape::{Flow, VarId};
use crate::{Error, Pass, Result, Shape, Var};

/// `x` normalised; `shortcut` is added before the ReLU when `after` is [`After::AddRelu`].
pub(crate) fn batch_norm2d<B: Backend>(
    x: &Var<B>,
    layer: &mut BatchNorm2d<B>,
    after: After,
    shortcut: Option<&Var<B>>,
) -> Result<Var<B>> {
    let (pass, backend) = (x.pass(), x.pass().backend());
    let data = x.data()?;
    let spec = spec(pass, x.shape(), layer)?;
    let moments = by_batch(pass, layer).then(|| backend.channel_moments(&data, &spec)).transpose()?;
    let (value, normalised) = Normalised::forward(pass, layer, spec, data, moments, after, shortcut)?;

    let target = x.target();
    let keys = normalised.keys();
    let tracked = x.is_tracked() || shortcut.is_some_and(Var::is_tracked) || !keys.is_empty();
    let inputs: Vec<&Var<B>> = [x].into_iter().chain(shortcut).collect();
    let op = Op::BatchNorm2d(spec, after);
    let out = pass.emit_weighted(op, || weights(layer), &inputs, x.shape(), value, tracked)?;
    pass.record(&out, &keys, move |backend, dy, flow| {
        let gradient = normalised.backward(backend, dy, flow)?;
        match target {
            Some(_) => flow.add(backend, target, backend.normalise_backward(gradient)?),
            None => Ok(()),
        }
    });
    Ok(out)
}

/// What a normalisation learned.
pub(crate) fn weights<B: Backend>(layer: &BatchNorm2d<B>) -> Weights<B> {
    Weights::Norm {
        gamma: layer.weight.value().clone(),
        beta: layer.bias.value().clone(),
        mean: layer.running_mean.value().clone(),
        variance: layer.running_var.value().clone(),
    }
}

/// Whether `layer` normalises by the statistics of the batch, and moves its running ones.
pub(crate) fn by_batch<B: Backend>(pass: &Pass<B>, layer: &BatchNorm2d<B>) -> bool {
    pass.mode() == Mode::Train && !layer.running_mean.is_frozen() && !layer.running_var.is_frozen()
}

/// The spec of a normalisation of values of this shape by `layer`.
pub(crate) fn spec<B: Backend>(pass: &Pass<B>, shape: Shape, layer: &BatchNorm2d<B>) -> Result<BatchNormSpec> {
    let channels = layer.weight.shape().numel();
    shape.image_batch("input")?;
    if shape.channels() != channels {
        let rule = format!("has {} channels, the normalisation expects {channels}", shape.channels());
        return Err(Error::invalid("input", shape, rule));
    }
    if by_batch(pass, layer) && shape.rows() < 2 {
        let rule = "has fewer than 2 values per channel, of which no variance can be taken in training";
        return Err(Error::invalid("input", shape, rule));
    }
    Ok(BatchNormSpec { rows: shape.rows(), channels, eps: layer.eps })
}

/// What the backward pass of a normalisation needs.
pub(crate) struct Normalised<B: Backend> {
    spec: BatchNormSpec,
    norm: Norm<B>,
    stats: NormStats<B>,
    /// The written activation, where the ReLU's mask cannot be told from `norm`.
    output: Option<Data<B>>,
    batch: bool,
    shortcut: Option<VarId>,
    gamma_key: Option<usize>,
    beta_key: Option<usize>,
}

impl<B: Backend> Normalised<B> {
    /// Normalises `x` by its `moments`, or by running statistics when there are none.
    pub(crate) fn forward(
        pass: &Pass<B>,
        layer: &mut BatchNorm2d<B>,
        spec: BatchNormSpec,
        x: Data<B>,
        moments: Option<Moments<B>>,
        after: After,
        shortcut: Option<&Var<B>>,
    ) -> Result<(Input<B>, Self)> {
        let backend = pass.backend();
        let affine = Affine { gamma: layer.weight.value(), beta: layer.bias.value() };
        let stats = match &moments {
            Some(moments) => {
                let running = Running {
                    mean: layer.running_mean.value_mut(),
                    variance: layer.running_var.value_mut(),
                    momentum: layer.momentum,
                };
                let stats = backend.batch_norm_train(&spec, moments, affine, running)?;
                layer.num_batches_tracked.increment();
                stats
            }
            None => {
                let (mean, variance) = (layer.running_mean.value(), layer.running_var.value());
                backend.batch_norm_eval(&spec, affine, mean, variance)?
            }
        };
        let (scale, shift) = (stats.scale.clone(), stats.shift.clone());
        let norm = Norm { x, scale, shift, channels: spec.channels, relu: after != After::Nothing };
        // With an addition it is written at once: the sum is read several times (by the next convolution, its weight
        // gradient, the next shortcut, this op's mask), and unwritten sums would chain from block to block.
        let (value, output) = match shortcut {
            Some(shortcut) => {
                let written = backend.normalise(&norm, Some(&shortcut.as_input()))?;
                (Input::Plain(written.clone()), Some(written))
            }
            None => (Input::Norm(norm.clone()), None),
        };
        let normalised = Normalised {
            spec,
            norm,
            stats,
            output,
            batch: moments.is_some(),
            shortcut: shortcut.and_then(Var::target),
            gamma_key: layer.weight.gradient_key(pass)?,
            beta_key: layer.bias.gradient_key(pass)?,
        };
        Ok((value, normalised))
    }

    /// The parameters that get a gradient.
    pub(crate) fn keys(&self) -> Vec<usize> {
        self.gamma_key.into_iter().chain(self.beta_key).collect()
    }

    /// Gradients of gamma, beta and the shortcut; returns that of the normalisation's input, not yet written.
    pub(crate) fn backward(self, backend: &B, dy: Data<B>, flow: &mut Flow<B>) -> Result<NormGradient<B>> {
        let Normalised { spec, norm, stats, output, batch, shortcut, gamma_key, beta_key } = self;
        let back = backend.batch_norm_backward(&spec, dy, &norm, &stats, output.as_ref(), batch)?;
        for (key, gradient) in [(gamma_key, back.dgamma), (beta_key, back.dbeta)] {
            if let Some(key) = key {
                flow.add_parameter(backend, key, gradient)?;
            }
        }
        flow.add(backend, shortcut, back.dx.dy.clone())?;
        Ok(back.dx)
    }
}
