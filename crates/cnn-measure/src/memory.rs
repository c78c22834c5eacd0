//! What a network takes of a CPU's memory: its steps are gone through on a backend that computes nothing, see [`Cpu::idle`].

use cnn_core::nn::parameters;
use cnn_core::{Device, Frozen, Result, Shape, Tensor};
use cnn_cpu::{Cpu, CpuElement};
use cnn_models::{Arch, Model};

use crate::networks::Training;

/// Steps after which nothing more is taken: the fourth finds all that it asks for.
const STEPS: u32 = 4;

/// What buffers take at most in a training, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Until its last step.
    pub steps: u64,
    /// The evaluation behind that counted too.
    pub evaluated: u64,
}

/// A network, and how it is run.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// Which one.
    pub arch: Arch,
    /// Height, width and channels.
    pub image: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// Threads: each works in memory of its own.
    pub threads: usize,
}

impl Network {
    /// Bytes that buffers take at most when it trains by SGD with momentum in steps of `batch` images and is evaluated on `evaluated`
    /// at a time: weights, gradients, momentum, activations, what operations work in, and blocks that wait to be used again.
    ///
    /// # Errors
    /// Images that the network cannot take, and more than can be addressed.
    pub fn training<T: CpuElement>(&self, batch: usize, evaluated: usize) -> Result<Held> {
        let Network { arch, image, classes, threads } = *self;
        let cpu = Cpu::<T>::idle(threads)?;
        let model = arch.build(&cpu, 0, image, classes)?;
        let kept = kept(&model);
        let mut training = Training::of(&cpu, model, images(&cpu, batch, image)?, vec![0; batch])?;
        (0..STEPS).try_for_each(|_| training.step())?;
        let steps = cpu.most_held() + kept;
        training.freeze()?.run(images(&cpu, evaluated, image)?)?;
        Ok(Held { steps, evaluated: cpu.most_held() + kept })
    }

    /// The same where it answers for `batch` images at a time, frozen.
    ///
    /// # Errors
    /// As [`Network::training`].
    pub fn inference<T: CpuElement>(&self, batch: usize) -> Result<u64> {
        let Network { arch, image, classes, threads } = *self;
        let cpu = Cpu::<T>::idle(threads)?;
        let mut model = arch.build(&cpu, 0, image, classes)?;
        let frozen = Frozen::new(&cpu, &mut *model, &image)?;
        let kept = kept(&model);
        drop(model);
        for _ in 0..STEPS {
            frozen.run(images(&cpu, batch, image)?)?;
        }
        Ok(cpu.most_held() + kept)
    }
}

/// Bytes that a process keeps of the host's copies of weights, which are gone: an allocator gives memory back beyond twice the largest
/// piece of it that it has had (`mallopt(3)`, M_TRIM_THRESHOLD), and one more piece lies between others, as was measured.
fn kept<T: CpuElement>(model: &Model<Cpu<T>>) -> u64 {
    let largest = parameters(model).iter().map(|parameter| parameter.shape().numel()).max().unwrap_or(0);
    3 * ((largest * size_of::<f32>()) as u64).min(32 << 20)
}

fn images<T: CpuElement>(cpu: &Cpu<T>, count: usize, image: [usize; 3]) -> Result<Tensor<Cpu<T>>> {
    let [height, width, channels] = image;
    let shape = Shape::new(&[count, height, width, channels])?;
    Tensor::from_data(cpu, shape, cpu.fill(shape.numel(), T::default())?)
}
