//! C = alpha * A * B + beta * C, for matrices of any strides.

use crate::Cpu;
use crate::element::CpuElement;
use crate::threads::chunks;

/// A matrix that is read: element (i, j) is `data[i * strides[0] + j * strides[1]]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    /// The elements.
    pub(crate) data: &'a [T],
    /// Elements from one row to the next, and from one column to the next.
    pub(crate) strides: [usize; 2],
}

impl<'a, T> Matrix<'a, T> {
    /// `data` \[_, columns\], one row after the other.
    pub(crate) fn rows(data: &'a [T], columns: usize) -> Self {
        Matrix { data, strides: [columns, 1] }
    }

    /// The same elements as its transpose.
    pub(crate) fn transposed(self) -> Self {
        Matrix { strides: [self.strides[1], self.strides[0]], ..self }
    }
}

/// Multiplications that are worth a task.
const TASK: usize = 1 << 18;

/// `c` \[m, n\] = alpha * `a` \[m, k\] * `b` \[k, n\] + beta * `c`. When beta is 0, `c` is not read.
pub(crate) fn gemm<T: CpuElement>(
    cpu: &Cpu<T>,
    [m, k, n]: [usize; 3],
    alpha: T,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    beta: T,
    c: &mut [T],
) {
    assert_eq!(c.len(), m * n);
    for (matrix, rows, columns) in [(a, m, k), (b, k, n)] {
        let last = rows.saturating_sub(1) * matrix.strides[0] + columns.saturating_sub(1) * matrix.strides[1];
        assert!(rows * columns == 0 || last < matrix.data.len(), "a matrix reaches past its elements");
    }
    if c.is_empty() {
        return;
    }
    // Blocks of rows, by the shape alone.
    let rows = (TASK / (k * n).max(1)).clamp(8, 512).next_multiple_of(8).min(m);
    cpu.for_each_part(chunks(c, rows * n), |i, c| {
        let stride = |s: usize| isize::try_from(s).expect("a slice has no more elements than isize::MAX");
        // SAFETY: the asserts above bound every element of A and B that these rows reach; c is rows of n elements.
        unsafe {
            T::gemm(
                [c.len() / n, k, n],
                alpha,
                (a.data.as_ptr().add(if k == 0 { 0 } else { i * rows * a.strides[0] }), a.strides.map(stride)),
                (b.data.as_ptr(), b.strides.map(stride)),
                beta,
                (c.as_mut_ptr(), [stride(n), 1]),
            );
        }
    });
}
