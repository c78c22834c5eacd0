//! The record in a run's folder: written whole, and checked when it is read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cnn_core::archive::{Archive, Array, Values};
use cnn_data::Preprocess;
use cnn_train::{Result, WeightsInfo};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Followed, Grid, RECORD, Seen, Timeline};
use crate::explain::regions::Map;
use crate::picture::Picture;
use crate::run::wrong;

/// The layout of the file, which is raised when it changes.
const LAYOUT: u32 = 1;

/// The metadata: everything but numbers. Epochs are in order.
#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    timeline: u32,
    classes: Vec<String>,
    image: [usize; 3],
    /// Of a file that does not say, the pictures' bytes are the images'.
    #[serde(default)]
    preprocess: Preprocess,
    /// Epochs whose filters are kept: arrays `filters.EPOCH`.
    filters: Vec<u32>,
    images: Vec<ImageContents>,
}

/// Of image I: arrays `I.bytes`, `I.shown`, and `I.answers`, a row for each epoch.
#[derive(Debug, Serialize, Deserialize)]
struct ImageContents {
    name: String,
    epochs: Vec<u32>,
    /// Epochs of which there may be `I.maps.EPOCH` and `I.places.EPOCH`.
    pictured: Vec<u32>,
}

impl Timeline {
    /// Gives what was recorded in the folder of a run another name, and returns it.
    ///
    /// # Errors
    /// The system's.
    pub fn set_aside(folder: &Path) -> std::io::Result<PathBuf> {
        let aside = folder.join("timeline.unreadable.safetensors");
        std::fs::rename(folder.join(RECORD), &aside)?;
        Ok(aside)
    }

    /// What was recorded in the folder of a run, for a network of `info`; none if nothing was.
    ///
    /// # Errors
    /// The file is damaged, or of another network.
    pub fn read(folder: &Path, info: &WeightsInfo) -> Result<Option<Timeline>> {
        let path = folder.join(RECORD);
        if !path.exists() {
            return Ok(None);
        }
        let archive = Archive::read(&path).map_err(|error| match error {
            // It names the file already.
            error @ cnn_core::Error::Io { .. } => error.into(),
            error => wrong(&path, error),
        })?;
        let timeline = Timeline::from_archive(archive).map_err(|reason| wrong(&path, reason))?;
        if timeline.classes != info.classes || timeline.image != info.image || timeline.preprocess != info.preprocess {
            return Err(wrong(&path, "is of a network with other classes or images"));
        }
        Ok(Some(timeline))
    }

    pub(super) fn to_archive(&self) -> Archive {
        let Timeline { classes, image, preprocess, filters, followed } = self;
        let mut archive = Archive::default();
        let mut put = |name: String, array: Array| archive.arrays.insert(name, array);
        for (epoch, grid) in filters {
            put(format!("filters.{epoch}"), grid.array());
        }
        for (i, Followed { bytes, shown, answers, seen, .. }) in followed.iter().enumerate() {
            put(format!("{i}.bytes"), raw(&preprocess.stored(*image), bytes));
            put(format!("{i}.shown"), raw(&[shown.height, shown.width, 3], shown.bytes()));
            let rows: Vec<f32> = answers.values().flatten().copied().collect();
            put(format!("{i}.answers"), Array::float(vec![answers.len(), classes.len()], &rows));
            for (epoch, Seen { maps, places }) in seen {
                if let Some(maps) = maps {
                    put(format!("{i}.maps.{epoch}"), maps.array());
                }
                if let Some(Map { size, values, .. }) = places {
                    put(format!("{i}.places.{epoch}"), Array::float(size.to_vec(), values));
                }
            }
        }
        let contents = |Followed { name, answers, seen, .. }: &Followed| ImageContents {
            name: name.clone(),
            epochs: answers.keys().copied().collect(),
            pictured: seen.keys().copied().collect(),
        };
        let contents = Contents {
            timeline: LAYOUT,
            classes: classes.clone(),
            image: *image,
            preprocess: *preprocess,
            filters: filters.keys().copied().collect(),
            images: followed.iter().map(contents).collect(),
        };
        if let Ok(Value::Object(metadata)) = serde_json::to_value(contents) {
            archive.metadata = metadata;
        }
        archive
    }

    fn from_archive(mut archive: Archive) -> Result<Timeline, String> {
        let metadata = Value::Object(std::mem::take(&mut archive.metadata));
        let contents = serde_json::from_value(metadata).map_err(|error| format!("is no timeline: {error}"))?;
        let Contents { timeline, classes, image, preprocess, filters: pictured, images } = contents;
        if timeline != LAYOUT || images.is_empty() || images.len() > Timeline::MOST_IMAGES {
            return Err(format!("layout {timeline} with {} images: is not one that this program writes", images.len()));
        }
        let mut arrays = Arrays(archive);
        let mut filters = BTreeMap::new();
        for epoch in in_order(pictured)? {
            filters.insert(epoch, arrays.numbers(&format!("filters.{epoch}"), 4)?);
        }
        let dims = filters.values().next().map(|grid| grid.dims.clone());
        if filters.values().any(|grid| Some(&grid.dims) != dims.as_ref()) {
            return Err("has filters of several shapes".to_owned());
        }
        let kept = dims.and_then(|dims| dims.last().copied());
        let mut followed = Vec::new();
        let stored = preprocess.stored(image);
        for (i, ImageContents { name, epochs, pictured }) in images.into_iter().enumerate() {
            let (size, bytes) = arrays.picture(&format!("{i}.bytes"))?;
            let (shown_size, shown) = arrays.picture(&format!("{i}.shown"))?;
            if size != stored || shown_size[2] != 3 {
                return Err(format!("{i}.bytes of {size:?}: must be of {stored:?}"));
            }
            let rows = arrays.numbers(&format!("{i}.answers"), 2)?;
            if rows.dims != [epochs.len(), classes.len()] {
                return Err(format!("{i}.answers of {:?}: must be of {} epochs", rows.dims, epochs.len()));
            }
            let rows = rows.values.chunks_exact(classes.len()).map(<[f32]>::to_vec);
            let answers: BTreeMap<u32, Vec<f32>> = in_order(epochs)?.into_iter().zip(rows).collect();
            let mut seen = BTreeMap::new();
            for epoch in in_order(pictured)? {
                let maps = arrays.numbers_if_there(&format!("{i}.maps.{epoch}"), 3)?;
                let places = arrays.numbers_if_there(&format!("{i}.places.{epoch}"), 2)?;
                let fits = maps.as_ref().is_none_or(|maps| maps.dims.last().copied() == kept);
                if !fits || !answers.contains_key(&epoch) {
                    return Err(format!("{i}.maps.{epoch} do not fit the filters"));
                }
                seen.insert(epoch, Seen { maps, places: places.map(map) });
            }
            followed.push(Followed { name, bytes, shown: Picture::of_bytes(&shown, shown_size), answers, seen });
        }
        Ok(Timeline { classes, image, preprocess, filters, followed })
    }
}

impl Grid {
    fn array(&self) -> Array {
        Array::float(self.dims.clone(), &self.values)
    }
}

/// A map that was scaled when it was made.
fn map(Grid { dims, values }: Grid) -> Map {
    let most = values.iter().copied().fold(0.0, f32::max);
    Map { size: [dims[0], dims[1]], values, most }
}

fn raw(shape: &[usize], bytes: &[u8]) -> Array {
    Array { shape: shape.to_vec(), values: Values::U8(bytes.to_vec()) }
}

/// Epochs, if each is there once and in order.
fn in_order(epochs: Vec<u32>) -> Result<Vec<u32>, String> {
    if epochs.is_sorted_by(|a, b| a < b) { Ok(epochs) } else { Err(format!("epochs {epochs:?} are not in order")) }
}

/// The arrays of an archive, taken out one by one. The archive has seen to it that they have as many values as their shapes say.
struct Arrays(Archive);

impl Arrays {
    /// Finite numbers of so many dimensions, none of which is 0.
    fn numbers(&mut self, name: &str, dimensions: usize) -> Result<Grid, String> {
        self.numbers_if_there(name, dimensions)?.ok_or_else(|| format!("has no {name}"))
    }

    fn numbers_if_there(&mut self, name: &str, dimensions: usize) -> Result<Option<Grid>, String> {
        let Some(array) = self.0.arrays.remove(name) else { return Ok(None) };
        let values = array.to_finite(f64::MIN).map_err(|error| format!("{name} {error}"))?;
        if array.shape.len() != dimensions || values.is_empty() {
            return Err(format!("{name} of {:?}: must have {dimensions} dimensions above 0", array.shape));
        }
        Ok(Some(Grid { dims: array.shape, values }))
    }

    fn picture(&mut self, name: &str) -> Result<([usize; 3], Vec<u8>), String> {
        match self.0.arrays.remove(name) {
            Some(Array { shape, values: Values::U8(bytes) }) if !bytes.is_empty() => {
                let size = shape.try_into().map_err(|shape| format!("{name} of {shape:?}: must be a picture"))?;
                Ok((size, bytes))
            }
            _ => Err(format!("has no bytes {name}")),
        }
    }
}
