//! What a folder of pictures is taken for, and that nothing in it is dropped or taken without a word.

use crate::write::picture;
use cnn_data::{Dataset, OpenOptions, Report, Result, list, open};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn open_folder(root: &TempDir) -> Result<Dataset> {
    open(root.path().to_str().unwrap(), Path::new("none"), &OpenOptions::default())
}

fn report(root: &TempDir) -> Report {
    open_folder(root).unwrap().report
}

#[track_caller]
fn fails<T>(result: Result<T>, parts: &[&str]) {
    let message = result.map(|_| ()).expect_err("must fail").to_string();
    assert!(parts.iter().all(|part| message.contains(part)) && message.lines().count() == 1, "{message}");
}

/// A folder with `count` pictures in each of `classes`, each picture another.
fn folder(classes: &[&str], count: u8) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    add(&root, classes, count);
    root
}

fn add(root: &TempDir, classes: &[&str], count: u8) {
    for class in classes {
        let salt = class.bytes().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
        (0..count).for_each(|i| picture(&root.path().join(format!("{class}/{i}.png")), 4, 4, salt.wrapping_add(i)));
    }
}

#[track_caller]
fn notes_say(report: &Report, parts: &[&str]) {
    let notes = report.warnings().join("\n");
    assert!(parts.iter().all(|part| notes.contains(part)), "{notes}");
}

#[test]
fn a_class_may_be_called_as_a_split_is() {
    let root = folder(&["bus", "car", "train"], 20);
    let data = open_folder(&root).unwrap();
    assert_eq!(**data.train.classes(), ["bus", "car", "train"]);
    assert_eq!(data.train.len() + data.test.len(), 60);
    notes_say(&data.report, &["train is taken for a class", "a tenth of the pictures"]);
    // But not all of them: these are splits whose classes are missing.
    let root = folder(&["train", "test"], 3);
    fails(open_folder(&root), &["no classes in test, train", "train/CLASS/*.jpg"]);
}

#[test]
fn a_validation_folder_is_tested_with_where_there_is_no_other() {
    for (train, validation) in [("train", "val"), ("train", "valid"), ("Train", "Validation"), ("TRAIN", "VAL")] {
        let root = folder(&[&format!("{train}/cat"), &format!("{train}/dog")], 5);
        add(&root, &[&format!("{validation}/cat"), &format!("{validation}/dog")], 2);
        let data = open_folder(&root).unwrap();
        assert_eq!((data.train.len(), data.test.len(), data.validation.is_none()), (10, 4, true), "{validation}");
        assert!(data.test.name(0).contains(validation));
        notes_say(&data.report, &[&format!("{validation} is tested with: no test folder")]);
    }
}

#[test]
fn a_validation_folder_beside_a_test_folder_is_watched_with() {
    let root = folder(&["train/cat", "train/dog"], 5);
    add(&root, &["Test/cat", "Test/dog"], 3);
    add(&root, &["valid/cat"], 2);
    let data = open_folder(&root).unwrap();
    let validation = data.validation.as_ref().unwrap();
    assert_eq!((data.train.len(), validation.len(), data.test.len()), (10, 2, 6));
    assert_eq!(validation.classes(), data.train.classes());
    notes_say(&data.report, &["valid has no pictures of class \"dog\""]);
    assert!(data.report.split.contains("Test") && data.report.split.contains("valid for validation"));
    let cat = &data.report.classes[0];
    assert_eq!((cat.name.as_str(), cat.train, cat.validation, cat.test), ("cat", 5, 2, 3));
    assert_eq!(data.report.images(), [10, 2, 6]);
    let dogs = data.keep_classes(&["dog"]).unwrap();
    assert_eq!((dogs.validation.unwrap().len(), dogs.report.images()), (0, [5, 0, 3]));

    add(&root, &["valid/cow"], 1);
    fails(open_folder(&root), &["valid: class \"cow\": ", "train has no pictures of that class"]);
    fs::remove_dir_all(root.path().join("valid/cow")).unwrap();
    add(&root, &["val/cat"], 1);
    fails(open_folder(&root), &["val", "only one folder can be that split"]);
}

#[test]
fn a_split_of_our_own_is_said() {
    let root = folder(&["train/cat", "train/dog"], 5);
    notes_say(
        &report(&root),
        &["no test folder beside", "a tenth of the pictures of each class, chosen by their names"],
    );
    let root = folder(&["cat", "dog"], 5);
    let listed = list(root.path().to_str().unwrap(), Path::new("none"), &OpenOptions::default()).unwrap();
    let (test, report) = listed.read_test().unwrap();
    assert_eq!(test.len(), report.images()[2]);
    notes_say(
        &report,
        &["no train and test folders: a tenth of the pictures of each class, chosen by their names, is tested with"],
    );
}

#[test]
fn a_class_without_a_picture_is_named_with_what_it_holds() {
    let dog = |fill: &dyn Fn(&Path), holds: &str| {
        let root = folder(&["cat"], 20);
        let dog = root.path().join("dog");
        fs::create_dir(&dog).unwrap();
        fill(&dog);
        fails(open_folder(&root), &["dog: no pictures of class \"dog\", but ", holds]);
        // A named choice goes on without it.
        let chosen = OpenOptions::default().used_classes(&["cat"]);
        let data = open(root.path().to_str().unwrap(), Path::new("none"), &chosen).unwrap();
        assert_eq!(**data.train.classes(), ["cat"]);
        notes_say(&data.report, &["dog", "\"cat\" is the only class"]);
    };
    dog(&|dog| fs::write(dog.join("1.heic"), "text").unwrap(), "1 pictures in formats that are not read (1.heic)");
    dog(&|dog| fs::create_dir(dog.join("sub")).unwrap(), "1 folders without any");
    dog(&|_| {}, "but nothing");
    dog(&|dog| fs::write(dog.join(".1.png"), "").unwrap(), "1 hidden files and folders (.1.png)");
    #[cfg(unix)]
    dog(&|dog| std::os::unix::fs::symlink("nowhere", dog.join("1.png")).unwrap(), "1 links to nothing (1.png)");
}

#[test]
fn what_is_left_out_is_counted_by_reason() {
    let root = folder(&["cat", "dog"], 10);
    let path = |file: &str| root.path().join(file);
    picture(&path("beside.png"), 4, 4, 1);
    for folder in ["__MACOSX", ".git", "cat/@eaDir", "dog/.ipynb_checkpoints"] {
        picture(&path(folder).join("hidden.png"), 4, 4, 1);
    }
    for file in
        ["cat/1.avif", "cat/2.HEIC", "dog/notes.txt", "dog/.DS_Store", "labels.csv", "cat/Thumbs.db", "DESKTOP.INI"]
    {
        fs::write(path(file), "text").unwrap();
    }
    // A JPEG under its older name, and endings in capitals.
    picture(&path("other.jpg"), 4, 4, 99);
    fs::rename(path("other.jpg"), path("dog/a.jfif")).unwrap();
    picture(&path("other.jpg"), 4, 4, 98);
    fs::rename(path("other.jpg"), path("dog/b.JPE")).unwrap();
    let report = report(&root);
    assert_eq!(report.images().iter().sum::<usize>(), 22);
    let left_out: Vec<_> = report.left_out.iter().map(|left| (left.reason.as_str(), left.paths.len())).collect();
    let expected = [
        ("pictures in formats that are not read", 2),
        ("hidden files and folders", 7),
        ("pictures that are in no class's folder", 1),
        ("files that are no pictures", 2),
    ];
    assert_eq!(left_out, expected);
    notes_say(&report, &["left out, pictures in formats that are not read: ", "cat/1.avif, ", "cat/2.HEIC"]);
    let text = report.to_string();
    assert!(text.starts_with(&report.name) && text.contains("2 classes, ") && text.contains("\n  cat "), "{text}");
}

#[test]
fn pictures_of_more_formats_are_read_or_told_from_other_files() {
    let kinds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pillow/kinds");
    let root = folder(&["cat", "dog"], 10);
    let copy = |kind: &str, file: &str| fs::copy(kinds.join(kind), root.path().join(file)).unwrap();
    copy("lossy.webp", "cat/a.webp");
    copy("palette.gif", "cat/b.GIF");
    copy("rgb.bmp", "dog/a.bmp");
    copy("rgb_raw.tif", "dog/b.tif");
    copy("grey.tif", "dog/c.tiff");
    // The content counts: this one can be read by every program.
    copy("444.jpg", "cat/jpeg.webp");
    let found = report(&root);
    let reason = "pictures in WebP, GIF, BMP or TIFF, which a program built with `--features formats` reads";
    let left_out: Vec<_> = found.left_out.iter().map(|left| (left.reason.as_str(), left.paths.len())).collect();
    let (pictures, expected) = if cfg!(feature = "formats") { (26, vec![]) } else { (21, vec![(reason, 5)]) };
    assert_eq!((found.images().iter().sum::<usize>(), left_out), (pictures, expected));
    if !cfg!(feature = "formats") {
        notes_say(&found, &["left out, pictures in WebP, ", "cat/a.webp, ", "cat/b.GIF, ", "dog/c.tiff"]);
    }
    // A text is neither, and is refused by its name.
    fs::write(root.path().join("dog/d.tif"), "a text").unwrap();
    fails(open_folder(&root), &["dog/d.tif: not a JPEG", "image (it starts with \"a text\")"]);
    fs::remove_file(root.path().join("dog/d.tif")).unwrap();
    copy("lossy.webp", "cat/webp.jpg");
    if cfg!(feature = "formats") {
        assert_eq!(report(&root).images().iter().sum::<usize>(), 27);
    } else {
        fails(
            open_folder(&root),
            &["cat/webp.jpg: a WebP image: this program was built to read JPEG", "--features formats"],
        );
    }
}

#[test]
fn every_bad_picture_is_named_at_once_or_left_out_with_a_word() {
    let root = folder(&["cat", "dog"], 12);
    let bad = ["cat/3.jpg", "cat/zero.png", "dog/gif.jpg"];
    for (file, bytes) in bad.iter().zip([&b"hello, I am a text"[..], b"", b"GIF89a"]) {
        fs::write(root.path().join(file), bytes).unwrap();
    }
    // A PNG that is called a JPEG is read.
    picture(&root.path().join("other.png"), 4, 4, 77);
    fs::rename(root.path().join("other.png"), root.path().join("dog/png.jpg")).unwrap();
    let folder = root.path().to_str().unwrap();
    // The lazy set finds out before the first batch, too.
    let mut measured = Vec::new();
    for limit in [1 << 30, 0] {
        let options = OpenOptions::default().resident_limit(limit);
        let error = open(folder, root.path(), &options).unwrap_err();
        let cnn_data::Error::Pictures { of: 28, bad: found } = &error else { panic!("{error}") };
        assert!(bad.iter().all(|file| found.iter().any(|bad| bad.path.ends_with(file))), "{found:?}");
        fails(Err::<(), _>(error), &["3 of 28 pictures cannot be decoded: ", "cat/3.jpg: not a JPEG", "dog/gif.jpg: "]);

        let data = open(folder, root.path(), &options.skip_bad(true)).unwrap();
        assert_eq!((data.train.len() + data.test.len(), data.report.images().iter().sum()), (25, 25));
        assert_eq!(data.report.bad.len(), 3);
        notes_say(&data.report, &["left out, cannot be decoded: ", "cat/zero.png"]);
        measured.push((data.mean, data.std));
    }
    assert_eq!(measured[0], measured[1], "what was left out is not measured");
    let checked = list(folder, root.path(), &OpenOptions::default()).unwrap().check();
    assert_eq!(checked.bad.len(), 3);

    for i in 0..12 {
        fs::write(root.path().join(format!("cat/{i}.png")), "text").unwrap();
    }
    let skipping = OpenOptions::default().skip_bad(true);
    fails(open(folder, root.path(), &skipping), &["class \"cat\": none of its ", "can be decoded"]);
}

/// What a header cannot show is found when the picture is decoded: by `skip_bad` before the training.
#[test]
fn a_lazy_set_that_may_skip_is_decoded_once_before() {
    let root = folder(&["cat", "dog"], 8);
    let path = root.path().join("cat/3.png");
    let mut bytes = fs::read(&path).unwrap();
    let pixels = bytes.windows(4).position(|kind| kind == b"IDAT").unwrap() + 6;
    bytes[pixels] ^= 0xff;
    fs::write(&path, bytes).unwrap();
    let lazy = OpenOptions::default().resident_limit(0);
    let folder = root.path().to_str().unwrap();
    let skipped = open(folder, root.path(), &lazy.clone().skip_bad(true)).unwrap();
    assert_eq!((skipped.report.bad.len(), skipped.train.len() + skipped.test.len()), (1, 15));
}

#[test]
fn pictures_on_both_sides_are_told() {
    let root = folder(&["train/cat", "train/dog"], 6);
    add(&root, &["test/cat", "test/dog"], 3);
    assert!(report(&root).duplicates.is_empty());
    fs::copy(root.path().join("train/dog/4.png"), root.path().join("test/dog/same.png")).unwrap();
    let report = report(&root);
    let [[train, test]] = &report.duplicates[..] else { panic!("{:?}", report.duplicates) };
    assert!(train.ends_with("train/dog/4.png") && test.ends_with("test/dog/same.png"));
    notes_say(&report, &["trained on and tested with, so that the accuracy flatters: "]);
}

#[test]
fn a_single_class_is_told_and_what_is_usual_is_not() {
    let root = folder(&["train/cat", "test/cat"], 4);
    let one = report(&root);
    // The same bytes are on both sides only by how this test draws them.
    notes_say(&one, &["\"cat\" is the only class"]);
    let root = folder(&["train/cat", "train/dog"], 4);
    add(&root, &["test/cat", "test/dog"], 2);
    assert_eq!(report(&root).warnings(), [""; 0]);
}

#[test]
fn a_set_knows_its_absolute_path_and_the_report_is_json() {
    let root = folder(&["cat", "dog"], 5);
    let data = open_folder(&root).unwrap();
    assert_eq!(data.path.as_deref(), Some(root.path()));
    let here = std::env::current_dir().unwrap();
    let up = "../".repeat(here.components().count());
    let relative = format!("{up}{}", root.path().to_str().unwrap().trim_start_matches('/'));
    let other = open(&relative, root.path(), &OpenOptions::default()).unwrap();
    assert!(other.path.unwrap().is_absolute());
    let shapes = list("shapes", root.path(), &OpenOptions::default()).unwrap();
    assert_eq!((shapes.report().path.as_deref(), shapes.report().images()), (None, [10_000, 0, 2_000]));
    let json = serde_json::to_value(&data.report).unwrap();
    assert_eq!(json["classes"][1]["name"], "dog");
}

#[test]
#[cfg(target_os = "linux")]
fn names_of_pictures_need_not_be_utf_8_and_those_of_classes_must() {
    use std::os::unix::ffi::OsStrExt;
    let root = folder(&["cat", "dog"], 5);
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.png");
    fs::rename(root.path().join("cat/1.png"), root.path().join("cat").join(name)).unwrap();
    assert_eq!(report(&root).images().iter().sum::<usize>(), 10);
    fs::rename(root.path().join("dog"), root.path().join(std::ffi::OsStr::from_bytes(b"d\xf6g"))).unwrap();
    fails(open_folder(&root), &["d\\xF6g", "the name of a class must be UTF-8"]);
}

#[test]
fn reading_tells_how_far_it_is() {
    let root = folder(&["cat", "dog"], 10);
    for limit in [1 << 30, 0] {
        let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let hear = told.clone();
        let options = OpenOptions::default().resident_limit(limit);
        let options = options.progress(move |at| hear.lock().unwrap().push((at.done, at.total)));
        open(root.path().to_str().unwrap(), root.path(), &options).unwrap();
        let mut told = told.lock().unwrap().clone();
        told.sort_unstable();
        assert_eq!(told, (1..=20).map(|done| (done, 20)).collect::<Vec<_>>());
    }
}

#[test]
fn only_the_split_that_is_read_is_decoded() {
    let root = folder(&["train/cat", "train/dog"], 5);
    add(&root, &["test/cat", "test/dog"], 2);
    fs::write(root.path().join("train/cat/0.png"), "not decoded, so not seen").unwrap();
    let listed = list(root.path().to_str().unwrap(), root.path(), &OpenOptions::default()).unwrap();
    let (test, _) = listed.read_test().unwrap();
    assert!(test.len() == 4 && test.is_resident());
}

#[test]
fn a_name_that_is_nearly_right_is_understood_or_offered() {
    let root = tempfile::tempdir().unwrap();
    crate::write::cifar10(&root.path().join("cifar-10-batches-bin"), 2);
    for name in ["CIFAR-10", "Cifar_10", "cifar 10"] {
        assert_eq!(open(name, root.path(), &OpenOptions::default()).unwrap().name, "cifar10");
    }
    for (name, near) in [("cifar1O", "cifar10"), ("mnst", "mnist"), ("shape", "shapes"), ("cifar101", "cifar10")] {
        let message = open(name, root.path(), &OpenOptions::default()).unwrap_err().to_string();
        assert!(message.contains(&format!("did you mean {near}")), "{message}");
    }
    let message = open("photographs", root.path(), &OpenOptions::default()).unwrap_err().to_string();
    assert!(!message.contains("did you mean"), "{message}");
}

/// Which pictures of `root` are tested with, as CLASS/FILE.
fn tested(root: &TempDir) -> Vec<String> {
    let data = open_folder(root).unwrap();
    let place = format!("{}/", root.path().display());
    (0..data.test.len()).map(|i| data.test.name(i).replace(&place, "")).collect()
}

#[test]
fn every_class_gives_its_tenth_and_keeps_it_when_pictures_come() {
    let root = folder(&["ant"], 2);
    add(&root, &["bee"], 14);
    add(&root, &["cat"], 26);
    add(&root, &["dog"], 30);
    let counts = report(&root).classes.into_iter().map(|class| (class.train, class.test)).collect::<Vec<_>>();
    assert_eq!(counts, [(1, 1), (13, 1), (23, 3), (27, 3)]);
    // A class of one picture trains on it.
    add(&root, &["ape"], 1);
    let ape = report(&root).classes.swap_remove(1);
    assert_eq!((ape.name.as_str(), ape.train, ape.test), ("ape", 1, 0));
    // A picture more moves at most one that was there; other classes do not care.
    for count in 31..50 {
        let before = tested(&root);
        picture(&root.path().join(format!("dog/{count}.png")), 4, 4, count);
        let after = tested(&root);
        let moved = before.iter().filter(|picture| !after.contains(picture)).count();
        assert!(moved <= 1 && after.iter().filter(|picture| !picture.starts_with("dog")).count() == 5, "{moved}");
    }
    assert_eq!(tested(&root).len(), 10);
}

#[test]
fn the_same_picture_in_two_classes_is_told_with_both() {
    let root = folder(&["ball", "tree"], 12);
    assert!(report(&root).same.is_empty());
    let copy = |from: &str, to: &str| fs::copy(root.path().join(from), root.path().join(to)).unwrap();
    copy("ball/3.png", "tree/copy.png");
    copy("ball/5.png", "ball/again.png");
    copy("ball/5.png", "ball/again2.png");
    let report = list(root.path().to_str().unwrap(), root.path(), &OpenOptions::default()).unwrap().check();
    let same: Vec<_> = report.same.iter().map(|same| (same.paths.len(), same.classes.join(" "))).collect();
    assert_eq!(same, [(2, "ball tree".to_owned()), (3, "ball".to_owned())]);
    assert!(report.same[0].paths[0].ends_with("ball/3.png") && report.same[0].paths[1].ends_with("tree/copy.png"));
    notes_say(&report, &["the same picture is in ball and in tree", "tree/copy.png"]);
    assert!(serde_json::to_value(&report).unwrap()["same"][0]["classes"][1] == "tree");
}

#[test]
fn a_folder_of_the_wrong_level_is_told_from_the_right_one() {
    let root = folder(&["photos/cat", "photos/dog"], 12);
    fails(open_folder(&root), &["did you mean ", "/photos?"]);
    let class = root.path().join("photos/cat");
    let alone = open(class.to_str().unwrap(), root.path(), &OpenOptions::default());
    fails(alone, &["cat: holds 12 pictures and no folders of classes: give the folder above it, ", "/photos"]);
    // Splits are no such level.
    let root = folder(&["train/cat", "train/dog"], 12);
    assert_eq!(**open_folder(&root).unwrap().train.classes(), ["cat", "dog"]);
}

#[test]
fn splits_are_known_by_their_usual_names() {
    for (train, validation, test) in [
        ("train", "val", "test"),
        ("Train", "Valid", "TEST"),
        ("training", "validation", "testing"),
        ("TRAIN", "dev", "eval"),
        ("Training", "DEV", "Evaluation"),
    ] {
        let classes = |split: &str| ["cat", "dog"].map(|class| format!("{split}/{class}"));
        let root = tempfile::tempdir().unwrap();
        for (split, count) in [(train, 5), (validation, 3), (test, 2)] {
            add(&root, &classes(split).each_ref().map(String::as_str), count);
        }
        let found = report(&root);
        assert_eq!(found.images(), [10, 6, 4], "{train}, {validation}, {test}");
    }
    for (one, other) in [("test", "eval"), ("Test", "Testing"), ("val", "valid"), ("dev", "validation")] {
        let root = folder(&["train/cat", "train/dog"], 5);
        add(&root, &[&format!("{one}/cat"), &format!("{other}/cat"), "test/cat"], 2);
        fails(open_folder(&root), &[&format!("{one:?}"), &format!("{other:?}"), "only one folder can be that split"]);
    }
    let root = folder(&["train/cat", "training/cat", "test/cat"], 5);
    fails(open_folder(&root), &["\"train\", \"training\"", "only one folder can be that split"]);
}

#[test]
fn folders_in_a_class_belong_to_it() {
    let root = folder(&["cat", "dog"], 20);
    let before = tested(&root);
    add(&root, &["cat/2019", "cat/2020/may", "dog/a/b/c/d/e/f/g/h"], 10);
    let found = report(&root);
    assert_eq!(found.classes.iter().map(|class| class.train + class.test).collect::<Vec<_>>(), [40, 30]);
    assert!(found.left_out.is_empty(), "{:?}", found.left_out);
    // A picture's place decides, as before: those that were tested with are among the lowest hashes still, or others are lower.
    let after = tested(&root);
    assert_eq!((before.len(), after.len()), (4, 7));
    assert!(after.iter().any(|picture| before.contains(picture)) && after.iter().any(|picture| picture.contains("/2")));
    // In splits as well; and where a class has no picture of its own, this is said.
    let root = folder(&["train/cat/2019", "train/cat/2020", "train/dog", "test/cat/x", "test/dog"], 5);
    let found = report(&root);
    assert_eq!((found.images(), found.warnings()), ([15, 0, 10], vec![]));
    let root = folder(&["cat/2019", "cat/2020", "dog/2019"], 5);
    let found = report(&root);
    assert_eq!(found.images().iter().sum::<usize>(), 15);
    notes_say(&found, &["the classes hold pictures in folders only; if those are the classes, ", "/cat"]);
    // Splits in a folder beside another one are no classes.
    let root = folder(&["one/train/cat", "one/train/dog", "one/test/cat", "two/train/cat"], 5);
    fails(open_folder(&root), &["did you mean ", "/one?"]);
    let root = folder(&["set/train/cat", "set/train/dog", "set/test/cat"], 5);
    fails(open_folder(&root), &["did you mean ", "/set?"]);
}

#[test]
fn what_is_too_deep_is_left_out() {
    let root = folder(&["cat", "dog"], 5);
    let deep = |levels: usize| format!("cat/{}", vec!["x"; levels].join("/"));
    add(&root, &[&deep(15)], 1);
    assert_eq!(report(&root).images().iter().sum::<usize>(), 11);
    add(&root, &[&deep(16)], 1);
    let found = report(&root);
    let [left] = &found.left_out[..] else { panic!("{:?}", found.left_out) };
    assert_eq!((left.reason.as_str(), left.paths.len()), ("folders more than 16 levels deep", 1));
    assert_eq!(found.images().iter().sum::<usize>(), 11);
}

#[test]
#[cfg(unix)]
fn links_are_followed_but_not_in_circles() {
    use std::os::unix::fs::symlink;
    let elsewhere = folder(&["cat"], 5);
    let root = folder(&["dog", "cow/young"], 5);
    symlink(elsewhere.path().join("cat"), root.path().join("cat")).unwrap();
    assert_eq!(report(&root).images().iter().sum::<usize>(), 15, "a class may be elsewhere");
    // To itself, to the folder above by its other name, and there and back.
    symlink(root.path().join("dog"), root.path().join("dog/again")).unwrap();
    symlink("../..", root.path().join("cow/young/up")).unwrap();
    symlink(root.path().join("cow"), elsewhere.path().join("cat/there")).unwrap();
    symlink(elsewhere.path().join("cat"), root.path().join("cow/back")).unwrap();
    let found = report(&root);
    let looped = found.left_out.iter().find(|left| left.reason == "links to folders that they are in").unwrap();
    assert!(looped.paths.iter().any(|path| path.ends_with("dog/again")), "{looped:?}");
    assert!(looped.paths.iter().any(|path| path.ends_with("cow/young/up")), "{looped:?}");
    assert!(looped.paths.iter().any(|path| path.ends_with("cow/back/there")), "{looped:?}");
}
