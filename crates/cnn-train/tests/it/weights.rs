//! What a weights file says of itself is not believed.

use std::fs;

use crate::support::{backend, run_steps, trainer};
use cnn_core::archive::Archive;
use cnn_train::{Classifier, RunFolder, Weights};
use serde_json::{Value, json};

#[test]
fn metadata_that_cannot_be_meant_is_refused_in_one_line() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    run_steps(&mut trainer(), &folder, 1);
    let good = Archive::from_bytes(&fs::read(folder.weights()).unwrap()).unwrap();
    let many: Vec<String> = (0..100_000).map(|class| class.to_string()).collect();
    let nearly_all = usize::MAX / 2;
    let cases: [(&str, Value, &str); 14] = [
        ("classes", json!([]), "must be at least one class"),
        (
            "classes",
            json!(["dark", "dark"]),
            "class \"dark\": must be a name without control characters, and given once",
        ),
        ("classes", json!(["dark", ""]), "class \"\": must be"),
        ("classes", json!(["dark", "\u{1b}[2J"]), "class \"\\u{1b}[2J\": must be"),
        ("classes", json!(many), "must be the"),
        ("image", json!([512, 512, 3]), "must be the 266"),
        ("image", json!([nearly_all, nearly_all, 3]), "must be at least one class and one pixel, at most"),
        ("image", json!([8, 8, 4]), "one mean and deviation a channel"),
        ("mean", json!([0.5, 0.5, 1e39]), "mean inf: must be finite"),
        ("std", json!([0.5, 0.5, 0.0]), "std 0: must be finite and at least"),
        ("std", json!([0.5, 0.5, -1.0]), "std -1: must be finite and at least"),
        ("std", json!([0.5, 0.5, 1e-45]), "must be finite and at least"),
        ("std", json!([0.5, 0.5, 1e39]), "std inf: must be finite"),
        ("layout", json!("HWIO"), "layout HWIO: must be OIHW"),
    ];
    for (key, value, expected) in cases {
        let mut changed = good.clone();
        changed.metadata.insert(key.into(), value);
        let path = place.path().join("changed.safetensors");
        fs::write(&path, changed.to_bytes().unwrap()).unwrap();
        let error = Classifier::load(&backend(), &path).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("changed.safetensors"), "{key}: {error}");
        assert!(!error.contains('\n'), "{key}: {error}");
    }
}

#[test]
fn a_file_that_is_none_is_refused_by_its_first_bytes() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("zeros");
    // Sparse: nothing of it is on the disk, and nothing of it shall be in memory.
    fs::File::create(&path).unwrap().set_len(7 << 30).unwrap();
    let error = Weights::read(&path).unwrap_err().to_string();
    assert!(error.contains("not a safetensors file"), "{error}");
    for endless in ["/dev/zero", place.path().to_str().unwrap()] {
        let error = Weights::read(endless).unwrap_err().to_string();
        assert!(error.contains("it is no regular file") || cfg!(not(unix)), "{error}");
    }
}
