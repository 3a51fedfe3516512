//! Stacks that were sampled, folded into how often each was met, and a flame graph of them as SVG.
//!
//! Owns the reading of what `perf script` prints and the place of each frame. No script in the picture: a frame says what it is
//! to who points at it. Frames too narrow to be seen are left out, which bounds its size.

use crate::svg::escaped;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Of the picture.
const WIDTH: f64 = 1200.0;
const ROW: f64 = 17.0;
const TOP: f64 = 40.0;

/// Frames of a smaller share of all samples are left out.
const SHARE_MIN: f64 = 0.0015;

/// Of a letter, about.
const LETTER: f64 = 6.6;

const STYLE: &str = "\
text{font:11px monospace;fill:#1f2328}.t{font:600 16px sans-serif}.b{fill:#fff}.u{fill:#ffb86b}.k{fill:#e58a8a}\
rect{stroke:#fff;stroke-width:.5}\
@media(prefers-color-scheme:dark){.t{fill:#e6edf3}.b{fill:#0d1117}.u{fill:#d18b3c}.k{fill:#b65c5c}rect{stroke:#0d1117}\
text{fill:#0d1117}.t{fill:#e6edf3}}";

/// A stack's frames, outermost first, with the samples in which it was met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Folded {
    stacks: BTreeMap<Vec<String>, u64>,
}

impl Folded {
    /// Of what `perf script -F comm,ip,sym` printed. The outermost frame is the thread's name.
    pub(crate) fn of(script: &str) -> Self {
        let mut folded = Self::default();
        let mut frames: Vec<String> = Vec::new();
        let mut thread = String::new();
        for line in script.lines().chain([""]) {
            if line.trim().is_empty() {
                if !frames.is_empty() {
                    frames.push(std::mem::take(&mut thread));
                    frames.reverse();
                    *folded.stacks.entry(std::mem::take(&mut frames)).or_default() += 1;
                }
            } else if line.starts_with(char::is_whitespace) {
                let (address, name) = line.trim().split_once(' ').unwrap_or((line.trim(), "[unknown]"));
                // What has no name has no place either: perf says so of where a thread begins.
                if !name.starts_with("[unknown]") {
                    frames.push(frame(address, name));
                }
            } else {
                // Each worker of the kernel has a number of its own.
                thread = line.trim().trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned();
            }
        }
        folded
    }

    /// All samples.
    pub(crate) fn samples(&self) -> u64 {
        self.stacks.values().sum()
    }

    /// Every stack, and how often it was met.
    pub(crate) fn stacks(&self) -> impl Iterator<Item = (&[String], u64)> {
        self.stacks.iter().map(|(stack, samples)| (&**stack, *samples))
    }
}

/// What marks a frame of the kernel.
const KERNEL: &str = " (kernel)";

/// A frame's name without the hash that the compiler adds; addresses in the upper half are the kernel's.
fn frame(address: &str, name: &str) -> String {
    let name = name.split("+0x").next().unwrap_or(name);
    let name = match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => path,
        _ => name,
    };
    let is_kernel = address.len() == 16 && address.starts_with("ffff");
    format!("{name}{}", if is_kernel { KERNEL } else { "" })
}

/// A frame of the picture with those above it.
#[derive(Default)]
struct Node<'a> {
    samples: u64,
    above: BTreeMap<&'a str, Node<'a>>,
}

/// The flame graph: callers below, what they call above, as wide as the samples in which it was met.
pub(crate) fn picture(folded: &Folded, title: &str) -> String {
    let mut root = Node { samples: folded.samples(), above: BTreeMap::new() };
    for (stack, samples) in folded.stacks() {
        let mut node = &mut root;
        for frame in stack {
            node = node.above.entry(frame).or_default();
            node.samples += samples;
        }
    }
    let least = (SHARE_MIN * root.samples as f64).max(1.0) as u64;
    let height = TOP + ROW * depth(&root, least) as f64 + 10.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\">\n<title>{0}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"b\" width=\"{WIDTH}\" height=\"{height}\"/>\n<text class=\"t\" x=\"10\" y=\"24\">{0}</text>\n",
        escaped(title)
    );
    let all = root.samples.max(1);
    row(&mut out, &root, Place { left: 0.0, bottom: height - 10.0, all, least });
    out.push_str("</svg>\n");
    out
}

/// Where what a node calls is drawn.
#[derive(Clone, Copy)]
struct Place {
    left: f64,
    bottom: f64,
    all: u64,
    least: u64,
}

fn depth(node: &Node<'_>, least: u64) -> usize {
    node.above.values().filter(|above| above.samples >= least).map(|above| 1 + depth(above, least)).max().unwrap_or(0)
}

fn row(out: &mut String, node: &Node<'_>, place: Place) {
    let mut left = place.left;
    for (name, above) in &node.above {
        let share = above.samples as f64 / place.all as f64;
        let width = share * WIDTH;
        if above.samples >= place.least {
            let class = if name.ends_with(KERNEL) { 'k' } else { 'u' };
            let top = place.bottom - ROW;
            let said = format!("{} {:.1} %", escaped(name), share * 100.0);
            write!(out, "<g><title>{said}</title><rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.0}\" width=\"{width:.1}\" height=\"{ROW:.0}\"/>")
                .expect("a string takes all");
            let room = ((width - 4.0) / LETTER) as usize;
            if room >= 4 {
                write!(
                    out,
                    "<text x=\"{:.1}\" y=\"{:.0}\">{}</text>",
                    left + 2.0,
                    top + 12.5,
                    escaped(&fitting(name, room))
                )
                .expect("a string takes all");
            }
            out.push_str("</g>\n");
            row(out, above, Place { left, bottom: top, ..place });
        }
        left += width;
    }
}

/// As much of a frame's name as fits: its last parts say the most.
fn fitting(name: &str, room: usize) -> String {
    let name = name.trim_end_matches(KERNEL);
    let count = name.chars().count();
    if count <= room {
        name.to_owned()
    } else {
        format!("..{}", name.chars().skip(count - (room - 2)).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "\
shard-0 \n\t    ffffffff81000001 udp_sendmsg+0x1f\n\t    5500000001 <a::B as c::D>::e::h0123456789abcdef\n\t    ffffffffffffffff [unknown]\n\n\
iou-wrk-417 \n\t    ffffffff81000009 io_write\n\n\
shard-0 \n\t    5500000002 a::f\n\t    5500000001 <a::B as c::D>::e\n\n\
shard-0 \n\t    5500000002 a::f\n\t    5500000001 <a::B as c::D>::e\n";

    #[test]
    fn equal_stacks_are_one() {
        let folded = Folded::of(SCRIPT);
        let found: Vec<(String, u64)> = folded.stacks().map(|(stack, samples)| (stack.join(";"), samples)).collect();
        let expected = [
            ("iou-wrk;io_write (kernel)", 1),
            ("shard;<a::B as c::D>::e;a::f", 2),
            ("shard;<a::B as c::D>::e;udp_sendmsg (kernel)", 1),
        ];
        assert_eq!(found, expected.map(|(stack, samples)| (stack.to_owned(), samples)));
        assert_eq!((folded.samples(), Folded::of("").samples()), (4, 0));
    }

    #[test]
    fn a_frame_is_as_wide_as_its_samples_and_above_its_caller() {
        let drawn = picture(&Folded::of(SCRIPT), "R & D");
        let at = |name: &str| {
            let from = drawn.find(&format!("<title>{name} ")).expect("drawn");
            let rest = &drawn[from..];
            let field = |name: &str| {
                let from = rest.find(&format!("{name}=\"")).expect("has it") + name.len() + 2;
                rest[from..].split('"').next().and_then(|value| value.parse::<f64>().ok()).expect("a number")
            };
            (field(" x"), field(" y"), field(" width"))
        };
        let (thread, caller, called) = (at("shard"), at("&lt;a::B as c::D&gt;::e"), at("a::f"));
        assert_eq!((thread.0, thread.2, called.2), (300.0, 900.0, 600.0));
        assert_eq!((called.0, at("udp_sendmsg (kernel)").0), (300.0, 900.0), "above its caller, beside the other");
        assert_eq!((thread.1 - caller.1, caller.1 - called.1), (ROW, ROW));
        assert!(
            drawn.contains("<title>R &amp; D</title>") && drawn.contains("class=\"k\"") && drawn.ends_with("</svg>\n")
        );
    }

    #[test]
    fn what_cannot_be_seen_is_left_out() {
        let many: String = (0..2000).map(|at| format!("t \n\t    55000 f{at}\n\n")).collect();
        let drawn = picture(&Folded::of(&many), "");
        assert_eq!(drawn.matches("<g>").count(), 1, "the thread alone");
        assert_eq!((fitting("abcdef", 6), fitting("abcdefgh", 6)), ("abcdef".into(), "..efgh".into()));
    }
}
