//! Archives written, read, damaged and refused.

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
fn what_is_no_count_is_told_in_a_line() {
    let error = |array: Array| array.to_count().unwrap_err().to_string();
    assert_eq!(error(Array::float(vec![1000], &[0.5f32; 1000])), "holds F32 values of shape [1000], not a count");
    let counts = |values: Vec<i64>, shape| error(Array { shape, values: Values::I64(values) });
    assert_eq!(counts(vec![-1], vec![]), "holds -1, not a count");
    assert_eq!(counts(vec![1, 2], vec![2]), "holds I64 values of shape [2], not a count");
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
fn every_flipped_bit_is_noticed_or_changes_nothing() {
    let bytes = archive().to_bytes().unwrap();
    let mut noticed = 0;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match Archive::from_bytes(&flipped) {
            Ok(read) => {
                let text = String::from_utf8_lossy(&bytes[bit / 8 - 12..][..24]).into_owned();
                assert!(read.metadata.is_empty() || read == archive(), "bit {bit}, near {text}: {read:?}");
            }
            Err(_) => noticed += 1,
        }
    }
    // What is left are letters of the metadata's own keys, and blanks.
    assert!(noticed * 10 > bytes.len() * 8 * 9, "{noticed} of {} bits", bytes.len() * 8);
}

#[test]
fn a_file_says_what_other_programs_ask_for() {
    let bytes = archive().to_bytes().unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    assert_eq!(metadata["format"], "pt");
    let mut keys: Vec<&String> = metadata.keys().collect();
    keys.sort();
    assert_eq!(keys, ["cnn", "format", "sha256"]);
    assert_eq!((bytes.len() - 8 - header_len(&bytes).unwrap() as usize, header_len(&bytes).unwrap() % 8), (16, 0));
    // Without arrays, and with nothing at all.
    let only = Archive { arrays: BTreeMap::new(), ..archive() };
    assert_eq!(Archive::from_bytes(&only.to_bytes().unwrap()).unwrap(), only);
    assert_eq!(Archive::default().to_bytes().unwrap(), b"\x08\0\0\0\0\0\0\0{}      ");
}

#[test]
fn a_digest_is_that_of_names_shapes_and_values() {
    let mut digests = vec![archive().digest()];
    assert_eq!(digests[0].len(), 64);
    let mut change = |change: &dyn Fn(&mut BTreeMap<String, Array>)| {
        let mut other = archive();
        change(&mut other.arrays);
        let digest = other.digest();
        assert!(!digests.contains(&digest));
        digests.push(digest);
    };
    change(&|arrays| drop(arrays.remove("a.count")));
    change(&|arrays| arrays.get_mut("b.weight").unwrap().shape = vec![1, 2]);
    change(&|arrays| arrays.get_mut("b.weight").unwrap().values = Values::F32(vec![1.5, 2.0]));
    change(&|arrays| drop(arrays.insert("b.weights".into(), Array::count(7))));
    let without_metadata = Archive { metadata: serde_json::Map::new(), ..archive() };
    assert_eq!(without_metadata.digest(), archive().digest());
}

#[test]
fn an_array_of_another_shape_than_its_values_is_not_written() {
    let mut archive = archive();
    archive.arrays.get_mut("b.weight").unwrap().shape = vec![3, 1];
    let error = archive.to_bytes().unwrap_err().to_string();
    assert_eq!(error, "b.weight: F32 values of 8 bytes do not make an array of shape [3, 1]");
}

#[test]
fn what_pytorch_supplies_or_spells_otherwise_is_read() {
    let mut bytes = archive().to_bytes().unwrap();
    let header = br#"{"n":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}}"#;
    bytes.clear();
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header);
    bytes.extend([7i32, -1].iter().flat_map(|n| n.to_le_bytes()));
    assert_eq!(Archive::from_bytes(&bytes).unwrap().arrays["n"].values, Values::I64(vec![7, -1]));
}

#[test]
fn numbers_of_16_bits_are_read() {
    let header = br#"{"b":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]},"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend([1.5, -0.25].iter().flat_map(|&number| half::f16::from_f64(number).to_le_bytes()));
    bytes.extend([3.0, -0.125].iter().flat_map(|&number| half::bf16::from_f64(number).to_le_bytes()));
    let arrays = Archive::from_bytes(&bytes).unwrap().arrays;
    assert_eq!(arrays["h"].values, Values::F32(vec![1.5, -0.25]));
    assert_eq!(arrays["b"].values, Values::F32(vec![3.0, -0.125]));
}

#[test]
fn a_long_header_is_refused_before_it_is_parsed() {
    let text = format!(r#"{{"__metadata__":{{"cnn":"{{}}","x":"{}"}}}}"#, " ".repeat(MAX_HEADER));
    let bytes = [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let error = Archive::from_bytes(&bytes).unwrap_err().to_string();
    assert!(error.contains("bytes, which must be at most 4194304"), "{error}");
}

#[test]
fn what_is_saved_in_the_place_of_weights_is_called_what_it_is() {
    let said = |text: &str| Archive::from_bytes(text.as_bytes()).unwrap_err().to_string();
    assert!(said("<!DOCTYPE html>\n<html>").contains("it is a web page"));
    assert!(said("version https://git-lfs.github.com/spec/v1\noid sha256:1\n").contains("git lfs pull"));
    assert!(said("<").contains("it is a web page") && said("{}").contains("too short"));
}

#[test]
fn a_file_is_read_to_its_end_and_no_further() {
    let folder = std::env::temp_dir().join(format!("cnn-core-archive-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("x.safetensors");
    std::fs::write(&path, archive().to_bytes().unwrap()).unwrap();
    assert_eq!(Archive::read(&path).unwrap(), archive());
    assert!(Archive::read(&folder).is_err());
    assert!(Archive::read(&folder.join("none")).unwrap_err().to_string().contains("none"));
    #[cfg(unix)]
    assert!(Archive::read(Path::new("/dev/zero")).unwrap_err().to_string().contains("no regular file"));
    std::fs::remove_dir_all(&folder).unwrap();
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
