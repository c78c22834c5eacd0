//! What timm calls the arrays of networks that have torchvision's names here, and the shapes in which it has them.

/// What a layer of each kind is called.
type Names = [(&'static str, &'static str)];

/// Layers of EfficientNet's blocks whose hidden channels are the input's, and of the others, each with torchvision's place of it.
const DEPTHWISE: &Names = &[
    ("conv_dw", "0.0"),
    ("bn1", "0.1"),
    ("se.conv_reduce", "1.fc1"),
    ("se.conv_expand", "1.fc2"),
    ("conv_pw", "2.0"),
    ("bn2", "2.1"),
];
const EXPANDING: &Names = &[
    ("conv_pw", "0.0"),
    ("bn1", "0.1"),
    ("conv_dw", "1.0"),
    ("bn2", "1.1"),
    ("se.conv_reduce", "2.fc1"),
    ("se.conv_expand", "2.fc2"),
    ("conv_pwl", "3.0"),
    ("bn3", "3.1"),
];
/// The same of MobileNetV2, whose last convolution and normalisation are two layers.
const V2_DEPTHWISE: &Names = &[("conv_dw", "0.0"), ("bn1", "0.1"), ("conv_pw", "1"), ("bn2", "2")];
const V2_EXPANDING: &Names =
    &[("conv_pw", "0.0"), ("bn1", "0.1"), ("conv_dw", "1.0"), ("bn2", "1.1"), ("conv_pwl", "2"), ("bn3", "3")];

/// Blocks in each stage of MobileNetV2.
const V2_BLOCKS: [usize; 7] = [1, 2, 3, 4, 3, 3, 1];

/// `name` with the layer in front of it that `names` gives another name.
fn replaced(name: &str, names: &Names) -> Option<String> {
    let rest = |theirs| name.strip_prefix(theirs)?.strip_prefix('.');
    names.iter().find_map(|(theirs, ours)| Some(format!("{ours}.{}", rest(theirs)?)))
}

/// Stage and block of `blocks.STAGE.BLOCK.` and the rest.
fn block(name: &str) -> Option<(usize, usize, &str)> {
    let mut parts = name.strip_prefix("blocks.")?.splitn(3, '.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?))
}

/// The names of a network of inverted residuals: `layers` are those of the blocks of its first stage and of the others, `place` is where a
/// block stands, and `last` is the convolution behind them.
fn inverted_residuals(
    name: &str,
    layers: [&Names; 2],
    place: impl Fn(usize, usize) -> Option<String>,
    last: usize,
) -> Option<String> {
    if let Some((stage, block, rest)) = block(name) {
        return Some(format!("{}.{}", place(stage, block)?, replaced(rest, layers[stage.min(1)])?));
    }
    let (layer, rest) = name.split_once('.')?;
    Some(match (layer, rest) {
        ("conv_stem", _) => format!("features.0.0.{rest}"),
        ("bn1", _) => format!("features.0.1.{rest}"),
        ("conv_head", _) => format!("features.{last}.0.{rest}"),
        ("bn2", _) => format!("features.{last}.1.{rest}"),
        // torchvision has others under the same start.
        ("classifier", "weight" | "bias") => format!("classifier.1.{rest}"),
        _ => return None,
    })
}

/// EfficientNet's.
pub(crate) fn efficientnet(name: &str) -> Option<String> {
    let place = |stage, block| Some(format!("features.{}.{block}.block", stage + 1));
    inverted_residuals(name, [DEPTHWISE, EXPANDING], place, 8)
}

/// MobileNetV2's.
pub(crate) fn mobilenet_v2(name: &str) -> Option<String> {
    let place = |stage: usize, block| {
        let before: usize = V2_BLOCKS.get(..stage)?.iter().sum();
        Some(format!("features.{}.conv", 1 + before + block))
    };
    inverted_residuals(name, [V2_DEPTHWISE, V2_EXPANDING], place, 18)
}

/// ConvNeXt's.
pub(crate) fn convnext(name: &str) -> Option<String> {
    let ends: &Names = &[
        ("stem.0", "features.0.0"),
        ("stem.1", "features.0.1"),
        ("head.norm", "classifier.0"),
        ("head.fc", "classifier.2"),
    ];
    let Some(rest) = name.strip_prefix("stages.") else { return replaced(name, ends) };
    let (stage, rest) = rest.split_once('.')?;
    let stage: usize = stage.parse().ok()?;
    if let Some(rest) = rest.strip_prefix("downsample.") {
        return Some(format!("features.{}.{rest}", 2 * stage));
    }
    let (block, rest) = rest.strip_prefix("blocks.")?.split_once('.')?;
    let layers: &Names = &[("conv_dw", "block.0"), ("norm", "block.2"), ("mlp.fc1", "block.3"), ("mlp.fc2", "block.5")];
    let layer = if rest == "gamma" { "layer_scale".to_owned() } else { replaced(rest, layers)? };
    Some(format!("features.{}.{block}.{layer}", 2 * stage + 1))
}

/// VGG's, whose first dense layers are convolutions there.
pub(crate) fn vgg(name: &str) -> Option<String> {
    let layers: &Names =
        &[("pre_logits.fc1", "classifier.0"), ("pre_logits.fc2", "classifier.3"), ("head.fc", "classifier.6")];
    replaced(name, layers)
}

/// RegNet's.
pub(crate) fn regnet(name: &str) -> Option<String> {
    let ends: &Names = &[("stem.conv", "stem.0"), ("stem.bn", "stem.1"), ("head.fc", "fc")];
    let staged = || {
        let (stage, rest) = name.strip_prefix('s')?.split_once(".b")?;
        let (block, rest) = rest.split_once('.')?;
        let (stage, block) = (stage.parse::<usize>().ok()?, block.parse::<usize>().ok()?.checked_sub(1)?);
        let layers: &Names = &[
            ("conv1.conv", "f.a.0"),
            ("conv1.bn", "f.a.1"),
            ("conv2.conv", "f.b.0"),
            ("conv2.bn", "f.b.1"),
            ("se.fc1", "f.se.fc1"),
            ("se.fc2", "f.se.fc2"),
            ("conv3.conv", "f.c.0"),
            ("conv3.bn", "f.c.1"),
            ("downsample.conv", "proj.0"),
            ("downsample.bn", "proj.1"),
        ];
        Some(format!("trunk_output.block{stage}.block{stage}-{block}.{}", replaced(rest, layers)?))
    };
    replaced(name, ends).or_else(staged)
}

/// The shape here of an array that is called `name` here: a scale of channels is one of images, a convolution over a whole image a dense
/// layer; the numbers stand in the same order.
pub(crate) fn shape(name: &str, shape: &[usize]) -> Option<Vec<usize>> {
    match *shape {
        [channels] if name.ends_with(".layer_scale") => Some(vec![channels, 1, 1]),
        [outputs, channels, rows, columns] if name.contains("classifier.") => {
            Some(vec![outputs, channels.checked_mul(rows)?.checked_mul(columns)?])
        }
        _ => None,
    }
}
