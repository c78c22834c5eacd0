//! The kernels of ResNet-18 for CIFAR, each by itself, beside what limits it.

use cnn_core::Result;
use cnn_cpu::{Cpu, CpuElement, fma_peak, memory_bandwidth};

use crate::kernels::{self, Work};
use crate::report::{Area, Row, Setting};
use crate::timing::{Repeat, median};

/// How long the limit is measured before and after each kernel; the higher figure counts.
const SECONDS: f64 = 0.01;

/// Measures every kernel on `batch` images.
///
/// # Errors
/// The device's.
pub fn measure<T: CpuElement>(cpu: &Cpu<T>, batch: usize, repeat: Repeat) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    kernels::resnet18(cpu, batch, &mut |kernel| {
        let limit = || match kernel.work {
            Work::Flops(_) => fma_peak(cpu, SECONDS),
            Work::Bytes(_) => memory_bandwidth(cpu, SECONDS),
        };
        let before = limit();
        let time = median(repeat, kernel.run)?;
        let setting = Setting::new(cpu, Area::Layers, "resnet18", &kernel.name, batch);
        rows.push(Row::new(setting, time).doing(kernel.work, before.max(limit())));
        Ok(())
    })?;
    Ok(rows)
}
