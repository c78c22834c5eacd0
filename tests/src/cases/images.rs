//! Stored images cut into samples.

use cnn_core::image::{Border, ImageSpec, Mix, SampleView};
use cnn_core::rng::{Philox, Purpose};
use cnn_core::{Backend, Result};
use proptest::prelude::*;
use proptest::sample::select;

use crate::{Case, Lab};

/// Some images and the samples that are cut from them.
#[derive(Clone, Debug)]
pub struct Images {
    spec: ImageSpec,
    images: u32,
    samples: Vec<SampleView>,
    seed: u32,
}

/// Images of every size, moved in every way.
pub fn images() -> impl Strategy<Value = Images> {
    let offset = || prop_oneof![3 => -5i32..=5, 1 => -100i32..=100, 1 => select(vec![i32::MIN, i32::MAX])];
    let corner = || prop_oneof![4 => 0u16..=20, 1 => Just(u16::MAX)];
    let cutout = prop_oneof![Just([0; 4]), [corner(), corner(), corner(), corner()]];
    let side = || prop_oneof![3 => Just(0u16), 2 => 1u16..=40, 1 => Just(u16::MAX)];
    let sample = (any::<u32>(), [offset(), offset()], [side(), side()], any::<bool>(), cutout)
        .prop_map(|(index, offset, source, flip, cutout)| SampleView { index, offset, source, flip, cutout });
    let samples = proptest::collection::vec(sample, 0..=9);
    let border = prop_oneof![Just(Border::Zero), Just(Border::Reflect)];
    let size = (1usize..=19, 1usize..=19, select(vec![1usize, 3]));
    let output = prop_oneof![1 => Just(None), 1 => [1usize..=19, 1usize..=19].prop_map(Some)];
    (size, output, border, 1u32..=4, samples, any::<u32>()).prop_map(
        |((height, width, channels), output, border, images, mut samples, seed)| {
            samples.iter_mut().for_each(|sample| sample.index %= images);
            let (mean, std) = ([0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616]);
            let spec = ImageSpec::new([height, width, channels], border, &mean[..channels], &std[..channels]);
            let spec = spec.with_output(output.unwrap_or([height, width]));
            Images { spec, images, samples, seed }
        },
    )
}

/// Images of one pixel, row or column, and as large as CIFAR's, with many samples of every kind.
pub fn edges() -> Vec<Images> {
    let sizes = [(1, 1, 1), (1, 4, 3), (5, 1, 1), (5, 7, 3), (32, 32, 3)];
    let case = |(height, width, channels): (usize, usize, usize)| {
        [Border::Zero, Border::Reflect].map(|border| {
            let mut random = Philox::new(1, Purpose::Test, height as u32, width as u32).stream();
            let mut samples: Vec<SampleView> = (0..40)
                .map(|_| SampleView {
                    index: random.below(3),
                    offset: [random.below(81) as i32 - 40, random.below(9) as i32 - 4],
                    flip: random.below(2) == 1,
                    cutout: [0; 4].map(|_: u16| random.below(6) as u16),
                    ..SampleView::plain(0)
                })
                .collect();
            samples.push(SampleView { offset: [i32::MIN, i32::MAX], ..SampleView::plain(2) });
            let std: Vec<f32> = (1..=channels).map(|c| c as f32 / 4.0).collect();
            let spec = ImageSpec::new([height, width, channels], border, &vec![0.4; channels], &std);
            Images { spec, images: 3, samples, seed: 1 }
        })
    };
    sizes.into_iter().flat_map(case).collect()
}

impl Case for Images {
    fn seed(&self) -> u32 {
        self.seed
    }

    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let backend = lab.backend();
        let numel = self.images as usize * self.spec.bytes();
        let bytes: Vec<u8> = (0..numel).map(|_| lab.stream().below(256) as u8).collect();
        let bytes = backend.upload(&bytes)?;
        lab.report("samples", &backend.load_images(&self.spec, &bytes, &self.samples)?)?.close().relative_to(1.0);
        let [height, width] = self.spec.output;
        let size = [height, width, self.spec.channels];
        let x = lab.numbers(self.samples.len() * self.spec.numel());
        let x = lab.data(&x)?;
        let patch = self.samples.first().map_or([0; 4], |sample| sample.cutout);
        for mix in [Mix { size, own: 0.5, patch: [0; 4] }, Mix { size, own: 1.0, patch }, Mix { size, own: 0.3, patch }]
        {
            lab.report("mixed", &lab.backend().mix_images(&mix, &x)?)?.close();
        }
        let part = Mix { size, own: 1.5, patch };
        lab.report_fact("a part above 1 is refused", u8::from(lab.backend().mix_images(&part, &x).is_err()));
        let beyond = [SampleView::plain(self.images)];
        let refused = backend.load_images(&self.spec, &bytes, &beyond).is_err();
        lab.report_fact("an index beyond the images is refused", u8::from(refused));
        Ok(())
    }
}
