//! The traits of [`cnn_core::backend`] for [`Cuda`]: each method is the function of its name in the file of its operation.

use cnn_core::backend::*;
use cnn_core::image::{ImageSpec, Mix, SampleView};
use cnn_core::rng::Philox;
use cnn_core::{
    AdaptivePool2dSpec, BatchNormSpec, Conv2dSpec, DropoutSpec, Error, LayerNormSpec, Plain, Pool2dSpec, Result,
};
use cudarc::driver::result;

use crate::buffer::Buffer;
use crate::compiler::Precision;
use crate::conv2d::Filter;
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::later::download_later;
use crate::norm::PartMoments;
use crate::pool::Usage;
use crate::{
    activation, concat, conv2d, elementwise, images, layer_norm, linear, loss, norm, optim, pool2d, recording,
    scale_channels, sums,
};

/// How many steps the GPU may be behind the loop that asks for them.
const STEPS_BEHIND: usize = 8;

/// What products run on, where that is not the usual kernels of this crate.
fn products<T: CudaElement>(cuda: &Cuda<T>) -> String {
    match (cuda.numbers(), cuda.cublaslt_version()) {
        (Precision::Tf32, _) => ", products in tf32".to_owned(),
        (_, Some(version)) => format!(", cuBLASLt {version}"),
        (_, None) => String::new(),
    }
}

/// Writes the three traits' methods from one list: file::method(arguments) -> result.
macro_rules! delegate {
    ($($step:ident { { $($itself:tt)* } $($file:ident::$name:ident($($arg:ident: $type:ty),*) -> $result:ty;)* })*) => {
        $(
            impl<T: CudaElement> $step for Cuda<T> {
                $($itself)*

                $(
                    fn $name(&self, $($arg: $type),*) -> $result {
                        $file::$name(self, $($arg),*)
                    }
                )*
            }
        )*
    };
}

delegate! {
    Device {
        {
            type Elem = T;
            type Buffer<U: Plain> = Buffer<U>;

            const NAME: &'static str = "cuda";

            fn describe(&self) -> String {
                let about = self.context().about();
                let (major, minor) = about.capability;
                let gigabytes = about.memory as f64 / f64::from(1 << 30);
                let (ordinal, name) = (about.ordinal, &about.name);
                let products = products(self);
                format!("cuda: GPU {ordinal}, {name}, compute capability {major}.{minor}, {gigabytes:.0} GiB{products}")
            }

            fn precision(&self) -> String {
                self.numbers().to_string()
            }

            fn arithmetic(&self) -> String {
                format!("cuda {}{}", self.context().about().name, products(self))
            }

            fn own_memory(&self) -> Result<Option<Memory>> {
                let (free, total) = self.context().free_memory()?;
                let Usage { peak, idle, .. } = self.memory();
                Ok(Some(Memory { total: total as u64, free: (free + idle) as u64, peak: peak as u64 }))
            }

            fn steps_behind(&self) -> usize {
                STEPS_BEHIND
            }

            fn at_once<R>(&self, work: impl FnOnce() -> Result<R>) -> Result<R> {
                if self.graphs() { self.context().at_once(work) } else { work() }
            }

            fn upload<U: Plain>(&self, host: &[U]) -> Result<Buffer<U>> {
                self.uploaded(host)
            }

            fn download<U: Plain>(&self, buffer: &Buffer<U>) -> Result<Vec<U>> {
                let mut host = Vec::new();
                let bytes = buffer.bytes() as u128;
                host.try_reserve_exact(buffer.len()).map_err(|_| Error::OutOfMemory { backend: "host", bytes, free: None })?;
                host.resize(buffer.len(), U::default());
                if !host.is_empty() {
                    let failed = |error| self.context().error("work failed, or its results could not be copied", error);
                    // SAFETY: both have as many bytes; the numbers are waited for below, before anybody reads them.
                    let copy = |stream| unsafe { result::memcpy_dtoh_async(&mut host, buffer.at(), stream) };
                    self.context().stream()?.enqueue_alone(copy).map_err(failed)?;
                    self.synchronise()?;
                }
                Ok(host)
            }

            fn download_later<U: Plain>(&self, buffer: &Buffer<U>) -> Result<Later<U>> {
                match download_later(self.context(), self.pinned(), buffer)? {
                    Some(later) => Ok(later),
                    None => {
                        let values = self.download(buffer)?;
                        Ok(Later::new(move || Ok(values.clone())))
                    }
                }
            }

            fn len<U: Plain>(&self, buffer: &Buffer<U>) -> usize {
                buffer.len()
            }

            fn fill<U: Plain>(&self, len: usize, value: U) -> Result<Buffer<U>> {
                elementwise::fill(self, len, value)
            }
        }
        elementwise::widen(x: &Data<Cuda<T>>) -> Result<Wide<Cuda<T>>>;
        elementwise::narrow(x: &Wide<Cuda<T>>) -> Result<Data<Cuda<T>>>;
    }

    Inference {
        {
            type Filter = Filter<T>;

            fn record(
                &self,
                input: Data<Self>,
                pass: &dyn Fn(Data<Self>) -> Result<Data<Self>>,
            ) -> Result<(Data<Self>, Option<Recorded<Self>>)> {
                recording::record(self, input, pass)
            }
        }
        images::load_images(spec: &ImageSpec, bytes: &Buffer<u8>, samples: &[SampleView]) -> Result<Data<Cuda<T>>>;
        conv2d::prepare_filter(spec: &Conv2dSpec, weight: &Wide<Cuda<T>>, uses: Uses) -> Result<Filter<T>>;
        conv2d::filter_serves(prepared: &Conv2dSpec, spec: &Conv2dSpec) -> bool;
        conv2d::conv2d(
            spec: &Conv2dSpec,
            x: &Input<Cuda<T>>,
            filter: &Filter<T>,
            epilogue: Epilogue<'_, Cuda<T>>
        ) -> Result<Data<Cuda<T>>>;
        linear::linear(
            spec: &LinearSpec,
            x: &Data<Cuda<T>>,
            weight: &Wide<Cuda<T>>,
            epilogue: Epilogue<'_, Cuda<T>>
        ) -> Result<Data<Cuda<T>>>;
        norm::normalise(norm: &Norm<Cuda<T>>, residual: Option<&Input<Cuda<T>>>) -> Result<Data<Cuda<T>>>;
        activation::activate(activation: Activation, x: Data<Cuda<T>>) -> Result<Data<Cuda<T>>>;
        layer_norm::layer_norm(spec: &LayerNormSpec, x: &Data<Cuda<T>>, affine: Affine<'_, Cuda<T>>) -> Result<Data<Cuda<T>>>;
        pool2d::max_pool2d(spec: &Pool2dSpec, x: &Data<Cuda<T>>) -> Result<(Data<Cuda<T>>, Buffer<u32>)>;
        pool2d::avg_pool2d(spec: &Pool2dSpec, x: &Data<Cuda<T>>) -> Result<Data<Cuda<T>>>;
        pool2d::adaptive_avg_pool2d(spec: &AdaptivePool2dSpec, x: &Data<Cuda<T>>) -> Result<Data<Cuda<T>>>;
        elementwise::add(a: Data<Cuda<T>>, b: &Data<Cuda<T>>) -> Result<Data<Cuda<T>>>;
        scale_channels::scale_channels(spec: &ScaleSpec, x: Data<Cuda<T>>, factors: &Data<Cuda<T>>) -> Result<Data<Cuda<T>>>;
        concat::concat(parts: &[(&Data<Cuda<T>>, usize)]) -> Result<Data<Cuda<T>>>;
        concat::slice_channels(spec: &SliceSpec, x: &Data<Cuda<T>>) -> Result<Data<Cuda<T>>>;
        concat::shuffle_channels(x: &Data<Cuda<T>>, channels: usize, groups: usize) -> Result<Data<Cuda<T>>>;
        loss::softmax(x: &Data<Cuda<T>>, classes: usize) -> Result<Data<Cuda<T>>>;
    }

    Backend {
        {
            type Moments = PartMoments;

            // Measured on an H200 at batch 512: to normalise what it reads makes a convolution of 64 channels 1.6 times as
            // long, which is four times as much as to write it.
            fn reads_norms(&self) -> bool {
                false
            }
        }
        conv2d::conv2d_moments(
            spec: &Conv2dSpec,
            x: &Input<Cuda<T>>,
            filter: &Filter<T>,
            epilogue: Epilogue<'_, Cuda<T>>
        ) -> Result<(Data<Cuda<T>>, PartMoments)>;
        conv2d::conv2d_backward_data(
            spec: &Conv2dSpec,
            dy: &Gradient<Cuda<T>>,
            filter: &Filter<T>,
            accumulate: Option<Data<Cuda<T>>>
        ) -> Result<Data<Cuda<T>>>;
        conv2d::conv2d_backward_weight(spec: &Conv2dSpec, dy: &Gradient<Cuda<T>>, x: &Input<Cuda<T>>) -> Result<Wide<Cuda<T>>>;
        norm::channel_moments(x: &Data<Cuda<T>>, spec: &BatchNormSpec) -> Result<PartMoments>;
        norm::batch_norm_train(
            spec: &BatchNormSpec,
            moments: &PartMoments,
            affine: Affine<'_, Cuda<T>>,
            running: Running<'_, Cuda<T>>
        ) -> Result<NormStats<Cuda<T>>>;
        norm::batch_norm_eval(
            spec: &BatchNormSpec,
            affine: Affine<'_, Cuda<T>>,
            mean: &Wide<Cuda<T>>,
            variance: &Wide<Cuda<T>>
        ) -> Result<NormStats<Cuda<T>>>;
        norm::batch_norm_backward(
            spec: &BatchNormSpec,
            dy: Data<Cuda<T>>,
            norm: &Norm<Cuda<T>>,
            stats: &NormStats<Cuda<T>>,
            output: Option<&Data<Cuda<T>>>,
            batch: bool
        ) -> Result<NormBackward<Cuda<T>>>;
        norm::normalise_backward(gradient: NormGradient<Cuda<T>>) -> Result<Data<Cuda<T>>>;
        norm::shared_gradient(gradient: NormGradient<Cuda<T>>) -> Result<Gradient<Cuda<T>>>;
        layer_norm::layer_norm_backward(
            spec: &LayerNormSpec,
            dy: Data<Cuda<T>>,
            x: &Data<Cuda<T>>,
            gamma: &Wide<Cuda<T>>
        ) -> Result<LayerNormBackward<Cuda<T>>>;
        activation::activate_backward(
            activation: Activation,
            saved: &Data<Cuda<T>>,
            dy: Data<Cuda<T>>
        ) -> Result<Data<Cuda<T>>>;
        pool2d::max_pool2d_backward(spec: &Pool2dSpec, dy: &Data<Cuda<T>>, indices: &Buffer<u32>) -> Result<Data<Cuda<T>>>;
        pool2d::avg_pool2d_backward(spec: &Pool2dSpec, dy: &Data<Cuda<T>>) -> Result<Data<Cuda<T>>>;
        pool2d::adaptive_avg_pool2d_backward(spec: &AdaptivePool2dSpec, dy: &Data<Cuda<T>>) -> Result<Data<Cuda<T>>>;
        scale_channels::scale_channels_backward(
            spec: &ScaleSpec,
            dy: Data<Cuda<T>>,
            x: &Data<Cuda<T>>,
            factors: &Data<Cuda<T>>
        ) -> Result<(Data<Cuda<T>>, Data<Cuda<T>>)>;
        concat::slice_channels_backward(spec: &SliceSpec, dy: &Data<Cuda<T>>) -> Result<Data<Cuda<T>>>;
        linear::linear_backward_data(spec: &LinearSpec, dy: &Data<Cuda<T>>, weight: &Wide<Cuda<T>>) -> Result<Data<Cuda<T>>>;
        linear::linear_backward_weight(spec: &LinearSpec, dy: &Data<Cuda<T>>, x: &Data<Cuda<T>>) -> Result<Wide<Cuda<T>>>;
        sums::sum_rows(x: &Data<Cuda<T>>, channels: usize) -> Result<Wide<Cuda<T>>>;
        activation::dropout(x: Data<Cuda<T>>, spec: &DropoutSpec, mask: &Philox) -> Result<Data<Cuda<T>>>;
        loss::softmax_backward(y: &Data<Cuda<T>>, dy: Data<Cuda<T>>, classes: usize) -> Result<Data<Cuda<T>>>;
        images::mix_images(mix: &Mix, x: &Data<Cuda<T>>) -> Result<Data<Cuda<T>>>;
        loss::cross_entropy(
            spec: &CrossEntropySpec,
            logits: &Data<Cuda<T>>,
            labels: &Buffer<u32>,
            weights: Option<&Wide<Cuda<T>>>
        ) -> Result<CrossEntropy<Cuda<T>>>;
        loss::binary_cross_entropy(
            classes: usize,
            logits: &Data<Cuda<T>>,
            targets: &Wide<Cuda<T>>,
            weights: Option<&Wide<Cuda<T>>>
        ) -> Result<CrossEntropy<Cuda<T>>>;
        optim::blend(into: &mut Wide<Cuda<T>>, a: f64, from: &Wide<Cuda<T>>, b: f64) -> Result<()>;
        optim::gradient_health(loss: Option<&Wide<Cuda<T>>>, gradients: &[&Wide<Cuda<T>>], largest: f64) -> Result<Health<Cuda<T>>>;
        optim::sgd(step: &SgdStep, parameters: &mut [SgdParam<'_, Cuda<T>>], health: &Health<Cuda<T>>) -> Result<()>;
        optim::adam(step: &AdamStep, parameters: &mut [AdamParam<'_, Cuda<T>>], health: &Health<Cuda<T>>) -> Result<()>;
    }
}
