//! Compiled kernels on disk, as devices use them: damaged, filled by many at once, or with no room for them.

use std::env::var_os;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::thread;

use cnn_core::{Device, Inference};
use cnn_cuda::Cuda;

use crate::device::{again, open, options};

/// A device that keeps its kernels in `folder`, and has been asked for some.
fn works_with(folder: &Path) {
    let cuda: Cuda<f32> = open(&options().unwrap().cache(folder));
    let one = cuda.upload(&[1.0f32; 5]).unwrap();
    assert_eq!(cuda.download(&cuda.add(one.clone(), &one).unwrap()).unwrap(), [2.0; 5]);
}

fn names(folder: &Path) -> Vec<OsString> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn kernels_that_are_damaged_are_compiled_again() {
    if options().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    works_with(folder.path());
    let [name] = names(folder.path()).try_into().expect("one file of kernels");
    let entry = folder.path().join(name);
    let whole = fs::read(&entry).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let damaged =
        [Vec::new(), whole[..whole.len() / 2].to_vec(), flipped(0), flipped(whole.len() / 2), vec![0; 1 << 16]];
    for damaged in damaged {
        fs::write(&entry, &damaged).unwrap();
        works_with(folder.path());
        let now = fs::read(&entry).unwrap();
        assert!(now != damaged && now.len() == whole.len(), "{} bytes, of {}", now.len(), whole.len());
    }
    // Intact, it is taken as it is.
    let written = fs::metadata(&entry).unwrap().modified().unwrap();
    works_with(folder.path());
    assert_eq!(fs::metadata(&entry).unwrap().modified().unwrap(), written);
}

#[test]
fn a_folder_that_many_fill_at_once_is_whole() {
    const SELF: &str = "cache::a_folder_that_many_fill_at_once_is_whole";
    const FOLDER: &str = "CNN_TEST_FILLED";
    if let Some(folder) = var_os(FOLDER) {
        return thread::scope(|scope| {
            (0..3).for_each(|_| drop(scope.spawn(|| works_with(Path::new(&folder)))));
        });
    }
    let folder = tempfile::tempdir().unwrap();
    let filled = folder.path().join("kernels");
    let fill = || again(&[SELF], &[(FOLDER, filled.to_str().unwrap())]);
    let said = thread::scope(|scope| {
        let fills: Vec<_> = (0..3).map(|_| scope.spawn(fill)).collect();
        fills.into_iter().map(|fill| fill.join().unwrap()).collect::<Option<Vec<_>>>()
    });
    let Some(said) = said else { return };
    said.iter().for_each(|(passed, said)| assert!(passed, "{said}"));
    let names = names(&filled);
    assert!(names.len() == 1 && names[0].to_string_lossy().ends_with(".cubin"), "{names:?}");
}

#[test]
fn without_a_folder_kernels_are_compiled_each_time() {
    if options().is_none() {
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    works_with(&file.path().join("kernels"));
    assert_eq!(fs::metadata(file.path()).unwrap().len(), 0);
}
