//! From a loader's batches to tensors on the device: stored bytes are uploaded once, whoever reads them, or read where they lie.

use std::fmt::{Debug, Formatter};
use std::sync::{Arc, OnceLock};

use cnn_core::image::{ImageSpec, SampleView};
use cnn_core::{Backend, Shape, Tensor};
use cnn_data::{Batch, BatchBytes, ImageSet};

use crate::{Error, Result};

/// Batches of one set of images as normalised tensors on a device.
///
/// ```
/// use cnn_core::image::{Border, ImageSpec};
/// use cnn_core::{Naive, Pass};
/// use cnn_data::{Augment, ImageSet, Loader, LoaderOptions};
/// use cnn_train::DeviceBatches;
///
/// # fn main() -> cnn_train::Result<()> {
/// let images = ImageSet::from_bytes("made", [4, 4, 1], &["dark", "light"], vec![0, 1, 1], vec![7; 48])?;
/// let backend = Naive::<f32>::default();
/// let spec = ImageSpec::new(images.size(), Border::Zero, &[0.5], &[0.25]);
/// let batches = DeviceBatches::new(&backend, &images, spec);
/// for batch in Loader::new(images, LoaderOptions::new(2))?.epoch(0, &Augment::NONE) {
///     let batch = batch?;
///     let x = Pass::train(&backend, 0).input(batches.tensor(&batch)?)?; // and batch.labels
///     assert_eq!(x.shape().dims(), [batch.len(), 4, 4, 1]);
/// }
/// # Ok(())
/// # }
/// ```
pub struct DeviceBatches<B: Backend> {
    backend: B,
    images: ImageSet,
    spec: ImageSpec,
    /// The set's stored bytes on the device, once a batch has needed them.
    stored: Arc<OnceLock<B::Buffer<u8>>>,
}

impl<B: Backend> Debug for DeviceBatches<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceBatches").field("images", &self.images).field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl<B: Backend> DeviceBatches<B> {
    /// Batches of `images`, read as `spec` says.
    pub fn new(backend: &B, images: &ImageSet, spec: ImageSpec) -> Self {
        DeviceBatches { backend: backend.clone(), images: images.clone(), spec, stored: Arc::default() }
    }

    /// Batches of other samples, which may be of the same stored images: these are uploaded once for both.
    pub fn beside(&self, images: &ImageSet, spec: ImageSpec) -> Self {
        let same = match (self.images.resident_bytes(), images.resident_bytes()) {
            (Some(one), Some(other)) => Arc::ptr_eq(&one, &other),
            _ => false,
        };
        let stored = if same { self.stored.clone() } else { Arc::default() };
        DeviceBatches { backend: self.backend.clone(), images: images.clone(), spec, stored }
    }

    /// The images.
    pub fn images(&self) -> &ImageSet {
        &self.images
    }

    /// The batch, of a loader of these images, as \[N, H, W, C\].
    ///
    /// # Errors
    /// A batch whose views are not of these images, and those of the device.
    pub fn tensor(&self, batch: &Batch) -> Result<Tensor<B>> {
        self.seen(batch, &batch.views)
    }

    /// The same, seen by other views of the batch's images.
    pub(crate) fn seen(&self, batch: &Batch, views: &[SampleView]) -> Result<Tensor<B>> {
        let DeviceBatches { backend, images, spec, stored } = self;
        let data = match &batch.bytes {
            BatchBytes::Resident => {
                let bytes = match stored.get() {
                    Some(bytes) => bytes.clone(),
                    None => {
                        let resident = images.resident_bytes().ok_or_else(|| {
                            Error::recipe(
                                "batch",
                                "of stored images",
                                "must be of a loader of this set, which has none",
                            )
                        })?;
                        let bytes = backend.share(&resident)?;
                        stored.get_or_init(|| bytes).clone()
                    }
                };
                backend.load_images(spec, &bytes, views)?
            }
            BatchBytes::Decoded(bytes) => backend.load_images(spec, &backend.upload(bytes)?, views)?,
        };
        let ImageSpec { output: [height, width], channels, .. } = *spec;
        Ok(Tensor::from_data(backend, Shape::new(&[views.len(), height, width, channels])?, data)?)
    }
}
