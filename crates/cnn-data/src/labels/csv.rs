//! Tables of separated values (RFC 4180): by commas, semicolons or tabs, as the header tells.

/// A row: the line at which it begins, from 1, and its fields.
pub(super) type Row = (usize, Vec<String>);

/// The rows of a table with some field that is not empty, the header first.
///
/// A field in quotes may hold separators, lines and, doubled, quotes; another one begins and ends with no space. Lines end as
/// they end anywhere.
///
/// # Errors
/// The line, and what is wrong: a quote without its other, or something behind one.
pub(super) fn rows(text: &str) -> Result<Vec<Row>, (usize, String)> {
    let separator = separator(text);
    let (mut rows, mut fields, mut line, mut first_line) = (Vec::new(), Vec::new(), 1, 1);
    let mut rest = text;
    while !rest.is_empty() {
        let (field, after) = match rest.trim_start_matches(' ').strip_prefix('"') {
            Some(quoted) => unquoted(quoted).ok_or((line, "a quote without its other".to_owned()))?,
            None => {
                let end = rest.find([separator, '\n', '\r']).unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        let quoted_lines = rest[..rest.len() - after.len()].matches('\n').count();
        fields.push(field);
        let after = after.trim_start_matches(' ');
        if let Some(next) = after.strip_prefix(separator) {
            (rest, line) = (next, line + quoted_lines);
            if !next.is_empty() {
                continue;
            }
            fields.push(String::new());
        } else {
            let ended = after.strip_prefix("\r\n").or(after.strip_prefix('\n')).or(after.strip_prefix('\r'));
            rest = match ended {
                Some(next) => next,
                None if after.is_empty() => after,
                None => return Err((line, "a separator or the line's end must follow a quote".to_owned())),
            };
            line += quoted_lines + 1;
        }
        if fields.iter().any(|field| !field.is_empty()) {
            rows.push((first_line, std::mem::take(&mut fields)));
        }
        fields.clear();
        first_line = line;
    }
    Ok(rows)
}

/// The one of comma, semicolon and tab that is most often in the first line that is not empty.
fn separator(text: &str) -> char {
    let header = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let count = |separator: &char| header.matches(*separator).count();
    // Of equals the last is taken, and the comma is the usual one.
    ['\t', ';', ','].into_iter().max_by_key(count).unwrap_or(',')
}

/// A field whose quote has been opened, and what follows the one that closes it.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let (mut field, mut rest) = (String::new(), quoted);
    loop {
        let (part, after) = rest.split_once('"')?;
        field.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Some((field, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(usize, String)> {
        rows(text).unwrap().into_iter().map(|(line, fields)| (line, fields.join("|"))).collect()
    }

    #[track_caller]
    fn reads(text: &str, expected: &[(usize, &str)]) {
        let expected: Vec<_> = expected.iter().map(|&(line, text)| (line, text.to_owned())).collect();
        assert_eq!(read(text), expected, "{text:?}");
    }

    #[test]
    fn fields_rows_and_lines() {
        reads("a,b\n1,2", &[(1, "a|b"), (2, "1|2")]);
        reads("a;b,c\r\n1;2\r\n\r\n3;4\r\n", &[(1, "a;b|c"), (2, "1;2"), (4, "3;4")]);
        reads("a;b\n1;2,3", &[(1, "a|b"), (2, "1|2,3")]);
        reads("a\tb\n1 \t 2", &[(1, "a|b"), (2, "1|2")]);
        reads("a,b\r1,2\r", &[(1, "a|b"), (2, "1|2")]);
        reads("a,b\n1,\n,2\n,\n3,", &[(1, "a|b"), (2, "1|"), (3, "|2"), (5, "3|")]);
        reads("", &[]);
        reads("\n\n", &[]);
    }

    #[test]
    fn quotes_hold_separators_lines_and_quotes() {
        reads("a,b\n\"x,\"\"y\"\"\n z\", \"2\" \n3,4", &[(1, "a|b"), (2, "x,\"y\"\n z|2"), (4, "3|4")]);
        reads("\"a\",\"b\"\n\"\",\"\"\"\"", &[(1, "a|b"), (2, "|\"")]);
        reads("a,b\n5\" wide,x", &[(1, "a|b"), (2, "5\" wide|x")]);
        assert_eq!(rows("a,b\n1,2\n\"x,3\n4").unwrap_err().0, 3);
        assert_eq!(rows("a,b\n\"x\"y,3").unwrap_err().0, 2);
    }
}
