//! One of Rust's other frameworks on this machine's CPU, frozen inference in f32: one JSON line.
//!
//! ```text
//! cnn-rust-peers tract|burn|candle --model resnet18 --onnx resnet18.onnx --batch 1 --threads 2
//! ```
//!
//! tract reads the ONNX file. burn and candle get the networks of [`networks`], with every normalisation folded into its
//! convolution: their best case. Weights are random, which costs them the same time as trained ones.

mod burn;
mod candle;
mod networks;
mod tract;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use cnn_measure::Repeat;
use cnn_measure::timing::{median, peak_memory};
use serde_json::json;

#[derive(Parser)]
struct Args {
    engine: Engine,
    #[arg(long)]
    model: String,
    /// The network for tract
    #[arg(long)]
    onnx: PathBuf,
    #[arg(long)]
    batch: usize,
    #[arg(long)]
    threads: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    Tract,
    Burn,
    Candle,
}

/// What can go wrong in any of them.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A network that answers for the same images again and again: 10 numbers each.
type Answer = Box<dyn FnMut() -> Result<Vec<f32>>>;

fn measure(args: &Args) -> Result<()> {
    // burn and candle use rayon's own pool.
    rayon::ThreadPoolBuilder::new().num_threads(args.threads).build_global()?;
    let (mut answer, package) = match args.engine {
        Engine::Tract => (tract::answer(&args.onnx, args.batch, args.threads)?, "tract-onnx"),
        Engine::Burn => (networks::answer::<burn::Burn>(&args.model, args.batch)?, "burn-flex"),
        Engine::Candle => (networks::answer::<candle::Candle>(&args.model, args.batch)?, "candle-core"),
    };
    let version = version(package)?;
    let time = median(Repeat::default(), || match answer() {
        Ok(logits) if logits.len() == 10 * args.batch && logits.iter().all(|logit| logit.is_finite()) => Ok(()),
        Ok(logits) => {
            Err(format!("{} logits, {:?}...: must be 10 finite ones an image", logits.len(), logits.first()).into())
        }
        Err(error) => Err(error),
    })?;
    println!(
        "{}",
        json!({ "median_ms": 1e3 * time.as_secs_f64(), "peak_rss_bytes": peak_memory(), "version": version })
    );
    Ok(())
}

/// The version that a package was built in.
fn version(package: &str) -> Result<&'static str> {
    let lock = include_str!("../Cargo.lock");
    let (_, after) = lock
        .split_once(&format!("name = \"{package}\"\nversion = \""))
        .ok_or_else(|| format!("{package}: not locked"))?;
    Ok(after.split('"').next().unwrap_or_default())
}

fn main() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
