//! One run of a model: on which backend, for training or evaluation, recorded or not.

use std::cell::{Cell, RefCell};
use std::fmt::{Debug, Formatter};
use std::rc::Rc;

use crate::backend::{Backend, Data};
use crate::graph::{Event, Observer, Op};
use crate::rng::{Philox, Purpose};
use crate::tape::{Flow, Identity, Tape, VarId};
use crate::value::Value;
use crate::{Error, Result};

/// Whether layers use and update batch statistics and drop values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, running statistics move, dropout drops.
    Train,
    /// Running statistics, no dropout.
    Eval,
}

/// One run of a model. Cheap to clone; every [`Var`](crate::Var) holds its pass.
pub struct Pass<B: Backend>(Rc<Inner<B>>);

struct Inner<B: Backend> {
    backend: B,
    id: Identity,
    mode: Mode,
    seed: u64,
    step: u32,
    /// None: nothing is recorded. Inside, none once the way back was run.
    tape: Option<RefCell<Option<Tape<B>>>>,
    observer: Option<Rc<RefCell<dyn Observer<B>>>>,
    path: RefCell<String>,
    values: Cell<usize>,
    masks: Cell<u32>,
}

impl<B: Backend> Pass<B> {
    /// A pass that trains: recorded for [`Loss::backward`](crate::ops::Loss::backward). `seed` and the step (see [`Pass::at_step`]) fix the dropout
    /// masks.
    pub fn train(backend: &B, seed: u64) -> Self {
        Self::new(backend, Mode::Train, seed, true)
    }

    /// A pass that evaluates: nothing is saved.
    pub fn eval(backend: &B) -> Self {
        Self::new(backend, Mode::Eval, 0, false)
    }

    /// A pass that evaluates and is recorded: gradients through a fixed model.
    pub fn eval_recorded(backend: &B) -> Self {
        Self::new(backend, Mode::Eval, 0, true)
    }

    fn new(backend: &B, mode: Mode, seed: u64, record: bool) -> Self {
        let id = Identity::default();
        Pass(Rc::new(Inner {
            backend: backend.clone(),
            mode,
            seed,
            step: 0,
            tape: record.then(|| RefCell::new(Some(Tape::new(id.clone())))),
            id,
            observer: None,
            path: RefCell::default(),
            values: Cell::new(0),
            masks: Cell::new(0),
        }))
    }

    /// The same pass, not yet used, at another step.
    ///
    /// # Panics
    /// The pass has values already.
    #[must_use]
    pub fn at_step(mut self, step: u32) -> Self {
        self.unused().step = step;
        self
    }

    /// The same pass, not yet used, with an observer that sees every operation.
    ///
    /// # Panics
    /// The pass has values already.
    #[must_use]
    pub fn observed(mut self, observer: Rc<RefCell<dyn Observer<B>>>) -> Self {
        self.unused().observer = Some(observer);
        self
    }

    fn unused(&mut self) -> &mut Inner<B> {
        Rc::get_mut(&mut self.0).expect("a pass is configured before its first value")
    }

    /// The device.
    pub fn backend(&self) -> &B {
        &self.0.backend
    }

    /// Training or evaluation.
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// State-dict path of the module that is running, empty outside of any.
    pub fn path(&self) -> String {
        self.0.path.borrow().clone()
    }

    /// Runs `f` inside the module at `path`; its errors name that module.
    pub fn within<T>(&self, path: &str, f: impl FnOnce() -> Result<T>) -> Result<T> {
        let outer = self.0.path.replace(path.to_owned());
        let result = f().map_err(|error| error.in_layer(path));
        self.0.path.replace(outer);
        result
    }

    /// The random sequence of the next dropout of this step.
    pub(crate) fn next_mask(&self) -> Philox {
        let mask = self.0.masks.get();
        self.0.masks.set(mask + 1);
        Philox::new(self.0.seed, Purpose::Dropout, self.0.step, mask)
    }

    /// Whether `other` is this very pass.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// By what its gradients know it.
    pub(crate) fn id(&self) -> &Identity {
        &self.0.id
    }

    /// The number of the next value.
    pub(crate) fn next_value(&self) -> VarId {
        let id = self.0.values.get();
        self.0.values.set(id + 1);
        id
    }

    /// Tells the observer, if there is one, what was computed.
    pub(crate) fn announce(
        &self,
        op: impl FnOnce() -> Op<B>,
        inputs: impl Iterator<Item = VarId>,
        output: &Value<B>,
    ) -> Result<()> {
        let Some(observer) = &self.0.observer else { return Ok(()) };
        let (path, inputs) = (self.0.path.borrow(), inputs.collect::<Vec<_>>());
        observer.borrow_mut().observe(&Event { path: &path, op: &op(), inputs: &inputs, output })
    }

    /// Records how the gradient of value `output` flows back.
    pub(crate) fn record_value(
        &self,
        output: VarId,
        parameters: &[usize],
        run: impl FnOnce(&B, Data<B>, &mut Flow<B>) -> Result<()> + 'static,
    ) {
        if let Some(tape) = &self.0.tape
            && let Some(tape) = tape.borrow_mut().as_mut()
        {
            tape.push(output, self.path(), parameters, Box::new(run));
        }
    }

    /// Whether somebody sees the operations.
    pub(crate) fn is_observed(&self) -> bool {
        self.0.observer.is_some()
    }

    /// Whether gradients are recorded.
    pub fn is_recorded(&self) -> bool {
        self.0.tape.is_some()
    }

    /// Whether parameters of this model may be recorded, see [`Tape::admits`].
    pub(crate) fn admits(&self, model: &Identity) -> bool {
        let tape = self.0.tape.as_ref().map(RefCell::borrow_mut);
        tape.and_then(|mut tape| Some(tape.as_mut()?.admits(model))).unwrap_or(true)
    }

    pub(crate) fn keep(&self, id: VarId) {
        if let Some(tape) = &self.0.tape
            && let Some(tape) = tape.borrow_mut().as_mut()
        {
            tape.keep(id);
        }
    }

    /// What was recorded, for the one run back.
    pub(crate) fn take_tape(&self) -> Result<Tape<B>> {
        let refuse = |rule: &str| Error::invalid("pass", format!("{:?}", self.0.mode), rule);
        let tape = self.0.tape.as_ref().ok_or_else(|| refuse("is not recorded, so it has no backward pass"))?;
        tape.take().ok_or_else(|| refuse("was run backward before, and frees what it saved as it runs"))
    }
}

impl<B: Backend> Clone for Pass<B> {
    fn clone(&self) -> Self {
        Pass(Rc::clone(&self.0))
    }
}

impl<B: Backend> Debug for Pass<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass").field("mode", &self.0.mode).field("path", &self.path()).finish_non_exhaustive()
    }
}
