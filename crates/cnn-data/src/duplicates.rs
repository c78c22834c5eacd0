//! Files that are the same, byte for byte.

use crate::digest::sha256;
use crate::pool::Pool;
use std::collections::HashMap;
use std::hash::Hash;
use std::path::PathBuf;

/// A file and its length.
#[derive(Clone, Debug)]
pub(crate) struct FileSize {
    pub(crate) path: PathBuf,
    pub(crate) length: u64,
}

/// Bytes at a file's end that are compared before the whole: pictures of one camera begin alike.
const TAIL: u64 = 4096;

/// The files that are the same, as lists of at least two indices into `files`, each in their order, by the first of each.
///
/// Only files of a length that several have are opened. A file that cannot be read is like no other.
pub(crate) fn find(files: &[FileSize], pool: &Pool) -> Vec<Vec<usize>> {
    let all = (0..files.len()).collect();
    let lengths = alike(all, |i| Some(files[i].length));
    // By their ends first, and of those that are left by everything.
    let by_digest = |groups: Vec<Vec<usize>>, tail: Option<u64>| {
        let some = groups.concat();
        let digests = pool.map(some.len(), |i| sha256(&files[some[i]].path, tail).ok());
        let digests: HashMap<usize, Option<[u8; 32]>> = some.into_iter().zip(digests).collect();
        let split = |group| alike(group, |i| digests[&i]);
        groups.into_iter().flat_map(split).collect::<Vec<_>>()
    };
    let mut same = by_digest(by_digest(lengths, Some(TAIL)), None);
    same.sort_unstable();
    same
}

/// Those of `items` that have the same key as another, together; those without a key are like no other.
fn alike<K: Eq + Hash>(items: Vec<usize>, key: impl Fn(usize) -> Option<K>) -> Vec<Vec<usize>> {
    let mut groups: HashMap<K, Vec<usize>> = HashMap::new();
    items.into_iter().for_each(|i| key(i).into_iter().for_each(|key| groups.entry(key).or_default().push(i)));
    groups.into_values().filter(|group| group.len() > 1).collect()
}
