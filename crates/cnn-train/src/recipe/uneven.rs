//! What is done where classes have very different numbers of images: weights in the loss, or epochs that are balanced.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Recipe, Result};

/// What an image counts in the loss, by its class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "class_weights must be \"balanced\", or a list of numbers, one for each class")]
pub enum ClassWeightsRecipe {
    /// By a rule.
    Named(NamedWeights),
    /// These, in the order of the classes.
    Each(Vec<f64>),
}

/// A rule for the weights of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamedWeights {
    /// Every class counts as much as the others: `n / (classes * n_class)` of the n images that are trained on.
    Balanced,
}

impl Display for ClassWeightsRecipe {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            ClassWeightsRecipe::Named(NamedWeights::Balanced) => f.write_str("balanced"),
            ClassWeightsRecipe::Each(weights) => {
                f.write_str(&weights.iter().map(f64::to_string).collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl FromStr for ClassWeightsRecipe {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "balanced" {
            return Ok(ClassWeightsRecipe::Named(NamedWeights::Balanced));
        }
        let weights = text.split(',').map(|weight| weight.trim().parse()).collect::<Result<Vec<f64>, _>>();
        let rule = "must be balanced, or numbers, one for each class, such as 1,2.5";
        weights.map(ClassWeightsRecipe::Each).map_err(|_| Error::recipe("class_weights", text, rule))
    }
}

impl Recipe {
    /// Refuses weights of classes that no loss can be made with.
    pub(super) fn check_classes(&self) -> Result<()> {
        if self.multi_label && self.balanced {
            let rule = "must be off beside multi_label: an image of several labels would count for several classes";
            return Err(Error::recipe("balanced", "true", rule));
        }
        match &self.class_weights {
            Some(ClassWeightsRecipe::Named(NamedWeights::Balanced)) if self.balanced => {
                let rule = "must not be set beside balanced = true, by which the classes are even already";
                Err(Error::recipe("class_weights", "balanced", rule))
            }
            Some(ClassWeightsRecipe::Each(weights)) => {
                // As the loss counts them.
                match weights.iter().find(|&&weight| !(weight as f32 > 0.0 && (weight as f32).is_finite())) {
                    Some(weight) => {
                        Err(Error::recipe("class_weights", weight, "must be above 0 and finite in 32 bits"))
                    }
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Whether images may have several labels, as the recipe and the data called `name` say together.
    pub(crate) fn of_labels(&self, name: &str, several: bool) -> Result<bool> {
        if self.multi_label && !several {
            let rule = format!("{name} has one label for each image: several are those of a file of labels");
            return Err(Error::recipe("multi_label", "true", rule));
        }
        let recipe = Recipe { multi_label: several, ..self.clone() };
        recipe.check_classes().map(|()| several)
    }

    /// What an image of each class counts in the loss, of `classes` that have so many of the `images` to train on; none where all count
    /// alike. Of several labels that is what a label counts beside its absence.
    pub(crate) fn weights_of(&self, classes: &[String], sizes: &[usize], images: usize) -> Result<Option<Vec<f64>>> {
        match &self.class_weights {
            None => Ok(None),
            Some(ClassWeightsRecipe::Each(weights)) if weights.len() != classes.len() => {
                let rule = format!("must be {}, one for each of {}", classes.len(), classes.join(", "));
                Err(Error::recipe("class_weights", format!("of {} classes", weights.len()), rule))
            }
            Some(ClassWeightsRecipe::Each(weights)) => Ok(Some(weights.clone())),
            Some(ClassWeightsRecipe::Named(NamedWeights::Balanced)) => {
                if let Some(empty) = sizes.iter().position(|size| *size == 0) {
                    let rule = format!("{} has no training image to count", classes[empty]);
                    return Err(Error::recipe("class_weights", "balanced", rule));
                }
                if self.multi_label {
                    if let Some(always) = sizes.iter().position(|size| *size == images) {
                        let rule = format!("every training image has {}, and none has it not", classes[always]);
                        return Err(Error::recipe("class_weights", "balanced", rule));
                    }
                    // As much for a label as against it.
                    return Ok(Some(sizes.iter().map(|&size| (images - size) as f64 / size as f64).collect()));
                }
                Ok(Some(sizes.iter().map(|&size| images as f64 / (sizes.len() * size) as f64).collect()))
            }
        }
    }

    /// The mean loss of who knows nothing and calls every class equally probable, of classes that have so many of the `images` to
    /// train on and count by these [weights](Recipe::weights_of).
    pub(crate) fn guess(&self, sizes: &[usize], images: usize, weights: Option<&[f64]>) -> f64 {
        if !self.multi_label {
            // The loss is over the images' weights.
            return (sizes.len() as f64).ln();
        }
        let loss = |(class, &size): (usize, &usize)| {
            let part = size as f64 / images.max(1) as f64;
            weights.map_or(1.0, |weights| weights[class]) * part + 1.0 - part
        };
        sizes.iter().enumerate().map(loss).sum::<f64>() / sizes.len().max(1) as f64 * 2f64.ln()
    }

    /// What is done about classes of these sizes, and by these [weights](Recipe::weights_of), in a sentence with the numbers; none
    /// where nothing is.
    pub(crate) fn tell_classes(&self, classes: &[String], sizes: &[usize], weights: Option<&[f64]>) -> Option<String> {
        let lost: Vec<&str> =
            classes.iter().zip(sizes).filter(|(_, size)| **size == 0).map(|(name, _)| &**name).collect();
        let told = self.tell_uneven(classes, sizes, weights);
        if lost.is_empty() {
            return told;
        }
        let lost = format!("note: without a training image, and not to be learned: {}", lost.join(", "));
        Some(match told {
            Some(told) => format!("{told}; {lost}"),
            None => lost,
        })
    }

    fn tell_uneven(&self, classes: &[String], sizes: &[usize], weights: Option<&[f64]>) -> Option<String> {
        let least = (0..sizes.len()).filter(|&class| sizes[class] > 0).min_by_key(|&class| sizes[class]);
        let most =
            (0..sizes.len()).rev().filter(|&class| Some(class) != least).max_by_key(|&class| sizes[class]).or(least);
        let (Some(least), Some(most), true) = (least, most, weights.is_some() || self.balanced) else { return None };
        let (few, many) = (&classes[least], &classes[most]);
        let mut told = format!("classes: {many} has {} training images, {few} {}", sizes[most], sizes[least]);
        if let Some(weights) = weights {
            let [of_many, of_few] = [most, least].map(|class| weights[class]);
            told += &match self.multi_label {
                true => format!("; in the loss the label {many} counts {of_many:.3}, {few} {of_few:.3}, and none 1"),
                false => format!("; in the loss an image of {many} counts {of_many:.3}, one of {few} {of_few:.3}"),
            };
        }
        if self.balanced {
            let present = sizes.iter().filter(|size| **size > 0).count();
            let share = sizes.iter().sum::<usize>().div_ceil(present);
            let most_often = share.div_ceil(sizes[least]);
            told += &format!("; an epoch has {share} of each class, those of {few} up to {most_often} times");
        }
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        Recipe::default_for("small", "shapes").unwrap()
    }

    fn names() -> Vec<String> {
        ["cat", "dog", "owl"].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_guess_costs_what_the_weights_make_of_it() {
        let one = recipe();
        assert_eq!(one.guess(&[10, 40, 10], 60, Some(&[2.0, 0.5, 2.0])), 3f64.ln());
        let several = Recipe { multi_label: true, ..recipe() };
        assert!((several.guess(&[30, 60], 60, None) - 2f64.ln()).abs() < 1e-12);
        // Half of the images have a label that counts five times, all of them one that counts three times.
        let guess = several.guess(&[30, 60], 60, Some(&[5.0, 3.0]));
        assert!((guess - (3.0 + 3.0) / 2.0 * 2f64.ln()).abs() < 1e-12, "{guess}");
    }

    #[test]
    fn balanced_weights_let_every_class_count_alike() {
        let recipe = Recipe { class_weights: Some("balanced".parse().unwrap()), ..recipe() };
        let weights = recipe.weights_of(&names(), &[10, 40, 10], 60).unwrap().unwrap();
        assert_eq!(weights, [2.0, 0.5, 2.0]);
        let told = recipe.tell_classes(&names(), &[10, 40, 10], Some(&weights)).unwrap();
        let expected =
            "classes: dog has 40 training images, cat 10; in the loss an image of dog counts 0.500, one of cat 2.000";
        assert_eq!(told, expected);
        let error = recipe.weights_of(&names(), &[10, 0, 10], 20).unwrap_err().to_string();
        assert_eq!(error, "class_weights balanced: dog has no training image to count");
        assert_eq!(self::recipe().tell_classes(&names(), &[10, 40, 10], None), None);
        let told = self::recipe().tell_classes(&names(), &[0, 40, 0], None).unwrap();
        assert_eq!(told, "note: without a training image, and not to be learned: cat, owl");
    }

    #[test]
    fn a_balanced_epoch_is_told_with_its_numbers() {
        let recipe = Recipe { balanced: true, ..recipe() };
        let told = recipe.tell_classes(&names(), &[6, 40, 10], None).unwrap();
        let expected =
            "classes: dog has 40 training images, cat 6; an epoch has 19 of each class, those of cat up to 4 times";
        assert_eq!(told, expected);
    }

    #[test]
    fn weights_are_read_from_a_recipe_and_from_words() {
        for text in ["balanced", "1,2.5,3"] {
            let recipe = Recipe { class_weights: Some(text.parse().unwrap()), ..recipe() };
            assert_eq!(recipe.class_weights.as_ref().unwrap().to_string(), text);
            assert_eq!(Recipe::from_toml(&recipe.to_toml().unwrap()).unwrap(), recipe);
        }
        let error = "even".parse::<ClassWeightsRecipe>().unwrap_err().to_string();
        assert_eq!(error, "class_weights even: must be balanced, or numbers, one for each class, such as 1,2.5");
        let toml = format!("class_weights = \"even\"\n{}", recipe().to_toml().unwrap());
        let error = Recipe::from_toml(&toml).unwrap_err().to_string();
        let rule = "class_weights must be \"balanced\", or a list of numbers, one for each class";
        assert_eq!(error, format!("recipe line 1: {rule}"));
    }

    #[test]
    fn weights_that_cannot_be_are_refused() {
        let with = |weights: &str| Recipe { class_weights: Some(weights.parse().unwrap()), ..recipe() };
        for weight in ["0", "-1", "inf", "1e39", "1e-60"] {
            let error = with(&format!("1,{weight},1")).check().unwrap_err().to_string();
            let number: f64 = weight.parse().unwrap();
            assert_eq!(error, format!("class_weights {number}: must be above 0 and finite in 32 bits"));
        }
        let error = with("1,2").weights_of(&names(), &[1; 3], 3).unwrap_err().to_string();
        assert_eq!(error, "class_weights of 2 classes: must be 3, one for each of cat, dog, owl");
        let error = Recipe { balanced: true, ..with("balanced") }.check().unwrap_err().to_string();
        assert!(error.starts_with("class_weights balanced: must not be set beside balanced = true"), "{error}");
        Recipe { balanced: true, ..with("1,2,3") }.check().unwrap();
    }
}
