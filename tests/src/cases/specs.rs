//! Specs of any numbers: right ones are taken, wrong ones are refused, nothing panics.

use cnn_core::{Conv2dOptions, Conv2dSpec, Padding, Pool2dOptions, Pool2dSpec};
use proptest::prelude::*;
use proptest::sample::select;

/// A size that may be wrong in every way.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![12 => 1usize..=19, 1 => Just(0), 1 => select(vec![1 << 15, 1 << 31, usize::MAX / 2, usize::MAX])]
}

fn small() -> impl Strategy<Value = usize> {
    prop_oneof![20 => 1usize..=3, 1 => Just(0), 1 => select(vec![(1 << 15) + 1, usize::MAX])]
}

fn side() -> impl Strategy<Value = usize> {
    prop_oneof![20 => 0usize..=3, 1 => select(vec![1 << 15, (1 << 15) + 1, usize::MAX])]
}

fn padding() -> impl Strategy<Value = Padding> {
    [side(), side(), side(), side()].prop_map(|[top, left, bottom, right]| Padding { top, left, bottom, right })
}

/// The input, output channels and options of a convolution.
pub type Conv2dArguments = ([usize; 4], usize, Conv2dOptions);

/// Arguments of a convolution, half of them wrong.
pub fn conv2d() -> impl Strategy<Value = Conv2dArguments> {
    let options = ([size(), size()], [small(), small()], [small(), small()], padding(), small()).prop_map(
        |(kernel, stride, dilation, padding, groups)| Conv2dOptions { kernel, stride, dilation, padding, groups },
    );
    ([size(), size(), size(), size()], size(), options)
}

/// The input and options of a pooling.
pub type Pool2dArguments = ([usize; 4], Pool2dOptions);

/// Arguments of a pooling, half of them wrong.
pub fn pool2d() -> impl Strategy<Value = Pool2dArguments> {
    let options = ([size(), size()], [small(), small()], padding(), any::<bool>(), any::<bool>()).prop_map(
        |(window, stride, padding, ceil_mode, count_include_pad)| Pool2dOptions {
            window,
            stride,
            padding,
            ceil_mode,
            count_include_pad,
        },
    );
    ([size(), size(), size(), size()], options)
}

/// The output size on one axis by the definition: how many windows start at multiples of the stride and end inside the
/// padded image, or with `ceil_mode` fewer than a stride behind it, if they begin in front of its far padding. None where there is none,
/// or where a number is not to be taken.
fn windows(input: usize, [window, stride, dilation]: [usize; 3], padding: [usize; 2], ceil_mode: bool) -> Option<u128> {
    let limit = 1 << 15;
    let taken = |v: usize| (1..=limit).contains(&v);
    if input == 0 || !taken(window) || !taken(stride) || !taken(dilation) || padding.iter().any(|&p| p > limit) {
        return None;
    }
    let padded = input as u128 + padding[0] as u128 + padding[1] as u128;
    let reach = dilation as u128 * (window as u128 - 1) + 1;
    let stride = stride as u128;
    let ends = (padded + if ceil_mode { stride - 1 } else { 0 }).checked_sub(reach)? / stride + 1;
    let begins = (input as u128 + padding[0] as u128).div_ceil(stride);
    Some(if ceil_mode { ends.min(begins) } else { ends })
}

/// Whether a tensor of this shape can be addressed, also if it were not empty.
fn fits(dims: &[u128]) -> bool {
    dims.iter().try_fold(1u128, |n, &d| n.checked_mul(d.max(1))).is_some_and(|n| n <= i32::MAX as u128)
}

/// A convolution is taken exactly when it is right, with the output that its definition gives.
pub fn check_conv2d((input, out_channels, options): &Conv2dArguments) -> Result<(), String> {
    let [n, h, w, c] = *input;
    let Conv2dOptions { kernel, stride, dilation, padding: p, groups } = *options;
    let output = || {
        let rows = windows(h, [kernel[0], stride[0], dilation[0]], [p.top, p.bottom], false)?;
        let columns = windows(w, [kernel[1], stride[1], dilation[1]], [p.left, p.right], false)?;
        let (k, c) = (*out_channels, c);
        let divides = groups > 0 && c > 0 && k > 0 && c % groups == 0 && k % groups == 0;
        let wide = |dims: [usize; 4]| dims.map(|d| d as u128);
        let sizes = fits(&wide([n, h, w, c]))
            && fits(&[n as u128, rows, columns, k as u128])
            && divides
            && fits(&wide([kernel[0], kernel[1], c / groups, k]));
        sizes.then_some([rows, columns])
    };
    agree(Conv2dSpec::new(*input, *out_channels, options).map(|spec| spec.output), output())
}

/// A pooling is taken only when it is right, and every window of it holds a pixel.
pub fn check_pool2d((input, options): &Pool2dArguments) -> Result<(), String> {
    let [n, h, w, c] = *input;
    let Pool2dOptions { window, stride, padding: p, ceil_mode, .. } = *options;
    let half = p.top.max(p.bottom) <= window[0] / 2 && p.left.max(p.right) <= window[1] / 2;
    let output = || {
        let rows = windows(h, [window[0], stride[0], 1], [p.top, p.bottom], ceil_mode)?;
        let columns = windows(w, [window[1], stride[1], 1], [p.left, p.right], ceil_mode)?;
        let sizes = fits(&[n as u128, h as u128, w as u128, c as u128]);
        (sizes && half).then_some([rows, columns])
    };
    let spec = Pool2dSpec::new(*input, options);
    agree(spec.as_ref().map(|spec| spec.output), output())?;
    let Ok(spec) = spec else { return Ok(()) };
    spec.check().map_err(|error| error.to_string())?;
    for axis in 0..2 {
        // A side may be huge where there are no images; what can go wrong does so near its ends.
        let windows = spec.output[axis];
        for o in (0..windows.min(50)).chain(windows.saturating_sub(50)..windows) {
            let (pixels, counted) = spec.span(axis, o);
            if pixels.is_empty() || pixels.end > spec.input[axis] || counted < pixels.len() {
                return Err(format!("window {o} of axis {axis} is {pixels:?} and counts {counted} in {spec:?}"));
            }
        }
    }
    Ok(())
}

fn agree(got: Result<[usize; 2], impl std::fmt::Debug>, expected: Option<[u128; 2]>) -> Result<(), String> {
    match (got, expected) {
        (Ok(got), Some(expected)) if got.map(|g| g as u128) == expected => Ok(()),
        (Err(_), None) => Ok(()),
        (got, expected) => Err(format!("got {got:?}, expected {expected:?}")),
    }
}
