//! Softmax and cross entropy.

use cnn_core::{Backend, Device, Inference};

use crate::{agree, data, normal, read, read_u32};

fn shapes() -> impl Iterator<Item = (usize, usize)> {
    [0, 1, 3, 700].into_iter().flat_map(|rows| [1, 2, 10, 16, 17, 33, 100].map(|classes| (rows, classes)))
}

#[test]
fn softmax_and_its_gradient() {
    for (rows, classes) in shapes() {
        let x: Vec<f64> = normal(rows * classes, 1).iter().map(|x| f64::from((8.0 * x - 50.0) as f32)).collect();
        // Of true probabilities the gradient may be all cancellation.
        let (y, dy) = (normal(rows * classes, 2), normal(rows * classes, 3));
        agree!((rows, classes), [1e-6, 1e-14], |b| {
            let dx = b.softmax_backward(&data(b, &y), data(b, &dy), classes).unwrap();
            vec![read(b, &b.softmax(&data(b, &x), classes).unwrap()), read(b, &dx)]
        });
    }
}

#[test]
fn cross_entropy() {
    for (rows, classes) in shapes() {
        let x: Vec<f64> = normal(rows * classes, 1).iter().map(|x| f64::from((3.0 * x) as f32)).collect();
        let labels: Vec<u32> = (0..rows).map(|i| (i * 7 % classes) as u32).collect();
        for smoothing in [0.0, 0.1] {
            agree!((rows, classes, smoothing), [1e-6, 1e-14], |b| {
                let labels = b.upload(&labels).unwrap();
                let result = b.cross_entropy(&data(b, &x), &labels, classes, smoothing).unwrap();
                let gradient = read(b, &result.dlogits);
                let gradient = if classes > 1 { gradient } else { vec![] };
                vec![read(b, &result.loss), gradient, read_u32(b, &result.correct)]
            });
        }
    }
}

#[test]
fn a_sure_answer_has_a_small_loss() {
    // The oracle loses digits here: 1e-8.
    agree!("sure", [1e-6, 1e-8], |b| {
        let result = b.cross_entropy(&data(b, &[0.0, 18.0, 1.0]), &b.upload(&[1]).unwrap(), 3, 0.0).unwrap();
        vec![read(b, &result.loss)]
    });
}

#[test]
fn specials() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    for row in [[nan, 0.0, 1.0], [0.0, 1.0, nan], [-inf, 0.0, -inf], [inf, 0.0, 1.0], [-inf; 3], [1.0, 1.0, 1.0]] {
        for label in 0..3 {
            for smoothing in [0.0, 0.25] {
                agree!((row, label, smoothing), [1e-6, 1e-14], |b| {
                    let labels = b.upload(&[label]).unwrap();
                    let result = b.cross_entropy(&data(b, &row), &labels, 3, smoothing).unwrap();
                    vec![
                        read(b, &result.loss),
                        read_u32(b, &result.correct),
                        read(b, &b.softmax(&data(b, &row), 3).unwrap()),
                    ]
                });
            }
        }
    }
}
