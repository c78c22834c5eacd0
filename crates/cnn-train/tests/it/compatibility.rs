//! What version 0.1 wrote goes on to load, to evaluate to the same figures and to resume to the same bits.

use std::fs;
use std::path::{Path, PathBuf};

use cnn_cpu::{Cpu, testing};
use cnn_data::{Dataset, OpenOptions, open};
use cnn_train::{Classifier, Control, RunFolder, Trainer};
use sha2::{Digest, Sha256};

/// Hash of the arrays of the interrupted run's weights, once version 0.1 had resumed it to its end.
const WEIGHTS: &str = "3c129d9fb2bc1733b2bf49c509c81f427b8142fd6c0605abab947fed7aba44a5";
/// The rows of its metrics.csv from the epoch on in which it was interrupted, without what was timed.
const ROWS: [&str; 4] = [
    "5,400,0.0005559840141227016,0.07232859484743911,0.975,,",
    "6,480,0.0002830609982086992,0.012318971469478867,1,,",
    "7,560,0.00007664159383425639,0.024461050642207736,0.99375,,",
    "8,640,0.000000004,0.0275452583371532,0.9875,,",
];

fn files(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/v0_1").join(name)
}

fn images() -> Dataset {
    open(files("images").to_str().unwrap(), "".as_ref(), &OpenOptions::default()).unwrap()
}

/// The figures are those of AVX2; a CPU without it says that it skips them. (The portable set sums dense layers otherwise than
/// version 0.1 did.)
fn backend() -> Option<Cpu<f32>> {
    let avx2 = testing::isas().into_iter().find(|isa| isa.to_string() == "avx2");
    avx2.map(|isa| Cpu::with_isa(2, isa).unwrap())
}

/// A copy of a run, which may be written to.
fn copy(name: &str) -> (tempfile::TempDir, RunFolder) {
    let place = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(files(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, place.path().join(path.file_name().unwrap())).unwrap();
    }
    let folder = RunFolder::open(place.path()).unwrap();
    (place, folder)
}

/// Hash of a safetensors file's arrays, without its header.
fn hash(path: &Path) -> String {
    let bytes = fs::read(path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    Sha256::digest(&bytes[8 + header..]).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn weights_evaluate_to_the_same_figures() {
    let Some(backend) = backend() else { return };
    let classifier = Classifier::load(&backend, files("finished/model.safetensors")).unwrap();
    let evaluation = classifier.evaluate(&images().test, 128, &mut |_, _| {}).unwrap();
    assert_eq!(classifier.info().classes, ["even", "odd"]);
    assert_eq!((evaluation.correct, evaluation.top5, evaluation.count), (35, 40, 40));
    assert_eq!(evaluation.confusion, [[18, 5], [0, 17]]);
    assert_eq!(evaluation.loss, 0.26143144279546093);
}

#[test]
fn an_interrupted_run_ends_in_the_same_bits() {
    let Some(backend) = backend() else { return };
    let (_place, folder) = copy("interrupted");
    let mut trainer = Trainer::resume(&backend, &folder, images()).unwrap();
    let summary = trainer.run(&folder, &mut |_| Control::Continue).unwrap();
    assert_eq!((summary.epochs, summary.steps), (8, 640));
    let test = summary.test.unwrap();
    assert_eq!((test.correct, test.loss), (38, 0.13055584682619106));
    assert_eq!(hash(&folder.weights()), WEIGHTS);
    let metrics = fs::read_to_string(folder.metrics()).unwrap();
    let rows: Vec<&str> = metrics.lines().skip(1).collect();
    assert_eq!(rows.len(), 8, "{metrics}");
    for (row, expected) in rows[4..].iter().zip(ROWS) {
        assert!(row.starts_with(expected), "{row}, in version 0.1 {expected}");
    }
}

#[test]
fn a_finished_run_is_finished() {
    let Some(backend) = backend() else { return };
    let (_place, folder) = copy("finished");
    let before = fs::read(folder.weights()).unwrap();
    let mut trainer = Trainer::resume(&backend, &folder, images()).unwrap();
    let summary = trainer.run(&folder, &mut |_| Control::Continue).unwrap();
    assert_eq!((summary.epochs, summary.steps, summary.test.unwrap().loss), (3, 27, 0.26143144279546093));
    assert!(fs::read(folder.weights()).unwrap() == before, "the weights were written again");
}
