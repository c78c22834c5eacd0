//! Every kernel of ResNet-18 on every instruction set or on the GPU, and beside them cuBLASLt's products and PyTorch's
//! convolutions.

use std::path::Path;

use cnn_core::{Device, Result, bf16};
use cnn_cpu::{Cpu, CpuElement, Isa, fma_peak, memory_bandwidth};
use cnn_cuda::{Cuda, CudaElement};
use cnn_measure::kernels::{self, CONVOLUTIONS, Operands, POINTWISE};
use cnn_measure::report::{Rate, layer_table};
use cnn_measure::{Row, layers};
use serde_json::{Value, json};

use crate::on::{On, unknown_precision};
use crate::peers;
use crate::setup::Setup;

/// Measures the table, on a CPU on every instruction set up to the one that would be used: the rows as JSON.
pub(crate) fn run(python: Option<&Path>, setup: &Setup) -> Result<Vec<Value>, String> {
    let Setup { batch, threads, precision, .. } = setup;
    let rows = match (setup.on, precision.as_str()) {
        (On::Cpu, "f32") => cpu::<f32>(setup),
        (On::Cpu, "bf16") => cpu::<bf16>(setup),
        (On::Cuda, "f32") => gpu::<f32>(setup),
        (On::Cuda, "bf16") => gpu::<bf16>(setup),
        (_, other) => Err(unknown_precision(other)),
    };
    let mut rows = rows.map_err(|error| error.to_string())?;
    let theirs = python.map_or(Ok(Vec::new()), |python| peers::layers(python, setup, &convolutions(setup)));
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

/// Those of the table, as `CONVOLUTIONS` has them.
fn convolutions(setup: &Setup) -> Vec<[usize; 5]> {
    match (setup.on, setup.rehearse) {
        (On::Cpu, _) => CONVOLUTIONS.to_vec(),
        (On::Cuda, false) => [&CONVOLUTIONS[..], &POINTWISE[..]].concat(),
        (On::Cuda, true) => vec![[32, 4, 64, 3, 2], [32, 4, 64, 1, 1]],
    }
}

fn cpu<T: CpuElement>(setup: &Setup) -> Result<Vec<Row>> {
    let (mut rows, best) = (Vec::new(), Cpu::<T>::with_threads(1)?.isa().to_string());
    for cap in ["portable", "avx2", "avx512", "avx512bf16", "amx"] {
        let cpu = Cpu::<T>::with_isa(setup.threads, Isa::capped(cap)?)?;
        if cpu.isa().to_string() != cap {
            eprintln!("{cap}: this CPU does not have it, or no use for it in {}", T::DTYPE);
            continue;
        }
        let (flops, bytes) = (fma_peak(&cpu, 0.2), memory_bandwidth(&cpu, 0.2)?);
        eprintln!("{}: multiply-add peak {flops:.0} GFLOP/s, memory triad {bytes:.1} GB/s", cpu.describe());
        rows.extend(layers::measure(&cpu, setup.batch, setup.repeat())?);
        if cap == best {
            break;
        }
    }
    Ok(rows)
}

/// The GPU's kernels, and cuBLASLt's products in the place of those convolutions that are some.
fn gpu<T: CudaElement>(setup: &Setup) -> Result<Vec<Row>> {
    let (cuda, batch) = (Cuda::<T>::new()?, setup.batch);
    let seconds = if setup.rehearse { 0.0 } else { 0.2 };
    let (flops, bytes) = (cnn_cuda::fma_peak(&cuda, seconds)?, cnn_cuda::memory_bandwidth(&cuda, seconds)?);
    eprintln!("{}: multiply-add peak {:.1} TFLOP/s, memory triad {bytes:.0} GB/s", cuda.describe(), 1e-3 * flops);
    let shapes = convolutions(setup);
    let mut rows = layers::measure_each(&cuda, batch, setup.repeat(), |visit| {
        kernels::conv2d(&cuda, batch, &shapes, Operands::Written, visit)?;
        kernels::linear(&cuda, batch, visit)?;
        if setup.rehearse { Ok(()) } else { kernels::passes(&cuda, batch, visit) }
    })?;
    if cuda.cublaslt_version().is_none() {
        eprintln!("cublaslt: missing: it was not found");
        return Ok(rows);
    }
    let products: Vec<[usize; 5]> =
        shapes.into_iter().filter(|&[_, _, _, kernel, stride]| kernel == 1 && stride == 1).collect();
    let theirs =
        layers::measure_each(&cuda, batch, setup.repeat(), |visit| kernels::baseline(&cuda, batch, &products, visit))?;
    rows.extend(theirs.into_iter().map(|mut row| {
        row.setting.engine = "cublaslt".to_owned();
        row
    }));
    Ok(rows)
}
