//! Sets whose images have none, one or several labels.

use crate::write::picture;
use cnn_data::{Augment, Dataset, ImageSet, Loader, LoaderOptions, OpenOptions, Result, list, open};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A folder with 40 pictures, `0.png` to `39.png`.
fn photos() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    (0..40).for_each(|i| picture(&root.path().join(format!("{i}.png")), 4, 4, i));
    root
}

/// The labels that picture `i` has: red every second, round every third, both every sixth.
fn labels(i: usize) -> Vec<&'static str> {
    let has = [(i.is_multiple_of(2), "red"), (i.is_multiple_of(3), "round")];
    has.into_iter().filter_map(|(has, name)| has.then_some(name)).collect()
}

fn open_text(root: &TempDir, name: &str, text: &str, options: &OpenOptions) -> Result<Dataset> {
    let path = root.path().join(name);
    fs::write(&path, text).unwrap();
    open(path.to_str().unwrap(), Path::new("none"), options)
}

/// The names of a picture's labels, of every picture.
fn contents(set: &ImageSet) -> BTreeSet<(String, String)> {
    let name = |i: usize| Path::new(&set.name(i)).file_name().unwrap().to_string_lossy().into_owned();
    (0..set.len()).map(|i| (name(i), set.named(set.classes_of(i)))).collect()
}

/// A line for each picture.
fn every(row: impl Fn(usize) -> String) -> String {
    (0..40).map(row).collect()
}

#[test]
fn labels_are_told_apart_in_tables_and_lines() {
    let root = photos();
    let auto = OpenOptions::default();
    let told = auto.clone().multi_label(true);
    let joined = |between: &str| every(|i| format!("{i}.png,{}\n", labels(i).join(between)));
    let list = every(|i| format!("{{\"file\": \"{i}.png\", \"labels\": {:?}}}\n", labels(i)));
    let text = every(|i| format!("{{\"file\": \"{i}.png\", \"tags\": \"{}\"}}\n", labels(i).join("|")));
    let data = open_text(&root, "a.csv", &format!("file,labels\n{}", joined("|")), &auto).unwrap();
    assert!(data.train.is_multi_label() && **data.train.classes() == ["red", "round"]);
    let both = [contents(&data.train), contents(&data.test)];
    let expected = |i: usize| if labels(i).is_empty() { "no label".to_owned() } else { labels(i).join("|") };
    let all: BTreeSet<_> = (0..40).map(|i| (format!("{i}.png"), expected(i))).collect();
    assert_eq!(&both[0] | &both[1], all);
    for (name, text, options) in [
        ("b.csv", format!("file,labels\n{}", joined(" ; ")), &auto),
        ("c.csv", format!("file,label\n{}", joined("|")), &told),
        ("d.csv", format!("label,file,labels\n{}", every(|i| format!("x,{i}.png,{}\n", labels(i).join("|")))), &told),
        ("e.jsonl", list, &auto),
        ("f.jsonl", text, &auto),
    ] {
        let data = open_text(&root, name, &text, options).unwrap();
        assert_eq!([contents(&data.train), contents(&data.test)], both, "{name}");
    }
    // A column that may hold several, and holds one each.
    let ones = format!("file,labels\n{}", every(|i| format!("{i}.png,{}\n", if i % 2 == 0 { "red" } else { "blue" })));
    assert!(!open_text(&root, "g.csv", &ones, &auto).unwrap().train.is_multi_label());
    assert!(open_text(&root, "g.csv", &ones, &told).unwrap().train.is_multi_label());
    // A column for one label is taken at its word, and that is said.
    let apart =
        format!("file,label\n{}", every(|i| format!("{i}.png,{}\n", if i % 2 == 0 { "red|round" } else { "red" })));
    let data = open_text(&root, "h.csv", &apart, &auto).unwrap();
    assert_eq!(**data.train.classes(), ["red", "red|round"]);
    assert!(
        data.report.warnings().iter().any(|note| note.starts_with("20 labels have a | in them")),
        "{:?}",
        data.report
    );
}

#[test]
fn every_class_is_tested_and_none_is_lost() {
    let root = photos();
    let rare = |i: usize| {
        if i == 7 || i == 8 {
            "|rare"
        } else if i == 9 {
            "|lone"
        } else {
            ""
        }
    };
    let text = format!("file,tags\n{}", every(|i| format!("{i}.png,{}{}\n", labels(i).join("|"), rare(i))));
    let data = open_text(&root, "a.csv", &text, &OpenOptions::default()).unwrap();
    let of = |set: &ImageSet, name: &str| {
        contents(set).iter().filter(|(_, labels)| labels.split('|').any(|l| l == name)).count()
    };
    let both = |name| [of(&data.train, name), of(&data.test, name)];
    assert_eq!((both("rare"), both("lone")), ([1, 1], [1, 0]));
    assert!((2..=4).contains(&both("red")[1]) && (1..=4).contains(&both("round")[1]), "{:?}", contents(&data.test));
    let counts = data.report.multi_label.unwrap();
    assert_eq!(counts.images, [data.train.len(), 0, data.test.len()]);
    assert_eq!(data.report.images().iter().sum::<usize>(), 40);
    assert_eq!(
        counts.without.iter().sum::<usize>(),
        (0..40).filter(|&i| labels(i).is_empty() && rare(i).is_empty()).count()
    );
    assert!(data.report.to_string().contains("several labels: "), "{}", data.report);
    let tested = format!("is tested with ({} of 40 in all)", data.test.len());
    assert!(data.report.split.ends_with(&tested), "{}", data.report);
    // What every picture has is told.
    let told = |data: &Dataset| data.report.warnings().iter().filter(|line| line.starts_with("every picture")).count();
    let text = format!("file,tags\n{}", every(|i| format!("{i}.png,photo|{}\n", labels(i).join("|"))));
    let always = open_text(&root, "b.csv", &text, &OpenOptions::default()).unwrap();
    assert_eq!([told(&data), told(&always)], [0, 1], "{}", always.report);
    // What is watched with is a share of the pictures of each combination.
    let (train, watched) = data.train.split_validation(9, 3).unwrap();
    assert_eq!((train.len() + 9, watched.len()), (data.train.len(), 9));
    assert!(of(&watched, "red") >= 3 && of(&watched, "round") >= 2, "{:?}", contents(&watched));
}

#[test]
fn batches_and_targets_follow_the_samples() {
    let root = photos();
    let text = format!("file,labels\n{}", every(|i| format!("{i}.png,{}\n", labels(i).join("|"))));
    let data = open_text(&root, "a.csv", &text, &OpenOptions::default()).unwrap();
    let loader = Loader::new(data.train.clone(), LoaderOptions::new(7).shuffle(true)).unwrap();
    for batch in loader.epoch(0, &Augment::NONE).map(Result::unwrap) {
        assert!(batch.labels.is_empty() && batch.parts(3).iter().map(|part| part.len()).sum::<usize>() == batch.len());
        let targets = data.train.targets(&batch.samples);
        for (row, &sample) in targets.chunks(2).zip(&batch.samples) {
            let has = |class| f32::from(data.train.classes_of(sample as usize).contains(&class));
            assert_eq!(row, [has(0), has(1)]);
        }
    }
    let round = data.train.keep_classes(&["round"]).unwrap();
    assert_eq!((round.len(), round.class_sizes()[0]), (data.train.len(), data.train.class_sizes()[1]));
    let error = Loader::new(round, LoaderOptions::new(7).balanced(true)).unwrap_err().to_string();
    assert_eq!(
        error,
        "balanced: true: must be off where an image has several labels: it would count for several classes"
    );
}

#[test]
fn a_split_may_be_the_files_and_need_not_have_every_class() {
    let root = photos();
    let split = |i: usize| if i < 30 { "train" } else { "test" };
    let row =
        |i: usize| format!("{i}.png,{}{},{}\n", labels(i).join("|"), if i == 5 { "|early" } else { "" }, split(i));
    let data =
        open_text(&root, "a.csv", &format!("file,labels,split\n{}", every(row)), &OpenOptions::default()).unwrap();
    assert_eq!((data.train.len(), data.test.len()), (30, 10));
    assert!(
        data.report.notes.iter().any(|note| note.ends_with("has no pictures of class \"early\"")),
        "{:?}",
        data.report
    );
    let late =
        |i: usize| format!("{i}.png,{}{},{}\n", labels(i).join("|"), if i == 35 { "|late" } else { "" }, split(i));
    let error = open_text(&root, "b.csv", &format!("file,labels,split\n{}", every(late)), &OpenOptions::default());
    assert!(error.unwrap_err().to_string().contains("class \"late\""));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let root = photos();
    let several = format!("file,labels\n{}", every(|i| format!("{i}.png,{}\n", labels(i).join("|"))));
    let fails = |name: &str, text: &str, options: &OpenOptions, rule: &str| {
        let error = open_text(&root, name, text, options).map(drop).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(rule) && error.lines().count() == 1, "{error}");
    };
    let auto = OpenOptions::default();
    fails(
        "a.csv",
        &several,
        &auto.clone().multi_label(false),
        "line 2: labels \"red|round\": must be one for each picture",
    );
    fails("b.csv", "file,labels\n0.png,red|red\n", &auto, "labels \"red|red\": \"red\" must be there once");
    fails("c.csv", "file,labels\n0.png,red|round\n0.png,red\n", &auto, "0.png: line 2 has it too, as \"red|round\"");
    fails("d.jsonl", "{\"file\": \"0.png\", \"labels\": [[1]]}\n", &auto, "labels: [1]: must be a text or a number");
    fails("f.csv", "file,labels\n0.png,\n1.png,\n", &auto, "must give a picture a label");
    let both = "{\"file\": \"0.png\", \"label\": \"a\", \"labels\": [\"b\"]}\n";
    fails("g.jsonl", both, &auto, "line 1: a key for one label and one for several");
    fails("h.csv", "file,tag\n0.png,a\n", &auto, "or for several labels labels, tags, classes, categories");
    fails("e.csv", "file,label\n0.png,\n", &auto, "class \"\": must be neither empty");
    let told = auto.multi_label(true);
    let class = |i: u8| ["cat", "dog"][usize::from(i % 2)];
    (0..4).for_each(|i| picture(&root.path().join(format!("folder/{}/{i}.png", class(i))), 4, 4, i));
    for place in ["shapes".to_owned(), root.path().join("folder").to_str().unwrap().to_owned()] {
        let error = list(&place, Path::new("none"), &told).map(drop).unwrap_err().to_string();
        assert!(error.contains("several labels: has one label for each image"), "{error}");
    }
}
