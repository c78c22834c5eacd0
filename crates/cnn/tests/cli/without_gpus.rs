//! The program as it is built without the feature `cuda`: it says what would give it GPUs.

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
