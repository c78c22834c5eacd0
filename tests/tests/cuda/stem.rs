//! Convolutions of few channels are right, and are given to the kernels that are made for them.

use std::collections::BTreeSet;

use cnn_cuda::{Cuda, CudaElement, Tile};
use cnn_tests::{cases, check_all};
use half::bf16;

use crate::conformance::bound;
use crate::device::{own_products, tf32};

/// Every stem in tiles of both sizes. Of f32 four channels are a whole chunk, so nothing here has as many.
fn stems<T: CudaElement>(open: impl Fn(Option<Tile>) -> Option<Cuda<T>>) {
    let mut used = BTreeSet::new();
    for case in cases::conv2d_stems() {
        for tile in [Tile::Small, Tile::Narrow] {
            // A device of its own, as it is asked for all kernels that it has used.
            let Some(cuda) = open(Some(tile)) else { return };
            check_all(bound(&cuda), std::slice::from_ref(&case), &[vec![cuda.clone()]])
                .unwrap_or_else(|error| panic!("{error}"));
            let mut kernels = cuda.kernels();
            kernels.retain(|name| name.contains("forward") || name.contains("weight"));
            assert!(kernels.iter().all(|name| name.starts_with("stem_")), "{kernels:?} for {case:?}");
            used.extend(kernels.into_iter().map(str::to_owned));
        }
    }
    let all = ["forward_any", "forward_narrow", "forward_small", "weight_any", "weight_small"];
    assert_eq!(used, all.iter().map(|name| format!("stem_{name}")).collect());
}

#[test]
fn in_f32() {
    stems::<f32>(own_products);
}

#[test]
#[ignore = "half a minute and more: cargo xtask check --deep"]
fn in_tf32() {
    stems(tf32);
}

#[test]
fn in_bf16() {
    stems::<bf16>(own_products);
}
