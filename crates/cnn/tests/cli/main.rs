//! The program from outside: what it prints, writes, refuses, and with which status it ends.

mod data;
mod fine_tuning;
mod first_steps;
#[cfg(feature = "cuda")]
mod gpus;
mod multi_label;
mod runs;
mod support;
mod surroundings;
mod timeline;
#[cfg(not(feature = "cuda"))]
mod without_gpus;

use std::fs;

use serde_json::Value;
use support::{Place, cnn, json_lines};

#[test]
fn every_command_explains_itself_by_an_example() {
    let place = Place::new();
    let general = place.succeeds(&["--help"]).0;
    for command in [
        "train",
        "eval",
        "predict",
        "explain",
        "report",
        "runs",
        "data",
        "doctor",
        "info",
        "export",
        "import",
        "bench",
        "devices",
        "recipe",
        "json",
        "completions",
    ] {
        assert!(general.contains(&format!("\n  {command} ")), "{general}");
        let help = place.succeeds(&[command, "--help"]).0;
        assert!(help.contains(&format!("\n  cnn {command}")), "{help}");
    }
    assert!(place.succeeds(&["completions", "bash"]).0.contains("_cnn"));
    cnn(place.path()).assert().code(2);
    cnn(place.path()).args(["train", "--wings", "2"]).assert().code(2);
}

#[test]
fn a_training_and_everything_that_its_weights_are_good_for() {
    let place = Place::new();
    place.pictures("photos", 32);
    let train =
        ["train", "--data", "photos", "--epochs", "4", "--batch", "8", "--seed", "7", "--threads", "2", "--json"];
    let train = [&train[..], &["--model", "stepwise"]].concat();
    let (stdout, stderr) = place.succeeds(&train);
    assert!(stderr.contains("2 threads") && stderr.contains("epoch 4/4"), "{stderr}");
    assert!(!stderr.contains('\u{1b}'), "no terminal, no colours: {stderr}");

    let lines = json_lines(&stdout);
    assert_eq!(lines.len(), 5, "four epochs and the result: {stdout}");
    assert_eq!(lines[3]["event"], "epoch");
    let result = &lines[4];
    assert_eq!(result["seed"], 7);
    for key in ["test_accuracy", "images_per_second", "seconds"] {
        assert!(result[key].is_f64(), "{key} in {result}");
    }
    assert!(result["peak_rss_bytes"].is_u64() || !cfg!(target_os = "linux"), "{result}");
    // Red and blue pictures are not hard to tell apart.
    assert!(result["test_accuracy"].as_f64() > Some(0.9), "{result}");

    let run = "runs/stepwise-photos-001";
    assert_eq!(result["run"], run);
    for file in ["model.safetensors", "state.safetensors", "recipe.toml", "metrics.csv"] {
        assert!(place.path().join(run).join(file).is_file(), "{file}");
    }

    // Evaluating the saved weights gives the end of the training to the last digit. Batches of a few images go another
    // way through the dense layers, which may round the loss differently.
    let batches: [(&[&str], &[&str]); 2] =
        [(&[], &["test_accuracy", "correct", "count", "test_loss"]), (&["--batch", "3"], &["correct", "count"])];
    for (batch, keys) in batches {
        let evaluated = &json_lines(&place.succeeds(&[&["eval", run, "--json"], batch].concat()).0)[0];
        for key in keys {
            assert_eq!(evaluated[key], result[key], "{key}");
        }
        assert_eq!(evaluated["confusion"].as_array().map(Vec::len), Some(2));
    }
    let text = place.succeeds(&["eval", &format!("{run}/model.safetensors"), "--data", "photos"]).0;
    assert!(text.starts_with("test accuracy ") && text.contains("\nblue "), "{text}");

    let (text, _) = place.succeeds(&["predict", run, "photos/blue/3.png", "photos/red/3.png"]);
    assert!(text.starts_with("photos/blue/3.png\n  blue ") && text.contains("photos/red/3.png\n  red "), "{text}");
    assert_eq!(text.matches('%').count(), 4, "{text}");
    let predicted = &json_lines(&place.succeeds(&["predict", run, "photos/blue/3.png", "--json"]).0)[0];
    let sum: f64 =
        predicted["probabilities"].as_array().unwrap().iter().filter_map(|p| p["probability"].as_f64()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{predicted}");

    let explain = ["explain", run, "photos/blue/3.png", "-o", "blue.html"];
    let (text, _) = place.succeeds(&[&explain[..], &["--data", "photos", "--compare", run]].concat());
    assert!(text.starts_with("photos/blue/3.png: blue ") && text.ends_with("\nsaved blue.html\n"), "{text}");
    let page = String::from_utf8(place.read("blue.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.len() < 3_000_000, "{} bytes", page.len());
    place.refuses(&explain, 2, &["out blue.html: exists", "--force"]);
    let wrong = ["explain", run, "photos/blue/3.png", "-o", "b.html", "--label"];
    place.refuses(&[&wrong[..], &["bleu"]].concat(), 2, &["label bleu: must be one of blue, red; did you mean blue?"]);

    // The report that the training left is made again from the folder alone.
    let report = place.read(&format!("{run}/report.html"));
    fs::write(place.path().join(run).join("report.html"), "gone").unwrap();
    place.succeeds(&["report", run]);
    assert!(place.read(&format!("{run}/report.html")) == report, "the same page");
    let report = String::from_utf8(report).unwrap();
    for part in ["Confusion matrix", "Most confident mistakes", "instruction set", "2 threads", "seed = 7"] {
        assert!(report.contains(part), "{part}");
    }
    place.refuses(&["report", "photos"], 2, &["photos: is not the folder of a run"]);

    let info = place.succeeds(&["info", run]).0;
    assert!(info.contains("[30, 30, 32]") && info.contains("[7200]") && info.contains("2 classes"), "{info}");

    // The same command again makes a second run and leaves the first as it was.
    let weights = place.read(&format!("{run}/model.safetensors"));
    place.succeeds(&train);
    assert_eq!(place.read("runs/stepwise-photos-002/model.safetensors"), weights, "same seed, same bits");
    let (table, _) = place.succeeds(&["runs", "--html", "runs.html"]);
    assert!(table.contains("\nstepwise-photos-002  stepwise  photos") && table.contains(" over 2 runs\n"), "{table}");
    assert!(String::from_utf8(place.read("runs.html")).unwrap().contains("2 runs compared"));
    let compared = json_lines(&place.succeeds(&["runs", run, "runs/stepwise-photos-002", "--json"]).0);
    assert_eq!((compared.len(), &compared[0]["test_accuracy"]), (3, &result["test_accuracy"]));
    assert_eq!(compared[2]["test_accuracy"]["deviation"], 0.0);
    place.refuses(&["runs", "photos"], 2, &["photos: holds no run"]);
    assert_eq!(place.read(&format!("{run}/model.safetensors")), weights);
}

#[test]
fn exported_weights_come_back_the_same() {
    let place = Place::new();
    place.pictures("photos", 16);
    let train = ["train", "--model", "resnet18", "--data", "photos", "--size", "16x16", "--epochs", "1"];
    place.succeeds(&[&train[..], &["--validation", "0.2", "--out", "run"]].concat());
    let weights = place.read("run/model.safetensors");

    place.succeeds(&["export", "run/model.safetensors", "--names", "pytorch-cifar", "-o", "theirs.safetensors"]);
    let theirs = cnn::core::archive::Archive::from_bytes(&place.read("theirs.safetensors")).unwrap();
    assert_eq!(theirs.arrays.len(), 122);
    assert!(theirs.arrays.contains_key("layer2.0.shortcut.0.weight") && theirs.arrays.contains_key("linear.bias"));

    place.succeeds(&["export", "theirs.safetensors", "--names", "torchvision", "-o", "ours.safetensors"]);
    assert_eq!(place.read("ours.safetensors"), weights);
    let [ours, exported] = ["run", "theirs.safetensors"].map(|w| place.succeeds(&["eval", w, "--data", "photos"]).0);
    assert_eq!(ours, exported);

    // What exists is replaced only when that is asked for.
    let again = ["export", "run", "-o", "theirs.safetensors"];
    place.refuses(&again, 2, &["theirs.safetensors: exists", "--force"]);
    place.succeeds(&[&again[..], &["--force"]].concat());
    assert_eq!(place.read("theirs.safetensors"), weights);
    let error = place.refuses(&[&train[..], &["--out", "run"]].concat(), 2, &["run: holds a run already", "--resume"]);
    assert!(!error.contains("steps of"), "{error}");
    assert_eq!(place.read("run/model.safetensors"), weights);
}

#[test]
fn two_classes_of_a_set_and_an_option_for_everything() {
    let place = Place::new();
    place.cifar("cifar", 20);
    let (stdout, stderr) = place.succeeds(&[
        "train",
        "--data",
        "cifar",
        "--classes",
        "dog,cat",
        "--epochs",
        "2",
        "--batch",
        "4",
        "--optimizer",
        "adamw",
        "--lr",
        "0.002",
        "--seed",
        "3",
        "--validation",
        "0.25",
        "--out",
        "run",
    ]);
    assert!(stderr.contains("2 classes") && stderr.contains("validation loss"), "{stderr}");
    assert!(stdout.starts_with("test accuracy ") && stdout.ends_with("saved run/model.safetensors\n"), "{stdout}");
    let recipe = String::from_utf8(place.read("run/recipe.toml")).unwrap();
    for line in ["classes = [\"dog\", \"cat\"]", "kind = \"adamw\"", "lr = 0.002", "seed = 3", "validation = 0.25"] {
        assert!(recipe.contains(line), "{line} in {recipe}");
    }
    // The classes of the weights are picked out of the ten of the set, in the weights' order.
    let evaluated = &json_lines(&place.succeeds(&["eval", "run", "--data", "cifar", "--json"]).0)[0];
    assert_eq!((&evaluated["classes"][0]["class"], &evaluated["count"]), (&"dog".into(), &4.into()));

    // The recipe of a run is all that the same run needs.
    place.succeeds(&["train", "--recipe", "run/recipe.toml", "--out", "again"]);
    assert_eq!(place.read("again/model.safetensors"), place.read("run/model.safetensors"));
}

#[test]
fn info_counts_what_is_known() {
    let place = Place::new();
    let info = &json_lines(&place.succeeds(&["info", "resnet18", "--json"]).0)[0];
    assert_eq!((&info["parameters"], &info["macs"]), (&11_173_962.into(), &555_422_720.into()));
    let info = place.succeeds(&["info", "resnet18-imagenet", "--input", "224x224x3", "--classes", "1000"]).0;
    assert!(info.contains("11,689,512") && info.contains("1,814,073,344"), "{info}");
    let info = place.succeeds(&["info", "stepwise"]).0;
    for known in ["[30, 30, 32]", "[15, 15, 32]", "[7200]", "923,914"] {
        assert!(info.contains(known), "{known} in {info}");
    }
    place.refuses(
        &["info", "resnet19"],
        2,
        &["model resnet19: must be one of stepwise, small, fast, fast-wide, fast-deep, resnet18"],
    );
    place.refuses(&["info", "stepwise", "--input", "2x2x3"], 1, &["conv: ", "3"]);
    place.refuses(&["info", "stepwise", "--input", "100000x100000x3"], 2, &["input 100000x100000x3: must have"]);
    place.refuses(&["info", "stepwise", "--classes", "0"], 2, &["classes 0: must be"]);
}

#[test]
fn bench_measures_what_was_asked_for() {
    let place = Place::new();
    let quick = ["bench", "--batch", "2", "--threads", "2", "--seconds", "0"];
    let (stdout, stderr) = place.succeeds(&[&quick[..], &["--model", "stepwise", "--json"]].concat());
    assert!(stderr.contains("2 threads"), "{stderr}");
    let lines = json_lines(&stdout);
    let positive = |line: &Value, key: &str| assert!(line[key].as_f64() > Some(0.0), "{key} in {line}");
    assert_eq!(lines[0]["area"], "roofline");
    ["peak_gflop_s", "triad_gb_s"].iter().for_each(|key| positive(&lines[0], key));
    let [layers, train, infer] =
        ["layers", "train", "infer"].map(|area| lines.iter().filter(|line| line["area"] == area).collect::<Vec<_>>());
    assert_eq!((layers.len() + 3, train.len(), infer.len()), (lines.len(), 1, 1));
    for line in &lines[1..] {
        assert_eq!((&line["engine"], &line["threads"], &line["batch"]), (&"cnn".into(), &2.into(), &2.into()));
        ["median_ms", "images_s"].iter().for_each(|key| positive(line, key));
    }
    // Every convolution each way, and beside every layer what limits it.
    assert_eq!(layers.iter().filter(|line| line["config"].as_str().unwrap().contains(" -> 512 k3 s1 ")).count(), 3);
    for line in layers {
        let keys = if line["gflop_s"].is_f64() { ["gflop_s", "peak_gflop_s"] } else { ["gb_s", "triad_gb_s"] };
        keys.iter().for_each(|key| positive(line, key));
    }
    assert_eq!((&train[0]["model"], &infer[0]["model"]), (&"stepwise".into(), &"stepwise".into()));

    let direct = ["--only", "infer", "--conv-algo", "direct", "--json"];
    let (stdout, stderr) = place.succeeds(&[&quick[..], &direct].concat());
    assert_eq!((&lines[0]["conv_algo"], &json_lines(&stdout)[0]["conv_algo"]), (&"auto".into(), &"direct".into()));
    assert!(stderr.contains("2 threads, direct convolutions\n"), "{stderr}");

    let (text, _) = place.succeeds(&[&quick[..], &["--only", "infer"]].concat());
    assert!(text.contains("multiply-add peak") && text.contains("memory triad"), "{text}");
    assert!(text.contains("infer  resnet18") && !text.contains("train "), "{text}");
    let (text, stderr) = place.succeeds(&[&quick[..], &["--only", "infer", "--precision", "bf16"]].concat());
    assert!(text.contains(", bf16, "), "{text}");
    assert!(stderr.contains("2 threads"), "{stderr}");
    for wrong in ["0", "5000"] {
        place.refuses(&["bench", "--batch", wrong], 2, &[&format!("batch {wrong}: must be from 1 to 4,096")]);
    }
    for wrong in ["0", "1025", "32000", "18446744073709551615"] {
        let refusal = format!("threads {wrong}: must be from 1 to 1,024");
        place.refuses(&["bench", "--threads", wrong], 2, &[&refusal]);
    }
    place.refuses(&["bench", "--model", "resnet19"], 2, &["model resnet19: must be one of stepwise"]);
    for wrong in [["--only", "wings"], ["--seconds", "-1"], ["--seconds", "long"]] {
        cnn(place.path()).arg("bench").args(wrong).assert().code(2);
    }
}

#[test]
fn arguments_that_cannot_be_meant_are_status_2() {
    let place = Place::new();
    place.pictures("photos", 32);
    let train = |more: &[&'static str]| [&["train", "--data", "photos"], more].concat();
    place.refuses(&train(&["--batch", "0"]), 2, &["batch 0: must be at least 1"]);
    place.refuses(&train(&["--epochs", "0"]), 2, &["epochs 0: must be at least 1"]);
    place.refuses(&train(&["--threads", "0"]), 2, &["threads 0: must be from 1 to 1,024"]);
    place.refuses(&train(&["--lr", "-0.1"]), 2, &["lr -0.1: must be"]);
    place.refuses(&train(&["--validation", "1.5"]), 2, &["validation 1.5: must be"]);
    place.refuses(&train(&["--model", "resnet19"]), 2, &["model resnet19: must be one of stepwise"]);
    place.refuses(&train(&["--optimizer", "lion"]), 2, &["optimizer lion: must be one of sgd"]);
    place.refuses(&train(&["--classes", "red,green"]), 2, &["class", "green", "blue, red"]);
    place.refuses(&train(&["--backend", "tpu"]), 2, &["backend tpu: must be auto", "cpu"]);
    place.refuses(&train(&["--recipe", "none.toml"]), 2, &["none.toml: "]);
    fs::write(place.path().join("bad.toml"), "model = \"stepwise\"\nwings = 2\n").unwrap();
    place.refuses(&["train", "--recipe", "bad.toml"], 2, &["bad.toml: ", "wings"]);
    place.cifar("cifar", 4);
    place.refuses(&["train", "--data", "cifar", "--resized-crop=1.5"], 2, &["resized_crop 1.5: must be from 0 to 1"]);
    place.refuses(&["train", "--data", "nowhere"], 2, &["nowhere: not found: looked for nowhere"]);
    place.refuses(&["train", "--resume", "nowhere"], 2, &["nowhere: is not the folder of a run"]);
    place.refuses(&["eval", "nowhere", "--data", "photos"], 2, &["nowhere: no such file"]);
    place.refuses(&["predict", "photos", "photos/red/3.png"], 2, &["photos/model.safetensors: no such file"]);
    let offline = ["train", "--data", "cifar10", "--data-root", "sets", "--offline"];
    place.refuses(&offline, 2, &["sets/cifar-10-batches-bin", "cifar-10-binary.tar.gz", "https://"]);
    assert!(!place.path().join("runs").exists(), "nothing that was refused has left a folder");
}

#[test]
fn broken_data_is_named_by_file_value_and_rule() {
    let place = Place::new();
    let cifar = place.cifar("cifar", 4);
    let mut batch = fs::read(cifar.join("data_batch_2.bin")).unwrap();
    batch.pop();
    fs::write(cifar.join("data_batch_2.bin"), &batch).unwrap();
    let train = ["train", "--data", "cifar"];
    place.refuses(&train, 1, &["cifar/data_batch_2.bin: 12291 bytes: must be a multiple of 3073", "truncated"]);
    batch.push(0);
    batch[2 * 3073] = 17;
    fs::write(cifar.join("data_batch_2.bin"), &batch).unwrap();
    place.refuses(&train, 1, &["cifar/data_batch_2.bin: record 2: label 17: must be below 10"]);
    fs::remove_file(cifar.join("data_batch_2.bin")).unwrap();
    place.refuses(&train, 1, &["cifar/data_batch_2.bin: missing"]);

    place.pictures("photos", 32);
    place.refuses(
        &["train", "--data", "photos", "--model", "stepwise", "--size", "2x2"],
        2,
        &["images 2x2x3: ", "conv: ", "3"],
    );
    fs::write(place.path().join("photos/red/note.jpg"), "a text, not a picture").unwrap();
    place.refuses(&["train", "--data", "photos"], 1, &["photos/red/note.jpg: not a JPEG"]);
    fs::create_dir(place.path().join("empty")).unwrap();
    place.refuses(&["train", "--data", "empty"], 1, &["empty: no data set"]);
    assert!(!place.path().join("runs").exists(), "nothing that was refused has left a folder");
}

#[test]
fn broken_weights_are_named_and_one_bad_image_does_not_hide_the_others() {
    let place = Place::new();
    place.pictures("photos", 32);
    place.succeeds(&["train", "--data", "photos", "--epochs", "1", "--out", "run"]);
    fs::write(place.path().join("note.jpg"), "a text, not a picture").unwrap();
    let images = ["predict", "run", "photos/red/3.png", "note.jpg", "none.png", "photos/blue/3.png"];
    let output = cnn(place.path()).args(images).assert().code(1).get_output().clone();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(stdout.contains("photos/red/3.png\n") && stdout.contains("photos/blue/3.png\n"), "{stdout}");
    assert!(stderr.contains("error: note.jpg: not a JPEG"), "{stderr}");
    assert!(stderr.contains("\nerror: none.png: "), "{stderr}");

    // Weights that say that they are another model's.
    let mut archive = cnn::core::archive::Archive::from_bytes(&place.read("run/model.safetensors")).unwrap();
    archive.metadata.insert("arch".into(), Value::from("resnet18"));
    fs::write(place.path().join("other.safetensors"), archive.to_bytes().unwrap()).unwrap();
    let expected = ["other.safetensors: 98021 values: must be the ", " or more of resnet18 for images of 32x32x3"];
    place.refuses(&["predict", "other.safetensors", "photos/red/3.png"], 1, &expected);

    let mut half = place.read("run/model.safetensors");
    half.truncate(half.len() / 2);
    fs::write(place.path().join("half.safetensors"), &half).unwrap();
    place.refuses(&["eval", "half.safetensors", "--data", "photos"], 1, &["half.safetensors: not a safetensors file"]);

    place.cifar("cifar", 4);
    place.refuses(&["eval", "run", "--data", "cifar"], 2, &["classes", "blue, red"]);
    fs::copy(place.path().join("half.safetensors"), place.path().join("run/state.safetensors")).unwrap();
    let (_, stderr) = place.succeeds(&["train", "--resume", "run"]);
    let warning = |line: &&str| line.starts_with("warning: run/state.safetensors: not a safetensors file");
    let warning = stderr.lines().find(warning).unwrap_or_else(|| panic!("{stderr}"));
    assert!(warning.ends_with(": the run goes on from the checkpoint before that, of step 0"), "{warning}");
    for file in ["state.safetensors", "state-previous.safetensors"] {
        fs::copy(place.path().join("half.safetensors"), place.path().join("run").join(file)).unwrap();
    }
    place.refuses(&["train", "--resume", "run"], 1, &["run/state.safetensors: not a safetensors file"]);
}

#[test]
fn half_precision_from_training_to_prediction() {
    let place = Place::new();
    place.pictures("photos", 32);
    let train = ["train", "--data", "photos", "--epochs", "4", "--batch", "8", "--precision", "bf16", "--out", "run"];
    let train = [&train[..], &["--model", "stepwise"]].concat();
    let (stdout, stderr) = place.succeeds(&[&train[..], &["--json"]].concat());
    assert!(stderr.contains("bf16 activations"), "{stderr}");
    let result = json_lines(&stdout).pop().unwrap();
    assert!(result["test_accuracy"].as_f64() > Some(0.9), "{result}");
    let recipe = String::from_utf8(place.read("run/recipe.toml")).unwrap();
    assert!(recipe.contains("\nprecision = \"bf16\"\n"), "{recipe}");

    // As it was trained, unless another precision is asked for.
    let eval = |more: &[&str]| {
        let (stdout, _) = place.succeeds(&[&["eval", "run", "--json"], more].concat());
        json_lines(&stdout).remove(0)["test_loss"].as_f64().unwrap()
    };
    let (as_trained, single) = (eval(&[]), eval(&["--precision", "f32"]));
    assert_eq!(Some(as_trained), result["test_loss"].as_f64());
    assert!(single != as_trained && (single - as_trained).abs() < 0.05 * as_trained, "{single} and {as_trained}");
    for precision in ["f32", "bf16"] {
        let (text, _) = place.succeeds(&["predict", "run", "photos/blue/3.png", "--precision", precision]);
        assert!(text.starts_with("photos/blue/3.png\n  blue "), "{text}");
    }

    let refused = |arguments: &[&str], words: &[&str]| {
        let assert = cnn(place.path()).args(arguments).assert().code(2);
        let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    refused(&["train", "--resume", "run", "--precision", "f32"], &["--resume", "cannot be used with '--precision"]);
    refused(&["train", "--precision", "f16"], &["'f16' for '--precision", "must be f32, tf32 or bf16"]);
    let tf32 = ["train", "--data", "photos", "--precision", "tf32", "--backend", "cpu"];
    refused(&tf32, &["precision tf32: must be f32 or bf16 on a CPU"]);
}

#[test]
fn the_algorithm_of_convolutions_from_training_to_prediction() {
    let place = Place::new();
    place.pictures("photos", 32);
    for algorithm in ["direct", "winograd"] {
        let run = algorithm;
        let train = ["train", "--data", "photos", "--epochs", "1", "--batch", "16", "--model", "small", "--out", run];
        let (stdout, stderr) = place.succeeds(&[&train[..], &["--conv-algo", algorithm, "--json"]].concat());
        assert!(stderr.contains(&format!(", {algorithm} convolutions, f32\n")), "{stderr}");
        let result = json_lines(&stdout).pop().unwrap();
        let recipe = String::from_utf8(place.read(&format!("{run}/recipe.toml"))).unwrap();
        assert!(recipe.contains(&format!("\nconv_algo = \"{algorithm}\"\n")), "{recipe}");
        let weights =
            cnn::core::archive::Archive::from_bytes(&place.read(&format!("{run}/model.safetensors"))).unwrap();
        assert_eq!(weights.metadata["conv_algo"], algorithm);

        // As it was trained, to the last digit, unless another is asked for, whose digits differ.
        let loss = |more: &[&str]| {
            let (stdout, _) = place.succeeds(&[&["eval", run, "--json"], more].concat());
            json_lines(&stdout).remove(0)["test_loss"].as_f64().unwrap()
        };
        let other = if algorithm == "direct" { "winograd" } else { "direct" };
        let (as_trained, otherwise) = (loss(&[]), loss(&["--conv-algo", other]));
        assert_eq!(Some(as_trained), result["test_loss"].as_f64());
        assert!(
            otherwise != as_trained && (otherwise - as_trained).abs() < 1e-3 * as_trained,
            "{otherwise} and {as_trained}"
        );
        let (text, _) = place.succeeds(&["predict", run, "photos/blue/3.png", "--conv-algo", "auto"]);
        assert!(text.starts_with("photos/blue/3.png\n"), "{text}");
    }
    assert!(place.read("direct/model.safetensors") != place.read("winograd/model.safetensors"));
    // The recipe of a run is all that the same run needs.
    place.succeeds(&["train", "--recipe", "winograd/recipe.toml", "--out", "again"]);
    assert!(place.read("again/model.safetensors") == place.read("winograd/model.safetensors"));

    // Weights from before there was a choice.
    let mut old = cnn::core::archive::Archive::from_bytes(&place.read("direct/model.safetensors")).unwrap();
    old.metadata.remove("conv_algo").unwrap();
    fs::write(place.path().join("old.safetensors"), old.to_bytes().unwrap()).unwrap();
    for command in [&["eval", "old.safetensors", "--data", "photos"][..], &["info", "old.safetensors"]] {
        place.succeeds(command);
    }
    place.succeeds(&["export", "old.safetensors", "-o", "exported.safetensors"]);
    let exported = cnn::core::archive::Archive::from_bytes(&place.read("exported.safetensors")).unwrap();
    assert_eq!((&exported.metadata["conv_algo"], exported.arrays == old.arrays), (&"auto".into(), true));

    let rule = "error: conv_algo fft: must be one of auto, direct, winograd\n";
    let commands: [&[&str]; 4] =
        [&["train", "--data", "photos"], &["eval", "direct"], &["predict", "direct", "photos/red/3.png"], &["bench"]];
    for command in commands {
        let stderr = place.refuses(&[command, &["--conv-algo", "fft"]].concat(), 2, &[]);
        assert_eq!(stderr, rule, "{command:?}");
    }
    cnn(place.path()).args(["train", "--resume", "direct", "--conv-algo", "winograd"]).assert().code(2);
    assert!(!place.path().join("runs").exists(), "nothing that was refused has left a folder");
}

#[cfg(unix)]
#[test]
fn export_touches_no_file_but_its_own() {
    let place = Place::new();
    place.pictures("photos", 8);
    place.succeeds(&["train", "--data", "photos", "--model", "small", "--size", "8", "--epochs", "1", "--out", "run"]);
    fs::write(place.path().join("mine"), "mine").unwrap();
    std::os::unix::fs::symlink("mine", place.path().join("a.safetensors.tmp")).unwrap();
    fs::write(place.path().join("b.safetensors.tmp"), "mine").unwrap();
    for name in ["a.safetensors", "b.safetensors"] {
        place.succeeds(&["export", "run", "-o", name]);
        assert_eq!(place.read(name), place.read("run/model.safetensors"));
        assert!(!fs::symlink_metadata(place.path().join(name)).unwrap().is_symlink());
    }
    assert_eq!([place.read("mine"), place.read("b.safetensors.tmp")], [b"mine", b"mine"]);
}
