//! Files that name pictures and their classes: tables and lines of JSON, as programs and people write them.

use crate::write::picture;
use cnn_data::{Dataset, Error, OpenOptions, Result, list, open};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder `photos` with ten pictures of cats and ten of dogs.
fn photos() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (class, salt) in [("cat", 0), ("dog", 100)] {
        (0..10).for_each(|i| picture(&root.path().join(format!("photos/{class}/{i}.png")), 4, 4, salt + i));
    }
    root
}

fn write(root: &TempDir, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = root.path().join("photos").join(name);
    fs::write(&path, text).unwrap();
    path
}

fn open_file(path: &Path) -> Result<Dataset> {
    open(path.to_str().unwrap(), Path::new("none"), &OpenOptions::default())
}

/// Opening a file of this name and text fails with a message of one line that has every one of `parts`.
#[track_caller]
fn fails(root: &TempDir, name: &str, text: impl AsRef<[u8]>, parts: &[&str]) {
    let message = open_file(&write(root, name, text)).map(|_| ()).expect_err("must fail").to_string();
    let whole = parts.iter().all(|part| message.contains(part));
    assert!(whole && message.contains(name) && message.lines().count() == 1, "{message}");
}

/// Rows of all the pictures.
fn every(row: impl Fn(&str, usize) -> String) -> String {
    ["cat", "dog"].iter().flat_map(|class| (0..10).map(|i| row(class, i)).collect::<Vec<_>>()).collect()
}

/// The splits' pictures with their labels.
fn contents(data: &Dataset) -> Vec<Vec<(String, u32)>> {
    let sets = [Some(&data.train), data.validation.as_ref(), Some(&data.test)];
    let one = |set: &cnn_data::ImageSet| (0..set.len()).map(|i| (set.name(i), set.label(i))).collect();
    sets.into_iter().map(|set| set.map(one).unwrap_or_default()).collect()
}

#[test]
fn a_file_of_labels_is_the_set_that_its_folder_is() {
    let root = photos();
    let folder = open(root.path().join("photos").to_str().unwrap(), root.path(), &OpenOptions::default()).unwrap();
    let expected = contents(&folder);
    let table = every(|class, i| format!("{class}/{i}.png,{class}\n"));
    let lines = every(|class, i| format!("{{\"image\": \"{class}/{i}.png\", \"category\": \"{class}\"}}\n"));
    for (name, text) in [
        ("a.csv", format!("file,label\n{table}")),
        ("b.CSV", format!("\u{feff}Path;Class\r\n\r\n{}", table.replace(',', ";").replace('\n', "\r\n"))),
        ("c.tsv", format!("FileName\tCATEGORY\tmore\n{}", table.replace(',', "\t").replace('\n', "\t5, or 6\n\n"))),
        ("d.csv", format!("label,id\n{}", every(|class, i| format!("{class},{class}/{i}\n")))),
        (
            "e.csv",
            format!("\"file\",\"label\"\n{}", every(|class, i| format!("\"./{class}/{i}.png\" , \"{class}\"\n"))),
        ),
        ("f.jsonl", lines.clone()),
        ("g.ndjson", format!("\u{feff}{}", lines.replace('\n', "\r\n\r\n"))),
    ] {
        let data = open_file(&write(&root, name, text)).unwrap();
        assert_eq!((contents(&data), &**data.train.classes()), (expected.clone(), &**folder.train.classes()), "{name}");
        assert_eq!(data.name, name[..1], "it is called as the file is");
        assert!(data.report.split.contains("no column split or subset in ") && data.report.format == "file of labels");
        assert_eq!(data.train.image(0).unwrap(), folder.train.image(0).unwrap());
    }
}

#[test]
fn a_file_may_say_the_split_and_name_pictures_anywhere() {
    let root = photos();
    let elsewhere = photos();
    let split = |i: usize| ["Train", "train", "train", "valid", "TEST"][i % 5];
    let place = elsewhere.path().join("photos").display().to_string();
    let rows = every(|class, i| format!("{place}/{class}/{i}.png,\"a \"\"{class}\"\", one\",{}\n", split(i)));
    let data = open_file(&write(&root, "a.csv", format!("file,label,subset\n{rows}"))).unwrap();
    assert_eq!(data.report.images(), [12, 4, 4]);
    assert_eq!(**data.train.classes(), ["a \"cat\", one", "a \"dog\", one"]);
    assert!(data.report.split.contains("a.csv (train) and ") && data.report.warnings().is_empty(), "{}", data.report);
    let lines = every(|class, i| {
        let label = usize::from(class == "dog") * 7;
        format!("{{\"file\": \"{class}/{i}.png\", \"label\": {label}, \"split\": \"{}\"}}\n", split(i))
    });
    let data = open_file(&write(&root, "a.jsonl", lines)).unwrap();
    assert_eq!((data.report.images(), &**data.train.classes()), ([12, 4, 4], &["0".to_owned(), "7".to_owned()][..]));

    // A column of splits without one to train on is for tests of all.
    let path = write(&root, "t.csv", format!("file,label,split\n{}", every(|c, i| format!("{c}/{i}.png,{c},test\n"))));
    let all = OpenOptions::default().test_all(true);
    let listing = list(path.to_str().unwrap(), root.path(), &all).unwrap();
    assert_eq!(listing.report().images(), [20, 0, 20]);
    fails(
        &root,
        "u.csv",
        "file,label,split\ncat/1.png,cat,test\n",
        &["u.csv: none of 1 to train on: one must be of the split train", "by --all"],
    );
}

#[test]
fn names_with_lines_and_quotes_are_found() {
    let root = photos();
    for (i, name) in ["with, comma.png", "with \"quotes\".png", "caf\u{e9}.png", " space.png"].iter().enumerate() {
        picture(&root.path().join("photos").join(name), 4, 4, 200 + i as u8);
    }
    let rows = "\"with, comma.png\",cat\n\"with \"\"quotes\"\".png\",dog\ncaf\u{e9}.png,cat\n\" space.png\",dog\n";
    let data = open_file(&write(&root, "a.csv", format!("file,label\n{rows}"))).unwrap();
    assert_eq!(data.report.images(), [2, 0, 2]);
    #[cfg(unix)]
    {
        picture(&root.path().join("photos/two\nlines.png"), 4, 4, 9);
        picture(&root.path().join("photos/other.png"), 4, 4, 10);
        let text = format!("file,label\n\"two\nlines.png\",cat\nother.png,cat\n{rows}none.png,cat\n");
        fails(&root, "b.csv", text, &["1 of 7 rows are wrong: line 9: none.png: not there"]);
    }
}

#[test]
fn every_wrong_row_is_named_with_its_line() {
    let root = photos();
    let rows = "cat/0.png,cat,train\n\
                none.png,cat,train\n\
                \n\
                cat/1.png,,train\n\
                ,cat,train\n\
                cat,cat,train\n\
                cat/0.png,dog,train\n\
                ./cat/0.png,cat,test\n\
                cat/2.png,cat,holdout\n\
                cat/3.png,cat,\n\
                cat/4.png,\"c\n at\",test\n\
                cat/5.png,cat,x\n\
                cat/6.png,cat,train\n\
                cat/6.png,cat,train\n";
    let path = write(&root, "a.csv", format!("file,label,split\n{rows}"));
    let error = open_file(&path).unwrap_err();
    let Error::Rows { bad, of: Some(13), .. } = &error else { panic!("{error}") };
    let bad: Vec<_> = bad.iter().map(|bad| (bad.line, bad.reason.as_str())).collect();
    let split = "must be train, val or test, or what these are usually called";
    let expected = [
        (3, "none.png: not there".to_owned()),
        (5, "class \"\": must be neither empty nor have control characters".to_owned()),
        (6, "names no picture".to_owned()),
        (7, "cat: is no file".to_owned()),
        (8, "cat/0.png: line 2 has it too, as \"cat\"".to_owned()),
        (9, "./cat/0.png: line 2 has it too, in another split".to_owned()),
        (10, format!("split \"holdout\": {split}")),
        (11, format!("split \"\": {split}")),
        (12, "class \"c\\n at\": must be neither empty nor have control characters".to_owned()),
        (14, format!("split \"x\": {split}")),
    ];
    assert_eq!(bad, expected.each_ref().map(|(line, reason)| (*line, reason.as_str())));
    let message = error.to_string();
    assert!(
        message.starts_with(&format!("{}: 10 of 13 rows are wrong: line 3: none.png", path.display())),
        "{message}"
    );
    assert!(message.ends_with("; and 2 more") && message.lines().count() == 1, "{message}");

    let rows = every(|class, i| format!("{class}/{i}.png,{class}\n"));
    let data = open_file(&write(&root, "b.csv", format!("file,label\n{rows}cat/6.png,cat\n"))).unwrap();
    assert_eq!(data.report.images().iter().sum::<usize>(), 20);
    assert_eq!(data.report.left_out[0].paths, ["cat/6.png"], "{}", data.report);
    // A file that is no picture is found out as in a folder.
    fs::write(root.path().join("photos/text.png"), "text").unwrap();
    let error = open_file(&write(&root, "c.csv", format!("file,label\n{rows}text.png,cat\n"))).unwrap_err();
    assert!(error.to_string().contains("photos/text.png: not a JPEG"), "{error}");
}

#[test]
fn files_that_are_no_labels_say_why() {
    let root = photos();
    fails(&root, "a.csv", "", &["must name a picture"]);
    fails(&root, "a.csv", "file,label\n", &["must name a picture"]);
    fails(&root, "a.csv", "x,label\n1,2\n", &["line 1: the header x, label: must have a column file, filename, "]);
    fails(&root, "a.csv", "\n\nfile,y\n1,2\n", &["line 3: the header file, y: must have a column label, class, "]);
    fails(&root, "a.csv", "file,label\na,b,c\n", &["line 2: 3 fields: the header has 2"]);
    fails(&root, "a.csv", "file,label\n\"a,b\nc,d\n", &["line 2: a quote without its other"]);
    fails(&root, "a.csv", b"file,label\ncaf\xe9.png,cat\n", &["line 2: must be UTF-8"]);
    fails(&root, "a.csv", b"\xff\xfef\0i\0l\0e\0", &["line 1: must be UTF-8"]);
    let line = "{\"file\": \"cat/1.png\", \"label\": \"cat\"";
    fails(&root, "a.jsonl", format!("{line}}}\n\n{line}\n"), &["line 3: must be a JSON object: "]);
    fails(&root, "a.jsonl", "[1, 2]", &["line 1: must be a JSON object: "]);
    fails(&root, "a.jsonl", "{\"file\": \"x\"}", &["line 1: must have a key label, class, "]);
    let nested = "{\"file\": \"x\", \"label\": {\"a\": 1}}";
    fails(&root, "a.jsonl", nested, &["line 1: label: {\"a\":1}: must be a text or a number"]);
    let some = format!("{line}, \"split\": \"train\"}}\n{line}}}\n");
    fails(&root, "a.jsonl", some, &["line 2: no split, where other lines have one"]);
    let twice = "file,label,Label\ncat/1.png,cat,dog\n";
    fails(&root, "a.csv", twice, &["line 1: the header file, label, Label: label: must be there once"]);
    fails(&root, "a.jsonl", format!("{line}, \"label\": \"dog\"}}"), &["line 1: label: must be there once"]);
    fails(&root, "a.jsonl", format!("{line}, \"File\": \"x\"}}"), &["line 1: file: must be there once"]);
}

#[test]
fn what_else_could_be_the_class_is_told() {
    let root = photos();
    let table = every(|class, i| format!("{class}/{i}.png,{class},a,b|c\n"));
    let lines = every(|class, i| format!("{{\"file\": \"{class}/{i}.png\", \"class\": 1, \"label\": \"{class}\"}}\n"));
    for (name, text, kind, others) in [
        ("a.csv", format!("file,label,class,labels\n{table}"), "column", &["class", "labels"][..]),
        ("b.jsonl", lines, "key", &["class"]),
    ] {
        let data = open_file(&write(&root, name, text)).unwrap();
        assert_eq!(**data.train.classes(), ["cat", "dog"]);
        let notes: Vec<String> = others
            .iter()
            .map(|other| {
                let taken = if *other == "labels" { "; --multi-label reads it" } else { "" };
                format!("the {kind} {other} is not read, as label has the classes{taken}")
            })
            .collect();
        // The first says that a part of each class is tested with.
        assert_eq!(data.report.warnings()[1..], notes, "{name}");
    }
}

#[test]
fn a_second_column_of_pictures_or_of_splits_is_told() {
    let root = photos();
    let rows = every(|class, i| format!("{i},{class}/{i}.png,x.png,{class},{},test\n", ["train", "test"][i % 2]));
    let data = open_file(&write(&root, "a.csv", format!("id,file,image,label,split,subset\n{rows}"))).unwrap();
    assert_eq!(data.report.images(), [10, 0, 10]);
    let told = ["image is not read, as file has the pictures", "subset is not read, as split has the splits"];
    assert_eq!(data.report.warnings(), told.map(|told| format!("the column {told}")));
    // Annotations are numbered, and so are the pictures that they are of.
    for (header, told) in [("number,image_id,label", 0), ("id,image_id,label", 1)] {
        let rows = every(|class, i| format!("{i},{class}/{i}.png,{class}\n"));
        let data = open_file(&write(&root, "b.csv", format!("{header}\n{rows}"))).unwrap();
        let notes = &data.report.warnings()[1..];
        assert!(
            notes.len() == told && notes.iter().all(|note| note.contains("id is not read, as image_id")),
            "{notes:?}"
        );
    }
}
