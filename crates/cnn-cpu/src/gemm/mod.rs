//! C = A * B and what follows it, for matrices of any strides, on the micro-kernel of the convolution.
//!
//! ```text
//! pack B into panels of two vectors of columns
//! for each task (some rows of C; all panels, or some): for each part of k that fits the cache:
//!     pack the rows of A; for each panel and register block: the micro-kernel
//! ```
//!
//! Where no two tasks share a panel of B, a task packs part after part of it itself, and finds them in its cache.
//!
//! Where no file of [`simd`](crate::simd) serves the processor, the crate matrixmultiply does the tasks: see [`portable`].

mod portable;

use std::ops::Range;

use cnn_core::Result;
use num_traits::Zero;

use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::kernel::Tap;
use crate::kernel::block::{AHEAD, Block, split};
use crate::kernel::epilogue::{Epilogue, Finish, Total};
use crate::machine::{F32, L2, tasks};
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::{CHUNK, Shared, chunks};

/// A matrix that is read: element (i, j) is `data[i * strides[0] + j * strides[1]]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    /// The elements.
    pub(crate) data: &'a [T],
    /// Elements from one row to the next, and from one column to the next.
    pub(crate) strides: [usize; 2],
}

impl<'a, T: Copy> Matrix<'a, T> {
    /// `data` \[_, columns\], one row after the other.
    pub(crate) fn rows(data: &'a [T], columns: usize) -> Self {
        Matrix { data, strides: [columns, 1] }
    }

    /// The same elements as its transpose.
    pub(crate) fn transposed(self) -> Self {
        Matrix { strides: [self.strides[1], self.strides[0]], ..self }
    }

    /// Asserts that a matrix \[rows, columns\] lies within its elements.
    fn check(&self, rows: usize, columns: usize) {
        let last = rows.saturating_sub(1) * self.strides[0] + columns.saturating_sub(1) * self.strides[1];
        assert!(rows * columns == 0 || last < self.data.len(), "a matrix reaches past its elements");
    }

    fn at(&self, i: usize, j: usize) -> *const T {
        self.data[i * self.strides[0] + j * self.strides[1]..].as_ptr()
    }
}

/// Rows of C in a task.
const ROWS: usize = 64;
/// Terms that are summed at a time: ROWS x TERMS of A take an eighth of the second-level cache, beside a panel of B.
const TERMS: usize = L2 / 8 / ROWS / F32;

/// A product, cut into tasks by its shape alone.
#[derive(Clone, Copy, Debug)]
struct Tasks {
    /// Rows of C.
    rows: usize,
    /// Sets of at most `ROWS` of them.
    row_sets: usize,
    /// Panels of columns, and those of a set.
    panels: usize,
    set: usize,
}

impl Tasks {
    /// Of a product \[m, k\] * \[k, n\], in panels of `width` columns.
    fn new([m, k, n]: [usize; 3], width: usize) -> Self {
        let (row_sets, panels) = (m.div_ceil(ROWS), n.div_ceil(width));
        let wanted = tasks(m * n * k);
        Tasks { rows: m, row_sets, panels, set: panels.div_ceil(wanted.div_ceil(row_sets).min(panels)) }
    }

    fn panel_sets(&self) -> usize {
        self.panels.div_ceil(self.set)
    }

    fn count(&self) -> usize {
        self.row_sets * self.panel_sets()
    }

    /// The rows and the panels of a task.
    fn part(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let (row, first) = (task / self.panel_sets() * ROWS, task % self.panel_sets() * self.set);
        (row..self.rows.min(row + ROWS), first..self.panels.min(first + self.set))
    }
}

/// `c` \[m, n\] = `a` \[m, k\] * `b` \[k, n\], finished by `epilogue`: each of the three in its own element, summed in their
/// common accumulator.
pub(crate) fn gemm<T, A, B, C>(
    cpu: &Cpu<T>,
    [m, k, n]: [usize; 3],
    a: Matrix<'_, A>,
    b: Matrix<'_, B>,
    epilogue: Epilogue<'_, C>,
    c: &mut [C],
) -> Result<()>
where
    T: CpuElement,
    A: CpuElement<Number = T::Number>,
    B: CpuElement<Number = T::Number>,
    C: CpuElement<Number = T::Number>,
{
    assert_eq!(c.len(), m * n);
    assert!(epilogue.fits(m * n, n));
    a.check(m, k);
    b.check(k, n);
    let portable = cpu.isa().is_portable();
    if !portable && let (Some(c), Some(epilogue)) = (C::as_wide_mut(c), epilogue.wide()) {
        return product(cpu, [m, k, n], a, b, epilogue, c);
    }
    let mut sums = cpu.scratch::<T::Accum>(c.len())?;
    if portable {
        portable::product(cpu, [m, k, n], a, b, &mut sums)?;
    } else {
        product(cpu, [m, k, n], a, b, Epilogue::none(), &mut sums)?;
    }
    let (sums, part) = (&*sums, (CHUNK / n.max(1)).max(1) * n.max(1)); // whole rows
    cpu.for_each_part(chunks(c, part), |i, y: &mut [C]| {
        cpu.run(Total { sums, epilogue, start: i * part, of: m * n, channels: n, y });
    });
    Ok(())
}

fn product<T, A, B>(
    cpu: &Cpu<T>,
    [m, k, n]: [usize; 3],
    a: Matrix<'_, A>,
    b: Matrix<'_, B>,
    epilogue: Epilogue<'_, T::Accum>,
    c: &mut [T::Accum],
) -> Result<()>
where
    T: CpuElement,
    A: CpuElement<Number = T::Number>,
    B: CpuElement<Number = T::Number>,
{
    if m * n == 0 {
        return Ok(());
    }
    let width = 2 * cpu.lanes();
    let tasks = Tasks::new([m, k, n], width);
    let (shared, all) = (tasks.row_sets > 1, n.div_ceil(width));
    let mut panels = cpu.scratch(if shared { all * width * k } else { 0 })?;
    cpu.for_each_part(chunks(&mut panels, (width * k).max(1)), |panel, to| {
        cpu.run(Pack { b, n, panel, terms: 0..k, to });
    });
    let (c, panels) = (Shared::new(c), &*panels);
    let rooms = cpu.rooms(tasks.count(), [ROWS * TERMS, if shared { 0 } else { width * TERMS }])?;
    cpu.for_each(tasks.count(), |task| {
        let (rows, set) = tasks.part(task);
        let [scratch, part] = &mut *rooms.take();
        let packed = if shared { Packed::All(panels) } else { Packed::Part(b, part) };
        cpu.run(Product { k, n, a, rows, packed, set, epilogue, c, scratch });
    });
    Ok(())
}

/// Packs some terms of a panel of B \[_, n\] as `[terms][width]`: the columns become lanes, zeros where there are none.
struct Pack<'a, T: CpuElement> {
    b: Matrix<'a, T>,
    n: usize,
    panel: usize,
    terms: Range<usize>,
    to: &'a mut [T::Accum],
}

impl<T: CpuElement> SimdKernel for Pack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Pack { b, n, panel, terms, to } = self;
        let lanes = V::<T, S>::LANES;
        let width = 2 * lanes;
        let (columns, to) = (panel * width..n.min((panel + 1) * width), &mut to[..terms.len() * width]);
        if b.strides[1] == 1 {
            for (t, to) in terms.zip(to.chunks_exact_mut(width)) {
                let line = &b.data[t * b.strides[0] + columns.start..][..columns.len()];
                for v in (0..width).step_by(lanes) {
                    T::read(simd, &line[v.min(line.len())..]).write(&mut to[v..]);
                }
            }
        } else {
            // Some terms of each column at a time, so that what is written stays in the cache.
            for (i, to) in to.chunks_mut(width * 64).enumerate() {
                for lane in 0..width {
                    for (t, to) in to[lane..].iter_mut().step_by(width).enumerate() {
                        let at = (terms.start + i * 64 + t) * b.strides[0] + (columns.start + lane) * b.strides[1];
                        *to = if lane < columns.len() { b.data[at].to_accum() } else { T::Accum::zero() };
                    }
                }
            }
        }
    }
}

/// B in panels of two vectors.
enum Packed<'a, T: CpuElement> {
    /// All of it, `[panels][k][width]`.
    All(&'a [T::Accum]),
    /// As it is, and room for `TERMS` terms of a panel.
    Part(Matrix<'a, T>, &'a mut [T::Accum]),
}

/// Some rows of the product.
struct Product<'a, T: CpuElement, B: CpuElement> {
    k: usize,
    n: usize,
    a: Matrix<'a, T>,
    rows: Range<usize>,
    packed: Packed<'a, B>,
    set: Range<usize>,
    epilogue: Epilogue<'a, T::Accum>,
    c: Shared<T::Accum>,
    scratch: &'a mut [T::Accum],
}

impl<T: CpuElement, B: CpuElement<Number = T::Number>> SimdKernel for Product<'_, T, B> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Product { k, n, a, rows, mut packed, set, epilogue, c, scratch } = self;
        let (lanes, count) = (V::<T, S>::LANES, rows.len());
        let width = 2 * lanes;
        for k0 in (0..k.max(1)).step_by(TERMS) {
            let terms = TERMS.min(k - k0);
            // A as [terms / lanes][rows][lanes].
            for t in (0..terms).step_by(lanes) {
                let n = lanes.min(terms - t);
                for (i, to) in scratch[t * count..][..count * lanes].chunks_exact_mut(lanes).enumerate() {
                    let from = a.at(rows.start + i, k0 + t);
                    if a.strides[1] == 1 {
                        // SAFETY: `check` has found these n elements of the row within the matrix.
                        unsafe { T::load_head(simd, from, n) }.write(to);
                    } else {
                        for (lane, to) in to[..n].iter_mut().enumerate() {
                            // SAFETY: as above.
                            *to = unsafe { *from.add(lane * a.strides[1]) }.to_accum();
                        }
                    }
                }
            }
            for panel in set.clone() {
                let w = match &mut packed {
                    Packed::All(panels) => panels[(panel * k + k0) * width..][..terms * width].as_ptr(),
                    Packed::Part(b, room) => {
                        simd.outline(Pack { b: *b, n, panel, terms: k0..k0 + terms, to: room });
                        room.as_ptr()
                    }
                };
                let write = (n - panel * width).min(width);
                for (i, size) in split(count, S::PIXELS) {
                    // SAFETY: A is packed for `terms` terms of these rows; `w` has as many of the panel, two vectors each;
                    // no other task has these rows and columns of C.
                    unsafe {
                        let at = (rows.start + i) * n + panel * width;
                        let y = c.get().add(at);
                        let mut finish = epilogue.at(at, panel * width);
                        if k0 > 0 {
                            finish.residual = Some(y.cast_const()); // the sum so far, the residual in it
                        }
                        if k0 + terms < k {
                            finish = Finish { residual: finish.residual, ..Finish::none() };
                        }
                        let block = Block {
                            x: scratch.as_ptr().add(i * lanes),
                            x_row: 0,
                            x_plane: count * lanes,
                            channels: terms,
                            taps: &[Tap::ONE],
                            w,
                            w_taps: 1,
                            first: [0; 2],
                            ahead: w.wrapping_add(AHEAD * width),
                            ahead_step: width * size_of::<T::Accum>(),
                            resume: None,
                            pause: None,
                            y,
                            y_pixel: n,
                            y_row: 0,
                            write,
                            finish,
                            pairs: false,
                        };
                        block.run(simd, 2, 1, size);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cnn_core::Real;
    use cnn_core::backend::{self, Activation, Device};
    use half::bf16;
    use num_traits::Float;

    use super::*;
    use crate::conv_algorithm::ConvAlgorithm;
    use crate::testing::cpus;

    /// Integers whose products are exact in any order, in C rounded as the conversion rounds.
    fn agrees<A: CpuElement, B: CpuElement<Number = A::Number>, C: CpuElement<Number = A::Number>>() {
        let number = |i: usize, m: usize| A::Accum::from_f64((i * 7919 % m) as f64 - (m / 2) as f64);
        for (m, k, n) in [(1, 1, 1), (3, 5, 7), (65, 33, 31), (14, 600, 40), (130, 17, 10), (7, 64, 129), (2, 0, 3)] {
            for (flip_a, flip_b, relu) in
                [(false, false, false), (true, false, false), (false, true, true), (true, true, true)]
            {
                let activation = relu.then_some(Activation::Relu);
                let a: Vec<A> = (0..m * k).map(|i| A::from_accum(number(i, 9))).collect();
                let b: Vec<B> = (0..k * n).map(|i| B::from_accum(number(i, 7))).collect();
                let bias: Vec<_> = (0..n).map(|i| number(i, 5)).collect();
                let residual: Vec<C> = (0..m * n).map(|i| C::from_accum(number(i, 11))).collect();
                let a = if flip_a { Matrix::rows(&a, m).transposed() } else { Matrix::rows(&a, k) };
                let b = if flip_b { Matrix::rows(&b, k).transposed() } else { Matrix::rows(&b, n) };
                for cpu in cpus::<C>(2, ConvAlgorithm::Auto) {
                    let (bias, residual) = (cpu.upload(&bias).unwrap(), cpu.upload(&residual).unwrap());
                    let epilogue = match flip_a {
                        false => backend::Epilogue { bias: Some(&bias), residual: Some(&residual), activation },
                        true => backend::Epilogue { bias: None, residual: None, activation },
                    };
                    let mut c = vec![C::from_accum(A::Accum::nan()); m * n];
                    gemm(&cpu, [m, k, n], a, b, Epilogue::new(&epilogue, m * n, n).unwrap(), &mut c).unwrap();
                    for (at, got) in c.iter().enumerate() {
                        let (i, j) = (at / n, at % n);
                        let a = |t: usize| a.data[i * a.strides[0] + t * a.strides[1]].to_accum().as_f64();
                        let b = |t: usize| b.data[t * b.strides[0] + j * b.strides[1]].to_accum().as_f64();
                        let mut sum = (0..k).map(|t| a(t) * b(t)).sum::<f64>();
                        if !flip_a {
                            sum += bias.as_slice()[j].as_f64() + residual.as_slice()[at].to_accum().as_f64();
                        }
                        if relu {
                            sum = sum.max(0.0);
                        }
                        let expected = C::from_accum(A::Accum::from_f64(sum));
                        assert!(
                            *got == expected,
                            "{cpu:?} {m}x{k}x{n}, {epilogue:?}: {got}, expected {expected} at {at}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn products_of_integers_are_exact() {
        agrees::<f32, f32, f32>();
        agrees::<f64, f64, f64>();
        agrees::<bf16, f32, bf16>();
        agrees::<bf16, bf16, f32>();
    }
}
