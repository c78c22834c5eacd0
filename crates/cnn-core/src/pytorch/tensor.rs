//! Tensors of a PyTorch file made arrays.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::objects::{Storage, Tensor, broken};
use super::pickle::Pickle;
use crate::Result;
use crate::archive::{Array, Values};
use crate::element::Element;

/// The bytes of a file's storages by name.
pub(super) struct Storages<'a> {
    by_name: BTreeMap<String, &'a [u8]>,
    /// How many more bytes of arrays are read. Many views of one storage would be more than any file holds.
    left: Cell<usize>,
}

/// Bytes of arrays, 8 an element, for each byte of a file: numbers of 16 bits take four times as much, and tied weights come twice.
const MOST_TIMES: usize = 16;

impl<'a> Storages<'a> {
    /// Storages of a file of `len` bytes.
    pub(super) fn new(by_name: BTreeMap<String, &'a [u8]>, len: usize) -> Self {
        Storages { by_name, left: Cell::new(len.saturating_mul(MOST_TIMES)) }
    }

    /// The elements that `tensor` views, in rows.
    pub(super) fn array(&self, tensor: &Tensor) -> Result<Array> {
        let Tensor { storage, shape, .. } = tensor;
        let kind = Kind::of(&storage.class)?;
        let bytes = self.by_name.get(&*storage.key);
        let bytes = bytes.ok_or_else(|| broken(format!("the storage {} is missing", storage.key)))?;
        let count = count(tensor, bytes.len() / kind.size())?;
        let left = self.left.get().checked_sub(count.saturating_mul(size_of::<i64>()));
        self.left.set(left.ok_or_else(|| broken("its tensors view more than the file holds"))?);
        Ok(Array { shape: shape.clone(), values: kind.values(bytes, places(tensor, count)) })
    }
}

/// How many elements a tensor has, all of them within a storage of `len` elements.
fn count(tensor: &Tensor, len: usize) -> Result<usize> {
    let Tensor { offset, shape, strides, storage } = tensor;
    let count = shape.iter().try_fold(1usize, |count, &dim| count.checked_mul(dim));
    let reach =
        |last: usize, (&dim, &stride): (&usize, &usize)| last.checked_add(dim.saturating_sub(1).checked_mul(stride)?);
    let last = shape.iter().zip(strides).try_fold(*offset, reach);
    let inside = count == Some(0) || last.is_some_and(|last| last < len);
    // A stride of 0 repeats an element, which weights do not.
    count.filter(|&count| inside && count <= len).ok_or_else(|| {
        let key = &storage.key;
        broken(format!("a tensor of shape {shape:?} at {offset} in the storage {key} of {len} elements"))
    })
}

/// Where in its storage each of a tensor's elements is.
fn places(tensor: &Tensor, count: usize) -> impl Iterator<Item = usize> {
    let Tensor { offset, shape, strides, .. } = tensor;
    let (mut index, mut place) = (vec![0; shape.len()], *offset);
    (0..count).map(move |_| {
        let here = place;
        for ((index, &dim), &stride) in index.iter_mut().zip(shape).zip(strides).rev() {
            *index += 1;
            if *index < dim {
                place += stride;
                break;
            }
            *index = 0;
            place -= (dim - 1) * stride;
        }
        here
    })
}

/// How many bytes an element of each storage of a pickle has, by its name.
pub(super) fn element_sizes(pickle: &Pickle) -> BTreeMap<String, Result<usize>> {
    let size = |storage: &Rc<Storage>| (storage.key.to_string(), Kind::of(&storage.class).map(Kind::size));
    pickle.storages.iter().map(size).collect()
}

/// A type of elements.
#[derive(Clone, Copy)]
enum Kind {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
}

impl Kind {
    /// That of a storage's class.
    fn of(class: &str) -> Result<Self> {
        Ok(match class {
            "DoubleStorage" => Kind::F64,
            "FloatStorage" => Kind::F32,
            "HalfStorage" => Kind::F16,
            "BFloat16Storage" => Kind::Bf16,
            "LongStorage" => Kind::I64,
            "IntStorage" => Kind::I32,
            "ShortStorage" => Kind::I16,
            "CharStorage" => Kind::I8,
            "ByteStorage" | "BoolStorage" => Kind::U8,
            other => return Err(broken(format!("it holds {other}, which no model here has"))),
        })
    }

    fn size(self) -> usize {
        match self {
            Kind::F64 | Kind::I64 => 8,
            Kind::F32 | Kind::I32 => 4,
            Kind::F16 | Kind::Bf16 | Kind::I16 => 2,
            Kind::I8 | Kind::U8 => 1,
        }
    }

    /// The elements at `places` of `bytes`.
    fn values(self, bytes: &[u8], places: impl Iterator<Item = usize>) -> Values {
        fn read<const N: usize, T>(
            bytes: &[u8],
            places: impl Iterator<Item = usize>,
            number: impl Fn([u8; N]) -> T,
        ) -> Vec<T> {
            let elements = bytes.as_chunks::<N>().0;
            places.map(|place| number(elements[place])).collect()
        }
        match self {
            Kind::F64 => Values::F64(read(bytes, places, f64::from_le_bytes)),
            Kind::F32 => Values::F32(read(bytes, places, f32::from_le_bytes)),
            Kind::F16 => Values::F32(read(bytes, places, |b| half::f16::from_le_bytes(b).to_accum())),
            Kind::Bf16 => Values::F32(read(bytes, places, |b| half::bf16::from_le_bytes(b).to_accum())),
            Kind::I64 => Values::I64(read(bytes, places, i64::from_le_bytes)),
            Kind::I32 => Values::I64(read(bytes, places, |b| i32::from_le_bytes(b).into())),
            Kind::I16 => Values::I64(read(bytes, places, |b| i16::from_le_bytes(b).into())),
            Kind::I8 => Values::I64(read(bytes, places, |b| i8::from_le_bytes(b).into())),
            Kind::U8 => Values::U8(read(bytes, places, |[b]| b)),
        }
    }
}
