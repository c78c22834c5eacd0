//! Every network that has a name: how many weights it has, which is its last layer, which images it takes. None is drawn or computed.

use cnn_core::nn::parameters;
use cnn_core::pretrained::head;
use cnn_cpu::Cpu;
use cnn_models::Arch;

fn architectures() -> impl Iterator<Item = (&'static str, Arch)> {
    Arch::names().map(|name| (name, name.parse().unwrap()))
}

/// The least side of an image that a network takes.
fn least(arch: Arch) -> usize {
    match arch {
        Arch::Stepwise => 4,
        Arch::Small => 8,
        Arch::Fast(_) => 9,
        Arch::SqueezeNet => 17,
        Arch::DenseNet(_) => 29,
        Arch::Vgg(_) => 32,
        _ => 1,
    }
}

#[test]
fn weights_are_counted_without_making_them() {
    for (name, arch) in architectures() {
        for (image, classes) in [([32, 33, 3], 10), ([least(arch), least(arch), 1], 3)] {
            let backend = Cpu::<f32>::idle(1).unwrap();
            let model = arch.build(&backend, 0, image, classes).unwrap();
            let made: usize = parameters(&model).iter().map(|parameter| parameter.shape().numel()).sum();
            assert_eq!(arch.parameter_count(image, classes), Some(made), "{name} for {image:?}, {classes} classes");
            // What is made anew for other classes is the layer that tells them apart, and no more.
            let head = head(&model).unwrap();
            let of_head = parameters(&model).into_iter().filter(|parameter| parameter.name().starts_with(&head));
            let outputs: Vec<usize> = of_head.map(|parameter| parameter.file_shape()[0]).collect();
            assert!(outputs == [classes; 2] || outputs == [classes], "{name}: {head} of {outputs:?} outputs");
        }
    }
}

#[test]
fn images_that_are_too_small_are_refused() {
    let backend = Cpu::<f32>::idle(1).unwrap();
    for (name, arch) in architectures().filter(|(_, arch)| least(*arch) > 1) {
        let least = least(arch);
        for [h, w] in [[least - 1, least], [least, least - 1]] {
            let error = arch.build(&backend, 0, [h, w, 3], 2).map(drop).unwrap_err().to_string();
            let said = format!("image {h}x{w}: must be at least {least}x{least} for ");
            // The step-by-step network has the words of the layer that has too little.
            assert!(error.starts_with(&said) || arch == Arch::Stepwise, "{name}: {error}");
        }
    }
}
