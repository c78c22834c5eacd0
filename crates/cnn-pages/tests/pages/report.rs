//! The report of a run, and runs compared.

use std::fs;
use std::path::Path;

use cnn_data::ImageSet;
use cnn_pages::{Group, Run, report_page, runs_page};
use cnn_train::{Evaluation, Judged, Recipe};

use crate::browser::{self, Look, chromium, look};
use crate::support::{CLASSES, after};

/// A folder as a training leaves it.
fn run(folder: &Path, seed: u64, accuracy: f64) -> Run {
    let recipe = Recipe { seed, epochs: 3, ..Recipe::default_for("small", "shapes").unwrap() };
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("recipe.toml"), recipe.to_toml().unwrap()).unwrap();
    let header =
        "epoch,step,lr,train_loss,train_accuracy,validation_loss,validation_accuracy,seconds,images_per_second";
    let rows =
        "1,10,0.1,1.5,0.5,1.4,0.55,2.0,900\n2,20,0.05,1.0,0.7,0.9,0.75,2.5,950\n3,30,0.01,0.5,0.9,0.6,0.85,2.0,990\n";
    fs::write(folder.join("metrics.csv"), format!("{header}\n{rows}")).unwrap();
    fs::write(folder.join("results.json"), format!("{{\"test_accuracy\": {accuracy}, \"seconds\": 7.5}}")).unwrap();
    fs::write(folder.join("machine.json"), "{\"processor\": \"<i>fast</i>\", \"peak_memory_bytes\": 1048576}").unwrap();
    Run::read(folder).unwrap()
}

/// 30 images of three classes, of which every fifth is taken for the next class.
fn judged() -> (Evaluation, ImageSet) {
    let labels: Vec<u32> = (0..30).map(|i| i % 3).collect();
    let bytes = (0..30 * 8 * 8 * 3).map(|i| (i * 7 % 256) as u8).collect();
    let mut evaluation =
        Evaluation { loss: 0.7, count: 30, top5: 30, confusion: vec![vec![0; 3]; 3], ..Evaluation::default() };
    for (i, &label) in labels.iter().enumerate() {
        let predicted = if i % 5 == 4 { (label + 1) % 3 } else { label };
        let (confidence, right) = (0.5 + i as f32 / 60.0, predicted == label);
        let probability = if right { confidence } else { 0.1 };
        evaluation.images.push(Judged { label, predicted, confidence, probability });
        evaluation.confusion[label as usize][predicted as usize] += 1;
        evaluation.correct += u64::from(right);
    }
    (evaluation, ImageSet::from_bytes("<made>", [8, 8, 3], &CLASSES, labels, bytes).unwrap())
}

#[test]
fn a_report_says_what_was_measured() {
    let place = tempfile::tempdir().unwrap();
    let (evaluation, images) = judged();
    let page = report_page(&run(&place.path().join("a<b>"), 3, 0.8), &evaluation, &images).unwrap();
    for part in [
        "80.00%",
        "24 of 30",
        "<th scope=\"row\">peak memory</th><td>1.0 MiB</td>",
        "&lt;i&gt;fast&lt;/i&gt;",
        "model = &quot;small&quot;",
        "Report of a&lt;b&gt;",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("<i>fast") && !page.contains("alert(1)</script>"));
    // Confidence is 0.5 + i / 60 and every group has accuracies of its own: computed here in another way.
    let mut groups = std::collections::BTreeMap::<usize, (f64, f64)>::new();
    for judged in &evaluation.images {
        let group = groups.entry((judged.confidence * 15.0) as usize).or_default();
        group.0 += f64::from(judged.confidence);
        group.1 += f64::from(u8::from(judged.label == judged.predicted));
    }
    let error = groups.values().map(|(confidence, right)| (confidence - right).abs()).sum::<f64>() / 30.0;
    assert_eq!(after(&page, "id=\"ece\">"), format!("{:.2}%", 100.0 * error));
    // The most confident mistake is the last image, and comes first.
    let first = page.split_once("Most confident mistakes").unwrap().1;
    let caption = first.split_once("<figcaption>").unwrap().1.split_once("</figcaption>").unwrap().0;
    assert!(caption.contains("<span class=\"file\"><bdi>") && caption.contains("image 29"), "{caption}");

    let Some(chromium) = chromium() else { return };
    browser::check(&chromium, &page);
    // On a phone a class is a card, which needs no moving sideways.
    let ask = r##"(() => {
      const box = page.querySelector("#classes"), table = box.querySelector("table");
      return { wide: table.getBoundingClientRect().right, scroll: box.querySelectorAll(".scroll").length,
               labels: [...new Set([...table.querySelectorAll("td")].map((c) => view.getComputedStyle(c, "::before").content))].length };
    })()"##;
    let narrow = look(&chromium, &page, Look { width: 390, dark: false, ask })["asked"].clone();
    assert!(narrow["wide"].as_f64() <= Some(390.0) && narrow["scroll"] == 0 && narrow["labels"] == 5, "{narrow}");
    let ask = r##"({ charts: [...page.querySelectorAll("svg")].map((s) => s.getBoundingClientRect().width > 200 && s.getBoundingClientRect().height > 100),
                    cells: page.querySelectorAll(".confusion tbody td").length,
                    curves: page.querySelectorAll("#curves polyline").length })"##;
    let seen = look(&chromium, &page, Look { width: 390, dark: false, ask });
    let asked = &seen["asked"];
    assert_eq!(asked["charts"], serde_json::json!(vec![true; 6]), "{asked}");
    assert_eq!((&asked["cells"], &asked["curves"]), (&9.into(), &6.into()), "{asked}");
}

#[test]
fn runs_of_several_seeds_are_one_group() {
    let place = tempfile::tempdir().unwrap();
    let runs = [(0, 0.80), (1, 0.84), (2, 0.82)]
        .map(|(seed, accuracy)| run(&place.path().join(format!("run-{seed}")), seed, accuracy));
    let mut other = runs[0].clone();
    other.recipe.batch += 1;
    other.name = "a-long-name-".repeat(12);
    let groups = Group::all(runs.into_iter().chain([other]).collect());
    assert_eq!(groups.iter().map(|group| group.runs.len()).collect::<Vec<_>>(), [3, 1]);
    let page = runs_page(&groups);
    assert!(page.contains("82.00% \u{b1} 2.00") && page.contains("4 runs compared"), "{page}");
    // A damaged folder is named.
    fs::write(place.path().join("run-0/results.json"), "{").unwrap();
    let error = Run::read(&place.path().join("run-0")).unwrap_err().to_string();
    assert!(error.contains("results.json: "), "{error}");
    assert!(Run::read(place.path()).unwrap_err().to_string().contains("has no recipe.toml"));

    let Some(chromium) = chromium() else { return };
    browser::check(&chromium, &page);
    // On a phone a run is a card, and nothing is moved sideways to be read.
    let ask = r##"(() => {
      const cells = [...page.querySelectorAll("#runs tbody td")], boxes = cells.map((cell) => cell.getBoundingClientRect());
      return { columns: new Set(boxes.map((box) => box.left)).size, lines: new Set(boxes.map((box) => box.top)).size, cells: cells.length,
               labels: [...new Set(cells.map((cell) => view.getComputedStyle(cell, "::before").content))],
               moved: [...page.querySelectorAll("*")].filter((e) => e.scrollWidth > e.clientWidth + 1 && /auto|scroll/.test(view.getComputedStyle(e).overflowX)).length };
    })()"##;
    let phone = look(&chromium, &page, Look { width: 390, dark: false, ask })["asked"].clone();
    assert_eq!((&phone["columns"], &phone["lines"], &phone["cells"]), (&1.into(), &32.into(), &32.into()), "{phone}");
    assert_eq!(phone["moved"], 0, "{phone}");
    let labels = ["model", "epochs", "accuracy", "by six views", "loss", "training", "in all", "seed"];
    assert_eq!(phone["labels"], serde_json::json!(labels.map(|label| format!("\"{label}\""))), "{phone}");
    let desk = look(&chromium, &page, Look { width: 1440, dark: false, ask })["asked"].clone();
    assert_eq!((&desk["columns"], &desk["lines"]), (&8.into(), &4.into()), "{desk}");
    assert_eq!(desk["labels"], serde_json::json!(["none"]), "{desk}");
}
