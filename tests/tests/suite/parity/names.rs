//! State-dict names and files: PyTorch's are read, and written back the same.

use std::collections::BTreeMap;

use cnn_core::archive::Archive;
use cnn_core::state_dict::{Naming, load_state_dict, state_dict};
use cnn_core::{Backend, Naive};
use cnn_cpu::Cpu;
use cnn_models::{Block, ResNet, ResNetConfig, Stem};

use super::golden::{Golden, bytes, initial, number};

/// The shape of the checkpoint files' network.
const SMALL: ResNetConfig =
    ResNetConfig { stem: Stem::Cifar, block: Block::Basic, blocks: [1; 4], channels: [4, 4, 8, 8] };
const NAMINGS: [(Naming, &str, &str); 2] = [
    (Naming::Torchvision, "torchvision", "checkpoint_torchvision.safetensors"),
    (Naming::PytorchCifar, "pytorch-cifar", "checkpoint_pytorch_cifar.safetensors"),
];

#[test]
fn the_122_entries_of_resnet18_in_both_spellings() {
    let golden = Golden::open("names.safetensors");
    let backend = Naive::<f32>::new();
    for (naming, spelling, _) in NAMINGS {
        let stem = if naming == Naming::Torchvision { Stem::ImageNet } else { Stem::Cifar };
        let model = ResNet::new(&backend, 0, &ResNetConfig::resnet18(stem), 3, 10).unwrap();
        let entries = state_dict(&backend, &model, naming).unwrap().arrays;
        let got: BTreeMap<String, Vec<usize>> = entries.into_iter().map(|(name, array)| (name, array.shape)).collect();
        let shapes = golden.cases()[spelling].as_object().expect("names").iter();
        let shape = |shape: &serde_json::Value| shape.as_array().expect("a shape").iter().map(number).collect();
        let expected: BTreeMap<String, Vec<usize>> = shapes.map(|(name, dims)| (name.clone(), shape(dims))).collect();
        assert_eq!(expected.len(), 122);
        assert_eq!(got, expected, "{spelling}");
    }
}

/// The files are what `safetensors.torch.save_file(model.state_dict())` writes; that ours are the same bytes means that
/// PyTorch loads them with strict=True.
fn a_file_of_pytorch_is_written_back_byte_for_byte<B: Backend>(backend: &B) {
    for (naming, spelling, file) in NAMINGS {
        let theirs = bytes(file);
        let mut model = ResNet::new(backend, 0, &SMALL, 3, 3).unwrap();
        load_state_dict(backend, &mut model, &Archive::from_bytes(&theirs).unwrap()).unwrap();
        let archive = state_dict(backend, &model, naming).unwrap();
        for (name, array) in &archive.arrays {
            let name = name.replace("shortcut", "downsample").replace("linear", "fc");
            let expected: Vec<f64> = match name.ends_with("num_batches_tracked") {
                true => vec![7.0],
                false => initial(&name, &array.shape).to_float().unwrap(),
            };
            let got = array.to_float().unwrap_or_else(|_| vec![array.to_count().unwrap() as f64]);
            assert_eq!(got, expected, "{name}");
        }
        let ours = archive.to_bytes().unwrap();
        assert!(ours == theirs, "{spelling}: {} bytes became {} other bytes", theirs.len(), ours.len());
    }
}

#[test]
fn a_file_of_pytorch_is_written_back_byte_for_byte_by_naive() {
    a_file_of_pytorch_is_written_back_byte_for_byte(&Naive::<f32>::new());
}

#[test]
fn a_file_of_pytorch_is_written_back_byte_for_byte_by_cpu() {
    a_file_of_pytorch_is_written_back_byte_for_byte(&Cpu::<f32>::with_threads(2).unwrap());
}

#[test]
fn full_size_weights_survive_export_and_import() {
    let backend = Cpu::<f32>::with_threads(2).unwrap();
    let make = |seed| ResNet::new(&backend, seed, &ResNetConfig::resnet18(Stem::Cifar), 3, 10).unwrap();
    let (model, mut other) = (make(1), make(2));
    for (naming, spelling, _) in NAMINGS {
        let first = state_dict(&backend, &model, naming).unwrap().to_bytes().unwrap();
        load_state_dict(&backend, &mut other, &Archive::from_bytes(&first).unwrap()).unwrap();
        let second = state_dict(&backend, &other, naming).unwrap().to_bytes().unwrap();
        assert!(first == second, "{spelling}: export, import, export changed the file");
    }
}

#[test]
fn another_architecture_is_refused_with_what_does_not_fit() {
    let backend = Naive::<f32>::new();
    let config = ResNetConfig { blocks: [2, 1, 1, 1], channels: [4, 4, 8, 16], ..SMALL };
    let mut model = ResNet::new(&backend, 3, &config, 3, 5).unwrap();
    let before = state_dict(&backend, &model, Naming::Torchvision).unwrap();
    for (_, spelling, file) in NAMINGS {
        let archive = Archive::from_bytes(&bytes(file)).unwrap();
        let error = load_state_dict(&backend, &mut model, &archive).unwrap_err().to_string();
        for expected in [
            // Six arrays a normalisation less its count of batches, which a file need not have.
            "10 missing (layer1.1.conv1.weight, layer1.1.bn1.weight",
            "17 of another shape (layer4.0.conv1.weight is [8, 8, 3, 3], the model has [16, 8, 3, 3]",
        ] {
            assert!(error.contains(expected), "{spelling}: got {error:?}, expected it to contain {expected:?}");
        }
        let after = state_dict(&backend, &model, Naming::Torchvision).unwrap();
        assert!(before == after, "{spelling}: a refused file changed the model");
    }
}
