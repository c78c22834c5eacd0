//! Comparisons that say what was expected and what came.

use cnn_core::DType;

use crate::lab::{Kind, Output, Rule};

/// The largest error that passes: ||got - expected|| / ||expected||.
#[derive(Clone, Copy, Debug)]
pub struct Bound(pub f64);

impl Bound {
    /// What products of tf32 with sums in f32 stay below. A number is rounded by 2^-11 of itself at most and a product of two by
    /// 2^-10; errors of either sign add up as the products do, so a sum is off by no larger a part of its usual size.
    pub const TF32: Bound = Bound(1e-3);

    /// What direct sums in this element's accumulator stay below.
    pub fn of(dtype: DType) -> Self {
        Bound(match dtype {
            DType::F64 => 1e-12,
            DType::F32 => 2e-6,
            DType::BF16 | DType::F16 => 6e-3,
        })
    }
}

/// Compares an output with the oracle's. The two zeros are equal, and so are all NaNs.
pub fn compare(got: &Output, expected: &Output, kind: Kind, bound: Bound) -> Result<(), String> {
    same_length(got, expected)?;
    let exact = expected.rule == Rule::Exact || expected.rule == Rule::ExactOnIntegers && kind == Kind::Integers;
    let equal = |g: f64, e: f64| g == e || g.is_nan() && e.is_nan();
    let pairs = || got.values.iter().copied().zip(expected.values.iter().copied());
    if exact {
        return match pairs().position(|(g, e)| !equal(g, e)) {
            Some(i) => Err(format!("{} (exactly)", differs(got, expected, i))),
            None => Ok(()),
        };
    }
    // An infinity or NaN on one side only makes its difference NaN or infinite, and that the error.
    let difference = |(g, e): (f64, f64)| if equal(g, e) { 0.0 } else { (g - e).abs() };
    let error = pairs().map(|pair| difference(pair).powi(2)).sum::<f64>().sqrt();
    let finite = expected.values.iter().filter(|e| e.is_finite());
    let norm = finite.map(|e| e * e).sum::<f64>().sqrt().max(expected.scale);
    if error <= bound.0 * norm {
        return Ok(());
    }
    let badness = |i: usize| Some(difference((got.values[i], expected.values[i]))).filter(|d| !d.is_nan());
    let badness = |i: usize| badness(i).unwrap_or(f64::INFINITY);
    let worst = (0..got.values.len()).max_by(|&a, &b| badness(a).total_cmp(&badness(b))).unwrap_or(0);
    let relative = error / norm;
    Err(format!("{} (relative error {relative:.3e}, bound {:.0e})", differs(got, expected, worst), bound.0))
}

/// Refuses outputs of which any bit differs (in any NaN as in any other).
pub fn same_bits(got: &Output, expected: &Output) -> Result<(), String> {
    same_length(got, expected)?;
    let differing = (0..got.values.len()).find(|&i| {
        let (g, e) = (got.values[i], expected.values[i]);
        g.to_bits() != e.to_bits() && !(g.is_nan() && e.is_nan())
    });
    match differing {
        Some(i) => Err(format!("{} (bit for bit)", differs(got, expected, i))),
        None => Ok(()),
    }
}

fn same_length(got: &Output, expected: &Output) -> Result<(), String> {
    match (got.values.len(), expected.values.len()) {
        (g, e) if g == e && got.name == expected.name => Ok(()),
        (g, e) => Err(format!("got {} of length {g}, expected {} of length {e}", got.name, expected.name)),
    }
}

/// Element `i`, with its neighbours in both.
fn differs(got: &Output, expected: &Output, i: usize) -> String {
    let near = i.saturating_sub(2)..(i + 3).min(got.values.len());
    let (g, e) = (&got.values[near.clone()], &expected.values[near.clone()]);
    let n = got.values.len();
    format!(
        "{}[{i}] of {n}: got {:?}, expected {:?}; {near:?} got {g:?}, expected {e:?}",
        got.name, got.values[i], expected.values[i]
    )
}
