//! The bench of a GPU, rehearsed on an emulated one.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn bench(libraries: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.env("CNN_CUDA_LIBRARIES", libraries).env("CNN_CUDA_CACHE", libraries.join("kernels"));
    command.args(["--backend", "cuda"]).args(arguments).output().unwrap()
}

#[test]
fn a_rehearsal_measures_everything_once() {
    let libraries = match cnn_emulator::folder() {
        Ok(libraries) => libraries,
        Err(missing) => {
            println!("SKIPPED: no emulated GPU: {missing}");
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("rows");
    let arguments =
        ["--rehearse", "--precision", "bf16", "--peers", "/nonexistent/python", "--json", json.to_str().unwrap()];
    let output = bench(&libraries, &arguments);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("cublaslt") && said.contains("emulated GPU, bf16, 1 round"), "{said}");
    let text = std::fs::read_to_string(json).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |area: &str, engine: &str| {
        rows.iter().filter(|row| row["area"] == area && row["engine"] == engine).collect::<Vec<_>>()
    };
    let (own, products) = (of("layers", "cnn"), of("layers", "cublaslt"));
    assert_eq!((products.len(), own.len()), (3, 15), "{text}");
    for product in products {
        assert!(own.iter().any(|row| row["config"] == product["config"]) && product["gflop_s"].is_f64(), "{product}");
    }
    let (train, infer) = (of("train", "cnn"), of("infer", "cnn"));
    let configs: Vec<&Value> = train.iter().map(|row| &row["config"]).collect();
    assert_eq!((configs, infer.len()), (vec![&"nesterov".into(), &"epoch of 4 images".into()], 1), "{text}");
    for row in [train, infer].concat() {
        assert!(row["images_s"].as_f64() > Some(0.0) && row["peak_device_bytes"].as_u64() > Some(0), "{row}");
    }
    let missing = rows.iter().filter(|row| row["engine"] == "pytorch").collect::<Vec<_>>();
    assert!(missing.len() == 5 && missing.iter().all(|row| row["error"].is_string()), "{missing:?}");
}

#[test]
fn without_a_driver_it_is_an_error() {
    if cnn_cuda::gpus().is_ok() {
        println!("SKIPPED: there is a driver here");
        return;
    }
    let output = bench(Path::new("/nonexistent"), &["--only", "train"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("no CUDA driver: "), "{said}");
}
