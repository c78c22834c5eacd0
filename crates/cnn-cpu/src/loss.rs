//! Softmax and cross entropy, one pass over each row of logits.

use cnn_core::Result;
use cnn_core::backend::{CrossEntropy, Data};

use crate::element::CpuElement;
use crate::threads::chunks;
use crate::{Buffer, Cpu};

/// Rows of a part.
const ROWS: usize = 64;

pub(crate) fn softmax<T: CpuElement>(cpu: &Cpu<T>, x: &Data<Cpu<T>>, classes: usize) -> Result<Data<Cpu<T>>> {
    let mut y = cpu.alloc(x.len());
    cpu.for_each_part(chunks(y.make_mut(), ROWS * classes), |i, y: &mut [T]| {
        let x = &x.as_slice()[i * ROWS * classes..][..y.len()];
        for (y, x) in y.chunks_mut(classes).zip(x.chunks(classes)) {
            exponentials(x, y);
        }
    });
    Ok(y)
}

/// `y = exp(x - max(x)) / sum`; returns the maximum and the logarithm of the sum. NaN anywhere makes all NaN.
fn exponentials<T: CpuElement>(x: &[T], y: &mut [T]) -> (T, T) {
    let largest = x.iter().fold(T::neg_infinity(), |a, &b| if a >= b { a } else { b });
    let mut sum = T::zero();
    for (y, &x) in y.iter_mut().zip(x) {
        *y = (x - largest).exp();
        sum += *y;
    }
    let part = sum.recip();
    y.iter_mut().for_each(|y| *y *= part);
    (largest, sum.ln())
}

pub(crate) fn softmax_backward<T: CpuElement>(
    cpu: &Cpu<T>,
    y: &Data<Cpu<T>>,
    mut dy: Data<Cpu<T>>,
    classes: usize,
) -> Result<Data<Cpu<T>>> {
    cpu.for_each_part(chunks(dy.make_mut(), ROWS * classes), |i, dy: &mut [T]| {
        let y = &y.as_slice()[i * ROWS * classes..][..dy.len()];
        for (dy, y) in dy.chunks_mut(classes).zip(y.chunks(classes)) {
            let product: T = dy.iter().zip(y).map(|(&dy, &y)| dy * y).sum();
            dy.iter_mut().zip(y).for_each(|(dy, &y)| *dy = y * (*dy - product));
        }
    });
    Ok(dy)
}

pub(crate) fn cross_entropy<T: CpuElement>(
    cpu: &Cpu<T>,
    logits: &Data<Cpu<T>>,
    labels: &Buffer<u32>,
    classes: usize,
    smoothing: f64,
) -> Result<CrossEntropy<Cpu<T>>> {
    let rows = labels.len();
    let spread = smoothing / classes as f64;
    let (hit, miss) = (T::from_f64(1.0 - smoothing + spread), T::from_f64(spread));
    let mean = T::from_f64(1.0 / rows as f64);
    let mut dlogits = cpu.alloc(logits.len());
    // By part: the summed loss, and how many rows are correct.
    let mut sums = cpu.scratch::<f64>(2 * rows.div_ceil(ROWS));
    let parts = (chunks(dlogits.make_mut(), ROWS * classes), chunks(&mut sums, 2));
    cpu.for_each_part(parts, |i, (dlogits, sums)| {
        let labels = &labels.as_slice()[i * ROWS..];
        let logits = &logits.as_slice()[i * ROWS * classes..];
        sums.fill(0.0);
        for ((dlogits, x), &label) in dlogits.chunks_mut(classes).zip(logits.chunks(classes)).zip(labels) {
            let label = label as usize;
            let (largest, log_sum) = exponentials(x, dlogits);
            // -sum target * log softmax, and log softmax = x - largest - log_sum.
            let negative_log = |x: T| largest + log_sum - x;
            let mut loss = (hit - miss) * negative_log(x[label]);
            if smoothing > 0.0 {
                loss += miss * x.iter().map(|&x| negative_log(x)).sum::<T>();
            }
            sums[0] += loss.as_f64();
            sums[1] += f64::from(u8::from(x.iter().position(|&x| x == largest) == Some(label)));
            for (class, dlogit) in dlogits.iter_mut().enumerate() {
                *dlogit = (*dlogit - if class == label { hit } else { miss }) * mean;
            }
        }
    });
    let (losses, correct) = sums.chunks(2).fold((0.0, 0.0), |sum, part| (sum.0 + part[0], sum.1 + part[1]));
    let loss = cpu.filled(1, T::from_f64(losses / rows as f64));
    Ok(CrossEntropy { loss, dlogits, correct: cpu.filled(1, correct as u32) })
}
