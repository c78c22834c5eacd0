//! A file of labels: read or refused, as a table and as lines of JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = cnn_data::fuzzing::labels(bytes);
});
