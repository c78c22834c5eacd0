//! What a network is given of a picture, as numbers and to be looked at.

use std::path::Path;

use cnn_core::backend::{Device, Inference};
use cnn_core::image::{Border, ImageSpec};
use cnn_core::{Backend, Naive, Shape, Tensor};
use cnn_data::decode::MAX_SIDE;
use cnn_data::{Preprocess, decode_image};
use cnn_train::{Result, WeightsInfo};

use crate::picture::Picture;

/// Pixels of the longer side that a reader sees of the image, at least.
const SHOWN: usize = 320;

/// The image as the network reads it.
pub(crate) fn tensor<B: Backend>(backend: &B, info: &WeightsInfo, bytes: &[u8]) -> Result<Tensor<B>> {
    let [h, w, c] = info.image;
    let spec = info.spec(Border::Zero);
    let data = backend.load_images(&spec, &backend.upload(bytes)?, &[spec.whole(0)])?;
    Ok(Tensor::from_data(backend, Shape::new(&[1, h, w, c])?, data)?)
}

/// The pixels that a network which takes `image` reads of the bytes of a picture, \[height, width, channels\] = `stored`.
pub(crate) fn as_seen(bytes: &[u8], stored: [usize; 3], image: [usize; 2]) -> Result<Vec<u8>> {
    let (backend, channels) = (Naive::<f32>::default(), stored[2]);
    // So that each number is a byte again.
    let (mean, std) = (vec![0.0; channels], vec![1.0 / 255.0; channels]);
    let spec = ImageSpec::new(stored, Border::Zero, &mean, &std).with_output(image);
    let values = backend.load_images(&spec, &backend.upload(bytes)?, &[spec.whole(0)])?;
    Ok(backend.download(&backend.widen(&values)?)?.iter().map(|value| value.round() as u8).collect())
}

/// The part of the picture that the network is given, larger if the file has more pixels.
pub(crate) fn shown(path: &Path, bytes: &[u8], image: [usize; 3], preprocess: &Preprocess) -> Result<Picture> {
    let [h, w, c] = image;
    let times = SHOWN.div_ceil(h.max(w));
    let stored @ [rows, columns, _] = preprocess.stored(image);
    let has_more = ::image::image_dimensions(path)
        .is_ok_and(|(width, height)| width as usize >= 2 * columns && height as usize >= 2 * rows);
    let larger = [rows, columns].map(|side| side * times);
    if times <= 1 || !has_more || larger.iter().any(|&side| side > MAX_SIDE as usize) {
        return Ok(Picture::of_bytes(&as_seen(bytes, stored, [h, w])?, [h, w, c]));
    }
    let preprocess = Preprocess { resize: Some(larger), ..*preprocess };
    let image = [h * times, w * times, c];
    let bytes = decode_image(path, image, &preprocess)?;
    Ok(Picture::of_bytes(&as_seen(&bytes, preprocess.stored(image), [image[0], image[1]])?, image))
}
