//! The whole problem of an operation, checked once.
//!
//! A spec can only be made by its constructor, which owns the shape algebra and the error text; kernels read plain
//! numbers and fail only for reasons of their device.

mod conv2d;
mod dropout;
mod norm;
mod pool2d;
mod window;

pub use conv2d::{Conv2dOptions, Conv2dSpec};
pub use dropout::DropoutSpec;
pub use norm::{BatchNormSpec, LayerNormSpec};
pub use pool2d::{Pool2dOptions, Pool2dSpec};
pub use window::Padding;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_by_step_networks_shapes() {
        let conv = Conv2dSpec::new([1, 32, 32, 3], 32, &Conv2dOptions::square(3)).unwrap();
        assert_eq!(conv.output_shape(), [1, 30, 30, 32]);
        let pool = Pool2dSpec::new(conv.output_shape(), &Pool2dOptions::square(2)).unwrap();
        assert_eq!(pool.output_shape(), [1, 15, 15, 32]);
    }
}
