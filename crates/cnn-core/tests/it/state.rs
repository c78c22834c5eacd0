//! What a state dict accepts and refuses.

use cnn_core::archive::{Archive, Array, Values};
use cnn_core::nn::{BatchNorm2d, Conv2d, Fields, Init, Leaf, LeafMut, Linear, Path, Scope, Sequential, name_fields};
use cnn_core::state_dict::{Naming, load_state_dict, state_dict};
use cnn_core::{Conv2dOptions, Naive};

type N = Naive<f32>;

fn model(seed: u64) -> Sequential<N> {
    let backend = N::new();
    let init = &mut Init::new(&backend, seed);
    let conv = Conv2d::without_bias(init, 2, 3, Conv2dOptions::square(1)).unwrap();
    let mut model = Sequential::new().push(conv).push(BatchNorm2d::new(init, 3).unwrap());
    name_fields(&mut model);
    model
}

fn state(model: &Sequential<N>) -> Archive {
    state_dict(&N::new(), model, Naming::Torchvision).unwrap()
}

#[test]
fn a_count_of_batches_may_be_missing() {
    let (first, mut second) = (model(1), model(2));
    let mut archive = state(&first);
    // The count of the model is kept, as PyTorch's load_state_dict does with strict=True.
    let mut counted = state(&second);
    counted.arrays.insert("1.num_batches_tracked".into(), Array::count(7));
    load_state_dict(&N::new(), &mut second, &counted).unwrap();
    archive.arrays.remove("1.num_batches_tracked").unwrap();
    load_state_dict(&N::new(), &mut second, &archive).unwrap();
    archive.arrays.insert("1.num_batches_tracked".into(), Array::count(7));
    assert_eq!(state(&second), archive);
    // Anything else may not.
    archive.arrays.remove("1.running_mean").unwrap();
    let error = load_state_dict(&N::new(), &mut second, &archive).unwrap_err().to_string();
    assert_eq!(error, "the weights do not fit the model: 1 missing (1.running_mean)");
}

#[test]
fn numbers_that_no_training_leaves_behind_are_refused() {
    for (name, value, rule) in [
        ("0.weight", f32::NAN, "holds NaN: must be finite"),
        ("1.weight", f32::INFINITY, "holds inf: must be finite"),
        ("1.running_mean", f32::NEG_INFINITY, "holds -inf: must be finite"),
        ("1.running_var", f32::NAN, "holds NaN: must be finite"),
        ("1.running_var", -1.0, "holds -1: must be at least 0"),
    ] {
        let mut model = model(1);
        let before = state(&model);
        let mut archive = before.clone();
        let Values::F32(values) = &mut archive.arrays.get_mut(name).unwrap().values else { panic!("{name}") };
        values[2] = value;
        let error = load_state_dict(&N::new(), &mut model, &archive).unwrap_err().to_string();
        assert_eq!(error, format!("{name}: {rule}"));
        assert_eq!(state(&model), before, "a refused file has changed the model");
    }
    // A mean may be negative, and a variance 0.
    let mut archive = state(&model(1));
    archive.arrays.insert("1.running_mean".into(), Array::float(vec![3], &[-1.0f32; 3]));
    archive.arrays.insert("1.running_var".into(), Array::float(vec![3], &[0.0f32; 3]));
    load_state_dict(&N::new(), &mut model(2), &archive).unwrap();
}

/// A network of a program's own with fields of these names, each a dense layer.
struct Fielded {
    fields: Vec<(&'static str, Linear<N>)>,
    scope: Scope,
}

impl Fielded {
    fn new(names: &[&'static str], seed: u64) -> Self {
        let backend = N::new();
        let init = &mut Init::new(&backend, seed);
        let fields = names.iter().map(|&name| (name, Linear::new(init, 2, 2).unwrap())).collect();
        let mut model = Fielded { fields, scope: Scope::default() };
        name_fields(&mut model);
        model
    }

    fn state(&self) -> Archive {
        state_dict(&N::new(), self, Naming::Torchvision).unwrap()
    }
}

impl Fields<N> for Fielded {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Leaf<'a, N>)) {
        self.fields.iter().for_each(|(name, field)| path.within(name, |path| field.visit(path, f)));
    }
    fn visit_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, LeafMut<'a, N>)) {
        f(path, LeafMut::Scope(&mut self.scope));
        self.fields.iter_mut().for_each(|(name, field)| path.within(name, |path| field.visit_mut(path, f)));
    }
}

#[test]
fn a_file_is_read_in_the_spelling_that_fits_the_model() {
    for names in
        [&["shortcut", "fc"][..], &["linear"], &["linear", "fc"], &["downsample", "fc"], &["linear", "downsample"]]
    {
        for naming in [Naming::Torchvision, Naming::PytorchCifar] {
            let (model, mut other) = (Fielded::new(names, 1), Fielded::new(names, 2));
            let Ok(archive) = state_dict(&N::new(), &model, naming) else {
                assert_eq!((names, naming), (&["linear", "fc"][..], Naming::PytorchCifar));
                continue;
            };
            load_state_dict(&N::new(), &mut other, &archive).unwrap_or_else(|e| panic!("{names:?} {naming:?}: {e}"));
            assert_eq!(other.state(), model.state(), "{names:?} {naming:?}");
        }
    }
    // What is missing is told in the spelling of the file.
    let mut archive = state_dict(&N::new(), &Fielded::new(&["downsample", "fc"], 1), Naming::PytorchCifar).unwrap();
    archive.arrays.remove("linear.bias").unwrap();
    let error = load_state_dict(&N::new(), &mut Fielded::new(&["downsample", "fc"], 2), &archive).unwrap_err();
    assert_eq!(error.to_string(), "the weights do not fit the model: 1 missing (linear.bias)");
}

#[test]
fn two_fields_do_not_share_a_name_in_a_file() {
    let both = Fielded::new(&["linear", "fc"], 1);
    let error = state_dict(&N::new(), &both, Naming::PytorchCifar).map(drop).unwrap_err().to_string();
    assert_eq!(
        error,
        "name linear.weight: is that of the fields linear.weight and fc.weight in the file: rename one of them, or use \
         torchvision's names"
    );
    let twice = Fielded::new(&["conv", "conv"], 1);
    let rule = "name conv.weight: is that of two fields: give one of them another";
    let error = state_dict(&N::new(), &twice, Naming::Torchvision).map(drop).unwrap_err().to_string();
    assert_eq!(error, rule);
    // Nor is one array of a file put into two fields.
    let archive = Fielded::new(&["conv"], 1).state();
    let error = load_state_dict(&N::new(), &mut Fielded::new(&["conv", "conv"], 2), &archive).unwrap_err();
    assert_eq!(error.to_string(), rule);
}
