//! Recipes: what the options make of the defaults, and `cnn recipe`, which prints one with a word on every line.

use std::fs;
use std::path::Path;

use cnn::core::names;
use cnn::core::optim::Group;
use cnn::data::{Known, OpenOptions, list};
use cnn::models::Arch;
use cnn::train::{
    Chosen, EarlyStoppingRecipe, FreezeRecipe, OptimizerKind, PretrainedRecipe, Recipe, usual_preprocess, weights_info,
};

use super::args::{DATA_ROOT, RecipeArgs};
use super::failure::Failure;
use super::output;

/// Runs the command: prints the recipe that `train` would follow.
pub(crate) fn run(args: &RecipeArgs) -> Result<(), Failure> {
    let mut recipe = of(args, None)?;
    if (args.recipe.is_none() || is_fine_tuning(args))
        && Known::meant(&recipe.data).is_none()
        && Path::new(&recipe.data).exists()
    {
        let images = training_images(&recipe)?;
        fit(&mut recipe, images, args).iter().for_each(|said| output::note(&format!("note: {said}")));
    }
    output::print(&commented(&recipe)?)
}

/// How many images of the folder or file that `recipe` names are trained on, as far as can be said without decoding them.
fn training_images(recipe: &Recipe) -> Result<usize, Failure> {
    let listing = list(
        &recipe.data,
        Path::new(DATA_ROOT),
        &OpenOptions::default()
            .size(recipe.size)
            .preprocess(recipe.preprocess)
            .multi_label(recipe.multi_label.then_some(true)),
    )?;
    let report = listing.report();
    let meant = |name: &String| recipe.classes.as_ref().is_none_or(|classes| classes.contains(name));
    let of_classes = report.classes.iter().filter(|class| meant(&class.name)).map(|class| class.train).sum();
    // An image of several labels counts once, whatever classes it has.
    Ok(recipe.trained_on(report.multi_label.map_or(of_classes, |count| count.images[0])))
}

/// Fits defaults to few images, but not what was chosen by `args`; says what has changed.
pub(super) fn fit(recipe: &mut Recipe, images: usize, args: &RecipeArgs) -> Option<String> {
    let said = match &args.recipe {
        None => recipe.fit_to(images, chosen(args)),
        Some(_) => is_fine_tuning(args).then(|| recipe.fit_fine_tuning(images, chosen(args))),
    };
    set_head_lr(recipe, args);
    said
}

/// Whether the recipe is the one that comes with the program for fine-tuning.
pub(super) fn is_fine_tuning(args: &RecipeArgs) -> bool {
    args.recipe.as_deref() == Some(Path::new(Recipe::FINE_TUNING))
}

/// What of a recipe was chosen by `args`.
fn chosen(args: &RecipeArgs) -> Chosen {
    Chosen { batch: args.batch.is_some(), epochs: args.epochs.is_some(), lr: args.lr.is_some() }
}

/// What `data` is trained with when no more is said, by this model or by its own.
pub(super) fn default_of(model: Option<&str>, data: &str, size: Option<[usize; 2]>) -> Result<Recipe, Failure> {
    let model = model.unwrap_or(Recipe::default_model(data, size));
    let mut recipe = Recipe::default_for(model, data).map_err(Failure::usage)?;
    if let Some(size) = size {
        // The crop of the default is meant for images of 32x32; smaller ones move by less.
        recipe.augment.crop_padding = recipe.augment.crop_padding.min(size[0].min(size[1]) / 8);
    }
    Ok(recipe)
}

/// The recipe of a new run: defaults or a file, and what the options change.
pub(crate) fn of(args: &RecipeArgs, conv_algo: Option<&String>) -> Result<Recipe, Failure> {
    let asked = args.model.as_deref().map(str::parse::<Arch>).transpose().map_err(Failure::usage)?;
    let asked = asked.map(|arch| arch.to_string());
    // A published set by its own name, however it was spelled.
    let given = args.data.clone().map(|data| Known::meant(&data).map_or(data, |set| set.name().to_owned()));
    // Weights of a run say which network they are of, and which size of images.
    let init = args.init.as_ref().filter(|_| args.recipe.is_none() || is_fine_tuning(args));
    let of_init = match init {
        // A recipe can be printed before its weights are there.
        Some(file) if asked.is_none() || file.exists() => weights_info(file).map_err(Failure::usage)?,
        _ => None,
    };
    let of_others = init.is_some() && of_init.is_none();
    let own = of_init.filter(|_| asked.is_none());
    let asked = asked.or_else(|| own.as_ref().map(|info| info.arch.clone()));
    let size = args.size.or_else(|| own.as_ref().map(|info| [info.image[0], info.image[1]]));
    // How its pictures were made goes with the size that they were made for.
    let preprocess =
        own.filter(|info| args.size.is_none_or(|size| size == info.image[..2])).map(|info| info.preprocess);
    let mut recipe = match &args.recipe {
        Some(path) => preset_or_file(path)?,
        None => default_of(asked.as_deref(), given.as_deref().unwrap_or("shapes"), size)?,
    };
    // Sets with a name have sizes of their own.
    let size = size.filter(|_| args.size.is_some() || Known::meant(&recipe.data).is_none() && recipe.data != "shapes");
    if let Some(name) = &args.optimizer {
        choose_optimizer(&mut recipe, name)?;
    }
    let Recipe { model, data, data_path, epochs, batch, seed, precision, validation, optimizer, .. } = &mut recipe;
    set(model, asked.as_ref());
    set(data, given.as_ref());
    // A new run reads what `data` says where it is run; elsewhere, what it meant where the recipe was written, if that is
    // not left over from before `data` was edited.
    let name = |path: &str| Path::new(path).file_name().map(ToOwned::to_owned);
    let left_over = |path: &String| name(data).is_some_and(|data| name(path) != Some(data));
    if given.is_some() || Path::new(data).exists() || data_path.as_ref().is_some_and(left_over) {
        *data_path = None;
    }
    set(epochs, args.epochs.as_ref());
    set(batch, args.batch.as_ref());
    set(seed, args.seed.as_ref());
    set(precision, args.precision.as_ref());
    set(validation, args.validation.as_ref());
    set(&mut optimizer.lr, args.lr.as_ref());
    set(&mut recipe.conv_algo, conv_algo);
    if let Some(patience) = args.early_stopping {
        let by = recipe.early_stopping.map(|stopping| stopping.by).unwrap_or_default();
        recipe.early_stopping = Some(EarlyStoppingRecipe { patience, by });
    }
    recipe.class_weights = args.class_weights.clone().or(recipe.class_weights);
    recipe.multi_label |= args.multi_label;
    recipe.balanced |= args.balanced;
    recipe.max_seconds = args.max_seconds.or(recipe.max_seconds);
    fine_tuning(&mut recipe, args)?;
    let trimmed = |names: &Vec<String>| names.iter().map(|name| name.trim().to_owned()).collect();
    recipe.classes = args.classes.as_ref().map(trimmed).or(recipe.classes);
    recipe.size = size.or(recipe.size);
    if is_fine_tuning(args) {
        // What is thawed when is set by the number of images; until then it must not exceed the epochs that were asked for.
        recipe.unfreeze.retain(|after| *after < recipe.epochs);
    }
    let arch: Arch = recipe.model.parse().map_err(Failure::usage)?;
    let of_imagenet = of_others && arch.usual_size() == [224; 2];
    if (is_fine_tuning(args) || of_imagenet) && Known::meant(&recipe.data).is_none() && recipe.data != "shapes" {
        // As the weights were trained, where they do not say it themselves.
        let size = *recipe.size.get_or_insert(arch.usual_size());
        recipe.preprocess = usual_preprocess(arch, size);
    }
    set(&mut recipe.preprocess, preprocess.as_ref());
    recipe.preprocess.resize = args.resize.or(recipe.preprocess.resize);
    set(&mut recipe.preprocess.fit, args.fit.as_ref());
    set(&mut recipe.preprocess.filter, args.filter.as_ref());
    if let Some(least) = args.resized_crop {
        (recipe.augment.resized_crop, recipe.augment.crop_padding) = (least, 0);
    }
    if let Some(most) = args.color_jitter {
        recipe.augment.color_jitter = [most, most, most, recipe.augment.color_jitter[3]];
    }
    set(&mut recipe.augment.policy, args.policy.as_ref());
    set(&mut recipe.augment.random_erasing, args.random_erasing.as_ref());
    set(&mut recipe.augment.mixup, args.mixup.as_ref());
    set(&mut recipe.augment.cutmix, args.cutmix.as_ref());
    recipe.check().map_err(Failure::usage)?;
    Ok(recipe)
}

/// What `--init`, `--freeze` and `--head-lr` make of a recipe.
fn fine_tuning(recipe: &mut Recipe, args: &RecipeArgs) -> Result<(), Failure> {
    if is_fine_tuning(args) && args.init.is_none() {
        return Err(Failure::usage("recipe finetune: needs weights to begin with: --init FILE"));
    }
    if let Some(file) = &args.init {
        let Some(file) = file.to_str() else {
            return Err(Failure::usage(format!("init {}: must be a path in UTF-8", file.display())));
        };
        if args.recipe.is_none() {
            recipe.fine_tune(chosen(args));
        }
        let before = recipe.pretrained.take().unwrap_or_default();
        recipe.pretrained = Some(PretrainedRecipe { file: file.to_owned(), digest: None, ..before });
    }
    for asked in &args.freeze {
        let (pattern, first) = match asked.rsplit_once(':') {
            Some((pattern, epochs)) => {
                let rule = || Failure::usage(format!("freeze {asked}: must end with a number of epochs behind the :"));
                (pattern, Some(epochs.parse().map_err(|_| rule())?))
            }
            None => (&**asked, None),
        };
        let after_epochs = if first.is_none() { Some(0) } else { None };
        let pattern = pattern.to_owned();
        recipe.freeze.push(FreezeRecipe { pattern, before_epochs: first, after_epochs, statistics: true });
    }
    if let Some(lr) = args.head_lr.filter(|lr| !(*lr > 0.0 && lr.is_finite())) {
        return Err(Failure::usage(format!("head-lr {lr}: must be above 0 and finite")));
    }
    set_head_lr(recipe, args);
    Ok(())
}

/// Gives the last layer its rate, which a recipe has as a factor of the others'.
fn set_head_lr(recipe: &mut Recipe, args: &RecipeArgs) {
    if let Some(lr) = args.head_lr {
        recipe.optimizer.groups.retain(|group| group.pattern != "head");
        // Of several that match, the first counts.
        recipe.optimizer.groups.insert(0, Group::new("head", lr / recipe.optimizer.lr));
    }
}

/// The recipe that comes with the program by that name, or the one in a file; a file of a preset's name is written with its
/// folder, `./cifar10-94`.
pub(super) fn preset_or_file(path: &Path) -> Result<Recipe, Failure> {
    let preset = path.to_str().and_then(|name| Recipe::presets().find(|preset| *preset == name));
    match preset {
        Some(name) => Recipe::preset(name).map_err(Failure::usage),
        // A word is rather a preset's name than a file's.
        None if !path.exists() && path.extension().is_none() && path.components().count() == 1 => {
            let name = path.to_string_lossy();
            Err(Failure::usage(names::unknown("recipe", &name, Recipe::presets().chain(["the path of a file"]))))
        }
        None => read(path),
    }
}

/// The recipe in the file at `path`.
pub(crate) fn read(path: &Path) -> Result<Recipe, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    Recipe::from_toml(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

fn set<T: Clone>(field: &mut T, option: Option<&T>) {
    if let Some(value) = option {
        field.clone_from(value);
    }
}

/// Another optimiser starts from defaults of its own (Adam's are PyTorch's), as SGD's rate and decay would not suit it.
fn choose_optimizer(recipe: &mut Recipe, name: &str) -> Result<(), Failure> {
    const NAMES: [&str; 4] = ["sgd", "adam", "adamw", "muon"];
    let (kind, lr, weight_decay) = match names::meant(name, NAMES) {
        Some("sgd") => (OptimizerKind::Sgd, 0.05, 5e-4),
        Some("adam") => (OptimizerKind::Adam, 1e-3, 0.0),
        Some("adamw") => (OptimizerKind::AdamW, 1e-3, 1e-2),
        Some("muon") => (OptimizerKind::Muon, 2e-2, 1e-2),
        _ => return Err(Failure::usage(names::unknown("optimizer", name, NAMES))),
    };
    if recipe.optimizer.kind != kind {
        recipe.optimizer.kind = kind;
        recipe.optimizer.lr = lr;
        recipe.optimizer.weight_decay = weight_decay;
        (recipe.optimizer.ns_steps, recipe.optimizer.rescale) = (None, None);
    }
    Ok(())
}

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
fn commented(recipe: &Recipe) -> Result<String, Failure> {
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
