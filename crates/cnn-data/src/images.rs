//! Where images come from: the trait that a source of images implements, and the sources of this crate.

use crate::Result;
use crate::decode::{check_file, decode_within, decoding_bytes};
use crate::memory::Memory;
use crate::preprocess::Preprocess;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Labelled images of one size, each of which can be had at any time and by any thread.
///
/// A program's own source, such as a data base or a camera's archive, implements it and is made a set by
/// [`ImageSet::new`](crate::ImageSet::new).
pub trait Images: fmt::Debug + Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Height, width and channels (1 or 3) of every image, as its bytes are.
    fn size(&self) -> [usize; 3];

    /// Class of image `i`, which is below [`Images::len`]. Not asked of a source that is made a set of
    /// [several labels](crate::ImageSet::multi_label).
    fn label(&self, i: usize) -> u32;

    /// What messages call image `i`.
    fn name(&self, i: usize) -> String {
        format!("image {i}")
    }

    /// Writes the bytes of image `i`, \[H, W, C\], into all of `out`, which has room for exactly one image.
    ///
    /// # Errors
    /// It cannot be read; the message names it.
    fn decode_into(&self, i: usize, out: &mut [u8]) -> Result<()>;

    /// A cheap look at image `i`, so that most of what is wrong with it is known before a training starts.
    ///
    /// # Errors
    /// It cannot be read; the message names it.
    fn check(&self, _i: usize) -> Result<()> {
        Ok(())
    }

    /// The file that image `i` is made of, and of nothing else but how the set is opened; None where it is not, and a
    /// [cache](crate::OpenOptions::cache) has no use.
    fn file(&self, _i: usize) -> Option<&Path> {
        None
    }

    /// Bytes that decoding image `i` takes at most, as far as a look at its header tells; 0 where it cannot be told, or costs nothing.
    fn decoding_bytes(&self, _i: usize) -> u64 {
        0
    }

    /// All images, \[N, H, W, C\], where they are in memory.
    fn bytes(&self) -> Option<&Arc<Vec<u8>>> {
        None
    }
}

/// Images in memory.
pub(crate) struct Stored {
    pub(crate) size: [usize; 3],
    pub(crate) labels: Vec<u32>,
    pub(crate) bytes: Arc<Vec<u8>>,
    pub(crate) origin: Origin,
}

/// What messages call the images in memory.
#[derive(Debug)]
pub(crate) enum Origin {
    /// Records of files, each with the index of its first image.
    Records(Vec<(String, usize)>),
    /// Made by a program, which is called so.
    Made(String),
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Stored").field("size", &self.size).field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Images for Stored {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn size(&self) -> [usize; 3] {
        self.size
    }

    fn label(&self, i: usize) -> u32 {
        self.labels[i]
    }

    fn name(&self, i: usize) -> String {
        match &self.origin {
            Origin::Made(name) => format!("{name}: image {i}"),
            Origin::Records(parts) => {
                let part = parts.partition_point(|&(_, first)| first <= i).saturating_sub(1);
                parts.get(part).map_or_else(String::new, |(file, first)| format!("{file}: record {}", i - first))
            }
        }
    }

    fn decode_into(&self, i: usize, out: &mut [u8]) -> Result<()> {
        let length = out.len();
        out.copy_from_slice(&self.bytes[i * length..][..length]);
        Ok(())
    }

    fn bytes(&self) -> Option<&Arc<Vec<u8>>> {
        Some(&self.bytes)
    }
}

/// Picture files, decoded when they are asked for.
#[derive(Debug)]
pub(crate) struct Files {
    /// Height, width and channels of what a network is shown.
    pub(crate) image: [usize; 3],
    pub(crate) preprocess: Preprocess,
    /// The class of each; none where images have several.
    pub(crate) labels: Vec<u32>,
    pub(crate) paths: Vec<PathBuf>,
    /// What decoding may take, shared by the splits of a set.
    pub(crate) memory: Arc<Memory>,
}

impl Images for Files {
    fn len(&self) -> usize {
        self.paths.len()
    }

    fn size(&self) -> [usize; 3] {
        self.preprocess.stored(self.image)
    }

    fn label(&self, i: usize) -> u32 {
        self.labels[i]
    }

    fn name(&self, i: usize) -> String {
        self.paths[i].display().to_string()
    }

    fn decode_into(&self, i: usize, out: &mut [u8]) -> Result<()> {
        out.copy_from_slice(&decode_within(&self.memory, &self.paths[i], self.image, &self.preprocess)?);
        Ok(())
    }

    fn file(&self, i: usize) -> Option<&Path> {
        Some(&self.paths[i])
    }

    fn decoding_bytes(&self, i: usize) -> u64 {
        decoding_bytes(&self.paths[i], self.image[2]).unwrap_or(0)
    }

    fn check(&self, i: usize) -> Result<()> {
        check_file(&self.paths[i], self.image[2])
    }
}
