//! `cnn bench`: what this machine can do at most, and how near to it every layer, a training step and inference come.

use cnn::core::backend::AUTO;
use cnn::models::Arch;
use cnn_measure::report::layer_table;
use cnn_measure::{Area, Machine, Repeat, Row, layers, networks};
use serde_json::json;

use super::args::BenchArgs;
use super::device::{Command, Device};
use super::failure::Failure;
use super::output;

/// How long each limit of the machine is measured.
const SECONDS: f64 = 0.3;
/// The most images at a time: training ResNet-18 takes some 5 MB for each.
const MOST_IMAGES: usize = 4096;

/// Runs the command.
pub(crate) fn run(args: &BenchArgs) -> Result<(), Failure> {
    if let Some(batch) = args.batch.filter(|batch| !(1..=MOST_IMAGES).contains(batch)) {
        return Err(Failure::usage(format!(
            "batch {batch}: must be from 1 to {}",
            output::grouped(MOST_IMAGES as u64)
        )));
    }
    args.model.parse::<Arch>().map_err(Failure::usage)?;
    Device::open(&args.device, args.precision, AUTO)?.run(Bench(args))
}

struct Bench<'a>(&'a BenchArgs);

impl Command for Bench<'_> {
    fn run<B: Machine>(self, backend: &B) -> Result<(), Failure> {
        let Bench(args) = self;
        output::note(&backend.describe());
        let (peak, triad) = (backend.fma_peak(SECONDS)?, backend.memory_bandwidth(SECONDS)?);
        if args.json {
            output::print_json(&json!({
                "area": "roofline",
                "isa": backend.isa(),
                "threads": backend.threads(),
                "conv_algo": backend.tuning(),
                "peak_gflop_s": peak,
                "triad_gb_s": triad,
            }))?;
        } else {
            output::print(&format!("multiply-add peak {peak:.0} GFLOP/s\nmemory triad      {triad:.1} GB/s\n\n"))?;
        }
        // Of 224x224 pixels 128 images would take more memory than most machines have.
        let at_once = if networks::usual(&args.model)?.0[0] > 64 { 16 } else { 128 };
        let repeat = Repeat { budget: args.seconds, ..Repeat::default() };
        for area in Area::ALL.into_iter().filter(|area| args.only.is_none_or(|only| only == *area)) {
            let batches = match (args.batch, area) {
                (Some(batch), _) => vec![batch],
                (None, Area::Infer) => vec![1, at_once],
                (None, Area::Train) => vec![at_once],
                (None, Area::Layers) => vec![128],
            };
            for batch in batches {
                match area {
                    Area::Layers => {
                        show(args, &layers::measure(backend, batch, repeat)?, |rows| layer_table(rows) + "\n")?
                    }
                    Area::Train => show(args, &[networks::train(backend, &args.model, batch, repeat)?], lines)?,
                    Area::Infer => show(args, &[networks::infer(backend, &args.model, batch, repeat)?], lines)?,
                }
            }
        }
        Ok(())
    }
}

fn lines(rows: &[Row]) -> String {
    rows.iter().map(Row::line).collect()
}

fn show(args: &BenchArgs, rows: &[Row], text: impl Fn(&[Row]) -> String) -> Result<(), Failure> {
    if args.json { rows.iter().try_for_each(|row| output::print_json(&json!(row))) } else { output::print(&text(rows)) }
}
