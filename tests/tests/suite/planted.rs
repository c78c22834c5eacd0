//! Negative controls: the suite finds every planted fault, and nothing where there is none.

use cnn_tests::faulty::{Fault, Faulty};
use cnn_tests::{Bound, Effort, cases, check};

/// A test for each kind of case: without a fault it passes, and each fault fails it.
macro_rules! planted {
    ($($case:ident: $($fault:ident)*;)*) => { $(
        #[test]
        fn $case() {
            let run = |fault| {
                let effort = Effort { shrink: 0, ..Effort::ordinary() };
                check(effort, Bound(1e-12), cases::$case(), &[vec![Faulty::new(fault)]])
            };
            assert_eq!(run(Fault::None), Ok(()));
            $( assert!(run(Fault::$fault).is_err(), "{:?} was not found", Fault::$fault); )*
        }
    )* };
}

planted! {
    memory: FillForgetsLast;
    images: ImagesFlipTheOffset ImagesForgetReflection ImagesForgetCutout ImagesTakeAnyIndex MixForgetsPatch MixTakesTheNext;
    conv2d: Conv2dDropsTheLastTap Conv2dSwapsPadding Conv2dForgetsBias Conv2dForgetsReluOfInput Conv2dForgetsCeilingOfInput
        Conv2dForgetsResidual Conv2dAddsResidualAfterRelu Conv2dMomentsWithoutBias Conv2dForwardFilterIsStale DataGradientSwapsStrides
        DataGradientForgetsAccumulate DataGradientForgetsMask WeightGradientMissesLastImage WeightGradientShiftsDilation;
    statistics: MomentsUnbiased MomentsCancel RunningVarianceBiased RunningTakesNan EvalForgetsEps;
    normalise: NormaliseForgetsResidual NormaliseAddsResidualAfterRelu NormBackwardForgetsMean
        NormBackwardForgetsRowsInEval NormBackwardMaskIsShifted NormBackwardForgetsCeiling NormBackwardForgetsCeilingOfOutput
        NormBackwardLeavesDyUnmasked SharedGradientIsUnmasked;
    layer_norm: LayerNormForgetsEps LayerNormForgetsBeta LayerNormGradientForgetsGamma LayerNormGradientForgetsMeans;
    elementwise: ReluLosesNan ReluGradientAtZero GeluByTanh Relu6Above6 SiluSlopeIsTheSigmoid HardswishSlopeAtItsEnds
        HardsigmoidSlopeAtItsEnds DropoutUnscaled DropoutMaskOffByOne DropoutSharesNothing AddIgnoresLast;
    adaptive_pool2d: AdaptiveWindowsDoNotOverlap;
    pool2d: MaxPoolTakesLastOfEqual MaxPoolIgnoresNan MaxPoolGradientOverwrites AvgPoolCountsPadding
        AvgPoolGradientUncounted;
    scale_channels: ScaleTakesTheFirstImagesFactors ScaleGradientForgetsX;
    concat: ConcatTurnsTheParts SliceGradientLeavesTheRest ShuffleIsTheOther;
    linear: LinearForgetsBias LinearForgetsRelu LinearGradientMissesLastRow SumMissesLastRow;
    loss: SoftmaxOverflows SoftmaxGradientForgetsSum CrossEntropyForgetsSmoothing CrossEntropyForgetsOther CrossEntropySums
        CrossEntropyForgetsWeights CrossEntropyMeanOverRows CrossEntropyTakesLastOfEqual;
    binary_loss: BinaryCrossEntropyForgetsWeights BinaryCrossEntropyMeanOverRows BinaryCrossEntropySaysNoAtZero;
    optimiser: HealthIgnoresLoss SgdForgetsNesterov SgdForgetsClipping SgdForgetsLrScale SgdIgnoresHealth
        AdamForgetsBiasCorrection AdamCouplesDecay AdamForgetsEps AdamCountsForAll AdamCountsRefusedSteps BlendForgetsFactor BlendSwapsFactors;
}
