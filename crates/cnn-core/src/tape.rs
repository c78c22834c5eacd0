//! Reverse-mode differentiation: a list of closures, run newest first.
//!
//! Closures capture buffers and ids, never [`Var`](crate::Var)s, so there are no cycles, and each frees what it saved as
//! it runs.

use std::collections::HashMap;
use std::sync::Arc;

use crate::backend::{Accum, Backend, Data, Wide, check_blend};
use crate::{Error, Result};

/// Which value of a pass: dense, in order of creation.
pub type VarId = usize;

/// Which model a parameter's key is of, or which pass a value's number: equal to its clones and to nothing else.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity(Arc<()>);

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

type Run<B> = Box<dyn FnOnce(&B, Data<B>, &mut Flow<B>) -> Result<()>>;

struct Entry<B: Backend> {
    output: VarId,
    path: String,
    /// Keys of the parameters that it adds a gradient to.
    parameters: Vec<usize>,
    run: Run<B>,
}

/// What one pass recorded.
pub(crate) struct Tape<B: Backend> {
    entries: Vec<Entry<B>>,
    kept: Vec<VarId>,
    /// How many entries add to each parameter's gradient, by key.
    uses: Vec<usize>,
    /// Whose keys they are.
    model: Option<Identity>,
    pass: Identity,
}

impl<B: Backend> Tape<B> {
    /// The empty tape of this pass.
    pub(crate) fn new(pass: Identity) -> Self {
        Tape { entries: Vec::new(), kept: Vec::new(), uses: Vec::new(), model: None, pass }
    }

    /// Whether parameters of this model may be recorded: those of another have the same keys.
    pub(crate) fn admits(&mut self, model: &Identity) -> bool {
        *self.model.get_or_insert_with(|| model.clone()) == *model
    }

    pub(crate) fn push(&mut self, output: VarId, path: String, parameters: &[usize], run: Run<B>) {
        for &key in parameters {
            if self.uses.len() <= key {
                self.uses.resize(key + 1, 0);
            }
            self.uses[key] += 1;
        }
        self.entries.push(Entry { output, path, parameters: parameters.to_vec(), run });
    }

    pub(crate) fn keep(&mut self, id: VarId) {
        self.kept.push(id);
    }

    /// Runs the closures from the gradient `dy` of value `from`; `on_ready` sees every parameter's gradient once, when
    /// it is complete.
    pub(crate) fn backward(
        self,
        backend: &B,
        from: VarId,
        dy: Data<B>,
        on_ready: &mut dyn FnMut(usize, &mut Wide<B>) -> Result<()>,
    ) -> Result<Gradients<B>> {
        let mut flow: Flow<B> =
            Flow { values: HashMap::from([(from, dy)]), parameters: Vec::new(), uses: self.uses, complete: Vec::new() };
        let mut kept = HashMap::new();
        for entry in self.entries.into_iter().rev() {
            // Ids are in order of creation: what was made after `from` has no gradient and is dropped here. So is a
            // dead branch, of whose parameters nothing more is to come.
            match flow.values.remove(&entry.output) {
                Some(dy) => {
                    if self.kept.contains(&entry.output) {
                        kept.insert(entry.output, dy.clone());
                    }
                    (entry.run)(backend, dy, &mut flow).map_err(|error| error.in_layer(&entry.path))?;
                }
                None => entry.parameters.iter().for_each(|&key| flow.count_down(key)),
            }
            for key in flow.complete.drain(..) {
                if let Some(gradient) = flow.parameters.get_mut(key).and_then(Option::as_mut) {
                    on_ready(key, gradient)?;
                }
            }
        }
        for id in self.kept {
            if let Some(gradient) = flow.values.remove(&id) {
                kept.insert(id, gradient);
            }
        }
        Ok(Gradients { parameters: flow.parameters, model: self.model, kept, pass: self.pass, loss: None })
    }
}

/// Gradients on their way back: what an op's closure takes from and adds to.
pub struct Flow<B: Backend> {
    values: HashMap<VarId, Data<B>>,
    parameters: Vec<Option<Wide<B>>>,
    uses: Vec<usize>,
    complete: Vec<usize>,
}

impl<B: Backend> Flow<B> {
    /// Adds `gradient` to that of `target`; nothing happens for a value that needs none.
    pub fn add(&mut self, backend: &B, target: Option<VarId>, gradient: Data<B>) -> Result<()> {
        let Some(id) = target else { return Ok(()) };
        let sum = match self.values.remove(&id) {
            Some(previous) => backend.add(previous, &gradient)?,
            None => gradient,
        };
        self.values.insert(id, sum);
        Ok(())
    }

    /// Takes what has been added for `target` so far, for an op that adds to it in its own kernel and puts it back with
    /// [`Flow::put`].
    pub fn take(&mut self, target: VarId) -> Option<Data<B>> {
        self.values.remove(&target)
    }

    /// The counterpart of [`Flow::take`].
    pub fn put(&mut self, target: VarId, gradient: Data<B>) {
        self.values.insert(target, gradient);
    }

    /// Adds to the gradient of the parameter with this key.
    pub fn add_parameter(&mut self, backend: &B, key: usize, gradient: Wide<B>) -> Result<()> {
        if self.parameters.len() <= key {
            self.parameters.resize_with(key + 1, || None);
        }
        match &mut self.parameters[key] {
            // A parameter that is used twice.
            Some(sum) => backend.blend(sum, 1.0, &gradient, 1.0)?,
            none => *none = Some(gradient),
        }
        self.count_down(key);
        Ok(())
    }

    /// One use less is to come.
    fn count_down(&mut self, key: usize) {
        if let Some(left) = self.uses.get_mut(key) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.complete.push(key);
            }
        }
    }
}

/// What a backward pass computed: gradients of parameters by key, and of the values that were asked to be kept.
pub struct Gradients<B: Backend> {
    parameters: Vec<Option<Wide<B>>>,
    /// Whose parameters; none where there are none.
    model: Option<Identity>,
    kept: HashMap<VarId, Data<B>>,
    /// Whose values are kept.
    pass: Identity,
    /// What they are the gradients of, where that is a loss: it can be infinite when they are finite.
    loss: Option<Wide<B>>,
}

impl<B: Backend> Gradients<B> {
    /// The same, known to be those of this loss: one number.
    #[must_use]
    pub(crate) fn of_loss(self, loss: Wide<B>) -> Self {
        Gradients { loss: Some(loss), ..self }
    }

    /// The loss that they are the gradients of, one number on the device, or none when they started elsewhere.
    pub fn loss(&self) -> Option<&Wide<B>> {
        self.loss.as_ref()
    }

    /// The model whose parameters they are the gradients of, if any was recorded.
    pub(crate) fn model(&self) -> Option<&Identity> {
        self.model.as_ref()
    }

    /// Refuses gradients of the parameters of another model than `model`: the same keys mean others there.
    pub(crate) fn check_model(&self, model: Option<&Identity>, rule: &str) -> Result<()> {
        match self.model() {
            Some(own) if Some(own) != model => {
                Err(Error::invalid("gradients of", format!("{} parameters", self.parameters().count()), rule))
            }
            _ => Ok(()),
        }
    }

    /// The gradient of the parameter with this key, if the loss depends on it.
    pub fn by_key(&self, key: usize) -> Option<&Wide<B>> {
        self.parameters.get(key).and_then(Option::as_ref)
    }

    /// The same, to be changed in place or replaced by as many numbers.
    pub fn by_key_mut(&mut self, key: usize) -> Option<&mut Wide<B>> {
        self.parameters.get_mut(key).and_then(Option::as_mut)
    }

    /// Adds the gradients of `other`, the same model's on another batch. Those of `n` equal batches, [scaled](Self::scale)
    /// by `1 / n`, are those of all together (but for batch normalisation, which sees each batch by itself).
    ///
    /// # Errors
    /// Those of another model, or a gradient of another length: nothing is added then.
    pub fn accumulate(&mut self, backend: &B, other: &Gradients<B>) -> Result<()> {
        if self.model.is_some() {
            other.check_model(self.model(), "must be those of the model whose gradients they are added to")?;
        }
        for (into, from) in self.parameters.iter().zip(&other.parameters) {
            if let (Some(into), Some(from)) = (into, from) {
                check_blend(backend.len(into), backend.len(from))?;
            }
        }
        self.model = self.model.take().or_else(|| other.model.clone());
        self.parameters.resize(self.parameters.len().max(other.parameters.len()), None);
        let losses = (&mut self.loss, &other.loss);
        for (into, from) in self.parameters.iter_mut().zip(&other.parameters).chain([losses]) {
            match (into, from) {
                (Some(into), Some(from)) => backend.blend(into, 1.0, from, 1.0)?,
                (into, Some(from)) => *into = Some(from.clone()),
                (_, None) => {}
            }
        }
        Ok(())
    }

    /// Multiplies the gradients of all parameters, and their loss, by `factor`.
    pub fn scale(&mut self, backend: &B, factor: f64) -> Result<()> {
        for gradient in self.parameters.iter_mut().chain([&mut self.loss]).flatten() {
            let zeros = backend.fill(backend.len(gradient), Accum::<B>::default())?;
            let from = std::mem::replace(gradient, zeros);
            backend.blend(gradient, 1.0, &from, factor)?;
        }
        Ok(())
    }

    /// All gradients of parameters, in the order of their keys.
    pub fn parameters(&self) -> impl Iterator<Item = (usize, &Wide<B>)> {
        self.parameters.iter().enumerate().filter_map(|(key, gradient)| Some((key, gradient.as_ref()?)))
    }

    /// The gradient of the value with this number, if it was asked to be kept and the loss depends on it.
    pub(crate) fn kept(&self, id: VarId) -> Option<&Data<B>> {
        self.kept.get(&id)
    }

    /// Whether they came from this pass.
    pub(crate) fn came_from(&self, pass: &Identity) -> bool {
        self.pass == *pass
    }
}
