//! What is said of a network whose images may have none or several labels: its figures, as words and as JSON.

use cnn::train::{Evaluation, MultiLabelFigures};
use serde_json::json;

use super::output::{self, grouped, percent, table};

/// A fraction in percent; a dash where there is none.
fn part(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{:.2}%", 100.0 * value))
}

/// The figures of all classes together.
pub(super) fn figures(several: &MultiLabelFigures) -> String {
    let MultiLabelFigures { mean_average_precision, f1_micro, f1_macro, .. } = several;
    let [map, micro, macro_] = [*mean_average_precision, *f1_micro, *f1_macro].map(part);
    format!("mean average precision {map}, F1 at 0.5 {micro} over all answers, {macro_} on average over classes")
}

/// What `cnn eval` prints.
pub(super) fn to_text(
    evaluation: &Evaluation,
    several: &MultiLabelFigures,
    views: Option<&Evaluation>,
    classes: &[String],
) -> String {
    let Evaluation { correct, count, loss, .. } = evaluation;
    let mut out = format!("test {}\n", figures(several));
    out += &format!(
        "every class right in {} of the images ({correct} of {count}{}), loss {loss:.4}\n",
        percent(*correct, *count),
        output::margin(*correct, *count)
    );
    if let Some((views, figures)) = views.and_then(|views| Some((views, figures(views.several.as_ref()?)))) {
        out += &format!(
            "by six views of each image {figures}; every class right in {}, loss {:.4}\n",
            percent(views.correct, views.count),
            views.loss
        );
    }
    let mut lines =
        vec![["class", "images", "precision", "recall", "F1", "average precision"].map(str::to_owned).to_vec()];
    for (class, of) in classes.iter().zip(&several.classes) {
        let figures = [of.precision(), of.recall(), of.f1(), of.average_precision].map(part);
        lines.push([class.clone(), grouped(of.images)].into_iter().chain(figures).collect());
    }
    out + "\n" + &table(&lines, &[0])
}

/// What `cnn eval --json` prints.
pub(super) fn to_json(
    evaluation: &Evaluation,
    several: &MultiLabelFigures,
    views: Option<&Evaluation>,
    classes: &[String],
) -> serde_json::Value {
    let rows: Vec<_> = (classes.iter().zip(&several.classes))
        .map(|(class, of)| {
            json!({
                "class": class,
                "count": of.images,
                "recall": of.recall(),
                "precision": of.precision(),
                "f1": of.f1(),
                "average_precision": of.average_precision,
            })
        })
        .collect();
    let by_views = views.and_then(|views| views.several.as_ref());
    json!({
        "event": "result",
        "test_accuracy": evaluation.accuracy(),
        "test_accuracy_tta": views.map(Evaluation::accuracy),
        "test_mean_average_precision": several.mean_average_precision,
        "test_mean_average_precision_tta": by_views.and_then(|figures| figures.mean_average_precision),
        "test_f1_micro": several.f1_micro,
        "test_f1_macro": several.f1_macro,
        "test_loss": evaluation.loss,
        "correct": evaluation.correct,
        "count": evaluation.count,
        "classes": rows,
    })
}
