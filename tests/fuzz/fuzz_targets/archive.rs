//! A compressed archive of a CIFAR set.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = cnn_data::fuzzing::archive(bytes);
});
