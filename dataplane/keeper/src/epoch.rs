//! Epochs: the number of a run, and the mark by which no later run is given it again.
//!
//! Owns the mark: an empty file whose name says the last epoch that was given. Segments alone do not say it: a run whose disk
//! was full made none, and those of earlier runs may have gone.
//!
//! ```text
//!   epoch-00006 ── rename ──▶ epoch-00007     needs no room, so that a full disk does not stand in its way
//! ```

use crate::{Fault, Keeper};
use files::Files;
use journal::SegmentName;

fn name(epoch: u16) -> String {
    format!("epoch-{epoch:05}")
}

fn marked(name: &str) -> Option<u16> {
    let digits = name.strip_prefix("epoch-")?;
    let plain = digits.len() == 5 && digits.bytes().all(|digit| digit.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// The greatest epoch that files of these names speak of. Whether a segment can be read does not matter: its name was used.
pub(crate) fn last(names: &[String]) -> u16 {
    let epoch = |name: &String| marked(name).or_else(|| SegmentName::parse(name).map(|segment| segment.epoch));
    names.iter().filter_map(epoch).max().unwrap_or(0)
}

impl<F: Files> Keeper<F> {
    /// Begins the run that recovery has prepared: marks its epoch as given, puts what was carried over into segments, and removes
    /// what earlier runs left half done.
    ///
    /// # Errors
    /// The host's. All of it is tried again before the next checkpoint, and so before any segment goes. Until then the epoch is
    /// given again only if nothing of this run is on the disk.
    pub fn begin(&mut self) -> Result<(), Fault> {
        self.mark_epoch()?;
        self.pour()?;
        self.tidy()
    }

    pub(crate) fn mark_epoch(&mut self) -> Result<(), Fault> {
        if self.epoch_marked {
            return Ok(());
        }
        let own = name(self.epoch);
        let names = self.files.list()?;
        let mut others = names.iter().filter(|name| marked(name).is_some() && **name != own);
        match others.next_back() {
            Some(other) => self.files.rename(other, &own)?,
            None => {
                self.files.write_at(&own, 0, &[])?;
                self.files.sync(&own)?;
                self.files.sync_directory()?;
            }
        }
        self.epoch_marked = true;
        // What failed attempts may have left beside it is less, and says nothing.
        others.for_each(|name| drop(self.files.remove(name)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_counts_whoever_says_it() {
        let check = |names: &[&str], expected| {
            assert_eq!(last(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()), expected, "{names:?}");
        };
        check(&[], 0);
        check(&["manifest", "state-0000000009.ckp", "epoch-x", "epoch-70000", "epoch-000012", "epoch-+0012"], 0);
        check(&["00003-00-0000000000.seg", "00002-01-0000000009.seg"], 3);
        check(&["00003-00-0000000000.seg", "epoch-00004"], 4);
        check(&["00005-00-0000000000.seg", "epoch-00004", "epoch-00002"], 5);
        check(&["epoch-65535"], u16::MAX);
        assert_eq!(marked(&name(7)), Some(7));
    }
}
