//! What a state dict accepts and refuses.

use cnn_core::archive::{Archive, Array, Values};
use cnn_core::nn::{BatchNorm2d, Conv2d, Init, Sequential, name_fields};
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
