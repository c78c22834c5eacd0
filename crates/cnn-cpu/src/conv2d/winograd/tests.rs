//! Which convolutions the algorithm is taken for.

use cnn_core::{Conv2dOptions, Conv2dSpec};

/// Where it has few channels its transforms round more than direct convolution does, and where it has few tiles or wastes
/// them it is slower.
#[test]
fn auto_takes_it_for_large_layers_alone() {
    let same = Conv2dOptions::square(3).padding(1);
    let pays = |input, k, options: Conv2dOptions| super::pays(&Conv2dSpec::new(input, k, &options).unwrap(), false);
    for (input, k, options) in [
        ([8, 32, 32, 3], 64, same),
        ([8, 32, 32, 64], 3, same),
        ([8, 32, 32, 31], 64, same),
        ([8, 32, 32, 64], 31, same),
        ([8, 32, 32, 16], 16, same),
        ([1, 8, 8, 64], 64, same),    // 4 tiles
        ([64, 1, 1, 64], 64, same),   // one output of 16 in each tile
        ([64, 2, 2, 256], 256, same), // 4 of 16
        ([8, 32, 32, 64], 64, same.dilation(2)),
        ([8, 32, 32, 64], 64, same.groups(2)),
        ([8, 32, 32, 64], 64, same.stride(3)),
        ([8, 32, 32, 64], 64, same.stride(2).padding(2)),
        ([8, 32, 32, 64], 64, Conv2dOptions::square(5).padding(2)),
        ([8, 32, 32, 64], 64, Conv2dOptions::square(1)),
        ([8, 32, 32, 64], 64, Conv2dOptions { kernel: [3, 1], ..same }),
    ] {
        assert!(!pays(input, k, options), "{input:?} to {k}, {options:?}");
    }
    for (input, k, options) in [
        ([8, 32, 32, 32], 32, same),
        ([8, 16, 16, 64], 128, same.stride(2)),
        // The smallest: tests/conv2d/winograd.rs has how much they are rounded.
        ([1, 16, 16, 32], 32, same),
        ([4, 8, 8, 32], 40, same),
        ([2, 32, 32, 33], 32, same.stride(2)),
    ] {
        assert!(pays(input, k, options), "{input:?} to {k}, {options:?}");
    }
}
