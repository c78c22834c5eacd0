//! From a loader's batches to tensors: the stored bytes are uploaded once if they are all resident.

use cnn_core::image::{Border, ImageSpec};
use cnn_core::{Backend, Shape, Tensor};
use cnn_data::{Batch, BatchBytes, ImageSet};

use crate::Result;

/// Turns batches of one set of images into normalised tensors.
pub(crate) struct Feed<B: Backend> {
    spec: ImageSpec,
    resident: Option<B::Buffer<u8>>,
}

impl<B: Backend> Feed<B> {
    /// A feed of images that are normalised by `mean` and `std`.
    pub(crate) fn new(images: &ImageSet, border: Border, mean: &[f32], std: &[f32]) -> Self {
        let [height, width, channels] = images.size();
        let spec = ImageSpec { height, width, channels, border, mean: mean.to_vec(), std: std.to_vec() };
        Feed { spec, resident: None }
    }

    /// The batch as \[N, H, W, C\].
    pub(crate) fn images(&mut self, backend: &B, images: &ImageSet, batch: &Batch) -> Result<Tensor<B>> {
        let data = match (&batch.bytes, &mut self.resident) {
            (BatchBytes::Resident, Some(bytes)) => backend.load_images(&self.spec, bytes, &batch.views)?,
            (BatchBytes::Resident, resident @ None) => {
                let bytes = backend.upload(&images.resident_bytes().unwrap_or_default())?;
                backend.load_images(&self.spec, resident.insert(bytes), &batch.views)?
            }
            (BatchBytes::Decoded(bytes), _) => {
                backend.load_images(&self.spec, &backend.upload(bytes)?, &batch.views)?
            }
        };
        let ImageSpec { height, width, channels, .. } = self.spec;
        Ok(Tensor::from_data(backend, Shape::new(&[batch.views.len(), height, width, channels])?, data)?)
    }
}
