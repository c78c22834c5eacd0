//! A network of one's own: trained, resumed, loaded and used like those that come with the library.
//! `cargo run --release --example own_network -- FOLDER`

use cnn::core::nn::{Conv2d, Init, Linear, Scope, name_fields};
use cnn::core::{Conv2dOptions, named_fields};
use cnn::prelude::*;

struct Tiny<B: Backend> {
    conv1: Conv2d<B>,
    conv2: Conv2d<B>,
    fc: Linear<B>,
    scope: Scope,
}

// The names under which the weights stand in files: conv1.weight, conv1.bias, ...
named_fields!(Tiny { conv1, conv2, fc });

impl<B: Backend> Tiny<B> {
    fn new(backend: &B, seed: u64, [height, width, channels]: [usize; 3], classes: usize) -> cnn::core::Result<Self> {
        let init = &mut Init::new(backend, seed);
        let halve = Conv2dOptions::square(3).stride(2).padding(1);
        let (conv1, conv2) = (Conv2d::new(init, channels, 16, halve)?, Conv2d::new(init, 16, 32, halve)?);
        // A dense layer behind an image: in files its weights stand in PyTorch's order, channel by channel.
        let fc = Linear::from_image(init, [height.div_ceil(4), width.div_ceil(4), 32], classes)?;
        let mut model = Tiny { conv1, conv2, fc, scope: Scope::default() };
        name_fields(&mut model);
        Ok(model)
    }
}

impl<B: Backend> Module<B> for Tiny<B> {
    fn forward(&mut self, x: &Var<B>) -> cnn::core::Result<Var<B>> {
        let x = self.conv2.call(&self.conv1.call(x)?.relu()?)?.relu()?;
        self.fc.call(&x.flatten()?)
    }
}

fn main() -> cnn::Result<()> {
    let folder = RunFolder::create(std::env::args().nth(1).unwrap_or_else(|| "runs/tiny".to_owned()))?;
    let (backend, networks) = (Cpu::new()?, Networks::new().with("tiny", Tiny::new));
    let dataset = open("shapes", "data".as_ref(), &OpenOptions::default())?;
    // `small` normalises its activations and this network does not: it asks for a lower rate.
    let mut recipe = Recipe { model: "tiny".to_owned(), epochs: 4, ..Recipe::default_for("small", "shapes")? };
    recipe.optimizer.lr = 0.05;
    let test = dataset.test.clone();
    let mut trainer = Trainer::with_networks(&backend, recipe, dataset, &networks)?;
    let summary = trainer.run(&folder, &mut |_| Control::Continue)?;
    println!("test accuracy {:.1}%", 100.0 * summary.test.map_or(0.0, |test| test.accuracy()));

    let trained = Trained::load(&backend, folder.weights(), &networks)?;
    trained.export(Naming::Torchvision, &folder.path().join("exported.safetensors"))?; // for PyTorch's load_state_dict
    let classifier = Classifier::new(trained)?;
    let first = &classifier.classify(&[test.image(0)?])?[0];
    println!("the first test image: {} ({:.1}%)", first.class, 100.0 * first.probability);
    Ok(())
}
