//! A picture file of any format: decoded or refused, within the budget of memory that libfuzzer watches.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = cnn_data::fuzzing::picture(bytes);
});
