//! `cnn json`: what the lines of `--json` hold. A test compares it with what the commands print.

use super::failure::Failure;
use super::output;

/// Every field of every command.
const FIELDS: &str = "\
With --json a command prints JSON on stdout, one object a line. Fractions (accuracies, recall, precision, probability) are
from 0 to 1; a field is null where there is nothing to say. Fields may be added, and are never renamed.

train
  after every epoch: event (\"epoch\"), epoch, step, train_loss, train_accuracy, validation_loss, validation_accuracy, lr,
  seconds and images_per_second (training alone), gradient_norm (the largest), waiting (part of the seconds, for images)
  last: event (\"result\", or \"interrupted\"), test_accuracy, test_accuracy_tta (by six views of each image, if the recipe
  asks for that), test_loss, correct, count, epochs, steps, seconds (in all), images_per_second, peak_rss_bytes, seed,
  run (the folder), weights (the file), stopped (\"early\" or \"time\", if that ended it before its last epoch), best_epoch,
  best_validation_accuracy and best_weights (of the images held out, if there are any), timeline (the page, with --explain)
  of several labels an accuracy is the part of the images of which every class is right; besides, after every epoch
  validation_mean_average_precision, last test_mean_average_precision, test_mean_average_precision_tta, test_f1_micro,
  test_f1_macro and best_validation_mean_average_precision

eval
  event (\"result\"), test_accuracy, test_accuracy_tta (with --tta), test_top5_accuracy, test_loss, correct, count,
  classes: for each class, count, recall, precision
  confusion: a row for each true class, a column for each predicted one
  of several labels no test_top5_accuracy and no confusion; test_mean_average_precision, test_mean_average_precision_tta,
  test_f1_micro, test_f1_macro, and of each class f1 and average_precision

predict
  for each image: file, class and probability of the most probable, probabilities: class, probability, best first
  of several labels also answer: the classes of at least a half

runs
  for each run: event (\"run\"), run, path, model, data, epochs (that are complete), seed, test_accuracy, test_accuracy_tta,
  test_mean_average_precision (of several labels), test_loss, training_seconds, seconds
  for each group of several that differ in their seeds alone: event (\"group\"), model, data, runs, test_accuracy,
  test_accuracy_tta and test_mean_average_precision: each mean, deviation, count

data
  name, path, format, size, split,
  classes: for each, name, train, validation, test
  multi_label (where an image may have several labels): images, without (any), labels: each to train on, watch with, test with
  left_out: reason, paths; bad: path, reason; duplicates: pairs of paths (a
  training image and another); same (what is there more than once): paths, classes, leaked (tested with and trained on); notes

doctor
  event (\"doctor\"), model, epochs, batch, lr (the highest), good (whether all is), findings: what, good, words
  overfit: images, correct, loss, steps, lr; rates: trials (rate and loss of each step), smooth (those losses smoothed), start
  (the loss at first), lowest, fastest, explodes (the rate from which on it is more than at first), diverged
  explodes: the rate at which it explodes on the recipe's own way, if that was tried and it does; suggested_lr: one that it bears

info
  model, input, classes, parameters, macs, activation_bytes, and of a network that the program knows, for batch images on a CPU:
  batch, training_bytes (without the images), inference_bytes
  layers: for each, path, operation, output, parameters, macs

devices
  cpu: isa, threads
  cuda: libraries: for each, library, path, missing (why); gpus: for each, ordinal, name, memory_bytes, capability,
  multiprocessors, usable; missing (why there is none)

bench
  first: area (\"roofline\"), isa, threads, conv_algo, peak_gflop_s, triad_gb_s
  then: area (\"layers\", \"train\" or \"infer\"), model, engine, config, isa, threads, batch, dtype, median_ms, images_s,
  peak_rss_bytes, peak_device_bytes, and for a layer gflop_s beside peak_gflop_s, or gb_s beside triad_gb_s
";

/// Runs the command.
pub(crate) fn run() -> Result<(), Failure> {
    output::print(FIELDS)
}
