//! What can be wrong with the images themselves: too few, of one class, unbalanced, damaged, or there twice.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use cnn::data::report::FILE_OF_LABELS;
use cnn::data::{Dataset, ImageSet};

use super::Finding;
use crate::cli::output::{grouped, percent};

/// Times as many images as another class has that are worth a word.
const UNBALANCED: usize = 3;
/// Training images of a class of which fewer are few to learn from, and test images to tell an accuracy by.
const FEW: usize = 50;
const FEW_TESTED: usize = 10;
/// Paths of a list that are shown.
const SHOWN: usize = 10;

/// Everything that there is to say about the images.
pub(super) fn look(dataset: &Dataset, skip_bad: bool) -> Vec<Finding> {
    let mut findings = vec![images(dataset)];
    findings.extend(left_out(dataset));
    findings.extend(bad(dataset, skip_bad));
    findings.extend([balance(&dataset.train), tested(&dataset.test), duplicates(dataset)]);
    findings
}

fn images(dataset: &Dataset) -> Finding {
    let [height, width, channels] = dataset.train.shown();
    let (train, test) = (dataset.train.len(), dataset.test.len());
    let classes = dataset.train.classes().len();
    let mut words = format!(
        "{}: {} training and {} test images, {height}x{width}x{channels}, {classes} classes",
        dataset.name,
        grouped(train as u64),
        grouped(test as u64),
    );
    dataset.report.notes.iter().for_each(|note| words += &format!("\n{note}"));
    let few: Vec<String> = counted(&dataset.train, |count| count < FEW);
    if !few.is_empty() {
        words += &format!(
            "\nfewer than {FEW} training images: {}\nso few are too few to train a network from nothing: what helps is more pictures, \
             a smaller network (--model small), and augmentation (the recipe's [augment])",
            some(&few)
        );
    }
    Finding { what: "images", good: few.is_empty(), words }
}

/// The classes whose number of images is as asked, each with it.
fn counted(set: &ImageSet, asked: impl Fn(usize) -> bool) -> Vec<String> {
    let sizes = set.class_sizes();
    let classes = set.classes().iter().zip(sizes).filter(|&(_, count)| asked(count));
    classes.map(|(class, count)| format!("{class} {count}")).collect()
}

/// Files that are not read.
fn left_out(dataset: &Dataset) -> Option<Finding> {
    let lines = dataset.report.left_out.iter().map(|left| format!("{}: {}", left.reason, some(&left.paths)));
    let mut lines: Vec<String> = lines.collect();
    let good = lines.is_empty();
    lines.push(match &dataset.report.format[..] {
        FILE_OF_LABELS => "each counts once: take the other rows out".into(),
        _ => "if they belong to the set, bring them to JPEG or PNG in a class's folder; else take them away".into(),
    });
    (!good).then(|| Finding { what: "left out", good, words: lines.join("\n") })
}

/// Pictures that cannot be decoded.
fn bad(dataset: &Dataset, skip_bad: bool) -> Option<Finding> {
    let bad = &dataset.report.bad;
    let reasons: Vec<String> = bad.iter().map(|bad| bad.reason.clone()).collect();
    let todo = if skip_bad {
        "left out, as asked by --skip-bad"
    } else {
        "a training refuses them: save them again, or take them away, or give --skip-bad"
    };
    let words = format!("{} pictures cannot be decoded\n{}\n{todo}", bad.len(), listed(&reasons));
    (!bad.is_empty()).then_some(Finding { what: "damaged", good: skip_bad, words })
}

/// Part of the images that has, or has not, a label that is rare.
const RARE: f64 = 0.05;

/// How often each of several labels is there.
fn labels(train: &ImageSet) -> Finding {
    let (count, sizes) = (train.len() as u64, train.class_sizes());
    let part = |size: usize| size as f64 / count.max(1) as f64;
    let line = |(class, &size): (&String, &usize)| format!("{class} {}", percent(size as u64, count));
    let each: Vec<String> = train.classes().iter().zip(&sizes).map(line).collect();
    let without = (0..train.len()).filter(|&i| train.classes_of(i).is_empty()).count();
    let good = !sizes.is_empty() && sizes.iter().all(|&size| (RARE..=1.0 - RARE).contains(&part(size)));
    let mut words =
        format!("of the training images have a label: {}; {} of them have none", some(&each), grouped(without as u64));
    let (always, rare): (Vec<_>, Vec<_>) =
        train.classes().iter().zip(&sizes).partition(|&(_, &size)| size == train.len());
    if !always.is_empty() {
        let always: Vec<String> = always.iter().map(|(class, _)| format!("{class:?}")).collect();
        words += &format!(
            "\nevery image has {}, of which nothing is learned: add images without it, or leave it out",
            some(&always)
        );
    }
    if rare.iter().any(|&(_, &size)| !(RARE..=1.0 - RARE).contains(&part(size))) {
        words += "\nof what is nearly never or nearly always there little is learned: add images with and without it, or let a label \
                  count as much as its absence by --class-weights balanced; judge by the average precision of each class (cnn eval)";
    }
    Finding { what: "balance", good, words }
}

fn balance(train: &ImageSet) -> Finding {
    if train.is_multi_label() {
        return labels(train);
    }
    let counts = train.class_sizes();
    let named = |pick: Option<(usize, &usize)>| pick.map(|(class, &count)| (train.classes()[class].clone(), count));
    let least = named(counts.iter().enumerate().min_by_key(|&(_, count)| *count));
    let most = named(counts.iter().enumerate().rev().max_by_key(|&(_, count)| *count));
    let (Some((few, least)), Some((many, most))) = (least, most) else {
        let words = "there are no classes: give a set with some".into();
        return Finding { what: "balance", good: false, words };
    };
    let good = counts.len() > 1 && most <= UNBALANCED * least;
    let mut words = match (counts.len(), most == least) {
        (1, _) => format!("one class, {many}: there is nothing to tell apart: give two classes or more"),
        (_, true) => format!("every class has {} training images", grouped(most as u64)),
        _ => format!(
            "{few} has {} training images, {many} {}: whoever always says {many} is right for {}",
            grouped(least as u64),
            grouped(most as u64),
            percent(most as u64, train.len() as u64)
        ),
    };
    if counts.len() > 1 && !good {
        words += &format!(
            "\nadd images of {few}, or let them count as much as the others by --class-weights balanced, or be seen as often by \
                 --balanced; judge by the recall of each class (cnn eval) and not by the accuracy"
        );
    }
    Finding { what: "balance", good, words }
}

/// Whether there are enough images to tell how good a network is.
fn tested(test: &ImageSet) -> Finding {
    let what = "test";
    let few = counted(test, |count| count < FEW_TESTED);
    let least = test.class_sizes().into_iter().min().unwrap_or(0);
    if few.is_empty() {
        let words = format!("every class has {} test images or more", grouped(least as u64));
        return Finding { what, good: true, words };
    }
    let told = match least {
        0 => "what has none is not tested".to_owned(),
        least => format!("accuracy of a class will be told in steps of {:.0}%", 100.0 / least as f64),
    };
    let words = format!(
        "fewer than {FEW_TESTED} test images: {}\n{told}: take more pictures, or choose at least {FEW_TESTED} of each class to test with \
         (in a folder test/CLASS, or as the split test in a file of labels)",
        some(&few)
    );
    Finding { what, good: false, words }
}

/// Images that are there more than once, in one split or in both.
fn duplicates(dataset: &Dataset) -> Finding {
    let what = "duplicates";
    let (train, test) = (&dataset.train, &dataset.test);
    let resident = train.is_resident() && test.is_resident();
    let groups = if resident { same_pixels(train, test) } else { same_files(dataset) };
    let how = if resident { "pixel by pixel" } else { "byte for byte" };
    if groups.is_empty() {
        return Finding { what, good: true, words: format!("no image is there more than once, {how}") };
    }
    let (contradicting, alike): (Vec<_>, Vec<_>) = groups.iter().partition(|same| same.classes.len() > 1);
    let mut parts = Vec::new();
    if !contradicting.is_empty() {
        let line =
            |same: &&Same| format!("the same picture is in {}: {}", same.classes.join(" and in "), some(&same.names));
        parts.push(listed(&contradicting.iter().map(line).collect::<Vec<_>>()));
        parts.push("of these at most one label is right: look at each, and take it out of the wrong class".into());
    }
    if !alike.is_empty() {
        parts.push(listed(&alike.iter().map(|same| same.names.join(" = ")).collect::<Vec<_>>()));
        parts.push("keep one of each".into());
    }
    let leaked: usize = groups.iter().map(|same| same.leaked).sum();
    if leaked > 0 {
        let leaked = grouped(leaked as u64);
        parts.push(format!(
            "{leaked} test images are among the training images: they test nothing, take them out of one side"
        ));
    }
    Finding { what, good: false, words: parts.join("\n") }
}

/// An image that is there more than once.
struct Same {
    names: Vec<String>,
    classes: Vec<String>,
    /// Test images of it, if it is also a training image.
    leaked: usize,
}

fn same_pixels(train: &ImageSet, test: &ImageSet) -> Vec<Same> {
    let mut places: HashMap<Cow<'_, [u8]>, Vec<(bool, usize)>> = HashMap::new();
    for (tested, set) in [(false, train), (true, test)] {
        for i in 0..set.len() {
            if let Ok(image) = set.image(i) {
                places.entry(image).or_default().push((tested, i));
            }
        }
    }
    let mut groups: Vec<_> = places.into_values().filter(|places| places.len() > 1).collect();
    groups.sort_unstable();
    let set = |tested: bool| if tested { test } else { train };
    let same = |places: Vec<(bool, usize)>| {
        let classes: BTreeSet<&[u32]> = places.iter().map(|&(tested, i)| set(tested).classes_of(i)).collect();
        let leaked = places.iter().filter(|place| place.0).count();
        Same {
            names: places.iter().map(|&(tested, i)| set(tested).name(i)).collect(),
            classes: classes.into_iter().map(|labels| train.named(labels)).collect(),
            leaked: if leaked < places.len() { leaked } else { 0 },
        }
    };
    groups.into_iter().map(same).collect()
}

fn same_files(dataset: &Dataset) -> Vec<Same> {
    let same = |same: &cnn::data::report::SameFile| Same {
        names: same.paths.clone(),
        classes: same.classes.clone(),
        leaked: same.leaked,
    };
    dataset.report.same.iter().map(same).collect()
}

/// The first of `items` in a line, and how many more there are.
fn some(items: &[String]) -> String {
    let shown = items[..items.len().min(SHOWN)].join(", ");
    let more = items.len().saturating_sub(SHOWN);
    if more > 0 { format!("{shown}, and {more} more") } else { shown }
}

/// The same, a line each.
fn listed(items: &[String]) -> String {
    let shown = items[..items.len().min(SHOWN)].join("\n");
    let more = items.len().saturating_sub(SHOWN);
    if more > 0 { format!("{shown}\nand {more} more") } else { shown }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cnn::data::Images;

    use super::*;

    /// Images of 2 x 2 with these labels, each of another shade.
    fn set(first: u8, labels: Vec<u32>) -> ImageSet {
        let bytes = (0..labels.len()).flat_map(|i| [first + i as u8; 4]).collect();
        ImageSet::from_bytes("made", [2, 2, 1], &["cat", "dog"], labels, bytes).unwrap()
    }

    #[test]
    fn what_is_unbalanced_is_said() {
        let even = balance(&set(0, vec![0, 1, 1, 0]));
        assert!(even.good && even.words == "every class has 2 training images", "{}", even.words);
        let odd = balance(&set(0, vec![0, 1, 1, 1, 1]));
        assert!(
            odd.words.starts_with("cat has 1 training images, dog 4: whoever always says dog is right for 80.00%\n")
        );
        assert!(!odd.good && odd.words.contains("add images of cat"));
        assert!(odd.words.contains("--class-weights balanced") && odd.words.contains("--balanced"), "{}", odd.words);
        let one = balance(&set(0, vec![0, 0]).keep_classes(&["cat"]).unwrap());
        assert!(!one.good && one.words.contains("one class, cat: there is nothing to tell apart"), "{}", one.words);
    }

    /// Images that are all alike.
    #[derive(Debug)]
    struct Hundred;

    impl Images for Hundred {
        fn len(&self) -> usize {
            100
        }

        fn size(&self) -> [usize; 3] {
            [2, 2, 1]
        }

        fn label(&self, _: usize) -> u32 {
            0
        }

        fn decode_into(&self, _: usize, out: &mut [u8]) -> cnn::data::Result<()> {
            out.fill(0);
            Ok(())
        }
    }

    #[test]
    fn labels_that_tell_nothing_apart_are_said() {
        // Of 100 images all are photographs, one is cracked, half are red.
        let has = |i: usize| [(true, 0), (i == 0, 1), (i.is_multiple_of(2), 2)];
        let of = |i: usize| has(i).into_iter().filter_map(|(has, label)| has.then_some(label)).collect::<Vec<u32>>();
        let labels = |kept: &[u32]| -> Vec<Vec<u32>> {
            (0..100)
                .map(|i| of(i).iter().filter_map(|l| Some(kept.iter().position(|k| k == l)? as u32)).collect())
                .collect()
        };
        let told = |names: &[&str], kept: &[u32]| {
            balance(&ImageSet::multi_label(Arc::new(Hundred), names, &labels(kept)).unwrap())
        };
        let all = told(&["photo", "crack", "red"], &[0, 1, 2]);
        let (always, rare) =
            ("every image has \"photo\", of which nothing is learned", "nearly never or nearly always");
        assert!(!all.good && all.words.contains(always) && all.words.contains(rare), "{}", all.words);
        let rest = told(&["photo", "red"], &[0, 2]);
        assert!(!rest.good && rest.words.contains(always) && !rest.words.contains(rare), "{}", rest.words);
        let red = told(&["red"], &[2]);
        assert!(red.good && !red.words.contains(always), "{}", red.words);
    }

    #[test]
    fn too_few_images_are_said() {
        let labels = |cats: usize, dogs: usize| [vec![0; cats], vec![1; dogs]].concat();
        let dataset = |train, test| Dataset::new("made", set(0, train), set(150, test)).unwrap();
        let few = images(&dataset(labels(50, 49), labels(1, 1)));
        assert!(!few.good && few.words.contains("fewer than 50 training images: dog 49\n"), "{}", few.words);
        assert!(images(&dataset(labels(50, 50), labels(1, 1))).good);
        let test = tested(&set(0, labels(10, 3)));
        assert!(!test.good && test.words.contains("fewer than 10 test images: dog 3\n"), "{}", test.words);
        assert!(test.words.contains("in steps of 33%"), "{}", test.words);
        assert!(tested(&set(0, labels(10, 10))).good);
        assert!(tested(&set(0, labels(10, 0))).words.contains("not tested"));
    }

    #[test]
    fn what_is_there_twice_is_listed_with_its_classes() {
        let good = duplicates(&Dataset::new("made", set(0, vec![0, 1, 1]), set(9, vec![0, 1])).unwrap());
        assert!(good.good && good.words.contains("pixel by pixel"), "{}", good.words);
        // The second and third training images are the first two test images.
        let dataset = Dataset::new("made", set(0, vec![0, 1, 1]), set(1, vec![0, 1])).unwrap();
        let found = duplicates(&dataset);
        assert!(!found.good && found.words.contains("2 test images are among the training images"), "{}", found.words);
        let first = "the same picture is in cat and in dog: made: image 1, made: image 0\n";
        assert!(
            found.words.starts_with(first) && found.words.contains("at most one label is right"),
            "{}",
            found.words
        );
        assert!(found.words.contains("\nmade: image 2 = made: image 1\nkeep one of each\n"), "{}", found.words);
        // All alike, and in one split alone.
        let alike = ImageSet::from_bytes("made", [2, 2, 1], &["cat", "dog"], vec![1; 15], vec![7; 60]).unwrap();
        let found = duplicates(&Dataset::new("made", alike, set(9, vec![0, 1])).unwrap());
        assert!(!found.good && !found.words.contains("test images are among"), "{}", found.words);
    }
}
