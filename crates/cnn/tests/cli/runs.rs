//! Runs that are stopped, resumed, started again and extended.

use std::fs;

use super::support::{NO_GPU, Place, cnn, json_lines};
#[cfg(unix)]
#[test]
fn a_run_that_is_interrupted_and_resumed_ends_with_the_same_bits() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let place = Place::new();
    place.pictures("photos", 16);
    let train =
        ["train", "--data", "photos", "--model", "stepwise", "--size", "16x16", "--epochs", "60", "--batch", "4"];
    for (signal, status, folder) in [("INT", 130, "interrupted"), ("TERM", 143, "ended")] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_cnn"))
            .envs([NO_GPU])
            .current_dir(place.path())
            .args(train)
            .args(["--out", folder, "--threads", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(program.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.starts_with("epoch  1/60")));
        let kill = Command::new("kill").args([&format!("-{signal}"), &program.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let rest: Vec<String> = lines.collect();
        assert_eq!(program.wait().unwrap().code(), Some(status), "{rest:?}");
        assert!(rest.iter().any(|line| line.ends_with(&format!("cnn train --resume {folder}"))), "{rest:?}");
    }
    place.succeeds(&[&train[..], &["--out", "whole", "--threads", "1"]].concat());
    let (stdout, _) = place.succeeds(&["train", "--resume", "interrupted", "--threads", "2", "--json"]);
    assert!(json_lines(&stdout).last().unwrap()["test_accuracy"].is_f64(), "{stdout}");
    place.succeeds(&["train", "--resume", "ended", "--threads", "2"]);
    let whole = place.read("whole/model.safetensors");
    assert!(place.read("interrupted/model.safetensors") == whole, "interrupted by SIGINT");
    assert!(place.read("ended/model.safetensors") == whole, "ended by SIGTERM");
    let rows = |run: &str| {
        let metrics = String::from_utf8(place.read(&format!("{run}/metrics.csv"))).unwrap();
        // All but the timings.
        metrics.lines().map(|row| row.split(',').take(7).collect::<Vec<_>>().join(",")).collect::<Vec<_>>()
    };
    assert_eq!(rows("interrupted"), rows("whole"));
}

#[test]
fn a_run_is_started_again_extended_and_judged_by_its_best_weights() {
    let place = Place::new();
    place.pictures("photos", 16);
    let train = ["train", "--data", "photos", "--size", "16x16", "--model", "stepwise", "--out", "run"];
    let train = [&train[..], &["--epochs", "2", "--validation", "0.2"]].concat();
    // What a process leaves that was killed before its first checkpoint.
    place.succeeds(&train);
    let (weights, recipe) = (place.read("run/model.safetensors"), place.read("run/recipe.toml"));
    fs::remove_dir_all(place.path().join("run")).unwrap();
    fs::create_dir(place.path().join("run")).unwrap();
    fs::write(place.path().join("run/recipe.toml"), &recipe).unwrap();
    place.refuses(&[&train[..], &["--seed", "1"]].concat(), 1, &["run/recipe.toml: is of another run"]);
    let (stdout, _) = place.succeeds(&train);
    assert!(place.read("run/model.safetensors") == weights, "the bits differ");
    assert!(
        stdout.contains("\nbest epoch ") && stdout.contains(": run/best.safetensors, tested by: cnn eval run --best\n"),
        "{stdout}"
    );

    place.refuses(&["train", "--resume", "run", "--extend", "0"], 2, &["extended.epochs 0: must be at least 1"]);
    cnn(place.path()).args(["train", "--extend", "3"]).assert().code(2);
    let (stdout, stderr) = place.succeeds(&["train", "--resume", "run", "--extend", "3", "--json"]);
    assert!(stderr.contains("3 epochs more: 5 in all") && stderr.contains("epoch 5/5"), "{stderr}");
    let result = json_lines(&stdout).pop().unwrap();
    assert_eq!((&result["epochs"], &result["best_weights"]), (&5.into(), &"run/best.safetensors".into()));
    let (listed, _) = place.succeeds(&["runs", "run"]);
    assert!(listed.contains(" 5/5 "), "{listed}");
    place.succeeds(&["train", "--recipe", "run/recipe.toml", "--out", "whole"]);
    assert!(place.read("whole/model.safetensors") == place.read("run/model.safetensors"), "the bits differ");

    let eval = |args: &[&str]| json_lines(&place.succeeds(&[&["eval", "run", "--json"], args].concat()).0).remove(0);
    assert_eq!(eval(&[])["test_loss"], result["test_loss"]);
    eval(&["--best"]);
    let image = "photos/red/0.png";
    for command in ["predict", "explain"] {
        let page = ["-o", "best.html"];
        let out = if command == "explain" { &page[..] } else { &[] };
        place.succeeds(&[&[command, "run", image, "--best"], out].concat());
    }
    place.succeeds(&["export", "run", "--best", "-o", "exported.safetensors"]);
    place.refuses(&["predict", "copy.safetensors", image, "--best"], 2, &["copy.safetensors/best.safetensors"]);
    fs::copy(place.path().join("run/best.safetensors"), place.path().join("copy.safetensors")).unwrap();
    place.refuses(&["eval", "copy.safetensors", "--best"], 2, &["copy.safetensors/best.safetensors: no such file"]);

    let timed = ["train", "--data", "photos", "--size", "16x16", "--model", "stepwise", "--out", "timed"];
    let (stdout, stderr) = place.succeeds(&[&timed[..], &["--max-seconds", "0.000001", "--json"]].concat());
    assert_eq!(json_lines(&stdout).pop().unwrap()["stopped"], "time");
    assert!(
        stderr.contains("go on with: cnn train --resume timed --max-seconds 0.000002 (of the whole run)"),
        "{stderr}"
    );
    assert!(
        stderr.contains("few images (36): steps of 8 images, not 64, 60 epochs, not 10, a rate of 0.001875"),
        "{stderr}"
    );
    let (_, stderr) = place.succeeds(&["train", "--resume", "timed", "--max-seconds", "1000"]);
    assert!(stderr.contains("epoch 60/60"), "{stderr}");
    place.refuses(&["train", "--max-seconds", "-1"], 2, &["max_seconds -1: must be above 0 and finite"]);
}

#[test]
fn a_complete_run_says_so_and_runs_that_differ_are_told_apart() {
    let place = Place::new();
    place.pictures("photos", 16);
    let train = ["train", "--data", "photos", "--size", "16", "--model", "stepwise", "--epochs", "1", "--batch", "64"];
    let (_, stderr) = place.succeeds(&[&train[..], &["--out", "runs/plain"]].concat());
    assert!(stderr.contains("a step of 64 images takes every image, 36: 1 step in all"), "{stderr}");
    place.succeeds(&[&train[..], &["--out", "runs/muon", "--optimizer", "muon"]].concat());
    let (stdout, stderr) = place.succeeds(&["train", "--resume", "runs/plain"]);
    assert!(stderr.contains("this run is complete, 1 epoch, and is only tested; --extend N adds epochs"), "{stderr}");
    assert!(!stdout.contains("images/s"), "{stdout}");
    let (table, _) = place.succeeds(&["runs", "runs"]);
    fs::create_dir_all(place.path().join("broken/a")).unwrap();
    fs::write(place.path().join("broken/a/recipe.toml"), "x = 1").unwrap();
    place.refuses(&["runs", "broken"], 1, &["recipe line 1: key x: must be one of"]);
    let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("muon").ends_with("optimizer.kind muon, optimizer.lr 0.02, optimizer.weight_decay 0.01"), "{table}");
    assert!(
        line("plain").ends_with("optimizer.kind sgd, optimizer.lr 0.015, optimizer.weight_decay 0.0005"),
        "{table}"
    );
    assert!(!table.contains("six views"), "{table}");

    place.refuses(&[&train[..], &["--classes", "red"]].concat(), 2, &["classes: there is one, and nothing to tell"]);
    place.refuses(&["recipe", "--recipe", "cifar10-93"], 2, &["recipe cifar10-93: must be one of", "cifar10-94"]);
    // Those that it was trained on are no test of it.
    let (_, stderr) = place.succeeds(&["eval", "runs/plain", "--all"]);
    assert!(stderr.contains("warning: most of these pictures were trained on"), "{stderr}");
    let (_, stderr) = place.succeeds(&["eval", "runs/plain"]);
    assert!(!stderr.contains("warning"), "{stderr}");
}
