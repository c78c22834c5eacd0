//! Stored bytes to normalised activations.

use crate::element::Real;
use crate::image::{Border, ImageSpec, SampleView};

use super::conv2d::triples;

/// The samples cut from the images, see [`SampleView`].
pub(super) fn load<A: Real>(spec: &ImageSpec, bytes: &[u8], samples: &[SampleView]) -> Vec<A> {
    let mut out = Vec::with_capacity(samples.len() * spec.bytes());
    for sample in samples {
        let image = &bytes[sample.index as usize * spec.bytes()..][..spec.bytes()];
        let [top, left, bottom, right] = sample.cutout.map(usize::from);
        for (y, x, c) in triples([spec.height, spec.width, spec.channels]) {
            let cut = (top..bottom).contains(&y) && (left..right).contains(&x);
            out.push(if cut { A::zero() } else { normalised(spec, c, byte(spec, image, sample, y, x, c)) });
        }
    }
    out
}

/// The stored byte that output pixel (y, x) shows.
fn byte(spec: &ImageSpec, image: &[u8], sample: &SampleView, y: usize, x: usize, c: usize) -> u8 {
    let x = if sample.flip { spec.width - 1 - x } else { x };
    let y = within(y as i64 + i64::from(sample.offset[0]), spec.height, spec.border);
    let x = within(x as i64 + i64::from(sample.offset[1]), spec.width, spec.border);
    match (y, x) {
        (Some(y), Some(x)) => image[(y * spec.width + x) * spec.channels + c],
        _ => 0,
    }
}

/// Position `i` on an axis of `size` pixels; none where the border shows.
fn within(i: i64, size: usize, border: Border) -> Option<usize> {
    let last = size as i64 - 1;
    match border {
        Border::Zero => (0..=last).contains(&i).then_some(i as usize),
        Border::Reflect if last == 0 => Some(0),
        Border::Reflect => {
            let i = i.rem_euclid(2 * last); // there and back
            Some(i.min(2 * last - i) as usize)
        }
    }
}

fn normalised<A: Real>(spec: &ImageSpec, c: usize, byte: u8) -> A {
    let [byte, mean, std] = [f32::from(byte), spec.mean[c], spec.std[c]].map(|v| A::from_f64(f64::from(v)));
    (byte / A::from_f64(255.0) - mean) / std
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflection_does_not_repeat_the_edge() {
        let reflected: Vec<_> = (-7..8).map(|i| within(i, 4, Border::Reflect).unwrap()).collect();
        assert_eq!(reflected, [1, 0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        assert_eq!(within(-5, 1, Border::Reflect), Some(0));
        assert_eq!(within(-1, 4, Border::Zero), None);
        assert_eq!(within(4, 4, Border::Zero), None);
    }

    #[test]
    fn one_row_shifted_mirrored_and_cut() {
        let spec = ImageSpec {
            height: 1,
            width: 4,
            channels: 1,
            border: Border::Zero,
            mean: vec![0.0],
            std: vec![1.0 / 255.0],
        };
        let bytes = [9, 9, 9, 9, 10, 20, 30, 40];
        let load = |sample| load::<f64>(&spec, &bytes, &[sample]).iter().map(|v| v.round()).collect::<Vec<_>>();
        assert_eq!(load(SampleView::plain(1)), [10.0, 20.0, 30.0, 40.0]);
        assert_eq!(load(SampleView { offset: [0, 1], ..SampleView::plain(1) }), [20.0, 30.0, 40.0, 0.0]);
        // Mirrored first, then shifted: output x reads 3 - x + 1.
        let flipped = SampleView { offset: [0, 1], flip: true, ..SampleView::plain(1) };
        assert_eq!(load(flipped), [0.0, 40.0, 30.0, 20.0]);
        let cut = SampleView { cutout: [0, 1, 1, 3], ..SampleView::plain(1) };
        assert_eq!(load(cut), [10.0, 0.0, 0.0, 40.0]);
    }
}
