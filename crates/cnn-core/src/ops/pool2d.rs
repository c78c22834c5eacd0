//! Maximum pooling, and average pooling by windows, to a size and over the image.

use crate::backend::{Backend, Input};
use crate::graph::Op;
use crate::spec::{Pool2dOptions, Pool2dSpec};
use crate::windows::Windows;
use crate::{AdaptivePool2dSpec, Result, Shape, Var};

impl<B: Backend> Var<B> {
    /// The maximum of every window of an image batch \[N, H, W, C\].
    pub fn max_pool2d(&self, options: &Pool2dOptions) -> Result<Var<B>> {
        let (pass, target) = (self.pass(), self.target());
        let spec = Pool2dSpec::new(self.shape().image_batch("input")?, options)?;
        let (y, places) = pass.backend().max_pool2d(&spec, &self.data()?)?;
        let shape = Shape::new(&spec.output_shape())?;
        let out = pass.emit(|| Op::MaxPool2d(spec), &[self], shape, Input::Plain(y), self.is_tracked())?;
        pass.record(&out, &[], move |backend, dy, flow| {
            flow.add(backend, target, backend.max_pool2d_backward(&spec, &dy, &places)?)
        });
        Ok(out)
    }

    /// The average of every window of an image batch \[N, H, W, C\].
    pub fn avg_pool2d(&self, options: &Pool2dOptions) -> Result<Var<B>> {
        average(self, Pool2dSpec::new(self.shape().image_batch("input")?, options)?)
    }

    /// The average of every window of an image batch \[N, H, W, C\], to an output of `size` rows and columns: see
    /// [`AdaptivePool2dSpec`].
    ///
    /// # Errors
    /// A value of another rank, an image without pixels, and an output without rows or columns.
    pub fn adaptive_avg_pool2d(&self, size: [usize; 2]) -> Result<Var<B>> {
        let (pass, target) = (self.pass(), self.target());
        let spec = AdaptivePool2dSpec::new(self.shape().image_batch("input")?, size)?;
        // Windows that slide are one operation, however they are asked for.
        if let Some(window) = spec.sliding() {
            let options = Pool2dOptions { window, stride: window, ..Pool2dOptions::square(1) };
            return average(self, Pool2dSpec::new(spec.input_shape(), &options)?);
        }
        let y = Input::Plain(pass.backend().adaptive_avg_pool2d(&spec, &self.data()?)?);
        let shape = Shape::new(&spec.output_shape())?;
        let out = pass.emit(|| Op::AdaptiveAvgPool2d(spec), &[self], shape, y, self.is_tracked())?;
        pass.record(&out, &[], move |backend, dy, flow| {
            flow.add(backend, target, backend.adaptive_avg_pool2d_backward(&spec, &dy)?)
        });
        Ok(out)
    }

    /// The average over each image: \[N, H, W, C\] to \[N, 1, 1, C\].
    pub fn global_avg_pool2d(&self) -> Result<Var<B>> {
        average(self, Pool2dSpec::global(self.shape().image_batch("input")?)?)
    }
}

fn average<B: Backend>(x: &Var<B>, spec: Pool2dSpec) -> Result<Var<B>> {
    let (pass, target) = (x.pass(), x.target());
    let y = pass.backend().avg_pool2d(&spec, &x.data()?)?;
    let shape = Shape::new(&spec.output_shape())?;
    let out = pass.emit(|| Op::AvgPool2d(spec), &[x], shape, Input::Plain(y), x.is_tracked())?;
    pass.record(&out, &[], move |backend, dy, flow| {
        flow.add(backend, target, backend.avg_pool2d_backward(&spec, &dy)?)
    });
    Ok(out)
}
