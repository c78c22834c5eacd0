//! The program as it is built by default, without the features `cuda` and `formats`: it says what would give it GPUs, and more
//! formats of pictures.

use std::fs;
use std::path::Path;

use crate::support::{Place, json_lines};

#[test]
fn a_program_without_gpus_says_how_it_is_built_with_them() {
    let place = Place::new();
    place.pictures("photos", 16);
    for backend in ["cuda", "cuda:1"] {
        let rule = format!("backend {backend}: must be auto or cpu: this program was built without GPUs");
        place.refuses(&["train", "--data", "photos", "--backend", backend], 2, &[&rule, "--features cuda"]);
    }
    assert!(!place.path().join("runs").exists(), "what was refused has left a folder");

    let (text, stderr) = place.succeeds(&["devices"]);
    assert!(text.contains("\ncuda  this program was built without GPUs") && text.contains("--features cuda"), "{text}");
    assert!(stderr.is_empty(), "{stderr}");
    let devices = json_lines(&place.succeeds(&["devices", "--json"]).0).remove(0);
    assert!(devices["cuda"]["missing"].as_str().is_some_and(|why| why.contains("--features cuda")), "{devices}");

    // There is nothing to fall back from, so nothing is said of GPUs.
    let train = ["train", "--data", "photos", "--model", "stepwise", "--epochs", "1", "--backend", "auto"];
    let stderr = place.succeeds(&train).1;
    assert!(!stderr.contains("on the CPU") && !stderr.contains("cuda"), "{stderr}");
}

#[cfg(not(feature = "formats"))]
#[test]
fn a_program_without_more_formats_says_how_it_is_built_with_them() {
    let kinds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cnn-data/tests/pillow/kinds");
    let place = Place::new();
    place.pictures("photos", 8);
    let copy = |kind: &str, to: &str| fs::copy(kinds.join(kind), place.path().join(to)).unwrap();
    copy("lossy.webp", "photos/red/new.webp");
    copy("grey.tif", "photos/blue/scan.tiff");
    let (text, _) = place.succeeds(&["data", "photos"]);
    for part in ["WebP, GIF, BMP or TIFF", "`--features formats` reads: ", "blue/scan.tiff, ", "red/new.webp"] {
        assert!(text.contains(part), "{text}");
    }
    let train = ["train", "--data", "photos", "--model", "small", "--size", "8x8", "--epochs", "1", "--out", "run"];
    place.succeeds(&train);
    for (kind, name) in [("lossy.webp", "WebP"), ("palette.gif", "GIF"), ("rgb.bmp", "BMP"), ("rgb_raw.tif", "TIFF")] {
        copy(kind, "picture");
        let rule = format!("picture: a {name} image: this program was built to read JPEG and PNG alone");
        place.refuses(&["predict", "run", "picture"], 1, &[&rule, "--features formats"]);
    }
}
