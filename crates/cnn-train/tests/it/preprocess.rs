//! A network sees a picture in the same way when it is trained, evaluated, asked and resumed.

use std::fs;
use std::path::Path;

use crate::support::{backend, run};
use cnn_cpu::Cpu;
use cnn_data::{Dataset, Filter, Fit, OpenOptions, Preprocess, open};
use cnn_train::{Classifier, Recipe, RunFolder, Trainer};

/// Twenty pictures of each of two classes, of many sizes.
fn pictures(root: &Path) {
    for (class, red) in [("blue", 30u32), ("red", 170)] {
        fs::create_dir(root.join(class)).unwrap();
        for i in 0..20 {
            let (width, height) = (9 + i * 7 % 13, 8 + i * 5 % 11);
            let pixel = |x: u32, y: u32| [red + (x * 5 + i) % 60, (x * y * 3) % 200, 200 - red + y % 50];
            let picture = image::RgbImage::from_fn(width, height, |x, y| image::Rgb(pixel(x, y).map(|v| v as u8)));
            picture.save(root.join(class).join(format!("{i}.png"))).unwrap();
        }
    }
}

fn opened(root: &Path, recipe: &Recipe) -> Dataset {
    let options = OpenOptions::default().size(recipe.size).preprocess(recipe.preprocess);
    open(root.to_str().unwrap(), Path::new("none"), &options).unwrap()
}

fn recipe(root: &Path, preprocess: Preprocess) -> Recipe {
    let mut recipe = Recipe::default_for("small", root.to_str().unwrap()).unwrap();
    (recipe.epochs, recipe.batch, recipe.size, recipe.preprocess) = (2, 8, Some([8, 8]), preprocess);
    recipe.augment.crop_padding = 0;
    recipe.augment.resized_crop = 0.5;
    recipe
}

#[test]
fn whatever_is_kept_is_judged_alike_by_all() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("pictures");
    fs::create_dir(&root).unwrap();
    pictures(&root);
    let kept = [
        ([11, 12], Fit::Crop, Filter::Bilinear),
        ([5, 4], Fit::Crop, Filter::Bicubic),
        ([10, 10], Fit::Pad, Filter::Bilinear),
        ([9, 13], Fit::Squash, Filter::Bicubic),
    ];
    for (at, (resize, fit, filter)) in kept.into_iter().enumerate() {
        let preprocess = Preprocess { resize: Some(resize), fit, filter };
        let recipe = recipe(&root, preprocess);
        let folder = RunFolder::create(place.path().join(format!("run{at}"))).unwrap();
        let data = opened(&root, &recipe);
        assert_eq!((data.test.size(), data.test.shown()), ([resize[0], resize[1], 3], [8, 8, 3]));
        let mut trainer = Trainer::new(&backend(), recipe, data.clone()).unwrap();
        let summary = run(&mut trainer, &folder);
        let classifier = Classifier::<Cpu<f32>>::load(&backend(), folder.weights()).unwrap();
        assert_eq!(classifier.info().preprocess, preprocess);
        let evaluation = classifier.evaluate(&data.test, 4, &mut |_, _| {}).unwrap();
        assert!((evaluation.loss - summary.test.unwrap().loss).abs() < 1e-6, "{resize:?}");
        // From the files, and from their bytes.
        let files: Vec<String> = (0..data.test.len()).map(|i| data.test.name(i)).collect();
        let said: Vec<_> = classifier.classify_files(&files).unwrap().into_iter().map(Result::unwrap).collect();
        let bytes: Vec<Vec<u8>> = (0..data.test.len()).map(|i| data.test.image(i).unwrap().into_owned()).collect();
        assert_eq!(said, classifier.classify(&bytes).unwrap());
        let right = said.iter().zip(data.test.labels()).filter(|(said, label)| said.label == **label as usize).count();
        assert_eq!(right as u64, evaluation.correct, "{resize:?}");
        let by_views = classifier.tta(true);
        let mean = -by_views
            .classify_files(&files)
            .unwrap()
            .iter()
            .zip(data.test.labels())
            .fold(0.0, |sum, (said, label)| sum + said.as_ref().unwrap().probabilities[*label as usize].ln())
            / files.len() as f64;
        let loss = by_views.evaluate(&data.test, 4, &mut |_, _| {}).unwrap().loss;
        assert!((mean - loss).abs() < 1e-6, "{mean} and {loss}");
        // What is written beside the weights opens the data again.
        let written = Recipe::from_toml(&fs::read_to_string(folder.recipe()).unwrap()).unwrap();
        assert_eq!((written.size, written.preprocess), (Some([8, 8]), preprocess));
        Trainer::resume(&backend(), &folder, opened(&root, &written)).unwrap();
        let other = Recipe { preprocess: Preprocess { resize: Some([8, 9]), ..preprocess }, ..written };
        let error = Trainer::resume(&backend(), &folder, opened(&root, &other)).unwrap_err().to_string();
        assert!(error.contains("pictures kept in 8x9x3: must be in"), "{error}");
    }
}

#[test]
fn images_of_another_size_are_refused_by_both_sizes() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("pictures");
    fs::create_dir(&root).unwrap();
    pictures(&root);
    let recipe = recipe(&root, Preprocess { resize: Some([12, 12]), ..Preprocess::default() });
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    run(&mut Trainer::new(&backend(), recipe.clone(), opened(&root, &recipe)).unwrap(), &folder);
    let classifier = Classifier::<Cpu<f32>>::load(&backend(), folder.weights()).unwrap();
    let other = opened(&root, &Recipe { preprocess: Preprocess::default(), ..recipe });
    let error = classifier.evaluate(&other.test, 4, &mut |_, _| {}).unwrap_err().to_string();
    let rule = "image [8, 8, 3], kept in [8, 8, 3]: must be [8, 8, 3], kept in [12, 12, 3], as in training";
    assert_eq!(error, rule);
    let error = classifier.classify(&[[0; 8 * 8 * 3]]).unwrap_err().to_string();
    assert_eq!(error, "bytes of image 0: 192: must be the 432 of a 12x12x3 image");
}

#[test]
fn sets_with_a_size_of_their_own_are_shown_in_another() {
    let options = OpenOptions::default().size([40, 40]);
    let data = open("shapes", Path::new("none"), &options).unwrap();
    let [side, ..] = data.train.size();
    assert_eq!(data.train.shown(), [40, 40, 3]);
    assert_ne!(side, 40);
    let few = |set: &cnn_data::ImageSet| set.split_validation(64, 0).unwrap().1;
    let data = Dataset::new("few", few(&data.train), few(&data.test)).unwrap();
    let mut recipe = Recipe::default_for("small", "shapes").unwrap();
    (recipe.epochs, recipe.size) = (1, Some([40, 40]));
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    run(&mut Trainer::new(&backend(), recipe, data.clone()).unwrap(), &folder);
    let classifier = Classifier::<Cpu<f32>>::load(&backend(), folder.weights()).unwrap();
    assert_eq!((classifier.info().image, classifier.info().stored()), ([40, 40, 3], data.train.size()));
    assert_eq!(classifier.evaluate(&data.test, 32, &mut |_, _| {}).unwrap().count, 64);
}
