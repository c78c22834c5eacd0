//! What is broken of training.

use std::sync::Arc;

use cnn_core::backend::*;
use cnn_core::image::Mix;
use cnn_core::rng::{Philox, Purpose};
use cnn_core::{AdaptivePool2dSpec, BatchNormSpec, Conv2dSpec, DropoutSpec, LayerNormSpec, Pool2dSpec, Result};

use super::convert::{
    faulty_back, faulty_moments, faulty_stats, gradient, health, input, moments, norm, norm_gradient, stats,
};
use super::{Buffer, Fault, Faulty, changed, without_ceiling};

impl Backend for Faulty {
    type Moments = Moments<Self>;

    fn conv2d_moments(
        &self,
        spec: &Conv2dSpec,
        x: &Input<Self>,
        filter: &Self::Filter,
        epilogue: Epilogue<'_, Self>,
    ) -> Result<(Buffer, Moments<Self>)> {
        let (spec, x, sound) = self.convolution(spec, x, epilogue);
        let (y, mut m) = self.naive.conv2d_moments(&spec, &x, &filter.0, sound)?;
        if self.has(Fault::Conv2dMomentsWithoutBias) {
            m = self.naive.conv2d_moments(&spec, &x, &filter.0, Epilogue { bias: None, ..sound })?.1;
        }
        Ok((self.with_late_residual(y, epilogue)?, faulty_moments(m)))
    }

    fn conv2d_backward_data(
        &self,
        spec: &Conv2dSpec,
        dy: &Gradient<Self>,
        filter: &Self::Filter,
        accumulate: Option<Buffer>,
    ) -> Result<Buffer> {
        let (mut spec, mut dy) = (*spec, gradient(dy));
        if self.has(Fault::DataGradientSwapsStrides) {
            spec.stride.reverse();
        }
        if let (Fault::DataGradientForgetsMask, Gradient::Norm(gradient)) = (self.fault, &mut dy) {
            gradient.mask = None;
        }
        let accumulate = accumulate.filter(|_| !self.has(Fault::DataGradientForgetsAccumulate));
        self.naive.conv2d_backward_data(&spec, &dy, &filter.0, accumulate)
    }

    fn conv2d_backward_weight(&self, spec: &Conv2dSpec, dy: &Gradient<Self>, x: &Input<Self>) -> Result<Buffer> {
        let mut spec = *spec;
        match self.fault {
            Fault::WeightGradientMissesLastImage => spec.batch = spec.batch.saturating_sub(1),
            Fault::WeightGradientShiftsDilation => spec.dilation.reverse(),
            _ => {}
        }
        self.naive.conv2d_backward_weight(&spec, &gradient(dy), &input(x))
    }

    fn channel_moments(&self, x: &Buffer, spec: &BatchNormSpec) -> Result<Moments<Self>> {
        let mut m = self.naive.channel_moments(x, spec)?;
        let rows = spec.rows as f64;
        match self.fault {
            Fault::MomentsUnbiased => {
                m.variance = changed(&m.variance, |v| v.iter_mut().for_each(|v| *v *= rows / (rows - 1.0)));
            }
            Fault::MomentsCancel => {
                let squares = Arc::new(x.iter().map(|&x| (x as f32).powi(2).into()).collect());
                let squares = self.naive.channel_moments(&squares, spec)?.mean;
                let variance = squares.iter().zip(m.mean.iter()).map(|(s, m)| s - m * m).collect();
                m.variance = Arc::new(variance);
            }
            _ => {}
        }
        Ok(faulty_moments(m))
    }

    fn batch_norm_train(
        &self,
        spec: &BatchNormSpec,
        m: &Moments<Self>,
        affine: Affine<'_, Self>,
        running: Running<'_, Self>,
    ) -> Result<NormStats<Self>> {
        let m = moments(m);
        let Running { mean, variance, momentum } = running;
        let mut spec = *spec;
        if self.has(Fault::RunningVarianceBiased) {
            spec.rows = usize::MAX; // rows / (rows - 1) is 1
        }
        if self.has(Fault::RunningTakesNan) {
            *mean = changed(mean, |mean| {
                mean.iter_mut().zip(m.mean.iter()).filter(|(_, m)| m.is_nan()).for_each(|(mean, &nan)| *mean = nan);
            });
        }
        let affine = Affine { gamma: affine.gamma, beta: affine.beta };
        let running = Running { mean, variance, momentum };
        Ok(faulty_stats(self.naive.batch_norm_train(&spec, &m, affine, running)?))
    }

    fn batch_norm_eval(
        &self,
        spec: &BatchNormSpec,
        affine: Affine<'_, Self>,
        mean: &Buffer,
        variance: &Buffer,
    ) -> Result<NormStats<Self>> {
        let eps = if self.has(Fault::EvalForgetsEps) { 0.0 } else { spec.eps };
        let affine = Affine { gamma: affine.gamma, beta: affine.beta };
        Ok(faulty_stats(self.naive.batch_norm_eval(&BatchNormSpec { eps, ..*spec }, affine, mean, variance)?))
    }

    fn batch_norm_backward(
        &self,
        spec: &BatchNormSpec,
        dy: Buffer,
        n: &Norm<Self>,
        s: &NormStats<Self>,
        output: Option<&Buffer>,
        batch: bool,
    ) -> Result<NormBackward<Self>> {
        let mut s = stats(s);
        if self.has(Fault::NormBackwardForgetsMean) {
            s.mean = changed(&s.mean, |mean| mean.fill(0.0));
        }
        let batch = batch || self.has(Fault::NormBackwardForgetsRowsInEval);
        let unmasked = dy.clone();
        let mut n = norm(n);
        if self.has(Fault::NormBackwardForgetsCeilingOfOutput) && output.is_some() {
            n.rectifier = without_ceiling(n.rectifier);
        }
        let mut result = self.naive.batch_norm_backward(spec, dy, &n, &s, output, batch)?;
        match (self.fault, &mut result.dx.mask) {
            (Fault::NormBackwardMaskIsShifted, Some(mask)) => {
                mask.scale = changed(&mask.scale, |s| s.rotate_right(1));
            }
            (Fault::NormBackwardForgetsCeiling, Some(mask)) => mask.rectifier = without_ceiling(mask.rectifier),
            (Fault::NormBackwardLeavesDyUnmasked, _) => result.dx.dy = unmasked,
            _ => {}
        }
        Ok(faulty_back(result))
    }

    fn normalise_backward(&self, gradient: NormGradient<Self>) -> Result<Buffer> {
        self.naive.normalise_backward(norm_gradient(&gradient))
    }

    fn shared_gradient(&self, mut gradient: NormGradient<Self>) -> Result<Gradient<Self>> {
        if self.fault == Fault::SharedGradientIsUnmasked {
            gradient.mask = None;
        }
        Ok(Gradient::Norm(gradient))
    }

    fn layer_norm_backward(
        &self,
        spec: &LayerNormSpec,
        dy: Buffer,
        x: &Buffer,
        gamma: &Buffer,
    ) -> Result<LayerNormBackward<Self>> {
        let used =
            if self.has(Fault::LayerNormGradientForgetsGamma) { &changed(gamma, |g| g.fill(1.0)) } else { gamma };
        let mut back = self.naive.layer_norm_backward(spec, dy.clone(), x, used)?;
        if self.has(Fault::LayerNormGradientForgetsMeans) {
            // dy times gamma over the deviation: what is normalised by counts as given.
            let n = spec.channels as f64;
            let row = |(x, dy): (&[f64], &[f64])| {
                let mean = x.iter().sum::<f64>() / n;
                let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                let inverse = (variance + spec.eps).sqrt().recip();
                dy.iter().zip(gamma.iter()).map(|(dy, gamma)| dy * gamma * inverse).collect::<Vec<_>>()
            };
            let channels = spec.channels.max(1);
            back.dx = Arc::new(x.chunks_exact(channels).zip(dy.chunks_exact(channels)).flat_map(row).collect());
        }
        let LayerNormBackward { dx, dgamma, dbeta } = back;
        Ok(LayerNormBackward { dx, dgamma, dbeta })
    }

    fn activate_backward(&self, activation: Activation, saved: &Buffer, dy: Buffer) -> Result<Buffer> {
        if self.has(Fault::ReluGradientAtZero) && activation == Activation::Relu {
            return Ok(Arc::new(
                saved.iter().zip(dy.iter()).map(|(&y, &dy)| if y >= 0.0 { dy } else { 0.0 }).collect(),
            ));
        }
        let slope: fn(f64) -> f64 = match (self.fault, activation) {
            (Fault::SiluSlopeIsTheSigmoid, Activation::Silu) => |x| 1.0 / (1.0 + (-x).exp()),
            (Fault::HardswishSlopeAtItsEnds, Activation::Hardswish) => |x| match x {
                _ if x < -3.0 => 0.0,
                _ if x <= 3.0 => x / 3.0 + 0.5,
                _ => 1.0,
            },
            (Fault::HardsigmoidSlopeAtItsEnds, Activation::Hardsigmoid) => {
                |y| f64::from((0.0..=1.0).contains(&y)) / 6.0
            }
            _ => return self.naive.activate_backward(activation, saved, dy),
        };
        Ok(Arc::new(saved.iter().zip(dy.iter()).map(|(&saved, dy)| slope(saved) * dy).collect()))
    }

    fn max_pool2d_backward(&self, spec: &Pool2dSpec, dy: &Buffer, places: &Arc<Vec<u32>>) -> Result<Buffer> {
        let dx = self.naive.max_pool2d_backward(spec, dy, places)?;
        match self.fault {
            Fault::MaxPoolGradientOverwrites => Ok(changed(&dx, |dx| {
                let largest = dy.iter().fold(0.0f64, |a, &b| a.max(b.abs()));
                dx.iter_mut().for_each(|dx| *dx = dx.clamp(-largest, largest));
            })),
            _ => Ok(dx),
        }
    }

    fn avg_pool2d_backward(&self, spec: &Pool2dSpec, dy: &Buffer) -> Result<Buffer> {
        let mut spec = *spec;
        spec.count_include_pad &= !self.has(Fault::AvgPoolGradientUncounted);
        self.naive.avg_pool2d_backward(&spec, dy)
    }

    fn adaptive_avg_pool2d_backward(&self, spec: &AdaptivePool2dSpec, dy: &Buffer) -> Result<Buffer> {
        self.naive.adaptive_avg_pool2d_backward(spec, dy)
    }

    fn scale_channels_backward(
        &self,
        spec: &ScaleSpec,
        dy: Buffer,
        x: &Buffer,
        factors: &Buffer,
    ) -> Result<(Buffer, Buffer)> {
        let x = if self.has(Fault::ScaleGradientForgetsX) { &changed(x, |x| x.fill(1.0)) } else { x };
        self.naive.scale_channels_backward(spec, dy, x, factors)
    }

    fn slice_channels_backward(&self, spec: &SliceSpec, dy: &Buffer) -> Result<Buffer> {
        let dx = self.naive.slice_channels_backward(spec, dy)?;
        match self.fault {
            Fault::SliceGradientLeavesTheRest => Ok(changed(&dx, |dx| {
                let rest = |c: usize| c < spec.first || c >= spec.first + spec.count;
                let rest = dx.iter_mut().enumerate().filter(|(i, _)| rest(i % spec.channels));
                rest.for_each(|(_, dx)| *dx = 1.0);
            })),
            _ => Ok(dx),
        }
    }

    fn linear_backward_data(&self, spec: &LinearSpec, dy: &Buffer, weight: &Buffer) -> Result<Buffer> {
        self.naive.linear_backward_data(spec, dy, weight)
    }

    fn linear_backward_weight(&self, spec: &LinearSpec, dy: &Buffer, x: &Buffer) -> Result<Buffer> {
        let mut spec = *spec;
        spec.rows -= usize::from(self.has(Fault::LinearGradientMissesLastRow)).min(spec.rows);
        self.naive.linear_backward_weight(&spec, dy, x)
    }

    fn sum_rows(&self, x: &Buffer, channels: usize) -> Result<Buffer> {
        match self.fault {
            Fault::SumMissesLastRow => {
                let rest = x.len().saturating_sub(channels);
                self.naive.sum_rows(&changed(x, |x| x.truncate(rest)), channels)
            }
            _ => self.naive.sum_rows(x, channels),
        }
    }

    fn dropout(&self, x: Buffer, spec: &DropoutSpec, mask: &Philox) -> Result<Buffer> {
        match self.fault {
            Fault::DropoutUnscaled => {
                let dropped = self.naive.dropout(x, spec, mask)?;
                Ok(changed(&dropped, |x| x.iter_mut().for_each(|x| *x *= 1.0 - spec.probability)))
            }
            Fault::DropoutMaskOffByOne => self.naive.dropout(x, spec, &Philox::new(1, Purpose::Dropout, 3, 1)),
            Fault::DropoutSharesNothing => self.naive.dropout(x, &DropoutSpec::elements(spec.probability), mask),
            _ => self.naive.dropout(x, spec, mask),
        }
    }

    fn softmax_backward(&self, y: &Buffer, dy: Buffer, classes: usize) -> Result<Buffer> {
        if self.has(Fault::SoftmaxGradientForgetsSum) {
            return Ok(Arc::new(y.iter().zip(dy.iter()).map(|(y, dy)| y * dy).collect()));
        }
        self.naive.softmax_backward(y, dy, classes)
    }

    fn mix_images(&self, mix: &Mix, x: &Buffer) -> Result<Buffer> {
        let patch = if self.has(Fault::MixForgetsPatch) { [0; 4] } else { mix.patch };
        let image = mix.size.iter().product::<usize>().max(1);
        if self.has(Fault::MixTakesTheNext) {
            let reversed = |x: &[f64]| x.rchunks(image).flatten().copied().collect::<Vec<f64>>();
            let mixed = self.naive.mix_images(mix, &Arc::new(reversed(x)))?;
            return Ok(Arc::new(reversed(&mixed)));
        }
        self.naive.mix_images(&Mix { patch, ..*mix }, x)
    }

    fn cross_entropy(
        &self,
        spec: &CrossEntropySpec,
        logits: &Buffer,
        labels: &Arc<Vec<u32>>,
        weights: Option<&Buffer>,
    ) -> Result<CrossEntropy<Self>> {
        let CrossEntropySpec { classes, smoothing, own, mean_weight } = *spec;
        let smoothing = if self.has(Fault::CrossEntropyForgetsSmoothing) { 0.0 } else { smoothing };
        let own = if self.has(Fault::CrossEntropyForgetsOther) { 1.0 } else { own };
        let rows = labels.len() as f64;
        let mean_weight = if self.has(Fault::CrossEntropyMeanOverRows) { 1.0 } else { mean_weight };
        let weights = weights.filter(|_| !self.has(Fault::CrossEntropyForgetsWeights));
        let spec = CrossEntropySpec { classes, smoothing, own, mean_weight };
        let mut result = self.naive.cross_entropy(&spec, logits, labels, weights)?;
        match self.fault {
            Fault::CrossEntropySums => result.loss = changed(&result.loss, |loss| loss[0] *= rows),
            Fault::CrossEntropyTakesLastOfEqual => {
                let hit = |(row, &label): (&[f64], &u32)| {
                    let last = (0..row.len()).fold(0, |best, i| if row[i] >= row[best] { i } else { best });
                    last == label as usize
                };
                let hits = logits.chunks(classes).zip(labels.iter()).filter(|&pair| hit(pair)).count();
                result.correct = Arc::new(vec![hits as u32]);
            }
            _ => {}
        }
        let CrossEntropy { loss, dlogits, correct } = result;
        Ok(CrossEntropy { loss, dlogits, correct })
    }

    fn binary_cross_entropy(
        &self,
        classes: usize,
        logits: &Buffer,
        targets: &Buffer,
        weights: Option<&Buffer>,
    ) -> Result<CrossEntropy<Self>> {
        let weights = weights.filter(|_| !self.has(Fault::BinaryCrossEntropyForgetsWeights));
        let mut result = self.naive.binary_cross_entropy(classes, logits, targets, weights)?;
        match self.fault {
            Fault::BinaryCrossEntropyMeanOverRows => {
                result.loss = changed(&result.loss, |loss| loss[0] *= classes as f64);
            }
            Fault::BinaryCrossEntropySaysNoAtZero => {
                let rows = logits.chunks(classes.max(1)).zip(targets.chunks(classes.max(1)));
                let right =
                    |(x, target): (&[f64], &[f64])| x.iter().zip(target).all(|(x, t)| (*x > 0.0) == (*t >= 0.5));
                result.correct = Arc::new(vec![rows.filter(|&pair| right(pair)).count() as u32]);
            }
            _ => {}
        }
        let CrossEntropy { loss, dlogits, correct } = result;
        Ok(CrossEntropy { loss, dlogits, correct })
    }

    fn blend(&self, into: &mut Buffer, a: f64, from: &Buffer, b: f64) -> Result<()> {
        match self.fault {
            Fault::BlendForgetsFactor => self.naive.blend(into, 1.0, from, b),
            Fault::BlendSwapsFactors => self.naive.blend(into, b, from, a),
            _ => self.naive.blend(into, a, from, b),
        }
    }

    fn gradient_health(&self, loss: Option<&Buffer>, gradients: &[&Buffer], largest: f64) -> Result<Health<Self>> {
        let loss = loss.filter(|_| !self.has(Fault::HealthIgnoresLoss));
        let Health { norm, finite } = self.naive.gradient_health(loss, gradients, largest)?;
        Ok(Health { norm, finite })
    }

    fn sgd(&self, step: &SgdStep, parameters: &mut [SgdParam<'_, Self>], h: &Health<Self>) -> Result<()> {
        let (mut step, mut h) = (*step, health(h));
        match self.fault {
            Fault::SgdForgetsNesterov => step.nesterov = false,
            Fault::SgdForgetsClipping => step.max_norm = f64::INFINITY,
            Fault::SgdIgnoresHealth => h.finite = Arc::new(vec![1]),
            _ => {}
        }
        for p in parameters {
            let (value, velocity) = (&mut *p.value, &mut *p.velocity);
            let (gradient, weight_decay) = (p.gradient, p.weight_decay);
            let lr_scale = if self.has(Fault::SgdForgetsLrScale) { 1.0 } else { p.lr_scale };
            let p = SgdParam { value, gradient, velocity, lr_scale, weight_decay };
            self.naive.sgd(&step, &mut [p], &h)?;
        }
        Ok(())
    }

    fn adam(&self, step: &AdamStep, parameters: &mut [AdamParam<'_, Self>], h: &Health<Self>) -> Result<()> {
        let (mut step, h) = (*step, health(h));
        let mut t = parameters.iter().map(|p| p.steps[0]).collect::<Vec<_>>();
        match self.fault {
            Fault::AdamForgetsBiasCorrection => t.fill(1_000_000),
            Fault::AdamCountsForAll => t.fill(parameters.first().map_or(0, |p| p.steps[0])),
            Fault::AdamCouplesDecay => step.decoupled = false,
            Fault::AdamForgetsEps => step.eps = 0.0,
            _ => {}
        }
        for (p, t) in parameters.iter_mut().zip(t) {
            let (value, m, v) = (&mut *p.value, &mut *p.m, &mut *p.v);
            let (gradient, lr_scale, weight_decay) = (p.gradient, p.lr_scale, p.weight_decay);
            let mut steps = Arc::new(vec![t]);
            let naive = AdamParam { value, gradient, m, v, steps: &mut steps, lr_scale, weight_decay };
            self.naive.adam(&step, &mut [naive], &h)?;
            let counts = h.finite[0] == 1 || self.has(Fault::AdamCountsRefusedSteps);
            *p.steps = Arc::new(vec![p.steps[0] + u32::from(counts)]);
        }
        Ok(())
    }
}
