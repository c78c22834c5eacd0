//! Which of some pictures of several labels to hold out, so that of every label a share is held out.

use std::collections::BTreeMap;

/// Whether each picture is held out, of which `classes` are the labels and `rank` says how soon it is taken, no two alike.
///
/// From the rarest label on, each is given what it lacks of its `share` (of so many pictures), by the pictures that come soonest of
/// it, unless one is the last that is left of a label (after K. Sechidis et al., "On the Stratification of Multi-label Data", 2011).
/// Pictures without a label are a label of their own. Where a number is wanted `exactly`, no more are held out, and what is missing
/// are those that come soonest of all; only then the last of a label goes too, where nothing else is left.
pub(crate) fn hold_out<C: Ord + Copy>(
    classes: &[&[C]],
    rank: &[usize],
    share: impl Fn(usize) -> usize,
    exactly: Option<usize>,
) -> Vec<bool> {
    let mut pictures: BTreeMap<Option<C>, Vec<usize>> = BTreeMap::new();
    for (picture, classes) in classes.iter().enumerate() {
        if classes.is_empty() {
            pictures.entry(None).or_default().push(picture);
        }
        classes.iter().for_each(|&class| pictures.entry(Some(class)).or_default().push(picture));
    }
    let mut left: BTreeMap<C, usize> =
        pictures.iter().filter_map(|(class, pictures)| Some(((*class)?, pictures.len()))).collect();
    let (mut held, mut count) = (vec![false; classes.len()], 0);
    let mut groups: Vec<Vec<usize>> = pictures.into_values().collect();
    groups.sort_by_key(Vec::len); // of equals in the order of the labels
    for mut group in groups {
        group.sort_unstable_by_key(|&picture| rank[picture]);
        let mut lacks = share(group.len()).saturating_sub(group.iter().filter(|&&picture| held[picture]).count());
        for picture in group {
            let last = classes[picture].iter().any(|class| left[class] < 2);
            if lacks > 0 && exactly.is_none_or(|most| count < most) && !held[picture] && !last {
                classes[picture].iter().for_each(|class| *left.entry(*class).or_default() -= 1);
                held[picture] = true;
                (lacks, count) = (lacks - 1, count + 1);
            }
        }
    }
    let Some(wanted) = exactly else { return held };
    let mut soonest: Vec<usize> = (0..classes.len()).collect();
    soonest.sort_unstable_by_key(|&picture| rank[picture]);
    for spare in [true, false] {
        for &picture in &soonest {
            let last = classes[picture].iter().any(|class| left[class] < 2);
            if count < wanted && !held[picture] && !(spare && last) {
                classes[picture].iter().for_each(|class| *left.entry(*class).or_default() -= 1);
                (held[picture], count) = (true, count + 1);
            }
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_gives_its_share_however_its_pictures_are_labelled_besides() {
        // Ten labels in nearly as many combinations as pictures, from half of the pictures to one in forty.
        let has = |picture: usize, class: usize| (picture * 7919 + class * 104_729) % 1009 * (class + 2) < 1009;
        let classes: Vec<Vec<usize>> =
            (0..500).map(|picture| (0..10).filter(|&class| has(picture, class)).collect()).collect();
        let classes: Vec<&[usize]> = classes.iter().map(Vec::as_slice).collect();
        let rank: Vec<usize> = (0..500).map(|picture| picture * 211 % 500).collect();
        let held = hold_out(&classes, &rank, |size| size.div_ceil(5), None);
        for class in 0..10 {
            let of = || (0..500).filter(|&picture| classes[picture].contains(&class));
            let (all, held) = (of().count(), of().filter(|&picture| held[picture]).count());
            assert!(held >= all.div_ceil(5) && held <= all / 3, "{class}: {held} of {all}");
        }
        for wanted in [7, 300, 500] {
            let held = hold_out(&classes, &rank, |size| size.div_ceil(5), Some(wanted));
            assert_eq!(held.iter().filter(|&&held| held).count(), wanted);
        }
        // The only pictures of their labels stay.
        assert_eq!(hold_out(&[&[0], &[1], &[0, 2]], &[0, 1, 2], |size| size, None), [true, false, false]);
        assert_eq!(hold_out(&[&[0], &[1], &[0, 2]], &[1, 0, 2], |_| 0, Some(2)), [true, true, false]);
        assert_eq!(hold_out::<u8>(&[&[], &[]], &[1, 0], |_| 1, None), [false, true]);
    }
}
