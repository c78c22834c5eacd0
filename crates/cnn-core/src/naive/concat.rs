//! Channels side by side, and some of them.

use crate::backend::SliceSpec;
use crate::element::Element;

/// The channels of every part, row by row; each part with the number of its channels.
pub(super) fn concat<E: Element>(rows: usize, parts: &[(&[E], usize)]) -> Vec<E> {
    let row = |row: usize| parts.iter().flat_map(move |&(part, channels)| &part[row * channels..][..channels]);
    (0..rows).flat_map(row).copied().collect()
}

/// Some channels of every row.
pub(super) fn slice<E: Element>(spec: &SliceSpec, x: &[E]) -> Vec<E> {
    x.chunks(spec.channels).flat_map(|row| &row[spec.first..][..spec.count]).copied().collect()
}

/// `dy` in the places that it was taken from, and 0 elsewhere.
pub(super) fn slice_backward<E: Element>(spec: &SliceSpec, dy: &[E]) -> Vec<E> {
    let mut dx = vec![E::default(); dy.len() / spec.count * spec.channels];
    for (dx, dy) in dx.chunks_mut(spec.channels).zip(dy.chunks(spec.count)) {
        dx[spec.first..][..spec.count].copy_from_slice(dy);
    }
    dx
}

/// Channels \[groups, members\] of every row as \[members, groups\].
pub(super) fn shuffle<E: Element>(x: &[E], channels: usize, groups: usize) -> Vec<E> {
    let members = channels / groups;
    (0..x.len())
        .map(|i| (i / channels * channels, i % channels))
        .map(|(row, c)| x[row + c % groups * members + c / groups])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // x = torch.arange(12).reshape(2, 6, 1, 1)
    // torch.nn.functional.channel_shuffle(x, 3).flatten(), torch.nn.functional.channel_shuffle(x, 2).flatten()
    #[test]
    fn shuffled_like_pytorch() {
        let x: Vec<f32> = (0u8..12).map(f32::from).collect();
        assert_eq!(shuffle(&x, 6, 3), [0.0, 2.0, 4.0, 1.0, 3.0, 5.0, 6.0, 8.0, 10.0, 7.0, 9.0, 11.0]);
        assert_eq!(shuffle(&x, 6, 2), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0, 6.0, 9.0, 7.0, 10.0, 8.0, 11.0]);
        assert_eq!(shuffle(&shuffle(&x, 6, 3), 6, 2), x);
    }

    #[test]
    fn a_slice_of_what_was_put_together_is_the_part() {
        let (a, b): ([f32; 4], [f32; 2]) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0]);
        let both = concat(2, &[(&a, 2), (&b, 1)]);
        assert_eq!(both, [1.0, 2.0, 5.0, 3.0, 4.0, 6.0]);
        let spec = SliceSpec::new(3, 0..2).unwrap();
        assert_eq!(slice(&spec, &both), a);
        assert_eq!(slice_backward(&spec, &a), [1.0, 2.0, 0.0, 3.0, 4.0, 0.0]);
    }
}
