//! What is in a file, as one number.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// The SHA-256 of the last `tail` bytes of the file at `path`, or of all.
pub(crate) fn sha256(path: &Path, tail: Option<u64>) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    if let Some(tail) = tail {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(tail)))?;
    }
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            length => hasher.update(&buffer[..length]),
        }
    }
}
