//! A weights or state file: what is accepted is written back to a file that is read as the same.
#![no_main]

use cnn_core::archive::Archive;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(archive) = Archive::from_bytes(bytes) else { return };
    let written = archive.to_bytes().expect("what was read can be written");
    let again = Archive::from_bytes(&written).expect("what was written can be read");
    assert_eq!(again.to_bytes().expect("and written again"), written);
});
