//! Files of `torch.save`, which `tests/golden/golden.py` has written, are read as PyTorch reads them.

use cnn_core::archive::{Archive, Array, Values};
use cnn_core::pytorch::from_bytes;

const FILES: [(&str, &[u8]); 3] = [
    ("zip", include_bytes!("../../../golden/zip.pth")),
    ("older", include_bytes!("../../../golden/older.pth")),
    ("protocol 4", include_bytes!("../../../golden/protocol_4.pth")),
];

fn floats(archive: &Archive, name: &str) -> Vec<f64> {
    archive.arrays[name].to_float::<f64>().unwrap()
}

#[test]
fn tensors_come_in_rows_whatever_they_view() {
    for (format, bytes) in FILES {
        let archive = from_bytes(bytes).unwrap_or_else(|error| panic!("{format}: {error}"));
        let rows: Vec<f64> = (0..6).map(f64::from).collect();
        assert_eq!(
            archive.arrays["state_dict.plain"],
            Array::float(vec![2, 3], &rows.iter().map(|&v| v as f32).collect::<Vec<_>>()),
            "{format}"
        );
        assert_eq!(archive.arrays["state_dict.transposed"].shape, [3, 2], "{format}");
        assert_eq!(floats(&archive, "state_dict.transposed"), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0], "{format}");
        assert_eq!(floats(&archive, "state_dict.column"), [1.0, 4.0], "{format}");
        assert_eq!(floats(&archive, "state_dict.tied"), rows, "{format}");
        for kind in ["half", "bfloat16", "double"] {
            assert_eq!(floats(&archive, &format!("state_dict.{kind}")), [1.5, -2.0, 0.25], "{format}, {kind}");
        }
        assert_eq!(archive.arrays["state_dict.parameter"].shape, [1, 1, 1, 2], "{format}");
        assert_eq!(archive.arrays["state_dict.empty"].shape, [0, 4], "{format}");
        assert_eq!(archive.arrays["state_dict.num_batches_tracked"], Array::count(7), "{format}");
        assert_eq!(archive.arrays["state_dict.int"].values, Values::I64(vec![-1, 2]), "{format}");
        assert_eq!(archive.arrays["state_dict.bool"].values, Values::U8(vec![1, 0]), "{format}");
        assert_eq!(floats(&archive, "optimizer.state.0.exp_avg"), [3.0], "{format}");
        assert_eq!(archive.arrays.len(), 13, "{format}: {:?}", archive.arrays.keys());
    }
}

#[test]
fn every_truncation_is_refused_and_no_flipped_bit_ends_the_program() {
    for (format, bytes) in FILES {
        for end in 0..bytes.len() {
            assert!(from_bytes(&bytes[..end]).is_err(), "{format}: accepted the first {end} bytes of {}", bytes.len());
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // The older format has no checksum, so that numbers may be others; what there is must still be whole.
            if let Ok(archive) = from_bytes(&flipped) {
                archive.to_bytes().unwrap();
            }
        }
    }
}
