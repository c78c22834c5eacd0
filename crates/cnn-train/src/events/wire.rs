//! The few messages of TensorBoard's event files, as protocol buffers on the wire, and the records that hold them.
//!
//! Field numbers are those of `tensorflow/core/util/event.proto` and `framework/summary.proto`; a record is that of
//! `lib/io/record_writer.h`: length, its checksum, the message, its checksum.

/// A message that is being written: each method appends a field.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

/// How a field's value is laid out.
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

impl Message {
    fn tag(&mut self, field: u32, wire: Wire) {
        self.varint(u64::from(field << 3 | wire as u32));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(super) fn integer(mut self, field: u32, value: u64) -> Self {
        self.tag(field, Wire::Varint);
        self.varint(value);
        self
    }

    pub(super) fn double(mut self, field: u32, value: f64) -> Self {
        self.tag(field, Wire::Fixed64);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn float(mut self, field: u32, value: f32) -> Self {
        self.tag(field, Wire::Fixed32);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.tag(field, Wire::Bytes);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    pub(super) fn message(self, field: u32, value: Message) -> Self {
        self.bytes(field, &value.0)
    }

    /// A repeated double, packed.
    pub(super) fn doubles(self, field: u32, values: impl IntoIterator<Item = f64>) -> Self {
        let bytes: Vec<u8> = values.into_iter().flat_map(f64::to_le_bytes).collect();
        self.bytes(field, &bytes)
    }

    /// The message as a record of an event file.
    pub(super) fn record(self) -> Vec<u8> {
        let length = (self.0.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked(&length));
        record.extend(&self.0);
        record.extend(masked(&self.0));
        record
    }
}

/// CRC-32C, turned and moved so that the checksum of data that holds checksums is no special one.
fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_protocol_buffers() {
        // By hand, from the encoding's description.
        let inner = Message::default().bytes(1, b"ab").float(2, 1.0);
        let message = Message::default().integer(2, 300).double(1, 2.0).message(5, inner).doubles(6, [0.5]);
        let expected = [
            &[0x10, 0xAC, 0x02][..],
            &[0x09, 0, 0, 0, 0, 0, 0, 0, 0x40],
            &[0x2A, 9, 0x0A, 2, b'a', b'b', 0x15, 0, 0, 0x80, 0x3F],
            &[0x32, 8, 0, 0, 0, 0, 0, 0, 0xE0, 0x3F],
        ];
        assert_eq!(message.0, expected.concat());
    }

    #[test]
    fn a_record_has_both_checksums() {
        // The file version of an event file of TensorFlow 2, as it begins.
        let first = Message::default().double(1, 0.0).bytes(3, b"brain.Event:2");
        let record = first.record();
        assert_eq!(record[..12], [24, 0, 0, 0, 0, 0, 0, 0, 0xA3, 0x7F, 0x4B, 0x22]);
        assert_eq!(record.len(), 12 + 24 + 4);
    }
}
