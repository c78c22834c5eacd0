//! Every kernel of ResNet-18 on every instruction set, and PyTorch's convolutions beside them.

use std::path::Path;

use cnn_core::Device;
use cnn_core::{Result, bf16};
use cnn_cpu::{Cpu, CpuElement, Isa, fma_peak, memory_bandwidth};
use cnn_measure::report::{Rate, layer_table};
use cnn_measure::{Repeat, Row, layers};
use serde_json::{Value, json};

use crate::contender::unknown_precision;
use crate::peers;

/// Measures on every instruction set up to the one that would be used: the rows as JSON.
pub(crate) fn run(python: Option<&Path>, batch: usize, threads: usize, precision: &str) -> Result<Vec<Value>, String> {
    let rows = match precision {
        "f32" => own::<f32>(threads, batch),
        "bf16" => own::<bf16>(threads, batch),
        other => Err(unknown_precision(other)),
    };
    let mut rows = rows.map_err(|error| error.to_string())?;
    let theirs = python.map_or(Ok(Vec::new()), |python| peers::layers(python, batch, threads, precision));
    let mut lines: Vec<Value> = rows.iter().map(|row| json!(row)).collect();
    let best = rows.last().map(|row| row.setting.isa.clone());
    for mut peer in theirs.as_ref().map_or(Vec::new(), Clone::clone) {
        // The same work, so its rate follows from ours.
        let same = |row: &Row| row.setting.config == peer.setting.config && Some(&row.setting.isa) == best.as_ref();
        if let Some(at) = rows.iter().position(same) {
            let ratio = peer.median_ms / rows[at].median_ms;
            lines[at]["ratio_to_best_peer"] = json!(ratio);
            if let Some(Rate::Arithmetic { gflop_s, peak_gflop_s }) = rows[at].rate {
                peer.rate = Some(Rate::Arithmetic { gflop_s: gflop_s / ratio, peak_gflop_s });
            }
        }
        lines.push(json!(peer));
        rows.push(peer);
    }
    print!("{}", layer_table(&rows));
    if let Err(error) = &theirs {
        eprintln!("layers: pytorch: missing: {error}");
        println!("pytorch: missing: {error}");
        lines.push(json!({"area": "layers", "model": "resnet18", "engine": "pytorch", "threads": threads,
            "batch": batch, "dtype": precision, "error": error}));
    }
    Ok(lines)
}

fn own<T: CpuElement>(threads: usize, batch: usize) -> Result<Vec<Row>> {
    let (mut rows, best) = (Vec::new(), Cpu::<T>::with_threads(1)?.isa().to_string());
    for cap in ["portable", "avx2", "avx512", "avx512bf16"] {
        let cpu = Cpu::<T>::with_isa(threads, Isa::capped(cap)?)?;
        if cpu.isa().to_string() != cap {
            eprintln!("{cap}: this CPU does not have it, or no use for it in {}", T::DTYPE);
            continue;
        }
        let (flops, bytes) = (fma_peak(&cpu, 0.2), memory_bandwidth(&cpu, 0.2)?);
        eprintln!("{}: multiply-add peak {flops:.0} GFLOP/s, memory triad {bytes:.1} GB/s", cpu.describe());
        rows.extend(layers::measure(&cpu, batch, Repeat::default())?);
        if cap == best {
            break;
        }
    }
    Ok(rows)
}
