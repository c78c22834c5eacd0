//! The first directory of a TIFF file, which is what an EXIF block is too: tags, each with some numbers.

const BYTE: u16 = 1;
const SHORT: u16 = 3;
const LONG: u16 = 4;
/// Bytes of an entry: a tag, the kind of its values, how many, and the values if they have room in four bytes, or where they are.
const ENTRY: usize = 12;

/// The first directory of the file.
#[derive(Clone, Copy)]
pub(crate) struct Directory<'a> {
    bytes: &'a [u8],
    little: bool,
    /// Where its entries begin, and how many there are.
    table: usize,
    entries: usize,
}

impl<'a> Directory<'a> {
    /// The directory of a file of these bytes; None if it is none, or ends before the directory.
    pub(crate) fn first(bytes: &'a [u8]) -> Option<Self> {
        let little = match bytes.get(..4)? {
            b"II*\0" => true,
            b"MM\0*" => false,
            _ => return None,
        };
        let mut directory = Directory { bytes, little, table: 0, entries: 0 };
        let at = directory.number(4, 4)? as usize;
        directory.entries = directory.number(at, 2)? as usize;
        directory.table = at.checked_add(2)?;
        Some(directory)
    }

    fn number(&self, at: usize, size: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at.checked_add(size)?)?;
        let join = |number: u32, &byte: &u8| number << 8 | u32::from(byte);
        Some(if self.little { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) })
    }

    /// Where the values of `tag` are, the size of one, and how many they are; none where the directory does not have it, or as
    /// what is no whole number. None if the bytes end before.
    fn values(&self, tag: u16) -> Option<(usize, usize, usize)> {
        for entry in 0..self.entries {
            let at = self.table.checked_add(ENTRY * entry)?;
            let [found, kind] = [self.number(at, 2)?, self.number(at + 2, 2)?].map(|word| word as u16);
            if found != tag {
                continue;
            }
            let size = match kind {
                BYTE => 1,
                SHORT => 2,
                LONG => 4,
                _ => return Some((0, 1, 0)),
            };
            let count = self.number(at + 4, 4)? as usize;
            let place = if count <= 4 / size { at + 8 } else { self.number(at + 8, 4)? as usize };
            self.bytes.get(place..place.checked_add(size.checked_mul(count)?)?)?;
            return Some((place, size, count));
        }
        Some((0, 1, 0))
    }

    /// The numbers of `tag`, and none where the directory does not have it; None if the bytes end before.
    pub(crate) fn numbers(&self, tag: u16) -> Option<impl Iterator<Item = u32> + use<'a>> {
        let (place, size, count) = self.values(tag)?;
        let directory = *self;
        Some((0..count).filter_map(move |i| directory.number(place + size * i, size)))
    }

    /// Where in the bytes the values of `tag` are, if it has some.
    #[cfg(feature = "formats")]
    pub(crate) fn place(&self, tag: u16) -> Option<std::ops::Range<usize>> {
        let (place, size, count) = self.values(tag).filter(|&(_, _, count)| count > 0)?;
        Some(place..place + size * count)
    }

    /// Whether the last byte of a number is its smallest.
    #[cfg(feature = "formats")]
    pub(crate) fn is_big_endian(&self) -> bool {
        !self.little
    }
}
