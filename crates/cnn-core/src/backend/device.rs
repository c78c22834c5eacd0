//! A device as memory.

use std::sync::Arc;

use std::fmt::Debug;

use crate::element::{Element, Plain};
use crate::{Error, Result};

/// What sums, parameters and statistics of a device are computed in.
pub type Accum<B> = <<B as Device>::Elem as Element>::Accum;
/// A buffer of activations.
pub type Data<B> = <B as Device>::Buffer<<B as Device>::Elem>;
/// A buffer of parameters, statistics, losses or weight gradients.
pub type Wide<B> = <B as Device>::Buffer<Accum<B>>;

/// The [`tuning`](Device::tuning) of a device that chooses everything itself.
pub const AUTO: &str = "auto";

/// Where arrays live, with the element of its activations: `Cpu<f32>`, `Naive<f64>`.
pub trait Device: Clone + Debug + Send + Sync + 'static {
    /// How activations are stored.
    type Elem: Element;
    /// A cheap handle to contiguous device memory.
    type Buffer<T: Plain>: Clone + Debug + Send + Sync;

    /// Short name for messages: `cpu`, `cuda`, `naive`.
    const NAME: &'static str;

    /// One line about the device: instruction set, threads, memory.
    fn describe(&self) -> String;
    /// How activations are stored: the name of their element; or `tf32` where that is f32 and a device rounds it to tf32 when
    /// it multiplies.
    fn precision(&self) -> String {
        Self::Elem::DTYPE.to_string()
    }
    /// What decides how its results are rounded: devices that say the same compute the same bits, if they are tuned alike.
    fn arithmetic(&self) -> String {
        Self::NAME.to_owned()
    }
    /// What the device was tuned to when it was opened, in its own words: the same results up to rounding, by other
    /// means. Recipes and weights files hold it and do not interpret it; only the device that reads it back can refuse it.
    fn tuning(&self) -> &str {
        AUTO
    }

    /// The device's own memory; none where it works in the machine's.
    ///
    /// # Errors
    /// The device's.
    fn own_memory(&self) -> Result<Option<Memory>> {
        Ok(None)
    }

    /// Whether it computes: one that only says what memory a model takes has no numbers, and initial values need not be drawn for it.
    fn computes(&self) -> bool {
        true
    }

    /// How many steps a loop lets the device run behind it before it reads what became of one: 0 where there is nothing to
    /// wait for. No method here reads back what it computes, so a step of training can be asked for, its
    /// [outcome](crate::optim::Outcome) kept, and read that many steps later.
    fn steps_behind(&self) -> usize {
        0
    }

    /// Does `work`, and hands what it asks of the device over at once where that is quicker than call by call: a step of
    /// training. The results are the same. Whatever waits for the device in it (an upload, a download) cuts it into pieces.
    ///
    /// # Errors
    /// Those of `work`, and the device's.
    fn at_once<R>(&self, work: impl FnOnce() -> Result<R>) -> Result<R> {
        work()
    }

    /// Copies `host` to the device.
    fn upload<T: Plain>(&self, host: &[T]) -> Result<Self::Buffer<T>>;
    /// The same of bytes that the host keeps as they are: a device that works in the machine's memory reads them where they lie.
    fn share(&self, host: &Arc<Vec<u8>>) -> Result<Self::Buffer<u8>> {
        self.upload(host)
    }
    /// Copies a buffer to the host, after all work that writes it.
    fn download<T: Plain>(&self, buffer: &Self::Buffer<T>) -> Result<Vec<T>>;
    /// A copy that is on its way to the host: work that is asked for after this is not waited for by who wants the numbers.
    fn download_later<T: Plain>(&self, buffer: &Self::Buffer<T>) -> Result<Later<T>> {
        let values = self.download(buffer)?;
        Ok(Later::new(move || Ok(values.clone())))
    }
    /// Elements of a buffer.
    fn len<T: Plain>(&self, buffer: &Self::Buffer<T>) -> usize;
    /// A buffer of `len` times `value`.
    fn fill<T: Plain>(&self, len: usize, value: T) -> Result<Self::Buffer<T>>;
    /// Activations as accumulators, exactly.
    fn widen(&self, x: &Data<Self>) -> Result<Wide<Self>>;
    /// Accumulators rounded to activations.
    fn narrow(&self, x: &Wide<Self>) -> Result<Data<Self>>;
}

/// Memory of a device's own, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All that it has.
    pub total: u64,
    /// What can still be handed out.
    pub free: u64,
    /// The most that this process has had of it at once.
    pub peak: u64,
}

/// Numbers on their way to the host, see [`Device::download_later`].
pub struct Later<T>(Box<dyn Fn() -> Result<Vec<T>> + Send + Sync>);

impl<T> Later<T> {
    /// Numbers that `wait` waits for, as often as they are asked for.
    pub fn new(wait: impl Fn() -> Result<Vec<T>> + Send + Sync + 'static) -> Self {
        Later(Box::new(wait))
    }

    /// The numbers, once they are there.
    ///
    /// # Errors
    /// What the work that writes them has failed with.
    pub fn get(&self) -> Result<Vec<T>> {
        self.0()
    }
}

impl<T> Debug for Later<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Later")
    }
}

/// The number in a buffer that must hold one; `what` it is of is for the error.
pub(crate) fn download_one<B: Device, T: Plain>(backend: &B, what: &str, buffer: &B::Buffer<T>) -> Result<T> {
    one(what, &backend.download(buffer)?)
}

/// The number of a list that must hold one; `what` it is of is for the error.
pub(crate) fn one<T: Plain>(what: &str, numbers: &[T]) -> Result<T> {
    match *numbers {
        [number] => Ok(number),
        _ => Err(Error::invalid(format!("numbers of {what}"), numbers.len(), "must be one")),
    }
}
