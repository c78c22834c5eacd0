//! Pages: one file without anything to load, whose every name is escaped.

use std::fmt::{Display, Write};

const STYLE: &str = include_str!("../assets/style.css");

/// What a page may do: show what is in it. Nothing is loaded from anywhere.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// A page that grows section by section.
#[derive(Debug)]
pub(crate) struct Page {
    title: String,
    lead: String,
    sections: Vec<Section>,
    script: String,
}

#[derive(Debug)]
struct Section {
    id: String,
    heading: String,
    body: String,
}

impl Page {
    /// An empty page; `title` is text, `lead` is what comes below it.
    pub(crate) fn new(title: &str, lead: String) -> Self {
        Page { title: title.to_owned(), lead, sections: Vec::new(), script: String::new() }
    }

    /// Adds a section. `heading` is text, `body` is HTML.
    pub(crate) fn section(&mut self, id: &str, heading: &str, body: String) {
        self.sections.push(Section { id: id.to_owned(), heading: heading.to_owned(), body });
    }

    /// Adds a script, run when the page is there.
    pub(crate) fn script(&mut self, script: &str) {
        self.script += script;
    }

    /// The whole file.
    pub(crate) fn render(&self) -> String {
        let Page { title, lead, sections, script } = self;
        let title = escape(title);
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
             <body>\n<a class=\"skip\" href=\"#content\">To the content</a>\n<header>\n<h1>{title}</h1>\n{lead}\n</header>\n"
        );
        if sections.len() > 2 {
            out += "<nav aria-label=\"Contents\"><ol>\n";
            for Section { id, heading, .. } in sections {
                let _ = writeln!(out, "<li><a href=\"#{id}\">{}</a></li>", escape(heading));
            }
            out += "</ol></nav>\n";
        }
        out += "<main id=\"content\">\n";
        for Section { id, heading, body } in sections {
            let _ = writeln!(
                out,
                "<section id=\"{id}\" aria-labelledby=\"{id}-heading\">\n<h2 id=\"{id}-heading\">{}</h2>\n{body}\n</section>",
                escape(heading)
            );
        }
        out += "</main>\n";
        if !script.is_empty() {
            let _ = writeln!(out, "<script>\n{script}</script>");
        }
        out + "</body>\n</html>\n"
    }
}

/// `text` as it can stand between tags and in quoted attributes. What no reader sees, and what turns the direction of
/// writing, becomes U+FFFD: a name shall not rename what stands beside it.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\n' | '\t' => out.push(c),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// JSON for a page's own script, as the content of an element of this id: it cannot end that element.
pub(crate) fn data(id: &str, value: &serde_json::Value) -> String {
    let text = value.to_string().replace('<', "\\u003c");
    format!("<script type=\"application/json\" id=\"{id}\">{text}</script>\n")
}

/// Paragraphs of HTML.
pub(crate) fn paragraphs(texts: &[&str]) -> String {
    texts.iter().fold(String::new(), |out, text| out + "<p>" + text + "</p>\n")
}

/// A figure: what it shows, and the words below.
pub(crate) fn figure(content: &str, caption: &str) -> String {
    format!("<figure>{content}<figcaption>{caption}</figcaption></figure>\n")
}

/// A table with a heading for each column; the first cell of a row is its heading. Cells are HTML.
pub(crate) fn table(caption: &str, columns: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = format!("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table>\n");
    let _ = writeln!(out, "<caption>{caption}</caption>\n<thead><tr>");
    columns.iter().for_each(|column| out += &format!("<th scope=\"col\">{column}</th>"));
    out += "</tr></thead>\n<tbody>\n";
    for row in rows {
        out += "<tr>";
        for (i, cell) in row.iter().enumerate() {
            out += &if i == 0 { format!("<th scope=\"row\">{cell}</th>") } else { format!("<td>{cell}</td>") };
        }
        out += "</tr>\n";
    }
    out + "</tbody></table></div>\n"
}

/// As [`table`], of whole things, one a row: where a screen is too narrow for it, each row is a card with the columns' names
/// before its values. Columns are text. The roles say what the style takes away.
pub(crate) fn cards(caption: &str, columns: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = format!(
        "<table class=\"cards\" role=\"table\">\n<caption>{caption}</caption>\n<thead role=\"rowgroup\"><tr role=\"row\">"
    );
    for column in columns {
        let _ = write!(out, "<th scope=\"col\" role=\"columnheader\">{}</th>", escape(column));
    }
    out += "</tr></thead>\n<tbody role=\"rowgroup\">\n";
    for row in rows {
        out += "<tr role=\"row\">";
        for (i, (cell, column)) in row.iter().zip(columns).enumerate() {
            out += &match i {
                0 => format!("<th scope=\"row\" role=\"rowheader\">{cell}</th>"),
                _ => format!("<td role=\"cell\" data-label=\"{}\">{cell}</td>", escape(column)),
            };
        }
        out += "</tr>\n";
    }
    out + "</tbody></table>\n"
}

/// A bar beside a number: `part` from 0 to 1.
pub(crate) fn bar(part: f64) -> String {
    let width = 100.0 * part.clamp(0.0, 1.0);
    format!("<span class=\"bar\" aria-hidden=\"true\"><span style=\"width:{width:.1}%\"></span></span>")
}

/// A number with so many decimals and a true minus sign.
pub(crate) fn number(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(digits) if digits.bytes().any(|b| (b'1'..=b'9').contains(&b)) => format!("\u{2212}{digits}"),
        Some(zero) => zero.to_owned(),
        None => text,
    }
}

/// As [`number`], but with three significant digits where so many decimals would leave fewer: `1.20e-8` for what would
/// read 0.000000.
pub(crate) fn precise(value: f64, decimals: usize) -> String {
    let shown = value.abs() * 10f64.powi(decimals as i32);
    if value == 0.0 || !value.is_finite() || shown >= 99.5 {
        return number(value, decimals);
    }
    let text = format!("{value:.2e}");
    // 0.01 and 0.5 are better read as they are; nothing is lost.
    if format!("{value:.decimals$}").parse() == Ok(value) {
        return number(value, decimals);
    }
    text.strip_prefix('-').map_or_else(|| text.clone(), |digits| format!("\u{2212}{digits}"))
}

/// A part of one in per cent.
pub(crate) fn percent(part: f64) -> String {
    if part.is_finite() { format!("{:.2}%", 100.0 * part) } else { "\u{2013}".to_owned() }
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: impl Display) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What messages call an image, without the folders that say nothing of it: the last one and the file. A page shall be the same
/// wherever its images were found from.
pub(crate) fn short_name(name: &str) -> &str {
    let mut cuts = name.char_indices().rev().filter(|(_, c)| matches!(c, '/' | '\\'));
    cuts.nth(1).map_or(name, |(at, _)| &name[at + 1..])
}

/// The last line of a picture's caption: where it is from, broken where it has to be.
pub(crate) fn file_name(name: &str) -> String {
    format!("<span class=\"file\"><bdi>{}</bdi></span>", escape(short_name(name)))
}

/// `count` things by the word for one or for several of them.
pub(crate) fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { several })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_is_markup() {
        assert_eq!(
            escape("<b onload='x'>\"&\u{202e}\u{1b}"),
            "&lt;b onload=&#39;x&#39;&gt;&quot;&amp;\u{fffd}\u{fffd}"
        );
        let page = Page::new("</title><script>", String::new()).render();
        assert!(!page.contains("</title><script>") && page.contains("&lt;/title&gt;&lt;script&gt;"));
        assert!(!data("d", &serde_json::json!("</script><!--")).contains("</script><!"));
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!([number(-0.25, 2), number(-0.001, 2), number(1.0, 0)], ["\u{2212}0.25", "0.00", "1"]);
        assert_eq!([grouped(7200), grouped(999)], ["7,200", "999"]);
        assert_eq!(
            [precise(0.25, 4), precise(0.0, 6), precise(-0.484_934_2, 6)],
            ["0.2500", "0.000000", "\u{2212}0.484934"]
        );
        assert_eq!(
            [precise(0.000_12, 6), precise(1.234e-8, 6), precise(-5e-5, 4)],
            ["0.000120", "1.23e-8", "\u{2212}5.00e-5"]
        );
        assert_eq!(
            [short_name("/a/b/cat/1.png"), short_name("cat/1.png"), short_name("1.png")],
            ["cat/1.png", "cat/1.png", "1.png"]
        );
        assert_eq!([percent(0.5), percent(f64::NAN)], ["50.00%", "\u{2013}"]);
    }
}
