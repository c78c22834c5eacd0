//! The device: a GPU with its memory and its kernels.

use std::fmt::{Debug, Formatter};
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use cnn_core::backend::check;
use cnn_core::{DType, Error, Plain, Result};
use cudarc::driver::result;

use crate::buffer::Buffer;
use crate::compiler::{Precision, Source};
use crate::conv2d::Tile;
use crate::cubin_cache::CubinCache;
use crate::cublaslt::CublasLt;
use crate::driver::{About, Context};
use crate::element::CudaElement;
use crate::launch::Launch;
use crate::modules::Modules;
use crate::pinned::Pinned;
use crate::pool::{Pool, Usage};
use crate::stream::{Launches, Node};
use crate::uploads::Uploads;

/// A GPU as a device: activations in f32 or bf16, work in one stream. Clones share the GPU, its memory and its kernels.
pub struct Cuda<T: CudaElement>(Arc<Inner>, PhantomData<T>);

// Dropped in this order: what was loaded and allocated before the context.
struct Inner {
    tile: Option<Tile>,
    graphs: bool,
    cublaslt: Option<CublasLt>,
    modules: Modules,
    uploads: Arc<Uploads>,
    pool: Arc<Pool>,
    pinned: Arc<Pinned>,
    context: Arc<Context>,
    /// Held while a pass is recorded: one at a time.
    recording: Mutex<()>,
}

/// What a GPU is opened with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Which GPU, counted as the driver shows them (see `CUDA_VISIBLE_DEVICES`).
    pub ordinal: usize,
    /// The folder for compiled kernels; none for the user's.
    pub cache: Option<PathBuf>,
    /// Convolutions and dense layers in f32 on tensor cores: the inputs of products are rounded to tf32, which keeps 10 bits of
    /// mantissa, and sums are f32. A number is off by 2^-11 of itself at most. Convolutions of each channel by itself, and all
    /// else, stay f32. Off by default.
    pub tf32: bool,
    /// Whether a step or a pass is handed over as a graph where that can be: the results are the same.
    pub graphs: bool,
    /// The tile of products, where their channels allow it: for tests, as each product is given the tile that suits it.
    #[doc(hidden)]
    pub tile: Option<Tile>,
    /// Products in bf16 by warpgroups where the GPU has them, which is of compute capability 9.0: off for tests of the kernels that
    /// all other GPUs are given.
    #[doc(hidden)]
    pub warpgroups: bool,
    /// Dense layers on own kernels also where cuBLASLt is found: for tests.
    #[doc(hidden)]
    pub own_products: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            ordinal: 0,
            cache: None,
            tf32: false,
            graphs: true,
            tile: None,
            warpgroups: true,
            own_products: false,
        }
    }
}

impl Options {
    /// GPU `ordinal`.
    pub fn gpu(ordinal: usize) -> Self {
        Options { ordinal, ..Options::default() }
    }

    /// Keeps compiled kernels in `folder`.
    pub fn cache(self, folder: impl Into<PathBuf>) -> Self {
        Options { cache: Some(folder.into()), ..self }
    }

    /// Whether products of f32 numbers are computed in tf32.
    pub fn tf32(self, tf32: bool) -> Self {
        Options { tf32, ..self }
    }

    /// Hands every operation over by itself if `graphs` is false.
    pub fn graphs(self, graphs: bool) -> Self {
        Options { graphs, ..self }
    }
}

impl<T: CudaElement> Cuda<T> {
    /// The first GPU.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn new() -> Result<Self> {
        Self::open(&Options::default())
    }

    /// A GPU of compute capability 8.0 or later.
    ///
    /// # Errors
    /// The driver or the compiler was not found, with how to get it; there is no such GPU, or it is too old; tf32 for
    /// activations in bf16; cuBLASLt was found and does not start; or what the driver says.
    pub fn open(options: &Options) -> Result<Self> {
        let precision = match (T::DTYPE, options.tf32) {
            (DType::BF16, false) => Precision::Bf16,
            (_, false) => Precision::F32,
            (DType::F32, true) => Precision::Tf32,
            (dtype, true) => {
                return Err(Error::invalid("tf32", true, format!("must be off for activations in {dtype}")));
            }
        };
        let context = Arc::new(Context::open(options.ordinal)?);
        let cache = options.cache.clone().map_or_else(CubinCache::of_the_user, CubinCache::in_folder);
        let about = context.about();
        // The architecture's own instructions have this letter; other GPUs do not run what is compiled with it.
        let letter = if options.warpgroups && about.capability == (9, 0) { "a" } else { "" };
        let modules = Modules::new(context.clone(), cache, precision, about.architecture() + letter);
        let (pool, pinned) = (Arc::new(Pool::new(context.clone())), Arc::new(Pinned::new(context.clone())));
        // In tf32 dense layers are on the own kernels as well, which round as those of convolutions do.
        let own = options.own_products || precision == Precision::Tf32;
        let cublaslt = if own { None } else { CublasLt::open(&context, &pool)? };
        let uploads = Arc::new(Uploads::new(context.clone(), pool.clone(), pinned.clone())?);
        let &Options { tile, graphs, .. } = options;
        let recording = Mutex::default();
        let inner = Inner { tile, graphs, cublaslt, modules, uploads, pool, pinned, context, recording };
        Ok(Cuda(Arc::new(inner), PhantomData))
    }

    /// What the GPU says about itself.
    pub fn about(&self) -> &About {
        self.context().about()
    }

    /// The version of cuBLASLt, which multiplies in dense layers; none where it was not found, and the crate's own kernels do.
    pub fn cublaslt_version(&self) -> Option<String> {
        self.cublaslt().map(CublasLt::version)
    }

    /// What memory was used for so far.
    pub fn memory(&self) -> Usage {
        self.0.pool.usage()
    }

    /// The names of the kernels that were asked for so far: for tests of which one a problem is given to.
    #[doc(hidden)]
    pub fn kernels(&self) -> Vec<&'static str> {
        self.0.modules.used()
    }

    /// How work was handed over so far.
    ///
    /// # Errors
    /// The device was lost.
    pub fn launches(&self) -> Result<Launches> {
        Ok(self.context().stream()?.launches())
    }

    /// Waits for all work so far.
    ///
    /// # Errors
    /// What that work has failed with.
    pub fn synchronise(&self) -> Result<()> {
        self.0.context.synchronise()
    }

    /// The library for matrix products.
    pub(crate) fn cublaslt(&self) -> Option<&CublasLt> {
        self.0.cublaslt.as_ref()
    }

    /// How activations are stored and multiplied.
    pub(crate) fn numbers(&self) -> Precision {
        self.0.modules.precision()
    }

    /// Whether products are those of warpgroups.
    pub(crate) fn has_warpgroups(&self) -> bool {
        self.0.modules.are_specific() && self.numbers() == Precision::Bf16
    }

    /// The tile that was asked for.
    pub(crate) fn tile(&self) -> Option<Tile> {
        self.0.tile
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.0.context
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.0.pool
    }

    /// Whether work is handed over in graphs.
    pub(crate) fn graphs(&self) -> bool {
        self.0.graphs
    }

    /// Held by who records.
    pub(crate) fn recording(&self) -> &Mutex<()> {
        &self.0.recording
    }

    /// A buffer whose contents mean nothing yet.
    pub(crate) fn alloc<U: Plain>(&self, len: usize) -> Result<Buffer<U>> {
        Ok(Buffer::new(self.0.pool.take::<U>(len)?, len))
    }

    /// A copy of `host`, which may be changed or dropped at once.
    pub(crate) fn uploaded<U: Plain>(&self, host: &[U]) -> Result<Buffer<U>> {
        self.0.uploads.upload(host)
    }

    /// Memory of the host for copies that are not waited for.
    pub(crate) fn pinned(&self) -> &Arc<Pinned> {
        &self.0.pinned
    }

    /// A kernel, to be given its arguments.
    pub(crate) fn kernel(&self, source: Source, name: &'static str) -> Result<Launch<'_>> {
        self.kernel_with(source, name, 0)
    }

    /// The same for a kernel that takes `shared` bytes of shared memory, in every call as many, or at most so many.
    pub(crate) fn kernel_with(&self, source: Source, name: &'static str, shared: usize) -> Result<Launch<'_>> {
        let kernel = self.0.modules.kernel(source, name, shared)?;
        Ok(Launch::new(self.context(), kernel, shared))
    }

    /// How many blocks of a kernel, of so many threads, a multiprocessor has room for at once.
    pub(crate) fn resident(&self, source: Source, name: &'static str, shared: usize, threads: usize) -> Result<usize> {
        let kernel = self.0.modules.kernel(source, name, shared)?;
        // SAFETY: the function is a loaded module's.
        let blocks =
            unsafe { result::occupancy::max_active_block_per_multiprocessor(kernel.function, threads as i32, shared) };
        let asked =
            blocks.map_err(|error| self.context().error(format!("kernel {name} was asked for its blocks"), error));
        Ok(usize::try_from(asked?).unwrap_or(0))
    }

    /// Where the changed numbers of `buffer` go: into it, unless another handle shares it.
    pub(crate) fn in_place<U: Plain>(&self, buffer: &mut Buffer<U>) -> Result<Buffer<U>> {
        if buffer.can_change() { Ok(buffer.clone()) } else { self.alloc(buffer.len()) }
    }

    /// Makes `buffer` the only handle to its numbers, by a copy where another shares them.
    pub(crate) fn make_unique<U: Plain>(&self, buffer: &mut Buffer<U>) -> Result<()> {
        if !buffer.can_change() {
            self.0.pool.count_copy();
            let copy = self.alloc(buffer.len())?;
            self.copy(buffer, &copy)?;
            *buffer = copy;
        }
        Ok(())
    }

    /// Copies all numbers of `from` to `to`, which has as many and no other handle.
    pub(crate) fn copy<U: Plain>(&self, from: &Buffer<U>, to: &Buffer<U>) -> Result<()> {
        if from.is_empty() {
            return Ok(());
        }
        check::length("a copy", to.len(), from.len())?;
        // SAFETY: both buffers have as many numbers, and nobody else has a handle to the second.
        let copy = |stream| unsafe { result::memcpy_dtod_async(to.at(), from.at(), from.bytes(), stream) };
        let copied = self.context().stream()?.enqueue(Node::Copy, copy);
        copied.map_err(|error| self.context().error("memory could not be copied", error))
    }
}

impl<T: CudaElement> Clone for Cuda<T> {
    fn clone(&self) -> Self {
        Cuda(self.0.clone(), PhantomData)
    }
}

impl<T: CudaElement> Debug for Cuda<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let about = self.context().about();
        write!(f, "Cuda<{}>(GPU {}, {})", self.numbers(), about.ordinal, about.name)
    }
}
