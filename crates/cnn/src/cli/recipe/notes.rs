//! A recipe as text, with a word on every line.

use cnn::train::Recipe;

use crate::cli::failure::Failure;

/// What there is to say of a key: the table it is in ("" for none), its name, the words, and a value to show where the
/// recipe does not set it.
type Note = (&'static str, &'static str, &'static str, Option<&'static str>);

const NOTES: &[Note] = &[
    ("", "model", "name of the network; cnn train --help has them all", None),
    ("", "data", "shapes, cifar10, cifar100, mnist, or the path of a folder or archive", None),
    ("", "data_path", "where that was found, if it is no longer where it says", None),
    ("", "classes", "only these classes, in this order", Some(r#"["cat", "dog"]"#)),
    ("", "size", "height and width of the network's images; not set: 32x32, or the data's own", Some("[64, 64]")),
    ("", "skip_bad", "leave out pictures that cannot be decoded", Some("true")),
    ("", "epochs", "passes over the training images", None),
    ("", "batch", "images in a step", None),
    ("", "accumulate", "parts of a step's images that are computed one after the other, for less memory", Some("4")),
    ("", "seed", "fixes initial weights, order, augmentation and dropout", None),
    ("", "precision", "how activations are stored: f32, bf16 for half the memory, or tf32 on a GPU", None),
    ("", "conv_algo", "how 3x3 convolutions are computed: auto, direct or winograd", None),
    ("", "validation", "part of the training images that is held out and measured after every epoch", None),
    (
        "",
        "label_smoothing",
        "part of each label that is spread over all classes; of several labels half for and half against each",
        None,
    ),
    (
        "",
        "class_weights",
        "what an image of each class counts in the loss, of several labels a label beside its absence: \"balanced\", or a list of numbers",
        Some("[1.0, 2.5]"),
    ),
    ("", "multi_label", "an image may have none or several labels, each judged by itself", Some("true")),
    ("", "balanced", "as many images of every class in an epoch, those of small ones several times", Some("true")),
    ("", "checkpoint_minutes", "longest time between two checkpoints", None),
    ("", "tta", "judge the test images also by six views of each", Some("true")),
    ("", "max_seconds", "seconds after which the run ends, is tested, and can be resumed with more", Some("3600.0")),
    (
        "",
        "unfreeze",
        "epochs after which all but the last layer is trained too; of several numbers a part of it each, from the last layer on",
        Some("[2]"),
    ),
    (
        "preprocess",
        "resize",
        "height and width that a folder's pictures are kept in; not set: size",
        Some("[256, 256]"),
    ),
    ("preprocess", "fit", "what becomes of other proportions: crop, pad or squash", Some(r#""crop""#)),
    ("preprocess", "filter", "what pictures are resized by: bicubic or bilinear", Some(r#""bicubic""#)),
    ("optimizer", "kind", "sgd, adam, adamw, or muon for weights with sgd for the rest", None),
    ("optimizer", "lr", "highest learning rate", None),
    ("optimizer", "momentum", "sgd, muon: part of the velocity that is kept", None),
    ("optimizer", "nesterov", "sgd, muon: look ahead along the velocity", None),
    ("optimizer", "ns_steps", "muon: iterations that make a step orthogonal", Some("5")),
    ("optimizer", "rescale", "muon: each weight is brought to the norm sqrt(outputs) before its step", Some("false")),
    ("optimizer", "weight_decay", "pull of the weights towards 0", None),
    ("optimizer", "decay_all", "whether biases and normalisations decay too", None),
    ("optimizer", "clip_grad_norm", "norm that the gradients are cut to; not set: none", Some("1.0")),
    (
        "optimizer",
        "layer_decay",
        "factor on the rate from each block to the one before it, the last layer having all of it",
        Some("0.75"),
    ),
    ("[optimizer.groups]", "pattern", "parameters by their names; a * is any text", Some(r#""*.bias""#)),
    ("[optimizer.groups]", "lr_scale", "factor on their learning rate", Some("2.0")),
    ("[optimizer.groups]", "weight_decay", "in place of the others'", Some("0.0")),
    (
        "[optimizer.groups]",
        "method",
        "in place of the others'",
        Some(r#"{ kind = "sgd", momentum = 0.9, nesterov = true }"#),
    ),
    ("optimizer.groups.method", "kind", "sgd, adam or muon", None),
    ("optimizer.groups.method", "momentum", "sgd, muon: part of the velocity that is kept", None),
    ("optimizer.groups.method", "nesterov", "sgd, muon: look ahead along the velocity", None),
    ("optimizer.groups.method", "ns_steps", "muon: iterations that make a step orthogonal", None),
    (
        "optimizer.groups.method",
        "rescale",
        "muon: each weight is brought to the norm sqrt(outputs) before its step",
        None,
    ),
    ("optimizer.groups.method", "beta1", "adam: decay of the first moment", None),
    ("optimizer.groups.method", "beta2", "adam: decay of the second moment", None),
    ("optimizer.groups.method", "eps", "adam: added to the root of the second moment", None),
    (
        "optimizer.groups.method",
        "decoupled",
        "adam: whether the decay shrinks the weights themselves, as AdamW's",
        None,
    ),
    ("schedule", "kind", "one-cycle, cosine, step, linear, triangle or constant", None),
    ("schedule", "warmup_epochs", "epochs of linear rise before it", None),
    ("schedule", "pct_start", "one-cycle, triangle: part of the run in which the rate rises", None),
    ("schedule", "start", "triangle: part of the highest rate that it begins with", None),
    ("schedule", "end", "triangle: part of the highest rate that it ends with", None),
    ("schedule", "step_epochs", "step: epochs between two drops", None),
    ("schedule", "gamma", "step: factor of a drop", None),
    ("augment", "crop_padding", "pixels by which the crop moves, each way", None),
    ("augment", "border", "what it finds outside of the image: zero or reflect", None),
    ("augment", "flip", "mirror left to right in every other epoch", None),
    ("augment", "resized_crop", "least part of an image that is stretched over the whole, at random", Some("0.35")),
    ("augment", "cutout", "side of the square that is blanked; 0 for none", None),
    ("augment", "random_erasing", "part of the images of which a rectangle is blanked", Some("0.25")),
    (
        "augment",
        "color_jitter",
        "brightness, contrast, saturation: by up to 1 more or less this; hue: up to this part of a circle",
        Some("[0.4, 0.4, 0.4, 0.1]"),
    ),
    (
        "augment",
        "policy",
        "operations on colours and shapes: none, trivial-augment or rand-augment",
        Some(r#""trivial-augment""#),
    ),
    (
        "augment",
        "mixup",
        "mixes each image with another: beta's parameter for the part it keeps; 0 for none",
        Some("0.2"),
    ),
    ("augment", "cutmix", "puts a rectangle of another image into each: the same; 0 for none", Some("1.0")),
    ("average", "kind", "ema, or lookahead, from which training goes on", Some(r#""ema""#)),
    ("average", "every", "steps from one of its moves to the next", Some("5")),
    ("average", "decay", "what a move leaves of it", Some("0.98")),
    ("average", "ramp", "the decay is multiplied by the part of the run that is over, to this power", Some("1.0")),
    ("pretrained", "file", "weights to begin with: of a run, or of PyTorch", Some(r#""resnet18.pth""#)),
    ("pretrained", "digest", "SHA-256 of its arrays", None),
    ("pretrained", "mean", "of each channel of pixels from 0 to 1; not set: as the file says, or ImageNet's", None),
    ("pretrained", "std", "likewise", None),
    ("[init]", "pattern", "parameters by their names; a * is any text", Some(r#""*.bias""#)),
    ("[init]", "value", "the number that they begin with", Some("0.0")),
    ("[freeze]", "pattern", "parameters by their names; a * is any text", Some(r#""*.bias""#)),
    ("[freeze]", "before_epochs", "epochs for which they stay as they are at first", Some("2")),
    ("[freeze]", "statistics", "whether the normalisations among them keep their statistics", Some("true")),
    ("[freeze]", "after_epochs", "epochs after which they stay as they are", Some("3")),
    (
        "early_stopping",
        "patience",
        "epochs in a row that may pass without a better figure of the images held out",
        Some("5"),
    ),
    ("early_stopping", "by", "that figure: accuracy or loss", Some(r#""accuracy""#)),
    ("[extended]", "after_steps", "steps after which epochs were added", None),
    ("[extended]", "epochs", "how many", None),
];

/// `recipe` as TOML with a comment above every key, and the keys that it does not set as comments themselves.
pub(super) fn commented(recipe: &Recipe) -> Result<String, Failure> {
    let toml = recipe.to_toml()?;
    let lines: Vec<&str> = toml.lines().filter(|line| !line.is_empty()).collect();
    let (mut out, mut table) = ("# cnn train --recipe FILE follows this.\n".to_owned(), "");
    for (at, line) in lines.iter().enumerate() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            table = name;
            out += &format!("\n{line}\n");
        } else {
            let key = line.split(" =").next().unwrap_or(line);
            if let Some((_, _, words, _)) = NOTES.iter().find(|note| (note.0, note.1) == (table, key)) {
                out += &format!("# {words}\n");
            }
            out += &format!("{line}\n");
        }
        if lines.get(at + 1).is_none_or(|next| next.starts_with('[')) {
            out += &unset(table, &toml);
        }
    }
    let mut tables: Vec<&str> = NOTES.iter().map(|note| note.0).filter(|table| !table.is_empty()).collect();
    tables.dedup();
    tables.iter().for_each(|table| out += &unset_table(table, &toml));
    Ok(out)
}

/// A table that can be there and is not, as a comment with an example of each of its keys.
fn unset_table(table: &str, toml: &str) -> String {
    let examples =
        NOTES.iter().filter(|note| note.0 == table).map(|(_, key, words, value)| Some((key, words, (*value)?)));
    let examples: Vec<_> = examples.flatten().collect();
    if examples.is_empty() || toml.contains(&format!("[{table}]")) {
        return String::new();
    }
    let lines = |mark: &str| -> String {
        let key = |(key, words, value): &(&&str, &&str, &str)| format!("# {words}\n{mark}{key} = {value}\n");
        examples.iter().map(key).collect()
    };
    match Recipe::from_toml(&format!("{toml}\n[{table}]\n{}", lines(""))) {
        Ok(_) => format!("\n# [{table}]\n{}", lines("# ")),
        Err(_) => String::new(),
    }
}

/// The keys of `table` that can be set and are not.
fn unset(table: &str, toml: &str) -> String {
    let is_set = |key: &str| toml.lines().any(|line| line.starts_with(&format!("{key} =")));
    // A key that only an older or newer recipe has would be refused.
    let known = |key: &str, value: &str| {
        let text = format!("{key} = {value}\n");
        Recipe::from_toml(&if table.is_empty() { text + toml } else { with(table, &text, toml) }).is_ok()
    };
    let mut out = String::new();
    for (_, key, words, value) in NOTES.iter().filter(|note| note.0 == table) {
        if let Some(value) = value.filter(|value| !is_set(key) && known(key, value)) {
            out += &format!("# {words}\n# {key} = {value}\n");
        }
    }
    out
}

/// `toml` with `line` as the first of `table`.
fn with(table: &str, line: &str, toml: &str) -> String {
    toml.replacen(&format!("[{table}]\n"), &format!("[{table}]\n{line}"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key without words would be printed without a comment: whoever adds one says here what it does.
    #[test]
    fn every_key_has_its_comment_and_the_text_is_the_recipe() {
        let check = |recipe: &Recipe| {
            let text = commented(recipe).unwrap();
            assert_eq!(Recipe::from_toml(&text).unwrap(), *recipe);
            let lines: Vec<&str> = text.lines().collect();
            for pair in lines.windows(2) {
                let key = !pair[1].is_empty() && !pair[1].starts_with(['#', '[']);
                assert!(!key || pair[0].starts_with("# "), "no comment above {:?}", pair[1]);
            }
            text
        };
        Recipe::presets().for_each(|name| drop(check(&Recipe::preset(name).unwrap())));
        let text = check(&Recipe::default_for("resnet18", "photos").unwrap());
        let lines: Vec<&str> = text.lines().collect();
        // What is not set can be, without its mark.
        let all: String = lines
            .iter()
            .map(|line| line.strip_prefix("# ").filter(|l| l.contains(" = ") || l.starts_with('[')).unwrap_or(line))
            .map(|line| format!("{line}\n"))
            .collect();
        // Of these two one at most can be.
        let without = |key: &str| Recipe::from_toml(&all.replace(&format!("{key} = true\n"), "")).unwrap();
        let set = without("multi_label");
        assert!(set.balanced && !set.multi_label && without("balanced").multi_label);
        assert_eq!((set.classes.map(|classes| classes.len()), set.size), (Some(2), Some([64, 64])));
        assert!(set.average.is_some() && set.early_stopping.is_some(), "{all}");
        assert_eq!([set.optimizer.groups.len(), set.freeze.len(), set.init.len()], [1; 3]);
    }
}
