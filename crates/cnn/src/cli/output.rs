//! Results on stdout, what else there is to say on stderr, and how numbers are written.

pub(crate) use cnn_pages::grouped;
use std::fmt::Display;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::failure::Failure;

/// Writes `text` to stdout. A reader that has gone away (`cnn info resnet18 | head`) is no error: a training goes on and
/// saves.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::fault(format!("stdout: {error}"))),
        _ => Ok(()),
    }
}

/// Writes one JSON object on its own line to stdout.
pub(crate) fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print(&format!("{value}\n"))
}

/// Writes a line to stderr. Where stderr cannot be written to there is nowhere left to say so.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable(text));
}

/// Writes to stderr why something failed, in one line.
pub(crate) fn error(reason: impl Display) {
    note(&format!("error: {}", reason.to_string().split_whitespace().collect::<Vec<_>>().join(" ")));
}

/// `text` on one line and without what a terminal obeys: names of classes and files come from anywhere, and an escape
/// sequence among them could colour, move or rename things. Control characters and those that turn the direction of
/// writing become their escapes.
pub(crate) fn printable(text: &str) -> String {
    let obeyed = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if obeyed(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A path to be read; its bytes that are no text are shown as U+FFFD.
pub(crate) fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}

/// A path as a shell reads it.
pub(crate) fn quoted(path: &Path) -> String {
    let path = shown(path);
    let path = if path.starts_with('-') { format!("./{path}") } else { path };
    let plain = |c: char| c.is_alphanumeric() || "/._-+:,@%=".contains(c);
    if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

/// The file that is written when `out` is asked for: behind a link, the file that it leads to. What is there already must
/// be a file, and `force` given to replace it.
pub(super) fn replaceable(out: &Path, force: bool) -> Result<PathBuf, Failure> {
    let refused = |rule: &str| Failure::usage(format!("out {}: {rule}", out.display()));
    if fs::symlink_metadata(out).is_err() {
        // Known before the work, not after it.
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
        return match folder.filter(|folder| !folder.is_dir()) {
            Some(folder) => {
                Err(refused(&format!("must be in a folder that exists, and {} does not", folder.display())))
            }
            None => Ok(out.to_owned()),
        };
    }
    if !force {
        return Err(refused("exists: give --force to replace it"));
    }
    let file = fs::canonicalize(out).map_err(|error| refused(&error.to_string()))?;
    if file.is_file() { Ok(file) } else { Err(refused("is not a file: only files are replaced")) }
}

/// A number of bytes in the unit that keeps it short.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", count as f64 / 1_073_741_824.0),
    }
}

/// A duration as a person says it: `41.2 s`, `3 min 20 s`, `2 h 05 min`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// `part` of `whole` in per cent with two decimals.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.2}%", 100.0 * part as f64 / whole as f64) }
}

/// What is to be said behind a share of so few that chance decides about whole per cents: Wilson's interval for
/// 95% (E. B. Wilson, 1927); nothing behind a share of a thousand and more.
pub(crate) fn margin(part: u64, whole: u64) -> String {
    if whole == 0 || whole >= 1000 {
        return String::new();
    }
    const Z: f64 = 1.96;
    let (n, p) = (whole as f64, part as f64 / whole as f64);
    let middle = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let [low, high] = [middle - half, middle + half].map(|share| 100.0 * share.clamp(0.0, 1.0));
    format!("; with so few, of others {low:.0}% to {high:.0}% may be right")
}

/// `1 step`, `2 steps`, `2 classes`.
pub(crate) fn count(number: u64, what: &str) -> String {
    let ending = if number == 1 {
        ""
    } else if what.ends_with('s') {
        "es"
    } else {
        "s"
    };
    format!("{} {what}{ending}", grouped(number))
}

/// Rows of cells in columns as wide as their widest cell, the columns in `left` flush left, the others flush right.
pub(crate) fn table(rows: &[Vec<String>], left: &[usize]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let (gap, width) = (if column == 0 { "" } else { "  " }, widths[column]);
            line += gap;
            line += &if left.contains(&column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_paths_as_they_are() {
        let quoted = ["runs/a-001", "it's a $HOME", "-dash"].map(|path| quoted(path.as_ref()));
        assert_eq!(quoted, ["runs/a-001", r"'it'\''s a $HOME'", "./-dash"]);
    }

    #[test]
    fn a_share_of_few_is_told_with_what_chance_makes_of_it() {
        assert_eq!(margin(8, 14), "; with so few, of others 33% to 79% may be right");
        assert_eq!(margin(8, 8), "; with so few, of others 68% to 100% may be right");
        assert_eq!([margin(0, 0), margin(997, 1000)], ["", ""]);
        assert_eq!([count(1, "step"), count(1200, "step"), count(2, "class")], ["1 step", "1,200 steps", "2 classes"]);
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(["0", "999", "1,000", "11,173,962"], [0, 999, 1000, 11_173_962].map(grouped)[..]);
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(300 << 20), "300.0 MiB");
        assert_eq!((duration(41.24), duration(59.94)), ("41.2 s".to_owned(), "1 min 00 s".to_owned()));
        assert_eq!(duration(200.4), "3 min 20 s");
        assert_eq!(duration(7500.0), "2 h 05 min");
        assert_eq!((percent(1, 3), percent(0, 0)), ("33.33%".to_owned(), "-".to_owned()));
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_printed() {
        assert_eq!(printable("chat \u{e9}t\u{e9} \u{732b}"), "chat \u{e9}t\u{e9} \u{732b}");
        assert_eq!(printable("a\u{1b}[31mb\nc\u{9b}\u{202e}"), r"a\u{1b}[31mb\nc\u{9b}\u{202e}");
        assert_eq!(table(&[vec!["a\nb".to_owned(), "1".to_owned()]], &[0]), "a\\nb  1\n");
    }

    #[test]
    fn tables_line_up() {
        let rows = [["layer", "shape"], ["fc", "[10]"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows, &[0]), "layer  shape\nfc      [10]\n");
    }
}
