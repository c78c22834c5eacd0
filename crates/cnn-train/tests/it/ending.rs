//! What ends a run, and how it goes on after that.

use std::fs;

use crate::support::{backend, checkpoint, dataset, recipe, resume, run, run_steps, trainer};
use cnn_train::{
    AverageKind, AverageRecipe, Control, EarlyStoppingRecipe, Event, Monitor, Recipe, RunFolder, ScheduleKind, Stopped,
    Summary, Trainer, Weights,
};

/// Six steps an epoch, and an average that moves behind each, further the later it is.
fn schedule(kind: ScheduleKind) -> Recipe {
    let mut recipe = recipe();
    recipe.schedule.kind = kind;
    recipe.average = Some(AverageRecipe { kind: AverageKind::Lookahead, every: 1, decay: 0.9, ramp: 1.0 });
    recipe
}

fn trainer_of(recipe: Recipe) -> Trainer<cnn_cpu::Cpu<f32>> {
    Trainer::new(&backend(), recipe, dataset()).unwrap()
}

fn written(folder: &RunFolder) -> Recipe {
    Recipe::from_toml(&fs::read_to_string(folder.recipe()).unwrap()).unwrap()
}

#[test]
fn an_extended_run_ends_in_the_bits_of_one_whose_recipe_said_so_from_the_start() {
    let place = tempfile::tempdir().unwrap();
    for (kind, steps) in [(ScheduleKind::OneCycle, 18), (ScheduleKind::Cosine, 8), (ScheduleKind::Constant, 0)] {
        let folder = RunFolder::create(place.path().join(format!("{kind:?}"))).unwrap();
        // Extended at its end, in the middle of an epoch, and before it began.
        let mut first = trainer_of(schedule(kind));
        if steps == 18 {
            run(&mut first, &folder)
        } else {
            run_steps(&mut first, &folder, steps.max(1))
        };
        drop(first);
        let mut extended = resume(&folder, dataset()).unwrap();
        extended.extend(2).unwrap();
        // It ends before it has saved anything: the recipe has the decision.
        let stopped = extended.run(&folder, &mut |_| Control::Stop).unwrap();
        assert!(stopped.interrupted);
        drop(extended);
        let mut extended = resume(&folder, dataset()).unwrap();
        run_steps(&mut extended, &folder, 1);
        let mut rates = Vec::new();
        let mut extended = resume(&folder, dataset()).unwrap();
        let mut observe = |event: &Event| {
            if let Event::Step(step) = event {
                rates.push(step.lr);
            }
            Control::Continue
        };
        let summary = extended.run(&folder, &mut observe).unwrap();
        assert_eq!((summary.epochs, summary.steps), (5, 30));
        assert_eq!((written(&folder).epochs, written(&folder).all_epochs()), (3, 5));

        let whole = RunFolder::create(place.path().join(format!("whole {kind:?}"))).unwrap();
        run(&mut trainer_of(written(&folder)), &whole);
        assert!(checkpoint(&whole) == checkpoint(&folder), "{kind:?}: the bits differ");
        // The rate is that of the longer run, and not the one at the shorter one's end.
        let long = Recipe { epochs: 5, ..schedule(kind) };
        let from_start = RunFolder::create(place.path().join(format!("long {kind:?}"))).unwrap();
        let mut all = Vec::new();
        let mut observe = |event: &Event| {
            if let Event::Step(step) = event {
                all.push(step.lr);
            }
            Control::Continue
        };
        trainer_of(long).run(&from_start, &mut observe).unwrap();
        assert!(all.ends_with(&rates) && !rates.is_empty(), "{kind:?}: {rates:?}, {all:?}");
    }
}

#[test]
fn an_extension_is_refused_where_it_would_change_what_was_done() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    run_steps(&mut trainer(), &folder, 4);
    let good = fs::read_to_string(folder.recipe()).unwrap();
    let with = |after_steps| format!("{good}\n[[extended]]\nafter_steps = {after_steps}\nepochs = 1\n");
    fs::write(folder.recipe(), with(3)).unwrap();
    let error = resume(&folder, dataset()).map(|_| ()).unwrap_err();
    assert!(error.contains("another recipe than recipe.toml: extended "), "{error}");
    fs::write(folder.recipe(), with(4)).unwrap();
    let mut trainer = resume(&folder, dataset()).unwrap();
    assert_eq!(trainer.extend(0).unwrap_err().to_string(), "extended.epochs 0: must be at least 1");
    assert_eq!(run(&mut trainer, &folder).epochs, 4);
    fs::write(folder.recipe(), good.replace("epochs = 3", "epochs = 4")).unwrap();
    let error = resume(&folder, dataset()).map(|_| ()).unwrap_err();
    assert!(error.contains("epochs 4 there, 3 here: a run is resumed as it was started"), "{error}");
}

/// The epochs' figures of the images held out, and the summary.
fn observed(trainer: &mut Trainer<cnn_cpu::Cpu<f32>>, folder: &RunFolder) -> (Vec<(f64, u64)>, Summary) {
    let mut figures = Vec::new();
    let mut observe = |event: &Event| {
        if let Event::EpochEnd(report) = event {
            let validation = report.validation.as_ref().unwrap();
            figures.push((validation.loss, validation.correct));
        }
        Control::Continue
    };
    let summary = trainer.run(folder, &mut observe).unwrap();
    (figures, summary)
}

#[test]
fn a_run_that_gets_no_better_stops_and_its_best_weights_are_kept() {
    let place = tempfile::tempdir().unwrap();
    for by in [Monitor::Loss, Monitor::Accuracy] {
        let early_stopping = Some(EarlyStoppingRecipe { patience: 3, by });
        let recipe =
            || Recipe { epochs: 60, early_stopping: early_stopping.clone(), ..schedule(ScheduleKind::Constant) };
        let folder = RunFolder::create(place.path().join(format!("{by:?}"))).unwrap();
        let (figures, summary) = observed(&mut trainer_of(recipe()), &folder);
        assert_eq!(summary.stopped, Some(Stopped::Early), "{by:?}: {figures:?}");
        assert!(summary.test.is_some() && !summary.interrupted && summary.epochs < 60);
        // Whether epoch `a` is better than `b`.
        let better = |a: usize, b: usize| match by {
            Monitor::Loss => figures[a].0 < figures[b].0,
            Monitor::Accuracy => figures[a].1 > figures[b].1,
        };
        let best = (0..figures.len()).fold(0, |best, epoch| if better(epoch, best) { epoch } else { best });
        assert_eq!(figures.len(), best + 1 + 3, "{by:?}: {figures:?}");

        // The best weights are by accuracy whatever stops the run.
        let most = figures.iter().map(|figure| figure.1).max().unwrap();
        let first = figures.iter().position(|figure| figure.1 == most).unwrap();
        let kept = summary.best.unwrap();
        assert_eq!((kept.epoch as usize, kept.validation_accuracy), (first + 1, most as f64 / 10.0));
        assert_eq!(Weights::read(folder.best()).unwrap().info().step, 6 * (first as u64 + 1));
        let results: serde_json::Value = serde_json::from_slice(&fs::read(folder.results()).unwrap()).unwrap();
        assert_eq!((&results["stopped"], &results["best"]["epoch"]), (&"early".into(), &kept.epoch.into()));

        // Resumed, it has ended; interrupted after each epoch, it ends there too.
        let (again, summary) = observed(&mut resume(&folder, dataset()).unwrap(), &folder);
        assert_eq!((again.len(), summary.stopped), (0, Some(Stopped::Early)));
        let parts = RunFolder::create(place.path().join(format!("{by:?} in parts"))).unwrap();
        let mut trainer = trainer_of(recipe());
        loop {
            let stop = |event: &Event| {
                if matches!(event, Event::EpochEnd(_)) { Control::Stop } else { Control::Continue }
            };
            if !trainer.run(&parts, &mut { stop }).unwrap().interrupted {
                break;
            }
            trainer = resume(&parts, dataset()).unwrap();
        }
        assert!(checkpoint(&parts) == checkpoint(&folder), "{by:?}: the bits differ");
        assert!(fs::read(parts.best()).unwrap() == fs::read(folder.best()).unwrap(), "{by:?}: the best differ");

        // Extended, it has its patience again, and a run of that recipe does the same.
        let mut trainer = resume(&folder, dataset()).unwrap();
        trainer.extend(1).unwrap();
        assert!(run(&mut trainer, &folder).epochs as usize >= figures.len() + 3);
        let whole = RunFolder::create(place.path().join(format!("{by:?} whole"))).unwrap();
        run(&mut trainer_of(written(&folder)), &whole);
        assert!(checkpoint(&whole) == checkpoint(&folder), "{by:?}: the bits differ");
    }
}

#[test]
fn early_stopping_needs_images_to_go_by() {
    let early_stopping = Some(EarlyStoppingRecipe { patience: 3, by: Monitor::Loss });
    let recipe = Recipe { validation: 0.0, early_stopping, ..recipe() };
    let error = Trainer::new(&backend(), recipe, dataset()).unwrap_err().to_string();
    assert!(error.starts_with("early_stopping.patience 3: must have images that are held out"), "{error}");
}

#[test]
fn a_run_whose_time_is_over_is_tested_and_goes_on_with_more() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let mut trainer = trainer_of(Recipe { max_seconds: Some(1e-9), ..recipe() });
    // It makes a step before it looks at the clock.
    let summary = run(&mut trainer, &folder);
    assert_eq!((summary.stopped, summary.steps, summary.interrupted), (Some(Stopped::Time), 1, false));
    assert!(summary.test.is_some() && folder.results().is_file());
    drop(trainer);
    // Without more time it is tested again, and nothing else.
    let mut trainer = resume(&folder, dataset()).unwrap();
    assert_eq!((run(&mut trainer, &folder).steps, written(&folder).max_seconds), (1, Some(1e-9)));
    let error = trainer.limit_seconds(0.0).unwrap_err().to_string();
    assert_eq!(error, "max_seconds 0: must be above 0 and finite");
    trainer.limit_seconds(1e9).unwrap();
    let mut results = Vec::new();
    let mut observe = |event: &Event| {
        results.extend(matches!(event, Event::Step(_)).then(|| folder.results().exists()));
        Control::Continue
    };
    let summary = trainer.run(&folder, &mut observe).unwrap();
    assert_eq!((summary.stopped, summary.steps), (None, 18));
    assert!(!results.contains(&true), "results of weights that are there no more");
    let whole = RunFolder::create(place.path().join("whole")).unwrap();
    run(&mut crate::support::trainer(), &whole);
    assert_eq!(fs::read(folder.weights()).unwrap(), fs::read(whole.weights()).unwrap());
}

#[test]
fn a_run_is_saved_when_its_observer_asks_for_it() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(place.path().join("run")).unwrap();
    let (mut made, mut saved) = (0, Vec::new());
    let mut observe = |event: &Event| {
        match event {
            Event::Step(_) => made += 1,
            Event::Saved { path } => saved.push(Weights::read(path).unwrap().info().step),
            _ => {}
        }
        if matches!(event, Event::Step(_)) && [2, 9].contains(&made) { Control::Save } else { Control::Continue }
    };
    let summary = trainer().run(&folder, &mut observe).unwrap();
    assert_eq!((saved, summary.steps), (vec![0, 2, 6, 9, 12, 18], 18));
}
