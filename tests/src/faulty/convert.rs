//! The same buffers in the structs of the other backend: the structs differ in their type parameter only.

use cnn_core::Naive;
use cnn_core::backend::*;

use super::Faulty;

type Sound = Naive<f64>;

pub(super) fn norm(n: &Norm<Faulty>) -> Norm<Sound> {
    let Norm { x, scale, shift, channels, rectifier } = n.clone();
    Norm { x, scale, shift, channels, rectifier }
}

pub(super) fn input(x: &Input<Faulty>) -> Input<Sound> {
    match x {
        Input::Plain(x) => Input::Plain(x.clone()),
        Input::Norm(n) => Input::Norm(norm(n)),
    }
}

pub(super) fn sound_epilogue(epilogue: Epilogue<'_, Faulty>) -> Epilogue<'_, Sound> {
    let Epilogue { bias, residual, activation } = epilogue;
    Epilogue { bias, residual, activation }
}

/// To whichever of the two backends.
fn mask<A: Device, B: Device>(mask: NormMask<A>) -> NormMask<B>
where
    Wide<A>: Into<Wide<B>>,
{
    let NormMask { scale, shift, rectifier } = mask;
    NormMask { scale: scale.into(), shift: shift.into(), rectifier }
}

pub(super) fn norm_gradient(gradient: &NormGradient<Faulty>) -> NormGradient<Sound> {
    let NormGradient { dy, x, dy_scale, x_scale, shift, mask, channels } = gradient;
    NormGradient {
        dy: dy.clone(),
        x: x.clone(),
        dy_scale: dy_scale.clone(),
        x_scale: x_scale.clone(),
        shift: shift.clone(),
        mask: mask.clone().map(self::mask),
        channels: *channels,
    }
}

pub(super) fn gradient(dy: &Gradient<Faulty>) -> Gradient<Sound> {
    match dy {
        Gradient::Plain(dy) => Gradient::Plain(dy.clone()),
        Gradient::Norm(gradient) => Gradient::Norm(norm_gradient(gradient)),
    }
}

pub(super) fn moments(m: &Moments<Faulty>) -> Moments<Sound> {
    Moments { mean: m.mean.clone(), variance: m.variance.clone() }
}

pub(super) fn stats(s: &NormStats<Faulty>) -> NormStats<Sound> {
    let NormStats { mean, inv_std, scale, shift } = s;
    NormStats { mean: mean.clone(), inv_std: inv_std.clone(), scale: scale.clone(), shift: shift.clone() }
}

pub(super) fn health(h: &Health<Faulty>) -> Health<Sound> {
    Health { norm: h.norm.clone(), finite: h.finite.clone() }
}

pub(super) fn faulty_moments(m: Moments<Sound>) -> Moments<Faulty> {
    Moments { mean: m.mean, variance: m.variance }
}

pub(super) fn faulty_stats(s: NormStats<Sound>) -> NormStats<Faulty> {
    let NormStats { mean, inv_std, scale, shift } = s;
    NormStats { mean, inv_std, scale, shift }
}

pub(super) fn faulty_back(result: NormBackward<Sound>) -> NormBackward<Faulty> {
    let NormBackward { dx, dgamma, dbeta } = result;
    let NormGradient { dy, x, dy_scale, x_scale, shift, mask, channels } = dx;
    let mask = mask.map(self::mask);
    NormBackward { dx: NormGradient { dy, x, dy_scale, x_scale, shift, mask, channels }, dgamma, dbeta }
}
