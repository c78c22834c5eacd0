//! Batches: their order, what is in them, and the splits they come from.

use crate::write;
use cnn_data::{
    Augment, Batch, BatchBytes, Distort, ImageSet, Images, Loader, LoaderOptions, OpenOptions, Policy, Pool, open,
};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// `count` grey images of 2 x 3, image i all bytes i, in three classes.
fn set(count: usize) -> ImageSet {
    let bytes = (0..count).flat_map(|i| [i as u8; 6]).collect();
    ImageSet::from_bytes("made", [2, 3, 1], &["a", "b", "c"], (0..count as u32).map(|i| i % 3).collect(), bytes)
        .unwrap()
}

fn batches(loader: &Loader, epoch: u32) -> Vec<Batch> {
    loader.epoch(epoch, &AUGMENT).map(Result::unwrap).collect()
}

/// Shuffled batches.
fn shuffled(batch: usize, seed: u64, threads: usize) -> LoaderOptions {
    LoaderOptions::new(batch).seed(seed).shuffle(true).pool(Pool::new(threads).unwrap())
}

fn samples(batches: &[Batch]) -> Vec<u32> {
    batches.iter().flat_map(|batch| batch.samples.clone()).collect()
}

const AUGMENT: Augment = Augment { crop_padding: 1, flip: true, ..Augment::NONE };

/// A folder of 20 + 4 pictures, decoded as needed.
fn pictures(root: &Path) -> ImageSet {
    for (split, count) in [("train", 20), ("test", 4)] {
        for i in 0..count {
            write::picture(
                &root.join(format!("{split}/{}/{i}.png", if i % 2 == 0 { "x" } else { "y" })),
                9,
                9,
                i as u8,
            );
        }
    }
    let options = OpenOptions::default().resident_limit(0).size([8, 8]);
    open(root.to_str().unwrap(), root, &options).unwrap().train
}

#[test]
fn evaluation_sees_every_image_once_and_in_order() {
    let loader = Loader::new(set(10), LoaderOptions::new(4)).unwrap();
    let all = loader.epoch(0, &Augment::NONE).map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(all.iter().map(Batch::len).collect::<Vec<_>>(), [4, 4, 2]);
    assert_eq!(samples(&all), (0..10).collect::<Vec<_>>());
    assert!(all.iter().all(|batch| batch.bytes == BatchBytes::Resident));
    assert!(
        all.iter()
            .flat_map(|batch| &batch.views)
            .zip(0..)
            .all(|(view, i)| *view == cnn_core::image::SampleView::plain(i))
    );
    let dropping = Loader::new(set(10), LoaderOptions::new(4).drop_last(true)).unwrap();
    assert_eq!((loader.batches(), dropping.batches()), (3, 2));
    assert_eq!(dropping.epoch(0, &Augment::NONE).len(), 2);
    assert!(Loader::new(set(10), LoaderOptions::new(0)).is_err());
}

#[test]
fn parts_of_a_batch_have_its_images() {
    let place = tempfile::tempdir().unwrap();
    for set in [set(11), pictures(place.path())] {
        let stored = set.resident_bytes();
        let image = set.image_bytes();
        // The pixels that each view of a batch is of.
        let pixels = |batch: &Batch| -> Vec<Vec<u8>> {
            let bytes = match &batch.bytes {
                BatchBytes::Resident => stored.as_ref().unwrap().to_vec(),
                BatchBytes::Decoded(bytes) => bytes.clone(),
            };
            let of = |index: u32| bytes[index as usize * image..][..image].to_vec();
            batch.views.iter().map(|view| of(view.index)).collect()
        };
        let loader = Loader::new(set.clone(), shuffled(11, 3, 2)).unwrap();
        let batch = loader.epoch(0, &AUGMENT).next().unwrap().unwrap();
        for (count, sizes) in [(0, vec![11]), (1, vec![11]), (3, vec![4, 4, 3]), (11, vec![1; 11]), (99, vec![1; 11])] {
            let parts = batch.parts(count);
            assert_eq!(parts.iter().map(Batch::len).collect::<Vec<_>>(), sizes);
            assert_eq!(samples(&parts), batch.samples);
            assert_eq!(parts.iter().flat_map(|part| part.labels.clone()).collect::<Vec<_>>(), batch.labels);
            assert_eq!(parts.iter().flat_map(&pixels).collect::<Vec<_>>(), pixels(&batch));
            let seen = |batch: &Batch| batch.views.iter().map(|view| (view.offset, view.flip)).collect::<Vec<_>>();
            assert_eq!(parts.iter().flat_map(seen).collect::<Vec<_>>(), seen(&batch));
        }
    }
}

#[test]
fn the_order_is_a_permutation_given_by_seed_and_epoch() {
    let order =
        |seed, threads, epoch| samples(&batches(&Loader::new(set(100), shuffled(7, seed, threads)).unwrap(), epoch));
    let first = order(1, 1, 0);
    assert_eq!(first, order(1, 5, 0));
    assert_ne!(first, order(1, 1, 1));
    assert_ne!(first, order(2, 1, 0));
    let mut sorted = first;
    sorted.sort_unstable();
    assert_eq!(sorted, (0..100).collect::<Vec<_>>());
}

#[test]
fn an_epoch_can_be_resumed_at_any_batch() {
    let root = tempfile::tempdir().unwrap();
    for set in [set(20), pictures(root.path())] {
        let loader = Loader::new(set, shuffled(3, 5, 2)).unwrap();
        let whole = batches(&loader, 2);
        for first in 0..=whole.len() + 1 {
            let rest = loader.epoch_from(2, first, &AUGMENT).map(Result::unwrap);
            let rest: Vec<_> = rest.map(|batch| (batch.samples, batch.labels, batch.views, batch.bytes)).collect();
            let expected: Vec<_> = whole
                .iter()
                .skip(first)
                .map(|b| (b.samples.clone(), b.labels.clone(), b.views.clone(), b.bytes.clone()))
                .collect();
            assert_eq!(rest, expected, "from batch {first}");
        }
    }
}

#[test]
fn decoded_batches_are_the_same_for_any_number_of_threads() {
    let root = tempfile::tempdir().unwrap();
    let set = pictures(root.path());
    let one = batches(&Loader::new(set.clone(), shuffled(6, 1, 1)).unwrap(), 0);
    for threads in [2, 3, 16] {
        let many = batches(&Loader::new(set.clone(), shuffled(6, 1, threads)).unwrap(), 0);
        assert!(one.iter().zip(&many).all(|(a, b)| a.bytes == b.bytes && a.samples == b.samples && a.views == b.views));
    }
    for batch in &one {
        let BatchBytes::Decoded(bytes) = &batch.bytes else { panic!("files are decoded") };
        for (place, (&sample, view)) in batch.samples.iter().zip(&batch.views).enumerate() {
            assert_eq!((view.index as usize, set.label(sample as usize)), (place, batch.labels[place]));
            assert_eq!(bytes[place * 192..][..192], *set.image(sample as usize).unwrap());
        }
    }
    // An epoch that is dropped half-way, with threads waiting to hand over, ends.
    let mut epoch = Loader::new(set, shuffled(2, 0, 4)).unwrap().epoch(0, &AUGMENT);
    epoch.next().unwrap().unwrap();
}

#[test]
fn a_bad_picture_ends_the_epoch_with_its_name() {
    let root = tempfile::tempdir().unwrap();
    let set = pictures(root.path());
    fs::write(root.path().join("train/y/13.png"), "text").unwrap();
    let mut epoch = Loader::new(set, LoaderOptions::new(4)).unwrap().epoch(0, &Augment::NONE);
    let error = epoch.by_ref().find_map(Result::err).expect("one batch fails");
    assert!(error.to_string().contains("y/13.png: not a JPEG"), "{error}");
    assert!(epoch.next().is_none());
}

#[test]
fn a_validation_split_is_disjoint_complete_and_even() {
    let (train, held) = set(90).split_validation(30, 4).unwrap();
    assert_eq!((train.len(), held.class_sizes()), (60, vec![10, 10, 10]));
    let mut all: Vec<u32> = (0..60).map(|i| train.stored(i)).chain((0..30).map(|i| held.stored(i))).collect();
    all.sort_unstable();
    assert_eq!(all, (0..90).collect::<Vec<_>>());
    assert_eq!(held.image(3).unwrap()[0], held.stored(3) as u8);
    let stored = |set: &ImageSet| (0..set.len()).map(|i| set.stored(i)).collect::<Vec<_>>();
    assert_eq!(stored(&held), stored(&set(90).split_validation(30, 4).unwrap().1));
    assert_ne!(stored(&held), stored(&set(90).split_validation(30, 5).unwrap().1));
    let (_, odd) = set(10).split_validation(5, 0).unwrap(); // classes of 4, 3, 3
    assert!(odd.class_sizes().iter().all(|size| (1..=2).contains(size)), "{:?}", odd.class_sizes());
    for count in [0, 90, usize::MAX] {
        let error = set(90).split_validation(count, 0).unwrap_err();
        assert!(error.to_string().contains("leave some of the 90 to train on"), "{error}");
    }
    // A held-out image is seen as it would be in the whole set.
    let batch = Loader::new(held, LoaderOptions::new(30)).unwrap().epoch(1, &AUGMENT).next().unwrap().unwrap();
    assert!(batch.views.iter().all(|&view| view == AUGMENT.view(0, 1, view.index, [2, 3], [2, 3])));
}

#[test]
fn classes_are_kept_in_the_order_that_is_given() {
    let kept = set(9).keep_classes(&["c", "a"]).unwrap();
    assert_eq!((&**kept.classes(), kept.labels()), (&["c".to_owned(), "a".to_owned()][..], &[1, 0, 1, 0, 1, 0][..]));
    assert_eq!(kept.image(1).unwrap()[0], 2);
    assert_eq!(kept.name(1), "made: image 2");
    let message = set(9).keep_classes(&["a", "cow"]).unwrap_err().to_string();
    assert_eq!(message, "class: cow: the classes are a, b, c");
    assert!(set(9).keep_classes(&["a", "a"]).unwrap_err().to_string().contains("given twice"));
}

#[test]
fn sets_of_ones_own_are_checked() {
    let make = |classes: &[&str], labels: Vec<u32>, bytes: usize| {
        ImageSet::from_bytes("mine", [2, 3, 1], classes, labels, vec![0; bytes]).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(make(&["a", "b"], vec![0, 1], 12), Ok(()));
    assert_eq!(
        make(&["a", "b"], vec![0, 2], 12).unwrap_err(),
        "mine: image 1: label 2: must be below the number of classes, 2"
    );
    assert_eq!(make(&["a", "b"], vec![0, 1], 11).unwrap_err(), "image bytes: 11: 2 images of 2x3x1 need 12");
    assert!(make(&["a", "a"], vec![0, 1], 12).unwrap_err().contains("given twice"));
    assert!(ImageSet::from_bytes("mine", [2, usize::MAX, 3], &["a"], vec![0], vec![]).is_err());
}

/// A source of a program's own: image i is all bytes i, and image 7 is out of order.
#[derive(Debug)]
struct Own {
    /// What happens at image 7.
    seventh: fn() -> cnn_data::Result<()>,
}

impl Images for Own {
    fn len(&self) -> usize {
        20
    }

    fn size(&self) -> [usize; 3] {
        [2, 3, 1]
    }

    fn label(&self, i: usize) -> u32 {
        (i % 2) as u32
    }

    fn decode_into(&self, i: usize, out: &mut [u8]) -> cnn_data::Result<()> {
        out.fill(i as u8);
        if i == 7 { (self.seventh)() } else { Ok(()) }
    }
}

#[test]
fn a_source_of_ones_own_is_a_set() {
    let own = |seventh: fn() -> cnn_data::Result<()>| ImageSet::new(Arc::new(Own { seventh }), &["a", "b"]).unwrap();
    let set = own(|| Ok(()));
    assert_eq!((set.len(), set.label(3), set.name(3), set.is_resident()), (20, 1, "image 3".to_owned(), false));
    let decoded = batches(&Loader::new(set.clone(), LoaderOptions::new(8)).unwrap(), 0);
    let BatchBytes::Decoded(bytes) = &decoded[2].bytes else { panic!("decoded as needed") };
    assert_eq!(bytes[..], [[16; 6], [17; 6], [18; 6], [19; 6]].concat());
    let loaded = set.load().unwrap();
    assert!(loaded.is_resident());
    assert_eq!(loaded.image(19).unwrap(), set.image(19).unwrap());

    let error = |set: ImageSet| {
        let loader = Loader::new(set.clone(), LoaderOptions::new(8)).unwrap();
        let in_batch = loader.epoch(0, &Augment::NONE).find_map(Result::err).unwrap().to_string();
        assert_eq!(in_batch, set.load().unwrap_err().to_string());
        in_batch
    };
    assert_eq!(
        error(own(|| Err(cnn_data::Error::invalid("shelf 7", "gone", "must be there")))),
        "shelf 7: gone: must be there"
    );
    // A panic of the source is an error that names the image.
    assert_eq!(error(own(|| panic!("no shelf"))), "image 7: cannot be read: no shelf");
}

#[test]
fn batches_come_though_every_thread_of_the_pool_is_busy() {
    let root = tempfile::tempdir().unwrap();
    let set = pictures(root.path());
    let expected = batches(&Loader::new(set.clone(), shuffled(6, 1, 2)).unwrap(), 0);
    let busy = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    let (let_go, wait) = std::sync::mpsc::channel::<()>();
    let wait = Arc::new(std::sync::Mutex::new(wait));
    for _ in 0..2 {
        let wait = wait.clone();
        busy.spawn(move || assert!(wait.lock().unwrap().recv().is_err()));
    }
    let options = LoaderOptions::new(6).seed(1).shuffle(true).pool(busy.clone());
    let found = batches(&Loader::new(set, options).unwrap(), 0);
    assert!(found.iter().zip(&expected).all(|(a, b)| a.bytes == b.bytes) && found.len() == expected.len());
    drop(let_go);
}

#[test]
fn colours_and_shapes_are_changed_before_anything_is_cut() {
    let distort = Distort { policy: Policy::RandAugment, jitter: [0.4; 4] };
    let augment = Augment { crop_padding: 1, distort, ..Augment::NONE };
    let bytes: Vec<u8> = (0..6 * 8 * 9 * 3).map(|i| (i * 31 % 251) as u8).collect();
    let set = ImageSet::from_bytes("made", [8, 9, 3], &["a", "b"], vec![0, 1, 0, 1, 0, 1], bytes).unwrap();
    let loader = Loader::new(set.clone(), LoaderOptions::new(4).shuffle(true).seed(5)).unwrap();
    let batches: Vec<Batch> = loader.epoch(2, &augment).map(Result::unwrap).collect();
    for batch in &batches {
        let BatchBytes::Decoded(bytes) = &batch.bytes else { panic!("{:?}", batch.bytes) };
        for ((place, &sample), view) in batch.samples.iter().enumerate().zip(&batch.views) {
            let mut image = set.image(sample as usize).unwrap().into_owned();
            distort.apply(5, 2, sample, &mut image, set.size());
            assert_eq!(bytes[place * image.len()..][..image.len()], image);
            let plain = Augment { distort: Distort::default(), ..augment }.view(5, 2, sample, [8, 9], [8, 9]);
            assert_eq!((view.index as usize, view.offset), (place, plain.offset));
        }
    }
    // The rest of an epoch is as it would have been.
    let rest: Vec<Batch> = loader.epoch_from(2, 1, &augment).map(Result::unwrap).collect();
    assert_eq!(rest.len(), 1);
    assert_eq!((&rest[0].samples, &rest[0].bytes), (&batches[1].samples, &batches[1].bytes));
}
