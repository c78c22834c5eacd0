//! The generated set: the same everywhere, balanced, and out of reach of a linear classifier.

use cnn_core::rng::{Philox, Purpose};
use cnn_data::{Dataset, OpenOptions, Pool, open};
use sha2::{Digest, Sha256};
use std::sync::OnceLock;

fn shapes(seed: u64, threads: usize) -> Dataset {
    open("shapes", "none".as_ref(), &OpenOptions::default().seed(seed).pool(Pool::new(threads).unwrap())).unwrap()
}

fn default_set() -> &'static Dataset {
    static SET: OnceLock<Dataset> = OnceLock::new();
    SET.get_or_init(|| shapes(0, 0))
}

/// Results that are compared must come from the same images.
#[test]
fn it_is_the_set_it_always_was() {
    let bytes = default_set().test.resident_bytes().unwrap();
    let digest: String = Sha256::digest(&bytes[..]).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, "6dcc9f6fcdd6d8d84db26c0877c5058e0d04f9a463cbddadd172248b07c1f564");
}

#[test]
fn it_is_balanced_and_depends_on_the_seed_only() {
    let data = default_set();
    assert_eq!((data.train.class_sizes(), data.test.class_sizes()), (vec![1000; 10], vec![200; 10]));
    let (again, other) = (shapes(0, 3), shapes(1, 0));
    assert_eq!(data.train.resident_bytes(), again.train.resident_bytes());
    assert_eq!(data.test.resident_bytes(), again.test.resident_bytes());
    assert_ne!(data.test.resident_bytes(), other.test.resident_bytes());
    assert_ne!(data.train.image(0).unwrap(), data.test.image(0).unwrap());
}

/// Softmax regression on pixels, by stochastic gradient descent over all samples, `epochs` times; its test accuracy.
fn linear_accuracy(train: (&[u8], &[u32]), test: (&[u8], &[u32]), epochs: usize) -> f64 {
    const CLASSES: usize = 10;
    let pixels = train.0.len() / train.1.len();
    let mut weights = vec![[0f32; CLASSES]; pixels + 1];
    let scores = |weights: &[[f32; CLASSES]], image: &[u8]| {
        let mut scores = weights[pixels];
        for (row, &byte) in weights.iter().zip(image) {
            let x = f32::from(byte) / 128.0 - 1.0;
            (0..CLASSES).for_each(|class| scores[class] += x * row[class]);
        }
        scores
    };
    let mut order: Vec<usize> = (0..train.1.len()).collect();
    let mut random = Philox::new(0, Purpose::Test, 0, 0).stream();
    for epoch in 0..epochs {
        random.shuffle(&mut order);
        let rate = 1e-3 / (1 + epoch) as f32;
        for &i in &order {
            let image = &train.0[i * pixels..][..pixels];
            let scores = scores(&weights, image);
            let most = scores.iter().copied().fold(f32::MIN, f32::max);
            let likely = scores.map(|score| (score - most).exp());
            let total: f32 = likely.iter().sum();
            let mut step = likely.map(|value| -rate * value / total);
            step[train.1[i] as usize] += rate;
            for (row, &byte) in weights.iter_mut().zip(image) {
                let x = f32::from(byte) / 128.0 - 1.0;
                (0..CLASSES).for_each(|class| row[class] += x * step[class]);
            }
            (0..CLASSES).for_each(|class| weights[pixels][class] += step[class]);
        }
    }
    let right = |&(image, &label): &(&[u8], &u32)| {
        let scores = scores(&weights, image);
        (0..CLASSES).all(|class| class == label as usize || scores[class] < scores[label as usize])
    };
    let hits = test.0.chunks(pixels).zip(test.1).filter(right).count();
    hits as f64 / test.1.len() as f64
}

#[test]
fn a_linear_classifier_stays_at_or_below_sixty_percent() {
    let data = default_set();
    let (train, test) = (data.train.resident_bytes().unwrap(), data.test.resident_bytes().unwrap());
    let accuracy = linear_accuracy((&train, data.train.labels()), (&test, data.test.labels()), 2);
    println!("linear classifier on shapes: {:.1}%", 100.0 * accuracy);
    assert!(accuracy <= 0.6, "{accuracy}");

    // Control: the same classifier does find what a pixel says. Row 0 of each image tells the class.
    let tell = |bytes: &[u8], labels: &[u32]| {
        let mut bytes = bytes.to_vec();
        for (image, &label) in bytes.chunks_mut(32 * 32 * 3).zip(labels) {
            image[..96].fill(0);
            image[9 * label as usize..][..9].fill(255);
        }
        bytes
    };
    let (some, labels) = (2000, data.train.labels());
    let (train, told) = (tell(&train[..some * 3072], labels), tell(&test, data.test.labels()));
    let accuracy = linear_accuracy((&train, &labels[..some]), (&told, data.test.labels()), 1);
    assert!(accuracy >= 0.9, "the control reaches {accuracy}");
}
