//! Buffers that are changed part by part: in place, unless another handle shares them.

use cnn_core::{Plain, Result};

use crate::buffer::Buffer;
use crate::device::Cpu;
use crate::element::CpuElement;
use crate::threads::{Chunks, Parts, pieces};

/// A buffer to be changed. Where another handle shares it, a new one takes its place, and each part is copied as it is
/// handed out: while it is in the cache, and by the thread that changes it.
pub(crate) struct Update<U: Plain> {
    buffer: Buffer<U>,
    /// What is copied.
    shared: Option<Buffer<U>>,
}

impl<U: Plain> Update<U> {
    pub(crate) fn new<T: CpuElement>(cpu: &Cpu<T>, mut buffer: Buffer<U>) -> Result<Self> {
        if buffer.is_unique() {
            return Ok(Update { buffer, shared: None });
        }
        Ok(Update { buffer: cpu.alloc(buffer.len())?, shared: Some(buffer) })
    }

    /// Parts of `size` numbers, holding what they did; the last may be shorter. Each is to be taken once.
    pub(crate) fn parts(&mut self, size: usize) -> Result<UpdateParts<'_, U>> {
        let whole = self.buffer.len().max(1);
        self.pieces(whole, size)
    }

    /// The same of every `whole` numbers: no part lies in two of them.
    pub(crate) fn pieces(&mut self, whole: usize, size: usize) -> Result<UpdateParts<'_, U>> {
        let shared = self.shared.as_ref().map(Buffer::as_slice);
        Ok(UpdateParts { parts: pieces(self.buffer.make_mut()?, whole, size), shared })
    }

    /// The buffer, all of its parts changed.
    pub(crate) fn done(self) -> Buffer<U> {
        self.buffer
    }
}

/// See [`Update::parts`].
pub(crate) struct UpdateParts<'a, U> {
    parts: Chunks<'a, U>,
    shared: Option<&'a [U]>,
}

impl<'a, U: Plain> Parts for UpdateParts<'a, U> {
    type Part = &'a mut [U];
    fn count(&self) -> usize {
        self.parts.count()
    }
    unsafe fn part(&self, i: usize) -> &'a mut [U] {
        // SAFETY: the caller's promise.
        let part = unsafe { self.parts.part(i) };
        if let Some(shared) = self.shared {
            part.copy_from_slice(&shared[self.parts.range(i)]);
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use cnn_core::backend::Device;

    use super::*;

    #[test]
    fn pieces_do_not_lie_in_two_wholes() {
        let cpu = Cpu::<f32>::with_threads(2).unwrap();
        for shared in [false, true] {
            let buffer = cpu.upload(&(0..21u32).collect::<Vec<_>>()).unwrap();
            let other = shared.then(|| buffer.clone());
            let mut update = Update::new(&cpu, buffer).unwrap();
            let found = Mutex::new(BTreeMap::new());
            cpu.for_each_part(update.pieces(7, 3).unwrap(), |i, part| {
                found.lock().unwrap().insert(i, part.to_vec());
            });
            let found: Vec<_> = found.into_inner().unwrap().into_values().collect();
            let expected = [0..3, 3..6, 6..7, 7..10, 10..13, 13..14, 14..17, 17..20, 20..21];
            assert_eq!(found, expected.map(|range: std::ops::Range<u32>| range.collect::<Vec<_>>()));
            drop(other);
        }
    }

    #[test]
    fn in_place_or_in_a_copy() {
        let cpu = Cpu::<f32>::with_threads(2).unwrap();
        let numbers: Vec<u32> = (0..25).collect();
        let increased: Vec<u32> = (1..26).collect();
        for shared in [false, true] {
            let buffer = cpu.upload(&numbers).unwrap();
            let (at, other) = (buffer.as_slice().as_ptr(), shared.then(|| buffer.clone()));
            let mut update = Update::new(&cpu, buffer).unwrap();
            cpu.for_each_part(update.parts(10).unwrap(), |_, part| part.iter_mut().for_each(|x| *x += 1));
            let buffer = update.done();
            assert_eq!(buffer.as_slice(), increased);
            assert_eq!(buffer.as_slice().as_ptr() == at, !shared);
            assert!(other.is_none_or(|other| other.as_slice() == numbers));
        }
    }
}
