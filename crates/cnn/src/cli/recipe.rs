//! Recipes: what the options make of the defaults, and `cnn recipe`, which prints one with a word on every line.

mod notes;

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
use notes::commented;

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
