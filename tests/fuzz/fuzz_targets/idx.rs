//! The images and labels of an MNIST-format file.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok([count, height, width]) = cnn_data::fuzzing::idx_images(bytes) {
        assert!(count * height * width <= bytes.len());
    }
    if let Ok(count) = cnn_data::fuzzing::idx_labels(bytes) {
        assert!(count <= bytes.len());
    }
});
