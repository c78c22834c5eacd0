use super::*;

fn floats(archive: &Archive, name: &str) -> Vec<f64> {
    archive.arrays[name].to_float::<f64>().unwrap()
}

/// A file of the older format around a pickle of the object.
fn around(object: &[u8]) -> Vec<u8> {
    [&OLDER[..], b".\x80\x02M\xe9\x03.", b"\x80\x02}.", object, b"\x80\x02]."].concat()
}

fn error(object: &[u8]) -> String {
    from_bytes(&around(object)).unwrap_err().to_string()
}

#[test]
fn nothing_is_called_that_is_no_part_of_a_state_dict() {
    // pickle.dumps(Evil(), 2), whose __reduce__ is (os.system, ("echo hello",)), as Python 2 and 3 on Unix spell it.
    for (module, name) in [("posix", "system"), ("builtins", "eval"), ("torch.hub", "load"), ("subprocess", "Popen")] {
        let object = [format!("\x02c{module}\n{name}\n").as_bytes(), b"X\x0a\0\0\0echo hello\x85R."].concat();
        let object = [b"\x80", &object[..]].concat();
        let said = error(&object);
        assert!(said.contains(&format!("it calls {module}.{name}: no weights need that")), "{said}");
    }
    let whole = error(b"\x80\x02ctorchvision.models.resnet\nResNet\n)\x81.");
    assert!(whole.contains("it calls torchvision.models.resnet.ResNet: it holds a whole network"), "{whole}");
    assert!(error(b"\x80\x02i.").contains("the instruction 'i' at byte 2"), "{}", error(b"\x80\x02i."));
    assert!(error(b"\x80\x02N.").contains("holds no tensors"), "{}", error(b"\x80\x02N."));
}

#[test]
fn a_pickle_that_grows_without_end_is_refused() {
    // A dictionary that holds itself; one that is held by thirty others, each twice.
    let own = error(b"\x80\x02}q\0K\x01h\0s.");
    assert!(own.contains("within each other"), "{own}");
    let mut nested = b"\x80\x02}".to_vec();
    for place in 0..15u8 {
        nested.extend([b'q', place, b'}', b'(']);
        for key in 0..16u8 {
            nested.extend([b'K', key, b'h', place]);
        }
        nested.extend(b"u");
    }
    nested.extend(b".");
    assert!(error(&nested).contains("values"), "{}", error(&nested));
}

#[test]
fn a_small_file_takes_little_stack_and_memory() {
    // Tuples of tuples, deeper than any stack; a place of the memory far out; lists of nothing, again and again.
    let deep = error(&[b"\x80\x02N".as_slice(), &[0x85; 1_000_000], b"."].concat());
    assert!(deep.contains("holds no tensors"), "{deep}");
    assert!(error(&[b"\x80\x02N".as_slice(), &[0x85; 1 << 21], b"."].concat()).contains("more than 1048576 values"));
    assert!(error(b"\x80\x02Nr\xff\xff\xff\x7f.").contains("the place 2147483647 of a memory"));
    let wide = [b"(".as_slice(), &[b'N'; 1 << 20], b"e"].concat();
    let wide = error(&[b"\x80\x02]".as_slice(), &wide.repeat(5), b"."].concat());
    assert!(wide.contains("values"), "{wide}");
}

#[test]
fn views_that_are_larger_than_their_storage_are_refused() {
    // Four elements in the storage "0", of which the object views `shape` at `offset` by `stride`.
    let file = |offset: u8, shape: u8, stride: u8| {
        let mut object =
            b"\x80\x02}K\x01ctorch._utils\n_rebuild_tensor\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000"
                .to_vec();
        object.extend(b"X\x03\0\0\0cpuK\x04tQK");
        object.extend([offset, b'K', shape, 0x85, b'K', stride, 0x85]);
        object.extend(b"tRs.");
        let mut file =
            [&OLDER[..], b".\x80\x02M\xe9\x03.", b"\x80\x02}.", &object, b"\x80\x02]X\x01\0\0\x000a."].concat();
        file.extend(4i64.to_le_bytes());
        (0..4).for_each(|value| file.extend((value as f32).to_le_bytes()));
        from_bytes(&file)
    };
    assert_eq!(floats(&file(0, 4, 1).unwrap(), "1"), [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(floats(&file(1, 2, 2).unwrap(), "1"), [1.0, 3.0]);
    for (offset, shape, stride) in [(1, 4, 1), (0, 3, 2), (0, 5, 0), (4, 1, 1), (255, 255, 255)] {
        let error = file(offset, shape, stride).unwrap_err().to_string();
        assert!(error.contains("in the storage 0 of 4 elements"), "{error}");
    }
}
