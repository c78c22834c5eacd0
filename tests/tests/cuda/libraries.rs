//! Libraries that lack a function, as old ones do: they count as missing, and nothing that is called is not looked for first.

use std::env::var_os;
use std::fs;
use std::path::Path;

use cnn_core::Error;
use cnn_cuda::libraries::{Found, Library, VARIABLE, found};
use cnn_cuda::{Cuda, Options, gpus};
use tempfile::TempDir;

use crate::device::{FIRST, again, options};

/// Copies of some of the emulated libraries, of whose functions those that are `hidden` have other names.
fn copies(files: &[&str], hidden: impl Fn(&str) -> bool) -> Option<TempDir> {
    let emulated = cnn_emulator::folder().ok()?;
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let mut bytes = fs::read(emulated.join(file)).unwrap();
        hide(&mut bytes, &hidden);
        fs::write(folder.path().join(file), bytes).unwrap();
    }
    Some(folder)
}

/// Changes the first letter of each name in a library's table of names.
fn hide(bytes: &mut [u8], hidden: impl Fn(&str) -> bool) {
    let mut begin = 0;
    while let Some(length) = bytes[begin..].iter().position(|&byte| byte == 0) {
        let name = &mut bytes[begin..begin + length];
        if std::str::from_utf8(name).is_ok_and(&hidden) {
            name[0] = b'x';
        }
        begin += length + 1;
    }
}

const FILES: [&str; 3] = ["libcuda.so.1", "libnvrtc.so.13", "libcublasLt.so.13"];

/// Which function is not there.
const LACKED: &str = "CNN_TEST_LACKED";

#[test]
fn a_library_without_a_function_that_is_called_is_too_old() {
    const SELF: &str = "libraries::a_library_without_a_function_that_is_called_is_too_old";
    let Some(lacked) = var_os(LACKED) else {
        for name in ["cuInit", "cuGraphExecUpdate_v2", "nvrtcGetProgramLog", "cublasLtGetVersion"] {
            let Some(folder) = copies(&FILES, |function| function == name) else { return };
            let variables = [(LACKED, name), (VARIABLE, folder.path().to_str().unwrap())];
            let Some((passed, said)) = again(&[SELF], &variables) else { return };
            assert!(passed, "{name}: {said}");
        }
        return;
    };
    let lacked = lacked.to_str().unwrap();
    let (library, result) = found().iter().find(|(library, _)| library.functions().contains(&lacked)).unwrap();
    let folder = var_os(VARIABLE).unwrap();
    let why = match result {
        Found::Missing(why) => why,
        Found::At(path) if path.parent() == Some(Path::new(&folder)) => panic!("{library} is used without {lacked}"),
        Found::At(_) => {
            return println!("SKIPPED: this machine has {library}, which is found in the place of what is too old");
        }
    };
    let file = FILES[[Library::Driver, Library::Nvrtc, Library::CublasLt].iter().position(|l| l == library).unwrap()];
    let path = Path::new(&folder).join(file);
    assert_eq!(*why, format!("{}: too old, as it has no function {lacked}", path.display()));
    let opened = Cuda::<f32>::open(&Options::default());
    if *library == Library::CublasLt {
        return assert_eq!(opened.unwrap().cublaslt_version(), None, "nobody needs it");
    }
    let is_named = |error: Error| match error {
        Error::Device { backend: "cuda", message } => {
            assert_eq!(message, format!("no {library}: {why}; {}", library.how_to_get()));
        }
        other => panic!("{other:?}"),
    };
    is_named(opened.unwrap_err());
    match gpus() {
        Ok(gpus) => assert!(*library == Library::Nvrtc && gpus.len() == 1, "{gpus:?}"),
        Err(error) => is_named(error),
    }
}

/// A name without a version, in the system's own search, is what the bindings ask for first.
#[test]
fn a_library_that_is_called_in_the_place_of_another_is_looked_at() {
    const SELF: &str = "libraries::a_library_that_is_called_in_the_place_of_another_is_looked_at";
    let nvrtc = |hidden: &str| {
        let folder = copies(&FILES[1..2], |function| function == hidden)?;
        fs::rename(folder.path().join(FILES[1]), folder.path().join("libnvrtc.so")).unwrap();
        Some(folder)
    };
    let Some(lacked) = var_os(LACKED) else {
        for lacked in ["nvrtcGetCUBIN", "none"] {
            let (Some(system), Ok(emulated)) = (nvrtc(lacked), cnn_emulator::folder()) else { return };
            let [system, emulated] = [system.path(), &emulated].map(|folder| folder.to_str().unwrap().to_owned());
            let variables = [(LACKED, lacked), ("LD_LIBRARY_PATH", &system), (VARIABLE, &emulated)];
            let Some((passed, said)) = again(&[SELF], &variables) else { return };
            assert!(passed, "{lacked}: {said}");
        }
        return;
    };
    let (_, nvrtc) = found().iter().find(|(library, _)| *library == Library::Nvrtc).unwrap();
    match nvrtc {
        Found::At(path) => assert_eq!((path.as_path(), lacked.to_str()), (Path::new("libnvrtc.so"), Some("none"))),
        Found::Missing(why) => {
            let words = ": not used, as the system finds libnvrtc.so: too old, as it has no function nvrtcGetCUBIN";
            assert!(why.ends_with(words) && lacked != "none", "{why}");
        }
    }
}

/// A driver that has what is looked for, and nothing else, serves all that a device does. The bindings' answer to a function
/// that is called and not there is a panic.
#[test]
fn what_is_looked_for_is_all_that_is_called() {
    const SELF: &str = "libraries::what_is_looked_for_is_all_that_is_called";
    if let (Some(first), Some(_)) = (var_os(FIRST), options()) {
        // Beside the tests that it is given: that it is the driver they run on.
        let Found::At(path) = &found()[0].1 else { panic!("{:?}", found()) };
        return assert_eq!(path.parent(), Some(Path::new(&first)));
    }
    let needed = Library::Driver.functions();
    let of_the_interface =
        |name: &str| name.strip_prefix("cu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()));
    let Some(folder) = copies(&FILES[..1], |name| of_the_interface(name) && !needed.contains(&name)) else { return };
    let path = folder.path().join(FILES[0]);
    let text = fs::read(&path).unwrap();
    let has = |name: &str| text.split(|&byte| byte == 0).any(|found| found == name.as_bytes());
    assert!(has("xuCtxSynchronize") && !has("cuCtxSynchronize") && has("cuInit"), "the names are elsewhere");
    let tests = [
        "training::a_run_learns_and_is_resumed_to_the_same_bits",
        "training::a_rehearsal_leaves_everything_as_it_was",
        "streams::a_frozen_pass_is_recorded",
        "networks::numbers_on_their_way_are_those_of_their_time",
        "faults::memory_that_is_not_there_is_named_with_what_is",
        SELF,
    ];
    let Some((passed, said)) = again(&tests, &[(FIRST, folder.path().to_str().unwrap())]) else { return };
    assert!(passed, "{said}");
}
