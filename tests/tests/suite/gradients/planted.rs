//! Negative controls: a backward pass that is wrong is found out by the differences.

use cnn_tests::faulty::{Fault, Faulty};

use super::{blocks, layers, ops};

/// A test for each check: it passes without a fault, and each fault fails it.
macro_rules! planted {
    ($($module:ident $check:ident: $($fault:ident)*;)*) => { $(
        #[test]
        fn $check() {
            let run = |fault| $module::$check(&Faulty::new(fault));
            assert_eq!(run(Fault::None), Ok(()));
            $( assert!(run(Fault::$fault).is_err(), "{:?} was not found", Fault::$fault); )*
        }
    )* };
}

planted! {
    layers conv2d: DataGradientSwapsStrides WeightGradientMissesLastImage WeightGradientShiftsDilation SumMissesLastRow;
    layers linear: LinearGradientMissesLastRow;
    layers batch_norm2d_in_training: MomentsUnbiased NormBackwardForgetsMean NormBackwardMaskIsShifted NormBackwardForgetsCeiling
        NormBackwardForgetsCeilingOfOutput
        NormBackwardLeavesDyUnmasked;
    layers batch_norm2d_in_evaluation: NormBackwardForgetsRowsInEval;
    layers layer_norm: LayerNormGradientForgetsGamma LayerNormGradientForgetsMeans;
    layers layer_scale: ScaleGradientForgetsX;
    blocks conv_norm_in_training: DataGradientForgetsMask NormBackwardForgetsMean SharedGradientIsUnmasked;
    blocks unwritten_value_read_by_many: DataGradientForgetsAccumulate;
    ops max_pool2d: MaxPoolGradientOverwrites;
    ops avg_pool2d: AvgPoolGradientUncounted AvgPoolCountsPadding;
    ops gelu: GeluByTanh;
    ops activations: SiluSlopeIsTheSigmoid Relu6Above6;
    ops scale_channels: ScaleGradientForgetsX;
    ops slice_channels: SliceGradientLeavesTheRest;
    ops softmax: SoftmaxGradientForgetsSum;
    ops cross_entropy: CrossEntropySums;
    ops binary_cross_entropy: BinaryCrossEntropyMeanOverRows;
}
