//! A CIFAR-10 or CIFAR-100 file.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for (fine, record) in [(false, 3073), (true, 3074)] {
        if let Ok(count) = cnn_data::fuzzing::cifar(bytes, fine) {
            assert_eq!(count * record, bytes.len());
        }
    }
});
