//! Channels side by side, some of them, and in another order.

use std::ops::Range;

use crate::backend::{Backend, Input, SliceSpec, check_groups};
use crate::graph::Op;
use crate::{Error, Result, Shape, Var};

impl<B: Backend> Var<B> {
    /// The channels of all `parts` side by side: \[N, H, W, C1\], \[N, H, W, C2\], ... to \[N, H, W, C1 + C2 + ...\].
    ///
    /// # Errors
    /// No parts, a part that is no \[N, H, W, C\] with at least one channel, and one of other images than the first.
    pub fn concat(parts: &[&Var<B>]) -> Result<Var<B>> {
        let shapes: Vec<Shape> = parts.iter().map(|part| part.shape()).collect();
        let (shape, specs) = concatenated(&shapes)?;
        let pass = parts[0].pass();
        let data = parts.iter().map(|part| part.data()).collect::<Result<Vec<_>>>()?;
        let with_channels: Vec<_> = data.iter().zip(&specs).map(|(data, spec)| (data, spec.count)).collect();
        let y = Input::Plain(pass.backend().concat(&with_channels)?);
        let tracked = parts.iter().any(|part| part.is_tracked());
        let targets: Vec<_> = parts.iter().map(|part| part.target()).collect();
        let out = pass.emit(|| Op::Concat, parts, shape, y, tracked)?;
        pass.record(&out, &[], move |backend, dy, flow| {
            for (target, spec) in targets.into_iter().zip(&specs).filter(|(target, _)| target.is_some()) {
                flow.add(backend, target, backend.slice_channels(spec, &dy)?)?;
            }
            Ok(())
        });
        Ok(out)
    }

    /// Some neighbouring channels of an image batch \[N, H, W, C\].
    ///
    /// # Errors
    /// A value of another rank, and channels of which there are none.
    pub fn slice_channels(&self, channels: Range<usize>) -> Result<Var<B>> {
        let (pass, target) = (self.pass(), self.target());
        let [n, h, w, c] = self.shape().image_batch("input")?;
        let spec = SliceSpec::new(c, channels)?;
        let y = Input::Plain(pass.backend().slice_channels(&spec, &self.data()?)?);
        let shape = Shape::new(&[n, h, w, spec.count])?;
        let out = pass.emit(|| Op::SliceChannels(spec), &[self], shape, y, self.is_tracked())?;
        pass.record(&out, &[], move |backend, dy, flow| {
            flow.add(backend, target, backend.slice_channels_backward(&spec, &dy)?)
        });
        Ok(out)
    }

    /// The channels of an image batch in the order that mixes `groups` of neighbours: one of each group after another, the first
    /// ones, then the second ones, and so on, as PyTorch's `channel_shuffle`.
    ///
    /// # Errors
    /// A value that is no \[N, H, W, C\], and groups that do not divide its channels.
    pub fn shuffle_channels(&self, groups: usize) -> Result<Var<B>> {
        let (pass, target) = (self.pass(), self.target());
        let [.., channels] = self.shape().image_batch("input")?;
        check_groups(channels, groups)?;
        let y = Input::Plain(pass.backend().shuffle_channels(&self.data()?, channels, groups)?);
        let out = pass.emit(|| Op::ShuffleChannels { groups }, &[self], self.shape(), y, self.is_tracked())?;
        // Back by as many groups as a group has members.
        let members = channels / groups;
        pass.record(&out, &[], move |backend, dy, flow| match members {
            0 => flow.add(backend, target, dy), // there are no channels
            _ => flow.add(backend, target, backend.shuffle_channels(&dy, channels, members)?),
        });
        Ok(out)
    }
}

/// The shape of a concatenation, and which of its channels each part is.
pub(crate) fn concatenated(parts: &[Shape]) -> Result<(Shape, Vec<SliceSpec>)> {
    let Some(first) = parts.first() else {
        return Err(Error::invalid("parts of a concatenation", 0, "must be at least 1"));
    };
    let [n, h, w, _] = first.image_batch("part 0")?;
    let mut channels = 0;
    for (i, part) in parts.iter().enumerate() {
        let what = format!("part {i}");
        let [.., own] = part.image_batch(&what)?;
        if part.dims()[..3] != [n, h, w] || own == 0 {
            let rule = format!("must be [{n}, {h}, {w}, C] as the first part, with at least one channel");
            return Err(Error::invalid(what, part, rule));
        }
        channels += own;
    }
    let mut end = 0;
    let spec = |part: &Shape| {
        let first = end;
        end += part.channels();
        SliceSpec::new(channels, first..end)
    };
    let specs = parts.iter().map(spec).collect::<Result<_>>()?;
    Ok((Shape::new(&[n, h, w, channels])?, specs))
}
