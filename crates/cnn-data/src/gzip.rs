//! gzip files: a row of members, each with its own header and checksum (RFC 1952, section 2.2).

use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, Read};

/// Decompresses every member of a gzip file, as `pigz` and `bgzip` write several. Zeros after the last one are padding.
pub(crate) struct Gzip<R: BufRead> {
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Gzip<R> {
    pub(crate) fn new(reader: R) -> Self {
        Gzip { member: Some(GzDecoder::new(reader)) }
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let length = member.read(into)?;
            if length > 0 || into.is_empty() {
                return Ok(length);
            }
            let reader = self.member.take().map(GzDecoder::into_inner);
            self.member = reader.map(after_padding).transpose()?.flatten().map(GzDecoder::new);
        }
        Ok(0)
    }
}

/// The reader at its first byte that is not 0, if there is one.
fn after_padding<R: BufRead>(mut reader: R) -> io::Result<Option<R>> {
    loop {
        let bytes = reader.fill_buf()?;
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        if bytes.is_empty() {
            return Ok(None);
        }
        let more = zeros < bytes.len();
        reader.consume(zeros);
        if more {
            return Ok(Some(reader));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn member(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn members_are_joined_and_padding_is_none() {
        let read = |bytes: &[u8]| {
            let mut text = String::new();
            Gzip::new(io::BufReader::with_capacity(3, bytes)).read_to_string(&mut text).map(|_| text)
        };
        let [one, two] = ["one ", "two"].map(member);
        assert_eq!(read(&one).unwrap(), "one ");
        assert_eq!(read(&[&one[..], &two].concat()).unwrap(), "one two");
        assert_eq!(read(&[&one[..], &[0; 7], &two, &[0; 512]].concat()).unwrap(), "one two");
        assert!(read(&[&one[..], b"text"].concat()).is_err());
        assert!(read(&[&one[..], &two[..two.len() - 1]].concat()).is_err(), "the second member is truncated");
    }
}
