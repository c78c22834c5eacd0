//! Chromium without a window: a page in a frame of a phone's or a desk's width, and what can be said of it there.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The browser in CNN_CHROMIUM, or one that is on the path; none where there is none, which is said.
pub(crate) fn chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CNN_CHROMIUM") {
        return Some(named.into());
    }
    let paths: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let found = names.iter().flat_map(|name| paths.iter().map(move |path| path.join(name))).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: no Chromium on the path, so no page was opened; CNN_CHROMIUM names one");
    }
    found
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Columns of the frame.
    pub(crate) width: usize,
    pub(crate) dark: bool,
    /// What is done there first, and whose value is then in `asked`: JavaScript with the page as `page`.
    pub(crate) ask: &'static str,
}

/// What a page comes to in `chromium`, in words of the harness below. Panics if the page wrote errors to its console.
pub(crate) fn look(chromium: &Path, page: &str, Look { width, dark, ask }: Look) -> Value {
    let place = tempfile::tempdir().unwrap();
    let escaped = page.replace('&', "&amp;").replace('"', "&quot;");
    let harness = HARNESS.replace("WIDTH", &width.to_string()).replace("ASK", ask).replace("PAGE", &escaped);
    let file = place.path().join("harness.html");
    std::fs::write(&file, harness).unwrap();
    let scheme = format!("--blink-settings=preferredColorScheme={}", if dark { 0 } else { 1 });
    let profile = format!("--user-data-dir={}", place.path().join("profile").display());
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"])
        .args(["--virtual-time-budget=5000", "--window-size=1600,1000", &scheme, &profile])
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", chromium.display()));
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let complaints: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(complaints.is_empty(), "the console says {complaints:#?}");
    let seen = dom.split("<pre id=\"seen\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    let seen = seen.unwrap_or_else(|| panic!("no report of the page; {log}"));
    let seen = seen.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\u{a0}").replace("&amp;", "&");
    serde_json::from_str(&seen).unwrap_or_else(|error| panic!("{error}: {seen}"))
}

/// What every page must be, in light and dark, on a phone and on a desk.
pub(crate) fn check(chromium: &Path, page: &str) {
    for (width, dark) in [(390, false), (1440, true)] {
        let seen = look(chromium, page, Look { width, dark, ask: "null" });
        let empty =
            |what: &str| assert_eq!(seen[what].as_array().map(Vec::len), Some(0), "{what} at {width}: {seen:#}");
        assert!(seen["scroll"].as_u64() <= Some(width as u64), "wider than the frame of {width}: {seen:#}");
        ["wide", "unnamed", "broken", "faint", "skipped"].into_iter().for_each(empty);
        assert!(seen["focusable"].as_u64() > Some(0), "{seen:#}");
        assert_eq!(seen["titles"], 1, "{seen:#}");
    }
}

/// Loads the page into a frame and reports: its width, what is wider than the frame and not in a box that scrolls, pictures
/// that do not load, what can be focused and has no name, text of little contrast (less than 4.5 to 1), levels of headings
/// that are skipped.
const HARNESS: &str = r#"<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe id="frame" style="border:0;width:WIDTHpx;height:900px" srcdoc="PAGE"></iframe>
<script>
const frame = document.getElementById("frame");
frame.addEventListener("load", () => {
  const page = frame.contentDocument, view = frame.contentWindow;
  const asked = ASK;
  const all = [...page.body.querySelectorAll("*")].filter((e) => e.getClientRects().length);
  const tag = (e) => e.tagName.toLowerCase() + (e.className && e.className.baseVal === undefined ? "." + e.className : "");
  const scrolls = (e) => e.closest(".scroll, svg");
  const colour = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  const light = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = colour(view.getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > 0.5) return c;
    }
    return [255, 255, 255];
  };
  const contrast = (e) => {
    const [a, b] = [light(colour(view.getComputedStyle(e).color)), light(behind(e))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const name = (e) => (e.getAttribute("aria-label") || e.textContent || "").trim() || e.closest("label")?.textContent.trim();
  const focusable = [...page.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")];
  const hasText = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  const levels = [...page.querySelectorAll("h1, h2, h3, h4")].map((e) => Number(e.tagName[1]));
  const seen = {
    scroll: page.documentElement.scrollWidth,
    wide: all.filter((e) => !scrolls(e) && e.getBoundingClientRect().right > WIDTH + 1).map(tag),
    broken: [...page.images].filter((i) => !i.complete || !i.naturalWidth || !i.hasAttribute("alt")).map(tag),
    focusable: focusable.length,
    unnamed: focusable.filter((e) => !name(e)).map(tag),
    faint: all.filter((e) => hasText(e) && !e.closest("svg") && contrast(e) < 4.5).map((e) => tag(e) + ": " + e.textContent.slice(0, 40) + " " + contrast(e).toFixed(2)),
    titles: page.querySelectorAll("h1").length,
    skipped: levels.filter((level, i) => i > 0 && level > levels[i - 1] + 1),
    images: page.images.length,
    headings: [...page.querySelectorAll("h2")].map((e) => e.textContent),
    asked,
  };
  const pre = document.createElement("pre");
  pre.id = "seen";
  pre.textContent = JSON.stringify(seen);
  document.body.append(pre);
});
</script>"#;
