//! Training and inference in steady state ask the heap for nothing large: buffers come from the backend's free list.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use cnn_core::nn::Module;
use cnn_core::optim::{Method, Optimizer, OptimizerOptions};
use cnn_core::{Frozen, Pass, Real, Tensor, bf16};
use cnn_cpu::{Cpu, CpuElement};
use cnn_models::{ResNet, ResNetConfig, Stem};

/// What counts as large.
const LARGE: usize = 4096;

static LARGE_COUNT: AtomicUsize = AtomicUsize::new(0);
static SMALL_COUNT: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counted on all threads.
struct Counting;

// SAFETY: every call goes to the system's allocator with the caller's own arguments; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let count = if layout.size() >= LARGE { &LARGE_COUNT } else { &SMALL_COUNT };
        count.fetch_add(1, Relaxed);
        // SAFETY: the caller's layout, under the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, that is from the system, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One step of ResNet-18 on `images`.
fn step<T: CpuElement>(
    backend: &Cpu<T>,
    model: &mut ResNet<Cpu<T>>,
    optimizer: &mut Optimizer<Cpu<T>>,
    images: &[T::Accum],
    n: u32,
) {
    let labels: Vec<u32> = (0..images.len() as u32 / (32 * 32 * 3)).map(|i| i % 10).collect();
    let pass = Pass::train(backend, 0).at_step(n);
    let x = Tensor::from_slice(backend, [labels.len(), 32, 32, 3], images).unwrap();
    let loss = model.call(&pass.input(x).unwrap()).unwrap().cross_entropy(&labels, 0.0).unwrap();
    let gradients = loss.backward().unwrap();
    optimizer.step(0.01, model, &gradients).unwrap();
}

/// Large and small allocations of `body`.
fn allocations(body: impl FnOnce()) -> [usize; 2] {
    LARGE_COUNT.store(0, Relaxed);
    SMALL_COUNT.store(0, Relaxed);
    body();
    [LARGE_COUNT.load(Relaxed), SMALL_COUNT.load(Relaxed)]
}

/// One test, as the counts are those of all threads.
#[test]
fn what_is_repeated_allocates_nothing_large() {
    repeated::<f32>();
    repeated::<bf16>();
}

fn repeated<T: CpuElement>() {
    let backend = Cpu::<T>::with_threads(2).unwrap();
    // The crate matrixmultiply, which serves the dense layer there, allocates in every call.
    let most = if backend.isa().to_string() == "portable" { 64 } else { 0 };
    let mut model = ResNet::new(&backend, 0, &ResNetConfig::resnet18(Stem::Cifar), 3, 10).unwrap();
    let options = OptimizerOptions::new(Method::NESTEROV).weight_decay(5e-4);
    let mut optimizer = Optimizer::new(&backend, &model, options).unwrap();
    let images: Vec<_> = (0..4 * 32 * 32 * 3).map(|i| T::Accum::from_f64(f64::from(i % 251) / 251.0)).collect();
    let counts: Vec<_> =
        (0..6).map(|n| allocations(|| step(&backend, &mut model, &mut optimizer, &images, n))).collect();
    println!("allocations a step (large, small): {counts:?}");
    for [large, small] in &counts[3..] {
        assert!(*large <= most, "allocations of {LARGE} bytes or more by step: {counts:?}");
        assert!(*small < 2000, "smaller allocations by step: {counts:?}");
    }

    // Batch sizes in turn: nothing large from the second run of each on.
    let frozen = Frozen::new(&backend, &mut model, &[32, 32, 3]).unwrap();
    let inputs = [4, 1, 2].map(|n| Tensor::from_slice(&backend, [n, 32, 32, 3], &images[..n * 32 * 32 * 3]).unwrap());
    let runs = || inputs.each_ref().map(|x| allocations(|| drop(frozen.run(x.clone()).unwrap())));
    let counts = [runs(), runs(), runs()];
    println!("allocations of runs of 4, 1 and 2 images (large, small): {counts:?}");
    for [large, small] in counts[1..].as_flattened() {
        assert!(*large <= most, "allocations of {LARGE} bytes or more by run: {counts:?}");
        // About 90; a few more or less by which thread takes what.
        assert!(*small < 150, "smaller allocations by run: {counts:?}");
    }
}
