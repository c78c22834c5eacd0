//! What a training takes of the machine's memory, and what `--memory` leaves for pictures.

use cnn::core::bf16;
use cnn::data::Listing;
use cnn::models::Arch;
use cnn::train::{OptimizerKind, Precision, Recipe, evaluation_batch};
use cnn_measure::memory::{Held, Network};
use cnn_measure::timing::peak_memory;

use super::bytes::Bytes;
use super::device::Device;
use super::failure::Failure;
use super::output::bytes;

/// Bytes that a run takes beside its buffers: batches on their way, threads, the report. Measured.
const RUN: u64 = 5 << 20;
/// Of the memory that is allowed, the part in which pictures are decoded.
const DECODING: u64 = 8;
/// What an allocator keeps at most of the largest piece that a thread has given back: glibc's limit (`mallopt(3)`,
/// DEFAULT_MMAP_THRESHOLD_MAX).
const KEPT: u64 = 32 << 20;
/// Batches of pictures that are in memory at a time where they are decoded as they are needed: two that are being decoded, one that
/// is used, and the next one on its way together.
const BATCHES: u64 = 4;

/// How a network is trained, as far as it takes memory.
pub(super) struct Steps {
    /// Images of a step, or of a part of one.
    pub(super) batch: usize,
    pub(super) precision: Precision,
    /// Numbers that the optimizer and an average keep for each weight.
    pub(super) states: u64,
}

/// Bytes that a process takes on a CPU that trains `network`, which has so many `parameters`; its images and what the program takes
/// before are not counted.
pub(super) fn of_training(network: Network, parameters: usize, steps: &Steps) -> cnn::core::Result<u64> {
    let [height, width, _] = network.image;
    let evaluated = evaluation_batch([height, width]);
    let Held { steps: held, evaluated } = match steps.precision {
        Precision::Bf16 => network.training::<bf16>(steps.batch, evaluated)?,
        _ => network.training::<f32>(steps.batch, evaluated)?,
    };
    let weights = size_of::<f32>() as u64 * parameters as u64;
    // Counted are the steps of SGD, with one state. Weights and states as they are written, and the larger of the two files once
    // more; it is saved before it is tested.
    let saving = (1 + 2 * steps.states) * weights;
    Ok(RUN + (steps.states - 1) * weights + evaluated.max(held + saving))
}

/// Bytes that pictures may take that are kept in memory, of the `allowed` ones, and what is said of that.
///
/// # Errors
/// The training alone takes more; the largest batch that would not.
pub(super) fn left(
    Bytes(allowed): Bytes,
    recipe: &Recipe,
    device: &Device,
    listing: &Listing,
) -> Result<(usize, String), Failure> {
    let program = peak_memory().unwrap_or(0);
    let report = listing.report();
    let classes = recipe.classes.as_ref().map_or(report.classes.len(), Vec::len);
    let arch: Arch = recipe.model.parse().map_err(Failure::usage)?;
    let parameters = arch.parameter_count(report.size, classes).unwrap_or(0);
    // Muon has one, and makes each step orthogonal in matrices beside it.
    let states = match recipe.optimizer.kind {
        OptimizerKind::Sgd => 1,
        OptimizerKind::Adam | OptimizerKind::AdamW => 2,
        OptimizerKind::Muon => 3,
    };
    let states = states + u64::from(recipe.average.is_some());
    let images: u64 = report.images().iter().sum::<usize>() as u64 * listing.image_bytes() as u64;
    let takes = |batch: usize| {
        let steps = Steps { batch: batch.div_ceil(recipe.accumulate.max(1)), precision: recipe.precision, states };
        let training = match device.cpu_threads() {
            Some(threads) => of_training(Network { arch, image: report.size, classes, threads }, parameters, &steps)?,
            None => RUN + (2 + 2 * states) * 4 * parameters as u64,
        };
        let [height, width, _] = report.size;
        let loaded = batch.max(evaluation_batch([height, width])) as u64;
        Ok::<_, Failure>([training, images.min(BATCHES * loaded * listing.image_bytes() as u64)])
    };
    // A picture that takes more than that is decoded alone.
    let largest = listing.decoding_bytes();
    let decoding = decoding(Bytes(allowed)).max(largest) + device.pool()?.threads() as u64 * largest.min(KEPT);
    let needs = |[training, loading]: [u64; 2]| program + training + loading + decoding;
    let taken @ [training, loading] = takes(recipe.batch)?;
    if needs(taken) > allowed {
        let mut smaller = recipe.batch / 2;
        while smaller > 0 && needs(takes(smaller)?) > allowed {
            smaller /= 2;
        }
        let advice = match smaller {
            1.. => format!("--batch {smaller} fits"),
            0 => "so does every batch: choose another --model or --size, or fewer --threads".to_owned(),
        };
        let [height, width, _] = report.size;
        let what = format!("{} by steps of {} images of {height}x{width}", recipe.model, recipe.batch);
        let value = format!("memory {}: training {what} takes {}", bytes(allowed), bytes(needs(taken)));
        return Err(Failure::usage(format!("{value}; {advice}")));
    }
    let room = allowed - (program + training + decoding);
    let kept = if images <= room { "are kept in memory" } else { "are read as they are needed" };
    let all = if images <= room { images } else { loading };
    let said = format!(
        "memory: {} of the {} allowed, at most: {} for the training, {} to decode in; the pictures, {}, {kept}",
        bytes(program + training + decoding + all),
        bytes(allowed),
        bytes(program + training),
        bytes(decoding),
        bytes(images),
    );
    Ok((usize::try_from(room).unwrap_or(usize::MAX), said))
}

/// Bytes of the `allowed` ones in which pictures are decoded.
pub(super) fn decoding(Bytes(allowed): Bytes) -> u64 {
    (allowed / DECODING).min(1 << 30)
}
