//! Running generated cases on backends.

use std::fmt::Debug;

use cnn_core::{Backend, Element, Naive, Result};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRng, TestRunner};

use crate::compare::{Bound, compare, same_bits};
use crate::lab::{Kind, Lab, Output, Rule, round_to};

/// One problem of one operation.
pub trait Case: Debug {
    /// Names the numbers that the case draws.
    fn seed(&self) -> u32;
    /// Solves the problem and reports what came out.
    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()>;
}

/// How many cases are tried.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Cases of an operation.
    pub cases: u32,
    /// Attempts to make a failing case smaller.
    pub shrink: u32,
}

impl Effort {
    /// 64 cases an operation, or as many as the environment variable `CNN_TEST_CASES` says.
    ///
    /// # Panics
    /// If it says no number, or none at all.
    pub fn ordinary() -> Self {
        let cases = std::env::var("CNN_TEST_CASES").map_or(64, |cases| match cases.parse() {
            Ok(cases) if cases > 0 => cases,
            _ => panic!("CNN_TEST_CASES {cases:?}: must be a number above 0"),
        });
        Effort { cases, shrink: 512 }
    }

    /// Tries `test` on generated values: always the same ones.
    pub fn run<T: Debug>(
        self,
        values: impl Strategy<Value = T>,
        test: impl Fn(&T) -> Result<(), String>,
    ) -> Result<(), String> {
        let config =
            Config { cases: self.cases, max_shrink_iters: self.shrink, failure_persistence: None, ..Config::default() };
        let rng = TestRng::deterministic_rng(config.rng_algorithm);
        let outcome =
            TestRunner::new_with_rng(config, rng).run(&values, |value| test(&value).map_err(TestCaseError::fail));
        outcome.map_err(|error| match error {
            TestError::Fail(reason, value) => format!("{reason}\n  in {value:#?}"),
            TestError::Abort(reason) => format!("no cases: {reason}"),
        })
    }
}

/// Compares backends with the oracle on generated cases. The members of a group are one backend with different numbers
/// of threads and must agree in every bit.
pub fn check<C: Case, B: Backend>(
    effort: Effort,
    bound: Bound,
    cases: impl Strategy<Value = C>,
    groups: &[Vec<B>],
) -> Result<(), String> {
    effort.run(cases, |case| compare_with_the_oracle(case, bound, groups))
}

/// The same for every case of a list.
pub fn check_all<C: Case, B: Backend>(bound: Bound, cases: &[C], groups: &[Vec<B>]) -> Result<(), String> {
    let check = |case| compare_with_the_oracle(case, bound, groups).map_err(|error| format!("{error}\n  in {case:#?}"));
    cases.iter().try_for_each(check)
}

fn compare_with_the_oracle<C: Case, B: Backend>(case: &C, bound: Bound, groups: &[Vec<B>]) -> Result<(), String> {
    for kind in [Kind::Real, Kind::Integers] {
        let mut expected = outputs::<_, B::Elem>(case, &Naive::<f64>::new(), kind)?;
        if kind == Kind::Integers {
            let exact = outputs::<_, B::Elem>(case, &Naive::<B::Elem>::new(), kind)?.into_iter();
            expected.iter_mut().zip(exact).filter(|(e, _)| e.rule != Rule::Close).for_each(|(e, exact)| *e = exact);
        }
        for group in groups {
            agrees(case, kind, bound, group, &expected)?;
        }
    }
    Ok(())
}

/// The first of the group agrees with the oracle, the others with the first.
fn agrees<C: Case, B: Backend>(
    case: &C,
    kind: Kind,
    bound: Bound,
    group: &[B],
    expected: &[Output],
) -> Result<(), String> {
    let Some((first, others)) = group.split_first() else { return Ok(()) };
    let on = |backend: &B| format!("{} of {}, {kind:?}: ", backend.describe(), B::Elem::DTYPE);
    let got = outputs::<_, B::Elem>(case, first, kind)?;
    each(&got, expected, |got, expected| compare(got, expected, kind, bound)).map_err(|e| on(first) + &e)?;
    for other in others {
        each(&outputs::<_, B::Elem>(case, other, kind)?, &got, same_bits).map_err(|e| on(other) + &e)?;
    }
    Ok(())
}

fn each(
    got: &[Output],
    expected: &[Output],
    compare: impl Fn(&Output, &Output) -> Result<(), String>,
) -> Result<(), String> {
    if got.len() != expected.len() {
        return Err(format!("got {} outputs, expected {}", got.len(), expected.len()));
    }
    got.iter().zip(expected).try_for_each(|(got, expected)| compare(got, expected))
}

/// What the case reports on this backend, its numbers rounded to `E`.
fn outputs<B: Backend, E: Element>(case: &impl Case, backend: &B, kind: Kind) -> Result<Vec<Output>, String> {
    let mut lab = Lab::new(backend, kind, round_to::<E>, case.seed());
    case.run(&mut lab).map_err(|error| format!("{}: {error}", backend.describe()))?;
    Ok(lab.into_outputs())
}
