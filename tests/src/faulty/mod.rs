//! A backend with one planted fault: what the suite must find.
//!
//! [`Faulty`] is [`Naive<f64>`] behind a newtype; each method breaks what its [`Fault`]s say and delegates the rest.

mod convert;
mod fault;

use std::sync::Arc;

use cnn_core::backend::*;
use cnn_core::image::{Border, ImageSpec, Mix, SampleView};
use cnn_core::rng::{Philox, Purpose};
use cnn_core::{BatchNormSpec, Conv2dSpec, Naive, Padding, Plain, Pool2dSpec, Result};

use convert::{
    faulty_back, faulty_moments, faulty_stats, gradient, health, input, moments, norm, norm_gradient, sound_epilogue,
    stats,
};

pub use fault::Fault;

/// `Naive<f64>` with a fault.
#[derive(Clone, Copy, Debug)]
pub struct Faulty {
    naive: Naive<f64>,
    fault: Fault,
}

impl Faulty {
    /// With this fault.
    pub fn new(fault: Fault) -> Self {
        Faulty { naive: Naive::new(), fault }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// The arguments of a convolution as this backend takes them.
    fn convolution<'a>(
        &self,
        spec: &Conv2dSpec,
        x: &Input<Self>,
        epilogue: Epilogue<'a, Self>,
    ) -> (Conv2dSpec, Input<Naive<f64>>, Epilogue<'a, Naive<f64>>) {
        let (mut spec, mut x, mut epilogue) = (*spec, input(x), sound_epilogue(epilogue));
        if let (Fault::Conv2dForgetsReluOfInput, Input::Norm(norm)) = (self.fault, &mut x) {
            norm.relu = false;
        }
        if self.has(Fault::Conv2dSwapsPadding) {
            let Padding { top, left, bottom, right } = spec.padding;
            spec.padding = Padding { top: bottom, left: right, bottom: top, right: left };
        }
        match self.fault {
            Fault::Conv2dForgetsBias => epilogue.bias = None,
            Fault::Conv2dForgetsResidual | Fault::Conv2dAddsResidualAfterRelu => epilogue.residual = None,
            _ => {}
        }
        (spec, x, epilogue)
    }

    /// A convolution's output, to which a residual that came too late is added now.
    fn with_late_residual(&self, y: Buffer, epilogue: Epilogue<'_, Self>) -> Result<Buffer> {
        match epilogue.residual {
            Some(residual) if self.has(Fault::Conv2dAddsResidualAfterRelu) => self.naive.add(y, residual),
            _ => Ok(y),
        }
    }
}

/// The same values, changed.
fn changed<T: Clone>(values: &Arc<Vec<T>>, change: impl FnOnce(&mut Vec<T>)) -> Arc<Vec<T>> {
    let mut values = values.to_vec();
    change(&mut values);
    Arc::new(values)
}

type Buffer = Arc<Vec<f64>>;

impl Device for Faulty {
    type Elem = f64;
    type Buffer<T: Plain> = Arc<Vec<T>>;

    const NAME: &'static str = "faulty";

    fn describe(&self) -> String {
        format!("{:?}", self.fault)
    }

    fn upload<T: Plain>(&self, host: &[T]) -> Result<Arc<Vec<T>>> {
        self.naive.upload(host)
    }

    fn download<T: Plain>(&self, buffer: &Arc<Vec<T>>) -> Result<Vec<T>> {
        self.naive.download(buffer)
    }

    fn len<T: Plain>(&self, buffer: &Arc<Vec<T>>) -> usize {
        self.naive.len(buffer)
    }

    fn fill<T: Plain>(&self, len: usize, value: T) -> Result<Arc<Vec<T>>> {
        let filled = self.naive.fill(len, value)?;
        if self.has(Fault::FillForgetsLast) {
            return Ok(changed(&filled, |v| v.iter_mut().last().into_iter().for_each(|last| *last = T::default())));
        }
        Ok(filled)
    }

    fn widen(&self, x: &Buffer) -> Result<Buffer> {
        self.naive.widen(x)
    }

    fn narrow(&self, x: &Buffer) -> Result<Buffer> {
        self.naive.narrow(x)
    }
}

impl Inference for Faulty {
    /// The filter, and what it was prepared for.
    type Filter = (Buffer, Uses);

    fn load_images(&self, spec: &ImageSpec, bytes: &Arc<Vec<u8>>, samples: &[SampleView]) -> Result<Buffer> {
        let mut spec = spec.clone();
        if self.has(Fault::ImagesForgetReflection) && spec.border == Border::Reflect {
            spec.border = Border::Zero;
        }
        let images = (bytes.len() / spec.bytes().max(1)) as u32;
        let moved = |sample: &SampleView| {
            let mut sample = *sample;
            match self.fault {
                Fault::ImagesFlipTheOffset if sample.flip => sample.offset[1] = sample.offset[1].saturating_neg(),
                Fault::ImagesForgetCutout => sample.cutout = [0; 4],
                Fault::ImagesTakeAnyIndex => sample.index %= images,
                _ => {}
            }
            sample
        };
        self.naive.load_images(&spec, bytes, &samples.iter().map(moved).collect::<Vec<_>>())
    }

    fn prepare_filter(&self, spec: &Conv2dSpec, weight: &Buffer, uses: Uses) -> Result<Self::Filter> {
        let filter = self.naive.prepare_filter(spec, weight, uses)?;
        let tap = filter.len() / (spec.kernel[0] * spec.kernel[1]);
        let drop = self.has(Fault::Conv2dDropsTheLastTap)
            || self.has(Fault::Conv2dForwardFilterIsStale) && uses == Uses::Forward;
        let filter = match drop {
            true => changed(&filter, |w| w[filter.len() - tap..].fill(0.0)),
            false => filter,
        };
        Ok((filter, uses))
    }

    fn filter_serves(&self, prepared: &Conv2dSpec, spec: &Conv2dSpec) -> bool {
        self.naive.filter_serves(prepared, spec)
    }

    fn conv2d(
        &self,
        spec: &Conv2dSpec,
        x: &Input<Self>,
        filter: &Self::Filter,
        epilogue: Epilogue<'_, Self>,
    ) -> Result<Buffer> {
        let (spec, x, sound) = self.convolution(spec, x, epilogue);
        let y = self.naive.conv2d(&spec, &x, &filter.0, sound)?;
        self.with_late_residual(y, epilogue)
    }

    fn normalise(&self, n: &Norm<Self>, residual: Option<&Input<Self>>) -> Result<Buffer> {
        let residual = residual.map(input).filter(|_| !self.has(Fault::NormaliseForgetsResidual));
        match residual {
            Some(Input::Plain(late)) if self.has(Fault::NormaliseAddsResidualAfterRelu) => {
                self.naive.add(self.naive.normalise(&norm(n), None)?, &late)
            }
            residual => self.naive.normalise(&norm(n), residual.as_ref()),
        }
    }

    fn activate(&self, activation: Activation, x: Buffer) -> Result<Buffer> {
        match (self.fault, activation) {
            (Fault::ReluLosesNan, Activation::Relu) => Ok(Arc::new(x.iter().map(|x| x.max(0.0)).collect())),
            (Fault::GeluByTanh, Activation::Gelu) => {
                let gelu = |x: &f64| 0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044715 * x.powi(3))).tanh());
                Ok(Arc::new(x.iter().map(gelu).collect()))
            }
            (Fault::Relu6Above6, Activation::Relu6) => self.naive.activate(Activation::Relu, x),
            _ => self.naive.activate(activation, x),
        }
    }

    fn max_pool2d(&self, spec: &Pool2dSpec, x: &Buffer) -> Result<(Buffer, Arc<Vec<u32>>)> {
        let [h, w] = spec.input;
        let pixels = h * w * spec.channels;
        match self.fault {
            // Of two equal neighbours in a row the right one.
            Fault::MaxPoolTakesLastOfEqual => {
                let (y, mut places) = self.naive.max_pool2d(spec, x)?;
                let last = |o: usize, place: u32| {
                    let image = o / (spec.output[0] * spec.output[1] * spec.channels);
                    let at = |place: usize| x[image * pixels + place * spec.channels + o % spec.channels];
                    let (row, right) = (place as usize / w, place as usize + 1);
                    let window = spec.span(1, o / spec.channels % spec.output[1]).0;
                    let equal = right < row * w + window.end && at(right) == at(place as usize);
                    if equal { right as u32 } else { place }
                };
                places = changed(&places, |p| p.iter_mut().enumerate().for_each(|(o, p)| *p = last(o, *p)));
                Ok((y, places))
            }
            Fault::MaxPoolIgnoresNan => {
                let x = changed(x, |x| x.iter_mut().filter(|x| x.is_nan()).for_each(|x| *x = f64::NEG_INFINITY));
                self.naive.max_pool2d(spec, &x)
            }
            _ => self.naive.max_pool2d(spec, x),
        }
    }

    fn avg_pool2d(&self, spec: &Pool2dSpec, x: &Buffer) -> Result<Buffer> {
        let mut spec = *spec;
        spec.count_include_pad |= self.has(Fault::AvgPoolCountsPadding);
        self.naive.avg_pool2d(&spec, x)
    }

    fn linear(&self, spec: &LinearSpec, x: &Buffer, weight: &Buffer, epilogue: Epilogue<'_, Self>) -> Result<Buffer> {
        let mut epilogue = sound_epilogue(epilogue);
        match self.fault {
            Fault::LinearForgetsBias => epilogue.bias = None,
            Fault::LinearForgetsRelu => epilogue.activation = None,
            _ => {}
        }
        self.naive.linear(spec, x, weight, epilogue)
    }

    fn add(&self, a: Buffer, b: &Buffer) -> Result<Buffer> {
        match self.fault {
            Fault::AddIgnoresLast => {
                let b = changed(b, |b| b.iter_mut().last().into_iter().for_each(|last| *last = 0.0));
                self.naive.add(a, &b)
            }
            _ => self.naive.add(a, b),
        }
    }

    fn softmax(&self, x: &Buffer, classes: usize) -> Result<Buffer> {
        if self.has(Fault::SoftmaxOverflows) {
            let exp: Vec<f64> = x.iter().map(|x| x.exp()).collect();
            let row = |row: &[f64]| row.iter().map(|e| e / row.iter().sum::<f64>()).collect::<Vec<_>>();
            return Ok(Arc::new(exp.chunks(classes).flat_map(row).collect()));
        }
        self.naive.softmax(x, classes)
    }
}

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
        let mut result = self.naive.batch_norm_backward(spec, dy, &norm(n), &s, output, batch)?;
        match (self.fault, &mut result.dx.mask) {
            (Fault::NormBackwardMaskIsShifted, Some((scale, _))) => *scale = changed(scale, |s| s.rotate_right(1)),
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

    fn dropout(&self, x: Buffer, probability: f64, mask: &Philox) -> Result<Buffer> {
        match self.fault {
            Fault::DropoutUnscaled => {
                let dropped = self.naive.dropout(x, probability, mask)?;
                Ok(changed(&dropped, |x| x.iter_mut().for_each(|x| *x *= 1.0 - probability)))
            }
            Fault::DropoutMaskOffByOne => self.naive.dropout(x, probability, &Philox::new(1, Purpose::Dropout, 3, 1)),
            _ => self.naive.dropout(x, probability, mask),
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
    ) -> Result<CrossEntropy<Self>> {
        let CrossEntropySpec { classes, smoothing, own } = *spec;
        let smoothing = if self.has(Fault::CrossEntropyForgetsSmoothing) { 0.0 } else { smoothing };
        let own = if self.has(Fault::CrossEntropyForgetsOther) { 1.0 } else { own };
        let rows = labels.len() as f64;
        let mut result = self.naive.cross_entropy(&CrossEntropySpec { classes, smoothing, own }, logits, labels)?;
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
