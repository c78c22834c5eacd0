//! Training and test pictures where nobody has told them apart.
//!
//! Of every class the tenth is tested with whose SHA-256 of `CLASS/FILE`, or of `CLASS/FOLDER/FILE`, is lowest, rounded, and at
//! least one picture of a class of two or more. So the split is the same on every machine and in every order, every class gives its share, and a
//! picture that is added moves at most one other to the other side.

use super::Found;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// The pictures to train on and those to test with, by the hash of each one's name; all of them sorted by class.
pub(super) fn split(found: Vec<Found>) -> [Vec<Found>; 2] {
    let mut ranks: HashMap<&str, Vec<(u32, usize)>> = HashMap::new();
    for (at, picture) in found.iter().enumerate() {
        ranks.entry(&picture.class).or_default().push((hash(picture), at));
    }
    let mut tested = vec![false; found.len()];
    for mut ranked in ranks.into_values() {
        ranked.sort_unstable();
        ranked[..share(ranked.len())].iter().for_each(|&(_, at)| tested[at] = true);
    }
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (picture, tested) in found.into_iter().zip(tested) {
        if tested { test.push(picture) } else { train.push(picture) }
    }
    [train, test]
}

/// How many pictures of a class of `count` are tested with.
fn share(count: usize) -> usize {
    if count < 2 { 0 } else { ((count + 5) / 10).max(1) }
}

fn hash(found: &Found) -> u32 {
    let name = [found.class.as_bytes(), b"/", found.file.as_encoded_bytes()].concat();
    let digest = Sha256::digest(name);
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}
