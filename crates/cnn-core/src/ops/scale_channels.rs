//! The product of squeeze and excitation: images times a factor for each channel of each of them.

use crate::backend::{Backend, Input, ScaleSpec};
use crate::graph::Op;
use crate::{Result, Var};

impl<B: Backend> Var<B> {
    /// Every pixel's channels, each times the factor that `factors` has for that channel of that image:
    /// `y[n, h, w, c] = x[n, h, w, c] * factors[n, c]`.
    ///
    /// # Errors
    /// A value that is no \[N, H, W, C\], and factors that are neither \[N, 1, 1, C\] nor \[N, C\].
    pub fn scale_channels(&self, factors: &Var<B>) -> Result<Var<B>> {
        let (pass, target, factors_target) = (self.pass(), self.target(), factors.target());
        let spec = ScaleSpec::new(self.shape(), factors.shape())?;
        let (x, by) = (self.data()?, factors.data()?);
        let y = Input::Plain(pass.backend().scale_channels(&spec, x.clone(), &by)?);
        let tracked = self.is_tracked() || factors.is_tracked();
        let out = pass.emit(|| Op::ScaleChannels, &[self, factors], self.shape(), y, tracked)?;
        pass.record(&out, &[], move |backend, dy, flow| {
            let (dx, dfactors) = backend.scale_channels_backward(&spec, dy, &x, &by)?;
            flow.add(backend, target, dx)?;
            flow.add(backend, factors_target, dfactors)
        });
        Ok(out)
    }
}
