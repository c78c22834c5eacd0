//! What a GPU or its driver refuses is an error that says what was asked for, and the device goes on being good for the rest.

use std::env::var_os;

use cnn_core::{Device, Error, Inference};
use cnn_cuda::{Cuda, Options, gpus};

use crate::device::{REAL, again, cuda, options};

/// The request and what was free, of memory that was not there.
fn out_of_memory<R>(result: cnn_core::Result<R>) -> (u128, u64) {
    match result.map(|_| ()) {
        Err(Error::OutOfMemory { backend: "cuda", bytes, free: Some(free) }) => (bytes, free),
        other => panic!("{other:?}"),
    }
}

#[test]
fn memory_that_is_not_there_is_named_with_what_is() {
    let Some(cuda) = cuda::<f32>() else { return };
    let before = cuda.own_memory().unwrap().unwrap();
    let too_many = before.total as usize + 1;
    let (bytes, free) = out_of_memory(cuda.fill(too_many, 1u8));
    assert_eq!(bytes, too_many as u128);
    assert!(free <= before.total, "{free} of {}", before.total);
    if var_os(REAL).is_none() {
        assert_eq!(free, before.free, "nobody else has any of it");
    }
    // More than can be addressed, and than a number of 64 bits can say.
    assert_eq!(out_of_memory(cuda.fill(usize::MAX, 1.0f32)).0, usize::MAX as u128 * 4);
    let error = cuda.fill(too_many, 1u8).unwrap_err().to_string();
    assert_eq!(error, format!("cuda: out of memory: {too_many} bytes were asked for, {free} are free"));
    // In the middle of work that is gathered, whose rest is done.
    let one = cuda.upload(&[1.0f32; 4]).unwrap();
    let (mut two, mut refused) = (None, None);
    cuda.at_once(|| {
        two = Some(cuda.add(one.clone(), &one)?);
        refused = Some(cuda.fill(too_many, 1u8).map(|_| ()));
        two = Some(cuda.add(two.take().unwrap(), &one)?);
        Ok(())
    })
    .unwrap();
    assert_eq!(out_of_memory(refused.unwrap()).0, bytes);
    assert_eq!(cuda.download(&two.unwrap()).unwrap(), [3.0; 4]);
}

/// Memory that waits in the list for blocks of other sizes is given back before a request is refused; and what is let go after
/// one was is there again.
#[test]
fn memory_that_waits_is_there_for_requests_of_other_sizes() {
    const SELF: &str = "faults::memory_that_waits_is_there_for_requests_of_other_sizes";
    if var_os("EMULATOR_MEMORY").is_none() {
        let Some((passed, said)) = again(&[SELF], &[("EMULATOR_MEMORY", "8388608")]) else { return };
        return assert!(passed, "{said}");
    }
    const MEBI: usize = 1 << 20;
    let cuda = cuda::<f32>().unwrap();
    let many: Vec<_> = (0..7).map(|_| cuda.fill(MEBI, 0u8).unwrap()).collect();
    let (bytes, free) = out_of_memory(cuda.fill(3 * MEBI, 0u8));
    assert_eq!(bytes, 3 * MEBI as u128);
    assert!(free < 3 * MEBI as u64, "{free}");
    // Uploads, which have memory of their own; 2 MiB go beside the stream, 33 in it.
    for mebibytes in [2, 33] {
        let host = vec![1.0f32; mebibytes * MEBI / 4];
        assert_eq!(out_of_memory(cuda.upload(&host)).0, (mebibytes * MEBI) as u128);
    }
    drop(many);
    let numbers = cuda.fill(3 * MEBI, 7u8).unwrap();
    assert!(cuda.download(&numbers).unwrap().iter().all(|&number| number == 7));
}

/// A kernel that was compiled for fewer threads than it is launched with.
#[test]
fn a_launch_that_the_driver_refuses_is_named_with_its_grid() {
    const SELF: &str = "faults::a_launch_that_the_driver_refuses_is_named_with_its_grid";
    if var_os("EMULATOR_PATCH").is_none() {
        let folder = tempfile::tempdir().unwrap();
        let [patch, cache] = ["patch", "kernels"].map(|name| folder.path().join(name).display().to_string());
        std::fs::write(&patch, "elementwise.cu\tKERNEL(256) add(\tKERNEL(128) add(\n").unwrap();
        let variables = [("EMULATOR_PATCH", patch.as_str()), ("CNN_CUDA_CACHE", cache.as_str())];
        let Some((passed, said)) = again(&[SELF], &variables) else { return };
        return assert!(passed, "{said}");
    }
    let cuda = cuda::<f32>().unwrap();
    let one = cuda.upload(&[1.0f32; 5000]).unwrap();
    let words = "GPU 0 (emulated GPU): kernel add was not launched (grid [5, 1, 1], 256 threads, 0 bytes of shared memory): \
                 CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (too many resources requested for launch)";
    let refused = |result: cnn_core::Result<()>| match result {
        Err(Error::Device { backend: "cuda", message }) => assert_eq!(message, words),
        other => panic!("{other:?}"),
    };
    refused(cuda.add(one.clone(), &one).map(|_| ()));
    refused(cuda.at_once(|| cuda.add(one.clone(), &one).map(|_| ())));
    // That was the launch's fault, and not the device's.
    let two = cuda.fill(3, 2.0f32).unwrap();
    assert_eq!((cuda.download(&one).unwrap(), cuda.download(&two).unwrap()), (vec![1.0; 5000], vec![2.0; 3]));
}

/// A GPU of this capability, which the kernels do or do not run on.
#[test]
fn a_gpu_is_as_old_as_the_kernels_allow_or_refused() {
    const SELF: &str = "faults::a_gpu_is_as_old_as_the_kernels_allow_or_refused";
    let Some(capability) = var_os("EMULATOR_CAPABILITY") else {
        for capability in ["75", "80", "120"] {
            let Some((passed, said)) = again(&[SELF], &[("EMULATOR_CAPABILITY", capability)]) else { return };
            assert!(passed, "{capability}: {said}");
        }
        return;
    };
    let options = options().unwrap();
    let gpus = gpus().unwrap();
    assert_eq!(gpus.len(), 1);
    if capability != "75" {
        let cuda = Cuda::<f32>::open(&options).unwrap();
        let one = cuda.upload(&[1.0f32; 4]).unwrap();
        assert_eq!(cuda.download(&cuda.add(one.clone(), &one).unwrap()).unwrap(), [2.0; 4]);
        return assert!(gpus[0].is_new_enough());
    }
    assert!(!gpus[0].is_new_enough());
    match Cuda::<f32>::open(&options) {
        Err(Error::Invalid { what, value, rule }) => {
            assert_eq!((what.as_str(), value.as_str()), ("compute capability of GPU 0 (emulated GPU)", "7.5"));
            assert_eq!(rule, "must be at least 8.0: the kernels use its instructions");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_gpu_that_is_not_there_is_named_with_how_many_are() {
    const SELF: &str = "faults::a_gpu_that_is_not_there_is_named_with_how_many_are";
    if options().is_none() {
        return;
    }
    let refused = |ordinal: usize| match Cuda::<f32>::open(&Options::gpu(ordinal)) {
        Err(Error::Invalid { what, value, rule }) => {
            assert_eq!((what.as_str(), value), ("GPU", ordinal.to_string()));
            rule
        }
        other => panic!("{other:?}"),
    };
    if var_os("EMULATOR_GPUS").is_some() {
        assert!(gpus().unwrap().is_empty());
        return assert!(refused(0).starts_with("the driver shows none: "));
    }
    let count = gpus().unwrap().len();
    let rule = format!("must be below {count}, the GPUs that the driver shows");
    assert_eq!([refused(count), refused(usize::MAX)], [rule.clone(), rule]);
    let Some((passed, said)) = again(&[SELF], &[("EMULATOR_GPUS", "0")]) else { return };
    assert!(passed, "{said}");
}
