//! Compiled kernels on disk, so that the next process need not compile them.
//!
//! An entry is named by a digest of everything that its contents depend on, and holds a digest of its own contents: one
//! that is damaged counts as missing and is written again. It is written beside its name and renamed, so two
//! processes may write it at once. A disk that is full or a folder that cannot be written costs the next process its time
//! and is no error.

use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

const DIGEST: usize = 32;

/// A folder of entries.
#[derive(Clone, Debug)]
pub(crate) struct CubinCache(Option<PathBuf>);

impl CubinCache {
    /// The user's: `CNN_CUDA_CACHE`, or `cnn/kernels` in the folder for caches; none where there is no such folder, or the
    /// variable is empty.
    pub(crate) fn of_the_user() -> Self {
        let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(named) = std::env::var_os("CNN_CUDA_CACHE") {
            return CubinCache((!named.is_empty()).then(|| named.into()));
        }
        let caches =
            from("XDG_CACHE_HOME").or_else(|| from("LOCALAPPDATA")).or_else(|| Some(from("HOME")?.join(".cache")));
        CubinCache(caches.map(|caches| caches.join("cnn").join("kernels")))
    }

    /// This folder, made when it is needed.
    pub(crate) fn in_folder(folder: impl Into<PathBuf>) -> Self {
        CubinCache(Some(folder.into()))
    }

    /// The entry of these parts, or what `make` makes of them.
    pub(crate) fn get_or<E>(&self, parts: &[&[u8]], make: impl FnOnce() -> Result<Vec<u8>, E>) -> Result<Vec<u8>, E> {
        let Some(folder) = &self.0 else { return make() };
        let path = folder.join(format!("{}.cubin", name(parts)));
        if let Some(found) = read(&path) {
            return Ok(found);
        }
        let made = make()?;
        // See above: what cannot be kept is made again.
        let _ = write(folder, &path, &made);
        Ok(made)
    }
}

/// Parts with their lengths, so that no two lists are one.
fn name(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    cnn_core::archive::hexadecimal(hash.finalize())
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let bytes = std::fs::read(path).ok()?;
    let (digest, contents) = bytes.split_at_checked(DIGEST)?;
    (Sha256::digest(contents)[..] == *digest).then(|| contents.to_vec())
}

fn write(folder: &Path, path: &Path, contents: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&Sha256::digest(contents))?;
    file.write_all(contents)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(cache: &CubinCache, parts: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut asked = false;
        let make = || {
            asked = true;
            Ok::<_, ()>(b"kernel".to_vec())
        };
        (cache.get_or(parts, make).unwrap(), asked)
    }

    #[test]
    fn an_entry_is_made_once_and_again_where_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CubinCache::in_folder(folder.path());
        assert_eq!(made(&cache, &[b"a", b"bc"]), (b"kernel".to_vec(), true));
        assert_eq!(made(&cache, &[b"a", b"bc"]), (b"kernel".to_vec(), false));
        assert!(made(&cache, &[b"ab", b"c"]).1, "other parts that are joined to the same bytes");
        for damage in [b"".to_vec(), b"short".to_vec(), vec![7; 40]] {
            for entry in std::fs::read_dir(folder.path()).unwrap() {
                std::fs::write(entry.unwrap().path(), &damage).unwrap();
            }
            assert_eq!(made(&cache, &[b"a", b"bc"]), (b"kernel".to_vec(), true), "{damage:?}");
            assert!(!made(&cache, &[b"a", b"bc"]).1);
        }
    }

    /// A limit of a file's size, which this test is run again under, is a disk that is full in the middle of an entry.
    #[cfg(unix)]
    #[test]
    fn a_full_disk_is_no_error_and_leaves_no_half_of_an_entry() {
        const SELF: &str = "cubin_cache::tests::a_full_disk_is_no_error_and_leaves_no_half_of_an_entry";
        const FULL: &str = "CNN_TEST_FULL";
        if std::env::var_os(FULL).is_none() {
            // In blocks of 1024 bytes; the signal that a process is otherwise ended with is ignored.
            let line = format!("trap '' XFSZ; ulimit -f 8; exec \"$0\" --exact {SELF} --nocapture");
            let program = std::env::current_exe().unwrap();
            let run = std::process::Command::new("bash").args(["-c", &line]).arg(program).env(FULL, "yes").output();
            let Ok(output) = run else { return println!("SKIPPED: no bash, which sets the limit") };
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            return assert!(output.status.success() && said.contains("1 passed"), "{said}");
        }
        let folder = tempfile::tempdir().unwrap();
        let cache = CubinCache::in_folder(folder.path());
        for (bytes, entries) in [(1 << 20, 0), (1 << 12, 1)] {
            let kernels = vec![7; bytes];
            assert_eq!(cache.get_or(&[b"a"], || Ok::<_, ()>(kernels.clone())).unwrap(), kernels);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), entries, "{bytes} bytes");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let cache = CubinCache::in_folder(file.path().join("kernels"));
        assert_eq!(made(&cache, &[b"a"]), (b"kernel".to_vec(), true));
        assert!(made(&cache, &[b"a"]).1);
        assert!(made(&CubinCache(None), &[b"a"]).1);
    }
}
