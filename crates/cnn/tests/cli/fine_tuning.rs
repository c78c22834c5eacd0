//! Weights of another run or program to begin with.

use std::fs;

use cnn::core::archive::Archive;

use crate::support::Place;

#[test]
fn a_run_begins_with_the_weights_of_another_and_a_new_last_layer() {
    let place = Place::new();
    place.pictures("photos", 16);
    let first =
        ["train", "--data", "shapes", "--model", "small", "--epochs", "1", "--max-seconds", "1", "--out", "first"];
    place.succeeds(&first);
    // Network and size are the weights'; the classes are others.
    let next = [
        "train",
        "--data",
        "photos",
        "--init",
        "first",
        "--epochs",
        "1",
        "--head-lr",
        "0.01",
        "--freeze",
        "conv1.*:1,bn1.*:1",
    ];
    let (_, stderr) = place.succeeds(&[&next[..], &["--out", "next"]].concat());
    assert!(stderr.contains("first/model.safetensors: 18 arrays taken; fc.weight, fc.bias new"), "{stderr}");
    assert!(stderr.contains("small: ") && stderr.contains("photos: 32x32x3"), "{stderr}");
    let arrays = |run: &str| Archive::from_bytes(&place.read(&format!("{run}/model.safetensors"))).unwrap().arrays;
    let (before, after) = (arrays("first"), arrays("next"));
    assert_eq!(before["conv1.weight"], after["conv1.weight"]);
    assert_eq!(before["bn1.running_var"], after["bn1.running_var"]);
    assert_ne!(before["conv2.weight"], after["conv2.weight"]);
    let recipe = String::from_utf8(place.read("next/recipe.toml")).unwrap();
    for part in
        ["before_epochs = 1", "statistics = true", "pattern = \"head\"\nlr_scale = 16.0", "digest = \"", "mean = ["]
    {
        assert!(recipe.contains(part), "{recipe}");
    }
    // The recipe is that of another run too, and the run in the folder is resumed without the file.
    place.succeeds(&["train", "--recipe", "next/recipe.toml", "--out", "again"]);
    assert!(arrays("again") == after);
    fs::remove_dir_all(place.path().join("first")).unwrap();
    place.succeeds(&["train", "--resume", "next", "--extend", "1"]);

    place.refuses(&[&next[..], &["--out", "lost"]].concat(), 2, &["first"]);
    let with = |option: &'static str, value: &'static str| ["train", "--data", "photos", option, value];
    place.refuses(&with("--freeze", "conv1.*:two"), 2, &["freeze conv1.*:two: must end with a number of epochs"]);
    place.refuses(&with("--freeze", "conv9.*"), 2, &["freeze conv9.*: "]);
    place.refuses(&with("--head-lr", "0"), 2, &["head-lr 0: must be above 0"]);
    fs::write(place.path().join("text.pth"), "no weights").unwrap();
    place.refuses(&with("--init", "text.pth"), 2, &["text.pth: not a safetensors file"]);
}

#[test]
fn the_recipe_for_fine_tuning_fits_itself_to_the_pictures() {
    let place = Place::new();
    place.pictures("photos", 16);
    place.succeeds(&["train", "--data", "shapes", "--model", "small", "--max-seconds", "1", "--out", "first"]);
    let tune = ["train", "--recipe", "finetune", "--data", "photos", "--init", "first"];
    let (_, stderr) = place.succeeds(&[&tune[..], &["--epochs", "2", "--out", "tuned"]].concat());
    // A tenth of the 40 pictures is tested with and 15% of the others held out; batches are of 8.
    let said =
        "fine-tuning on 31 images: 2 epochs of 4 steps of 8, the last layer alone for 1; --epochs and --batch choose";
    assert!(stderr.contains(said), "{stderr}");
    let recipe = String::from_utf8(place.read("tuned/recipe.toml")).unwrap();
    // The network and its size are the weights', everything else the recipe's.
    for part in
        ["model = \"small\"", "size = [32, 32]", "unfreeze = [1]", "layer_decay = ", "policy = \"trivial-augment\""]
    {
        assert!(recipe.contains(part), "{recipe}");
    }
    let (printed, _) = place.succeeds(&[&["recipe"], &tune[1..]].concat());
    assert!(printed.contains("epochs = 40") && printed.contains("unfreeze = [4]"), "{printed}");
    // Nothing is left for the last layer alone in one epoch.
    let (_, stderr) = place.succeeds(&[&tune[..], &["--epochs", "1", "--out", "once"]].concat());
    assert!(stderr.contains("1 epoch of 4 steps of 8; "), "{stderr}");
    place.refuses(&tune[..5], 2, &["recipe finetune: needs weights to begin with: --init FILE"]);
}

#[test]
fn weights_of_another_program_are_made_usable() {
    let place = Place::new();
    place.pictures("photos", 16);
    place.succeeds(&["train", "--data", "shapes", "--model", "small", "--max-seconds", "1", "--out", "run"]);
    // As another program would have them: it says nothing of itself, and wraps the names.
    let own = Archive::from_bytes(&place.read("run/model.safetensors")).unwrap();
    let arrays = own.arrays.iter().map(|(name, array)| (format!("model.{name}"), array.clone())).collect();
    let foreign = Archive { arrays, ..Archive::default() };
    fs::write(place.path().join("foreign.safetensors"), foreign.to_bytes().unwrap()).unwrap();
    let names: String = (0..10).map(|class| format!("class {class}\n")).collect();
    fs::write(place.path().join("names.txt"), names).unwrap();

    let picture = "photos/red/0.png";
    place.refuses(&["predict", "foreign.safetensors", picture], 1, &["cnn import writes one that does"]);
    let import = ["import", "foreign.safetensors", "--model", "small", "-o", "usable.safetensors"];
    place.refuses(&import, 1, &["fc.weight, fc.bias: of another number of classes than the 1000 named"]);
    let own_file = ["import", "run", "--model", "small", "-o", "again.safetensors", "--classes", "names.txt"];
    place.refuses(&own_file, 1, &["says of itself that it is of small, and can be used as it is"]);
    let (_, stderr) = place.succeeds(&[&import[..], &["--classes", "names.txt"]].concat());
    assert!(stderr.contains("foreign.safetensors: 20 arrays under model. taken"), "{stderr}");
    let usable = Archive::from_bytes(&place.read("usable.safetensors")).unwrap();
    assert!(usable.arrays == own.arrays);
    let made = ["--classes", "names.txt", "--force", "--resize", "40", "--filter", "bilinear", "--mean", "0.5,0.5,0.5"];
    place.refuses(&[&import[..], &made, &["--std", "0,1,1"]].concat(), 1, &["std 0: must be finite and at least"]);
    place.succeeds(&[&import[..], &made, &["--std", "0.5,0.5,0.25"]].concat());
    let said = Archive::from_bytes(&place.read("usable.safetensors")).unwrap().metadata;
    assert_eq!((said["mean"].to_string(), said["std"].to_string()), ("[0.5,0.5,0.5]".into(), "[0.5,0.5,0.25]".into()));
    assert_eq!(said["preprocess"].to_string(), r#"{"filter":"bilinear","fit":"crop","resize":[40,40]}"#);
    let (stdout, _) = place.succeeds(&["predict", "usable.safetensors", picture]);
    assert!(stdout.contains("class "), "{stdout}");
    place.refuses(&[&import[..], &["--classes", "names.txt"]].concat(), 2, &["exists: give --force"]);
    place.refuses(&["import", "foreign.safetensors", "--model", "stepwise", "-o", "x"], 1, &["of another network"]);
    // A file of torch.save is read, and is of no network.
    let odd = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/zip.pth");
    place.refuses(&["import", odd, "--model", "small", "-o", "x"], 1, &["zip.pth", "of another network: none of the"]);
}

#[test]
fn pictures_are_made_as_those_that_published_weights_were_trained_with() {
    let place = Place::new();
    place.pictures("photos", 16);
    fs::write(place.path().join("foreign.safetensors"), Archive::default().to_bytes().unwrap()).unwrap();
    let recipe = |options: &[&str]| {
        let asked = ["recipe", "--init", "foreign.safetensors", "--data", "photos"];
        place.succeeds(&[&asked[..], options].concat()).0
    };
    for (options, parts) in [
        (&["--model", "mobilenet-v2"][..], ["size = [224, 224]", "resize = [256, 256]", "filter = \"bilinear\""]),
        (&["--model", "efficientnet-b0", "--size", "112"], ["size = [112, 112]", "resize = [128, 128]", "\"bicubic\""]),
        (&["--model", "resnet50", "--resize", "232"], ["size = [224, 224]", "resize = [232, 232]", "\"bilinear\""]),
    ] {
        let printed = recipe(options);
        assert!(parts.iter().all(|part| printed.contains(part)), "{options:?}: {printed}");
    }
    // A network for 32x32 has no such weights.
    assert!(!recipe(&["--model", "small"]).contains("\nresize = "));
}
