//! Whether a training step fits into memory, before one is tried: whoever takes more than there is is killed without a word.

use std::fs;
use std::path::{Path, PathBuf};

use cnn_core::backend::Memory;
use cnn_core::graph::{Graph, Op};
use cnn_core::nn::{Module, parameters};
use cnn_core::{Backend, Shape};

use crate::{Error, Result};

/// Bytes that a training step takes at least, beside the weights and the optimiser's state, which are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// Gradients of the weights.
    pub(crate) fixed: u64,
    /// Activations that the way back reads, and two gradients of the largest.
    pub(crate) per_image: u64,
    /// Multiplications of an image on its way forward.
    pub(crate) macs: u64,
}

impl Need {
    /// What a step of `model` takes, from a run on one image.
    pub(crate) fn of<B: Backend>(backend: &B, model: &mut dyn Module<B>, image: [usize; 3]) -> Result<Self> {
        let weights: usize = parameters(&*model).iter().map(|parameter| parameter.shape().numel()).sum();
        let [height, width, channels] = image;
        let graph = Graph::trace(backend, model, Shape::new(&[1, height, width, channels])?)?;
        let outputs = graph.nodes.iter().map(|node| (node, node.shape.numel() as u64));
        let kept = |node: &cnn_core::graph::Node<B>| match node.op {
            Op::Conv2d { .. } | Op::Linear { .. } | Op::MaxPool2d { .. } | Op::AvgPool2d { .. } => true,
            // What is written for others to read.
            Op::AdaptiveAvgPool2d(_)
            | Op::LayerNorm { .. }
            | Op::ScaleChannels
            | Op::Concat
            | Op::SliceChannels(_)
            | Op::ShuffleChannels { .. } => true,
            // What else it leaves is computed again by whoever reads it.
            Op::BatchNorm2d { .. } => node.inputs.len() > 1,
            _ => false,
        };
        let (mut values, mut largest) = (0, 0);
        for (_, numel) in outputs.filter(|(node, _)| kept(node)) {
            values += numel;
            largest = numel.max(largest);
        }
        let per_image = (values + 2 * largest) * size_of::<B::Elem>() as u64;
        let macs = graph.nodes.iter().map(|node| node.op.macs()).sum();
        Ok(Need { fixed: (weights * size_of::<cnn_core::backend::Accum<B>>()) as u64, per_image, macs })
    }

    /// Refuses a batch that takes more than is free.
    ///
    /// # Errors
    /// The batch, what it needs and what there is, and the largest one that would do.
    pub(crate) fn check(&self, batch: usize, free: Option<Free>) -> Result<()> {
        let Some(Free { bytes, limit }) = free else { return Ok(()) };
        let need = self.per_image.saturating_mul(batch as u64).saturating_add(self.fixed);
        if need <= bytes {
            return Ok(());
        }
        let most = bytes.saturating_sub(self.fixed) / self.per_image.max(1);
        let advice = match most {
            0 => "smaller images or a smaller network would do".to_owned(),
            most => format!("a batch of at most {most} would do"), // as the need is at least so much
        };
        let rule =
            format!("a step needs at least {}, and {limit} leaves {}: {advice}", in_words(need), in_words(bytes));
        Err(Error::recipe("batch", batch, rule))
    }
}

/// Gibibytes, or mebibytes where that says more.
fn in_words(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    if mebibytes < 1024.0 { format!("{mebibytes:.2} MiB") } else { format!("{:.2} GiB", mebibytes / 1024.0) }
}

/// Memory that this process may still take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Free {
    pub(crate) bytes: u64,
    /// Whose limit it is.
    pub(crate) limit: &'static str,
}

/// The memory that a device may still take: its own, or where it works in the machine's what this process may take, where
/// the system says so: Linux does.
pub(crate) fn free<B: Backend>(backend: &B) -> Result<Option<Free>> {
    Ok(match backend.own_memory()? {
        Some(Memory { free, .. }) => Some(Free { bytes: free, limit: "the device" }),
        None => free_under(Path::new("/")),
    })
}

fn free_under(root: &Path) -> Option<Free> {
    let limits = [
        (machine(root), "the machine"),
        (control_group(root), "the control group"),
        (address_space(root), "the limit of the address space"),
    ];
    let known = limits.into_iter().filter_map(|(bytes, limit)| bytes.map(|bytes| Free { bytes, limit }));
    known.min_by_key(|free| free.bytes)
}

/// Of the whole machine, what is in use for nothing but speed included.
fn machine(root: &Path) -> Option<u64> {
    Some(1024 * field(&fs::read_to_string(root.join("proc/meminfo")).ok()?, "MemAvailable:")?)
}

/// Of the control groups that this process is in, of either version, and of those around them.
fn control_group(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounted = root.join("sys/fs/cgroup");
    let mut least = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (mount, [limit, used, cached]) = match controllers {
            "" => (mounted.clone(), ["memory.max", "memory.current", "inactive_file"]),
            "memory" => {
                let files = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"];
                (mounted.join("memory"), files)
            }
            _ => continue,
        };
        let mut group: PathBuf = mount.join(path.trim_start_matches('/'));
        while group.starts_with(&mount) {
            let number = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
            // Without a limit the first file holds a word, or a number beyond any memory.
            if let (Some(limit), Some(used)) = (number(limit), number(used)) {
                let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
                let left = limit.saturating_sub(used.saturating_sub(field(&stat, cached).unwrap_or(0)));
                least = Some(least.map_or(left, |least: u64| least.min(left)));
            }
            group.pop();
        }
    }
    least
}

/// Of a limit of the address space, such as that of `ulimit -v`.
fn address_space(root: &Path) -> Option<u64> {
    let limits = fs::read_to_string(root.join("proc/self/limits")).ok()?;
    let limit = field(&limits, "Max address space")?;
    let used = 1024 * field(&fs::read_to_string(root.join("proc/self/status")).ok()?, "VmSize:")?;
    Some(limit.saturating_sub(used))
}

/// The number behind `name` at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cnn_cpu::Cpu;
    use cnn_models::Arch;

    #[test]
    fn the_least_of_all_limits_counts() {
        let place = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = place.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let free = || free_under(place.path()).map(|free| (free.bytes, free.limit));
        assert_eq!(free(), None, "a system that says nothing");
        write("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n");
        assert_eq!(free(), Some((8_192_000, "the machine")));
        write(
            "proc/self/limits",
            "Max cpu time  unlimited  unlimited  seconds\nMax address space  unlimited  unlimited  bytes\n",
        );
        write("proc/self/status", "Name:\tcnn\nVmSize:\t    1000 kB\n");
        assert_eq!(free(), Some((8_192_000, "the machine")));
        write("proc/self/limits", "Max address space         5000000              unlimited            bytes\n");
        assert_eq!(free(), Some((3_976_000, "the limit of the address space")));

        // Version 2: the limit of a group around this one counts too; what is cached of files can be given back.
        write("proc/self/cgroup", "0::/jobs/one\n");
        write("sys/fs/cgroup/jobs/one/memory.max", "max\n");
        write("sys/fs/cgroup/jobs/one/memory.current", "900000\n");
        assert_eq!(free(), Some((3_976_000, "the limit of the address space")));
        write("sys/fs/cgroup/jobs/memory.max", "2000000\n");
        write("sys/fs/cgroup/jobs/memory.current", "1500000\n");
        write("sys/fs/cgroup/jobs/memory.stat", "anon 5\ninactive_file 400000\n");
        assert_eq!(free(), Some((900_000, "the control group")));

        // Version 1.
        write("proc/self/cgroup", "9:cpu:/\n4:memory:/a\n0::/\n");
        write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "700000\n");
        write("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "600000\n");
        write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        write("sys/fs/cgroup/memory/memory.usage_in_bytes", "800000\n");
        assert_eq!(free(), Some((100_000, "the control group")));
    }

    #[test]
    fn a_batch_that_does_not_fit_is_refused_and_one_that_does_is_named() {
        let need = Need { fixed: 1 << 28, per_image: 4 << 20, macs: 0 };
        let free = |bytes| Some(Free { bytes, limit: "the machine" });
        need.check(192, free(1 << 30)).unwrap();
        need.check(1_000_000, None).unwrap();
        assert_eq!(
            need.check(1000, free(1 << 30)).unwrap_err().to_string(),
            "batch 1000: a step needs at least 4.16 GiB, and the machine leaves 1.00 GiB: a batch of at most 192 would do"
        );
        let small = Need { fixed: 3 << 20, per_image: 1 << 18, macs: 0 };
        assert_eq!(
            small.check(40, free(9 << 20)).unwrap_err().to_string(),
            "batch 40: a step needs at least 13.00 MiB, and the machine leaves 9.00 MiB: a batch of at most 24 would do"
        );
        let error = need.check(1, free(1 << 28)).unwrap_err().to_string();
        assert!(error.ends_with("smaller images or a smaller network would do"), "{error}");
        assert!(need.check(usize::MAX, free(u64::MAX - 1)).is_err());
    }

    #[test]
    fn the_estimate_is_near_and_below_what_was_measured() {
        let backend = Cpu::<f32>::with_threads(1).unwrap();
        let mut model = "resnet18".parse::<Arch>().unwrap().build(&backend, 0, [32, 32, 3], 10).unwrap();
        let need = Need::of(&backend, &mut *model, [32, 32, 3]).unwrap();
        let weights = 11_173_962;
        assert_eq!(need.fixed, 4 * weights);
        // A step of 128 images has its peak at 763 MB, weights and velocity included.
        let whole = need.fixed + 8 * weights + 128 * need.per_image;
        assert!((550_000_000..763_000_000).contains(&whole), "{whole}");
    }
}
