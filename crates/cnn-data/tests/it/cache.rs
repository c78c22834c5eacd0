//! Decoded pictures that are kept on disk: the same bytes as without, whatever happens to the file.

use crate::write::picture;
use cnn_data::{Dataset, Fit, OpenOptions, Preprocess, Result, open};
use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::thread;
use tempfile::TempDir;

/// Pictures of two classes in `photos`, and no cache yet in `cache`.
struct Place(TempDir);

impl Place {
    fn new(count: u8) -> Self {
        let place = Place(tempfile::tempdir().unwrap());
        for (class, salt) in [("cat", 0), ("dog", 100)] {
            (0..count).for_each(|i| picture(&place.photo(class, i), 9, 7, salt + i));
        }
        place
    }

    fn photo(&self, class: &str, i: u8) -> PathBuf {
        self.0.path().join(format!("photos/{class}/{i}.png"))
    }

    fn cache(&self) -> PathBuf {
        self.0.path().join("cache")
    }

    /// Nothing in memory, and everything in the cache.
    fn options(&self) -> OpenOptions {
        OpenOptions::default().size([8, 8]).resident_limit(0).cache(self.cache())
    }

    fn open_with(&self, options: &OpenOptions) -> Result<Dataset> {
        open(self.0.path().join("photos").to_str().unwrap(), Path::new("none"), options)
    }

    /// The set, of whose pictures so many were in the cache and so many were not.
    #[track_caller]
    fn opened(&self, found: usize, decoded: usize) -> Dataset {
        let data = self.open_with(&self.options()).unwrap();
        let cache = data.report.cache.as_ref().unwrap();
        assert_eq!((cache.found, cache.decoded), (found, decoded), "{cache}");
        data
    }

    /// The images as they are without a cache.
    fn decoded(&self) -> Vec<Vec<u8>> {
        images(&self.open_with(&self.options().cache(None).skip_bad(true)).unwrap())
    }

    fn file(&self) -> PathBuf {
        let files: Vec<PathBuf> = fs::read_dir(self.cache()).unwrap().map(|file| file.unwrap().path()).collect();
        let [file] = &files[..] else { panic!("{files:?}") };
        file.clone()
    }
}

fn images(data: &Dataset) -> Vec<Vec<u8>> {
    let of = |set: &cnn_data::ImageSet| (0..set.len()).map(|i| set.image(i).unwrap().into_owned()).collect::<Vec<_>>();
    [of(&data.train), of(&data.test)].concat()
}

#[test]
fn pictures_are_decoded_once_and_are_the_same_bytes() {
    let place = Place::new(10);
    let expected = place.decoded();
    assert!(!place.cache().exists());
    assert_eq!(images(&place.opened(0, 20)), expected);
    assert_eq!(images(&place.opened(20, 0)), expected);
    // Also where all of it is in memory.
    let data = place.open_with(&place.options().resident_limit(1 << 30)).unwrap();
    assert!(data.train.is_resident() && images(&data) == expected);
    assert_eq!(data.report.cache.unwrap().found, 20);
    // Once the pictures are old enough, nothing of them is read but length and times.
    for class in ["cat", "dog"] {
        let (path, times) = (place.photo(class, 3), times(&place.photo(class, 3)));
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, vec![0; bytes.len()]).unwrap();
        File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
        // What no program can put back tells on Unix that there is something to look at.
        let error = place.open_with(&place.options()).map(|data| images(&data));
        if cfg!(unix) {
            assert!(error.unwrap_err().to_string().contains("3.png"));
        } else {
            assert_eq!(error.unwrap(), expected);
        }
        fs::write(&path, bytes).unwrap();
    }
    // A picture in two splits is decoded once.
    let all = place.options().size([5, 5]).test_all(true);
    let cache = place.open_with(&all).unwrap().report.cache.unwrap();
    assert_eq!((cache.decoded, cache.found), (20, 20));
    // Another size and another way to it are in files of their own.
    let others = [
        place.options().size([4, 4]),
        place.options().preprocess(Preprocess { fit: Fit::Pad, ..Preprocess::default() }),
    ];
    for options in others {
        assert_eq!(place.open_with(&options).unwrap().report.cache.unwrap().decoded, 20);
    }
    assert_eq!(fs::read_dir(place.cache()).unwrap().count(), 4);
}

fn times(path: &Path) -> FileTimes {
    let metadata = path.metadata().unwrap();
    FileTimes::new().set_modified(metadata.modified().unwrap()).set_accessed(metadata.accessed().unwrap())
}

#[test]
fn a_picture_counts_by_its_content() {
    let place = Place::new(10);
    place.opened(0, 20);
    // Written again, the same: its times have changed.
    let path = place.photo("cat", 1);
    fs::write(&path, fs::read(&path).unwrap()).unwrap();
    place.opened(20, 0);
    // Another one of the same length.
    let (one, other) = (place.photo("cat", 1), place.photo("dog", 1));
    let bytes = [&one, &other].map(|path| fs::read(path).unwrap());
    fs::write(&one, &bytes[1]).unwrap();
    fs::write(&other, &bytes[0]).unwrap();
    let data = place.opened(18, 2);
    assert_eq!(images(&data), place.decoded());
    // More of them, and fewer: a place is used again by the picture that it is of, and by nobody else.
    (10..14).for_each(|i| picture(&place.photo("cat", i), 9, 7, 200 + i));
    fs::remove_file(place.photo("dog", 0)).unwrap();
    assert_eq!(images(&place.opened(19, 4)), place.decoded());
    picture(&place.photo("dog", 0), 9, 7, 240);
    assert_eq!(images(&place.opened(23, 1)), place.decoded());
    assert_eq!(images(&place.opened(24, 0)), place.decoded());
}

#[test]
fn a_cache_that_is_damaged_changes_no_image() {
    let place = Place::new(6);
    let expected = place.decoded();
    place.opened(0, 12);
    let (file, size) = (place.file(), 8 * 8 * 3);
    let whole = fs::read(&file).unwrap();
    let start = whole.len() - 12 * size;
    // A flipped bit in an entry, and one in each image.
    let mut flipped = whole.clone();
    flipped[5 * 96 + 20] ^= 1;
    (0..12).for_each(|i| flipped[start + i * size + 7 * i] ^= 1 << (i % 8));
    let cut = |length: usize| whole[..length].to_vec();
    let damages = [
        flipped,
        cut(start + 5 * size + 3),
        cut(start),
        cut(100),
        Vec::new(),
        vec![0xff; whole.len()],
        b"my notes".to_vec(),
    ];
    for (i, damaged) in damages.into_iter().enumerate() {
        fs::write(&file, damaged).unwrap();
        let data = place.open_with(&place.options()).unwrap();
        assert_eq!(images(&data), expected, "damage {i}");
        let (cache, mended) = (data.report.cache.unwrap(), data.train.mended());
        assert_eq!(cache.found + cache.decoded, 12);
        assert_eq!(
            (cache.decoded, mended),
            [(1, 11), (0, 7), (0, 12), (11, 1), (12, 0), (12, 0), (12, 0)][i],
            "damage {i}"
        );
        // It is whole again.
        let data = place.opened(12, 0);
        assert_eq!((images(&data), data.train.mended()), (expected.clone(), 0), "damage {i}");
    }
    // While it is read.
    let data = place.opened(12, 0);
    fs::write(&file, []).unwrap();
    assert_eq!((images(&data), data.test.mended()), (expected.clone(), 12));
    fs::remove_file(&file).unwrap();
    assert_eq!(images(&data), expected);
}

#[test]
fn what_cannot_be_decoded_is_all_told_before_a_batch_is_made() {
    let place = Place::new(10);
    // What only decoding shows.
    for (class, i) in [("cat", 2), ("dog", 5), ("dog", 7)] {
        let mut bytes = fs::read(place.photo(class, i)).unwrap();
        let pixels = bytes.windows(4).position(|kind| kind == b"IDAT").unwrap() + 6;
        bytes[pixels] ^= 0xff;
        fs::write(place.photo(class, i), bytes).unwrap();
    }
    for _ in 0..2 {
        let error = place.open_with(&place.options()).unwrap_err().to_string();
        assert!(error.starts_with("3 of 20 pictures cannot be decoded: "), "{error}");
    }
    for limit in [0, 1 << 30] {
        let data = place.open_with(&place.options().skip_bad(true).resident_limit(limit)).unwrap();
        assert_eq!((data.report.bad.len(), data.report.cache.unwrap().found), (3, 17));
    }
    let data = place.open_with(&place.options().skip_bad(true)).unwrap();
    assert_eq!(images(&data), place.decoded());
}

#[test]
fn processes_that_come_at_once_share_the_work() {
    let place = Place::new(40);
    let expected = place.decoded();
    let all = thread::scope(|scope| {
        let opened = [(); 4].map(|()| scope.spawn(|| place.open_with(&place.options()).unwrap()));
        opened.map(|thread| thread.join().unwrap())
    });
    assert!(all.iter().all(|data| images(data) == expected && data.train.mended() == 0));
    assert_eq!(all.iter().map(|data| data.report.cache.as_ref().unwrap().decoded).sum::<usize>(), 80);
}

#[test]
fn a_folder_that_cannot_be_one_is_named() {
    let place = Place::new(10);
    fs::write(place.cache(), "a file").unwrap();
    let error = place.open_with(&place.options()).unwrap_err().to_string();
    let expected = format!("cache {}: ", place.cache().display());
    assert!(error.starts_with(&expected) && error.ends_with("must be a folder, or a new one"), "{error}");
    // It would be taken for a class.
    let inside = place.options().cache(place.0.path().join("photos/cache"));
    let error = place.open_with(&inside).unwrap_err().to_string();
    assert!(error.contains("photos/cache: must not be inside of the pictures' folder, "), "{error}");
    // A set that is drawn has no use for one.
    let data = open("shapes", Path::new("none"), &place.options().size(None)).unwrap();
    assert_eq!(data.report.cache, None);
    assert!(data.report.notes.iter().any(|note| note.contains("cache: not used")), "{:?}", data.report.notes);
}
