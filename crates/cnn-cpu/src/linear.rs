//! Dense layers: matrix products, and for a few rows a pass over the weights.
//!
//! A product of few rows is bound by reading the weight once, and packing it for the product would read and write it
//! twice more.

use cnn_core::Result;
use cnn_core::backend::{self, Data, LinearSpec, Wide};

use crate::activation::activate;
use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::gemm::{Matrix, gemm};
use crate::kernel::epilogue::{Epilogue, Total, late};
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::{CHUNK, chunks};
use cnn_core::backend::check;

/// Most rows of the pass over the weights.
const FEW: usize = 4;

pub(crate) fn linear<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &LinearSpec,
    x: &Data<Cpu<T>>,
    weight: &Wide<Cpu<T>>,
    epilogue: backend::Epilogue<'_, Cpu<T>>,
) -> Result<Data<Cpu<T>>> {
    let LinearSpec { rows, inputs, outputs } = *spec;
    check::length("the input", x.len(), check::numel(rows, inputs)?)?;
    check::length("the weight", weight.len(), check::numel(inputs, outputs)?)?;
    let mut y = cpu.alloc(check::numel(rows, outputs)?)?;
    let late = late(&epilogue);
    let epilogue = Epilogue::new(&epilogue, y.len(), outputs)?;
    let (out, x, weight) = (y.make_mut()?, x.as_slice(), weight.as_slice());
    if rows <= FEW {
        few_rows(cpu, spec, x, weight, epilogue, out)?;
    } else {
        let (x, weight) = (Matrix::rows(x, inputs), Matrix::rows(weight, outputs));
        gemm(cpu, [rows, inputs, outputs], x, weight, epilogue, out)?;
    }
    match late {
        Some(activation) => activate(cpu, activation, y),
        None => Ok(y),
    }
}

pub(crate) fn linear_backward_data<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &LinearSpec,
    dy: &Data<Cpu<T>>,
    weight: &Wide<Cpu<T>>,
) -> Result<Data<Cpu<T>>> {
    let LinearSpec { rows, inputs, outputs } = *spec;
    check::length("the gradient", dy.len(), check::numel(rows, outputs)?)?;
    check::length("the weight", weight.len(), check::numel(inputs, outputs)?)?;
    let mut dx = cpu.alloc(check::numel(rows, inputs)?)?;
    let (dy, weight) = (Matrix::rows(dy.as_slice(), outputs), Matrix::rows(weight.as_slice(), outputs).transposed());
    gemm(cpu, [rows, outputs, inputs], dy, weight, Epilogue::none(), dx.make_mut()?)?;
    Ok(dx)
}

pub(crate) fn linear_backward_weight<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &LinearSpec,
    dy: &Data<Cpu<T>>,
    x: &Data<Cpu<T>>,
) -> Result<Wide<Cpu<T>>> {
    let LinearSpec { rows, inputs, outputs } = *spec;
    check::length("the gradient", dy.len(), check::numel(rows, outputs)?)?;
    check::length("the input", x.len(), check::numel(rows, inputs)?)?;
    let mut dw = cpu.alloc(check::numel(inputs, outputs)?)?;
    let (x, dy) = (Matrix::rows(x.as_slice(), inputs).transposed(), Matrix::rows(dy.as_slice(), outputs));
    gemm(cpu, [inputs, rows, outputs], x, dy, Epilogue::none(), dw.make_mut()?)?;
    Ok(dw)
}

/// The product of up to [`FEW`] rows, the inputs cut into parts whose products are added in their order.
fn few_rows<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &LinearSpec,
    x: &[T],
    weight: &[T::Accum],
    epilogue: Epilogue<'_, T>,
    y: &mut [T],
) -> Result<()> {
    let LinearSpec { inputs, outputs, .. } = *spec;
    if y.is_empty() {
        return Ok(());
    }
    let part = (2 * CHUNK / outputs).max(1);
    let mut products = cpu.scratch::<T::Accum>(inputs.div_ceil(part) * y.len())?;
    cpu.for_each_part(chunks(&mut products, y.len()), |i, y: &mut [T::Accum]| {
        let range = i * part..((i + 1) * part).min(inputs);
        let weight = &weight[range.start * outputs..range.end * outputs];
        match spec.rows {
            1 => cpu.run(FewRows::<T, 1> { x: [&x[range]], weight, y }),
            2 => cpu.run(FewRows { x: [0, 1].map(|row| &x[row * inputs..][range.clone()]), weight, y }),
            3 => cpu.run(FewRows { x: [0, 1, 2].map(|row| &x[row * inputs..][range.clone()]), weight, y }),
            _ => cpu.run(FewRows { x: [0, 1, 2, 3].map(|row| &x[row * inputs..][range.clone()]), weight, y }),
        }
    });
    cpu.run(Total { sums: &products, epilogue, start: 0, of: y.len(), channels: outputs, y });
    Ok(())
}

/// `y` \[R, outputs\] = `x` \[R, inputs\] times `weight` \[inputs, outputs\].
struct FewRows<'a, T: CpuElement, const R: usize> {
    x: [&'a [T]; R],
    weight: &'a [T::Accum],
    y: &'a mut [T::Accum],
}

impl<T: CpuElement, const R: usize> SimdKernel for FewRows<'_, T, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let FewRows { x, weight, y } = self;
        let (lanes, outputs) = (V::<T, S>::LANES, y.len() / R);
        // As wide as the accumulators have registers: long pieces of each row of the weight.
        let widest = if R <= 2 { outputs / (8 * lanes) * 8 * lanes } else { 0 };
        for o in (0..widest).step_by(8 * lanes) {
            columns::<T, S, R, 8>(simd, x, weight, y, [o, lanes]);
        }
        let (wide, single) = (outputs / (4 * lanes) * 4 * lanes, outputs / lanes * lanes);
        for o in (widest..wide).step_by(4 * lanes) {
            columns::<T, S, R, 4>(simd, x, weight, y, [o, lanes]);
        }
        for o in (wide..single).step_by(lanes) {
            columns::<T, S, R, 1>(simd, x, weight, y, [o, lanes]);
        }
        if single < outputs {
            columns::<T, S, R, 1>(simd, x, weight, y, [single, outputs - single]);
        }
    }
}

/// `C` vectors of outputs from `o` on, each of `n` lanes.
#[inline(always)]
fn columns<T: CpuElement, S: Simd, const R: usize, const C: usize>(
    simd: S,
    x: [&[T]; R],
    weight: &[T::Accum],
    y: &mut [T::Accum],
    [o, n]: [usize; 2],
) {
    let outputs = y.len() / R;
    let mut sums = [[V::<T, S>::zero(simd); C]; R];
    for (i, weight) in weight.chunks_exact(outputs).enumerate() {
        for c in 0..C {
            let w = V::<T, S>::read(simd, &weight[o + c * n..][..n]);
            for r in 0..R {
                sums[r][c] = w.mul_add(V::<T, S>::splat(simd, x[r][i].to_accum()), sums[r][c]);
            }
        }
    }
    for r in 0..R {
        for c in 0..C {
            sums[r][c].write(&mut y[r * outputs + o + c * n..][..n]);
        }
    }
}
