//! Stored bytes cropped, flipped and normalised.

use cnn_core::image::{Border, ImageSpec, SampleView};
use cnn_core::rng::{Philox, Purpose};
use cnn_core::{Device, Inference};

use crate::{agree, cpus, read};

#[test]
fn crops_flips_and_holes() {
    for (height, width, channels) in [(1, 1, 1), (1, 4, 3), (5, 1, 1), (5, 7, 3), (32, 32, 3)] {
        let bytes: Vec<u8> = (0..3 * height * width * channels).map(|i| (i * 37 % 251) as u8).collect();
        let mut random = Philox::new(1, Purpose::Test, height as u32, width as u32).stream();
        let mut samples: Vec<SampleView> = (0..40)
            .map(|_| SampleView {
                index: random.below(3),
                offset: [random.below(81) as i32 - 40, random.below(9) as i32 - 4],
                flip: random.below(2) == 1,
                cutout: [0; 4].map(|_: u16| random.below(6) as u16),
            })
            .collect();
        samples.extend([SampleView::plain(0), SampleView { offset: [i32::MIN, i32::MAX], ..SampleView::plain(2) }]);
        for border in [Border::Zero, Border::Reflect] {
            let (mean, std) = (vec![0.4; channels], (1..=channels).map(|c| c as f32 / 4.0).collect());
            let spec = ImageSpec { height, width, channels, border, mean, std };
            agree!((height, width, border), [1e-7, 0.0], |b| {
                let bytes = b.upload(&bytes).unwrap();
                let none = b.load_images(&spec, &bytes, &[]).unwrap();
                vec![read(b, &b.load_images(&spec, &bytes, &samples).unwrap()), read(b, &none)]
            });
        }
    }
}

#[test]
fn an_image_that_is_not_there_is_refused() {
    let b = &cpus().f32[0][0];
    let spec = ImageSpec { height: 2, width: 2, channels: 1, border: Border::Zero, mean: vec![0.0], std: vec![1.0] };
    let bytes = b.upload(&[0u8; 8]).unwrap();
    assert!(b.load_images(&spec, &bytes, &[SampleView::plain(2)]).is_err());
}
