//! The zoo's networks against torchvision's and timm's own: names, logits, gradients, statistics. `tests/golden/zoo.py` wrote them
//! down.

use std::collections::BTreeMap;
use std::fs;

use cnn_core::archive::hexadecimal;
use cnn_core::nn::{Fields, Leaf, Path, parameters};
use cnn_core::state_dict::{Naming, state_dict};
use cnn_core::{Backend, Device, Frozen, Pass, Result};
use cnn_cpu::Cpu;
use cnn_models::{
    Arch, ConvNeXt, EfficientNet, EfficientNetLite, MobileNetV2, MobileNetV3, Model, SqueezeNet, Vgg, VggConfig,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::golden::*;

/// How far logits may be from PyTorch's, relative to their norm, and gradients and statistics, each to its own.
const LOGITS: f64 = 1e-11;
const ARRAYS: f64 = 1e-10;
/// The least norm that errors are relative to: a bias in front of a normalisation has no gradient but rounding.
const LEAST: f64 = 1e-3;

macro_rules! zoo {
    ($($(#[$attribute:meta])? $test:ident $name:literal)*) => { $(
        #[test]
        $(#[$attribute])?
        fn $test() {
            check($name).unwrap_or_else(|error| panic!("{}: {error}", $name));
        }
    )* };
}

zoo! {
    resnet18 "resnet18-imagenet" resnet34 "resnet34-imagenet" resnet50 "resnet50" resnext50_32x4d "resnext50-32x4d" mobilenet_v2 "mobilenet-v2"
    efficientnet_lite0 "efficientnet-lite0" mobilenet_v3_small "mobilenet-v3-small"
    mobilenet_v3_large "mobilenet-v3-large" shufflenet_v2_x1_0 "shufflenet-v2-x1-0" squeezenet1_1 "squeezenet1-1"
    regnet_y_400mf "regnet-y-400mf" densenet121 "densenet121" vgg11 "vgg11" vgg11_bn "vgg11-bn"
    efficientnet_b0 "efficientnet-b0" convnext_tiny "convnext-tiny"
    #[ignore = "half a minute and more: cargo xtask check --deep"] resnet101 "resnet101"
    #[ignore = "half a minute and more: cargo xtask check --deep"] wide_resnet50_2 "wide-resnet50-2"
    #[ignore = "seconds of what vgg11 shows as well: cargo xtask check --deep"] vgg16 "vgg16"
    #[ignore = "seconds of what vgg11_bn shows as well: cargo xtask check --deep"] vgg16_bn "vgg16-bn"
}

/// Of all of them, those too whose numbers take long, and VGG with all of its weights.
#[test]
fn every_network_has_the_names_and_shapes_of_the_original() {
    let golden = Golden::open("zoo.safetensors");
    for (name, case) in golden.cases().iter().filter(|(_, case)| case.is_object()) {
        let backend = Cpu::<f64>::idle(1).unwrap();
        let model = network(&backend, name, case).unwrap();
        named(&model, case);
        if let Some(whole) = case.get("whole") {
            let arch: Arch = name.parse().unwrap();
            named(&arch.build(&backend, 0, [64, 64, 3], number(&case["classes"])).unwrap(), whole);
        }
    }
}

/// Every array that others publish for a network, by its name and shape there, is one that the network has, and it has no more.
#[test]
fn what_others_call_the_arrays_is_known() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/foreign");
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        let arch: Arch = file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let model = arch.build(&Cpu::<f32>::idle(1).unwrap(), 0, [224, 224, 3], 1000).unwrap();
        for prefix in ["", "state_dict.module."] {
            let text = fs::read_to_string(&file).unwrap();
            let ours = text.lines().map(|line| {
                let (theirs, shape) = line.split_once(' ').unwrap();
                let theirs = format!("{prefix}{theirs}");
                let name = arch.name_of(&theirs).unwrap_or(theirs);
                let shape: Vec<usize> = serde_json::from_str(shape).unwrap();
                format!("{} {:?}\n", &name[prefix.len()..], arch.shape_of(&name, &shape).unwrap_or(shape))
            });
            let mut ours: Vec<String> = ours.collect();
            ours.sort();
            assert_eq!(ours, lines(&model), "{arch}");
        }
        // What has its names already keeps them.
        for line in lines(&model) {
            let (name, _) = line.split_once(' ').unwrap();
            assert_eq!(arch.name_of(name), None);
        }
    }
}

/// A line for each array of the state dict: its name and shape.
fn lines<B: Backend>(model: &Model<B>) -> Vec<String> {
    let mut lines = Vec::new();
    model.visit(&mut Path::default(), &mut |path, leaf| {
        let shape = match leaf {
            Leaf::Param(parameter) => parameter.file_shape(),
            Leaf::Statistic(statistic) => statistic.shape().dims().to_vec(),
            Leaf::Count(_) => Vec::new(),
        };
        lines.push(format!("{} {shape:?}\n", path.as_str()));
    });
    lines.sort();
    lines
}

/// Compares the state dict's names and shapes, and the number of parameters.
fn named<B: Backend>(model: &Model<B>, case: &Value) {
    let lines = lines(model).concat();
    assert_eq!(hexadecimal(Sha256::digest(&lines)), case["names"].as_str().unwrap(), "the names are:\n{lines}");
    let count: usize = parameters(model).iter().map(|parameter| parameter.shape().numel()).sum();
    assert_eq!(count, number(&case["parameters"]));
}

fn check(name: &str) -> Result<()> {
    let (backend, golden) = (&Cpu::<f64>::with_threads(2)?, Golden::open("zoo.safetensors"));
    let case = &golden.cases()[name];
    let ([h, w], [batch, classes]) = (numbers(&case["image"]), ["batch", "classes"].map(|key| number(&case[key])));
    let mut model = network(backend, name, case)?;
    let mut failures = Vec::new();
    named(&model, case);

    initialise(backend, &mut *model, "")?;
    let images = noise(&format!("{name} images"), batch * h * w * 3);
    let mut close_to = |what: &str, got: &[f64], bound| {
        failures.extend(close(what, got, &golden.array(&format!("{name}/{what}")), bound, 0.0).err());
    };
    let pass = Pass::eval(backend);
    let x = pass.input(tensor(backend, &[batch, h, w, 3], &images)?)?;
    close_to("eval", &model.call(&x)?.to_vec()?, LOGITS);
    let frozen = Frozen::new(backend, &mut *model, &[h, w, 3])?;
    close_to("eval", &frozen.run(tensor(backend, &[batch, h, w, 3], &images)?)?.to_vec(backend)?, LOGITS);

    let pass = Pass::train(backend, 0);
    let x = pass.input(tensor(backend, &[batch, h, w, 3], &images)?)?;
    let logits = model.call(&x)?;
    close_to("logits", &logits.to_vec()?, LOGITS);
    let loss = logits.cross_entropy(&labels(&format!("{name} labels"), batch, classes), 0.0)?;
    let gradients = loss.backward()?;
    let mut by_name = BTreeMap::new();
    for parameter in parameters(&*model) {
        let gradient = gradients.parameter(parameter).expect("every parameter is used");
        let gradient = parameter.layout().to_file(&backend.download(gradient)?);
        by_name.insert(parameter.name().to_owned(), gradient);
    }
    let statistics = state_dict(backend, &*model, Naming::Torchvision)?.arrays;
    let statistics = statistics.into_iter().filter(|(name, _)| name.contains("running"));
    let statistics = statistics.map(|(name, array)| Ok((name, array.to_float()?))).collect::<Result<_>>()?;
    for (what, arrays) in [("gradients", by_name), ("statistics", statistics)] {
        let expected = golden.array(&format!("{name}/{what}"));
        assert_eq!(expected.len(), 3 * arrays.len(), "{what}");
        for ((key, array), expected) in arrays.iter().zip(expected.chunks(3)) {
            // Relative to the norm, which is the first.
            failures.extend(close(&format!("{what} of {key}"), &digest(array)[..3], expected, ARRAYS, LEAST).err());
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// The network of a case without dropout and stochastic depth, whose noise is not PyTorch's; VGG with dense layers of the case's width.
fn network<B: Backend>(backend: &B, name: &str, case: &Value) -> Result<Model<B>> {
    let ([h, w], classes) = (numbers(&case["image"]), number(&case["classes"]));
    let image = [h, w, 3];
    Ok(match name.parse()? {
        Arch::MobileNetV2 => Box::new(MobileNetV2::new(backend, 0, image[2], classes, 0.0)?),
        Arch::EfficientNetLite0 => Box::new(EfficientNetLite::new(backend, 0, image, classes, 0.0)?),
        Arch::EfficientNetB0 => Box::new(EfficientNet::new(backend, 0, 3, classes, 0.0, 0.0)?),
        Arch::ConvNeXtTiny => Box::new(ConvNeXt::new(backend, 0, 3, classes, 0.0)?),
        Arch::MobileNetV3(config) => Box::new(MobileNetV3::new(backend, 0, &config, 3, classes, 0.0)?),
        Arch::SqueezeNet => Box::new(SqueezeNet::new(backend, 0, image, classes, 0.0)?),
        Arch::Vgg(config) => {
            let config = VggConfig { dense: number(&case["dense"]), ..config };
            Box::new(Vgg::new(backend, 0, &config, image, classes, 0.0)?)
        }
        arch => arch.build(backend, 0, image, classes)?,
    })
}
