//! The traits of [`cnn_core::backend`] for [`Cpu`]: each method is the function of its name in the file of its operation.
//!
//! The methods go through a table of functions, of which there is one for each element in this crate, so that
//! the kernels are compiled here, once and optimised, and not in every crate that says `Cpu<f32>`.

use std::any::Any;
use std::sync::Arc;

use cnn_core::backend::*;
use cnn_core::image::{ImageSpec, Mix, SampleView};
use cnn_core::rng::Philox;
use cnn_core::{
    AdaptivePool2dSpec, BatchNormSpec, Conv2dSpec, DropoutSpec, Error, LayerNormSpec, Plain, Pool2dSpec, Result,
};

use crate::element::CpuElement;
use crate::threads::{CHUNK, chunks};
use half::bf16;

use crate::buffer::Buffer;
use crate::conv_algorithm::ConvAlgorithm;
use crate::conv2d::Filter;
use crate::device::Cpu;
use crate::{
    activation, binary_loss, concat, conv2d, elementwise, images, layer_norm, linear, loss, norm, optim, pool2d,
    scale_channels, sums,
};

/// Writes the table and the three traits' methods from one list: file::method(arguments) -> result.
macro_rules! delegate {
    ($($step:ident { { $($itself:tt)* } $($file:ident::$name:ident($($arg:ident: $type:ty),*) -> $result:ty;)* })*) => {
        /// The operations on elements of one type.
        #[allow(clippy::type_complexity)]
        pub(crate) struct Operations<T: CpuElement> {
            $($($name: fn(&Cpu<T>, $($type),*) -> $result,)*)*
        }

        /// The operations of a backend by name, as its three traits have them.
        pub const OPERATIONS: &[&str] = &[$($(stringify!($name)),*),*];

        impl<T: CpuElement> Operations<T> {
            const TABLE: Self = Operations { $($($name: $file::$name::<T>,)*)* };
        }

        $(
            impl<T: CpuElement> $step for Cpu<T> {
                $($itself)*

                $(
                    fn $name(&self, $($arg: $type),*) -> $result {
                        (operations::<T>().$name)(self, $($arg),*)
                    }
                )*
            }
        )*
    };
}

/// The table for `T`: `CpuElement` is sealed, so that it is one of these.
fn operations<T: CpuElement>() -> &'static Operations<T> {
    tables().iter().find_map(|table| table.downcast_ref()).expect("a table for each element")
}

/// The tables. This is the one place where the kernels are compiled: not generic, so that other crates have no copies, and no
/// statics, so that neither have the unit tests, which do without.
#[inline(never)]
fn tables() -> &'static [&'static dyn Any] {
    &[
        &Operations::<f32>::TABLE,
        #[cfg(feature = "f64")]
        &Operations::<f64>::TABLE,
        &Operations::<bf16>::TABLE,
    ]
}

delegate! {
    Device {
        {
            type Elem = T;
            type Buffer<U: Plain> = Buffer<U>;

            const NAME: &'static str = "cpu";

            fn describe(&self) -> String {
                let threads = self.threads();
                let line = format!("cpu: {}, {threads} thread{}", self.isa(), if threads == 1 { "" } else { "s" });
                match self.conv_algorithm() {
                    ConvAlgorithm::Auto => line,
                    asked => format!("{line}, {asked} convolutions"),
                }
            }

            fn arithmetic(&self) -> String {
                format!("cpu {}", self.isa())
            }

            fn tuning(&self) -> &str {
                self.conv_algorithm().name()
            }

            fn computes(&self) -> bool {
                !self.is_idle()
            }

            fn share(&self, host: &Arc<Vec<u8>>) -> Result<Buffer<u8>> {
                Ok(Buffer::of_host(self.pool(), host))
            }

            fn upload<U: Plain>(&self, host: &[U]) -> Result<Buffer<U>> {
                let mut buffer = self.alloc(host.len())?;
                self.for_each_part(chunks(buffer.make_mut()?, CHUNK), |i, part: &mut [U]| {
                    part.copy_from_slice(&host[i * CHUNK..][..part.len()]);
                });
                Ok(buffer)
            }

            fn download<U: Plain>(&self, buffer: &Buffer<U>) -> Result<Vec<U>> {
                let mut host = Vec::new();
                let bytes = size_of_val(buffer.as_slice()) as u128;
                host.try_reserve_exact(buffer.len()).map_err(|_| Error::OutOfMemory { backend: "cpu", bytes, free: None })?;
                host.extend_from_slice(buffer.as_slice());
                Ok(host)
            }

            fn len<U: Plain>(&self, buffer: &Buffer<U>) -> usize {
                buffer.len()
            }

            fn fill<U: Plain>(&self, len: usize, value: U) -> Result<Buffer<U>> {
                self.filled(len, value)
            }
        }
        elementwise::widen(x: &Data<Cpu<T>>) -> Result<Wide<Cpu<T>>>;
        elementwise::narrow(x: &Wide<Cpu<T>>) -> Result<Data<Cpu<T>>>;
    }

    Inference {
        {
            type Filter = Filter<T>;
        }
        images::load_images(spec: &ImageSpec, bytes: &Buffer<u8>, samples: &[SampleView]) -> Result<Data<Cpu<T>>>;
        conv2d::prepare_filter(spec: &Conv2dSpec, weight: &Wide<Cpu<T>>, uses: Uses) -> Result<Filter<T>>;
        conv2d::filter_serves(prepared: &Conv2dSpec, spec: &Conv2dSpec) -> bool;
        conv2d::conv2d(
            spec: &Conv2dSpec,
            x: &Input<Cpu<T>>,
            filter: &Filter<T>,
            epilogue: Epilogue<'_, Cpu<T>>
        ) -> Result<Data<Cpu<T>>>;
        linear::linear(
            spec: &LinearSpec,
            x: &Data<Cpu<T>>,
            weight: &Wide<Cpu<T>>,
            epilogue: Epilogue<'_, Cpu<T>>
        ) -> Result<Data<Cpu<T>>>;
        norm::normalise(norm: &Norm<Cpu<T>>, residual: Option<&Input<Cpu<T>>>) -> Result<Data<Cpu<T>>>;
        activation::activate(activation: Activation, x: Data<Cpu<T>>) -> Result<Data<Cpu<T>>>;
        layer_norm::layer_norm(spec: &LayerNormSpec, x: &Data<Cpu<T>>, affine: Affine<'_, Cpu<T>>) -> Result<Data<Cpu<T>>>;
        pool2d::max_pool2d(spec: &Pool2dSpec, x: &Data<Cpu<T>>) -> Result<(Data<Cpu<T>>, Buffer<u32>)>;
        pool2d::avg_pool2d(spec: &Pool2dSpec, x: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>>;
        pool2d::adaptive_avg_pool2d(spec: &AdaptivePool2dSpec, x: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>>;
        elementwise::add(a: Data<Cpu<T>>, b: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>>;
        scale_channels::scale_channels(spec: &ScaleSpec, x: Data<Cpu<T>>, factors: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>>;
        concat::concat(parts: &[(&Data<Cpu<T>>, usize)]) -> Result<Data<Cpu<T>>>;
        concat::slice_channels(spec: &SliceSpec, x: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>>;
        concat::shuffle_channels(x: &Data<Cpu<T>>, channels: usize, groups: usize) -> Result<Data<Cpu<T>>>;
        loss::softmax(x: &Data<Cpu<T>>, classes: usize) -> Result<Data<Cpu<T>>>;
    }

    Backend {
        {
            type Moments = Moments<Self>;
        }
        conv2d::conv2d_moments(
            spec: &Conv2dSpec,
            x: &Input<Cpu<T>>,
            filter: &Filter<T>,
            epilogue: Epilogue<'_, Cpu<T>>
        ) -> Result<(Data<Cpu<T>>, Moments<Cpu<T>>)>;
        conv2d::conv2d_backward_data(
            spec: &Conv2dSpec,
            dy: &Gradient<Cpu<T>>,
            filter: &Filter<T>,
            accumulate: Option<Data<Cpu<T>>>
        ) -> Result<Data<Cpu<T>>>;
        conv2d::conv2d_backward_weight(spec: &Conv2dSpec, dy: &Gradient<Cpu<T>>, x: &Input<Cpu<T>>) -> Result<Wide<Cpu<T>>>;
        norm::channel_moments(x: &Data<Cpu<T>>, spec: &BatchNormSpec) -> Result<Moments<Cpu<T>>>;
        norm::batch_norm_train(
            spec: &BatchNormSpec,
            moments: &Moments<Cpu<T>>,
            affine: Affine<'_, Cpu<T>>,
            running: Running<'_, Cpu<T>>
        ) -> Result<NormStats<Cpu<T>>>;
        norm::batch_norm_eval(
            spec: &BatchNormSpec,
            affine: Affine<'_, Cpu<T>>,
            mean: &Wide<Cpu<T>>,
            variance: &Wide<Cpu<T>>
        ) -> Result<NormStats<Cpu<T>>>;
        norm::batch_norm_backward(
            spec: &BatchNormSpec,
            dy: Data<Cpu<T>>,
            norm: &Norm<Cpu<T>>,
            stats: &NormStats<Cpu<T>>,
            output: Option<&Data<Cpu<T>>>,
            batch: bool
        ) -> Result<NormBackward<Cpu<T>>>;
        norm::normalise_backward(gradient: NormGradient<Cpu<T>>) -> Result<Data<Cpu<T>>>;
        norm::shared_gradient(gradient: NormGradient<Cpu<T>>) -> Result<Gradient<Cpu<T>>>;
        layer_norm::layer_norm_backward(
            spec: &LayerNormSpec,
            dy: Data<Cpu<T>>,
            x: &Data<Cpu<T>>,
            gamma: &Wide<Cpu<T>>
        ) -> Result<LayerNormBackward<Cpu<T>>>;
        activation::activate_backward(
            activation: Activation,
            saved: &Data<Cpu<T>>,
            dy: Data<Cpu<T>>
        ) -> Result<Data<Cpu<T>>>;
        pool2d::max_pool2d_backward(spec: &Pool2dSpec, dy: &Data<Cpu<T>>, indices: &Buffer<u32>) -> Result<Data<Cpu<T>>>;
        pool2d::avg_pool2d_backward(spec: &Pool2dSpec, dy: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>>;
        pool2d::adaptive_avg_pool2d_backward(spec: &AdaptivePool2dSpec, dy: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>>;
        scale_channels::scale_channels_backward(
            spec: &ScaleSpec,
            dy: Data<Cpu<T>>,
            x: &Data<Cpu<T>>,
            factors: &Data<Cpu<T>>
        ) -> Result<(Data<Cpu<T>>, Data<Cpu<T>>)>;
        concat::slice_channels_backward(spec: &SliceSpec, dy: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>>;
        linear::linear_backward_data(spec: &LinearSpec, dy: &Data<Cpu<T>>, weight: &Wide<Cpu<T>>) -> Result<Data<Cpu<T>>>;
        linear::linear_backward_weight(spec: &LinearSpec, dy: &Data<Cpu<T>>, x: &Data<Cpu<T>>) -> Result<Wide<Cpu<T>>>;
        sums::sum_rows(x: &Data<Cpu<T>>, channels: usize) -> Result<Wide<Cpu<T>>>;
        activation::dropout(x: Data<Cpu<T>>, spec: &DropoutSpec, mask: &Philox) -> Result<Data<Cpu<T>>>;
        loss::softmax_backward(y: &Data<Cpu<T>>, dy: Data<Cpu<T>>, classes: usize) -> Result<Data<Cpu<T>>>;
        images::mix_images(mix: &Mix, x: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>>;
        loss::cross_entropy(
            spec: &CrossEntropySpec,
            logits: &Data<Cpu<T>>,
            labels: &Buffer<u32>,
            weights: Option<&Wide<Cpu<T>>>
        ) -> Result<CrossEntropy<Cpu<T>>>;
        binary_loss::binary_cross_entropy(
            classes: usize,
            logits: &Data<Cpu<T>>,
            targets: &Wide<Cpu<T>>,
            weights: Option<&Wide<Cpu<T>>>
        ) -> Result<CrossEntropy<Cpu<T>>>;
        optim::blend(into: &mut Wide<Cpu<T>>, a: f64, from: &Wide<Cpu<T>>, b: f64) -> Result<()>;
        optim::gradient_health(loss: Option<&Wide<Cpu<T>>>, gradients: &[&Wide<Cpu<T>>], largest: f64) -> Result<Health<Cpu<T>>>;
        optim::sgd(step: &SgdStep, parameters: &mut [SgdParam<'_, Cpu<T>>], health: &Health<Cpu<T>>) -> Result<()>;
        optim::adam(step: &AdamStep, parameters: &mut [AdamParam<'_, Cpu<T>>], health: &Health<Cpu<T>>) -> Result<()>;
    }
}
