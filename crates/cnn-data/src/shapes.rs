//! `shapes`: ten kinds of figure, drawn 32 x 32, for training without a download.
//!
//! Colours, place, size, angle, background and noise are drawn at random and say nothing about the class, so no pixel
//! does: a linear classifier stays far below what a small convolutional network reaches. An image is a function of
//! (seed, index), and every index has the class `index % 10`.

use crate::Result;
use crate::image_set::ImageSet;
use crate::images::Origin;
use crate::listing::{GENERATED, Listing};
use crate::options::OpenOptions;
use cnn_core::rng::{Philox, Purpose, Stream};
use std::f32::consts::TAU;

/// What the set is called.
pub(crate) const NAME: &str = "shapes";

const CLASSES: [&str; 10] =
    ["arrow", "bar", "circle", "crescent", "cross", "heart", "ring", "square", "star", "triangle"];
const SIDE: usize = 32;
const BYTES: usize = SIDE * SIDE * 3;
/// Least distance of a figure's colour from its background's, in bytes.
const CONTRAST: f32 = 120.0;
/// Most that a figure is turned either way, in radians.
const TILT: f32 = 0.6;
const TRAIN: usize = 10_000;
const TEST: usize = 2_000;
/// Test images are those from this index on.
const FIRST_TEST: u32 = 1 << 31;

/// The set of the options' seed: 10,000 training and 2,000 test images.
pub(crate) fn generate(options: &OpenOptions) -> Result<Listing> {
    let seed = options.seed;
    let figures = figures();
    let set = |split: &str, first: u32, count: usize| {
        let mut bytes = vec![0; count * BYTES];
        options.pool.fill(&mut bytes, BYTES, |index, image| {
            let stream = Philox::new(seed, Purpose::Shapes, first + index as u32, 0).stream();
            draw(&figures[index % CLASSES.len()], stream, image);
        });
        let labels = (0..count).map(|index| (index % CLASSES.len()) as u32).collect();
        ImageSet::stored_as(Origin::Made(format!("{NAME} {split}")), [SIDE, SIDE, 3], &CLASSES, labels, bytes)
    };
    let (train, test) = (set("train", 0, TRAIN)?, set("test", FIRST_TEST, TEST)?);
    Ok(Listing::new(NAME, GENERATED, train, test))
}

/// A closed outline around the origin, about one unit in radius (x to the right, y down), and how far inside the outline a hole begins.
struct Figure {
    outline: Vec<[f32; 2]>,
    hole: f32,
}

/// Cosine and sine, from f64: there the machines' libraries differ by less than one f32 can show.
fn turn(angle: f32) -> [f32; 2] {
    let (sin, cos) = f64::from(angle).sin_cos();
    [cos as f32, sin as f32]
}

/// The ten figures, in the order of [`CLASSES`].
fn figures() -> [Figure; 10] {
    let filled = |outline: Vec<[f32; 2]>| Figure { outline, hole: f32::INFINITY };
    let polar = |points: usize, radius: &dyn Fn(usize) -> f32| {
        let point = |i: usize| {
            let [cos, sin] = turn(TAU * (i as f32 / points as f32 - 0.25));
            [radius(i) * cos, radius(i) * sin]
        };
        (0..points).map(point).collect::<Vec<_>>()
    };
    let heart = |i: usize| {
        let t = TAU * i as f32 / 28.0;
        let [[x1, y1], [_, y2], [_, y3], [_, y4]] =
            [1.0, 2.0, 3.0, 4.0].map(|k| turn(k * t)).map(|[cos, sin]| [sin, cos]);
        [x1 * x1 * x1, -(13.0 * y1 - 5.0 * y2 - 2.0 * y3 - y4 + 2.0) / 16.0]
    };
    // Two arcs between the tips at +-60 degrees: the long way around, and back along a flatter one.
    let outer = (0..=20).map(|i| TAU / 6.0 + i as f32 * (TAU * 2.0 / 3.0) / 20.0).map(turn);
    let inner =
        (1..12).map(|i| TAU * 0.7 - i as f32 * (TAU * 0.4) / 12.0).map(turn).map(|[x, y]| [0.91 * x + 0.78, 0.91 * y]);
    let crescent = outer.chain(inner).collect();
    let cross = [[1.0, 0.3], [0.3, 0.3], [0.3, 1.0], [-0.3, 1.0], [-0.3, 0.3], [-1.0, 0.3]];
    let cross = cross.into_iter().chain(cross.map(|[x, y]| [-x, -y])).collect();
    let arrow = [[-1.0, -0.2], [0.05, -0.2], [0.05, -0.8], [1.0, 0.0], [0.05, 0.8], [0.05, 0.2], [-1.0, 0.2]];
    [
        filled(arrow.to_vec()),
        filled(vec![[1.1, 0.27], [-1.1, 0.27], [-1.1, -0.27], [1.1, -0.27]]),
        filled(polar(24, &|_| 0.85)),
        filled(crescent),
        filled(cross),
        filled((0..28).map(heart).collect()),
        Figure { outline: polar(24, &|_| 0.95), hole: 0.4 },
        filled(vec![[0.75, 0.75], [-0.75, 0.75], [-0.75, -0.75], [0.75, -0.75]]),
        filled(polar(10, &|i| if i % 2 == 0 { 1.1 } else { 0.45 })),
        filled(polar(3, &|_| 1.1)),
    ]
}

impl Figure {
    /// Signed distance from a point to the figure's edge, negative inside.
    fn distance(&self, x: f32, y: f32) -> f32 {
        let mut nearest = f32::INFINITY;
        let mut inside = false;
        let mut previous = self.outline[self.outline.len() - 1];
        for &corner in &self.outline {
            let (edge, to) = ([previous[0] - corner[0], previous[1] - corner[1]], [x - corner[0], y - corner[1]]);
            let along = (to[0] * edge[0] + to[1] * edge[1]) / (edge[0] * edge[0] + edge[1] * edge[1]);
            let along = along.clamp(0.0, 1.0);
            let off = [to[0] - along * edge[0], to[1] - along * edge[1]];
            nearest = nearest.min(off[0] * off[0] + off[1] * off[1]);
            // Even-odd rule: does a ray to the right cross this edge?
            if (corner[1] > y) != (previous[1] > y) && x < corner[0] + edge[0] * (y - corner[1]) / edge[1] {
                inside = !inside;
            }
            previous = corner;
        }
        let distance = nearest.sqrt() * if inside { -1.0 } else { 1.0 };
        distance.max(-self.hole - distance)
    }
}

/// Draws `figure` into `image` (\[32, 32, 3\]) as `stream` has it.
fn draw(figure: &Figure, mut stream: Stream, image: &mut [u8]) {
    let mut random = |low: f32, high: f32| low + (high - low) * stream.uniform() as f32;
    let mut triple = |high: f32| [random(0.0, high), random(0.0, high), random(0.0, high)];
    // The background runs from one colour to another; the figure keeps its distance from both, and from their mean.
    let ground = [triple(255.0), triple(255.0)];
    let middle = [0, 1, 2].map(|c| (ground[0][c] + ground[1][c]) / 2.0);
    let apart = |a: [f32; 3], b: [f32; 3]| (0..3).map(|c| (a[c] - b[c]).powi(2)).sum::<f32>().sqrt();
    let clear = |ink: [f32; 3]| [ground[0], ground[1], middle].iter().all(|&colour| apart(ink, colour) > CONTRAST);
    let mut ink = triple(255.0);
    for _ in 0..64 {
        if clear(ink) {
            break;
        }
        ink = triple(255.0);
    }
    // Specks that mean nothing: a colour, and a place with a size.
    let specks = [0; 3].map(|_| (triple(255.0), triple(SIDE as f32)));
    let radius = random(8.5, 13.0);
    let centre = [random(0.0, 1.0), random(0.0, 1.0)].map(|u| radius * 0.95 + u * (SIDE as f32 - 1.9 * radius));
    let [cos, sin] = turn(random(-TILT, TILT));
    let [slope_cos, slope_sin] = turn(random(0.0, TAU));
    let noise = random(4.0, 18.0);

    for (place, pixel) in image.chunks_exact_mut(3).enumerate() {
        let [y, x] = [place / SIDE, place % SIDE].map(|i| i as f32 + 0.5);
        let half = SIDE as f32 / 2.0;
        let slope = 0.5 + ((x - half) * slope_cos + (y - half) * slope_sin) / (2.0 * half * std::f32::consts::SQRT_2);
        let mut value = [0, 1, 2].map(|c| ground[0][c] + (ground[1][c] - ground[0][c]) * slope);
        let mut paint = |colour: [f32; 3], distance: f32| {
            let cover = (0.5 - distance).clamp(0.0, 1.0);
            (0..3).for_each(|c| value[c] += (colour[c] - value[c]) * cover);
        };
        for (colour, [speck_y, speck_x, size]) in specks {
            paint(colour, ((x - speck_x).powi(2) + (y - speck_y).powi(2)).sqrt() - (0.7 + size / 24.0));
        }
        let (dx, dy) = ((x - centre[1]) / radius, (y - centre[0]) / radius);
        if dx * dx + dy * dy < 1.7 {
            paint(ink, figure.distance(dx * cos + dy * sin, dy * cos - dx * sin) * radius);
        }
        for (out, value) in pixel.iter_mut().zip(value) {
            // The sum of four uniform bytes is near enough to a normal deviate, of deviation 147.8.
            let bytes: u16 = stream.next_u32().to_le_bytes().map(u16::from).iter().sum();
            let deviate = (f32::from(bytes) - 510.0) / 147.8;
            *out = (value + noise * deviate).round().clamp(0.0, 255.0) as u8;
        }
    }
}
