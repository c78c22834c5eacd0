//! Convolutions without strides are right when they read their pixels with a halo, and are given to those kernels.

use cnn_core::DType;
use cnn_cuda::{Cuda, CudaElement, Tile};
use cnn_tests::{cases, check_all};
use half::bf16;

use crate::conformance::bound;
use crate::device::{by_warps, own_products, tf32};

/// Every `each`th case in tiles of a size, by kernels of that name.
fn halos<T: CudaElement>(
    open: impl Fn(Option<Tile>) -> Option<Cuda<T>>,
    (tile, name): (Tile, &str),
    cases: impl Fn(usize) -> bool,
) {
    for (_, case) in cases::conv2d_halos().into_iter().enumerate().filter(|&(i, _)| cases(i)) {
        // A device of its own, as it is asked for all kernels that it has used.
        let Some(cuda) = open(Some(tile)) else { return };
        check_all(bound(&cuda), std::slice::from_ref(&case), &[vec![cuda.clone()]])
            .unwrap_or_else(|error| panic!("{error}"));
        let mut wanted = ["data", "forward"].map(|pass| format!("halo_{pass}_{name}")).to_vec();
        if T::DTYPE == DType::BF16 && case.kernel() == [3, 3] {
            wanted.push("halo_weight".to_owned());
        }
        let mut kernels = cuda.kernels();
        kernels.retain(|name| name.contains("forward") || name.contains("data") || name.starts_with("halo"));
        assert_eq!(kernels, wanted, "{case:?}");
    }
}

const LARGE: (Tile, &str) = (Tile::Halo, "large");
const NARROW: (Tile, &str) = (Tile::NarrowHalo, "narrow");

#[test]
fn in_bf16() {
    halos::<bf16>(by_warps, LARGE, |i| i % 4 == 0);
    halos::<bf16>(by_warps, NARROW, |i| i % 4 == 3);
}

#[test]
#[ignore = "half a minute and more: cargo xtask check --deep"]
fn in_tf32() {
    halos::<f32>(tf32, LARGE, |i| i % 4 == 3);
    halos::<f32>(tf32, NARROW, |i| i % 4 == 0);
}

#[test]
fn by_warpgroups() {
    halos::<bf16>(own_products, LARGE, |i| i % 4 == 1);
    halos::<bf16>(own_products, NARROW, |i| i % 4 == 2);
}

#[test]
#[ignore = "half a minute and more: cargo xtask check --deep"]
fn in_bf16_all() {
    halos::<bf16>(by_warps, LARGE, |_| true);
    halos::<bf16>(by_warps, NARROW, |_| true);
    halos::<bf16>(own_products, LARGE, |_| true);
    halos::<bf16>(own_products, NARROW, |_| true);
}
