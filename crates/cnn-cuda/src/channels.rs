//! How a pass over an activation \[rows, channels\] is cut among the GPU's blocks and threads, see `kernels/channels.cuh`:
//! by the shape and by constants, so that sums are the same bits on any GPU of a model.

use crate::element::CudaElement;
use crate::launch::{Argument, Launch, THREADS};

/// Threads that lie side by side in a block, at most: they read some hundred bytes of a row in one go.
const COLUMNS: usize = 32;
/// Where there are enough rows, a pass has about so many blocks: some for each multiprocessor of the largest GPU.
const BLOCKS: usize = 1024;

/// Channels of a block that combines parts.
const COMBINED: usize = 8;
/// Lines of such a block: at least a warp for each channel, at most the threads that a block can have.
const COMBINED_LINES: [usize; 2] = [32, 128];
/// Parts that a thread of such a block reads at once.
const COMBINED_FEW: usize = 8;

/// A cut as kernels read it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    rows: u64,
    channels: u32,
    /// The last part has the rest.
    rows_per_part: u32,
    /// Threads of a block that lie side by side.
    columns: u32,
    /// Threads of a block that lie below one another.
    lines: u32,
}

// SAFETY: numbers without padding between or after them; `channels.cuh` has the same.
unsafe impl Argument for Parts {}

/// A pass over \[rows, channels\], cut into parts of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    parts: Parts,
    grid: [usize; 3],
    /// Whether rows are read 16 bytes at a time.
    vectors: bool,
}

impl Pass {
    /// A pass that leaves sums of each part: of many rows, as the parts' sums are read again.
    pub(crate) fn sums<T: CudaElement>(rows: usize, channels: usize) -> Self {
        Self::new::<T>(rows, channels, COLUMNS, [8, 64])
    }

    /// The same, a row by a single block where that has threads enough; the blocks of wider ones read what the others write, which
    /// is told.
    pub(crate) fn sums_of_whole_rows<T: CudaElement>(rows: usize, channels: usize) -> (Self, bool) {
        let pass = Self::new::<T>(rows, channels, THREADS, [8, 64]);
        (pass, pass.grid[1] <= 1)
    }

    /// A pass that leaves an element for each.
    pub(crate) fn elements<T: CudaElement>(rows: usize, channels: usize) -> Self {
        Self::new::<T>(rows, channels, COLUMNS, [1, 8])
    }

    /// At most `side_by_side` threads of a block lie so. A thread has at least `least` rows, where there are as many, and at most
    /// about `most`.
    fn new<T: CudaElement>(rows: usize, channels: usize, side_by_side: usize, [least, most]: [usize; 2]) -> Self {
        let vector = 16 / size_of::<T>();
        let vectors = channels.is_multiple_of(vector);
        // Threads that it takes to read a row; blocks that share them, and the threads that each of these has of them.
        let wide = if vectors { channels / vector } else { channels };
        let across = wide.div_ceil(side_by_side);
        let columns = wide.div_ceil(across.max(1)).max(1);
        let lines = THREADS / columns;
        let unit = lines * least;
        let down = (BLOCKS / across.max(1)).max(1);
        let rows_per_part = rows.div_ceil(down).div_ceil(unit).clamp(1, most / least) * unit;
        // Below 2^32 all of them, but for channels of which a grid cannot have as many: such a launch is refused.
        let [per_part, columns, lines, of_row] = [rows_per_part, columns, lines, channels].map(|n| n as u32);
        let parts = Parts { rows: rows as u64, channels: of_row, rows_per_part: per_part, columns, lines };
        Pass { parts, grid: [rows.div_ceil(rows_per_part), across, 1], vectors }
    }

    /// How many parts there are.
    pub(crate) fn parts(&self) -> usize {
        self.grid[0]
    }

    /// Rows of every part but the last.
    pub(crate) fn rows_per_part(&self) -> usize {
        self.parts.rows_per_part as usize
    }

    /// The kernel of two that does this pass: one for vectors of channels, one for any channels.
    pub(crate) fn kernel(&self, [vectors, any]: [&'static str; 2]) -> &'static str {
        if self.vectors { vectors } else { any }
    }

    /// Launches a kernel whose last argument is the cut.
    ///
    /// # Errors
    /// As [`Launch::on`].
    ///
    /// # Safety
    /// As `Launch::on`; the kernel is the one that [`kernel`](Self::kernel) chose.
    pub(crate) unsafe fn run(&self, launch: Launch<'_>) -> cnn_core::Result<()> {
        // SAFETY: the caller's promise; a thread of the cut keeps to the rows and channels that there are.
        unsafe { launch.value(self.parts).on(self.grid, THREADS) }
    }
}

/// Launches a kernel that combines what `parts` parts left for each of `channels` channels, whose last arguments are
/// these two numbers.
///
/// # Errors
/// As [`Launch::on`].
///
/// # Safety
/// As `Launch::on`; the kernel keeps to `combine.cuh`'s way.
pub(crate) unsafe fn combine(launch: Launch<'_>, parts: usize, channels: usize) -> cnn_core::Result<()> {
    let [least, most] = COMBINED_LINES;
    let lines = parts.div_ceil(COMBINED_FEW).next_power_of_two().clamp(least, most);
    // Parts are blocks of an earlier grid, and its blocks have all channels: both are below 2^32.
    let launch = launch.value(parts as u32).value(channels as u32);
    // SAFETY: the caller's promise.
    unsafe { launch.on([channels.div_ceil(COMBINED), 1, 1], COMBINED * lines) }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn a_cut_has_every_row_and_channel_once() {
        for rows in [0, 1, 7, 255, 256, 5_000, 1 << 19] {
            for channels in [1, 3, 8, 64, 72, 129, 512, 1000, 2048, 100_000] {
                for pass in [Pass::sums::<f32>, Pass::elements::<f32>, Pass::sums::<bf16>, Pass::elements::<bf16>] {
                    let pass = pass(rows, channels);
                    let Parts { rows_per_part, columns, lines, .. } = pass.parts;
                    let (per_part, [parts, across, _]) = (rows_per_part as usize, pass.grid);
                    assert!(parts * per_part >= rows && parts.saturating_sub(1) * per_part <= rows, "{pass:?}");
                    assert!(columns * lines <= THREADS as u32 && lines > 0, "{pass:?}");
                    let width = [4, 8].map(|n| if pass.vectors { n } else { 1 } * columns as usize);
                    assert!(width.iter().any(|w| across * w >= channels && (across - 1) * w < channels), "{pass:?}");
                }
            }
        }
    }

    #[test]
    fn a_usual_activation_is_cut_for_a_large_gpu() {
        // Batch 512 of ResNet-18's first and last stage.
        assert_eq!(Pass::sums::<bf16>(512 * 32 * 32, 64).grid, [1024, 1, 1]);
        assert_eq!(Pass::sums::<bf16>(512 * 4 * 4, 512).grid, [128, 2, 1]);
        assert_eq!(Pass::elements::<bf16>(512 * 32 * 32, 64).grid, [2048, 1, 1]);
        assert_eq!(Pass::elements::<bf16>(32 * 32, 64).grid, [32, 1, 1]);
    }
}
