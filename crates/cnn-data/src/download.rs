//! Fetching the named sets: resumed, checked against a pinned SHA-256, and only then given their name.
//!
//! Bytes go to `FILE.part` beside the target. An interrupted download is continued from there, by the next attempt or by
//! the next program; a part that turns out wrong is deleted, so it cannot spoil a later try. Nothing reads a file that
//! has not been checked.

use crate::digest::sha256;
use crate::known::{Known, Remote};
use crate::{Error, Result};
use cnn_core::archive::hexadecimal;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use ureq::http::{StatusCode, header};

/// Most bytes of one file; the largest official one has 170 MB.
const CAP: u64 = 1 << 30;

/// Where a set is fetched from, and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchOptions {
    /// A URL that holds the set's files under their official names, instead of the official server.
    pub mirror: Option<String>,
    /// The set's file, or the folder of its files, on this machine, instead of a server.
    pub archive: Option<PathBuf>,
    /// Use what is there, and no network.
    pub offline: bool,
    /// Attempts in a row that bring no byte before a download is given up.
    pub attempts: u32,
    /// Time between attempts.
    pub pause: Duration,
}

impl Default for FetchOptions {
    fn default() -> Self {
        FetchOptions { mirror: None, archive: None, offline: false, attempts: 5, pause: Duration::from_secs(2) }
    }
}

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Name of the file.
    pub file: &'a str,
    /// Bytes that are here, those of earlier attempts included.
    pub done: u64,
    /// Bytes of the whole file, if the server says.
    pub total: Option<u64>,
}

/// Fetches what is missing of `set` under `root`, and returns the path that [`open`](crate::open()) will read.
///
/// Files that are there are checked; an unpacked copy without them is taken as it is.
///
/// # Errors
/// [`Error::Hash`] for a file that is not the pinned one, fetched or there; [`Error::Download`] for the network;
/// [`Error::Missing`] offline; [`Error::Io`].
pub fn fetch(set: Known, root: &Path, options: &FetchOptions, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
    let folder = set.folder(root);
    let here = set.find(root);
    if here.is_ok() && !set.files().iter().any(|file| folder.join(file.name).is_file()) {
        return here;
    }
    let url = options.mirror.as_deref().unwrap_or(set.url());
    for file in set.files() {
        if options.offline && options.archive.is_none() && !folder.join(file.name).is_file() {
            return here;
        }
        fetch_file(*file, url, &folder, options, progress)?;
    }
    set.find(root)
}

/// Fetches one pinned file from the folder at `url` into `folder`; a file of that name that is there is only checked.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_file(
    file: Remote,
    url: &str,
    folder: &Path,
    options: &FetchOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf> {
    let (target, part) = (folder.join(file.name), folder.join(format!("{}.part", file.name)));
    if target.is_file() {
        let advice = "delete it to fetch it again";
        return check(&file, &target, &target.display().to_string(), advice).map(|()| target);
    }
    if let Some(archive) = &options.archive {
        let from = if archive.is_dir() { archive.join(file.name) } else { archive.clone() };
        fs::create_dir_all(folder).map_err(|source| Error::io(folder, source))?;
        copy(&from, &part, file.name, progress)?;
        check_part(&file, &part, &from.display().to_string(), "it is not the official file")?;
        return publish(&part, &target);
    }
    let started = part.metadata().is_ok_and(|part| part.len() > 0);
    if started && digest(&part)? == file.sha256 {
        return publish(&part, &target);
    }
    let url = format!("{}/{}", url.trim_end_matches('/'), file.name);
    if options.offline {
        let hint = format!("download {url} (offline was asked for)");
        return Err(Error::Missing { name: file.name.to_owned(), looked_for: vec![target], hint });
    }
    fs::create_dir_all(folder).map_err(|source| Error::io(folder, source))?;
    let advice = "nothing was kept; try again, or another mirror";
    download(&url, &part, file.name, options, progress)?;
    let checked = check_part(&file, &part, &url, advice);
    if started && checked.is_err() {
        // Perhaps only what an earlier program left was wrong: once more from the beginning.
        download(&url, &part, file.name, options, progress)?;
        check_part(&file, &part, &url, advice)?;
    } else {
        checked?;
    }
    publish(&part, &target)
}

/// Gives a checked file its name, for good.
fn publish(part: &Path, target: &Path) -> Result<PathBuf> {
    let sync =
        |path: &Path| File::open(path).and_then(|file| file.sync_all()).map_err(|source| Error::io(path, source));
    sync(part)?;
    fs::rename(part, target).map_err(|source| Error::io(target, source))?;
    if cfg!(unix) {
        target.parent().map_or(Ok(()), sync)?;
    }
    Ok(target.to_owned())
}

/// Checks a part, and deletes it if it is wrong.
fn check_part(file: &Remote, part: &Path, from: &str, advice: &str) -> Result<()> {
    let checked = check(file, part, from, advice);
    if matches!(checked, Err(Error::Hash { .. })) {
        fs::remove_file(part).map_err(|source| Error::io(part, source))?;
    }
    checked
}

fn check(file: &Remote, path: &Path, from: &str, advice: &str) -> Result<()> {
    let actual = digest(path)?;
    if actual == file.sha256 {
        return Ok(());
    }
    let (from, expected, advice) = (from.to_owned(), file.sha256.to_owned(), advice.to_owned());
    Err(Error::Hash { from, expected, actual, advice })
}

/// Lower-case hexadecimal SHA-256 of the file at `path`.
fn digest(path: &Path) -> Result<String> {
    sha256(path, None).map(hexadecimal).map_err(|source| Error::io(path, source))
}

fn copy(from: &Path, part: &Path, name: &str, progress: &mut dyn FnMut(Progress)) -> Result<()> {
    let mut reader = File::open(from).map_err(|source| Error::io(from, source))?;
    let total = reader.metadata().ok().map(|file| file.len());
    let writer = File::create(part).map_err(|source| Error::io(part, source))?;
    match pump(&mut reader, writer, &mut Progress { file: name, done: 0, total }, progress) {
        Ok(()) => Ok(()),
        Err(Stop::Read(source)) => Err(Error::io(from, source)),
        Err(Stop::Write(source)) => Err(Error::io(part, source)),
    }
}

/// The side on which copying stopped.
enum Stop {
    Read(io::Error),
    Write(io::Error),
}

/// Copies to the end of `reader`, at most [`CAP`] bytes, telling how far it is.
fn pump(
    reader: &mut dyn Read,
    mut writer: File,
    at: &mut Progress,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Stop> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        progress(*at);
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                at.done += length as u64;
                if at.done > CAP {
                    return Err(Stop::Write(io::Error::other(format!("more than {CAP} bytes"))));
                }
                writer.write_all(&buffer[..length]).map_err(Stop::Write)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Stop::Read(error)),
        }
    }
}

/// Why an attempt ended.
enum Failure {
    /// The network or the server, for now: another attempt may go on.
    Passing(String),
    /// Trying again would not help.
    Final(Error),
}

/// Brings the part to its full length, in as many attempts as it takes while there is progress.
fn download(
    url: &str,
    part: &Path,
    name: &str,
    options: &FetchOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_per_read(Some(Duration::from_secs(60)))
        .build();
    let agent = config.new_agent();
    let size = || part.metadata().map_or(0, |part| part.len());
    let mut fruitless = 0;
    loop {
        let before = size();
        match attempt(&agent, url, part, before, name, progress) {
            Ok(()) => return Ok(()),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Passing(reason)) => {
                fruitless = if size() > before { 0 } else { fruitless + 1 };
                if fruitless >= options.attempts.max(1) {
                    return Err(Error::Download { url: url.to_owned(), reason });
                }
                thread::sleep(options.pause);
            }
        }
    }
}

/// One request for the bytes after the first `have`.
fn attempt(
    agent: &ureq::Agent,
    url: &str,
    part: &Path,
    have: u64,
    name: &str,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Failure> {
    let failed = |source| Failure::Final(Error::io(part, source));
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header(header::RANGE, format!("bytes={have}-"));
    }
    let response = request.call().map_err(|error| Failure::Passing(error.to_string()))?;
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
    let (start, file) = match response.status() {
        // The whole file, asked for or not.
        StatusCode::OK => (0, File::create(part)),
        StatusCode::PARTIAL_CONTENT if range.is_some_and(|range| range.starts_with(&format!("bytes {have}-"))) => {
            (have, OpenOptions::new().append(true).open(part))
        }
        // The server has fewer bytes, or sends others: what is here cannot be continued.
        status @ (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE) => {
            fs::remove_file(part).map_err(failed)?;
            return Err(Failure::Passing(format!("HTTP status {status}: cannot continue after {have} bytes")));
        }
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Err(Failure::Passing(format!("HTTP status {status}")));
        }
        status => {
            let reason = format!("HTTP status {status}");
            return Err(Failure::Final(Error::Download { url: url.to_owned(), reason }));
        }
    };
    let file = file.map_err(failed)?;
    let mut body = response.into_body();
    let total = body.content_length().map(|length| start + length);
    let mut at = Progress { file: name, done: start, total };
    match pump(&mut body.as_reader(), file, &mut at, progress) {
        Ok(()) if total.is_none_or(|total| at.done == total) => Ok(()),
        Ok(()) => Err(Failure::Passing(format!("the connection closed after {} of {total:?} bytes", at.done))),
        Err(Stop::Read(error)) => Err(Failure::Passing(error.to_string())),
        Err(Stop::Write(error)) => Err(failed(error)),
    }
}
