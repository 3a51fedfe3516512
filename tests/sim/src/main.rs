//! `sim <seed> [count]`: tells the story of a seed, or of that many from it on, and checks the laws.

use sim::{Story, hold, tell};
use std::io::Write as _;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Some(Ok(seed)), Ok(count)) = (arguments.next(), arguments.next().unwrap_or(Ok(1))) else {
        writeln!(std::io::stderr(), "usage: sim <seed> [count]")?;
        std::process::exit(2);
    };
    for seed in seed..seed + count {
        let story = Story::of(seed);
        if count == 1 {
            writeln!(std::io::stdout(), "{story:#?}")?;
        }
        let history = tell(story);
        hold(&history);
        let told: usize = history.consumers.iter().map(|consumer| consumer.received.len()).sum();
        writeln!(
            std::io::stdout(),
            "seed {seed}: {} frames sent, {told} messages told, {} downlinks heard, {} turns, trace {:016x}",
            history.sent.len(),
            history.heard.len(),
            history.tally.turns,
            history.trace
        )?;
    }
    Ok(())
}
