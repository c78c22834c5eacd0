//! Weights that PyTorch has written: files of `torch.save`, read with suspicion, of which nothing is executed.
//!
//! There are two formats. Since PyTorch 1.6 it is a ZIP archive with the pickle `data.pkl` and a file for each storage; before, one
//! pickle after the other (a number by which the format is known, a version, the machine, the object, the storages' names) and then
//! the storages. Of the object, which may be a whole checkpoint, the tensors are taken: a tensor of a dictionary in a dictionary is
//! called by both keys, `state_dict.conv1.weight`.

mod objects;
mod pickle;
mod tensor;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::archive::Archive;
use crate::{Error, Result};

use objects::{Value, broken};
use pickle::Pickle;
use tensor::Storages;

/// How a file of the older format begins: a pickle of protocol 2 with an integer of ten bytes.
const OLDER: [u8; 14] = *b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
/// How a ZIP archive begins.
const ZIP: [u8; 4] = *b"PK\x03\x04";
/// How deep a dictionary may lie in others.
const DEEPEST: usize = 16;
/// The most values that a file's dictionaries hold.
const MOST: usize = 1 << 20;

/// Reads a file of `torch.save` (`.pth`, `.pt`); none if it is no such file.
///
/// Arrays are what the tensors are, as rows: numbers of 16 bits come as f32, integers as i64 or u8. An array that several keys
/// name comes under each.
///
/// # Errors
/// The file cannot be read or is damaged, calls what no state dict needs, or holds no tensors.
pub fn read(path: &Path) -> Result<Option<Archive>> {
    let io = |error| Error::io(path, error);
    let mut file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.by_ref().take(OLDER.len() as u64).read_to_end(&mut bytes).map_err(io)?;
    if !is_pytorch(&bytes) {
        return Ok(None);
    }
    bytes.reserve_exact(metadata.len().saturating_sub(bytes.len() as u64) as usize);
    file.take(metadata.len()).read_to_end(&mut bytes).map_err(io)?;
    from_bytes(&bytes).map(Some)
}

/// Whether a file that begins so is one of `torch.save`.
pub fn is_pytorch(start: &[u8]) -> bool {
    start.starts_with(&OLDER) || start.starts_with(&ZIP)
}

/// As [`read`], of the bytes of a file.
///
/// # Errors
/// As [`read`], and those of no such file.
pub fn from_bytes(bytes: &[u8]) -> Result<Archive> {
    let (pickle, storages) = if bytes.starts_with(&ZIP) { zipped(bytes)? } else { older(bytes)? };
    let mut found = Found { pickle: &pickle, storages: &storages, archive: Archive::default(), looked_at: 0 };
    found.collect(&pickle.root, &mut Vec::new())?;
    match found.archive.arrays.is_empty() {
        true => Err(broken("it holds no tensors that have names")),
        false => Ok(found.archive),
    }
}

/// The tensors of a file on their way into an archive.
struct Found<'a> {
    pickle: &'a Pickle,
    storages: &'a Storages<'a>,
    archive: Archive,
    looked_at: usize,
}

impl Found<'_> {
    /// Takes every tensor in `value`, which lies under these keys.
    fn collect(&mut self, value: &Value, keys: &mut Vec<String>) -> Result<()> {
        // Dictionaries may hold each other, and one may lie in many.
        self.looked_at += 1;
        if self.looked_at > MOST || keys.len() > DEEPEST {
            return Err(broken(format!("more than {MOST} values, or {DEEPEST} dictionaries within each other")));
        }
        match value {
            Value::Tensor(tensor) if !keys.is_empty() => {
                self.archive.arrays.insert(keys.join("."), self.storages.array(tensor)?);
            }
            Value::Dict(place) | Value::List(place) => {
                for (index, (key, value)) in self.pickle.containers[*place].values.iter().enumerate() {
                    keys.push(match key {
                        Value::Text(key) => key.to_string(),
                        Value::Int(key) => key.to_string(),
                        // A list's, and keys that no name is made of.
                        _ => index.to_string(),
                    });
                    self.collect(value, keys)?;
                    keys.pop();
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The pickle of a ZIP archive, and its storages. PyTorch stores all of it plainly.
fn zipped(bytes: &[u8]) -> Result<(Pickle, Storages<'_>)> {
    let failed = |error: rawzip::Error| broken(format!("the ZIP archive: {error}"));
    let zip = rawzip::ZipArchive::from_slice(bytes).map_err(failed)?;
    let (mut files, mut left) = (BTreeMap::new(), bytes.len());
    let mut entries = zip.entries();
    while let Some(entry) = entries.next_entry().map_err(failed)? {
        let path = String::from_utf8_lossy(entry.file_path().as_ref()).into_owned();
        // All of it lies in one folder, whose name is the file's.
        let Some((_, name)) = path.split_once('/') else { continue };
        if entry.compression_method() != rawzip::CompressionMethod::STORE {
            return Err(broken(format!("{path} is compressed, which PyTorch's files are not")));
        }
        let (start, end) = zip.get_entry(entry.wayfinder()).map_err(failed)?.compressed_data_range();
        let data =
            usize::try_from(start).ok().zip(usize::try_from(end).ok()).and_then(|(start, end)| bytes.get(start..end));
        let data = data.ok_or_else(|| broken(format!("{path} lies outside of the ZIP archive")))?;
        left = left.checked_sub(data.len()).ok_or_else(|| broken("the files of the ZIP archive lie in each other"))?;
        if rawzip::crc32(data) != entry.crc32() {
            return Err(broken(format!("{path} is damaged: its checksum is not that in the archive")));
        }
        if files.insert(name.to_owned(), data).is_some() {
            return Err(broken(format!("{path} stands in the archive twice")));
        }
    }
    let pickle = files.get("data.pkl").ok_or_else(|| broken("a ZIP archive without data.pkl"))?;
    if files.get("byteorder").is_some_and(|order| *order != b"little") {
        return Err(broken("its numbers have their most significant byte first"));
    }
    let pickle = pickle::read(pickle)?;
    let storages = files.iter().filter_map(|(name, bytes)| Some((name.strip_prefix("data/")?.to_owned(), *bytes)));
    Ok((pickle, Storages::new(storages.collect(), bytes.len())))
}

/// The object of a file of the older format, and its storages.
fn older(bytes: &[u8]) -> Result<(Pickle, Storages<'_>)> {
    let mut rest = bytes;
    let mut next = || -> Result<Pickle> {
        let pickle = pickle::read(rest)?;
        rest = &rest[pickle.len..];
        Ok(pickle)
    };
    let [_, _, machine, object, names] = [next()?, next()?, next()?, next()?, next()?];
    let little = |(key, value): &(Value, Value)| match (key, value) {
        (Value::Text(key), Value::Bool(little)) => &**key != "little_endian" || *little,
        _ => true,
    };
    if !machine.containers.iter().flat_map(|container| &container.values).all(little) {
        return Err(broken("its numbers have their most significant byte first"));
    }
    let Value::List(list) = names.root else { return Err(broken("the names of its storages are no list")) };
    let mut sizes = tensor::element_sizes(&object);
    let mut storages = BTreeMap::new();
    for (_, name) in &names.containers[list].values {
        let Value::Text(name) = name else { return Err(broken("a storage without a name")) };
        let size = sizes.remove(&**name).ok_or_else(|| broken(format!("the storage {name} is not known")))??;
        let cut = || broken(format!("it ends within the storage {name}"));
        let (count, behind) = rest.split_first_chunk().ok_or_else(cut)?;
        let len = usize::try_from(i64::from_le_bytes(*count)).ok().and_then(|count| count.checked_mul(size));
        let (data, behind) = behind.split_at_checked(len.ok_or_else(cut)?).ok_or_else(cut)?;
        storages.insert(name.to_string(), data);
        rest = behind;
    }
    match rest.len() {
        0 => Ok((object, Storages::new(storages, bytes.len()))),
        more => Err(broken(format!("{more} bytes follow its last storage"))),
    }
}

#[cfg(test)]
mod tests;
