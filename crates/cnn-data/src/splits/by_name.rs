//! Training and test pictures where nobody has told them apart.
//!
//! Of every class the tenth is tested with whose SHA-256 of `CLASS/FILE`, or of `CLASS/FOLDER/FILE`, is lowest, rounded, and at
//! least one picture of a class of two or more. So the split is the same on every machine and in every order, every class gives its share, and a
//! picture that is added moves at most one other to the other side.
//!
//! Pictures of several labels count for each of them, and are hashed by `FILE` alone.

use super::Found;
use crate::stratify::hold_out;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// The pictures to train on and those to test with, by the hash of each one's name; all of them sorted by class.
pub(super) fn split(found: Vec<Found>) -> [Vec<Found>; 2] {
    let mut ranks: HashMap<&[String], Vec<(u32, usize)>> = HashMap::new();
    for (at, picture) in found.iter().enumerate() {
        ranks
            .entry(&picture.classes)
            .or_default()
            .push((hash(&[picture.classes.concat().as_bytes(), b"/", picture.file.as_encoded_bytes()].concat()), at));
    }
    let mut tested = vec![false; found.len()];
    for mut ranked in ranks.into_values() {
        ranked.sort_unstable();
        ranked[..share(ranked.len())].iter().for_each(|&(_, at)| tested[at] = true);
    }
    parted(found, &tested)
}

/// The same of pictures that may have none or several labels, in the order in which they come.
pub(super) fn split_several(found: Vec<Found>) -> [Vec<Found>; 2] {
    let classes: Vec<Vec<&str>> =
        found.iter().map(|picture| picture.classes.iter().map(String::as_str).collect()).collect();
    let classes: Vec<&[&str]> = classes.iter().map(Vec::as_slice).collect();
    let mut order: Vec<(u32, usize)> =
        found.iter().enumerate().map(|(at, picture)| (hash(picture.file.as_encoded_bytes()), at)).collect();
    order.sort_unstable();
    let mut rank = vec![0; found.len()];
    order.into_iter().enumerate().for_each(|(place, (_, at))| rank[at] = place);
    let tested = hold_out(&classes, &rank, share, None);
    parted(found, &tested)
}

fn parted(found: Vec<Found>, tested: &[bool]) -> [Vec<Found>; 2] {
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (picture, tested) in found.into_iter().zip(tested.iter().copied()) {
        if tested { test.push(picture) } else { train.push(picture) }
    }
    [train, test]
}

/// How many pictures of a class of `count` are tested with.
fn share(count: usize) -> usize {
    if count < 2 { 0 } else { ((count + 5) / 10).max(1) }
}

fn hash(name: &[u8]) -> u32 {
    let digest = Sha256::digest(name);
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}
