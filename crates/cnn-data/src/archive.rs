//! Reading known members out of a `.tar.gz` without unpacking it to disk.
//!
//! Nothing in the archive decides where bytes go: members that were not asked for are skipped whatever their path, a
//! member that was asked for must be a plain file no larger than its cap, and the whole stream has a cap too, so a
//! small archive cannot expand without end.

use crate::gzip::Gzip;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// The bytes of each member, by its path.
pub(crate) type Members = BTreeMap<String, Vec<u8>>;

/// Decompressed bytes after which an archive is refused; the official ones hold about 185 MB.
pub(crate) const STREAM_CAP: u64 = 512 << 20;

/// The `wanted` members of the archive at `path` that it has; each is a member's path and the bytes it may have.
///
/// # Errors
/// Not a readable `.tar.gz`, truncated, a wanted member that is a link or a second copy or over its cap, or a
/// stream that expands past 512 MiB.
pub(crate) fn members(path: &Path, wanted: &[(String, u64)]) -> Result<Members> {
    let file = File::open(path).map_err(|source| Error::io(path, source))?;
    members_of(BufReader::with_capacity(1 << 16, file), path, wanted, STREAM_CAP)
}

/// As [`members`], of whatever `reader` reads; `path` is what messages call it.
pub(crate) fn members_of(
    reader: impl BufRead,
    path: &Path,
    wanted: &[(String, u64)],
    stream_cap: u64,
) -> Result<Members> {
    let mut archive = tar::Archive::new(Gzip::new(reader).take(stream_cap));
    let found = collect(path, &mut archive, wanted);
    let mut stream = archive.into_inner();
    // What follows the last member is padding; reading it makes the decoder check its CRC and see a truncation.
    let tail = io::copy(&mut stream, &mut io::sink());
    if stream.limit() == 0 {
        let rule = "a data archive expands to less; it is not the official file";
        return Err(Error::invalid(path.display(), format!("expands past {stream_cap} bytes"), rule));
    }
    let found = found?;
    tail.map_err(|source| Error::io(path, source))?;
    Ok(found)
}

fn collect<R: Read>(path: &Path, archive: &mut tar::Archive<R>, wanted: &[(String, u64)]) -> Result<Members> {
    let mut found = BTreeMap::new();
    let failed = |source| Error::io(path, source);
    // Raw entries: extended headers are members like any other, skipped by name instead of read into memory.
    for entry in archive.entries().map_err(failed)?.raw(true) {
        let mut entry = entry.map_err(failed)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.strip_prefix("./").unwrap_or(&name);
        let Some((name, cap)) = wanted.iter().find(|(wanted, _)| wanted == name) else { continue };
        let refuse = |value: String, rule: &str| Err(Error::invalid(member(path, name), value, rule));
        let (kind, size) = (entry.header().entry_type(), entry.size());
        if !kind.is_file() {
            return refuse(format!("{kind:?} entry"), "must be a plain file");
        }
        if size > *cap {
            return refuse(format!("{size} bytes"), &format!("must be at most {cap} bytes"));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 != size {
            return refuse(format!("{} of {size} bytes", bytes.len()), "the archive is truncated");
        }
        if found.insert(name.clone(), bytes).is_some() {
            return refuse("a second copy".to_owned(), "a member must be there once");
        }
    }
    Ok(found)
}

/// How messages name a member.
pub(crate) fn member(archive: &Path, name: &str) -> String {
    format!("{}:{name}", archive.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use tar::EntryType::{self, Regular, Symlink};

    fn pack(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for &(name, kind, bytes) in entries {
            let mut header = tar::Header::new_ustar();
            // `set_path` refuses foreign paths, so the name goes into the header's first field as it is.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(kind);
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            builder.append(&header, bytes).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn read(archive: &[u8], cap: u64) -> Result<Members> {
        members_of(archive, Path::new("set.tar.gz"), &[("set/a.bin".to_owned(), cap)], 1 << 20)
    }

    #[test]
    fn hostile_archives_are_refused_or_ignored() {
        let foreign: &[u8] = b"foreign";
        let entries =
            [("../../a.bin", Regular, foreign), ("/set/a.bin", Regular, foreign), ("set/a.bin", Regular, b"good")];
        let found = read(&pack(&entries), 10).unwrap();
        assert_eq!(found, BTreeMap::from([("set/a.bin".to_owned(), b"good".to_vec())]));

        let refused = |entries: &[(&str, EntryType, &[u8])], rule: &str| {
            let message = read(&pack(entries), 10).unwrap_err().to_string();
            assert!(message.contains(rule), "{message:?} does not say {rule:?}");
        };
        refused(&[("set/a.bin", Symlink, b"")], "set.tar.gz:set/a.bin: Symlink entry: must be a plain file");
        refused(&[("./set/a.bin", Regular, &[0; 11])], "11 bytes: must be at most 10 bytes");
        refused(&[("set/a.bin", Regular, b"1"), ("set/a.bin", Regular, b"2")], "a second copy");
        refused(&[("bomb", Regular, &vec![0; 2 << 20])], "expands past 1048576 bytes");
    }

    #[test]
    fn every_truncation_and_bit_flip_is_an_error_or_the_same_bytes() {
        let good: Vec<u8> = (0..200u8).map(|i| i.wrapping_mul(37)).collect();
        let archive = pack(&[("set/a.bin", Regular, &good)]);
        for length in 0..archive.len() {
            assert!(read(&archive[..length], 1000).is_err(), "cut to {length} of {} bytes", archive.len());
        }
        for bit in 0..archive.len() * 8 {
            let mut changed = archive.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(found) = read(&changed, 1000) {
                assert_eq!(found.get("set/a.bin"), Some(&good), "bit {bit}");
            }
        }
    }
}
