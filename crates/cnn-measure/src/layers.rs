//! The kernels of ResNet-18 for CIFAR, each by itself, beside what limits it.

use cnn_core::Result;

use crate::kernels::{self, Visit, Work};
use crate::machine::Machine;
use crate::report::{Area, Row, Setting};
use crate::timing::{Repeat, median_on};

/// How long the limit is measured before and after each kernel; the higher figure counts.
const SECONDS: f64 = 0.01;

/// Measures every kernel on `batch` images.
///
/// # Errors
/// The device's.
pub fn measure<B: Machine>(backend: &B, batch: usize, repeat: Repeat) -> Result<Vec<Row>> {
    measure_each(backend, batch, repeat, |visit| kernels::resnet18(backend, batch, visit))
}

/// Measures the kernels that `list` visits, whose operands are of `batch` images.
///
/// # Errors
/// The device's.
pub fn measure_each<B: Machine>(
    backend: &B,
    batch: usize,
    repeat: Repeat,
    list: impl FnOnce(Visit<'_>) -> Result<()>,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    list(&mut |kernel| {
        let limit = || match kernel.work {
            Work::Flops(_) => backend.fma_peak(SECONDS),
            Work::Bytes(_) => backend.memory_bandwidth(SECONDS),
        };
        let before = limit()?;
        let time = median_on(backend, repeat, kernel.run)?;
        let setting = Setting::new(backend, Area::Layers, "resnet18", &kernel.name, batch);
        rows.push(Row::new(setting, time).doing(kernel.work, before.max(limit()?)));
        Ok(())
    })?;
    Ok(rows)
}
