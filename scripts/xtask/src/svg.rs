//! A small writer of charts as SVG: lines over two axes, and bars that may be stacked.
//!
//! Owns sizes, colours for light and dark, and where a value is placed. Knows no benchmark. A chart is text alone: no script,
//! no font, nothing that has to be fetched.

use std::fmt::Write as _;

/// The whole picture and, inside, the field of values: left, top, right, bottom.
const SIZE: (f64, f64) = (860.0, 460.0);
const FIELD: [f64; 4] = [90.0, 96.0, 810.0, 400.0];

/// How many colours there are.
const COLOUR_COUNT: usize = 11;

const STYLE: &str = "\
text{font:13px sans-serif;fill:#1f2328}.t{font-size:17px;font-weight:600}.n{font-size:12px;fill:#59636e}\
.b{fill:#fff}.g{stroke:#d1d9e0}.a{stroke:#59636e}.l{fill:none;stroke-width:2}\
.c0{color:#0969da}.c1{color:#bc4c00}.c2{color:#1a7f37}.c3{color:#8250df}.c4{color:#bf3989}.c5{color:#9a6700}\
.c6{color:#1b7c83}.c7{color:#cf222e}.c8{color:#57606a}.c9{color:#4d2d00}.c10{color:#afb8c1}\
.l{stroke:currentColor}.f{fill:currentColor}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.n{fill:#9198a1}.b{fill:#0d1117}.g{stroke:#30363d}.a{stroke:#9198a1}\
.c0{color:#58a6ff}.c1{color:#f0883e}.c2{color:#3fb950}.c3{color:#bc8cff}.c4{color:#f778ba}.c5{color:#d29922}\
.c6{color:#39c5cf}.c7{color:#ff7b72}.c8{color:#8b949e}.c9{color:#e3b341}.c10{color:#484f58}}";

/// A direction of the field: what it says, and what its ends stand for.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// With its unit.
    pub(crate) title: String,
    /// Equal factors take equal room, instead of equal differences.
    pub(crate) log: bool,
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// Where a line is drawn across, and what stands beside it.
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From nothing to the next round number above `most`.
    pub(crate) fn linear(title: &str, most: f64) -> Self {
        let step = round_step(most / 5.0);
        let count = (most / step).ceil().max(1.0);
        let ticks = (0..=count as u32).map(|at| f64::from(at) * step).map(|at| (at, number(at))).collect();
        Self { title: title.into(), log: false, least: 0.0, most: count * step, ticks }
    }

    /// Whole decades around `least` and `most`, both above zero.
    pub(crate) fn log(title: &str, least: f64, most: f64) -> Self {
        let (low, high) =
            (least.log10().floor() as i32, (most.log10().ceil() as i32).max(least.log10().floor() as i32 + 1));
        let ticks = (low..=high).map(|at| 10f64.powi(at)).map(|at| (at, number(at))).collect();
        Self { title: title.into(), log: true, least: 10f64.powi(low), most: 10f64.powi(high), ticks }
    }

    /// Which share of the way from its beginning a value lies; what is outside lies at the end.
    pub(crate) fn share(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.least) / self.least).ln() / (self.most / self.least).ln()
        } else {
            (value - self.least) / (self.most - self.least)
        };
        share.clamp(0.0, 1.0)
    }
}

/// A line of a chart.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// Which of the colours.
    pub(crate) colour: usize,
    /// Lengths of dashes and gaps; nothing for a whole line.
    pub(crate) dashes: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Bars that stand on each other.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    /// What stands below it.
    pub(crate) name: String,
    /// What stands above it.
    pub(crate) note: String,
    /// From the ground up: name and value of each part.
    pub(crate) parts: Vec<(String, f64)>,
}

/// A chart of lines. `note` says in small letters what they are of.
pub(crate) fn lines(title: &str, note: &str, x: &Axis, y: &Axis, all: &[Line]) -> String {
    let mut out = begin(title, note);
    let legend: Vec<(&str, usize, &str)> = all.iter().map(|line| (&*line.name, line.colour, line.dashes)).collect();
    across(&mut out, y);
    for (at, label) in &x.ticks {
        let left = place_x(x, *at);
        rule(&mut out, "g", [left, FIELD[1], left, FIELD[3]]);
        text(&mut out, "n", (left, FIELD[3] + 18.0), "middle", label);
    }
    text(&mut out, "n", ((FIELD[0] + FIELD[2]) / 2.0, FIELD[3] + 42.0), "middle", &x.title);
    for line in all {
        let points: Vec<String> =
            line.points.iter().map(|(at, value)| format!("{:.1},{:.1}", place_x(x, *at), place_y(y, *value))).collect();
        let dashes =
            if line.dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{}\"", line.dashes) };
        let colour = line.colour % COLOUR_COUNT;
        add(&mut out, &format!("<polyline class=\"l c{colour}\"{dashes} points=\"{}\"/>", points.join(" ")));
    }
    draw_legend(&mut out, &legend);
    end(out)
}

/// A chart of stacks, one beside the other. Parts of one name have one colour; with one name in all there is no legend.
pub(crate) fn stacks(title: &str, note: &str, y: &Axis, all: &[Stack]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in all.iter().flat_map(|stack| &stack.parts) {
        if !names.contains(&&**name) {
            names.push(name);
        }
    }
    let mut out = begin(title, note);
    across(&mut out, y);
    let pitch = (FIELD[2] - FIELD[0]) / all.len().max(1) as f64;
    let width = (pitch * 0.6).min(140.0);
    for (index, stack) in all.iter().enumerate() {
        let middle = FIELD[0] + pitch * (index as f64 + 0.5);
        let mut sum = 0.0;
        for (name, value) in &stack.parts {
            let (bottom, top) = (place_y(y, sum), place_y(y, sum + value));
            sum += value;
            let colour = names.iter().position(|known| known == name).unwrap_or_default() % COLOUR_COUNT;
            add(
                &mut out,
                &format!(
                    "<rect class=\"f c{colour}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\"><title>{}: {}</title></rect>",
                    middle - width / 2.0,
                    (bottom - top).max(0.0),
                    escaped(name),
                    number(*value)
                ),
            );
        }
        text(&mut out, "", (middle, place_y(y, sum) - 7.0), "middle", &stack.note);
        text(&mut out, "", (middle, FIELD[3] + 20.0), "middle", &stack.name);
    }
    if names.len() > 1 {
        let legend: Vec<(&str, usize, &str)> = names.iter().enumerate().map(|(at, name)| (*name, at, "")).collect();
        draw_legend(&mut out, &legend);
    }
    end(out)
}

/// What stands for itself in a text of XML.
pub(crate) fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
        out
    })
}

/// A number as people write it: thousands apart, no more digits behind the point than it needs.
pub(crate) fn number(value: f64) -> String {
    if value.abs() >= 1000.0 {
        let whole = format!("{:.0}", value.abs());
        let mut out = String::new();
        for (at, digit) in whole.chars().enumerate() {
            if at > 0 && (whole.len() - at).is_multiple_of(3) {
                out.push(' ');
            }
            out.push(digit);
        }
        return if value < 0.0 { format!("-{out}") } else { out };
    }
    let decimals = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// 1, 2 or 5 times a power of ten, at least this much.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.max(f64::MIN_POSITIVE).log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= least).unwrap_or(10.0);
    factor * power
}

fn place_x(axis: &Axis, value: f64) -> f64 {
    FIELD[0] + axis.share(value) * (FIELD[2] - FIELD[0])
}

fn place_y(axis: &Axis, value: f64) -> f64 {
    FIELD[3] - axis.share(value) * (FIELD[3] - FIELD[1])
}

fn begin(title: &str, note: &str) -> String {
    let (width, height) = SIZE;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{}</title>\n\
         <style>{STYLE}</style>\n<rect class=\"b\" width=\"{width}\" height=\"{height}\"/>\n",
        escaped(title)
    );
    text(&mut out, "t", (20.0, 28.0), "start", title);
    text(&mut out, "n", (20.0, 48.0), "start", note);
    out
}

fn end(mut out: String) -> String {
    rule(&mut out, "a", [FIELD[0], FIELD[3], FIELD[2], FIELD[3]]);
    out.push_str("</svg>\n");
    out
}

/// The ticks of what goes up, and its title beside them.
fn across(out: &mut String, y: &Axis) {
    for (at, label) in &y.ticks {
        let top = place_y(y, *at);
        rule(out, "g", [FIELD[0], top, FIELD[2], top]);
        text(out, "n", (FIELD[0] - 8.0, top + 4.0), "end", label);
    }
    let middle = (FIELD[1] + FIELD[3]) / 2.0;
    add(
        out,
        &format!(
            "<text class=\"n\" text-anchor=\"middle\" transform=\"translate(22 {middle:.1}) rotate(-90)\">{}</text>",
            escaped(&y.title)
        ),
    );
}

/// In two rows at most, from the left.
fn draw_legend(out: &mut String, entries: &[(&str, usize, &str)]) {
    let columns = entries.len().div_ceil(2).max(entries.len().min(3));
    let pitch = (SIZE.0 - 40.0) / columns.max(1) as f64;
    for (at, (name, colour, dashes)) in entries.iter().enumerate() {
        let (left, top) = (20.0 + pitch * (at % columns) as f64, 68.0 + 17.0 * (at / columns) as f64);
        let colour = colour % COLOUR_COUNT;
        let dashes = if dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dashes}\"") };
        add(
            out,
            &format!(
                "<path class=\"l c{colour}\" style=\"stroke-width:4\"{dashes} d=\"M{left:.1} {:.1}h26\"/>",
                top - 4.0
            ),
        );
        text(out, "n", (left + 32.0, top), "start", name);
    }
}

fn rule(out: &mut String, class: &str, [x1, y1, x2, y2]: [f64; 4]) {
    add(out, &format!("<path class=\"{class}\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>"));
}

fn text(out: &mut String, class: &str, (x, y): (f64, f64), anchor: &str, what: &str) {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    add(out, &format!("<text{class} x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escaped(what)));
}

fn add(out: &mut String, element: &str) {
    writeln!(out, "{element}").expect("a string takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_placed_by_its_axis() {
        let linear = Axis::linear("s", 93.0);
        assert_eq!((linear.most, linear.share(25.0), linear.share(1000.0)), (100.0, 0.25, 1.0));
        assert_eq!(
            linear.ticks.iter().map(|(_, label)| &**label).collect::<Vec<_>>(),
            ["0", "20", "40", "60", "80", "100"]
        );
        let log = Axis::log("us", 150.0, 6000.0);
        assert_eq!((log.least, log.most), (100.0, 10_000.0));
        assert!((log.share(1000.0) - 0.5).abs() < 1e-9 && log.share(1.0) == 0.0);
        assert_eq!((place_x(&linear, 0.0), place_x(&linear, 100.0)), (FIELD[0], FIELD[2]));
        assert_eq!((place_y(&linear, 0.0), place_y(&linear, 100.0)), (FIELD[3], FIELD[1]), "up is less");
    }

    #[test]
    fn a_line_goes_where_its_numbers_are() {
        let (x, y) = (Axis::linear("t, s", 10.0), Axis::linear("rate, 1/s", 100.0));
        let line = Line { name: "a < b".into(), colour: 1, dashes: "6 3", points: vec![(0.0, 0.0), (5.0, 100.0)] };
        let chart = lines("R & D", "of one \"run\"", &x, &y, &[line]);
        assert!(chart.contains("<polyline class=\"l c1\" stroke-dasharray=\"6 3\" points=\"90.0,400.0 450.0,96.0\"/>"));
        for said in [
            "<title>R &amp; D</title>",
            ">a &lt; b</text>",
            "of one &quot;run&quot;",
            ">t, s</text>",
            ">rate, 1/s</text>",
        ] {
            assert!(chart.contains(said), "{said}");
        }
        assert!(
            chart.starts_with("<svg ") && chart.ends_with("</svg>\n") && chart.contains("prefers-color-scheme:dark")
        );
    }

    #[test]
    fn stacks_stand_on_each_other() {
        let part = |name: &str, value| (name.to_owned(), value);
        let all = [
            Stack { name: "floor".into(), note: "50".into(), parts: vec![part("send", 20.0), part("receive", 30.0)] },
            Stack { name: "uring".into(), note: "30".into(), parts: vec![part("receive", 30.0)] },
        ];
        let chart = stacks("CPU", "", &Axis::linear("us", 100.0), &all);
        let at = |colour: u32, top: f64, height: f64| {
            format!("<rect class=\"f c{colour}\" x=\"200.0\" y=\"{top:.1}\" width=\"140.0\" height=\"{height:.1}\">")
        };
        assert!(chart.contains(&at(0, 339.2, 60.8)) && chart.contains(&at(1, 248.0, 91.2)), "{chart}");
        assert!(chart.contains("<rect class=\"f c1\" x=\"560.0\" y=\"308.8\""), "a name keeps its colour");
        assert!(chart.contains("<title>receive: 30</title>") && chart.contains(">uring</text>"));
        let one = stacks("", "", &Axis::linear("us", 1.0), &all[1..]);
        assert!(!one.contains("stroke-width:4\""), "one name needs no legend");
    }

    #[test]
    fn numbers_are_written_as_people_do() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (12.0, "12"),
            (12.34, "12.3"),
            (100.0, "100"),
            (30937.4, "30 937"),
            (1e6, "1 000 000"),
            (-2500.0, "-2 500"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!([0.7, 1.0, 1.3, 2.1, 18.6].map(round_step), [1.0, 1.0, 2.0, 5.0, 20.0]);
    }
}
