//! The shape of a convolution as the kernels take it.

use cnn_core::backend::LinearSpec;
use cnn_core::{Conv2dSpec, Error, Result};

use crate::launch::Argument;

/// As `Conv2dSpec` in `kernels/conv2d.cuh`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Shape {
    batch: i32,
    input: [i32; 2],
    output: [i32; 2],
    in_channels: i32,
    out_channels: i32,
    kernel: [i32; 2],
    stride: [i32; 2],
    dilation: [i32; 2],
    padding: [i32; 2],
    groups: i32,
}

// SAFETY: numbers of one size.
unsafe impl Argument for Shape {}

/// Sizes that the kernels multiply in 32 bits stay below this.
const MOST: usize = 1 << 30;

pub(super) fn number(what: &str, value: usize) -> Result<i32> {
    i32::try_from(value)
        .ok()
        .filter(|_| value < MOST)
        .ok_or_else(|| Error::invalid(what, value, "must be below 2^30 on a GPU: take a smaller batch"))
}

impl Shape {
    /// # Errors
    /// The spec's own, or a size that is too large.
    pub(crate) fn conv2d(spec: &Conv2dSpec) -> Result<Self> {
        spec.check()?;
        let pair = |what, [rows, columns]: [usize; 2]| Ok::<_, Error>([number(what, rows)?, number(what, columns)?]);
        let [kh, kw, depth, _] = spec.weight_shape();
        number("pixels of a convolution's input", spec.batch * spec.input[0] * spec.input[1])?;
        number("pixels of a convolution's output", spec.batch * spec.output[0] * spec.output[1])?;
        number("rows of a convolution's weight", kh * kw * depth)?;
        number("sum of a convolution's input gradient", kh * kw * spec.out_channels)?;
        Ok(Shape {
            batch: number("batch", spec.batch)?,
            input: pair("input side", spec.input)?,
            output: pair("output side", spec.output)?,
            in_channels: number("channels", spec.in_channels)?,
            out_channels: number("channels", spec.out_channels)?,
            kernel: pair("kernel side", spec.kernel)?,
            stride: pair("stride", spec.stride)?,
            dilation: pair("dilation", spec.dilation)?,
            padding: pair("padding", [spec.padding.top, spec.padding.left])?,
            groups: number("groups", spec.groups)?,
        })
    }

    /// A dense layer is the convolution of single pixels.
    ///
    /// # Errors
    /// A size that is too large.
    pub(crate) fn linear(spec: &LinearSpec) -> Result<Self> {
        Ok(Shape {
            batch: number("rows", spec.rows)?,
            input: [1, 1],
            output: [1, 1],
            in_channels: number("features", spec.inputs)?,
            out_channels: number("features", spec.outputs)?,
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            padding: [0, 0],
            groups: 1,
        })
    }

    fn product(numbers: &[i32]) -> usize {
        numbers.iter().map(|&number| number as usize).product()
    }

    /// Images.
    pub(super) fn batch(&self) -> usize {
        self.batch as usize
    }

    /// Rows and columns of an input.
    pub(super) fn input(&self) -> [usize; 2] {
        self.input.map(|side| side as usize)
    }

    /// Rows and columns of an output.
    pub(super) fn output(&self) -> [usize; 2] {
        self.output.map(|side| side as usize)
    }

    /// Rows and columns of a kernel.
    pub(super) fn kernel(&self) -> [usize; 2] {
        self.kernel.map(|side| side as usize)
    }

    /// Rows and columns from one output to the next.
    pub(super) fn stride(&self) -> [usize; 2] {
        self.stride.map(|side| side as usize)
    }

    /// What the gradient of the weight says of its taps to [`Tile::choose`](super::tile::Tile::choose): its kernels have no bits for
    /// them, but count pixels in 32 bits with the padding, which may be very wide.
    pub(super) fn far(&self) -> [usize; 2] {
        let [rows, columns] = [0, 1].map(|axis| self.input()[axis] + 2 * self.padding()[axis]);
        let most = self.batch().checked_mul(rows).and_then(|all| all.checked_mul(columns));
        if most.is_some_and(|most| most < MOST) { [1; 2] } else { [usize::MAX; 2] }
    }

    /// Rows and columns of zeros above and to the left.
    pub(super) fn padding(&self) -> [usize; 2] {
        self.padding.map(|side| side as usize)
    }

    /// Rows and columns from one tap to the next.
    pub(super) fn dilation(&self) -> [usize; 2] {
        self.dilation.map(|side| side as usize)
    }

    /// Rows and columns from the first to the last that an output reads.
    pub(super) fn window(&self) -> [usize; 2] {
        [0, 1].map(|axis| (self.kernel()[axis] - 1) * self.dilation()[axis] + 1)
    }

    /// Rows and columns of the padded input that all outputs read.
    pub(super) fn padded(&self) -> [usize; 2] {
        [0, 1].map(|axis| (self.output()[axis] - 1) * self.stride()[axis] + self.window()[axis])
    }

    /// Each channel by itself.
    pub(super) fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.in_channels && self.groups == self.out_channels
    }

    /// Pixels of all outputs.
    pub(crate) fn output_pixels(&self) -> usize {
        Self::product(&[self.batch, self.output[0], self.output[1]])
    }

    /// Pixels of all inputs in the largest class of equal remainders by the stride, and how many classes there are.
    pub(crate) fn classes(&self) -> (usize, usize) {
        let side = |axis: usize| (self.input[axis] as usize).div_ceil(self.stride[axis] as usize);
        (self.batch as usize * side(0) * side(1), Self::product(&self.stride))
    }

    /// Groups, and channels of each in the input and in the output.
    pub(crate) fn groups(&self) -> (usize, usize, usize) {
        let groups = self.groups as usize;
        (groups, self.in_channels as usize / groups, self.out_channels as usize / groups)
    }

    /// Rows of the weight as a matrix: taps times the channels of a group.
    pub(crate) fn weight_rows(&self) -> usize {
        Self::product(&self.kernel) * self.groups().1
    }

    /// Places of the sum of a number of the input's gradient without strides: taps times the channels of a group.
    pub(super) fn data_sum(&self) -> usize {
        Self::product(&self.kernel) * self.groups().2
    }

    /// Channels of the output.
    pub(crate) fn out_channels(&self) -> usize {
        self.out_channels as usize
    }

    /// Numbers of the input, the weight and the output.
    pub(crate) fn lens(&self) -> [usize; 3] {
        let input = Self::product(&[self.batch, self.input[0], self.input[1], self.in_channels]);
        [input, self.weight_rows() * self.out_channels(), self.output_pixels() * self.out_channels()]
    }
}
