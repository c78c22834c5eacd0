//! Every operation against plain loops, see [`cnn_tests::check`].

use cnn_core::{Device, Element};
use cnn_cuda::{Cuda, CudaElement, Tile};
use cnn_tests::{Bound, Effort, cases, check, check_all};
use half::bf16;

use crate::device::{by_warps, cuda, is_emulated, own_products, tf32};

/// An emulated GPU is slow: fewer cases than of other backends.
fn effort() -> Effort {
    let ordinary = Effort::ordinary();
    Effort { cases: if ordinary.cases <= 64 { ordinary.cases.min(12) } else { ordinary.cases / 10 }, ..ordinary }
}

/// A test for each kind of case and element.
macro_rules! suite {
    ($($name:ident: $element:ident;)*) => { $(
        mod $name {
            use super::*;

            suite! { @tests $element, adaptive_pool2d binary_loss concat elementwise images layer_norm linear loss memory normalise optimiser pool2d scale_channels statistics }
        }
    )* };
    (@tests $element:ident, $($case:ident)*) => { $(
        #[test]
        fn $case() {
            let Some(cuda) = cuda::<$element>() else { return };
            if let Err(error) = check(effort(), Bound::of($element::DTYPE), cases::$case(), &[vec![cuda]]) {
                panic!("{}", error);
            }
        }
    )* };
}

suite! {
    on_f32: f32;
    on_bf16: bf16;
}

/// The crate's own products, in each size of tile: what is small here would never be given the large ones.
macro_rules! tiles {
    ($($name:ident: $device:expr;)*) => { $(
        mod $name {
            use super::*;

            #[test]
            fn conv2d() {
                let Some(cuda) = $device else { return };
                if let Err(error) = check(effort(), bound(&cuda), cases::conv2d(), &[vec![cuda]]) {
                    panic!("{}", error);
                }
            }

            #[test]
            fn linear() {
                let Some(cuda) = $device else { return };
                if let Err(error) = check(effort(), bound(&cuda), cases::linear(), &[vec![cuda]]) {
                    panic!("{}", error);
                }
            }
        }
    )* };
}

/// What products of this device stay below.
pub(crate) fn bound<T: CudaElement>(cuda: &Cuda<T>) -> Bound {
    if cuda.precision() == "tf32" { Bound::TF32 } else { Bound::of(T::DTYPE) }
}

tiles! {
    chosen_f32: own_products::<f32>(None);
    large_f32: own_products::<f32>(Some(Tile::Large));
    narrow_f32: own_products::<f32>(Some(Tile::Narrow));
    chosen_tf32: tf32(None);
    large_tf32: tf32(Some(Tile::Large));
    narrow_tf32: tf32(Some(Tile::Narrow));
    chosen_bf16: own_products::<bf16>(None);
    large_bf16: own_products::<bf16>(Some(Tile::Large));
    narrow_bf16: own_products::<bf16>(Some(Tile::Narrow));
    large_by_warps: by_warps(Some(Tile::Large));
}

/// What GPUs of other compute capabilities than 9.0 are given.
#[test]
#[ignore = "half a minute and more: cargo xtask check --deep"]
fn by_warps_in_every_tile() {
    for tile in [None, Some(Tile::Narrow), Some(Tile::Small)] {
        let Some(cuda) = by_warps(tile) else { return };
        for checked in [
            check(effort(), bound(&cuda), cases::conv2d(), &[vec![cuda.clone()]]),
            check(effort(), bound(&cuda), cases::linear(), &[vec![cuda.clone()]]),
        ] {
            checked.unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// Of many edges those that an emulated GPU tries in an ordinary run: at even distances, the first and the last among them.
fn some<C: Clone>(cases: &[C]) -> Vec<C> {
    const ORDINARY: usize = 24;
    if cases.len() <= ORDINARY || !is_emulated() || Effort::ordinary().cases > 64 {
        return cases.to_vec();
    }
    (0..ORDINARY).map(|i| cases[i * (cases.len() - 1) / (ORDINARY - 1)].clone()).collect()
}

fn edges<T: CudaElement, C: cnn_tests::Case + Clone>(cuda: Option<Cuda<T>>, cases: &[C]) {
    let Some(cuda) = cuda else { return };
    let cases = some(cases);
    check_all(Bound::of(T::DTYPE), &cases, &[vec![cuda]]).unwrap_or_else(|error| panic!("{error}"));
}

/// A test for each list of edges, on both elements.
macro_rules! edges {
    ($($case:ident)*) => {
        mod edges {
            use super::*;

            $(
                #[test]
                fn $case() {
                    edges(cuda::<f32>(), &cases::$case());
                    edges(cuda::<bf16>(), &cases::$case());
                }
            )*

            #[test]
            fn linear_edges_of_own_products() {
                edges(own_products::<f32>(None), &cases::linear_edges());
                edges(own_products::<bf16>(None), &cases::linear_edges());
            }
        }
    };
}

edges! {
    binary_loss_edges concat_edges conv2d_edges elementwise_edges images_edges layer_norm_edges linear_edges loss_edges normalise_edges optimiser_edges pool2d_edges
    scale_channels_edges special_logits special_rows statistics_edges
}
