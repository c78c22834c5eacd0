//! What somebody meets who starts: names that are nearly right, defaults, help.

use std::collections::BTreeSet;
use std::fs;

use cnn::train::Recipe;
use serde_json::Value;

use crate::support::{Place, json_lines};

#[test]
fn names_may_be_spelled_as_people_spell_them_and_slips_are_answered() {
    let place = Place::new();
    place.pictures("photos", 16);
    let asked = |more: &[&str]| Recipe::from_toml(&place.succeeds(&[&["recipe"], more].concat()).0).unwrap();
    let recipe = asked(&["--model", "ResNet-18", "--data", "CIFAR-10", "--optimizer", "AdamW", "--size", "224"]);
    assert_eq!((recipe.model.as_str(), recipe.data.as_str(), recipe.size), ("resnet18", "cifar10", Some([224, 224])));
    assert_eq!(recipe.optimizer.lr, 1e-3);
    assert!(place.succeeds(&["info", "ResNet18"]).0.starts_with("resnet18: "));

    for (args, error, meant) in [
        (["train", "--model", "resnt18"], "model resnt18: must be one of stepwise", "; did you mean resnet18?"),
        (["train", "--optimizer", "adma"], "optimizer adma: must be one of sgd, adam, adamw", "; did you mean adam?"),
        (["train", "--data", "cifar1O"], "cifar1O: not found", "cifar10"),
        (["bench", "--model", "smal"], "model smal: must be one of", "; did you mean small?"),
    ] {
        place.refuses(&args, 2, &[error, meant]);
    }
    place.refuses(&["info", "stepwize"], 2, &["model stepwize: must be one of", "did you mean stepwise?"]);
}

#[test]
fn ones_own_photographs_get_a_network_that_suits_their_size() {
    let place = Place::new();
    let model = |more: &[&str]| {
        let text = place.succeeds(&[&["recipe"], more].concat()).0;
        Recipe::from_toml(&text).unwrap().model
    };
    assert_eq!(model(&[]), "small");
    assert_eq!(model(&["--data", "cifar10"]), "stepwise");
    assert_eq!(model(&["--data", "photos"]), "small");
    assert_eq!(model(&["--data", "photos", "--size", "64"]), "small");
    assert_eq!(model(&["--data", "photos", "--size", "224"]), "resnet18-imagenet");

    place.pictures("photos", 16);
    let (stdout, stderr) = place.succeeds(&["train", "--data", "photos", "--size", "16", "--out", "run", "--json"]);
    assert!(stderr.contains("small: "), "{stderr}");
    assert!(json_lines(&stdout).pop().unwrap()["test_accuracy"].as_f64() > Some(0.9), "{stdout}");
}

#[test]
fn a_printed_recipe_is_one_that_train_follows() {
    let place = Place::new();
    place.pictures("photos", 16);
    let (text, _) =
        place.succeeds(&["recipe", "--data", "photos", "--size", "16", "--epochs", "1", "--model", "stepwise"]);
    assert!(text.contains("# passes over the training images\nepochs = 1\n"), "{text}");
    assert!(text.contains("# classes = [\"cat\", \"dog\"]\n"), "{text}");
    fs::write(place.path().join("mine.toml"), text).unwrap();
    place.succeeds(&["train", "--recipe", "mine.toml", "--out", "run"]);
    place.succeeds(&[
        "train", "--data", "photos", "--size", "16", "--epochs", "1", "--model", "stepwise", "--out", "same",
    ]);
    assert!(place.read("run/model.safetensors") == place.read("same/model.safetensors"));
}

#[test]
fn help_says_what_happens_when_an_option_is_left_out() {
    let place = Place::new();
    let help = place.succeeds(&["train", "--help"]).0;
    for option in [
        "--model ",
        "--data ",
        "--size ",
        "--epochs ",
        "--batch ",
        "--lr ",
        "--optimizer ",
        "--precision ",
        "--seed ",
        "--validation ",
        "--out ",
    ] {
        let at = help.find(&format!("\n      {option}")).unwrap_or_else(|| panic!("{option} in {help}"));
        let words = help[at + 1..].split("\n      --").next().unwrap();
        assert!(words.contains("[default: "), "{words}");
    }
}

/// Every key of an object, and of those within it.
fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            found.insert(key.clone());
            keys(value, found);
        }),
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

#[test]
fn every_field_of_the_json_is_explained() {
    let place = Place::new();
    place.pictures("photos", 16);
    let text = place.succeeds(&["json"]).0;
    for command in [
        &["train", "--data", "photos", "--size", "16", "--epochs", "1", "--out", "run"][..],
        &["eval", "run"],
        &["predict", "run", "photos/red/3.png"],
        &["data", "photos"],
        &["doctor", "photos", "--size", "16"],
        &["info", "run"],
        &["devices"],
        &["bench", "--model", "stepwise", "--batch", "1", "--seconds", "0", "--only", "infer"],
    ] {
        let start = text.find(&format!("\n{}\n", command[0])).unwrap_or_else(|| panic!("{}", command[0])) + 1;
        let part = text[start..].split("\n\n").next().unwrap();
        let words: BTreeSet<&str> = part.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let mut found = BTreeSet::new();
        json_lines(&place.succeeds(&[command, &["--json"]].concat()).0).iter().for_each(|line| keys(line, &mut found));
        let unexplained: Vec<&String> = found.iter().filter(|key| !words.contains(key.as_str())).collect();
        assert!(!found.is_empty() && unexplained.is_empty(), "{}: {unexplained:?}", command[0]);
    }
}

#[test]
fn the_doctor_finds_what_is_wrong() {
    let place = Place::new();
    place.pictures("photos", 16);
    let (text, notes) = place.succeeds(&["doctor", "photos", "--size", "16"]);
    let of = |text: &str, what: &str| {
        let line = text.lines().find(|line| line[6..].starts_with(what)).unwrap_or_else(|| panic!("{what}: {text}"));
        line[..4].trim().to_owned()
    };
    assert!(notes.contains("cpu: "), "{notes}");
    assert!(text.starts_with("small on photos: 16x16x3, "), "{text}");
    let found = ["images", "balance", "test", "duplicates", "by heart"].map(|what| of(&text, what));
    assert_eq!(found, ["LOOK", "ok", "LOOK", "ok", "ok"], "{text}");
    assert!(
        text.contains("fewer than 50 training images: blue 18, red 18") && text.contains("in steps of 50%"),
        "{text}"
    );
    // A rate at which nothing is learned, and one at which everything breaks.
    for (lr, verdict) in [("1e-12", "slowly"), ("1e6", "the loss explodes at")] {
        let text = place.succeeds(&["doctor", "photos", "--size", "16", "--lr", lr]).0;
        assert_eq!((of(&text, "by heart"), of(&text, "rates")), ("LOOK".to_owned(), "LOOK".to_owned()), "{text}");
        assert!(text.contains(verdict) && text.lines().last().unwrap().contains("try "), "{text}");
    }
    // Damage does not keep it from the rest.
    let photos = place.path().join("photos");
    fs::write(photos.join("red/bad.jpg"), "text").unwrap();
    fs::copy(photos.join("red/3.png"), photos.join("blue/copy.png")).unwrap();
    let text = place.succeeds(&["doctor", "photos", "--size", "16"]).0;
    // By heart the one picture cannot be learned as both, if it is among those.
    let found = ["damaged", "duplicates", "test"].map(|what| of(&text, what));
    assert_eq!(found, ["LOOK"; 3], "{text}");
    assert!(["by heart", "rates"].into_iter().all(|what| !of(&text, what).is_empty()), "{text}");
    for part in ["red/bad.jpg: not a JPEG", "give --skip-bad", "is in blue and in red: ", "blue/copy.png", "red/3.png"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = place.succeeds(&["doctor", "photos", "--size", "16", "--classes", "red", "--skip-bad"]).0;
    assert_eq!(["damaged", "balance"].map(|what| of(&text, what)), ["ok", "LOOK"], "{text}");
    assert!(text.contains("one class, red: there is nothing to tell apart"), "{text}");
    place.refuses(&["doctor", "nowhere"], 2, &["nowhere"]);
}

#[test]
fn devices_are_listed_with_what_is_missing() {
    let place = Place::new();
    let text = place.succeeds(&["devices"]).0;
    assert!(text.starts_with("cpu ") && text.contains("instruction set"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("cuda ")), "{text}");
    if !cfg!(feature = "cuda") {
        assert!(text.contains("--features cuda"), "{text}");
    }
}
