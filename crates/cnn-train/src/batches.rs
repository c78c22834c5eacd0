//! From a loader's batches to tensors on the device: stored bytes are uploaded once, whoever reads them.

use std::sync::{Arc, OnceLock};

use cnn_core::image::ImageSpec;
use cnn_core::{Backend, Shape, Tensor};
use cnn_data::{Batch, BatchBytes, ImageSet};

use crate::Result;

/// Batches of one set of images as normalised tensors on a device.
pub(crate) struct DeviceBatches<B: Backend> {
    backend: B,
    images: ImageSet,
    spec: ImageSpec,
    /// The set's stored bytes on the device, once a batch has needed them.
    stored: Arc<OnceLock<B::Buffer<u8>>>,
}

impl<B: Backend> DeviceBatches<B> {
    /// Batches of `images`, read as `spec` says.
    pub(crate) fn new(backend: &B, images: &ImageSet, spec: ImageSpec) -> Self {
        DeviceBatches { backend: backend.clone(), images: images.clone(), spec, stored: Arc::default() }
    }

    /// Batches of other samples, which may be of the same stored images: these are uploaded once for both.
    pub(crate) fn beside(&self, images: &ImageSet, spec: ImageSpec) -> Self {
        let same = match (self.images.resident_bytes(), images.resident_bytes()) {
            (Some(one), Some(other)) => Arc::ptr_eq(&one, &other),
            _ => false,
        };
        let stored = if same { self.stored.clone() } else { Arc::default() };
        DeviceBatches { backend: self.backend.clone(), images: images.clone(), spec, stored }
    }

    /// The images.
    pub(crate) fn images(&self) -> &ImageSet {
        &self.images
    }

    /// The batch as \[N, H, W, C\].
    pub(crate) fn tensor(&self, batch: &Batch) -> Result<Tensor<B>> {
        let DeviceBatches { backend, images, spec, stored } = self;
        let data = match &batch.bytes {
            BatchBytes::Resident => {
                let bytes = match stored.get() {
                    Some(bytes) => bytes.clone(),
                    None => {
                        let bytes = backend.upload(&images.resident_bytes().unwrap_or_default())?;
                        stored.get_or_init(|| bytes).clone()
                    }
                };
                backend.load_images(spec, &bytes, &batch.views)?
            }
            BatchBytes::Decoded(bytes) => backend.load_images(spec, &backend.upload(bytes)?, &batch.views)?,
        };
        let ImageSpec { output: [height, width], channels, .. } = *spec;
        Ok(Tensor::from_data(backend, Shape::new(&[batch.views.len(), height, width, channels])?, data)?)
    }
}
