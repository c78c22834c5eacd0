//! The table of convolutions, `benches/sweep.txt`.

use cnn_core::{Conv2dOptions, Conv2dSpec, Error, Result};
use serde::Serialize;

const TABLE: &str = include_str!("../../sweep.txt");

/// A line of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) batch: usize,
    /// Height and width.
    input: [usize; 2],
    channels: usize,
    filters: usize,
    /// Height and width.
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
    dilation: usize,
    groups: usize,
}

impl Shape {
    fn parse(line: &str) -> std::result::Result<Self, String> {
        let rule = || format!("{line:?}: must be a name and 11 numbers");
        let mut words = line.split_whitespace();
        let name = words.next().ok_or_else(rule)?.to_owned();
        let numbers: Vec<usize> = words.map(str::parse).collect::<std::result::Result<_, _>>().map_err(|_| rule())?;
        let [batch, height, width, channels, filters, kh, kw, stride, padding, dilation, groups] = numbers[..] else {
            return Err(rule());
        };
        let (input, kernel) = ([height, width], [kh, kw]);
        Ok(Shape { name, batch, input, channels, filters, kernel, stride, padding, dilation, groups })
    }

    /// The convolution.
    ///
    /// # Errors
    /// Numbers that do not belong together, with the shape's name.
    pub(super) fn spec(&self) -> Result<Conv2dSpec> {
        let Shape {
            batch, input: [height, width], channels, filters, kernel, stride, padding, dilation, groups, ..
        } = *self;
        let options = Conv2dOptions { kernel, ..Conv2dOptions::default() };
        let options = options.stride(stride).padding(padding).dilation(dilation).groups(groups);
        Conv2dSpec::new([batch, height, width, channels], filters, &options)
            .map_err(|error| Error::invalid("shape", &self.name, error.to_string()))
    }
}

/// Every line of `table`, but those that begin with `#`.
fn parse(table: &str) -> std::result::Result<Vec<Shape>, String> {
    table.lines().filter(|line| !line.starts_with('#')).map(Shape::parse).collect()
}

/// The shapes in whose names `part` is, or all, with their own batch sizes or this one.
///
/// # Errors
/// No shape has such a name.
pub(super) fn chosen(part: Option<&str>, batch: Option<usize>) -> std::result::Result<Vec<Shape>, String> {
    let all = parse(TABLE)?;
    let wanted = |shape: &&Shape| part.is_none_or(|part| shape.name.contains(part));
    let with_batch = |shape: &Shape| Shape { batch: batch.unwrap_or(shape.batch), ..shape.clone() };
    let shapes: Vec<Shape> = all.iter().filter(wanted).map(with_batch).collect();
    if shapes.is_empty() {
        let names: Vec<&str> = all.iter().map(|shape| shape.name.as_str()).collect();
        return Err(format!("shape {:?}: must be a part of one of {}", part.unwrap_or(""), names.join(", ")));
    }
    Ok(shapes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_line_of_the_table_is_a_convolution_with_a_name_of_its_own() {
        let shapes = chosen(None, None).unwrap();
        let outputs: Vec<[usize; 4]> = shapes.iter().map(|shape| shape.spec().unwrap().output_shape()).collect();
        assert!(outputs.iter().flatten().all(|&size| size > 0));
        let names: BTreeSet<&str> = shapes.iter().map(|shape| shape.name.as_str()).collect();
        assert_eq!(names.len(), shapes.len());
        let spec = chosen(Some("deeplab-d12"), Some(2)).unwrap()[0].spec().unwrap();
        assert_eq!((spec.input_shape(), spec.output_shape()), ([2, 33, 33, 512], [2, 33, 33, 256]));
        assert_eq!((spec.dilation, spec.weight_shape()), ([12, 12], [3, 3, 512, 256]));
    }

    #[test]
    fn shapes_are_chosen_by_a_part_of_their_names() {
        let names = |part| chosen(Some(part), None).unwrap().into_iter().map(|shape| shape.name).collect::<Vec<_>>();
        assert_eq!(names("dw3-576"), ["mobilenet-dw3-576-14", "b1-dw3-576-14"]);
        let error = chosen(Some("dw9"), None).unwrap_err();
        assert!(error.starts_with("shape \"dw9\": must be a part of one of resnet50-stem, "), "{error}");
    }

    #[test]
    fn a_line_that_is_no_shape_is_named() {
        for line in
            ["", "name", "name 1 2 3 4 5 6 7 8 9 10", "name 1 2 3 4 5 6 7 8 9 10 11 12", "name 1 2 3 4 5 6 7 8 9 -1 1"]
        {
            assert_eq!(Shape::parse(line), Err(format!("{line:?}: must be a name and 11 numbers")));
        }
        let uneven = Shape::parse("uneven 1 8 8 3 4 3 3 1 1 1 2").unwrap().spec().unwrap_err().to_string();
        assert!(uneven.contains("uneven") && uneven.contains("groups"), "{uneven}");
    }
}
