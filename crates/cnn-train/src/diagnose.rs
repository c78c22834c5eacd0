//! Where a step that is not finite went wrong: it is run again, watched.

use std::cell::RefCell;
use std::rc::Rc;

use cnn_core::backend::Backend;
use cnn_core::graph::{Event, Observer, Op};
use cnn_core::nn::{Module, parameters};
use cnn_core::{Pass, Real, Tensor};

use crate::answers::Answers;

/// Remembers the first value that is not finite.
#[derive(Default)]
struct FirstNotFinite {
    place: Option<String>,
}

impl<B: Backend> Observer<B> for FirstNotFinite {
    fn observe(&mut self, event: &Event<'_, B>) -> cnn_core::Result<()> {
        if self.place.is_none() && event.output.to_vec()?.iter().any(|value| !value.as_f64().is_finite()) {
            let name = event.op.name();
            self.place = Some(match (&event.op, event.path) {
                (Op::Input, _) => "the images".to_owned(),
                (_, "") => format!("the output of {name}"),
                (_, path) => format!("the output of {path} ({name})"),
            });
        }
        Ok(())
    }
}

/// Runs the step on `images` again and returns the first parameter, output or gradient that is not finite, in words.
/// Running statistics move; the caller puts them back.
pub(crate) fn first_not_finite<B: Backend>(
    backend: &B,
    model: &mut dyn Module<B>,
    images: Tensor<B>,
    answers: &Answers<B>,
    pass: Pass<B>,
) -> cnn_core::Result<Option<String>> {
    let not_finite = |values: &cnn_core::backend::Wide<B>| -> cnn_core::Result<bool> {
        Ok(backend.download(values)?.iter().any(|value| !value.as_f64().is_finite()))
    };
    for parameter in parameters(&*model) {
        if not_finite(parameter.value())? {
            return Ok(Some(format!("the parameter {}", parameter.name())));
        }
    }
    let observer = Rc::new(RefCell::new(FirstNotFinite::default()));
    let pass = pass.observed(observer.clone());
    let loss = answers.loss(&model.call(&pass.input(images)?)?)?;
    if let Some(place) = observer.borrow_mut().place.take() {
        return Ok(Some(place));
    }
    let names: Vec<String> = parameters(&*model).iter().map(|parameter| parameter.name().to_owned()).collect();
    let mut place = None;
    loss.backward_with(&mut |key, gradient| {
        if place.is_none() && not_finite(gradient)? {
            place = Some(format!("the gradient of {}", names[key]));
        }
        Ok(())
    })?;
    Ok(place)
}
