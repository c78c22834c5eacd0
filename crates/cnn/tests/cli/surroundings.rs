//! The program in odd surroundings: names that are no text, terminals of every kind, readers that go away, signals and
//! limits.
#![cfg(unix)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Output, Stdio};

use cnn::core::archive::Archive;
use serde_json::{Value, json};

use crate::support::{NO_GPU, Place, cnn, json_lines};

/// A command line for a shell in `place` that finds the program as `$CNN`.
fn shell(place: &Place, line: &str) -> Output {
    let mut command = Command::new("bash");
    command.args(["-c", line]).current_dir(place.path()).env("CNN", env!("CARGO_BIN_EXE_cnn"));
    command.envs([NO_GPU]).env_remove("NO_COLOR").env("TERM", "xterm").stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A training that has come as far as the end of its first epoch.
fn training(place: &Place, program: &[&str], folder: &str) -> (Child, BufReader<impl Read>) {
    let train = ["train", "--data", "photos", "--size", "16x16", "--model", "stepwise", "--epochs", "2000", "--batch"];
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .args(train)
        .args(["4", "--threads", "1", "--out", folder])
        .envs([NO_GPU])
        .current_dir(place.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("epoch    1/2000") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "ended before its first epoch");
    }
    (child, stderr)
}

fn signal(child: &Child, name: &str) {
    let kill = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
}

#[test]
fn names_that_are_no_text_are_written_with_a_sign_for_what_is_none() {
    let place = Place::new();
    place.pictures("photos", 16);
    let (run, picture) = (OsStr::from_bytes(b"r\xff"), OsStr::from_bytes(b"caf\xe9.png"));
    fs::copy(place.path().join("photos/red/3.png"), place.path().join(picture)).unwrap();
    let run_json = |args: &[&OsStr]| {
        let output = cnn(place.path()).args(args).assert().success().get_output().stdout.clone();
        json_lines(&text(&output)).pop().unwrap()
    };
    let train = ["train", "--data", "photos", "--size", "16x16", "--model", "stepwise", "--epochs", "1", "--json"];
    let train: Vec<&OsStr> = train.iter().map(OsStr::new).chain([OsStr::new("--out"), run]).collect();
    let result = run_json(&train);
    assert_eq!((&result["run"], &result["weights"]), (&json!("r\u{fffd}"), &json!("r\u{fffd}/model.safetensors")));
    let predicted = run_json(&[OsStr::new("predict"), run, picture, OsStr::new("--json")]);
    assert_eq!(predicted["file"], json!("caf\u{fffd}.png"));
    assert!(run_json(&[OsStr::new("eval"), run, OsStr::new("--json")])["count"].is_u64());
    let plain = cnn(place.path()).arg("predict").args([run, picture]).assert().success();
    assert!(text(&plain.get_output().stdout).starts_with("caf\u{fffd}.png\n"));
}

#[test]
fn what_a_terminal_would_obey_in_a_class_name_is_printed_as_its_escape() {
    let place = Place::new();
    place.pictures("photos", 16);
    place.succeeds(&[
        "train", "--data", "photos", "--size", "16x16", "--model", "stepwise", "--epochs", "1", "--out", "run",
    ]);
    // A weights file can come from anybody. One of another program has no digest of its contents.
    let mut archive = Archive::from_bytes(&place.read("run/model.safetensors")).unwrap();
    archive.metadata["classes"] = json!(["blue\u{1b}]0;owned\u{7}", "red\u{1b}[31m"]);
    fs::write(place.path().join("odd.safetensors"), archive.to_bytes().unwrap()).unwrap();
    // Refused, or shown without them.
    for args in [["predict", "odd.safetensors", "photos/red/3.png"], ["eval", "odd.safetensors", "--data=photos"]] {
        let output = cnn(place.path()).args(args).assert().get_output().clone();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(!said.contains(['\u{1b}', '\u{7}']) && said.contains(r"blue\u{1b}]0;owned\u{7}"), "{said:?}");
    }
}

/// Runs a training on a pseudo terminal of 40 columns; None, said aloud, where there is no `script` to make one.
fn on_a_terminal(place: &Place, setting: &str, command: &str) -> Option<String> {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("SKIPPED: no program `script`, which gives a terminal");
        return None;
    }
    let line = format!("{setting} script -qec 'stty rows 24 cols 40; {command}' /dev/null");
    let output = shell(place, &line);
    assert!(output.status.success(), "{line}: {}", text(&output.stdout));
    Some(text(&output.stdout))
}

#[test]
fn every_epoch_has_its_line_on_every_terminal_and_none_wraps() {
    let place = Place::new();
    place.pictures("photos", 16);
    let train = "$CNN train --data photos --size 16x16 --model stepwise --epochs 3 --batch 2 --threads 1";
    for setting in ["env -u TERM", "env TERM=dumb", "env TERM=xterm NO_COLOR=1", "env TERM=xterm"] {
        let Some(screen) = on_a_terminal(&place, setting, train) else { return };
        for epoch in 1..=3 {
            let lines = screen.matches(&format!("epoch {epoch}/3  training loss ")).count();
            assert_eq!(lines, 1, "{setting}, epoch {epoch}: {screen:?}");
        }
        assert_eq!(screen.contains('\u{1b}'), setting.contains("xterm"), "{setting}: {screen:?}");
        assert!(!screen.contains("\u{1b}[3"), "there are no colours: {screen:?}");
        // The two bars are two lines: drawing over them goes up by one, and by more where one of them wraps.
        assert!((2..20).all(|up| !screen.contains(&format!("\u{1b}[{up}A"))), "{setting}: {screen:?}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_nothing_and_a_full_disk_is_one_line() {
    let place = Place::new();
    place.pictures("photos", 16);
    let train = "$CNN train --data photos --size 16x16 --model stepwise --epochs 2 --threads 1 --json";
    let status = |line: &str| shell(&place, line).status.code();
    assert_eq!(status("$CNN info resnet18 | head -1 >/dev/null; exit ${PIPESTATUS[0]}"), Some(0));
    assert_eq!(status(&format!("{train} --out run 2>/dev/null | true; exit ${{PIPESTATUS[0]}}")), Some(0));
    assert!(place.path().join("run/model.safetensors").is_file());
    for closed in ["predict run photos/red/3.png >&-", "predict run photos/red/3.png 2>&-", "info run <&-"] {
        assert_eq!(status(&format!("$CNN {closed}")), Some(0), "{closed}");
    }
    if !fs::exists("/dev/full").unwrap() {
        return;
    }
    for command in ["predict run photos/red/3.png --json", "info run", "eval run", "completions bash"] {
        let output = shell(&place, &format!("$CNN {command} >/dev/full"));
        assert_eq!(output.status.code(), Some(1), "{command}");
        let said = text(&output.stderr);
        let error = said.lines().last().unwrap_or_default();
        assert!(error.starts_with("error: stdout: "), "{command}: {said}");
    }
    // The weights are saved before the program is told that nobody can read its line.
    let output = shell(&place, &format!("{train} --out full >/dev/full"));
    assert_eq!(output.status.code(), Some(1));
    assert!(place.path().join("full/model.safetensors").is_file());
}

/// Whether this process ignores SIGHUP, which the processes that it starts inherit.
fn hangups_are_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[test]
fn a_terminal_that_goes_away_stops_a_training_and_saves_it() {
    if hangups_are_ignored() {
        eprintln!("SKIPPED: these tests run under nohup, and what they start ignores SIGHUP as they do");
        return;
    }
    let place = Place::new();
    place.pictures("photos", 16);
    let (mut child, mut stderr) = training(&place, &[env!("CARGO_BIN_EXE_cnn")], "hung-up");
    signal(&child, "HUP");
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(129), "{rest}");
    assert!(rest.contains("cnn train --resume hung-up"), "{rest}");

    // nohup ignores the signal, and so it stays.
    let (mut child, mut stderr) = training(&place, &["nohup", env!("CARGO_BIN_EXE_cnn")], "kept");
    signal(&child, "HUP");
    let mut line = String::new();
    for _ in 0..3 {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "went on");
    }
    signal(&child, "TERM");
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143), "{rest}");
}

#[test]
fn a_training_is_asked_to_save_and_goes_on() {
    let place = Place::new();
    place.pictures("photos", 16);
    let (mut child, mut stderr) = training(&place, &[env!("CARGO_BIN_EXE_cnn")], "run");
    signal(&child, "USR1");
    let mut line = String::new();
    while !line.starts_with("saved run/model.safetensors, as asked by SIGUSR1") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "ended");
    }
    // It goes on: another epoch is completed.
    while !line.starts_with("epoch ") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "ended");
    }
    signal(&child, "INT");
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
}

/// A file system of a megabyte: three checkpoints of 310 kB fit, and not beside a file of 500 kB: that is known before the first step.
#[test]
fn a_disk_without_room_for_the_checkpoints_is_told_before_the_first_step() {
    let place = Place::new();
    place.pictures("photos", 16);
    fs::create_dir(place.path().join("disk")).unwrap();
    let mounted = |line: &str| {
        let mount = "mount -t tmpfs -o size=1m tmpfs disk";
        shell(&place, &format!("unshare --user --map-root-user --mount bash -c '{mount} && {line}'"))
    };
    if !mounted("true").status.success() {
        eprintln!("SKIPPED: this process may not mount a file system of its own");
        return;
    }
    let train = "$CNN train --data photos --size 8x8 --model stepwise --threads 1";
    let all = mounted(&format!(
        "{train} --epochs 2 --out disk/run; echo status $?; ls disk/run; rm -r disk/run; \
         head -c 500000 /dev/zero > disk/other; {train} --epochs 2 --out disk/run; echo status $?; rm disk/other; \
         $CNN train --resume disk/run --extend 1; echo status $?"
    ));
    let (said, out) = (text(&all.stderr), text(&all.stdout));
    let statuses: Vec<&str> = out.lines().filter(|line| line.starts_with("status ")).collect();
    let (room, epoch) = ("bytes more must fit into this folder", "epoch 1/");
    assert_eq!(statuses.len(), 3, "{said}{out}");
    assert_eq!((said.matches(room).count(), said.matches(epoch).count()), (1, 2), "{said}{out}");
    assert_eq!(statuses, ["status 0", "status 1", "status 0"], "{said}{out}");
    assert!(!out.contains(".tmp"), "{out}");
    assert!(said.contains("what was saved before goes on with: cnn train --resume disk/run\n"), "{said}");
}

/// 12,000 images of 3,072 bytes each are in memory once. What steps take is held to a twentieth by cnn-measure's own test; a run that is
/// cut short may not have come to its peak.
#[test]
fn the_memory_that_info_tells_is_what_a_training_takes() {
    let place = Place::new();
    for (model, batch, precision) in [("small", "128", "f32"), ("fast", "256", "bf16")] {
        let of = ["--batch", batch, "--precision", precision, "--json"];
        let told = json_lines(&place.succeeds(&[&["info", model][..], &of].concat()).0)[0]["training_bytes"].clone();
        let train = ["train", "--data", "shapes", "--model", model, "--max-seconds", "3", "--out", model];
        let result = json_lines(&place.succeeds(&[&train[..], &of].concat()).0).pop().unwrap();
        let [told, measured] = [&told, &result["peak_rss_bytes"]].map(|bytes| bytes.as_f64().unwrap());
        let off = (told + 12_000.0 * 3072.0) / measured - 1.0;
        assert!(off.abs() < 0.15, "{model}: {told} bytes told beside the images, {measured} measured, {off}");
    }
    place.refuses(&["info", "small", "--batch", "0"], 2, &["batch 0: must be at least 1"]);
    place.refuses(&["info", "small", "--precision", "tf32"], 2, &["must be f32 or bf16"]);
    place.refuses(&["info", "small", "--batch", "99999999999"], 2, &["batch 99999999999: ", "elements"]);
    // Too much for the usual batch is no reason to tell nothing.
    let (text, _) = place.succeeds(&["info", "resnet18", "--input", "512x512x3"]);
    assert!(text.contains("training memory   not counted by steps of 128: ") && text.contains("MACs"), "{text}");
    place.refuses(&["explain", "nowhere", "x.png", "-o", "nofolder/x.html"], 2, &["nofolder does not"]);
}

#[test]
fn images_that_a_network_cannot_take_are_named() {
    let place = Place::new();
    place.pictures("photos", 16);
    let train = |size, model| ["train", "--data", "photos", "--size", size, "--model", model, "--out", "run"];
    place.refuses(&train("2x3", "stepwise"), 2, &["images 2x3x3: stepwise cannot take them: ", "which is 2x3"]);
    place.refuses(&train("5", "small"), 2, &["images 5x5x3: small cannot take them: ", "at least 8x8"]);
    assert!(!place.path().join("run").exists());
}

#[test]
fn a_run_that_gets_no_better_ends_early() {
    let place = Place::new();
    place.pictures("photos", 16);
    let train =
        ["train", "--data", "photos", "--size", "16", "--model", "stepwise", "--out", "run", "--early-stopping", "2"];
    let told = ["early_stopping.patience 2: must have images that are held out", "set validation"];
    place.refuses(&train, 2, &told);
    // A rate by which nothing is learned.
    let rest = ["--validation", "0.25", "--epochs", "50", "--lr", "1e-12", "--json"];
    let result = place.succeeds(&[&train[..], &rest].concat());
    let result = json_lines(&result.0).pop().unwrap();
    assert_eq!((&result["stopped"], &result["epochs"]), (&json!("early"), &json!(3)), "{result}");
}

#[test]
fn a_limit_of_a_files_size_is_an_error_and_leaves_no_half_of_one() {
    let place = Place::new();
    place.pictures("photos", 16);
    // In blocks of 1024 bytes; ResNet-18 has 45 MB.
    let line = "ulimit -f 1000; $CNN train --data photos --size 16x16 --model resnet18 --epochs 1 --out run";
    let output = shell(&place, line);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.lines().last().unwrap_or_default().starts_with("error: run/"), "{said}");
    let left: Vec<OsString> = fs::read_dir(place.path().join("run")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.as_bytes().ends_with(b".tmp")), "{left:?}");
}

#[test]
fn an_export_writes_what_its_name_says_and_replaces_files_only() {
    let place = Place::new();
    place.pictures("photos", 16);
    place.succeeds(&[
        "train", "--data", "photos", "--size", "16x16", "--model", "stepwise", "--epochs", "1", "--out", "run",
    ]);
    for wrong in ["model.onnx", "model.pth", "model.PT"] {
        place.refuses(&["export", "run", "-o", wrong], 2, &[wrong, "must end in .safetensors"]);
        assert!(!place.path().join(wrong).exists());
    }
    place.succeeds(&["export", "run", "-o", "plain"]);
    let weights = Archive::from_bytes(&place.read("plain")).unwrap().arrays;

    // A link goes on being one, and what it leads to is replaced.
    fs::create_dir(place.path().join("store")).unwrap();
    fs::write(place.path().join("store/old.safetensors"), "old").unwrap();
    symlink("store/old.safetensors", place.path().join("link.safetensors")).unwrap();
    place.refuses(&["export", "run", "-o", "link.safetensors"], 2, &["link.safetensors: exists", "--force"]);
    place.succeeds(&["export", "run", "-o", "link.safetensors", "--force"]);
    assert!(fs::symlink_metadata(place.path().join("link.safetensors")).unwrap().is_symlink());
    assert!(Archive::from_bytes(&place.read("store/old.safetensors")).unwrap().arrays == weights);

    symlink("nowhere", place.path().join("dead.safetensors")).unwrap();
    place.refuses(&["export", "run", "-o", "dead.safetensors"], 2, &["dead.safetensors: exists"]);
    place.refuses(&["export", "run", "-o", "dead.safetensors", "--force"], 2, &["dead.safetensors: "]);
    assert!(fs::symlink_metadata(place.path().join("dead.safetensors")).unwrap().is_symlink());

    let fifo = place.path().join("pipe.safetensors");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for other in ["pipe.safetensors", "store"] {
        place.refuses(&["export", "run", "-o", other, "--force"], 2, &[other, "only files are replaced"]);
    }
    assert!(!fifo.is_file(), "still what it was");
}

#[test]
fn numbers_are_read_alike_in_every_locale_and_must_be_finite() {
    let place = Place::new();
    place.pictures("photos", 16);
    let train =
        ["train", "--data", "photos", "--size", "16x16", "--model", "stepwise", "--epochs", "1", "--json", "--lr"];
    let german = |lr: &str| cnn(place.path()).env("LC_ALL", "de_DE.UTF-8").args(train).arg(lr).assert();
    let loss = |lr: &str| -> Value {
        json_lines(&text(&german(lr).success().get_output().stdout)).pop().unwrap()["test_loss"].clone()
    };
    assert_eq!(loss("0.01"), loss("1e-2"));
    for wrong in ["0,01", "nan", "inf", "-1", "0"] {
        german(wrong).code(2);
    }
    // No home, no locale, no path.
    cnn(place.path()).env_clear().args(train).arg("0.01").assert().success();
}
