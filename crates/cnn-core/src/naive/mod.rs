//! Every method of [`Backend`] as plain loops: what the methods mean, and the oracle of every other backend.
//!
//! Nothing is fused and nothing is fast. Whatever an operation would normalise while it reads is computed first, and
//! the sums of convolutions, dense layers and losses run in f64 and are rounded to [`Element::Accum`] once, so that the
//! oracle is never less exact than what it judges; `Naive<f64>` is the reference.

mod concat;
mod conv2d;
mod elementwise;
mod images;
mod layer_norm;
mod linear;
mod loss;
mod norm;
mod optim;
mod pool2d;
mod scale_channels;

use std::marker::PhantomData;
use std::sync::Arc;

use crate::Result;
use crate::backend::*;
use crate::element::{Element, Plain, Real};
use crate::image::{ImageSpec, Mix, SampleView};
use crate::rng::Philox;
use crate::spec::{BatchNormSpec, Conv2dSpec, DropoutSpec, LayerNormSpec, Pool2dSpec};
use crate::windows::AdaptivePool2dSpec;

/// The backend of plain loops over activations of type `E`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Naive<E> {
    element: PhantomData<E>,
}

impl<E: Element> Naive<E> {
    /// The backend; it has no state.
    pub fn new() -> Self {
        Naive { element: PhantomData }
    }

    /// The activation as an operation reads it, not yet rounded if it was never written.
    fn read(&self, x: &Input<Self>) -> Vec<E::Accum> {
        match x {
            Input::Plain(data) => wide(data),
            Input::Norm(norm) => norm::normalise::<E>(norm, None),
        }
    }

    /// What follows a sum.
    fn finish(&self, mut y: Vec<E::Accum>, channels: usize, epilogue: Epilogue<'_, Self>) -> Data<Self> {
        for (i, y) in y.iter_mut().enumerate() {
            if let Some(bias) = epilogue.bias {
                *y += bias[i % channels];
            }
            if let Some(residual) = epilogue.residual {
                *y += residual[i].to_accum();
            }
            if let Some(activation) = epilogue.activation {
                *y = elementwise::activate(activation, *y);
            }
        }
        rounded(y)
    }

    /// The gradient as an operation reads it, not yet rounded if it was never written.
    fn read_gradient(&self, dy: &Gradient<Self>) -> Vec<E::Accum> {
        match dy {
            Gradient::Plain(data) => wide(data),
            Gradient::Norm(gradient) => norm::normalise_backward::<E>(gradient),
        }
    }
}

/// Elements as accumulators.
fn wide<E: Element>(x: &[E]) -> Vec<E::Accum> {
    x.iter().map(|v| v.to_accum()).collect()
}

/// Sums rounded to accumulators.
fn summed<A: Real>(sums: Vec<f64>) -> Vec<A> {
    sums.into_iter().map(A::from_f64).collect()
}

/// Accumulators rounded to elements.
fn rounded<E: Element>(x: impl IntoIterator<Item = E::Accum>) -> Arc<Vec<E>> {
    Arc::new(x.into_iter().map(E::from_accum).collect())
}

impl<E: Element> Device for Naive<E> {
    type Elem = E;
    type Buffer<T: Plain> = Arc<Vec<T>>;

    const NAME: &'static str = "naive";

    fn describe(&self) -> String {
        format!("naive loops in {}, one thread", E::DTYPE)
    }

    fn share(&self, host: &Arc<Vec<u8>>) -> Result<Arc<Vec<u8>>> {
        Ok(host.clone())
    }

    fn upload<T: Plain>(&self, host: &[T]) -> Result<Arc<Vec<T>>> {
        Ok(Arc::new(host.to_vec()))
    }

    fn download<T: Plain>(&self, buffer: &Arc<Vec<T>>) -> Result<Vec<T>> {
        Ok(buffer.to_vec())
    }

    fn len<T: Plain>(&self, buffer: &Arc<Vec<T>>) -> usize {
        buffer.len()
    }

    fn fill<T: Plain>(&self, len: usize, value: T) -> Result<Arc<Vec<T>>> {
        Ok(Arc::new(vec![value; len]))
    }

    fn widen(&self, x: &Data<Self>) -> Result<Wide<Self>> {
        Ok(Arc::new(wide(x)))
    }

    fn narrow(&self, x: &Wide<Self>) -> Result<Data<Self>> {
        Ok(rounded(x.iter().copied()))
    }
}

impl<E: Element> Inference for Naive<E> {
    /// The weight as it is, rounded to `E`.
    type Filter = Arc<Vec<E>>;

    fn load_images(&self, spec: &ImageSpec, bytes: &Arc<Vec<u8>>, samples: &[SampleView]) -> Result<Data<Self>> {
        check_samples(spec, bytes.len(), samples)?;
        Ok(rounded(images::load(spec, bytes, samples)))
    }

    fn prepare_filter(&self, _: &Conv2dSpec, weight: &Wide<Self>, _: Uses) -> Result<Self::Filter> {
        self.narrow(weight)
    }

    fn filter_serves(&self, _: &Conv2dSpec, _: &Conv2dSpec) -> bool {
        true
    }

    fn conv2d(
        &self,
        spec: &Conv2dSpec,
        x: &Input<Self>,
        filter: &Self::Filter,
        epilogue: Epilogue<'_, Self>,
    ) -> Result<Data<Self>> {
        let sum = conv2d::forward(spec, &self.read(x), &wide(filter));
        Ok(self.finish(sum, spec.out_channels, epilogue))
    }

    fn normalise(&self, norm: &Norm<Self>, residual: Option<&Input<Self>>) -> Result<Data<Self>> {
        let residual = residual.map(|residual| self.read(residual));
        Ok(rounded(norm::normalise::<E>(norm, residual.as_deref())))
    }

    fn layer_norm(&self, spec: &LayerNormSpec, x: &Data<Self>, affine: Affine<'_, Self>) -> Result<Data<Self>> {
        Ok(layer_norm::forward(spec, x, affine))
    }

    fn activate(&self, activation: Activation, x: Data<Self>) -> Result<Data<Self>> {
        Ok(rounded(x.iter().map(|v| elementwise::activate(activation, v.to_accum()))))
    }

    fn max_pool2d(&self, spec: &Pool2dSpec, x: &Data<Self>) -> Result<(Data<Self>, Arc<Vec<u32>>)> {
        let (y, places) = pool2d::max(spec, &wide(x));
        Ok((rounded(y), Arc::new(places)))
    }

    fn avg_pool2d(&self, spec: &Pool2dSpec, x: &Data<Self>) -> Result<Data<Self>> {
        Ok(rounded(pool2d::average(spec, &wide(x))))
    }

    fn adaptive_avg_pool2d(&self, spec: &AdaptivePool2dSpec, x: &Data<Self>) -> Result<Data<Self>> {
        Ok(rounded(pool2d::average(spec, &wide(x))))
    }

    fn linear(
        &self,
        spec: &LinearSpec,
        x: &Data<Self>,
        weight: &Wide<Self>,
        epilogue: Epilogue<'_, Self>,
    ) -> Result<Data<Self>> {
        Ok(self.finish(linear::forward(spec, &wide(x), weight), spec.outputs, epilogue))
    }

    fn add(&self, a: Data<Self>, b: &Data<Self>) -> Result<Data<Self>> {
        Ok(rounded(a.iter().zip(b.iter()).map(|(a, b)| a.to_accum() + b.to_accum())))
    }

    fn scale_channels(&self, spec: &ScaleSpec, x: Data<Self>, factors: &Data<Self>) -> Result<Data<Self>> {
        Ok(rounded(scale_channels::forward(spec, &wide(&x), &wide(factors))))
    }

    fn concat(&self, parts: &[(&Data<Self>, usize)]) -> Result<Data<Self>> {
        let [rows, _] = check_concat(parts.iter().map(|(part, channels)| (part.len(), *channels)))?;
        let parts: Vec<_> = parts.iter().map(|(part, channels)| (part.as_slice(), *channels)).collect();
        Ok(Arc::new(concat::concat(rows, &parts)))
    }

    fn slice_channels(&self, spec: &SliceSpec, x: &Data<Self>) -> Result<Data<Self>> {
        Ok(Arc::new(concat::slice(spec, x)))
    }

    fn shuffle_channels(&self, x: &Data<Self>, channels: usize, groups: usize) -> Result<Data<Self>> {
        check_groups(channels, groups)?;
        Ok(Arc::new(concat::shuffle(x, channels, groups)))
    }

    fn softmax(&self, x: &Data<Self>, classes: usize) -> Result<Data<Self>> {
        Ok(rounded(loss::softmax(&wide(x), classes)))
    }
}

impl<E: Element> Backend for Naive<E> {
    type Moments = Moments<Self>;

    fn conv2d_moments(
        &self,
        spec: &Conv2dSpec,
        x: &Input<Self>,
        filter: &Self::Filter,
        epilogue: Epilogue<'_, Self>,
    ) -> Result<(Data<Self>, Moments<Self>)> {
        let y = self.conv2d(spec, x, filter, epilogue)?;
        let [n, h, w, channels] = spec.output_shape();
        let moments = self.channel_moments(&y, &BatchNormSpec { rows: n * h * w, channels, eps: 0.0 })?;
        Ok((y, moments))
    }

    fn conv2d_backward_data(
        &self,
        spec: &Conv2dSpec,
        dy: &Gradient<Self>,
        filter: &Self::Filter,
        accumulate: Option<Data<Self>>,
    ) -> Result<Data<Self>> {
        let before = accumulate.map(|dx| wide(&dx));
        Ok(rounded(conv2d::backward_data(spec, &self.read_gradient(dy), &wide(filter), before)))
    }

    fn conv2d_backward_weight(&self, spec: &Conv2dSpec, dy: &Gradient<Self>, x: &Input<Self>) -> Result<Wide<Self>> {
        Ok(Arc::new(conv2d::backward_weight(spec, &self.read_gradient(dy), &self.read(x))))
    }

    fn channel_moments(&self, x: &Data<Self>, spec: &BatchNormSpec) -> Result<Moments<Self>> {
        let (mean, variance) = norm::moments(spec, &wide(x));
        Ok(Moments { mean: Arc::new(mean), variance: Arc::new(variance) })
    }

    fn batch_norm_train(
        &self,
        spec: &BatchNormSpec,
        moments: &Moments<Self>,
        affine: Affine<'_, Self>,
        running: Running<'_, Self>,
    ) -> Result<NormStats<Self>> {
        norm::update_running::<E>(spec, moments, running);
        self.batch_norm_eval(spec, affine, &moments.mean, &moments.variance)
    }

    fn batch_norm_eval(
        &self,
        spec: &BatchNormSpec,
        affine: Affine<'_, Self>,
        mean: &Wide<Self>,
        variance: &Wide<Self>,
    ) -> Result<NormStats<Self>> {
        Ok(norm::coefficients::<E>(spec, affine, mean, variance))
    }

    fn batch_norm_backward(
        &self,
        spec: &BatchNormSpec,
        dy: Data<Self>,
        norm: &Norm<Self>,
        stats: &NormStats<Self>,
        output: Option<&Data<Self>>,
        batch: bool,
    ) -> Result<NormBackward<Self>> {
        match output {
            Some(y) => {
                let masked = match norm.rectifier.activation() {
                    Some(activation) => self.activate_backward(activation, y, dy)?,
                    None => dy,
                };
                Ok(norm::backward::<E>(spec, masked, norm, None, stats, batch))
            }
            None => Ok(norm::backward::<E>(spec, dy, norm, norm.mask(), stats, batch)),
        }
    }

    fn normalise_backward(&self, gradient: NormGradient<Self>) -> Result<Data<Self>> {
        Ok(rounded(norm::normalise_backward::<E>(&gradient)))
    }

    fn shared_gradient(&self, gradient: NormGradient<Self>) -> Result<Gradient<Self>> {
        Ok(Gradient::Norm(gradient))
    }

    fn layer_norm_backward(
        &self,
        spec: &LayerNormSpec,
        dy: Data<Self>,
        x: &Data<Self>,
        gamma: &Wide<Self>,
    ) -> Result<LayerNormBackward<Self>> {
        Ok(layer_norm::backward(spec, &dy, x, gamma))
    }

    fn activate_backward(&self, activation: Activation, saved: &Data<Self>, dy: Data<Self>) -> Result<Data<Self>> {
        Ok(Arc::new(elementwise::activate_backward::<E>(activation, saved, &dy)))
    }

    fn max_pool2d_backward(&self, spec: &Pool2dSpec, dy: &Data<Self>, places: &Arc<Vec<u32>>) -> Result<Data<Self>> {
        Ok(rounded(pool2d::max_backward(spec, &wide(dy), places)))
    }

    fn avg_pool2d_backward(&self, spec: &Pool2dSpec, dy: &Data<Self>) -> Result<Data<Self>> {
        Ok(rounded(pool2d::average_backward(spec, &wide(dy))))
    }

    fn adaptive_avg_pool2d_backward(&self, spec: &AdaptivePool2dSpec, dy: &Data<Self>) -> Result<Data<Self>> {
        Ok(rounded(pool2d::average_backward(spec, &wide(dy))))
    }

    fn scale_channels_backward(
        &self,
        spec: &ScaleSpec,
        dy: Data<Self>,
        x: &Data<Self>,
        factors: &Data<Self>,
    ) -> Result<(Data<Self>, Data<Self>)> {
        let dfactors = rounded(scale_channels::backward_factors(spec, &wide(&dy), &wide(x)));
        Ok((self.scale_channels(spec, dy, factors)?, dfactors))
    }

    fn slice_channels_backward(&self, spec: &SliceSpec, dy: &Data<Self>) -> Result<Data<Self>> {
        Ok(Arc::new(concat::slice_backward(spec, dy)))
    }

    fn linear_backward_data(&self, spec: &LinearSpec, dy: &Data<Self>, weight: &Wide<Self>) -> Result<Data<Self>> {
        Ok(rounded(linear::backward_data(spec, &wide(dy), weight)))
    }

    fn linear_backward_weight(&self, spec: &LinearSpec, dy: &Data<Self>, x: &Data<Self>) -> Result<Wide<Self>> {
        Ok(Arc::new(linear::backward_weight(spec, &wide(dy), &wide(x))))
    }

    fn sum_rows(&self, x: &Data<Self>, channels: usize) -> Result<Wide<Self>> {
        Ok(Arc::new(linear::sum_rows(&wide(x), channels)))
    }

    fn dropout(&self, x: Data<Self>, spec: &DropoutSpec, mask: &Philox) -> Result<Data<Self>> {
        spec.check()?;
        Ok(rounded(elementwise::dropout(&wide(&x), spec, mask)))
    }

    fn softmax_backward(&self, y: &Data<Self>, dy: Data<Self>, classes: usize) -> Result<Data<Self>> {
        Ok(rounded(loss::softmax_backward(&wide(y), &wide(&dy), classes)))
    }

    fn mix_images(&self, mix: &Mix, x: &Data<Self>) -> Result<Data<Self>> {
        mix.check(x.len())?;
        Ok(rounded(images::mix(mix, &wide(x))))
    }

    fn cross_entropy(
        &self,
        spec: &CrossEntropySpec,
        logits: &Data<Self>,
        labels: &Arc<Vec<u32>>,
        weights: Option<&Wide<Self>>,
    ) -> Result<CrossEntropy<Self>> {
        if let Some(weights) = weights {
            check::length("the weights of the classes", weights.len(), spec.classes)?;
        }
        Ok(loss::cross_entropy::<E>(spec, &wide(logits), labels, weights.map(|weights| &***weights)))
    }

    fn binary_cross_entropy(
        &self,
        classes: usize,
        logits: &Data<Self>,
        targets: &Wide<Self>,
        weights: Option<&Wide<Self>>,
    ) -> Result<CrossEntropy<Self>> {
        check::binary_targets(classes, logits.len(), targets.len(), weights.map(|weights| weights.len()))?;
        Ok(loss::binary_cross_entropy::<E>(classes, &wide(logits), targets, weights.map(|weights| &***weights)))
    }

    fn blend(&self, into: &mut Wide<Self>, a: f64, from: &Wide<Self>, b: f64) -> Result<()> {
        check_blend(into.len(), from.len())?;
        optim::blend::<E>(into, a, from, b);
        Ok(())
    }

    fn gradient_health(
        &self,
        loss: Option<&Wide<Self>>,
        gradients: &[&Wide<Self>],
        largest: f64,
    ) -> Result<Health<Self>> {
        Ok(optim::health::<E>(loss, gradients, largest))
    }

    fn sgd(&self, step: &SgdStep, parameters: &mut [SgdParam<'_, Self>], health: &Health<Self>) -> Result<()> {
        optim::sgd::<E>(step, parameters, health);
        Ok(())
    }

    fn adam(&self, step: &AdamStep, parameters: &mut [AdamParam<'_, Self>], health: &Health<Self>) -> Result<()> {
        optim::adam::<E>(step, parameters, health);
        Ok(())
    }
}
