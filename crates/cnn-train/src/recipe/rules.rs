//! What every value of a recipe must be.

use super::{AugmentRecipe, OptimizerKind, OptimizerRecipe, ScheduleRecipe};
use crate::{Error, Recipe, Result};

impl Recipe {
    /// Refuses values that no run can be made with.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn check(&self) -> Result<()> {
        if self.classes.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::recipe("classes", "[]", "must be at least one, or not given for all"));
        }
        let OptimizerRecipe { lr, momentum, weight_decay, clip_grad_norm, .. } = self.optimizer;
        let ScheduleRecipe { warmup_epochs, pct_start, start, end, step_epochs, gamma, .. } = self.schedule;
        let (every, decay, ramp) = self.average.as_ref().map_or((1, 0.0, 0.0), |a| (a.every, a.decay, a.ramp));
        let AugmentRecipe { mixup, cutmix, .. } = self.augment;
        let max_seconds = self.max_seconds.unwrap_or(1.0);
        let layer_decay = self.optimizer.layer_decay.unwrap_or(1.0);
        let fraction = |x: f64| (0.0..1.0).contains(&x);
        // What a step computes with is rounded to 32 bits, and must be finite there too.
        let finite = |x: f64| (x as f32).is_finite();
        let at_least_0 = |x: f64| x >= 0.0 && finite(x);
        let above_0 = |x: f64| x > 0.0 && finite(x);
        let rules = [
            ("epochs", self.epochs as f64, self.epochs > 0, "must be at least 1"),
            ("batch", self.batch as f64, self.batch > 0, "must be at least 1"),
            (
                "accumulate",
                self.accumulate as f64,
                (1..=self.batch).contains(&self.accumulate),
                "must be at least 1, and at most the batch",
            ),
            (
                "random_erasing",
                self.augment.random_erasing,
                (0.0..=1.0).contains(&self.augment.random_erasing),
                "must be from 0 to 1",
            ),
            (
                "resized_crop",
                self.augment.resized_crop,
                (0.0..=1.0).contains(&self.augment.resized_crop),
                "must be from 0 to 1: the least part of an image",
            ),
            (
                "crop_padding",
                self.augment.crop_padding as f64,
                self.augment.crop_padding == 0 || self.augment.resized_crop <= 0.0,
                "must be 0 beside a resized_crop, which is in place of that crop",
            ),
            ("mixup", mixup, (0.0..=100.0).contains(&mixup), "must be from 0 to 100"),
            ("cutmix", cutmix, (0.0..=100.0).contains(&cutmix), "must be from 0 to 100"),
            (
                "validation",
                self.validation,
                fraction(self.validation),
                "must be at least 0 and below 1: 0.2 for a fifth of the images",
            ),
            ("label_smoothing", self.label_smoothing, fraction(self.label_smoothing), "must be at least 0 and below 1"),
            (
                "checkpoint_minutes",
                self.checkpoint_minutes,
                at_least_0(self.checkpoint_minutes),
                "must be at least 0 and finite",
            ),
            ("max_seconds", max_seconds, above_0(max_seconds), "must be above 0 and finite"),
            ("lr", lr, above_0(lr), "must be above 0 and finite in 32 bits"),
            ("momentum", momentum, fraction(momentum), "must be at least 0 and below 1"),
            ("weight_decay", weight_decay, at_least_0(weight_decay), "must be at least 0 and finite in 32 bits"),
            (
                "clip_grad_norm",
                clip_grad_norm.unwrap_or(1.0),
                clip_grad_norm.is_none_or(above_0),
                "must be above 0 and finite",
            ),
            (
                "layer_decay",
                layer_decay,
                layer_decay > 0.0 && layer_decay <= 1.0,
                "must be above 0 and at most 1: a factor from each block to the one before it",
            ),
            ("warmup_epochs", warmup_epochs, at_least_0(warmup_epochs), "must be at least 0 and finite"),
            ("pct_start", pct_start, (0.0..=1.0).contains(&pct_start), "must be from 0 to 1"),
            ("schedule.start", start, at_least_0(start), "must be at least 0 and finite"),
            ("schedule.end", end, at_least_0(end), "must be at least 0 and finite"),
            ("average.every", every as f64, every > 0, "must be at least 1"),
            ("average.decay", decay, fraction(decay), "must be at least 0 and below 1"),
            ("average.ramp", ramp, at_least_0(ramp), "must be at least 0 and finite"),
            ("step_epochs", step_epochs, above_0(step_epochs), "must be above 0 and finite"),
            ("gamma", gamma, above_0(gamma), "must be above 0 and finite"),
        ];
        let OptimizerRecipe { kind, ns_steps, rescale, .. } = self.optimizer;
        let only_muon = |field, value: String| Err(Error::recipe(field, value, "must not be set: only muon has it"));
        match (kind, ns_steps, rescale) {
            (OptimizerKind::Muon, ..) | (_, None, None) => {}
            (_, Some(steps), _) => return only_muon("ns_steps", steps.to_string()),
            (_, None, Some(rescale)) => return only_muon("rescale", rescale.to_string()),
        }
        if let Some(init) = self.init.iter().find(|init| !finite(init.value)) {
            return Err(Error::recipe("init.value", init.value, "must be finite in 32 bits"));
        }
        if let Some(freeze) = self.freeze.iter().find(|f| f.before_epochs.is_none() && f.after_epochs.is_none()) {
            let rule = "must say when: before_epochs, after_epochs, or both";
            return Err(Error::recipe("freeze", &freeze.pattern, rule));
        }
        if self.unfreeze.first() == Some(&0) || self.unfreeze.windows(2).any(|pair| pair[0] >= pair[1]) {
            let rule = "must be epochs from 1 on, each more than the one before";
            return Err(Error::recipe("unfreeze", format!("{:?}", self.unfreeze), rule));
        }
        if self.unfreeze.last().is_some_and(|last| *last >= self.epochs) {
            let rule = format!("must be below the run's {} epochs: what is thawed later is never trained", self.epochs);
            return Err(Error::recipe("unfreeze", format!("{:?}", self.unfreeze), rule));
        }
        let jitter = self.augment.color_jitter;
        if let Some(value) = jitter[..3].iter().find(|value| !at_least_0(**value)) {
            return Err(Error::recipe("color_jitter", value, "must be at least 0 and finite"));
        }
        if !(0.0..=0.5).contains(&jitter[3]) {
            return Err(Error::recipe(
                "color_jitter",
                jitter[3],
                "must be from 0 to 0.5 for the hue, the last of the four",
            ));
        }
        if let Err(error) = self.preprocess.check() {
            let [rows, columns] = self.preprocess.resize.unwrap_or_default();
            return Err(Error::recipe("preprocess.resize", format!("{rows}x{columns}"), error));
        }
        if let Some(pretrained) = &self.pretrained {
            pretrained.check()?;
        }
        let part = self.batch / self.accumulate.max(1);
        if (mixup > 0.0 || cutmix > 0.0) && part < 2 {
            let (field, value, rule) = match self.batch {
                0 | 1 => {
                    ("batch", self.batch, "must be two images or more, as those of a step are mixed with each other")
                }
                _ => {
                    let rule = "must leave two images or more in each part of a step, as images of a part are mixed with each other";
                    ("accumulate", self.accumulate, rule)
                }
            };
            return Err(Error::recipe(field, value, rule));
        }
        match rules.into_iter().find(|(_, _, holds, _)| !holds) {
            Some((field, value, _, rule)) => Err(Error::recipe(field, value, rule)),
            None => {
                // The rules of Muon and of a group's method are the optimiser's own.
                self.optimizer_options("").check::<f32>()?;
                self.check_classes()?;
                self.check_ending()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_field_value_and_rule() {
        let text = Recipe::default_for("stepwise", "shapes").unwrap().to_toml().unwrap();
        let error = |from: &str, to: &str| Recipe::from_toml(&text.replace(from, to)).unwrap_err().to_string();
        assert_eq!(error("batch = 64", "batch = 0"), "batch 0: must be at least 1");
        for text in ["lr = 1e39", "lr = inf", "lr = nan", "weight_decay = 1e300", "weight_decay = -1e-3"] {
            let (name, value) = text.split_once(" = ").unwrap();
            let mut recipe = Recipe::default_for("stepwise", "shapes").unwrap();
            let field = if name == "lr" { &mut recipe.optimizer.lr } else { &mut recipe.optimizer.weight_decay };
            *field = value.parse().unwrap();
            let error = recipe.check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name} ")) && error.ends_with("finite in 32 bits"), "{text}: {error}");
        }
        for field in ["ns_steps = 5", "rescale = true"] {
            let (name, value) = field.split_once(" = ").unwrap();
            let error = error("kind = \"sgd\"", &format!("kind = \"adam\"\n{field}"));
            assert_eq!(error, format!("{name} {value}: must not be set: only muon has it"));
        }
        assert_eq!(error("kind = \"sgd\"", "kind = \"muon\"\nns_steps = 0"), "ns_steps 0: must be from 1 to 100");
        for value in ["0.0", "1.5", "nan"] {
            let error = error("kind = \"sgd\"", &format!("kind = \"sgd\"\nlayer_decay = {value}"));
            assert!(error.starts_with("layer_decay ") && error.contains("must be above 0 and at most 1"), "{error}");
        }
        for value in ["[0]", "[2, 2]", "[3, 1]"] {
            let error = error("\nepochs = 10\n", &format!("\nepochs = 10\nunfreeze = {value}\n"));
            assert_eq!(error, format!("unfreeze {value}: must be epochs from 1 on, each more than the one before"));
        }
        for (batch, accumulate, said) in
            [(1, 1, "batch 1: must be two images"), (3, 2, "accumulate 2: must leave two images")]
        {
            let mut recipe = Recipe::default_for("stepwise", "shapes").unwrap();
            (recipe.batch, recipe.accumulate, recipe.augment.mixup) = (batch, accumulate, 0.5);
            let error = recipe.check().unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
        let late = error("\nepochs = 10\n", "\nepochs = 10\nunfreeze = [2, 10]\n");
        assert!(late.starts_with("unfreeze [2, 10]: must be below the run's 10 epochs"), "{late}");
    }
}
