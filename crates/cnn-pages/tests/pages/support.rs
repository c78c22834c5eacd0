//! Networks with random weights, in files, and pictures.

use std::path::{Path, PathBuf};

use cnn_core::Naive;
use cnn_core::state_dict::{Naming, state_dict};
use cnn_data::Preprocess;
use cnn_train::{Networks, Precision, Trained, WeightsInfo};

pub(crate) type Backend = Naive<f32>;

/// A network of this name for images of `side` x `side`, as a training would leave it, with classes of odd names.
pub(crate) fn trained(folder: &Path, arch: &str, side: usize, seed: u64) -> Trained<Backend> {
    let backend = Backend::default();
    let networks = Networks::new();
    let model = networks.build(arch, &backend, seed, [side, side, 3], CLASSES.len()).unwrap();
    let mut archive = state_dict(&backend, &model, Naming::Torchvision).unwrap();
    let info = WeightsInfo {
        arch: arch.to_owned(),
        classes: CLASSES.map(str::to_owned).to_vec(),
        image: [side, side, 3],
        preprocess: Preprocess::default(),
        mean: vec![0.5, 0.4, 0.3],
        std: vec![0.25, 0.2, 0.3],
        data: "made".to_owned(),
        layout: "OIHW".to_owned(),
        step: 1,
        precision: Precision::F32,
        conv_algo: "auto".to_owned(),
        images: None,
        labels: None,
        multi_label: false,
    };
    archive.metadata = serde_json::to_value(info).unwrap().as_object().unwrap().clone();
    let file = folder.join(format!("{arch}-{seed}.safetensors"));
    std::fs::write(&file, archive.to_bytes().unwrap()).unwrap();
    Trained::load(&backend, &file, &networks).unwrap()
}

/// Names that a page must not take for markup.
pub(crate) const CLASSES: [&str; 3] = ["<script>alert(1)</script>", "cat & \"dog\"", "emu"];

/// A picture of `side` x `side` with colours that tell its places apart.
pub(crate) fn picture(folder: &Path, side: u32) -> PathBuf {
    let colour = |x: u32, y: u32| [(x * 255 / side) as u8, (y * 255 / side) as u8, ((x * y * 7) % 256) as u8];
    let file = folder.join("it's <b>.png");
    image::RgbImage::from_fn(side, side, |x, y| image::Rgb(colour(x, y))).save(&file).unwrap();
    file
}

/// The text behind `before`, up to the next tag, its minus sign made one that parses.
pub(crate) fn after(page: &str, before: &str) -> String {
    let rest = page.split_once(before).unwrap_or_else(|| panic!("no {before} in the page")).1;
    rest.split('<').next().unwrap_or_default().replace('\u{2212}', "-")
}

/// The number there.
pub(crate) fn number(page: &str, before: &str) -> f64 {
    let text = after(page, before);
    text.parse().unwrap_or_else(|error| panic!("{error}: {before}{text}"))
}
