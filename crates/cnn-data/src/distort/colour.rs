//! Colours, byte by byte, as Pillow's ImageEnhance and ImageOps compute them.

use crate::luma::luma;

/// `from` + `part` of the way to `to`, which may lie beyond either, cut to a byte.
fn blend(from: u8, to: u8, part: f32) -> u8 {
    (f32::from(from) + part * (f32::from(to) - f32::from(from))) as u8
}

/// Away from black by `factor`: 0 is black.
pub(super) fn brightness(bytes: &mut [u8], factor: f64) {
    bytes.iter_mut().for_each(|byte| *byte = blend(0, *byte, factor as f32));
}

/// Away from the mean grey of the picture.
pub(super) fn contrast(bytes: &mut [u8], channels: usize, factor: f64) {
    let pixels = bytes.len() / channels;
    let sum: u64 = bytes.chunks_exact(channels).map(|pixel| u64::from(luma(pixel))).sum();
    let mean = (sum as f64 / pixels.max(1) as f64 + 0.5) as u8;
    bytes.iter_mut().for_each(|byte| *byte = blend(mean, *byte, factor as f32));
}

/// Away from the grey of each pixel. A grey picture stays as it is.
pub(super) fn saturation(bytes: &mut [u8], channels: usize, factor: f64) {
    for pixel in bytes.chunks_exact_mut(channels) {
        let grey = luma(pixel);
        pixel.iter_mut().for_each(|byte| *byte = blend(grey, *byte, factor as f32));
    }
}

/// Away from the picture smoothed by 1 1 1, 1 5 1, 1 1 1 of 13. Pixels at the edge are not smoothed.
pub(super) fn sharpness(bytes: &mut [u8], [height, width, channels]: [usize; 3], factor: f64) {
    let before = bytes.to_vec();
    let row = width * channels;
    for y in 1..height.saturating_sub(1) {
        for at in (y * row + channels)..((y + 1) * row - channels) {
            let around = |at: usize| [at - channels, at, at + channels].map(|at| u32::from(before[at]));
            let sum: u32 = [at - row, at, at + row].into_iter().flat_map(around).sum();
            let smooth = (sum + 4 * u32::from(before[at])) as f32 / 13.0 + 0.5;
            bytes[at] = blend(smooth as u8, before[at], factor as f32);
        }
    }
}

/// Only the first `bits` bits of each byte are left.
pub(super) fn posterize(bytes: &mut [u8], bits: u32) {
    let mask = !(0xff_u32 >> bits.min(8)) as u8;
    bytes.iter_mut().for_each(|byte| *byte &= mask);
}

/// Bytes from `threshold` on are inverted.
pub(super) fn solarize(bytes: &mut [u8], threshold: f64) {
    bytes.iter_mut().filter(|byte| f64::from(**byte) >= threshold).for_each(|byte| *byte = !*byte);
}

/// Each channel stretched to all of 0 to 255.
pub(super) fn autocontrast(bytes: &mut [u8], channels: usize) {
    by_histogram(bytes, channels, |counts| {
        let low = counts.iter().position(|&count| count > 0).unwrap_or(0);
        let high = counts.iter().rposition(|&count| count > 0).unwrap_or(0);
        if high <= low {
            return None;
        }
        let scale = 255.0 / (high - low) as f64;
        Some(std::array::from_fn(|at| (at as f64 * scale - low as f64 * scale) as u8))
    });
}

/// Each channel so that all values are about as frequent.
pub(super) fn equalize(bytes: &mut [u8], channels: usize) {
    by_histogram(bytes, channels, |counts| {
        let last = *counts.iter().rev().find(|&&count| count > 0)?;
        let step = (counts.iter().sum::<usize>() - last) / 255;
        if step == 0 {
            return None;
        }
        let mut sum = step / 2;
        Some(std::array::from_fn(|at| {
            let value = (sum / step).min(255) as u8;
            sum += counts[at];
            value
        }))
    });
}

/// Replaces the bytes of each channel by the table that `table` makes of how often each value is there.
fn by_histogram(bytes: &mut [u8], channels: usize, table: impl Fn(&[usize; 256]) -> Option<[u8; 256]>) {
    for channel in 0..channels {
        let mut counts = [0; 256];
        bytes.iter().skip(channel).step_by(channels).for_each(|&byte| counts[usize::from(byte)] += 1);
        if let Some(table) = table(&counts) {
            bytes.iter_mut().skip(channel).step_by(channels).for_each(|byte| *byte = table[usize::from(*byte)]);
        }
    }
}
