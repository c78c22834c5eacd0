//! C = A * B where no file of [`simd`](crate::simd) serves the processor: by the crate matrixmultiply, which has kernels
//! for ARM and WebAssembly too.
//!
//! It finds its instructions by itself, so on x86 `CNN_ISA=portable` does not cap them; it runs what other processors run.
//! Each task is one call on one thread, and tasks are cut as for the kernels here: the same bits for any number of threads.

use cnn_core::{DType, Result};

use super::{Matrix, ROWS, Tasks};
use crate::device::Cpu;
use crate::element::{CpuElement, CpuReal};
use crate::threads::{CHUNK, Shared, chunks};

/// `c` \[m, n\] = `a` \[m, k\] * `b` \[k, n\].
pub(super) fn product<T, A, B>(
    cpu: &Cpu<T>,
    [m, k, n]: [usize; 3],
    a: Matrix<'_, A>,
    b: Matrix<'_, B>,
    c: &mut [T::Accum],
) -> Result<()>
where
    T: CpuElement,
    A: CpuElement<Number = T::Number>,
    B: CpuElement<Number = T::Number>,
{
    assert_eq!(c.len(), m * n);
    a.check(m, k);
    b.check(k, n);
    if m * n == 0 {
        return Ok(());
    }
    let (mut of_a, mut of_b) = (cpu.scratch(room(a.data))?, cpu.scratch(room(b.data))?);
    let (a, b) = (widened(cpu, a, &mut of_a), widened(cpu, b, &mut of_b));
    let width = 2 * cpu.lanes();
    let tasks = Tasks::new([m, k, n], width);
    let c = Shared::new(c);
    cpu.for_each(tasks.count(), |task| {
        let (rows, panels) = tasks.part(task);
        let columns = panels.start * width..n.min(panels.end * width);
        debug_assert!(rows.len() <= ROWS);
        // SAFETY: the matrices hold [m, k] and [k, n] elements, as `check` has found; c has [m, n], and no other task
        // has these rows and columns of it.
        unsafe {
            let c = c.get().add(rows.start * n + columns.start);
            multiply([rows.len(), k, columns.len()], a.at_row(rows.start), b.at_column(columns.start), c, n);
        }
    });
    Ok(())
}

/// Elements that it takes to hold `data` as what is computed with.
fn room<T: CpuElement>(data: &[T]) -> usize {
    if T::as_wide(data).is_some() { 0 } else { data.len() }
}

/// A matrix of what is computed with: itself, or its conversion in `room`.
fn widened<'a, T, A>(cpu: &Cpu<T>, a: Matrix<'a, A>, room: &'a mut [T::Accum]) -> Matrix<'a, T::Accum>
where
    T: CpuElement,
    A: CpuElement<Number = T::Number>,
{
    let Matrix { data, strides } = a;
    if let Some(data) = A::as_wide(data) {
        return Matrix { data, strides };
    }
    cpu.for_each_part(chunks(room, CHUNK), |i, to: &mut [T::Accum]| {
        for (to, from) in to.iter_mut().zip(&data[i * CHUNK..]) {
            *to = from.to_accum();
        }
    });
    Matrix { data: room, strides }
}

/// `c` \[m, n\], rows `pitch` apart, = a \[m, k\] * b \[k, n\].
///
/// # Safety
/// The matrices have so many elements; nobody else uses those of `c`.
unsafe fn multiply<R: CpuReal>(
    [m, k, n]: [usize; 3],
    a: (*const R, [isize; 2]),
    b: (*const R, [isize; 2]),
    c: *mut R,
    pitch: usize,
) {
    let ((a, [a_row, a_column]), (b, [b_row, b_column]), pitch) = (a, b, pitch as isize);
    // SAFETY: the caller's promise; the type of a real number is what its DTYPE says.
    unsafe {
        match R::DTYPE {
            DType::F64 => {
                let (a, b, c) = (a.cast(), b.cast(), c.cast());
                matrixmultiply::dgemm(m, k, n, 1.0, a, a_row, a_column, b, b_row, b_column, 0.0, c, pitch, 1);
            }
            _ => {
                assert!(R::DTYPE == DType::F32, "real numbers are f32 or f64");
                let (a, b, c) = (a.cast(), b.cast(), c.cast());
                matrixmultiply::sgemm(m, k, n, 1.0, a, a_row, a_column, b, b_row, b_column, 0.0, c, pitch, 1);
            }
        }
    }
}

impl<T: Copy> Matrix<'_, T> {
    /// The first element of a row, and how far it is to the next row and column.
    fn at_row(&self, row: usize) -> (*const T, [isize; 2]) {
        (self.data[self.start(row * self.strides[0])..].as_ptr(), self.strides.map(|stride| stride as isize))
    }

    /// The first element of a column, and how far it is to the next row and column.
    fn at_column(&self, column: usize) -> (*const T, [isize; 2]) {
        (self.data[self.start(column * self.strides[1])..].as_ptr(), self.strides.map(|stride| stride as isize))
    }

    /// `at`, or the end of a matrix without elements.
    fn start(&self, at: usize) -> usize {
        at.min(self.data.len())
    }
}
