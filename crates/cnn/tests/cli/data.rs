//! Folders of pictures and sets with a name: what is used, found again, and refused.

use std::fs;
use std::path::Path;

use super::support::{Place, cnn, json_lines};

#[test]
fn a_folder_is_accounted_for() {
    let place = Place::new();
    place.pictures("photos", 8);
    fs::write(place.path().join("photos/red/1.heic"), "text").unwrap();
    let (text, _) = place.succeeds(&["data", "photos"]);
    for part in ["2 classes, ", "\n  blue  ", "a tenth of the pictures", "in formats that are not read: ", "1.heic"] {
        assert!(text.contains(part), "{text}");
    }
    let sheet = ["data", "photos", "--size", "16", "--sheet", "sheet.html"];
    place.succeeds(&sheet);
    let page = String::from_utf8(place.read("sheet.html")).unwrap();
    assert!(
        page.contains("brought to 16 \u{d7} 16 \u{d7} 3") && page.matches("epoch 5</figcaption>").count() == 8,
        "{page}"
    );
    place.refuses(&sheet, 2, &["out sheet.html: exists", "--force"]);
    for file in ["red/bad.jpg", "blue/bad.png"] {
        fs::write(place.path().join("photos").join(file), "text").unwrap();
    }
    let text = String::from_utf8(cnn(place.path()).args(["data", "photos"]).output().unwrap().stdout).unwrap();
    assert_eq!(text.matches("\ncannot be decoded: ").count(), 2, "{text}");
    // The report is whole, and the status says that something is wrong with what it is about.
    let output = cnn(place.path()).args(["data", "photos", "--json"]).assert().code(1).get_output().clone();
    let report = &json_lines(&String::from_utf8(output.stdout).unwrap())[0];
    assert_eq!((report["bad"].as_array().unwrap().len(), report["classes"][0]["name"].as_str()), (2, Some("blue")));
    assert!(report["path"].as_str().unwrap().starts_with('/'));

    let train = ["train", "--data", "photos", "--model", "small", "--size", "8x8", "--epochs", "1", "--out", "run"];
    place.refuses(&train, 1, &["2 of 42 pictures cannot be decoded: ", "bad.jpg", "bad.png", "--skip-bad"]);
    let (_, notes) = place.succeeds(&[&train[..], &["--skip-bad"]].concat());
    assert!(
        notes.contains("note: left out, cannot be decoded: ") && notes.contains("a tenth of the pictures"),
        "{notes}"
    );
    // Testing decodes the images to test with and says which those are.
    // The run remembers that they were to be left out.
    place.succeeds(&["train", "--resume", "run"]);
    let (_, notes) = place.succeeds(&["eval", "run"]);
    assert!(notes.contains("a tenth of the pictures of each class, chosen by their names, is tested with"), "{notes}");
}

#[test]
fn pictures_are_decoded_once_and_within_the_memory_that_is_allowed() {
    let place = Place::new();
    place.pictures("photos", 40);
    let train = ["train", "--data", "photos", "--model", "small", "--size", "64", "--epochs", "2"];
    let weights = |run: &str| place.read(&format!("{run}/model.safetensors"));
    // In memory, and from a cache that is made, and then found; each epoch changes the images anew.
    let augmented = ["--color-jitter", "0.4", "--resized-crop", "0.5"];
    let with = |more: &[&str], run: &'static str| {
        let args = [&train[..], &augmented, more, &["--out", run]].concat();
        place.succeeds(&args).1
    };
    with(&[], "plain");
    let notes = with(&["--cache", "cache", "--memory", "1 GiB"], "made");
    assert!(notes.contains("cache: 0 pictures found in cache/64x64x3-") && notes.contains(", 40 decoded"), "{notes}");
    assert!(notes.contains("of the 1.00 GiB allowed, at most: ") && notes.contains("are kept in memory"), "{notes}");
    let notes = with(&["--cache", "cache"], "found");
    assert!(notes.contains("cache: 40 pictures found in ") && notes.contains(", 0 decoded"), "{notes}");
    assert!(weights("plain") == weights("made") && weights("plain") == weights("found"));
    // One that is damaged changes nothing, and is told of.
    let file = fs::read_dir(place.path().join("cache")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&file).unwrap();
    let length = bytes.len();
    bytes[length - 100] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (_, notes) = place.succeeds(&["eval", "plain", "--all", "--cache", "cache"]);
    assert!(
        notes.contains("cache: 40 pictures found") && notes.contains("warning: cache: 1 image had been"),
        "{notes}"
    );
    // What does not fit is refused with what would, before anything is made.
    let little = [&train[..], &["--batch", "64", "--memory", "40MiB", "--out", "none"]].concat();
    place.refuses(
        &little,
        2,
        &["memory 40.0 MiB: training small by steps of 64 images of 64x64 takes ", "choose another"],
    );
    let less =
        ["train", "--data", "photos", "--model", "resnet18", "--size", "64", "--batch", "256", "--memory", "1GiB"];
    place.refuses(&less, 2, &["training resnet18 by steps of 256 images", "; --batch ", " fits"]);
    // Also what it takes to decode the largest picture counts.
    image::RgbImage::new(3000, 4000).save(place.path().join("photos/red/large.png")).unwrap();
    let large = ["train", "--data", "photos", "--model", "small", "--memory", "100MB", "--out", "none"];
    place.refuses(&large, 2, &["memory 95.4 MiB: training small by steps of 8 images", "choose another"]);
    place.refuses(&["train", "--data", "photos", "--epochs", "1", "--extend", "2"], 2, &["extend: needs a run"]);
    assert!(!place.path().join("none").exists() && !place.path().join("runs").exists());
}

#[test]
fn a_file_of_several_labels_is_accounted_for() {
    let place = Place::new();
    place.labelled("photos", 40);
    let (text, _) = place.succeeds(&["data", "photos/labels.csv", "--sheet", "sheet.html"]);
    for part in [
        "2 classes, 36 images",
        "several labels: 1.00 for an image on average, 10 images without one",
        "none, one or several",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let (text, _) = place.succeeds(&["data", "photos/labels.csv", "--json"]);
    assert_eq!(json_lines(&text)[0]["multi_label"]["without"].as_array().unwrap().len(), 3);
    place.refuses(&["data", "shapes", "--multi-label"], 1, &["shapes: several labels: has one label for each image"]);
}

#[test]
fn a_run_remembers_where_a_set_with_a_name_was_found() {
    let place = Place::new();
    place.cifar("sets/cifar-10-batches-bin", 20);
    let train = ["train", "--data", "cifar10", "--data-root", "sets", "--epochs", "1", "--out", "run", "--offline"];
    place.succeeds(&train);
    place.succeeds(&["eval", "run", "--offline"]);
    let star = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images/star.png").display().to_string();
    place.succeeds(&["explain", "run", &star, "-o", "star.html", "--data", "cifar10", "--offline"]);
    place.succeeds(&["train", "--resume", "run", "--offline"]);
    // Also from elsewhere.
    let folder = place.path().join("other");
    fs::create_dir(&folder).unwrap();
    cnn(&folder).args(["eval", "../run", "--offline"]).assert().success();
    // What this command says comes first.
    place.cifar("data/cifar-10-batches-bin", 10);
    let (stdout, _) = place.succeeds(&["eval", "run", "--offline", "--json"]);
    assert_eq!(json_lines(&stdout)[0]["count"], 10);
}

#[test]
fn pictures_that_nothing_was_trained_on_are_all_tested_with() {
    let place = Place::new();
    place.pictures("photos", 8);
    place.pictures("new/test", 8);
    place.succeeds(&["train", "--data", "photos", "--model", "small", "--size", "8", "--epochs", "1", "--out", "run"]);
    let count = |args: &[&str]| {
        let (stdout, notes) = place.succeeds(&[&["eval", "run", "--json", "--data"], args].concat());
        (json_lines(&stdout)[0]["count"].as_u64().unwrap(), notes)
    };
    assert!(count(&["photos"]).0 < 10);
    let (all, notes) = count(&["photos", "--all"]);
    assert!(all == 40 && notes.contains("all pictures in photos are tested with"), "{notes}");
    assert_eq!(count(&["new/test", "--all"]).0, 40);
    assert_eq!(count(&["new", "--all"]).0, 40);
}

#[test]
fn runs_are_not_put_among_the_pictures() {
    let place = Place::new();
    place.pictures("photos", 8);
    let train = ["train", "--data", "photos", "--model", "small", "--size", "8", "--epochs", "1"];
    place.refuses(
        &[&train[..], &["--out", "photos/run"]].concat(),
        2,
        &["photos/run: must not be inside of the images' folder"],
    );
    let folder = place.path().join("photos");
    let output = cnn(&folder).args(["train", "--data", ".", "--epochs", "1"]).assert().code(2).get_output().clone();
    assert!(String::from_utf8(output.stderr).unwrap().contains("give another --out"));
    assert!(!folder.join("runs").exists());
}

#[test]
fn a_recipe_reads_the_data_that_it_names() {
    let place = Place::new();
    place.pictures("photos", 8);
    place.pictures("others", 8);
    let train = ["train", "--data", "photos", "--model", "small", "--size", "8", "--epochs", "1", "--out", "run"];
    place.succeeds(&train);
    let recipe = String::from_utf8(place.read("run/recipe.toml")).unwrap();
    assert!(recipe.contains("data_path"));
    let (printed, _) = place.succeeds(&["recipe", "--recipe", "run/recipe.toml", "--data", "others"]);
    assert!(printed.contains("data = \"others\"") && !printed.contains("\ndata_path"), "{printed}");
    fs::write(place.path().join("edited.toml"), recipe.replace("data = \"photos\"", "data = \"others\"")).unwrap();
    place.succeeds(&["train", "--recipe", "edited.toml", "--out", "edited"]);
    let slip = recipe.replace("data = \"photos\"", "data = \"othersss\"");
    fs::write(place.path().join("slip.toml"), slip).unwrap();
    place.refuses(&["train", "--recipe", "slip.toml", "--out", "slip"], 2, &["othersss: not found"]);
    let written = String::from_utf8(place.read("edited/recipe.toml")).unwrap();
    assert!(written.lines().any(|line| line.starts_with("data_path") && line.ends_with("/others\"")), "{written}");
}

#[test]
fn a_class_that_weights_could_not_name_is_refused_before_a_training() {
    let place = Place::new();
    place.pictures("photos", 8);
    fs::rename(place.path().join("photos/red"), place.path().join("photos/r\ted")).unwrap();
    let train = ["train", "--data", "photos", "--model", "small", "--size", "8", "--epochs", "1", "--out", "run"];
    place.refuses(&train, 1, &["r\\ted", "no control characters"]);
    assert!(!place.path().join("run").exists());
}

/// Pictures that are kept larger than the network takes them, and images that have a size of their own, shown in another.
#[test]
fn what_is_kept_and_what_is_shown_are_two_sizes() {
    let place = Place::new();
    place.pictures("photos", 12);
    let train = ["train", "--data", "photos", "--model", "small", "--size", "8", "--epochs", "1", "--out", "run"];
    let kept = [
        "--resize",
        "10x12",
        "--fit",
        "pad",
        "--filter",
        "bilinear",
        "--resized-crop",
        "0.5",
        "--policy",
        "TrivialAugment",
        "--color-jitter",
        "0.4",
    ];
    place.succeeds(&[&train[..], &kept].concat());
    let recipe = String::from_utf8(place.read("run/recipe.toml")).unwrap();
    for line in [
        "resize = [",
        "fit = \"pad\"",
        "filter = \"bilinear\"",
        "resized_crop = 0.5",
        "crop_padding = 0",
        "policy = \"trivial-augment\"",
    ] {
        assert!(recipe.contains(line), "{line}: {recipe}");
    }
    let picture = "photos/red/3.png";
    place.succeeds(&["predict", "run", picture]);
    place.succeeds(&["eval", "run"]);
    place.succeeds(&["explain", "run", picture, "-o", "picture.html", "--data", "photos"]);
    place.succeeds(&["train", "--resume", "run"]);
    place.succeeds(&["data", "photos", "--recipe", "run/recipe.toml", "--sheet", "sheet.html"]);
    let sheet = String::from_utf8(place.read("sheet.html")).unwrap();
    assert!(
        sheet.contains("brought to 8 \u{d7} 8 \u{d7} 3")
            && sheet.contains("at least 50% of its area")
            && sheet.contains("operation of fourteen"),
        "{sheet}"
    );

    place.cifar("cifar", 20);
    let train = ["train", "--data", "cifar", "--model", "small", "--size", "48", "--epochs", "1", "--out", "shown"];
    place.succeeds(&train);
    place.succeeds(&["predict", "shown", picture]);
    place.succeeds(&["eval", "shown"]);
    place.succeeds(&["train", "--resume", "shown"]);
}

#[test]
fn a_file_of_labels_is_trained_from_and_its_faults_are_named() {
    let place = Place::new();
    place.pictures("photos", 8);
    let row = |class: &str, i: usize| format!("{class}/{i}.png;{class};{}\n", if i < 15 { "train" } else { "test" });
    let rows = |class| (0..20).map(|i| row(class, i)).collect::<String>();
    let table = format!("filename;class;split\n{}{}", rows("red"), rows("blue"));
    fs::write(place.path().join("photos/labels.csv"), &table).unwrap();
    let (text, _) = place.succeeds(&["data", "photos/labels.csv"]);
    let parts =
        ["labels (", "file of labels, ", "2 classes, 30 images to train on, 10 to test with", "labels.csv (train)"];
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    let train = ["train", "--data", "photos/labels.csv", "--model", "small", "--size", "8x8", "--epochs", "1"];
    place.succeeds(&train);
    place.succeeds(&["eval", "runs/small-labels-001"]);
    fs::write(place.path().join("photos/labels.csv"), table.replace("red/3.png", "red/33.png")).unwrap();
    place.refuses(&train, 1, &["photos/labels.csv: 1 of 40 rows are wrong: line 5: red/33.png: not there"]);
}
