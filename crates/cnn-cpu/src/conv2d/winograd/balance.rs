//! How evenly the tasks of ResNet-18's 3x3 convolutions are spread over many threads, by count: whoever is free takes the
//! next task of a parallel loop, and a thread multiplies as fast as any other.

use std::cell::RefCell;

use cnn_core::{Conv2dOptions, Conv2dSpec, Padding};

use super::{Tiling, forward, weight};
use crate::fork_join::in_turn;

/// What it takes `threads` to do all of `tasks`, which are one unit together.
fn makespan(tasks: &[f64], threads: usize) -> f64 {
    assert!((tasks.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    let busy = RefCell::new(vec![0.0f64; threads]);
    let free = || {
        let busy = busy.borrow();
        (0..threads).min_by(|&a, &b| busy[a].total_cmp(&busy[b])).expect("a thread")
    };
    in_turn(tasks.len(), threads, free, |thread, task| busy.borrow_mut()[thread] += tasks[task]);
    busy.into_inner().into_iter().fold(0.0, f64::max)
}

/// How often ResNet-18 has a 3x3 convolution: its input's H and W, channels read and written, stride.
const LAYERS: [(usize, usize, [usize; 2], usize); 7] = [
    (4, 32, [64, 64], 1),
    (1, 32, [64, 128], 2),
    (3, 16, [128, 128], 1),
    (1, 16, [128, 256], 2),
    (3, 8, [256, 256], 1),
    (1, 8, [256, 512], 2),
    (3, 4, [512, 512], 1),
];

/// The part of the threads' time in which they multiply, in the steps of ResNet-18 at this batch.
fn efficiency(batch: usize, lanes: usize, threads: usize) -> f64 {
    let (mut work, mut time) = (0.0, 0.0);
    for (count, side, [read, write], stride) in LAYERS {
        let options = Conv2dOptions::square(3).stride(stride).padding(Padding { top: 1, left: 1, bottom: 1, right: 1 });
        let spec = Conv2dSpec::new([batch, side, side, read], write, &options).unwrap();
        let forward_tiling = Tiling::forward(&spec);
        let passes = [
            (forward_tiling, forward::balance::tasks(&forward_tiling, [read, write], lanes)),
            (Tiling::data(&spec), forward::balance::tasks(&Tiling::data(&spec), [write, read], lanes)),
            (forward_tiling, weight::balance::tasks(&forward_tiling, [read, write], lanes)),
        ];
        for (tiling, tasks) in passes {
            let multiplied = (count * tiling.count() * tiling.stride.values() * read * write) as f64;
            work += multiplied;
            time += multiplied * makespan(&tasks, threads) * threads as f64;
        }
    }
    work / time
}

#[test]
fn a_batch_keeps_many_threads_busy() {
    for (threads, least) in [(2, 0.99), (4, 0.99), (8, 0.98), (16, 0.93), (32, 0.65), (64, 0.38)] {
        for (isa, lanes) in [("avx2", 8), ("avx512", 16)] {
            let part = efficiency(128, lanes, threads);
            println!("ResNet-18, batch 128, {isa}, {threads} threads: {:.1}%", 100.0 * part);
            assert!(part >= least, "{isa}, {threads} threads: {part}");
        }
    }
}
