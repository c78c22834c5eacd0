//! A program's own network is trained, resumed, loaded, used and exported as those of the library are.

use std::fs;

use crate::support::{backend, checkpoint, dataset, recipe, run_steps};
use cnn_core::nn::{Conv2d, Init, Linear, Module, Scope, name_fields};
use cnn_core::state_dict::Naming;
use cnn_core::{Backend, Conv2dOptions, Result, Var, named_fields};
use cnn_train::{Classifier, Control, Networks, Recipe, RunFolder, Trained, Trainer};

struct Tiny<B: Backend> {
    conv: Conv2d<B>,
    fc: Linear<B>,
    scope: Scope,
}

named_fields!(Tiny { conv, fc });

impl<B: Backend> Tiny<B> {
    fn new(backend: &B, seed: u64, [_, _, channels]: [usize; 3], classes: usize) -> Result<Self> {
        let init = &mut Init::new(backend, seed);
        let conv = Conv2d::new(init, channels, 8, Conv2dOptions::square(3).stride(2))?;
        let mut model = Tiny { conv, fc: Linear::new(init, 8, classes)?, scope: Scope::default() };
        name_fields(&mut model);
        Ok(model)
    }
}

impl<B: Backend> Module<B> for Tiny<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        self.fc.call(&self.conv.call(x)?.relu()?.global_avg_pool2d()?.flatten()?)
    }
}

#[test]
fn a_network_of_a_program_goes_everywhere() {
    let place = tempfile::tempdir().unwrap();
    let networks = Networks::new().with("tiny", Tiny::new);
    let recipe = Recipe { model: "tiny".into(), ..recipe() };
    let new = || Trainer::with_networks(&backend(), recipe.clone(), dataset(), &networks).unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| RunFolder::create(place.path().join(name)).unwrap());
    let test = new().run(&whole, &mut |_| Control::Continue).unwrap().test.unwrap();
    run_steps(&mut new(), &parts, 8);
    let mut resumed = Trainer::resume_with_networks(&backend(), &parts, dataset(), &networks).unwrap();
    resumed.run(&parts, &mut |_| Control::Continue).unwrap();
    assert!(checkpoint(&whole) == checkpoint(&parts), "the bits differ");

    let trained = Trained::load(&backend(), whole.weights(), &networks).unwrap();
    assert_eq!((trained.info().arch.as_str(), trained.parameter_count()), ("tiny", 9 * 3 * 8 + 8 + 8 * 2 + 2));
    let exported = place.path().join("exported.safetensors");
    trained.export(Naming::Torchvision, &exported).unwrap();
    assert!(fs::read(&exported).unwrap() == fs::read(whole.weights()).unwrap(), "exported weights are the same file");
    let classifier = Classifier::new(trained).unwrap();
    assert_eq!(classifier.evaluate(&dataset().test, 128, &mut |_, _| {}).unwrap(), test);

    // A program that does not know the network says which ones it knows.
    let expected = "model tiny: must be one of stepwise, small, fast, fast-wide, fast-deep, resnet18";
    for error in [
        Classifier::load(&backend(), whole.weights()).unwrap_err(),
        Trainer::resume(&backend(), &whole, dataset()).unwrap_err(),
        Trainer::new(&backend(), recipe.clone(), dataset()).unwrap_err(),
    ] {
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}
