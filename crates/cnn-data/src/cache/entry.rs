//! What a cache knows of a picture: which one it is, when it was decoded, and what its image must add up to.

use crate::digest::sha256;
use sha2::{Digest, Sha256};
use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of an [`Entry`] in the file.
pub(super) const ENTRY: usize = 96;

/// Where in it the checksum of the rest is.
const OWN: usize = ENTRY - 4;

/// The first half of a SHA-256.
type Half = [u8; 16];

/// A picture that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Which picture: [`picture`] of its path.
    pub(super) picture: Half,
    /// Its file when it was decoded.
    pub(super) stamp: Stamp,
    /// When its file was last looked into, in nanoseconds since 1970.
    pub(super) seen: i64,
    /// What was in the file: [`content`].
    pub(super) content: Half,
    /// CRC-32C of the image's bytes.
    pub(super) checksum: u32,
}

/// By what a file that has changed is told without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) length: u64,
    /// When its content was changed, in nanoseconds since 1970; a program can set it.
    modified: i64,
    /// When anything of it was, which no program sets; 0 where the system does not say.
    changed: i64,
    /// Which file of which disk it is; 0 where the system does not say.
    file: [u64; 2],
}

/// The coarsest clock by which file systems note times, FAT's, in nanoseconds.
const TICK: i64 = 2_000_000_000;

/// Nanoseconds since 1970, now.
pub(super) fn now() -> i64 {
    since(SystemTime::now())
}

fn since(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}

impl Stamp {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let metadata = path.metadata()?;
        let modified = metadata.modified().map_or(0, since);
        let (changed, file) = told(&metadata);
        Ok(Stamp { length: metadata.len(), modified, changed, file })
    }
}

#[cfg(unix)]
fn told(metadata: &Metadata) -> (i64, [u64; 2]) {
    use std::os::unix::fs::MetadataExt;
    let changed = metadata.ctime().wrapping_mul(1_000_000_000).wrapping_add(metadata.ctime_nsec());
    (changed, [metadata.dev(), metadata.ino()])
}

#[cfg(not(unix))]
fn told(_: &Metadata) -> (i64, [u64; 2]) {
    (0, [0; 2])
}

/// What the picture at `path`, which is absolute, is known by.
pub(super) fn picture(path: &Path) -> Half {
    half(Sha256::digest(path.as_os_str().as_encoded_bytes()).into())
}

/// What is in the file at `path`.
pub(super) fn content(path: &Path) -> io::Result<Half> {
    sha256(path, None).map(half)
}

fn half(digest: [u8; 32]) -> Half {
    std::array::from_fn(|i| digest[i])
}

impl Entry {
    /// Whether a file of this stamp is the one that was looked into, without looking again: one that had changed within a tick of
    /// that may have changed again in the same tick.
    pub(super) fn is_of(&self, stamp: &Stamp) -> bool {
        self.stamp == *stamp && self.seen.saturating_sub(stamp.modified.max(stamp.changed)) > TICK
    }

    pub(super) fn to_bytes(self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..16].copy_from_slice(&self.picture);
        bytes[16..24].copy_from_slice(&self.stamp.length.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.stamp.modified.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.stamp.changed.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.stamp.file[0].to_le_bytes());
        bytes[48..56].copy_from_slice(&self.stamp.file[1].to_le_bytes());
        bytes[56..64].copy_from_slice(&self.seen.to_le_bytes());
        bytes[64..80].copy_from_slice(&self.content);
        bytes[80..84].copy_from_slice(&self.checksum.to_le_bytes());
        let own = crc32c::crc32c(&bytes[..OWN]);
        bytes[OWN..].copy_from_slice(&own.to_le_bytes());
        bytes
    }

    /// None of bytes that were not written, or not all of them, or have changed since.
    pub(super) fn from_bytes(bytes: &[u8; ENTRY]) -> Option<Self> {
        let own = u32::from_le_bytes(part(bytes, OWN));
        // Nothing but zeros is a place that nobody has written to; its checksum is not 0.
        if own != crc32c::crc32c(&bytes[..OWN]) {
            return None;
        }
        Some(Entry {
            picture: part(bytes, 0),
            stamp: Stamp {
                length: u64::from_le_bytes(part(bytes, 16)),
                modified: i64::from_le_bytes(part(bytes, 24)),
                changed: i64::from_le_bytes(part(bytes, 32)),
                file: [40, 48].map(|start| u64::from_le_bytes(part(bytes, start))),
            },
            seen: i64::from_le_bytes(part(bytes, 56)),
            content: part(bytes, 64),
            checksum: u32::from_le_bytes(part(bytes, 80)),
        })
    }
}

fn part<const N: usize>(bytes: &[u8; ENTRY], start: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[start + i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written_and_with_any_flipped_bit_not_at_all() {
        let entry = Entry {
            picture: [7; 16],
            stamp: Stamp { length: 1 << 40, modified: -3, changed: i64::MAX, file: [1, u64::MAX] },
            seen: 12,
            content: picture(Path::new("/photos/cat.jpg")),
            checksum: 0xdead_beef,
        };
        let bytes = entry.to_bytes();
        assert_eq!(Entry::from_bytes(&bytes), Some(entry));
        assert_eq!(Entry::from_bytes(&[0; ENTRY]), None);
        // Its file is known by its stamp once that was a while old.
        let aged = |changed: i64, seen: i64| {
            let stamp = Stamp { changed, modified: 0, ..entry.stamp };
            Entry { stamp, seen, ..entry }.is_of(&stamp)
        };
        assert_eq!([aged(5, 5 + TICK), aged(5, 6 + TICK), aged(i64::MAX, 0)], [false, true, false]);
        assert!(!Entry { seen: i64::MAX, ..entry }.is_of(&Stamp { file: [1, 2], changed: 0, ..entry.stamp }));
        for bit in 0..8 * ENTRY {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Entry::from_bytes(&flipped), None, "bit {bit}");
        }
    }
}
