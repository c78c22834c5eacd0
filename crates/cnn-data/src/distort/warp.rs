//! Shears, shifts and rotations: the nearest pixel, and black from outside, as Pillow's `transform` and `rotate` do it.

/// Output pixel (x, y) is what lies at `matrix` times (x, y, 1), counted from the corner of the picture, pixels' centres at a half.
pub(super) fn affine(bytes: &mut [u8], [height, width, channels]: [usize; 3], matrix: [f64; 6]) {
    let before = bytes.to_vec();
    let [a, b, c, d, e, f] = matrix;
    for (y, row) in bytes.chunks_exact_mut(width * channels).enumerate() {
        for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
            let (x, y) = (x as f64 + 0.5, y as f64 + 0.5);
            let [from_x, from_y] = [a * x + b * y + c, d * x + e * y + f].map(f64::floor);
            let inside = from_x >= 0.0 && from_y >= 0.0 && from_x < width as f64 && from_y < height as f64;
            if inside {
                let at = (from_y as usize * width + from_x as usize) * channels;
                pixel.copy_from_slice(&before[at..at + channels]);
            } else {
                pixel.fill(0);
            }
        }
    }
}

/// Rows shifted by `by` times their distance from the upper edge.
pub(super) fn shear_x(by: f64) -> [f64; 6] {
    [1.0, by, 0.0, 0.0, 1.0, 0.0]
}

/// Columns shifted by `by` times their distance from the left edge.
pub(super) fn shear_y(by: f64) -> [f64; 6] {
    [1.0, 0.0, 0.0, by, 1.0, 0.0]
}

/// Shifted by whole pixels to the left and up.
pub(super) fn shift(x: f64, y: f64) -> [f64; 6] {
    [1.0, 0.0, x, 0.0, 1.0, y]
}

/// Turned by `degrees` around the middle, against the clock.
pub(super) fn rotation(degrees: f64, [height, width, _]: [usize; 3]) -> [f64; 6] {
    let angle = -degrees.to_radians();
    let (sin, cos) = (libm::sin(angle), libm::cos(angle));
    let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
    [cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y]
}
