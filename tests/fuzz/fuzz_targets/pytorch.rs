//! A file of `torch.save`: whatever it holds, what is read of it is whole, and can be written.
#![no_main]

use cnn_core::pytorch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(archive) = pytorch::from_bytes(bytes) else { return };
    archive.to_bytes().expect("what was read can be written");
});
