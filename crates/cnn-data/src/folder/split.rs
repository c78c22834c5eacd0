//! Training and test pictures where nobody has told them apart.
//!
//! A picture is tested with if the SHA-256 of `CLASS/FILE` falls into the lowest tenth, so the split is the same on every
//! machine and stays when pictures are added; only a class too small to have pictures on both sides moves one over.

use super::{Found, Notes, Splits};
use sha2::{Digest, Sha256};

/// The pictures, sorted by class, split by the hash of each one's name; `because` says why.
pub(super) fn by_hash(found: Vec<Found>, because: &str, notes: &mut Notes) -> Splits {
    let (mut train, mut test) = (Vec::new(), Vec::new());
    let mut found = found.into_iter().peekable();
    while let Some(class) = found.peek().map(|picture| picture.class.clone()) {
        let mut members = Vec::new();
        while let Some(picture) = found.next_if(|picture| picture.class == class) {
            members.push((hash(&picture), picture));
        }
        let lowest = members.iter().map(|member| member.0).min().unwrap_or(0);
        let highest = members.iter().map(|member| member.0).max().unwrap_or(0);
        for (hash, picture) in members {
            let held_out = hash < u32::MAX / 10 || hash == lowest;
            if held_out && hash != highest { test.push(picture) } else { train.push(picture) }
        }
    }
    let split = format!("{because}: a tenth of the pictures, chosen by their names, is tested with");
    notes.sentences.push(split.clone());
    Splits { train, validation: None, test, split }
}

fn hash(found: &Found) -> u32 {
    let name = [found.class.as_bytes(), b"/", found.picture.file.as_encoded_bytes()].concat();
    let digest = Sha256::digest(name);
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}
