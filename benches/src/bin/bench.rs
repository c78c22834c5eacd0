//! The program behind `cargo xtask bench`.

use std::path::PathBuf;
use std::process::ExitCode;

use cnn_benches::report::{Row, table, write_json};
use cnn_benches::{layers, models};
use cnn_core::backend::Backend;
use cnn_core::bf16;
use cnn_cpu::{Cpu, CpuElement, Isa, fma_peak};

const USAGE: &str = "usage: cargo xtask bench [--only layers|train|infer] [--model NAME] [--threads N] \
    [--batch N] [--precision f32|bf16] [--json FILE]";

/// Models with the batch sizes at which they are measured; another model has those of the first.
const TRAINING: [(&str, &[usize]); 2] = [("resnet18", &[128]), ("stepwise", &[64])];
const INFERENCE: [(&str, &[usize]); 2] = [("resnet18", &[1, 16, 128]), ("stepwise", &[1, 64])];

struct Options {
    only: Option<String>,
    model: Option<String>,
    threads: usize,
    batch: Option<usize>,
    bf16: bool,
    json: Option<PathBuf>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut options = Options { only: None, model: None, threads, batch: None, bf16: false, json: None };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name}: needs a value; {USAGE}"))?;
            let number = || match value.parse::<usize>() {
                Ok(number) if number > 0 => Ok(number),
                _ => Err(format!("{name} {value}: must be a number of at least 1")),
            };
            match name.as_str() {
                "--only" if ["layers", "train", "infer"].contains(&value.as_str()) => options.only = Some(value),
                "--only" => return Err(format!("--only {value}: must be layers, train or infer")),
                "--model" => options.model = Some(value),
                "--threads" => options.threads = number()?,
                "--batch" => options.batch = Some(number()?),
                "--precision" if ["f32", "bf16"].contains(&value.as_str()) => options.bf16 = value == "bf16",
                "--precision" => return Err(format!("--precision {value}: must be f32 or bf16")),
                "--json" => options.json = Some(value.into()),
                _ => return Err(format!("{name}: no such option; {USAGE}")),
            }
        }
        Ok(options)
    }

    fn wants(&self, area: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == area)
    }
}

fn run<T: CpuElement>(options: &Options) -> Result<Vec<Row>, cnn_core::Error> {
    let mut rows = Vec::new();
    if options.wants("layers") {
        let mut measured = Vec::new();
        for cap in ["portable", "avx2", "avx512", "avx512bf16"] {
            let cpu = Cpu::<T>::with_isa(options.threads, Isa::capped(cap)?)?;
            let isa = cpu.isa();
            if measured.contains(&isa.to_string()) {
                continue; // this CPU does not have it, or no use for it with these elements
            }
            measured.push(isa.to_string());
            eprintln!("{isa}: multiply-add peak {:.0} GFLOP/s, {} threads", fma_peak(&cpu, 0.2), options.threads);
            rows.extend(layers::measure(&cpu, options.batch.unwrap_or(128))?);
        }
    }
    for (area, by_model) in [("train", TRAINING), ("infer", INFERENCE)] {
        if !options.wants(area) {
            continue;
        }
        let chosen = options.model.as_deref().map(|name| {
            let known = by_model.iter().find(|(known, _)| *known == name);
            (name, known.map_or(by_model[0].1, |(_, batches)| batches))
        });
        for (model, batches) in chosen.map_or(by_model.to_vec(), |chosen| vec![chosen]) {
            for batch in options.batch.map_or(batches.to_vec(), |batch| vec![batch]) {
                let cpu = Cpu::<T>::with_threads(options.threads)?;
                eprintln!("{area} {model}, batch {batch}, {}", cpu.describe());
                rows.push(models::measure(&cpu, area, model, batch)?);
            }
        }
    }
    Ok(rows)
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(2);
        }
    };
    match if options.bf16 { run::<bf16>(&options) } else { run::<f32>(&options) } {
        Ok(rows) => {
            print!("{}", table(&rows));
            if let Some(path) = &options.json
                && let Err(error) = write_json(path, &rows)
            {
                eprintln!("error: {}: {error}", path.display());
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
