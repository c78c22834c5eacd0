//! Numbers as pictures, and pictures as text that a page holds.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use crate::html::escape;

/// Bytes as the text that scripts and addresses take them in.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Numbers as little-endian f32.
pub(crate) fn base64_f32(values: &[f32]) -> String {
    base64(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
}

/// A picture of 8 bits and three channels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    rgb: Vec<u8>,
}

/// How numbers become colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    /// 0 is black, the largest number is bright: for what is not negative.
    Heat,
    /// 0 is nearly white, negative numbers are blue and positive ones orange.
    Signed,
}

/// Anchors of the colours, at even distances.
const HEAT: [[u8; 3]; 6] = [[13, 8, 35], [72, 24, 106], [142, 40, 110], [206, 75, 72], [243, 142, 42], [250, 240, 150]];
const SIGNED: [[u8; 3]; 5] = [[22, 76, 140], [108, 160, 208], [244, 243, 240], [233, 156, 88], [168, 68, 10]];

impl Colours {
    /// Of `at` from 0 to 1 along the anchors.
    fn at(self, at: f32) -> [u8; 3] {
        let anchors = match self {
            Colours::Heat => &HEAT[..],
            Colours::Signed => &SIGNED[..],
        };
        let place = if at.is_finite() { at.clamp(0.0, 1.0) } else { 0.0 } * (anchors.len() - 1) as f32;
        let below = (place as usize).min(anchors.len() - 2);
        let part = place - below as f32;
        let mix = |i: usize| {
            let (a, b) = (f32::from(anchors[below][i]), f32::from(anchors[below + 1][i]));
            (a + (b - a) * part).round() as u8
        };
        [mix(0), mix(1), mix(2)]
    }

    /// Of `value`, where `most` is the largest absolute value that there is.
    pub(crate) fn of(self, value: f32, most: f32) -> [u8; 3] {
        let scaled = if most > 0.0 { value / most } else { 0.0 };
        self.at(if self == Colours::Heat { scaled } else { 0.5 + 0.5 * scaled })
    }

    /// 256 colours for a script.
    pub(crate) fn palette(self) -> Vec<u8> {
        (0..256).flat_map(|i| self.at(i as f32 / 255.0)).collect()
    }
}

/// How light a colour is, from 0 to 1 (the relative luminance of WCAG 2): below 0.179 white text is read better than black.
pub(crate) fn luminance(rgb: [u8; 3]) -> f64 {
    let [r, g, b] = rgb.map(|byte| match f64::from(byte) / 255.0 {
        dark @ ..=0.03928 => dark / 12.92,
        bright => ((bright + 0.055) / 1.055).powf(2.4),
    });
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

impl Picture {
    /// Bytes \[height, width, channels\] of 1 (grey) or 3 channels.
    pub(crate) fn of_bytes(bytes: &[u8], [height, width, channels]: [usize; 3]) -> Self {
        let rgb = match channels {
            3 => bytes.to_vec(),
            _ => bytes.iter().step_by(channels.max(1)).flat_map(|&byte| [byte; 3]).collect(),
        };
        Picture { width, height, rgb }
    }

    /// Its bytes \[height, width, 3\].
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.rgb
    }

    /// One number a pixel, coloured; `most` is the number that gets the strongest colour.
    pub(crate) fn of_map(values: &[f32], [height, width]: [usize; 2], colours: Colours, most: f32) -> Self {
        let rgb = values.iter().flat_map(|&value| colours.of(value, most)).collect();
        Picture { width, height, rgb }
    }

    /// A filter's weights \[height, width, 3\] as a colour picture, or one of its channels in signed colours.
    pub(crate) fn of_filter(weights: &[f32], [height, width, channels]: [usize; 3], most: f32) -> Self {
        if channels != 3 {
            let first: Vec<f32> = weights.iter().step_by(channels.max(1)).copied().collect();
            return Self::of_map(&first, [height, width], Colours::Signed, most);
        }
        let byte =
            |weight: &f32| (127.5 + 127.5 * if most > 0.0 { weight / most } else { 0.0 }).clamp(0.0, 255.0) as u8;
        Picture { width, height, rgb: weights.iter().map(byte).collect() }
    }

    /// The pixels for which `keep` is false, dimmed.
    pub(crate) fn dimmed(mut self, keep: impl Fn(usize) -> bool) -> Self {
        for (i, pixel) in self.rgb.chunks_exact_mut(3).enumerate() {
            if !keep(i) {
                pixel.iter_mut().for_each(|byte| *byte = (u16::from(*byte) / 4 + 96) as u8);
            }
        }
        self
    }

    /// The same at another size, smooth.
    pub(crate) fn resized(&self, height: usize, width: usize) -> Self {
        let Some(image) = RgbImage::from_raw(self.width as u32, self.height as u32, self.rgb.clone()) else {
            return self.clone();
        };
        let rgb = imageops::resize(&image, width as u32, height as u32, FilterType::Triangle).into_raw();
        Picture { width, height, rgb }
    }

    /// The same with a longer side of at most `side`.
    pub(crate) fn fitted(self, side: usize) -> Self {
        let longer = self.width.max(self.height).max(1);
        if longer <= side {
            self
        } else {
            self.resized((self.height * side / longer).max(1), (self.width * side / longer).max(1))
        }
    }

    /// This picture with `map` (from 0 to 1, \[rows, columns\]) laid over it as heat.
    pub(crate) fn under(&self, map: &[f32], size: [usize; 2]) -> Self {
        let heat = Picture::of_map(map, size, Colours::Heat, 1.0).resized(self.height, self.width);
        let strength = Picture {
            width: size[1],
            height: size[0],
            rgb: map.iter().flat_map(|&v| [(v.clamp(0.0, 1.0) * 255.0) as u8; 3]).collect(),
        }
        .resized(self.height, self.width);
        let rgb = (self.rgb.iter().zip(&heat.rgb).zip(&strength.rgb))
            .map(|((&image, &heat), &strength)| {
                let part = 0.25 + 0.55 * f32::from(strength) / 255.0;
                // The picture itself is greyed a little, so that the heat is what has colour.
                (f32::from(image) * (1.0 - part) + f32::from(heat) * part) as u8
            })
            .collect();
        Picture { rgb, ..*self }
    }

    /// The picture as an address that a page holds: PNG, lossless.
    pub(crate) fn png(&self) -> String {
        let mut bytes = Vec::new();
        let encoder = PngEncoder::new(&mut bytes);
        let [width, height] = [self.width, self.height].map(|side| side as u32);
        match encoder.write_image(&self.rgb, width, height, ExtendedColorType::Rgb8) {
            Ok(()) => format!("data:image/png;base64,{}", base64(&bytes)),
            // Only of numbers of bytes that are not the picture's: a page without it is still a page.
            Err(_) => "data:,".to_owned(),
        }
    }

    /// The same as JPEG, for photographs of more than a few pixels.
    pub(crate) fn jpeg(&self) -> String {
        let mut bytes = Vec::new();
        let [width, height] = [self.width, self.height].map(|side| side as u32);
        match JpegEncoder::new_with_quality(&mut bytes, 85).encode(&self.rgb, width, height, ExtendedColorType::Rgb8) {
            Ok(()) => format!("data:image/jpeg;base64,{}", base64(&bytes)),
            Err(_) => "data:,".to_owned(),
        }
    }

    /// An element that shows it pixel by pixel, `side` CSS pixels wide; `alt` is text. Where it has more pixels than that it is
    /// shrunk smoothly, to no more than a screen of twice as many shows: none is left out, and none is in the page in vain.
    pub(crate) fn img(&self, side: usize, alt: &str) -> String {
        let size = [self.width, self.height];
        let class = if self.width > side { "photo" } else { "pixels" };
        let address = if self.width > 2 * side {
            self.resized((self.height * 2 * side / self.width).max(1), 2 * side).png()
        } else {
            self.png()
        };
        img(&address, size, side, class, alt)
    }

    /// An element that shows it smoothly.
    pub(crate) fn photo(&self, side: usize, alt: &str) -> String {
        let address = if self.width.max(self.height) > 64 { self.jpeg() } else { self.png() };
        img(&address, [self.width, self.height], side, if self.width > 64 { "photo" } else { "pixels" }, alt)
    }
}

fn img(address: &str, [width, height]: [usize; 2], side: usize, class: &str, alt: &str) -> String {
    let tall = side * height / width.max(1);
    let alt = escape(alt);
    format!("<img class=\"{class}\" src=\"{address}\" width=\"{side}\" height=\"{tall}\" alt=\"{alt}\">")
}

/// The largest absolute value.
pub(crate) fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, value| most.max(value.abs()))
}

/// One channel of an image \[H, W, C\].
pub(crate) fn channel(values: &[f32], channels: usize, channel: usize) -> Vec<f32> {
    values.iter().skip(channel).step_by(channels.max(1)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_meet_their_anchors() {
        assert_eq!(Colours::Heat.of(0.0, 1.0), HEAT[0]);
        assert_eq!(Colours::Heat.of(2.0, 2.0), HEAT[5]);
        assert_eq!([-3.0, 0.0, 3.0].map(|v| Colours::Signed.of(v, 3.0)), [SIGNED[0], SIGNED[2], SIGNED[4]]);
        assert_eq!(Colours::Signed.of(f32::NAN, 1.0), SIGNED[0]);
        assert_eq!(Colours::Signed.palette().len(), 768);
    }

    #[test]
    fn pictures_come_back_from_their_addresses() {
        let bytes: Vec<u8> = (0..5 * 7 * 3).map(|i| i as u8).collect();
        let address = Picture::of_bytes(&bytes, [5, 7, 3]).png();
        let png = STANDARD.decode(address.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let image = image::load_from_memory(&png).unwrap().into_rgb8();
        assert_eq!((image.dimensions(), image.into_raw()), ((7, 5), bytes));
        assert_eq!(Picture::of_bytes(&[9, 8], [1, 2, 1]).rgb, [9, 9, 9, 8, 8, 8]);
        assert_eq!(channel(&[1.0, 2.0, 3.0, 4.0], 2, 1), [2.0, 4.0]);
    }

    #[test]
    fn a_picture_larger_than_its_place_is_shrunk_with_all_of_its_pixels() {
        // One bright column of 16, which taking every fourth pixel would miss.
        let bytes: Vec<u8> = (0..16 * 16).map(|i| if i % 16 == 6 { 255 } else { 0 }).collect();
        let shown = |side: usize| {
            let element = Picture::of_bytes(&bytes, [16, 16, 1]).img(side, "");
            let text = element.split_once("base64,").unwrap().1.split('"').next().unwrap().to_owned();
            let image = image::load_from_memory(&STANDARD.decode(text).unwrap()).unwrap().into_rgb8();
            (element, image)
        };
        let (element, image) = shown(2);
        assert_eq!((image.dimensions(), element.contains("class=\"photo\"")), ((4, 4), true));
        assert!(image.pixels().any(|pixel| pixel.0[0] > 30), "{image:?}");
        assert!(element.contains("width=\"2\" height=\"2\""), "{element}");
        let (element, image) = shown(20);
        assert_eq!((image.dimensions(), element.contains("class=\"pixels\"")), ((16, 16), true));
    }
}
