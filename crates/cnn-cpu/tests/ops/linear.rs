//! Dense layers.

use cnn_core::backend::{Activation, Backend, Epilogue, Inference, LinearSpec};

use crate::{CHANNELS, agree, data, normal, read, whole, wide};

fn specs() -> Vec<LinearSpec> {
    let mut specs = Vec::new();
    for rows in [0, 1, 2, 3, 4, 5, 17] {
        for outputs in CHANNELS {
            specs.extend([1, 7, 130].map(|inputs| LinearSpec { rows, inputs, outputs }));
        }
    }
    specs.extend([1, 4, 9].map(|rows| LinearSpec { rows, inputs: 2000, outputs: 100 }));
    specs
}

#[test]
fn products_of_whole_numbers_are_exact() {
    for spec in specs() {
        let LinearSpec { rows, inputs, outputs } = spec;
        let (x, w) = (whole(rows * inputs, 9, 1), whole(inputs * outputs, 9, 2));
        let (bias, dy) = (whole(outputs, 9, 3), whole(rows * outputs, 9, 4));
        agree!(spec, [0.0; 2], |b| {
            let (x, w, dy) = (data(b, &x), wide(b, &w), data(b, &dy));
            vec![
                read(b, &b.linear(&spec, &x, &w, Epilogue::bias(Some(&wide(b, &bias)))).unwrap()),
                read(
                    b,
                    &b.linear(
                        &spec,
                        &x,
                        &w,
                        Epilogue { bias: None, residual: Some(&dy), activation: Some(Activation::Relu) },
                    )
                    .unwrap(),
                ),
                read(b, &b.linear_backward_data(&spec, &dy, &w).unwrap()),
                read(b, &b.linear_backward_weight(&spec, &dy, &x).unwrap()),
                read(b, &b.sum_rows(&dy, outputs).unwrap()),
            ]
        });
    }
}

#[test]
fn products() {
    for spec in specs() {
        let LinearSpec { rows, inputs, outputs } = spec;
        let (x, w) = (normal(rows * inputs, 1), normal(inputs * outputs, 2));
        let (bias, dy) = (normal(outputs, 3), normal(rows * outputs, 4));
        agree!(spec, [2e-6, 1e-14], |b| {
            let (x, w, dy) = (data(b, &x), wide(b, &w), data(b, &dy));
            vec![
                read(b, &b.linear(&spec, &x, &w, Epilogue::bias(Some(&wide(b, &bias)))).unwrap()),
                read(b, &b.linear_backward_data(&spec, &dy, &w).unwrap()),
                read(b, &b.linear_backward_weight(&spec, &dy, &x).unwrap()),
            ]
        });
    }
}

#[test]
fn many_rows_are_summed_accurately() {
    let (rows, channels) = (20_000, 3);
    let x: Vec<f64> = normal(rows * channels, 5).iter().map(|x| f64::from((x + 1.0) as f32)).collect();
    agree!("sum_rows", [1.5e-7, 1e-13], |b| vec![read(b, &b.sum_rows(&data(b, &x), channels).unwrap())]);
}
