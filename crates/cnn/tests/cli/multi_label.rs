//! Pictures that have none, one or several labels, from their file to the answer.

use std::fs;

use crate::support::{Place, json_lines};

#[test]
fn both_labels_are_learned_and_told() {
    let place = Place::new();
    place.labelled("photos", 200);
    let train = [
        "train",
        "--data",
        "photos/labels.csv",
        "--model",
        "small",
        "--size",
        "16",
        "--epochs",
        "12",
        "--batch",
        "16",
        "--validation",
        "0.2",
        "--threads",
        "2",
    ];
    let (text, notes) = place.succeeds(&[&train[..], &["--out", "run", "--json"]].concat());
    assert!(notes.contains("note: a picture may have none, one or several of the labels"), "{notes}");
    assert!(notes.contains("every class right"), "{notes}");
    let lines = json_lines(&text);
    let last = lines.last().unwrap();
    assert!(
        last["test_mean_average_precision"].as_f64().unwrap() > 0.97 && last["test_accuracy"].as_f64().unwrap() > 0.85,
        "{last}"
    );
    assert!(last["best_validation_mean_average_precision"].as_f64().unwrap() > 0.97, "{last}");
    let (text, _) = place.succeeds(&["eval", "run", "--best"]);
    for part in ["test mean average precision ", "every class right in ", "average precision\nred ", "\nround "] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("confusion"), "{text}");
    let (text, _) = place.succeeds(&["eval", "run", "--json", "--tta"]);
    assert_eq!(json_lines(&text)[0]["classes"][1]["class"], "round");
    assert!(json_lines(&text)[0]["test_mean_average_precision_tta"].as_f64().unwrap() > 0.9, "{text}");
    let (text, _) = place.succeeds(&["runs", "run"]);
    assert!(text.lines().next().unwrap().contains("mAP"), "{text}");
    // A file need not have every label of the weights, and what they do not know is told.
    fs::write(place.path().join("photos/red.csv"), "file,labels,split\n0.png,red,test\n1.png,,test\n").unwrap();
    let (text, notes) = place.succeeds(&["eval", "run", "--data", "photos/red.csv", "--all", "--json"]);
    assert_eq!((json_lines(&text)[0]["count"].as_u64(), notes.contains("do not know")), (Some(2), false), "{notes}");
    let more = "file,labels,split\n0.png,red|odd,test\n1.png,round,test\n2.png,odd,test\n";
    fs::write(place.path().join("photos/odd.csv"), more).unwrap();
    let (_, notes) = place.succeeds(&["eval", "run", "--data", "photos/odd.csv", "--all"]);
    assert!(notes.contains("classes that the weights do not know: odd; 2 labels are not judged"), "{notes}");
    // A split of the file's own is kept to.
    let parts = "file,labels,split\n0.png,red,train\n1.png,round,train\n2.png,red,test\n";
    fs::write(place.path().join("photos/parts.csv"), parts).unwrap();
    let (text, notes) = place.succeeds(&["eval", "run", "--data", "photos/parts.csv", "--all", "--json"]);
    assert_eq!(json_lines(&text)[0]["count"].as_u64(), Some(1), "{notes}");
    assert!(notes.contains("note: --all does not hold here: some of the images are marked to train on"), "{notes}");
    let rows = String::from_utf8(place.read("run/metrics.csv")).unwrap();
    let (header, first) = rows.split_once('\n').unwrap();
    assert!(header.ends_with(",validation_mean_average_precision"), "{rows}");
    assert!(first.lines().next().unwrap().rsplit(',').next().unwrap().parse::<f64>().is_ok(), "{rows}");
    // Of the first four pictures each has other labels.
    let images = ["photos/0.png", "photos/1.png", "photos/2.png", "photos/3.png"];
    let (text, _) = place.succeeds(&[&["predict", "run"][..], &images].concat());
    let heads: Vec<&str> = text.lines().filter(|line| line.starts_with("photos")).collect();
    assert!(heads[0].ends_with("red, round") || heads[0].ends_with("round, red"), "{text}");
    assert_eq!(heads[1..], ["photos/1.png: round", "photos/2.png: red", "photos/3.png: no label"], "{text}");
    let (text, _) = place.succeeds(&["predict", "run", "photos/3.png", "--json"]);
    assert_eq!(json_lines(&text)[0]["answer"].as_array().unwrap().len(), 0);
    let page = String::from_utf8(place.read("run/report.html")).unwrap();
    assert!(page.contains("average precision") && !page.contains("Confusion matrix"), "{page}");
    let recipe = String::from_utf8(place.read("run/recipe.toml")).unwrap();
    assert!(recipe.contains("\nmulti_label = true\n"), "{recipe}");
    // The page of one image tells of one answer.
    place.refuses(
        &["explain", "run", images[0], "-o", "page.html"],
        2,
        &["explain run: answers with none or several labels"],
    );
}

#[test]
fn a_run_goes_on_to_the_same_bits_with_everything_mixed() {
    let place = Place::new();
    place.labelled("photos", 60);
    let recipe =
        ["recipe", "--data", "photos/labels.csv", "--model", "small", "--size", "16", "--epochs", "2", "--batch", "16"];
    let (text, _) = place.succeeds(&[&recipe[..], &["--class-weights", "balanced", "--validation", "0.2"]].concat());
    let text = text.replace("\n[augment]\n", "\n[augment]\nmixup = 0.4\ncutmix = 1.0\n");
    let smoothed =
        text.lines().map(|line| if line.starts_with("label_smoothing") { "label_smoothing = 0.1" } else { line });
    fs::write(place.path().join("mixed.toml"), smoothed.collect::<Vec<_>>().join("\n")).unwrap();
    let train = |out, epochs| ["train", "--recipe", "mixed.toml", "--epochs", epochs, "--out", out];
    place.succeeds(&train("whole", "2"));
    place.succeeds(&[&train("parts", "2")[..], &["--max-seconds", "0.001"]].concat());
    place.succeeds(&["train", "--resume", "parts", "--max-seconds", "1000"]);
    assert!(place.read("whole/model.safetensors") == place.read("parts/model.safetensors"));
}

#[test]
fn what_needs_one_label_for_each_image_is_refused_by_name() {
    let place = Place::new();
    place.labelled("photos", 40);
    place.pictures("folder", 8);
    let train = ["train", "--data", "photos/labels.csv", "--model", "small", "--epochs", "1", "--size", "16"];
    let with = |options: &[&'static str]| [&train[..], options].concat();
    let held = "file,labels,split\n0.png,red,train\n1.png,round,train\n2.png,red,train\n3.png,,val\n4.png,red,test\n";
    fs::write(place.path().join("photos/held.csv"), held).unwrap();
    let held = ["train", "--data", "photos/held.csv", "--model", "small", "--epochs", "1", "--size", "16"];
    place.refuses(&held, 2, &["validation images 1, none with a label: must have some with a label"]);
    place.refuses(&with(&["--balanced"]), 2, &["balanced true: must be off beside multi_label"]);
    place.refuses(&with(&["--explain", "photos/0.png"]), 2, &["explain: must not be given for several labels"]);
    place.refuses(&with(&["--class-weights", "1,2,3"]), 2, &["class_weights of 3 classes: must be 2"]);
    place.refuses(
        &["train", "--data", "folder", "--multi-label"],
        1,
        &["several labels: has one label for each image"],
    );
    place.succeeds(&with(&["--out", "run"]));
    place.refuses(&["eval", "run", "--data", "folder"], 1, &["several labels: has one label for each image"]);
    // A network of one label, and a file of several.
    place.succeeds(&["train", "--data", "folder", "--model", "small", "--epochs", "1", "--size", "16", "--out", "one"]);
    place.refuses(
        &["eval", "one", "--data", "photos/labels.csv"],
        1,
        &["labels \"red|round\": must be one for each picture"],
    );
}
