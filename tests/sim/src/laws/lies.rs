//! The laws of disks that lie: what they lost is known by name, and nobody honest is accused.
//!
//! A lie is a sync that stored nothing, or a bit that flipped. Of an uplink that was accepted and is missing, one of the
//! places where it was written was reported as damaged, or was among what a lost sync should have stored when power went.

use crate::disk_words::Lie;
use crate::history::History;
use crate::witness::Place;
use base::Eui64;

/// Whether it is known why an uplink that was accepted is missing.
pub(crate) fn explain(history: &History, dev_eui: Eui64, fcnt: u32) -> bool {
    if history.lies.is_empty() {
        return false;
    }
    let places = history.witness.places(dev_eui, fcnt);
    places.iter().any(|place| is_reported(history, place) || was_never_stored(history, place))
}

/// What is known of one that is missing, for people.
pub(crate) fn known(history: &History, missing: Option<&&(Eui64, u32)>) -> String {
    let places = missing.map(|(dev_eui, fcnt)| history.witness.places(*dev_eui, *fcnt));
    let syncs: Vec<_> =
        history.lies.iter().filter(|lie| matches!(lie, Lie::LostSync(_) | Lie::LostDirectorySync)).collect();
    let (damages, gaps) = (&history.control.damages, &history.control.gaps);
    format!(
        "written at {places:?}, damaged {damages:?}, gaps {gaps:?}, lost syncs {syncs:?}, {} cuts, {} kills",
        history.befell.power_cuts, history.befell.kills
    )
}

/// It was said that these bytes cannot be read, or that their segment is missing.
fn is_reported(history: &History, place: &Place) -> bool {
    let damaged = history.control.damages.iter().any(|damage| {
        // Without its header nothing of a segment is read.
        damage.meets(place) || (damage.file == place.file && damage.from == 0)
    });
    let missing = |(before, behind): &(String, String)| *before < place.file && place.file < *behind;
    damaged || history.control.gaps.iter().any(missing)
}

/// The disk said that they are stored, lied, and the power went: nothing behind them could tell.
fn was_never_stored(history: &History, place: &Place) -> bool {
    history.disk.cuts > 0
        && history.lies.iter().any(|lie| match lie {
            Lie::LostSync(name) => name.rsplit('/').next() == Some(&place.file),
            Lie::LostDirectorySync => true,
            Lie::FlippedStored(..) | Lie::FlippedCached(..) => false,
        })
}

/// What is said of damage is so.
pub(crate) fn hold(history: &History) {
    let (seed, control) = (history.story.seed, &history.control);
    if history.lies.is_empty() {
        // A header may have been half made when the power went: whoever made it had promised nothing.
        let accused: Vec<_> = control.damages.iter().filter(|damage| damage.from > 0).collect();
        assert!(accused.is_empty(), "seed {seed}: an honest disk is accused of {accused:?}");
        assert!(control.gaps.is_empty(), "seed {seed}: an honest disk has lost segments: {:?}", control.gaps);
        assert_eq!(control.repairs, 0, "seed {seed}: an honest disk needs no repair");
    }
    if !history.story.has_ends() {
        // Whatever a shard found is counted by it, told or not.
        let counted = control.counter("shard_drops", "record_corrupt");
        assert!(control.damage_words <= counted, "seed {seed}: {} of {counted} told", control.damage_words);
    }
}
