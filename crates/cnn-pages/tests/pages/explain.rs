//! The page that explains a network.

use cnn_core::archive::Values;
use cnn_core::nn::{Param, parameters, parameters_mut};
use cnn_core::state_dict::{Naming, state_dict};
use cnn_core::{Device, Pass, Tensor};
use cnn_data::ImageSet;
use cnn_pages::{ExplainOptions, Explanation, explain_page};
use cnn_train::Trained;

use crate::browser::{self, Look, chromium, look};
use crate::support::{Backend, CLASSES, after, number, picture, trained};

const SIDE: usize = 12;

/// A page of the step-by-step network, and what it was made of.
fn stepwise(options: &ExplainOptions) -> (String, Trained<Backend>, Vec<f64>) {
    let place = tempfile::tempdir().unwrap();
    let mut network = trained(place.path(), "stepwise", SIDE, 7);
    let file = picture(place.path(), SIDE as u32);
    let explained = Explanation::of("it's <i>", &mut network, &file, options).unwrap();
    let bytes = image::open(file).unwrap().into_rgb8().into_raw();
    let scaled = |(i, byte): (usize, u8)| (f64::from(byte) / 255.0 - [0.5, 0.4, 0.3][i % 3]) / [0.25, 0.2, 0.3][i % 3];
    (explain_page(&explained, None), network, bytes.into_iter().enumerate().map(scaled).collect())
}

/// The first convolution's output at a place, from the weights as their file has them.
fn convolved(network: &Trained<Backend>, image: &[f64], filter: usize, row: usize, column: usize) -> f64 {
    let archive = state_dict(network.backend(), network.model(), Naming::Torchvision).unwrap();
    let values = |name: &str| match &archive.arrays[name].values {
        Values::F32(values) => values.clone(),
        other => panic!("{other:?}"),
    };
    let (weight, bias) = (values("conv.weight"), values("conv.bias"));
    let mut sum = f64::from(bias[filter]);
    for (channel, y, x) in (0..27).map(|i| (i / 9, i / 3 % 3, i % 3)) {
        let pixel = image[((row + y) * SIDE + column + x) * 3 + channel];
        sum += pixel * f64::from(weight[((filter * 3 + channel) * 3 + y) * 3 + x]);
    }
    sum
}

#[test]
fn the_sum_that_is_spelt_out_is_the_networks() {
    let (page, network, image) = stepwise(&ExplainOptions::default());
    let [row, column] = ["row", "column"].map(|axis| number(&page, &format!("data-at=\"{axis}\">")) as usize);
    let filter: usize = after(&page, "id=\"x-name\">").parse().unwrap();
    let expected = convolved(&network, &image, filter, row, column);
    assert!((number(&page, "data-total>") - expected).abs() < 1e-4, "{expected}");
    assert!((number(&page, "id=\"x-network\">") - expected).abs() < 1e-4, "{expected}");
    let parts: f64 =
        (0..3).map(|k| number(&page, &format!("data-sum=\"{k}\">"))).sum::<f64>() + number(&page, "data-bias>");
    assert!((parts - expected).abs() < 3e-4, "{parts} of {expected}");
    // Every product of the line, to the three decimals that it has.
    let terms = after(&page, "id=\"x-terms\">");
    let products: Vec<f64> = terms
        .split(" + ")
        .map(|term| term.split(" \u{d7} ").map(|factor| factor.parse::<f64>().unwrap()).product())
        .collect();
    assert_eq!(products.len(), 27);
    let sum = products.iter().sum::<f64>() + number(&page, "data-bias>");
    assert!((sum - expected).abs() < 27.0 * 2e-3, "{sum} of {expected}");
    // It is where the network's answer to this filter is largest.
    let others = (0..32).flat_map(|k| [(k, 0, 0), (k, 5, 3), (k, row, column)]);
    assert!(others.into_iter().all(|(k, y, x)| convolved(&network, &image, k, y, x) <= expected + 1e-6));
}

#[test]
fn the_step_is_a_real_one_and_leaves_the_network_as_it_was() {
    let options = ExplainOptions::default().label("emu").lr(0.005);
    let fresh = tempfile::tempdir().unwrap();
    let before = trained(fresh.path(), "stepwise", SIDE, 7);
    let (page, mut network, image) = stepwise(&options);
    let bits = |network: &Trained<Backend>| -> Vec<Vec<f32>> {
        parameters(network.model()).iter().map(|p| network.backend().download(p.value()).unwrap()).collect()
    };
    assert_eq!(bits(&before), bits(&network));
    // The loss that the page tells is that of a pass of our own.
    let backend = *network.backend();
    let values: Vec<f32> = image.iter().map(|&v| v as f32).collect();
    let tensor = Tensor::from_slice(&backend, [1, SIDE, SIDE, 3], &values).unwrap();
    let pass = Pass::eval(&backend);
    let loss = network.model_mut().call(&pass.input(tensor).unwrap()).unwrap().cross_entropy(&[2], 0.0).unwrap();
    let loss = loss.to_f64().unwrap();
    assert!((number(&page, "Loss before: <strong>") - loss).abs() < 2e-5, "{loss}");
    assert!(number(&page, "after: <strong>") < loss, "the step of a small rate makes the loss smaller");
    // The fall that is predicted is the rate times the squared lengths of all gradients.
    let pass = Pass::eval_recorded(&backend);
    let tensor = Tensor::from_slice(&backend, [1, SIDE, SIDE, 3], &values).unwrap();
    let logits = network.model_mut().call(&pass.input(tensor).unwrap()).unwrap();
    let gradients = logits.cross_entropy(&[2], 0.0).unwrap().backward().unwrap();
    let squares = |p: &Param<Backend>| -> f64 {
        let values = backend.download(gradients.parameter(p).unwrap()).unwrap();
        values.iter().map(|&g| f64::from(g) * f64::from(g)).sum()
    };
    let predicted = 0.005 * parameters(network.model()).into_iter().map(squares).sum::<f64>();
    assert!((number(&page, "id=\"predicted\">") - predicted).abs() < 1e-4 * predicted, "{predicted}");
    // A weight before, its gradient and the weight after belong together.
    let line = page.split_once("id=\"update\">").unwrap().1;
    let equation = line.split_once("</strong>").unwrap().0.replace('\u{2212}', "-").replace("<strong>", "");
    let [before, step, gradient, after] =
        equation.split([' ', '\u{d7}', '=']).filter_map(|part| part.parse::<f64>().ok()).collect::<Vec<_>>()[..]
    else {
        panic!("{equation}")
    };
    assert!((before - step * gradient - after).abs() < 2e-6, "{equation}");
}

#[test]
fn an_image_that_was_learned_from_is_told() {
    let place = tempfile::tempdir().unwrap();
    let mut network = trained(place.path(), "stepwise", SIDE, 7);
    let file = picture(place.path(), SIDE as u32);
    let other: Vec<u8> = (0..SIDE * SIDE * 3).map(|i| (i % 251) as u8).collect();
    let own = image::open(&file).unwrap().into_rgb8().into_raw();
    let mut near = own.clone();
    near[5] ^= 1;
    for (pixels, is_own) in [(own, true), (near, false)] {
        let bytes = [&other[..], &pixels].concat();
        let images = ImageSet::from_bytes("made", [SIDE, SIDE, 3], &CLASSES, vec![0, 1], bytes).unwrap();
        let options = ExplainOptions::default().training(images);
        let explained = Explanation::of("a", &mut network, &file, &options).unwrap();
        assert_eq!(explained.learned_from(), is_own.then_some("made: image 1"));
        let page = explain_page(&explained, None);
        assert_eq!(page.contains("itself one of the training images"), is_own);
        assert!(page.contains("<span class=\"file\"><bdi>made: image 0</bdi></span>"));
    }
}

#[test]
fn words_are_explained_and_every_parameter_is_named() {
    let page = stepwise(&ExplainOptions::default()).0;
    for part in [
        "there is no <strong>padding</strong>",
        "12 \u{d7} 12 pixels become 10 \u{d7} 10 numbers",
        "counted from 0 on this page",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("The bias is one more learned number").count(), 1);
    for name in
        ["conv", "fc1", "fc2"].into_iter().flat_map(|layer| ["weight", "bias"].map(|of| format!("{layer}.{of}")))
    {
        assert!(page.contains(&format!("<th scope=\"row\">{name}</th>")), "{name}");
    }
}

#[test]
fn the_error_is_followed_back_to_the_filters() {
    let (page, mut network, image) = stepwise(&ExplainOptions::default().label("emu"));
    let backend = *network.backend();
    let values: Vec<f32> = image.iter().map(|&v| v as f32).collect();
    let pass = Pass::eval_recorded(&backend);
    let tensor = Tensor::from_slice(&backend, [1, SIDE, SIDE, 3], &values).unwrap();
    let logits = network.model_mut().call(&pass.input(tensor).unwrap()).unwrap();
    let gradients = logits.cross_entropy(&[2], 0.0).unwrap().backward().unwrap();
    let gradient = |name: &str| {
        let parameter = parameters(network.model()).into_iter().find(|p| p.name() == name).unwrap();
        backend.download(gradients.parameter(parameter).unwrap()).unwrap()
    };
    let way = page.split_once("id=\"way\">").unwrap().1.split_once("</ol>").unwrap().0;
    let items: Vec<String> = way.split("<li>").skip(1).map(|item| item.replace('\u{2212}', "-")).collect();
    let kinds = items.iter().map(|item| after(item, "<strong>").replace('.', "")).collect::<Vec<_>>();
    let expected = ["The last layer", "ReLU", "The dense layer", "Flatten", "Max-pooling", "ReLU", "The filter"];
    assert_eq!(kinds, expected);
    let close = |told: f64, real: f32| {
        assert!((told - f64::from(real)).abs() < 1e-5 + 2e-3 * f64::from(real.abs()), "{told}, not {real}");
    };
    let between = |text: &str, from: &str, to: &str| {
        text.split_once(from).unwrap().1.split_once(to).unwrap().0.replace(',', "").parse::<usize>().unwrap()
    };
    // The gradient of one weight of each dense layer, and of a bias.
    let hidden = between(&items[0], "weight from number ", " to the logit");
    let names = ["&lt;script", "cat &amp;", "emu"];
    let class = names.iter().position(|name| items[0].contains(&format!("logit of <bdi>{name}"))).unwrap();
    close(number(&items[0], "<b>"), gradient("fc2.weight")[hidden * 3 + class]);
    close(
        after(&items[0], "so its gradient is ").split(". ").next().unwrap().parse().unwrap(),
        gradient("fc2.bias")[class],
    );
    let from = between(&items[2], "weight from number ", " to number");
    let to = between(&items[2], " to number ", " of the layer");
    assert_eq!(to, hidden);
    close(number(&items[2], "<b>"), gradient("fc1.weight")[from * 128 + to]);
    // What the hidden number hears is the gradient of its own bias, as the gate is open.
    close(number(items[0].rsplit_once(" = ").unwrap().1, "<strong>"), gradient("fc1.bias")[hidden]);
    // The sum over all places is the gradient that the table has, and the step used.
    let filter = between(&items[6], "of filter ", " at row");
    let of_filter: Vec<f32> = gradient("conv.weight").into_iter().skip(filter).step_by(32).collect();
    let largest = of_filter.iter().copied().fold(0.0f32, |best, g| if g.abs() > best.abs() { g } else { best });
    close(number(items[6].rsplit_once(" = ").unwrap().1, "<strong>"), largest);
    assert!(items[6].contains("for each of the 100 places") && items[6].contains("(the other 94)"), "{}", items[6]);
    let bias = items[6].rsplit_once("places' gradients, ").unwrap().1.split(".</li>").next().unwrap();
    close(bias.parse().unwrap(), gradient("conv.bias")[filter]);
}

/// A page of the step-by-step network with other weights: `change` is given a parameter's name and its values.
fn altered(options: &ExplainOptions, change: impl Fn(&str, &mut Vec<f32>)) -> String {
    let place = tempfile::tempdir().unwrap();
    let mut network = trained(place.path(), "stepwise", SIDE, 7);
    let backend = *network.backend();
    for parameter in parameters_mut(&mut **network.model_mut()) {
        let mut values = backend.download(parameter.value()).unwrap();
        change(parameter.name(), &mut values);
        *parameter.value_mut() = backend.upload(&values).unwrap();
    }
    let file = picture(place.path(), SIDE as u32);
    explain_page(&Explanation::of("altered", &mut network, &file, options).unwrap(), None)
}

#[test]
fn a_step_of_the_default_rate_is_one_that_the_gradient_can_predict() {
    // Large weights make long gradients: a step of 0.01 would go past the valley.
    let page = altered(&ExplainOptions::default().label("emu"), |name, values| {
        values.iter_mut().filter(|_| name == "fc2.weight").for_each(|weight| *weight *= 5.0);
    });
    let (loss, after_it) = (number(&page, "Loss before: <strong>"), number(&page, "after: <strong>"));
    let (predicted, fall) = (number(&page, "id=\"predicted\">"), number(&page, "id=\"fall\">"));
    let rate: f64 = after(&page, "with a learning rate of ").split(". ").next().unwrap().parse().unwrap();
    assert!(rate < 0.01 && predicted <= 0.5 * loss + 1e-6 && predicted > 0.4 * loss, "{rate}: {predicted} of {loss}");
    assert!((loss - after_it - fall).abs() < 2e-6 && fall > 0.0 && after_it > 0.1 * loss, "{fall} of {loss}");
    assert!(page.contains("gradient predicts") && !page.contains("did what it should"));
}

/// A network whose first class has this bias in the last layer.
fn sure(bias: f32, options: &ExplainOptions) -> String {
    altered(options, |name, values| {
        if name == "fc2.bias" {
            *values = vec![bias, 0.0, -1.0];
        }
    })
}

#[test]
fn a_sure_network_is_shown_a_step_that_shows_something() {
    let page = sure(20.0, &ExplainOptions::default());
    assert!(page.contains("second likeliest class") && page.contains("<code>--label CLASS</code>"));
    assert!(number(&page, "Loss before: <strong>") > 10.0 && number(&page, "id=\"fall\">") > 1.0);
    assert!(page.contains("no one place is needed") && !page.contains("drawn grey"));
    // Who asks for the class itself is shown it, with digits, and without colours that promise more.
    let asked = sure(20.0, &ExplainOptions::default().label(CLASSES[0]));
    assert!(!asked.contains("second likeliest") && asked.contains("Small numbers are written with an e"));
    let asked = sure(40.0, &ExplainOptions::default().label(CLASSES[0]));
    assert!(asked.contains("they are drawn grey"));
    // Not sure enough for that.
    assert!(!sure(0.0, &ExplainOptions::default()).contains("second likeliest"));
}

#[test]
fn names_are_text_and_slips_are_answered() {
    let (page, ..) = stepwise(&ExplainOptions::default());
    assert!(!page.contains("alert(1)</script>") && !page.contains("it's <") && page.contains("it&#39;s &lt;b&gt;.png"));
    assert!(
        page.contains("<bdi>&lt;script&gt;alert(1)&lt;/script&gt;</bdi>") && page.contains("cat &amp; &quot;dog&quot;")
    );
    let place = tempfile::tempdir().unwrap();
    let mut network = trained(place.path(), "stepwise", SIDE, 7);
    let file = picture(place.path(), SIDE as u32);
    let mut refused =
        |options: ExplainOptions| Explanation::of("a", &mut network, &file, &options).unwrap_err().to_string();
    assert!(refused(ExplainOptions::default().label("emus")).contains("did you mean emu?"));
    assert!(refused(ExplainOptions::default().classes(["tree"])).starts_with("class tree: must be one of "));
    assert!(refused(ExplainOptions::default().lr(f64::NAN)).contains("NaN"));
}

/// Networks of other forms: several convolutions with normalisation, and one whose first filters are frozen.
fn deep(arch: &str, side: usize) -> String {
    let place = tempfile::tempdir().unwrap();
    let mut network = trained(place.path(), arch, side, 3);
    let file = picture(place.path(), 3 * side as u32);
    let bytes = (0..6 * side * side * 3).map(|i| (i % 251) as u8).collect();
    let images = ImageSet::from_bytes("made", [side, side, 3], &CLASSES, vec![0, 1, 2, 0, 1, 2], bytes).unwrap();
    let options = ExplainOptions::default().classes(["emu"]).training(images);
    let first = Explanation::of(arch, &mut network, &file, &options).unwrap();
    let mut other = trained(place.path(), "stepwise", SIDE, 1);
    let other = Explanation::of("another", &mut other, &file, &ExplainOptions::default()).unwrap();
    explain_page(&first, Some(&other))
}

#[test]
fn the_row_is_found_again_in_the_weights_file() {
    let (page, network, _) = stepwise(&ExplainOptions::default());
    let archive = state_dict(network.backend(), network.model(), Naming::Torchvision).unwrap();
    let Values::F32(file) = &archive.arrays["fc1.weight"].values else { panic!("{:?}", archive.arrays["fc1.weight"]) };
    let memory = parameters(network.model()).into_iter().find(|p| p.name() == "fc1.weight").unwrap();
    let memory = network.backend().download(memory.value()).unwrap();
    let grouped = |before: &str| after(&page, before).replace(',', "").parse::<usize>().unwrap();
    let column = grouped("<span id=\"file-column\">");
    let here = after(&page, "It is number ").split(" of the row here").next().unwrap().replace(',', "");
    let here: usize = here.parse().unwrap();
    let inputs = memory.len() / 128;
    assert_ne!(column, here);
    (0..128).for_each(|i| assert_eq!(file[i * inputs + column], memory[here * 128 + i], "output {i}"));
}

#[test]
fn deep_networks_are_told_block_by_block() {
    let page = deep("small", 16);
    for part in [
        "block by block",
        "<h3>conv2</h3>",
        "<h3>conv3</h3>",
        "and after, each scaled by its own",
        "of the 6 training images",
        // Words that a newcomer does not know.
        "The bias is one more learned number",
        "<strong>Padding</strong> puts zeros around the image (1 above, 1 below, 1 left, 1 right)",
        "16 \u{d7} 16 pixels become 16 \u{d7} 16 numbers",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
    let Some(chromium) = chromium() else { return };
    browser::check(&chromium, &page);
}

#[test]
fn the_page_is_drawn_and_answers() {
    let (page, network, image) = stepwise(&ExplainOptions::default());
    let Some(chromium) = chromium() else { return };
    browser::check(&chromium, &page);
    // On a phone the pixels, the filter and the products are all in sight.
    let ask = r#"(() => {
      const box = page.querySelector(".grids");
      return { rights: [...box.querySelectorAll(".grid span")].map((e) => e.getBoundingClientRect().right),
               hidden: box.scrollWidth - box.clientWidth, cells: box.querySelectorAll(".grid span").length };
    })()"#;
    let narrow = look(&chromium, &page, Look { width: 390, dark: false, ask })["asked"].clone();
    let rights = narrow["rights"].as_array().unwrap();
    assert!(rights.iter().all(|right| right.as_f64() < Some(390.0)) && narrow["hidden"] == 0, "{narrow}");
    assert_eq!(narrow["cells"], 81);
    let ask = r#"(() => {
      const set = (id, value) => { const e = page.getElementById(id); e.value = value; e.dispatchEvent(new view.Event("input")); };
      set("x-row", 2); set("x-column", 4);
      page.querySelector("[data-filter='11']").click();
      page.getElementById("x-map").dispatchEvent(new view.KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
      const map = page.getElementById("x-map");
      return { total: page.querySelector("[data-total]").textContent, column: page.getElementById("x-column").value,
               pressed: [...page.querySelectorAll("[aria-pressed='true']")].map((e) => e.dataset.filter), map: [map.width, map.height],
               drawn: new Set(map.getContext("2d").getImageData(0, 0, map.width, map.height).data).size };
    })()"#;
    let seen = look(&chromium, &page, Look { width: 390, dark: true, ask });
    let asked = &seen["asked"];
    let total: f64 = asked["total"].as_str().unwrap().replace('\u{2212}', "-").parse().unwrap();
    let expected = convolved(&network, &image, 11, 2, 5);
    assert!((total - expected).abs() < 2e-4, "{total}, not {expected}");
    assert_eq!((&asked["column"], &asked["pressed"]), (&"5".into(), &serde_json::json!(["11"])));
    assert_eq!(asked["map"], serde_json::json!([600, 600]), "10 x 10 numbers");
    assert!(asked["drawn"].as_u64() > Some(10), "{asked}");
    assert_eq!(seen["headings"].as_array().map(Vec::len), Some(11), "{:#}", seen["headings"]);
}
