//! Softmax and cross entropy.
//!
//! The sum of exponentials is kept without its largest term, which is 1: `ln(1 + rest)` then keeps the digits of a small
//! loss.

use cnn_core::backend::{CrossEntropy, CrossEntropySpec, Data, Wide};
use cnn_core::{Error, Real, Result};

use crate::buffer::Buffer;
use crate::device::Cpu;
use crate::element::{CpuElement, CpuReal, V};
use crate::elementwise::Convert;
use crate::exp::exp;
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::{CHUNK, chunks};
use crate::update::Update;
use cnn_core::backend::check;

/// Rows of a task: an exponential costs as much as reading several numbers.
pub(crate) fn rows_of_task(classes: usize) -> usize {
    (CHUNK / 4 / classes.max(1)).max(1)
}

/// Index of the first largest value; NaN counts as larger than numbers.
#[inline(always)]
fn first_largest<R: CpuReal, S: Simd>(simd: S, row: &[R]) -> usize {
    let lanes = V::<R, S>::LANES;
    let full = row.len() / lanes * lanes;
    let mut max = V::<R, S>::splat(simd, R::neg_infinity());
    for i in (0..full).step_by(lanes) {
        max = max.max(V::<R, S>::read(simd, &row[i..])); // NaN does not enter
    }
    let max = row[full..].iter().fold(max.reduce_max(), |max, &x| if x > max { x } else { max });
    let nan = row.iter().position(|x| x.is_nan());
    nan.or_else(|| row.iter().position(|&x| x == max)).unwrap_or(0)
}

/// Writes `exp(x - x[largest])` to `y`, but 0 for the largest itself, and returns their sum.
#[inline(always)]
fn exponentials<R: CpuReal, S: Simd>(simd: S, x: &[R], largest: usize, y: &mut [R]) -> R {
    let max = V::<R, S>::splat(simd, x[largest]);
    for i in (0..x.len()).step_by(V::<R, S>::LANES) {
        exp::<R, S>(simd, V::<R, S>::read(simd, &x[i..]).sub(max)).write(&mut y[i..]);
    }
    // exp(0) = 1; infinity less itself is NaN.
    y[largest] -= R::one();
    let mut sum = V::<R, S>::zero(simd);
    for i in (0..y.len()).step_by(V::<R, S>::LANES) {
        sum = sum.add(V::<R, S>::read(simd, &y[i..]));
    }
    sum.reduce_sum()
}

/// Writes softmax(x) to `y`; returns the index of the largest value and the sum of the other exponentials.
#[inline(always)]
fn softmax_row<R: CpuReal, S: Simd>(simd: S, x: &[R], y: &mut [R]) -> (usize, R) {
    let largest = first_largest::<R, S>(simd, x);
    let rest = exponentials::<R, S>(simd, x, largest, y);
    y[largest] += R::one();
    let inverse = V::<R, S>::splat(simd, R::one() / (R::one() + rest));
    for i in (0..y.len()).step_by(V::<R, S>::LANES) {
        V::<R, S>::read(simd, &y[i..]).mul(inverse).write(&mut y[i..]);
    }
    (largest, rest)
}

pub(crate) fn softmax<T: CpuElement>(cpu: &Cpu<T>, x: &Data<Cpu<T>>, classes: usize) -> Result<Data<Cpu<T>>> {
    /// x, y, and room for one row of each as it is computed with.
    struct Rows<'a, T: CpuElement>(&'a [T], &'a mut [T], [&'a mut [T::Accum]; 2]);
    impl<T: CpuElement> SimdKernel for Rows<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Rows(x, y, [row, result]) = self;
            for (x, y) in x.chunks_exact(row.len()).zip(y.chunks_exact_mut(row.len())) {
                Convert { from: x, to: row }.run(simd);
                softmax_row::<T::Accum, S>(simd, row, result);
                Convert { from: &*result, to: y }.run(simd);
            }
        }
    }

    check::whole_rows("the logits", x.len(), classes)?;
    let (mut y, classes) = (cpu.alloc(x.len())?, classes.max(1));
    let part = rows_of_task(classes) * classes;
    let rooms = cpu.rooms(x.len().div_ceil(part), [classes; 2])?;
    cpu.for_each_part(chunks(y.make_mut()?, part), |i, y: &mut [T]| {
        let [row, result] = &mut *rooms.take();
        cpu.run(Rows(&x.as_slice()[i * part..][..y.len()], y, [row, result]));
    });
    Ok(y)
}

pub(crate) fn softmax_backward<T: CpuElement>(
    cpu: &Cpu<T>,
    y: &Data<Cpu<T>>,
    dy: Data<Cpu<T>>,
    classes: usize,
) -> Result<Data<Cpu<T>>> {
    struct Rows<'a, T>(&'a [T], &'a mut [T], usize);
    impl<T: CpuElement> SimdKernel for Rows<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Rows(y, dy, classes) = self;
            for (y, dy) in y.chunks_exact(classes).zip(dy.chunks_exact_mut(classes)) {
                let mut dot = V::<T, S>::zero(simd);
                for i in (0..classes).step_by(V::<T, S>::LANES) {
                    dot = T::read(simd, &y[i..]).mul_add(T::read(simd, &dy[i..]), dot);
                }
                let dot = V::<T, S>::splat(simd, dot.reduce_sum());
                for i in (0..classes).step_by(V::<T, S>::LANES) {
                    let difference = T::read(simd, &dy[i..]).sub(dot);
                    T::write::<S>(T::read(simd, &y[i..]).mul(difference), &mut dy[i..]);
                }
            }
        }
    }

    check::whole_rows("the gradient", dy.len(), classes)?;
    check::length("the output", y.len(), dy.len())?;
    let classes = classes.max(1);
    let part = rows_of_task(classes) * classes;
    let mut update = Update::new(cpu, dy)?;
    cpu.for_each_part(update.parts(part)?, |i, dy: &mut [T]| {
        cpu.run(Rows(&y.as_slice()[i * part..][..dy.len()], dy, classes));
    });
    Ok(update.done())
}

pub(crate) fn cross_entropy<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &CrossEntropySpec,
    logits: &Data<Cpu<T>>,
    labels: &Buffer<u32>,
    weights: Option<&Wide<Cpu<T>>>,
) -> Result<CrossEntropy<Cpu<T>>> {
    let classes = spec.classes;
    let total = check::whole_rows("the logits", logits.len(), classes)?;
    check::length("the labels", labels.len(), total)?;
    if let Some(weights) = weights {
        check::length("the weights of the classes", weights.len(), classes)?;
    }
    if !cpu.is_idle()
        && let Some(label) = labels.as_slice().iter().find(|&&label| label as usize >= classes)
    {
        return Err(Error::invalid("label", label, format!("must be below {classes}, the classes")));
    }
    let classes = classes.max(1);
    let rows = rows_of_task(classes);
    let mut dlogits = cpu.alloc(logits.len())?;
    let mut losses = cpu.scratch::<f64>(total.div_ceil(rows))?;
    let mut hits = cpu.scratch::<u32>(losses.len())?;
    let rooms = cpu.rooms(losses.len(), [classes; 2])?;
    let parts = (chunks(dlogits.make_mut()?, rows * classes), chunks(&mut losses, 1), chunks(&mut hits, 1));
    cpu.for_each_part(parts, |i, (dlogits, loss, hits)| {
        let (logits, labels) = (&logits.as_slice()[i * rows * classes..], labels.as_slice());
        let [row, result] = &mut *rooms.take();
        let weights = weights.map(Buffer::as_slice);
        let rows = Rows { spec, logits, labels, weights, first: i * rows, dlogits, room: [row, result] };
        (loss[0], hits[0]) = cpu.run(rows);
    });
    mean(cpu, &losses, &hits, total as f64 * spec.mean_weight, dlogits)
}

/// The losses of the tasks over `count` and their hits, in the order of the tasks, with the gradient.
pub(crate) fn mean<T: CpuElement>(
    cpu: &Cpu<T>,
    losses: &[f64],
    hits: &[u32],
    count: f64,
    dlogits: Data<Cpu<T>>,
) -> Result<CrossEntropy<Cpu<T>>> {
    Ok(CrossEntropy {
        loss: cpu.filled(1, T::Accum::from_f64(losses.iter().sum::<f64>() / count))?,
        dlogits,
        correct: cpu.filled(1, if cpu.is_idle() { 0 } else { hits.iter().sum() })?,
    })
}

/// Some rows of a batch: returns the sum of their losses and how many are right.
struct Rows<'a, T: CpuElement> {
    spec: &'a CrossEntropySpec,
    logits: &'a [T],
    /// Of all rows of the batch.
    labels: &'a [u32],
    /// What each class counts; all alike where there are none.
    weights: Option<&'a [T::Accum]>,
    /// Which one the first of these rows is.
    first: usize,
    dlogits: &'a mut [T],
    /// Room for one row of logits and of their gradient as they are computed with.
    room: [&'a mut [T::Accum]; 2],
}

impl<T: CpuElement> SimdKernel for Rows<'_, T> {
    type Output = (f64, u32);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f64, u32) {
        let Rows { spec, logits, labels, weights, first, dlogits, room: [x, dx] } = self;
        let CrossEntropySpec { smoothing, own, mean_weight, .. } = *spec;
        let (classes, total) = (x.len(), labels.len());
        let off = smoothing / classes as f64;
        let inverse = V::<T, S>::splat(simd, T::Accum::from_f64(1.0 / (total as f64 * mean_weight)));
        let target = V::<T, S>::splat(simd, T::Accum::from_f64(if weights.is_some() { 0.0 } else { off }));
        let (mut loss, mut hits) = (0.0, 0);
        let weight = |class: usize| weights.map_or(1.0, |weights| weights[class].as_f64());
        let smoothed = weights.map_or(0.0, |weights| off * weights.iter().map(|weight| weight.as_f64()).sum::<f64>());
        let rows = logits.chunks_exact(classes).zip(dlogits.chunks_exact_mut(classes));
        for ((logits, dlogits), at) in rows.zip(first..total) {
            let [label, other] = [at, (at + total - 1) % total].map(|at| labels[at] as usize);
            Convert { from: logits, to: x }.run(simd);
            let (largest, rest) = softmax_row::<T::Accum, S>(simd, x, dx);
            hits += u32::from(largest == spec.larger(label, other));
            let at_label = (1.0 - smoothing) * own * weight(label);
            let at_other = (1.0 - smoothing) * (1.0 - own) * weight(other);
            if let Some(weights) = weights {
                // The probabilities times all that is wanted, less what is wanted of every class.
                let all = V::<T, S>::splat(simd, T::Accum::from_f64(at_label + at_other + smoothed));
                let of_each = V::<T, S>::splat(simd, T::Accum::from_f64(-off));
                for i in (0..classes).step_by(V::<T, S>::LANES) {
                    let wanted = V::<T, S>::read(simd, &weights[i..]).mul(of_each);
                    V::<T, S>::read(simd, &dx[i..]).mul_add(all, wanted).write(&mut dx[i..]);
                }
            }
            // -log softmax = log_sum - (x - max)
            let (max, log_sum) = (x[largest].as_f64(), rest.as_f64().ln_1p());
            let cost = |x: T::Accum| log_sum - (x.as_f64() - max);
            loss += at_label * cost(x[label]);
            if own < 1.0 {
                loss += at_other * cost(x[other]);
                dx[other] -= T::Accum::from_f64(at_other);
            }
            // A class that is not wanted at all may have probability 0.
            if off != 0.0 {
                loss += off
                    * match weights {
                        Some(weights) => {
                            x.iter().zip(weights).map(|(&x, weight)| weight.as_f64() * cost(x)).sum::<f64>()
                        }
                        None => x.iter().map(|&x| cost(x)).sum::<f64>(),
                    };
            }
            dx[label] -= T::Accum::from_f64(at_label);
            for i in (0..classes).step_by(V::<T, S>::LANES) {
                T::write::<S>(V::<T, S>::read(simd, &dx[i..]).sub(target).mul(inverse), &mut dlogits[i..]);
            }
        }
        (loss, hits)
    }
}
