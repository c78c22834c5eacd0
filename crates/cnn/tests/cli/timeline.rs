//! `cnn train --explain`.

use std::fs;

use cnn::core::archive::Archive;
use serde_json::{Value, json};

use super::support::{Place, json_lines};

const TRAIN: [&str; 9] = ["train", "--data", "photos", "--size", "16x16", "--model", "stepwise", "--epochs", "4"];

/// The epochs that are recorded of each image.
fn epochs(place: &Place, run: &str) -> Vec<Value> {
    let record = Archive::read(&place.path().join(run).join("timeline.safetensors")).unwrap();
    record.metadata["images"].as_array().unwrap().iter().map(|image| image["epochs"].clone()).collect()
}

#[test]
fn a_timeline_changes_nothing_and_is_there_at_the_end() {
    let place = Place::new();
    place.pictures("photos", 16);
    place.succeeds(&[&TRAIN[..], &["--out", "plain"]].concat());
    let explain = ["--explain", "photos/red/3.png", "--explain", "photos/blue/4.png"];
    let (_, stderr) = place.succeeds(&[&TRAIN[..], &["--out", "run"], &explain].concat());
    assert!(place.read("plain/model.safetensors") == place.read("run/model.safetensors"), "the bits differ");
    assert!(stderr.contains("epoch by epoch: run/timeline.html"), "{stderr}");
    assert_eq!(epochs(&place, "run"), [json!([0, 1, 2, 3, 4]), json!([0, 1, 2, 3, 4])]);
    let (stdout, _) = place.succeeds(&["train", "--resume", "run", "--json"]);
    assert_eq!(json_lines(&stdout).pop().unwrap()["timeline"], "run/timeline.html");
    let page = String::from_utf8(place.read("run/timeline.html")).unwrap();
    assert!(page.contains("How run learned to see 2 images") && page.contains("<h3>Filter "), "{page}");
    assert!(!place.path().join("plain/timeline.html").exists());
}

#[test]
fn images_that_cannot_be_followed_are_refused_before_a_folder_is_made() {
    let place = Place::new();
    place.pictures("photos", 16);
    fs::write(place.path().join("not.png"), "not a picture").unwrap();
    let refused = |images: &[&str], status: i32, expected: &[&str]| {
        let images: Vec<&str> = images.iter().flat_map(|image| ["--explain", image]).collect();
        place.refuses(&[&TRAIN[..], &["--out", "run"], &images].concat(), status, expected);
        assert!(!place.path().join("run").exists());
    };
    refused(&["photos/red/3.png", "not.png"], 1, &["not.png"]);
    refused(&["nowhere.png"], 1, &["nowhere.png"]);
    refused(&["photos"], 1, &["photos"]);
    refused(&["photos/red/3.png"; 5], 2, &["explain: 5 images: must be at most 4"]);
}

#[cfg(unix)]
#[test]
fn a_run_that_is_killed_goes_on_with_its_timeline() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::support::NO_GPU;

    let place = Place::new();
    place.pictures("photos", 16);
    let long = [&TRAIN[..8], &["40", "--batch", "4", "--explain", "photos/red/3.png", "--threads", "1"]].concat();
    let mut program = Command::new(env!("CARGO_BIN_EXE_cnn"))
        .envs([NO_GPU])
        .current_dir(place.path())
        .args([&long[..], &["--out", "killed"]].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("epoch  3/40")));
    program.kill().unwrap();
    program.wait().unwrap();
    assert!(place.path().join("killed/timeline.html").is_file());
    place.succeeds(&["train", "--resume", "killed"]);
    place.succeeds(&[&long[..], &["--out", "whole"]].concat());
    let record = |run: &str| place.read(&format!("{run}/timeline.safetensors"));
    assert!(record("killed") == record("whole"), "the records differ");
}

#[test]
fn a_run_that_is_resumed_keeps_what_was_recorded_or_says_that_it_cannot() {
    let place = Place::new();
    place.pictures("photos", 16);
    place.succeeds(&[&TRAIN[..], &["--out", "run", "--explain", "photos/red/3.png"]].concat());
    let record = place.path().join("run/timeline.safetensors");
    let old = fs::read(&record).unwrap();
    // Another image, and the same one again.
    let more = ["--explain", "photos/red/3.png", "--explain", "photos/blue/4.png"];
    place.succeeds(&[&["train", "--resume", "run", "--extend", "1"][..], &more].concat());
    assert_eq!(epochs(&place, "run"), [json!([0, 1, 2, 3, 4, 5]), json!([4, 5])]);
    // As a process leaves it that ended between the last save and its record.
    fs::write(&record, &old).unwrap();
    place.succeeds(&["train", "--resume", "run"]);
    assert_eq!(epochs(&place, "run"), [json!([0, 1, 2, 3, 4, 5])]);

    fs::write(&record, &old[..old.len() - 1]).unwrap();
    let (_, stderr) = place.succeeds(&["train", "--resume", "run", "--extend", "1"]);
    assert!(stderr.contains("warning: the timeline cannot be read: run/timeline.safetensors: "), "{stderr}");
    assert_eq!(fs::read(&record).unwrap().len(), old.len() - 1, "what is damaged is left there");
    let again = ["train", "--resume", "run", "--extend", "1", "--explain", "photos/red/3.png"];
    let (_, stderr) = place.succeeds(&again);
    assert!(stderr.contains("another begins here"), "{stderr}");
    assert_eq!(epochs(&place, "run"), [json!([6, 7])]);
    let aside = place.path().join("run/timeline.unreadable.safetensors");
    assert_eq!(fs::read(aside).unwrap(), old[..old.len() - 1], "what cannot be read is kept");
    // A folder in the page's place: the run does not need it.
    fs::remove_file(place.path().join("run/timeline.html")).unwrap();
    fs::create_dir(place.path().join("run/timeline.html")).unwrap();
    let (stdout, stderr) = place.succeeds(&["train", "--resume", "run", "--extend", "1", "--json"]);
    assert!(stderr.contains("warning: timeline.html lacks an epoch: "), "{stderr}");
    assert_eq!(json_lines(&stdout).pop().unwrap()["timeline"], Value::Null);
}
