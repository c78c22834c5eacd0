//! A classifier is shared by threads, and says the same in every way that it can be asked.

use std::sync::Arc;
use std::{fs, thread};

use crate::support::{backend, dataset, run, trainer};
use cnn_cpu::Cpu;
use cnn_train::{Classifier, Prediction, RunFolder};
use serde_json::Value;

fn shared<T: Send + Sync + std::fmt::Debug>(value: T) -> T {
    value
}

#[test]
fn threads_share_a_classifier() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    run(&mut trainer(), &folder);
    let classifier = Arc::new(shared(Classifier::<Cpu<f32>>::load(&backend(), folder.weights()).unwrap()));
    let test = dataset().test;
    let images: Vec<Vec<u8>> = (0..test.len()).map(|i| test.image(i).unwrap().into_owned()).collect();
    let alone = classifier.classify(&images).unwrap();
    let right = alone.iter().zip(test.labels()).filter(|(prediction, label)| prediction.label == **label as usize);
    assert_eq!(right.count() as u64, classifier.evaluate(&test, 40, &mut |_, _| {}).unwrap().correct);
    for prediction in &alone {
        assert_eq!(prediction.class, ["dark", "bright"][prediction.label]);
        assert_eq!(prediction.probability, prediction.probabilities[prediction.label]);
        assert!((prediction.probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    }
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(classifier.classify(&images).unwrap(), alone));
        }
    });
    assert_eq!(classifier.classify(&[[0u8; 0]; 0]).unwrap(), []);
    let error = classifier.classify(&[vec![0; 192], vec![0; 5]]).unwrap_err().to_string();
    assert_eq!(error, "bytes of image 1: 5: must be the 192 of a 8x8x3 image");
}

#[test]
fn six_views_are_judged_alike_by_both() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    run(&mut trainer(), &folder);
    let load = || Classifier::<Cpu<f32>>::load(&backend(), folder.weights()).unwrap();
    let (plain, views) = (load(), load().tta(true));
    let test = dataset().test;
    let images: Vec<Vec<u8>> = (0..test.len()).map(|i| test.image(i).unwrap().into_owned()).collect();
    let judged = views.classify(&images).unwrap();
    let right = judged.iter().zip(test.labels()).filter(|(prediction, label)| prediction.label == **label as usize);
    let evaluation = views.evaluate(&test, 40, &mut |_, _| {}).unwrap();
    assert_eq!(right.count() as u64, evaluation.correct);
    let loss = |rows: &[Prediction]| {
        let of = |(row, &label): (&Prediction, &u32)| -row.probabilities[label as usize].ln();
        rows.iter().zip(test.labels().iter()).map(of).sum::<f64>() / rows.len() as f64
    };
    assert!((loss(&judged) - evaluation.loss).abs() < 1e-6, "{} and {}", loss(&judged), evaluation.loss);
    let once = plain.classify(&images).unwrap();
    assert!((loss(&once) - plain.evaluate(&test, 40, &mut |_, _| {}).unwrap().loss).abs() < 1e-6);
    assert_ne!(judged, once);
    // A grey image looks the same from everywhere.
    let grey = [[90u8; 192]];
    let [one, six] = [&plain, &views].map(|classifier| classifier.classify(&grey).unwrap()[0].probability);
    assert!((one - six).abs() < 1e-6, "{one} and {six}");
}

#[test]
fn a_file_that_is_no_picture_does_not_hide_the_others() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    run(&mut trainer(), &folder);
    let classifier = Classifier::load(&backend(), folder.weights()).unwrap();
    let [dark, broken, bright] = ["dark.png", "broken.png", "bright.png"].map(|name| place.path().join(name));
    image::save_buffer(&dark, &[60; 192], 8, 8, image::ColorType::Rgb8).unwrap();
    image::save_buffer(&bright, &[190; 192], 8, 8, image::ColorType::Rgb8).unwrap();
    fs::write(&broken, b"no picture").unwrap();
    let results = classifier.classify_files(&[&dark, &broken, &bright]).unwrap();
    assert_eq!(results[0].as_ref().unwrap().class, "dark");
    assert!(results[1].as_ref().unwrap_err().to_string().contains("broken.png"));
    assert_eq!(results[2].as_ref().unwrap().class, "bright");
    assert_eq!(results[2].as_ref().unwrap(), &classifier.classify(&[[190; 192]]).unwrap()[0]);
}

#[test]
fn what_a_run_came_to_is_in_its_folder() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let test = run(&mut trainer(), &folder).test.unwrap();
    let results: Value = serde_json::from_slice(&fs::read(folder.results()).unwrap()).unwrap();
    assert_eq!(results["test_accuracy"], test.accuracy());
    assert_eq!(results["test_loss"], test.loss);
    assert_eq!(results["confusion"], serde_json::to_value(&test.confusion).unwrap());
    assert_eq!(results["classes"], serde_json::json!(["dark", "bright"]));
    assert_eq!((&results["epochs"], &results["steps"]), (&Value::from(3), &Value::from(18)));
}
