//! Runs compared: a row each, and together those that differ in nothing but their seeds.

use crate::html::{Page, bar, cards, escape, number, paragraphs, percent, short_name};
use crate::report::duration;
use crate::run::Run;
use crate::svg::{Line, lines};

/// Runs by one recipe, but for their seeds.
#[derive(Clone, Debug)]
pub struct Group {
    /// At least one, in the order in which they were given.
    pub runs: Vec<Run>,
}

/// The mean of some numbers and how far they scatter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation of a sample (over n - 1); none of a single number.
    pub deviation: Option<f64>,
    /// How many.
    pub count: usize,
}

impl Spread {
    /// Of `values`; none if there are none.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (count > 1).then(|| (squares / (count - 1) as f64).sqrt());
        (count > 0).then_some(Spread { mean, deviation, count })
    }
}

impl Group {
    /// Puts together the runs that differ in nothing but their seeds.
    pub fn all(runs: Vec<Run>) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for run in runs {
            match groups.iter_mut().find(|group| group.runs[0].is_again(&run)) {
                Some(group) => group.runs.push(run),
                None => groups.push(Group { runs: vec![run] }),
            }
        }
        groups
    }

    /// A number of `results.json` over the runs that have ended: see [`Run::result`].
    pub fn result(&self, field: &str) -> Option<Spread> {
        Spread::of(&self.runs.iter().filter_map(|run| run.result(field)).collect::<Vec<_>>())
    }

    /// What the group is called.
    pub fn name(&self) -> String {
        let recipe = &self.runs[0].recipe;
        format!("{} on {}, {} epochs", recipe.model, short_name(&recipe.data), recipe.all_epochs())
    }
}

/// The comparison as a page: a table, the groups' means, and how accuracy grew.
pub fn runs_page(groups: &[Group]) -> String {
    let count: usize = groups.iter().map(|group| group.runs.len()).sum();
    let mut page = Page::new(
        &format!("{count} {}", if count == 1 { "run" } else { "runs compared" }),
        "<p class=\"lead\">Accuracies are on the test images, which each run read once, at its end.</p>".to_owned(),
    );
    let repeated: Vec<&Group> = groups.iter().filter(|group| group.runs.len() > 1).collect();
    if !repeated.is_empty() {
        let mut body = paragraphs(&["These runs differ in nothing but their seeds: mean and standard deviation."]);
        let cell = |spread: Option<Spread>| spread.map_or("\u{2013}".to_owned(), |spread| spread_text(&spread));
        let rows: Vec<Vec<String>> = (repeated.iter())
            .map(|group| {
                vec![
                    format!("<bdi>{}</bdi>", escape(&group.name())),
                    group.runs.len().to_string(),
                    cell(group.result("test_accuracy")),
                    cell(group.result("test_accuracy_tta")),
                ]
            })
            .collect();
        body += &cards("Runs by seed", &["recipe", "runs", "accuracy", "by six views"], &rows);
        page.section("groups", "Several seeds", body);
    }
    let rows: Vec<Vec<String>> = (groups.iter().flat_map(|group| &group.runs))
        .map(|run| {
            let part = |field: &str| {
                run.result(field).map_or("\u{2013}".to_owned(), |part| format!("{}{}", percent(part), bar(part)))
            };
            let time = |seconds: Option<f64>| seconds.map_or("\u{2013}".to_owned(), duration);
            vec![
                format!("<bdi>{}</bdi>", escape(&run.name)),
                format!("<bdi>{}</bdi>", escape(&run.recipe.model)),
                format!("{} of {}", run.epochs.len(), run.recipe.all_epochs()),
                part("test_accuracy"),
                part("test_accuracy_tta"),
                run.result("test_loss").map_or("\u{2013}".to_owned(), |loss| number(loss, 4)),
                time(run.training_seconds()),
                time(run.result("seconds")),
                run.recipe.seed.to_string(),
            ]
        })
        .collect();
    let columns = ["run", "model", "epochs", "accuracy", "by six views", "loss", "training", "in all", "seed"];
    page.section("runs", "Every run", cards("Runs", &columns, &rows));
    let line = |run: &Run| Line { name: run.name.clone(), points: run.accuracies() };
    let all: Vec<Line> = groups.iter().flat_map(|group| &group.runs).map(line).collect();
    let chart = lines("Accuracy", "epoch", &all, true);
    if !chart.is_empty() {
        let body = format!(
            "<p>On the images held out for validation, where a run has some, else on the training images as they were seen.</p>\n\
             <div class=\"charts one\"><figure>{chart}</figure></div>\n"
        );
        page.section("curves", "How accuracy grew", body);
    }
    page.render()
}

/// `93.80% ± 0.12`, in per cent and points.
pub fn spread_text(spread: &Spread) -> String {
    let deviation = spread.deviation.map(|deviation| format!(" \u{b1} {:.2}", 100.0 * deviation));
    percent(spread.mean) + &deviation.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_that_of_a_sample() {
        let spread = Spread::of(&[0.9, 0.92, 0.94]).unwrap();
        assert!((spread.mean - 0.92).abs() < 1e-12 && (spread.deviation.unwrap() - 0.02).abs() < 1e-12);
        assert_eq!(spread_text(&spread), "92.00% \u{b1} 2.00");
        assert_eq!(Spread::of(&[0.5]), Some(Spread { mean: 0.5, deviation: None, count: 1 }));
        assert_eq!(Spread::of(&[]), None);
    }
}
