//! The chart: two panels over the same time axis.

use std::time::Duration;

use crate::recording::{Bucket, Recording, BUCKET};
use jwks_gate_testbed::svg::{round_up, Anchor, Font, Scale, Svg};

const WIDTH: f64 = 880.0;
const MARGIN: f64 = 24.0;
/// The ends of the time axis.
const LEFT: f64 = 76.0;
const RIGHT: f64 = WIDTH - 30.0;

const SUBTITLE_TOP: f64 = 60.0;
const LINE: f64 = 18.0;
const LEGEND_TOP: f64 = 108.0;
/// The baseline of the first panel's heading.
const PANEL_TOP: f64 = 146.0;
const PANEL_STEP: f64 = 236.0;
// Offsets from the top of a panel.
const TOTALS: f64 = 21.0;
const PLOT_TOP: f64 = 42.0;
const PLOT_BOTTOM: f64 = 170.0;
const FETCHES_BOTTOM: f64 = 196.0;
/// The distance from the time axis to the first note's baseline.
const NOTES: f64 = 52.0;

// The chart has a background, so that the page may be light or dark.
const PAPER: &str = "#ffffff";
const FRAME: &str = "#d0d7de";
const GRID: &str = "#d8dee4";
const INK: &str = "#1f2328";
const MUTED: &str = "#59636e";
const ALLOWED: &str = "#aedcc0";
const DENIED: &str = "#d1343f";
const GOOD: &str = "#1a7f37";
const FETCH: &str = "#0550ae";
const ROTATION: &str = "#32383f";

const TITLE: Font = Font { size: 20.0, bold: true, colour: INK };
const HEADING: Font = Font { size: 15.0, bold: true, colour: INK };
const BODY: Font = Font { size: 13.0, bold: false, colour: MUTED };
const SMALL: Font = Font { size: 12.0, bold: false, colour: MUTED };

pub(crate) struct Chart<'a> {
    pub(crate) title: String,
    /// The lines below the title.
    pub(crate) subtitle: Vec<String>,
    /// The panels from top to bottom.
    pub(crate) panels: [Panel<'a>; 2],
    pub(crate) rotations: &'a [Duration],
    pub(crate) duration: Duration,
    /// The lines below the panels.
    pub(crate) notes: Vec<String>,
}

pub(crate) struct Panel<'a> {
    pub(crate) name: &'a str,
    /// How the filter handles a new key.
    pub(crate) behaviour: String,
    pub(crate) recording: &'a Recording,
}

impl Chart<'_> {
    /// The chart as an SVG document.
    pub(crate) fn draw(&self) -> String {
        let mut svg = Svg::new();
        let axis = PANEL_TOP + PANEL_STEP * (self.panels.len() as f64 - 1.0) + FETCHES_BOTTOM;
        let height = axis + NOTES + LINE * self.notes.len() as f64;
        svg.rectangle([0.5, 0.5, WIDTH - 0.5, height - 0.5], &format!(r#"rx="8" fill="{PAPER}" stroke="{FRAME}""#));
        svg.text([MARGIN, 36.0], Anchor::Start, TITLE, &self.title);
        lines(&mut svg, SUBTITLE_TOP, BODY, &self.subtitle);
        legend(&mut svg);
        for (index, panel) in self.panels.iter().enumerate() {
            self.panel(&mut svg, panel, PANEL_TOP + PANEL_STEP * index as f64);
        }
        self.time_axis(&mut svg, axis);
        lines(&mut svg, axis + NOTES, SMALL, &self.notes);
        let words = |panel: &Panel| format!("{}: {}.", panel.name, panel.recording.totals());
        let description = self.panels.iter().map(words).collect::<Vec<_>>().join(" ");
        svg.finish([WIDTH, height], &self.title, &description)
    }

    fn panel(&self, svg: &mut Svg, panel: &Panel, top: f64) {
        let (x, y) = (self.time(), self.rate(top));
        let highest = y.values[1];
        heading(svg, panel, top);
        for rate in [highest / 2.0, highest] {
            svg.line([LEFT, y.at(rate)], [RIGHT, y.at(rate)], &format!(r#"stroke="{GRID}""#));
        }
        let rates = |count: fn(&Bucket) -> u32| -> Vec<f64> {
            panel.recording.buckets.iter().map(|bucket| rate(count(bucket))).collect()
        };
        let step = BUCKET.as_secs_f64();
        svg.bars(x, y, step, &rates(|bucket| bucket.allowed + bucket.denied), ALLOWED);
        svg.bars(x, y, step, &rates(|bucket| bucket.denied), DENIED);
        svg.line([LEFT, y.at(0.0)], [RIGHT, y.at(0.0)], &format!(r#"stroke="{MUTED}""#));
        for rotation in self.rotations {
            rotation_line(svg, x.at(rotation.as_secs_f64()), [top + PLOT_TOP - 6.0, top + FETCHES_BOTTOM]);
        }
        for rate in [0.0, highest / 2.0, highest] {
            svg.text([LEFT - 10.0, y.at(rate) + 4.0], Anchor::End, SMALL, &format!("{rate}"));
        }
        svg.text_upwards([34.0, top + (PLOT_TOP + PLOT_BOTTOM) / 2.0], SMALL, "requests / s");
        fetches(svg, panel.recording, x, top + (PLOT_BOTTOM + FETCHES_BOTTOM) / 2.0);
    }

    fn time_axis(&self, svg: &mut Svg, top: f64) {
        let x = self.time();
        svg.line([LEFT, top], [RIGHT, top], &format!(r#"stroke="{MUTED}""#));
        for second in (0..=self.duration.as_secs()).step_by(3) {
            let x = x.at(second as f64);
            svg.line([x, top], [x, top + 5.0], &format!(r#"stroke="{MUTED}""#));
            svg.text([x, top + 19.0], Anchor::Middle, SMALL, &format!("{second} s"));
        }
    }

    fn time(&self) -> Scale {
        Scale { values: [0.0, self.duration.as_secs_f64()], coordinates: [LEFT, RIGHT] }
    }

    /// The scale of the rates. Both panels have the same values, at different coordinates.
    fn rate(&self, top: f64) -> Scale {
        let all = self.panels.iter().flat_map(|panel| &panel.recording.buckets);
        let highest = all.map(|bucket| rate(bucket.allowed + bucket.denied)).fold(0.0, f64::max);
        Scale { values: [0.0, round_up(highest)], coordinates: [top + PLOT_BOTTOM, top + PLOT_TOP] }
    }
}

fn lines(svg: &mut Svg, top: f64, font: Font, lines: &[String]) {
    for (index, line) in lines.iter().enumerate() {
        svg.text([MARGIN, top + LINE * index as f64], Anchor::Start, font, line);
    }
}

fn legend(svg: &mut Svg) {
    let y = LEGEND_TOP;
    let square = |svg: &mut Svg, x: f64, colour: &str| {
        svg.rectangle([x, y - 10.0, x + 12.0, y + 2.0], &format!(r#"rx="2" fill="{colour}""#));
    };
    let mut x = MARGIN;
    for (text, width) in [("denied", 84.0), ("allowed", 90.0), ("JWKS fetch", 112.0), ("key rotation", 0.0)] {
        match text {
            "denied" => square(svg, x, DENIED),
            "allowed" => square(svg, x, ALLOWED),
            "JWKS fetch" => svg.diamond([x + 6.0, y - 4.0], 5.5, FETCH),
            _ => rotation_line(svg, x + 6.0, [y - 13.0, y + 5.0]),
        }
        svg.text([x + 19.0, y], Anchor::Start, BODY, text);
        x += width;
    }
}

fn heading(svg: &mut Svg, panel: &Panel, top: f64) {
    svg.two_texts([MARGIN, top], [(HEADING, panel.name), (BODY, &panel.behaviour)]);
    let colour = if panel.recording.denied() > 0 { DENIED } else { GOOD };
    svg.text([MARGIN, top + TOTALS], Anchor::Start, Font { colour, ..HEADING }, &panel.recording.totals());
}

/// Draws the row of JWKS fetches below a panel.
fn fetches(svg: &mut Svg, recording: &Recording, x: Scale, y: f64) {
    svg.text([LEFT - 10.0, y + 4.0], Anchor::End, SMALL, "fetches");
    for (index, bucket) in recording.buckets.iter().enumerate().filter(|(_, bucket)| bucket.fetches > 0) {
        let x = x.at(BUCKET.as_secs_f64() * (index as f64 + 0.5));
        svg.diamond([x, y], 5.5, FETCH);
        if bucket.fetches > 1 {
            let font = Font { colour: FETCH, ..SMALL };
            svg.text([x + 9.0, y + 4.0], Anchor::Start, font, &format!("×{}", bucket.fetches));
        }
    }
}

/// Draws a dashed line on a light background, so that the line is visible on any bar.
fn rotation_line(svg: &mut Svg, x: f64, [top, bottom]: [f64; 2]) {
    svg.line([x, top], [x, bottom], &format!(r#"stroke="{PAPER}" stroke-width="3" stroke-opacity="0.55""#));
    svg.line([x, top], [x, bottom], &format!(r#"stroke="{ROTATION}" stroke-width="1.4" stroke-dasharray="4 3""#));
}

/// The rate per second for a count per bucket.
fn rate(count: u32) -> f64 {
    f64::from(count) / BUCKET.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Answer;

    fn recording(statuses: &[u16], fetches: &[Duration]) -> Recording {
        let mut recording = Recording::new(Duration::from_secs(6), fetches);
        for (index, &status) in statuses.iter().enumerate() {
            let at = Duration::from_millis(100) * index as u32;
            recording.add(&Answer { at, latency: Duration::from_millis(3), status });
        }
        recording
    }

    #[test]
    fn a_chart_shows_the_recordings() {
        let (bad, good) = (recording(&[200, 401, 401], &[Duration::ZERO; 2]), recording(&[200; 3], &[Duration::ZERO]));
        let panel = |name, recording| Panel { name, behaviour: "a & b".to_owned(), recording };
        let drawn = Chart {
            title: "title".to_owned(),
            subtitle: vec!["subtitle".to_owned()],
            panels: [panel("bad", &bad), panel("good", &good)],
            rotations: &[Duration::from_secs(1), Duration::from_secs(4)],
            duration: Duration::from_secs(6),
            notes: Vec::new(),
        }
        .draw();
        let count = |text: &str| drawn.matches(text).count();
        for (text, colour) in [
            ("2 of 3 requests denied, 2 JWKS fetches, slowest answer 3 ms", DENIED),
            ("0 of 3 requests denied, 1 JWKS fetch, slowest answer 3 ms", GOOD),
        ] {
            assert_eq!(count(&format!("fill=\"{colour}\">{text}</text>")), 1, "{text}\n{drawn}");
        }
        // The legend has one more mark and one more line.
        assert_eq!(count(&format!("z\" fill=\"{FETCH}\"")), 1 + 2);
        assert_eq!(count("stroke-dasharray"), 1 + 2 * 2);
        assert_eq!((count("×2"), count("a &amp; b"), count("<text"), count("</svg>")), (1, 2, count("</text>"), 1));
    }

    #[test]
    fn both_panels_have_the_same_scale() {
        let (idle, busy) = (recording(&[], &[]), recording(&[200; 3], &[]));
        let panel = |recording| Panel { name: "", behaviour: String::new(), recording };
        let chart = Chart {
            title: String::new(),
            subtitle: Vec::new(),
            panels: [panel(&idle), panel(&busy)],
            rotations: &[],
            duration: Duration::from_secs(6),
            notes: Vec::new(),
        };
        assert_eq!(chart.rate(0.0).values, [0.0, 10.0]);
        assert_eq!(chart.rate(0.0).coordinates, [PLOT_BOTTOM, PLOT_TOP]);
        assert_eq!(
            (chart.time().at(0.0), chart.time().at(3.0), chart.time().at(6.0)),
            (LEFT, (LEFT + RIGHT) / 2.0, RIGHT)
        );
    }
}
