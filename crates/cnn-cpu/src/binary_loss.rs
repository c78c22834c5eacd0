//! Binary cross entropy: the loss where an image has none, one or several of the classes.

use cnn_core::backend::{CrossEntropy, Data, Wide, check};
use cnn_core::{Real, Result};

use crate::buffer::Buffer;
use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::elementwise::Convert;
use crate::exp::exp;
use crate::loss::{mean, rows_of_task};
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::chunks;

pub(crate) fn binary_cross_entropy<T: CpuElement>(
    cpu: &Cpu<T>,
    classes: usize,
    logits: &Data<Cpu<T>>,
    targets: &Wide<Cpu<T>>,
    weights: Option<&Wide<Cpu<T>>>,
) -> Result<CrossEntropy<Cpu<T>>> {
    let total = check::binary_targets(classes, logits.len(), targets.len(), weights.map(Buffer::len))?;
    let classes = classes.max(1);
    let rows = rows_of_task(classes);
    let mut dlogits = cpu.alloc(logits.len())?;
    let mut losses = cpu.scratch::<f64>(total.div_ceil(rows))?;
    let mut hits = cpu.scratch::<u32>(losses.len())?;
    let rooms = cpu.rooms(losses.len(), [classes; 2])?;
    let inverse = 1.0 / logits.len() as f64;
    let parts = (chunks(dlogits.make_mut()?, rows * classes), chunks(&mut losses, 1), chunks(&mut hits, 1));
    cpu.for_each_part(parts, |i, (dlogits, loss, hits)| {
        let first = i * rows * classes;
        let (logits, targets) = (&logits.as_slice()[first..], &targets.as_slice()[first..]);
        let [x, small] = &mut *rooms.take();
        let weights = weights.map(Buffer::as_slice);
        (loss[0], hits[0]) = cpu.run(Rows { logits, targets, weights, inverse, dlogits, room: [x, small] });
    });
    mean(cpu, &losses, &hits, logits.len() as f64, dlogits)
}

/// Some rows of a batch: returns the sum of their losses and of how many all is right.
struct Rows<'a, T: CpuElement> {
    logits: &'a [T],
    targets: &'a [T::Accum],
    /// What it counts that a row has a class; 1 where there are none.
    weights: Option<&'a [T::Accum]>,
    /// One of all the logits of the batch.
    inverse: f64,
    dlogits: &'a mut [T],
    /// Room for one row of logits as they are computed with, then of their gradient, and of e^-|x|.
    room: [&'a mut [T::Accum]; 2],
}

impl<T: CpuElement> SimdKernel for Rows<'_, T> {
    type Output = (f64, u32);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f64, u32) {
        let Rows { logits, targets, weights, inverse, dlogits, room: [x, small] } = self;
        let classes = x.len();
        let (mut loss, mut hits) = (0.0, 0);
        let rows = logits.chunks_exact(classes).zip(targets.chunks_exact(classes));
        for ((logits, targets), dlogits) in rows.zip(dlogits.chunks_exact_mut(classes)) {
            Convert { from: logits, to: x }.run(simd);
            for i in (0..classes).step_by(V::<T, S>::LANES) {
                let below = V::<T, S>::zero(simd).sub(V::<T, S>::read(simd, &x[i..]).abs());
                exp::<T, S>(simd, below).write(&mut small[i..]);
            }
            let mut right = true;
            for i in 0..classes {
                let (logit, target, small) = (x[i].as_f64(), targets[i].as_f64(), small[i].as_f64());
                let yes = weights.map_or(1.0, |weights| weights[i].as_f64()) * target;
                let no = 1.0 - target;
                // softplus(x) = max(x, 0) + ln(1 + e^-|x|), and 0 * infinity would be NaN.
                let wrong_side = if logit < 0.0 { yes } else { no };
                let far = if wrong_side == 0.0 && !logit.is_nan() { 0.0 } else { wrong_side * logit.abs() };
                loss += far + (yes + no) * small.ln_1p();
                let sigmoid = if logit < 0.0 { small } else { 1.0 } / (1.0 + small);
                x[i] = T::Accum::from_f64(((yes + no) * sigmoid - yes) * inverse);
                right &= !logit.is_nan() && (logit >= 0.0) == (target >= 0.5);
            }
            Convert { from: &*x, to: dlogits }.run(simd);
            hits += u32::from(right);
        }
        (loss, hits)
    }
}
