//! The command lines of the programs: pairs of an option and its value.

use std::path::PathBuf;

/// What both programs are told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sessions of the scale bench.
    pub sessions: u64,
    /// Of each trial.
    pub seconds: u64,
    /// Trials of each kind.
    pub rounds: usize,
    /// Idle connections at which it is looked.
    pub steps: Vec<usize>,
    /// Where data directories may be made.
    pub dir: PathBuf,
    /// Where the programs are.
    pub bin_dir: PathBuf,
    /// What the dataplane runs on, as its `--driver` spells it.
    pub driver: String,
    /// Where the figures are written for machines.
    pub json: Option<PathBuf>,
}

impl Options {
    /// Reads them; what is not given is the promised scale, for so many seconds, beside this program.
    ///
    /// # Errors
    /// One line that names the option.
    pub fn parse(arguments: impl Iterator<Item = String>, seconds: u64) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut parsed = Self {
            sessions: 10_000_000,
            seconds,
            rounds: 5,
            steps: vec![1_000, 6_000, 12_000, 18_000],
            dir: std::env::temp_dir(),
            bin_dir: own.parent().map(PathBuf::from).unwrap_or_default(),
            driver: "uring".into(),
            json: None,
        };
        let mut arguments = arguments;
        while let Some(option) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
            let count = |text: &str| {
                text.parse::<u64>().ok().filter(|count| *count > 0).ok_or(format!("{option} {value}: no count"))
            };
            match option.as_str() {
                "--sessions" => parsed.sessions = count(&value)?,
                "--seconds" => parsed.seconds = count(&value)?,
                "--rounds" => parsed.rounds = count(&value)? as usize,
                "--steps" => {
                    let steps: Result<Vec<_>, _> =
                        value.split(',').map(|step| count(step).map(|n| n as usize)).collect();
                    parsed.steps = steps?;
                }
                "--dir" => parsed.dir = PathBuf::from(&value),
                "--bin-dir" => parsed.bin_dir = PathBuf::from(&value),
                "--driver" => parsed.driver = value,
                "--json" => parsed.json = Some(PathBuf::from(&value)),
                _ => return Err(format!("unknown option `{option}`")),
            }
        }
        if !parsed.steps.is_sorted_by(|one, next| one < next) {
            return Err("--steps: each more than the one before".into());
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, String> {
        Options::parse(text.split_whitespace().map(str::to_owned), 5)
    }

    #[test]
    fn what_is_not_given_is_what_is_promised() {
        let options = parse("--seconds 2 --steps 10,20").expect("well formed");
        assert_eq!((options.sessions, options.seconds, options.steps), (10_000_000, 2, vec![10, 20]));
        assert_eq!((&*options.driver, &*parse("--driver glommio").expect("well formed").driver), ("uring", "glommio"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for wrong in ["--sessions", "--sessions 0", "--steps 5,5", "--steps 1,x", "--other 1"] {
            assert!(parse(wrong).expect_err("refused").contains(wrong.split(' ').next().expect("a word")), "{wrong}");
        }
    }
}
