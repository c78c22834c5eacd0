//! A recipe from TOML, with errors in the words of recipes: the parser's speak of Rust's types.

use cnn_core::names;

use crate::{Error, Recipe, Result};

/// How the parser calls what it expects, and what that is.
const KINDS: [(&str, &str); 9] = [
    ("u32", "a whole number from 0 to 4294967295"),
    ("u64", "a whole number from 0 to 18446744073709551615"),
    ("usize", "a whole number from 0 to 18446744073709551615"),
    ("f64", "a number"),
    ("a boolean", "true or false"),
    ("a string", "a text in quotes"),
    ("a sequence", "a list"),
    ("internally tagged enum Method", r#"a table, such as { kind = "sgd", momentum = 0.9, nesterov = true }"#),
    ("an array of length 2", "a list of two, such as [32, 32]"),
];

impl Recipe {
    /// Reads a recipe and checks it.
    ///
    /// # Errors
    /// TOML that does not parse, a field that is missing or unknown, a value that breaks a rule.
    pub fn from_toml(text: &str) -> Result<Self> {
        let recipe: Recipe = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text[..start].matches('\n').count();
            in_words(line + 1, text.lines().nth(line).unwrap_or_default(), error.message())
        })?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The recipe as [`Recipe::from_toml`] reads it.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::recipe("recipe", "", error))
    }
}

/// The tables that every recipe has.
const TABLES: [&str; 3] = ["optimizer", "schedule", "augment"];

/// Which of them has a key of this name.
fn table_of(key: &str) -> Option<&'static str> {
    let text = Recipe::default_for("small", "shapes").and_then(|recipe| recipe.to_toml()).ok()?;
    let parts = TABLES.map(|table| (table, text.split_once(&format!("[{table}]")).map(|(_, behind)| behind)));
    let has = |part: &str| {
        part.lines().take_while(|line| !line.starts_with('[')).any(|line| line.starts_with(&format!("{key} =")))
    };
    parts.into_iter().find_map(|(table, part)| part.is_some_and(has).then_some(table))
}

/// What the parser says of a line.
fn in_words(number: usize, line: &str, message: &str) -> Error {
    let quoted = |text: &str| text.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect::<Vec<_>>();
    let at = |text: &str| format!("line {number}: {text}");
    let line = line.trim();
    if let Some((problem, list)) = message.split_once(", expected one of ")
        && let [found] = &quoted(problem)[..]
    {
        let known = quoted(list);
        let rule = names::one_of(found, known.iter().map(String::as_str));
        let is_key = problem.starts_with("unknown field");
        let what = if is_key { "key " } else { "" };
        let table = table_of(found).filter(|_| is_key);
        let hint =
            table.map(|table| format!(" (or stand below [{table}], whose line may be missing)")).unwrap_or_default();
        return Error::recipe("recipe", at(&format!("{what}{found}")), rule + &hint);
    }
    if let Some(field) = message.strip_prefix("missing field ").map(|field| field.trim_matches('`')) {
        let is_table = TABLES.contains(&field);
        let rule = if is_table { format!("misses the table [{field}]") } else { format!("misses the key {field}") };
        return Error::recipe("recipe", format!("line {number}"), rule);
    }
    if message == "duplicate key" {
        let rule = "must stand once in its table; the line of a table, such as [schedule], may be missing above";
        return Error::recipe("recipe", at(line), rule);
    }
    let expected = message.split_once(", expected ").filter(|(problem, _)| problem.starts_with("invalid"));
    let kind = expected.and_then(|(_, expected)| match expected.starts_with("struct ") {
        true => Some("a table"),
        false => KINDS.iter().find(|(rust, _)| *rust == expected).map(|(_, words)| *words),
    });
    match kind {
        Some(kind) => Error::recipe("recipe", at(line), format!("must be {kind}")),
        None => Error::recipe("recipe", format!("line {number}"), message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_line_the_value_and_what_it_must_be() {
        let text = Recipe::default_for("stepwise", "shapes").unwrap().to_toml().unwrap();
        // In place of the line of a key, this.
        let error = |key: &str, to: &str| {
            let lines = text.lines().map(|line| if line.starts_with(&format!("{key} =")) { to } else { line });
            Recipe::from_toml(&lines.collect::<Vec<_>>().join("\n")).unwrap_err().to_string()
        };
        let line = |of: &str| 1 + text.lines().position(|line| line.starts_with(of)).unwrap();
        let whole = "must be a whole number from 0 to 4294967295";
        for value in ["\"ten\"", "-1", "1.5", "true", "99999999999"] {
            let expected = format!("recipe line {}: epochs = {value}: {whole}", line("epochs"));
            assert_eq!(error("epochs", &format!("epochs = {value}")), expected);
        }
        for (key, to, rule) in [
            ("seed", "seed = -1", "must be a whole number from 0 to 18446744073709551615"),
            ("batch", "batch = [1]", "must be a whole number from 0 to 18446744073709551615"),
            ("model", "model = 5", "must be a text in quotes"),
            ("lr", "lr = true", "must be a number"),
            ("nesterov", "nesterov = 1", "must be true or false"),
            ("model", "size = [1]", "must be a list of two, such as [32, 32]"),
            ("model", "size = 5", "must be a list of two, such as [32, 32]"),
            ("model", "classes = \"cat\"", "must be a list"),
            ("model", "average = 5", "must be a table"),
        ] {
            assert_eq!(error(key, to), format!("recipe line {}: {to}: {rule}", line(key)));
        }
        let precision = "must be one of f32, tf32, bf16; did you mean bf16?";
        let expected = format!("recipe line {}: bf6: {precision}", line("precision"));
        assert_eq!(error("precision", "precision = \"bf6\""), expected);
        let group = |rest: &str| Recipe::from_toml(&format!("{text}[[optimizer.groups]]\npattern = \"*\"\n{rest}\n"));
        let error_of = |rest: &str| group(rest).unwrap_err().to_string();
        assert!(error_of("lr_scal = 64.0").contains("lr_scal: must be one of pattern, lr_scale"));
        assert!(
            error_of("method = 5")
                .ends_with("method = 5: must be a table, such as { kind = \"sgd\", momentum = 0.9, nesterov = true }")
        );
        let muon = |rest: &str| error_of(&format!("method = {{ kind = \"muon\", nesterov = true, {rest} }}"));
        assert!(muon("momentum = 0.9, ns_steps = 5, rescal = true").contains("rescal"));
        assert_eq!(
            muon("momentum = 7.0, ns_steps = 5"),
            "method of the parameter group *: momentum 7: must be at least 0 and below 1"
        );
        // A table whose line is gone.
        let headless = Recipe::from_toml(&text.replace("[schedule]\n", "")).unwrap_err().to_string();
        assert!(
            headless.ends_with(
                "kind = \"one-cycle\": must stand once in its table; the line of a table, such as \
            [schedule], may be missing above"
            ),
            "{headless}"
        );
        let top = Recipe::from_toml(&format!("decay_all = true\n{text}")).unwrap_err().to_string();
        assert!(top.starts_with("recipe line 1: key decay_all: must be one of "), "{top}");
        assert!(top.ends_with("(or stand below [optimizer], whose line may be missing)"), "{top}");
        let none = Recipe::from_toml(text.split_once("[optimizer]").unwrap().0).unwrap_err().to_string();
        assert_eq!(none, "recipe line 1: misses the table [optimizer]");
        let none = Recipe::from_toml(&text.replace("epochs = 10\n", "")).unwrap_err().to_string();
        assert_eq!(none, "recipe line 1: misses the key epochs");
        let momentun = error("momentum", "momentun = 0.9");
        assert!(momentun.starts_with(&format!("recipe line {}: key momentun: must be one of", line("momentum"))));
        assert!(momentun.ends_with("did you mean momentum?"), "{momentun}");
    }
}
