//! Stored bytes to normalised activations.

use crate::element::Real;
use crate::image::{Border, ImageSpec, Mix, SampleView};

use super::conv2d::triples;

/// The samples cut from the images, see [`SampleView`].
pub(super) fn load<A: Real>(spec: &ImageSpec, bytes: &[u8], samples: &[SampleView]) -> Vec<A> {
    let [height, width] = spec.output;
    let mut out = Vec::with_capacity(samples.len() * spec.numel());
    for sample in samples {
        let image = &bytes[sample.index as usize * spec.bytes()..][..spec.bytes()];
        let [top, left, bottom, right] = sample.cutout.map(usize::from);
        for (y, x, c) in triples([height, width, spec.channels]) {
            let cut = (top..bottom).contains(&y) && (left..right).contains(&x);
            out.push(if cut { A::zero() } else { normalised(spec, c, value(spec, image, sample, y, x, c)) });
        }
    }
    out
}

/// What output pixel (y, x) shows, in bytes.
fn value(spec: &ImageSpec, image: &[u8], sample: &SampleView, y: usize, x: usize, c: usize) -> f64 {
    let x = if sample.flip { spec.output[1] - 1 - x } else { x };
    let shown = sample.shown(spec.output);
    let mut sum = 0.0;
    for (row, row_part) in taps(y, spec.output[0], shown[0]) {
        for (column, column_part) in taps(x, spec.output[1], shown[1]) {
            let y = within(row as i64 + i64::from(sample.offset[0]), spec.stored[0], spec.border);
            let x = within(column as i64 + i64::from(sample.offset[1]), spec.stored[1], spec.border);
            if let (Some(y), Some(x)) = (y, x) {
                sum += row_part * column_part * f64::from(image[(y * spec.stored[1] + x) * spec.channels + c]);
            }
        }
    }
    sum
}

/// The two pixels of `shown` between which output pixel `at` of `size` lies, and how much of each it takes.
fn taps(at: usize, size: usize, shown: usize) -> [(usize, f64); 2] {
    // (at + 1/2) * shown / size - 1/2 as a whole number of 2 * size-ths: far out, a fraction in f64 would lose digits.
    let unit = 2 * size;
    let place = ((2 * at + 1) * shown).saturating_sub(size).min((shown - 1) * unit);
    let (first, part) = (place / unit, (place % unit) as f64 / unit as f64);
    [(first, 1.0 - part), ((first + 1).min(shown - 1), part)]
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

fn normalised<A: Real>(spec: &ImageSpec, c: usize, byte: f64) -> A {
    let [byte, mean, std] = [byte, f64::from(spec.mean[c]), f64::from(spec.std[c])].map(A::from_f64);
    (byte / A::from_f64(255.0) - mean) / std
}

/// Every image mixed with the one before it, the first with the last.
pub(super) fn mix<A: Real>(mix: &Mix, x: &[A]) -> Vec<A> {
    let Mix { size: size @ [height, width, channels], own, patch } = *mix;
    let [top, left, bottom, right] = patch.map(usize::from);
    let image = (height * width * channels).max(1);
    let images = x.len() / image;
    let mut out = Vec::with_capacity(x.len());
    for n in 0..images {
        let (this, other) = (&x[n * image..], &x[(n + images - 1) % images * image..]);
        for (i, (row, column, _)) in triples(size).enumerate() {
            let inside = (top..bottom).contains(&row) && (left..right).contains(&column);
            let mixed = own * this[i].as_f64() + (1.0 - own) * other[i].as_f64();
            out.push(if inside { other[i] } else { A::from_f64(mixed) });
        }
    }
    out
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
    fn every_image_is_mixed_with_the_one_before_it() {
        let x = [[1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0], [0.0, 0.0, 0.0, 100.0]];
        let of = |own, patch| mix::<f64>(&Mix { size: [2, 2, 1], own, patch }, x.as_flattened());
        assert_eq!(of(0.75, [0; 4]), [0.75, 1.5, 2.25, 28.0, 7.75, 15.5, 23.25, 31.0, 2.5, 5.0, 7.5, 85.0]);
        assert_eq!(of(1.0, [1, 0, 2, 2]), [1.0, 2.0, 0.0, 100.0, 10.0, 20.0, 3.0, 4.0, 0.0, 0.0, 30.0, 40.0]);
        assert_eq!(of(0.5, [0, 1, 9, 9])[..4], [0.5, 0.0, 1.5, 100.0]);
        assert_eq!(
            mix::<f64>(&Mix { size: [2, 2, 1], own: 0.25, patch: [0; 4] }, &x[0]),
            x[0],
            "one image, with itself"
        );
    }

    #[test]
    fn one_row_shifted_mirrored_and_cut() {
        let spec = ImageSpec::new([1, 4, 1], Border::Zero, &[0.0], &[1.0 / 255.0]);
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

    /// The values of `torchvision.transforms.functional.resized_crop(.., antialias=False)`, worked out by hand.
    #[test]
    fn a_rectangle_is_stretched_between_the_centres_of_pixels() {
        let load = |stored: [usize; 2], output: [usize; 2], bytes: &[u8], sample: SampleView| {
            let [height, width] = stored;
            let spec = ImageSpec::new([height, width, 1], Border::Zero, &[0.0], &[1.0 / 255.0]).with_output(output);
            load::<f64>(&spec, bytes, &[sample]).iter().map(|v| (v * 1e3).round() / 1e3).collect::<Vec<_>>()
        };
        let view = |offset, source| SampleView { offset, source, ..SampleView::default() };
        let row = [10, 20, 30, 40];
        // Twice as wide: places -0.25 (the edge), 0.25, 0.75, 1.25.
        assert_eq!(load([1, 4], [1, 4], &row, view([0, 1], [0, 2])), [20.0, 22.5, 27.5, 30.0]);
        // Half as wide: places 0.5 and 2.5.
        assert_eq!(load([1, 4], [1, 2], &row, view([0, 0], [0, 4])), [15.0, 35.0]);
        assert_eq!(load([1, 4], [1, 2], &row, SampleView { flip: true, ..view([0, 0], [0, 4]) }), [35.0, 15.0]);
        // Cut from the middle, one to one.
        assert_eq!(load([1, 4], [1, 2], &row, view([0, 1], [0, 0])), [20.0, 30.0]);
        // 2x2 to 3x3: the middle is the mean of all.
        let nine = load([2, 2], [3, 3], &[0, 30, 60, 90], view([0, 0], [2, 2]));
        assert_eq!(nine, [0.0, 15.0, 30.0, 30.0, 45.0, 60.0, 60.0, 75.0, 90.0]);
        // What the rectangle has outside the image is the border.
        assert_eq!(load([1, 4], [1, 4], &row, view([0, 3], [0, 2])), [40.0, 30.0, 10.0, 0.0]);
        assert_eq!(load([1, 4], [1, 1], &row, view([0, 2], [1, 1])), [30.0]);
    }
}
