//! Batch normalisation, with an addition and an activation in the same op.

use crate::backend::{
    Activation, Affine, Backend, Data, Input, Norm, NormGradient, NormStats, Rectifier, Running, Wide,
};
use crate::graph::{After, NormWeights, Op};
use crate::ops::learned::Learned;
use crate::spec::BatchNormSpec;
use crate::tape::{Flow, VarId};
use crate::{Error, Result, Shape, Var};

/// What a normalisation learned.
pub(crate) struct NormParams<'a, B: Backend> {
    pub(crate) gamma: Learned<'a, B>,
    pub(crate) beta: Learned<'a, B>,
    pub(crate) by: Statistics<'a, B>,
    pub(crate) eps: f64,
}

/// What a normalisation normalises by.
pub(crate) enum Statistics<'a, B: Backend> {
    /// By the batch's mean and variance, towards which the running ones move.
    Batch(Running<'a, B>),
    /// By running ones.
    Running { mean: &'a Wide<B>, variance: &'a Wide<B> },
}

/// `x` normalised, and what comes after it: a sum with `shortcut` where there is one, an activation.
pub(crate) fn batch_norm2d<B: Backend>(
    x: &Var<B>,
    mut params: NormParams<'_, B>,
    activation: Option<Activation>,
    shortcut: Option<&Var<B>>,
) -> Result<Var<B>> {
    let (pass, backend) = (x.pass(), x.pass().backend());
    let spec = params.spec(x.shape(), shortcut)?;
    let (fused, late) = Rectifier::split(activation);
    let (value, normalised) = Normalised::forward(backend, &mut params, spec, x.data()?, None, fused, shortcut)?;

    let target = x.target();
    let keys = normalised.keys();
    let tracked = x.is_tracked() || shortcut.is_some_and(Var::is_tracked) || !keys.is_empty();
    let inputs: Vec<&Var<B>> = [x].into_iter().chain(shortcut).collect();
    let op = || params.op(spec, After { add: shortcut.is_some(), activation: fused.activation() });
    let out = pass.emit(op, &inputs, x.shape(), value, tracked)?;
    pass.record(&out, &keys, move |backend, dy, flow| {
        let gradient = normalised.backward(backend, dy, flow)?;
        match target {
            Some(_) => flow.add(backend, target, backend.normalise_backward(gradient)?),
            None => Ok(()),
        }
    });
    activated(out, late)
}

/// `x` with the activation that the op before it did not apply.
pub(crate) fn activated<B: Backend>(x: Var<B>, late: Option<Activation>) -> Result<Var<B>> {
    match late {
        Some(activation) => x.activate(activation),
        None => Ok(x),
    }
}

impl<B: Backend> NormParams<'_, B> {
    /// Whether the batch's own moments are needed.
    pub(crate) fn wants_moments(&self) -> bool {
        matches!(self.by, Statistics::Batch(_))
    }

    /// The spec of a normalisation of values of this shape, to which `shortcut` is added.
    pub(crate) fn spec(&self, shape: Shape, shortcut: Option<&Var<B>>) -> Result<BatchNormSpec> {
        if let Some(shortcut) = shortcut {
            check_shortcut(shape, shortcut)?;
        }
        let channels = self.gamma.shape.numel();
        shape.image_batch("input")?;
        if shape.channels() != channels {
            let rule = format!("has {} channels, the normalisation expects {channels}", shape.channels());
            return Err(Error::invalid("input", shape, rule));
        }
        if self.wants_moments() && shape.rows() < 2 {
            let rule = "has fewer than 2 values per channel, of which no variance can be taken in training";
            return Err(Error::invalid("input", shape, rule));
        }
        Ok(BatchNormSpec { rows: shape.rows(), channels, eps: self.eps })
    }

    /// What an observer sees.
    pub(crate) fn op(&self, spec: BatchNormSpec, after: After) -> Op<B> {
        let (mean, variance) = match &self.by {
            Statistics::Batch(running) => (&*running.mean, &*running.variance),
            Statistics::Running { mean, variance } => (*mean, *variance),
        };
        let [gamma, beta] = [self.gamma.value, self.beta.value];
        let weights = [gamma, beta, mean, variance].map(Clone::clone);
        let [gamma, beta, mean, variance] = weights;
        Op::BatchNorm2d { spec, weights: NormWeights { gamma, beta, mean, variance }, after }
    }
}

/// Refuses a shortcut that cannot be added to a value of this shape.
pub(crate) fn check_shortcut<B: Backend>(shape: Shape, shortcut: &Var<B>) -> Result<()> {
    if shortcut.shape() == shape {
        return Ok(());
    }
    Err(Error::invalid(
        "shortcut shape",
        shortcut.shape(),
        format!("must be that of the value it is added to, {shape}"),
    ))
}

/// What the backward pass of a normalisation needs.
pub(crate) struct Normalised<B: Backend> {
    spec: BatchNormSpec,
    norm: Norm<B>,
    stats: NormStats<B>,
    /// The written activation, where the rectifier's mask cannot be told from `norm`.
    output: Option<Data<B>>,
    batch: bool,
    shortcut: Option<VarId>,
    gamma_key: Option<usize>,
    beta_key: Option<usize>,
}

impl<B: Backend> Normalised<B> {
    /// Normalises `x`. `moments` are its own if they are known already.
    pub(crate) fn forward(
        backend: &B,
        params: &mut NormParams<'_, B>,
        spec: BatchNormSpec,
        x: Data<B>,
        moments: Option<B::Moments>,
        rectifier: Rectifier,
        shortcut: Option<&Var<B>>,
    ) -> Result<(Input<B>, Self)> {
        let affine = Affine { gamma: params.gamma.value, beta: params.beta.value };
        let batch = params.wants_moments();
        let stats = match &mut params.by {
            Statistics::Batch(Running { mean, variance, momentum }) => {
                let moments = match moments {
                    Some(moments) => moments,
                    None => backend.channel_moments(&x, &spec)?,
                };
                let running = Running { mean: &mut **mean, variance: &mut **variance, momentum: *momentum };
                backend.batch_norm_train(&spec, &moments, affine, running)?
            }
            Statistics::Running { mean, variance } => backend.batch_norm_eval(&spec, affine, mean, variance)?,
        };
        let (scale, shift) = (stats.scale.clone(), stats.shift.clone());
        let norm = Norm { x, scale, shift, channels: spec.channels, rectifier };
        // With an addition it is written at once: the sum is read several times (by the next convolution, its weight
        // gradient, the next shortcut, this op's mask), and unwritten sums would chain from block to block.
        let (value, output) = match shortcut {
            Some(shortcut) => {
                let written = backend.normalise(&norm, Some(&shortcut.as_input()))?;
                (Input::Plain(written.clone()), (rectifier != Rectifier::Open).then_some(written))
            }
            None => (Input::Norm(norm.clone()), None),
        };
        let normalised = Normalised {
            spec,
            norm,
            stats,
            output,
            batch,
            shortcut: shortcut.and_then(Var::target),
            gamma_key: params.gamma.key,
            beta_key: params.beta.key,
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
