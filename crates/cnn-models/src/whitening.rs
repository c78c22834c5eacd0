//! The filters that make the patches of images white: uncorrelated, and each of about the same variance.

use cnn_core::{Real, Result, Shape};

/// Filters \[side, side, channels, 2 * side * side * channels\] for the patches of images \[N, H, W, channels\]: eigenvectors of
/// the patches' second moments, the largest eigenvalue's first, each divided by the root of its eigenvalue plus `eps`; and
/// the negatives of all.
///
/// # Errors
/// Values that are no images.
pub(crate) fn whitening<T: Real>(images: &[T], shape: Shape, side: usize, eps: f64) -> Result<Vec<T>> {
    let [n, h, w, c] = shape.image_batch("images to whiten")?;
    let size = side * side * c;
    let mut moments = vec![vec![0.0; size]; size];
    let mut patch = vec![0.0; size];
    let mut count = 0.0f64;
    for image in 0..n {
        for row in 0..(h + 1).saturating_sub(side) {
            for column in 0..(w + 1).saturating_sub(side) {
                for (i, value) in patch.iter_mut().enumerate() {
                    let (y, x, channel) = (row + i / (side * c), column + i / c % side, i % c);
                    *value = images[((image * h + y) * w + x) * c + channel].as_f64();
                }
                for (i, row) in moments.iter_mut().enumerate() {
                    row.iter_mut().zip(&patch).for_each(|(moment, value)| *moment += patch[i] * value);
                }
                count += 1.0;
            }
        }
    }
    moments.iter_mut().flatten().for_each(|moment| *moment /= count.max(1.0));
    let mut components = eigen(moments);
    components.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut filters = vec![T::zero(); size * 2 * size];
    for (k, (value, vector)) in components.iter().enumerate() {
        let scale = 1.0 / (value.max(0.0) + eps).sqrt();
        for (i, component) in vector.iter().enumerate() {
            filters[i * 2 * size + k] = T::from_f64(component * scale);
            filters[i * 2 * size + size + k] = T::from_f64(-component * scale);
        }
    }
    Ok(filters)
}

/// Sweeps after which the method has converged for any matrix of doubles.
const SWEEPS: usize = 50;

/// Eigenvalues and eigenvectors of a symmetric matrix, by Jacobi's rotations (G. Golub, C. Van Loan, "Matrix Computations",
/// section 8.5). A vector's largest component is positive, so that it is always the same one.
fn eigen(mut a: Vec<Vec<f64>>) -> Vec<(f64, Vec<f64>)> {
    let n = a.len();
    let mut vectors: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for _ in 0..SWEEPS {
        let off: f64 = (0..n).map(|i| (0..i).map(|j| a[i][j] * a[i][j]).sum::<f64>()).sum();
        let all: f64 = a.iter().flatten().map(|x| x * x).sum();
        if off <= all * 1e-30 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q] == 0.0 {
                    continue;
                }
                let tau = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let tangent = tau.signum() / (tau.abs() + (1.0 + tau * tau).sqrt());
                let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
                let sine = tangent * cosine;
                let rotate = |x: f64, y: f64| (cosine * x - sine * y, sine * x + cosine * y);
                for row in &mut a {
                    (row[p], row[q]) = rotate(row[p], row[q]);
                }
                for k in 0..n {
                    (a[p][k], a[q][k]) = rotate(a[p][k], a[q][k]);
                }
                for row in &mut vectors {
                    (row[p], row[q]) = rotate(row[p], row[q]);
                }
            }
        }
    }
    let vector = |k: usize| {
        let vector: Vec<f64> = vectors.iter().map(|row| row[k]).collect();
        let largest = vector.iter().fold(0.0f64, |best, &x| if x.abs() > best.abs() { x } else { best });
        vector.into_iter().map(|x| if largest < 0.0 { -x } else { x }).collect()
    };
    (0..n).map(|k| (a[k][k], vector(k))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvectors_are_orthonormal_and_give_the_matrix_again() {
        for n in [1, 2, 5, 12] {
            let x: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| ((i * 7 + j * 3) as f64).sin()).collect()).collect();
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            let matrix: Vec<Vec<f64>> = x.iter().map(|a| x.iter().map(|b| dot(a, b)).collect()).collect();
            let found = eigen(matrix.clone());
            for (i, (_, a)) in found.iter().enumerate() {
                for (j, (_, b)) in found.iter().enumerate() {
                    assert!((dot(a, b) - f64::from(u8::from(i == j))).abs() < 1e-12, "{n}: {i}, {j}");
                }
            }
            for i in 0..n {
                for j in 0..n {
                    let again: f64 = found.iter().map(|(value, vector)| value * vector[i] * vector[j]).sum();
                    assert!((again - matrix[i][j]).abs() < 1e-10, "{n}: {i}, {j}");
                }
            }
        }
    }
}
