//! Plans of convolutions, made once for each spec.
//!
//! A training step runs the same few convolutions again and again, and a plan is a dozen small allocations.

use std::collections::HashMap;
use std::fmt::{Debug, Formatter};
use std::sync::{Arc, Mutex};

use cnn_core::Conv2dSpec;

use super::plan::{self, Axis, Class, Fold};
use crate::kernel::Tap;

/// A pass of a convolution over packed images.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) rows: Axis,
    pub(super) columns: Axis,
    /// The fold of the kernel's columns into the channels, if there is one.
    pub(super) fold: Option<Fold>,
    /// The taps of each class of rows and columns, the columns innermost.
    pub(super) taps: Vec<Vec<Tap>>,
    /// 0, 1, 2, ...: the rows or columns of an image that is packed as it is.
    pub(super) order: Vec<u32>,
}

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Direction {
    /// The forward pass and the gradient of the weight.
    Forward,
    /// The gradient of the input.
    Data,
}

impl Plan {
    fn new(spec: &Conv2dSpec, direction: Direction, lanes: usize) -> Plan {
        let fold = if direction == Direction::Forward { fold(spec) } else { None };
        let [rows, mut columns] = match direction {
            Direction::Forward => plan::forward(spec),
            Direction::Data => plan::data(spec),
        };
        if fold.is_some() {
            columns = Axis::identity(spec.output[1]);
        }
        let kernel = if fold.is_some() { 1 } else { spec.kernel[1] };
        let pairs = rows.classes.iter().flat_map(|r| columns.classes.iter().map(move |c| (r, c)));
        let taps = pairs.map(|(r, c)| taps([&rows, &columns], r, c, kernel, lanes)).collect();
        let order = (0..spec.output[0].max(spec.output[1]) as u32).collect();
        Plan { rows, columns, fold, taps, order }
    }
}

/// Whether the columns of the kernel are folded into the channels: for the few channels of a first layer.
pub(super) fn fold(spec: &Conv2dSpec) -> Option<Fold> {
    let few = spec.groups == 1 && spec.in_channels <= 4 && spec.kernel[1] > 1 && spec.dilation[1] == 1;
    few.then_some(Fold { kernel: spec.kernel[1], stride: spec.stride[1], before: spec.padding.left })
}

/// The taps of one class of rows and one of columns. `kernel` is the number of the kernel's columns.
fn taps(axes: [&Axis; 2], rows: &Class, columns: &Class, kernel: usize, lanes: usize) -> Vec<Tap> {
    let pitch = axes[1].source.len();
    let tap = |&(ky, y): &(usize, usize), &(kx, x): &(usize, usize)| Tap {
        x: (y * pitch + x) * lanes,
        w: ky * kernel + kx,
        rows: axes[0].seen(y, rows.count),
        columns: axes[1].seen(x, columns.count),
    };
    rows.taps.iter().flat_map(|row| columns.taps.iter().map(move |column| tap(row, column))).collect()
}

/// The plans of one backend, whose vectors have a fixed number of lanes.
#[derive(Default)]
pub(crate) struct Plans(Mutex<HashMap<(Conv2dSpec, Direction), Arc<Plan>>>);

/// Plans that are kept; far more than a network has.
const MOST: usize = 1024;

impl Plans {
    pub(super) fn get(&self, spec: &Conv2dSpec, direction: Direction, lanes: usize) -> Arc<Plan> {
        let mut plans = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(plan) = plans.get(&(*spec, direction)) {
            return plan.clone();
        }
        if plans.len() >= MOST {
            plans.clear();
        }
        let plan = Arc::new(Plan::new(spec, direction, lanes));
        plans.insert((*spec, direction), plan.clone());
        plan
    }
}

impl Debug for Plans {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plans")
    }
}
