//! Training and test pictures where nobody has told them apart.
//!
//! Of every class the tenth is tested with whose SHA-256 of `CLASS/FILE`, or of `CLASS/FOLDER/FILE`, is lowest, rounded, and at
//! least one picture of a class of two or more. So the split is the same on every machine and in every order, every class gives its share, and a
//! picture that is added moves at most one other to the other side.
//!
//! Pictures of several labels count for each of them, and are hashed by `FILE` alone: from the rarest class on, each is given what it
//! lacks of its tenth, by the pictures that are lowest of it, unless one is the last that is trained on of a class (after K.
//! Sechidis et al., "On the Stratification of Multi-label Data", 2011). Those without a label are a class of their own.

use super::Found;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};

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
    let mut pictures: BTreeMap<Option<&str>, Vec<(u32, usize)>> = BTreeMap::new();
    for (at, picture) in found.iter().enumerate() {
        let rank = (hash(picture.file.as_encoded_bytes()), at);
        let mut add = |class| pictures.entry(class).or_default().push(rank);
        match &picture.classes[..] {
            [] => add(None),
            classes => classes.iter().for_each(|class| add(Some(class.as_str()))),
        }
    }
    let mut trained: HashMap<&str, usize> = HashMap::new();
    found
        .iter()
        .flat_map(|picture| &picture.classes)
        .for_each(|class| *trained.entry(class.as_str()).or_default() += 1);
    let mut tested = vec![false; found.len()];
    let mut classes: Vec<Vec<(u32, usize)>> = pictures.into_values().collect();
    classes.sort_by_key(Vec::len); // of equals in the order of their names
    for mut ranked in classes {
        ranked.sort_unstable();
        let mut lacks = share(ranked.len()).saturating_sub(ranked.iter().filter(|&&(_, at)| tested[at]).count());
        for (_, at) in ranked {
            let last = found[at].classes.iter().any(|class| trained[class.as_str()] < 2);
            if lacks > 0 && !tested[at] && !last {
                found[at].classes.iter().for_each(|class| *trained.entry(class.as_str()).or_default() -= 1);
                tested[at] = true;
                lacks -= 1;
            }
        }
    }
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
