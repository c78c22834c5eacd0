//! Files that are the same, byte for byte.

use crate::pool::Pool;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A file and its length.
#[derive(Clone, Debug)]
pub(crate) struct FileSize {
    pub(crate) path: PathBuf,
    pub(crate) length: u64,
}

/// Bytes at a file's end that are compared before the whole: pictures of one camera begin alike.
const TAIL: u64 = 4096;

/// Each file of `others` that is also in `train`, as \[training file, other file\], in the order of `others`.
///
/// Only files of a length that both have are opened. A file that cannot be read is like no other.
pub(crate) fn find(train: &[FileSize], others: &[FileSize], pool: &Pool) -> Vec<[String; 2]> {
    let lengths = |files: &[FileSize]| files.iter().map(|file| file.length).collect::<HashSet<_>>();
    let (ours, theirs) = (lengths(train), lengths(others));
    let both: HashSet<u64> = ours.intersection(&theirs).copied().collect();
    let alike = |files: &[FileSize]| files.iter().filter(|file| both.contains(&file.length)).cloned().collect();
    let same = |files: Vec<FileSize>, tail: Option<u64>| {
        let digests = pool.map(files.len(), |i| digest(&files[i].path, tail));
        files.into_iter().zip(digests).filter_map(|(file, digest)| Some((file, digest?))).collect::<Vec<_>>()
    };
    // By their ends first, and of those that are left by everything.
    let (train, others) = (same(alike(train), Some(TAIL)), same(alike(others), Some(TAIL)));
    let tails = |files: &[(FileSize, Hash)]| files.iter().map(|file| (file.0.length, file.1)).collect::<HashSet<_>>();
    let (ours, theirs) = (tails(&train), tails(&others));
    let kept = |files: Vec<(FileSize, Hash)>, there: HashSet<(u64, Hash)>| {
        let kept = files.into_iter().filter(|file| there.contains(&(file.0.length, file.1)));
        same(kept.map(|file| file.0).collect(), None)
    };
    let (train, others) = (kept(train, theirs), kept(others, ours));
    let mut first = HashMap::new();
    for (file, digest) in &train {
        first.entry(digest).or_insert(&file.path);
    }
    let pair = |(file, digest): &(FileSize, Hash)| {
        first.get(digest).map(|train| [train.display().to_string(), file.path.display().to_string()])
    };
    others.iter().filter_map(pair).collect()
}

type Hash = [u8; 32];

/// The SHA-256 of the last `tail` bytes of a file, or of all.
fn digest(path: &Path, tail: Option<u64>) -> Option<Hash> {
    let mut file = File::open(path).ok()?;
    if let Some(tail) = tail {
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(tail))).ok()?;
    }
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return Some(hasher.finalize().into()),
            length => hasher.update(&buffer[..length]),
        }
    }
}
