//! Names that people type: what was meant by one that is not quite right, and the error that says so.

use crate::{Error, Result};

/// The one of `names` that `text` is, capitals, hyphens, underscores and spaces aside: `ResNet18` is `resnet18`.
pub fn meant<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text = plain(text);
    names.into_iter().find(|name| plain(name) == text)
}

/// The one of `names` that `text` is a slip of: at most a third of its letters are wrong, missing, too many or exchanged
/// with their neighbour.
pub fn closest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text = plain(text);
    let near = names.into_iter().map(|name| (strsim::osa_distance(&plain(name), &text), name)).min()?;
    (near.0 <= text.chars().count().div_ceil(3)).then_some(near.1)
}

/// `must be one of a, b, c`, and which of them was probably meant by `text`.
pub fn one_of<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let meant = closest(text, names.iter().copied()).map(|name| format!("; did you mean {name}?"));
    format!("must be one of {}{}", names.join(", "), meant.unwrap_or_default())
}

/// `must match a parameter of the model`, what they are called, and which of them was probably meant by `pattern`.
pub fn no_parameter(pattern: &str, parameters: &[&str]) -> String {
    const SHOWN: usize = 12;
    let meant = closest(pattern, parameters.iter().copied()).map(|name| format!("; did you mean {name}?"));
    let more = if parameters.len() > SHOWN { format!(", ... ({} in all)", parameters.len()) } else { String::new() };
    let shown = &parameters[..parameters.len().min(SHOWN)];
    format!("must match a parameter of the model: {}{more}{}", shown.join(", "), meant.unwrap_or_default())
}

/// The error of a `what` called `text`, which is none of `names`.
pub fn unknown<'a>(what: &str, text: &str, names: impl IntoIterator<Item = &'a str>) -> Error {
    Error::invalid(what, text, one_of(text, names))
}

/// The one of `values` whose name `text` is, as [`meant`] says.
///
/// # Errors
/// A `what` called `text` is none of them.
pub fn value<T: Copy>(what: &str, text: &str, values: &[(&'static str, T)]) -> Result<T> {
    let names = || values.iter().map(|(name, _)| *name);
    let found = meant(text, names()).and_then(|name| values.iter().find(|value| value.0 == name));
    found.map(|(_, value)| *value).ok_or_else(|| unknown(what, text, names()))
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["stepwise", "small", "resnet18", "resnet18-imagenet"];

    #[test]
    fn a_name_is_that_of_a_value() {
        let values = [("one-half", 0.5), ("whole", 1.0)];
        assert_eq!(value("part", "One_Half", &values).unwrap(), 0.5);
        let error = value("part", "hole", &values).unwrap_err().to_string();
        assert_eq!(error, "part hole: must be one of one-half, whole; did you mean whole?");
    }

    #[test]
    fn capitals_and_hyphens_do_not_matter_and_slips_are_noticed() {
        assert_eq!(meant("ResNet-18", NAMES), Some("resnet18"));
        assert_eq!(meant("resnet18_ImageNet", NAMES), Some("resnet18-imagenet"));
        assert_eq!(meant("resnet19", NAMES), None);
        for (slip, name) in
            [("resnet19", "resnet18"), ("renset18", "resnet18"), ("smal", "small"), ("Stepwize", "stepwise")]
        {
            assert_eq!(closest(slip, NAMES), Some(name), "{slip}");
        }
        for other in ["", "vgg16", "efficientnet"] {
            assert_eq!(closest(other, NAMES), None, "{other}");
        }
        let error = unknown("model", "smal", NAMES).to_string();
        assert_eq!(
            error,
            "model smal: must be one of stepwise, small, resnet18, resnet18-imagenet; did you mean small?"
        );
    }
}
