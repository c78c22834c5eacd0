//! A folder of JPEG and PNG pictures, one folder a class.
//!
//! `train/CLASS/*` and `test/CLASS/*` (or `val/`) are taken as they are. Without a test folder the split is a property of
//! each picture: it is tested on if the SHA-256 of `CLASS/FILE` falls into the lowest tenth, so it is the same on every
//! machine and stays when pictures are added; only a class too small to have pictures on both sides moves one over.

use crate::dataset::{Dataset, OpenOptions};
use crate::decode::{check_target, decode_image};
use crate::image_set::{ImageSet, Origin, decoded_bytes};
use crate::loader::threads_or_all;
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

/// A picture as it is found: its class's folder name, its file name, its path.
struct Found {
    class: String,
    file: String,
    path: PathBuf,
}

/// Whether `folder` holds pictures by class.
pub(crate) fn is_folder(folder: &Path) -> bool {
    folder.join("train").is_dir() || pictures(folder).is_ok_and(|found| !found.is_empty())
}

/// The set in `folder`, its pictures resized to the options' size, or 32 x 32.
pub(crate) fn read_folder(folder: &Path, name: &str, options: &OpenOptions) -> Result<Dataset> {
    let [height, width] = options.size.unwrap_or([32, 32]);
    check_target(height, width)?;
    let train_folder = [folder.join("train"), folder.to_owned()].into_iter().find(|path| path.is_dir());
    let train_folder = train_folder.unwrap_or_default();
    let test_folder = ["test", "val"].map(|name| folder.join(name)).into_iter().find(|path| path.is_dir());
    let (train, test) = match test_folder.filter(|_| train_folder != folder) {
        Some(test_folder) => {
            let (train, test) = (pictures(&train_folder)?, pictures(&test_folder)?);
            same_classes(&train_folder, &train, &test_folder, &test)?;
            (train, test)
        }
        None => split(pictures(&train_folder)?),
    };
    let classes = classes_of(&train);
    if train.is_empty() || test.is_empty() {
        let rule = "needs pictures for both (.jpg, .jpeg or .png), in a folder for each class";
        let value = format!("{} to train on, {} to test on", train.len(), test.len());
        return Err(Error::invalid(folder.display(), value, rule));
    }
    let size = [height, width, 3];
    let resident = decoded_bytes(size, train.len() + test.len()).is_some_and(|bytes| bytes <= options.resident_limit);
    let set = |found: Vec<Found>| {
        let labels =
            found.iter().map(|picture| classes.partition_point(|class| *class < picture.class) as u32).collect();
        let files: Vec<PathBuf> = found.into_iter().map(|picture| picture.path).collect();
        if resident {
            let bytes = decode_all(&files, size, threads_or_all(options.threads))?;
            ImageSet::resident(size, classes.clone(), labels, bytes, Origin::Files(files))
        } else {
            ImageSet::files(size, classes.clone(), labels, files)
        }
    };
    let (train, test) = (set(train)?, set(test)?);
    Dataset::new(name, train, test)
}

/// Every `CLASS/FILE` picture in `folder`, sorted by class and file.
fn pictures(folder: &Path) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for (class, path) in entries(folder)? {
        if !path.is_dir() {
            continue;
        }
        for (file, path) in entries(&path)? {
            let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
            if extension.is_some_and(|e| e == "jpg" || e == "jpeg" || e == "png") && path.is_file() {
                found.push(Found { class: class.clone(), file, path });
            }
        }
    }
    Ok(found)
}

/// What is in `folder`, hidden entries left out, sorted by name.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let failed = |source| Error::io(folder, source);
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(Error::invalid(folder.display(), format!("{:?}", path.file_name()), "names must be UTF-8"));
        };
        if !name.starts_with('.') {
            entries.push((name.to_owned(), path));
        }
    }
    entries.sort();
    Ok(entries)
}

/// The classes of sorted pictures.
fn classes_of(found: &[Found]) -> Vec<String> {
    let mut classes: Vec<String> = found.iter().map(|picture| picture.class.clone()).collect();
    classes.dedup();
    classes
}

fn same_classes(train_folder: &Path, train: &[Found], test_folder: &Path, test: &[Found]) -> Result<()> {
    let (train, test) = (classes_of(train), classes_of(test));
    for (folder, ours, other, theirs) in
        [(test_folder, &test, train_folder, &train), (train_folder, &train, test_folder, &test)]
    {
        if let Some(lone) = ours.iter().find(|class| !theirs.contains(class)) {
            let rule = format!("{} has no pictures of that class", other.display());
            return Err(Error::invalid(folder.display(), format!("class {lone:?}"), rule));
        }
    }
    Ok(())
}

/// (train, test), by the hash of each picture's name.
fn split(found: Vec<Found>) -> (Vec<Found>, Vec<Found>) {
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
    (train, test)
}

fn hash(picture: &Found) -> u32 {
    let digest = Sha256::digest(format!("{}/{}", picture.class, picture.file));
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// Every file decoded, \[N, H, W, C\]; of several bad files the first is the error.
fn decode_all(files: &[PathBuf], [height, width, channels]: [usize; 3], threads: usize) -> Result<Vec<u8>> {
    let image = height * width * channels;
    let mut bytes = vec![0; files.len() * image];
    let share = files.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let parts = files.chunks(share).zip(bytes.chunks_mut(share * image));
        let workers: Vec<_> = parts
            .map(|(files, bytes)| {
                scope.spawn(move || {
                    for (path, out) in files.iter().zip(bytes.chunks_exact_mut(image)) {
                        out.copy_from_slice(&decode_image(path, height, width, channels)?);
                    }
                    Ok(())
                })
            })
            .collect();
        let results = workers.into_iter().map(|worker| {
            let died = || Err(Error::invalid("image decoder", "panicked", "a picture that it cannot handle"));
            worker.join().unwrap_or_else(|_| died())
        });
        results.collect::<Result<Vec<()>>>()
    })?;
    Ok(bytes)
}
