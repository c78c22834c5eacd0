//! The sets that can be asked for by name: where they are looked for, and where they come from.

use std::path::{Path, PathBuf};

use cnn_core::names;

use crate::{Error, Result};

/// A published data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// 60,000 colour images of 32x32, ten classes.
    Cifar10,
    /// 60,000 colour images of 32x32, a hundred classes.
    Cifar100,
    /// 70,000 grey images of 28x28, ten digits.
    Mnist,
}

/// A file of a published set, pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Name of the file, at the server and here.
    pub name: &'static str,
    /// Lower-case hexadecimal SHA-256 of its bytes.
    pub sha256: &'static str,
}

const CIFAR_URL: &str = "https://www.cs.toronto.edu/~kriz/";
const MNIST_URL: &str = "https://storage.googleapis.com/cvdf-datasets/mnist/";

const CIFAR10: [Remote; 1] = [Remote {
    name: "cifar-10-binary.tar.gz",
    sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
}];
const CIFAR100: [Remote; 1] = [Remote {
    name: "cifar-100-binary.tar.gz",
    sha256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
}];
const MNIST: [Remote; 4] = [
    Remote {
        name: "train-images-idx3-ubyte.gz",
        sha256: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    },
    Remote {
        name: "train-labels-idx1-ubyte.gz",
        sha256: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    },
    Remote {
        name: "t10k-images-idx3-ubyte.gz",
        sha256: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    },
    Remote {
        name: "t10k-labels-idx1-ubyte.gz",
        sha256: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
];

impl Known {
    /// Every published set.
    pub const ALL: [Known; 3] = [Known::Cifar10, Known::Cifar100, Known::Mnist];

    /// The set called `name`, if there is one.
    pub fn parse(name: &str) -> Option<Known> {
        Known::ALL.into_iter().find(|set| set.name() == name)
    }

    /// The set that somebody means by `name`: its own name or, if no file is called so, one that differs from it in
    /// capitals, hyphens, underscores and spaces only, such as `CIFAR-10`.
    pub fn meant(name: &str) -> Option<Known> {
        let meant = || names::meant(name, Known::ALL.map(Known::name)).filter(|_| !Path::new(name).exists());
        Known::parse(name).or_else(|| Known::parse(meant()?))
    }

    /// The name of a set that is spelled nearly so.
    pub(crate) fn near(name: &str) -> Option<&'static str> {
        names::closest(name, Known::ALL.map(Known::name).into_iter().chain([crate::shapes::NAME]))
    }

    /// What the set is called in commands.
    pub fn name(self) -> &'static str {
        match self {
            Known::Cifar10 => "cifar10",
            Known::Cifar100 => "cifar100",
            Known::Mnist => "mnist",
        }
    }

    /// Its files.
    pub fn files(self) -> &'static [Remote] {
        match self {
            Known::Cifar10 => &CIFAR10,
            Known::Cifar100 => &CIFAR100,
            Known::Mnist => &MNIST,
        }
    }

    /// The address that, followed by a file's name, fetches it.
    pub fn url(self) -> &'static str {
        match self {
            Known::Cifar10 | Known::Cifar100 => CIFAR_URL,
            Known::Mnist => MNIST_URL,
        }
    }

    /// The folder under `root` that its files are downloaded to.
    pub fn folder(self, root: &Path) -> PathBuf {
        match self {
            Known::Cifar10 | Known::Cifar100 => root.to_owned(),
            Known::Mnist => root.join("mnist"),
        }
    }

    /// What `open` reads: the unpacked folder under `root` or, for CIFAR, the archive; the first that is there.
    ///
    /// # Errors
    /// Neither is there; the message says what was looked for, where, and how to get it.
    pub fn find(self, root: &Path) -> Result<PathBuf> {
        // Each place, with the files (as they are or with .gz added) that show that the set is in it.
        let places: &[(&str, &[&str])] = match self {
            Known::Cifar10 => &[("cifar-10-batches-bin", &["data_batch_1.bin"]), ("cifar-10-binary.tar.gz", &[])],
            Known::Cifar100 => &[("cifar-100-binary", &["train.bin"]), ("cifar-100-binary.tar.gz", &[])],
            Known::Mnist => &[("mnist", &crate::idx::FILES)],
        };
        let mut looked_for = Vec::new();
        for (place, files) in places {
            let place = root.join(place);
            let absent = if files.is_empty() {
                (!place.is_file()).then(|| place.clone())
            } else {
                files.iter().find(|file| crate::idx::find(&place, file).is_none()).map(|file| place.join(file))
            };
            match absent {
                None => return Ok(place),
                Some(path) => looked_for.push(path),
            }
        }
        Err(Error::Missing { name: self.name().to_owned(), looked_for, hint: self.how_to_get(root) })
    }

    /// A sentence for somebody who does not have the set.
    fn how_to_get(self, root: &Path) -> String {
        let names: Vec<_> = self.files().iter().map(|file| file.name).collect();
        let folder = self.folder(root);
        format!("download {} from {} into {}", names.join(", "), self.url(), folder.display())
    }
}
