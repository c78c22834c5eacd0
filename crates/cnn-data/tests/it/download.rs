//! Downloads from a server in this process that fails as servers do.

use cnn_data::download::{FetchOptions, Progress, fetch, fetch_file};
use cnn_data::known::{Known, Remote};
use cnn_data::{Error, Result};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// How the server answers one request.
#[derive(Clone, Copy)]
enum Answer {
    /// The rest of the file from where it is asked for, with Range understood.
    Rest,
    /// As `Rest`, but the connection closes after this many bytes.
    Cut(usize),
    /// The whole file, Range ignored.
    Whole,
    /// Only a status.
    Status(&'static str),
    /// A range that was not asked for.
    WrongRange,
}

/// Serves `content` once for each of `answers`; what was asked for (path, first byte) comes out of the channel.
fn serve(content: Vec<u8>, answers: Vec<Answer>) -> (String, Receiver<(String, usize)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/sets/", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(std::result::Result::ok);
            let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
            let mut from = 0;
            for line in lines.take_while(|line| !line.is_empty()) {
                if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
                    from = range.trim_end_matches('-').parse().unwrap();
                }
            }
            let total = content.len();
            let partial =
                |from: usize| format!("206 Partial Content\r\ncontent-range: bytes {from}-{}/{total}", total - 1);
            let (status, start, sent) = match answer {
                Answer::Status(status) => (status.to_owned(), total, 0),
                Answer::WrongRange => (partial(1), 1, total),
                Answer::Whole => ("200 OK".to_owned(), 0, total),
                Answer::Rest | Answer::Cut(_) if from > 0 => (partial(from), from, total),
                Answer::Rest | Answer::Cut(_) => ("200 OK".to_owned(), 0, total),
            };
            let sent = if let Answer::Cut(bytes) = answer { bytes } else { sent };
            let body = &content[start..];
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..sent.min(body.len())]));
            let _ = sender.send((path, from));
        }
    });
    (url, requests)
}

/// 100,000 bytes and their pin.
fn content() -> (Vec<u8>, Remote) {
    let sha256 = "6bcecbb09ee6bb930d18d098dabb90c700f3380421c8d78c33ae0f6d11ac3caa";
    ((0..100_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect(), Remote { name: "set.bin", sha256 })
}

fn quick() -> FetchOptions {
    FetchOptions { attempts: 2, pause: Duration::ZERO, ..FetchOptions::default() }
}

fn get(url: &str, folder: &Path, options: &FetchOptions) -> (Result<PathBuf>, Vec<u64>) {
    let mut seen = Vec::new();
    let mut progress = |at: Progress| seen.push(at.done);
    let result = fetch_file(content().1, url, folder, options, &mut progress);
    (result, seen)
}

/// The file and nothing else is in `folder`.
fn published(folder: &Path) -> bool {
    let names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names == ["set.bin"] && fs::read(folder.join("set.bin")).unwrap() == content().0
}

#[test]
fn a_file_is_fetched_with_progress_and_then_only_checked() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("new/folder");
    let (url, requests) = serve(content().0, vec![Answer::Rest]);
    let (path, seen) = get(&url, &folder, &quick());
    assert_eq!(path.unwrap(), folder.join("set.bin"));
    assert!(published(&folder));
    assert!(seen.is_sorted() && seen.first() == Some(&0) && seen.last() == Some(&100_000), "{seen:?}");
    assert_eq!(requests.recv().unwrap(), ("/sets/set.bin".to_owned(), 0));
    assert!(get("http://nowhere.invalid", &folder, &quick()).0.is_ok(), "what is there is not fetched again");
    fs::write(folder.join("set.bin"), "damaged").unwrap();
    let message = get(&url, &folder, &quick()).0.unwrap_err().to_string();
    assert!(message.contains("set.bin: SHA-256 is ") && message.contains("delete it to fetch it again"), "{message}");
}

#[test]
fn a_broken_connection_is_resumed_where_it_broke() {
    let root = tempfile::tempdir().unwrap();
    let (url, requests) = serve(
        content().0,
        vec![Answer::Cut(30_000), Answer::Status("503 Service Unavailable"), Answer::Cut(20_000), Answer::Rest],
    );
    let (path, seen) = get(&url, root.path(), &quick());
    path.unwrap();
    assert!(published(root.path()));
    let starts: Vec<_> = requests.iter().map(|(_, start)| start).collect();
    assert_eq!(starts, [0, 30_000, 30_000, 50_000]);
    assert_eq!(seen.last(), Some(&100_000));
}

#[test]
fn a_part_of_an_earlier_run_is_continued_or_replaced() {
    let (good, _) = content();
    let damaged: Vec<u8> = good.iter().map(|byte| byte ^ 1).collect();
    for (part, answers, starts) in [
        (&good[..70_000], vec![Answer::Rest], vec![70_000]),
        // The server sends all of it anyway.
        (&good[..70_000], vec![Answer::Whole], vec![70_000]),
        // It was complete: the program ended before the rename.
        (&good[..], vec![], vec![]),
        // It was wrong: noticed at the end, fetched once more.
        (&damaged[..70_000], vec![Answer::Rest, Answer::Rest], vec![70_000, 0]),
        // It was too long for this file, or the server cannot continue it.
        (&damaged[..], vec![Answer::Status("416 Range Not Satisfiable"), Answer::Rest], vec![100_000, 0]),
        (&good[..70_000], vec![Answer::WrongRange, Answer::Rest], vec![70_000, 0]),
    ] {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("set.bin.part"), part).unwrap();
        let (url, requests) = serve(good.clone(), answers);
        get(&url, root.path(), &quick()).0.unwrap();
        assert!(published(root.path()));
        assert_eq!(requests.iter().map(|(_, start)| start).collect::<Vec<_>>(), starts);
    }
}

#[test]
fn wrong_bytes_are_never_published() {
    let root = tempfile::tempdir().unwrap();
    let (url, _requests) = serve(vec![1; 1000], vec![Answer::Rest]);
    let error = get(&url, root.path(), &quick()).0.unwrap_err();
    let Error::Hash { from, expected, actual, .. } = &error else { panic!("{error}") };
    assert_eq!((from.as_str(), expected.as_str()), (format!("{url}set.bin").as_str(), content().1.sha256));
    assert!(actual.len() == 64 && actual != expected, "{error}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "neither the file nor a part is left");
}

#[test]
fn a_server_that_does_not_have_it_or_stays_down_is_named() {
    let root = tempfile::tempdir().unwrap();
    let (url, _requests) = serve(vec![], vec![Answer::Status("404 Not Found")]);
    let message = get(&url, root.path(), &quick()).0.unwrap_err().to_string();
    assert_eq!(message, format!("{url}set.bin: HTTP status 404 Not Found"));
    let (url, requests) = serve(content().0, vec![Answer::Cut(10), Answer::Status("500 Oh"), Answer::Status("500 Oh")]);
    let message = get(&url, root.path(), &quick()).0.unwrap_err().to_string();
    assert!(message.starts_with(&url) && message.contains("500"), "{message}");
    assert_eq!(requests.iter().count(), 3);
    assert_eq!(fs::metadata(root.path().join("set.bin.part")).unwrap().len(), 10, "what came is kept for the next run");
    let offline = FetchOptions { offline: true, ..quick() };
    let error = get(&url, root.path(), &offline).0.unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}

#[test]
fn a_local_archive_is_checked_and_copied() {
    let (root, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let archive = here.path().join("from elsewhere");
    fs::write(&archive, content().0).unwrap();
    let options = FetchOptions { archive: Some(archive.clone()), offline: true, ..quick() };
    get("http://nowhere.invalid", root.path(), &options).0.unwrap();
    assert!(published(root.path()) && archive.is_file());
    fs::remove_file(root.path().join("set.bin")).unwrap();
    fs::write(&archive, "something else").unwrap();
    let message = get("http://nowhere.invalid", root.path(), &options).0.unwrap_err().to_string();
    assert!(message.contains("from elsewhere: SHA-256 is ") && message.contains("not the official file"), "{message}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn named_sets_know_what_is_there() {
    let root = tempfile::tempdir().unwrap();
    let (url, requests) = serve(vec![0; 10], vec![Answer::Rest; 2]);
    let get = |set, options: &FetchOptions| fetch(set, root.path(), options, &mut |_| ());
    let offline = FetchOptions { offline: true, ..quick() };
    assert!(matches!(get(Known::Cifar10, &offline).unwrap_err(), Error::Missing { .. }));
    let mirrored = FetchOptions { mirror: Some(url.trim_end_matches('/').to_owned()), ..quick() };
    assert!(matches!(get(Known::Cifar10, &mirrored).unwrap_err(), Error::Hash { .. }));
    assert!(matches!(get(Known::Mnist, &mirrored).unwrap_err(), Error::Hash { .. }));
    let asked: Vec<_> = requests.iter().map(|(path, _)| path).collect();
    assert_eq!(asked, ["/sets/cifar-10-binary.tar.gz", "/sets/train-images-idx3-ubyte.gz"]);
    let unpacked = root.path().join("cifar-10-batches-bin");
    crate::write::cifar10(&unpacked, 1);
    assert_eq!(get(Known::Cifar10, &mirrored).unwrap(), unpacked, "an unpacked copy needs no download");
}
