//! Named arrays in a safetensors file, parsed with suspicion.
//!
//! The safetensors crate keeps metadata in a hash map, which would order several entries differently in every run; all
//! metadata is therefore one JSON object under one key, and a file written twice is the same bytes.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::element::{DType, Element, Real};
use crate::{Error, Result};

/// The metadata key under which the JSON object stands.
const METADATA_KEY: &str = "cnn";

/// One array of an archive.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Values,
}

/// The values of an [`Array`] in the format of the file.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// binary32.
    F32(Vec<f32>),
    /// binary64.
    F64(Vec<f64>),
    /// Counts.
    I64(Vec<i64>),
    /// Raw bytes.
    U8(Vec<u8>),
}

impl Array {
    /// An array of floating-point values in their own precision.
    pub fn float<A: Real>(shape: Vec<usize>, values: &[A]) -> Self {
        let values = match A::DTYPE {
            DType::F64 => Values::F64(values.iter().map(|v| v.as_f64()).collect()),
            _ => Values::F32(values.iter().map(|v| v.as_f64() as f32).collect()),
        };
        Array { shape, values }
    }

    /// A count, as a scalar.
    pub fn count(value: u64) -> Self {
        Array { shape: Vec::new(), values: Values::I64(vec![i64::try_from(value).unwrap_or(i64::MAX)]) }
    }

    /// The values as floating-point numbers.
    ///
    /// # Errors
    /// The array holds none.
    pub fn to_float<A: Real>(&self) -> Result<Vec<A>> {
        match &self.values {
            Values::F32(values) => Ok(values.iter().map(|&v| A::from_f64(f64::from(v))).collect()),
            Values::F64(values) => Ok(values.iter().map(|&v| A::from_f64(v)).collect()),
            Values::I64(_) | Values::U8(_) => {
                Err(Error::StateDict("holds integers, not floating-point numbers".into()))
            }
        }
    }

    /// The count in a scalar.
    ///
    /// # Errors
    /// The array is no non-negative integer scalar.
    pub fn to_count(&self) -> Result<u64> {
        match &self.values {
            Values::I64(values) if values.len() == 1 && values[0] >= 0 => Ok(values[0] as u64),
            other => Err(Error::StateDict(format!("holds {other:?}, not a count"))),
        }
    }
}

/// Named arrays and a metadata object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Archive {
    /// By name.
    pub arrays: BTreeMap<String, Array>,
    /// JSON values by name.
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

impl Archive {
    /// The file's bytes; the same archive always gives the same bytes.
    ///
    /// # Errors
    /// An array whose shape does not have as many elements as it has values.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let bytes: Vec<(&str, &Array, Dtype, Vec<u8>)> = (self.arrays.iter())
            .map(|(name, array)| {
                let (dtype, bytes) = match &array.values {
                    Values::F32(v) => (Dtype::F32, v.iter().flat_map(|v| v.to_le_bytes()).collect()),
                    Values::F64(v) => (Dtype::F64, v.iter().flat_map(|v| v.to_le_bytes()).collect()),
                    Values::I64(v) => (Dtype::I64, v.iter().flat_map(|v| v.to_le_bytes()).collect()),
                    Values::U8(v) => (Dtype::U8, v.clone()),
                };
                (name.as_str(), array, dtype, bytes)
            })
            .collect();
        let views = bytes
            .iter()
            .map(|(name, array, dtype, bytes)| {
                let view = TensorView::new(*dtype, array.shape.clone(), bytes)
                    .map_err(|error| Error::StateDict(format!("{name}: {error}")))?;
                Ok((*name, view))
            })
            .collect::<Result<Vec<_>>>()?;
        let metadata = serde_json::Value::Object(self.metadata.clone()).to_string();
        let metadata = (!self.metadata.is_empty()).then(|| [(METADATA_KEY.to_owned(), metadata)].into_iter().collect());
        serialize(views, metadata).map_err(|error| Error::StateDict(error.to_string()))
    }

    /// Parses a file. Metadata that is not this crate's is ignored.
    ///
    /// # Errors
    /// Anything that is not a well-formed safetensors file: sizes that overflow or do not cover the file exactly,
    /// trailing bytes, a name that stands twice, an element format that no model here has.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let broken = |message: String| Error::StateDict(format!("not a safetensors file: {message}"));
        let (header_len, header) = SafeTensors::read_metadata(bytes).map_err(|error| broken(error.to_string()))?;
        let text = bytes.get(8..8 + header_len).ok_or_else(|| broken("the header is cut off".into()))?;
        let UniqueKeys = serde_json::from_slice(text).map_err(|error| broken(error.to_string()))?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| broken(error.to_string()))?;
        let mut archive = Archive::default();
        for (name, view) in file.iter() {
            let values = match view.dtype() {
                Dtype::F32 => Values::F32(read(view.data(), f32::from_le_bytes)),
                Dtype::F64 => Values::F64(read(view.data(), f64::from_le_bytes)),
                Dtype::BF16 => Values::F32(read(view.data(), |b| half::bf16::from_le_bytes(b).to_accum())),
                Dtype::F16 => Values::F32(read(view.data(), |b| half::f16::from_le_bytes(b).to_accum())),
                Dtype::I64 => Values::I64(read(view.data(), i64::from_le_bytes)),
                Dtype::U8 => Values::U8(view.data().to_vec()),
                other => return Err(broken(format!("{name} holds {other:?}, which no model here has"))),
            };
            archive.arrays.insert(name.to_owned(), Array { shape: view.shape().to_vec(), values });
        }
        if let Some(text) = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY)) {
            archive.metadata =
                serde_json::from_str(text).map_err(|error| broken(format!("metadata {METADATA_KEY}: {error}")))?;
        }
        Ok(archive)
    }
}

fn read<const N: usize, T>(bytes: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| value(chunk)).collect()
}

/// A JSON object none of whose keys stands twice.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = UniqueKeys;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<UniqueKeys, M::Error> {
                let mut seen = std::collections::HashSet::new();
                while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    if seen.contains(&key) {
                        return Err(serde::de::Error::custom(format!("the name {key} stands twice")));
                    }
                    seen.insert(key);
                }
                Ok(UniqueKeys)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Archive {
        let mut archive = Archive::default();
        archive.arrays.insert("b.weight".into(), Array::float(vec![2, 1], &[1.5f32, -2.0]));
        archive.arrays.insert("a.count".into(), Array::count(7));
        archive.metadata.insert("classes".into(), serde_json::json!(["cat", "dog"]));
        archive.metadata.insert("arch".into(), serde_json::json!("stepwise"));
        archive
    }

    #[test]
    fn a_file_reads_back_and_writes_the_same_bytes() {
        let bytes = archive().to_bytes().unwrap();
        let read = Archive::from_bytes(&bytes).unwrap();
        assert_eq!(read, archive());
        assert_eq!(read.to_bytes().unwrap(), bytes);
    }

    #[test]
    fn every_truncation_and_trailing_byte_is_refused() {
        let bytes = archive().to_bytes().unwrap();
        for end in 0..bytes.len() {
            assert!(Archive::from_bytes(&bytes[..end]).is_err(), "accepted the first {end} bytes");
        }
        assert!(Archive::from_bytes(&[bytes, vec![0]].concat()).is_err());
    }

    #[test]
    fn flipped_bits_never_panic() {
        let bytes = archive().to_bytes().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = Archive::from_bytes(&flipped);
        }
    }

    #[test]
    fn a_name_that_stands_twice_is_refused() {
        let entry = r#""w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
        let header = format!("{{{entry},{entry}}}");
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend([0; 4]);
        let error = Archive::from_bytes(&bytes).unwrap_err().to_string();
        assert!(error.contains("w stands twice"), "{error}");
    }
}
