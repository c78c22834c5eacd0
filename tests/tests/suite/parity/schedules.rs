//! Learning rates of PyTorch's schedulers.

use cnn_core::optim::{Anneal, Schedule};

use super::golden::{Golden, number};

#[test]
fn schedules_are_pytorchs() {
    let golden = Golden::open("schedules.safetensors");
    for (name, case) in golden.cases() {
        let decimal = |key: &str| case[key].as_f64().expect(key);
        let whole = |key: &str| number(&case[key]) as u64;
        let anneal = match case["anneal"].as_str() {
            Some("one_cycle") => Anneal::OneCycle { pct_start: decimal("rise") },
            Some("cosine") => Anneal::Cosine,
            Some("step") => Anneal::Step { every: whole("every"), gamma: decimal("gamma") },
            Some("constant") => Anneal::Constant,
            other => panic!("{name}: {other:?}"),
        };
        let schedule = Schedule { peak: decimal("peak"), anneal, warmup: whole("warmup"), total: whole("total") };
        for (step, expected) in golden.array(name).into_iter().enumerate() {
            let rate = schedule.rate(step as u64);
            assert!(
                (rate - expected).abs() <= 1e-12 * schedule.peak,
                "{name}, step {step}: got {rate}, expected {expected}"
            );
        }
    }
}
