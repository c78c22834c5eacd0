//! The hue of a picture, turned in HSV of bytes, as Pillow converts.

/// Turns the hue of every pixel by `part` of a circle. A grey picture has none.
pub(super) fn turn(bytes: &mut [u8], channels: usize, part: f64) {
    if channels != 3 {
        return;
    }
    // Towards 0, in bytes that go round.
    let by = (part * 255.0) as i32 as u8;
    for pixel in bytes.chunks_exact_mut(3) {
        let [hue, saturation, value] = hsv([pixel[0], pixel[1], pixel[2]]);
        pixel.copy_from_slice(&rgb([hue.wrapping_add(by), saturation, value]));
    }
}

fn hsv(rgb: [u8; 3]) -> [u8; 3] {
    let [red, green, blue] = rgb;
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let [r, g, b] = rgb.map(|byte| f32::from(most - byte) / range);
    let sixths = if red == most {
        b - g
    } else if green == most {
        2.0 + r - b
    } else {
        4.0 + g - r
    };
    let hue = (sixths / 6.0 + 1.0) % 1.0;
    let saturation = range / f32::from(most);
    [(hue * 255.0) as u8, (saturation * 255.0) as u8, most]
}

fn rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let sixths = f32::from(hue) * 6.0 / 255.0;
    let (sector, part) = (sixths.floor(), sixths - sixths.floor());
    let saturation = f32::from(saturation) / 255.0;
    let of = |part: f32| (f32::from(value) * (1.0 - part)).round().clamp(0.0, 255.0) as u8;
    let [p, q, t] = [of(saturation), of(saturation * part), of(saturation * (1.0 - part))];
    match sector as u32 % 6 {
        0 => [value, t, p],
        1 => [q, value, p],
        2 => [p, value, t],
        3 => [p, q, value],
        4 => [t, p, value],
        _ => [value, p, q],
    }
}
