//! A backend with one planted fault: what the suite must find.
//!
//! [`Faulty`] is [`Naive<f64>`] behind a newtype; each method breaks what its [`Fault`]s say and delegates the rest.

mod convert;
mod fault;
mod training;

use std::sync::Arc;

use cnn_core::backend::*;
use cnn_core::image::{Border, ImageSpec, SampleView};
use cnn_core::{
    AdaptivePool2dSpec, Conv2dSpec, LayerNormSpec, Naive, Padding, Plain, Pool2dOptions, Pool2dSpec, Result, Windows,
};

use convert::{input, norm, sound_epilogue};

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
            norm.rectifier = Rectifier::Open;
        }
        if let (Fault::Conv2dForgetsCeilingOfInput, Input::Norm(norm)) = (self.fault, &mut x) {
            norm.rectifier = without_ceiling(norm.rectifier);
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

/// The rectifier that bounds numbers below alone.
fn without_ceiling(rectifier: Rectifier) -> Rectifier {
    if rectifier == Rectifier::Relu6 { Rectifier::Relu } else { rectifier }
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

    fn layer_norm(&self, spec: &LayerNormSpec, x: &Buffer, affine: Affine<'_, Self>) -> Result<Buffer> {
        let (mut spec, mut beta) = (*spec, affine.beta.clone());
        match self.fault {
            Fault::LayerNormForgetsEps => spec.eps = 0.0,
            Fault::LayerNormForgetsBeta => beta = changed(&beta, |beta| beta.fill(0.0)),
            _ => {}
        }
        self.naive.layer_norm(&spec, x, Affine { gamma: affine.gamma, beta: &beta })
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

    fn adaptive_avg_pool2d(&self, spec: &AdaptivePool2dSpec, x: &Buffer) -> Result<Buffer> {
        let window = [0, 1].map(|axis| spec.input[axis] / spec.output[axis]);
        if self.has(Fault::AdaptiveWindowsDoNotOverlap) && !window.contains(&0) {
            let options = Pool2dOptions { window, stride: window, ..Pool2dOptions::square(1) };
            let mut sliding = Pool2dSpec::new(spec.input_shape(), &options)?;
            sliding.output = spec.output;
            return self.naive.avg_pool2d(&sliding, x);
        }
        self.naive.adaptive_avg_pool2d(spec, x)
    }

    fn scale_channels(&self, spec: &ScaleSpec, x: Buffer, factors: &Buffer) -> Result<Buffer> {
        if self.has(Fault::ScaleTakesTheFirstImagesFactors) {
            let first = changed(factors, |f| (spec.channels..f.len()).for_each(|i| f[i] = f[i % spec.channels]));
            return self.naive.scale_channels(spec, x, &first);
        }
        self.naive.scale_channels(spec, x, factors)
    }

    fn concat(&self, parts: &[(&Buffer, usize)]) -> Result<Buffer> {
        let mut parts = parts.to_vec();
        if self.has(Fault::ConcatTurnsTheParts) {
            parts.reverse();
        }
        self.naive.concat(&parts)
    }

    fn slice_channels(&self, spec: &SliceSpec, x: &Buffer) -> Result<Buffer> {
        self.naive.slice_channels(spec, x)
    }

    fn shuffle_channels(&self, x: &Buffer, channels: usize, groups: usize) -> Result<Buffer> {
        let groups = if self.has(Fault::ShuffleIsTheOther) { channels / groups } else { groups };
        self.naive.shuffle_channels(x, channels, groups)
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
