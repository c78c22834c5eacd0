//! The stream that all kernels and copies of a device go through, in the order of the calls, and the graphs that gather them.
//!
//! To launch a kernel costs the host some microseconds and the GPU a pause. Work that is gathered is captured by the driver
//! as a graph instead and handed over at once. Each time it is captured anew, which costs a fraction of the launches, and
//! an earlier graph of the same kernels is brought up to date with its addresses and numbers; so whatever the host computes
//! for a step (a learning rate, a seed, which memory) is as it would be without a graph, and who asks for work need
//! not know. What is recorded is captured once and launched as often as it is asked for.
//!
//! A capture takes nothing but work: who waits for the GPU, or asks the driver for memory or modules, calls
//! [`Stream::flush`] first, and what was gathered so far goes its way.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use cudarc::driver::DriverError;
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUgraph, CUgraphExec, CUstream, CUstreamCaptureMode};

/// How many graphs are kept to be brought up to date: a loop has one for a step, and one more for a batch that is short.
const KEPT: usize = 8;

/// A stream, and what is being gathered for it.
#[derive(Debug)]
pub(crate) struct Stream {
    raw: CUstream,
    state: Mutex<State>,
    /// A recording has ended.
    recorded: Condvar,
}

#[derive(Debug, Default)]
struct State {
    gathered: Option<Gathered>,
    /// The thread whose work is being recorded; that of others must not get in between.
    recorder: Option<ThreadId>,
    /// Graphs by what they are made of, that which was used last at the end.
    kept: VecDeque<(u64, Exec)>,
    launches: Launches,
    /// How often gathered work came to nothing, as its graph could not be launched.
    lost: u64,
}

/// What is put into a stream: by these a graph that consists of the same is found again.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum Node {
    /// By its function.
    Kernel(usize),
    Fill,
    Copy,
    /// Of cuBLASLt.
    Product,
}

/// How work was handed over to a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Launches {
    /// Kernels and copies by themselves.
    pub alone: u64,
    /// Graphs, recordings among them.
    pub graphs: u64,
    /// Of these, how many had to be made anew, which takes longer than to bring one up to date.
    pub new_graphs: u64,
}

/// What the capture that is open has taken so far.
#[derive(Debug, Default)]
struct Gathered {
    nodes: DefaultHasher,
    count: usize,
}

/// A graph that can be launched.
#[derive(Debug)]
pub(crate) struct Exec(CUgraphExec);

/// A graph as it was captured.
struct Graph(CUgraph);

// SAFETY: the driver's handles may be used from any thread whose current context is theirs, which callers see to.
unsafe impl Send for Stream {}
// SAFETY: see Send; what is not the driver's is behind a lock.
unsafe impl Sync for Stream {}
// SAFETY: as for the stream.
unsafe impl Send for Exec {}
// SAFETY: it is only launched, by who has the stream's lock.
unsafe impl Sync for Exec {}

impl Stream {
    /// A stream of the current context.
    pub(crate) fn create() -> Result<Self, DriverError> {
        let raw = result::stream::create(result::stream::StreamKind::NonBlocking)?;
        Ok(Stream { raw, state: Mutex::default(), recorded: Condvar::new() })
    }

    /// The state, once nobody else records.
    fn state(&self) -> MutexGuard<'_, State> {
        let (lock, me) = (self.state.lock().unwrap_or_else(PoisonError::into_inner), thread::current().id());
        let others = |state: &mut State| state.recorder.is_some_and(|recorder| recorder != me);
        self.recorded.wait_while(lock, others).unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `work` behind all work so far.
    pub(crate) fn enqueue<E>(&self, node: Node, work: impl FnOnce(CUstream) -> Result<(), E>) -> Result<(), E> {
        let mut state = self.state();
        work(self.raw)?;
        let State { gathered, launches, .. } = &mut *state;
        match gathered {
            Some(gathered) => {
                node.hash(&mut gathered.nodes);
                gathered.count += 1;
            }
            None => launches.alone += 1,
        }
        Ok(())
    }

    /// The same for what a graph cannot take: events that others wait for, copies from memory that will be gone.
    pub(crate) fn enqueue_alone(
        &self,
        work: impl FnOnce(CUstream) -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        let mut state = self.state();
        self.hand_over(&mut state)?;
        state.launches.alone += 1;
        work(self.raw)
    }

    /// How work was handed over so far.
    pub(crate) fn launches(&self) -> Launches {
        self.state().launches
    }

    /// How often work was lost so far: what it was to write was not written, and who keeps that for later looks here.
    pub(crate) fn lost(&self) -> u64 {
        self.state().lost
    }

    /// Hands over what was gathered; what follows it is not gathered any more.
    pub(crate) fn flush(&self) -> Result<(), DriverError> {
        self.hand_over(&mut self.state())
    }

    fn hand_over(&self, state: &mut State) -> Result<(), DriverError> {
        state.or_lost(|state| {
            let Some((_, graph)) = self.captured(state)? else { return Ok(()) };
            let exec = state.instantiate(&graph)?;
            self.launch_on(&exec, state)?;
            // A piece as chance has cut it is of no further use, and is dropped when it is done.
            self.wait()
        })
    }

    /// Waits for all work.
    pub(crate) fn synchronise(&self) -> Result<(), DriverError> {
        self.flush()?;
        self.wait()
    }

    fn wait(&self) -> Result<(), DriverError> {
        // SAFETY: the stream lives as long as self.
        unsafe { result::stream::synchronize(self.raw) }
    }

    /// Begins to gather; false if that was begun already, by whoever will end it.
    pub(crate) fn gather(&self) -> Result<bool, DriverError> {
        self.begin(&mut self.state())
    }

    /// Hands over what was gathered, as an earlier graph brought up to date or as a new one.
    pub(crate) fn end_gathering(&self) -> Result<(), DriverError> {
        self.state().or_lost(|state| {
            let Some((nodes, graph)) = self.captured(state)? else { return Ok(()) };
            let known = state.kept.iter().position(|(known, _)| *known == nodes).and_then(|at| state.kept.remove(at));
            let exec = match known {
                Some((_, exec)) if exec.update(&graph) => exec,
                outdated => {
                    if outdated.is_some() || state.kept.len() == KEPT {
                        self.wait()?; // what is dropped may still be running
                    }
                    if state.kept.len() == KEPT {
                        state.kept.pop_front();
                    }
                    state.instantiate(&graph)?
                }
            };
            let launched = self.launch_on(&exec, state);
            state.kept.push_back((nodes, exec));
            launched
        })
    }

    /// Begins to record; false if work is being gathered already.
    pub(crate) fn record(&self) -> Result<bool, DriverError> {
        let mut state = self.state();
        let begun = state.gathered.is_none() && self.begin(&mut state)?;
        if begun {
            state.recorder = Some(thread::current().id());
        }
        Ok(begun)
    }

    /// Ends a recording and launches it; none if it was handed over in the meantime, as work in it has waited.
    pub(crate) fn end_recording(&self) -> Result<Option<Exec>, DriverError> {
        let mut state = self.state();
        state.recorder = None;
        self.recorded.notify_all();
        state.or_lost(|state| {
            let Some((_, graph)) = self.captured(state)? else { return Ok(None) };
            let exec = state.instantiate(&graph)?;
            self.launch_on(&exec, state)?;
            Ok(Some(exec))
        })
    }

    /// `before`, then the graph, then `after`, with nothing of another thread in between.
    pub(crate) fn replay(
        &self,
        exec: &Exec,
        before: impl FnOnce(CUstream) -> Result<(), DriverError>,
        after: impl FnOnce(CUstream) -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        let mut state = self.state();
        self.hand_over(&mut state)?;
        before(self.raw)?;
        self.launch_on(exec, &mut state)?;
        after(self.raw)
    }

    fn begin(&self, state: &mut State) -> Result<bool, DriverError> {
        if state.gathered.is_some() {
            return Ok(false);
        }
        // Relaxed, so that calls of other threads that have nothing to do with this stream are not forbidden.
        // SAFETY: the stream lives as long as self.
        unsafe { result::stream::begin_capture(self.raw, CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED) }?;
        state.gathered = Some(Gathered::default());
        Ok(true)
    }

    /// Ends the capture: the graph and what it is known by; none if nothing was captured.
    fn captured(&self, state: &mut State) -> Result<Option<(u64, Graph)>, DriverError> {
        let Some(gathered) = state.gathered.take() else { return Ok(None) };
        // SAFETY: the stream lives as long as self, and its capture is open. The graph is destroyed when it is dropped.
        let graph = Graph(unsafe { result::stream::end_capture(self.raw) }?);
        Ok((gathered.count > 0).then(|| (gathered.nodes.finish(), graph)))
    }

    fn launch_on(&self, exec: &Exec, state: &mut State) -> Result<(), DriverError> {
        state.launches.graphs += 1;
        // SAFETY: both live, and are of one context.
        unsafe { result::graph::launch(exec.0, self.raw) }
    }
}

impl State {
    /// Counts it where gathered work cannot be launched.
    fn or_lost<R>(&mut self, launch: impl FnOnce(&mut Self) -> Result<R, DriverError>) -> Result<R, DriverError> {
        let launched = launch(self);
        self.lost += u64::from(launched.is_err());
        launched
    }

    fn instantiate(&mut self, graph: &Graph) -> Result<Exec, DriverError> {
        self.launches.new_graphs += 1;
        // SAFETY: the graph lives; what comes of it is destroyed when it is dropped.
        unsafe { result::graph::instantiate(graph.0, sys::CUgraphInstantiate_flags(0)) }.map(Exec)
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: it is this one's alone. What fails here is the end of the device.
            let _ = unsafe { result::graph::destroy(self.0) };
        }
    }
}

impl Exec {
    /// Takes over what differs in `graph`; false if it differs by more than addresses, numbers and sizes.
    fn update(&self, graph: &Graph) -> bool {
        let mut info = std::mem::MaybeUninit::uninit();
        // SAFETY: both live; launches that are under way keep what they were launched with.
        unsafe { sys::cuGraphExecUpdate_v2(self.0, graph.0, info.as_mut_ptr()) }.result().is_ok()
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        // SAFETY: it is this one's alone, and its launches are over: its owners wait for that. What fails here is the end of
        // the device.
        let _ = unsafe { result::graph::exec_destroy(self.0) };
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.kept.clear();
        // SAFETY: the stream is this one's alone. What fails here fails at the end of everything.
        let _ = unsafe { result::stream::destroy(self.raw) };
    }
}
