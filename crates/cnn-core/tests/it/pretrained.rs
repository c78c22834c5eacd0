//! Weights of another network's file, in a model of other classes.

use cnn_core::archive::{Archive, Array};
use cnn_core::nn::{BatchNorm2d, Conv2d, Flatten, GlobalAvgPool2d, Init, Linear, Sequential, name_fields, parameters};
use cnn_core::pretrained::{Head, head, load_pretrained};
use cnn_core::state_dict::{Naming, state_dict};
use cnn_core::{Conv2dOptions, Naive};

type Backend = Naive<f32>;

fn model(seed: u64, classes: usize) -> Sequential<Backend> {
    let backend = Backend::new();
    let init = &mut Init::new(&backend, seed);
    let conv = Conv2d::without_bias(init, 3, 4, Conv2dOptions::square(3)).unwrap();
    let (norm, fc) = (BatchNorm2d::new(init, 4).unwrap(), Linear::new(init, 4, classes).unwrap());
    let model = Sequential::new().push(conv).push(norm);
    let mut model = model.push(GlobalAvgPool2d::default()).push(Flatten::default()).push(fc);
    name_fields(&mut model);
    model
}

fn weights(seed: u64, classes: usize) -> Archive {
    state_dict(&Backend::new(), &model(seed, classes), Naming::Torchvision).unwrap()
}

/// The arrays of `archive` with `prefix` before their names.
fn under(prefix: &str, archive: Archive) -> impl Iterator<Item = (String, Array)> {
    archive.arrays.into_iter().map(move |(name, array)| (format!("{prefix}{name}"), array))
}

#[test]
fn a_wrapped_file_of_other_classes_gives_all_but_the_head() {
    let backend = Backend::new();
    let mut archive = Archive::default();
    archive.arrays.extend(under("state_dict.module.", weights(1, 5)));
    archive.arrays.extend(under("state_dict_ema.module.", weights(2, 5)));
    archive.arrays.insert("state_dict_ema.module.aux.weight".into(), Array::float(vec![1], &[0f32]));
    archive.arrays.insert("optimizer.state.0.exp_avg".into(), Array::float(vec![1], &[0f32]));
    archive.arrays.remove("state_dict_ema.module.1.num_batches_tracked");

    let mut new = model(3, 2);
    let before = state_dict(&backend, &new, Naming::Torchvision).unwrap();
    let taken = load_pretrained(&backend, &mut new, &archive, Head::IfItFits);
    // An average's weights are those that were tested; here they lack a count, so that the others would be more.
    assert_eq!(taken.unwrap().prefix, "state_dict.module.");
    archive.arrays.insert("state_dict_ema.module.1.num_batches_tracked".into(), Array::count(9));
    let taken = load_pretrained(&backend, &mut new, &archive, Head::IfItFits).unwrap();
    assert_eq!(taken.prefix, "state_dict_ema.module.");
    assert_eq!((taken.taken, taken.elsewhere), (6, 9), "{taken:?}");
    assert_eq!(taken.new, ["4.weight", "4.bias"]);
    assert_eq!(taken.unexpected, ["state_dict_ema.module.aux.weight"]);

    let (after, source) = (state_dict(&backend, &new, Naming::Torchvision).unwrap(), weights(2, 5));
    for (name, array) in &after.arrays {
        let from = if name.starts_with("4.") { &before } else { &source };
        let same = if name.ends_with("tracked") { *array == Array::count(9) } else { *array == from.arrays[name] };
        assert!(same, "{name}");
    }
}

#[test]
fn a_file_without_a_head_says_so() {
    let backend = Backend::new();
    let mut archive = Archive::default();
    archive.arrays.extend(under("backbone.", weights(1, 5)).filter(|(name, _)| !name.contains(".4.")));
    let taken = load_pretrained(&backend, &mut model(3, 5), &archive, Head::IfItFits).unwrap();
    assert_eq!((&*taken.prefix, taken.taken, taken.headless), ("backbone.", 6, true), "{taken:?}");
    assert_eq!(taken.new, ["4.weight", "4.bias"]);
    let other = load_pretrained(&backend, &mut model(3, 2), &weights(1, 5), Head::IfItFits).unwrap();
    assert!(!other.headless && other.new.len() == 2, "{other:?}");
    let error = load_pretrained(&backend, &mut model(3, 5), &archive, Head::Taken).unwrap_err().to_string();
    assert!(error.contains("2 missing (backbone.4.weight, backbone.4.bias)"), "{error}");
}

#[test]
fn the_head_is_taken_where_it_is_asked_for_or_fits() {
    let backend = Backend::new();
    assert_eq!(head(&model(0, 2)).as_deref(), Some("4."));
    for (asked, classes, new) in
        [(Head::IfItFits, 5, 0), (Head::New, 5, 2), (Head::Taken, 5, 0), (Head::IfItFits, 2, 2)]
    {
        let taken = load_pretrained(&backend, &mut model(3, classes), &weights(1, 5), asked).unwrap();
        assert_eq!(taken.new.len(), new, "{asked:?} of {classes}");
        assert!(taken.unexpected.is_empty() && taken.missing.is_empty(), "{taken:?}");
    }
    let error = load_pretrained(&backend, &mut model(3, 2), &weights(1, 5), Head::Taken).unwrap_err().to_string();
    assert!(error.contains("2 of another shape (4.weight is [5, 4], the model has [2, 4], 4.bias is [5]"), "{error}");
}

#[test]
fn a_network_of_which_a_part_would_be_chance_is_refused_and_stays_as_it_was() {
    let backend = Backend::new();
    let refused = |change: &dyn Fn(&mut Archive)| {
        let mut archive = weights(1, 5);
        change(&mut archive);
        let mut new = model(3, 2);
        let before = parameters(&new).iter().map(|p| p.value().clone()).collect::<Vec<_>>();
        let error = load_pretrained(&backend, &mut new, &archive, Head::IfItFits).unwrap_err().to_string();
        assert_eq!(before, parameters(&new).iter().map(|p| p.value().clone()).collect::<Vec<_>>());
        error
    };
    let missing = refused(&|archive| drop(archive.arrays.remove("0.weight")));
    assert!(missing.contains("1 missing (0.weight)"), "{missing}");
    let shape = refused(&|archive| drop(archive.arrays.insert("0.weight".into(), Array::float(vec![1], &[0f32]))));
    assert!(shape.contains("1 of another shape (0.weight is [1], the model has [4, 3, 3, 3])"), "{shape}");
    let values =
        refused(&|archive| drop(archive.arrays.insert("1.bias".into(), Array::float(vec![4], &[f32::NAN; 4]))));
    assert!(values.contains("1.bias: holds NaN"), "{values}");
    let variance =
        refused(&|archive| drop(archive.arrays.insert("1.running_var".into(), Array::float(vec![4], &[-1f32; 4]))));
    assert!(variance.contains("1.running_var: holds -1"), "{variance}");
    let other = refused(&|archive| archive.arrays = [("encoder.w".to_owned(), Array::count(1))].into());
    assert!(other.contains("of another network: none of the 8 names of the model, such as 0.weight"), "{other}");
}
