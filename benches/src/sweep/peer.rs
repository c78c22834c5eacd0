//! Another engine in a process that lives as long as the sweep: a convolution goes to it as a line of JSON, and its times come
//! back as another. While it is not asked, it waits and takes no time of ours.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;

use super::shapes::Shape;
use super::times::Times;

/// Such a process.
#[derive(Debug)]
pub(super) struct Peer {
    program: String,
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What it says of one shape.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    Failed {
        error: String,
    },
    Measured {
        #[serde(flatten)]
        times: Times,
        version: String,
    },
}

impl Peer {
    /// Starts it. What it says on stderr goes to ours.
    ///
    /// # Errors
    /// The program cannot be run.
    pub(super) fn start(mut command: Command) -> Result<Self, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{program}: has no pipes"));
        };
        Ok(Peer { program, child, questions, answers: BufReader::new(answers) })
    }

    /// Its times of `shape`, and its version.
    ///
    /// # Errors
    /// What it said instead, or that it has ended.
    pub(super) fn measure(&mut self, shape: &Shape) -> Result<(Times, String), String> {
        let question = serde_json::to_string(shape).map_err(|error| error.to_string())?;
        let mut line = String::new();
        let asked = writeln!(self.questions, "{question}").and_then(|()| self.questions.flush());
        if asked.and_then(|()| self.answers.read_line(&mut line)).unwrap_or(0) == 0 {
            let _ = self.child.kill(); // one that has closed its end, and is of no use any more
            let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
            return Err(format!("{}: no answer ({status})", self.program));
        }
        match serde_json::from_str(&line) {
            Ok(Answer::Measured { times, version }) => Ok((times, version)),
            Ok(Answer::Failed { error }) => Err(error),
            Err(error) => Err(format!("{}: {:?}: {error}", self.program, line.trim_end())),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::sweep::shapes::chosen;

    /// A stand-in that runs this script of a shell.
    fn peer(script: &str) -> Peer {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Peer::start(command).unwrap()
    }

    #[test]
    fn each_question_has_its_answer() {
        let shapes = chosen(Some("resnet50-3x3-"), None).unwrap();
        // Names the shape back, so that an answer to another question is seen.
        let mut peer = peer(
            r#"while read -r line; do
                name=$(echo "$line" | sed 's/.*"name":"\([^"]*\)".*/\1/')
                if [ "$name" = resnet50-3x3-128-28 ]; then echo '{"error": "pytorch: no memory"}'; continue; fi
                echo "{\"version\": \"$name\", \"frozen\": 1, \"forward\": 2, \"backward data\": 3, \"backward weight\": 4}"
            done"#,
        );
        let answers: Vec<_> = shapes.iter().map(|shape| peer.measure(shape)).collect();
        let times = Times { frozen: 1.0, forward: 2.0, data: 3.0, weight: 4.0 };
        for (shape, answer) in shapes.iter().zip(answers) {
            match shape.name.as_str() {
                "resnet50-3x3-128-28" => assert_eq!(answer, Err("pytorch: no memory".to_owned())),
                name => assert_eq!(answer, Ok((times, name.to_owned()))),
            }
        }
    }

    #[test]
    fn whoever_says_nothing_or_nonsense_is_named() {
        let shape = &chosen(Some("tiny"), None).unwrap()[0];
        let mut gone = peer("exit 3");
        for _ in 0..2 {
            let error = gone.measure(shape).unwrap_err();
            assert!(error.starts_with("sh: no answer ("), "{error}");
        }
        let nonsense = peer("read -r line; echo '{\"forward\": 1}'").measure(shape).unwrap_err();
        assert!(nonsense.starts_with("sh: \"{\\\"forward\\\": 1}\": "), "{nonsense}");
        let absent = Peer::start(Command::new("/nonexistent/python")).unwrap_err();
        assert!(absent.starts_with("/nonexistent/python: "), "{absent}");
    }
}
