//! `cnn runs`: runs in a table, and together those that differ in their seeds alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cnn::train::{Recipe, RunFolder, write_atomically};
use cnn_pages::{Group, Run, Spread, runs_page, spread_text};
use serde_json::{Value, json};

use super::args::RunsArgs;
use super::failure::Failure;
use super::output::{self, shown, table};

/// Runs the command.
pub(crate) fn run(args: &RunsArgs) -> Result<(), Failure> {
    let html = args.html.as_deref().map(|html| output::replaceable(html, args.force)).transpose()?;
    let mut runs = Vec::new();
    let mut failed = false;
    for folder in &args.folders {
        for path in run_folders(folder)? {
            match Run::read(&path) {
                Ok(run) => runs.push(run),
                Err(error) => {
                    failed = true;
                    output::error(error);
                }
            }
        }
    }
    let groups = Group::all(runs);
    if args.json {
        groups.iter().flat_map(|group| &group.runs).try_for_each(|run| output::print_json(&run_json(run)))?;
        groups
            .iter()
            .filter(|group| group.runs.len() > 1)
            .try_for_each(|group| output::print_json(&group_json(group)))?;
    } else {
        output::print(&text(&groups))?;
    }
    if let Some(file) = html {
        write_atomically(&file, runs_page(&groups).as_bytes())?;
        if !args.json {
            output::print(&format!("\nsaved {}\n", shown(&file)))?;
        }
    }
    if failed { Err(Failure::Reported) } else { Ok(()) }
}

/// The run in `folder`, or those in the folders in it, by their names.
fn run_folders(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    if RunFolder::holds_run(folder) {
        return Ok(vec![folder.to_owned()]);
    }
    let unread = |error: std::io::Error| Failure::usage(format!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        if RunFolder::holds_run(&path) {
            found.push(path);
        }
    }
    if found.is_empty() {
        let rule = "holds no run: must be the folder of a run, or a folder with some in it";
        return Err(Failure::usage(format!("{}: {rule}", folder.display())));
    }
    found.sort();
    Ok(found)
}

fn text(groups: &[Group]) -> String {
    let percent = |part: Option<f64>| part.map_or("-".to_owned(), |part| format!("{:.2}%", 100.0 * part));
    let time = |seconds: Option<f64>| seconds.map_or("-".to_owned(), output::duration);
    let runs: Vec<&Run> = groups.iter().flat_map(|group| &group.runs).collect();
    if runs.is_empty() {
        return String::new();
    }
    let settings = differing(&runs.iter().map(|run| &run.recipe).collect::<Vec<_>>());
    let mut lines = vec![
        ["run", "model", "data", "epochs", "accuracy", "six views", "mAP", "training", "in all", "seed", "settings"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (run, settings) in runs.into_iter().zip(settings) {
        let data = Path::new(&run.recipe.data)
            .file_name()
            .map_or(run.recipe.data.clone(), |name| name.to_string_lossy().into());
        lines.push(vec![
            run.name.clone(),
            run.recipe.model.clone(),
            data,
            format!("{}/{}", run.epochs.len(), run.recipe.all_epochs()),
            percent(run.result("test_accuracy")),
            percent(run.result("test_accuracy_tta")),
            percent(run.result("test_mean_average_precision")),
            time(run.training_seconds()),
            time(run.result("seconds")),
            run.recipe.seed.to_string(),
            settings,
        ]);
    }
    // A column that would be empty is not there.
    for column in (1..lines[0].len()).rev() {
        if lines[1..].iter().all(|line| matches!(line[column].as_str(), "-" | "")) {
            lines.iter_mut().for_each(|line| drop(line.remove(column)));
        }
    }
    let last = lines[0].len() - 1;
    let left = if lines[0][last] == "settings" { vec![0, 1, 2, last] } else { vec![0, 1, 2] };
    let mut out = table(&lines, &left);
    for group in groups.iter().filter(|group| group.runs.len() > 1) {
        let Some(plain) = group.result("test_accuracy") else { continue };
        out += &format!("\n{}: {} over {} runs", output::printable(&group.name()), spread_text(&plain), plain.count);
        if let Some(views) = group.result("test_accuracy_tta") {
            out += &format!(", by six views {}", spread_text(&views));
        }
        if let Some(precision) = group.result("test_mean_average_precision") {
            out += &format!(", mean average precision {}", spread_text(&precision));
        }
        out += "\n";
    }
    out
}

/// Of each recipe the settings in which they differ, but for those that have a column of their own, and where files are.
fn differing(recipes: &[&Recipe]) -> Vec<String> {
    const SHOWN: [&str; 6] = ["model", "data", "data_path", "epochs", "seed", "checkpoint_minutes"];
    let all: Vec<BTreeMap<String, String>> = recipes
        .iter()
        .map(|recipe| {
            let mut settings = BTreeMap::new();
            flatten("", &serde_json::to_value(recipe).unwrap_or_default(), &mut settings);
            settings.retain(|key, _| !SHOWN.contains(&key.as_str()));
            settings
        })
        .collect();
    let keys: BTreeSet<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    let differ: Vec<_> =
        keys.into_iter().filter(|key| all.iter().any(|one| one.get(*key) != all[0].get(*key))).collect();
    let of = |one: &BTreeMap<String, String>| {
        let set = differ.iter().filter_map(|key| Some(format!("{key} {}", one.get(*key)?)));
        set.collect::<Vec<_>>().join(", ")
    };
    all.iter().map(of).collect()
}

/// Every value in a recipe, by the path of its keys.
fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(table) => table.iter().for_each(|(key, value)| flatten(&at(key), value, into)),
        Value::Array(list) if list.iter().any(Value::is_object) => {
            list.iter().enumerate().for_each(|(i, value)| flatten(&at(&i.to_string()), value, into));
        }
        Value::Null => {}
        Value::String(text) => drop(into.insert(path.to_owned(), text.clone())),
        value => drop(into.insert(path.to_owned(), value.to_string())),
    }
}

fn run_json(run: &Run) -> Value {
    json!({
        "event": "run",
        "run": run.name,
        "path": run.path.display().to_string(),
        "model": run.recipe.model,
        "data": run.recipe.data,
        "epochs": run.epochs.len(),
        "seed": run.recipe.seed,
        "test_accuracy": run.result("test_accuracy"),
        "test_accuracy_tta": run.result("test_accuracy_tta"),
        "test_mean_average_precision": run.result("test_mean_average_precision"),
        "test_loss": run.result("test_loss"),
        "training_seconds": run.training_seconds(),
        "seconds": run.result("seconds"),
    })
}

fn group_json(group: &Group) -> Value {
    let spread = |field: &str| {
        group
            .result(field)
            .map(|Spread { mean, deviation, count }| json!({ "mean": mean, "deviation": deviation, "count": count }))
    };
    json!({
        "event": "group",
        "model": group.runs[0].recipe.model,
        "data": group.runs[0].recipe.data,
        "runs": group.runs.iter().map(|run| &run.name).collect::<Vec<_>>(),
        "test_accuracy": spread("test_accuracy"),
        "test_accuracy_tta": spread("test_accuracy_tta"),
        "test_mean_average_precision": spread("test_mean_average_precision"),
    })
}
