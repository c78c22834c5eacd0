//! Named arrays in a safetensors file, parsed with suspicion.
//!
//! A file with metadata has three entries of it: `cnn`, one JSON object; `format`, which other programs ask for; and
//! `sha256`, by which damage is noticed. The safetensors crate keeps metadata in a hash map, which would order them
//! differently in every run; they are put into the header here, and a file written twice is the same bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, View, serialize};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use sha2::{Digest, Sha256};

use crate::element::{DType, Element, Real};
use crate::{Error, Result};

/// The metadata key under which the JSON object stands.
const METADATA_KEY: &str = "cnn";
/// The metadata key of the digest of the JSON object's text and the arrays.
const DIGEST_KEY: &str = "sha256";
/// How many bytes the length of the header takes at the start of a file.
const LENGTH: usize = size_of::<u64>();
/// The longest header that is parsed: room for a hundred thousand class names. Parsed, a byte can become thirty.
const MAX_HEADER: usize = 4 << 20;

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

    /// As [`Array::to_float`], of numbers that must be finite and at least `least`.
    ///
    /// # Errors
    /// One is not, or the array holds none.
    pub fn to_finite<A: Real>(&self, least: f64) -> Result<Vec<A>> {
        let values: Vec<A> = self.to_float()?;
        let allowed = |value: &&A| value.is_finite() && value.as_f64() >= least;
        match values.iter().find(|value| !allowed(value)) {
            Some(value) if value.is_finite() => {
                Err(Error::StateDict(format!("holds {value}: must be at least {least}")))
            }
            Some(value) => Err(Error::StateDict(format!("holds {value}: must be finite"))),
            None => Ok(values),
        }
    }

    /// The count in a scalar.
    ///
    /// # Errors
    /// The array is no non-negative integer scalar.
    pub fn to_count(&self) -> Result<u64> {
        match &self.values {
            Values::I64(values) if values.len() == 1 && values[0] >= 0 => Ok(values[0] as u64),
            Values::I64(values) if values.len() == 1 => {
                Err(Error::StateDict(format!("holds {}, not a count", values[0])))
            }
            // An array may have millions of values.
            _ => {
                let (dtype, shape) = (View::dtype(&self), &self.shape);
                Err(Error::StateDict(format!("holds {dtype:?} values of shape {shape:?}, not a count")))
            }
        }
    }
}

impl View for &Array {
    fn dtype(&self) -> Dtype {
        match self.values {
            Values::F32(_) => Dtype::F32,
            Values::F64(_) => Dtype::F64,
            Values::I64(_) => Dtype::I64,
            Values::U8(_) => Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match &self.values {
            Values::F32(values) => write(values, f32::to_le_bytes).into(),
            Values::F64(values) => write(values, f64::to_le_bytes).into(),
            Values::I64(values) => write(values, i64::to_le_bytes).into(),
            Values::U8(values) => values.into(),
        }
    }

    fn data_len(&self) -> usize {
        match &self.values {
            Values::F32(values) => size_of_val(&values[..]),
            Values::F64(values) => size_of_val(&values[..]),
            Values::I64(values) => size_of_val(&values[..]),
            Values::U8(values) => values.len(),
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
    /// SHA-256 of the arrays, their names and shapes included, in hexadecimal digits.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let mut text = |text: &[u8]| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        for (name, array) in &self.arrays {
            text(name.as_bytes());
            text(format!("{:?} {:?}", array.dtype(), array.shape).as_bytes());
            text(&array.data());
        }
        hexadecimal(hash.finalize())
    }

    /// The file's bytes; the same archive always gives the same bytes. Without metadata they are those of PyTorch's
    /// `safetensors.torch.save_file`; with it the file carries a digest, which [`Archive::from_bytes`] checks.
    ///
    /// # Errors
    /// An array whose shape does not have as many elements as it has values.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        for (name, array) in &self.arrays {
            let (dtype, shape, len) = (array.dtype(), &array.shape, array.data_len());
            let fits = shape.iter().try_fold(dtype.bitsize() / 8, |bytes, &dim| bytes.checked_mul(dim)) == Some(len);
            if !fits {
                let message =
                    format!("{name}: {dtype:?} values of {len} bytes do not make an array of shape {shape:?}");
                return Err(Error::StateDict(message));
            }
        }
        let mut bytes = serialize(&self.arrays, None).map_err(|error| Error::StateDict(error.to_string()))?;
        if self.metadata.is_empty() {
            return Ok(bytes);
        }
        let text = serde_json::Value::Object(self.metadata.clone()).to_string();
        let digest = file_digest(&text, self);
        let metadata = BTreeMap::from([(METADATA_KEY, text.as_str()), ("format", "pt"), (DIGEST_KEY, &digest)]);
        let mut header = serde_json::json!({ "__metadata__": metadata }).to_string().into_bytes();
        // Of the two objects `{"__metadata__":{...}}` and `{"a":...}` one is made.
        let arrays = LENGTH..LENGTH + header_len(&bytes).unwrap_or(0) as usize;
        header.pop();
        header.extend(if self.arrays.is_empty() { &b""[..] } else { b"," });
        header.extend(&bytes[arrays.start + 1..arrays.end]);
        header.resize(header.len().next_multiple_of(LENGTH), b' ');
        let length = (header.len() as u64).to_le_bytes();
        bytes.splice(..arrays.end, length.into_iter().chain(header));
        Ok(bytes)
    }

    /// Parses a file. Metadata that is not this crate's is ignored, and a file without a digest is believed.
    ///
    /// # Errors
    /// Anything that is not a well-formed safetensors file: sizes that overflow or do not cover the file exactly,
    /// trailing bytes, a name that stands twice, an element format that no model here has, a header of more than 4 MiB;
    /// and one whose content is not that of its digest.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        check_header(bytes)?;
        let (header_len, header) = SafeTensors::read_metadata(bytes).map_err(|error| broken(error.to_string()))?;
        let text = bytes.get(LENGTH..LENGTH + header_len).ok_or_else(|| broken("the header is cut off"))?;
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
                Dtype::I32 => Values::I64(read(view.data(), |b| i32::from_le_bytes(b).into())),
                Dtype::U8 => Values::U8(view.data().to_vec()),
                other => return Err(broken(format!("{name} holds {other:?}, which no model here has"))),
            };
            archive.arrays.insert(name.to_owned(), Array { shape: view.shape().to_vec(), values });
        }
        let entry = |key| header.metadata().as_ref().and_then(|metadata| metadata.get(key));
        if let Some(text) = entry(METADATA_KEY) {
            archive.metadata =
                serde_json::from_str(text).map_err(|error| broken(format!("metadata {METADATA_KEY}: {error}")))?;
            if let Some(digest) = entry(DIGEST_KEY).filter(|digest| **digest != file_digest(text, &archive)) {
                return Err(Error::StateDict(format!(
                    "metadata {DIGEST_KEY} {digest}: is not the digest of the content: the file is damaged, or was \
                     changed by a program that kept its metadata"
                )));
            }
        }
        Ok(archive)
    }

    /// Reads a file, of which no more than the first bytes where they are no header's.
    ///
    /// # Errors
    /// The file cannot be read, is no regular file, or as [`Archive::from_bytes`].
    pub fn read(path: &Path) -> Result<Self> {
        let io = |error| Error::io(path, error);
        let mut file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(broken("it is no regular file"));
        }
        let mut bytes = Vec::new();
        file.by_ref().take(LENGTH as u64).read_to_end(&mut bytes).map_err(io)?;
        check_header(&bytes)?;
        bytes.reserve_exact(metadata.len().saturating_sub(bytes.len() as u64) as usize);
        file.take(metadata.len()).read_to_end(&mut bytes).map_err(io)?;
        Archive::from_bytes(&bytes)
    }
}

fn broken(message: impl Into<String>) -> Error {
    Error::StateDict(format!("not a safetensors file: {}", message.into()))
}

/// The length of the header, with which a file begins.
fn header_len(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|&length| u64::from_le_bytes(length))
}

/// Refuses a header that is too long to be parsed, and what is often saved in the place of weights.
fn check_header(bytes: &[u8]) -> Result<()> {
    if bytes.starts_with(b"<") {
        return Err(broken("it is a web page, which a download saves that was refused"));
    }
    if bytes.starts_with(b"version ") {
        return Err(broken("it is Git LFS's note of where the file is: git lfs pull fetches it"));
    }
    match header_len(bytes) {
        Some(length) if length > MAX_HEADER as u64 => {
            Err(broken(format!("a header of {length} bytes, which must be at most {MAX_HEADER}")))
        }
        Some(_) => Ok(()),
        None => Err(broken("it is too short for a header")),
    }
}

/// What a file says under [`DIGEST_KEY`].
fn file_digest(metadata: &str, archive: &Archive) -> String {
    hexadecimal(Sha256::new_with_prefix(metadata).chain_update(archive.digest()).finalize())
}

/// Two lower-case hexadecimal digits a byte, as digests are written.
pub fn hexadecimal(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write<const N: usize, T: Copy>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    let mut all = Vec::with_capacity(values.len() * N);
    values.iter().for_each(|&value| all.extend_from_slice(&bytes(value)));
    all
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
mod tests;
