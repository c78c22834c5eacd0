//! Softmax and cross entropy.

use cnn_core::backend::{CrossEntropy, CrossEntropySpec, Data, Wide, check};
use cnn_core::{Error, Result};

use crate::buffer::Buffer;
use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::launch::{Argument, Launch, THREADS};

pub(crate) const SOURCE: Source = source!("loss");

/// Rows of up to so many classes have a warp each, longer ones a block.
const CLASSES_OF_WARP: usize = 256;
/// The most blocks: each takes rows in steps of the grid, and leaves one number of its own.
const MOST_BLOCKS: usize = 1024;

/// How rows are shared out.
#[derive(Clone, Copy)]
struct Rows {
    rows: usize,
    classes: u32,
    /// Rows that a block has at a time.
    of_block: usize,
}

impl Rows {
    fn new(what: &str, len: usize, classes: usize) -> Result<Self> {
        let rows = check::whole_rows(what, len, classes)?;
        let of_block = if classes <= CLASSES_OF_WARP { THREADS / 32 } else { 1 };
        match u32::try_from(classes) {
            Ok(classes) => Ok(Rows { rows, classes, of_block }),
            Err(_) => Err(Error::invalid("classes", classes, format!("must be at most {} on this backend", u32::MAX))),
        }
    }

    fn blocks(self) -> usize {
        self.rows.div_ceil(self.of_block).min(MOST_BLOCKS)
    }

    /// The arguments `rows` and `classes`.
    fn given_to(self, launch: Launch<'_>) -> Launch<'_> {
        launch.value(self.rows as u64).value(self.classes)
    }
}

pub(crate) fn softmax<T: CudaElement>(cuda: &Cuda<T>, x: &Data<Cuda<T>>, classes: usize) -> Result<Data<Cuda<T>>> {
    let rows = Rows::new("the logits", x.len(), classes)?;
    let y = cuda.alloc(x.len())?;
    let launch = cuda.kernel(SOURCE, "softmax")?.buffer(x).buffer(&y);
    let launch = rows.given_to(launch).value(rows.of_block as u32);
    // SAFETY: both have as many rows of as many classes, and y is new.
    unsafe { launch.on([rows.blocks(), 1, 1], THREADS) }?;
    Ok(y)
}

pub(crate) fn softmax_backward<T: CudaElement>(
    cuda: &Cuda<T>,
    y: &Data<Cuda<T>>,
    mut dy: Data<Cuda<T>>,
    classes: usize,
) -> Result<Data<Cuda<T>>> {
    let rows = Rows::new("the gradient", dy.len(), classes)?;
    check::length("the output", y.len(), dy.len())?;
    let dx = cuda.in_place(&mut dy)?;
    let launch = cuda.kernel(SOURCE, "softmax_backward")?.buffer(y).buffer(&dy).buffer(&dx);
    let launch = rows.given_to(launch).value(rows.of_block as u32);
    // SAFETY: the three have as many rows of as many classes; dx is new, or dy, which was given away.
    unsafe { launch.on([rows.blocks(), 1, 1], THREADS) }?;
    Ok(dx)
}

/// What the probabilities of a row should be: `kernels/loss.cu` has the same struct.
#[derive(Clone, Copy)]
#[repr(C)]
struct Target {
    /// Of the label, beside `all`.
    label: f32,
    /// Of the label of the row before.
    other: f32,
    /// Of each class.
    all: f32,
    /// Whether the label of the row before is the one to meet.
    meets_other: u32,
    /// What the mean is over: the rows, or their weights.
    count: f32,
}

// SAFETY: five numbers of four bytes.
unsafe impl Argument for Target {}

/// Labels are on the GPU and not looked at here: the loss is NaN where one is no class, and nothing is read for it.
pub(crate) fn cross_entropy<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &CrossEntropySpec,
    logits: &Data<Cuda<T>>,
    labels: &Buffer<u32>,
    weights: Option<&Wide<Cuda<T>>>,
) -> Result<CrossEntropy<Cuda<T>>> {
    let CrossEntropySpec { classes, smoothing, own, mean_weight } = *spec;
    let rows = Rows::new("the logits", logits.len(), classes)?;
    check::length("the labels", labels.len(), rows.rows)?;
    if let Some(weights) = weights {
        check::length("the weights of the classes", weights.len(), classes)?;
    }
    let count = rows.rows as f64 * mean_weight;
    let target = Target {
        label: ((1.0 - smoothing) * own) as f32,
        other: ((1.0 - smoothing) * (1.0 - own)) as f32,
        all: (smoothing / classes as f64) as f32,
        meets_other: spec.larger(0, 1),
        count: count as f32,
    };
    let dlogits = cuda.alloc(logits.len())?;
    let (losses, hits) = (cuda.alloc::<f64>(rows.blocks())?, cuda.alloc::<u32>(rows.blocks())?);
    let launch = cuda.kernel(SOURCE, "cross_entropy")?.buffer(logits).buffer(labels).buffer(&dlogits);
    let launch = rows.given_to(launch.optional(weights).buffer(&losses).buffer(&hits));
    let launch = launch.value(target).value(rows.of_block as u32);
    // SAFETY: logits and their gradient have as many rows of as many classes, and there is a label for each row, and a weight for
    // each class or none; a block has one number of each of the others. What is written is new, and a label that is no class is not
    // followed.
    unsafe { launch.on([rows.blocks(), 1, 1], THREADS) }?;
    mean(cuda, rows, count, &losses, &hits, dlogits)
}

pub(crate) fn binary_cross_entropy<T: CudaElement>(
    cuda: &Cuda<T>,
    classes: usize,
    logits: &Data<Cuda<T>>,
    targets: &Wide<Cuda<T>>,
    weights: Option<&Wide<Cuda<T>>>,
) -> Result<CrossEntropy<Cuda<T>>> {
    check::binary_targets(classes, logits.len(), targets.len(), weights.map(Buffer::len))?;
    let rows = Rows::new("the logits", logits.len(), classes)?;
    let count = logits.len() as f64;
    let dlogits = cuda.alloc(logits.len())?;
    let (losses, hits) = (cuda.alloc::<f64>(rows.blocks())?, cuda.alloc::<u32>(rows.blocks())?);
    let launch = cuda.kernel(SOURCE, "binary_cross_entropy")?.buffer(logits).buffer(targets).buffer(&dlogits);
    let launch = rows.given_to(launch.optional(weights).buffer(&losses).buffer(&hits));
    let launch = launch.value((1.0 / count) as f32).value(rows.of_block as u32);
    // SAFETY: logits, targets and the gradient have as many rows of as many classes, and there is a weight for each class or none; a
    // block has one number of each of the others. What is written is new.
    unsafe { launch.on([rows.blocks(), 1, 1], THREADS) }?;
    mean(cuda, rows, count, &losses, &hits, dlogits)
}

/// The mean over `count` of what each block has summed up of these rows.
fn mean<T: CudaElement>(
    cuda: &Cuda<T>,
    rows: Rows,
    count: f64,
    losses: &Buffer<f64>,
    hits: &Buffer<u32>,
    dlogits: Data<Cuda<T>>,
) -> Result<CrossEntropy<Cuda<T>>> {
    let (loss, correct) = (cuda.alloc(1)?, cuda.alloc(1)?);
    let launch = cuda.kernel(SOURCE, "cross_entropy_mean")?.buffer(losses).buffer(hits);
    let launch = launch.value(rows.blocks() as u32).value(count).buffer(&loss).buffer(&correct);
    // SAFETY: there are as many losses and hits as blocks, and what is written is new.
    unsafe { launch.on([1; 3], THREADS) }?;
    Ok(CrossEntropy { loss, dlogits, correct })
}
